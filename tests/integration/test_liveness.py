"""A name is refused as long as any process holds its socket, and free as soon as none does."""

import errno
import os
import socket
import sys

import harness
from actor import KINDS, OTHER, STRANGER, TYPES, Actor, SocketCase, counterparts, needs_root

MANY = 50


class Live:
    """Whatever keeps the socket alive, its name is not to be had."""

    def setUp(self):
        super().setUp()
        self.owner = Actor(self, guard=self.guard)
        self.rival = Actor(self, guard=self.guard)

    def bound(self, owner=None):
        owner = owner or self.owner
        fd = owner.socket(self.kind)
        self.assertEqual(owner.bind(fd, self.path), 0)
        return fd

    def serve(self, owner=None):
        return (owner or self.owner).serve(self.path, self.kind)

    def expect(self, owner, fd, rival=None):
        rival = rival or self.rival
        self.assertFate(lambda: rival.unlink(self.path), owner, fd, kind=self.kind)

    def test_serving(self):
        self.expect(self.owner, self.serve())

    def test_bound_not_listening(self):
        fd = self.bound()
        before = self.identity()
        outcome = self.rival.unlink(self.path)
        if self.kind != "dgram":
            self.owner.listen(fd)
        if self.guard:
            self.assertEqual((outcome, self.identity()), (errno.EADDRINUSE, before))
            self.assertServes(self.owner, fd, kind=self.kind)
        else:
            self.assertEqual(outcome, 0)
            self.assertGone()

    def test_queue_full(self):
        fd = self.bound()
        if self.kind != "dgram":
            self.owner.listen(fd, 0)
        waiting = self.fill()
        before = self.identity()
        outcome = self.rival.unlink(self.path)
        self.empty(fd)
        if self.guard:
            self.assertEqual((outcome, self.identity()), (errno.EADDRINUSE, before))
            self.assertServes(self.owner, fd, kind=self.kind)
        else:
            self.assertEqual(outcome, 0)
            self.assertGone()
        for client in waiting:
            client.close()

    def fill(self):
        """Clients until no more go in: connections, or datagrams."""
        clients = []
        try:
            while True:
                clients.append(socket.socket(socket.AF_UNIX, TYPES[self.kind]))
                clients[-1].setblocking(False)
                clients[-1].connect(self.path)
                while self.kind == "dgram":
                    clients[-1].send(b"full")
        except BlockingIOError:
            return clients

    def empty(self, fd):
        try:
            while self.kind != "dgram":
                self.owner.close(self.owner.accept(fd))
        except BlockingIOError:
            return
        while self.owner.receive(fd) is not None:
            pass

    def test_shut_down(self):
        """Nobody can be served any more, but the name is its owner's to remove."""
        fd = self.serve()
        self.owner.shutdown(fd)
        if self.guard:
            before = self.identity()
            self.assertEqual(self.rival.unlink(self.path), errno.EADDRINUSE)
            self.assertEqual(self.identity(), before)
            self.assertEqual(self.owner.unlink(self.path), 0)
        else:
            self.assertEqual(self.rival.unlink(self.path), 0)
        self.assertGone()

    def test_bound_and_connected(self):
        """A client with a name of its own; a connected datagram socket answers EPERM to others."""
        server = os.path.join(self.dir, "server.sock")
        self.owner.serve(server, self.kind)
        client = self.bound()
        self.assertEqual(self.owner.connect(client, server), 0)
        if self.guard:
            before = self.identity()
            self.assertEqual(self.rival.unlink(self.path), errno.EADDRINUSE)
            self.assertEqual(self.identity(), before)
        else:
            self.assertEqual(self.rival.unlink(self.path), 0)
            self.assertGone()

    def test_held_by_a_fork(self):
        fd = self.serve()
        child = self.owner.fork()
        self.owner.kill()
        self.expect(child, fd)

    def test_held_in_flight(self):
        """In a message nobody has received yet, and in no process."""
        fd = self.serve()
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with near, far:
            self.owner.send_fd(self.owner.take(near), fd)
            self.owner.kill()
            before = self.identity()
            outcome = self.rival.unlink(self.path)
            heir = Actor(self)
            received = heir.receive_fd(heir.take(far))
            if self.guard:
                self.assertEqual((outcome, self.identity()), (errno.EADDRINUSE, before))
                self.assertServes(heir, received, kind=self.kind)
            else:
                self.assertEqual(outcome, 0)
                self.assertGone()

    def test_held_by_its_receiver(self):
        fd = self.serve()
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with near, far:
            self.owner.send_fd(self.owner.take(near), fd)
            heir = Actor(self)
            received = heir.receive_fd(heir.take(far))
        self.owner.kill()
        self.expect(heir, received)

    def test_owner_unguarded(self):
        owner = Actor(self)
        self.expect(owner, self.serve(owner))

    @needs_root
    def test_owner_in_another_network(self):
        self.owner.leave_network()
        self.expect(self.owner, self.serve())

    @needs_root
    def test_rival_in_another_network(self):
        self.rival.leave_network()
        self.expect(self.owner, self.serve())

    @needs_root
    def test_rival_may_write_the_directory_but_not_the_socket(self):
        os.chmod(self.dir, 0o777)
        self.owner.become(STRANGER)
        self.rival.become(OTHER)
        fd = self.serve()
        self.assertEqual(os.stat(self.path).st_mode & 0o777, 0o755)
        self.expect(self.owner, fd)


class Dead:
    """Once the last holder is gone the name is anybody's, whatever it died of."""

    def setUp(self):
        super().setUp()
        self.owner = Actor(self, guard=self.guard)
        self.rival = Actor(self, guard=self.guard)

    def serve(self, owner=None):
        return (owner or self.owner).serve(self.path, self.kind)

    def expect_free(self, left=()):
        """The name can be taken, and the rival can start there."""
        self.assertEqual(self.rival.unlink(self.path), 0)
        self.assertGone()
        fd = self.rival.serve(self.path, self.kind)
        self.assertServes(self.rival, fd, kind=self.kind)
        self.assertEqual(self.rival.unlink(self.path), 0)
        self.assertIn(self.names(), ([], list(left)))

    def test_never_guarded(self):
        self.stale(kind=self.kind)
        self.expect_free()

    def test_killed(self):
        self.serve()
        self.owner.kill()
        self.expect_free()

    def test_exited(self):
        self.serve()
        self.owner.exit()
        self.expect_free()

    def test_closed_by_an_owner_that_lives_on(self):
        fd = self.serve()
        self.owner.close(fd)
        self.expect_free()

    def test_last_fork_killed(self):
        self.serve()
        child = self.owner.fork()
        self.owner.kill()
        child.kill()
        self.expect_free()

    def test_fork_without_the_socket_lives_on(self):
        fd = self.serve()
        child = self.owner.fork()
        child.close(fd)
        self.owner.kill()
        self.expect_free()

    def test_lost_in_flight(self):
        fd = self.serve()
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with near, far:
            self.owner.send_fd(self.owner.take(near), fd)
            self.owner.kill()
        # Both ends are closed, and the kernel may take its time over what was in between.
        harness.wait_until(self.is_dead, "the socket in flight to be released")
        self.expect_free()

    def is_dead(self):
        with socket.socket(socket.AF_UNIX, TYPES[self.kind]) as probe:
            return probe.connect_ex(self.path) == errno.ECONNREFUSED

    @needs_root
    def test_owner_was_in_another_network(self):
        self.owner.leave_network()
        self.serve()
        self.owner.kill()
        self.expect_free()

    @needs_root
    def test_rival_may_write_the_directory_but_not_the_socket(self):
        os.chmod(self.dir, 0o777)
        self.owner.become(STRANGER)
        self.rival.become(OTHER)
        self.serve()
        self.owner.kill()
        # The stranger's lock file is not the other's to lock, nor then to remove.
        self.expect_free(left=[".app.sock.sockguard"])


class Unnoticed:
    """A server learns nothing of those who were refused."""

    def test_nothing_arrives(self):
        owner, rival = Actor(self, guard=True), Actor(self, guard=True)
        fd = owner.serve(self.path, self.kind)
        for _ in range(MANY):
            self.assertEqual(rival.unlink(self.path), errno.EADDRINUSE)
        if self.kind == "dgram":
            self.assertIsNone(owner.receive(fd))
        else:
            self.assertRaises(BlockingIOError, owner.accept, fd)
        self.assertServes(owner, fd, kind=self.kind)


class Noticed(SocketCase):
    """The counterpart: how others probe."""

    def test_a_bare_connect_arrives(self):
        for kind in ("stream", "seqpacket"):
            owner = Actor(self)
            path = os.path.join(self.dir, kind)
            fd = owner.serve(path, kind)
            with socket.socket(socket.AF_UNIX, TYPES[kind]) as probe:
                probe.connect(path)
            self.assertGreater(owner.accept(fd), 0)


counterparts(globals(), Live, kind=KINDS)
counterparts(globals(), Dead, kind=KINDS)
for kind in KINDS:
    name = "Unnoticed" + kind.capitalize()
    globals()[name] = type(name, (Unnoticed, SocketCase), {"kind": kind, "__module__": __name__})

if __name__ == "__main__":
    sys.exit(harness.main())
