"""The base of every integration test: a scratch directory, the guarded environment, TAP output.

Each test of a protection has a counterpart without the guard. Helpers that start a program
therefore take `guard=True` or `guard=False`; by default, nothing is guarded.
"""

import contextlib
import ctypes
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import unittest

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lockname import lock_file_of, socket_path_of  # noqa: E402, F401

SOURCE = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
BUILD = os.environ.get("SOCKGUARD_BUILD", SOURCE)
# Whether scripts/portability chose the actor, which may use another libc or architecture.
FOREIGN_ACTOR = "SOCKGUARD_ACTOR" in os.environ
EMULATOR = os.environ.get("SOCKGUARD_EMULATOR")  # qemu-user, which runs actors only
LIBRARY = os.environ.get("SOCKGUARD_LIBRARY", os.path.join(BUILD, ".libs", "libsockguard.so"))
COMMAND = os.path.join(BUILD, "sockguard")
# The directory of the test programs. test_supervised.py also runs with statically linked ones.
PROGRAMS = os.environ.get("SOCKGUARD_PROGRAMS", os.path.join(BUILD, "tests"))
ACTOR = os.environ.get("SOCKGUARD_ACTOR", os.path.join(PROGRAMS, "actor"))
# What guards a guarded program: "preload", the library, or "syscalls", a supervisor.
GUARDED_BY = os.environ.get("SOCKGUARD_BY", "preload")
PYTHON = "/usr/bin/python3"
# Seconds after which a wait for an event, such as a program's end or an actor's answer, fails. It
# only keeps a hang from blocking the tests for ever. It is long because a busy machine may delay
# any event. No test that passes waits for so long.
TIMEOUT = float(os.environ.get("SOCKGUARD_TEST_TIMEOUT", "300"))


def environment(guard, **settings):
    """The environment of a program under test; settings are SOCKGUARD_* without the prefix."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("SOCKGUARD_", "LD_"))}
    if guard and GUARDED_BY == "preload":
        if not os.path.exists(LIBRARY):
            raise FileNotFoundError(f"{LIBRARY} is not built")  # the loader would only warn
        env["QEMU_SET_ENV" if EMULATOR else "LD_PRELOAD"] = \
            "LD_PRELOAD=" + LIBRARY if EMULATOR else LIBRARY
    for name, value in settings.items():
        env["SOCKGUARD_" + name] = value
    return env


def guarded_command(argv, guard):
    """The command line that starts a program, if guarded then in the way that GUARDED_BY names."""
    if not guard or GUARDED_BY == "preload":
        return argv
    return [COMMAND, "run", "--by", GUARDED_BY, "--", *argv]


SUPERVISED = GUARDED_BY == "syscalls"

# Python code that executes its arguments. There, seccomp(2) refuses
# SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, as before Linux 5.19.
DENY_WAIT_KILLABLE = ("import ctypes, os, struct, sys\n"
                      "words = b''.join(struct.pack('<HBBI', *one) for one in (\n"
                      "    (0x20, 0, 0, 0), (0x15, 0, 3, 317), (0x20, 0, 0, 24), (0x45, 0, 1, 0x20),\n"
                      "    (6, 0, 0, 0x50016), (6, 0, 0, 0x7fff0000)))\n"
                      "class Program(ctypes.Structure):\n"
                      "    _fields_ = [('len', ctypes.c_ushort), ('filter', ctypes.c_char_p)]\n"
                      "libc = ctypes.CDLL(None)\n"
                      "libc.prctl(38, 1, 0, 0, 0)\n"
                      "assert libc.syscall(317, 1, 0, ctypes.byref(Program(6, words))) == 0\n"
                      "os.execv(sys.argv[1], sys.argv[1:])\n")


def preload_only(why):
    """Excludes a test under a supervisor, where its outcome must differ, and prints the reason.

    This is not a skip: either the test applies only to the library, or a supervised_only test shows
    what happens under a supervisor instead.
    """
    def mark(test):
        test.excluded_because = why if SUPERVISED else None
        return test
    return mark


def supervised_only(test):
    """Excludes a test except under a supervisor; see preload_only()."""
    test.excluded_because = None if SUPERVISED else ""  # no reason is printed
    return test


def wait_until(condition, what, timeout=TIMEOUT):
    """Polls until condition() is true and returns its value. A timeout fails and names `what`."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError("timed out waiting for " + what)
        time.sleep(0.01)


@contextlib.contextmanager
def traced(pid, *options):
    """Attaches strace to the process with these options. Yields the path of its log."""
    with tempfile.NamedTemporaryFile(prefix="sg-trace-", dir="/tmp") as log:
        tracer = subprocess.Popen(["strace", "-o", log.name, *options, "-p", str(pid)],
                                  stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                                  start_new_session=True)
        try:
            line = tracer.stderr.readline()
            if "attached" not in line:
                raise AssertionError("strace: " + line)
            yield log.name
        finally:
            tracer.terminate()
            tracer.wait()
            tracer.stderr.close()


def lock_table():
    """The lines of /proc/locks without their ordinal numbers, as a set of tuples of fields.

    A read(2) returns at most a page, and the table can change between two: a line can then occur
    twice, or be absent. So this reads the table twice.
    """
    lines = set()
    for _ in range(2):
        with open("/proc/locks") as table:
            lines |= {tuple(line.split()[1:]) for line in table}
    return lines


def voluntary_switches(pid):
    """How often a process has waited for anything, such as the end of a pause.

    The guard waits for a mutex in pauses that grow from 20 us to 2.6 ms, so their number shows how
    long it has waited, on a slow or busy machine too: 10 pauses for a lock file that it does not
    trust, and 1180 for one that it trusts (src/core/step.c).
    """
    with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as status:
        return int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)$", status.read(), re.M)[1])


# A call that waits for the mutex of a lock file that the guard trusts makes more voluntary switches
# than this. Every other call makes fewer.
MAX_SWITCHES = 500


# The system calls that libc makes for a call, as /proc/PID/syscall shows them.
_CALLS = {"ioctl": ["16"], "renameat2": ["316"], "select": ["23", "270"], "sleep": ["35", "230"]} \
    if os.uname().machine == "x86_64" else \
    {"ioctl": ["29"], "renameat2": ["276"], "select": ["72"], "sleep": ["101", "115"]}


def waits_in_call(pid, name):
    """Whether the main thread of a process waits in this call. A woken thread does not, even before
    it runs."""
    try:
        with open(f"/proc/{pid}/syscall") as file:
            return file.read().split()[0] in _CALLS[name]
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False  # the process is ending, or is executing a program


def child_pids(pid="self"):
    """The child processes of a single-threaded process, or of the test itself."""
    with open(f"/proc/{pid}/task/{os.getpid() if pid == 'self' else pid}/children") as file:
        return {int(word) for word in file.read().split()}


def _become_subreaper():
    """Makes this process the parent of its orphaned descendants, so that it can reap them."""
    PR_SET_CHILD_SUBREAPER = 36
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _reap_group(group):
    try:
        while True:
            os.waitpid(-group, 0)
    except ChildProcessError:
        pass


class Case(unittest.TestCase):
    """A test with a scratch directory. When it ends, the programs that it started are killed."""

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="sg-", dir="/tmp")
        os.chmod(self.dir, 0o755)
        self.path = os.path.join(self.dir, "app.sock")
        self._started = []
        self.addCleanup(self._clean_up)  # not tearDown, which is not called if setUp fails

    def _clean_up(self):
        for process in self._started:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
            _reap_group(process.pid)
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream:
                    stream.close()
        shutil.rmtree(self.dir, ignore_errors=True)

    def start(self, argv, guard=False, settings=None, **popen):
        """Starts a program in a new process group and returns the Popen."""
        env = environment(guard, **(settings or {}))
        env.update(popen.pop("env", {}))
        process = subprocess.Popen(guarded_command(argv, guard), env=env, start_new_session=True,
                                   **popen)
        self._started.append(process)
        return process

    def run_program(self, argv, guard=False, settings=None, **popen):
        """Runs a program, waits until it ends and returns the CompletedProcess, with its output."""
        env = environment(guard, **(settings or {}))
        env.update(popen.pop("env", {}))
        return subprocess.run(guarded_command(argv, guard), env=env, capture_output=True,
                              text=True, timeout=TIMEOUT, **popen)

    def wait_and_count_switches(self, process):
        """Waits for the end of a program. Returns its exit status, and its voluntary switches."""
        _, status, usage = wait_until(
            lambda: (ended := os.wait4(process.pid, os.WNOHANG))[0] and ended, "a program's end")
        process.returncode = os.waitstatus_to_exitcode(status)
        return process.returncode, usage.ru_nvcsw

    def identity(self, path=None):
        """The device and inode of a path. Does not follow a symbolic link."""
        found = os.lstat(path or self.path)
        return found.st_dev, found.st_ino

    def names(self):
        """The names in the scratch directory, sorted."""
        return sorted(os.listdir(self.dir))


class _Tap(unittest.TestResult):
    """Prints one TAP line for each test as soon as its result is known."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def _print_line(self, word, test, tail=""):
        self.count += 1
        about = ": ".join(filter(None, (test.id().split(".", 1)[-1], test.shortDescription())))
        print(f"{word} {self.count} - {about.replace('#', ' ')}{tail}", flush=True)

    def _print_failure(self, test, err):
        # The line also has the reason, because a summary shows only this line.
        reason = " ".join(str(err[1]).replace("#", " ").split())
        self._print_line("not ok", test, f" ({err[0].__name__}: {reason[:200]})")
        for line in "".join(traceback.format_exception(*err)).splitlines():
            print("# " + line, flush=True)

    def addSuccess(self, test):
        super().addSuccess(test)
        self._print_line("ok", test)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self._print_line("ok", test, f" # SKIP {reason}")

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._print_failure(test, err)

    def addError(self, test, err):
        super().addError(test, err)
        self._print_failure(test, err)

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._print_failure(subtest, err)


def _included_tests(suite):
    """The tests of a suite, except those that preload_only or supervised_only excludes."""
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from _included_tests(test)
            continue
        why = getattr(getattr(test, getattr(test, "_testMethodName", ""), None),
                      "excluded_because", None)
        if why is None:
            yield test
        elif why:
            print(f"# excluded under a supervisor: {test.id().split('.', 1)[-1]}: {why}")


def main():
    """Runs the tests of the calling module: those that the arguments name, or all."""
    _become_subreaper()
    loader = unittest.TestLoader()
    module = sys.modules["__main__"]
    names = sys.argv[1:]
    suite = loader.loadTestsFromNames(names, module) if names else \
        loader.loadTestsFromModule(module)
    suite = unittest.TestSuite(_included_tests(suite))
    result = _Tap()
    result.failfast = "SOCKGUARD_FAIL_FAST" in os.environ  # scripts/mutate
    print(f"1..{suite.countTestCases()}" if not names else "# a part", flush=True)
    suite.run(result)
    if result.count != suite.countTestCases() or names:
        print(f"# {result.count} lines", flush=True)
    return 0 if result.wasSuccessful() else 1
