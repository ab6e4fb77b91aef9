"""A process that owns a socket path may make any call on it, however it became the owner."""

import errno
import os
import socket
import sys

import harness
from actor import Actor, SocketCase, define_counterparts


class Owners:
    """Without the guard, all of these calls succeed. The guard must not change that."""

    def setUp(self):
        super().setUp()
        self.away = os.path.join(self.dir, "away.sock")
        self.binder = Actor(self, guard=self.guard)
        self.fd = self.binder.serve(self.path)

    def assertOwns(self, actor):
        """The actor can rename, link and unlink the path, and leaves no file."""
        self.assertEqual(actor.rename(self.path, self.away), 0)
        self.assertEqual(actor.link(self.away, self.path), 0)
        self.assertEqual(actor.unlink(self.away), 0)
        self.assertEqual(actor.unlink(self.path), 0)
        self.assertEqual(self.names(), [])

    def start_receiver(self, fd, guard):
        """Starts an actor that receives this descriptor of the binder in a message."""
        receiver = Actor(self, guard=guard)
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with near, far:
            self.binder.send_fd(self.binder.import_fd(near), fd)
            return receiver, receiver.receive_fd(receiver.import_fd(far))

    def test_binder(self):
        self.assertOwns(self.binder)

    def test_binder_whose_child_is_alive(self):
        child = self.binder.fork()
        self.assertOwns(self.binder)
        child.kill()

    def test_binder_that_closed_the_socket(self):
        self.binder.close(self.fd)
        self.assertOwns(self.binder)

    def test_binder_that_closed_the_socket_while_a_worker_holds_it(self):
        """gunicorn and php-fpm stop like this."""
        self.binder.fork()
        self.binder.close(self.fd)
        self.assertOwns(self.binder)

    def test_child(self):
        self.assertOwns(self.binder.fork())

    def test_grandchild(self):
        self.assertOwns(self.binder.fork().fork())

    def test_child_of_a_killed_binder(self):
        child = self.binder.fork()
        self.binder.kill()
        self.assertOwns(child)

    def test_child_that_closed_the_socket(self):
        """The binder still holds it."""
        worker = self.binder.fork()
        worker.close(self.fd)
        self.assertOwns(worker)

    def test_child_that_closed_the_socket_of_a_killed_binder(self):
        worker, other = self.binder.fork(), self.binder.fork()
        worker.close(self.fd)
        self.binder.kill()
        self.assertServes(other, self.fd)
        self.assertOwns(worker)

    def test_program_that_inherits_the_listener(self):
        """The binder passes its listening socket to another program through exec."""
        self.assertEqual(self.binder.execute_again(self.fd), 0)
        self.assertServes(self.binder, self.fd)
        self.assertOwns(self.binder)

    def test_program_that_closed_the_inherited_listener(self):
        """It closes the socket before the unlink. A worker still holds the socket."""
        self.binder.fork()
        self.assertEqual(self.binder.execute_again(self.fd), 0)
        self.binder.close(self.fd)
        self.assertOwns(self.binder)

    def test_child_that_executes_a_program(self):
        """An upgrade: the new program unlinks while the old one still serves."""
        child = self.binder.fork()
        self.assertEqual(child.execute_again(self.fd), 0)
        self.assertServes(child, self.fd)
        self.assertOwns(child)

    def test_two_executed_programs(self):
        for _ in range(2):
            self.assertEqual(self.binder.execute_again(self.fd), 0)
        self.assertOwns(self.binder)

    def test_program_that_inherits_a_socket_that_does_not_listen(self):
        """The guard does not adopt it at startup, but finds the descriptor at the first call."""
        path = os.path.join(self.dir, "quiet.sock")
        fd = self.binder.socket("stream")
        self.binder.bind(fd, path)
        self.assertEqual(self.binder.execute_again(self.fd, fd), 0)
        self.assertEqual(self.binder.unlink(path), 0)
        self.assertOwns(self.binder)

    def test_receiver(self):
        receiver, _ = self.start_receiver(self.fd, self.guard)
        self.assertOwns(receiver)

    def test_receiver_of_a_killed_binder(self):
        receiver, fd = self.start_receiver(self.fd, self.guard)
        self.binder.kill()
        self.assertServes(receiver, fd)
        self.assertOwns(receiver)

    def test_receiver_of_an_unguarded_binder(self):
        self.binder.unlink(self.path)
        self.binder = Actor(self)
        self.fd = self.binder.serve(self.path)
        receiver, _ = self.start_receiver(self.fd, self.guard)
        self.assertOwns(receiver)

    def test_binder_that_closed_all_descriptors(self):
        """Some daemons do this. It closes the descriptor of the claim, too."""
        self.binder.close_from(3)
        self.assertOwns(self.binder)

    def test_binder_that_closed_all_descriptors_while_a_worker_holds_the_socket(self):
        self.binder.fork()
        self.binder.close_from(3)
        self.assertOwns(self.binder)

    def test_binder_that_closed_all_descriptors_but_the_socket(self):
        self.binder.dup2(self.fd, 3)
        self.binder.close_from(4)
        self.assertServes(self.binder, 3)
        self.assertOwns(self.binder)

    def test_binder_of_two_paths(self):
        other = os.path.join(self.dir, "other.sock")
        fd = self.binder.serve(other, "dgram")
        self.assertEqual(self.binder.unlink(other), 0)
        self.binder.close(fd)
        self.assertOwns(self.binder)

    def test_repeated_unlink_and_bind(self):
        for _ in range(20):
            self.assertEqual(self.binder.unlink(self.path), 0)
            self.fd = self.binder.serve(self.path)
        self.assertServes(self.binder, self.fd)
        self.assertOwns(self.binder)

    def test_rename_over_an_own_path(self):
        """A server that reloads replaces its old socket with a new one."""
        new = os.path.join(self.dir, "new.sock")
        fd = self.binder.serve(new)
        self.assertEqual(self.binder.rename(new, self.path), 0)
        self.assertServes(self.binder, fd)
        self.assertOwns(self.binder)

    def test_temporary_directory(self):
        """After mkdir, bind and unlink, rmdir succeeds: the guard has left no file."""
        directory = os.path.join(self.dir, "temporary")
        os.mkdir(directory)
        path = os.path.join(directory, "s")
        self.binder.serve(path)
        self.assertEqual(self.binder.unlink(path), 0)
        os.rmdir(directory)
        self.assertOwns(self.binder)


class NotOwners:
    """Processes that are related to a socket, but do not own its path."""

    def setUp(self):
        super().setUp()
        self.owner = Actor(self, guard=self.guard)
        self.fd = self.owner.serve(self.path)

    def test_receiver_of_a_connection(self):
        """getsockname(2) of an accepted connection returns the server's path."""
        stranger = Actor(self, guard=self.guard)
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        client = socket.socket(socket.AF_UNIX)
        with near, far, client:
            client.connect(self.path)
            self.owner.send_fd(self.owner.import_fd(near), self.owner.accept(self.fd))
            stranger.receive_fd(stranger.import_fd(far))
            self.assertRefusedIfGuarded(lambda: stranger.unlink(self.path), self.owner, self.fd)

    def test_program_that_inherits_a_connection(self):
        """For example, a CGI program."""
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(self.path)
            connection = self.owner.accept(self.fd)
            stranger = self.owner.fork()
            self.assertEqual(stranger.execute_again(connection), 0)
            self.assertRefusedIfGuarded(lambda: stranger.unlink(self.path), self.owner, self.fd)

    def test_program_that_inherits_no_socket(self):
        """For example, a program that a server starts."""
        stranger = self.owner.fork()
        self.assertEqual(stranger.execute_again(), 0)
        self.assertRefusedIfGuarded(lambda: stranger.unlink(self.path), self.owner, self.fd)

    def test_client(self):
        """A process that is connected to the path."""
        stranger = Actor(self, guard=self.guard)
        self.assertEqual(stranger.connect(stranger.socket("stream"), self.path), 0)
        self.owner.accept(self.fd)
        self.assertRefusedIfGuarded(lambda: stranger.unlink(self.path), self.owner, self.fd)

    def test_former_owner(self):
        """A rival's socket has replaced the owner's, perhaps with the same inode number."""
        os.unlink(self.path)
        self.owner.close(self.fd)
        rival = Actor(self, guard=self.guard)
        fd = rival.serve(self.path)
        self.assertRefusedIfGuarded(lambda: self.owner.unlink(self.path), rival, fd)

    def test_repeatedly_a_former_owner(self):
        for _ in range(50):
            os.unlink(self.path)
            self.owner.close(self.fd)
            rival = Actor(self, guard=self.guard)
            fd = rival.serve(self.path)
            self.assertRefusedIfGuarded(lambda: self.owner.unlink(self.path), rival, fd)
            rival.kill()
            self.owner.unlink(self.path)
            self.fd = self.owner.serve(self.path)


class Linkers:
    """A process that links another's socket to new paths may unlink those paths, but no others.

    The owner has closed the descriptor of its claim, as some daemons do. So only the kernel's
    answer, and what the guard knows about each link, protect the socket's first path.
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
        self.assertRefusedIfGuarded(lambda: self.linker.unlink(self.path), self.owner, self.fd)

    def test_link_of_a_link(self):
        self.assertEqual(self.linker.link(self.path, self.x), 0)
        self.assertEqual(self.linker.link(self.x, self.y), 0)
        self.assertRefusedIfGuarded(lambda: self.linker.unlink(self.path), self.owner, self.fd)

    def test_link_of_a_renamed_link(self):
        self.assertEqual(self.linker.link(self.path, self.x), 0)
        self.assertEqual(self.linker.rename(self.x, self.y), 0)
        self.assertEqual(self.linker.link(self.y, self.x), 0)
        self.assertRefusedIfGuarded(lambda: self.linker.unlink(self.path), self.owner, self.fd)

    def test_link_through_a_symlink(self):
        self.assertEqual(self.linker.link(self.path, self.x), 0)
        os.symlink(self.x, self.path + ".to")
        self.assertEqual(self.linker.linkat(-100, self.path + ".to", -100, self.y, 0x400), 0)
        self.assertRefusedIfGuarded(lambda: self.linker.unlink(self.path), self.owner, self.fd)

    def test_exchange_with_a_link(self):
        own = self.path + ".own"
        self.linker.serve(own)
        self.assertEqual(self.linker.link(self.path, self.x), 0)
        if self.linker.renameat2(-100, self.x, -100, own, 2) == errno.ENOSYS:
            self.skipTest("this libc has no renameat2")
        self.assertEqual(self.linker.link(own, self.y), 0)
        self.assertRefusedIfGuarded(lambda: self.linker.unlink(self.path), self.owner, self.fd)

    def test_rename_of_an_own_socket_over_the_path(self):
        own = self.path + ".own"
        self.linker.serve(own)
        self.assertEqual(self.linker.link(self.path, self.x), 0)
        self.assertEqual(self.linker.link(self.x, self.y), 0)
        self.assertRefusedIfGuarded(lambda: self.linker.rename(own, self.path), self.owner, self.fd)

    def test_child_of_the_linker(self):
        self.assertEqual(self.linker.link(self.path, self.x), 0)
        child = self.linker.fork()
        self.assertEqual(child.link(self.x, self.y), 0)
        self.assertRefusedIfGuarded(lambda: child.unlink(self.path), self.owner, self.fd)


class Links(SocketCase):
    """The guard tracks which process owns a path that is linked, renamed or unlinked."""

    def setUp(self):
        super().setUp()
        self.owner = Actor(self, guard=True)
        self.rival = Actor(self, guard=True)
        self.temporary = os.path.join(self.dir, "temporary.sock")

    def test_bind_to_a_temporary_path_and_link(self):
        """supervisord starts like this: bind p.PID, link it to p, unlink p.PID."""
        fd = self.owner.serve(self.temporary)
        self.assertEqual(self.owner.link(self.temporary, self.path), 0)
        self.assertEqual(self.owner.unlink(self.temporary), 0)
        self.assertEqual(self.names(), [".app.sock.sockguard", "app.sock"])
        self.assertRefused(lambda: self.rival.unlink(self.path), self.owner, fd)
        self.assertEqual(self.owner.unlink(self.path), 0)
        self.assertEqual(self.names(), [])

    def test_link_claims_the_new_path(self):
        fd = self.owner.serve(self.temporary)
        self.assertEqual(self.owner.link(self.temporary, self.path), 0)
        os.unlink(self.path)
        self.assertEqual(self.rival.bind(self.rival.socket("stream"), self.path),
                         errno.EADDRINUSE)
        self.assertServes(self.owner, fd, self.temporary)

    def test_link_made_by_a_rival(self):
        """haproxy starts like this. It may unlink its PATH.bak, but not the PATH that it linked."""
        fd = self.owner.serve(self.path)
        backup = self.path + ".bak"
        self.assertEqual(self.rival.link(self.path, backup), 0)
        self.rival.serve(self.temporary)
        self.assertRefused(lambda: self.rival.rename(self.temporary, self.path), self.owner, fd)
        self.assertEqual(self.rival.rename(backup, self.path), 0)  # no effect: one inode
        self.assertServes(self.owner, fd)
        self.assertEqual(self.rival.unlink(backup), 0)
        self.assertRefused(lambda: self.rival.unlink(self.path), self.owner, fd)
        self.assertEqual(self.rival.unlink(self.temporary), 0)
        self.assertEqual(self.owner.unlink(self.path), 0)
        self.assertEqual(self.names(), [])

    def test_link_made_by_a_rival_is_refused_to_others(self):
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

    def test_moved_claim_reserves_the_new_path(self):
        fd = self.owner.serve(self.temporary)
        self.owner.rename(self.temporary, self.path)
        os.unlink(self.path)
        outcome = self.rival.bind(self.rival.socket("stream"), self.path)
        self.assertEqual(outcome, errno.EADDRINUSE)
        self.owner.close(fd)

    def test_rename_over_a_stale_path(self):
        self.make_stale()
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


define_counterparts(globals(), Owners)
define_counterparts(globals(), NotOwners)
define_counterparts(globals(), Linkers)

if __name__ == "__main__":
    sys.exit(harness.main())
