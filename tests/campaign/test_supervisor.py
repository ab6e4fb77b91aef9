"""Deaths, stops and faults at every system call that a supervisor makes for a supervised call.

strace attaches either to the keeper alone, or to the watcher and to the workers that it forks. It
injects at the nth call of a name in each of these processes. So a worker that replaces a killed one
is killed too, until the supervisor gives up. There are four kinds of injection: the supervisor's
process is killed; it is stopped; the program is killed while the supervisor is at that call; the
call fails. By default each position gets one of them, in turn. With SOCKGUARD_CAMPAIGN=full each
position gets all of them, in all scenarios.

No process may hang, no live socket may lose its path, and the next start on every name must succeed
at once. The supervisor must end with the program.
"""

import errno
import os
import re
import select
import signal
import subprocess
import sys
import time

import injection
from injection import harness

# Errnos of a call if the processes of its supervisor are killed repeatedly: see docs/supervisor.md.
SUPERVISOR_GAVE_UP = (errno.ENOMEM, errno.ENOSYS)
FAULTS = ("EMFILE", "ENOMEM", "EPERM", "EINTR", "EIO", "ENOSYS") if injection.FULL else ("EPERM", "EMFILE")
QUICK_SCENARIOS = ("bind fresh", "bind reuse, stale, lock file left", "unlink own", "unlink live",
                   "rename to fresh", "rename over live")
# The supervisor is not permitted to act for its caller, so the kernel executes the call. Without
# this message, or if the supervisor is only out of resources, a theft is a failure.
UNGUARDED = "is not guarded: the supervisor has no permission to "
RESOURCE_FAULTS = ("faults, EMFILE", "faults, ENOMEM")
ENOUGH = 10  # positions: the keeper has about twenty, the other processes have a hundred
CALL_DELAY = 0.2  # how long the supervisor is delayed at a call at which its program is killed


def supervisors(program):
    """Yields the processes whose command lines say that they supervise this PID."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                title = os.fsdecode(file.read()).split("\0")[0]
        except OSError:
            continue
        if title == f"sockguard: supervisor of {program}":
            yield int(pid)


def parent_of(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return int(file.read().rpartition(")")[2].split()[1])
    except OSError:
        return None


def reap(pid):
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass


class TestBed(injection.TestBed):
    """The victim of a scenario is supervised; all other processes have the library preloaded."""

    def __init__(self, scenario):
        super().__init__(scenario)
        self.program = None  # the PID of the latest victim
        self.first_kind = CHOSEN.index(scenario)  # varies which injection a position gets
        self.also_allowed = ()  # further allowed errnos

    def close(self):
        self._kill_supervisors()
        self._remove_supervisor_log()
        super().close()

    def supervisor_log(self):
        """Returns the log of the victim's supervisor."""
        try:
            with open(self.dir + ".supervisor-log") as log:
                return log.read()
        except FileNotFoundError:
            return ""

    def _remove_supervisor_log(self):
        if os.path.exists(self.dir + ".supervisor-log"):
            os.unlink(self.dir + ".supervisor-log")

    def _kill_supervisors(self):
        """Kills the remaining processes of supervisors."""
        for pid in supervisors(self.program):
            os.kill(pid, 9)
            reap(pid)

    def _start_victim(self):
        words = list(self.scenario.words)
        words.insert(words.index("--"), "wait")
        process = subprocess.Popen(
            [harness.COMMAND, "run", "--by", "syscalls", "--", injection.VICTIM, self.dir, *words],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            start_new_session=True, env=harness.environment(False, LOG=self.dir + ".supervisor-log"))
        self.program = process.pid
        if process.stdout.readline() != b"ready\n":
            raise RuntimeError("the victim died")
        return process

    def _keepers(self):
        pids = set(supervisors(self.program))
        return {pid for pid in pids if parent_of(pid) not in pids}

    def _target(self, of_keeper):
        """Returns the strace options for the keeper, or for all other processes of the
        supervisor."""
        keepers = self._keepers()
        if of_keeper:
            return [word for pid in keepers for word in ("-p", str(pid))]
        others = set(supervisors(self.program)) - keepers
        return ["-f", *(word for pid in others for word in ("-p", str(pid)))]

    def _attach(self, of_keeper, *options):
        """Attaches a tracer. Tries again if a process ended in the meantime."""
        return harness.wait_until(lambda: self._try_to_attach(of_keeper, *options), "a tracer")

    def _try_to_attach(self, of_keeper, *options):
        tracer = subprocess.Popen(
            [injection.STRACE, "-o", self.log, *options, *self._target(of_keeper)],
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True, text=True)
        for line in tracer.stderr:
            if line.endswith("attached\n"):
                return tracer
        tracer.wait()
        tracer.stderr.close()
        return None

    def call_under_tracer(self, of_keeper, *options, kill_after=None):
        """Makes the call under a tracer with these options."""
        outcome = injection.Outcome()
        self.prepare()
        self._remove_supervisor_log()
        outcome.process = process = self._start_victim()
        tracer = self._attach(of_keeper, *options)
        process.stdin.close()
        if kill_after is not None:
            time.sleep(kill_after)
            os.kill(process.pid, 9)
        ready, _, _ = select.select([process.stdout], [], [], harness.TIMEOUT)
        line = process.stdout.readline() if ready else b""
        if line:
            outcome.answer = [int(word) for word in line.split()]
        elif not ready:
            outcome.problems.append("HANG: no answer")
        injection.end(process)
        outcome.problems += self._await_supervisor(tracer, of_keeper)
        return outcome

    def _continue_keeper(self):
        """Continues the keeper: after the end of its program, no process of the supervisor does."""
        for pid in self._keepers():
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                pass

    def _await_supervisor(self, tracer, of_keeper):
        """Checks that the supervisor ends with its program. The tracer ends with it."""
        deadline = time.monotonic() + harness.TIMEOUT
        left = list(supervisors(self.program))
        while left and time.monotonic() < deadline:
            if of_keeper:
                self._continue_keeper()
            for pid in left:
                reap(pid)
            time.sleep(0.005)
            left = list(supervisors(self.program))
        tracer.kill()
        tracer.wait()
        tracer.stderr.close()
        if left:
            self._kill_supervisors()
            yield f"HANG: {len(left)} processes of the supervisor do not end"

    def positions(self, of_keeper):
        """Returns the outcome, and the supervisor's system calls as (name, number in its
        process)."""
        outcome = self.call_under_tracer(of_keeper)
        most, counts = {}, {}
        with open(self.log) as log:
            for line in log:
                # There is no PID if only the keeper is traced.
                found = re.match(r"(?:(\d+) +)?(\w+)\(", line)
                if found:
                    counts[found.groups()] = number = counts.get(found.groups(), 0) + 1
                    most[found[2]] = max(most.get(found[2], 0), number)
        return outcome, [(name, number) for name in sorted(most)
                         for number in range(1, most[name] + 1)]


def find_problems(bed, outcome, killed):
    """Yields the problems found."""
    scenario = bed.scenario
    yield from outcome.problems
    expected = (scenario.result, *SUPERVISOR_GAVE_UP) + \
        ((errno.EADDRINUSE,) if scenario.rival else ())
    if not killed and not outcome.answer:
        yield "no answer"
    elif outcome.answer and outcome.result not in (*expected, *bed.also_allowed):
        yield f"unexpected result: {errno.errorcode.get(outcome.result, outcome.result)}"
    lost = bed.rival_lost() or bed.rival_claim_lost()
    if lost:
        yield lost
    yield from bed.next_start()
    if bed.rival_lost():
        yield bed.rival_lost()


def run_one_scenario(bed, results):
    for of_keeper in (False, True):
        inject(bed, of_keeper, results)
    results.count("scenarios")


def record(bed, of_keeper):
    """Returns the outcome without an injection, and the positions.

    Repeats a recording that has too few positions: another watcher, which was not traced, may have
    replaced the traced one before the call.
    """
    for _ in range(5):
        outcome, positions = bed.positions(of_keeper)
        if outcome.problems or len(positions) >= ENOUGH:
            break
    return outcome, positions


def inject(bed, of_keeper, results):
    outcome, positions = record(bed, of_keeper)
    if outcome.result != bed.scenario.result or outcome.problems or len(positions) < ENOUGH:
        results.fail(bed.scenario, f"recording: {outcome.answer}, {len(positions)} positions, "
                     f"{outcome.problems}")
        return
    for turn, (name, number) in enumerate(positions):
        chosen = list(injections_for(name))
        if not injection.FULL:
            chosen = [chosen[(turn + bed.first_kind) % len(chosen)]]
        for what, injected, kill_after, also_allowed in chosen:
            bed.also_allowed = also_allowed
            options = ("-e", f"trace={name}", f"--inject={name}:{injected}:when={number}")
            outcome = bed.call_under_tracer(of_keeper, *options, kill_after=kill_after)
            results.count(what)
            if what.startswith("faults") and what not in RESOURCE_FAULTS and \
                    UNGUARDED in bed.supervisor_log() and not outcome.problems:
                results.count("faults: the kernel executed the call, and the log says so")
                continue
            for problem in find_problems(bed, outcome, kill_after is not None):
                results.fail(bed.scenario, f"{what} at {name} {number}{' of the keeper' * of_keeper}: "
                             f"{problem}")


# If strace makes these fail, they are not executed, which leaves a state that never occurs. The
# keeper kills only its own children, and nothing forbids getsid(0).
NEVER_FAIL = ("close", "exit_group", "rt_sigprocmask", "rt_sigaction", "rt_sigreturn", "getpid", "munmap",
              "clone", "restart_syscall", "ioctl", "kill", "getsid")


def injections_for(name):
    """Yields the injections for a call of this name."""
    yield "deaths of the supervisor", "signal=SIGKILL", None, ()
    yield "stops of the supervisor", "signal=SIGSTOP", None, ()
    yield "deaths of the program", f"delay_enter={int(CALL_DELAY * 1e6)}", CALL_DELAY / 2, ()
    for fault in FAULTS if name not in NEVER_FAIL else ():
        error = getattr(errno, fault)
        yield "faults, " + fault, "error=" + fault, None, (error, errno.EADDRINUSE, 0)


class Supervisor(harness.Case):
    @classmethod
    def setUpClass(cls):
        cls.results = injection.campaign(CHOSEN, None, make_bed=TestBed,
                                         run_scenario=run_one_scenario)

    @classmethod
    def tearDownClass(cls):
        for what, count in sorted(cls.results.counts.items()):
            print(f"# {what}: {count}")


CHOSEN = [one for one in injection.scenarios() if injection.FULL or one.name in QUICK_SCENARIOS]
injection.add_tests(Supervisor, CHOSEN)

if __name__ == "__main__":
    if not injection.STRACE:
        print("1..0 # SKIP needs strace")
        sys.exit(0)
    sys.exit(harness.main())
