"""gunicorn with the guard and without: start, crash, stop, reload, upgrade, simultaneous starts."""

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
DIRECTORY = os.path.dirname(os.path.abspath(__file__))
LISTENING = 0x10000  # __SO_ACCEPTCON in the flags of /proc/net/unix
INSTANCES = 50  # instances that start simultaneously
# What ask() raises if no process listens, or if the worker ends before it has answered.
REQUEST_FAILURES = (OSError, http.client.HTTPException, ValueError)


class UnixConnection(http.client.HTTPConnection):
    """An HTTP connection over a Unix socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=harness.TIMEOUT)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def ask(path):
    """Sends an HTTP request to the path. Returns the instance and the worker's pid."""
    connection = UnixConnection(path)
    try:
        connection.request("GET", "/")
        instance, pid = connection.getresponse().read().decode().split()
        return instance, int(pid)
    finally:
        connection.close()


def listeners(path):
    """Inode numbers of the listening sockets that were bound to the path, stolen or not."""
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
    """A client that sends requests in a loop, and records the workers' pids and the failures."""

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
            except REQUEST_FAILURES as failure:
                self.failures.append(repr(failure))
            time.sleep(0.005)

    def wait_answers(self, workers, times):
        """Waits for this many more answers, which must all come from these workers."""
        start = len(self.answers)
        harness.wait_until(lambda: len(self.answers) >= start + times or self.failures,
                           f"{times} answers")
        others = set(self.answers[start + 1:]) - workers  # the first was in progress
        if others:
            raise AssertionError(f"answered by {others}, not by {workers}")

    def stop(self):
        """Stops polling after the current request."""
        self._done.set()
        self.join()


class Gunicorn:
    """An instance: its master process, and its log, in which the guard also writes."""

    def __init__(self, case, name, guard, *options, workers=2, **env):
        self.name = name
        self._log = os.path.join(case.logs, name)
        argv = [GUNICORN, "--bind", "unix:" + case.path, "--workers", str(workers),
                "--pythonpath", DIRECTORY, *options, "wsgi_app"]
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

    def wait_log(self, text, times=1, timeout=harness.TIMEOUT):
        """Waits until the log contains the text this many times."""
        try:
            harness.wait_until(lambda: self.log.count(text) >= times, text, timeout)
        except AssertionError as failure:
            raise AssertionError(f"{failure}; the log of {self.name}:\n{self.log}") from None

    def workers(self):
        """The workers that have booted, oldest first."""
        return [int(pid) for pid in re.findall(r"Booting worker with pid: (\d+)", self.log)]

    def wait_serving(self, timeout=harness.TIMEOUT):
        """Waits until the master listens and its first worker has booted."""
        self.wait_log("Booting worker", timeout=timeout)

    def wait_exit(self, timeout=harness.TIMEOUT):
        """Waits until the master ends and returns its exit status."""
        return self.process.wait(timeout)

    def signal(self, number):
        """Sends a signal to the master only."""
        os.kill(self.pid, number)

    def kill_all(self):
        """Sends SIGKILL to the master and its workers at once."""
        os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()


@unittest.skipUnless(os.access(GUNICORN, os.X_OK), GUNICORN + " is not installed")
class GunicornCase(harness.Case):
    """The logs are in another directory than the socket."""

    def setUp(self):
        super().setUp()
        self.logs = tempfile.mkdtemp(prefix="sg-logs-", dir="/tmp")
        self.addCleanup(shutil.rmtree, self.logs, ignore_errors=True)

    def start_serving(self, name, guard, *options, **more):
        """Starts an instance and waits until it serves and the path leads to it."""
        instance = Gunicorn(self, name, guard, *options, **more)
        instance.wait_serving()
        self.assert_served_by(name)
        return instance

    def assert_served_by(self, name):
        self.assertEqual(ask(self.path)[0], name)

    def try_to_ask(self):
        """Returns the instance that answers a request, or the type of the error."""
        try:
            return ask(self.path)[0]
        except REQUEST_FAILURES as failure:
            return type(failure)

    def wait_no_listener(self):
        """Waits until the kernel has closed the sockets of the killed processes."""
        harness.wait_until(lambda: not listeners(self.path), "the sockets to be closed")

    def assert_refusal(self, log, owner):
        """The log contains the guard's message. owner: a pattern for the text after `in use by`."""
        line = (r'(?m)^sockguard: gunicorn\[\d+\]: unlink\("' + re.escape(self.path) +
                r'"\) refused with EADDRINUSE: in use by ' + owner + r'$')
        self.assertRegex(log, line)


class SecondInstance(GunicornCase):
    """A second instance is started on the path of a running one."""

    def test_unguarded_second_steals(self):
        """without the guard, a second gunicorn steals the path, and no client reaches the first"""
        first = self.start_serving("first", guard=False)
        before = self.identity()
        self.start_serving("second", guard=False)
        self.assertNotEqual(self.identity(), before)
        self.assertIsNone(first.process.poll(), "the first still runs, unaware of the theft")
        self.assertEqual(len(listeners(self.path)), 2)
        for _ in range(20):
            self.assert_served_by("second")

    def _second_is_refused(self, first_is_guarded, owner):
        first = self.start_serving("first", guard=first_is_guarded)
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
        """a second gunicorn is refused and logs the reason, and the first still serves"""
        self._second_is_refused(True, r"gunicorn \(pid {pid}, uid {uid}\)")

    def test_second_is_refused_if_the_first_is_unguarded(self):
        """a guarded second gunicorn is refused although the first is not guarded"""
        self._second_is_refused(False, r"a process that no record names")


class RestartAfterCrash(GunicornCase):
    """gunicorn is started again after some or all of its processes were killed with SIGKILL."""

    def _check_restart_after_kill(self, guard):
        first = self.start_serving("first", guard)
        first.kill_all()
        self.wait_no_listener()
        self.assertIn("app.sock", self.names())
        log = self.start_serving("second", guard).log
        self.assertNotIn("Connection in use", log)
        self.assertNotIn("Retrying", log)
        self.assertNotIn("sockguard:", log)

    def test_unguarded_restart_after_kill(self):
        """without the guard, gunicorn restarts over the stale socket that kill -9 left"""
        self._check_restart_after_kill(guard=False)

    def test_restart_after_kill(self):
        """after kill -9 of master and workers, the next start succeeds at its first attempt"""
        self._check_restart_after_kill(guard=True)

    def _start_and_kill_arbiter(self, guard):
        """Starts an instance and kills its arbiter. Its workers go on serving: they check for their
        arbiter only after a request, or after half of the timeout."""
        first = self.start_serving("first", guard, "--timeout", "600")
        first.wait_log("Booting worker", times=2)
        harness.wait_until(
            lambda: all(harness.waits_in_call(pid, "select") for pid in first.workers()),
            "the workers to wait for requests")
        first.signal(signal.SIGKILL)
        first.process.wait()
        return first

    def test_unguarded_start_while_orphaned_workers_serve(self):
        """without the guard, a start steals the path from workers whose arbiter was killed"""
        self._start_and_kill_arbiter(guard=False)
        before = self.identity()
        self.start_serving("second", guard=False)
        self.assertNotEqual(self.identity(), before)
        self.assertEqual(len(listeners(self.path)), 2)

    def test_start_while_orphaned_workers_serve(self):
        """workers that outlive their arbiter keep the path; after their end, a retry succeeds"""
        first = self._start_and_kill_arbiter(guard=True)
        before = self.identity()
        second = Gunicorn(self, "second", guard=True)
        second.wait_log("refused with EADDRINUSE")
        second.signal(signal.SIGSTOP)  # it would give up after some seconds
        self.assertEqual(self.identity(), before)
        self.assert_served_by("first")
        self.assert_refusal(second.log,
                            r"another process; gunicorn \(pid %d, uid %d\), which bound the "
                            r"socket, has ended .*" % (first.pid, os.getuid()))

        harness.wait_until(lambda: self.try_to_ask() is ConnectionRefusedError,
                           "the end of the workers")
        second.signal(signal.SIGCONT)
        harness.wait_until(lambda: self.try_to_ask() == "second", "the second to serve")
        self.assertIsNone(second.process.poll())
        self.assertEqual(second.log.count("Listening at"), 1)
        self.assertEqual(len(listeners(self.path)), 1)


class Stop(GunicornCase):
    """TERM stops an instance cleanly."""

    def _check_stop(self, guard):
        first = self.start_serving("first", guard)
        first.signal(signal.SIGTERM)
        self.assertEqual(first.wait_exit(), 0)
        self.assertEqual(self.names(), [])
        os.rmdir(self.dir)

    def test_unguarded_stop(self):
        """without the guard, TERM leaves an empty directory"""
        self._check_stop(guard=False)

    def test_stop(self):
        """TERM removes socket and lock file, and rmdir succeeds"""
        self._check_stop(guard=True)


class Reload(GunicornCase):
    """Reloads and upgrades without an interruption, as observed by a polling client."""

    def _start_client(self):
        client = Poller(self.path)
        client.start()
        self.addCleanup(client.stop)
        return client

    def _check_reload(self, guard):
        """Sends HUP, then TERM; returns the directory's names after each."""
        first = self.start_serving("first", guard)
        first.wait_log("Booting worker", times=2)
        before = self.identity()
        client = self._start_client()
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
        """without the guard, HUP reloads without losing a request"""
        self.assertEqual(self._check_reload(guard=False), [["app.sock"], []])

    def test_reload(self):
        """HUP reloads without losing a request, and TERM leaves an empty directory"""
        self.assertEqual(self._check_reload(guard=True), [[".app.sock.sockguard", "app.sock"], []])

    def _start_with_pidfile(self, guard):
        self.pidfile = os.path.join(self.logs, "pid")
        first = self.start_serving("first", guard, "--pid", self.pidfile)
        first.wait_log("Booting worker", times=2)
        return first

    @staticmethod
    def _start_new_master(old):
        """Starts the new master; it writes to the old one's log."""
        old.signal(signal.SIGUSR2)
        old.wait_log("Booting worker", times=4)

    def _read_pidfile(self):
        """The pid in the file; None until the new master has written its own."""
        try:
            with open(self.pidfile, encoding="ascii") as file:
                return int(file.read())
        except FileNotFoundError:
            return None

    def _stop_old_master(self, old):
        """Stops the old master and returns the new one's pid."""
        old.signal(signal.SIGTERM)
        self.assertEqual(old.wait_exit(), 0)
        old.wait_log("Master has been promoted")
        new = harness.wait_until(self._read_pidfile, "the new master's pidfile")
        self.assertNotEqual(new, old.pid)
        return new

    def _check_upgrade(self, guard):
        """Sends USR2 and TERM to the old master, TERM to the new; returns the names after each."""
        old = self._start_with_pidfile(guard)
        before = self.identity()
        client = self._start_client()
        self._start_new_master(old)
        listings = [self.names()]
        new = self._stop_old_master(old)
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
        """without the guard, USR2 and TERM to the old and TERM to the new master lose no request"""
        self.assertEqual(self._check_upgrade(guard=False), [["app.sock"], ["app.sock"], []])

    def test_upgrade(self):
        """USR2 and TERM to the old and TERM to the new master lose no request and leave no file"""
        held = [".app.sock.sockguard", "app.sock"]
        self.assertEqual(self._check_upgrade(guard=True), [held, held, []])

    def test_second_is_refused_after_an_upgrade(self):
        """after an upgrade, the new master's socket is protected as the old one's was"""
        old = self._start_with_pidfile(guard=True)
        self._start_new_master(old)
        self._stop_old_master(old)
        second = Gunicorn(self, "second", guard=True)
        second.wait_log("Connection in use")
        self.assert_refusal(second.log, r".+")
        self.assert_served_by("first")

    def test_restart_after_an_upgrade_and_kill(self):
        """after an upgrade and kill -9 of all processes, the next start succeeds at once"""
        old = self._start_with_pidfile(guard=True)
        self._start_new_master(old)
        self._stop_old_master(old)
        os.killpg(old.pid, signal.SIGKILL)  # the new master is in the old one's process group
        self.wait_no_listener()
        self.assertNotIn("Retrying", self.start_serving("second", guard=True).log)


class SimultaneousStarts(GunicornCase):
    """Many instances start simultaneously on one path."""

    def _leave_stale_path(self):
        with socket.socket(socket.AF_UNIX) as closed:
            closed.bind(self.path)

    def _start_all(self, guard):
        """Starts all instances, waits until each serves or has ended. Returns those that serve."""
        gate = os.path.join(self.logs, "gate")
        os.mkfifo(gate)
        options = ("--config", os.path.join(DIRECTORY, "gunicorn_gate.py"), "--timeout", "600")
        instances = [Gunicorn(self, f"instance{n}", guard, *options, workers=1, GATE=gate)
                     for n in range(INSTANCES)]
        for instance in instances:
            instance.wait_log("Waiting at the gate")
        with open(gate, "wb"):
            self._wait_decided(instances)
        return [instance for instance in instances if instance.process.poll() is None]

    @staticmethod
    def _wait_decided(instances):
        def undecided():
            return [instance for instance in instances
                    if instance.process.poll() is None and "Booting worker" not in instance.log]
        harness.wait_until(lambda: not undecided(), "every instance to serve or to give up")

    def _check_that_one_serves(self):
        serving = self._start_all(guard=True)
        self.assertEqual([instance.name for instance in serving][1:], [], "more than one serves")
        self.assertEqual(len(serving), 1, "the number of instances that serve")
        self.assertEqual(len(listeners(self.path)), 1)
        self.assert_served_by(serving[0].name)

    def _check_that_several_serve(self):
        running = self._start_all(guard=False)
        self.assertGreater(len(running), 1)
        self.assertGreater(len(listeners(self.path)), 1)
        reached = {ask(self.path)[0] for _ in range(20)}
        self.assertEqual(len(reached), 1, "the path leads to one of them")

    def test_unguarded_starts_on_an_absent_path(self):
        """without the guard, more than one of 50 gunicorns on a fresh path believes it serves"""
        self._check_that_several_serve()

    def test_starts_on_an_absent_path(self):
        """exactly one of 50 gunicorns on a fresh path serves, and the path leads to it"""
        self._check_that_one_serves()

    def test_unguarded_starts_on_a_stale_path(self):
        """without the guard, more than one of 50 gunicorns on a stale path believes it serves"""
        self._leave_stale_path()
        self._check_that_several_serve()

    def test_starts_on_a_stale_path(self):
        """exactly one of 50 gunicorns on a stale path serves, and the path leads to it"""
        self._leave_stale_path()
        self._check_that_one_serves()


if __name__ == "__main__":
    raise SystemExit(harness.main())
