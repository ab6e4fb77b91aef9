"""If an unguarded process unlinks an owner's path, the owner's claim still reserves the path."""

import errno
import os
import sys

import harness
from actor import Actor, SocketCase, define_counterparts


class PathRemoved:
    """The owner is alive, but its path has been unlinked."""

    def setUp(self):
        super().setUp()
        self.owner = Actor(self, guard=self.guard)
        self.fd = self.owner.serve(self.path)
        self.rival = Actor(self, guard=self.guard)
        os.unlink(self.path)  # by this process, which is not guarded

    def bind_as_rival(self):
        """The errno of a bind to the path by the rival."""
        return self.rival.bind(self.rival.socket("stream"), self.path)

    def expect_refused_if_guarded(self, call):
        if self.guard:
            self.assertEqual(call(), errno.EADDRINUSE)
            self.assertNotExists()
        else:
            self.assertEqual(call(), 0)
            self.assertTrue(os.path.lexists(self.path))

    def test_bind(self):
        self.expect_refused_if_guarded(self.bind_as_rival)

    def test_bind_of_a_datagram_socket(self):
        self.expect_refused_if_guarded(
            lambda: self.rival.bind(self.rival.socket("dgram"), self.path))

    def test_bind_to_a_relative_path(self):
        self.rival.chdir(self.dir)
        self.expect_refused_if_guarded(
            lambda: self.rival.bind(self.rival.socket("stream"), "app.sock"))

    def test_bind_after_unlink(self):
        """Like most servers. The unlink fails with ENOENT, as without the guard."""
        self.assertEqual(self.rival.unlink(self.path), errno.ENOENT)
        self.expect_refused_if_guarded(self.bind_as_rival)

    def test_rename_of_a_socket(self):
        other = os.path.join(self.dir, "other.sock")
        fd = self.rival.serve(other)
        self.expect_refused_if_guarded(lambda: self.rival.rename(other, self.path))
        if self.guard:
            self.assertServes(self.rival, fd, other)

    def test_link_of_a_socket(self):
        other = os.path.join(self.dir, "other.sock")
        fd = self.rival.serve(other)
        self.expect_refused_if_guarded(lambda: self.rival.link(other, self.path))
        self.assertServes(self.rival, fd, other)

    def test_claim_held_by_a_child_only(self):
        child = self.owner.fork()
        self.owner.kill()
        self.expect_refused_if_guarded(self.bind_as_rival)
        child.kill()
        if not self.guard:
            os.unlink(self.path)
        self.assert_rival_can_serve()

    def test_repeated_binds(self):
        """A refusal does not affect the next bind."""
        for _ in range(3):
            self.expect_refused_if_guarded(self.bind_as_rival)
            if not self.guard:
                os.unlink(self.path)

    def test_claim_ends_when_the_owner_is_killed(self):
        self.owner.kill()
        self.assert_rival_can_serve()

    def test_claim_ends_when_the_owner_exits(self):
        self.owner.exit()
        self.assert_rival_can_serve()

    def test_owner_closed_its_socket(self):
        """The owner is alive, but no longer holds the socket, so its claim does not count."""
        self.owner.close(self.fd)
        self.assert_rival_can_serve()

    def test_owner_binds_again(self):
        fd = self.owner.serve(self.path)
        self.assertServes(self.owner, fd)
        if self.guard:
            self.assertRefused(lambda: self.rival.unlink(self.path), self.owner, fd)
        self.assertEqual(self.owner.unlink(self.path), 0)
        self.assertEqual(self.names(), [])

    def test_child_of_the_owner_binds_again(self):
        child = self.owner.fork()
        fd = child.serve(self.path)
        self.assertServes(child, fd)

    def test_a_regular_file_may_be_renamed_to_the_path(self):
        """A claim reserves the path for sockets only."""
        self.assertEqual(self.rival.rename(self.write_file("x"), self.path), 0)

    def assert_rival_can_serve(self):
        fd = self.rival.serve(self.path)
        self.assertServes(self.rival, fd)
        self.assertEqual(self.rival.unlink(self.path), 0)
        self.assertEqual(self.names(), [])


class NoClaim(SocketCase):
    """Without a claim or a live socket, a rival may bind to the path."""

    def test_after_the_owner_unlinked_the_path(self):
        owner, successor = Actor(self, guard=True), Actor(self, guard=True)
        owner.serve(self.path)
        self.assertEqual(owner.unlink(self.path), 0)
        fd = successor.serve(self.path)
        self.assertServes(successor, fd)

    def test_after_the_path_and_the_lock_file_were_removed(self):
        """Removing the path and the lock file ends the owner's claim."""
        owner, successor = Actor(self, guard=True), Actor(self, guard=True)
        owner.serve(self.path)
        os.unlink(self.path)
        os.unlink(self.lock_file_path())
        fd = successor.serve(self.path)
        self.assertServes(successor, fd)
        self.assertRefused(lambda: owner.unlink(self.path), successor, fd)

    def test_a_link_does_not_join_the_claim_of_a_former_owner(self):
        """A former owner closed its socket. A rival links a socket to the path, which is absent."""
        owner, rival = Actor(self, guard=True), Actor(self, guard=True)
        owner.close(owner.serve(self.path))
        os.unlink(self.path)
        other = os.path.join(self.dir, "other.sock")
        fd = rival.serve(other)
        self.assertEqual(rival.link(other, self.path), 0)
        self.assertRefused(lambda: owner.unlink(self.path), rival, fd)
        self.assertEqual((rival.unlink(other), rival.unlink(self.path)), (0, 0))
        self.assertEqual(self.names(), [])

    def test_a_stale_path_may_be_replaced_despite_a_claim(self):
        """A child holds the claim, but not the socket. The kernel's answer takes precedence."""
        owner, rival = Actor(self, guard=True), Actor(self, guard=True)
        fd = owner.serve(self.path)
        child = owner.fork()
        child.close(fd)
        owner.kill()
        self.assertEqual(rival.unlink(self.path), 0)
        fd = rival.serve(self.path)
        self.assertServes(rival, fd)
        self.assertRefused(lambda: Actor(self, guard=True).unlink(self.path), rival, fd)
        self.assertRefused(lambda: child.unlink(self.path), rival, fd)


define_counterparts(globals(), PathRemoved)

if __name__ == "__main__":
    sys.exit(harness.main())
