"""What every integration test stands on: a scratch directory, the guarded environment, TAP output.

A test that must hold under the guard has its counterpart without it, so each helper here takes
`guard=True` or `guard=False` and nothing is guarded by default.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import unittest

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lockname import lock_of, socket_of  # noqa: E402, F401

SOURCE = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
BUILD = os.environ.get("SOCKGUARD_BUILD", SOURCE)
# Of another libc or another architecture perhaps, where scripts/portability says so: FOREIGN.
FOREIGN = "SOCKGUARD_ACTOR" in os.environ
EMULATOR = os.environ.get("SOCKGUARD_EMULATOR")  # of qemu-user; its programs are actors alone
LIBRARY = os.environ.get("SOCKGUARD_LIBRARY", os.path.join(BUILD, ".libs", "libsockguard.so"))
COMMAND = os.path.join(BUILD, "sockguard")
ACTOR = os.environ.get("SOCKGUARD_ACTOR", os.path.join(BUILD, "tests", "actor"))
# How a guarded program is guarded: by the preloaded library, or by a supervisor of system calls.
BY = os.environ.get("SOCKGUARD_BY", "preload")
PYTHON = "/usr/bin/python3"
PATIENCE = 30.0  # seconds until a test that waits for something gives up: never a measurement


def environment(guard, **settings):
    """The environment of a program under test; settings are SOCKGUARD_* without the prefix."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("SOCKGUARD_", "LD_"))}
    if guard and BY == "preload":
        if not os.path.exists(LIBRARY):
            raise FileNotFoundError(f"{LIBRARY} is not built")  # the loader would only warn
        env["QEMU_SET_ENV" if EMULATOR else "LD_PRELOAD"] = \
            "LD_PRELOAD=" + LIBRARY if EMULATOR else LIBRARY
    for name, value in settings.items():
        env["SOCKGUARD_" + name] = value
    return env


def guarded_command(argv, guard):
    """The words that start a program, guarded in the way that BY names."""
    if not guard or BY == "preload":
        return argv
    return [COMMAND, "run", "--by", BY, "--", *argv]


def preload_only(why):
    """For a test whose outcome differs under a supervisor, and why it must."""
    return unittest.skipIf(BY == "syscalls", why)


def wait_until(condition, what, patience=PATIENCE):
    """Polls until condition() is true and returns its value; fails, saying what was awaited."""
    deadline = time.monotonic() + patience
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError("waited in vain for " + what)
        time.sleep(0.01)


def _adopt_orphans():
    """Makes us the parent of what our programs leave behind, so that it can be waited for."""
    PR_SET_CHILD_SUBREAPER = 36
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _reap_group(group):
    try:
        while True:
            os.waitpid(-group, 0)
    except ChildProcessError:
        pass


class Case(unittest.TestCase):
    """A test with a scratch directory; whatever it started is killed when it ends."""

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="sg-", dir="/tmp")
        os.chmod(self.dir, 0o755)
        self.path = os.path.join(self.dir, "app.sock")
        self._started = []
        self.addCleanup(self._clean_up)  # and not tearDown: a setUp that fails leaves things too

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
        """Starts a program in a process group of its own and returns the Popen."""
        env = environment(guard, **(settings or {}))
        env.update(popen.pop("env", {}))
        process = subprocess.Popen(guarded_command(argv, guard), env=env, start_new_session=True,
                                   **popen)
        self._started.append(process)
        return process

    def run_program(self, argv, guard=False, settings=None, **popen):
        """Runs a program to its end and returns the CompletedProcess, output captured as text."""
        env = environment(guard, **(settings or {}))
        env.update(popen.pop("env", {}))
        return subprocess.run(guarded_command(argv, guard), env=env, capture_output=True,
                              text=True, timeout=PATIENCE, **popen)

    def identity(self, path=None):
        """Device and inode of a name, the name itself not followed."""
        found = os.lstat(path or self.path)
        return found.st_dev, found.st_ino

    def names(self):
        """What the scratch directory holds, sorted."""
        return sorted(os.listdir(self.dir))


class _Tap(unittest.TestResult):
    """Prints one TAP line a test as soon as it is known."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def _line(self, word, test, tail=""):
        self.count += 1
        about = ": ".join(filter(None, (test.id().split(".", 1)[-1], test.shortDescription())))
        print(f"{word} {self.count} - {about.replace('#', ' ')}{tail}", flush=True)

    def _trouble(self, test, err):
        self._line("not ok", test)
        for line in "".join(traceback.format_exception(*err)).splitlines():
            print("# " + line, flush=True)

    def addSuccess(self, test):
        super().addSuccess(test)
        self._line("ok", test)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self._line("ok", test, f" # SKIP {reason}")

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._trouble(test, err)

    def addError(self, test, err):
        super().addError(test, err)
        self._trouble(test, err)

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._trouble(subtest, err)


def main():
    """Runs the calling module's tests; arguments name the tests to run, all of them without."""
    _adopt_orphans()
    loader = unittest.TestLoader()
    module = sys.modules["__main__"]
    names = sys.argv[1:]
    suite = loader.loadTestsFromNames(names, module) if names else \
        loader.loadTestsFromModule(module)
    result = _Tap()
    print(f"1..{suite.countTestCases()}" if not names else "# a part", flush=True)
    suite.run(result)
    if result.count != suite.countTestCases() or names:
        print(f"# {result.count} lines", flush=True)
    return 0 if result.wasSuccessful() else 1
