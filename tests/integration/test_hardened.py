"""Under a service manager's hardening: no netlink, as RestrictAddressFamilies=AF_UNIX has it."""

import os
import platform
import sys
import unittest

import harness

SOCKET_CALL = {"x86_64": 41, "aarch64": 198, "riscv64": 198}.get(platform.machine())

# A program that gives itself the filter and then goes on as another; it keeps what it inherited.
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

# Binds, leaves the socket with a worker, and hands it over to another program by exec.
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

# Like servers do: closes the listener first, while its worker still holds it.
SUCCESSOR = """
import os, sys
os.close(int(sys.argv[2]))
os.unlink(sys.argv[1])
print("unlinked")
"""

STRANGER = """
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


@unittest.skipUnless(SOCKET_CALL, "the filter is not written for this machine")
@unittest.skipUnless(os.geteuid() == 0, "needs root")
class Hardened(harness.Case):
    def setUp(self):
        super().setUp()
        os.chmod(self.dir, 0o777)

    def hardened(self, source, *args, guard):
        """Runs a python source without privileges and without netlink; returns what it prints."""
        argv = [harness.PYTHON, "-c", FILTER.replace("{call}", str(SOCKET_CALL)),
                harness.PYTHON, "-c", source, *args]
        process = self.start(argv, guard=guard, stdout=harness.subprocess.PIPE,
                             stderr=sys.stderr.fileno(), text=True, user=65534, group=65534)
        return process.stdout.readline().strip()

    def test_the_filter_works(self):
        self.assertEqual(self.hardened(NO_NETLINK, guard=False), "97")  # EAFNOSUPPORT

    def upgraded_server_unlinks(self, guard):
        self.assertEqual(self.hardened(SERVER, self.path, SUCCESSOR, guard=guard), "unlinked")
        self.assertEqual(self.names(), [])

    def test_an_upgraded_server_unlinks_its_socket(self):
        self.upgraded_server_unlinks(guard=True)

    def test_an_upgraded_server_unlinks_its_socket_without_the_guard(self):
        self.upgraded_server_unlinks(guard=False)

    def live_server(self):
        source = SERVER[:SERVER.index("if os.fork")] + "print('up', flush=True)\nimport signal\n" \
            "signal.pause()\n"
        self.assertEqual(self.hardened(source, self.path, guard=True), "up")

    def test_a_stranger_is_refused(self):
        self.live_server()
        before = self.identity()
        self.assertEqual(self.hardened(STRANGER, self.path, guard=True), "98")  # EADDRINUSE
        self.assertEqual(self.identity(), before)

    def test_a_stranger_steals_without_the_guard(self):
        self.live_server()
        self.assertEqual(self.hardened(STRANGER, self.path, guard=False), "unlinked")


if __name__ == "__main__":
    sys.exit(harness.main())
