"""One kernel, many places: the file systems, views of them and containers a socket may live in.

A socket is the kernel's; what a process sees of its inode depends on where it looks. Numbers
coincide between btrfs subvolumes, between overlays and, in 32 bits, on a large xfs; a stacked view
shows another inode; a container has another boot id.
"""

import ctypes
import errno
import fcntl
import json
import os
import resource
import socket
import struct
import subprocess
import sys
import time
import unittest
import uuid

import harness
from actor import (MS_BIND, OTHER, STRANGER, TYPES, Actor, SocketCase, counterparts, needs_root)

WITHOUT_NET_ADMIN = ("setpriv", "--bounding-set", "-net_admin")
F_OFD_SETLK = 37
FLOCK = "hhqqi4x"  # struct flock of 64 bits
LOW = 0xffffffff  # the bits of an inode number that sock_diag reports


def kernel_has(kind):
    """Whether the kernel has a file system of this kind, as a module perhaps."""
    subprocess.run(["modprobe", "-q", kind], stderr=subprocess.DEVNULL, check=False)
    with open("/proc/filesystems") as known:
        return any(line.split()[-1] == kind for line in known)


def tool(*words):
    subprocess.run(words, check=True, capture_output=True, timeout=harness.PATIENCE)


def other_boot_id(case, actor):
    """For an actor that has not asked for it yet, in mounts of its own."""
    boot_id = case.file("boot_id", f"{uuid.uuid4()}\n")
    actor.leave_mounts()
    actor.mount(boot_id, "/proc/sys/kernel/random/boot_id", "", MS_BIND)
    os.unlink(boot_id)


class Stage:
    """A mount namespace of the test's own, and actors in it."""

    def setUp(self):
        super().setUp()
        self.stage = Actor(self)
        self.stage.leave_mounts()
        self.mounted = self.directory("mounted")

    def directory(self, *names, inside=False):
        path = os.path.join(self.dir, *names)
        os.makedirs(self.outside(path) if inside else path, exist_ok=True)
        return path

    def outside(self, path):
        """Where the test finds what the actors find at this path."""
        return f"/proc/{self.stage.pid}/root{path}"

    def enter(self):
        return "nsenter", f"--mount=/proc/{self.stage.pid}/ns/mnt"

    def actor(self, through=(), guard=None, **popen):
        return Actor(self, guard=self.guard if guard is None else guard,
                     through=(*self.enter(), *through), **popen)

    def sockguard(self, *words):
        """The command, which not every build has, among the actors."""
        if not os.path.exists(harness.COMMAND):
            self.skipTest("the command is not built")
        return self.run_program([*self.enter(), harness.COMMAND, *words])

    def mount_image(self, kind, size, *mkfs):
        """A new file system of this kind, in a sparse file."""
        image = self.file("image")
        os.truncate(image, size)
        tool(*mkfs, image)
        device = subprocess.run(["losetup", "--find", "--show", image], check=True,
                                capture_output=True, text=True).stdout.strip()
        try:
            self.stage.mount(device, self.mounted, kind)
        finally:
            tool("losetup", "--detach", device)  # once it is mounted no more


@needs_root
class Twins(Stage):
    """Two directories where unrelated sockets get the same inode number, for sock_diag at least."""

    def setUp(self):
        super().setUp()
        make = {"btrfs": self.make_btrfs, "overlay": self.make_overlay, "xfs": self.make_xfs}
        if not kernel_has(self.kind):
            raise unittest.SkipTest(f"this kernel has no {self.kind}")
        self.here, self.there = make[self.kind]()
        for path in self.here, self.there:
            os.chmod(self.outside(path), 0o777)
        self.path = os.path.join(self.here, "app.sock")
        self.twin = os.path.join(self.there, "app.sock")

    def make_btrfs(self):
        self.mount_image("btrfs", 256 << 20, "mkfs.btrfs", "--quiet")
        subvolumes = [os.path.join(self.mounted, name) for name in ("app1", "app2")]
        for subvolume in subvolumes:
            tool("btrfs", "subvolume", "create", self.outside(subvolume))
        return subvolumes

    def make_overlay(self):
        """As containers have them, with uppers on file systems of their own."""
        return [self.make_one_overlay(name) for name in ("app1", "app2")]

    def make_one_overlay(self, name):
        lower = self.directory(name, "lower")
        merged = self.directory(name, "merged")
        layers = self.directory(name, "layers")
        self.stage.mount("none", layers, "tmpfs")
        upper, work = (self.directory(name, "layers", part, inside=True)
                       for part in ("upper", "work"))
        self.stage.mount("none", merged, "overlay", 0,
                         f"lowerdir={lower},upperdir={upper},workdir={work}")
        return merged

    def make_xfs(self):
        """Its numbers have more than 32 bits: those of its third group begin at 1 << 32."""
        self.mount_image("xfs", 1700 << 30, "mkfs.xfs", "-q", "-K", "-l", "size=64m",
                         "-d", "agcount=3")
        # Each new directory of the root goes to the next group.
        first, _, third = (self.directory("mounted", name, inside=True)
                           for name in ("app1", "second", "app2"))
        wanted = self.fill(first, 0)
        for filler in range(1000):
            if self.fill(third, filler) & LOW == wanted & LOW:
                return first, third
        raise AssertionError(f"no number of {third} ends as {wanted} does")

    def fill(self, directory, filler):
        path = self.outside(os.path.join(directory, f"filler{filler}"))
        with open(path, "w"):
            return os.stat(path).st_ino

    def make_twins(self, owner, other):
        """The owner's socket at path, the other's at twin."""
        fds = owner.serve(self.path), other.serve(self.twin)
        self.assertTwins()
        return fds

    def assertTwins(self):
        one, other = (os.lstat(self.outside(path)) for path in (self.path, self.twin))
        self.assertEqual(one.st_ino & LOW, other.st_ino & LOW)
        self.assertNotEqual((one.st_dev, one.st_ino), (other.st_dev, other.st_ino))

    def fate(self, act, owner, fd):
        self.assertFate(act, owner, fd, self.outside(self.path))

    def test_rival_with_a_socket_of_that_number(self):
        owner, rival = self.actor(), self.actor(through=WITHOUT_NET_ADMIN)
        fd, _ = self.make_twins(owner, rival)
        self.fate(lambda: rival.unlink(self.path), owner, fd)

    def test_rival_that_renames_over_it(self):
        owner, rival = self.actor(), self.actor(through=WITHOUT_NET_ADMIN)
        fd, _ = self.make_twins(owner, rival)
        away = os.path.join(self.here, "away.sock")
        rival.serve(away)
        before = self.identity(self.outside(self.path))
        self.assertEqual(rival.rename(away, self.path), errno.EADDRINUSE if self.guard else 0)
        self.assertEqual(self.identity(self.outside(self.path)) == before, self.guard)
        self.assertEqual(self.answers(owner, fd, self.outside(self.path)), self.guard)

    def test_rival_of_another_uid(self):
        owner, rival = self.actor(umask=0), self.actor()
        rival.become(STRANGER)
        fd, _ = self.make_twins(owner, rival)
        self.fate(lambda: rival.unlink(self.path), owner, fd)

    def test_rival_that_inherited_a_socket_of_that_number(self):
        owner, rival = self.actor(), self.actor(through=WITHOUT_NET_ADMIN)
        fd, inherited = self.make_twins(owner, rival)
        self.assertEqual(rival.execute_again(inherited), 0)
        self.fate(lambda: rival.unlink(self.path), owner, fd)

    def test_rival_that_received_a_socket_of_that_number(self):
        owner, other = self.actor(), self.actor()
        rival = self.actor(through=WITHOUT_NET_ADMIN)
        fd, sent = self.make_twins(owner, other)
        self.hand_over(other, sent, rival)
        self.fate(lambda: rival.unlink(self.path), owner, fd)

    def test_owner_without_the_guard(self):
        """No lock file tells whose it is."""
        owner, rival = self.actor(guard=False), self.actor(guard=False)
        robber = self.actor(through=WITHOUT_NET_ADMIN)
        fd, sent = self.make_twins(owner, rival)
        self.hand_over(rival, sent, robber)
        self.fate(lambda: robber.unlink(self.path), owner, fd)

    def hand_over(self, giver, fd, taker):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            over, received = giver.take(ours), taker.take(theirs)
            self.assertEqual(giver.send_fd(over, fd), 0)
            return taker.receive_fd(received)

    def test_heir_without_the_guard_s_record(self):
        """Who was handed a listener may remove its name, though another has its number."""
        giver, other = self.actor(guard=False), self.actor(guard=False)
        heir = self.actor(through=WITHOUT_NET_ADMIN)
        fd, _ = self.make_twins(giver, other)
        self.hand_over(giver, fd, heir)
        self.assertEqual(heir.unlink(self.path), 0)
        self.assertGone(self.outside(self.path))
        self.assertEqual(heir.said(), "")

    def test_status(self):
        """Each path has its own owner, for the command as well."""
        owner, other = self.actor(), self.actor()
        self.make_twins(owner, other)
        for path, process in (self.path, owner), (self.twin, other):
            ended = self.sockguard("status", "--json", path)
            found = json.loads(ended.stdout)["sockets"][0]
            self.assertEqual([holder["pid"] for holder in found["holders"]], [process.pid])

    def leave_stale(self, mode=0o755):
        """A stale name of root's at path, and a live socket of that number at twin."""
        late, other = self.actor(guard=False), self.actor(guard=False)
        self.make_twins(late, other)
        os.chmod(self.outside(self.path), mode)
        late.kill()

    def test_stale_beside_a_live_one_of_that_number(self):
        """Another uid cannot connect to it to see that it is."""
        self.leave_stale()
        starter = self.actor()
        starter.become(STRANGER)
        self.assertEqual(starter.unlink(self.path), 0)
        self.assertServes(starter, starter.serve(self.path), self.outside(self.path))
        self.assertEqual(starter.said(), "")

    def test_live_beside_a_live_one_of_that_number(self):
        owner, other, starter = self.actor(), self.actor(), self.actor()
        starter.become(STRANGER)
        fd, _ = self.make_twins(owner, other)
        self.fate(lambda: starter.unlink(self.path), owner, fd)

    def test_live_beside_a_stale_one_of_that_number(self):
        owner, other, starter = self.actor(), self.actor(), self.actor()
        starter.become(STRANGER)
        fd, _ = self.make_twins(owner, other)
        other.kill()
        self.fate(lambda: starter.unlink(self.path), owner, fd)


class Workers:
    """Connections that a listener accepted, and workers hold: they have its name and its inode."""

    def setUp(self):
        super().setUp()
        self.owner = Actor(self, guard=self.guard)
        os.chmod(self.dir, 0o777)

    def serve(self, kind):
        """A connection, in a worker of the owner's; it closes the listener itself if told to."""
        fd = self.owner.serve(self.path, kind)
        os.chmod(self.path, 0o755)
        client = socket.socket(socket.AF_UNIX, TYPES[kind])
        self.addCleanup(client.close)
        client.connect(self.path)
        accepted = self.owner.accept(fd)
        return fd, accepted, client

    def starter(self):
        starter = Actor(self, guard=self.guard)
        starter.become(STRANGER)
        return starter

    @needs_root
    def test_listener_closed(self):
        """Another uid, which may not connect, learns that nobody listens any more."""
        for kind in ("stream", "seqpacket"):
            fd, accepted, _ = self.serve(kind)
            self.owner.close(fd)
            starter = self.starter()
            self.assertEqual(starter.unlink(self.path), 0)
            self.assertServes(starter, starter.serve(self.path, kind), kind=kind)
            self.assertEqual(starter.unlink(self.path), 0)
            self.assertEqual(starter.said(), "")
            self.owner.close(accepted)

    @needs_root
    def test_client_gone(self):
        """The worker is not done with what it received."""
        fd, _, client = self.serve("stream")
        client.close()
        self.owner.close(fd)
        starter = self.starter()
        self.assertEqual(starter.unlink(self.path), 0)
        self.assertEqual(starter.said(), "")

    @needs_root
    def test_listener_open(self):
        for kind in ("stream", "seqpacket"):
            fd, _, _ = self.serve(kind)
            starter = self.starter()
            self.assertFate(lambda: starter.unlink(self.path), self.owner, fd, kind=kind)
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
        """Connected, it stays what is bound to the name."""
        fd = self.owner.serve(self.path, "dgram")
        os.chmod(self.path, 0o755)
        peer = os.path.join(self.dir, "peer.sock")
        self.owner.serve(peer, "dgram")
        self.assertEqual(self.owner.connect(fd, peer), 0)
        starter = self.starter()
        self.assertEqual(starter.unlink(self.path), errno.EADDRINUSE if self.guard else 0)


@needs_root
class OtherBootIds:
    """Containers on this kernel, where /proc tells a boot id of their own."""

    def setUp(self):
        super().setUp()
        self.inside = {"nspawn": self.in_nspawn, "mount": self.in_a_mount}[self.kind]

    def outside(self):
        return Actor(self, guard=self.guard)

    def in_nspawn(self):
        guard = ("--setenv=LD_PRELOAD=" + harness.LIBRARY,) if self.guard else ()
        return Actor(self, through=(
            "systemd-nspawn", "--quiet", "--volatile=yes", "--directory=/", "--register=no",
            "--keep-unit", "--console=pipe", f"--machine=sg{os.getpid()}-{time.monotonic_ns()}",
            "--bind=" + self.dir, "--bind-ro=" + harness.BUILD, *guard))

    def in_a_mount(self):
        """What the container managers do."""
        actor = Actor(self, guard=self.guard)
        other_boot_id(self, actor)
        return actor

    def crash(self, stage):
        """An owner's end; a fork without the socket holds its claim on."""
        owner = stage.fork()
        fd = owner.serve(self.path)
        fork = owner.fork()
        fork.close(fd)
        owner.tell("exit", 0)  # kill() does not know its pid out here
        harness.wait_until(self.is_stale, "the end of the owner")
        return fork

    def is_stale(self):
        with socket.socket(socket.AF_UNIX) as client:
            return client.connect_ex(self.path) == errno.ECONNREFUSED

    def start_after_a_crash(self, before, after):
        fork = self.crash(before())
        starter = after()
        self.assertEqual(starter.unlink(self.path), 0)
        self.assertServes(starter, starter.serve(self.path))
        self.assertNotIn("sockguard", starter.said())
        fork.umask(0o22)  # it lived through all this

    def test_start_outside_after_a_crash_inside(self):
        self.start_after_a_crash(self.inside, self.outside)

    def test_start_inside_after_a_crash_outside(self):
        self.start_after_a_crash(self.outside, self.inside)

    def test_bind_outside_after_a_crash_inside(self):
        """The name was removed by somebody unguarded; the claim's socket is gone."""
        fork = self.crash(self.inside())
        os.unlink(self.path)
        starter = self.outside()
        self.assertServes(starter, starter.serve(self.path))
        self.assertNotIn("sockguard", starter.said())
        fork.umask(0o22)

    def fate(self, owner, rival):
        fd = owner.serve(self.path)
        self.assertFate(lambda: rival.unlink(self.path), owner, fd)

    def test_owner_inside(self):
        self.fate(self.inside(), self.outside())

    def test_owner_outside(self):
        self.fate(self.outside(), self.inside())

    def test_absent_name_of_an_owner_inside(self):
        """Its claim keeps it from others."""
        owner, rival = self.inside(), self.outside()
        owner.serve(self.path)
        os.unlink(self.path)
        self.assertEqual(rival.bind(rival.socket("stream"), self.path),
                         errno.EADDRINUSE if self.guard else 0)


@needs_root
class Views(Stage):
    """bindfs shows the files of a directory under inodes of its own.

    Nobody gets from one to a socket that was bound to the other.
    """

    def setUp(self):
        super().setUp()
        if not kernel_has("fuse") or not os.path.exists("/dev/fuse"):
            raise unittest.SkipTest("this kernel has no FUSE")
        self.real, self.view = self.directory("real"), self.directory("view")
        self.show(self.view)
        self.below = os.path.join(self.real, "app.sock")
        self.above = os.path.join(self.view, "app.sock")

    def show(self, view, *options):
        self.start([*self.enter(), "bindfs", "-f", *options, self.real, view,
                    "-o", "attr_timeout=0,entry_timeout=0,negative_timeout=0"])
        harness.wait_until(lambda: os.path.ismount(self.outside(view)), "bindfs")

    def fate(self, act, owner, fd, path):
        """Judged by the path its owner bound; the two views lead to two inodes."""
        self.assertEqual(act(), errno.EADDRINUSE if self.guard else 0)
        self.assertEqual(self.answers(owner, fd, self.outside(path)), self.guard)

    def each_way(self):
        return (self.below, self.above), (self.above, self.below)

    def test_both_above(self):
        owner, rival = self.actor(), self.actor()
        fd = owner.serve(self.above)
        self.fate(lambda: rival.unlink(self.above), owner, fd, self.above)

    def test_unlink(self):
        for bound, seen in self.each_way():
            owner, rival = self.actor(), self.actor()
            fd = owner.serve(bound)
            self.fate(lambda: rival.unlink(seen), owner, fd, bound)
            owner.unlink(bound)

    def test_rename_over(self):
        for bound, seen in self.each_way():
            owner, rival = self.actor(), self.actor()
            fd = owner.serve(bound)
            away = os.path.join(os.path.dirname(seen), "away.sock")
            rival.serve(away)
            self.fate(lambda: rival.rename(away, seen), owner, fd, bound)
            for path in self.above, os.path.join(self.view, "away.sock"):
                if os.path.lexists(self.outside(path)):
                    os.unlink(self.outside(path))

    def test_bind_with_reuse(self):
        """The one call that replaces a stale name by itself."""
        for bound, seen in self.each_way():
            owner, rival = self.actor(), self.actor()
            fd = owner.serve(bound)
            mine = rival.socket("stream")
            rival.reuse(mine)
            if self.guard:
                self.fate(lambda: rival.bind(mine, seen), owner, fd, bound)
            else:
                self.fate(lambda: rival.unlink(seen), owner, fd, bound)
                self.assertEqual(rival.bind(mine, seen), 0)
            os.unlink(self.outside(seen))

    def test_stale(self):
        """The start after a crash works through the view too, and the other way round."""
        for bound, seen in self.each_way():
            owner, starter = self.actor(), self.actor()
            fd = owner.serve(bound)
            fork = owner.fork()
            fork.close(fd)  # holds the claim on
            owner.kill()
            self.assertEqual(starter.unlink(seen), 0)
            self.assertServes(starter, starter.serve(seen), self.outside(seen))
            self.assertEqual(starter.unlink(seen), 0)
            self.assertEqual(starter.said(), "")
            fork.kill()

    def test_clean(self):
        """The command is no worse than a start. Where nothing tells of an owner, the name goes."""
        for bound, seen in self.each_way():
            owner = self.actor()
            fd = owner.serve(bound)
            ended = self.sockguard("clean", seen)
            self.assertEqual(ended.returncode, 3 if self.guard else 0, ended.stdout)
            self.assertEqual(self.answers(owner, fd, self.outside(bound)), self.guard)
            owner.unlink(bound)

    def test_own_name_through_the_other_view(self):
        """What its owner removes there is its own all the same."""
        for bound, seen in self.each_way():
            owner = self.actor()
            owner.serve(bound)
            self.assertEqual(owner.unlink(seen), 0)
            self.assertGone(self.outside(bound))
            self.assertEqual(owner.said(), "")
            owner.kill()

    def test_number_used_again(self):
        """A view pins no file for a socket: the next one has its number while it lives."""
        owner, other = self.actor(), self.actor(guard=False)
        old = owner.serve(self.above)
        number = os.lstat(self.outside(self.above)).st_ino
        for _ in range(1000):  # whoever else creates files may be faster
            other.unlink(self.above)
            fd = other.serve(self.above)
            if os.lstat(self.outside(self.above)).st_ino == number:
                break
            other.close(fd)
        else:
            self.skipTest("the file system below did not use the number again")
        self.fate(lambda: owner.unlink(self.above), other, fd, self.above)
        owner.close(old)

    def test_claim_of_another_host(self):
        """A view that passes locks on, as a network file system does: the claim is all there is."""
        network = self.directory("network")
        self.show(network, "--multithreaded", "--enable-lock-forwarding")
        owner, rival = self.actor(), self.actor()
        other_boot_id(self, owner)
        owner.leave_network()
        fd = owner.serve(self.below)
        self.fate(lambda: rival.unlink(os.path.join(network, "app.sock")), owner, fd, self.below)

    def test_copy(self):
        """A directory that was copied while its server ran has the record, and not the socket."""
        owner, starter = self.actor(), self.actor()
        owner.serve(self.below)
        self.stage.mount("none", self.mounted, "tmpfs")
        for copy in os.path.join(self.dir, "copy"), os.path.join(self.mounted, "copy"):
            tool("cp", "-a", self.outside(self.real), self.outside(copy))
            path = os.path.join(copy, "app.sock")
            self.assertEqual(starter.unlink(path), 0)
            self.assertServes(starter, starter.serve(path), self.outside(path))
        self.assertEqual(starter.said(), "")


class ManyDescriptors:
    """As many as the limit allows: each may be the one that matters."""

    def setUp(self):
        super().setUp()
        self.limit = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 1 << 20)
        self.owner = Actor(self, guard=self.guard)

    def open_many(self):
        resource.setrlimit(resource.RLIMIT_NOFILE, (self.limit, self.limit))
        null = os.open("/dev/null", os.O_RDONLY)
        for number in range(100, self.limit - 100):
            os.dup2(null, number)

    def crowded(self):
        return Actor(self, guard=self.guard, preexec_fn=self.open_many, close_fds=False)

    def test_rival(self):
        rival = self.crowded()
        fd = self.owner.serve(self.path)
        self.assertFate(lambda: rival.unlink(self.path), self.owner, fd)

    def test_heir(self):
        """What it was handed has the highest number of all."""
        heir = self.crowded()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.path)
            listener.listen()
            fd = heir.take(listener)
            heir.dup2(fd, self.limit - 1)
            heir.close(fd)
        self.assertServes(heir, self.limit - 1)
        self.assertEqual(heir.unlink(self.path), 0)
        self.assertEqual((self.names(), heir.said()), ([], ""))

    def test_owner(self):
        owner = self.crowded()
        before = len(owner.descriptors())
        for _ in range(3):
            fd = owner.serve(self.path)
            self.assertServes(owner, fd)
            self.assertEqual(owner.unlink(self.path), 0)
            owner.close(fd)
        self.assertEqual((len(owner.descriptors()), self.names(), owner.said()), (before, [], ""))


@needs_root
class Quota(Stage):
    """A subvolume of btrfs with room for one name more, or for none: a lock file takes room too."""

    def setUp(self):
        super().setUp()
        if not kernel_has("btrfs"):
            raise unittest.SkipTest("this kernel has no btrfs")
        self.mount_image("btrfs", 256 << 20, "mkfs.btrfs", "--quiet")
        tool("btrfs", "quota", "enable", self.outside(self.mounted))

    def subvolume(self, name, files):
        """With so many files of a limited room, or as many as get in; how many there are."""
        path = os.path.join(self.mounted, name)
        tool("btrfs", "subvolume", "create", self.outside(path))
        tool("btrfs", "qgroup", "limit", "1M", self.outside(path))
        self.path = os.path.join(path, "app.sock")
        for number in range(files):
            try:
                with open(os.path.join(self.outside(path), f"file{number}"), "wb") as file:
                    file.write(bytes(8192))
            except OSError as error:
                self.assertEqual(error.errno, errno.EDQUOT)
                return number
        return files

    def left(self):
        directory = self.outside(os.path.dirname(self.path))
        return [name for name in os.listdir(directory) if not name.startswith("file")]

    def test_full(self):
        self.subvolume("full", 1000)
        user = self.actor()
        self.assertEqual(user.bind(user.socket("stream"), self.path), errno.EDQUOT)
        self.assertEqual((self.left(), user.said()), ([], ""))

    def test_almost_full(self):
        full = self.subvolume("full", 1000)
        for files in range(full - 1, full - 5, -1):
            self.assertEqual(self.subvolume(f"with{files}", files), files)
            owner, rival = self.actor(), self.actor()
            fd = owner.serve(self.path)
            self.assertFate(lambda: rival.unlink(self.path), owner, fd, self.outside(self.path))
            if self.guard:
                self.assertEqual(owner.unlink(self.path), 0)
            self.assertEqual((self.left(), owner.said()), ([], ""))


@needs_root
class IdMapped(Stage):
    """A mount that shows every file as another user's, as containers with user namespaces have."""

    def setUp(self):
        super().setUp()
        self.view = self.directory("view")
        self.real = self.directory("real")
        os.chown(self.real, STRANGER, STRANGER)
        holder = Actor(self)
        holder.leave("user")
        for kind in "uid", "gid":
            with open(f"/proc/{holder.pid}/{kind}_map", "w") as table:
                # On the disk root and STRANGER, through the view OTHER.
                table.write(f"0 0 1\n{STRANGER} {OTHER} 1\n")
        self.mount_mapped(f"/proc/{holder.pid}/ns/user")
        self.below = os.path.join(self.real, "app.sock")
        self.above = os.path.join(self.view, "app.sock")

    def mount_mapped(self, namespace):
        tool(*self.enter(), harness.PYTHON, "-c", MOUNT_MAPPED, self.real, self.view, namespace)
        self.assertEqual(os.stat(self.outside(self.view)).st_uid, OTHER)

    def user(self, path):
        user = self.actor()
        user.become(STRANGER if path == self.below else OTHER)
        return user

    def test_each_way(self):
        """One inode, one user on the disk, two uids."""
        for bound, seen in (self.below, self.above), (self.above, self.below):
            owner, rival = self.user(bound), self.user(seen)
            fd = owner.serve(bound)
            self.assertFate(lambda: rival.unlink(seen), owner, fd, self.outside(bound))
            if self.guard:
                self.assertEqual(owner.unlink(bound), 0)
            self.assertEqual(os.listdir(self.real), [])

    def test_stale(self):
        for bound, seen in (self.below, self.above), (self.above, self.below):
            owner, starter = self.user(bound), self.user(seen)
            owner.serve(bound)
            owner.kill()
            self.assertEqual(starter.unlink(seen), 0)
            self.assertServes(starter, starter.serve(seen), self.outside(seen))
            self.assertEqual(starter.unlink(seen), 0)
            self.assertEqual((os.listdir(self.real), starter.said()), ([], ""))

    def test_sticky(self):
        """A lock file there counts if it is the caller's own or the directory owner's."""
        os.chown(self.real, 0, 0)
        os.chmod(self.real, 0o1777)
        self.test_each_way()
        self.test_stale()


# open_tree(2), mount_setattr(2) and move_mount(2), which libc and mount(8) here do not know.
MOUNT_MAPPED = """
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
    """Whoever has no number there has 65534: root, and every stranger."""

    def unmapped(self, uid):
        """A namespace that knows no number at all, the user's own neither."""
        actor = Actor(self, guard=self.guard)
        actor.become(uid)
        actor.leave("user")
        return actor

    def confined(self, uid):
        """As a sandbox confines a user's program: a namespace that knows his own number alone."""
        actor = self.unmapped(uid)
        for kind in "uid", "gid":
            if kind == "gid":
                with open(f"/proc/{actor.pid}/setgroups", "w") as groups:
                    groups.write("deny")
            with open(f"/proc/{actor.pid}/{kind}_map", "w") as table:
                table.write(f"{uid} {uid} 1\n")
        return actor

    def plant(self, user):
        """A stranger's file, with mutex and claim locked, beside a path in a directory of root's."""
        os.chmod(self.dir, 0o1777)
        with open(self.lock(), "w") as planted:
            os.chown(self.lock(), OTHER, OTHER)
            os.chmod(self.lock(), 0o666)
            fcntl.fcntl(planted, F_OFD_SETLK,
                        struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 2, 0))
            owner, rival = user(STRANGER), user(STRANGER)
            fd = owner.serve(self.path)
            self.assertFate(lambda: rival.unlink(self.path), owner, fd)
            if self.guard:
                self.assertEqual(owner.unlink(self.path), 0)
            self.assertEqual(owner.said(), "")

    def test_planted_by_a_stranger(self):
        """For all one sees there the directory is the stranger's."""
        self.plant(self.confined)

    def test_planted_by_a_stranger_who_looks_like_oneself(self):
        self.plant(self.unmapped)

    def test_start_after_a_crash(self):
        os.chmod(self.dir, 0o1777)
        owner, starter = self.confined(STRANGER), self.confined(STRANGER)
        owner.serve(self.path)
        owner.kill()
        self.assertEqual(starter.unlink(self.path), 0)
        self.assertServes(starter, starter.serve(self.path))
        self.assertEqual(starter.unlink(self.path), 0)
        self.assertEqual((self.names(), starter.said()), ([], ""))


counterparts(globals(), Workers)
counterparts(globals(), ManyDescriptors)
counterparts(globals(), Quota)
counterparts(globals(), IdMapped)
counterparts(globals(), UserNamespace)
counterparts(globals(), OtherBootIds, kind=("nspawn", "mount"))
counterparts(globals(), Views)
counterparts(globals(), Twins, kind=("btrfs", "overlay", "xfs"))

if __name__ == "__main__":
    sys.exit(harness.main())
