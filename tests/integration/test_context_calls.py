"""Calls in the contexts that programs use: threads, signal handlers, forks, small stacks."""

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
import time

import harness
from actor import STRANGER, Actor, SocketCase, needs_root

F_OFD_SETLK = 37
STRUCT_FLOCK = "hhqqi4x"  # struct flock, with 64-bit offsets
AT_MINSIGSTKSZ = 51
SUPERVISED_ENV = {"SUPERVISED": "1"} if harness.SUPERVISED else {}  # see tests/context/common.h
AVX512_FRAME = 3632  # the size in bytes of a signal frame with AVX-512 registers
# The largest signal frame on this machine. On x86, the kernel also counts the AMX registers, which
# are only in the frames of a process that has asked for them. Some kernels report 0.
MAX_SIGNAL_FRAME = AVX512_FRAME if os.uname().machine in ("x86_64", "i686") else \
    max(ctypes.CDLL(None).getauxval(AT_MINSIGSTKSZ), AVX512_FRAME)
MAX_DEPTH = 8192 - MAX_SIGNAL_FRAME  # bytes that remain for a handler on a stack of SIGSTKSZ


def limit_descriptors():
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))


def program_path(name):
    """The path of a program in tests/context. The comment at the top of its source describes it."""
    return os.path.join(harness.PROGRAMS, "context", name)


class ContextCase(SocketCase):
    def run_and_check(self, name, *args, settings=None, **popen):
        """Runs a guarded program, which must succeed, print nothing to stderr and leave no file."""
        before = self.names()
        done = self.run_program([program_path(name), self.dir, *args], guard=True,
                                settings=settings, env=SUPERVISED_ENV, **popen)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(self.names(), before)
        return done.stdout


class Threads(ContextCase):
    """Sixteen threads in a process."""

    def test_each_on_its_own_paths(self):
        self.run_and_check("crowd", "own", "60")

    def test_all_on_the_same_paths(self):
        """Every thread may use the paths that its process owns."""
        self.run_and_check("crowd", "shared", "60")

    def start_two_processes(self, guard):
        return [self.start([program_path("crowd"), self.dir, "rival", "20"], guard=guard,
                           settings={"LOG": "none"}, env=SUPERVISED_ENV if guard else {},
                           stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                           text=True)
                for _ in range(2)]

    def test_two_processes_on_the_same_paths(self):
        rivals = self.start_two_processes(guard=True)
        for process in rivals:
            self.assertEqual(process.stdout.readline(), "met\n")
        for process in rivals:
            _, err = process.communicate("", timeout=harness.TIMEOUT)
            self.assertEqual((process.returncode, err), (0, ""))
        self.assertEqual(self.names(), [])

    def test_two_processes_on_the_same_paths_without_the_guard(self):
        """Sooner or later, one of them steals a path from the other, and the victim exits."""
        one, other = self.start_two_processes(guard=False)
        harness.wait_until(lambda: one.poll() is not None or other.poll() is not None, "a theft")
        victim = one if one.poll() is not None else other  # a process exits if it loses its path
        self.assertEqual(victim.returncode, 1)
        self.assertRegex(victim.stderr.read(), r"\Astolen")


class SignalHandlers(ContextCase):
    """A signal handler on a stack of 8 KiB makes calls while the main program is in a call."""

    def run_interrupted(self, how, **settings):
        owner = Actor(self, guard=True)
        fd = owner.serve(self.path)
        self.run_and_check("interrupted", how, self.path, settings={"LOG": "none", **settings})
        self.assertServes(owner, fd)

    def test_on_other_paths(self):
        self.run_interrupted("apart")

    def test_on_other_paths_with_all_settings(self):
        log = self.write_file("log")
        self.run_interrupted("apart", LOG=log, DEBUG="1", ONLY="/nowhere:/tmp/*",
                             IGNORE="/nowhere/*")
        self.assertGreater(os.path.getsize(log), 0)

    def test_all_on_the_same_paths(self):
        """If a handler ran while the main program holds the mutex, it would wait for ever."""
        self.run_interrupted("same")


class Forks(ContextCase):
    """A process creates children while its other threads are in calls."""

    def test_children_that_make_calls_at_once(self):
        self.run_and_check("forks", "fork")

    def test_unlink_between_vfork_and_exec(self):
        self.run_and_check("forks", "vfork")

    def test_posix_spawn(self):
        self.run_and_check("forks", "spawn")

    def run_with_first_bind_in_child(self, how):
        """A child that shares its parent's memory makes the first bind, then the parent binds."""
        self.run_and_check("forks", how)
        self.run_and_check("forks", how, preexec_fn=limit_descriptors)

    def test_first_bind_in_a_vfork_child(self):
        self.run_with_first_bind_in_child("vfork-first")

    def test_first_bind_in_a_clone_child(self):
        self.run_with_first_bind_in_child("clone-first")

    def test_first_bind_in_a_clone_child_that_runs_on(self):
        self.run_with_first_bind_in_child("clone-beside")

    def test_child_of_a_parent_that_died(self):
        """The child has copies of the descriptors of the mutexes, but no mutex may stay locked."""
        done = self.run_program([program_path("forks"), self.dir, "die"], guard=True,
                                env=SUPERVISED_ENV)
        self.assertEqual((done.returncode, done.stderr), (0, ""))


class Cancellation(ContextCase):
    """A thread that makes calls is cancelled. It must not end in the middle of a call."""

    def test_deferred(self):
        self.run_and_check("cancelled", "deferred")

    def test_asynchronous(self):
        """Cancellation is asynchronous only between calls. POSIX does not allow it during them."""
        self.run_and_check("cancelled", "asynchronous")


class Siglongjmp(ContextCase):
    """siglongjmp leaves a call that waits for a mutex. The thread's state must be as before."""

    def setUp(self):
        super().setUp()
        self.away = os.path.join(self.dir, "away.sock")

    def lock_mutex(self, path):
        """Locks the mutex of a path. Returns a function that unlocks it."""
        fd = os.open(self.lock_file_path(path), os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.fcntl(fd, F_OFD_SETLK, struct.pack(STRUCT_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0))
        return lambda: os.close(fd)

    def start_and_jump(self, *words, guard=True):
        """Starts a program whose call waits. Returns it, and what it printed after the jump."""
        process = self.start([program_path("jumped"), *words], guard=guard, text=True,
                             env=SUPERVISED_ENV if guard else {},
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE)
        self.assertEqual(process.stdout.readline(), "waiting\n")
        jumped = process.stdout.readline()
        return process, jumped

    def check_jump_while_locked(self, path, *words):
        """The mutex of the path is locked until the program has left the call."""
        unlock = self.lock_mutex(path)
        process, jumped = self.start_and_jump(*words)
        unlock()
        _, err = process.communicate("!", timeout=harness.TIMEOUT)
        self.assertEqual((jumped, process.returncode, err), ("jumped\n", 0, ""))

    def test_unlink(self):
        self.make_stale()
        self.check_jump_while_locked(self.path, "unlink", self.path)
        self.assertEqual(self.names(), [])

    def test_bind(self):
        self.check_jump_while_locked(self.path, "bind", self.path)

    def test_rename(self):
        self.make_stale()
        self.check_jump_while_locked(self.away, "rename", self.path, self.away)
        self.assertEqual(self.names(), ["away.sock"])

    def test_link(self):
        self.make_stale()
        self.check_jump_while_locked(self.away, "link", self.path, self.away)

    def test_call_does_not_wait_without_the_guard(self):
        self.make_stale()
        unlock = self.lock_mutex(self.path)
        process, jumped = self.start_and_jump("unlink", self.path, guard=False)
        _, err = process.communicate(timeout=harness.TIMEOUT)
        unlock()
        self.assertEqual(jumped, "")
        self.assertRegex(err, r"\Athe call did not wait: unlink\b")


class RelativePaths(ContextCase):
    """Calls on a relative path, while another thread changes the working directory.

    In stale_dir the path is stale. In live_dir it is the path of the owner's live socket.
    """

    def setUp(self):
        super().setUp()
        self.stale_dir, self.live_dir = (os.path.join(self.dir, name) for name in ("one", "other"))
        for directory in self.stale_dir, self.live_dir:
            os.mkdir(directory)
        self.path = os.path.join(self.live_dir, "app.sock")
        self.owner = Actor(self, guard=True)
        self.fd = self.owner.serve(self.path)

    def run_chdirs(self, verb, guard):
        return self.run_program([program_path("chdirs"), verb, self.stale_dir, self.live_dir],
                                guard=guard, settings={"LOG": "none"},
                                env=SUPERVISED_ENV if guard else {})

    def check_only_stale_paths_are_taken(self, verb):
        done = self.run_chdirs(verb, guard=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertGreater(int(done.stdout), 0)  # the calls that succeeded, on stale paths
        self.assertServes(self.owner, self.fd)

    def test_unlink(self):
        self.check_only_stale_paths_are_taken("unlink")

    def test_rename(self):
        self.check_only_stale_paths_are_taken("rename")

    def test_bind(self):
        self.check_only_stale_paths_are_taken("bind")

    def test_thefts_without_the_guard(self):
        for verb in "unlink", "rename":
            done = self.run_chdirs(verb, guard=False)
            self.assertEqual((done.returncode, done.stderr), (1, "stolen app.sock\n"))
            self.assertFalse(self.serves(self.owner, self.fd))
            if os.path.lexists(self.path):
                os.unlink(self.path)
            self.owner.serve(self.path)


class ConstantForks(ContextCase):
    """Threads that fork continuously, in a process with so much memory that a fork takes long.

    A call that opens a lock file waits for the forks in progress, but not for later ones.
    """

    def longest_control_until_end(self, process):
        """Binds and unlinks another path until the process ends. This test is not guarded. Returns
        the longest time that both calls took."""
        path, longest = os.path.join(self.dir, "control.sock"), 0
        deadline = time.monotonic() + 4 * harness.TIMEOUT
        while process.poll() is None and time.monotonic() < deadline:
            with socket.socket(socket.AF_UNIX) as control:
                begun = time.monotonic()
                control.bind(path)
                os.unlink(path)
                longest = max(longest, time.monotonic() - begun)
            time.sleep(0.002)
        return longest

    def measure_longest(self, threads, rounds, megabytes, guard):
        with open("/proc/meminfo") as info:
            free = next(int(line.split()[1]) >> 10 for line in info if "MemAvailable" in line)
        process = self.start([program_path("forkers"), self.path, str(min(megabytes, free // 4)),
                              str(threads), str(rounds)], guard=guard, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        control = self.longest_control_until_end(process)
        out, err = process.communicate(timeout=harness.TIMEOUT)
        self.assertEqual((process.returncode, err), (0, ""))
        call, fork = (int(microseconds) / 1e6 for microseconds in out.split())
        print(f"# {threads} threads, {megabytes} MB, the longest: call {call} s, fork {fork} s, "
              f"unguarded calls {control:.6f} s")
        return call, fork, control

    def check_calls_wait_only_for_forks_in_progress(self, guard):
        """No call fails, and none takes as long as a series of forks.

        The limit is relative to the longest fork and the longest unguarded calls, which take longer
        on a busy machine or disk too. A call that also waited for the forks that begin later might
        wait as long as the threads fork.
        """
        for threads, rounds, megabytes in ((3, 100, 600), (8, 10, 800)):
            call, fork, control = self.measure_longest(threads, rounds, megabytes, guard)
            self.assertLess(call, 10 * max(fork, control) + 1)

    def test_guarded(self):
        self.check_calls_wait_only_for_forks_in_progress(True)

    def test_unguarded(self):
        self.check_calls_wait_only_for_forks_in_progress(False)


class StackDepth(SocketCase):
    """The stack that each call needs. A signal handler may have little."""

    settings = {}

    def assert_depth(self, *words, expect=0, **popen):
        """Makes calls, and measures the one after "--". Its errno must be `expect`."""
        done = self.run_program([program_path("depth"), *words], guard=True, settings=self.settings,
                                **popen)
        self.assertEqual(done.returncode, 0, done.stderr)
        deepest, error = map(int, done.stdout.split())
        self.assertEqual(error, expect, done.stderr)
        print(f"# {deepest} bytes: {' '.join(words)}")
        self.assertLessEqual(deepest, MAX_DEPTH, words)
        return deepest

    def setUp(self):
        super().setUp()
        self.away = os.path.join(self.dir, "away.sock")

    def start_owner(self, path=None):
        owner = Actor(self, guard=True)
        return owner, owner.serve(path or self.path)

    def test_unlink_of_a_file(self):
        self.write_file("app.sock")
        self.assert_depth("--", "unlink", self.path)

    def test_unlink_of_an_absent_path(self):
        self.assert_depth("--", "unlink", self.path, expect=errno.ENOENT)
        self.assert_depth("--", "unlink", self.lock_file_path())

    def test_unlink_of_a_lock_file(self):
        self.write_file(".app.sock.sockguard")
        self.assert_depth("--", "unlink", self.lock_file_path())

    def test_bind(self):
        self.assert_depth("--", "bind", self.path)
        self.assert_depth("--", "rebind", self.path)  # over the stale socket that it left

    def test_calls_on_own_sockets(self):
        self.assert_depth("bind", self.path, "--", "unlink", self.path)
        self.assert_depth("bind", self.path, "--", "remove", self.path)
        self.assert_depth("bind", self.path, "--", "rename", self.path, self.away)
        self.assert_depth("--", "unlink", self.away)  # stale by now
        self.assert_depth("bind", self.path, "bind", self.away,
                          "--", "rename", self.path, self.away)
        self.assert_depth("--", "unlink", self.away)
        self.assert_depth("bind", self.path, "--", "link", self.path, self.away)

    def test_refused_unlink_and_rename(self):
        self.start_owner()
        self.assert_depth("--", "unlink", self.path, expect=errno.EADDRINUSE)
        self.assert_depth("bind", self.away, "--", "rename", self.away, self.path,
                          expect=errno.EADDRINUSE)

    def test_exchange_of_own_sockets(self):
        self.assert_depth("bind", self.path, "bind", self.away,
                          "--", "exchange", self.path, self.away)

    def test_refused_exchange(self):
        self.start_owner()
        self.assert_depth("bind", self.away, "--", "exchange", self.away, self.path,
                          expect=errno.EADDRINUSE)

    def test_refused_unlink_with_many_descriptors(self):
        """The guard lists all of them, to determine that none refers to the socket."""
        self.start_owner()
        with open("/dev/null") as null:
            many = [os.dup(null.fileno()) for _ in range(300)]
            for fd in many:
                self.addCleanup(os.close, fd)
            self.assert_depth("--", "unlink", self.path, expect=errno.EADDRINUSE, pass_fds=many)

    @needs_root
    def test_unlink_of_an_inherited_listener(self):
        """A listener that an unguarded process bound, recognised through sock_diag."""
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.path)
            listener.listen()
            os.chmod(self.dir, 0o777)
            self.assert_depth("--", "unlink", self.path, pass_fds=[listener.fileno()],
                              user=STRANGER, extra_groups=[])

    def test_long_path(self):
        directory = os.path.join(self.dir, *["d" * 100] * 4)
        os.makedirs(directory)
        self.assert_depth("--", "unlink", os.path.join(directory, "app.sock"), expect=errno.ENOENT)
        path = os.path.join(directory, "stale")
        os.mknod(path, stat.S_IFSOCK | 0o600)
        self.assert_depth("--", "unlink", path)

    def test_refused_bind_of_an_absent_path(self):
        """sock_diag reports whether the claim's socket still exists."""
        self.start_owner()
        os.unlink(self.path)
        self.assert_depth("--", "bind", self.path, expect=errno.EADDRINUSE)

    @needs_root
    def test_unlink_refused_because_of_sock_diag(self):
        """A process without write permission for the socket cannot connect to it."""
        self.start_owner()
        os.chmod(self.dir, 0o777)
        self.assert_depth("--", "unlink", self.path, expect=errno.EADDRINUSE, user=STRANGER,
                          extra_groups=[])


class StackDepthWithPatterns(StackDepth):
    settings = {"ONLY": "/nowhere:/*t*m*p*/*", "IGNORE": "/nowhere/*:" + "/x" * 1000}

    def test_bind_of_a_relative_path(self):
        self.assert_depth("--", "bind", "app.sock", cwd=self.dir)


class StackDepthWithLogFile(StackDepth):
    def setUp(self):
        super().setUp()
        self.settings = {"LOG": os.path.join(self.dir, "log"), "DEBUG": "1"}


class StackDepthWithSyslog(StackDepth):
    settings = {"LOG": "syslog"}


if __name__ == "__main__":
    sys.exit(harness.main())
