"""Calls from where programs make them: threads, signal handlers, forks, small stacks."""

import errno
import os
import subprocess
import sys

import harness
from actor import STRANGER, Actor, SocketCase, needs_root

SMALL = 6 * 1024  # of a stack of 8 KiB, which a handler has to share with the signal's frame


def program(name):
    return os.path.join(harness.BUILD, "tests", "context", name)


class Programs(SocketCase):
    def play(self, name, *args, settings=None, expect=""):
        """One of our programs, guarded: it ends well, says no more than that, leaves nothing."""
        before = self.names()
        done = self.run_program([program(name), self.dir, *args], guard=True, settings=settings)
        self.assertEqual((done.returncode, done.stderr), (0, expect))
        self.assertEqual(self.names(), before)
        return done.stdout


class Threads(Programs):
    """Sixteen in a process."""

    def test_on_paths_of_their_own(self):
        self.play("crowd", "own", "60")

    def test_on_the_same_paths(self):
        """What is the process's own is refused to none of its threads."""
        self.play("crowd", "shared", "60")

    def rivals(self, guard):
        return [self.start([program("crowd"), self.dir, "rival", "20"], guard=guard,
                           settings={"LOG": "none"}, stdin=subprocess.PIPE,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
                for _ in range(2)]

    def test_two_processes_on_the_same_paths(self):
        rivals = self.rivals(guard=True)
        for process in rivals:
            self.assertEqual(process.stdout.readline(), "met\n")
        for process in rivals:
            _, err = process.communicate("", timeout=harness.PATIENCE)
            self.assertEqual((process.returncode, err), (0, ""))
        self.assertEqual(self.names(), [])

    def test_two_processes_on_the_same_paths_without_the_guard(self):
        """One of them soon finds its path stolen."""
        one, other = self.rivals(guard=False)
        harness.wait_until(lambda: one.poll() is not None or other.poll() is not None, "a theft")
        robbed = one if one.poll() is not None else other
        self.assertEqual(robbed.returncode, 1)
        self.assertRegex(robbed.stderr.read(), r"\Astolen")


class Interrupted(Programs):
    """A signal handler on a stack of 8 KiB, whose calls are refused or succeed."""

    def interrupt(self, how):
        owner = Actor(self, guard=True)
        fd = owner.serve(self.path)
        self.play("interrupted", how, self.path, settings={"LOG": "none"})
        self.assertServes(owner, fd)

    def test_on_other_paths(self):
        self.interrupt("apart")

    def test_on_the_same_paths(self):
        """Were the mutex held while a handler runs, it would wait for it in vain."""
        self.interrupt("same")


class Forks(Programs):
    """While other threads are amid their calls."""

    def test_children_that_make_calls_at_once(self):
        self.play("forks", "fork")

    def test_unlink_between_vfork_and_exec(self):
        self.play("forks", "vfork")

    def test_programs_started(self):
        self.play("forks", "spawn")

    def test_parents_that_die(self):
        done = self.run_program([program("forks"), self.dir, "die"], guard=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""))


class Cancelled(Programs):
    def test_deferred(self):
        self.play("cancelled", "deferred")

    def test_asynchronous(self):
        """Between the calls; within them POSIX has no such thing."""
        self.play("cancelled", "asynchronous")


class Depth(SocketCase):
    """How much of a stack each call needs: a handler may have little."""

    settings = {}

    def depth(self, *words, expect=0, **popen):
        """The call after "--" is the measured one; the errno of it is what is expected."""
        done = self.run_program([program("depth"), *words], guard=True, settings=self.settings,
                                **popen)
        self.assertEqual(done.returncode, 0, done.stderr)
        deepest, error = map(int, done.stdout.split())
        self.assertEqual(error, expect, done.stderr)
        print(f"# {deepest} bytes: {' '.join(words)}")
        self.assertLess(deepest, SMALL, words)
        return deepest

    def setUp(self):
        super().setUp()
        self.away = os.path.join(self.dir, "away.sock")

    def owned(self, path=None):
        owner = Actor(self, guard=True)
        return owner, owner.serve(path or self.path)

    def test_file(self):
        self.file("app.sock")
        self.depth("--", "unlink", self.path)

    def test_absent(self):
        self.depth("--", "unlink", self.path, expect=errno.ENOENT)
        self.depth("--", "unlink", self.lock())

    def test_lock_file(self):
        self.file(".app.sock.sockguard")
        self.depth("--", "unlink", self.lock())

    def test_bind(self):
        self.depth("--", "bind", self.path)
        self.depth("--", "rebind", self.path)  # over the stale one that it left

    def test_own(self):
        self.depth("bind", self.path, "--", "unlink", self.path)
        self.depth("bind", self.path, "--", "remove", self.path)
        self.depth("bind", self.path, "--", "rename", self.path, self.away)
        self.depth("--", "unlink", self.away)  # stale by now
        self.depth("bind", self.path, "bind", self.away, "--", "rename", self.path, self.away)
        self.depth("--", "unlink", self.away)
        self.depth("bind", self.path, "--", "link", self.path, self.away)

    def test_refused(self):
        self.owned()
        self.depth("--", "unlink", self.path, expect=errno.EADDRINUSE)
        self.depth("bind", self.away, "--", "rename", self.away, self.path,
                   expect=errno.EADDRINUSE)

    def test_refused_an_absent_name(self):
        """sock_diag is asked whether the claim's socket is still there."""
        self.owned()
        os.unlink(self.path)
        self.depth("--", "bind", self.path, expect=errno.EADDRINUSE)

    @needs_root
    def test_refused_by_sock_diag(self):
        """Who may not write to the socket's file cannot connect to it."""
        self.owned()
        os.chmod(self.dir, 0o777)
        self.depth("--", "unlink", self.path, expect=errno.EADDRINUSE, user=STRANGER,
                   extra_groups=[])


class DepthWithPatterns(Depth):
    settings = {"ONLY": "/nowhere:/tmp/*", "IGNORE": "/nowhere/*:" + "/x" * 1000}

    def test_relative(self):
        self.depth("--", "bind", "app.sock", cwd=self.dir)


class DepthWithLogFile(Depth):
    def setUp(self):
        super().setUp()
        self.settings = {"LOG": os.path.join(self.dir, "log"), "DEBUG": "1"}


class DepthWithSyslog(Depth):
    settings = {"LOG": "syslog"}


if __name__ == "__main__":
    sys.exit(harness.main())
