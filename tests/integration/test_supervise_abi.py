"""A supervisor also intercepts calls through the foreign ABIs of x86_64: i386 and x32."""

import errno
import os
import platform
import subprocess
import sys
import tempfile
import shutil
import unittest

import actor
import harness

harness.GUARDED_BY = "syscalls"
FOREIGN_SOURCE = os.path.join(harness.SOURCE, "tests", "foreign.c")


def setUpModule():
    if platform.machine() != "x86_64":
        raise unittest.SkipTest("only x86_64 has the foreign ABIs of this test")
    directory = tempfile.mkdtemp(prefix="sg-", dir="/tmp")
    unittest.addModuleCleanup(shutil.rmtree, directory)
    os.chmod(directory, 0o755)
    ForeignAbiCase.program = os.path.join(directory, "foreign")
    subprocess.run(["cc", "-static", "-O1", "-o", ForeignAbiCase.program, FOREIGN_SOURCE],
                   check=True)


class ForeignAbiCase(actor.SocketCase):
    program = None

    def call_errno(self, *words, guard, keep_running=False):
        """Runs tests/foreign.c, which makes a call through a foreign ABI. Returns its errno."""
        process = self.start([self.program, *words], guard=guard, stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        result = actor.Outcome(int(process.stdout.readline()))
        if not keep_running:
            process.communicate()
        return result

    def start_owner(self):
        """Starts an owner, which uses the native ABI. Only the rival uses a foreign one."""
        owner = actor.Actor(self, guard=True)
        return owner, owner.serve(self.path)


class I386(ForeignAbiCase):
    """Calls through int 0x80. On kernels without IA32 emulation, a signal ends the program."""

    def test_unlink(self):
        owner, fd = self.start_owner()
        self.assertEqual(self.call_errno("i386", "unlink", self.path, guard=True), errno.EADDRINUSE)
        self.assertServes(owner, fd)
        self.assertEqual(self.call_errno("i386", "unlink", self.path, guard=False), 0)
        self.assertFalse(os.path.exists(self.path))

    def test_rename_over(self):
        self.start_owner()
        own = os.path.join(self.dir, "own")
        open(own, "w", encoding="ascii").close()
        self.assertEqual(self.call_errno("i386", "rename", own, self.path, guard=True),
                         errno.EADDRINUSE)
        self.assertEqual(self.call_errno("i386", "rename", own, self.path, guard=False), 0)

    def check_bind(self, system_call):
        """A bind of a path that was removed from its owner is refused. A bind of another path makes
        the caller its owner."""
        self.start_owner()
        os.unlink(self.path)
        self.assertEqual(self.call_errno("i386", system_call, self.path, guard=True),
                         errno.EADDRINUSE)
        self.assertEqual(self.call_errno("i386", system_call, self.path, guard=False), 0)
        own = os.path.join(self.dir, "own.sock")
        self.assertEqual(self.call_errno("i386", system_call, own, guard=True, keep_running=True),
                         0)
        self.assertIn(".own.sock.sockguard", self.names())
        rival = actor.Actor(self, guard=True)
        self.assertEqual(rival.unlink(own), errno.EADDRINUSE)

    def test_bind(self):
        self.check_bind("bind")

    def test_socketcall(self):
        self.check_bind("socketcall")


class X32(ForeignAbiCase):
    """Calls through x32. If the kernel does not support x32, they fail with ENOSYS anyway."""

    def expected_errno(self, guarded):
        absent = os.path.join(self.dir, "absent")
        has_x32 = self.call_errno("x32", "unlink", absent, guard=False) != errno.ENOSYS
        return guarded if has_x32 else errno.ENOSYS

    def test_unlink(self):
        owner, fd = self.start_owner()
        self.assertEqual(self.call_errno("x32", "unlink", self.path, guard=True),
                         self.expected_errno(errno.EADDRINUSE))
        self.assertServes(owner, fd)

    def test_bind(self):
        self.start_owner()
        os.unlink(self.path)
        self.assertEqual(self.call_errno("x32", "bind", self.path, guard=True),
                         self.expected_errno(errno.EADDRINUSE))


if __name__ == "__main__":
    sys.exit(harness.main())
