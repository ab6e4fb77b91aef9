"""The lock file is created and removed with the socket. Without it, paths are still protected."""

import errno
import os
import random
import stat
import sys
import time

import harness
from actor import (KINDS, OTHER_USER, STRANGER, Actor, SocketCase, address, define_counterparts,
                   needs_root)

ACTORS, ROUNDS = 8, 100
MAX_IDLE_CLAIMS = 2 if harness.SUPERVISED else 0  # a call concerns at most two paths
START_DELAY = 3_000_000  # ns from sending the commands until the actors run them


class Lifecycle(SocketCase):
    """When a lock file is created and removed, also after a crash of the owner."""

    def setUp(self):
        super().setUp()
        self.owner = Actor(self, guard=True)
        self.rival = Actor(self, guard=True)

    def test_created_and_removed_with_the_socket(self):
        for kind in KINDS:
            self.owner.serve(self.path, kind)
            self.assertEqual(self.names(), [".app.sock.sockguard", "app.sock"])
            self.assertEqual(self.owner.unlink(self.path), 0)
            self.assertEqual(self.names(), [])

    def test_refusals_leave_no_file_if_the_owner_is_unguarded(self):
        owner = Actor(self)
        fd = owner.serve(self.path)
        for _ in range(10):
            self.assertRefused(lambda: self.rival.unlink(self.path), owner, fd)
        self.assertEqual(owner.unlink(self.path), 0)
        self.assertEqual(self.names(), [])

    def test_a_failed_bind_leaves_no_file(self):
        directory = os.path.join(self.dir, "directory")
        os.mkdir(directory)
        for path in (directory, os.path.join(self.dir, "absent", "x"), self.dir + "/"):
            self.assertNotEqual(self.owner.bind(self.owner.socket("stream"), path), 0)
        self.assertEqual(self.names(), ["directory"])

    def test_no_lock_file_for_files_other_than_sockets(self):
        self.owner.unlink(self.write_file("file"))
        self.owner.unlink(self.path)
        self.owner.rename(self.write_file("one"), os.path.join(self.dir, "two"))
        self.assertEqual(self.names(), ["two"])

    def test_left_by_a_crash_with_the_socket(self):
        """It does not prevent a start, and the next owner removes it with the socket."""
        self.owner.serve(self.path)
        self.owner.kill()
        self.assertEqual(self.names(), [".app.sock.sockguard", "app.sock"])
        self.assertEqual(self.rival.unlink(self.path), 0)
        fd = self.rival.serve(self.path)
        self.assertServes(self.rival, fd)
        self.assertEqual(self.rival.unlink(self.path), 0)
        self.assertEqual(self.names(), [])

    def test_left_by_a_crash_without_the_socket(self):
        """An administrator removed the socket, but not the lock file."""
        self.owner.serve(self.path)
        self.owner.kill()
        os.unlink(self.path)
        fd = self.rival.serve(self.path)
        self.assertServes(self.rival, fd)
        self.assertEqual(self.rival.unlink(self.path), 0)
        self.assertEqual(self.names(), [])

    def test_mode(self):
        for mask in (0o022, 0o777, 0):
            self.owner.umask(mask)
            self.owner.serve(self.path)
            found = os.lstat(self.lock_file_path())
            self.assertTrue(stat.S_ISREG(found.st_mode))
            self.assertEqual(oct(stat.S_IMODE(found.st_mode)), oct(0o600))
            self.assertEqual(self.owner.umask(mask), mask)
            self.assertEqual(self.owner.unlink(self.path), 0)

    def test_many_temporary_paths(self):
        """Clients of datagram servers bind thousands of temporary paths."""
        for number in range(300):
            path = os.path.join(self.dir, f"client{number}")
            fd = self.owner.serve(path, "dgram")
            self.owner.unlink(path)
            self.owner.close(fd)
        self.assertEqual(self.names(), [])


class Descriptors(SocketCase):
    """The guard does not change the descriptors that a program sees."""

    def test_refusals_leak_no_descriptor(self):
        owner, rival = Actor(self, guard=True), Actor(self, guard=True)
        owner.serve(self.path)
        before = owner.descriptors(), rival.descriptors()
        for _ in range(100):
            self.assertEqual(rival.unlink(self.path), errno.EADDRINUSE)
            self.assertEqual(rival.rename(self.path, self.path + "x"), errno.EADDRINUSE)
            self.assertNotEqual(rival.link(self.path, self.path), 0)
        self.assertEqual((owner.descriptors(), rival.descriptors()), before)

    def test_binds_leak_no_descriptor(self):
        """A supervisor cannot close a claim: an idle one stays open until the next replaces it."""
        owner = Actor(self, guard=True)
        other = os.path.join(self.dir, "other")
        before = owner.descriptors()
        for _ in range(100):
            fd = owner.serve(self.path)
            self.assertEqual(owner.rename(self.path, other), 0)
            self.assertEqual(owner.link(other, self.path), 0)
            self.assertEqual(owner.unlink(other), 0)
            self.assertEqual(owner.unlink(self.path), 0)
            owner.close(fd)
        idle = [one for one in owner.descriptors() if one not in before]
        self.assertLessEqual(len(idle), MAX_IDLE_CLAIMS, idle)
        for _, target in idle:
            self.assertRegex(target, r"/\.\w+(\.sock)?\.sockguard \(deleted\)\Z")
        self.assertEqual([one for one in owner.descriptors() if one not in idle], before)

    def test_descriptor_numbers_are_unchanged(self):
        """The claim's descriptor has a high number, and is close-on-exec."""
        owner = Actor(self, guard=True)
        self.assertEqual(owner.serve(self.path), 3)
        self.assertEqual(owner.socket("stream"), 4)
        self.assertEqual(owner.execute_again(), 0)
        self.assertEqual([fd for fd, _ in owner.descriptors()], [0, 1, 2])


class LockFileReplaced:
    """Another process replaces or removes the lock file of a running owner."""

    def setUp(self):
        super().setUp()
        self.victim = self.write_file("victim", "precious")
        self.owner = Actor(self, guard=self.guard)
        self.rival = Actor(self, guard=self.guard)
        self.fd = self.owner.serve(self.path)
        if os.path.exists(self.lock_file_path()):
            os.unlink(self.lock_file_path())

    def tearDown(self):
        with open(self.victim) as file:
            self.assertEqual(file.read(), "precious")
        super().tearDown()

    def expect_still_protected(self):
        """No rival steals the path. The owner and the next owner can still use it."""
        self.assertRefusedIfGuarded(lambda: self.rival.unlink(self.path), self.owner, self.fd)
        if not self.guard:
            return
        self.assertRefused(lambda: self.rival.rename(self.path, self.path + "x"),
                           self.owner, self.fd)
        self.assertEqual(self.owner.unlink(self.path), 0)
        self.owner.serve(self.path)
        self.owner.kill()
        self.assertEqual(self.rival.unlink(self.path), 0)
        fd = self.rival.serve(self.path)
        self.assertServes(self.rival, fd)
        third = Actor(self, guard=True)
        self.assertRefused(lambda: third.unlink(self.path), self.rival, fd)
        self.assertEqual(self.rival.unlink(self.path), 0)

    def test_lock_file_removed(self):
        self.expect_still_protected()
        self.assertEqual(self.names(), ["victim"])

    def test_lock_file_removed_before_the_owner_unlinks(self):
        self.assertEqual(self.owner.unlink(self.path), 0)
        self.assertEqual(self.names(), ["victim"])

    def test_lock_file_removed_while_only_a_worker_holds_the_socket(self):
        """The owner has closed its socket. The worker still holds it, so the rival is refused."""
        worker = self.owner.fork()
        self.owner.close(self.fd)
        self.assertRefusedIfGuarded(lambda: self.rival.unlink(self.path), worker, self.fd)

    def test_empty_file(self):
        self.write_file(".app.sock.sockguard")
        self.expect_still_protected()

    def test_random_bytes(self):
        with open(self.lock_file_path(), "wb") as out:
            out.write(random.Random(1).randbytes(100_000))
        self.expect_still_protected()

    def test_huge_file(self):
        with open(self.lock_file_path(), "wb") as out:
            out.truncate(1 << 40)
        self.expect_still_protected()

    def test_text_without_a_newline(self):
        self.write_file(".app.sock.sockguard", "9" * 4096)
        self.expect_still_protected()

    def test_symlink_to_another_file(self):
        os.symlink(self.victim, self.lock_file_path())
        self.expect_victim_unchanged()

    def test_hard_link_to_another_file(self):
        os.link(self.victim, self.lock_file_path())
        self.expect_victim_unchanged()

    def test_second_link_to_the_lock_file(self):
        """If fs.protected_hardlinks is 0, any user can create one."""
        self.assertEqual(self.owner.unlink(self.path), 0)
        self.fd = self.owner.serve(self.path)
        if self.guard:
            os.link(self.lock_file_path(), os.path.join(self.dir, "second"))
        self.expect_still_protected()

    def expect_victim_unchanged(self):
        before = os.stat(self.victim)
        self.expect_still_protected()
        after = os.stat(self.victim)
        for what in ("st_mode", "st_uid", "st_size", "st_mtime_ns"):
            self.assertEqual(getattr(after, what), getattr(before, what))

    def test_dangling_symlink(self):
        target = os.path.join(self.dir, "made")
        os.symlink(target, self.lock_file_path())
        self.expect_still_protected()
        self.assertFalse(os.path.exists(target))

    def test_directory(self):
        os.mkdir(self.lock_file_path())
        self.expect_still_protected()
        self.assertTrue(os.path.isdir(self.lock_file_path()))

    def test_fifo(self):
        os.mkfifo(self.lock_file_path())
        self.expect_still_protected()

    def test_socket(self):
        self.make_stale(self.lock_file_path())
        self.expect_still_protected()

    @needs_root
    def test_device(self):
        os.mknod(self.lock_file_path(), stat.S_IFCHR | 0o600, os.makedev(1, 7))  # /dev/full
        self.expect_still_protected()


class NoLockFile(SocketCase):
    """A process cannot create or open the lock file. No path is stolen, and starts still work."""

    def test_live_name_too_long_for_a_suffix(self):
        """Such names result from rename(2): bind(2) accepts 108 bytes."""
        long = os.path.join(self.dir, "n" * 250)
        for guard in (False, True):
            owner = Actor(self, guard=guard)
            fd = owner.serve(self.path)
            self.assertEqual(owner.rename(self.path, long), 0)
            os.symlink(long, self.path)  # for clients
            rival = Actor(self, guard=True)
            before = self.identity(long)
            self.assertEqual(rival.unlink(long), errno.EADDRINUSE)
            self.assertEqual(rival.rename(long, self.path + "x"), errno.EADDRINUSE)
            self.assertEqual(rival.rename(self.write_file("x"), long), errno.EADDRINUSE)
            self.assertEqual(self.identity(long), before)
            self.assertServes(owner, fd)
            os.unlink(self.path)
            os.unlink(os.path.join(self.dir, "x"))
            self.assertEqual(owner.unlink(long), 0)
            self.assertEqual(self.names(), [])

    def test_stale_name_too_long_for_a_suffix(self):
        long = os.path.join(self.dir, "n" * 250)
        self.make_stale()
        os.rename(self.path, long)
        self.assertEqual(Actor(self, guard=True).unlink(long), 0)
        self.assertEqual(self.names(), [])

    @needs_root
    def test_read_only_mount(self):
        owner, rival = Actor(self, guard=True), Actor(self, guard=True)
        fd = owner.serve(self.path)
        rival.mount_read_only(self.dir)
        before = self.identity()
        self.assertIn(rival.unlink(self.path), (errno.EROFS, errno.EADDRINUSE))
        self.assertIn(rival.rename(self.path, self.path + "x"), (errno.EROFS, errno.EADDRINUSE))
        self.assertEqual(self.identity(), before)
        self.assertServes(owner, fd)
        owner.kill()
        self.assertEqual(rival.unlink(self.path), errno.EROFS)

    @needs_root
    def test_directory_not_writable(self):
        owner, rival = Actor(self, guard=True), Actor(self, guard=True)
        fd = owner.serve(self.path)
        rival.change_user(STRANGER)
        before = self.identity()
        self.assertIn(rival.unlink(self.path), (errno.EACCES, errno.EADDRINUSE))
        self.assertEqual(self.identity(), before)
        self.assertServes(owner, fd)
        owner.kill()
        self.assertEqual(rival.unlink(self.path), errno.EACCES)

    @needs_root
    def test_sticky_directory_of_another_user(self):
        """In directories such as /tmp, a user cannot open or remove another user's lock file."""
        os.chmod(self.dir, 0o1777)
        owner, rival = Actor(self, guard=True), Actor(self, guard=True)
        owner.change_user(STRANGER)
        rival.change_user(OTHER_USER)
        fd = owner.serve(self.path)
        before = self.identity()
        self.assertIn(rival.unlink(self.path), (errno.EPERM, errno.EADDRINUSE))
        self.assertEqual(self.identity(), before)
        self.assertServes(owner, fd)
        self.assertEqual(owner.unlink(self.path), 0)
        self.assertEqual(self.names(), [])
        fd = rival.serve(self.path)
        self.assertServes(rival, fd)
        self.assertEqual(rival.unlink(self.path), 0)
        self.assertEqual(self.names(), [])

    @needs_root
    def test_lock_file_of_another_user_in_a_sticky_directory(self):
        """A user who creates the lock file first must not prevent others from starting."""
        os.chmod(self.dir, 0o1777)
        os.close(os.open(self.lock_file_path(), os.O_CREAT, 0o600))
        owner, rival = Actor(self, guard=True), Actor(self, guard=True)
        owner.change_user(STRANGER)
        rival.change_user(STRANGER)
        fd = owner.serve(self.path)
        self.assertRefused(lambda: rival.unlink(self.path), owner, fd)
        self.assertEqual(owner.unlink(self.path), 0)
        owner.serve(self.path)
        owner.kill()
        self.assertEqual(rival.unlink(self.path), 0)
        self.assertEqual(self.names(), [".app.sock.sockguard"])

    @needs_root
    def test_unreadable_lock_file(self):
        """Not even the user to whom the lock file belongs may open it."""
        os.chown(self.dir, STRANGER, STRANGER)
        owner, rival, unguarded = (Actor(self, guard=guard) for guard in (True, True, False))
        for actor in (owner, rival, unguarded):
            actor.change_user(STRANGER)
        os.close(os.open(self.lock_file_path(), os.O_CREAT, 0o600))
        os.chown(self.lock_file_path(), STRANGER, STRANGER)
        os.chmod(self.lock_file_path(), 0)
        fd = owner.serve(self.path)
        self.assertRefused(lambda: rival.unlink(self.path), owner, fd)
        self.assertStolen(lambda: unguarded.unlink(self.path), owner, fd)
        owner.serve(self.path)
        owner.kill()
        self.assertEqual(rival.unlink(self.path), 0)

    @needs_root
    def test_file_system_full(self):
        """The file system has one free inode, which the socket needs."""
        owner, rival = Actor(self, guard=True), Actor(self, guard=True)
        small = os.path.join(self.dir, "small")
        os.mkdir(small)
        owner.unshare_mounts()
        owner.mount("none", small, "tmpfs", 0, "nr_inodes=2")
        root = f"/proc/{owner.pid}/root{small}"  # for processes outside
        path = os.path.join(small, "s")
        fd = owner.serve(path)
        self.assertEqual(os.listdir(root), ["s"])
        outside = os.path.join(root, "s")
        self.assertRefused(lambda: rival.unlink(outside), owner, fd, outside)
        self.assertEqual(owner.unlink(path), 0)
        self.assertEqual(os.listdir(root), [])

    def test_owner_without_a_free_descriptor(self):
        """All descriptors that the limit allows are in use when the owner unlinks."""
        owner = Actor(self, guard=True, preexec_fn=limit_descriptors)
        owner.serve(self.path)
        try:
            while True:
                owner.socket("stream")
        except OSError as error:
            self.assertEqual(error.errno, errno.EMFILE)
        self.assertEqual(owner.unlink(self.path), 0)
        self.assertEqual(self.names(), [])

    def test_rival_without_a_free_descriptor(self):
        owner = Actor(self, guard=True)
        fd = owner.serve(self.path)
        rival = Actor(self, guard=True, preexec_fn=limit_descriptors)
        try:
            while True:
                rival.socket("stream")
        except OSError:
            pass
        self.assertRefused(lambda: rival.unlink(self.path), owner, fd)


def limit_descriptors():
    import resource
    resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24))


class SimultaneousStarts:
    """Many processes start at the same time. One binds the path, and the others are refused."""

    def setUp(self):
        super().setUp()
        self.actors = [Actor(self, guard=self.guard) for _ in range(ACTORS)]

    def run_at_once(self, command):
        """Runs command(actor) in all actors at the same time; returns their answers."""
        when = time.monotonic_ns() + START_DELAY
        for actor in self.actors:
            actor.send_command("at", when, *command(actor))
        return {actor: actor.read_answer() for actor in self.actors}

    def check_round(self, sockets, outcomes):
        """Returns a winner of the round, and how many other winners lost the path again."""
        winners = [actor for actor in self.actors if outcomes[actor][0] == 0]
        reached = [actor for actor in winners if self.serves(actor, sockets[actor])]
        if self.guard:
            self.assertEqual(len(winners), 1, outcomes.values())
            self.assertEqual(reached, winners)
            for result, error, unlinked in outcomes.values():
                self.assertIn(int(unlinked or 0), (0, errno.ENOENT, errno.EADDRINUSE))
                if result < 0:
                    self.assertEqual(error, errno.EADDRINUSE)
        return winners[0], len(winners) - len(reached)

    def run_rounds(self, rounds=ROUNDS, between=lambda winner: None):
        """In each round, all actors unlink, bind and listen; then between(winner) is called."""
        thefts = 0
        raw = address(self.path)
        for _ in range(rounds):
            sockets = {actor: actor.socket("stream") for actor in self.actors}
            outcomes = self.run_at_once(lambda actor: ("start", self.path, sockets[actor],
                                                       raw.hex(), len(raw)))
            winner, lost = self.check_round(sockets, outcomes)
            thefts += lost
            between(winner)
            for actor in self.actors:
                if actor in sockets:
                    actor.close(sockets[actor])
        self.expect_thefts_unless_guarded(thefts)

    def expect_thefts_unless_guarded(self, thefts):
        if self.guard:
            self.assertEqual(thefts, 0)
        else:
            self.assertGreater(thefts, 0)

    def test_over_a_stale_path(self):
        self.make_stale()
        self.run_rounds()

    def test_over_a_stale_path_without_a_lock_file(self):
        def between(_):
            if os.path.exists(self.lock_file_path()):
                os.unlink(self.lock_file_path())
        self.make_stale()
        self.run_rounds(between=between)

    def test_on_an_absent_path(self):
        self.run_rounds(between=lambda winner: winner.unlink(self.path))
        if self.guard:
            self.assertEqual(self.names(), [])

    def test_after_kill(self):
        """The owner of each round is killed, and a new process replaces it."""
        def between(winner):
            winner.kill()
            self.actors[self.actors.index(winner)] = Actor(self, guard=self.guard)
        self.make_stale()
        self.run_rounds(rounds=ROUNDS // 4, between=between)

    def test_rename_of_own_sockets_to_the_path(self):
        """Each actor binds another path and renames it to the common one."""
        own = {actor: os.path.join(self.dir, f"own{actor.pid}") for actor in self.actors}
        thefts = 0
        for _ in range(ROUNDS // 2):
            sockets = {actor: actor.serve(own[actor]) for actor in self.actors}
            outcomes = self.run_at_once(lambda actor: ("rename", own[actor], self.path))
            winner, lost = self.check_round(sockets, outcomes)
            thefts += lost
            self.assertEqual(winner.unlink(self.path), 0)
            for actor in self.actors:
                actor.unlink(own[actor])
                actor.close(sockets[actor])
        self.expect_thefts_unless_guarded(thefts)
        if self.guard:
            self.assertEqual(self.names(), [])


define_counterparts(globals(), LockFileReplaced)
define_counterparts(globals(), SimultaneousStarts)

if __name__ == "__main__":
    sys.exit(harness.main())
