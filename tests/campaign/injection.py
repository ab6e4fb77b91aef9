"""Runs a guarded call under strace, which kills the process at one of its system calls, or makes
that system call fail.

A scenario is a guarded call in a situation. TestBed.record() lists the system calls that the
library makes for it. TestBed.run() creates the same situation again and makes the call with one
injection. The test then inspects the outcome from outside, and starts and stops a server once more
on every name.
"""

import concurrent.futures
import errno
import fcntl
import os
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "integration"))
import harness  # noqa: E402

VICTIM = os.path.join(harness.BUILD, "tests", "campaign", "victim")
STRACE = shutil.which("strace")
FULL = os.environ.get("SOCKGUARD_CAMPAIGN") == "full"
JOBS = int(os.environ.get("SOCKGUARD_JOBS", "0")) or (os.cpu_count() or 1) + 1
NAMES = ("a", "b", "c")
F_OFD_GETLK = 36
EADDRINUSE = errno.EADDRINUSE


class Scenario:
    """A call (the verb), the situation before it, and its result without an injection."""

    def __init__(self, name, words, result=0, rival=(), stale=(), crashed=(), locks=(), files=(),
                 orphans=(), while_loading=False):
        self.name, self.words, self.result = name, words.split(), result
        self.rival = rival      # names of live sockets of another guarded process
        self.stale = stale      # names of stale sockets of an unguarded process
        self.crashed = crashed  # names of stale sockets of a guarded process, with lock files
        self.locks = locks      # names of lock files without sockets
        self.files = files      # names of ordinary files
        self.orphans = orphans  # stale names, still claimed by a process whose path was stolen
        self.sockets = sum(word.startswith("bind") for word in self.words)
        self.forks = "fork" in self.words
        self.while_loading = while_loading  # inject while the library is loaded, not in the verb
        self.reuses_stale = "reuse" in self.words and bool(stale or crashed)


def _removals():
    for verb in ("unlink", "unlinkat", "remove"):
        yield Scenario(f"{verb} own", f"bind:a -- {verb} a")
        yield Scenario(f"{verb} stale", f"-- {verb} a", stale="a")
        yield Scenario(f"{verb} stale, lock file left", f"-- {verb} a", crashed="a")
        yield Scenario(f"{verb} live", f"-- {verb} a", EADDRINUSE, rival="a")
    yield Scenario("unlink absent", "-- unlink a", errno.ENOENT)
    yield Scenario("unlink own, closed before", "bind:a close -- unlink a")
    yield Scenario("unlink inherited", "bind:a exec -- unlink a")


def _binds():
    yield Scenario("bind fresh", "-- bind a")
    yield Scenario("bind fresh, lock file left", "-- bind a", locks="a")
    yield Scenario("bind live", "-- bind a", EADDRINUSE, rival="a")
    yield Scenario("bind reuse, fresh", "reuse -- bind a")
    yield Scenario("bind reuse, stale", "reuse -- bind a", stale="a")
    yield Scenario("bind reuse, stale, lock file left", "reuse -- bind a", crashed="a")
    yield Scenario("bind reuse, live", "reuse -- bind a", EADDRINUSE, rival="a")


def _renames():
    for verb in ("rename", "renameat"):
        yield Scenario(f"{verb} to fresh", f"bind:b -- {verb} b a")
        yield Scenario(f"{verb} over stale, lock file left", f"bind:b -- {verb} b a", crashed="a")
        yield Scenario(f"{verb} over live", f"bind:b -- {verb} b a", EADDRINUSE, rival="a")
    yield Scenario("rename over stale", "bind:b -- rename b a", stale="a")
    yield Scenario("rename over own", "bind:a bind:b -- rename b a")
    yield Scenario("rename file over stale", "-- rename b a", crashed="a", files="b")
    yield Scenario("rename file over live", "-- rename b a", EADDRINUSE, rival="a", files="b")
    yield Scenario("rename away stale", "-- rename a b", crashed="a")
    yield Scenario("rename away live", "-- rename a b", EADDRINUSE, rival="a")
    yield Scenario("exchange own", "bind:a bind:b -- exchange a b")
    yield Scenario("exchange stale", "bind:b -- exchange b a", crashed="a")
    yield Scenario("exchange live", "bind:b -- exchange b a", EADDRINUSE, rival="a")
    yield Scenario("exchange file for live", "-- exchange b a", EADDRINUSE, rival="a", files="b")


def _links():
    for verb in ("link", "linkat"):
        yield Scenario(f"{verb} own", f"bind:b -- {verb} b a")
        yield Scenario(f"{verb} own to live", f"bind:b -- {verb} b a", errno.EEXIST, rival="a")
        yield Scenario(f"{verb} foreign", f"-- {verb} a b", rival="a")
    yield Scenario("link own to stale", "bind:b -- link b a", errno.EEXIST, crashed="a")


def scenarios(forks=False):
    """All scenarios; with forks, also those in which a child still holds the sockets."""
    yield from _binds()
    yield from _removals()
    yield from _renames()
    yield from _links()
    yield Scenario("load, then unlink", "bind:a exec -- unlink a", while_loading=True)
    yield Scenario("load, then rename", "bind:a bind:b exec -- rename a b", while_loading=True)
    if forks:
        yield Scenario("unlink stale, an orphan's", "-- unlink a", orphans="a")
        yield Scenario("rename over stale, an orphan's", "bind:b -- rename b a", orphans="a")
        yield Scenario("bind reuse, stale, an orphan's", "reuse -- bind a", orphans="a")
        yield Scenario("unlink own, forked", "bind:a fork -- unlink a")
        yield Scenario("rename away own, forked", "bind:a fork -- rename a b")
        yield Scenario("rename over own, forked", "bind:a bind:b fork -- rename a b")
        yield Scenario("exchange own, forked", "bind:a bind:b fork -- exchange a b")
        yield Scenario("link own, forked", "bind:a fork -- link a b")


class Position:
    """The nth recorded system call of that name."""

    def __init__(self, name, nth, text):
        self.name, self.nth, self.text = name, nth, text
        self.on_lockfile = ".sockguard" in text
        # The system call is a lookup of the path in the program's call, or that call itself.
        self.on_socket_path = re.search(r'"[^"]+"', text) and "/proc" not in text and \
            not self.on_lockfile

    def __str__(self):
        return f"{self.name} #{self.nth}: {self.text[:100]}"


def parse_log(log, while_loading):
    """Returns the positions of the system calls between the victim's two marks (getsid).

    If while_loading is true, returns those from the library's constructor to the first mark
    instead.
    """
    counts, positions, inside, started = {}, [], False, False
    victim = None
    for line in log.splitlines():
        found = re.match(r"(\d+) +(\w+)\((.*)", line)
        if not found or (victim and found[1] != victim):
            continue
        victim, name, text = found.groups()
        counts[name] = counts.get(name, 0) + 1
        if name == "getsid":
            inside = not inside and not while_loading
            if while_loading:
                return positions
            continue
        if while_loading:
            started = started or (name == "execve" and counts[name] > 1)
            # report_remember_stderr() checks descriptor 2 first.
            inside = inside or (started and name in ("newfstatat", "fstat")
                                and text.startswith("2,"))
        if inside:
            positions.append(Position(name, counts[name], text))
    return positions


class Outcome:
    """The outcome of a call."""

    def __init__(self):
        self.answer = None    # the victim's line, as numbers
        self.switches = 0     # the victim's voluntary context switches: see harness
        self.died = None      # how the victim died, if it died before it printed the line
        self.injected = False
        self.unused_claim = False  # the victim has a claim on a lock file that was unlinked
        self.problems = []

    @property
    def result(self):
        return self.answer[3] if self.answer else None


class TestBed:
    """A scratch directory in which the situation of a scenario is created, and the rival."""

    def __init__(self, scenario, wrapper=()):
        self.scenario = scenario
        self.wrapper = list(wrapper)
        self.dir = tempfile.mkdtemp(prefix="sg-", dir="/tmp")
        self.log = self.dir + ".strace"
        self.rival, self.rival_inodes = None, {}
        self.orphan = None

    def end(self, outcome):
        """Kills the victim, and waits until its descriptors are closed."""
        if outcome.answer:
            try:
                os.kill(outcome.answer[0], signal.SIGKILL)
            except ProcessLookupError:
                pass
            if not self.scenario.forks:
                outcome.process.wait()
        end(outcome.process)

    def close(self):
        self._end_orphan()
        self._end_rival()
        shutil.rmtree(self.dir)
        if os.path.exists(self.log):
            os.unlink(self.log)

    def path(self, name):
        return os.path.join(self.dir, name)

    # The situation.

    def _popen(self, argv):
        return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, start_new_session=True,
                                env=harness.environment(False))

    def guarded(self, *words):
        return [*self.wrapper, "env", "LD_PRELOAD=" + harness.LIBRARY, VICTIM, self.dir, *words]

    def _end_rival(self):
        if self.rival:
            end(self.rival)
        self.rival = None

    def _begin_rival(self):
        self._end_rival()
        self._remove_files()
        binds = ["bind:" + name for name in self.scenario.rival]
        self.rival = self._popen(self.guarded(*binds, "--", "none"))
        if not self.rival.stdout.readline():
            raise RuntimeError("the rival died")
        self.rival_inodes = {name: self.inode(name) for name in self.scenario.rival}

    def inode(self, name):
        try:
            return os.lstat(self.path(name)).st_ino
        except FileNotFoundError:
            return None

    def _remove_files(self, keep=()):
        for name in os.listdir(self.dir):
            if name.split(".")[0] not in keep:
                os.unlink(self.path(name))

    def _leave_socket(self, name):
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(self.path(name))

    def _leave_orphan(self, name):
        """Creates the situation after an unguarded process stole the path and died."""
        self._end_orphan()
        self.orphan = self._popen(self.guarded("bind:" + name, "--", "none"))
        if not self.orphan.stdout.readline():
            raise RuntimeError("the orphan died")
        os.unlink(self.path(name))
        self._leave_socket(name)

    def _end_orphan(self):
        if self.orphan:
            end(self.orphan)
        self.orphan = None

    def _leave_lock(self, name):
        fd = os.open(harness.lock_file_of(self.path(name)), os.O_WRONLY | os.O_CREAT | os.O_EXCL,
                     0o600)
        os.write(fd, ABANDONED_RECORD)
        os.close(fd)

    def prepare(self):
        if self.scenario.rival and (self.rival is None or not self.rival_is_intact()):
            self._begin_rival()
        self._remove_files(keep=self.scenario.rival)
        for name in self.scenario.orphans:
            self._leave_orphan(name)
        for name in (*self.scenario.stale, *self.scenario.crashed):
            self._leave_socket(name)
        for name in (*self.scenario.locks, *self.scenario.crashed):
            self._leave_lock(name)
        for name in self.scenario.files:
            with open(self.path(name), "w") as file:
                file.write("a file\n")

    def rival_is_intact(self):
        return self.rival_lost() is None and self.rival_claim_lost() is None

    def rival_lost(self):
        for name, inode in self.rival_inodes.items():
            if self.inode(name) != inode or not self.is_live(name):
                return f"THEFT: the rival lost {name}"
        return None

    def rival_claim_lost(self):
        for name in self.rival_inodes:
            if lock_on(harness.lock_file_of(self.path(name)), 1) is not True:
                return f"the rival lost its claim on {name}"
        return None

    def is_live(self, name):
        """Returns whether the socket is live, by connecting to it. All victims listen, but none
        accepts a connection."""
        with socket.socket(socket.AF_UNIX) as client:
            client.setblocking(False)
            try:
                client.connect(self.path(name))
            except BlockingIOError:
                return True  # the queue of connections is full
            except OSError:
                return False
            return True

    # The call.

    def strace(self, words, *options):
        return [STRACE, "-f", "-o", self.log, "-E", "LD_PRELOAD=" + harness.LIBRARY, *options,
                VICTIM, self.dir, *words]

    def record(self):
        self.prepare()
        process = self._popen(self.strace(self.scenario.words))
        line = process.stdout.readline()
        end(process)
        with open(self.log) as log:
            text = log.read()
        return line, text

    def run(self, injection=None, sweep=False):
        """Makes the call. If the victim printed its line, it is still alive and waits."""
        words = list(self.scenario.words)
        if sweep:
            words.insert(words.index("--"), "sweep")
        outcome = Outcome()
        self.prepare()
        options = ["-e", "trace=" + injection.split(":")[0], "--inject=" + injection] \
            if injection else []
        if injection and "signal=" not in injection:
            options.append("--seccomp-bpf")  # faster; but with it, strace 6.1 injects no signals
        argv = self.strace(words, *options) if injection else self.guarded(*words)
        process = self._popen(argv)
        ready, _, _ = select.select([process.stdout], [], [], harness.TIMEOUT)
        line = process.stdout.readline() if ready else b""
        if line:
            outcome.answer = [int(word) for word in line.split()]
            outcome.switches = harness.voluntary_switches(outcome.answer[0])
        elif ready:
            self._await_death(process)
        else:
            outcome.problems.append("HANG: no answer")
        outcome.process = process
        if injection:
            with open(self.log) as log:
                text = log.read()
            outcome.injected = "(INJECTED)" in text or "killed by SIGKILL" in text
            killed = re.search(r"\+\+\+ (killed by \w+|exited with [1-9]\d*)", text)
            outcome.died = killed[1] if killed else None
        return outcome

    def _await_death(self, process):
        if not self.scenario.forks:
            process.wait()
            return

        def killed():
            with open(self.log) as log:
                return "+++ killed" in log.read()
        harness.wait_until(killed, "the victim's death")

    # Afterwards.

    def next_start(self):
        """Starts and stops a server on every name. Yields the problems found.

        A start on a live name must be refused. Any other start must succeed, and wait for no mutex.
        """
        live = {name: self.inode(name) for name in NAMES if self.is_live(name)}
        process = self._popen(self.guarded("cycle", *NAMES))
        timer = threading.Timer(harness.TIMEOUT, process.kill)
        timer.start()
        lines = process.stdout.read().decode().splitlines()
        timer.cancel()
        process.stdout.close()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if usage.ru_nvcsw > harness.MAX_SWITCHES:
            yield f"HANG: the next start waited, in {usage.ru_nvcsw} pauses"
        if len(lines) != len(NAMES):
            yield f"CRASH: the next start ended with status {process.returncode}"
            return
        for name, line in zip(NAMES, lines):
            first, bound, last = (int(word) for word in line.split())
            if name not in live:
                if first not in (0, errno.ENOENT) or bound or last:
                    yield (f"FALSE ALARM: the next start of {name}: "
                           f"{names_of_errnos(first, bound, last)}")
            elif self.inode(name) != live[name] or bound == 0:
                yield f"THEFT: the next start took {name} from a live socket"
        litter = [name for name in os.listdir(self.dir)
                  if (harness.socket_path_of(name) or name).split(".")[0] not in live
                  and name not in self.scenario.files]
        if litter:
            yield f"LITTER: {' '.join(litter)}"


def names_of_errnos(*errors):
    return ", ".join(errno.errorcode.get(error, str(error)) for error in errors)


def end(process):
    """Kills a program of the test and its process group."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
    process.stdout.close()


def lock_on(path, byte):
    """Returns whether a process holds a lock on a byte of a lock file; None if there is no file."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        lock = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
        return struct.unpack("hhqqi4x", fcntl.fcntl(fd, F_OFD_GETLK, lock))[0] != fcntl.F_UNLCK
    finally:
        os.close(fd)


def _record_of_a_killed_owner():
    """Returns the record that a killed guarded process leaves in a lock file."""
    bed = TestBed(Scenario("record", "-- bind a"))
    outcome = bed.run()
    bed.end(outcome)
    with open(bed.path(".a.sockguard"), "rb") as file:
        record = file.read()
    bed.close()
    return record


ABANDONED_RECORD = b""


class Results:
    """What a campaign has counted, and the failures of each scenario."""

    def __init__(self):
        self.counts, self.failures, self._lock = {}, {}, threading.Lock()

    def count(self, what, by=1):
        with self._lock:
            self.counts[what] = self.counts.get(what, 0) + by

    def fail(self, scenario, text):
        with self._lock:
            self.failures.setdefault(scenario.name, []).append(text)


def _record_twice(bed):
    """Records twice and returns the recording with fewer calls.

    Each bind checks a part of the library's table of own paths. If one of this scenario's paths is
    in that part, the bind makes an additional call. The inode number selects the part, so the
    second recording must not get the inodes of the first.
    """
    first = bed.record()
    kept = [os.open(entry, os.O_PATH | os.O_NOFOLLOW) for entry in os.scandir(bed.dir)]
    try:
        return min(first, bed.record(), key=lambda recorded: recorded[1].count("\n"))
    finally:
        for fd in kept:
            os.close(fd)


def campaign(chosen, inject, make_bed=TestBed, run_scenario=None):
    """Runs a few of the chosen scenarios at a time and returns the Results.

    For each, calls run_scenario(bed, results) if it is given. Otherwise, records the system calls
    and calls inject(bed, positions, results).
    """
    global ABANDONED_RECORD
    ABANDONED_RECORD = _record_of_a_killed_owner()
    results = Results()

    def run_one(scenario):
        bed = make_bed(scenario)
        try:
            if run_scenario:
                run_scenario(bed, results)
                return
            line, log = _record_twice(bed)
            positions = parse_log(log, scenario.while_loading)
            result = int(line.split()[3]) if line else None
            if result != scenario.result or not positions:
                results.fail(scenario, f"recording: {line!r}, {len(positions)} system calls")
                return
            results.count("scenarios")
            inject(bed, positions, results)
        finally:
            bed.close()

    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        for future in [pool.submit(run_one, scenario) for scenario in chosen]:
            future.result()
    return results


def add_tests(case, chosen):
    """Adds a test method for each scenario, which reports the failures in case.results."""
    for scenario in chosen:
        def test(self, name=scenario.name):
            failures = self.results.failures.get(name)
            if failures:
                self.fail("\n".join([f"{len(failures)} failures", *failures]))
        test.__doc__ = scenario.name
        setattr(case, "test_" + re.sub(r"\W+", "_", scenario.name), test)
