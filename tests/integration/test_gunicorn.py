"""gunicorn, guarded and not: second instances, crashes, stops, reloads, upgrades, stampedes."""

import http.client
import os
import re
import shutil
import signal
import socket
import tempfile
import threading
import time
import unittest

import harness

GUNICORN = "/usr/bin/gunicorn"
HERE = os.path.dirname(os.path.abspath(__file__))
LISTENING = 0x10000  # __SO_ACCEPTCON in the flags of /proc/net/unix
STAMPEDE = 50  # instances started at the same instant
STAMPEDE_PATIENCE = 120.0


class UnixConnection(http.client.HTTPConnection):
    """HTTP over the Unix socket at a path."""

    def __init__(self, path):
        super().__init__("localhost", timeout=harness.PATIENCE)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def ask(path):
    """One HTTP request to whoever the path leads to; returns (instance, pid of the worker)."""
    connection = UnixConnection(path)
    try:
        connection.request("GET", "/")
        instance, pid = connection.getresponse().read().decode().split()
        return instance, int(pid)
    finally:
        connection.close()


def listeners(path):
    """Inodes of the listening sockets that were bound at path, wherever the name leads today."""
    found = []
    with open("/proc/net/unix", encoding="utf-8", errors="replace") as table:
        next(table)
        for line in table:
            fields = line.split(None, 7)
            if len(fields) == 8 and fields[7].rstrip("\n") == path and \
                    int(fields[3], 16) & LISTENING:
                found.append(int(fields[6]))
    return found


class Poller(threading.Thread):
    """A client that asks on and on; keeps the pids that answered, in order, and the failures."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.path = path
        self.answers = []
        self.failures = []
        self._done = threading.Event()

    def run(self):
        while not self._done.is_set():
            try:
                self.answers.append(ask(self.path)[1])
            except (OSError, http.client.HTTPException, ValueError) as failure:
                self.failures.append(repr(failure))
            time.sleep(0.005)

    def wait_answers(self, workers, times):
        """Waits for so many more answers, all of them by one of these workers."""
        start = len(self.answers)
        harness.wait_until(lambda: len(self.answers) >= start + times or self.failures,
                           f"{times} answers")
        strangers = set(self.answers[start + 1:]) - workers  # the first was under way already
        if strangers:
            raise AssertionError(f"answered by {strangers}, not by {workers}")

    def stop(self):
        """Ends the polling after the request under way."""
        self._done.set()
        self.join()


class Gunicorn:
    """One instance: its master process, and what it and the guard wrote to stderr."""

    def __init__(self, case, name, guard, *options, workers=2, **env):
        self.name = name
        self._log = os.path.join(case.logs, name)
        argv = [GUNICORN, "--bind", "unix:" + case.path, "--workers", str(workers),
                "--pythonpath", HERE, *options, "wsgi_app"]
        env = {"INSTANCE": name, "PYTHONDONTWRITEBYTECODE": "1", **env}
        with open(self._log, "wb") as stderr:
            self.process = case.start(argv, guard=guard, env=env, stderr=stderr)

    @property
    def pid(self):
        return self.process.pid

    @property
    def log(self):
        with open(self._log, encoding="utf-8", errors="replace") as log:
            return log.read()

    def wait_log(self, text, times=1, patience=harness.PATIENCE):
        """Waits until the log says text so many times."""
        try:
            harness.wait_until(lambda: self.log.count(text) >= times, text, patience)
        except AssertionError as failure:
            raise AssertionError(f"{failure}; the log of {self.name}:\n{self.log}") from None

    def workers(self):
        """The workers that have booted, oldest first."""
        return [int(pid) for pid in re.findall(r"Booting worker with pid: (\d+)", self.log)]

    def wait_serving(self, patience=harness.PATIENCE):
        """Waits until the master listens and its first worker has booted."""
        self.wait_log("Booting worker", patience=patience)

    def wait_exit(self, patience=harness.PATIENCE):
        """Waits for the master's end and returns its exit status."""
        return self.process.wait(patience)

    def signal(self, number):
        """Signals the master alone."""
        os.kill(self.pid, number)

    def kill_all(self):
        """kill -9 of the master and its workers, all at once."""
        os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()


@unittest.skipUnless(os.access(GUNICORN, os.X_OK), GUNICORN + " is not installed")
class GunicornCase(harness.Case):
    """Common ground: a directory for the logs, beside the scratch directory with the socket."""

    def setUp(self):
        super().setUp()
        self.logs = tempfile.mkdtemp(prefix="sg-logs-", dir="/tmp")
        self.addCleanup(shutil.rmtree, self.logs, ignore_errors=True)

    def serving(self, name, guard, *options, **more):
        """Starts an instance and waits until it serves and the path leads to it."""
        instance = Gunicorn(self, name, guard, *options, **more)
        instance.wait_serving()
        self.assert_served_by(name)
        return instance

    def assert_served_by(self, name):
        self.assertEqual(ask(self.path)[0], name)

    def wait_no_listener(self):
        """The kernel closes a killed process's sockets a moment after the kill."""
        harness.wait_until(lambda: not listeners(self.path), "the sockets to be closed")

    def assert_refusal(self, log, owner):
        """The log holds the guard's line, whole; owner is a pattern for what follows `in use by`."""
        line = (r'(?m)^sockguard: gunicorn\[\d+\]: unlink\("' + re.escape(self.path) +
                r'"\) refused with EADDRINUSE: in use by ' + owner + r'$')
        self.assertRegex(log, line)


class SecondInstance(GunicornCase):
    """A second instance is started on the path of a running one."""

    def test_unguarded_second_steals(self):
        """without the guard a second gunicorn takes the path, and the first serves nobody"""
        first = self.serving("first", guard=False)
        before = self.identity()
        self.serving("second", guard=False)
        self.assertNotEqual(self.identity(), before)
        self.assertIsNone(first.process.poll(), "the first still runs, and does not know")
        self.assertEqual(len(listeners(self.path)), 2)
        for _ in range(20):
            self.assert_served_by("second")

    def _second_is_refused(self, first_is_guarded, owner):
        first = self.serving("first", guard=first_is_guarded)
        before = self.identity()
        second = Gunicorn(self, "second", guard=True)
        self.assertNotEqual(second.wait_exit(), 0)
        log = second.log
        self.assertIn("Connection in use", log)
        self.assertNotIn("Listening at", log)
        self.assert_refusal(log, owner.format(pid=first.pid, uid=os.getuid()))
        self.assertEqual(self.identity(), before)
        self.assertEqual(len(listeners(self.path)), 1)
        self.assert_served_by("first")

    def test_second_is_refused(self):
        """a second gunicorn is refused, says why, and the first still serves"""
        self._second_is_refused(True, r"gunicorn \(pid {pid}, uid {uid}\)")

    def test_second_is_refused_though_the_first_is_unguarded(self):
        """a guarded second gunicorn is refused though the first is not guarded"""
        self._second_is_refused(False, r"a process that left no record")


class Crash(GunicornCase):
    """Something is killed with -9, and the service is started again."""

    def _restart_after_kill(self, guard):
        first = self.serving("first", guard)
        first.kill_all()
        self.wait_no_listener()
        self.assertIn("app.sock", self.names())
        log = self.serving("second", guard).log
        self.assertNotIn("Connection in use", log)
        self.assertNotIn("Retrying", log)
        self.assertNotIn("sockguard:", log)

    def test_unguarded_restart_after_kill(self):
        """without the guard gunicorn restarts over what kill -9 left"""
        self._restart_after_kill(guard=False)

    def test_restart_after_kill(self):
        """after kill -9 of master and workers the next start serves at its first attempt"""
        self._restart_after_kill(guard=True)

    def _kill_the_arbiter(self, guard):
        """Leaves the workers serving: they look for their arbiter after a request, or after half
        the timeout."""
        first = self.serving("first", guard, "--timeout", "600")
        first.wait_log("Booting worker", times=2)
        first.signal(signal.SIGKILL)
        first.process.wait()
        return first

    def test_unguarded_start_while_orphaned_workers_serve(self):
        """without the guard a start takes the path from workers that outlived their arbiter"""
        self._kill_the_arbiter(guard=False)
        before = self.identity()
        self.serving("second", guard=False)
        self.assertNotEqual(self.identity(), before)
        self.assertEqual(len(listeners(self.path)), 2)

    def test_start_while_orphaned_workers_serve(self):
        """workers that outlived their arbiter keep the path; once they end, a retry gets it"""
        first = self._kill_the_arbiter(guard=True)
        before = self.identity()
        second = Gunicorn(self, "second", guard=True)
        second.wait_log("refused with EADDRINUSE")
        self.assertEqual(self.identity(), before)
        self.assert_served_by("first")
        self.assert_refusal(second.log, r"what is left of gunicorn \(pid %d, uid %d\).*" %
                            (first.pid, os.getuid()))

        def taken_over():
            try:
                return ask(self.path)[0] == "second"
            except OSError:
                return False  # the last worker of the first is gone, or goes this moment
        harness.wait_until(taken_over, "the second to serve")
        self.assertIsNone(second.process.poll())
        self.assertEqual(second.log.count("Listening at"), 1)
        self.assertEqual(len(listeners(self.path)), 1)


class Stop(GunicornCase):
    """A clean stop."""

    def _stop(self, guard):
        first = self.serving("first", guard)
        first.signal(signal.SIGTERM)
        self.assertEqual(first.wait_exit(), 0)
        self.assertEqual(self.names(), [])
        os.rmdir(self.dir)

    def test_unguarded_stop(self):
        """without the guard TERM leaves an empty directory"""
        self._stop(guard=False)

    def test_stop(self):
        """TERM removes socket and lock file, and rmdir the directory"""
        self._stop(guard=True)


class Reload(GunicornCase):
    """Reloads and upgrades without a gap, as a polling client sees them."""

    def _client(self):
        client = Poller(self.path)
        client.start()
        self.addCleanup(client.stop)
        return client

    def _reload(self, guard):
        """HUP, then TERM; returns the listings after each."""
        first = self.serving("first", guard)
        first.wait_log("Booting worker", times=2)
        before = self.identity()
        client = self._client()
        first.signal(signal.SIGHUP)
        first.wait_log("Booting worker", times=4)
        first.wait_log("Worker exiting", times=2)
        client.wait_answers(set(first.workers()[2:]), times=50)
        client.stop()
        self.assertEqual(client.failures, [])
        self.assertEqual(self.identity(), before)
        listings = [self.names()]
        first.signal(signal.SIGTERM)
        self.assertEqual(first.wait_exit(), 0)
        listings.append(self.names())
        self.assertNotIn("sockguard:", first.log)
        return listings

    def test_unguarded_reload(self):
        """without the guard HUP reloads with no request lost"""
        self.assertEqual(self._reload(guard=False), [["app.sock"], []])

    def test_reload(self):
        """HUP reloads with no request lost, and TERM leaves an empty directory"""
        self.assertEqual(self._reload(guard=True), [[".app.sock.sockguard", "app.sock"], []])

    def _serving_with_pidfile(self, guard):
        self.pidfile = os.path.join(self.logs, "pid")
        first = self.serving("first", guard, "--pid", self.pidfile)
        first.wait_log("Booting worker", times=2)
        return first

    @staticmethod
    def _usr2(old):
        """Starts the new master; its log goes on in the old one's."""
        old.signal(signal.SIGUSR2)
        old.wait_log("Booting worker", times=4)

    def _read_pidfile(self):
        """The pid in it; None in the moment in which the new master has not written its own."""
        try:
            with open(self.pidfile, encoding="ascii") as file:
                return int(file.read())
        except FileNotFoundError:
            return None

    def _term_old(self, old):
        """Ends the old master and returns the new one's pid."""
        old.signal(signal.SIGTERM)
        self.assertEqual(old.wait_exit(), 0)
        old.wait_log("Master has been promoted")
        new = harness.wait_until(self._read_pidfile, "the new master's pidfile")
        self.assertNotEqual(new, old.pid)
        return new

    def _upgrade(self, guard):
        """USR2, TERM to the old master, TERM to the new; returns the listings after each."""
        old = self._serving_with_pidfile(guard)
        before = self.identity()
        client = self._client()
        self._usr2(old)
        listings = [self.names()]
        new = self._term_old(old)
        client.wait_answers(set(old.workers()[2:]), times=50)
        client.stop()
        self.assertEqual(client.failures, [])
        self.assertEqual(self.identity(), before)
        listings.append(self.names())
        os.kill(new, signal.SIGTERM)
        old.wait_log("Shutting down", times=2)
        self.wait_no_listener()
        listings.append(self.names())
        self.assertNotIn("sockguard:", old.log)
        return listings

    def test_unguarded_upgrade(self):
        """without the guard USR2, TERM of the old and TERM of the new master lose no request"""
        self.assertEqual(self._upgrade(guard=False), [["app.sock"], ["app.sock"], []])

    def test_upgrade(self):
        """USR2, TERM of the old and TERM of the new master lose no request and leave no file"""
        held = [".app.sock.sockguard", "app.sock"]
        self.assertEqual(self._upgrade(guard=True), [held, held, []])

    def test_second_is_refused_after_an_upgrade(self):
        """after an upgrade the new master's socket is guarded as the old one's was"""
        old = self._serving_with_pidfile(guard=True)
        self._usr2(old)
        self._term_old(old)
        second = Gunicorn(self, "second", guard=True)
        second.wait_log("Connection in use")
        self.assert_refusal(second.log, r".+")
        self.assert_served_by("first")

    def test_restart_after_an_upgrade_and_kill(self):
        """after an upgrade and kill -9 of all that is left the next start serves at once"""
        old = self._serving_with_pidfile(guard=True)
        self._usr2(old)
        self._term_old(old)
        os.killpg(old.pid, signal.SIGKILL)  # the new master is of the old one's process group
        self.wait_no_listener()
        self.assertNotIn("Retrying", self.serving("second", guard=True).log)


class Stampede(GunicornCase):
    """Many instances started at the same instant on one path."""

    def _leave_stale_name(self):
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(self.path)

    def _stampede(self, guard):
        """Starts them all, waits until each serves or has given up; returns those that serve."""
        gate = os.path.join(self.logs, "gate")
        os.mkfifo(gate)
        options = ("--config", os.path.join(HERE, "gunicorn_gate.py"), "--timeout", "600")
        everybody = [Gunicorn(self, f"instance{n}", guard, *options, workers=1, GATE=gate)
                     for n in range(STAMPEDE)]
        for instance in everybody:
            instance.wait_log("At the gate", patience=STAMPEDE_PATIENCE)
        with open(gate, "wb"):
            self._wait_decided(everybody)
        return [instance for instance in everybody if instance.process.poll() is None]

    @staticmethod
    def _wait_decided(everybody):
        def undecided():
            return [instance for instance in everybody
                    if instance.process.poll() is None and "Booting worker" not in instance.log]
        harness.wait_until(lambda: not undecided(), "every instance to serve or to give up",
                           STAMPEDE_PATIENCE)

    def _one_serves(self):
        serving = self._stampede(guard=True)
        self.assertEqual([instance.name for instance in serving][1:], [], "more than one serves")
        self.assertEqual(len(serving), 1, "nobody serves")
        self.assertEqual(len(listeners(self.path)), 1)
        self.assert_served_by(serving[0].name)

    def _many_believe(self):
        believers = self._stampede(guard=False)
        self.assertGreater(len(believers), 1)
        self.assertGreater(len(listeners(self.path)), 1)
        reached = {ask(self.path)[0] for _ in range(20)}
        self.assertEqual(len(reached), 1, "the path leads to one of them")

    def test_unguarded_stampede_fresh(self):
        """without the guard, of 50 gunicorns on a fresh path more than one believes it serves"""
        self._many_believe()

    def test_stampede_fresh(self):
        """of 50 gunicorns on a fresh path exactly one serves, and the path leads to it"""
        self._one_serves()

    def test_unguarded_stampede_stale(self):
        """without the guard, of 50 gunicorns on a stale path more than one believes it serves"""
        self._leave_stale_name()
        self._many_believe()

    def test_stampede_stale(self):
        """of 50 gunicorns on a stale path exactly one serves, and the path leads to it"""
        self._leave_stale_name()
        self._one_serves()


if __name__ == "__main__":
    raise SystemExit(harness.main())
