"""Runs a guarded call under strace, which kills it at, or fails, one system call in it.

A scenario is a call in a situation. record() lists the system calls the library makes for it, and
Field.run() makes the call again in a fresh situation of the same kind with one injection. What came
of it is looked at from outside, and then every name is started and stopped once more.
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
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "integration"))
import harness  # noqa: E402

VICTIM = os.path.join(harness.BUILD, "tests", "campaign", "victim")
STRACE = shutil.which("strace")
FULL = os.environ.get("SOCKGUARD_CAMPAIGN") == "full"
JOBS = int(os.environ.get("SOCKGUARD_JOBS", "0")) or (os.cpu_count() or 1) + 1
NAMES = ("a", "b", "c")
AT_ONCE = 1.5  # seconds; a wait for a mutex that is never given back takes three
F_OFD_GETLK = 36
INUSE = errno.EADDRINUSE


class Scenario:
    """A verb, what goes before it, and its result when nothing fails."""

    def __init__(self, name, words, result=0, rival=(), stale=(), crashed=(), locks=(), files=(),
                 orphans=(), loads=False):
        self.name, self.words, self.result = name, words.split(), result
        self.rival = rival      # live sockets of another guarded process
        self.stale = stale      # sockets left by an unguarded process
        self.crashed = crashed  # sockets left by a guarded one, with their lock files
        self.locks = locks      # such lock files alone
        self.files = files      # ordinary files
        self.orphans = orphans  # stale, where a socket that lost the name still claims it
        self.sockets = sum(word.startswith("bind") for word in self.words)
        self.forks = "fork" in self.words
        self.loads = loads  # the load of the library is looked at, and not the verb
        self.reuses_stale = "reuse" in self.words and bool(stale or crashed)


def _removals():
    for verb in ("unlink", "unlinkat", "remove"):
        yield Scenario(f"{verb} own", f"bind:a -- {verb} a")
        yield Scenario(f"{verb} stale", f"-- {verb} a", stale="a")
        yield Scenario(f"{verb} stale, lock file left", f"-- {verb} a", crashed="a")
        yield Scenario(f"{verb} live", f"-- {verb} a", INUSE, rival="a")
    yield Scenario("unlink absent", "-- unlink a", errno.ENOENT)
    yield Scenario("unlink own, closed before", "bind:a close -- unlink a")
    yield Scenario("unlink inherited", "bind:a exec -- unlink a")


def _binds():
    yield Scenario("bind fresh", "-- bind a")
    yield Scenario("bind fresh, lock file left", "-- bind a", locks="a")
    yield Scenario("bind live", "-- bind a", INUSE, rival="a")
    yield Scenario("bind reuse, fresh", "reuse -- bind a")
    yield Scenario("bind reuse, stale", "reuse -- bind a", stale="a")
    yield Scenario("bind reuse, stale, lock file left", "reuse -- bind a", crashed="a")
    yield Scenario("bind reuse, live", "reuse -- bind a", INUSE, rival="a")


def _renames():
    for verb in ("rename", "renameat"):
        yield Scenario(f"{verb} to fresh", f"bind:b -- {verb} b a")
        yield Scenario(f"{verb} over stale, lock file left", f"bind:b -- {verb} b a", crashed="a")
        yield Scenario(f"{verb} over live", f"bind:b -- {verb} b a", INUSE, rival="a")
    yield Scenario("rename over stale", "bind:b -- rename b a", stale="a")
    yield Scenario("rename over own", "bind:a bind:b -- rename b a")
    yield Scenario("rename file over stale", "-- rename b a", crashed="a", files="b")
    yield Scenario("rename file over live", "-- rename b a", INUSE, rival="a", files="b")
    yield Scenario("rename away stale", "-- rename a b", crashed="a")
    yield Scenario("rename away live", "-- rename a b", INUSE, rival="a")
    yield Scenario("exchange own", "bind:a bind:b -- exchange a b")
    yield Scenario("exchange stale", "bind:b -- exchange b a", crashed="a")
    yield Scenario("exchange live", "bind:b -- exchange b a", INUSE, rival="a")
    yield Scenario("exchange file for live", "-- exchange b a", INUSE, rival="a", files="b")


def _links():
    for verb in ("link", "linkat"):
        yield Scenario(f"{verb} own", f"bind:b -- {verb} b a")
        yield Scenario(f"{verb} own to live", f"bind:b -- {verb} b a", errno.EEXIST, rival="a")
        yield Scenario(f"{verb} foreign", f"-- {verb} a b", rival="a")
    yield Scenario("link own to stale", "bind:b -- link b a", errno.EEXIST, crashed="a")


def scenarios(forks=False):
    """All of them. With forks also those where a child holds the sockets on."""
    yield from _binds()
    yield from _removals()
    yield from _renames()
    yield from _links()
    yield Scenario("load, then unlink", "bind:a exec -- unlink a", loads=True)
    yield Scenario("load, then rename", "bind:a bind:b exec -- rename a b", loads=True)
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
    """The nth system call of a name, as it was recorded."""

    def __init__(self, name, nth, text):
        self.name, self.nth, self.text = name, nth, text
        self.on_lockfile = ".sockguard" in text
        # The program's own name is looked at, or it is the call it asked for.
        self.on_name = re.search(r'"[^"]+"', text) and "/proc" not in text and \
            not self.on_lockfile

    def __str__(self):
        return f"{self.name} #{self.nth}: {self.text[:100]}"


def parse(log, loads):
    """The system calls between the marks; or, of a load, from the constructor to the first mark."""
    counts, positions, inside, started = {}, [], False, False
    victim = None
    for line in log.splitlines():
        found = re.match(r"(\d+) +(\w+)\((.*)", line)
        if not found or (victim and found[1] != victim):
            continue
        victim, name, text = found.groups()
        counts[name] = counts.get(name, 0) + 1
        if name == "getsid":
            inside = not inside and not loads
            if loads:
                return positions
            continue
        if loads:
            started = started or (name == "execve" and counts[name] > 1)
            # report_load() looks at descriptor 2 first.
            inside = inside or (started and name in ("newfstatat", "fstat")
                                and text.startswith("2,"))
        if inside:
            positions.append(Position(name, counts[name], text))
    return positions


class Outcome:
    """What a call came to."""

    def __init__(self):
        self.said = None    # the victim's line, as numbers
        self.took = 0.0
        self.died = None    # how it died before it said anything
        self.injected = False
        self.idle = False   # it keeps a claim on a lock file that is gone
        self.troubles = []

    @property
    def result(self):
        return self.said[3] if self.said else None


class Field:
    """A scratch directory with a scenario in it, and with the rival that goes with that."""

    def __init__(self, scenario, wrapper=()):
        self.scenario = scenario
        self.wrapper = list(wrapper)
        self.dir = tempfile.mkdtemp(prefix="sg-", dir="/tmp")
        self.log = self.dir + ".strace"
        self.rival, self.rival_inodes = None, {}
        self.orphan = None

    def end(self, outcome):
        """Ends the victim, and waits until all it held is released."""
        if outcome.said:
            try:
                os.kill(outcome.said[0], signal.SIGKILL)
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
        self._wipe()
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

    def _wipe(self, keep=()):
        for name in os.listdir(self.dir):
            if name.split(".")[0] not in keep:
                os.unlink(self.path(name))

    def _leave_socket(self, name):
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(self.path(name))

    def _leave_orphan(self, name):
        """What is there after an unguarded thief took the name and died."""
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
        fd = os.open(harness.lock_of(self.path(name)), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(fd, LEFT_RECORD)
        os.close(fd)

    def prepare(self):
        if self.scenario.rival and (self.rival is None or not self.rival_is_whole()):
            self._begin_rival()
        self._wipe(keep=self.scenario.rival)
        for name in self.scenario.orphans:
            self._leave_orphan(name)
        for name in (*self.scenario.stale, *self.scenario.crashed):
            self._leave_socket(name)
        for name in (*self.scenario.locks, *self.scenario.crashed):
            self._leave_lock(name)
        for name in self.scenario.files:
            with open(self.path(name), "w") as file:
                file.write("a file\n")

    def rival_is_whole(self):
        return self.rival_lost() is None and self.rival_claim_lost() is None

    def rival_lost(self):
        for name, inode in self.rival_inodes.items():
            if self.inode(name) != inode or not self.is_live(name):
                return f"THEFT: the rival lost {name}"
        return None

    def rival_claim_lost(self):
        for name in self.rival_inodes:
            if lock_on(harness.lock_of(self.path(name)), 1) is not True:
                return f"the rival lost its claim on {name}"
        return None

    def is_live(self, name):
        """By a connect of ours: the victims all listen, and accept nobody."""
        with socket.socket(socket.AF_UNIX) as client:
            client.setblocking(False)
            try:
                client.connect(self.path(name))
            except BlockingIOError:
                return True  # its queue is full
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
        """Makes the call. Its process is still there, waiting, if it has said something."""
        words = list(self.scenario.words)
        if sweep:
            words.insert(words.index("--"), "sweep")
        outcome = Outcome()
        self.prepare()
        options = ["-e", "trace=" + injection.split(":")[0], "--inject=" + injection] \
            if injection else []
        if injection and "signal=" not in injection:
            options.append("--seccomp-bpf")  # faster, but strace 6.1 sends no signals then
        argv = self.strace(words, *options) if injection else self.guarded(*words)
        began = time.monotonic()
        process = self._popen(argv)
        ready, _, _ = select.select([process.stdout], [], [], 20)
        line = process.stdout.readline() if ready else b""
        outcome.took = time.monotonic() - began
        if line:
            outcome.said = [int(word) for word in line.split()]
        elif ready:
            self._await_death(process)
        else:
            outcome.troubles.append("HANG: no answer in 20 seconds")
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

        def told():
            with open(self.log) as log:
                return "+++ killed" in log.read()
        harness.wait_until(told, "the victim's death")

    # Afterwards.

    def next_start(self):
        """Starts and stops every name: a live one must be refused, any other succeed at once."""
        live = {name: self.inode(name) for name in NAMES if self.is_live(name)}
        began = time.monotonic()
        process = self._popen(self.guarded("cycle", *NAMES))
        text, _ = process.communicate(timeout=30)
        took = time.monotonic() - began
        if took > AT_ONCE:
            yield f"the next start took {took:.1f} s"
        lines = text.decode().splitlines()
        if len(lines) != len(NAMES):
            yield f"CRASH: the next start ended with status {process.returncode}"
            return
        for name, line in zip(NAMES, lines):
            first, bound, last = (int(word) for word in line.split())
            if name not in live:
                if first not in (0, errno.ENOENT) or bound or last:
                    yield f"FALSE ALARM: the next start of {name}: {told(first, bound, last)}"
            elif self.inode(name) != live[name] or bound == 0:
                yield f"THEFT: the next start took {name} from a live socket"
        litter = [name for name in os.listdir(self.dir)
                  if (harness.socket_of(name) or name).split(".")[0] not in live
                  and name not in self.scenario.files]
        if litter:
            yield f"LITTER: {' '.join(litter)}"


def told(*errors):
    return ", ".join(errno.errorcode.get(error, str(error)) for error in errors)


def end(process):
    """Kills a program we started, and whatever it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
    process.stdout.close()


def lock_on(path, byte):
    """Whether somebody holds a lock on a byte of a lock file, None if there is no file."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        asked = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
        return struct.unpack("hhqqi4x", fcntl.fcntl(fd, F_OFD_GETLK, asked))[0] != fcntl.F_UNLCK
    finally:
        os.close(fd)


def _left_record():
    """What a guarded process leaves in a lock file when it is killed."""
    field = Field(Scenario("record", "-- bind a"))
    outcome = field.run()
    field.end(outcome)
    with open(field.path(".a.sockguard"), "rb") as file:
        record = file.read()
    field.close()
    return record


LEFT_RECORD = b""


class Tally:
    """Counts, and failures by scenario."""

    def __init__(self):
        self.counts, self.failures, self._lock = {}, {}, threading.Lock()

    def count(self, what, by=1):
        with self._lock:
            self.counts[what] = self.counts.get(what, 0) + by

    def fail(self, scenario, text):
        with self._lock:
            self.failures.setdefault(scenario.name, []).append(text)


def _least(field):
    """Now and then a bind comes upon a name of ours as it sweeps its part of the table, and looks at
    it: a call more, which hardly ever is there again."""
    return min((field.record() for _ in range(2)), key=lambda recorded: recorded[1].count("\n"))


def campaign(chosen, work):
    """work(field, positions, tally) for each scenario, a few side by side. Returns the tally."""
    global LEFT_RECORD
    LEFT_RECORD = _left_record()
    tally = Tally()

    def one(scenario):
        field = Field(scenario)
        try:
            line, log = _least(field)
            positions = parse(log, scenario.loads)
            result = int(line.split()[3]) if line else None
            if result != scenario.result or not positions:
                tally.fail(scenario, f"recording: {line!r}, {len(positions)} system calls")
                return
            tally.count("scenarios")
            work(field, positions, tally)
        finally:
            field.close()

    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        for future in [pool.submit(one, scenario) for scenario in chosen]:
            future.result()
    return tally


def add_tests(case, chosen):
    """One test method a scenario, which shows what failed in it; case.tally holds the results."""
    for scenario in chosen:
        def test(self, name=scenario.name):
            failures = self.tally.failures.get(name)
            if failures:
                self.fail("\n".join([f"{len(failures)} troubles", *failures]))
        test.__doc__ = scenario.name
        setattr(case, "test_" + re.sub(r"\W+", "_", scenario.name), test)
