"""No call hangs and no path is stolen if processes of a supervisor are killed, stopped or blocked.

Some tests use strace to kill, stop or interrupt a process between two steps that must both happen.
"""

import errno
import mmap
import os
import pathlib
import platform
import re
import select
import signal
import struct
import subprocess
import sys
import time
import unittest

import actor
import harness

harness.GUARDED_BY = "syscalls"
AT_FDCWD, AT_SYMLINK_FOLLOW = -100, 0x400


def kernel_version():
    return tuple(int(number) for number in re.findall(r"\d+", platform.release())[:2])


def state_of(pid):
    """The state of a process or thread, such as S or T."""
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]


def has_logged(log, name):
    """Whether strace has logged a call of this name."""
    with open(log) as lines:
        return any(name + "(" in line for line in lines)


def waits_in(pid, function):
    """Whether the process waits in a kernel function whose name contains this word."""
    try:
        with open(f"/proc/{pid}/stack") as file:
            return function in file.read()
    except (FileNotFoundError, ProcessLookupError):
        return False  # it has ended


def await_stop(log, times=1):
    """Waits until the process has stopped this many times, each time after an injected SIGSTOP."""
    def has_stopped():
        with open(log) as lines:
            return sum("--- stopped by SIGSTOP ---" in line for line in lines) == times

    harness.wait_until(has_stopped, "a stop")


@actor.needs_root  # to unmount the file system
class UnresponsiveFileSystem(actor.SocketCase):
    """A file system that does not answer delays only the processes that use it."""

    def setUp(self):
        super().setUp()
        real, self.view = os.path.join(self.dir, "real"), os.path.join(self.dir, "view")
        os.mkdir(real)
        os.mkdir(self.view)
        self.bindfs = self.start(["bindfs", "-f", real, self.view, "-o",
                                  "attr_timeout=0,entry_timeout=0,negative_timeout=0"])
        harness.wait_until(lambda: os.path.ismount(self.view), "bindfs")
        self.addCleanup(subprocess.run, ["umount", "-l", self.view], check=True)
        self.addCleanup(self.bindfs.send_signal, signal.SIGCONT)
        self.parent, self.keeper, self.watcher = actor.start_supervised(self, guard=True)

    def stop_bindfs(self):
        """Stops bindfs, and waits until all its threads have stopped. Otherwise bindfs might read a
        request, and the process that sent it could not be killed."""
        def has_stopped():
            return all(state_of(task) == "T" for task in os.listdir(tasks))

        tasks = f"/proc/{self.bindfs.pid}/task"
        self.bindfs.send_signal(signal.SIGSTOP)
        harness.wait_until(has_stopped, "bindfs to stop")

    def stop(self, pid):
        os.kill(pid, signal.SIGSTOP)
        harness.wait_until(lambda: state_of(pid) in "tT", "a stop")

    def start_blocked_unlink(self, watcher):
        """Stops bindfs. Starts an unlink, and waits until this watcher is blocked on it. Returns the
        actor that makes the call."""
        file = os.path.join(self.view, "file")
        open(file, "w").close()
        one = self.parent.fork()
        self.stop_bindfs()
        one.send_command("unlink", file)
        harness.wait_until(lambda: waits_in(watcher, "fuse"), "a watcher to block")
        return one

    def assert_other_callers_are_not_delayed(self, blocked):
        """Other calls return before the file system answers. Then the blocked call returns."""
        other = self.parent.fork()
        self.assertEqual(other.unlink(self.path), errno.ENOENT)
        self.assertEqual(other.close(other.serve(self.path)), 0)
        self.bindfs.send_signal(signal.SIGCONT)
        self.assertEqual(blocked.read_answer()[1], 0)

    def start_blocked_calls(self):
        """Starts five calls that block, each in its own actor: three unlinks of files, a bind, and
        an unlink of a path relative to a working directory on bindfs. Returns the actors."""
        names = [os.path.join(self.view, f"file{number}") for number in range(3)]
        for name in names:
            open(name, "w").close()
        blocked = [self.parent.fork() for _ in range(5)]
        fd = blocked[3].socket("stream")
        blocked[4].chdir(self.view)
        self.stop_bindfs()
        for one, name in zip(blocked, names):
            one.send_command("unlink", name)
        address = actor.address(os.path.join(self.view, "s"))
        blocked[3].send_command("bind", fd, address.hex(), len(address))
        blocked[4].send_command("unlink", "none")
        return blocked

    def wait_until_children_wait(self, count, function):
        """Waits until this many children of the keeper wait in a kernel function: see waits_in."""
        harness.wait_until(
            lambda: sum(waits_in(pid, function) for pid in harness.child_pids(self.keeper)) == count,
            "children to wait")

    def test_other_callers_are_not_delayed(self):
        blocked = self.start_blocked_calls()
        one, other = self.parent.fork(), self.parent.fork()
        for path in (self.path, os.path.join(self.dir, "other.sock")):
            fd = one.serve(path)
            self.assertRefused(lambda: other.unlink(path), one, fd, path)
            self.assertEqual(one.unlink(path), 0)
        self.assertEqual(select.select([one._control for one in blocked], [], [], 0)[0], [])
        self.bindfs.send_signal(signal.SIGCONT)
        self.assertEqual([one.read_answer()[1] for one in blocked], [0, 0, 0, 0, errno.ENOENT])
        self.assertEqual(sorted(os.listdir(self.view)), [".s.sockguard", "s"])
        actor.await_idle(self.keeper)

    def test_blocked_callers_are_killed(self):
        """A worker ends with its caller, and the supervisor then works as before."""
        for one in self.start_blocked_calls():
            harness.wait_until(lambda: len(harness.child_pids(self.keeper)) > 1, "a call to block")
            one.kill()
        actor.await_idle(self.keeper)
        fd = self.parent.serve(self.path)
        self.assertServes(self.parent, fd)

    def test_keeper_is_killed_while_it_replaces_a_watcher(self):
        """The watcher becomes the keeper as soon as the file system answers."""
        one, other = self.parent.fork(), self.parent.fork()
        file = os.path.join(self.view, "file")
        open(file, "w").close()
        self.stop_bindfs()
        with harness.traced(self.keeper, "--inject=clone:signal=SIGKILL:when=1") as log:
            one.send_command("unlink", file)
            harness.wait_until(lambda: has_logged(log, "clone"), "the death of the keeper")
        self.bindfs.send_signal(signal.SIGCONT)
        self.assertEqual(one.read_answer()[1], 0)
        self.assertRefused(lambda: one.unlink(self.path), other, other.serve(self.path))

    def test_replaced_watcher_outlives_its_keeper(self):
        """The new keeper notices that the old watcher has ended, and sends no signal to its PID."""
        file = os.path.join(self.view, "file")
        open(file, "w").close()
        one = self.parent.fork()
        self.stop_bindfs()
        one.send_command("unlink", file)
        harness.wait_until(lambda: len(harness.child_pids(self.keeper)) == 2, "another watcher")
        watchers = harness.child_pids(self.keeper)
        os.kill(self.keeper, signal.SIGKILL)
        keeper, = harness.wait_until(
            lambda: [pid for pid in watchers if harness.child_pids(pid)], "another keeper")
        old, = watchers - {keeper}
        self.bindfs.send_signal(signal.SIGCONT)
        self.assertEqual(one.read_answer()[1], 0)
        harness.wait_until(lambda: os.waitpid(old, os.WNOHANG)[0], "the end of the old watcher")
        with harness.traced(keeper, "-e", "trace=kill,poll,ppoll,pidfd_open") as log:
            def lines():
                one.unlink(self.path)  # wakes the keeper
                with open(log) as file:
                    return list(file)
            harness.wait_until(lambda: sum("poll(" in line for line in lines()) >= 4,
                               "the keeper to check its processes")
            self.assertEqual([line for line in lines() if f"kill({old}," in line], [])

    def test_stopped_worker_outlives_its_keeper(self):
        """The new keeper continues the worker."""
        one = self.parent.fork()
        fd = one.socket("stream")
        address = actor.address(os.path.join(self.view, "s"))
        self.stop_bindfs()
        one.send_command("bind", fd, address.hex(), len(address))
        worker, = harness.wait_until(
            lambda: [pid for pid in harness.child_pids(self.keeper) if waits_in(pid, "fuse")],
            "a worker")
        self.stop(self.keeper)  # so that the keeper does not continue the worker
        os.kill(worker, signal.SIGSTOP)
        self.bindfs.send_signal(signal.SIGCONT)
        harness.wait_until(lambda: state_of(worker) == "T", "the worker to stop")
        os.kill(self.keeper, signal.SIGKILL)
        self.assertEqual(one.read_answer()[1], 0)

    def test_keeper_killed_after_it_has_read_the_timer(self):
        """The new keeper starts the timer again."""
        with harness.traced(self.keeper, "--inject=read:signal=SIGSTOP:when=1") as log:
            self.parent.unlink(self.write_file("file"))  # starts the timer
            await_stop(log)
            os.kill(self.keeper, signal.SIGKILL)
        watcher, = harness.wait_until(lambda: harness.child_pids(self.watcher), "another watcher")
        self.assert_other_callers_are_not_delayed(self.start_blocked_unlink(watcher))

    def test_call_arrives_while_the_keeper_reads_the_timer(self):
        """The watcher does not start the timer, because it seems to be running. The keeper does."""
        with harness.traced(self.keeper, "--inject=read:signal=SIGSTOP:when=1") as log:
            self.parent.unlink(self.write_file("file"))  # starts the timer
            await_stop(log)
            blocked = self.start_blocked_unlink(self.watcher)
            os.kill(self.keeper, signal.SIGCONT)
            self.assert_other_callers_are_not_delayed(blocked)

    def test_watcher_is_killed_and_the_fork_of_another_fails(self):
        """The call that it has received is not lost."""
        self.stop(self.keeper)  # so that it does not replace the watcher before
        blocked = self.start_blocked_unlink(self.watcher)
        os.kill(self.watcher, signal.SIGKILL)
        with harness.traced(self.keeper, "--inject=clone:error=EAGAIN:when=1") as log:
            os.kill(self.keeper, signal.SIGCONT)
            self.assert_other_callers_are_not_delayed(blocked)
            self.assertTrue(has_logged(log, "clone"))

    def test_replaced_watcher_is_killed_and_the_fork_of_another_fails(self):
        """Its call fails. Another watcher receives the calls of others."""
        blocked = self.start_blocked_unlink(self.watcher)
        harness.wait_until(lambda: len(harness.child_pids(self.keeper)) == 2, "another watcher")
        with harness.traced(self.keeper, "--inject=clone:error=EAGAIN:when=1"):
            os.kill(self.watcher, signal.SIGKILL)
            self.assertEqual(blocked.read_answer()[1], errno.ENOMEM)

    def test_replaced_watcher_receives_a_call_just_before_it_is_killed(self):
        """Another watcher handles the call.

        The keeper kills a replaced watcher that has no call. Here the watcher receives one after the
        keeper has checked that, and before the keeper kills it.
        """
        with harness.traced(self.keeper, "--inject=clone,ioctl:signal=SIGSTOP:when=1") as log:
            one = self.start_blocked_unlink(self.watcher)
            await_stop(log)  # just before it replaces the watcher
            self.bindfs.send_signal(signal.SIGCONT)
            self.assertEqual(one.read_answer()[1], 0)
            os.kill(self.keeper, signal.SIGCONT)
            await_stop(log, 2)  # after it has seen that the watcher has no call
            other, = harness.child_pids(self.keeper) - {self.watcher}
            self.stop(other)  # so that it does not receive the call
            one = self.start_blocked_unlink(self.watcher)
            os.kill(self.keeper, signal.SIGCONT)
            harness.wait_until(lambda: self.watcher not in harness.child_pids(self.keeper),
                               "the death of the watcher")
            self.assert_other_callers_are_not_delayed(one)

    def test_keeper_is_killed_while_a_call_waits_for_a_slot(self):
        """The watcher becomes the keeper, and then notices that workers have ended."""
        blocked = [self.parent.fork() for _ in range(256)]  # PENDING_SLOTS in pending.h
        fds = [one.socket("stream") for one in blocked]
        self.stop_bindfs()
        for number, (one, fd) in enumerate(zip(blocked, fds)):
            address = actor.address(os.path.join(self.view, str(number)))
            one.send_command("bind", fd, address.hex(), len(address))
        self.wait_until_children_wait(256, "fuse")
        other = self.parent.fork()
        fd = other.socket("stream")
        address = actor.address(self.path)
        other.send_command("bind", fd, address.hex(), len(address))
        self.wait_until_children_wait(1, "nanosleep")  # the watcher
        os.kill(self.keeper, signal.SIGKILL)
        self.bindfs.send_signal(signal.SIGCONT)
        self.assertEqual({one.read_answer()[1] for one in [*blocked, other]}, {0})


class InheritedDescriptors(actor.SocketCase):
    """The supervisor closes what the program inherits. Otherwise the other end of a pipe would not
    find out that the program has closed its end."""

    def test_pipe(self):
        ends = os.pipe()
        for fd in ends:
            self.addCleanup(os.close, fd)
        pipe = os.readlink(f"/proc/self/fd/{ends[1]}")
        program, *supervisor = actor.start_supervised(self, guard=True, pass_fds=ends[1:])
        self.assertIn(pipe, [name for _, name in program.descriptors()])
        for pid in supervisor:
            table = f"/proc/{pid}/fd"
            self.assertNotIn(pipe, [os.readlink(f"{table}/{fd}") for fd in os.listdir(table)])


class SupervisorDeaths(actor.SocketCase):
    """The keeper and the watcher, the two processes of a supervisor, replace each other."""

    def setUp(self):
        super().setUp()
        self.owner, self.keeper, self.watcher = actor.start_supervised(self, guard=True)
        self.rival = actor.Actor(self, guard=True)
        self.fd = self.owner.serve(self.path)
        self.watcher = actor.await_idle(self.keeper)

    def assert_still_guarded(self):
        own = os.path.join(self.dir, "own.sock")
        self.assertEqual(self.owner.close(self.owner.serve(own)), 0)
        self.assertEqual(self.owner.unlink(own), 0)
        self.assertRefused(lambda: self.rival.unlink(self.path), self.owner, self.fd)
        rival = os.path.join(self.dir, "rival.sock")
        fd = self.rival.serve(rival)
        self.assertRefused(lambda: self.owner.unlink(rival), self.rival, fd, rival)

    def test_watcher_killed(self):
        os.kill(self.watcher, signal.SIGKILL)
        self.assert_still_guarded()

    def test_keeper_killed(self):
        os.kill(self.keeper, signal.SIGKILL)
        self.assert_still_guarded()

    def test_keeper_and_new_keeper_killed(self):
        """The survivor starts another watcher each time."""
        os.kill(self.keeper, signal.SIGKILL)
        harness.wait_until(lambda: harness.child_pids(self.watcher), "another watcher")
        watcher, = harness.child_pids(self.watcher)
        os.kill(self.watcher, signal.SIGKILL)
        harness.wait_until(lambda: harness.child_pids(watcher), "a third watcher")
        self.assert_still_guarded()

    def test_watcher_killed_and_forks_fail(self):
        """The keeper tries again until the fork of a watcher succeeds."""
        with harness.traced(self.keeper, "--inject=clone:error=EAGAIN:when=1..3") as log:
            os.kill(self.watcher, signal.SIGKILL)
            harness.wait_until(lambda: has_logged(log, "clone"), "the death of the watcher")
            self.assert_still_guarded()

    def test_watcher_stopped(self):
        os.kill(self.watcher, signal.SIGSTOP)
        self.assert_still_guarded()

    def test_keeper_sleeps_if_no_call_is_pending(self):
        """The timer stops after the last call. Otherwise it would wake the keeper every 10 ms."""
        def count_reads():
            with open(log) as lines:
                return len(list(lines))

        with harness.traced(self.keeper, "-e", "trace=read") as log:
            self.assertEqual(self.owner.unlink(self.path), 0)
            actor.await_idle(self.keeper)
            harness.wait_until(count_reads, "a tick")
            before = count_reads()
            time.sleep(1)
            self.assertLess(count_reads() - before, 10)

    def test_termination_signals(self):
        """A service manager signals every process of a service. The supervisor ignores the signals,
        because the service still makes calls while it stops."""
        for pid in (self.keeper, self.watcher):
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                os.kill(pid, number)
        self.assert_still_guarded()

    def test_both_killed(self):
        """Without a supervisor, the kernel fails the eight guarded calls, so no path is stolen."""
        os.kill(self.keeper, signal.SIGSTOP)  # so that the keeper does not replace the watcher
        os.kill(self.watcher, signal.SIGKILL)
        os.kill(self.keeper, signal.SIGKILL)
        harness.wait_until(lambda: self.owner.unlink(self.path) == errno.ENOSYS, "ENOSYS")
        self.assertServes(self.owner, self.fd)
        self.owner.kill()
        self.assertEqual(self.rival.unlink(self.path), 0)

    def test_keeper_stopped(self):
        """A watcher continues the keeper, which alone notices that a worker has ended."""
        os.kill(self.keeper, signal.SIGSTOP)
        self.assert_still_guarded()

    def test_watcher_stopped_and_keeper_killed(self):
        os.kill(self.keeper, signal.SIGSTOP)  # so that the keeper does not continue the watcher
        os.kill(self.watcher, signal.SIGSTOP)
        harness.wait_until(lambda: state_of(self.watcher) == "T", "the watcher to stop")
        os.kill(self.keeper, signal.SIGKILL)
        self.assert_still_guarded()

    def test_worker_killed_before_its_first_step(self):
        with harness.traced(self.watcher, "-f", "--inject=rt_sigprocmask:signal=SIGKILL:when=1") as log:
            self.assertEqual(self.owner.unlink(self.path), 0)
            self.assertTrue(has_logged(log, "rt_sigprocmask"))
        self.fd = self.owner.serve(self.path)
        self.assert_still_guarded()

    def test_worker_killed_after_a_link(self):
        """The worker that replaces it recognises that the call took effect, whatever its flags."""
        name = os.path.join(self.dir, "symlink")
        new = os.path.join(self.dir, "new.sock")
        os.symlink(self.path, name)
        with harness.traced(self.watcher, "-f", "--inject=linkat:delay_exit=100s"):
            self.owner.send_command("linkat", AT_FDCWD, name, AT_FDCWD, new, AT_SYMLINK_FOLLOW)
            harness.wait_until(lambda: os.path.exists(new), "the link")
            worker, = set(harness.child_pids(self.keeper)) - {self.watcher}
            os.kill(worker, signal.SIGKILL)
            result, error, _ = self.owner.read_answer()
        self.assertEqual((result, error), (0, 0))
        self.assertEqual(self.owner.unlink(new), 0)
        self.assert_still_guarded()

    @actor.needs_root
    def test_worker_killed_while_it_holds_the_mutex_through_a_claim(self):
        """The forks share the claim, and with it the mutex. No worker takes it for a library's."""
        os.chown(self.dir, actor.OTHER_USER, 0)
        self.owner.change_user(actor.OTHER_USER)  # it cannot open its lock file any more
        fork = self.owner.fork()
        mutex = f":{os.stat(self.lock_file_path()).st_ino}", "0", "0"
        with harness.traced(self.watcher, "-f", "--inject=unlinkat:delay_enter=100s"):
            self.owner.send_command("unlink", self.path)
            harness.wait_until(lambda: any(
                (line[4][line[4].rindex(":"):], *line[5:]) == mutex
                for line in harness.lock_table() if line[0] == "OFDLCK"), "the mutex")
            worker, = set(harness.child_pids(self.keeper)) - {self.watcher}
            self.assertEqual(fork.unlink(self.path), errno.EADDRINUSE)  # after three seconds
            os.kill(worker, signal.SIGKILL)
            self.assertEqual(self.owner.read_answer()[1], 0)
        self.assertEqual(self.names(), [])
        self.rival.serve(self.path)

    def test_keeper_killed_before_it_starts_a_worker(self):
        """The keeper has noticed that a worker was killed, and is about to start another one."""
        with harness.traced(self.keeper, "--inject=clone:signal=SIGKILL:when=1") as log, \
                harness.traced(self.watcher, "-f", "--inject=setgroups,umask:signal=SIGKILL:when=1"):
            self.assertIn(self.owner.unlink(self.path), (0, errno.ENOMEM))
            self.assertTrue(has_logged(log, "clone"))
        if os.path.exists(self.path):
            self.assertEqual(self.owner.unlink(self.path), 0)
        self.fd = self.owner.serve(self.path)
        self.assert_still_guarded()

    def test_interrupted_answers(self):
        """A signal may interrupt an ioctl of a watcher while it waits for a lock of the kernel."""
        with harness.traced(self.watcher, "-f", "--inject=ioctl:error=EINTR:when=1+2") as log:
            self.assertEqual(self.owner.unlink(os.path.join(self.dir, "absent")), errno.ENOENT)
            self.assertEqual(self.owner.unlink(self.path), 0)
            self.fd = self.owner.serve(self.path)
            self.assertTrue(has_logged(log, "ioctl"))
        self.assert_still_guarded()

    def test_holder_of_the_lock_is_stopped(self):
        """The keeper waits for the lock, so it cannot continue the stopped worker as usual."""
        first, second = self.owner.fork(), self.owner.fork()
        fds = [one.socket("stream") for one in (first, second)]
        paths = [os.path.join(self.dir, name) for name in ("first", "second")]
        os.kill(self.keeper, signal.SIGSTOP)
        harness.wait_until(lambda: state_of(self.keeper) == "T", "the keeper to stop")
        self.assertEqual(first.bind(fds[0], paths[0]), 0)
        ended = harness.child_pids(self.keeper)  # the keeper's oldest children
        with harness.traced(self.watcher, "-f", "--inject=prlimit64:signal=SIGSTOP:when=1"):
            address = actor.address(paths[1])
            second.send_command("bind", fds[1], address.hex(), len(address))
            worker, = harness.wait_until(lambda: harness.child_pids(self.keeper) - ended, "a worker")
            harness.wait_until(lambda: state_of(worker) in "tT", "the worker to stop")
            os.kill(self.keeper, signal.SIGCONT)
            self.assertEqual(second.read_answer()[1], 0)
        self.assert_still_guarded()


# Binds a socket to the path in argv[1] after a line or the end of stdin, and again if a signal
# interrupts the bind. Then prints the file that descriptor 1023 refers to. Before the bind, that is
# /dev/null.
BIND_AGAIN = """
import os, resource, signal, socket, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
signal.signal(signal.SIGUSR1, lambda *unused: None)
os.dup2(os.open("/dev/null", os.O_RDONLY), 1023)
one = socket.socket(socket.AF_UNIX)
print("ready", flush=True)
sys.stdin.readline()
try:
    one.bind(sys.argv[1])
except InterruptedError:
    print("interrupted", flush=True)
    one.bind(sys.argv[1])
print(os.readlink("/proc/self/fd/1023"))
"""


@actor.needs_root  # to read in which function a process waits
class StepsOutsideTheKernel(actor.SocketCase):
    """A process of the supervisor is suspended just before or after an ioctl: see tests/suspend.c."""

    LIBRARY = os.path.join(harness.BUILD, "tests", ".libs", "libsuspend.so")
    BEFORE, AFTER = 1, 2
    # SECCOMP_IOCTL_NOTIF_RECV, _SEND and _ADDFD: the direction and the size of the argument.
    RECEIVE, ANSWER, INJECT = (direction << 30 | size << 16 | ord("!") << 8 | number
                               for direction, size, number in ((3, 80, 0), (3, 24, 1), (1, 24, 3)))

    def setUp(self):
        super().setUp()
        path = self.write_file("choice", "\0" * 16)
        with open(path, "r+b") as file:
            self.choice = mmap.mmap(file.fileno(), 16)
        self.addCleanup(self.choice.close)
        self.env = {"LD_PRELOAD": self.LIBRARY, "SUSPEND_FILE": path}
        self.owner, self.keeper, self.watcher = actor.start_supervised(self, guard=True,
                                                                       env=self.env)

    def suspend(self, when, request, pid=0):
        """Chooses where a process suspends itself the next time."""
        self.choice[:8] = struct.pack("=iI", pid, request)
        self.choice[8:12] = struct.pack("=i", when)

    def await_suspended(self):
        """Returns the PID of the suspended process."""
        return harness.wait_until(lambda: struct.unpack("=i", self.choice[12:])[0], "a process")

    def resume(self):
        self.choice[12:] = bytes(4)

    def test_keeper_killed_just_before_the_watcher_waits_for_a_call(self):
        """The watcher becomes the keeper, although the signal does not interrupt its wait."""
        def has_handled_the_signal():
            with open(f"/proc/{self.watcher}/status") as file:
                status = dict(line.split(":\t") for line in file.read().splitlines() if ":\t" in line)
            return int(status["PPid"]) != self.keeper and int(status["ShdPnd"], 16) == 0

        harness.wait_until(lambda: waits_in(self.watcher, "seccomp"), "the watcher to wait for a call")
        self.suspend(self.BEFORE, self.RECEIVE, self.watcher)
        self.assertEqual(self.owner.unlink(self.path), errno.ENOENT)
        self.await_suspended()
        os.kill(self.keeper, signal.SIGKILL)
        harness.wait_until(has_handled_the_signal, "the signal")
        self.resume()
        harness.wait_until(lambda: harness.child_pids(self.watcher), "another watcher")

    @unittest.skipIf(kernel_version() < (5, 19), "signals can interrupt a call before its answer")
    def test_worker_killed_just_after_its_answer(self):
        """The next call with the same arguments is a new call."""
        rival = actor.Actor(self, guard=True)
        self.owner.close(self.owner.serve(self.path))
        actor.await_idle(self.keeper)
        self.suspend(self.AFTER, self.ANSWER)
        self.assertEqual(self.owner.unlink(self.path), 0)
        worker = self.await_suspended()
        os.kill(worker, signal.SIGKILL)
        harness.wait_until(lambda: worker not in harness.child_pids(self.keeper), "the worker's death")
        fd = rival.serve(self.path)
        self.assertRefused(lambda: self.owner.unlink(self.path), rival, fd)

    def test_caller_interrupted_just_before_it_receives_its_claim(self):
        """The worker injects the claim when the call is repeated, at a free descriptor number.

        Signals interrupt a call at this moment only before Linux 5.19.
        """
        def wait_for_line(number, line):
            harness.wait_until(lambda: pathlib.Path(output).read_text().split("\n")[number:] == [line, ""],
                               line)

        output = self.write_file("output")
        with open(output, "w") as out:
            caller = self.start(
                ["python3", "-c", harness.DENY_WAIT_KILLABLE,
                 *harness.guarded_command(["python3", "-c", BIND_AGAIN, self.path], True)],
                env=self.env, stdin=subprocess.PIPE, stdout=out)
        wait_for_line(0, "ready")
        self.suspend(self.BEFORE, self.INJECT)
        caller.stdin.close()
        self.await_suspended()
        os.kill(caller.pid, signal.SIGUSR1)
        wait_for_line(1, "interrupted")
        harness.wait_until(lambda: waits_in(caller.pid, "seccomp"), "the repeated call")
        self.resume()
        wait_for_line(2, "/dev/null")


if __name__ == "__main__":
    sys.exit(harness.main())
