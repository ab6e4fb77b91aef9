"""The report of a refusal names the owner, and not a process that reuses its pid."""

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
    """Starts a waiting process with this pid."""
    number = ctypes.c_int(pid)
    fields = [0] * 11
    fields[4], fields[8], fields[9] = signal.SIGCHLD, ctypes.addressof(number), 1
    request = ctypes.create_string_buffer(struct.pack("11Q", *fields))
    libc = ctypes.CDLL(None, use_errno=True)
    child = libc.syscall(SYS_CLONE3, request, len(request) - 1)
    if child == 0:
        try:
            os.execv("/bin/sleep", ["sleep", "60"])
        finally:
            os._exit(1)
    if child < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    case.addCleanup(os.waitpid, pid, 0)
    case.addCleanup(os.kill, pid, signal.SIGKILL)
    case.assertEqual(child, pid)


def uptime():
    return int(time.clock_gettime(time.CLOCK_BOOTTIME))


@actor.needs_root
class ReusedPid(command.CommandCase):
    """The owner has ended. A child in another session holds the socket and the claim."""

    ENDED = "in use by another process; actor (pid {}, uid 0), which bound the socket, has ended"

    def setUp(self):
        super().setUp()
        self.first = actor.Actor(self, guard=True)
        fd = self.first.serve(self.path)
        bound = uptime()
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with near, far:
            self.first.send_fd(self.first.import_fd(near), fd)
            _, (listener,), _, _ = socket.recv_fds(far, 16, 1)
        actor.Actor(self, guard=True, pass_fds=[listener])
        os.close(listener)
        self.pid = self.first.pid
        harness.wait_until(lambda: uptime() > bound, "the next second")

    def refusal(self):
        rival = actor.Actor(self, guard=True)
        self.assertEqual(rival.unlink(self.path), errno.EADDRINUSE)
        return rival.stderr()

    def clean(self):
        return self.sockguard("clean", self.path).stdout

    def assert_reported_ended(self, ended):
        record = json.loads(self.sockguard("status", "--json", self.path).stdout)["sockets"][0]
        self.assertEqual((record["bound_by"]["pid"], record["bound_by"]["ended"]),
                         (self.pid, ended))

    def test_the_pid_is_that_of_the_owner(self):
        self.assertIn(f": in use by actor (pid {self.pid}, uid 0)\n", self.refusal())
        self.assertIn(f"bound by actor, pid {self.pid})", self.clean())
        self.assert_reported_ended(False)

    def test_no_process_has_the_pid(self):
        self.first.kill()
        self.assertIn(self.ENDED.format(self.pid), self.refusal())
        self.assertIn(f"bound by actor, pid {self.pid}, which has ended)", self.clean())
        self.assert_reported_ended(True)

    def test_another_process_has_the_pid(self):
        self.first.kill()
        start_with_pid(self, self.pid)
        self.assertIn(self.ENDED.format(self.pid), self.refusal())
        self.assertIn(f"bound by actor, pid {self.pid}, which has ended)", self.clean())
        self.assert_reported_ended(True)

    def test_another_process_has_the_pid_and_the_path_is_absent(self):
        self.first.kill()
        start_with_pid(self, self.pid)
        os.unlink(self.path)
        rival = actor.Actor(self, guard=True)
        self.assertEqual(rival.bind(rival.socket("stream"), self.path), errno.EADDRINUSE)
        self.assertIn(f"not by its owner actor (pid {self.pid}, uid 0), which has ended",
                      rival.stderr())


if __name__ == "__main__":
    sys.exit(harness.main())
