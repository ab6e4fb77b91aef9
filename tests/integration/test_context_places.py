"""Owners and rivals whose descriptors, uid, root directory, namespaces or mounts have changed."""

import errno
import fcntl
import os
import resource
import struct
import sys
import unittest

import harness
from actor import (MS_BIND, MS_RDONLY, MS_REMOUNT, OTHER_USER, STRANGER, Actor, SocketCase,
                   define_counterparts, needs_root)

DESCRIPTOR_LIMIT = 64
F_OFD_GETLK, F_OFD_SETLK = 36, 37
STRUCT_FLOCK = "hhqqi4x"  # struct flock, with 64-bit offsets


def limit_descriptors():
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTOR_LIMIT, DESCRIPTOR_LIMIT))


class ReusedDescriptors(SocketCase):
    """The program closes or replaces descriptors by number, including those of the guard."""

    def test_every_descriptor_closed_before_bind(self):
        owner = Actor(self, guard=True)
        owner.close_from(3)
        fd = owner.serve(self.path)
        self.assertEqual(fd, 3)
        rival = Actor(self, guard=True)
        self.assertRefused(lambda: rival.unlink(self.path), owner, fd)
        self.assertEqual(owner.unlink(self.path), 0)
        self.assertEqual(self.names(), [])

    def open_locked_file(self):
        """Opens a file of the program's own, with a lock on the whole file."""
        fd = os.open(self.write_file("data", "the program's"), os.O_RDWR)
        self.addCleanup(os.close, fd)
        fcntl.fcntl(fd, F_OFD_SETLK, struct.pack(STRUCT_FLOCK, fcntl.F_WRLCK, 0, 0, 0, 0))
        return fd

    def assertFileUntouched(self):
        """The guard has not written to the program's file, and the program's lock is unchanged."""
        path = os.path.join(self.dir, "data")
        with open(path, "r+") as data:
            self.assertEqual(data.read(), "the program's")
            for byte in (0, 1):
                asked = struct.pack(STRUCT_FLOCK, fcntl.F_WRLCK, 0, byte, 1, 0)
                kind, _, start, length, _ = struct.unpack(
                    STRUCT_FLOCK, fcntl.fcntl(data.fileno(), F_OFD_GETLK, asked))
                self.assertEqual((kind, start, length), (fcntl.F_WRLCK, 0, 0))

    def occupy_numbers(self, actor, keep):
        """Replaces every descriptor except these by a duplicate of the program's file."""
        data = actor.import_fd(self.open_locked_file())
        for number in range(3, DESCRIPTOR_LIMIT):
            if number not in (data, *keep):
                actor.dup2(data, number)

    def free_some_numbers(self, actor):
        """Closes some descriptors, so that the guard can open its own again."""
        for number in range(20, 26):
            actor.close(number)

    def test_owner_whose_descriptors_were_replaced(self):
        owner = Actor(self, guard=True, preexec_fn=limit_descriptors)
        fd = owner.serve(self.path)
        self.assertTrue(any(name.endswith(".sockguard") for _, name in owner.descriptors()))
        self.occupy_numbers(owner, [fd])
        self.assertFileUntouched()
        self.free_some_numbers(owner)
        rival = Actor(self, guard=True)
        self.assertRefused(lambda: rival.unlink(self.path), owner, fd)
        self.assertEqual(owner.unlink(self.path), 0)
        self.assertFileUntouched()
        fd = owner.serve(self.path)
        self.assertEqual(owner.rename(self.path, self.path + "2"), 0)
        self.assertEqual(owner.unlink(self.path + "2"), 0)
        self.assertFileUntouched()
        self.assertEqual(self.names(), ["data"])

    def test_owner_without_a_free_descriptor(self):
        """The guard cannot check the socket, but knows that the socket is the caller's own."""
        owner = Actor(self, guard=True, preexec_fn=limit_descriptors)
        fd = owner.serve(self.path)
        self.occupy_numbers(owner, [fd])
        self.assertEqual(owner.unlink(self.path), 0)
        self.assertFileUntouched()
        self.assertNotExists()

    def test_rival_whose_descriptors_were_replaced(self):
        owner = Actor(self, guard=True)
        rival = Actor(self, guard=True, preexec_fn=limit_descriptors)
        fd = owner.serve(self.path)
        other = os.path.join(self.dir, "other.sock")
        own = rival.serve(other)
        self.occupy_numbers(rival, [own])
        self.free_some_numbers(rival)
        self.assertRefused(lambda: rival.unlink(self.path), owner, fd)
        self.assertRefused(lambda: rival.rename(other, self.path), owner, fd)
        self.assertFileUntouched()


class DroppedPrivileges:
    """The owner drops privileges after bind. The results are those without the guard."""

    def bind_and_drop_privileges(self, mode):
        os.chmod(self.dir, mode)
        self.owner = Actor(self, guard=self.guard)
        self.fd = self.owner.serve(self.path)
        self.owner.change_user(STRANGER)

    @needs_root
    def test_in_a_directory_of_root(self):
        self.bind_and_drop_privileges(0o755)
        self.assertEqual(self.owner.unlink(self.path), errno.EACCES)
        self.assertEqual(self.owner.rename(self.path, self.path + "2"), errno.EACCES)
        self.assertEqual(self.owner.remove(self.path), errno.EACCES)
        self.assertServes(self.owner, self.fd)
        self.assertEqual(self.owner.stderr(), "")

    @needs_root
    def test_in_a_directory_writable_by_all(self):
        self.bind_and_drop_privileges(0o777)
        self.assertEqual(self.owner.rename(self.path, self.path + "2"), 0)
        self.assertEqual(self.owner.unlink(self.path + "2"), 0)
        self.assertEqual((self.names(), self.owner.stderr()), ([], ""))

    @needs_root
    def test_in_a_sticky_directory(self):
        self.bind_and_drop_privileges(0o1777)
        self.assertEqual(self.owner.unlink(self.path), errno.EPERM)
        self.assertEqual(self.owner.rename(self.path, self.path + "2"), errno.EPERM)
        self.assertServes(self.owner, self.fd)
        self.assertEqual(self.owner.stderr(), "")

    @needs_root
    def test_in_a_user_namespace(self):
        """The owner's uid is unmapped there, but the owner may still unlink its socket."""
        self.owner = Actor(self, guard=self.guard)
        self.fd = self.owner.serve(self.path)
        self.owner.unshare("user")
        self.assertServes(self.owner, self.fd)
        self.assertEqual(self.owner.rename(self.path, self.path + "2"), 0)
        self.assertEqual(self.owner.unlink(self.path + "2"), 0)
        self.assertEqual((self.names(), self.owner.stderr()), ([], ""))


class OtherRootsAndNamespaces:
    """The rival or the owner has another root directory, or is in other namespaces."""

    def setUp(self):
        super().setUp()
        self.owner, self.rival = Actor(self, guard=self.guard), Actor(self, guard=self.guard)

    def assert_refused_if_guarded(self, path=None):
        self.assertRefusedIfGuarded(lambda: self.rival.unlink(path or self.path),
                                    self.owner, self.fd)

    def finish(self, path):
        """The owner unlinks the socket, at the path that it sees."""
        if self.guard:
            self.assertEqual(self.owner.unlink(path), 0)
            self.assertEqual(self.names(), [])
        self.assertNotIn("busy", self.rival.stderr())

    @needs_root
    def test_owner_chrooted_before_the_bind(self):
        """The new root has no /proc."""
        self.owner.chroot(self.dir)
        self.fd = self.owner.serve("/app.sock")
        self.assert_refused_if_guarded()
        self.finish("/app.sock")

    @needs_root
    def test_owner_chrooted_after_the_bind(self):
        self.fd = self.owner.serve(self.path)
        self.owner.chroot(self.dir)
        self.assert_refused_if_guarded()
        self.finish("/app.sock")

    @needs_root
    def test_both_chrooted(self):
        self.owner.chroot(self.dir)
        self.rival.chroot(self.dir)
        self.fd = self.owner.serve("/app.sock")
        self.assert_refused_if_guarded("/app.sock")
        self.finish("/app.sock")

    @needs_root
    def test_rival_chrooted(self):
        self.fd = self.owner.serve(self.path)
        self.rival.chroot(self.dir)
        self.assert_refused_if_guarded("app.sock")
        self.finish(self.path)

    @needs_root
    def test_rival_in_a_user_namespace(self):
        self.fd = self.owner.serve(self.path)
        self.rival.unshare("user")
        self.assert_refused_if_guarded()
        self.finish(self.path)

    @needs_root
    def test_owner_in_a_pid_namespace(self):
        """The record's pid is of another PID namespace, so the rival must not look it up."""
        self.owner.unshare("pid")
        self.owner = self.owner.fork()
        self.fd = self.owner.serve(self.path)
        self.assert_refused_if_guarded()
        self.finish(self.path)

    @needs_root
    def test_rival_in_every_namespace(self):
        self.fd = self.owner.serve(self.path)
        for kind in ("user", "net", "mounts", "pid"):
            self.rival.unshare(kind)
        self.rival = self.rival.fork()
        self.assert_refused_if_guarded()
        self.finish(self.path)

    @needs_root
    def test_the_same_directory_at_two_paths(self):
        other = os.path.join(self.dir, "other")
        here = os.path.join(self.dir, "here")
        os.mkdir(other)
        os.mkdir(here)
        self.path = os.path.join(here, "app.sock")
        self.owner.unshare_mounts()
        self.owner.mount(here, other, "", MS_BIND)
        self.fd = self.owner.serve(os.path.join(other, "app.sock"))
        self.assert_refused_if_guarded()
        if self.guard:
            self.assertEqual(self.owner.unlink(self.path), 0)
        self.assertEqual(os.listdir(here), [])

    def test_owner_bound_through_a_symlink(self):
        linked = os.path.join(self.dir, "linked")
        real = os.path.join(self.dir, "real")
        os.mkdir(real)
        os.symlink(real, linked)
        self.path = os.path.join(real, "app.sock")
        self.fd = self.owner.serve(os.path.join(linked, "app.sock"))
        self.assert_refused_if_guarded()
        if self.guard:
            self.assertEqual(self.owner.unlink(os.path.join(linked, "app.sock")), 0)
        self.assertEqual(os.listdir(real), [])


class ReadOnly:
    @needs_root
    def test_remounted_read_only_after_the_bind(self):
        """unlink fails with EROFS until the mount is writable again."""
        owner = Actor(self, guard=self.guard)
        fd = owner.serve(self.path)
        owner.mount_read_only(self.dir)
        self.assertEqual(owner.unlink(self.path), errno.EROFS)
        self.assertEqual(owner.rename(self.path, self.path + "2"), errno.EROFS)
        self.assertServes(owner, fd)
        owner.mount("none", self.dir, "", MS_BIND | MS_REMOUNT)
        self.assertEqual(owner.unlink(self.path), 0)
        self.assertEqual((self.names(), owner.stderr()), ([], ""))

    @needs_root
    def test_file_system_read_only_after_the_bind(self):
        small = os.path.join(self.dir, "small")
        os.mkdir(small)
        owner = Actor(self, guard=self.guard)
        owner.unshare_mounts()
        owner.mount("none", small, "tmpfs")
        fd = owner.serve(os.path.join(small, "s"))
        # The claim's descriptor is open for writing, which would prevent the remount.
        claims = [number for number, name in owner.descriptors() if name.endswith(".sockguard")]
        for number in claims:
            owner.close(number)
        owner.mount("none", small, "", MS_REMOUNT | MS_RDONLY)
        self.assertEqual(owner.unlink(os.path.join(small, "s")), errno.EROFS)
        self.assertServes(owner, fd, f"/proc/{owner.pid}/root{small}/s")
        self.assertEqual(owner.stderr(), "")

    @needs_root
    def test_file_system_without_free_space(self):
        """A lock file can be created, but no record can be written to it."""
        small = os.path.join(self.dir, "small")
        os.mkdir(small)
        owner = Actor(self, guard=self.guard)
        owner.unshare_mounts()
        owner.mount("none", small, "tmpfs", 0, "size=4k")
        root = f"/proc/{owner.pid}/root{small}"
        with open(os.path.join(root, "full"), "wb") as full:
            full.write(bytes(4096))
        fd = owner.serve(os.path.join(small, "s"))
        outside = os.path.join(root, "s")
        rival = Actor(self, guard=self.guard)
        self.assertRefusedIfGuarded(lambda: rival.unlink(outside), owner, fd, outside)
        if self.guard:
            self.assertEqual(owner.unlink(os.path.join(small, "s")), 0)
        self.assertEqual(os.listdir(root), ["full"])


@needs_root
class Overlay:
    """The lower and upper directories are on a tmpfs in the actors' own mount namespace."""

    def setUp(self):
        super().setUp()
        self.mounter = Actor(self, guard=self.guard)
        self.mounter.unshare_mounts()
        self.mounter.mount("none", self.dir, "tmpfs")
        for name in ("lower", "upper", "work", "merged"):
            os.mkdir(self.seen_by_test(name))
        self.path = os.path.join(self.dir, "merged", "s")

    def seen_by_test(self, *names):
        return os.path.join(f"/proc/{self.mounter.pid}/root{self.dir}", *names)

    def mount_overlay(self):
        parts = {name: os.path.join(self.dir, name) for name in ("lower", "upper", "work")}
        self.mounter.mount("none", os.path.join(self.dir, "merged"), "overlay", 0,
                           "lowerdir={lower},upperdir={upper},workdir={work}".format(**parts))

    def start_actor(self):
        """A process in the same mount namespace, unrelated to any owner."""
        child = self.mounter.fork()
        self.assertEqual(child.execute_again(), 0)
        return child

    def test_socket_in_the_upper_directory(self):
        self.mount_overlay()
        owner, rival = self.start_actor(), self.start_actor()
        fd = owner.serve(self.path)
        self.assertRefusedIfGuarded(lambda: rival.unlink(self.path),
                                    owner, fd, self.seen_by_test("merged", "s"))
        if self.guard:
            self.assertEqual(owner.rename(self.path, self.path + "2"), 0)
            self.assertEqual(owner.unlink(self.path + "2"), 0)
        self.assertEqual(os.listdir(self.seen_by_test("merged")), [])
        self.assertEqual(os.listdir(self.seen_by_test("upper")), [])

    def test_stale_socket_in_the_lower_directory(self):
        """Unlinking it leaves a whiteout, and the path can be bound again."""
        self.make_stale(self.seen_by_test("lower", "s"))
        self.mount_overlay()
        owner, rival = self.start_actor(), self.start_actor()
        self.assertEqual(owner.unlink(self.path), 0)
        self.assertEqual(os.listdir(self.seen_by_test("merged")), [])
        self.assertEqual(os.listdir(self.seen_by_test("upper")), ["s"])
        fd = owner.serve(self.path)
        self.assertRefusedIfGuarded(lambda: rival.unlink(self.path),
                                    owner, fd, self.seen_by_test("merged", "s"))
        if self.guard:
            self.assertEqual(owner.unlink(self.path), 0)
        self.assertEqual(os.listdir(self.seen_by_test("merged")), [])

    def test_live_socket_in_the_lower_directory(self):
        """The path in the merged directory does not lead to the live socket; it is stale."""
        owner = self.start_actor()
        fd = owner.serve(os.path.join(self.dir, "lower", "s"))
        self.mount_overlay()
        rival = self.start_actor()
        self.assertFalse(self.serves(owner, fd, self.seen_by_test("merged", "s")))
        self.assertEqual(rival.unlink(self.path), 0)
        self.assertServes(rival, rival.serve(self.path), self.seen_by_test("merged", "s"))
        self.assertServes(owner, fd, self.seen_by_test("lower", "s"))


@needs_root
class ProtectedSysctls(SocketCase):
    """A sticky directory of root's, with the fs.protected_* sysctls that systemd sets."""

    SYSCTLS = {"protected_regular": "2", "protected_fifos": "2", "protected_hardlinks": "1"}

    def setUp(self):
        super().setUp()
        for name, value in self.SYSCTLS.items():
            self.set_sysctl(os.path.join("/proc/sys/fs", name), value)
        os.chmod(self.dir, 0o1777)

    def set_sysctl(self, path, value):
        with open(path) as current:
            before = current.read()
        if before.strip() == value:
            return
        try:
            with open(path, "w") as file:
                file.write(value)
        except OSError as error:
            raise unittest.SkipTest(f"{path} is {before.strip()} and cannot be set: {error}")
        self.addCleanup(self.restore_sysctl, path, before)

    def restore_sysctl(self, path, value):
        with open(path, "w") as file:
            file.write(value)

    def start_as(self, uid):
        actor = Actor(self, guard=True)
        if uid:
            actor.change_user(uid)
        return actor

    def check_owner_and_rival(self, owner_uid, rival_uid):
        """An owner makes each call, a rival tries to steal, and the owner crashes and restarts."""
        owner, rival = self.start_as(owner_uid), self.start_as(rival_uid)
        away = os.path.join(self.dir, "away")
        fd = owner.serve(self.path)
        before = self.identity()
        self.assertIn(rival.unlink(self.path), (errno.EPERM, errno.EADDRINUSE))
        self.assertIn(rival.rename(self.path, away), (errno.EPERM, errno.EADDRINUSE))
        self.assertEqual(self.identity(), before)
        self.assertServes(owner, fd)
        self.assertNotIn("busy", rival.stderr())
        self.assertEqual(owner.rename(self.path, away), 0)
        self.assertEqual(owner.rename(away, self.path), 0)
        self.assertEqual(owner.link(self.path, away), 0)
        self.assertEqual(owner.unlink(away), 0)
        self.assertEqual(owner.unlink(self.path), 0)
        self.assertEqual(self.names(), [])
        owner.serve(self.path)
        owner.kill()
        successor = self.start_as(owner_uid)
        self.assertEqual(successor.unlink(self.path), 0)
        self.assertServes(successor, successor.serve(self.path))
        self.assertEqual(successor.unlink(self.path), 0)
        self.assertEqual((self.names(), successor.stderr(), owner.stderr()), ([], "", ""))

    def test_two_ordinary_users(self):
        self.check_owner_and_rival(STRANGER, OTHER_USER)

    def test_users_socket_and_root_as_rival(self):
        self.check_owner_and_rival(STRANGER, 0)

    def test_roots_socket_and_a_rival_user(self):
        self.check_owner_and_rival(0, STRANGER)

    def test_lock_file_planted_by_another_user(self):
        """A file that another user creates at the lock file's path obstructs no process."""
        for make in (lambda path: os.close(os.open(path, os.O_CREAT, 0o666)), os.mkfifo):
            make(self.lock_file_path())
            os.chmod(self.lock_file_path(), 0o666)
            os.chown(self.lock_file_path(), OTHER_USER, OTHER_USER)
            owner, rival = self.start_as(STRANGER), self.start_as(STRANGER)
            fd = owner.serve(self.path)
            self.assertRefused(lambda: rival.unlink(self.path), owner, fd)
            self.assertEqual(owner.unlink(self.path), 0)
            self.assertEqual(owner.stderr(), "")
            self.assertEqual(os.stat(self.lock_file_path()).st_size, 0)
            os.unlink(self.lock_file_path())


for mixin in (DroppedPrivileges, OtherRootsAndNamespaces, ReadOnly, Overlay):
    define_counterparts(globals(), mixin)

if __name__ == "__main__":
    sys.exit(harness.main())
