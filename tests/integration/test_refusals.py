"""Whom a refusal names: the owner, and not a process that has its pid by now."""

import ctypes
import errno
import json
import os
import signal
import socket
import struct
import sys
import time

import actor
import command
import harness

SYS_CLONE3 = 435


def start_with_pid(case, pid):
    """A process that waits, of that very number."""
    number = ctypes.c_int(pid)
    fields = [0] * 11
    fields[4], fields[8], fields[9] = signal.SIGCHLD, ctypes.addressof(number), 1
    request = ctypes.create_string_buffer(struct.pack("11Q", *fields))
    libc = ctypes.CDLL(None, use_errno=True)
    made = libc.syscall(SYS_CLONE3, request, len(request) - 1)
    if made == 0:
        try:
            os.execv("/bin/sleep", ["sleep", "60"])
        finally:
            os._exit(1)
    if made < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    case.addCleanup(os.waitpid, pid, 0)
    case.addCleanup(os.kill, pid, signal.SIGKILL)
    case.assertEqual(made, pid)


def uptime():
    return int(time.clock_gettime(time.CLOCK_BOOTTIME))


@actor.needs_root
class ReusedPid(command.CommandCase):
    """The owner has ended; its heir, of another session and group, has the socket and the claim."""

    def setUp(self):
        super().setUp()
        self.first = actor.Actor(self, guard=True)
        fd = self.first.serve(self.path)
        bound = uptime()
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with near, far:
            self.first.send_fd(self.first.take(near), fd)
            _, (listener,), _, _ = socket.recv_fds(far, 16, 1)
        actor.Actor(self, guard=True, pass_fds=[listener])
        os.close(listener)
        self.pid = self.first.pid
        harness.wait_until(lambda: uptime() > bound, "the next second")

    def refusal(self):
        rival = actor.Actor(self, guard=True)
        self.assertEqual(rival.unlink(self.path), errno.EADDRINUSE)
        return rival.said()

    def cleaned(self):
        return self.sockguard("clean", self.path).stdout

    def assert_told_ended(self, ended):
        told = json.loads(self.sockguard("status", "--json", self.path).stdout)["sockets"][0]
        self.assertEqual((told["bound_by"]["pid"], told["bound_by"]["ended"]), (self.pid, ended))

    def test_the_owner_itself(self):
        self.assertIn(f": in use by actor (pid {self.pid}, uid 0)\n", self.refusal())
        self.assertIn(f"bound by actor, pid {self.pid})", self.cleaned())
        self.assert_told_ended(False)

    def test_nobody(self):
        self.first.kill()
        self.assertIn(f"what is left of actor (pid {self.pid}, uid 0), which has ended",
                      self.refusal())
        self.assertIn(f"bound by actor, pid {self.pid}, which has ended)", self.cleaned())
        self.assert_told_ended(True)

    def test_another_process(self):
        self.first.kill()
        start_with_pid(self, self.pid)
        self.assertIn(f"what is left of actor (pid {self.pid}, uid 0), which has ended",
                      self.refusal())
        self.assertIn(f"bound by actor, pid {self.pid}, which has ended)", self.cleaned())
        self.assert_told_ended(True)

    def test_another_process_and_an_absent_name(self):
        self.first.kill()
        start_with_pid(self, self.pid)
        os.unlink(self.path)
        rival = actor.Actor(self, guard=True)
        self.assertEqual(rival.bind(rival.socket("stream"), self.path), errno.EADDRINUSE)
        self.assertIn(f"not by its owner actor (pid {self.pid}, uid 0), which has ended",
                      rival.said())


if __name__ == "__main__":
    sys.exit(harness.main())
