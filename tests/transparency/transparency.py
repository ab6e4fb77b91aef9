"""Runs parts of CPython's test suite without the guard, with the library preloaded and under a
supervisor, and compares the outcome of every test method.

usage: transparency.py [--quick | --tests NAME...] [--list | --library FILE --command FILE]

If an outcome differs, its module runs three more times on all sides; if the sides then neither
agree each time nor differ as before each time, ten times. A test is different if a side has an
outcome in half of these runs or more that another side never has. Otherwise the test is flaky.

The tests run as an ordinary user (as nobody, if we are root), because half of the suite tests
permissions, which do not apply to root.
"""

import argparse
import collections
import concurrent.futures
import itertools
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree as xml

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lockname import socket_path_of  # noqa: E402

PYTHON = "/usr/bin/python3.11"
SUITE = "/usr/lib/python3.11/test"
SIDES = ("without", "preloaded", "supervised")
FEW_RERUNS, MANY_RERUNS = 3, 10
LIMIT = 1200  # seconds after which a module counts as hung

# The modules that use AF_UNIX, unlink, rename, remove or link files, fork, or pass on descriptors,
# except those for Windows and macOS and those that only use a temporary file.
QUICK = """test_asyncore test_dbm test_file test_filecmp test_genericpath test_glob
    test_httpservers test_logging test_mailbox test_os test_pathlib test_posix test_posixpath
    test_selectors test_shutil test_socket test_socketserver test_stat test_tempfile
    test_zipfile""".split()
MODULES = sorted(QUICK + """
    test__xxsubinterpreters test_aifc test_asyncio test_audit test_bz2 test_cmd_line
    test_cmd_line_script test_compileall test_concurrent_futures test_dbm_dumb test_dbm_gnu
    test_dbm_ndbm test_eintr test_embed test_epoll test_faulthandler test_fcntl
    test_fileinput test_fileio test_fork1 test_ftplib test_gzip test_httplib test_imp
    test_import test_importlib test_io test_largefile test_linecache test_mmap
    test_multiprocessing_fork test_multiprocessing_forkserver
    test_multiprocessing_main_handling test_multiprocessing_spawn test_netrc test_openpty
    test_pipes test_pkgutil test_poll test_popen test_poplib test_pty test_py_compile
    test_pydoc test_regrtest test_resource test_runpy test_select test_shelve test_signal
    test_site test_smtpd test_smtplib test_ssl test_subprocess test_support
    test_syslog test_tarfile test_threading test_unicode_file_functions test_urllib
    test_urllib2_localnet test_uuid test_venv test_wait3 test_wait4 test_wsgiref test_xmlrpc
    test_zipimport""".split())

# The suite skips it without a network, although it uses only this machine.
NETWORK = ("test_socketserver",)

_printing = threading.Lock()


def say(text):
    """Prints one whole line."""
    with _printing:
        print(text, flush=True)


def give_up(why):
    """Ends the program if it cannot test the guard."""
    print(f"transparency: {why}", file=sys.stderr)
    sys.exit(2)


class InvalidRun(Exception):
    """A run that shows nothing, because the process was not guarded as it should have been."""


class Run:
    """One module of the suite on one side; the constructor runs it."""

    _numbers = itertools.count(1)

    def __init__(self, stage, module, side):
        self.module = module
        self.side = side
        # Three digits, so that paths are equally long on all sides. Socket paths have a maximum
        # length.
        self._place = os.path.join(stage.place, f"{next(self._numbers):03}")
        os.mkdir(self._place)
        os.chown(self._place, stage.uid, stage.gid)
        self._names = os.path.join(self._place, "names")
        os.mkfifo(self._names)
        os.chown(self._names, stage.uid, stage.gid)
        self._output = os.path.join(self._place, "output")
        self._junit = os.path.join(self._place, "junit.xml")
        self.status = self._run(stage)
        self.outcomes = self._outcomes()
        self.lockfiles = self._lockfiles()

    def _run(self, stage):
        environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8",
                       "HOME": self._place, "TMPDIR": self._place, "USER": stage.user}
        if self.side == "preloaded":
            environment["LD_PRELOAD"] = stage.library
        argv = [stage.command, "run", "--by", "syscalls"] if self.side == "supervised" else []
        argv += [PYTHON, "-m", "test", "--verbose", "--fail-env-changed", "--junit-xml",
                self._junit, "--fromfile", self._names]
        if self.module in NETWORK:
            argv += ["--use", "network"]
        with open(self._output, "wb") as output:
            process = subprocess.Popen(argv, env=environment, cwd=self._place, stdout=output,
                                       stderr=output, stdin=subprocess.DEVNULL,
                                       start_new_session=True, **stage.identity)
        stage.started(process)
        try:
            self._name_module(process, stage.library)
            process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            return "hung"
        finally:
            stage.ended(process)
        return process.returncode

    def _name_module(self, process, library):
        """Checks that the process is guarded as it should be, and then tells it the module to run.

        The process waits for the name at a FIFO.
        """
        while True:
            try:
                names = os.open(self._names, os.O_WRONLY | os.O_NONBLOCK)
                break
            except OSError:  # the process has not opened the FIFO yet
                if process.poll() is not None:
                    raise InvalidRun(f"python ended with {process.returncode}: " + self.output())
                time.sleep(0.01)
        with open(names, "w") as out, open(f"/proc/{process.pid}/maps") as maps, \
                open(f"/proc/{process.pid}/status") as status:
            mapped = {line.split(maxsplit=5)[-1].strip() for line in maps}
            filtered = re.search(r"^Seccomp:\s+2$", status.read(), re.M) is not None
            if self.side == "preloaded" and library not in mapped:
                raise InvalidRun(f"the preloaded process has not mapped {library}")
            if self.side != "preloaded" and any("libsockguard" in name for name in mapped):
                raise InvalidRun(f"the process on side {self.side} has mapped libsockguard")
            if filtered != (self.side == "supervised"):
                raise InvalidRun(f"the process on side {self.side} has "
                                 f"{'a' if filtered else 'no'} seccomp filter")
            out.write(self.module + "\n")

    def output(self):
        """Returns what the process printed."""
        with open(self._output, errors="replace") as output:
            return output.read()

    def _outcomes(self):
        """Returns the outcome of each test method: passed, failed or skipped."""
        outcomes = {}
        if os.path.exists(self._junit):
            for case in xml.parse(self._junit).iter("testcase"):
                if case.get("name"):  # a test with a failed subtest has no name
                    outcomes[case.get("name")] = self._outcome(case)
        output = self.output()
        # This includes failures outside a test's own body: subtests and setUpClass.
        for name, where in re.findall(r"^(?:FAIL|ERROR): (\S+) \(([\w.]+)\)", output, re.M):
            outcomes[where if where.endswith("." + name) else f"{where}.{name}"] = "failed"
        if re.search(rf"^{self.module} skipped", output, re.M):
            outcomes[self.module] = "skipped"
        return outcomes

    @staticmethod
    def _outcome(case):
        if case.find("failure") is not None or case.find("error") is not None or \
                case.get("outcome"):
            return "failed"
        return "skipped" if case.find("skipped") is not None else "passed"

    def _lockfiles(self):
        """Returns the lock files that it left without a socket beside them."""
        left = [os.path.join(folder, name) for folder, _, names in os.walk(self._place)
                for name in names if socket_path_of(name)]
        return [name for name in left if not os.path.lexists(socket_path_of(name))]

    def results(self):
        """Returns the outcomes, and the results for the module as a whole."""
        return {**self.outcomes, f"{self.module}, exit status": str(self.status),
                f"{self.module}, lock files without a socket": str(len(self.lockfiles))}


class Stage:
    """The environment of the tests: the directory, the guard's files in it, and the user."""

    def __init__(self, library, command):
        self.place = tempfile.mkdtemp(prefix="sg-", dir="/tmp")
        os.chmod(self.place, 0o755)
        self.library = os.path.join(self.place, "libsockguard.so")
        self.command = os.path.join(self.place, "sockguard")
        for source, copy in ((library, self.library), (command, self.command)):
            shutil.copy(source, copy)
            os.chmod(copy, 0o755)
        root = os.geteuid() == 0
        user = pwd.getpwnam("nobody") if root else pwd.getpwuid(os.geteuid())
        self.user, self.uid, self.gid = user.pw_name, user.pw_uid, user.pw_gid
        self.identity = {"user": self.uid, "group": self.gid, "extra_groups": []} if root else {}
        self._running = set()

    def started(self, process):
        """Registers the process, so that clear() kills it."""
        self._running.add(process)

    def ended(self, process):
        """Kills the remaining processes of its process group."""
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
        self._running.discard(process)

    def clear(self):
        """Kills all processes and removes all files."""
        for process in list(self._running):
            self.ended(process)
        shutil.rmtree(self.place, ignore_errors=True)


def run_all(stage, pool, module):
    """Starts the module on all sides. Returns a future for each."""
    return {side: pool.submit(Run, stage, module, side) for side in SIDES}


def outcomes_of(name, results):
    """Returns a test's outcome on each side, as a tuple."""
    return tuple(result.get(name, "absent") for result in results)


def differing(results):
    """Returns the tests whose outcomes differ, with the outcomes on all sides."""
    found = {name: outcomes_of(name, results) for name in sorted(set().union(*results))}
    return {name: outcomes for name, outcomes in found.items() if len(set(outcomes)) > 1}


def is_clear(runs):
    """Returns whether a few runs show whether a test is different. runs has a tuple of outcomes for
    each run; those of the first run differ."""
    return len(set(runs)) == 1 or all(len(set(outcomes)) == 1 for outcomes in runs[1:])


def is_different(runs):
    """Returns whether a test is different. The first run shows only that it may be: a test with
    outcomes by chance is chosen because of that run."""
    for side in zip(*runs[1:]):
        often = {outcome for outcome in side if side.count(outcome) >= len(side) / 2}
        if any(often - set(other) for other in zip(*runs)):
            return True
    return False


class Comparison:
    """The results of all modules."""

    def __init__(self):
        self.counts = {side: collections.Counter() for side in SIDES}
        self.failed = []  # on all sides
        self._suspects = {}  # module: test: the outcomes on all sides, for each run
        self.flaky = []
        self.different = []

    def add(self, module, runs):
        """Counts a module's first runs."""
        for side in SIDES:
            self.counts[side].update(runs[side].outcomes.values())
        self.failed += [name for name in runs["without"].outcomes
                        if set(outcomes_of(name, [run.outcomes for run in runs.values()])) ==
                        {"failed"}]
        suspects = {name: [outcomes] for name, outcomes in
                    differing([runs[side].results() for side in SIDES]).items()}
        if suspects:
            self._suspects[module] = suspects
        say(f"{module}: {len(runs['without'].outcomes)} tests" +
            f"; {len(suspects)} outcomes differ, will run again" * bool(suspects))

    def settle(self, stage, pool):
        """Repeats the modules whose outcomes differ, to find out which tests are flaky."""
        for module, suspects in self._suspects.items():
            for count in range(1, MANY_RERUNS + 1):
                futures = run_all(stage, pool, module)
                results = [futures[side].result().results() for side in SIDES]
                for name, runs in suspects.items():
                    runs.append(outcomes_of(name, results))
                if count == FEW_RERUNS and all(map(is_clear, suspects.values())):
                    break
            for name, runs in suspects.items():
                (self.different if is_different(runs) else self.flaky).append((name, runs))

    def report(self):
        """Prints all results. Returns whether nothing differs."""
        for title, found in (("Different", self.different), ("Flaky", self.flaky)):
            for name, runs in found:
                say(f"{title}: {name}")
                lines = [", ".join(f"{side} {outcome}" for side, outcome in zip(SIDES, outcomes))
                         for outcomes in runs]
                say("    " + ("; ".join(lines) if len(set(lines)) > 1 else
                              lines[0] + ", in every run"))
        for name in self.failed:
            say(f"Failed on all sides: {name}")
        for side in SIDES:
            count = self.counts[side]
            say(f"{side + ':':12}{count['passed']} passed, {count['failed']} failed, "
                f"{count['skipped']} skipped")
        say(f"{len(self.different)} different, {len(self.flaky)} flaky")
        return not self.different


def arguments():
    """Returns the paths of the guard's library and command, or None with --list; and the
    modules."""
    parser = argparse.ArgumentParser(prog="transparency",
                                     description=__doc__.split("\n\n", 1)[0])
    parser.error = give_up
    parser.add_argument("--library", metavar="FILE", help="the library to preload")
    parser.add_argument("--command", metavar="FILE", help="the command that starts a supervisor")
    parser.add_argument("--list", action="store_true", help="list the modules and run none")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--quick", action="store_true",
                        help="run a part of the modules, about a minute on each side")
    choice.add_argument("--tests", nargs="+", metavar="NAME", help="run only these modules")
    options = parser.parse_args()
    for file in filter(None, (options.library, options.command)):
        if not os.path.isfile(file):
            give_up(f"{file}: no such file")
    modules = options.tests or (QUICK if options.quick else MODULES)
    for module in modules:
        if not re.fullmatch(r"test_\w+", module) or \
                not any(os.path.exists(f"{SUITE}/{module}{end}") for end in ("", ".py")):
            give_up(f"{module}: no such module in the suite")
    if not options.list and not (options.library and options.command):
        give_up("--library and --command are required")
    return None if options.list else (options.library, options.command), sorted(modules)


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the cleanup below runs
    guard, modules = arguments()
    if not guard:
        print(*modules, sep="\n")
        return 0
    stage = Stage(*guard)
    comparison = Comparison()
    say(f"Running {len(modules)} modules on {len(SIDES)} sides, as {stage.user}")
    try:
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            futures = {module: run_all(stage, pool, module) for module in modules}
            try:
                for module, sides in futures.items():
                    comparison.add(module, {side: sides[side].result() for side in SIDES})
                comparison.settle(stage, pool)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                stage.clear()
                raise
    except InvalidRun as reason:
        print(f"transparency: {reason}", file=sys.stderr)
        return 1
    finally:
        stage.clear()
    return 0 if comparison.report() else 1


if __name__ == "__main__":
    sys.exit(main())
