"""SO_REUSEADDR and SOCKGUARD_REUSE let bind(2) replace a stale socket, and nothing else."""

import errno
import os
import sys

import harness
from actor import KINDS, Actor, SocketCase, define_counterparts


def bind_new(actor, path, reuse=False, kind="stream"):
    """Tries to bind a new socket. Returns its descriptor and the errno."""
    fd = actor.socket(kind)
    if reuse:
        actor.set_reuseaddr(fd)
    return fd, actor.bind(fd, path)


class StalePath:
    """A stale path, for each type of socket."""

    def setUp(self):
        super().setUp()
        self.make_stale(kind=self.kind)

    def bind(self, reuse, **settings):
        actor = Actor(self, guard=self.guard, settings=settings)
        before = self.identity()
        fd, outcome = bind_new(actor, self.path, reuse, self.kind)
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

    def success_if_guarded(self):
        return 0 if self.guard else errno.EADDRINUSE

    def test_without_the_option(self):
        self.assertEqual(self.bind(reuse=False), errno.EADDRINUSE)

    def test_with_the_option(self):
        self.assertEqual(self.bind(reuse=True), self.success_if_guarded())

    def test_setting_auto(self):
        self.assertEqual(self.bind(reuse=False, REUSE="auto"), errno.EADDRINUSE)
        self.assertEqual(self.bind(reuse=True, REUSE="auto"), self.success_if_guarded())

    def test_setting_always(self):
        self.assertEqual(self.bind(reuse=False, REUSE="always"), self.success_if_guarded())

    def test_setting_never(self):
        self.assertEqual(self.bind(reuse=False, REUSE="never"), errno.EADDRINUSE)
        self.assertEqual(self.bind(reuse=True, REUSE="never"), errno.EADDRINUSE)


class NotReplaced:
    """Anything other than a stale socket remains, whatever the option and the setting are."""

    def bind(self):
        """The errno of a bind for which both the option and the setting allow replacing."""
        actor = Actor(self, guard=self.guard, settings={"REUSE": "always"})
        return bind_new(actor, self.path, reuse=True)[1]

    def assert_not_replaced(self):
        before, names = self.identity(), self.names()
        self.assertEqual(self.bind(), errno.EADDRINUSE)
        self.assertEqual((self.identity(), self.names()), (before, names))

    def test_live_socket(self):
        owner = Actor(self, guard=self.guard)
        fd = owner.serve(self.path)
        self.assert_not_replaced()
        self.assertServes(owner, fd)

    def test_live_socket_of_an_unguarded_owner(self):
        owner = Actor(self)
        fd = owner.serve(self.path)
        self.assert_not_replaced()
        self.assertServes(owner, fd)

    def test_own_live_socket(self):
        """The caller's own live socket is not replaced either."""
        owner = Actor(self, guard=self.guard, settings={"REUSE": "always"})
        fd = owner.serve(self.path)
        self.assertEqual(bind_new(owner, self.path, reuse=True)[1], errno.EADDRINUSE)
        self.assertServes(owner, fd)

    def test_regular_file(self):
        self.write_file("app.sock", "precious")
        self.assert_not_replaced()
        with open(self.path) as file:
            self.assertEqual(file.read(), "precious")

    def test_directory(self):
        os.mkdir(self.path)
        self.assert_not_replaced()

    def test_fifo(self):
        os.mkfifo(self.path)
        self.assert_not_replaced()

    def test_dangling_symlink(self):
        os.symlink(os.path.join(self.dir, "nowhere"), self.path)
        self.assert_not_replaced()

    def test_symlink_to_a_stale_socket(self):
        target = os.path.join(self.dir, "target")
        self.make_stale(target)
        os.symlink(target, self.path)
        before = self.identity(target)
        self.assert_not_replaced()
        self.assertEqual(self.identity(target), before)

    def test_symlink_to_a_live_socket(self):
        owner = Actor(self, guard=self.guard)
        target = os.path.join(self.dir, "target")
        fd = owner.serve(target)
        os.symlink(target, self.path)
        self.assert_not_replaced()
        self.assertServes(owner, fd)


class Restart(SocketCase):
    """The purpose: a server that sets SO_REUSEADDR and does not unlink can restart."""

    def test_restart_after_kill(self):
        first = Actor(self, guard=True)
        fd, outcome = bind_new(first, self.path, reuse=True)
        self.assertEqual(outcome, 0)
        first.listen(fd)
        first.kill()
        second = Actor(self, guard=True)
        fd, outcome = bind_new(second, self.path, reuse=True)
        self.assertEqual(outcome, 0)
        second.listen(fd)
        self.assertServes(second, fd)
        rival = Actor(self, guard=True)
        self.assertRefused(lambda: bind_new(rival, self.path, reuse=True)[1], second, fd)
        self.assertRefused(lambda: rival.unlink(self.path), second, fd)

    def test_a_bound_socket_replaces_nothing(self):
        """A second bind of a socket fails as without the guard, and the stale path remains."""
        actor = Actor(self, guard=True)
        self.make_stale()
        other = os.path.join(self.dir, "other.sock")
        fd = actor.serve(other)
        actor.set_reuseaddr(fd)
        before = self.identity()
        self.assertIn(actor.bind(fd, self.path), (errno.EINVAL, errno.EADDRINUSE))
        self.assertEqual(self.identity(), before)
        self.assertServes(actor, fd, other)


define_counterparts(globals(), StalePath, kind=KINDS)
define_counterparts(globals(), NotReplaced)

if __name__ == "__main__":
    sys.exit(harness.main())
