"""The lock file comes and goes with the socket, and whatever becomes of it the promise holds."""

import errno
import os
import random
import stat
import sys
import time

import harness
from actor import KINDS, OTHER, STRANGER, Actor, SocketCase, address, counterparts, needs_root

ACTORS, ROUNDS = 8, 100
HEAD_START = 3_000_000  # ns between the last word to the actors and their act


class Life(SocketCase):
    """Where nothing goes wrong, and where the owner crashes."""

    def setUp(self):
        super().setUp()
        self.owner = Actor(self, guard=True)
        self.rival = Actor(self, guard=True)

    def test_beside_the_socket_and_gone_with_it(self):
        for kind in KINDS:
            self.owner.serve(self.path, kind)
            self.assertEqual(self.names(), [".app.sock.sockguard", "app.sock"])
            self.assertEqual(self.owner.unlink(self.path), 0)
            self.assertEqual(self.names(), [])

    def test_refusals_leave_nothing_beside_an_unguarded_owner(self):
        owner = Actor(self)
        fd = owner.serve(self.path)
        for _ in range(10):
            self.assertRefused(lambda: self.rival.unlink(self.path), owner, fd)
        self.assertEqual(owner.unlink(self.path), 0)
        self.assertEqual(self.names(), [])

    def test_failed_bind_leaves_nothing(self):
        directory = os.path.join(self.dir, "directory")
        os.mkdir(directory)
        for path in (directory, os.path.join(self.dir, "absent", "x"), self.dir + "/"):
            self.assertNotEqual(self.owner.bind(self.owner.socket("stream"), path), 0)
        self.assertEqual(self.names(), ["directory"])

    def test_nothing_for_names_that_are_no_sockets(self):
        self.owner.unlink(self.file("file"))
        self.owner.unlink(self.path)
        self.owner.rename(self.file("one"), os.path.join(self.dir, "two"))
        self.assertEqual(self.names(), ["two"])

    def test_left_by_a_crash(self):
        """It hinders nobody, and the next owner's clean end takes it away."""
        self.owner.serve(self.path)
        self.owner.kill()
        self.assertEqual(self.names(), [".app.sock.sockguard", "app.sock"])
        self.assertEqual(self.rival.unlink(self.path), 0)
        fd = self.rival.serve(self.path)
        self.assertServes(self.rival, fd)
        self.assertEqual(self.rival.unlink(self.path), 0)
        self.assertEqual(self.names(), [])

    def test_left_by_a_crash_alone(self):
        """The socket's name was removed by hand, the lock file was not."""
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
            found = os.lstat(self.lock())
            self.assertTrue(stat.S_ISREG(found.st_mode))
            self.assertEqual(oct(stat.S_IMODE(found.st_mode)), oct(0o600))
            self.assertEqual(self.owner.umask(mask), mask)
            self.assertEqual(self.owner.unlink(self.path), 0)

    def test_many_names_for_one_use(self):
        """Clients of datagram servers bind throw-away names by the thousand."""
        for number in range(300):
            path = os.path.join(self.dir, f"client{number}")
            fd = self.owner.serve(path, "dgram")
            self.owner.unlink(path)
            self.owner.close(fd)
        self.assertEqual(self.names(), [])


class Descriptors(SocketCase):
    """The program finds its descriptors as it would without the guard."""

    def test_none_leaks_in_refusals(self):
        owner, rival = Actor(self, guard=True), Actor(self, guard=True)
        owner.serve(self.path)
        before = owner.descriptors(), rival.descriptors()
        for _ in range(100):
            self.assertEqual(rival.unlink(self.path), errno.EADDRINUSE)
            self.assertEqual(rival.rename(self.path, self.path + "x"), errno.EADDRINUSE)
            self.assertNotEqual(rival.link(self.path, self.path), 0)
        self.assertEqual((owner.descriptors(), rival.descriptors()), before)

    @harness.preload_only("a supervisor cannot close a claim; the next one takes its number")
    def test_none_leaks_in_binds(self):
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
        self.assertEqual(owner.descriptors(), before)

    def test_numbers_are_as_ever(self):
        """Lowest first; the claim is out of the way, and is not passed on."""
        owner = Actor(self, guard=True)
        self.assertEqual(owner.serve(self.path), 3)
        self.assertEqual(owner.socket("stream"), 4)
        self.assertEqual(owner.execute_again(), 0)
        self.assertEqual([fd for fd, _ in owner.descriptors()], [0, 1, 2])


class Disturbed:
    """The lock file of a living owner is replaced, or cannot be had."""

    def setUp(self):
        super().setUp()
        self.secret = self.file("secret", "precious")
        self.owner = Actor(self, guard=self.guard)
        self.rival = Actor(self, guard=self.guard)
        self.fd = self.owner.serve(self.path)
        if os.path.exists(self.lock()):
            os.unlink(self.lock())

    def tearDown(self):
        with open(self.secret) as file:
            self.assertEqual(file.read(), "precious")
        super().tearDown()

    def expect(self):
        """No theft while the owner lives; no hindrance for it, nor for the next one."""
        self.assertFate(lambda: self.rival.unlink(self.path), self.owner, self.fd)
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

    def test_removed(self):
        self.expect()
        self.assertEqual(self.names(), ["secret"])

    def test_removed_and_the_owner_unlinks_at_once(self):
        self.assertEqual(self.owner.unlink(self.path), 0)
        self.assertEqual(self.names(), ["secret"])

    def test_removed_and_a_worker_holds_the_socket(self):
        """The owner closed its own and has no more than its memory to show."""
        worker = self.owner.fork()
        self.owner.close(self.fd)
        self.assertFate(lambda: self.rival.unlink(self.path), worker, self.fd)

    def test_another_file(self):
        self.file(".app.sock.sockguard")
        self.expect()

    def test_garbage(self):
        with open(self.lock(), "wb") as out:
            out.write(random.Random(1).randbytes(100_000))
        self.expect()

    def test_huge(self):
        with open(self.lock(), "wb") as out:
            out.truncate(1 << 40)
        self.expect()

    def test_text_without_end(self):
        self.file(".app.sock.sockguard", "9" * 4096)
        self.expect()

    def test_symlink_to_a_secret(self):
        os.symlink(self.secret, self.lock())
        self.untouched()

    def test_hard_link_to_a_secret(self):
        os.link(self.secret, self.lock())
        self.untouched()

    def untouched(self):
        before = os.stat(self.secret)
        self.expect()
        after = os.stat(self.secret)
        for what in ("st_mode", "st_uid", "st_size", "st_mtime_ns"):
            self.assertEqual(getattr(after, what), getattr(before, what))

    def test_dangling_symlink(self):
        target = os.path.join(self.dir, "made")
        os.symlink(target, self.lock())
        self.expect()
        self.assertFalse(os.path.exists(target))

    def test_directory(self):
        os.mkdir(self.lock())
        self.expect()
        self.assertTrue(os.path.isdir(self.lock()))

    def test_fifo(self):
        os.mkfifo(self.lock())
        self.expect()

    def test_socket(self):
        self.stale(self.lock())
        self.expect()

    @needs_root
    def test_device(self):
        os.mknod(self.lock(), stat.S_IFCHR | 0o600, os.makedev(1, 7))  # /dev/full
        self.expect()


class Impossible(SocketCase):
    """No lock file is to be had: the kernel's answer alone guards."""

    def test_name_too_long_for_a_suffix(self):
        """Such names come by rename: bind takes 108 bytes."""
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
            self.assertEqual(rival.rename(self.file("x"), long), errno.EADDRINUSE)
            self.assertEqual(self.identity(long), before)
            self.assertServes(owner, fd)
            os.unlink(self.path)
            os.unlink(os.path.join(self.dir, "x"))
            self.assertEqual(owner.unlink(long), 0)
            self.assertEqual(self.names(), [])

    def test_dead_name_too_long_for_a_suffix(self):
        long = os.path.join(self.dir, "n" * 250)
        self.stale()
        os.rename(self.path, long)
        self.assertEqual(Actor(self, guard=True).unlink(long), 0)
        self.assertEqual(self.names(), [])

    @needs_root
    def test_read_only_mount(self):
        owner, rival = Actor(self, guard=True), Actor(self, guard=True)
        fd = owner.serve(self.path)
        rival.read_only(self.dir)
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
        rival.become(STRANGER)
        before = self.identity()
        self.assertIn(rival.unlink(self.path), (errno.EACCES, errno.EADDRINUSE))
        self.assertEqual(self.identity(), before)
        self.assertServes(owner, fd)
        owner.kill()
        self.assertEqual(rival.unlink(self.path), errno.EACCES)

    @needs_root
    def test_foreign_sticky_directory(self):
        """As /tmp: what is somebody else's is not to be removed, nor opened, nor created over."""
        os.chmod(self.dir, 0o1777)
        owner, rival = Actor(self, guard=True), Actor(self, guard=True)
        owner.become(STRANGER)
        rival.become(OTHER)
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
    def test_foreign_lock_file_in_a_sticky_directory(self):
        """Whoever is first there must not keep others from starting."""
        os.chmod(self.dir, 0o1777)
        os.close(os.open(self.lock(), os.O_CREAT, 0o600))
        owner, rival = Actor(self, guard=True), Actor(self, guard=True)
        owner.become(STRANGER)
        rival.become(STRANGER)
        fd = owner.serve(self.path)
        self.assertRefused(lambda: rival.unlink(self.path), owner, fd)
        self.assertEqual(owner.unlink(self.path), 0)
        owner.serve(self.path)
        owner.kill()
        self.assertEqual(rival.unlink(self.path), 0)
        self.assertEqual(self.names(), [".app.sock.sockguard"])

    @needs_root
    def test_unreadable_lock_file(self):
        """One that not even its owner may open."""
        os.chown(self.dir, STRANGER, STRANGER)
        owner, rival, unguarded = (Actor(self, guard=guard) for guard in (True, True, False))
        for actor in (owner, rival, unguarded):
            actor.become(STRANGER)
        os.close(os.open(self.lock(), os.O_CREAT, 0o600))
        os.chown(self.lock(), STRANGER, STRANGER)
        os.chmod(self.lock(), 0)
        fd = owner.serve(self.path)
        self.assertRefused(lambda: rival.unlink(self.path), owner, fd)
        self.assertStolen(lambda: unguarded.unlink(self.path), owner, fd)
        owner.serve(self.path)
        owner.kill()
        self.assertEqual(rival.unlink(self.path), 0)

    @needs_root
    def test_file_system_full(self):
        """Room for the socket's inode and no other."""
        owner, rival = Actor(self, guard=True), Actor(self, guard=True)
        small = os.path.join(self.dir, "small")
        os.mkdir(small)
        owner.leave_mounts()
        owner.mount("none", small, "tmpfs", 0, "nr_inodes=2")
        root = f"/proc/{owner.pid}/root{small}"  # for those outside
        path = os.path.join(small, "s")
        fd = owner.serve(path)
        self.assertEqual(os.listdir(root), ["s"])
        outside = os.path.join(root, "s")
        self.assertRefused(lambda: rival.unlink(outside), owner, fd, outside)
        self.assertEqual(owner.unlink(path), 0)
        self.assertEqual(os.listdir(root), [])

    def test_no_descriptor_to_be_had(self):
        """Every one the owner may have is in use by the time it unlinks."""
        owner = Actor(self, guard=True, preexec_fn=few_descriptors)
        owner.serve(self.path)
        try:
            while True:
                owner.socket("stream")
        except OSError as error:
            self.assertEqual(error.errno, errno.EMFILE)
        self.assertEqual(owner.unlink(self.path), 0)
        self.assertEqual(self.names(), [])

    def test_no_descriptor_for_the_rival(self):
        owner = Actor(self, guard=True)
        fd = owner.serve(self.path)
        rival = Actor(self, guard=True, preexec_fn=few_descriptors)
        try:
            while True:
                rival.socket("stream")
        except OSError:
            pass
        self.assertRefused(lambda: rival.unlink(self.path), owner, fd)


def few_descriptors():
    import resource
    resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24))


class Crowd:
    """Many start at the same instant: one gets the name, the others learn that they did not."""

    def setUp(self):
        super().setUp()
        self.crowd = [Actor(self, guard=self.guard) for _ in range(ACTORS)]

    def at_once(self, command):
        """command(actor) for each of them at one point in time; what each answered."""
        then = time.monotonic_ns() + HEAD_START
        for actor in self.crowd:
            actor.tell("at", then, *command(actor))
        return {actor: actor.heard() for actor in self.crowd}

    def judge_round(self, sockets, outcomes):
        """An owner of this round, and how many there are who were robbed of the name at once."""
        winners = [actor for actor in self.crowd if outcomes[actor][0] == 0]
        reached = [actor for actor in winners if self.answers(actor, sockets[actor])]
        if self.guard:
            self.assertEqual(len(winners), 1, outcomes.values())
            self.assertEqual(reached, winners)
            for result, error, unlinked in outcomes.values():
                self.assertIn(int(unlinked or 0), (0, errno.ENOENT, errno.EADDRINUSE))
                if result < 0:
                    self.assertEqual(error, errno.EADDRINUSE)
        return winners[0], len(winners) - len(reached)

    def starts(self, rounds=ROUNDS, between=lambda winner: None):
        """Rounds of unlink, bind and listen by all: between them, between(the round's owner)."""
        robbed = 0
        raw = address(self.path)
        for _ in range(rounds):
            sockets = {actor: actor.socket("stream") for actor in self.crowd}
            outcomes = self.at_once(lambda actor: ("start", self.path, sockets[actor], raw.hex(),
                                                   len(raw)))
            winner, lost = self.judge_round(sockets, outcomes)
            robbed += lost
            between(winner)
            for actor in self.crowd:
                if actor in sockets:
                    actor.close(sockets[actor])
        self.expect(robbed)

    def expect(self, robbed):
        if self.guard:
            self.assertEqual(robbed, 0)
        else:
            self.assertGreater(robbed, 0)

    def test_over_a_stale_name(self):
        self.stale()
        self.starts()

    def test_over_a_stale_name_without_lock_file(self):
        def between(_):
            if os.path.exists(self.lock()):
                os.unlink(self.lock())
        self.stale()
        self.starts(between=between)

    def test_on_a_fresh_path(self):
        self.starts(between=lambda winner: winner.unlink(self.path))
        if self.guard:
            self.assertEqual(self.names(), [])

    def test_after_kill(self):
        """The owner of each round is killed, and another takes its place."""
        def between(winner):
            winner.kill()
            self.crowd[self.crowd.index(winner)] = Actor(self, guard=self.guard)
        self.stale()
        self.starts(rounds=ROUNDS // 4, between=between)

    def test_by_rename(self):
        """Each binds a name of its own and renames it to the path."""
        own = {actor: os.path.join(self.dir, f"own{actor.pid}") for actor in self.crowd}
        robbed = 0
        for _ in range(ROUNDS // 2):
            sockets = {actor: actor.serve(own[actor]) for actor in self.crowd}
            outcomes = self.at_once(lambda actor: ("rename", own[actor], self.path))
            winner, lost = self.judge_round(sockets, outcomes)
            robbed += lost
            self.assertEqual(winner.unlink(self.path), 0)
            for actor in self.crowd:
                actor.unlink(own[actor])
                actor.close(sockets[actor])
        self.expect(robbed)
        if self.guard:
            self.assertEqual(self.names(), [])


counterparts(globals(), Disturbed)
counterparts(globals(), Crowd)

if __name__ == "__main__":
    sys.exit(harness.main())
