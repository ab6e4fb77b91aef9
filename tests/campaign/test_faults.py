"""Each system call that the library makes for each guarded call fails with each errno.

The result must be that of libc, or EADDRINUSE if there is a live rival. There must be no theft,
crash, hang, leaked descriptor or locked mutex. The signal mask and the cancellation state must be
unchanged, and the next start on every name must succeed at once.

libc's result is that without the fault. If the fault hits the program's own call, or a lookup of
the path for it, libc's result is the injected errno, because libc's call would fail with it too.

Each errno is injected once. If the system call may return a descriptor, EMFILE and ENFILE are also
injected into it and all following calls of that name. With SOCKGUARD_CAMPAIGN=full, every errno is,
for every system call.
"""

import errno
import os
import re
import sys
import unittest

import injection
from injection import harness

ERRORS = ("EMFILE", "ENFILE", "ENOMEM", "ENOSPC", "EROFS", "EACCES", "EPERM", "EINTR", "ENOLCK",
          "EIO")
LASTING_ERRORS = ERRORS if injection.FULL else ("EMFILE", "ENFILE")
TAKE_DESCRIPTORS = ("openat", "socket", "fcntl", "ioctl")

# These cannot fail, or take effect even if they fail, such as close. strace does not execute a call
# that it makes fail.
INFALLIBLE = ("close", "rt_sigprocmask", "getpid", "geteuid", "gettid", "munmap")

# Errnos of a path lookup, connect(2) and open(2).
LOOKUP_ERRORS = ("EACCES", "EIO", "ENOMEM", "EPERM", "EROFS")


def allowed_outcome(bed, position, error, outcome):
    """Returns why this result is allowed; None if it is not."""
    scenario = bed.scenario
    if outcome.result == scenario.result:
        return "as without the fault"
    if outcome.result == getattr(errno, error, None):
        if position.on_socket_path and position.name != "openat":
            return "the fault, in libc's call or a lookup of the path"
        if position.name in ("openat", "statx") and not position.on_lockfile and \
                error in LOOKUP_ERRORS:
            return "the fault, which prevented the guard from opening the path"
    if outcome.result == errno.EADDRINUSE and scenario.rival:
        return "refused, with a live rival"
    if outcome.result == errno.EADDRINUSE and error in ("EMFILE", "ENFILE") and position and \
            position.name in TAKE_DESCRIPTORS:
        return "refused without a descriptor to query the kernel, a documented limit"
    if outcome.result == errno.EADDRINUSE and scenario.reuses_stale:
        return "EADDRINUSE of a bind with SO_REUSEADDR, as from libc"
    return None


def descriptor_links(pid):
    table = f"/proc/{pid}/fd"
    for fd in os.listdir(table):
        yield int(fd), os.readlink(f"{table}/{fd}")


def unexpected_descriptors(bed, outcome):
    """Yields the descriptors that the victim should not have open."""
    sockets, claims = bed.scenario.sockets, []
    for fd, target in descriptor_links(outcome.answer[0]):
        if fd <= 2 or target == bed.dir:
            continue
        if target.startswith("socket:"):
            sockets -= 1
        elif re.fullmatch(re.escape(bed.dir) + r"/\.\w\.sockguard \(deleted\)", target):
            outcome.unused_claim = True
        elif re.fullmatch(re.escape(bed.dir) + r"/\.\w\.sockguard", target) and \
                target not in claims:
            claims.append(target)
        else:
            yield f"LEAK: descriptor {fd}, {target}"
    if sockets < 0:
        yield f"LEAK: {-sockets} sockets"


def problems_in_victim(bed, outcome):
    """Yields the problems found in the victim, which still waits."""
    if outcome.answer[4] != 1:
        yield "the cancellation state has changed"
    with open(f"/proc/{outcome.answer[0]}/status") as status:
        blocked = re.search(r"SigBlk:\s+(\w+)", status.read())[1]
    if int(blocked, 16):
        yield f"signals are blocked: {blocked}"
    for name in injection.NAMES:
        if injection.lock_on(harness.lock_file_of(bed.path(name)), 0):
            yield f"the mutex of {name} is held"
    yield from unexpected_descriptors(bed, outcome)


def find_problems(bed, position, error, outcome):
    """Yields all problems found."""
    yield from outcome.problems
    if outcome.switches > harness.MAX_SWITCHES:
        yield f"HANG: the call waited, in {outcome.switches} pauses"
    if outcome.answer is None:
        yield f"CRASH: {outcome.died}"
    else:
        if allowed_outcome(bed, position, error, outcome) is None:
            kind = "FALSE ALARM" if outcome.result == errno.EADDRINUSE else "WRONG ERRNO"
            errors = injection.names_of_errnos(outcome.result, bed.scenario.result)
            yield f"{kind}: {errors} expected"
        yield from problems_in_victim(bed, outcome)
    yield from filter(None, (bed.rival_lost(), bed.rival_claim_lost()))


def inject_fault(bed, position, error, lasts, results):
    outcome = bed.run(f"{position.name}:error={error}:when={position.nth}{'+' * lasts}")
    problems = list(find_problems(bed, position, error, outcome))
    if not outcome.injected:
        problems.append("the fault was not injected")
    bed.end(outcome)
    problems += bed.next_start()
    problems += filter(None, [bed.rival_lost()])
    if outcome.unused_claim:
        problems += check_unused_claim(bed, position, error, lasts, results)
    results.count("faults that last" if lasts else "faults")
    results.count("with a live rival", bool(bed.scenario.rival))
    if outcome.answer:
        results.count("outcome: " + str(allowed_outcome(bed, position, error, outcome)))
    for problem in problems:
        results.fail(bed.scenario, f"{error}{'+' * lasts} at {position}: {problem}")


def check_unused_claim(bed, position, error, lasts, results):
    """Repeats the fault with many binds after it, which must release the unused claim. An unused
    claim does no harm."""
    outcome = bed.run(f"{position.name}:error={error}:when={position.nth}{'+' * lasts}", True)
    if outcome.answer:
        list(problems_in_victim(bed, outcome))  # sets outcome.unused_claim if it still exists
    bed.end(outcome)
    if outcome.answer and not outcome.unused_claim:
        results.count("unused claims, released by one of the next 256 binds")
        return []
    return ["LEAK: a claim on a lock file that was unlinked"]


def inject_all_faults(bed, positions, results):
    for position in positions:
        if position.name in INFALLIBLE:
            results.count("system calls that cannot fail")
            continue
        results.count("system calls")
        for error in ERRORS:
            inject_fault(bed, position, error, False, results)
            if error in LASTING_ERRORS and (injection.FULL or position.name in TAKE_DESCRIPTORS):
                inject_fault(bed, position, error, True, results)


class Faults(harness.Case):
    @classmethod
    def setUpClass(cls):
        cls.results = injection.campaign(CHOSEN, inject_all_faults)

    @classmethod
    def tearDownClass(cls):
        for what, count in sorted(cls.results.counts.items()):
            print(f"# {what}: {count}")


@unittest.skipUnless(os.geteuid() == 0, "needs root")
class WithoutProc(harness.Case):
    """Each scenario in a mount namespace where /proc is empty."""

    WRAPPER = ("unshare", "--mount", "--propagation", "private", "sh", "-c",
               "mount -t tmpfs none /proc && exec \"$@\"", "sh")

    @classmethod
    def setUpClass(cls):
        cls.results = injection.Results()
        for scenario in CHOSEN:
            cls.run_scenario(scenario)

    @classmethod
    def run_scenario(cls, scenario):
        bed = injection.TestBed(scenario, cls.WRAPPER)
        try:
            outcome = bed.run()
            problems = list(find_problems(bed, None, "no /proc", outcome))
            bed.end(outcome)
            problems += bed.next_start()
            cls.results.count("scenarios without /proc")
            for problem in problems:
                cls.results.fail(scenario, problem)
        finally:
            bed.close()

    @classmethod
    def tearDownClass(cls):
        for what, count in cls.results.counts.items():
            print(f"# {what}: {count}")


CHOSEN = list(injection.scenarios())
injection.add_tests(Faults, CHOSEN)
injection.add_tests(WithoutProc, CHOSEN)

if __name__ == "__main__":
    if not injection.STRACE:
        print("1..0 # SKIP needs strace")
        sys.exit(0)
    print("# every errno once" + (", and at all following calls" if injection.FULL else
          "; EMFILE and ENFILE also at all following calls (SOCKGUARD_CAMPAIGN=full: every errno)"))
    sys.exit(harness.main())
