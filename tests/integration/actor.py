"""Scripted processes, and what tests about sockets say again and again.

    owner = Actor(self, guard=True)
    fd = owner.socket("stream")
    owner.bind(fd, self.path)
    self.assertEqual(rival.unlink(self.path), errno.EADDRINUSE)

A call that makes a descriptor returns it, or raises OSError; every other returns 0 or the errno.
"""

import errno
import os
import signal
import socket
import struct
import tempfile
import unittest

import harness

KINDS = ("stream", "seqpacket", "dgram")
TYPES = {"stream": socket.SOCK_STREAM, "seqpacket": socket.SOCK_SEQPACKET,
         "dgram": socket.SOCK_DGRAM}


def _byte_order():
    """Of the actor's architecture, as its ELF header tells: 2 is big-endian."""
    if not harness.EMULATOR:
        return "="
    with open(harness.ACTOR, "rb") as program:
        return ">" if program.read(6)[5] == 2 else "<"


ORDER = _byte_order()
FAMILY = struct.pack(ORDER + "H", socket.AF_UNIX)
FULL_LENGTH = 110  # sizeof(struct sockaddr_un)

MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2
STRANGER, OTHER = 61001, 61002  # user numbers nobody has

needs_root = unittest.skipUnless(os.geteuid() == 0, "needs root")


class Outcome(int):
    """0 or an errno; a failing test shows its name."""

    def __repr__(self):
        return errno.errorcode.get(int(self), str(int(self)))


def address(path):
    """The sockaddr_un of a path, with its final NUL."""
    return FAMILY + os.fsencode(path) + b"\0"


def tcp_address(port):
    return struct.pack(ORDER + "H", socket.AF_INET) + struct.pack("!H", port) + \
        socket.inet_aton("127.0.0.1") + bytes(8)


class Actor:
    """A process that makes the calls it is told to."""

    def __init__(self, case, guard=False, settings=None, through=(), **popen):
        """through: the beginning of a command line that ends in executing the actor."""
        self._case = case
        self._words = tempfile.TemporaryFile()
        control, theirs = self._socketpair()
        if harness.EMULATOR:
            through = [*through, harness.EMULATOR]
        with theirs:
            self._process = case.start([*through, harness.ACTOR], guard=guard,
                                       settings=settings,
                                       **{"stdin": theirs, "stderr": self._words, **popen})
        self._control, self.pid = control, self._process.pid
        case.addCleanup(self._words.close)
        self.heard()  # it is loaded, and ready

    def _socketpair(self):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(harness.PATIENCE)
        self._case.addCleanup(ours.close)
        return ours, theirs

    # Talking to it.

    def tell(self, *words, fd=None):
        """Gives a command and does not wait for its answer; heard() does."""
        packet = b"".join((word if isinstance(word, bytes) else os.fsencode(str(word))) + b"\0"
                          for word in words)
        if fd is None:
            self._control.send(packet)
        else:
            socket.send_fds(self._control, [packet], [fd])

    def heard(self):
        """The next answer: result, errno, and the rest."""
        try:
            packet = self._control.recv(1 << 16)
        except socket.timeout:
            raise AssertionError("an actor does not answer") from None
        if not packet:
            raise AssertionError("an actor died: " + self.said())
        result, error, rest = os.fsdecode(packet).split(" ", 2)
        return int(result), Outcome(error), rest

    def call(self, *words, fd=None):
        self.tell(*words, fd=fd)
        return self.heard()

    def _done(self, *words, fd=None):
        result, error, _ = self.call(*words, fd=fd)
        return error if result < 0 else Outcome(0)

    def _made(self, *words, fd=None):
        result, error, _ = self.call(*words, fd=fd)
        if result < 0:
            raise OSError(error, f"{os.strerror(error)}: {' '.join(map(str, words))}")
        return result

    def said(self):
        """What it, or the guard in it, wrote to stderr."""
        return os.pread(self._words.fileno(), 1 << 20, 0).decode()

    def descriptors(self):
        """Its open descriptors, and what each leads to."""
        table = f"/proc/{self.pid}/fd"
        return sorted((int(fd), os.readlink(f"{table}/{fd}")) for fd in os.listdir(table))

    # Sockets.

    def socket(self, kind):
        return self._made("socket", kind)

    def bind(self, fd, path):
        return self.bind_raw(fd, address(path))

    def bind_raw(self, fd, raw, length=None):
        return self._done("bind", fd, raw.hex(), len(raw) if length is None else length)

    def connect(self, fd, path):
        return self._done("connect", fd, address(path).hex(), len(address(path)))

    def listen(self, fd, backlog=16):
        return self._done("listen", fd, backlog)

    def accept(self, fd):
        """Never waits: raises BlockingIOError where nobody is."""
        return self._made("accept", fd)

    def receive(self, fd):
        """The text that arrived, or None: never waits."""
        result, _, text = self.call("receive", fd)
        return None if result < 0 else text

    def reuse(self, fd):
        return self._done("option", fd, "reuseaddr")

    def shutdown(self, fd):
        return self._done("shutdown", fd)

    def close(self, fd):
        return self._done("close", fd)

    def close_from(self, fd):
        return self._done("closefrom", fd)

    def dup2(self, fd, number):
        return self._made("dup2", fd, number)

    def serve(self, path, kind="stream"):
        """A socket bound to the path, and listening where that applies; its descriptor."""
        fd = self.socket(kind)
        error = self.bind(fd, path)
        if error:
            raise OSError(error, f"bind {path}: {os.strerror(error)}")
        if kind != "dgram":
            self.listen(fd)
        return fd

    # Names.

    def unlink(self, path):
        return self._done("unlink", path)

    def unlinkat(self, directory, path, flags=0):
        return self._done("unlinkat", directory, path, flags)

    def remove(self, path):
        return self._done("remove", path)

    def rename(self, old, new):
        return self._done("rename", old, new)

    def renameat(self, old_dir, old, new_dir, new):
        return self._done("renameat", old_dir, old, new_dir, new)

    def renameat2(self, old_dir, old, new_dir, new, flags):
        return self._done("renameat2", old_dir, old, new_dir, new, flags)

    def link(self, old, new):
        return self._done("link", old, new)

    def linkat(self, old_dir, old, new_dir, new, flags=0):
        return self._done("linkat", old_dir, old, new_dir, new, flags)

    def open(self, path, flags):
        return self._made("open", path, flags)

    def open_directory(self, path):
        return self.open(path, os.O_PATH | os.O_DIRECTORY)

    # The process.

    def take(self, fd):
        """Hands over a descriptor of the test's, a socket's or a number; its number there."""
        return self._made("take", fd=fd if isinstance(fd, int) else fd.fileno())

    def send_fd(self, over, fd):
        return self._done("sendfd", over, fd)

    def receive_fd(self, over):
        return self._made("receivefd", over)

    def fork(self):
        return _Child(self)

    def execute_again(self, *fds):
        """Executes its program anew, with these descriptors inherited."""
        return self._done("exec", *fds)

    def chdir(self, path):
        return self._done("chdir", path)

    def umask(self, mask):
        return self._made("umask", mask)

    def become(self, uid):
        """Gives up root for this user, its groups too."""
        self._case.assertEqual(self._done("setuid", uid), 0)

    def chroot(self, path):
        self._case.assertEqual(self._done("chroot", path), 0)

    def leave(self, kind):
        """A namespace of its own: net, mounts, user; pid, where its children are to be."""
        self._case.assertEqual(self._done("unshare", kind), 0)

    def leave_network(self):
        self.leave("net")

    def leave_mounts(self):
        """A mount namespace of its own, where mount() changes nothing for anybody else."""
        self.leave("mounts")
        self.mount("none", "/", "", MS_REC | MS_PRIVATE)

    def mount(self, source, target, kind="", flags=0, data=""):
        self._case.assertEqual(self._done("mount", source, target, kind, flags, data), 0)

    def read_only(self, directory):
        """Sees this directory on a read-only mount from now on, alone."""
        self.leave_mounts()
        self.mount(directory, directory, "", MS_BIND)
        self.mount("none", directory, "", MS_BIND | MS_REMOUNT | MS_RDONLY)

    def exit(self):
        """Ends in the ordinary way, its sockets left where they are."""
        self.tell("exit", 0)
        self._wait()

    def kill(self):
        """kill -9, and what it held is released when this returns."""
        os.kill(self.pid, signal.SIGKILL)
        self._wait()

    def _wait(self):
        self._process.wait(harness.PATIENCE)


class _Child(Actor):
    """What an actor's fork() makes."""

    def __init__(self, parent):
        self._case, self._words = parent._case, parent._words
        self._control, theirs = self._socketpair()
        with theirs:
            self.pid = parent._made("fork", fd=theirs.fileno())

    def _wait(self):
        harness.wait_until(self._gone, f"the end of process {self.pid}")

    def _gone(self):
        """An orphan is ours to reap; its parent, an actor, reaps by ignoring SIGCHLD."""
        try:
            return os.waitpid(self.pid, os.WNOHANG)[0] == self.pid
        except ChildProcessError:
            return not os.path.exists(f"/proc/{self.pid}")


class SocketCase(harness.Case):
    """A test about who has a socket path."""

    def stale(self, path=None, kind="stream"):
        """Leaves a name whose socket is gone."""
        with socket.socket(socket.AF_UNIX, TYPES[kind]) as dead:
            dead.bind(path or self.path)

    def lock(self, path=None):
        return harness.lock_of(path or self.path)

    def file(self, name, content=""):
        """Writes a file into the scratch directory and returns its path."""
        path = os.path.join(self.dir, name)
        with open(path, "w") as out:
            out.write(content)
        return path

    def answers(self, owner, fd, path=None, kind="stream"):
        """Whether whoever connects to the path arrives at this socket of the owner's."""
        try:
            with socket.socket(socket.AF_UNIX, TYPES[kind]) as client:
                client.settimeout(harness.PATIENCE)
                client.connect(path or self.path)
                client.send(b"knock")
                if kind == "dgram":
                    return owner.receive(fd) == "knock"
                inner = owner.accept(fd)
                heard = owner.receive(inner)
                owner.close(inner)
                return heard == "knock"
        except OSError:
            return False

    def assertServes(self, owner, fd, path=None, kind="stream"):
        self.assertTrue(self.answers(owner, fd, path, kind),
                        f"{path or self.path} does not lead to its owner")

    def assertRefused(self, act, owner, fd, path=None, kind="stream"):
        """act() fails with EADDRINUSE, and the path leads to its owner as before."""
        before = self.identity(path)
        self.assertEqual(act(), errno.EADDRINUSE)
        self.assertEqual(self.identity(path), before)
        self.assertServes(owner, fd, path, kind)

    def assertStolen(self, act, owner, fd, path=None, kind="stream"):
        """act() succeeds, and its owner never hears anybody again who connects to the path."""
        self.assertEqual(act(), 0)
        self.assertFalse(self.answers(owner, fd, path, kind),
                         f"{path or self.path} still leads to its owner")

    def assertFate(self, act, owner, fd, path=None, kind="stream"):
        """Refused where this class is about the guard, stolen where it is about its absence."""
        (self.assertRefused if self.guard else self.assertStolen)(act, owner, fd, path, kind)

    def assertGone(self, path=None):
        self.assertFalse(os.path.lexists(path or self.path), f"{path or self.path} is still there")


def counterparts(namespace, mixin, **variants):
    """Adds mixin's tests to a module twice: with the guard and, to show what it is for, without.

    variants: an attribute and its values, each of which makes a pair of its own.
    """
    (attribute, values), = variants.items() or [("variant", ("",))]
    for guard in (True, False):
        for value in values:
            name = ("Guarded" if guard else "Unguarded") + mixin.__name__ + value.capitalize()
            namespace[name] = type(name, (mixin, SocketCase), {
                "guard": guard, attribute: value, "__module__": mixin.__module__})
