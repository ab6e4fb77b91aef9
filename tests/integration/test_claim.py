"""An owner whose name was removed by somebody unguarded still has its claim on the path."""

import errno
import os
import sys

import harness
from actor import Actor, SocketCase, counterparts


class NameRemoved:
    """The owner lives, its name does not."""

    def setUp(self):
        super().setUp()
        self.owner = Actor(self, guard=self.guard)
        self.fd = self.owner.serve(self.path)
        self.rival = Actor(self, guard=self.guard)
        os.unlink(self.path)  # by this process, which nobody guards

    def attempt(self):
        """The rival's bind of the path; its errno."""
        return self.rival.bind(self.rival.socket("stream"), self.path)

    def expect(self, take):
        if self.guard:
            self.assertEqual(take(), errno.EADDRINUSE)
            self.assertGone()
        else:
            self.assertEqual(take(), 0)
            self.assertTrue(os.path.lexists(self.path))

    def test_bind(self):
        self.expect(self.attempt)

    def test_bind_of_a_datagram_socket(self):
        self.expect(lambda: self.rival.bind(self.rival.socket("dgram"), self.path))

    def test_bind_relative(self):
        self.rival.chdir(self.dir)
        self.expect(lambda: self.rival.bind(self.rival.socket("stream"), "app.sock"))

    def test_bind_after_unlink(self):
        """As servers do it: the unlink finds nothing, as ever."""
        self.assertEqual(self.rival.unlink(self.path), errno.ENOENT)
        self.expect(self.attempt)

    def test_rename_of_a_socket(self):
        other = os.path.join(self.dir, "other.sock")
        fd = self.rival.serve(other)
        self.expect(lambda: self.rival.rename(other, self.path))
        if self.guard:
            self.assertServes(self.rival, fd, other)

    def test_link_of_a_socket(self):
        other = os.path.join(self.dir, "other.sock")
        fd = self.rival.serve(other)
        self.expect(lambda: self.rival.link(other, self.path))
        self.assertServes(self.rival, fd, other)

    def test_held_by_a_fork(self):
        child = self.owner.fork()
        self.owner.kill()
        self.expect(self.attempt)
        child.kill()
        if not self.guard:
            os.unlink(self.path)
        self.assert_free()

    def test_refused_again_and_again(self):
        """A refusal changes nothing for the next one."""
        for _ in range(3):
            self.expect(self.attempt)
            if not self.guard:
                os.unlink(self.path)

    def test_owner_killed(self):
        self.owner.kill()
        self.assert_free()

    def test_owner_exited(self):
        self.owner.exit()
        self.assert_free()

    def test_owner_closed_its_socket(self):
        """The owner lives on, and holds nothing that this name could lead to."""
        self.owner.close(self.fd)
        self.assert_free()

    def test_owner_binds_again(self):
        fd = self.owner.serve(self.path)
        self.assertServes(self.owner, fd)
        if self.guard:
            self.assertRefused(lambda: self.rival.unlink(self.path), self.owner, fd)
        self.assertEqual(self.owner.unlink(self.path), 0)
        self.assertEqual(self.names(), [])

    def test_fork_of_the_owner_binds_again(self):
        child = self.owner.fork()
        fd = child.serve(self.path)
        self.assertServes(child, fd)

    def test_regular_file_may_take_the_free_name(self):
        """A claim is about sockets."""
        self.assertEqual(self.rival.rename(self.file("x"), self.path), 0)

    def assert_free(self):
        fd = self.rival.serve(self.path)
        self.assertServes(self.rival, fd)
        self.assertEqual(self.rival.unlink(self.path), 0)
        self.assertEqual(self.names(), [])


class Unclaimed(SocketCase):
    """No claim, no refusal."""

    def test_after_a_clean_unlink(self):
        owner, next_one = Actor(self, guard=True), Actor(self, guard=True)
        owner.serve(self.path)
        self.assertEqual(owner.unlink(self.path), 0)
        fd = next_one.serve(self.path)
        self.assertServes(next_one, fd)

    def test_after_removal_of_name_and_lock_file(self):
        """Whoever removes both has ended the owner's claim."""
        owner, next_one = Actor(self, guard=True), Actor(self, guard=True)
        owner.serve(self.path)
        os.unlink(self.path)
        os.unlink(self.lock())
        fd = next_one.serve(self.path)
        self.assertServes(next_one, fd)
        self.assertRefused(lambda: owner.unlink(self.path), next_one, fd)

    def test_the_kernel_beats_the_claim(self):
        """A dead name may be replaced, whatever a helper of its owner's still holds."""
        owner, rival = Actor(self, guard=True), Actor(self, guard=True)
        fd = owner.serve(self.path)
        helper = owner.fork()
        helper.close(fd)
        owner.kill()
        self.assertEqual(rival.unlink(self.path), 0)
        fd = rival.serve(self.path)
        self.assertServes(rival, fd)
        self.assertRefused(lambda: Actor(self, guard=True).unlink(self.path), rival, fd)
        self.assertRefused(lambda: helper.unlink(self.path), rival, fd)


counterparts(globals(), NameRemoved)

if __name__ == "__main__":
    sys.exit(harness.main())
