"""Older kernels and filters: each system call that may be missing is answered as if it were.

strace answers for the kernel. Still no theft where the kernel's answer about the socket suffices,
still no trouble for a program without a rival, and nothing left behind.
"""

import ctypes
import errno
import os
import platform
import re
import shutil
import struct
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "integration"))

import harness
from actor import RENAME_EXCHANGE, Actor, SocketCase, counterparts

HERE = -100  # AT_FDCWD
STRACE = shutil.which("strace")
NO_LOCKS = "fcntl,fcntl64"  # by the architecture's name for it

# What is missing, the calls, what they answer, and since when there are such.
FAULTS = {
    "no statx": ("statx", "ENOSYS"),                           # Linux 4.11
    "statx forbidden by a filter": ("statx", "EPERM"),
    "statx forbidden in other words": ("statx", "EACCES"),
    "no locks of descriptions": (NO_LOCKS, "EINVAL"),          # Linux 3.15
    "locks forbidden": (NO_LOCKS, "EPERM"),
    "no locks to be had": (NO_LOCKS, "ENOLCK"),                # an NFS server without lockd
    "no SIOCUNIXFILE": ("ioctl", "ENOTTY"),                    # Linux 4.13
    "no cookies": ("getsockopt", "ENOPROTOOPT"),               # Linux 4.6, of namespaces 5.14
}
COOKIES = (57, 71)  # SO_COOKIE, SO_NETNS_COOKIE: of getsockopt's options these are the young ones
GETSOCKOPT = {"x86_64": 55, "aarch64": 209, "riscv64": 209}.get(platform.machine())
LEAVES_LOCKFILE = ("no locks to be had",)  # the next guarded start clears it up, where it can


def without_cookies():
    """Between fork and exec: a filter, since strace does not look at arguments."""
    def step(code, true, false, value):
        return struct.pack("=HBBI", code, true, false, value)

    # The call's number, then its third argument; 0x15 jumps if equal, 0x06 returns.
    program = b"".join([step(0x20, 0, 0, 0), step(0x15, 0, 4, GETSOCKOPT), step(0x20, 0, 0, 32),
                        *(step(0x15, 1 - i, i, option) for i, option in enumerate(COOKIES)),
                        step(0x06, 0, 0, 0x00050000 | errno.ENOPROTOOPT),
                        step(0x06, 0, 0, 0x7fff0000)])
    code = ctypes.create_string_buffer(program)
    filter = struct.pack("HL", len(program) // 8, ctypes.addressof(code))
    libc = ctypes.CDLL(None)
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, filter, 0, 0):
        os._exit(1)


def calls_of(name):
    """The calls of it that this strace and architecture have: an unknown name is an error."""
    return ",".join("?" + call for call in name.split(","))


class Degraded:
    """fault: a key of FAULTS."""

    def actor(self):
        """One whose every such call fails; its first answer shows that it is traced already."""
        if self.fault == "no cookies":
            return Actor(self, guard=self.guard, preexec_fn=without_cookies)
        calls, error = FAULTS[self.fault]
        _, log = tempfile.mkstemp(dir=self.dir, prefix=".trace")
        os.close(_)
        self.logs.append(log)
        preload = ["-E", "LD_PRELOAD=" + harness.LIBRARY] if self.guard else []
        return Actor(self, through=[STRACE, "-D", "-f", "-q", "-o", log, *preload,
                                    "-e", "trace=" + calls_of(calls),
                                    "-e", f"inject={calls_of(calls)}:error={error}"])

    def setUp(self):
        super().setUp()
        self.logs = []

    def names(self):
        return [name for name in super().names() if not name.startswith(".trace")]

    def assertInjected(self):
        """Or the case would show nothing."""
        if self.fault == "no cookies":
            self.assertCookies(0)
            return
        text = "".join(open(log).read() for log in self.logs)
        self.assertIn("(INJECTED)", text)

    def assertCookies(self, cookie):
        """Of a new socket, by its record."""
        program = self.actor()
        program.serve(self.path + ".asked")
        with open(self.lock(self.path + ".asked")) as record:
            self.assertRegex(record.read(), rf"(?m)^cookie {cookie}$")

    def assertTidy(self):
        """Only what the fault keeps us from taking away."""
        left = [self.fault for name in self.names()]
        self.assertTrue(set(left) <= set(LEAVES_LOCKFILE), self.names())


class Theft(Degraded):
    def fate(self, act):
        """A rival's attempt at an owner's path."""
        owner, rival = self.actor(), self.actor()
        fd = owner.serve(self.path)
        self.assertFate(lambda: act(rival), owner, fd)
        if self.guard and self.fault not in NEEDED_IN_ADOPTION:
            self.assertInjected()

    def test_unlink(self):
        self.fate(lambda rival: rival.unlink(self.path))

    def test_remove(self):
        self.fate(lambda rival: rival.remove(self.path))

    def test_rename_over(self):
        intruder = self.file("intruder")
        self.fate(lambda rival: rival.rename(intruder, self.path))

    def test_rename_away(self):
        self.fate(lambda rival: rival.rename(self.path, self.path + ".old"))


# This is asked for only when a descriptor is asked about, by a program that inherited it.
NEEDED_IN_ADOPTION = ("no SIOCUNIXFILE",)

counterparts(globals(), Theft, fault=tuple(FAULTS))


class Plain(Degraded):
    """A program without a rival has no trouble, and leaves no trace."""

    guard = True

    def test_a_life(self):
        program = self.actor()
        fd = program.serve(self.path)
        self.assertServes(program, fd)
        self.assertEqual(program.close(fd), 0)
        self.assertEqual(program.unlink(self.path), 0)
        self.assertTidy()
        self.assertEqual(program.said(), "")

    def test_a_start_after_a_crash(self):
        self.stale()
        program = self.actor()
        self.assertEqual(program.unlink(self.path), 0)
        self.assertServes(program, program.serve(self.path))
        self.assertEqual(program.unlink(self.path), 0)
        self.assertTidy()

    def test_a_start_that_reuses(self):
        self.stale()
        program = self.actor()
        fd = program.socket("stream")
        self.assertEqual(program.reuse(fd), 0)
        self.assertEqual(program.bind(fd, self.path), 0)

    def test_a_name_moved_into_place(self):
        program = self.actor()
        fd = program.serve(self.path + ".new")
        self.assertEqual(program.rename(self.path + ".new", self.path), 0)
        self.assertServes(program, fd)
        self.assertEqual(program.unlink(self.path), 0)
        self.assertTidy()

    def test_a_fork_unlinks(self):
        program = self.actor()
        fd = program.serve(self.path)
        child = program.fork()
        self.assertEqual(program.close(fd), 0)
        self.assertEqual(child.unlink(self.path), 0)
        self.assertTidy()

    def test_a_program_that_inherited_unlinks(self):
        """Its descriptor is what shows that the name is its own."""
        program = self.actor()
        fd = program.serve(self.path)
        self.assertEqual(program.execute_again(fd), 0)
        self.assertEqual(program.unlink(self.path), 0)
        self.assertTidy()
        self.assertInjected()

    def test_what_is_no_socket(self):
        program = self.actor()
        self.assertEqual(program.rename(self.file("file"), self.path), 0)
        self.assertEqual(program.unlink(self.path), 0)
        self.assertEqual(program.unlink(self.path), errno.ENOENT)
        self.assertTidy()


for fault in FAULTS:
    name = "Plain" + re.sub(r"\W+", "", fault.title())
    globals()[name] = type(name, (Plain, SocketCase), {"fault": fault, "__module__": __name__})

class ExchangeMissing(SocketCase):
    """Linux 3.15 has renameat2; before it libc says that an exchange cannot be done, and nothing
    is changed."""

    def test_an_exchange(self):
        inject = [STRACE, "-D", "-f", "-q", "-o", "/dev/null", "-e", "trace=renameat2",
                  "-e", "inject=renameat2:error=ENOSYS", "-E", "LD_PRELOAD=" + harness.LIBRARY]
        owner, rival = Actor(self, through=inject), Actor(self, guard=True)
        other = self.path + ".other"
        fds = owner.serve(self.path), owner.serve(other)
        self.assertEqual(owner.renameat2(HERE, self.path, HERE, other, RENAME_EXCHANGE),
                         errno.EINVAL)
        self.assertRefused(lambda: rival.unlink(self.path), owner, fds[0])
        self.assertRefused(lambda: rival.unlink(other), owner, fds[1], other)
        self.assertEqual((owner.unlink(self.path), owner.unlink(other)), (0, 0))
        self.assertEqual(self.names(), [])


if __name__ == "__main__":
    if not STRACE:
        print("1..0 # SKIP needs strace")
        sys.exit(0)
    sys.exit(harness.main())
