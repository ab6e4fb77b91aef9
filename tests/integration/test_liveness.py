"""A call on a path is refused while any process holds the socket, and allowed once none does."""

import errno
import os
import socket
import sys

import harness
from actor import (KINDS, OTHER_USER, STRANGER, TYPES, Actor, SocketCase, define_counterparts,
                   needs_root)

REFUSED_CALLS = 50


class LiveSocket:
    """A rival may not unlink the path of a live socket, whatever keeps the socket alive."""

    def setUp(self):
        super().setUp()
        self.owner = Actor(self, guard=self.guard)
        self.rival = Actor(self, guard=self.guard)

    def bind(self, owner=None):
        owner = owner or self.owner
        fd = owner.socket(self.kind)
        self.assertEqual(owner.bind(fd, self.path), 0)
        return fd

    def serve(self, owner=None):
        return (owner or self.owner).serve(self.path, self.kind)

    def expect_refused_if_guarded(self, owner, fd, rival=None):
        rival = rival or self.rival
        self.assertRefusedIfGuarded(lambda: rival.unlink(self.path), owner, fd, kind=self.kind)

    def test_listening(self):
        self.expect_refused_if_guarded(self.owner, self.serve())

    def test_bound_but_not_listening(self):
        fd = self.bind()
        before = self.identity()
        outcome = self.rival.unlink(self.path)
        if self.kind != "dgram":
            self.owner.listen(fd)
        if self.guard:
            self.assertEqual((outcome, self.identity()), (errno.EADDRINUSE, before))
            self.assertServes(self.owner, fd, kind=self.kind)
        else:
            self.assertEqual(outcome, 0)
            self.assertNotExists()

    def test_queue_full(self):
        fd = self.bind()
        if self.kind != "dgram":
            self.owner.listen(fd, 0)
        waiting = self.fill_queue()
        before = self.identity()
        outcome = self.rival.unlink(self.path)
        self.empty_queue(fd)
        if self.guard:
            self.assertEqual((outcome, self.identity()), (errno.EADDRINUSE, before))
            self.assertServes(self.owner, fd, kind=self.kind)
        else:
            self.assertEqual(outcome, 0)
            self.assertNotExists()
        for client in waiting:
            client.close()

    def fill_queue(self):
        """Connects clients, or sends datagrams, until the queue is full."""
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

    def empty_queue(self, fd):
        try:
            while self.kind != "dgram":
                self.owner.close(self.owner.accept(fd))
        except BlockingIOError:
            return
        while self.owner.receive(fd) is not None:
            pass

    def test_shut_down(self):
        """No client can connect any more. Nevertheless, only the owner may unlink the path."""
        fd = self.serve()
        self.owner.shutdown(fd)
        if self.guard:
            before = self.identity()
            self.assertEqual(self.rival.unlink(self.path), errno.EADDRINUSE)
            self.assertEqual(self.identity(), before)
            self.assertEqual(self.owner.unlink(self.path), 0)
        else:
            self.assertEqual(self.rival.unlink(self.path), 0)
        self.assertNotExists()

    def test_bound_and_connected(self):
        """A client's socket, with a path. A probe of a connected DGRAM socket fails with EPERM."""
        server = os.path.join(self.dir, "server.sock")
        self.owner.serve(server, self.kind)
        client = self.bind()
        self.assertEqual(self.owner.connect(client, server), 0)
        if self.guard:
            before = self.identity()
            self.assertEqual(self.rival.unlink(self.path), errno.EADDRINUSE)
            self.assertEqual(self.identity(), before)
        else:
            self.assertEqual(self.rival.unlink(self.path), 0)
            self.assertNotExists()

    def test_held_by_a_child_only(self):
        fd = self.serve()
        child = self.owner.fork()
        self.owner.kill()
        self.expect_refused_if_guarded(child, fd)

    def test_held_by_a_message_in_flight(self):
        """No process holds the socket, but a message that has not been received contains it."""
        fd = self.serve()
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with near, far:
            self.owner.send_fd(self.owner.import_fd(near), fd)
            self.owner.kill()
            before = self.identity()
            outcome = self.rival.unlink(self.path)
            receiver = Actor(self)
            received = receiver.receive_fd(receiver.import_fd(far))
            if self.guard:
                self.assertEqual((outcome, self.identity()), (errno.EADDRINUSE, before))
                self.assertServes(receiver, received, kind=self.kind)
            else:
                self.assertEqual(outcome, 0)
                self.assertNotExists()

    def test_held_by_a_process_that_received_it(self):
        fd = self.serve()
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with near, far:
            self.owner.send_fd(self.owner.import_fd(near), fd)
            receiver = Actor(self)
            received = receiver.receive_fd(receiver.import_fd(far))
        self.owner.kill()
        self.expect_refused_if_guarded(receiver, received)

    def test_unguarded_owner(self):
        owner = Actor(self)
        self.expect_refused_if_guarded(owner, self.serve(owner))

    @needs_root
    def test_owner_in_another_network_namespace(self):
        self.owner.unshare_network()
        self.expect_refused_if_guarded(self.owner, self.serve())

    @needs_root
    def test_rival_in_another_network_namespace(self):
        self.rival.unshare_network()
        self.expect_refused_if_guarded(self.owner, self.serve())

    @needs_root
    def test_rival_may_write_the_directory_but_not_the_socket(self):
        os.chmod(self.dir, 0o777)
        self.owner.change_user(STRANGER)
        self.rival.change_user(OTHER_USER)
        fd = self.serve()
        self.assertEqual(os.stat(self.path).st_mode & 0o777, 0o755)
        self.expect_refused_if_guarded(self.owner, fd)


class StaleSocket:
    """Once no process holds the socket, for any reason, a rival may unlink the path and bind."""

    def setUp(self):
        super().setUp()
        self.owner = Actor(self, guard=self.guard)
        self.rival = Actor(self, guard=self.guard)

    def serve(self, owner=None):
        return (owner or self.owner).serve(self.path, self.kind)

    def expect_rival_can_serve(self, left=()):
        """The rival unlinks the path and serves there. left: files that may remain."""
        self.assertEqual(self.rival.unlink(self.path), 0)
        self.assertNotExists()
        fd = self.rival.serve(self.path, self.kind)
        self.assertServes(self.rival, fd, kind=self.kind)
        self.assertEqual(self.rival.unlink(self.path), 0)
        self.assertIn(self.names(), ([], list(left)))

    def test_never_guarded(self):
        self.make_stale(kind=self.kind)
        self.expect_rival_can_serve()

    def test_owner_killed(self):
        self.serve()
        self.owner.kill()
        self.expect_rival_can_serve()

    def test_owner_exited(self):
        self.serve()
        self.owner.exit()
        self.expect_rival_can_serve()

    def test_closed_by_an_owner_that_is_still_alive(self):
        fd = self.serve()
        self.owner.close(fd)
        self.expect_rival_can_serve()

    def test_owner_and_its_child_killed(self):
        self.serve()
        child = self.owner.fork()
        self.owner.kill()
        child.kill()
        self.expect_rival_can_serve()

    def test_a_child_without_the_socket_is_still_alive(self):
        fd = self.serve()
        child = self.owner.fork()
        child.close(fd)
        self.owner.kill()
        self.expect_rival_can_serve()

    def test_message_in_flight_discarded(self):
        fd = self.serve()
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with near, far:
            self.owner.send_fd(self.owner.import_fd(near), fd)
            self.owner.kill()
        # Both ends are closed; the kernel may release the socket in the queue later.
        harness.wait_until(self.is_stale, "the release of the socket in flight")
        self.expect_rival_can_serve()

    def is_stale(self):
        with socket.socket(socket.AF_UNIX, TYPES[self.kind]) as probe:
            return probe.connect_ex(self.path) == errno.ECONNREFUSED

    @needs_root
    def test_owner_was_in_another_network(self):
        self.owner.unshare_network()
        self.serve()
        self.owner.kill()
        self.expect_rival_can_serve()

    @needs_root
    def test_rival_may_write_the_directory_but_not_the_socket(self):
        os.chmod(self.dir, 0o777)
        self.owner.change_user(STRANGER)
        self.rival.change_user(OTHER_USER)
        self.serve()
        self.owner.kill()
        # The rival may not open the other user's lock file, so it does not remove it either.
        self.expect_rival_can_serve(left=[".app.sock.sockguard"])


class RefusedRivals:
    """Refusals make no connection and send no datagram to the server."""

    def test_the_server_receives_nothing(self):
        owner, rival = Actor(self, guard=True), Actor(self, guard=True)
        fd = owner.serve(self.path, self.kind)
        for _ in range(REFUSED_CALLS):
            self.assertEqual(rival.unlink(self.path), errno.EADDRINUSE)
        if self.kind == "dgram":
            self.assertIsNone(owner.receive(fd))
        else:
            self.assertRaises(BlockingIOError, owner.accept, fd)
        self.assertServes(owner, fd, kind=self.kind)


class ConnectingProbe(SocketCase):
    """The counterpart: a server notices a probe that connects."""

    def test_the_server_accepts_the_connection(self):
        for kind in ("stream", "seqpacket"):
            owner = Actor(self)
            path = os.path.join(self.dir, kind)
            fd = owner.serve(path, kind)
            with socket.socket(socket.AF_UNIX, TYPES[kind]) as probe:
                probe.connect(path)
            self.assertGreater(owner.accept(fd), 0)


define_counterparts(globals(), LiveSocket, kind=KINDS)
define_counterparts(globals(), StaleSocket, kind=KINDS)
for kind in KINDS:
    name = "RefusedRivals" + kind.capitalize()
    globals()[name] = type(name, (RefusedRivals, SocketCase),
                           {"kind": kind, "__module__": __name__})

if __name__ == "__main__":
    sys.exit(harness.main())
