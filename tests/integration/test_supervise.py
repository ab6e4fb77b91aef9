"""sockguard run --by syscalls: guards programs into which nothing can be preloaded, and leaves no
trace in any program."""

import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import unittest

import actor
import command
import harness

harness.GUARDED_BY = "syscalls"
RUN_SUPERVISED = [harness.COMMAND, "run", "--by", "syscalls", "--"]
DIRECTORY = os.path.dirname(os.path.abspath(__file__))
REFUSAL_PATTERN = (r'\Asockguard: \w+\[\d+\]: %s\("%s"\) refused with EADDRINUSE: '
                   r'in use by \w+ \(pid %d, uid 0\)\n\Z')
IO_URING_SETUP = 425


def setUpModule():
    """Builds a statically linked actor and a Go program."""
    directory = tempfile.mkdtemp(prefix="sg-", dir="/tmp")
    unittest.addModuleCleanup(shutil.rmtree, directory)
    os.chmod(directory, 0o755)
    harness.ACTOR = os.path.join(directory, "actor")
    subprocess.run(["cc", "-static", "-o", harness.ACTOR, os.path.join(DIRECTORY, "..", "actor.c")],
                   check=True)
    GoProgram.program = os.path.join(directory, "listener")
    subprocess.run(["go", "build", "-o", GoProgram.program, os.path.join(DIRECTORY, "listener.go")],
                   check=True, env={**os.environ, "GOCACHE": os.path.join(directory, "cache"),
                                    "CGO_ENABLED": "0", "GO111MODULE": "off"})
    shutil.rmtree(os.path.join(directory, "cache"))


class StaticPrograms:
    """The owner and the rival are statically linked programs, with or without an environment."""

    def setUp(self):
        super().setUp()
        through = ("env", "-i") if self.environment == "cleared" else ()
        self.owner = actor.Actor(self, guard=self.guard, through=through)
        self.rival = actor.Actor(self, guard=self.guard, through=through)
        self.fd = self.owner.serve(self.path)

    def test_unlink(self):
        self.assertRefusedIfGuarded(lambda: self.rival.unlink(self.path), self.owner, self.fd)

    def test_unlinkat(self):
        self.assertRefusedIfGuarded(lambda: self.rival.unlinkat(self.rival.open_directory(self.dir),
                                                                "app.sock"), self.owner, self.fd)

    def test_rename_over(self):
        own = os.path.join(self.dir, "own.sock")
        self.rival.serve(own)
        self.assertRefusedIfGuarded(lambda: self.rival.rename(own, self.path), self.owner, self.fd)

    def test_rename_away(self):
        self.assertRefusedIfGuarded(lambda: self.rival.rename(self.path, self.path + ".old"),
                                    self.owner, self.fd)

    def test_path_removed_by_an_unguarded_process(self):
        os.unlink(self.path)
        fd = self.rival.socket("stream")
        if self.guard:
            self.assertEqual(self.rival.bind(fd, self.path), errno.EADDRINUSE)
            self.assertIn("the path was removed, but not by its owner", self.rival.stderr())
        else:
            self.assertEqual(self.rival.bind(fd, self.path), 0)

    def test_link_to_the_removed_path(self):
        os.unlink(self.path)
        own = os.path.join(self.dir, "own.sock")
        self.rival.serve(own)
        self.assertEqual(self.rival.link(own, self.path), errno.EADDRINUSE if self.guard else 0)

    def test_log_message(self):
        self.rival.unlink(self.path)
        if self.guard:
            self.assertRegex(self.rival.stderr(),
                             REFUSAL_PATTERN % ("unlink", self.path, self.owner.pid))
        else:
            self.assertEqual(self.rival.stderr(), "")

    def test_restart_after_the_owner_was_killed(self):
        self.owner.kill()
        self.assertEqual(self.rival.unlink(self.path), 0)
        self.assertServes(self.rival, self.rival.serve(self.path))
        self.assertEqual(self.rival.unlink(self.path), 0)
        self.assertEqual(self.names(), [])

    def test_unlink_by_the_owner(self):
        self.assertEqual(self.owner.unlink(self.path), 0)
        self.assertEqual(self.names(), [])

    def test_unlink_of_a_closed_socket_that_a_fork_holds(self):
        self.owner.fork()
        self.owner.close(self.fd)
        self.assertEqual(self.owner.unlink(self.path), 0)
        self.assertEqual(self.names(), [])

    def test_unlink_by_the_owner_after_it_gave_up_root(self):
        os.chmod(self.dir, 0o777)
        self.owner.change_user(actor.STRANGER)
        self.assertEqual(self.owner.unlink(self.path), 0)

    def test_preloaded_rival(self):
        preloaded = self.start_preloaded()
        self.assertRefusedIfGuarded(lambda: preloaded.unlink(self.path), self.owner, self.fd)

    def test_preloaded_owner(self):
        path = os.path.join(self.dir, "other.sock")
        preloaded = self.start_preloaded()
        fd = preloaded.serve(path)
        self.assertRefusedIfGuarded(lambda: self.rival.unlink(path), preloaded, fd, path)

    def start_preloaded(self):
        """Starts a dynamically linked actor, with the library preloaded if guarded."""
        harness.GUARDED_BY, static = "preload", harness.ACTOR
        harness.ACTOR = os.path.join(harness.BUILD, "tests", "actor")
        try:
            return actor.Actor(self, guard=self.guard)
        finally:
            harness.GUARDED_BY, harness.ACTOR = "syscalls", static


actor.define_counterparts(globals(), StaticPrograms, environment=("whole", "cleared"))


class GoProgram:
    """A server written in Go, whose runtime makes system calls without libc."""

    def start_server(self):
        return self.start([self.program, self.path], guard=self.guard, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True)

    def is_reached_through_the_path(self, server):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(harness.TIMEOUT)
            client.connect(self.path)
            return client.recv(64) == b"%d\n" % server.pid

    def test_second_instance(self):
        first = self.start_server()
        self.assertEqual(first.stdout.readline(), "ready\n")
        second = self.start_server()
        line = second.stdout.readline()
        if self.guard:
            self.assertIn("address already in use", line)
            self.assertEqual(second.wait(harness.TIMEOUT), 1)
            self.assertRegex(second.stderr.read(),
                             REFUSAL_PATTERN % ("unlinkat", self.path, first.pid))
            self.assertTrue(self.is_reached_through_the_path(first))
        else:
            self.assertEqual(line, "ready\n")
            self.assertFalse(self.is_reached_through_the_path(first))

    def test_restart_after_kill(self):
        first = self.start_server()
        self.assertEqual(first.stdout.readline(), "ready\n")
        first.kill()
        first.wait()
        second = self.start_server()
        self.assertEqual(second.stdout.readline(), "ready\n")
        self.assertTrue(self.is_reached_through_the_path(second))

    def test_stop(self):
        server = self.start_server()
        self.assertEqual(server.stdout.readline(), "ready\n")
        server.send_signal(signal.SIGINT)
        self.assertEqual(server.wait(harness.TIMEOUT), 0)
        self.assertEqual(self.names(), [])


actor.define_counterparts(globals(), GoProgram)


class AutomaticMethod(command.CommandCase):
    """Without --by, a supervisor guards only programs that cannot be preloaded into."""

    # Prints 1 if the process has one seccomp filter, which is the supervisor's, and otherwise 0.
    COUNT_FILTERS = ("import os\n"
                     "print(open('/proc/self/status').read().count('Seccomp_filters:\\t1'))\n")

    def test_static_program(self):
        self.assert_result(self.sockguard("run", "--strict", "busybox", "grep",
                                          "Seccomp_filters", "/proc/self/status"),
                           0, "Seccomp_filters:\t1\n")

    def test_script_that_clears_the_environment(self):
        script = self.write_executable("a", "#!/usr/bin/env -S -i /usr/bin/python3\n" +
                                       self.COUNT_FILTERS)
        self.assert_result(self.sockguard("run", "--strict", script), 0, "1\n")

    def test_dynamic_program(self):
        self.assert_result(self.sockguard("run", "--strict", "python3", "-c", self.COUNT_FILTERS),
                           0, "0\n")

    def test_set_user_id_program(self):
        """Under a filter, the program would not gain its privileges unless root starts it."""
        path = self.patched_copy("/bin/true")
        os.chmod(path, 0o4755)
        ended = self.sockguard_as_stranger("run", path)
        self.assertEqual(ended.returncode, 0)
        self.assertIn("will not be guarded: set-user-ID", ended.stderr)

    def test_without_the_library(self):
        """--by syscalls works if only the command is installed."""
        shutil.copy(harness.COMMAND, self.dir)
        copy = os.path.join(self.dir, os.path.basename(harness.COMMAND))
        ended = subprocess.run([copy, "run", "--by", "syscalls", "true"], capture_output=True)
        self.assertEqual((ended.returncode, ended.stderr), (0, b""))

    def test_unknown_method(self):
        self.assertIn("expected auto, preload or syscalls",
                      self.assert_usage_error("run", "--by", "magic", "true"))


class SharedSupervisor(actor.SocketCase):
    """Several programs under one supervisor, or one program under several guards."""

    def test_rivals_under_one_supervisor(self):
        """Each process owns its own sockets, so two programs under one supervisor are rivals."""
        ran = self.run_program(
            ["python3", "-c", "import os, socket, sys\n"
             "one = socket.socket(socket.AF_UNIX)\n"
             "one.bind(sys.argv[1])\n"
             "os.spawnlp(os.P_WAIT, 'python3', 'python3', '-c', 'import os, sys\\n"
             "os.unlink(sys.argv[1])', sys.argv[1])\n", self.path], guard=True)
        self.assertIn("refused with EADDRINUSE", ran.stderr)
        self.assertEqual(self.names(), [".app.sock.sockguard", "app.sock"])

    def test_run_under_run(self):
        """`run` starts no second supervisor, because the process tree is already guarded."""
        before = harness.child_pids()
        owner = actor.Actor(self, guard=True, through=RUN_SUPERVISED)
        self.assertEqual(len(harness.child_pids() - before), 2)  # the owner, and one supervisor
        fd = owner.serve(self.path)
        rival = actor.Actor(self, guard=True, through=RUN_SUPERVISED)
        self.assertRefused(lambda: rival.unlink(self.path), owner, fd)

    def preload_as_well(self):
        """Lets the test use actors that the loader reaches. Returns their environment."""
        static, harness.ACTOR = harness.ACTOR, os.path.join(harness.BUILD, "tests", "actor")
        self.addCleanup(setattr, harness, "ACTOR", static)
        return {"LD_PRELOAD": harness.LIBRARY}

    def test_preloaded_as_well(self):
        """The library judges each call while it holds the mutex. The supervisor lets it pass."""
        both = self.preload_as_well()
        owner = actor.Actor(self, guard=True, env=both)
        rival = actor.Actor(self, guard=True, env=both)
        for act in (lambda: rival.unlink(self.path), lambda: rival.rename(self.path, "x")):
            fd = owner.serve(self.path)
            self.assertRefused(act, owner, fd)
            self.assertEqual(rival.stderr().count("refused"), 1)
            owner.fork()
            owner.close(fd)
            self.assertEqual(owner.rename(self.path, self.path + ".old"), 0)
            self.assertEqual(owner.unlink(self.path + ".old"), 0)
            self.assertEqual(self.names(), [])
            rival = actor.Actor(self, guard=True, env=both)

    @actor.needs_root
    def test_preloaded_as_well_and_privileges_dropped(self):
        """The caller may not open the lock file, whose mutex its library holds."""
        both = self.preload_as_well()
        for mode, planted in ((0o755, False), (0o1777, False), (0o1777, True)):
            with self.subTest(mode=mode, planted=planted):
                os.chmod(self.dir, mode)
                os.chown(self.dir, actor.OTHER_USER if mode == 0o755 else 0, 0)
                if planted:
                    self.write_file(os.path.basename(self.lock_file_path()))
                    os.chown(self.lock_file_path(), actor.STRANGER, actor.STRANGER)
                owner = actor.Actor(self, guard=True, env=both)
                owner.serve(self.path)
                os.chown(self.path, actor.OTHER_USER, actor.OTHER_USER)
                owner.change_user(actor.OTHER_USER)
                self.assertEqual(owner.rename(self.path, self.path + ".old"), 0)
                self.assertEqual(owner.unlink(self.path + ".old"), 0)

    def test_supervised_by_another_program(self):
        """Another program receives the notifications. `run` reports this before the start."""
        # SECCOMP_SET_MODE_FILTER with NEW_LISTENER, of a filter that allows everything.
        with_notify_fd = ("import ctypes, os, sys\n"
                 "class Program(ctypes.Structure):\n"
                 "    _fields_ = [('len', ctypes.c_ushort), ('filter', ctypes.c_char_p)]\n"
                 "words = (6).to_bytes(2, 'little') + bytes(2) + "
                 "(0x7fff0000).to_bytes(4, 'little')\n"
                 "libc = ctypes.CDLL(None, use_errno=True)\n"
                 "libc.prctl(38, 1, 0, 0, 0)\n"
                 "os.set_inheritable(libc.syscall(317, 1, 8, ctypes.byref(Program(1, words))), 1)\n"
                 "os.execv(sys.argv[1], sys.argv[1:])\n")
        ran = self.run_program(["python3", "-c", with_notify_fd, harness.COMMAND, "run", "--by",
                                "syscalls", "--strict", "echo", "started"])
        self.assertEqual((ran.returncode, ran.stdout), (126, ""))
        self.assertIn("EBUSY", ran.stderr)


class ForbiddenBySeccomp(command.CommandCase):
    """A seccomp filter forbids a call that a supervisor needs. `run` says so at its start."""

    # NUMBER ARGUMENT COMMAND...: makes the system call NUMBER fail with EPERM in the command, if
    # the call's second argument is ARGUMENT. If ARGUMENT is 0, every such call fails.
    DENY_CALL = """
import ctypes, os, struct, sys
class Program(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_char_p)]
number, argument = int(sys.argv[1]), int(sys.argv[2])
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
steps = [(LOAD, 0, 0, 0), (EQUAL, 0, 3 if argument else 1, number)]
if argument:
    steps += [(LOAD, 0, 0, 24), (EQUAL, 0, 1, argument)]
steps += [(RETURN, 0, 0, 0x00050001), (RETURN, 0, 0, 0x7fff0000)]
words = b"".join(struct.pack("=HBBI", *step) for step in steps)
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(38, 1, 0, 0, 0)
assert libc.prctl(22, 2, ctypes.byref(Program(len(steps), words)), 0, 0) == 0
os.execv(sys.argv[3], sys.argv[3:])
"""
    SECCOMP, IOCTL, PIDFD_GETFD, PROCESS_VM_READV, GETPPID = 317, 16, 438, 310, 110
    RECV, SEND, ID_VALID, ADDFD = 0xc0502100, 0xc0182101, 0x40082102, 0x40182103
    NO_PERMISSION = "a supervisor has no permission to examine processes or to answer their calls"

    def run_under_filter(self, number, argument, *options):
        return self.run_program(["python3", "-c", self.DENY_CALL, str(number), str(argument),
                                 harness.COMMAND, "run", "--by", "syscalls", *options, "--",
                                 "echo", "started"])

    def assert_run_reports(self, reason, number, argument=0):
        strict = self.run_under_filter(number, argument, "--strict")
        self.assertEqual((strict.returncode, strict.stdout), (126, ""))
        self.assertIn(reason, strict.stderr)
        ran = self.run_under_filter(number, argument)
        self.assertEqual((ran.returncode, ran.stdout), (0, "started\n"))

    def test_filter_that_forbids_something_else(self):
        ran = self.run_under_filter(self.GETPPID + 1000, 0, "--strict")
        self.assertEqual((ran.returncode, ran.stdout, ran.stderr), (0, "started\n", ""))

    def test_seccomp(self):
        self.assert_run_reports("does not permit supervision", self.SECCOMP)

    def test_ioctls(self):
        for number in (self.RECV, self.SEND, self.ID_VALID, self.ADDFD):
            with self.subTest(hex(number)):
                self.assert_run_reports(self.NO_PERMISSION, self.IOCTL, number)

    def test_pidfd_getfd(self):
        self.assert_run_reports(self.NO_PERMISSION, self.PIDFD_GETFD)

    def test_process_vm_readv(self):
        self.assert_run_reports(self.NO_PERMISSION, self.PROCESS_VM_READV)


class NoTrace(command.CommandCase):
    """A supervised program observes the same environment and results as an unguarded one."""

    PRINT_PROCESS_STATE = """
import os, re
status = open("/proc/self/status").read()
print(os.getppid(), os.getpgrp() == os.getpid(), os.getsid(0) == os.getpid(),
      re.findall("(?:Sig|Shd)(?:Pnd|Blk|Ign).*", status),
      open("/proc/thread-self/children").read(), sorted(os.listdir("/proc/self/fd")),
      os.environ.get("LD_PRELOAD"), os.getcwd(), oct(os.umask(0)))
"""

    def test_process_state(self):
        seen = [self.run_program(["python3", "-c", self.PRINT_PROCESS_STATE], guard=guard,
                                 start_new_session=True)
                for guard in (False, True)]
        self.assertEqual(seen[0].stdout, seen[1].stdout)
        self.assertEqual([one.stderr for one in seen], ["", ""])

    def test_pid_is_kept(self):
        process = self.start(["python3", "-c", "import os; print(os.getpid())"], guard=True,
                             stdout=subprocess.PIPE)
        self.assertEqual(int(process.stdout.read()), process.pid)

    def test_command_line_of_the_supervisor(self):
        """pkill -f with the program's name does not match the supervisor's processes.

        They set their command lines, even if the original one was shorter.
        """
        before = harness.child_pids()
        for words in (RUN_SUPERVISED, ["s", "run"]):
            process = self.start([*words, "busybox", "sleep", "60"], executable=harness.COMMAND)
            harness.wait_until(lambda: len(harness.child_pids() - before) == 2, "a supervisor")
            keeper, = harness.child_pids() - before - {process.pid}
            harness.wait_until(lambda: harness.child_pids(keeper), "a watcher")
            for pid in (keeper, *harness.child_pids(keeper)):
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    title = file.read().rstrip(b"\0")
                self.assertEqual(title, b"sockguard: supervisor of %d" % process.pid)
            process.kill()
            process.wait()
            os.waitpid(keeper, 0)

    def test_exit_status(self):
        self.assertEqual(self.run_program(["sh", "-c", "exit 7"], guard=True).returncode, 7)
        ended = self.run_program(["sh", "-c", "kill -KILL $$"], guard=True)
        self.assertEqual(ended.returncode, -signal.SIGKILL)

    def test_end_of_output_of_a_daemon(self):
        """The supervisor does not keep the program's output open, so that $(daemon) ends."""
        process = self.start(["python3", "-c", "import os, signal\n"
                              "os.closerange(0, 3)\n"
                              "signal.pause()\n"], guard=True, stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertEqual((process.stdout.read(), process.stderr.read()), (b"", b""))
        self.assertIsNone(process.poll())

    def test_supervisor_ends_with_the_last_process(self):
        before = harness.child_pids()
        owner = actor.Actor(self, guard=True)
        supervisors = harness.child_pids() - before - {owner.pid}
        self.assertEqual(len(supervisors), 1)
        child = owner.fork()
        owner.exit()
        self.assertEqual(harness.child_pids() & supervisors, supervisors)
        fd = child.serve(self.path)
        self.assertServes(child, fd)
        child.exit()
        pid, status = os.waitpid(*supervisors, 0)
        self.assertEqual(status, 0)

    def test_bound_address_and_mode(self):
        """The socket keeps the exact bytes of a relative path, and gets its mode from the umask."""
        owner = actor.Actor(self, guard=True, cwd=self.dir)
        owner.umask(0o027)
        fd = owner.socket("stream")
        self.assertEqual(owner.bind_raw(fd, actor.address("app.sock")), 0)
        self.assertEqual(os.stat(self.path).st_mode & 0o777, 0o750)
        with open("/proc/net/unix") as table:
            self.assertIn(" app.sock\n", table.read())

    def test_removed_working_directory(self):
        directory = os.path.join(self.dir, "d")
        os.mkdir(directory)
        for guard in (False, True):
            one = actor.Actor(self, guard=guard)
            one.chdir(directory)
            os.rmdir(directory)
            self.assertEqual(one.bind(one.socket("stream"), "a"), errno.ENOENT)
            self.assertEqual(one.unlink("a"), errno.ENOENT)
            os.mkdir(directory)

    def test_chroot(self):
        owner = actor.Actor(self, guard=True)
        rival = actor.Actor(self, guard=True)
        owner.chroot(self.dir)
        fd = owner.serve("/app.sock")
        self.assertRefused(lambda: rival.unlink(self.path), owner, fd)
        self.assertEqual(owner.unlink("/app.sock"), 0)
        self.assertEqual(self.names(), [])

    def test_mount_namespace(self):
        owner = actor.Actor(self, guard=True)
        owner.unshare_mounts()
        owner.mount("none", self.dir, "tmpfs")
        fd = owner.serve(self.path)
        self.assertEqual(self.names(), [])
        self.assertEqual(owner.unlink(self.path), 0)
        self.assertEqual(owner.close(fd), 0)

    def test_without_root(self):
        os.chmod(self.dir, 0o777)
        owner = actor.Actor(self, guard=True, user=actor.STRANGER, group=actor.STRANGER,
                            extra_groups=[])
        rival = actor.Actor(self, guard=True, user=actor.STRANGER, group=actor.STRANGER,
                            extra_groups=[])
        fd = owner.serve(self.path)
        self.assertEqual(os.stat(self.path).st_uid, actor.STRANGER)
        self.assertRefused(lambda: rival.unlink(self.path), owner, fd)

    def test_threads_and_processes(self):
        """Several threads of several processes make calls at the same time, on their own paths."""
        ran = self.run_program(
            ["python3", "-c", "import os, socket, sys, threading\n"
             "os.chdir(sys.argv[1])\n"
             "def work(name):\n"
             "    for i in range(5):\n"
             "        with socket.socket(socket.AF_UNIX) as one:\n"
             "            one.bind(name)\n"
             "            os.unlink(name)\n"
             "pids = []\n"
             "for number in range(20):\n"
             "    pid = os.fork()\n"
             "    if pid == 0:\n"
             "        threads = [threading.Thread(target=work, args=[f'{number}.{i}'])\n"
             "                   for i in range(4)]\n"
             "        [thread.start() for thread in threads]\n"
             "        [thread.join() for thread in threads]\n"
             "        os._exit(0)\n"
             "    pids.append(pid)\n"
             "assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * 20\n", self.dir], guard=True)
        self.assertEqual((ran.returncode, ran.stderr), (0, ""))
        self.assertEqual(self.names(), [])

    def test_no_io_uring(self):
        """With --no-io-uring, programs cannot make calls that no supervisor sees."""
        try_setup = ["python3", "-c", "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n"
               f"libc.syscall({IO_URING_SETUP}, 0, 0)\nprint(ctypes.get_errno())"]
        ran = self.sockguard("run", "--by", "syscalls", "--no-io-uring", *try_setup)
        self.assertEqual(int(ran.stdout), errno.ENOSYS)
        ran = self.sockguard("run", "--by", "syscalls", *try_setup)
        self.assertNotEqual(int(ran.stdout), errno.ENOSYS)


class InterruptedCalls(actor.SocketCase):
    """Signals, such as Go's SIGURG, interrupt calls. Each call must take effect once."""

    # Makes calls while a timer sends signals at varying intervals, so that long calls succeed too.
    # Repeats a call that fails with EINTR, as programs do if their handlers are installed without
    # SA_RESTART. Prints the number of repetitions.
    CALLS_UNDER_A_TIMER = """
import errno, os, signal, socket, sys
path, rival, restart, rounds = sys.argv[1:]
signals, repetitions = [], []
def call(expected, function, *args):
    while True:
        try:
            function(*args)
            result = 0
        except InterruptedError:
            repetitions.append(1)
            continue
        except OSError as error:
            result = error.errno
        assert result == expected, (function, args, errno.errorcode.get(result, 0))
        return
def on_alarm(*unused):
    signals.append(1)
    signal.setitimer(signal.ITIMER_REAL, 0.0002 * 2 ** (len(signals) % 10))
signal.signal(signal.SIGALRM, on_alarm)
signal.siginterrupt(signal.SIGALRM, restart != "restart")
on_alarm()
os.symlink(path, path + ".symlink")
directory = os.open("/", os.O_RDONLY)
def link_followed(old, new):
    os.link(old, new, src_dir_fd=directory, follow_symlinks=True)  # linkat(2), AT_SYMLINK_FOLLOW
for i in range(int(rounds)):
    with socket.socket(socket.AF_UNIX) as one:
        call(0, one.bind, path)
        call(0, os.link, path, path + ".link")
        call(0, link_followed, path + ".symlink", path + ".followed")
        call(0, os.unlink, path + ".followed")
        call(0, os.rename, path, path + ".new")
        call(errno.EADDRINUSE, os.unlink, rival)
        call(0, os.unlink, path + ".link")
        call(0, os.unlink, path + ".new")
signal.signal(signal.SIGALRM, signal.SIG_IGN)
os.unlink(path + ".symlink")
assert len(signals) > 1
print(len(repetitions))
"""

    def run_under_signals(self, restart, through=(), rounds=40):
        """Makes interrupted calls, with SA_RESTART or without. Returns how many were repeated."""
        rival = os.path.join(self.dir, "rival.sock")
        owner = actor.Actor(self, guard=True)
        fd = owner.serve(rival)
        ran = self.run_program([*through, *RUN_SUPERVISED, "python3", "-c",
                                self.CALLS_UNDER_A_TIMER, self.path, rival,
                                "restart" if restart else "", str(rounds)])
        self.assertEqual(ran.returncode, 0, ran.stderr)
        self.assertEqual(ran.stderr.count("refused with EADDRINUSE"), rounds)
        self.assertEqual(ran.stderr.count("\n"), rounds)
        self.assertServes(owner, fd, rival)
        self.assertEqual(owner.unlink(rival), 0)
        self.assertEqual(self.names(), [])
        return int(ran.stdout)

    def test_with_sa_restart(self):
        self.assertEqual(self.run_under_signals(True), 0)

    def test_without_sa_restart(self):
        self.run_under_signals(False)

    def test_with_sa_restart_on_an_old_kernel(self):
        """On old kernels, a signal may interrupt a call that the supervisor has already made."""
        through = ("python3", "-c", harness.DENY_WAIT_KILLABLE)
        self.assertEqual(self.run_under_signals(True, through), 0)

    def test_without_sa_restart_on_an_old_kernel(self):
        through = ("python3", "-c", harness.DENY_WAIT_KILLABLE)
        self.assertGreater(self.run_under_signals(False, through), 0)


class ManyCallers(actor.SocketCase):
    """Many threads or processes under one supervisor."""

    # DIRECTORY PATH COUNT: starts COUNT processes. When all run, each binds and unlinks a path of
    # its own in the directory, and one in twenty tries to unlink PATH, which must be refused.
    START_PROCESSES = """
import errno, os, socket, sys
directory, rival, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
os.chdir(directory)
ours, theirs = os.pipe()
ready, started = os.pipe()
pids = []
def live(name):
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(name)
        try:
            if int(name) % 20 == 0:
                os.unlink(rival)
                return 1
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                return 2
        os.unlink(name)
    return 0
for number in range(count):
    pid = os.fork()
    if pid == 0:
        os.close(theirs)
        os.write(started, b"!")
        os.read(ours, 1)  # until all have been started
        status = 3
        try:
            status = live(str(number))
        finally:
            os._exit(status)
    pids.append(pid)
for number in range(count):
    os.read(ready, 1)
os.close(theirs)
assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * count
"""

    def test_1000_processes(self):
        rival = os.path.join(self.dir, "rival.sock")
        owner = actor.Actor(self, guard=True)
        fd = owner.serve(rival)
        ran = self.run_program(["python3", "-c", self.START_PROCESSES, self.dir, rival, "1000"],
                               guard=True, settings={"LOG": "none"})
        self.assertEqual((ran.returncode, ran.stderr), (0, ""))
        self.assertServes(owner, fd, rival)
        self.assertEqual(owner.unlink(rival), 0)
        self.assertEqual(self.names(), [])

    def run_threads(self, own_or_shared):
        """Runs 64 threads. Each uses its own paths, or all of them share four paths."""
        ran = self.run_program([os.path.join(harness.BUILD, "tests", "context", "crowd"), self.dir,
                                own_or_shared, "30", "64"], guard=True, env={"SUPERVISED": "1"})
        self.assertEqual((ran.returncode, ran.stderr), (0, ""))
        self.assertEqual(self.names(), [])

    def test_64_threads_on_paths_of_their_own(self):
        self.run_threads("own")

    def test_64_threads_on_the_same_paths(self):
        self.run_threads("shared")


if __name__ == "__main__":
    sys.exit(harness.main())
