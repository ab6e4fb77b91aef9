"""Faults at every step: each system call of each wrapper fails with each errno.

The outcome is what libc gives, or EADDRINUSE where there is a live rival. No theft, crash, hang,
leaked descriptor or mutex left held, signals and cancellation as they were; then the next start of
every name succeeds at once.

What libc gives: the result without the fault; or the fault itself where it hit the call the program
made or a look at the name the program gave, which libc's call would have stumbled over as well.

A fault comes once, or for want of descriptors (EMFILE, ENFILE) also each time from there on; with
SOCKGUARD_CAMPAIGN=full every errno does that.
"""

import errno
import os
import re
import sys

import injection
from injection import harness

ERRORS = ("EMFILE", "ENFILE", "ENOMEM", "ENOSPC", "EROFS", "EACCES", "EPERM", "EINTR", "ENOLCK",
          "EIO")
LASTING = ERRORS if injection.FULL else ("EMFILE", "ENFILE")
TAKE_DESCRIPTORS = ("openat", "socket", "fcntl", "ioctl")

# These cannot fail, or in the way that strace fails them: without having been done.
INFALLIBLE = ("close", "rt_sigprocmask", "getpid", "geteuid", "gettid", "munmap")

# What a path walk and a look at its end may say, connect(2) and open(2).
OF_A_WALK = ("EACCES", "EIO", "ENOMEM", "EPERM", "EROFS")


def is_libcs(field, position, error, outcome):
    """Is this result one that the program could have had without the guard?"""
    scenario = field.scenario
    if outcome.result == scenario.result:
        return "as without the fault"
    if outcome.result == getattr(errno, error, None):
        if position.on_name and position.name != "openat":
            return "the fault: libc's call, or a look at the name"
        if position.name in ("openat", "statx") and not position.on_lockfile and \
                error in OF_A_WALK:
            return "the fault: the name could not be opened to be asked about"
    if outcome.result == errno.EADDRINUSE and scenario.rival:
        return "refused, with a live rival"
    if outcome.result == errno.EADDRINUSE and error in ("EMFILE", "ENFILE") and position and \
            position.name in TAKE_DESCRIPTORS:
        return "refused for want of any descriptor to ask the kernel with, a limit told in docs"
    if outcome.result == errno.EADDRINUSE and scenario.reuses_stale:
        return "EADDRINUSE of a bind with SO_REUSEADDR, as libc has it"
    return None


def links(pid):
    table = f"/proc/{pid}/fd"
    for fd in os.listdir(table):
        yield int(fd), os.readlink(f"{table}/{fd}")


def descriptors(field, outcome):
    """What the victim has open and has no use for."""
    sockets, claims = field.scenario.sockets, []
    for fd, target in links(outcome.said[0]):
        if fd <= 2 or target == field.dir:
            continue
        if target.startswith("socket:"):
            sockets -= 1
        elif re.fullmatch(re.escape(field.dir) + r"/\.\w\.sockguard \(deleted\)", target):
            outcome.idle = True
        elif re.fullmatch(re.escape(field.dir) + r"/\.\w\.sockguard", target) and \
                target not in claims:
            claims.append(target)
        else:
            yield f"LEAK: descriptor {fd}, {target}"
    if sockets < 0:
        yield f"LEAK: {-sockets} sockets"


def state(field, outcome):
    """What is wrong with the victim, which still waits."""
    if outcome.said[4] != 1:
        yield "the state of cancellation is another"
    with open(f"/proc/{outcome.said[0]}/status") as status:
        blocked = re.search(r"SigBlk:\s+(\w+)", status.read())[1]
    if int(blocked, 16):
        yield f"signals are blocked: {blocked}"
    for name in injection.NAMES:
        if injection.lock_on(harness.lock_of(field.path(name)), 0):
            yield f"the mutex of {name} is held"
    yield from descriptors(field, outcome)


def judge(field, position, error, outcome):
    """Every trouble that came of it, and what was counted."""
    yield from outcome.troubles
    if outcome.took > injection.AT_ONCE:
        yield f"HANG: took {outcome.took:.1f} s"
    if outcome.said is None:
        yield f"CRASH: {outcome.died}"
    else:
        if is_libcs(field, position, error, outcome) is None:
            kind = "FALSE ALARM" if outcome.result == errno.EADDRINUSE else "WRONG ERRNO"
            yield f"{kind}: {injection.told(outcome.result, field.scenario.result)} expected"
        yield from state(field, outcome)
    yield from filter(None, (field.rival_lost(), field.rival_claim_lost()))


def one_fault(field, position, error, lasting, tally):
    outcome = field.run(f"{position.name}:error={error}:when={position.nth}{'+' * lasting}")
    troubles = list(judge(field, position, error, outcome))
    if not outcome.injected:
        troubles.append("was not injected")
    field.end(outcome)
    troubles += field.next_start()
    troubles += filter(None, [field.rival_lost()])
    if outcome.idle:
        troubles += swept(field, position, error, lasting, tally)
    tally.count("faults that last" if lasting else "faults")
    tally.count("with a live rival", bool(field.scenario.rival))
    if outcome.said:
        tally.count("outcome: " + str(is_libcs(field, position, error, outcome)))
    for trouble in troubles:
        tally.fail(field.scenario, f"{error}{'+' * lasting} at {position}: {trouble}")


def swept(field, position, error, lasting, tally):
    """A void claim is idle, and harmless; one of the next binds has to give it up."""
    outcome = field.run(f"{position.name}:error={error}:when={position.nth}{'+' * lasting}", True)
    if outcome.said:
        list(state(field, outcome))  # notes whether there is one still
    field.end(outcome)
    if outcome.said and not outcome.idle:
        tally.count("idle claims, given up by one of the next 256 binds")
        return []
    return ["LEAK: a claim on a lock file that is gone"]


def fail_everywhere(field, positions, tally):
    for position in positions:
        if position.name in INFALLIBLE:
            tally.count("system calls that cannot fail")
            continue
        tally.count("system calls")
        for error in ERRORS:
            one_fault(field, position, error, False, tally)
            if error in LASTING and (injection.FULL or position.name in TAKE_DESCRIPTORS):
                one_fault(field, position, error, True, tally)


class Faults(harness.Case):
    @classmethod
    def setUpClass(cls):
        cls.tally = injection.campaign(CHOSEN, fail_everywhere)

    @classmethod
    def tearDownClass(cls):
        for what, count in sorted(cls.tally.counts.items()):
            print(f"# {what}: {count}")


class WithoutProc(harness.Case):
    """Each scenario in a mount namespace where /proc is empty."""

    WRAPPER = ("unshare", "--mount", "--propagation", "private", "sh", "-c",
               "mount -t tmpfs none /proc && exec \"$@\"", "sh")

    @classmethod
    def setUpClass(cls):
        cls.tally = injection.Tally()
        for scenario in CHOSEN:
            cls.one(scenario)

    @classmethod
    def one(cls, scenario):
        field = injection.Field(scenario, cls.WRAPPER)
        try:
            outcome = field.run()
            troubles = list(judge(field, None, "no /proc", outcome))
            field.end(outcome)
            troubles += field.next_start()
            cls.tally.count("scenarios without /proc")
            for trouble in troubles:
                cls.tally.fail(scenario, trouble)
        finally:
            field.close()

    @classmethod
    def tearDownClass(cls):
        for what, count in cls.tally.counts.items():
            print(f"# {what}: {count}")


CHOSEN = list(injection.scenarios())
injection.add_tests(Faults, CHOSEN)
if os.geteuid() == 0:
    injection.add_tests(WithoutProc, CHOSEN)

if __name__ == "__main__":
    if not injection.STRACE:
        print("1..0 # SKIP needs strace")
        sys.exit(0)
    print("# every errno once" + (" and for good" if injection.FULL else
          ", EMFILE and ENFILE also for good; SOCKGUARD_CAMPAIGN=full has all of them for good"))
    sys.exit(harness.main())
