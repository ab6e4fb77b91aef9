"""sockguard run --by syscalls: programs that the loader preloads nothing into, and no trace of the
supervisor in any."""

import errno
import os
import re
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

harness.BY = "syscalls"
RUN = [harness.COMMAND, "run", "--by", "syscalls", "--"]
HERE = os.path.dirname(os.path.abspath(__file__))
REFUSED = r'\Asockguard: \w+\[\d+\]: %s\("%s"\) refused with EADDRINUSE: in use by \w+ \(pid %d, uid 0\)\n\Z'
IO_URING_SETUP = 425


def setUpModule():
    """A statically linked actor, and a Go program."""
    directory = tempfile.mkdtemp(prefix="sg-", dir="/tmp")
    unittest.addModuleCleanup(shutil.rmtree, directory)
    os.chmod(directory, 0o755)
    harness.ACTOR = os.path.join(directory, "actor")
    subprocess.run(["cc", "-static", "-o", harness.ACTOR, os.path.join(HERE, "..", "actor.c")],
                   check=True)
    Go.program = os.path.join(directory, "listener")
    subprocess.run(["go", "build", "-o", Go.program, os.path.join(HERE, "listener.go")],
                   check=True, env={**os.environ, "GOCACHE": os.path.join(directory, "cache"),
                                    "CGO_ENABLED": "0", "GO111MODULE": "off"})
    shutil.rmtree(os.path.join(directory, "cache"))


def children(pid="self"):
    with open(f"/proc/{pid}/task/{os.getpid() if pid == 'self' else pid}/children") as file:
        return {int(word) for word in file.read().split()}


class Static:
    """A rival of a live owner, both without a loader."""

    def setUp(self):
        super().setUp()
        through = ("env", "-i") if self.environment == "cleared" else ()
        self.owner = actor.Actor(self, guard=self.guard, through=through)
        self.rival = actor.Actor(self, guard=self.guard, through=through)
        self.fd = self.owner.serve(self.path)

    def test_unlink(self):
        self.assertFate(lambda: self.rival.unlink(self.path), self.owner, self.fd)

    def test_unlinkat(self):
        self.assertFate(lambda: self.rival.unlinkat(self.rival.open_directory(self.dir),
                                                    "app.sock"), self.owner, self.fd)

    def test_rename_over(self):
        own = os.path.join(self.dir, "own.sock")
        self.rival.serve(own)
        self.assertFate(lambda: self.rival.rename(own, self.path), self.owner, self.fd)

    def test_rename_away(self):
        self.assertFate(lambda: self.rival.rename(self.path, self.path + ".old"), self.owner,
                        self.fd)

    def test_name_removed_by_somebody_unguarded(self):
        os.unlink(self.path)
        fd = self.rival.socket("stream")
        if self.guard:
            self.assertEqual(self.rival.bind(fd, self.path), errno.EADDRINUSE)
            self.assertIn("the name was removed, but not by its owner", self.rival.said())
        else:
            self.assertEqual(self.rival.bind(fd, self.path), 0)

    def test_link_to_name_removed(self):
        os.unlink(self.path)
        own = os.path.join(self.dir, "own.sock")
        self.rival.serve(own)
        self.assertEqual(self.rival.link(own, self.path), errno.EADDRINUSE if self.guard else 0)

    def test_what_is_said(self):
        self.rival.unlink(self.path)
        if self.guard:
            self.assertRegex(self.rival.said(), REFUSED % ("unlink", self.path, self.owner.pid))
        else:
            self.assertEqual(self.rival.said(), "")

    def test_killed(self):
        self.owner.kill()
        self.assertEqual(self.rival.unlink(self.path), 0)
        self.assertServes(self.rival, self.rival.serve(self.path))
        self.assertEqual(self.rival.unlink(self.path), 0)
        self.assertEqual(self.names(), [])

    def test_own(self):
        self.assertEqual(self.owner.unlink(self.path), 0)
        self.assertEqual(self.names(), [])

    def test_closed_while_a_fork_holds_it(self):
        self.owner.fork()
        self.owner.close(self.fd)
        self.assertEqual(self.owner.unlink(self.path), 0)
        self.assertEqual(self.names(), [])

    def test_after_giving_up_root(self):
        os.chmod(self.dir, 0o777)
        self.owner.become(actor.STRANGER)
        self.assertEqual(self.owner.unlink(self.path), 0)

    def test_rival_of_another_kind(self):
        """A supervised process and a preloaded one, each in both roles."""
        dynamic = self.preloaded()
        self.assertFate(lambda: dynamic.unlink(self.path), self.owner, self.fd)

    def test_owner_of_another_kind(self):
        path = os.path.join(self.dir, "other.sock")
        dynamic = self.preloaded()
        fd = dynamic.serve(path)
        self.assertFate(lambda: self.rival.unlink(path), dynamic, fd, path)

    def preloaded(self):
        harness.BY, static = "preload", harness.ACTOR
        harness.ACTOR = os.path.join(harness.BUILD, "tests", "actor")
        try:
            return actor.Actor(self, guard=self.guard)
        finally:
            harness.BY, harness.ACTOR = "syscalls", static


actor.counterparts(globals(), Static, environment=("whole", "cleared"))


class Go:
    """Its runtime makes system calls without any libc."""

    def server(self):
        return self.start([self.program, self.path], guard=self.guard, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True)

    def serves(self, server):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(harness.PATIENCE)
            client.connect(self.path)
            return client.recv(64) == b"%d\n" % server.pid

    def test_second_instance(self):
        first = self.server()
        self.assertEqual(first.stdout.readline(), "ready\n")
        second = self.server()
        said = second.stdout.readline()
        if self.guard:
            self.assertIn("address already in use", said)
            self.assertEqual(second.wait(harness.PATIENCE), 1)
            self.assertRegex(second.stderr.read(), REFUSED % ("unlinkat", self.path, first.pid))
            self.assertTrue(self.serves(first))
        else:
            self.assertEqual(said, "ready\n")
            self.assertFalse(self.serves(first))

    def test_restart_after_kill(self):
        first = self.server()
        self.assertEqual(first.stdout.readline(), "ready\n")
        first.kill()
        first.wait()
        second = self.server()
        self.assertEqual(second.stdout.readline(), "ready\n")
        self.assertTrue(self.serves(second))

    def test_stop(self):
        server = self.server()
        self.assertEqual(server.stdout.readline(), "ready\n")
        server.send_signal(signal.SIGINT)
        self.assertEqual(server.wait(harness.PATIENCE), 0)
        self.assertEqual(self.names(), [])


actor.counterparts(globals(), Go)


class Auto(command.CommandCase):
    """Without --by: a supervisor where the library cannot be preloaded, and there alone."""

    COUNT = "import os; print(open('/proc/self/status').read().count('Seccomp_filters:\\t1'))"

    def test_static(self):
        self.assert_ended(self.sockguard("run", "--strict", "busybox", "grep",
                                         "Seccomp_filters", "/proc/self/status"),
                          0, "Seccomp_filters:\t1\n")

    def test_script_that_clears_the_environment(self):
        script = self.executable("a", "#!/usr/bin/env -S -i /usr/bin/python3\n" + self.COUNT)
        self.assert_ended(self.sockguard("run", "--strict", script), 0, "1\n")

    def test_dynamic(self):
        self.assert_ended(self.sockguard("run", "--strict", "python3", "-c", self.COUNT), 0, "0\n")

    def test_set_id(self):
        """Under a filter it would gain no rights, unless root starts it."""
        path = self.patched("/bin/true")
        os.chmod(path, 0o4755)
        ended = self.as_stranger("run", path)
        self.assertEqual(ended.returncode, 0)
        self.assertIn("will not be guarded: set-user-ID", ended.stderr)

    def test_unknown_way(self):
        self.assertIn("expected auto, preload or syscalls",
                      self.assert_misused("run", "--by", "magic", "true"))


class Together(actor.SocketCase):
    def test_two_under_one_supervisor(self):
        """Ownership is a process's own, and not whatever one supervisor started."""
        ran = self.run_program(
            ["python3", "-c", "import os, socket, sys\n"
             "one = socket.socket(socket.AF_UNIX)\n"
             "one.bind(sys.argv[1])\n"
             "os.spawnlp(os.P_WAIT, 'python3', 'python3', '-c', 'import os, sys\\n"
             "os.unlink(sys.argv[1])', sys.argv[1])\n", self.path], guard=True)
        self.assertIn("refused with EADDRINUSE", ran.stderr)
        self.assertEqual(self.names(), [".app.sock.sockguard", "app.sock"])

    def test_run_under_run(self):
        """The tree is guarded already, and needs no second supervisor."""
        before = children()
        owner = actor.Actor(self, guard=True, through=RUN)
        self.assertEqual(len(children() - before), 2)  # the owner, and one supervisor
        fd = owner.serve(self.path)
        rival = actor.Actor(self, guard=True, through=RUN)
        self.assertRefused(lambda: rival.unlink(self.path), owner, fd)

    def test_preloaded_as_well(self):
        """What the library has judged, under its mutex, is not judged again."""
        static, harness.ACTOR = harness.ACTOR, os.path.join(harness.BUILD, "tests", "actor")
        self.addCleanup(setattr, harness, "ACTOR", static)
        both = {"LD_PRELOAD": harness.LIBRARY}
        owner = actor.Actor(self, guard=True, env=both)
        rival = actor.Actor(self, guard=True, env=both)
        for act in (lambda: rival.unlink(self.path), lambda: rival.rename(self.path, "x")):
            fd = owner.serve(self.path)
            self.assertRefused(act, owner, fd)
            self.assertEqual(rival.said().count("refused"), 1)
            owner.fork()
            owner.close(fd)
            self.assertEqual(owner.rename(self.path, self.path + ".old"), 0)
            self.assertEqual(owner.unlink(self.path + ".old"), 0)
            self.assertEqual(self.names(), [])
            rival = actor.Actor(self, guard=True, env=both)

    def test_another_listener(self):
        """Somebody else supervises here: said before the program starts."""
        # SECCOMP_SET_MODE_FILTER with NEW_LISTENER, of a filter that allows everything.
        taken = ("import ctypes, os, sys\n"
                 "class Program(ctypes.Structure):\n"
                 "    _fields_ = [('len', ctypes.c_ushort), ('filter', ctypes.c_char_p)]\n"
                 "words = (6).to_bytes(2, 'little') + bytes(2) + "
                 "(0x7fff0000).to_bytes(4, 'little')\n"
                 "libc = ctypes.CDLL(None, use_errno=True)\n"
                 "libc.prctl(38, 1, 0, 0, 0)\n"
                 "os.set_inheritable(libc.syscall(317, 1, 8, ctypes.byref(Program(1, words))), 1)\n"
                 "os.execv(sys.argv[1], sys.argv[1:])\n")
        ran = self.run_program(["python3", "-c", taken, harness.COMMAND, "run", "--by",
                                "syscalls", "--strict", "echo", "started"])
        self.assertEqual((ran.returncode, ran.stdout), (126, ""))
        self.assertIn("EBUSY", ran.stderr)


class NoTrace(command.CommandCase):
    """What a program can see of its supervisor."""

    LOOK = ("import os, re\n"
            "status = open('/proc/self/status').read()\n"
            "print(os.getppid(), os.getpgrp() == os.getpid(), os.getsid(0) == os.getpid(),\n"
            "      re.findall('(?:Sig|Shd)(?:Pnd|Blk|Ign).*', status),\n"
            "      open('/proc/thread-self/children').read(), sorted(os.listdir('/proc/self/fd')),\n"
            "      os.environ.get('LD_PRELOAD'), os.getcwd(), oct(os.umask(0)))\n")

    def test_what_a_program_sees(self):
        seen = [self.run_program(["python3", "-c", self.LOOK], guard=guard, start_new_session=True)
                for guard in (False, True)]
        self.assertEqual(seen[0].stdout, seen[1].stdout)
        self.assertEqual([one.stderr for one in seen], ["", ""])

    def test_number_is_kept(self):
        process = self.start(["python3", "-c", "import os; print(os.getpid())"], guard=True,
                             stdout=subprocess.PIPE)
        self.assertEqual(int(process.stdout.read()), process.pid)

    def test_exit_status(self):
        self.assertEqual(self.run_program(["sh", "-c", "exit 7"], guard=True).returncode, 7)
        ended = self.run_program(["sh", "-c", "kill -KILL $$"], guard=True)
        self.assertEqual(ended.returncode, -signal.SIGKILL)

    def test_end_of_output(self):
        """As of $(daemon): the pipe ends when the program lets go of it, while that lives on."""
        process = self.start(["python3", "-c", "import os, signal\n"
                              "os.closerange(0, 3)\n"
                              "signal.pause()\n"], guard=True, stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertEqual((process.stdout.read(), process.stderr.read()), (b"", b""))
        self.assertIsNone(process.poll())

    def test_supervisor_ends_with_the_last_process(self):
        before = children()
        owner = actor.Actor(self, guard=True)
        supervisors = children() - before - {owner.pid}
        self.assertEqual(len(supervisors), 1)
        child = owner.fork()
        owner.exit()
        self.assertEqual(children() & supervisors, supervisors)
        fd = child.serve(self.path)
        self.assertServes(child, fd)
        child.exit()
        pid, status = os.waitpid(*supervisors, 0)
        self.assertEqual(status, 0)

    def test_address(self):
        """Of a relative path the very bytes, and the mode by the program's umask."""
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
        owner.leave_mounts()
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

    def test_signals(self):
        """A call that a signal interrupts is repeated, but done once: as of Go's SIGURG."""
        ran = self.run_program(
            ["python3", "-c", "import os, signal, socket, sys\n"
             "hits = []\n"
             "signal.signal(signal.SIGALRM, lambda *about: hits.append(1))\n"
             "signal.siginterrupt(signal.SIGALRM, False)\n"
             "signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)\n"
             "for i in range(100):\n"
             "    with socket.socket(socket.AF_UNIX) as one:\n"
             "        one.bind(sys.argv[1])\n"
             "        os.rename(sys.argv[1], sys.argv[1] + '.new')\n"
             "        os.unlink(sys.argv[1] + '.new')\n"
             "signal.setitimer(signal.ITIMER_REAL, 0)\n"
             "assert hits\n", self.path], guard=True)
        self.assertEqual((ran.returncode, ran.stderr), (0, ""))
        self.assertEqual(self.names(), [])

    def test_threads_and_processes(self):
        """Everybody's calls at once, each with a name of its own."""
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

    def test_io_uring(self):
        ask = ["python3", "-c", "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n"
               f"libc.syscall({IO_URING_SETUP}, 0, 0)\nprint(ctypes.get_errno())"]
        ran = self.sockguard("run", "--by", "syscalls", "--no-io-uring", *ask)
        self.assertEqual(int(ran.stdout), errno.ENOSYS)
        self.assertNotEqual(int(self.sockguard("run", "--by", "syscalls", *ask).stdout),
                            errno.ENOSYS)


class Deaths(actor.SocketCase):
    """Of the supervisor, whose two processes replace each other."""

    def setUp(self):
        super().setUp()
        before = children()
        self.owner = actor.Actor(self, guard=True)
        self.keeper, = children() - before - {self.owner.pid}
        self.rival = actor.Actor(self, guard=True)
        self.fd = self.owner.serve(self.path)
        self.watcher, = children(self.keeper)

    def still_guarded(self):
        own = os.path.join(self.dir, "own.sock")
        self.assertEqual(self.owner.close(self.owner.serve(own)), 0)
        self.assertEqual(self.owner.unlink(own), 0)
        self.assertRefused(lambda: self.rival.unlink(self.path), self.owner, self.fd)
        rival = os.path.join(self.dir, "rival.sock")
        fd = self.rival.serve(rival)
        self.assertRefused(lambda: self.owner.unlink(rival), self.rival, fd, rival)

    def test_watcher_killed(self):
        os.kill(self.watcher, signal.SIGKILL)
        self.still_guarded()

    def test_keeper_killed(self):
        os.kill(self.keeper, signal.SIGKILL)
        self.still_guarded()

    def test_stopped(self):
        os.kill(self.watcher, signal.SIGSTOP)
        self.still_guarded()

    def test_asked_to_end(self):
        """A service manager's signals go to all of the service, and its stop wants its calls."""
        for pid in (self.keeper, self.watcher):
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                os.kill(pid, number)
        self.still_guarded()

    def test_both_killed(self):
        """Then the kernel lets none of the eight calls pass. No live socket loses its name."""
        for pid in (self.keeper, self.watcher):
            os.kill(pid, signal.SIGKILL)
        harness.wait_until(lambda: self.owner.unlink(self.path) == errno.ENOSYS, "ENOSYS")
        self.assertServes(self.owner, self.fd)
        self.owner.kill()
        self.assertEqual(self.rival.unlink(self.path), 0)


if __name__ == "__main__":
    sys.exit(harness.main())
