"""Sockets on different file systems, at several mounts of one directory, and in containers.

sock_diag identifies a socket by its inode, but an inode number is not always unique. Unrelated
sockets have equal numbers in two btrfs subvolumes, in two overlays, and (in the low 32 bits) on a
large xfs. A stacked file system such as bindfs shows a socket under another inode. A container may
have another boot ID.
"""

import errno
import fcntl
import json
import os
import resource
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest
import uuid

import harness
from actor import (MS_BIND, OTHER_USER, STRANGER, TYPES, Actor, define_counterparts,
                   needs_root)

WITHOUT_NET_ADMIN = ("setpriv", "--bounding-set", "-net_admin")
F_OFD_SETLK = 37
STRUCT_FLOCK = "hhqqi4x"  # struct flock, with 64-bit offsets
LOW_32_BITS = 0xffffffff  # the bits of an inode number that sock_diag reports


def kernel_has_file_system(kind):
    """Whether the kernel supports this file system. Loads its module if there is one."""
    if shutil.which("modprobe"):
        subprocess.run(["modprobe", "-q", kind], stderr=subprocess.DEVNULL, check=False)
    with open("/proc/filesystems") as known:
        return any(line.split()[-1] == kind for line in known)


def lock_table_names_files_in(directory):
    """Whether /proc/locks names this directory's files by the device and number that stat reports.

    On btrfs, it names another device.
    """
    with tempfile.TemporaryFile(dir=directory) as file:
        found = os.fstat(file.fileno())
        fcntl.flock(file, fcntl.LOCK_SH)
        name = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
        return any(name in line for line in harness.lock_table())


def run_tool(*words):
    """Runs a program, which must succeed."""
    subprocess.run(words, check=True, capture_output=True, timeout=harness.TIMEOUT)


def change_boot_id(case, actor):
    """Gives the actor another boot ID, in its own mount namespace, before the guard reads it."""
    boot_id = case.write_file("boot_id", f"{uuid.uuid4()}\n")
    actor.unshare_mounts()
    actor.mount(boot_id, "/proc/sys/kernel/random/boot_id", "", MS_BIND)
    os.unlink(boot_id)


class InMountNamespace:
    """Starts actors in a private mount namespace, where self.mounter mounts file systems."""

    def setUp(self):
        super().setUp()
        self.mounter = Actor(self)
        self.mounter.unshare_mounts()
        self.mounted = self.make_directory("mounted")

    def make_directory(self, *names, inside=False):
        path = os.path.join(self.dir, *names)
        os.makedirs(self.seen_by_test(path) if inside else path, exist_ok=True)
        return path

    def seen_by_test(self, path):
        """The path at which the test, in its own mount namespace, reaches a path of the actors."""
        return f"/proc/{self.mounter.pid}/root{path}"

    def enter_command(self):
        return "nsenter", f"--mount=/proc/{self.mounter.pid}/ns/mnt"

    def start_actor(self, through=(), guard=None, **popen):
        return Actor(self, guard=self.guard if guard is None else guard,
                     through=(*self.enter_command(), *through), **popen)

    def sockguard(self, *words):
        """Runs the command in the actors' namespace. Skips the test if the command is not built."""
        if not os.path.exists(harness.COMMAND):
            self.skipTest("the command is not built")
        return self.run_program([*self.enter_command(), harness.COMMAND, *words])

    def mount_image(self, kind, size, *mkfs):
        """Creates a sparse file of this size, makes a file system in it, and mounts that."""
        image = self.write_file("image")
        os.truncate(image, size)
        run_tool(*mkfs, image)
        device = subprocess.run(["losetup", "--find", "--show", image], check=True,
                                capture_output=True, text=True).stdout.strip()
        try:
            self.mounter.mount(device, self.mounted, kind)
        finally:
            run_tool("losetup", "--detach", device)  # after it is unmounted


@needs_root
class EqualInodeNumbers(InMountNamespace):
    """Two directories in which unrelated sockets get inode numbers that sock_diag reports as equal.

    The guard must not take the socket at one path for the socket at the other.
    """

    def setUp(self):
        super().setUp()
        make = {"btrfs": self.make_btrfs, "overlay": self.make_overlay, "xfs": self.make_xfs}
        if not kernel_has_file_system(self.kind):
            raise unittest.SkipTest(f"this kernel has no {self.kind}")
        self.directory, self.other_directory = make[self.kind]()
        for path in self.directory, self.other_directory:
            os.chmod(self.seen_by_test(path), 0o777)
        self.path = os.path.join(self.directory, "app.sock")
        self.other_path = os.path.join(self.other_directory, "app.sock")

    def make_btrfs(self):
        self.mount_image("btrfs", 256 << 20, "mkfs.btrfs", "--quiet")
        subvolumes = [os.path.join(self.mounted, name) for name in ("app1", "app2")]
        for subvolume in subvolumes:
            run_tool("btrfs", "subvolume", "create", self.seen_by_test(subvolume))
        return subvolumes

    def make_overlay(self):
        """Makes two overlays as in containers, with each upper directory on its own file system."""
        return [self.make_one_overlay(name) for name in ("app1", "app2")]

    def make_one_overlay(self, name):
        lower = self.make_directory(name, "lower")
        merged = self.make_directory(name, "merged")
        layers = self.make_directory(name, "layers")
        self.mounter.mount("none", layers, "tmpfs")
        upper, work = (self.make_directory(name, "layers", part, inside=True)
                       for part in ("upper", "work"))
        self.mounter.mount("none", merged, "overlay", 0,
                           f"lowerdir={lower},upperdir={upper},workdir={work}")
        return merged

    def make_xfs(self):
        """Makes an xfs so large that the inode numbers of its third group start at 1 << 32.

        Creates files until both directories are about to use numbers with the same low bits.
        """
        self.mount_image("xfs", 1700 << 30, "mkfs.xfs", "-q", "-K", "-l", "size=64m",
                         "-d", "agcount=3")
        # Each new directory in the root is allocated in the next group.
        first, _, third = (self.make_directory("mounted", name, inside=True)
                           for name in ("app1", "second", "app2"))
        wanted = self.create_filler(first, 0)
        for filler in range(1000):
            if self.create_filler(third, filler) & LOW_32_BITS == wanted & LOW_32_BITS:
                return first, third
        raise AssertionError(f"no inode number in {third} has the low bits of {wanted}")

    def create_filler(self, directory, filler):
        """Creates a file and returns its inode number."""
        path = self.seen_by_test(os.path.join(directory, f"filler{filler}"))
        with open(path, "w"):
            return os.stat(path).st_ino

    def bind_sockets_with_equal_numbers(self, owner, other):
        """The owner binds a socket to self.path, and the other process one to self.other_path."""
        fds = owner.serve(self.path), other.serve(self.other_path)
        self.assertEqualNumbers()
        return fds

    def assertEqualNumbers(self):
        one, other = (os.lstat(self.seen_by_test(path)) for path in (self.path, self.other_path))
        self.assertEqual(one.st_ino & LOW_32_BITS, other.st_ino & LOW_32_BITS)
        self.assertNotEqual((one.st_dev, one.st_ino), (other.st_dev, other.st_ino))

    def assert_refused_if_guarded(self, act, owner, fd):
        self.assertRefusedIfGuarded(act, owner, fd, self.seen_by_test(self.path))

    def test_rival_with_a_socket_of_the_same_number(self):
        owner, rival = self.start_actor(), self.start_actor(through=WITHOUT_NET_ADMIN)
        fd, _ = self.bind_sockets_with_equal_numbers(owner, rival)
        self.assert_refused_if_guarded(lambda: rival.unlink(self.path), owner, fd)

    def test_rival_that_renames_over_it(self):
        owner, rival = self.start_actor(), self.start_actor(through=WITHOUT_NET_ADMIN)
        fd, _ = self.bind_sockets_with_equal_numbers(owner, rival)
        away = os.path.join(self.directory, "away.sock")
        rival.serve(away)
        before = self.identity(self.seen_by_test(self.path))
        self.assertEqual(rival.rename(away, self.path), errno.EADDRINUSE if self.guard else 0)
        self.assertEqual(self.identity(self.seen_by_test(self.path)) == before, self.guard)
        self.assertEqual(self.serves(owner, fd, self.seen_by_test(self.path)), self.guard)

    def test_rival_of_another_uid(self):
        owner, rival = self.start_actor(umask=0), self.start_actor()
        rival.change_user(STRANGER)
        fd, _ = self.bind_sockets_with_equal_numbers(owner, rival)
        self.assert_refused_if_guarded(lambda: rival.unlink(self.path), owner, fd)

    def test_rival_that_inherited_a_socket_of_the_same_number(self):
        owner, rival = self.start_actor(), self.start_actor(through=WITHOUT_NET_ADMIN)
        fd, inherited = self.bind_sockets_with_equal_numbers(owner, rival)
        self.assertEqual(rival.execute_again(inherited), 0)
        self.assert_refused_if_guarded(lambda: rival.unlink(self.path), owner, fd)

    def test_rival_that_received_a_socket_of_the_same_number(self):
        owner, other = self.start_actor(), self.start_actor()
        rival = self.start_actor(through=WITHOUT_NET_ADMIN)
        fd, sent = self.bind_sockets_with_equal_numbers(owner, other)
        self.send_descriptor(other, sent, rival)
        self.assert_refused_if_guarded(lambda: rival.unlink(self.path), owner, fd)

    def test_owner_without_the_guard(self):
        """There is no lock file, so no record names the owner."""
        owner, other = self.start_actor(guard=False), self.start_actor(guard=False)
        rival = self.start_actor(through=WITHOUT_NET_ADMIN)
        fd, sent = self.bind_sockets_with_equal_numbers(owner, other)
        self.send_descriptor(other, sent, rival)
        self.assert_refused_if_guarded(lambda: rival.unlink(self.path), owner, fd)

    def send_descriptor(self, sender, fd, receiver):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            over, received = sender.import_fd(ours), receiver.import_fd(theirs)
            self.assertEqual(sender.send_fd(over, fd), 0)
            return receiver.receive_fd(received)

    def test_receiver_of_the_socket_without_a_record(self):
        """A process that received a listener may unlink its path.

        It may do so although another socket's inode has the same number.
        """
        sender, other = self.start_actor(guard=False), self.start_actor(guard=False)
        receiver = self.start_actor(through=WITHOUT_NET_ADMIN)
        fd, _ = self.bind_sockets_with_equal_numbers(sender, other)
        self.send_descriptor(sender, fd, receiver)
        self.assertEqual(receiver.unlink(self.path), 0)
        self.assertNotExists(self.seen_by_test(self.path))
        self.assertEqual(receiver.stderr(), "")

    def test_status(self):
        """The command too reports the owner of each path separately."""
        owner, other = self.start_actor(), self.start_actor()
        self.bind_sockets_with_equal_numbers(owner, other)
        for path, process in (self.path, owner), (self.other_path, other):
            ended = self.sockguard("status", "--json", path)
            found = json.loads(ended.stdout)["sockets"][0]
            self.assertEqual([holder["pid"] for holder in found["holders"]], [process.pid])

    def make_stale_beside_live(self, mode=0o755):
        """Leaves a stale socket at self.path, and a live one of the same number at other_path."""
        crashed, other = self.start_actor(guard=False), self.start_actor(guard=False)
        self.bind_sockets_with_equal_numbers(crashed, other)
        os.chmod(self.seen_by_test(self.path), mode)
        crashed.kill()

    def test_stale_beside_a_live_one_of_the_same_number(self):
        """The starter's uid may not connect to the socket, but sock_diag shows that it is stale."""
        self.make_stale_beside_live()
        starter = self.start_actor()
        starter.change_user(STRANGER)
        self.assertEqual(starter.unlink(self.path), 0)
        self.assertServes(starter, starter.serve(self.path), self.seen_by_test(self.path))
        self.assertEqual(starter.stderr(), "")

    def test_live_beside_a_live_one_of_the_same_number(self):
        owner, other, starter = self.start_actor(), self.start_actor(), self.start_actor()
        starter.change_user(STRANGER)
        fd, _ = self.bind_sockets_with_equal_numbers(owner, other)
        self.assert_refused_if_guarded(lambda: starter.unlink(self.path), owner, fd)

    def test_live_beside_a_stale_one_of_the_same_number(self):
        owner, other, starter = self.start_actor(), self.start_actor(), self.start_actor()
        starter.change_user(STRANGER)
        fd, _ = self.bind_sockets_with_equal_numbers(owner, other)
        other.kill()
        self.assert_refused_if_guarded(lambda: starter.unlink(self.path), owner, fd)


class AcceptedConnections:
    """A process holds accepted connections, for which sock_diag reports the listener's inode.

    They must not count as sockets that are bound to the path.
    """

    def setUp(self):
        super().setUp()
        self.owner = Actor(self, guard=self.guard)
        os.chmod(self.dir, 0o777)

    def serve(self, kind):
        """Accepts a connection; returns the listener, the connection, and the client."""
        fd = self.owner.serve(self.path, kind)
        os.chmod(self.path, 0o755)
        client = socket.socket(socket.AF_UNIX, TYPES[kind])
        self.addCleanup(client.close)
        client.connect(self.path)
        accepted = self.owner.accept(fd)
        return fd, accepted, client

    def starter(self):
        starter = Actor(self, guard=self.guard)
        starter.change_user(STRANGER)
        return starter

    @needs_root
    def test_listener_closed(self):
        """Another uid may not connect, but sock_diag shows that no process listens any more."""
        for kind in ("stream", "seqpacket"):
            fd, accepted, _ = self.serve(kind)
            self.owner.close(fd)
            starter = self.starter()
            self.assertEqual(starter.unlink(self.path), 0)
            self.assertServes(starter, starter.serve(self.path, kind), kind=kind)
            self.assertEqual(starter.unlink(self.path), 0)
            self.assertEqual(starter.stderr(), "")
            self.owner.close(accepted)

    @needs_root
    def test_listener_and_client_closed(self):
        """Only the accepted connection remains."""
        fd, _, client = self.serve("stream")
        client.close()
        self.owner.close(fd)
        starter = self.starter()
        self.assertEqual(starter.unlink(self.path), 0)
        self.assertEqual(starter.stderr(), "")

    @needs_root
    def test_listener_open(self):
        for kind in ("stream", "seqpacket"):
            fd, _, _ = self.serve(kind)
            starter = self.starter()
            self.assertRefusedIfGuarded(lambda: starter.unlink(self.path),
                                        self.owner, fd, kind=kind)
            self.owner.close(fd)
            if self.guard:
                self.assertEqual(self.owner.unlink(self.path), 0)

    @needs_root
    def test_not_listening_yet(self):
        fd = self.owner.socket("stream")
        self.assertEqual(self.owner.bind(fd, self.path), 0)
        os.chmod(self.path, 0o755)
        starter = self.starter()
        self.assertEqual(starter.unlink(self.path), errno.EADDRINUSE if self.guard else 0)

    @needs_root
    def test_datagram_socket_with_a_peer(self):
        """A connected datagram socket is still bound to its path."""
        fd = self.owner.serve(self.path, "dgram")
        os.chmod(self.path, 0o755)
        peer = os.path.join(self.dir, "peer.sock")
        self.owner.serve(peer, "dgram")
        self.assertEqual(self.owner.connect(fd, peer), 0)
        starter = self.starter()
        self.assertEqual(starter.unlink(self.path), errno.EADDRINUSE if self.guard else 0)


@needs_root
class OtherUserInAnotherNetwork:
    """The rival has another uid and network namespace, and may not connect to the socket."""

    def setUp(self):
        super().setUp()
        if not lock_table_names_files_in(self.dir):
            self.skipTest("/proc/locks does not name the files of this file system")
        os.chmod(self.dir, 0o777)
        self.owner, self.rival = Actor(self, guard=self.guard), Actor(self, guard=self.guard)
        self.owner.change_user(OTHER_USER)
        self.rival.unshare_network()
        self.rival.change_user(STRANGER)
        self.fd = self.owner.serve(self.path)

    @needs_root
    def test_unlink(self):
        self.assertRefusedIfGuarded(lambda: self.rival.unlink(self.path), self.owner, self.fd)
        if self.guard:
            self.assertIn("in use by another user's process in another network namespace",
                          self.rival.stderr())
            self.assertEqual(self.owner.unlink(self.path), 0)
            self.assertEqual((self.names(), self.owner.stderr()), ([], ""))

    @needs_root
    def test_rename_over_the_socket(self):
        own = self.path + ".new"
        self.rival.serve(own)
        self.assertRefusedIfGuarded(lambda: self.rival.rename(own, self.path), self.owner, self.fd)

    @needs_root
    def test_bind_with_reuseaddr(self):
        fd = self.rival.socket("stream")
        self.rival.set_reuseaddr(fd)
        self.assertEqual(self.rival.bind(fd, self.path), errno.EADDRINUSE)
        self.assertServes(self.owner, self.fd)

    @needs_root
    def test_owner_killed(self):
        self.owner.kill()
        self.assertEqual(self.rival.unlink(self.path), 0)
        self.assertServes(self.rival, self.rival.serve(self.path))
        self.assertEqual(self.rival.stderr(), "")

    @needs_root
    def test_owner_killed_while_a_fork_serves(self):
        fork = self.owner.fork()
        self.owner.kill()
        self.assertRefusedIfGuarded(lambda: self.rival.unlink(self.path), fork, self.fd)

    @needs_root
    @harness.preload_only("a supervised process has no claim after exec")
    def test_program_executed_by_the_owner(self):
        """The new program adopts the socket, and claims the path for the same network namespace."""
        self.owner.execute_again(self.fd)
        self.assertRefusedIfGuarded(lambda: self.rival.unlink(self.path), self.owner, self.fd)

    @needs_root
    @harness.supervised_only
    def test_known_limit_program_executed_by_the_owner(self):
        self.owner.execute_again(self.fd)
        self.assertStolen(lambda: self.rival.unlink(self.path), self.owner, self.fd)

    @needs_root
    def test_owner_that_entered_the_rivals_namespace(self):
        """The namespace in which the owner created the socket counts, not its current one."""
        owner = Actor(self, guard=self.guard)
        path = self.path + ".moved"
        fd = owner.serve(path)
        owner.unshare_network()
        os.chmod(path, 0o755)
        self.assertRefusedIfGuarded(lambda: self.rival.unlink(path), owner, fd, path)

    @needs_root
    def test_socket_closed_while_the_claim_is_held(self):
        """The kernel's answer decides in the owner's network namespace, and for users who may
        connect. For any other user, the claim counts: a known limit."""
        near = Actor(self, guard=self.guard)
        near.change_user(STRANGER)
        for path in (self.path + suffix for suffix in ("1", "2", "3")):
            self.owner.close(self.owner.serve(path))
        self.assertEqual(near.unlink(self.path + "1"), 0)
        os.chmod(self.path + "2", 0o777)
        self.assertEqual(self.rival.unlink(self.path + "2"), 0)
        self.assertEqual(self.rival.unlink(self.path + "3"),
                         errno.EADDRINUSE if self.guard else 0)

    @needs_root
    def test_command(self):
        """status reports that the socket is live. clean leaves it, and removes a stale one."""
        if not os.path.exists(harness.COMMAND):
            self.skipTest("the command is not built")
        os.chown(self.dir, STRANGER, STRANGER)
        stale = self.path + ".stale"
        crashed = Actor(self, guard=self.guard)
        crashed.change_user(OTHER_USER)
        crashed.serve(stale)
        crashed.kill()
        command = ("unshare", "--net", "setpriv", f"--reuid={STRANGER}", f"--regid={STRANGER}",
                   "--clear-groups", harness.COMMAND)
        self.assertIn("live" if self.guard else "stale",
                      self.run_program([*command, "status", self.path]).stdout)
        self.run_program([*command, "clean", self.path, stale])
        self.assertNotExists(stale)
        self.assertEqual(os.path.lexists(self.path), self.guard)


class PlantedLocks:
    """A stranger holds locks that may make a stale socket look live. The caller may not connect to
    the socket, and is in another network namespace."""

    def setUp(self):
        super().setUp()
        if not lock_table_names_files_in(self.dir):
            self.skipTest("/proc/locks does not name the files of this file system")
        self.shared = os.path.join(self.dir, "shared")
        os.mkdir(self.shared)
        self.stale = os.path.join(self.shared, "s")
        self.make_stale(self.stale)
        os.chown(self.stale, OTHER_USER, OTHER_USER)
        os.chmod(self.stale, 0o755)

    def start_caller(self):
        caller = Actor(self, guard=self.guard)
        caller.unshare_network()
        caller.change_user(STRANGER)
        return caller

    def lock(self, path):
        """Creates another user's file, and locks it like a claim of another network namespace."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self.addCleanup(os.close, fd)
        os.fchown(fd, OTHER_USER, OTHER_USER)
        fcntl.fcntl(fd, F_OFD_SETLK, struct.pack(STRUCT_FLOCK, fcntl.F_RDLCK, 0, 1, 1 << 20, 0))
        inode = f":{os.fstat(fd).st_ino}"
        self.assertTrue(any(line[-3].endswith(inode) and line[-2:] == ("1", str(1 << 20))
                            for line in harness.lock_table()))

    @needs_root
    def test_lock_file_in_a_sticky_directory(self):
        """Any user can create a lock file there, so the lock does not count."""
        os.chmod(self.shared, 0o1777)
        os.chown(self.shared, STRANGER, STRANGER)
        self.lock(self.lock_file_path(self.stale))
        self.assertEqual(self.start_caller().unlink(self.stale), 0)

    @needs_root
    def test_lock_file_in_another_directory(self):
        """A user who can create a lock file there could bind a live socket there as well."""
        os.chmod(self.shared, 0o777)
        self.lock(self.lock_file_path(self.stale))
        self.assertEqual(self.start_caller().unlink(self.stale),
                         errno.EADDRINUSE if self.guard else 0)

    @needs_root
    def test_locks_on_other_files(self):
        os.chmod(self.shared, 0o777)
        open(self.lock_file_path(self.stale), "w").close()
        os.chmod(self.lock_file_path(self.stale), 0o600)
        self.lock(os.path.join(self.shared, "other"))
        self.lock(os.path.join(self.dir, ".s.sockguard"))
        self.assertEqual(self.start_caller().unlink(self.stale), 0)


@needs_root
class OtherBootIds:
    """Containers on this kernel, in which /proc shows another boot ID."""

    def setUp(self):
        super().setUp()
        self.start_inside = {"nspawn": self.start_in_nspawn,
                             "mount": self.start_with_another_boot_id}[self.kind]

    def start_outside(self):
        return Actor(self, guard=self.guard)

    def start_in_nspawn(self):
        guard = ("--setenv=LD_PRELOAD=" + harness.LIBRARY,) if self.guard else ()
        return Actor(self, through=(
            "systemd-nspawn", "--quiet", "--volatile=yes", "--directory=/", "--register=no",
            "--keep-unit", "--console=pipe", f"--machine=sg{os.getpid()}-{time.monotonic_ns()}",
            "--bind=" + self.dir, "--bind-ro=" + harness.BUILD, *guard))

    def start_with_another_boot_id(self):
        """Starts an actor with another boot ID mounted over its own, as container managers do."""
        actor = Actor(self, guard=self.guard)
        change_boot_id(self, actor)
        return actor

    def crash_owner(self, parent):
        """Ends an owner, a child of this actor. Returns a fork of it that holds only the claim."""
        owner = parent.fork()
        fd = owner.serve(self.path)
        fork = owner.fork()
        fork.close(fd)
        owner.send_command("exit", 0)  # kill() needs its pid in the test's PID namespace
        harness.wait_until(self.is_stale, "the end of the owner")
        return fork

    def is_stale(self):
        with socket.socket(socket.AF_UNIX) as client:
            return client.connect_ex(self.path) == errno.ECONNREFUSED

    def check_start_after_a_crash(self, start_owners_parent, start_starter):
        fork = self.crash_owner(start_owners_parent())
        starter = start_starter()
        self.assertEqual(starter.unlink(self.path), 0)
        self.assertServes(starter, starter.serve(self.path))
        self.assertNotIn("sockguard", starter.stderr())
        fork.umask(0o22)  # fails if the fork has died

    def test_start_outside_after_a_crash_inside(self):
        self.check_start_after_a_crash(self.start_inside, self.start_outside)

    def test_start_inside_after_a_crash_outside(self):
        self.check_start_after_a_crash(self.start_outside, self.start_inside)

    def test_bind_outside_after_a_crash_inside(self):
        """The path is absent, and the claim is still held, but its socket is closed."""
        fork = self.crash_owner(self.start_inside())
        os.unlink(self.path)
        starter = self.start_outside()
        self.assertServes(starter, starter.serve(self.path))
        self.assertNotIn("sockguard", starter.stderr())
        fork.umask(0o22)  # fails if the fork has died

    def check_rival(self, owner, rival):
        fd = owner.serve(self.path)
        self.assertRefusedIfGuarded(lambda: rival.unlink(self.path), owner, fd)

    def test_owner_inside(self):
        self.check_rival(self.start_inside(), self.start_outside())

    def test_owner_outside(self):
        self.check_rival(self.start_outside(), self.start_inside())

    def test_bind_outside_of_a_path_removed_from_an_owner_inside(self):
        """The owner's claim protects the absent path."""
        owner, rival = self.start_inside(), self.start_outside()
        owner.serve(self.path)
        os.unlink(self.path)
        self.assertEqual(rival.bind(rival.socket("stream"), self.path),
                         errno.EADDRINUSE if self.guard else 0)


@needs_root
class Bindfs(InMountNamespace):
    """bindfs shows the files of the real directory in the view, under inodes of its own.

    A socket that was bound through one of the two paths cannot be reached through the other.
    """

    def setUp(self):
        super().setUp()
        if not kernel_has_file_system("fuse") or not os.path.exists("/dev/fuse"):
            raise unittest.SkipTest("this kernel has no FUSE")
        self.real, self.view = self.make_directory("real"), self.make_directory("view")
        self.mount_bindfs(self.view)
        self.real_path = os.path.join(self.real, "app.sock")
        self.view_path = os.path.join(self.view, "app.sock")

    def mount_bindfs(self, view, *options):
        self.start([*self.enter_command(), "bindfs", "-f", *options, self.real, view,
                    "-o", "attr_timeout=0,entry_timeout=0,negative_timeout=0"])
        harness.wait_until(lambda: os.path.ismount(self.seen_by_test(view)), "bindfs")

    def assert_refused_if_guarded(self, act, owner, fd, path):
        """act() is refused if guarded, and otherwise steals the path that the owner bound."""
        self.assertEqual(act(), errno.EADDRINUSE if self.guard else 0)
        self.assertEqual(self.serves(owner, fd, self.seen_by_test(path)), self.guard)

    def both_directions(self):
        return (self.real_path, self.view_path), (self.view_path, self.real_path)

    def test_both_at_the_view_path(self):
        owner, rival = self.start_actor(), self.start_actor()
        fd = owner.serve(self.view_path)
        self.assert_refused_if_guarded(lambda: rival.unlink(self.view_path),
                                       owner, fd, self.view_path)

    def test_unlink(self):
        for bound, seen in self.both_directions():
            owner, rival = self.start_actor(), self.start_actor()
            fd = owner.serve(bound)
            self.assert_refused_if_guarded(lambda: rival.unlink(seen), owner, fd, bound)
            owner.unlink(bound)

    def test_rename_over(self):
        for bound, seen in self.both_directions():
            owner, rival = self.start_actor(), self.start_actor()
            fd = owner.serve(bound)
            away = os.path.join(os.path.dirname(seen), "away.sock")
            rival.serve(away)
            self.assert_refused_if_guarded(lambda: rival.rename(away, seen), owner, fd, bound)
            for path in self.view_path, os.path.join(self.view, "away.sock"):
                if os.path.lexists(self.seen_by_test(path)):
                    os.unlink(self.seen_by_test(path))

    def test_bind_with_reuse(self):
        """With SO_REUSEADDR, the guard replaces a stale socket, but not this one, which is live."""
        for bound, seen in self.both_directions():
            owner, rival = self.start_actor(), self.start_actor()
            fd = owner.serve(bound)
            mine = rival.socket("stream")
            rival.set_reuseaddr(mine)
            if self.guard:
                self.assert_refused_if_guarded(lambda: rival.bind(mine, seen), owner, fd, bound)
            else:
                self.assert_refused_if_guarded(lambda: rival.unlink(seen), owner, fd, bound)
                self.assertEqual(rival.bind(mine, seen), 0)
            os.unlink(self.seen_by_test(seen))

    def test_stale(self):
        """After a crash, the next start through the other path works at once."""
        for bound, seen in self.both_directions():
            owner, starter = self.start_actor(), self.start_actor()
            fd = owner.serve(bound)
            fork = owner.fork()
            fork.close(fd)  # the fork still holds the claim
            owner.kill()
            self.assertEqual(starter.unlink(seen), 0)
            self.assertServes(starter, starter.serve(seen), self.seen_by_test(seen))
            self.assertEqual(starter.unlink(seen), 0)
            self.assertEqual(starter.stderr(), "")
            fork.kill()

    def test_clean(self):
        """Only a lock file shows that the socket is live. Without one, `clean` removes the path."""
        for bound, seen in self.both_directions():
            owner = self.start_actor()
            fd = owner.serve(bound)
            ended = self.sockguard("clean", seen)
            self.assertEqual(ended.returncode, 3 if self.guard else 0, ended.stdout)
            self.assertEqual(self.serves(owner, fd, self.seen_by_test(bound)), self.guard)
            owner.unlink(bound)

    def test_own_path_through_the_other_view(self):
        """The owner may unlink its socket through the other path too."""
        for bound, seen in self.both_directions():
            owner = self.start_actor()
            owner.serve(bound)
            self.assertEqual(owner.unlink(seen), 0)
            self.assertNotExists(self.seen_by_test(bound))
            self.assertEqual(owner.stderr(), "")
            owner.kill()

    def test_reused_inode_number(self):
        """bindfs may give a new file the inode number of a live socket whose path was removed.

        The former owner must not unlink the new socket.
        """
        if not kernel_has_file_system("ext4"):
            raise unittest.SkipTest("this kernel has no ext4")
        # On a file system that no other process uses, the next file gets the number of the last.
        self.mount_image("ext4", 16 << 20, "mkfs.ext4", "-q")
        self.real, view = self.mounted, self.make_directory("view of ext4")
        self.mount_bindfs(view)
        self.view_path = os.path.join(view, "app.sock")
        owner, other = self.start_actor(), self.start_actor(guard=False)
        old = owner.serve(self.view_path)
        number = os.lstat(self.seen_by_test(self.view_path)).st_ino
        other.unlink(self.view_path)
        fd = other.serve(self.view_path)
        self.assertEqual(os.lstat(self.seen_by_test(self.view_path)).st_ino, number)
        self.assert_refused_if_guarded(lambda: owner.unlink(self.view_path),
                                       other, fd, self.view_path)
        owner.close(old)

    def test_claim_of_another_host(self):
        """If bindfs forwards locks, as network file systems do, the claim shows the live owner."""
        network = self.make_directory("network")
        self.mount_bindfs(network, "--multithreaded", "--enable-lock-forwarding")
        owner, rival = self.start_actor(), self.start_actor()
        change_boot_id(self, owner)
        owner.unshare_network()
        fd = owner.serve(self.real_path)
        path = os.path.join(network, "app.sock")
        self.assert_refused_if_guarded(lambda: rival.unlink(path), owner, fd, self.real_path)

    def test_copied_directory(self):
        """A copy of a running server's directory contains the record, but its socket is stale."""
        owner, starter = self.start_actor(), self.start_actor()
        owner.serve(self.real_path)
        self.mounter.mount("none", self.mounted, "tmpfs")
        for copy in os.path.join(self.dir, "copy"), os.path.join(self.mounted, "copy"):
            run_tool("cp", "-a", self.seen_by_test(self.real), self.seen_by_test(copy))
            path = os.path.join(copy, "app.sock")
            self.assertEqual(starter.unlink(path), 0)
            self.assertServes(starter, starter.serve(path), self.seen_by_test(path))
        self.assertEqual(starter.stderr(), "")


class ManyDescriptors:
    """A process with as many descriptors as its limit allows. The guard must check each of them."""

    def setUp(self):
        super().setUp()
        self.limit = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 1 << 20)
        self.owner = Actor(self, guard=self.guard)

    def open_many_descriptors(self):
        resource.setrlimit(resource.RLIMIT_NOFILE, (self.limit, self.limit))
        null = os.open("/dev/null", os.O_RDONLY)
        for number in range(100, self.limit - 100):
            os.dup2(null, number)

    def start_with_many_descriptors(self):
        return Actor(self, guard=self.guard, preexec_fn=self.open_many_descriptors, close_fds=False)

    def test_rival(self):
        rival = self.start_with_many_descriptors()
        fd = self.owner.serve(self.path)
        self.assertRefusedIfGuarded(lambda: rival.unlink(self.path), self.owner, fd)

    def test_receiver_of_the_socket(self):
        """The received socket has the highest descriptor number."""
        receiver = self.start_with_many_descriptors()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.path)
            listener.listen()
            fd = receiver.import_fd(listener)
            receiver.dup2(fd, self.limit - 1)
            receiver.close(fd)
        self.assertServes(receiver, self.limit - 1)
        self.assertEqual(receiver.unlink(self.path), 0)
        self.assertEqual((self.names(), receiver.stderr()), ([], ""))

    def test_owner(self):
        owner = self.start_with_many_descriptors()
        before = len(owner.descriptors())
        for _ in range(3):
            fd = owner.serve(self.path)
            self.assertServes(owner, fd)
            self.assertEqual(owner.unlink(self.path), 0)
            owner.close(fd)
        self.assertEqual((len(owner.descriptors()), self.names(), owner.stderr()), (before, [], ""))


@needs_root
class BtrfsQuota(InMountNamespace):
    """A btrfs subvolume whose quota allows a few more files, or none. Lock files count too."""

    def setUp(self):
        super().setUp()
        if not kernel_has_file_system("btrfs"):
            raise unittest.SkipTest("this kernel has no btrfs")
        self.mount_image("btrfs", 256 << 20, "mkfs.btrfs", "--quiet")
        run_tool("btrfs", "quota", "enable", self.seen_by_test(self.mounted))

    def make_subvolume_with_quota(self, name, files):
        """Makes a subvolume with a quota of 1 MB, and this many files in it, or as many as fit.

        Returns the number of files.
        """
        path = os.path.join(self.mounted, name)
        run_tool("btrfs", "subvolume", "create", self.seen_by_test(path))
        run_tool("btrfs", "qgroup", "limit", "1M", self.seen_by_test(path))
        self.path = os.path.join(path, "app.sock")
        for number in range(files):
            try:
                with open(os.path.join(self.seen_by_test(path), f"file{number}"), "wb") as file:
                    file.write(bytes(8192))
            except OSError as error:
                self.assertEqual(error.errno, errno.EDQUOT)
                return number
        return files

    def names_without_fillers(self):
        directory = self.seen_by_test(os.path.dirname(self.path))
        return [name for name in os.listdir(directory) if not name.startswith("file")]

    def test_quota_for_no_file(self):
        self.make_subvolume_with_quota("full", 1000)
        user = self.start_actor()
        self.assertEqual(user.bind(user.socket("stream"), self.path), errno.EDQUOT)
        self.assertEqual((self.names_without_fillers(), user.stderr()), ([], ""))

    def test_quota_for_few_files(self):
        full = self.make_subvolume_with_quota("full", 1000)
        for files in range(full - 1, full - 5, -1):
            self.assertEqual(self.make_subvolume_with_quota(f"with{files}", files), files)
            owner, rival = self.start_actor(), self.start_actor()
            fd = owner.serve(self.path)
            self.assertRefusedIfGuarded(lambda: rival.unlink(self.path),
                                        owner, fd, self.seen_by_test(self.path))
            if self.guard:
                self.assertEqual(owner.unlink(self.path), 0)
            self.assertEqual((self.names_without_fillers(), owner.stderr()), ([], ""))


@needs_root
class IdMapped(InMountNamespace):
    """An ID-mapped mount, which shows each file with another uid, as in containers."""

    def setUp(self):
        super().setUp()
        self.view = self.make_directory("view")
        self.real = self.make_directory("real")
        os.chown(self.real, STRANGER, STRANGER)
        holder = Actor(self)
        holder.unshare("user")
        for kind in "uid", "gid":
            with open(f"/proc/{holder.pid}/{kind}_map", "w") as table:
                # root and STRANGER on the disk; the view shows STRANGER as OTHER_USER.
                table.write(f"0 0 1\n{STRANGER} {OTHER_USER} 1\n")
        self.mount_id_mapped(f"/proc/{holder.pid}/ns/user")
        self.real_path = os.path.join(self.real, "app.sock")
        self.view_path = os.path.join(self.view, "app.sock")

    def mount_id_mapped(self, namespace):
        run_tool(*self.enter_command(), harness.PYTHON, "-c", MOUNT_ID_MAPPED, self.real, self.view,
                 namespace)
        self.assertEqual(os.stat(self.seen_by_test(self.view)).st_uid, OTHER_USER)

    def start_user(self, path):
        user = self.start_actor()
        user.change_user(STRANGER if path == self.real_path else OTHER_USER)
        return user

    def test_rival_with_another_uid(self):
        """At the path that a process uses, the file has the uid of that process."""
        for bound, seen in (self.real_path, self.view_path), (self.view_path, self.real_path):
            owner, rival = self.start_user(bound), self.start_user(seen)
            fd = owner.serve(bound)
            self.assertRefusedIfGuarded(lambda: rival.unlink(seen),
                                        owner, fd, self.seen_by_test(bound))
            if self.guard:
                self.assertEqual(owner.unlink(bound), 0)
            self.assertEqual(os.listdir(self.real), [])

    def test_stale(self):
        for bound, seen in (self.real_path, self.view_path), (self.view_path, self.real_path):
            owner, starter = self.start_user(bound), self.start_user(seen)
            owner.serve(bound)
            owner.kill()
            self.assertEqual(starter.unlink(seen), 0)
            self.assertServes(starter, starter.serve(seen), self.seen_by_test(seen))
            self.assertEqual(starter.unlink(seen), 0)
            self.assertEqual((os.listdir(self.real), starter.stderr()), ([], ""))

    def test_sticky_directory(self):
        """In a sticky directory, only the caller's own lock files count."""
        os.chown(self.real, 0, 0)
        os.chmod(self.real, 0o1777)
        self.test_rival_with_another_uid()
        self.test_stale()


# open_tree(2), mount_setattr(2) and move_mount(2), which libc and mount(8) may not have.
MOUNT_ID_MAPPED = """
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(*words):
    result = libc.syscall(*words)
    if result < 0:
        sys.exit(os.strerror(ctypes.get_errno()))
    return result
real, view, namespace = sys.argv[1:]
tree = call(428, -100, real.encode(), 0x80001)
attributes = struct.pack("QQQQ", 0x100000, 0, 0, os.open(namespace, os.O_RDONLY))
call(442, tree, b"", 0x1000, attributes, ctypes.c_size_t(len(attributes)))
call(429, tree, b"", -100, view.encode(), 0x4)
"""


@needs_root
class UserNamespace:
    """User namespaces in which root and every stranger are unmapped, and so have uid 65534."""

    def start_unmapped(self, uid):
        """Starts an actor in a user namespace that maps no uid, not even the actor's own."""
        actor = Actor(self, guard=self.guard)
        actor.change_user(uid)
        actor.unshare("user")
        return actor

    def start_with_only_own_uid_mapped(self, uid):
        """Starts an actor in a user namespace that maps only its own uid, as sandboxes do."""
        actor = self.start_unmapped(uid)
        for kind in "uid", "gid":
            if kind == "gid":
                with open(f"/proc/{actor.pid}/setgroups", "w") as groups:
                    groups.write("deny")
            with open(f"/proc/{actor.pid}/{kind}_map", "w") as table:
                table.write(f"{uid} {uid} 1\n")
        return actor

    def check_with_planted_lock_file(self, start_as):
        """A stranger's lock file, with mutex and claim locked, obstructs no process.

        The directory belongs to root. start_as(uid) starts the owner and the rival.
        """
        os.chmod(self.dir, 0o1777)
        with open(self.lock_file_path(), "w") as planted:
            os.chown(self.lock_file_path(), OTHER_USER, OTHER_USER)
            os.chmod(self.lock_file_path(), 0o666)
            fcntl.fcntl(planted, F_OFD_SETLK,
                        struct.pack(STRUCT_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 2, 0))
            owner, rival = start_as(STRANGER), start_as(STRANGER)
            fd = owner.serve(self.path)
            self.assertRefusedIfGuarded(lambda: rival.unlink(self.path), owner, fd)
            if self.guard:
                self.assertEqual(owner.unlink(self.path), 0)
            self.assertEqual(owner.stderr(), "")

    def test_planted_by_a_stranger(self):
        """To the owner and the rival, root's directory seems to belong to the stranger."""
        self.check_with_planted_lock_file(self.start_with_only_own_uid_mapped)

    def test_planted_where_the_stranger_has_the_caller_s_uid(self):
        self.check_with_planted_lock_file(self.start_unmapped)

    def test_start_after_a_crash(self):
        os.chmod(self.dir, 0o1777)
        owner = self.start_with_only_own_uid_mapped(STRANGER)
        starter = self.start_with_only_own_uid_mapped(STRANGER)
        owner.serve(self.path)
        owner.kill()
        self.assertEqual(starter.unlink(self.path), 0)
        self.assertServes(starter, starter.serve(self.path))
        self.assertEqual(starter.unlink(self.path), 0)
        self.assertEqual((self.names(), starter.stderr()), ([], ""))


define_counterparts(globals(), AcceptedConnections)
define_counterparts(globals(), OtherUserInAnotherNetwork)
define_counterparts(globals(), PlantedLocks)
define_counterparts(globals(), ManyDescriptors)
define_counterparts(globals(), BtrfsQuota)
define_counterparts(globals(), IdMapped)
define_counterparts(globals(), UserNamespace)
define_counterparts(globals(), OtherBootIds, kind=("nspawn", "mount"))
define_counterparts(globals(), Bindfs)
define_counterparts(globals(), EqualInodeNumbers, kind=("btrfs", "overlay", "xfs"))

if __name__ == "__main__":
    sys.exit(harness.main())
