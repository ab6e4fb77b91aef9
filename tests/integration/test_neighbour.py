"""A hostile user who may create files beside the socket cannot prevent servers from starting."""

import errno
import fcntl
import os
import resource
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time

import harness
from actor import OTHER_USER, STRANGER, Actor, SocketCase, needs_root
from test_context_preload import RUN_WITH_PRIVATE_ETC

WRAPPER_LIBRARY = os.path.join(harness.BUILD, "tests", "context", ".libs", "libwrapper.so")
DIRECTORY_USER = 61003  # the user to whom a directory belongs in which root makes calls
WRITE_LOCK = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0)
CLAIM_LOCK = struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, 1, 1, 0)
F_OFD_SETLK = 37
ENTRIES = 1000  # files in a directory that root removes


def lock_mutex(fd):
    fcntl.fcntl(fd, F_OFD_SETLK, WRITE_LOCK)


def lock_claim(fd):
    fcntl.fcntl(fd, F_OFD_SETLK, CLAIM_LOCK)


class HostileProcess:
    """A process, usually of another user, that calls a function and keeps its descriptors open."""

    def __init__(self, case, act, uid=STRANGER, repeat=None):
        """Returns when the process has called act(). It then calls repeat(), if given, in a
        loop."""
        ready, notify = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self._run(notify, act, uid, repeat)
            finally:
                os._exit(1)
        os.close(notify)
        case.addCleanup(self.kill)
        with open(ready, "rb") as report:
            case.assertEqual(report.read(1), b"!", "the hostile process's act() failed")

    def _run(self, notify, act, uid, repeat):
        signal.signal(signal.SIGIO, signal.SIG_IGN)  # sent when another process opens a leased file
        os.umask(0)
        if uid:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
        self.descriptors = act()
        os.write(notify, b"!")
        os.close(notify)
        while True:
            if repeat:
                repeat()
            else:
                time.sleep(60)

    def kill(self):
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        self.pid = None


def leases_on(path):
    """The states of the leases on a file."""
    inode = str(os.lstat(path).st_ino)
    return {line[1] for line in harness.lock_table()
            if line[0] == "LEASE" and line[4].endswith(":" + inode)}


# Files that an attacker creates at the path of a lock file. Each function returns the descriptor
# that must stay open, if any.

def empty_file(name):
    return os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)


def full_file(name):
    fd = empty_file(name)
    os.write(fd, b"9" * 4096)
    return fd


def forged_record(name, boot="00000000-0000-0000-0000-000000000000"):
    """A record that names an owner on another host, with a claim."""
    fd = empty_file(name)
    text = f"sockguard 1\nname held\npid 1\nuid 0\ncomm init\ntime 1795251844\nboot {boot}\n" \
           "socket 1\ncookie 1\nnetns 1\n"
    os.write(fd, text.encode().ljust(256))
    lock_claim(fd)
    return fd


def locked_file(name):
    fd = empty_file(name)
    lock_mutex(fd)
    return fd


def posix_locked_file(name):
    fd = empty_file(name)
    fcntl.lockf(fd, fcntl.LOCK_EX)
    return fd


def flocked_file(name):
    fd = empty_file(name)
    fcntl.flock(fd, fcntl.LOCK_EX)
    return fd


def leased_file(name):
    fd = empty_file(name)
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    return fd


def fifo(name):
    os.mkfifo(name, 0o666)


def directory(name):
    os.mkdir(name, 0o777)


def dangling_symlink(name):
    os.symlink("made", name)


def symlink_to_itself(name):
    os.symlink(os.path.basename(name), name)


def symlink_to_a_file(name):
    os.symlink("/etc/passwd", name)


def hard_link(name):
    os.close(empty_file(name + "2"))
    os.link(name + "2", name)


def live_socket(name):
    fd = socket.socket(socket.AF_UNIX)
    fd.bind(name)
    return fd


def unreadable_file(name):
    fd = empty_file(name)
    os.fchmod(fd, 0)
    return fd


PLANTED_FILES = [
    empty_file, full_file, forged_record, locked_file, posix_locked_file, flocked_file, leased_file,
    fifo, directory, dangling_symlink, symlink_to_itself, symlink_to_a_file, hard_link, live_socket,
    unreadable_file]


class HostileUserCase(SocketCase):
    """The socket path is in a sticky directory of root, unless a subclass changes that."""

    uid = 0  # the uid of the servers
    guard = True

    def setUp(self):
        super().setUp()
        os.chmod(self.dir, 0o1777)

    def start_actor(self, guard=None):
        actor = Actor(self, guard=self.guard if guard is None else guard)
        if self.uid:
            actor.change_user(self.uid)
        return actor

    def without_waiting(self, actor, act):
        """Returns what act() returns. Fails if the actor waited in it for another user's mutex."""
        before = harness.voluntary_switches(actor.pid)
        result = act()
        self.assertLess(harness.voluntary_switches(actor.pid) - before, harness.MAX_SWITCHES)
        return result

    def unlink_and_serve(self, actor):
        """Unlinks, binds and listens like most servers, and returns the descriptor."""
        self.assertIn(self.without_waiting(actor, lambda: actor.unlink(self.path)),
                      (0, errno.ENOENT))
        return self.without_waiting(actor, lambda: actor.serve(self.path))

    def serve_and_drop_privileges(self, actor):
        """Serves as root, gives the socket to a user, and becomes that user. Returns the
        descriptor."""
        fd = actor.serve(self.path)
        os.chown(self.path, OTHER_USER, OTHER_USER)
        actor.change_user(OTHER_USER)
        return fd

    def alternate_lock_files(self):
        """The paths of the lock files at alternate names, of which there must be some if we are
        guarded."""
        found = [os.path.join(self.dir, name) for name in self.names()
                 if name.startswith(os.path.basename(self.lock_file_path()) + ".")]
        self.assertEqual(bool(found), self.guard)
        return found

    def make_stale_of_user(self, uid, path=None):
        self.make_stale(path)
        os.chown(path or self.path, uid, uid)


class StartBesidePlantedFile:
    """A hostile user's file is at the path of the lock file.

    The first server starts, the second is refused, and the first one's claim reserves the path
    after an unguarded process has removed it.
    """

    def check(self, plant):
        HostileProcess(self, lambda: plant(self.lock_file_path()))
        names_before = self.names()
        self.make_stale_of_user(self.uid)
        owner, rival = self.start_actor(), self.start_actor()
        fd = self.unlink_and_serve(owner)
        self.assertServes(owner, fd)
        self.assertRefusedIfGuarded(
            lambda: self.without_waiting(rival, lambda: rival.unlink(self.path)), owner, fd)
        if self.guard:
            os.unlink(self.path)
        rival_fd = rival.socket("stream")
        error = self.without_waiting(rival, lambda: rival.bind(rival_fd, self.path))
        self.assertEqual(error, errno.EADDRINUSE if self.guard else 0)
        if not self.guard:
            return
        owner.close(fd)
        self.assertEqual(self.without_waiting(rival, lambda: rival.bind(rival_fd, self.path)), 0)
        self.assertEqual(self.without_waiting(rival, lambda: rival.unlink(self.path)), 0)
        self.assertEqual(self.names(), names_before)


class RestartBesidePlantedFile:
    """A hostile user's file is at the path of the lock file.

    The files of a killed server do not prevent a restart. When the next server has ended, only the
    hostile user's file remains.
    """

    def check(self, plant):
        HostileProcess(self, lambda: plant(self.lock_file_path()))
        names_before = self.names()
        owner, successor = self.start_actor(), self.start_actor()
        self.unlink_and_serve(owner)
        owner.kill()
        fd = self.unlink_and_serve(successor)
        self.assertServes(successor, fd)
        self.assertEqual(successor.unlink(self.path), 0)
        self.assertEqual(self.names(), names_before)


def _test_of(plant):
    return needs_root(lambda self: self.check(plant))


for _plant in PLANTED_FILES:
    setattr(StartBesidePlantedFile, "test_" + _plant.__name__, _test_of(_plant))
    setattr(RestartBesidePlantedFile, "test_" + _plant.__name__, _test_of(_plant))


class SuspendedUnlink:
    """libwrapper.so, which is loaded after the guard, suspends a server's unlink.

    At that moment, the guard holds the mutex, and libc has not made the system call yet.
    """

    def __init__(self, case, uid):
        self.case, self.path = case, os.path.join(case.dir, "gate")
        for suffix in (".in", ".out"):
            os.mkfifo(self.path + suffix)
            os.chown(self.path + suffix, uid, uid)
        self.reached = os.open(self.path + ".in", os.O_RDONLY | os.O_NONBLOCK)
        case.addCleanup(os.close, self.reached)

    def start_actor(self, guard):
        library = f"{harness.LIBRARY}:{WRAPPER_LIBRARY}" if guard else WRAPPER_LIBRARY
        return Actor(self.case, env={"LD_PRELOAD": library, "WRAPPER_WAITS": self.path})

    def start_unlink(self, actor, path):
        """Returns when the unlink is suspended."""
        actor.send_command("unlink", path)
        ready, _, _ = select.select([self.reached, actor._control], [], [], harness.TIMEOUT)
        if self.reached not in ready:
            self.case.fail(f"the unlink was not suspended: {actor.read_answer()}; {actor.stderr()}")

    def resume(self, actor):
        """Resumes the unlink, and returns its result and errno."""
        # Without O_CREAT, which protected_fifos refuses in a sticky directory, see proc(5).
        os.close(os.open(self.path + ".out", os.O_WRONLY))
        return actor.read_answer()[:2]


class CommonMutex:
    """Even if another user creates the lock file, all servers use the same mutex.

    The first server is suspended in the unlink of a stale path. The second must not bind the path
    meanwhile, because the first would then unlink the second one's socket.
    """

    def attack_before_lock(self):
        """What the attacker does before the first server locks the mutex."""

    def attack_while_locked(self):
        """What the attacker does while the first server holds the mutex."""

    def start_suspended(self):
        self.suspension = SuspendedUnlink(self, self.uid)
        first = self.suspension.start_actor(self.guard)
        if self.uid:
            first.change_user(self.uid)
        self.suspension.start_unlink(first, self.path)
        return first

    def check(self):
        self.make_stale_of_user(self.uid)
        self.attack_before_lock()
        second = self.start_actor()
        first = self.start_suspended()
        self.attack_while_locked()
        unlink_error = second.unlink(self.path)
        if self.guard:
            self.assertEqual(unlink_error, errno.EADDRINUSE)
            self.assertEqual(self.suspension.resume(first), (0, 0))
            fd = self.unlink_and_serve(second)
            self.assertServes(second, fd)
        else:
            self.assertEqual(unlink_error, 0)
            fd = second.serve(self.path)
            self.assertStolen(lambda: self.suspension.resume(first)[1], second, fd)

    def create_lock_file(self):
        self.attacker = HostileProcess(self, lambda: empty_file(self.lock_file_path()))

    def remove_lock_file(self):
        self.attacker.kill()
        os.unlink(self.lock_file_path())

    @needs_root
    def test_no_attack(self):
        self.check()

    @needs_root
    def test_lock_file_created(self):
        self.attack_before_lock = self.create_lock_file
        self.check()

    @needs_root
    def test_lock_file_created_and_removed(self):
        """Only the first server finds the attacker's file, but both use the same mutex."""
        self.attack_before_lock = self.create_lock_file
        self.attack_while_locked = self.remove_lock_file
        self.check()

    @needs_root
    def test_lock_file_and_alternates_created(self):
        """The guard ignores alternate lock files of other users."""
        def create_decoys():
            return [empty_file(self.lock_file_path())] + \
                [locked_file(f"{self.lock_file_path()}.{word}")
                 for word in ("0" * 12, "f" * 12, "0123456789ab", "x")]
        self.attack_before_lock = lambda: HostileProcess(self, create_decoys)
        self.check()

    def try_to_empty_directory(self):
        """A guarded program tries to remove the alternate lock file, but its mutex is held."""
        for name in self.alternate_lock_files():
            self.assertEqual(self.start_actor().unlink(name), errno.EADDRINUSE)

    @needs_root
    def test_lock_file_created_and_directory_emptied(self):
        self.attack_before_lock = self.create_lock_file
        self.attack_while_locked = self.try_to_empty_directory
        self.check()

    @needs_root
    def test_lock_file_with_two_links(self):
        self.attack_before_lock = lambda: HostileProcess(
            self, lambda: hard_link(self.lock_file_path()))
        self.check()

    @needs_root
    def test_directory_in_place_of_the_lock_file(self):
        self.attack_before_lock = lambda: HostileProcess(
            self, lambda: directory(self.lock_file_path()))
        self.check()


class DirectoryEmptiedByRoot:
    """root unlinks every file in the directory, while a stranger's file is at the lock file's
    path."""

    def check(self, plant, names_to_remove):
        HostileProcess(self, lambda: plant(self.lock_file_path()))
        owner, cleaner = self.start_actor(), self.start_actor()
        fd = owner.serve(self.path)
        for name in names_to_remove(self):
            self.assertEqual(cleaner.unlink(name), 0)
        owner.close(fd)
        self.assertEqual(cleaner.unlink(self.path), 0)
        self.assertEqual(self.names(), [])

    @needs_root
    def test_plain_lock_file_first(self):
        self.check(empty_file, lambda self: [self.lock_file_path(), *self.alternate_lock_files()])

    @needs_root
    def test_plain_lock_file_without_a_socket(self):
        HostileProcess(self, lambda: empty_file(self.lock_file_path()))
        self.assertEqual(self.start_actor().unlink(self.lock_file_path()), 0)
        self.assertEqual(self.names(), [])

    @needs_root
    def test_alternate_lock_file_first(self):
        self.check(empty_file, lambda self: [*self.alternate_lock_files(), self.lock_file_path()])


class ClaimedAbsentPath:
    """Whatever another user creates, a claim reserves a path that an unguarded process removed."""

    def check(self, plant=False, rename=False, remove_planted=False):
        """plant: another user creates the lock file before the owner binds. rename: the owner binds
        another path and renames it to this one. remove_planted: the planted file is removed
        again."""
        owner, rival = self.start_actor(), self.start_actor()
        attacker = (HostileProcess(self, lambda: empty_file(self.lock_file_path())) if plant
                    else None)
        fd = self.bind_and_rename(owner) if rename else owner.serve(self.path)
        if remove_planted:
            attacker.kill()
            os.unlink(self.lock_file_path())
        os.unlink(self.path)
        rival_fd = rival.socket("stream")
        self.assertEqual(rival.bind(rival_fd, self.path), errno.EADDRINUSE if self.guard else 0)
        if self.guard:
            owner.close(fd)
            self.assertEqual(rival.bind(rival_fd, self.path), 0)
            self.assertEqual(rival.unlink(self.path), 0)
            self.assertEqual([name for name in self.names()
                              if os.lstat(os.path.join(self.dir, name)).st_uid == self.uid], [])

    def bind_and_rename(self, owner):
        fd = owner.serve(self.path + ".new")
        self.assertEqual(owner.rename(self.path + ".new", self.path), 0)
        return fd

    @needs_root
    def test_no_attack(self):
        self.check()

    @needs_root
    def test_lock_file_created_before(self):
        self.check(plant=True)

    @needs_root
    def test_lock_file_created_before_and_removed_after(self):
        self.check(plant=True, remove_planted=True)

    @needs_root
    def test_lock_file_created_before_a_rename(self):
        self.check(plant=True, rename=True)

    @needs_root
    def test_lock_file_created_before_a_rename_and_removed_after(self):
        self.check(plant=True, rename=True, remove_planted=True)


def define_classes(mixin, guards=(True, False), uids=((0, "OfRoot"), (OTHER_USER, "OfUser"))):
    """Defines the mixin's tests for servers of root and of a user, with the guard and without."""
    for guard in guards:
        for uid, suffix in uids:
            name = ("Guarded" if guard else "Unguarded") + mixin.__name__ + suffix
            globals()[name] = type(name, (mixin, HostileUserCase), {
                "guard": guard, "uid": uid, "__module__": __name__})


define_classes(StartBesidePlantedFile)
define_classes(RestartBesidePlantedFile, guards=(True,))
define_classes(CommonMutex)
define_classes(DirectoryEmptiedByRoot, uids=((0, "OfRoot"),))
define_classes(ClaimedAbsentPath)


class DroppedPrivileges:
    """A server that gives the socket to a user and becomes that user keeps using the same mutex.

    It closes its socket, and its unlink is suspended.
    """

    def start_owner(self):
        owner = self.suspension.start_actor(self.guard)
        owner.close(self.serve_and_drop_privileges(owner))
        return owner

    def check(self):
        self.suspension = SuspendedUnlink(self, OTHER_USER)
        owner, rival = self.start_owner(), self.start_actor()
        self.suspension.start_unlink(owner, self.path)
        unlink_error = rival.unlink(self.path)
        self.assertEqual(unlink_error, errno.EADDRINUSE if self.guard else 0)
        fd = None if self.guard else rival.serve(self.path)
        if not self.guard:
            os.chown(self.path, OTHER_USER, OTHER_USER)  # as a second instance of the server does
        self.assertEqual(self.suspension.resume(owner), (0, 0))
        if self.guard:
            self.assertServes(rival, self.unlink_and_serve(rival))
        else:
            self.assertFalse(self.serves(rival, fd))

    @needs_root
    def test_in_a_sticky_directory(self):
        self.check()

    @needs_root
    def test_in_a_directory_of_the_user(self):
        os.chmod(self.dir, 0o755)
        os.chown(self.dir, OTHER_USER, OTHER_USER)
        self.check()

    @needs_root
    def test_in_a_sticky_directory_with_a_planted_lock_file(self):
        HostileProcess(self, lambda: empty_file(self.lock_file_path()))
        self.check()


define_classes(DroppedPrivileges, uids=((0, ""),))


class ForkedOwner:
    """The owner and a process forked from it remove the path at the same time.

    The child's unlink is suspended. Meanwhile the owner must not rename the path, because a rival
    could then bind it, and the child would unlink the rival's socket.
    """

    drop_privileges = False

    def check(self, remove_planted=False):
        suspension = SuspendedUnlink(self, OTHER_USER)
        owner, rival = suspension.start_actor(self.guard), self.start_actor()
        if self.uid:
            owner.change_user(self.uid)
        if self.drop_privileges:
            self.serve_and_drop_privileges(owner)
        else:
            owner.serve(self.path)
        child = owner.fork()
        suspension.start_unlink(child, self.path)
        if remove_planted:
            os.unlink(self.lock_file_path())
        error = owner.rename(self.path, self.path + ".old")
        if self.guard:
            self.assertEqual(error, errno.EADDRINUSE)
            self.assertEqual(suspension.resume(child), (0, 0))
            fd = self.unlink_and_serve(rival)
            self.assertRefused(lambda: owner.unlink(self.path), rival, fd)
            return
        self.assertEqual(error, 0)
        fd = rival.serve(self.path)
        if self.drop_privileges:
            os.chown(self.path, OTHER_USER, OTHER_USER)  # as a second instance of the server does
        self.assertEqual(suspension.resume(child), (0, 0))
        self.assertFalse(self.serves(rival, fd))

    @needs_root
    def test_no_attack(self):
        self.check()

    @needs_root
    def test_lock_file_created(self):
        HostileProcess(self, lambda: empty_file(self.lock_file_path()))
        self.check()


define_classes(ForkedOwner)


class GracefulRestart(HostileUserCase):
    """A server without privileges unlinks its path, and still holds its socket when the next
    instance starts. Another user has removed a file that was at the lock file's path at the bind."""

    @needs_root
    def test_next_instance_starts(self):
        neighbour = HostileProcess(self, lambda: empty_file(self.lock_file_path()))
        old = self.start_actor()
        self.serve_and_drop_privileges(old)
        neighbour.kill()
        os.unlink(self.lock_file_path())
        self.assertEqual(old.unlink(self.path), 0)
        new = self.start_actor()
        self.assertServes(new, self.unlink_and_serve(new))


class ForkedOwnerWithoutPrivileges(ForkedOwner):
    """The same, but they no longer run as the user of the lock file."""

    drop_privileges = True

    @needs_root
    def test_lock_file_created_and_removed(self):
        HostileProcess(self, lambda: empty_file(self.lock_file_path()))
        self.check(remove_planted=True)

    @needs_root
    def test_in_a_directory_of_the_user(self):
        os.chmod(self.dir, 0o755)
        os.chown(self.dir, OTHER_USER, OTHER_USER)
        self.check()


define_classes(ForkedOwnerWithoutPrivileges, uids=((0, ""),))


class LeasedLockFile(HostileUserCase):
    """The guard does not open another user's file. So it neither breaks a lease on the file, nor
    waits for the end of the lease."""

    @needs_root
    def test_ten_starts(self):
        HostileProcess(self, lambda: leased_file(self.lock_file_path()))
        self.make_stale_of_user(0)
        for _ in range(10):
            server = self.start_actor()
            self.assertServes(server, self.unlink_and_serve(server))
            server.kill()

    @needs_root
    def test_the_guard_does_not_break_the_lease(self):
        HostileProcess(self, lambda: leased_file(self.lock_file_path()))
        self.make_stale_of_user(0)
        server, rival = self.start_actor(), self.start_actor()
        fd = self.unlink_and_serve(server)
        self.assertRefused(lambda: rival.unlink(self.path), server, fd)
        self.assertEqual(leases_on(self.lock_file_path()), {"ACTIVE"})

    @needs_root
    def test_opening_the_file_breaks_the_lease(self):
        """The counterpart of the previous test."""
        HostileProcess(self, lambda: leased_file(self.lock_file_path()))
        with self.assertRaises(BlockingIOError):
            os.open(self.lock_file_path(), os.O_RDWR | os.O_NONBLOCK)
        self.assertEqual(leases_on(self.lock_file_path()), {"BREAKING"})

    @needs_root
    def test_endless_new_leases(self):
        """The kernel removes a broken lease after 45 s, but the attacker replaces the file all the
        time."""
        kept = []

        def renew():
            ready = os.path.join(self.dir, "ready")
            kept.append(leased_file(ready))
            os.rename(ready, self.lock_file_path())
            for fd in kept[:-50]:
                os.close(fd)
            del kept[:-50]
            time.sleep(0.001)
        HostileProcess(self, lambda: leased_file(self.lock_file_path()), repeat=renew)
        for _ in range(10):
            self.make_stale_of_user(0)
            server, rival = self.start_actor(), self.start_actor()
            fd = self.unlink_and_serve(server)
            self.assertRefused(
                lambda: self.without_waiting(rival, lambda: rival.unlink(self.path)), server, fd)
            server.kill()
            self.assertEqual(self.without_waiting(rival, lambda: rival.unlink(self.path)), 0)


class RootInUserDirectory(HostileUserCase):
    """In a user's directory, root's calls neither wait for the user's locks nor trust records."""

    def setUp(self):
        super().setUp()
        os.chmod(self.dir, 0o755)
        os.chown(self.dir, DIRECTORY_USER, DIRECTORY_USER)

    def plant(self, plant):
        HostileProcess(self, lambda: plant(self.lock_file_path()), DIRECTORY_USER)

    def check_unlink_of_a_stale_path(self, plant):
        self.plant(plant)
        self.make_stale_of_user(DIRECTORY_USER)
        caller = self.start_actor()
        self.assertEqual(self.without_waiting(caller, lambda: caller.unlink(self.path)), 0)

    def assert_lease_was_not_awaited(self):
        """The lease still exists. The kernel removes it when a call has waited for it for 45 s."""
        self.assertEqual(leases_on(self.lock_file_path()), {"BREAKING"})

    @needs_root
    def test_unlink_of_a_stale_path_beside_a_locked_file(self):
        self.check_unlink_of_a_stale_path(locked_file)

    @needs_root
    def test_unlink_of_a_stale_path_beside_a_leased_file(self):
        self.check_unlink_of_a_stale_path(leased_file)
        self.assert_lease_was_not_awaited()

    @needs_root
    def test_unlink_of_a_stale_path_beside_a_forged_record(self):
        self.check_unlink_of_a_stale_path(forged_record)

    @needs_root
    def test_start_beside_a_locked_file(self):
        self.plant(locked_file)
        owner, rival = self.start_actor(), self.start_actor()
        fd = self.unlink_and_serve(owner)
        self.assertRefused(lambda: self.without_waiting(rival, lambda: rival.unlink(self.path)),
                           owner, fd)

    @needs_root
    def test_start_over_a_stale_path_beside_a_leased_file(self):
        self.plant(leased_file)
        self.make_stale_of_user(DIRECTORY_USER)
        owner = self.start_actor()
        self.assertServes(owner, self.unlink_and_serve(owner))
        self.assert_lease_was_not_awaited()

    @needs_root
    def test_start_beside_a_forged_record(self):
        self.plant(forged_record)
        owner = self.start_actor()
        self.assertServes(owner, self.unlink_and_serve(owner))

    @needs_root
    def test_unlink_of_a_live_path_beside_a_locked_file(self):
        """Root's call is refused although the lock file does not count."""
        owner = Actor(self, guard=True)
        owner.change_user(DIRECTORY_USER)
        fd = owner.serve(self.path)
        rival = self.start_actor()
        HostileProcess(self, lambda: lock_mutex(os.open(self.lock_file_path(), os.O_RDWR)) or
                       os.open(self.lock_file_path(), os.O_RDWR), DIRECTORY_USER)
        self.assertRefused(lambda: self.without_waiting(rival, lambda: rival.unlink(self.path)),
                           owner, fd)


class FilesThatCount(HostileUserCase):
    """The counterpart: a lock file that belongs to root or to the caller's user counts."""

    @needs_root
    def test_locked_file_of_root(self):
        HostileProcess(self, lambda: locked_file(self.lock_file_path()), 0)
        self.make_stale_of_user(0)
        self.assertEqual(self.start_actor().unlink(self.path), errno.EADDRINUSE)
        self.assertTrue(os.path.lexists(self.path))

    @needs_root
    def test_leased_file_of_root(self):
        HostileProcess(self, lambda: leased_file(self.lock_file_path()), 0)
        self.make_stale_of_user(0)
        self.assertEqual(self.start_actor().unlink(self.path), errno.EADDRINUSE)

    @needs_root
    def test_claim_of_root_on_an_absent_path(self):
        HostileProcess(self, lambda: forged_record(self.lock_file_path()), 0)
        server = self.start_actor()
        self.assertEqual(server.bind(server.socket("stream"), self.path), errno.EADDRINUSE)

    @needs_root
    def test_locked_file_of_the_callers_user(self):
        self.uid = OTHER_USER
        HostileProcess(self, lambda: locked_file(self.lock_file_path()), OTHER_USER)
        self.make_stale_of_user(OTHER_USER)
        self.assertEqual(self.start_actor().unlink(self.path), errno.EADDRINUSE)


class RemovedByRoot(HostileUserCase):
    """Root removes a user's directory with rm -rf, as userdel(8) would. rm neither fails nor waits
    for the user."""

    def setUp(self):
        super().setUp()
        self.home = os.path.join(self.dir, "home")
        os.mkdir(self.home, 0o755)
        os.chown(self.home, DIRECTORY_USER, DIRECTORY_USER)

    def create_entries(self, create_entry, count, uid=DIRECTORY_USER):
        """Calls create_entry(path) this many times, and keeps the descriptors open."""
        def act():
            return [create_entry(os.path.join(self.home, f"s{number}"))
                    for number in range(count)]
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = max(soft, 2 * ENTRIES + 64)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(hard, wanted)))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        HostileProcess(self, act, uid)

    def stale_with_locked_file(self, path):
        self.make_stale(path)
        return locked_file(self.lock_file_path(path))

    def locked_file_only(self, path):
        return locked_file(self.lock_file_path(path))

    def stale_with_leased_file(self, path):
        self.make_stale(path)
        return leased_file(self.lock_file_path(path))

    def stale_with_forged_record(self, path):
        self.make_stale(path)
        return forged_record(self.lock_file_path(path))

    def run_rm(self):
        """Runs rm -rf under the guard. Returns its exit status, and how often it waited."""
        process = self.start(["rm", "-rf", self.home], guard=True, stderr=subprocess.DEVNULL)
        return self.wait_and_count_switches(process)

    def check_removed(self, create_entry, count):
        self.create_entries(create_entry, count)
        status, switches = self.run_rm()
        self.assertEqual(status, 0)
        self.assertFalse(os.path.exists(self.home))
        print(f"# {count} entries: {switches} voluntary context switches", flush=True)
        self.assertLess(switches, 50 * count)  # 10 pauses for each lock file that does not count

    @needs_root
    def test_locked_lock_files_beside_stale_sockets(self):
        self.check_removed(self.stale_with_locked_file, ENTRIES)

    @needs_root
    def test_locked_files_named_like_lock_files(self):
        self.check_removed(self.locked_file_only, ENTRIES)

    @needs_root
    def test_leased_lock_files_beside_stale_sockets(self):
        self.check_removed(self.stale_with_leased_file, 100)

    @needs_root
    def test_forged_records_beside_stale_sockets(self):
        self.check_removed(self.stale_with_forged_record, 100)

    @needs_root
    def test_locks_of_root_count(self):
        """The counterpart: rm waits for two locks that root holds, and those entries remain."""
        self.create_entries(self.stale_with_locked_file, 2, uid=0)
        status, switches = self.run_rm()
        self.assertEqual(status, 1)
        self.assertTrue(os.path.exists(self.home))
        self.assertGreater(switches, 2 * harness.MAX_SWITCHES)

    @needs_root
    def test_live_sockets_are_not_removed(self):
        """The kernel's answer protects the user's server, although the lock files do not count."""
        owner = Actor(self, guard=True)
        owner.change_user(DIRECTORY_USER)
        path = os.path.join(self.home, "live")
        fd = owner.serve(path)
        self.create_entries(self.stale_with_locked_file, 3)
        status, _ = self.run_rm()
        self.assertEqual(status, 1)
        self.assertServes(owner, fd, path)
        self.assertEqual([name for name in os.listdir(self.home) if name[0] == "s"], [])


class ManyDecoys(HostileUserCase):
    """The directory contains thousands of files of another user that are named like alternate lock
    files. The guard must read all these names."""

    DECOYS = 20_000

    @needs_root
    def test_start_among_decoys(self):
        def create_decoys():
            for number in range(self.DECOYS):
                os.close(empty_file(f"{self.lock_file_path()}.{number:012x}"))
            return empty_file(self.lock_file_path())
        HostileProcess(self, create_decoys)
        self.make_stale_of_user(0)
        owner, rival = self.start_actor(), self.start_actor()
        fd = self.unlink_and_serve(owner)
        self.assertRefused(lambda: self.without_waiting(rival, lambda: rival.unlink(self.path)),
                           owner, fd)
        self.assertEqual(self.without_waiting(owner, lambda: owner.unlink(self.path)), 0)
        found = [name for name in os.listdir(self.dir)
                 if os.lstat(os.path.join(self.dir, name)).st_uid != STRANGER]
        self.assertEqual(found, [])


class HostileRival(HostileUserCase):
    """If another user binds the path first, root's server is refused like any other rival."""

    def check_unlink_as_root(self, guard, error):
        HostileProcess(self, lambda: live_socket(self.path))
        rival = self.start_actor(guard)
        self.assertEqual(self.without_waiting(rival, lambda: rival.unlink(self.path)), error)

    @needs_root
    def test_guarded(self):
        self.check_unlink_as_root(True, errno.EADDRINUSE)

    @needs_root
    def test_unguarded(self):
        self.check_unlink_as_root(False, 0)


# Starts a server as root. Then a user runs a set-user-ID rm on its socket, with settings that would
# disable the guard.
RUN_SET_ID_PROGRAM = """
install -m 4755 /bin/rm set-id-rm
chmod 755 .. .
python3 -c 'import socket, time
listener = socket.socket(socket.AF_UNIX)
listener.bind("s")
listener.listen()
time.sleep(1000)' & server=$!
until [ -S s ]; do sleep 0.05; done
setpriv --reuid 61001 --regid 61001 --clear-groups \
    env SOCKGUARD_DISABLE=1 SOCKGUARD_IGNORE='*' SOCKGUARD_LOG="$PWD/log" ./set-id-rm s
echo $?
kill $server
ls
"""


class SetUserIdProgram(harness.Case):
    """In a set-user-ID program, the guard from /etc/ld.so.preload ignores the user's settings."""

    def run_in_namespace(self, guard):
        library = shutil.copy(harness.LIBRARY, os.path.join(self.dir, "libsockguard.so"))
        os.chmod(library, 0o755)
        scratch = os.path.join(self.dir, "stage")
        os.mkdir(scratch)
        return self.run_program(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", RUN_WITH_PRIVATE_ETC,
             "sh", library if guard else "", RUN_SET_ID_PROGRAM],
            cwd=scratch, stdin=subprocess.DEVNULL, env={"LC_ALL": "C", "HOME": scratch})

    @needs_root
    def test_guarded(self):
        ended = self.run_in_namespace(guard=True)
        self.assertEqual(ended.stdout, "1\ns\nset-id-rm\n", ended.stderr)
        self.assertIn("Address already in use", ended.stderr)

    @needs_root
    def test_unguarded(self):
        self.assertEqual(self.run_in_namespace(guard=False).stdout, "0\nset-id-rm\n")


if __name__ == "__main__":
    sys.exit(harness.main())
