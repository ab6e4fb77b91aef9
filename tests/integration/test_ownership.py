"""A process does what it likes with sockets it owns, however it came by them."""

import errno
import os
import socket
import sys

import harness
from actor import Actor, SocketCase, counterparts


class Owners:
    """Without the guard all this works as well: the guard must not be noticed."""

    def setUp(self):
        super().setUp()
        self.away = os.path.join(self.dir, "away.sock")
        self.binder = Actor(self, guard=self.guard)
        self.fd = self.binder.serve(self.path)

    def assertOwns(self, actor):
        """Rename, link and unlink, and nothing is left."""
        self.assertEqual(actor.rename(self.path, self.away), 0)
        self.assertEqual(actor.link(self.away, self.path), 0)
        self.assertEqual(actor.unlink(self.away), 0)
        self.assertEqual(actor.unlink(self.path), 0)
        self.assertEqual(self.names(), [])

    def handed_over(self, fd, guard):
        """A process that received this descriptor of the binder's in a message."""
        receiver = Actor(self, guard=guard)
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with near, far:
            self.binder.send_fd(self.binder.take(near), fd)
            return receiver, receiver.receive_fd(receiver.take(far))

    def test_binder(self):
        self.assertOwns(self.binder)

    def test_binder_with_fork_alive(self):
        child = self.binder.fork()
        self.assertOwns(self.binder)
        child.kill()

    def test_binder_that_closed_it(self):
        self.binder.close(self.fd)
        self.assertOwns(self.binder)

    def test_binder_that_closed_it_while_a_worker_holds_it(self):
        """As gunicorn and php-fpm go down."""
        self.binder.fork()
        self.binder.close(self.fd)
        self.assertOwns(self.binder)

    def test_fork(self):
        self.assertOwns(self.binder.fork())

    def test_fork_of_a_fork(self):
        self.assertOwns(self.binder.fork().fork())

    def test_fork_alone(self):
        child = self.binder.fork()
        self.binder.kill()
        self.assertOwns(child)

    def test_fork_that_closed_it(self):
        """While another worker holds it."""
        worker = self.binder.fork()
        worker.close(self.fd)
        self.assertOwns(worker)

    def test_fork_that_closed_it_with_the_binder_gone(self):
        worker, other = self.binder.fork(), self.binder.fork()
        worker.close(self.fd)
        self.binder.kill()
        self.assertServes(other, self.fd)
        self.assertOwns(worker)

    def test_executed(self):
        """A program that inherits the listener."""
        self.assertEqual(self.binder.execute_again(self.fd), 0)
        self.assertServes(self.binder, self.fd)
        self.assertOwns(self.binder)

    @harness.preload_only("a supervisor adopts nothing before it has to judge")
    def test_executed_and_closed(self):
        """Closed before the unlink, while a worker holds it."""
        self.binder.fork()
        self.assertEqual(self.binder.execute_again(self.fd), 0)
        self.binder.close(self.fd)
        self.assertOwns(self.binder)

    def test_executed_in_a_fork(self):
        """An upgrade: the new program unlinks while the old one still serves."""
        child = self.binder.fork()
        self.assertEqual(child.execute_again(self.fd), 0)
        self.assertServes(child, self.fd)
        self.assertOwns(child)

    def test_executed_twice(self):
        for _ in range(2):
            self.assertEqual(self.binder.execute_again(self.fd), 0)
        self.assertOwns(self.binder)

    def test_bound_only_and_executed(self):
        """Never listened: no listener to adopt, but a descriptor to look through."""
        path = os.path.join(self.dir, "quiet.sock")
        fd = self.binder.socket("stream")
        self.binder.bind(fd, path)
        self.assertEqual(self.binder.execute_again(self.fd, fd), 0)
        self.assertEqual(self.binder.unlink(path), 0)
        self.assertOwns(self.binder)

    def test_received(self):
        receiver, _ = self.handed_over(self.fd, self.guard)
        self.assertOwns(receiver)

    def test_received_and_the_binder_gone(self):
        receiver, fd = self.handed_over(self.fd, self.guard)
        self.binder.kill()
        self.assertServes(receiver, fd)
        self.assertOwns(receiver)

    def test_received_from_an_unguarded_owner(self):
        self.binder.unlink(self.path)
        self.binder = Actor(self)
        self.fd = self.binder.serve(self.path)
        receiver, _ = self.handed_over(self.fd, self.guard)
        self.assertOwns(receiver)

    def test_binder_that_closed_everything(self):
        """Daemons do, and the claim's descriptor goes too."""
        self.binder.close_from(3)
        self.assertOwns(self.binder)

    @harness.preload_only("a supervisor remembers nothing")
    def test_binder_that_closed_everything_while_a_worker_holds_it(self):
        self.binder.fork()
        self.binder.close_from(3)
        self.assertOwns(self.binder)

    def test_binder_that_closed_all_others(self):
        self.binder.dup2(self.fd, 3)
        self.binder.close_from(4)
        self.assertServes(self.binder, 3)
        self.assertOwns(self.binder)

    def test_two_names_bound(self):
        other = os.path.join(self.dir, "other.sock")
        fd = self.binder.serve(other, "dgram")
        self.assertEqual(self.binder.unlink(other), 0)
        self.binder.close(fd)
        self.assertOwns(self.binder)

    def test_bound_again_and_again(self):
        for _ in range(20):
            self.assertEqual(self.binder.unlink(self.path), 0)
            self.fd = self.binder.serve(self.path)
        self.assertServes(self.binder, self.fd)
        self.assertOwns(self.binder)

    def test_rename_over_its_own(self):
        """A reload: a new socket replaces the old one in one step."""
        new = os.path.join(self.dir, "new.sock")
        fd = self.binder.serve(new)
        self.assertEqual(self.binder.rename(new, self.path), 0)
        self.assertServes(self.binder, fd)
        self.assertOwns(self.binder)

    def test_temporary_directory(self):
        """mkdir, bind, unlink, rmdir."""
        directory = os.path.join(self.dir, "temporary")
        os.mkdir(directory)
        path = os.path.join(directory, "s")
        self.binder.serve(path)
        self.assertEqual(self.binder.unlink(path), 0)
        os.rmdir(directory)
        self.assertOwns(self.binder)


class Strangers:
    """Near is not enough."""

    def setUp(self):
        super().setUp()
        self.owner = Actor(self, guard=self.guard)
        self.fd = self.owner.serve(self.path)

    def test_received_a_connection(self):
        """An accepted connection reports the server's path, and is not the server."""
        stranger = Actor(self, guard=self.guard)
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        client = socket.socket(socket.AF_UNIX)
        with near, far, client:
            client.connect(self.path)
            self.owner.send_fd(self.owner.take(near), self.owner.accept(self.fd))
            stranger.receive_fd(stranger.take(far))
            self.assertFate(lambda: stranger.unlink(self.path), self.owner, self.fd)

    def test_executed_with_a_connection(self):
        """A CGI program."""
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(self.path)
            connection = self.owner.accept(self.fd)
            stranger = self.owner.fork()
            self.assertEqual(stranger.execute_again(connection), 0)
            self.assertFate(lambda: stranger.unlink(self.path), self.owner, self.fd)

    def test_executed_with_nothing(self):
        """What a server starts is not the server."""
        stranger = self.owner.fork()
        self.assertEqual(stranger.execute_again(), 0)
        self.assertFate(lambda: stranger.unlink(self.path), self.owner, self.fd)

    def test_client(self):
        """A connection made to a path is no claim to it."""
        stranger = Actor(self, guard=self.guard)
        self.assertEqual(stranger.connect(stranger.socket("stream"), self.path), 0)
        self.owner.accept(self.fd)
        self.assertFate(lambda: stranger.unlink(self.path), self.owner, self.fd)

    def test_former_owner(self):
        """The name was its own once; a rival's socket has it now, perhaps with the same number."""
        os.unlink(self.path)
        self.owner.close(self.fd)
        rival = Actor(self, guard=self.guard)
        fd = rival.serve(self.path)
        self.assertFate(lambda: self.owner.unlink(self.path), rival, fd)

    def test_former_owner_again_and_again(self):
        for _ in range(50):
            os.unlink(self.path)
            self.owner.close(self.fd)
            rival = Actor(self, guard=self.guard)
            fd = rival.serve(self.path)
            self.assertFate(lambda: self.owner.unlink(self.path), rival, fd)
            rival.kill()
            self.owner.unlink(self.path)
            self.fd = self.owner.serve(self.path)


class Linkers:
    """A process gives a foreign socket more names: those are its own to remove, and no others.

    The owner has lost its claim, as daemons do that close every descriptor they do not know. So
    nothing but the rules about names stands between the process and the socket's first name.
    """

    def setUp(self):
        super().setUp()
        self.owner = Actor(self, guard=self.guard)
        self.fd = self.owner.serve(self.path)
        self.owner.close_from(self.fd + 1)
        self.linker = Actor(self, guard=self.guard)
        self.x, self.y = self.path + ".x", self.path + ".y"

    def test_link(self):
        self.assertEqual(self.linker.link(self.path, self.x), 0)
        self.assertFate(lambda: self.linker.unlink(self.path), self.owner, self.fd)

    def test_link_of_a_link(self):
        self.assertEqual(self.linker.link(self.path, self.x), 0)
        self.assertEqual(self.linker.link(self.x, self.y), 0)
        self.assertFate(lambda: self.linker.unlink(self.path), self.owner, self.fd)

    def test_link_of_a_renamed_link(self):
        self.assertEqual(self.linker.link(self.path, self.x), 0)
        self.assertEqual(self.linker.rename(self.x, self.y), 0)
        self.assertEqual(self.linker.link(self.y, self.x), 0)
        self.assertFate(lambda: self.linker.unlink(self.path), self.owner, self.fd)

    def test_link_through_a_symlink(self):
        self.assertEqual(self.linker.link(self.path, self.x), 0)
        os.symlink(self.x, self.path + ".to")
        self.assertEqual(self.linker.linkat(-100, self.path + ".to", -100, self.y, 0x400), 0)
        self.assertFate(lambda: self.linker.unlink(self.path), self.owner, self.fd)

    def test_exchange_with_a_link(self):
        own = self.path + ".own"
        self.linker.serve(own)
        self.assertEqual(self.linker.link(self.path, self.x), 0)
        if self.linker.renameat2(-100, self.x, -100, own, 2) == errno.ENOSYS:
            self.skipTest("this libc has no renameat2")
        self.assertEqual(self.linker.link(own, self.y), 0)
        self.assertFate(lambda: self.linker.unlink(self.path), self.owner, self.fd)

    def test_rename_of_own_over_it(self):
        own = self.path + ".own"
        self.linker.serve(own)
        self.assertEqual(self.linker.link(self.path, self.x), 0)
        self.assertEqual(self.linker.link(self.x, self.y), 0)
        self.assertFate(lambda: self.linker.rename(own, self.path), self.owner, self.fd)

    def test_fork_of_the_linker(self):
        self.assertEqual(self.linker.link(self.path, self.x), 0)
        child = self.linker.fork()
        self.assertEqual(child.link(self.x, self.y), 0)
        self.assertFate(lambda: child.unlink(self.path), self.owner, self.fd)


class Names(SocketCase):
    """Names come and go while the guard keeps count."""

    def setUp(self):
        super().setUp()
        self.owner = Actor(self, guard=True)
        self.rival = Actor(self, guard=True)
        self.temporary = os.path.join(self.dir, "temporary.sock")

    def test_bound_aside_and_linked(self):
        """As supervisord starts: bind p.PID, link it to p, unlink p.PID."""
        fd = self.owner.serve(self.temporary)
        self.assertEqual(self.owner.link(self.temporary, self.path), 0)
        self.assertEqual(self.owner.unlink(self.temporary), 0)
        self.assertEqual(self.names(), [".app.sock.sockguard", "app.sock"])
        self.assertRefused(lambda: self.rival.unlink(self.path), self.owner, fd)
        self.assertEqual(self.owner.unlink(self.path), 0)
        self.assertEqual(self.names(), [])

    def test_link_claims_the_new_name(self):
        fd = self.owner.serve(self.temporary)
        self.assertEqual(self.owner.link(self.temporary, self.path), 0)
        os.unlink(self.path)
        self.assertEqual(self.rival.bind(self.rival.socket("stream"), self.path),
                         errno.EADDRINUSE)
        self.assertServes(self.owner, fd, self.temporary)

    def test_second_name_given_by_a_rival(self):
        """As haproxy starts: its .bak is its own to remove, the name it was made from is not."""
        fd = self.owner.serve(self.path)
        backup = self.path + ".bak"
        self.assertEqual(self.rival.link(self.path, backup), 0)
        self.rival.serve(self.temporary)
        self.assertRefused(lambda: self.rival.rename(self.temporary, self.path), self.owner, fd)
        self.assertEqual(self.rival.rename(backup, self.path), 0)  # one socket: nothing happens
        self.assertServes(self.owner, fd)
        self.assertEqual(self.rival.unlink(backup), 0)
        self.assertRefused(lambda: self.rival.unlink(self.path), self.owner, fd)
        self.assertEqual(self.rival.unlink(self.temporary), 0)
        self.assertEqual(self.owner.unlink(self.path), 0)
        self.assertEqual(self.names(), [])

    def test_second_name_is_nobody_elses(self):
        fd = self.owner.serve(self.path)
        backup = self.path + ".bak"
        self.assertEqual(self.rival.link(self.path, backup), 0)
        third = Actor(self, guard=True)
        self.assertRefused(lambda: third.unlink(backup), self.owner, fd, backup)
        self.assertEqual(self.owner.unlink(backup), 0)
        self.assertEqual(self.owner.unlink(self.path), 0)

    def test_rename_moves_the_claim(self):
        fd = self.owner.serve(self.temporary)
        self.assertEqual(self.owner.rename(self.temporary, self.path), 0)
        self.assertEqual(self.names(), [".app.sock.sockguard", "app.sock"])
        self.assertRefused(lambda: self.rival.unlink(self.path), self.owner, fd)
        other = self.rival.serve(self.temporary)
        self.assertServes(self.rival, other, self.temporary)
        self.assertEqual(self.rival.unlink(self.temporary), 0)
        self.assertEqual(self.owner.unlink(self.path), 0)
        self.assertEqual(self.names(), [])

    def test_moved_claim_holds(self):
        fd = self.owner.serve(self.temporary)
        self.owner.rename(self.temporary, self.path)
        os.unlink(self.path)
        outcome = self.rival.bind(self.rival.socket("stream"), self.path)
        self.assertEqual(outcome, errno.EADDRINUSE)
        self.owner.close(fd)

    def test_rename_over_a_dead_name(self):
        self.stale()
        fd = self.owner.serve(self.temporary)
        self.assertEqual(self.owner.rename(self.temporary, self.path), 0)
        self.assertRefused(lambda: self.rival.unlink(self.path), self.owner, fd)
        self.assertEqual(self.owner.unlink(self.path), 0)
        self.assertEqual(self.names(), [])

    def test_exchange_moves_both_claims(self):
        first = self.owner.serve(self.path)
        second = self.owner.serve(self.temporary)
        outcome = self.owner.renameat2(-100, self.path, -100, self.temporary, 2)
        if outcome == errno.ENOSYS:
            self.skipTest("this libc has no renameat2")
        self.assertEqual(outcome, 0)
        self.assertRefused(lambda: self.rival.unlink(self.path), self.owner, second)
        self.assertRefused(lambda: self.rival.unlink(self.temporary), self.owner, first,
                           self.temporary)
        self.assertEqual(self.owner.unlink(self.path), 0)
        self.assertEqual(self.owner.unlink(self.temporary), 0)
        self.assertEqual(self.names(), [])

    def test_rename_into_another_directory(self):
        os.mkdir(os.path.join(self.dir, "a"))
        os.mkdir(os.path.join(self.dir, "b"))
        old, new = os.path.join(self.dir, "a", "s"), os.path.join(self.dir, "b", "s")
        fd = self.owner.serve(old)
        self.assertEqual(self.owner.rename(old, new), 0)
        self.assertEqual(os.listdir(os.path.dirname(old)), [])
        self.assertRefused(lambda: self.rival.unlink(new), self.owner, fd, new)
        self.assertEqual(self.owner.unlink(new), 0)
        self.assertEqual(os.listdir(os.path.dirname(new)), [])


counterparts(globals(), Owners)
counterparts(globals(), Strangers)
counterparts(globals(), Linkers)

if __name__ == "__main__":
    sys.exit(harness.main())
