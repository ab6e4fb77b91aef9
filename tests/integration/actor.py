"""Processes that make single calls on request, and assertions about socket paths.

    owner = Actor(self, guard=True)
    fd = owner.socket("stream")
    owner.bind(fd, self.path)
    self.assertEqual(rival.unlink(self.path), errno.EADDRINUSE)

A method that makes a call returns 0 or an errno. If the call returns a descriptor, the method
returns it instead, or raises OSError.
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
    """The actor's byte order, from its ELF header, where 2 is big-endian."""
    if not harness.EMULATOR:
        return "="
    with open(harness.ACTOR, "rb") as program:
        return ">" if program.read(6)[5] == 2 else "<"


BYTE_ORDER = _byte_order()
FAMILY = struct.pack(BYTE_ORDER + "H", socket.AF_UNIX)
FULL_LENGTH = 110  # sizeof(struct sockaddr_un)

MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2
STRANGER, OTHER_USER = 61001, 61002  # user IDs without an account

needs_root = unittest.skipUnless(os.geteuid() == 0, "needs root")


class Outcome(int):
    """0 or an errno, shown by name when a test fails."""

    def __repr__(self):
        return errno.errorcode.get(int(self), str(int(self)))


def address(path):
    """The sockaddr_un of a path, with the terminating NUL."""
    return FAMILY + os.fsencode(path) + b"\0"


def tcp_address(port):
    return struct.pack(BYTE_ORDER + "H", socket.AF_INET) + struct.pack("!H", port) + \
        socket.inet_aton("127.0.0.1") + bytes(8)


class Actor:
    """A process that makes the calls the test requests."""

    def __init__(self, case, guard=False, settings=None, through=(), **popen):
        """through: a command that executes its arguments, here the actor."""
        self._case = case
        self._stderr = tempfile.TemporaryFile()
        control, theirs = self._socketpair()
        if harness.EMULATOR:
            through = [*through, harness.EMULATOR]
        with theirs:
            self._process = case.start([*through, harness.ACTOR], guard=guard,
                                       settings=settings,
                                       **{"stdin": theirs, "stderr": self._stderr, **popen})
        self._control, self.pid = control, self._process.pid
        case.addCleanup(self._stderr.close)
        self.read_answer()  # the actor is loaded and ready

    def _socketpair(self):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(harness.TIMEOUT)
        self._case.addCleanup(ours.close)
        return ours, theirs

    # Commands and answers.

    def send_command(self, *words, fd=None):
        """Sends a command and does not wait for its answer; read_answer() does."""
        packet = b"".join((word if isinstance(word, bytes) else os.fsencode(str(word))) + b"\0"
                          for word in words)
        if fd is None:
            self._control.send(packet)
        else:
            socket.send_fds(self._control, [packet], [fd])

    def read_answer(self):
        """Waits for an answer: the call's result, its errno, and a text."""
        try:
            packet = self._control.recv(1 << 16)
        except socket.timeout:
            raise AssertionError("an actor did not answer") from None
        if not packet:
            raise AssertionError("an actor died: " + self.stderr())
        result, error, rest = os.fsdecode(packet).split(" ", 2)
        return int(result), Outcome(error), rest

    def call(self, *words, fd=None):
        self.send_command(*words, fd=fd)
        return self.read_answer()

    def _call_for_errno(self, *words, fd=None):
        result, error, _ = self.call(*words, fd=fd)
        return error if result < 0 else Outcome(0)

    def _call_for_value(self, *words, fd=None):
        result, error, _ = self.call(*words, fd=fd)
        if result < 0:
            raise OSError(error, f"{os.strerror(error)}: {' '.join(map(str, words))}")
        return result

    def stderr(self):
        """What the actor, or the guard in it, has written to stderr."""
        return os.pread(self._stderr.fileno(), 1 << 20, 0).decode()

    def descriptors(self):
        """The actor's open descriptors, and the file that each refers to."""
        table = f"/proc/{self.pid}/fd"
        return sorted((int(fd), os.readlink(f"{table}/{fd}")) for fd in os.listdir(table))

    # Sockets.

    def socket(self, kind):
        return self._call_for_value("socket", kind)

    def bind(self, fd, path):
        return self.bind_raw(fd, address(path))

    def bind_raw(self, fd, raw, length=None):
        return self._call_for_errno("bind", fd, raw.hex(), len(raw) if length is None else length)

    def connect(self, fd, path):
        return self._call_for_errno("connect", fd, address(path).hex(), len(address(path)))

    def listen(self, fd, backlog=16):
        return self._call_for_errno("listen", fd, backlog)

    def accept(self, fd):
        """Raises BlockingIOError if no client is waiting."""
        return self._call_for_value("accept", fd)

    def receive(self, fd):
        """Returns the text that has arrived, or None."""
        result, _, text = self.call("receive", fd)
        return None if result < 0 else text

    def set_reuseaddr(self, fd):
        return self._call_for_errno("option", fd, "reuseaddr")

    def shutdown(self, fd):
        return self._call_for_errno("shutdown", fd)

    def close(self, fd):
        return self._call_for_errno("close", fd)

    def close_from(self, fd):
        return self._call_for_errno("closefrom", fd)

    def dup2(self, fd, number):
        return self._call_for_value("dup2", fd, number)

    def serve(self, path, kind="stream"):
        """Binds a socket to the path, listens unless it is a datagram socket, and returns it."""
        fd = self.socket(kind)
        error = self.bind(fd, path)
        if error:
            raise OSError(error, f"bind {path}: {os.strerror(error)}")
        if kind != "dgram":
            self.listen(fd)
        return fd

    # Paths.

    def unlink(self, path):
        return self._call_for_errno("unlink", path)

    def unlinkat(self, directory, path, flags=0):
        return self._call_for_errno("unlinkat", directory, path, flags)

    def remove(self, path):
        return self._call_for_errno("remove", path)

    def rename(self, old, new):
        return self._call_for_errno("rename", old, new)

    def renameat(self, old_dir, old, new_dir, new):
        return self._call_for_errno("renameat", old_dir, old, new_dir, new)

    def renameat2(self, old_dir, old, new_dir, new, flags):
        return self._call_for_errno("renameat2", old_dir, old, new_dir, new, flags)

    def link(self, old, new):
        return self._call_for_errno("link", old, new)

    def linkat(self, old_dir, old, new_dir, new, flags=0):
        return self._call_for_errno("linkat", old_dir, old, new_dir, new, flags)

    def open(self, path, flags):
        return self._call_for_value("open", path, flags)

    def open_directory(self, path):
        return self.open(path, os.O_PATH | os.O_DIRECTORY)

    # The process.

    def import_fd(self, fd):
        """Duplicates a descriptor of the test into the actor, and returns its number there."""
        return self._call_for_value("import", fd=fd if isinstance(fd, int) else fd.fileno())

    def send_fd(self, channel, fd):
        return self._call_for_errno("sendfd", channel, fd)

    def receive_fd(self, channel):
        return self._call_for_value("receivefd", channel)

    def fork(self):
        return _Child(self)

    def execute_again(self, *fds):
        """Executes the actor's program again, which inherits these descriptors."""
        return self._call_for_errno("exec", *fds)

    def chdir(self, path):
        return self._call_for_errno("chdir", path)

    def umask(self, mask):
        return self._call_for_value("umask", mask)

    def change_user(self, uid):
        """Changes from root to this user, and to the group of the same number only."""
        self._case.assertEqual(self._call_for_errno("setuid", uid), 0)

    def chroot(self, path):
        self._case.assertEqual(self._call_for_errno("chroot", path), 0)

    def unshare(self, kind):
        """Enters a new namespace: net, mounts or user. With pid, its next children enter it."""
        self._case.assertEqual(self._call_for_errno("unshare", kind), 0)

    def unshare_network(self):
        self.unshare("net")

    def unshare_mounts(self):
        """Enters a new mount namespace, so that mount() affects no other process."""
        self.unshare("mounts")
        self.mount("none", "/", "", MS_REC | MS_PRIVATE)

    def mount(self, source, target, kind="", flags=0, data=""):
        self._case.assertEqual(self._call_for_errno("mount", source, target, kind, flags, data), 0)

    def mount_read_only(self, directory):
        """Makes this directory read-only for this actor alone."""
        self.unshare_mounts()
        self.mount(directory, directory, "", MS_BIND)
        self.mount("none", directory, "", MS_BIND | MS_REMOUNT | MS_RDONLY)

    def exit(self):
        """Calls _exit(2). The socket paths remain."""
        self.send_command("exit", 0)
        self._wait()

    def kill(self):
        """Sends SIGKILL, and waits until the kernel has released the descriptors and locks."""
        os.kill(self.pid, signal.SIGKILL)
        self._wait()

    def _wait(self):
        self._process.wait(harness.TIMEOUT)


class _Child(Actor):
    """The child that an actor's fork() creates."""

    def __init__(self, parent):
        self._case, self._stderr = parent._case, parent._stderr
        self._control, theirs = self._socketpair()
        with theirs:
            self.pid = parent._call_for_value("fork", fd=theirs.fileno())

    def _wait(self):
        harness.wait_until(self._has_ended, f"the end of process {self.pid}")

    def _has_ended(self):
        """If the parent is alive, it ignores SIGCHLD, so that the kernel reaps the child."""
        try:
            return os.waitpid(self.pid, os.WNOHANG)[0] == self.pid  # an orphan
        except ChildProcessError:
            return not os.path.exists(f"/proc/{self.pid}")


def await_idle(keeper):
    """Waits until the watcher waits for a call and is the keeper's only child. Returns its PID.

    The keeper replaces a watcher that spends more than 10 ms on a call, but not an idle one.
    """
    def is_idle():
        children = harness.child_pids(keeper)
        return len(children) == 1 and harness.waits_in_call(min(children), "ioctl") and children

    watcher, = harness.wait_until(is_idle, "the end of all calls")
    return watcher


def start_supervised(case, **options):
    """Starts an actor under a supervisor of its own. Returns the actor, and the PIDs of the keeper
    and the watcher."""
    before = harness.child_pids()
    one = Actor(case, **options)
    keeper, = harness.child_pids() - before - {one.pid}
    return one, keeper, await_idle(keeper)


class SocketCase(harness.Case):
    """A test about socket paths and their owners."""

    def make_stale(self, path=None, kind="stream"):
        """Creates a stale socket path."""
        with socket.socket(socket.AF_UNIX, TYPES[kind]) as closed:
            closed.bind(path or self.path)

    def lock_file_path(self, path=None):
        """The path of the lock file."""
        return harness.lock_file_of(path or self.path)

    def write_file(self, name, content=""):
        """Writes a file in the scratch directory and returns its path."""
        path = os.path.join(self.dir, name)
        with open(path, "w") as out:
            out.write(content)
        return path

    def serves(self, owner, fd, path=None, kind="stream"):
        """Whether a client that connects to the path reaches this socket, which the owner holds."""
        try:
            with socket.socket(socket.AF_UNIX, TYPES[kind]) as client:
                client.settimeout(harness.TIMEOUT)
                client.connect(path or self.path)
                client.send(b"knock")
                if kind == "dgram":
                    return owner.receive(fd) == "knock"
                connection = owner.accept(fd)
                received = owner.receive(connection)
                owner.close(connection)
                return received == "knock"
        except OSError:
            return False

    def assertServes(self, owner, fd, path=None, kind="stream"):
        self.assertTrue(self.serves(owner, fd, path, kind),
                        f"{path or self.path} does not lead to its owner")

    def assertRefused(self, act, owner, fd, path=None, kind="stream"):
        """act() fails with EADDRINUSE, and the path still leads to the owner's socket."""
        before = self.identity(path)
        self.assertEqual(act(), errno.EADDRINUSE)
        self.assertEqual(self.identity(path), before)
        self.assertServes(owner, fd, path, kind)

    def assertStolen(self, act, owner, fd, path=None, kind="stream"):
        """act() succeeds, and clients that connect to the path no longer reach the owner."""
        self.assertEqual(act(), 0)
        self.assertFalse(self.serves(owner, fd, path, kind),
                         f"{path or self.path} still leads to its owner")

    def assertRefusedIfGuarded(self, act, owner, fd, path=None, kind="stream"):
        """act() is refused in a class with the guard, and steals the path in one without."""
        (self.assertRefused if self.guard else self.assertStolen)(act, owner, fd, path, kind)

    def assertNotExists(self, path=None):
        self.assertFalse(os.path.lexists(path or self.path), f"{path or self.path} is still there")


def define_counterparts(namespace, mixin, **variants):
    """Adds two test classes with mixin's tests to a module: with the guard and without it.

    variants: an attribute and its values. Each value adds a pair of classes.
    """
    (attribute, values), = variants.items() or [("variant", ("",))]
    for guard in (True, False):
        for value in values:
            name = ("Guarded" if guard else "Unguarded") + mixin.__name__ + value.capitalize()
            namespace[name] = type(name, (mixin, SocketCase), {
                "guard": guard, attribute: value, "__module__": mixin.__module__})
