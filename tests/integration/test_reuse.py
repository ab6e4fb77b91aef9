"""SO_REUSEADDR for socket paths: bind replaces a dead name, and nothing else."""

import errno
import os
import sys

import harness
from actor import KINDS, Actor, SocketCase, counterparts


def attempt(actor, path, reuse=False, kind="stream"):
    """Binds a new socket; its descriptor and the errno."""
    fd = actor.socket(kind)
    if reuse:
        actor.reuse(fd)
    return fd, actor.bind(fd, path)


class DeadName:
    """For each kind of socket."""

    def setUp(self):
        super().setUp()
        self.stale(kind=self.kind)

    def attempt(self, reuse, **settings):
        actor = Actor(self, guard=self.guard, settings=settings)
        before = self.identity()
        fd, outcome = attempt(actor, self.path, reuse, self.kind)
        if outcome == 0:
            if self.kind != "dgram":
                actor.listen(fd)
            self.assertServes(actor, fd, kind=self.kind)
            self.assertEqual(actor.unlink(self.path), 0)
            self.assertEqual(self.names(), [])
        else:
            self.assertEqual(self.identity(), before)
            self.assertEqual(self.names(), ["app.sock"])
        return outcome

    def with_guard_only(self):
        return 0 if self.guard else errno.EADDRINUSE

    def test_without(self):
        self.assertEqual(self.attempt(reuse=False), errno.EADDRINUSE)

    def test_with_the_option(self):
        self.assertEqual(self.attempt(reuse=True), self.with_guard_only())

    def test_auto(self):
        self.assertEqual(self.attempt(reuse=False, REUSE="auto"), errno.EADDRINUSE)
        self.assertEqual(self.attempt(reuse=True, REUSE="auto"), self.with_guard_only())

    def test_always(self):
        self.assertEqual(self.attempt(reuse=False, REUSE="always"), self.with_guard_only())

    def test_never(self):
        self.assertEqual(self.attempt(reuse=False, REUSE="never"), errno.EADDRINUSE)
        self.assertEqual(self.attempt(reuse=True, REUSE="never"), errno.EADDRINUSE)


class NoReplacing:
    """What is not a dead socket stays, whatever the options say."""

    def attempt(self):
        """As keen as can be."""
        actor = Actor(self, guard=self.guard, settings={"REUSE": "always"})
        return attempt(actor, self.path, reuse=True)[1]

    def refused(self):
        before, names = self.identity(), self.names()
        self.assertEqual(self.attempt(), errno.EADDRINUSE)
        self.assertEqual((self.identity(), self.names()), (before, names))

    def test_live(self):
        owner = Actor(self, guard=self.guard)
        fd = owner.serve(self.path)
        self.refused()
        self.assertServes(owner, fd)

    def test_live_unguarded(self):
        owner = Actor(self)
        fd = owner.serve(self.path)
        self.refused()
        self.assertServes(owner, fd)

    def test_own_live(self):
        """One's own socket is not dead either."""
        owner = Actor(self, guard=self.guard, settings={"REUSE": "always"})
        fd = owner.serve(self.path)
        self.assertEqual(attempt(owner, self.path, reuse=True)[1], errno.EADDRINUSE)
        self.assertServes(owner, fd)

    def test_regular_file(self):
        self.file("app.sock", "precious")
        self.refused()
        with open(self.path) as file:
            self.assertEqual(file.read(), "precious")

    def test_directory(self):
        os.mkdir(self.path)
        self.refused()

    def test_fifo(self):
        os.mkfifo(self.path)
        self.refused()

    def test_dangling_symlink(self):
        os.symlink(os.path.join(self.dir, "nowhere"), self.path)
        self.refused()

    def test_symlink_to_a_dead_socket(self):
        target = os.path.join(self.dir, "target")
        self.stale(target)
        os.symlink(target, self.path)
        before = self.identity(target)
        self.refused()
        self.assertEqual(self.identity(target), before)

    def test_symlink_to_a_live_socket(self):
        owner = Actor(self, guard=self.guard)
        target = os.path.join(self.dir, "target")
        fd = owner.serve(target)
        os.symlink(target, self.path)
        self.refused()
        self.assertServes(owner, fd)


class Restart(SocketCase):
    """What it is for: servers that only bind."""

    def test_after_kill(self):
        before = Actor(self, guard=True)
        fd, outcome = attempt(before, self.path, reuse=True)
        self.assertEqual(outcome, 0)
        before.listen(fd)
        before.kill()
        after = Actor(self, guard=True)
        fd, outcome = attempt(after, self.path, reuse=True)
        self.assertEqual(outcome, 0)
        after.listen(fd)
        self.assertServes(after, fd)
        rival = Actor(self, guard=True)
        self.assertRefused(lambda: attempt(rival, self.path, reuse=True)[1], after, fd)
        self.assertRefused(lambda: rival.unlink(self.path), after, fd)

    def test_bound_socket_is_not_bound_again(self):
        """Whatever libc says to that, the dead name it was tried on stays."""
        actor = Actor(self, guard=True)
        self.stale()
        other = os.path.join(self.dir, "other.sock")
        fd = actor.serve(other)
        actor.reuse(fd)
        before = self.identity()
        self.assertIn(actor.bind(fd, self.path), (errno.EINVAL, errno.EADDRINUSE))
        self.assertEqual(self.identity(), before)
        self.assertServes(actor, fd, other)


counterparts(globals(), DeadName, kind=KINDS)
counterparts(globals(), NoReplacing)

if __name__ == "__main__":
    sys.exit(harness.main())
