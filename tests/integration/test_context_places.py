"""Where a process may find itself: without its descriptors, its uid, its root or its mounts."""

import errno
import fcntl
import os
import resource
import struct
import sys
import unittest

import harness
from actor import (MS_BIND, MS_RDONLY, MS_REMOUNT, OTHER, STRANGER, Actor, SocketCase,
                   counterparts, needs_root)

FEW = 64  # descriptors
F_OFD_GETLK, F_OFD_SETLK = 36, 37
FLOCK = "hhqqi4x"  # struct flock of 64 bits


def few_descriptors():
    resource.setrlimit(resource.RLIMIT_NOFILE, (FEW, FEW))


class Descriptors(SocketCase):
    """The program does what it likes with the numbers, ours included."""

    def test_all_closed_before_the_bind(self):
        owner = Actor(self, guard=True)
        owner.close_from(3)
        fd = owner.serve(self.path)
        self.assertEqual(fd, 3)
        rival = Actor(self, guard=True)
        self.assertRefused(lambda: rival.unlink(self.path), owner, fd)
        self.assertEqual(owner.unlink(self.path), 0)
        self.assertEqual(self.names(), [])

    def locked_file(self):
        """The program's own file, with a lock of its own on it."""
        fd = os.open(self.file("data", "the program's"), os.O_RDWR)
        self.addCleanup(os.close, fd)
        fcntl.fcntl(fd, F_OFD_SETLK, struct.pack(FLOCK, fcntl.F_WRLCK, 0, 0, 0, 0))
        return fd

    def assertUntouched(self):
        """Neither written to, nor locked or unlocked."""
        path = os.path.join(self.dir, "data")
        with open(path, "r+") as data:
            self.assertEqual(data.read(), "the program's")
            for byte in (0, 1):
                asked = struct.pack(FLOCK, fcntl.F_WRLCK, 0, byte, 1, 0)
                kind, _, start, length, _ = struct.unpack(
                    FLOCK, fcntl.fcntl(data.fileno(), F_OFD_GETLK, asked))
                self.assertEqual((kind, start, length), (fcntl.F_WRLCK, 0, 0))

    def overrun(self, actor, keep):
        """The file at every number but these."""
        data = actor.take(self.locked_file())
        for number in range(3, FEW):
            if number not in (data, *keep):
                actor.dup2(data, number)

    def free(self, actor):
        """Some numbers to work with, as the program goes on."""
        for number in range(20, 26):
            actor.close(number)

    def test_all_overrun(self):
        owner = Actor(self, guard=True, preexec_fn=few_descriptors)
        fd = owner.serve(self.path)
        self.assertTrue(any(name.endswith(".sockguard") for _, name in owner.descriptors()))
        self.overrun(owner, [fd])
        self.assertUntouched()
        self.free(owner)
        rival = Actor(self, guard=True)
        self.assertRefused(lambda: rival.unlink(self.path), owner, fd)
        self.assertEqual(owner.unlink(self.path), 0)
        self.assertUntouched()
        fd = owner.serve(self.path)
        self.assertEqual(owner.rename(self.path, self.path + "2"), 0)
        self.assertEqual(owner.unlink(self.path + "2"), 0)
        self.assertUntouched()
        self.assertEqual(self.names(), ["data"])

    def test_all_overrun_and_none_free(self):
        """What cannot be asked about counts as live; what is our own does not."""
        owner = Actor(self, guard=True, preexec_fn=few_descriptors)
        fd = owner.serve(self.path)
        self.overrun(owner, [fd])
        self.assertEqual(owner.unlink(self.path), 0)
        self.assertUntouched()
        self.assertGone()

    def test_rival_overrun(self):
        owner, rival = Actor(self, guard=True), Actor(self, guard=True, preexec_fn=few_descriptors)
        fd = owner.serve(self.path)
        other = os.path.join(self.dir, "other.sock")
        own = rival.serve(other)
        self.overrun(rival, [own])
        self.free(rival)
        self.assertRefused(lambda: rival.unlink(self.path), owner, fd)
        self.assertRefused(lambda: rival.rename(other, self.path), owner, fd)
        self.assertUntouched()


class Uids:
    """Privileges given up after the bind: libc's own answer, whichever that is."""

    def served(self, mode):
        os.chmod(self.dir, mode)
        self.owner = Actor(self, guard=self.guard)
        self.fd = self.owner.serve(self.path)
        self.owner.become(STRANGER)

    @needs_root
    def test_in_a_directory_of_root(self):
        self.served(0o755)
        self.assertEqual(self.owner.unlink(self.path), errno.EACCES)
        self.assertEqual(self.owner.rename(self.path, self.path + "2"), errno.EACCES)
        self.assertEqual(self.owner.remove(self.path), errno.EACCES)
        self.assertServes(self.owner, self.fd)
        self.assertEqual(self.owner.said(), "")

    @needs_root
    def test_in_a_directory_of_all(self):
        self.served(0o777)
        self.assertEqual(self.owner.rename(self.path, self.path + "2"), 0)
        self.assertEqual(self.owner.unlink(self.path + "2"), 0)
        self.assertEqual((self.names(), self.owner.said()), ([], ""))

    @needs_root
    def test_in_a_sticky_directory(self):
        self.served(0o1777)
        self.assertEqual(self.owner.unlink(self.path), errno.EPERM)
        self.assertEqual(self.owner.rename(self.path, self.path + "2"), errno.EPERM)
        self.assertServes(self.owner, self.fd)
        self.assertEqual(self.owner.said(), "")

    @needs_root
    def test_in_a_user_namespace(self):
        """Where it is nobody in particular, but the owner of its files as before."""
        self.owner = Actor(self, guard=self.guard)
        self.fd = self.owner.serve(self.path)
        self.owner.leave("user")
        self.assertServes(self.owner, self.fd)
        self.assertEqual(self.owner.rename(self.path, self.path + "2"), 0)
        self.assertEqual(self.owner.unlink(self.path + "2"), 0)
        self.assertEqual((self.names(), self.owner.said()), ([], ""))


class Elsewhere:
    """A rival or an owner in another root or namespace. Theft without the guard."""

    def setUp(self):
        super().setUp()
        self.owner, self.rival = Actor(self, guard=self.guard), Actor(self, guard=self.guard)

    def fate(self, path=None):
        self.assertFate(lambda: self.rival.unlink(path or self.path), self.owner, self.fd)

    def settle(self, path):
        """What the owner does in the end, by the name it has for its path."""
        if self.guard:
            self.assertEqual(self.owner.unlink(path), 0)
            self.assertEqual(self.names(), [])
        self.assertNotIn("busy", self.rival.said())

    @needs_root
    def test_owner_chrooted_before_the_bind(self):
        """No /proc there."""
        self.owner.chroot(self.dir)
        self.fd = self.owner.serve("/app.sock")
        self.fate()
        self.settle("/app.sock")

    @needs_root
    def test_owner_chrooted_after_the_bind(self):
        self.fd = self.owner.serve(self.path)
        self.owner.chroot(self.dir)
        self.fate()
        self.settle("/app.sock")

    @needs_root
    def test_both_chrooted(self):
        self.owner.chroot(self.dir)
        self.rival.chroot(self.dir)
        self.fd = self.owner.serve("/app.sock")
        self.fate("/app.sock")
        self.settle("/app.sock")

    @needs_root
    def test_rival_chrooted(self):
        self.fd = self.owner.serve(self.path)
        self.rival.chroot(self.dir)
        self.fate("app.sock")
        self.settle(self.path)

    @needs_root
    def test_rival_in_a_user_namespace(self):
        self.fd = self.owner.serve(self.path)
        self.rival.leave("user")
        self.fate()
        self.settle(self.path)

    @needs_root
    def test_owner_in_a_pid_namespace(self):
        """Its pid there says nothing here."""
        self.owner.leave("pid")
        self.owner = self.owner.fork()
        self.fd = self.owner.serve(self.path)
        self.fate()
        self.settle(self.path)

    @needs_root
    def test_rival_in_every_namespace(self):
        self.fd = self.owner.serve(self.path)
        for kind in ("user", "net", "mounts", "pid"):
            self.rival.leave(kind)
        self.rival = self.rival.fork()
        self.fate()
        self.settle(self.path)

    @needs_root
    def test_the_same_directory_at_two_paths(self):
        other = os.path.join(self.dir, "other")
        here = os.path.join(self.dir, "here")
        os.mkdir(other)
        os.mkdir(here)
        self.path = os.path.join(here, "app.sock")
        self.owner.leave_mounts()
        self.owner.mount(here, other, "", MS_BIND)
        self.fd = self.owner.serve(os.path.join(other, "app.sock"))
        self.fate()
        if self.guard:
            self.assertEqual(self.owner.unlink(self.path), 0)
        self.assertEqual(os.listdir(here), [])

    def test_over_a_symlinked_directory(self):
        linked = os.path.join(self.dir, "linked")
        real = os.path.join(self.dir, "real")
        os.mkdir(real)
        os.symlink(real, linked)
        self.path = os.path.join(real, "app.sock")
        self.fd = self.owner.serve(os.path.join(linked, "app.sock"))
        self.fate()
        if self.guard:
            self.assertEqual(self.owner.unlink(os.path.join(linked, "app.sock")), 0)
        self.assertEqual(os.listdir(real), [])


class ReadOnly:
    @needs_root
    def test_remounted_read_only_after_the_bind(self):
        """The name stays and is answered with EROFS, until it may be removed again."""
        owner = Actor(self, guard=self.guard)
        fd = owner.serve(self.path)
        owner.read_only(self.dir)
        self.assertEqual(owner.unlink(self.path), errno.EROFS)
        self.assertEqual(owner.rename(self.path, self.path + "2"), errno.EROFS)
        self.assertServes(owner, fd)
        owner.mount("none", self.dir, "", MS_BIND | MS_REMOUNT)
        self.assertEqual(owner.unlink(self.path), 0)
        self.assertEqual((self.names(), owner.said()), ([], ""))

    @needs_root
    def test_file_system_read_only_after_the_bind(self):
        small = os.path.join(self.dir, "small")
        os.mkdir(small)
        owner = Actor(self, guard=self.guard)
        owner.leave_mounts()
        owner.mount("none", small, "tmpfs")
        fd = owner.serve(os.path.join(small, "s"))
        # A claim is a file open for writing, which would keep the file system from it.
        claims = [number for number, name in owner.descriptors() if name.endswith(".sockguard")]
        for number in claims:
            owner.close(number)
        owner.mount("none", small, "", MS_REMOUNT | MS_RDONLY)
        self.assertEqual(owner.unlink(os.path.join(small, "s")), errno.EROFS)
        self.assertServes(owner, fd, f"/proc/{owner.pid}/root{small}/s")
        self.assertEqual(owner.said(), "")

    @needs_root
    def test_file_system_without_a_byte(self):
        """Names may be made, but nothing written."""
        small = os.path.join(self.dir, "small")
        os.mkdir(small)
        owner = Actor(self, guard=self.guard)
        owner.leave_mounts()
        owner.mount("none", small, "tmpfs", 0, "size=4k")
        root = f"/proc/{owner.pid}/root{small}"
        with open(os.path.join(root, "full"), "wb") as full:
            full.write(bytes(4096))
        fd = owner.serve(os.path.join(small, "s"))
        outside = os.path.join(root, "s")
        rival = Actor(self, guard=self.guard)
        self.assertFate(lambda: rival.unlink(outside), owner, fd, outside)
        if self.guard:
            self.assertEqual(owner.unlink(os.path.join(small, "s")), 0)
        self.assertEqual(os.listdir(root), ["full"])


@needs_root
class Overlay:
    """Lower and upper on a tmpfs of the actors' own mount namespace."""

    def setUp(self):
        super().setUp()
        self.stage = Actor(self, guard=self.guard)
        self.stage.leave_mounts()
        self.stage.mount("none", self.dir, "tmpfs")
        for name in ("lower", "upper", "work", "merged"):
            os.mkdir(self.outside(name))
        self.path = os.path.join(self.dir, "merged", "s")

    def outside(self, *names):
        return os.path.join(f"/proc/{self.stage.pid}/root{self.dir}", *names)

    def mount(self):
        parts = {name: os.path.join(self.dir, name) for name in ("lower", "upper", "work")}
        self.stage.mount("none", os.path.join(self.dir, "merged"), "overlay", 0,
                         "lowerdir={lower},upperdir={upper},workdir={work}".format(**parts))

    def actor(self):
        """A process in the same mounts, and no relative of any owner's."""
        child = self.stage.fork()
        self.assertEqual(child.execute_again(), 0)
        return child

    def test_upper(self):
        self.mount()
        owner, rival = self.actor(), self.actor()
        fd = owner.serve(self.path)
        self.assertFate(lambda: rival.unlink(self.path), owner, fd, self.outside("merged", "s"))
        if self.guard:
            self.assertEqual(owner.rename(self.path, self.path + "2"), 0)
            self.assertEqual(owner.unlink(self.path + "2"), 0)
        self.assertEqual(os.listdir(self.outside("merged")), [])
        self.assertEqual(os.listdir(self.outside("upper")), [])

    def test_lower_stale(self):
        """It leaves a whiteout, and may be bound again."""
        self.stale(self.outside("lower", "s"))
        self.mount()
        owner, rival = self.actor(), self.actor()
        self.assertEqual(owner.unlink(self.path), 0)
        self.assertEqual(os.listdir(self.outside("merged")), [])
        self.assertEqual(os.listdir(self.outside("upper")), ["s"])
        fd = owner.serve(self.path)
        self.assertFate(lambda: rival.unlink(self.path), owner, fd, self.outside("merged", "s"))
        if self.guard:
            self.assertEqual(owner.unlink(self.path), 0)
        self.assertEqual(os.listdir(self.outside("merged")), [])

    def test_lower_live(self):
        """The kernel leads nobody to it from the merged directory, where its name is stale."""
        owner = self.actor()
        fd = owner.serve(os.path.join(self.dir, "lower", "s"))
        self.mount()
        rival = self.actor()
        self.assertFalse(self.answers(owner, fd, self.outside("merged", "s")))
        self.assertEqual(rival.unlink(self.path), 0)
        self.assertServes(rival, rival.serve(self.path), self.outside("merged", "s"))
        self.assertServes(owner, fd, self.outside("lower", "s"))


@needs_root
class Protected(SocketCase):
    """fs.protected_*, as systemd sets them, in a sticky directory of root's."""

    WANTED = {"protected_regular": "2", "protected_fifos": "2", "protected_hardlinks": "1"}

    def setUp(self):
        super().setUp()
        for name, value in self.WANTED.items():
            self.sysctl(os.path.join("/proc/sys/fs", name), value)
        os.chmod(self.dir, 0o1777)

    def sysctl(self, path, value):
        with open(path) as current:
            before = current.read()
        if before.strip() == value:
            return
        try:
            with open(path, "w") as file:
                file.write(value)
        except OSError as error:
            raise unittest.SkipTest(f"{path} is {before.strip()} and not to be set: {error}")
        self.addCleanup(self.restore, path, before)

    def restore(self, path, value):
        with open(path, "w") as file:
            file.write(value)

    def user(self, uid):
        actor = Actor(self, guard=True)
        if uid:
            actor.become(uid)
        return actor

    def play(self, owner_uid, rival_uid):
        """An owner's life, a rival's attempts, and a new start after a crash by either uid."""
        owner, rival = self.user(owner_uid), self.user(rival_uid)
        away = os.path.join(self.dir, "away")
        fd = owner.serve(self.path)
        before = self.identity()
        self.assertIn(rival.unlink(self.path), (errno.EPERM, errno.EADDRINUSE))
        self.assertIn(rival.rename(self.path, away), (errno.EPERM, errno.EADDRINUSE))
        self.assertEqual(self.identity(), before)
        self.assertServes(owner, fd)
        self.assertNotIn("busy", rival.said())
        self.assertEqual(owner.rename(self.path, away), 0)
        self.assertEqual(owner.rename(away, self.path), 0)
        self.assertEqual(owner.link(self.path, away), 0)
        self.assertEqual(owner.unlink(away), 0)
        self.assertEqual(owner.unlink(self.path), 0)
        self.assertEqual(self.names(), [])
        owner.serve(self.path)
        owner.kill()
        successor = self.user(owner_uid)
        self.assertEqual(successor.unlink(self.path), 0)
        self.assertServes(successor, successor.serve(self.path))
        self.assertEqual(successor.unlink(self.path), 0)
        self.assertEqual((self.names(), successor.said(), owner.said()), ([], "", ""))

    def test_two_users(self):
        self.play(STRANGER, OTHER)

    def test_root_against_a_user(self):
        self.play(STRANGER, 0)

    def test_a_user_against_root(self):
        self.play(0, STRANGER)

    def test_planted_by_somebody_else(self):
        """What lies at the lock file's name keeps nobody from its path."""
        for make in (lambda path: os.close(os.open(path, os.O_CREAT, 0o666)), os.mkfifo):
            make(self.lock())
            os.chmod(self.lock(), 0o666)
            os.chown(self.lock(), OTHER, OTHER)
            owner, rival = self.user(STRANGER), self.user(STRANGER)
            fd = owner.serve(self.path)
            self.assertRefused(lambda: rival.unlink(self.path), owner, fd)
            self.assertEqual(owner.unlink(self.path), 0)
            self.assertEqual(owner.said(), "")
            self.assertEqual(os.stat(self.lock()).st_size, 0)
            os.unlink(self.lock())


for mixin in (Uids, Elsewhere, ReadOnly, Overlay):
    counterparts(globals(), mixin)

if __name__ == "__main__":
    sys.exit(harness.main())
