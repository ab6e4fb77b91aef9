"""The guard in a service that may not use netlink, for example RestrictAddressFamilies=AF_UNIX."""

import os
import platform
import sys
import unittest

import harness

SOCKET_CALL = {"x86_64": 41, "aarch64": 198, "riscv64": 198}.get(platform.machine())

# Installs a filter that refuses netlink sockets, then executes its arguments.
FILTER = """
import ctypes, errno, os, struct, sys
AF_NETLINK, ALLOW, ERRNO = 16, 0x7fff0000, 0x00050000
def step(code, true, false, value):
    return struct.pack("=HBBI", code, true, false, value)
program = b"".join([
    step(0x20, 0, 0, 0), step(0x15, 0, 3, {call}),             # the call's number
    step(0x20, 0, 0, 16), step(0x15, 0, 1, AF_NETLINK),        # its first argument
    step(0x06, 0, 0, ERRNO | errno.EAFNOSUPPORT), step(0x06, 0, 0, ALLOW)])
code = ctypes.create_string_buffer(program)
filter = struct.pack("HL", len(program) // 8, ctypes.addressof(code))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, filter, 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])
"""

# Binds a socket, forks a worker that holds it, and passes it to another program through exec.
SERVER = """
import os, signal, socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
if os.fork() == 0:
    os.close(0), os.close(1)
    signal.pause()
os.set_inheritable(listener.fileno(), True)
os.execv(sys.executable, [sys.executable, "-c", sys.argv[2], sys.argv[1], str(listener.fileno())])
"""

# Like most servers, closes the listening socket before the unlink. The worker still holds it.
SUCCESSOR = """
import os, sys
os.close(int(sys.argv[2]))
os.unlink(sys.argv[1])
print("unlinked")
"""

RIVAL = """
import os, sys
try:
    os.unlink(sys.argv[1])
    print("unlinked")
except OSError as error:
    print(error.errno)
"""

NO_NETLINK = """
import socket
try:
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4)
except OSError as error:
    print(error.errno)
"""


@unittest.skipUnless(SOCKET_CALL, "the filter does not support this machine")
@unittest.skipUnless(os.geteuid() == 0, "needs root")
class WithoutNetlink(harness.Case):
    def setUp(self):
        super().setUp()
        os.chmod(self.dir, 0o777)

    def run_without_netlink(self, source, *args, guard):
        """Runs Python code without privileges and netlink, and returns its first line of output."""
        argv = [harness.PYTHON, "-c", FILTER.replace("{call}", str(SOCKET_CALL)),
                harness.PYTHON, "-c", source, *args]
        process = self.start(argv, guard=guard, stdout=harness.subprocess.PIPE,
                             stderr=sys.stderr.fileno(), text=True, user=65534, group=65534)
        return process.stdout.readline().strip()

    def test_the_filter_refuses_netlink(self):
        self.assertEqual(self.run_without_netlink(NO_NETLINK, guard=False), "97")  # EAFNOSUPPORT

    def expect_upgraded_server_unlinks(self, guard):
        self.assertEqual(self.run_without_netlink(SERVER, self.path, SUCCESSOR, guard=guard),
                         "unlinked")
        self.assertEqual(self.names(), [])

    def test_an_upgraded_server_unlinks_its_socket(self):
        self.expect_upgraded_server_unlinks(guard=True)

    def test_an_upgraded_server_unlinks_its_socket_without_the_guard(self):
        self.expect_upgraded_server_unlinks(guard=False)

    def start_server(self):
        source = SERVER[:SERVER.index("if os.fork")] + "print('up', flush=True)\nimport signal\n" \
            "signal.pause()\n"
        self.assertEqual(self.run_without_netlink(source, self.path, guard=True), "up")

    def test_a_rival_is_refused(self):
        self.start_server()
        before = self.identity()
        self.assertEqual(self.run_without_netlink(RIVAL, self.path, guard=True), "98")  # EADDRINUSE
        self.assertEqual(self.identity(), before)

    def test_a_rival_steals_without_the_guard(self):
        self.start_server()
        self.assertEqual(self.run_without_netlink(RIVAL, self.path, guard=False), "unlinked")


if __name__ == "__main__":
    sys.exit(harness.main())
