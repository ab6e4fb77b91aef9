"""Calls from where programs make them: threads, signal handlers, forks, small stacks."""

import ctypes
import errno
import fcntl
import os
import resource
import socket
import stat
import struct
import subprocess
import sys

import harness
from actor import STRANGER, Actor, SocketCase, needs_root

F_OFD_SETLK = 37
FLOCK = "hhqqi4x"  # struct flock of 64 bits
AT_MINSIGSTKSZ = 51
AVX512 = 3632  # AT_MINSIGSTKSZ of a machine that has it
FRAME = max(ctypes.CDLL(None).getauxval(AT_MINSIGSTKSZ), AVX512)  # of a signal, at the most
SMALL = 8192 - FRAME  # what that leaves a handler on a stack of SIGSTKSZ


def few_descriptors():
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))


def program(name):
    return os.path.join(harness.BUILD, "tests", "context", name)


class Programs(SocketCase):
    def play(self, name, *args, settings=None, expect="", **popen):
        """One of our programs, guarded: it ends well, says no more than that, leaves nothing."""
        before = self.names()
        done = self.run_program([program(name), self.dir, *args], guard=True, settings=settings,
                                **popen)
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

    def interrupt(self, how, **settings):
        owner = Actor(self, guard=True)
        fd = owner.serve(self.path)
        self.play("interrupted", how, self.path, settings={"LOG": "none", **settings})
        self.assertServes(owner, fd)

    def test_on_other_paths(self):
        self.interrupt("apart")

    def test_with_all_that_may_be_set(self):
        log = self.file("log")
        self.interrupt("apart", LOG=log, DEBUG="1", ONLY="/nowhere:/tmp/*", IGNORE="/nowhere/*")
        self.assertGreater(os.path.getsize(log), 0)

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

    def be_first(self, how):
        """A child that shares its parent's memory binds the process's first name."""
        self.play("forks", how)
        self.play("forks", how, preexec_fn=few_descriptors)

    def test_a_child_of_vfork_is_first(self):
        self.be_first("vfork-first")

    def test_a_child_of_clone_is_first(self):
        self.be_first("clone-first")

    def test_a_child_of_clone_is_first_and_stays(self):
        self.be_first("clone-beside")

    def test_parents_that_die(self):
        done = self.run_program([program("forks"), self.dir, "die"], guard=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""))


class Cancelled(Programs):
    def test_deferred(self):
        self.play("cancelled", "deferred")

    def test_asynchronous(self):
        """Between the calls; within them POSIX has no such thing."""
        self.play("cancelled", "asynchronous")


class Jumped(Programs):
    """A call that waits for a mutex is left by siglongjmp, and its thread is as it was before."""

    def setUp(self):
        super().setUp()
        self.away = os.path.join(self.dir, "away.sock")

    def hold(self, path):
        """The mutex of a path, as another process would; returns what gives it back."""
        fd = os.open(self.lock(path), os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.fcntl(fd, F_OFD_SETLK, struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0))
        return lambda: os.close(fd)

    def jump(self, *words, guard=True):
        process = self.start([program("jumped"), *words], guard=guard, text=True,
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE)
        self.assertEqual(process.stdout.readline(), "waiting\n")
        jumped = process.stdout.readline()
        return process, jumped

    def play_jump(self, held, *words):
        release = self.hold(held)
        process, jumped = self.jump(*words)
        release()
        _, err = process.communicate("!", timeout=harness.PATIENCE)
        self.assertEqual((jumped, process.returncode, err), ("jumped\n", 0, ""))

    def test_unlink(self):
        self.stale()
        self.play_jump(self.path, "unlink", self.path)
        self.assertEqual(self.names(), [])

    def test_bind(self):
        self.play_jump(self.path, "bind", self.path)

    def test_rename(self):
        self.stale()
        self.play_jump(self.away, "rename", self.path, self.away)
        self.assertEqual(self.names(), ["away.sock"])

    def test_link(self):
        self.stale()
        self.play_jump(self.away, "link", self.path, self.away)

    def test_nothing_to_wait_for_without_the_guard(self):
        self.stale()
        release = self.hold(self.path)
        process, jumped = self.jump("unlink", self.path, guard=False)
        _, err = process.communicate(timeout=harness.PATIENCE)
        release()
        self.assertEqual((jumped, err), ("", "the call did not wait: unlink\n"))


class Relative(Programs):
    """A relative path, and another thread that changes the directory under it."""

    def setUp(self):
        super().setUp()
        self.one, self.other = (os.path.join(self.dir, name) for name in ("one", "other"))
        for directory in self.one, self.other:
            os.mkdir(directory)
        self.path = os.path.join(self.other, "app.sock")
        self.owner = Actor(self, guard=True)
        self.fd = self.owner.serve(self.path)

    def change_directories(self, verb, guard):
        return self.run_program([program("chdirs"), verb, self.one, self.other], guard=guard,
                                settings={"LOG": "none"})

    def play_relative(self, verb):
        done = self.change_directories(verb, guard=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertGreater(int(done.stdout), 0)  # of its own stale names
        self.assertServes(self.owner, self.fd)

    def test_unlink(self):
        self.play_relative("unlink")

    def test_rename(self):
        self.play_relative("rename")

    def test_bind(self):
        self.play_relative("bind")

    def test_thefts_without_the_guard(self):
        for verb in "unlink", "rename":
            done = self.change_directories(verb, guard=False)
            self.assertEqual((done.returncode, done.stderr), (1, "stolen app.sock\n"))
            self.assertFalse(self.answers(self.owner, self.fd))
            if os.path.lexists(self.path):
                os.unlink(self.path)
            self.owner.serve(self.path)


class Forkers(Programs):
    """Threads that fork all the time, in a process with much memory: a fork takes long there."""

    def longest(self, threads, rounds, megabytes, guard):
        with open("/proc/meminfo") as info:
            free = next(int(line.split()[1]) >> 10 for line in info if "MemAvailable" in line)
        process = self.start([program("forkers"), self.path, str(min(megabytes, free // 4)),
                              str(threads), str(rounds)], guard=guard, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = process.communicate(timeout=4 * harness.PATIENCE)
        self.assertEqual((process.returncode, err), (0, ""))
        call, fork = (int(word) / 1e6 for word in out.split())
        print(f"# {threads} threads, {megabytes} MB, the longest: call {call} s, fork {fork} s")
        return call, fork

    def play_forks(self, guard):
        """No call fails, and none takes much longer than the fork it met."""
        for threads, rounds, megabytes in ((3, 100, 600), (8, 10, 800)):
            call, fork = self.longest(threads, rounds, megabytes, guard)
            self.assertLess(call, fork + 1)

    def test_guarded(self):
        self.play_forks(True)

    def test_unguarded(self):
        self.play_forks(False)


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
        self.assertLessEqual(deepest, SMALL, words)
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

    def test_exchange(self):
        self.depth("bind", self.path, "bind", self.away, "--", "exchange", self.path, self.away)

    def test_exchange_refused(self):
        self.owned()
        self.depth("bind", self.away, "--", "exchange", self.away, self.path,
                   expect=errno.EADDRINUSE)

    def test_refused_among_many_descriptors(self):
        """Which are listed, to see that the socket is not one of them."""
        self.owned()
        with open("/dev/null") as null:
            many = [os.dup(null.fileno()) for _ in range(300)]
            for fd in many:
                self.addCleanup(os.close, fd)
            self.depth("--", "unlink", self.path, expect=errno.EADDRINUSE, pass_fds=many)

    @needs_root
    def test_inherited(self):
        """A listener that somebody unguarded bound: recognised by sock_diag."""
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.path)
            listener.listen()
            os.chmod(self.dir, 0o777)
            self.depth("--", "unlink", self.path, pass_fds=[listener.fileno()], user=STRANGER,
                       extra_groups=[])

    def test_long_path(self):
        directory = os.path.join(self.dir, *["d" * 100] * 4)
        os.makedirs(directory)
        self.depth("--", "unlink", os.path.join(directory, "app.sock"), expect=errno.ENOENT)
        path = os.path.join(directory, "stale")
        os.mknod(path, stat.S_IFSOCK | 0o600)
        self.depth("--", "unlink", path)

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
