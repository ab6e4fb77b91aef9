"""Older kernels and seccomp filters: each system call that may be missing fails as if it were.

strace injects the errors. If the kernel's answer about the socket suffices, there must be no theft.
A program without a rival must get no error, and no file may remain.
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
from actor import RENAME_EXCHANGE, Actor, SocketCase, define_counterparts

AT_FDCWD = -100
STRACE = shutil.which("strace")
FCNTL = "fcntl,fcntl64"  # the name depends on the architecture

# For each fault, the calls and their error. The comments give the kernel that introduced the
# feature.
FAULTS = {
    "no statx": ("statx", "ENOSYS"),                           # Linux 4.11
    "statx forbidden by a filter": ("statx", "EPERM"),
    "statx forbidden with EACCES": ("statx", "EACCES"),
    "no open file description locks": (FCNTL, "EINVAL"),       # Linux 3.15
    "locks forbidden": (FCNTL, "EPERM"),
    "no locks available": (FCNTL, "ENOLCK"),                   # an NFS server without lockd
    "no SIOCUNIXFILE": ("ioctl", "ENOTTY"),                    # Linux 4.13
    "no cookies": ("getsockopt", "ENOPROTOOPT"),               # Linux 4.6; of namespaces 5.14
}
COOKIES = (57, 71)  # SO_COOKIE, SO_NETNS_COOKIE: the newest options of getsockopt
GETSOCKOPT = {"x86_64": 55, "aarch64": 209, "riscv64": 209}.get(platform.machine())
LEAVES_LOCKFILE = ("no locks available",)  # the next guarded start removes it if locks work again


def deny_cookies():
    """Sets a filter between fork and exec, because strace cannot select calls by their
    arguments."""
    def step(code, true, false, value):
        return struct.pack("=HBBI", code, true, false, value)

    # Loads the call's number, then its third argument. 0x15 jumps if equal, 0x06 returns.
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
    """Returns the names with a "?" each, so that strace ignores those that it does not know."""
    return ",".join("?" + call for call in name.split(","))


class Degraded:
    """Subclasses set fault, a key of FAULTS."""

    def start_actor(self):
        """Starts an actor in which all these calls fail."""
        if self.fault == "no cookies":
            return Actor(self, guard=self.guard, preexec_fn=deny_cookies)
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
        """Requires that the fault occurred, because otherwise the test would show nothing."""
        if self.fault == "no cookies":
            self.assertCookies(0)
            return
        text = "".join(open(log).read() for log in self.logs)
        self.assertIn("(INJECTED)", text)

    def assertCookies(self, cookie):
        """Requires that the record of a new socket has this cookie."""
        program = self.start_actor()
        program.serve(self.path + ".asked")
        with open(self.lock_file_path(self.path + ".asked")) as record:
            self.assertRegex(record.read(), rf"(?m)^cookie {cookie}$")

    def assertNoFileLeft(self):
        """No file remains, except a lock file that the guard cannot remove with this fault."""
        if self.fault in LEAVES_LOCKFILE:
            self.assertEqual([name for name in self.names() if not name.endswith(".sockguard")], [])
        else:
            self.assertEqual(self.names(), [])


class Theft(Degraded):
    def check_theft(self, act):
        """Lets a rival attempt a theft, and checks the outcome."""
        owner, rival = self.start_actor(), self.start_actor()
        fd = owner.serve(self.path)
        self.assertRefusedIfGuarded(lambda: act(rival), owner, fd)
        if self.guard and self.fault not in ONLY_IN_ADOPTION:
            self.assertInjected()

    def test_unlink(self):
        self.check_theft(lambda rival: rival.unlink(self.path))

    def test_remove(self):
        self.check_theft(lambda rival: rival.remove(self.path))

    def test_rename_over(self):
        intruder = self.write_file("intruder")
        self.check_theft(lambda rival: rival.rename(intruder, self.path))

    def test_rename_away(self):
        self.check_theft(lambda rival: rival.rename(self.path, self.path + ".old"))


# The library makes this call only for an inherited descriptor.
ONLY_IN_ADOPTION = ("no SIOCUNIXFILE",)

define_counterparts(globals(), Theft, fault=tuple(FAULTS))


class WithoutRival(Degraded):
    """A program without a rival gets no error and leaves no file."""

    guard = True

    def test_start_and_stop(self):
        program = self.start_actor()
        fd = program.serve(self.path)
        self.assertServes(program, fd)
        self.assertEqual(program.close(fd), 0)
        self.assertEqual(program.unlink(self.path), 0)
        self.assertNoFileLeft()
        self.assertEqual(program.stderr(), "")

    def test_a_start_after_a_crash(self):
        self.make_stale()
        program = self.start_actor()
        self.assertEqual(program.unlink(self.path), 0)
        self.assertServes(program, program.serve(self.path))
        self.assertEqual(program.unlink(self.path), 0)
        self.assertNoFileLeft()

    def test_a_start_that_reuses(self):
        self.make_stale()
        program = self.start_actor()
        fd = program.socket("stream")
        self.assertEqual(program.set_reuseaddr(fd), 0)
        self.assertEqual(program.bind(fd, self.path), 0)

    def test_a_socket_renamed_into_place(self):
        program = self.start_actor()
        fd = program.serve(self.path + ".new")
        self.assertEqual(program.rename(self.path + ".new", self.path), 0)
        self.assertServes(program, fd)
        self.assertEqual(program.unlink(self.path), 0)
        self.assertNoFileLeft()

    def test_a_fork_unlinks(self):
        program = self.start_actor()
        fd = program.serve(self.path)
        child = program.fork()
        self.assertEqual(program.close(fd), 0)
        self.assertEqual(child.unlink(self.path), 0)
        self.assertNoFileLeft()

    def test_a_program_that_inherited_unlinks(self):
        """Only the inherited descriptor shows that the program owns the path."""
        program = self.start_actor()
        fd = program.serve(self.path)
        self.assertEqual(program.execute_again(fd), 0)
        self.assertEqual(program.unlink(self.path), 0)
        self.assertNoFileLeft()
        self.assertInjected()

    def test_an_ordinary_file(self):
        program = self.start_actor()
        self.assertEqual(program.rename(self.write_file("file"), self.path), 0)
        self.assertEqual(program.unlink(self.path), 0)
        self.assertEqual(program.unlink(self.path), errno.ENOENT)
        self.assertNoFileLeft()


for fault in FAULTS:
    name = "WithoutRival" + re.sub(r"\W+", "", fault.title())
    globals()[name] = type(name, (WithoutRival, SocketCase),
                           {"fault": fault, "__module__": __name__})

class ExchangeMissing(SocketCase):
    """Linux has renameat2 since 3.15. Without it, libc's exchange fails and changes nothing."""

    def test_an_exchange(self):
        inject = [STRACE, "-D", "-f", "-q", "-o", "/dev/null", "-e", "trace=renameat2",
                  "-e", "inject=renameat2:error=ENOSYS", "-E", "LD_PRELOAD=" + harness.LIBRARY]
        owner, rival = Actor(self, through=inject), Actor(self, guard=True)
        other = self.path + ".other"
        fds = owner.serve(self.path), owner.serve(other)
        self.assertEqual(owner.renameat2(AT_FDCWD, self.path, AT_FDCWD, other, RENAME_EXCHANGE),
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
