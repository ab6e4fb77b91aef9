"""Does CPython's own test suite see a difference? Runs parts of it without the guard and with it,
and compares the outcome of every test method.

usage: transparency.py [--quick | --tests NAME...] [--list | --library FILE]

What differs is run again, its whole module on both sides, three times: a test whose sides then
agree each time, or that came out in the same different ways on both, is flaky and no difference.

The tests run as an ordinary user, nobody where we are root: half the suite is about permissions,
which root passes by.
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
from lockname import socket_of  # noqa: E402

PYTHON = "/usr/bin/python3.11"
SUITE = "/usr/lib/python3.11/test"
SIDES = ("without", "with")
RERUNS = 3
LIMIT = 1200  # seconds until a module counts as hanging

# The modules that name AF_UNIX, or unlink, rename, remove or link files, or fork, or hand
# descriptors on; those of Windows and macOS, and those that only use a temporary file, left out.
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

# Left out where there is no network, but it talks to this machine alone.
NETWORK = ("test_socketserver",)

_printing = threading.Lock()


def say(text):
    """Prints a line, whole."""
    with _printing:
        print(text, flush=True)


def give_up(why):
    """Ends the program where nothing can be said about the library."""
    print(f"transparency: {why}", file=sys.stderr)
    sys.exit(2)


class Trouble(Exception):
    """A run that shows nothing, since it was not what it should have been."""


class Run:
    """One module of the suite on one side, run when made; what came of it."""

    _numbers = itertools.count(1)

    def __init__(self, stage, module, side):
        self.module = module
        # Three digits, for the length of a path to be the same on both sides: sockets' is limited.
        self._place = os.path.join(stage.place, f"{next(self._numbers):03}")
        os.mkdir(self._place)
        os.chown(self._place, stage.uid, stage.gid)
        self._names = os.path.join(self._place, "names")
        os.mkfifo(self._names)
        os.chown(self._names, stage.uid, stage.gid)
        self._output = os.path.join(self._place, "output")
        self._junit = os.path.join(self._place, "junit.xml")
        self.status = self._run(stage, stage.library if side == "with" else None)
        self.outcomes = self._outcomes()
        self.lockfiles = self._lockfiles()

    def _run(self, stage, library):
        environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8",
                       "HOME": self._place, "TMPDIR": self._place, "USER": stage.user}
        if library:
            environment["LD_PRELOAD"] = library
        argv = [PYTHON, "-m", "test", "--verbose", "--fail-env-changed", "--junit-xml",
                self._junit, "--fromfile", self._names]
        if self.module in NETWORK:
            argv += ["--use", "network"]
        with open(self._output, "wb") as output:
            process = subprocess.Popen(argv, env=environment, cwd=self._place, stdout=output,
                                       stderr=output, stdin=subprocess.DEVNULL,
                                       start_new_session=True, **stage.identity)
        stage.started(process)
        try:
            self._hand_over(process, library)
            process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            return "hung"
        finally:
            stage.ended(process)
        return process.returncode

    def _hand_over(self, process, library):
        """Tells which module to run, when it has been seen whether the library is mapped.

        The name comes through a FIFO, where the process waits for it.
        """
        while True:
            try:
                names = os.open(self._names, os.O_WRONLY | os.O_NONBLOCK)
                break
            except OSError:  # it has not come to read it yet
                if process.poll() is not None:
                    raise Trouble(f"python ended with {process.returncode}: " + self.said())
                time.sleep(0.01)
        with open(names, "w") as out, open(f"/proc/{process.pid}/maps") as maps:
            mapped = {line.split(maxsplit=5)[-1].strip() for line in maps}
            if library and library not in mapped:
                raise Trouble(f"{library} is not mapped into the guarded side")
            if not library and any("libsockguard" in name for name in mapped):
                raise Trouble("libsockguard is mapped into the side without")
            out.write(self.module + "\n")

    def said(self):
        """What it printed."""
        with open(self._output, errors="replace") as output:
            return output.read()

    def _outcomes(self):
        """Each test method: passed, failed or skipped."""
        outcomes = {}
        if os.path.exists(self._junit):
            for case in xml.parse(self._junit).iter("testcase"):
                if case.get("name"):  # a test with a subtest that failed has none
                    outcomes[case.get("name")] = self._outcome(case)
        said = self.said()
        # What failed outside of a test's own body too: a subtest, a class's preparation.
        for name, where in re.findall(r"^(?:FAIL|ERROR): (\S+) \(([\w.]+)\)", said, re.M):
            outcomes[where if where.endswith("." + name) else f"{where}.{name}"] = "failed"
        if re.search(rf"^{self.module} skipped", said, re.M):
            outcomes[self.module] = "skipped"
        return outcomes

    @staticmethod
    def _outcome(case):
        if case.find("failure") is not None or case.find("error") is not None or \
                case.get("outcome"):
            return "failed"
        return "skipped" if case.find("skipped") is not None else "passed"

    def _lockfiles(self):
        """The lock files it has left that have no socket beside them."""
        left = [os.path.join(folder, name) for folder, _, names in os.walk(self._place)
                for name in names if socket_of(name)]
        return [name for name in left if not os.path.lexists(socket_of(name))]

    def about_all(self):
        """The outcomes, and with them what concerns the module as a whole."""
        whole = f"{self.module}, exit status"
        return {**self.outcomes, whole: str(self.status),
                f"{self.module}, lock files left alone": str(len(self.lockfiles))}


class Stage:
    """Where the tests run: the directory, the library in it, and the user."""

    def __init__(self, library):
        self.place = tempfile.mkdtemp(prefix="sg-", dir="/tmp")
        os.chmod(self.place, 0o755)
        self.library = os.path.join(self.place, "libsockguard.so")
        shutil.copy(library, self.library)
        os.chmod(self.library, 0o755)
        root = os.geteuid() == 0
        user = pwd.getpwnam("nobody") if root else pwd.getpwuid(os.geteuid())
        self.user, self.uid, self.gid = user.pw_name, user.pw_uid, user.pw_gid
        self.identity = {"user": self.uid, "group": self.gid, "extra_groups": []} if root else {}
        self._running = set()

    def started(self, process):
        """To be ended with us."""
        self._running.add(process)

    def ended(self, process):
        """Kills what is left of its session's group."""
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
        self._running.discard(process)

    def clear(self):
        """Leaves no process and no file."""
        for process in list(self._running):
            self.ended(process)
        shutil.rmtree(self.place, ignore_errors=True)


def run_both(stage, pool, module):
    """The module's runs on both sides, to come: a future each."""
    return {side: pool.submit(Run, stage, module, side) for side in SIDES}


def differing(runs):
    """The tests that came out differently: a name, and the outcome on each side."""
    plain, guarded = (runs[side].about_all() for side in SIDES)
    return {name: (plain.get(name, "absent"), guarded.get(name, "absent"))
            for name in sorted(set(plain) | set(guarded)) if plain.get(name) != guarded.get(name)}


def is_flaky(pairs):
    """Of a test's pairs of outcomes, the first of which differed: are the sides alike after all?"""
    again = pairs[1:]
    return all(plain == guarded for plain, guarded in again) or \
        {plain for plain, _ in pairs} == {guarded for _, guarded in pairs}


class Comparison:
    """What the runs say, all modules together."""

    def __init__(self):
        self.counts = {side: collections.Counter() for side in SIDES}
        self.failed = []  # on both sides alike
        self._suspects = {}  # module: test: the outcomes without and with, of each run
        self.flaky = []
        self.different = []

    def add(self, module, runs):
        """Counts a module's first runs."""
        for side in SIDES:
            self.counts[side].update(runs[side].outcomes.values())
        self.failed += [name for name, outcome in runs["without"].outcomes.items()
                        if outcome == runs["with"].outcomes.get(name) == "failed"]
        suspects = {name: [pair] for name, pair in differing(runs).items()}
        if suspects:
            self._suspects[module] = suspects
        say(f"{module}: {len(runs['without'].outcomes)} tests" +
            f", {len(suspects)} of them to be run again" * bool(suspects))

    def settle(self, stage, pool):
        """Runs again what has differed, to tell what is flaky."""
        for module, suspects in self._suspects.items():
            for _ in range(RERUNS):
                futures = run_both(stage, pool, module)
                runs = {side: futures[side].result() for side in SIDES}
                self._again(suspects, *(runs[side].about_all() for side in SIDES))
            for name, pairs in suspects.items():
                (self.flaky if is_flaky(pairs) else self.different).append((name, pairs))

    @staticmethod
    def _again(suspects, plain, guarded):
        for name, pairs in suspects.items():
            pairs.append((plain.get(name, "absent"), guarded.get(name, "absent")))

    def tell(self):
        """Prints it all. Whether nothing differs."""
        for title, found in (("Different", self.different), ("Flaky on both sides", self.flaky)):
            for name, pairs in found:
                say(f"{title}: {name}")
                said = [f"without {plain}, with {guarded}" for plain, guarded in pairs]
                say("    " + ("; ".join(said) if len(set(said)) > 1 else said[0] + ", each time"))
        for name in self.failed:
            say(f"Failed on both sides: {name}")
        for side in SIDES:
            count = self.counts[side]
            say(f"{side:8}the guard: {count['passed']} passed, {count['failed']} failed, "
                f"{count['skipped']} skipped")
        say(f"{len(self.different)} different, {len(self.flaky)} flaky on both sides")
        return not self.different


def arguments():
    """What was asked for: the library, None to tell the modules only, and the modules."""
    parser = argparse.ArgumentParser(prog="transparency",
                                     description=__doc__.split("\n\n", 1)[0])
    parser.error = give_up
    parser.add_argument("--library", metavar="FILE", help="the library to preload")
    parser.add_argument("--list", action="store_true", help="tell the modules, and run nothing")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--quick", action="store_true", help="a part, of about a minute a side")
    choice.add_argument("--tests", nargs="+", metavar="NAME", help="these modules of the suite")
    asked = parser.parse_args()
    if asked.library and not os.path.isfile(asked.library):
        give_up(f"{asked.library}: no such file")
    modules = asked.tests or (QUICK if asked.quick else MODULES)
    for module in modules:
        if not re.fullmatch(r"test_\w+", module) or \
                not any(os.path.exists(f"{SUITE}/{module}{end}") for end in ("", ".py")):
            give_up(f"{module}: no such module of the suite")
    if not asked.list and not asked.library:
        give_up("there is no library to try")
    return None if asked.list else asked.library, sorted(modules)


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and nothing is left behind
    library, modules = arguments()
    if not library:
        print(*modules, sep="\n")
        return 0
    stage = Stage(library)
    comparison = Comparison()
    say(f"Running {len(modules)} modules twice, as {stage.user}")
    try:
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            futures = {module: run_both(stage, pool, module) for module in modules}
            try:
                for module, sides in futures.items():
                    comparison.add(module, {side: sides[side].result() for side in SIDES})
                comparison.settle(stage, pool)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                stage.clear()
                raise
    except Trouble as trouble:
        print(f"transparency: {trouble}", file=sys.stderr)
        return 1
    finally:
        stage.clear()
    return 0 if comparison.tell() else 1


if __name__ == "__main__":
    sys.exit(main())
