"""One kernel, many places: the file systems, views of them and containers a socket may live in.

A socket is the kernel's; what a process sees of its inode depends on where it looks. Numbers
coincide between btrfs subvolumes, between overlays and, in 32 bits, on a large xfs; a stacked view
shows another inode; a container has another boot id.
"""

import errno
import os
import subprocess
import sys
import time
import unittest

import harness
from actor import (MS_BIND, OTHER, STRANGER, Actor, SocketCase, counterparts, needs_root)

WITHOUT_NET_ADMIN = ("setpriv", "--bounding-set", "-net_admin")
LOW = 0xffffffff  # the bits of an inode number that sock_diag reports


def kernel_has(kind):
    """Whether the kernel has a file system of this kind, as a module perhaps."""
    subprocess.run(["modprobe", "-q", kind], stderr=subprocess.DEVNULL, check=False)
    with open("/proc/filesystems") as known:
        return any(line.split()[-1] == kind for line in known)


def tool(*words):
    subprocess.run(words, check=True, capture_output=True, timeout=harness.PATIENCE)


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

    def actor(self, through=(), guard=None, **popen):
        enter = ("nsenter", f"--mount=/proc/{self.stage.pid}/ns/mnt")
        return Actor(self, guard=self.guard if guard is None else guard,
                     through=(*enter, *through), **popen)

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
        import socket  # noqa
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


counterparts(globals(), Twins, kind=("btrfs", "overlay", "xfs"))

if __name__ == "__main__":
    sys.exit(harness.main())
