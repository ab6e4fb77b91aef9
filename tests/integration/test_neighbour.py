"""A hostile neighbour: another user, who may create files beside the socket, hinders nobody."""

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
from actor import OTHER, STRANGER, Actor, SocketCase, needs_root
from test_context_preload import ETC

LIBNEIGHBOUR = os.path.join(harness.BUILD, "tests", "context", ".libs", "libneighbour.so")
OWNER = 61003  # of a directory in which root acts
WRITE_LOCK = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0)
CLAIM_LOCK = struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, 1, 1, 0)
F_OFD_SETLK = 37
ENTRIES = 1000  # of a directory that root removes
# Seconds. To wait for a mutex that is believed takes three; the machine may be busy otherwise.
PROMPT = 2


def put_mutex(fd):
    fcntl.fcntl(fd, F_OFD_SETLK, WRITE_LOCK)


def put_claim(fd):
    fcntl.fcntl(fd, F_OFD_SETLK, CLAIM_LOCK)


class Neighbour:
    """A process of another user, which does something and keeps what it opened."""

    def __init__(self, case, act, uid=STRANGER, again=None):
        """act() is done when this returns; again(), if given, over and over from then on."""
        ready, told = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self._live(told, act, uid, again)
            finally:
                os._exit(1)
        os.close(told)
        case.addCleanup(self.kill)
        with open(ready, "rb") as done:
            case.assertEqual(done.read(1), b"!", "the neighbour could not do it")

    def _live(self, told, act, uid, again):
        signal.signal(signal.SIGIO, signal.SIG_IGN)  # nobody gets his lease back
        os.umask(0)
        if uid:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
        self.kept = act()
        os.write(told, b"!")
        os.close(told)
        while True:
            if again:
                again()
            else:
                time.sleep(60)

    def kill(self):
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        self.pid = None


# What may be planted at the name of a lock file; returned is what has to be kept open.

def empty_file(name):
    return os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)


def full_file(name):
    fd = empty_file(name)
    os.write(fd, b"9" * 4096)
    return fd


def forged_record(name, boot="00000000-0000-0000-0000-000000000000"):
    """As if somebody on another host had the name; with the claim that goes with it."""
    fd = empty_file(name)
    text = f"sockguard 1\nname held\npid 1\nuid 0\ncomm init\ntime 1795251844\nboot {boot}\n" \
           "socket 1\ncookie 1\nnetns 1\n"
    os.write(fd, text.encode().ljust(256))
    put_claim(fd)
    return fd


def locked_file(name):
    fd = empty_file(name)
    put_mutex(fd)
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


PLANTS = [empty_file, full_file, forged_record, locked_file, posix_locked_file, flocked_file,
          leased_file, fifo, directory, dangling_symlink, symlink_to_itself, symlink_to_a_file,
          hard_link, live_socket, unreadable_file]


class NeighbourCase(SocketCase):
    """In a sticky directory of root's, unless a test says otherwise."""

    uid = 0  # whose servers these are
    guard = True

    def setUp(self):
        super().setUp()
        os.chmod(self.dir, 0o1777)

    def server(self, guard=None):
        actor = Actor(self, guard=self.guard if guard is None else guard)
        if self.uid:
            actor.become(self.uid)
        return actor

    def promptly(self, act):
        """act()'s result. Another's locks are not waited for: the time is what is asked for."""
        began = time.monotonic()
        result = act()
        self.assertLess(time.monotonic() - began, PROMPT)
        return result

    def starts(self, actor, path=None):
        """What most servers do; the socket's descriptor."""
        path = path or self.path
        self.assertIn(self.promptly(lambda: actor.unlink(path)), (0, errno.ENOENT))
        return self.promptly(lambda: actor.serve(path))

    def stale_of(self, uid, path=None):
        self.stale(path)
        os.chown(path or self.path, uid, uid)


class Planted:
    """
    Whatever is at the lock file's name: servers start, the second is refused, and the claim keeps
    the name for its owner when somebody unguarded removes it.
    """

    def expect(self, plant):
        Neighbour(self, lambda: plant(self.lock()))
        before = self.names()
        self.stale_of(self.uid)
        owner, rival = self.server(), self.server()
        fd = self.starts(owner)
        self.assertServes(owner, fd)
        self.assertFate(lambda: self.promptly(lambda: rival.unlink(self.path)), owner, fd)
        if self.guard:
            os.unlink(self.path)
        rival_fd = rival.socket("stream")
        taken = self.promptly(lambda: rival.bind(rival_fd, self.path))
        self.assertEqual(taken, errno.EADDRINUSE if self.guard else 0)
        if not self.guard:
            return
        owner.close(fd)
        self.assertEqual(self.promptly(lambda: rival.bind(rival_fd, self.path)), 0)
        self.assertEqual(self.promptly(lambda: rival.unlink(self.path)), 0)
        self.assertEqual(self.names(), before)


class Crashed:
    """
    What a killed server leaves hinders nobody, and when the next one ends only what the neighbour
    planted is left.
    """

    def expect(self, plant):
        Neighbour(self, lambda: plant(self.lock()))
        before = self.names()
        owner, heir = self.server(), self.server()
        self.starts(owner)
        owner.kill()
        fd = self.starts(heir)
        self.assertServes(heir, fd)
        self.assertEqual(heir.unlink(self.path), 0)
        self.assertEqual(self.names(), before)


def _test_of(plant):
    return needs_root(lambda self: self.expect(plant))


for _plant in PLANTS:
    setattr(Planted, "test_" + _plant.__name__, _test_of(_plant))
    setattr(Crashed, "test_" + _plant.__name__, _test_of(_plant))


class Gate:
    """Where libneighbour.so, behind the guard, holds a server up in the middle of its unlink."""

    def __init__(self, case, uid):
        self.case, self.path = case, os.path.join(case.dir, "gate")
        for suffix in (".in", ".out"):
            os.mkfifo(self.path + suffix)
            os.chown(self.path + suffix, uid, uid)
        self.reached = os.open(self.path + ".in", os.O_RDONLY | os.O_NONBLOCK)
        case.addCleanup(os.close, self.reached)

    def actor(self, guard):
        library = f"{harness.LIBRARY}:{LIBNEIGHBOUR}" if guard else LIBNEIGHBOUR
        return Actor(self.case, env={"LD_PRELOAD": library, "NEIGHBOUR_WAITS": self.path})

    def hold_up(self, actor, path):
        actor.tell("unlink", path)
        if not select.select([self.reached], [], [], harness.PATIENCE / 3)[0]:
            self.case.fail(f"its unlink said {actor.heard()} instead; {actor.said()}")

    def let_go(self, actor):
        """The unlink's result and errno."""
        with open(self.path + ".out", "wb"):
            pass
        return actor.heard()[:2]


class Mutex:
    """
    A stranger's `touch` takes the mutex away from nobody. One server is held up in the middle of
    its unlink of a stale name; another that starts meanwhile has to leave the name alone, or the
    first removes its socket.
    """

    def before(self):
        """What the neighbour does before the first has its mutex,"""

    def meanwhile(self):
        """and what while it has it."""

    def held_up(self):
        self.gate = Gate(self, self.uid)
        first = self.gate.actor(self.guard)
        if self.uid:
            first.become(self.uid)
        self.gate.hold_up(first, self.path)
        return first

    def expect(self):
        self.stale_of(self.uid)
        self.before()
        second = self.server()
        first = self.held_up()
        self.meanwhile()
        removed = second.unlink(self.path)
        if self.guard:
            self.assertEqual(removed, errno.EADDRINUSE)
            self.assertEqual(self.gate.let_go(first), (0, 0))
            fd = self.starts(second)
            self.assertServes(second, fd)
        else:
            self.assertEqual(removed, 0)
            fd = second.serve(self.path)
            self.assertStolen(lambda: self.gate.let_go(first)[1], second, fd)

    def touch(self):
        self.neighbour = Neighbour(self, lambda: empty_file(self.lock()))

    def rm(self):
        self.neighbour.kill()
        os.unlink(self.lock())

    @needs_root
    def test_untouched(self):
        self.expect()

    @needs_root
    def test_touched(self):
        self.before = self.touch
        self.expect()

    @needs_root
    def test_touched_and_removed(self):
        """Who sees the plant and who sees it gone need the same mutex."""
        self.before, self.meanwhile = self.touch, self.rm
        self.expect()

    @needs_root
    def test_touched_for_a_crowd(self):
        """Other lock files of strangers in between are passed over."""
        def strew():
            return [empty_file(self.lock())] + \
                [locked_file(f"{self.lock()}.{word}") for word in ("0" * 12, "f" * 12, "0123456789ab", "x")]
        self.before = lambda: Neighbour(self, strew)
        self.expect()

    @needs_root
    def test_link(self):
        self.before = lambda: Neighbour(self, lambda: hard_link(self.lock()))
        self.expect()

    @needs_root
    def test_directory(self):
        self.before = lambda: Neighbour(self, lambda: directory(self.lock()))
        self.expect()


class Claim:
    """Nor the claim, whatever comes and goes: it keeps a name that somebody unguarded removed."""

    def expect(self, before=None, meanwhile=None, path=None):
        path = path or self.path
        owner, rival = self.server(), self.server()
        neighbour = Neighbour(self, lambda: empty_file(self.lock(path))) if before else None
        fd = self.moved(owner, path) if before == "moved" else owner.serve(path)
        if meanwhile:
            neighbour.kill()
            os.unlink(self.lock(path))
        os.unlink(path)
        rival_fd = rival.socket("stream")
        self.assertEqual(rival.bind(rival_fd, path), errno.EADDRINUSE if self.guard else 0)
        if self.guard:
            owner.close(fd)
            self.assertEqual(rival.bind(rival_fd, path), 0)
            self.assertEqual(rival.unlink(path), 0)
            self.assertEqual([name for name in self.names()
                              if os.lstat(os.path.join(self.dir, name)).st_uid == self.uid], [])

    def moved(self, owner, path):
        """The owner binds another name and renames it to the path."""
        fd = owner.serve(path + ".new")
        self.assertEqual(owner.rename(path + ".new", path), 0)
        return fd

    @needs_root
    def test_untouched(self):
        self.expect()

    @needs_root
    def test_touched_before(self):
        self.expect(before="bound")

    @needs_root
    def test_touched_before_and_removed_since(self):
        self.expect(before="bound", meanwhile="removed")

    @needs_root
    def test_renamed_to_a_touched_name(self):
        self.expect(before="moved")

    @needs_root
    def test_renamed_to_a_touched_name_and_removed_since(self):
        self.expect(before="moved", meanwhile="removed")


def pairs(mixin, guards=(True, False), uids=((0, "RootS"), (OTHER, "UserS"))):
    """The mixin's tests for servers of root's and of a user's, with the guard and without."""
    for guard in guards:
        for uid, whose in uids:
            name = ("Guarded" if guard else "Unguarded") + mixin.__name__ + whose
            globals()[name] = type(name, (mixin, NeighbourCase), {
                "guard": guard, "uid": uid, "__module__": __name__})


pairs(Planted)
pairs(Crashed, guards=(True,))
pairs(Mutex)
pairs(Claim)


class Dropped:
    """
    A server that binds as root, gives the socket to a user and becomes that user: there too the
    mutex is one. It closes its listener and is held up in the middle of its unlink.
    """

    def owner(self):
        owner = self.gate.actor(self.guard)
        fd = owner.serve(self.path)
        os.chown(self.path, OTHER, OTHER)
        owner.become(OTHER)
        owner.close(fd)
        return owner

    def expect(self):
        self.gate = Gate(self, OTHER)
        owner, rival = self.owner(), self.server()
        self.gate.hold_up(owner, self.path)
        removed = rival.unlink(self.path)
        self.assertEqual(removed, errno.EADDRINUSE if self.guard else 0)
        fd = None if self.guard else rival.serve(self.path)
        if not self.guard:
            os.chown(self.path, OTHER, OTHER)  # it is a second instance of that server
        self.assertEqual(self.gate.let_go(owner), (0, 0))
        if self.guard:
            self.assertServes(rival, self.starts(rival))
        else:
            self.assertFalse(self.answers(rival, fd))

    @needs_root
    def test_in_a_sticky_directory(self):
        self.expect()

    @needs_root
    def test_in_the_user_s_directory(self):
        os.chmod(self.dir, 0o755)
        os.chown(self.dir, OTHER, OTHER)
        self.expect()

    @needs_root
    def test_in_a_sticky_directory_beside_a_touched_name(self):
        Neighbour(self, lambda: empty_file(self.lock()))
        self.expect()


pairs(Dropped, uids=((0, ""),))


class Leased(NeighbourCase):
    """A lease is never met, so nobody waits for it."""

    @needs_root
    def test_ten_starts_of_ten(self):
        Neighbour(self, lambda: leased_file(self.lock()))
        self.stale_of(0)
        for _ in range(10):
            server = self.server()
            self.assertServes(server, self.starts(server))
            server.kill()

    @needs_root
    def test_none_is_broken(self):
        """A file that does not count is not opened: its owner still has the lease in full."""
        Neighbour(self, lambda: leased_file(self.lock()))
        self.stale_of(0)
        server, rival = self.server(), self.server()
        fd = self.starts(server)
        self.assertRefused(lambda: rival.unlink(self.path), server, fd)
        self.assertEqual(self.leases(), ["ACTIVE"])

    @needs_root
    def test_opened_it_would_be(self):
        """The counterpart: to open the file is to ask for the lease back."""
        Neighbour(self, lambda: leased_file(self.lock()))
        with self.assertRaises(BlockingIOError):
            os.open(self.lock(), os.O_RDWR | os.O_NONBLOCK)
        self.assertEqual(self.leases(), ["BREAKING"])

    def leases(self):
        """The states of those on the lock file, as the kernel lists them."""
        inode = str(os.lstat(self.lock()).st_ino)
        with open("/proc/locks") as table:
            words = [line.split() for line in table]
        return [line[2] for line in words if line[1] == "LEASE" and line[5].endswith(":" + inode)]

    @needs_root
    def test_fresh_ones_for_ever(self):
        """The kernel takes a lease away after 45 s, but there is always another."""
        kept = []

        def renew():
            ready = os.path.join(self.dir, "ready")
            kept.append(leased_file(ready))
            os.rename(ready, self.lock())
            for fd in kept[:-50]:
                os.close(fd)
            del kept[:-50]
            time.sleep(0.001)
        Neighbour(self, lambda: leased_file(self.lock()), again=renew)
        for _ in range(10):
            self.stale_of(0)
            server, rival = self.server(), self.server()
            fd = self.starts(server)
            self.assertRefused(lambda: self.promptly(lambda: rival.unlink(self.path)), server, fd)
            server.kill()
            self.assertEqual(self.promptly(lambda: rival.unlink(self.path)), 0)


class OwnDirectory(NeighbourCase):
    """In a user's own directory root does not wait for the user, nor believe him."""

    plant_uid = OWNER

    def setUp(self):
        super().setUp()
        os.chmod(self.dir, 0o755)
        os.chown(self.dir, OWNER, OWNER)

    def root_unlinks(self, plant):
        Neighbour(self, lambda: plant(self.lock()), self.plant_uid)
        self.stale_of(OWNER)
        return self.server().unlink(self.path)

    @needs_root
    def test_stale_name_beside_a_locked_file(self):
        self.assertEqual(self.promptly(lambda: self.root_unlinks(locked_file)), 0)

    @needs_root
    def test_stale_name_beside_a_leased_file(self):
        self.assertEqual(self.promptly(lambda: self.root_unlinks(leased_file)), 0)

    @needs_root
    def test_stale_name_beside_a_forged_record(self):
        self.assertEqual(self.promptly(lambda: self.root_unlinks(forged_record)), 0)

    @needs_root
    def test_start_beside_a_locked_file(self):
        Neighbour(self, lambda: locked_file(self.lock()), self.plant_uid)
        owner, rival = self.server(), self.server()
        fd = self.starts(owner)
        self.assertRefused(lambda: self.promptly(lambda: rival.unlink(self.path)), owner, fd)

    @needs_root
    def test_start_over_a_stale_name_beside_a_leased_file(self):
        Neighbour(self, lambda: leased_file(self.lock()), self.plant_uid)
        self.stale_of(OWNER)
        owner = self.server()
        self.assertServes(owner, self.starts(owner))

    @needs_root
    def test_start_beside_a_forged_record(self):
        Neighbour(self, lambda: forged_record(self.lock()), self.plant_uid)
        owner = self.server()
        self.assertServes(owner, self.starts(owner))

    @needs_root
    def test_live_socket_beside_a_locked_file(self):
        """What is not believed takes no protection away: the owner is refused to root."""
        owner = Actor(self, guard=True)
        owner.become(OWNER)
        fd = owner.serve(self.path)
        Neighbour(self, lambda: put_mutex(os.open(self.lock(), os.O_RDWR)) or
                  os.open(self.lock(), os.O_RDWR), self.plant_uid)
        self.assertRefused(lambda: self.promptly(lambda: self.server().unlink(self.path)),
                           owner, fd)


class Believed(NeighbourCase):
    """The counterpart of the above: the same of root's or of one's own does count."""

    @needs_root
    def test_locked_file(self):
        Neighbour(self, lambda: locked_file(self.lock()), 0)
        self.stale_of(0)
        self.assertEqual(self.server().unlink(self.path), errno.EADDRINUSE)
        self.assertTrue(os.path.lexists(self.path))

    @needs_root
    def test_leased_file(self):
        Neighbour(self, lambda: leased_file(self.lock()), 0)
        self.stale_of(0)
        self.assertEqual(self.server().unlink(self.path), errno.EADDRINUSE)

    @needs_root
    def test_claim_on_an_absent_name(self):
        Neighbour(self, lambda: forged_record(self.lock()), 0)
        server = self.server()
        self.assertEqual(server.bind(server.socket("stream"), self.path), errno.EADDRINUSE)

    @needs_root
    def test_ones_own_locked_file(self):
        self.uid = OTHER
        Neighbour(self, lambda: locked_file(self.lock()), OTHER)
        self.stale_of(OTHER)
        self.assertEqual(self.server().unlink(self.path), errno.EADDRINUSE)


def many_descriptors():
    resource.setrlimit(resource.RLIMIT_NOFILE, (2 * ENTRIES + 64, 2 * ENTRIES + 64))


class RemovedByRoot(NeighbourCase):
    """root's rm -rf of a user's directory, as userdel(8) has it, neither stalls nor leaves it."""

    def setUp(self):
        super().setUp()
        self.home = os.path.join(self.dir, "home")
        os.mkdir(self.home, 0o755)
        os.chown(self.home, OWNER, OWNER)

    def fill(self, entry, count, uid=OWNER):
        """What entry(name, number) makes, the descriptors kept."""
        def act():
            return [entry(os.path.join(self.home, f"s{number}"), number)
                    for number in range(count)]
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = max(soft, 2 * ENTRIES + 64)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(hard, wanted)))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        Neighbour(self, act, uid)

    def locked_beside_stale(self, name, _):
        self.stale(name)
        return locked_file(self.lock(name))

    def locked_alone(self, name, _):
        return locked_file(self.lock(name))

    def leased_beside_stale(self, name, _):
        self.stale(name)
        return leased_file(self.lock(name))

    def forged_beside_stale(self, name, _):
        self.stale(name)
        return forged_record(self.lock(name))

    def remove(self):
        """rm -rf under the guard: its status, and the seconds it took."""
        process = self.start(["rm", "-rf", self.home], guard=True, stderr=subprocess.DEVNULL)
        began = time.monotonic()
        return process.wait(60), time.monotonic() - began

    def expect(self, entry, count):
        self.fill(entry, count)
        status, took = self.remove()
        self.assertEqual(status, 0)
        self.assertFalse(os.path.exists(self.home))
        self.assertLess(took, 45)
        print(f"# {count} entries: {took:.1f} s", flush=True)

    @needs_root
    def test_locked_lock_files_beside_stale_sockets(self):
        self.expect(self.locked_beside_stale, ENTRIES)

    @needs_root
    def test_locked_files_named_like_lock_files(self):
        self.expect(self.locked_alone, ENTRIES)

    @needs_root
    def test_leased_lock_files_beside_stale_sockets(self):
        self.expect(self.leased_beside_stale, 100)

    @needs_root
    def test_forged_records_beside_stale_sockets(self):
        self.expect(self.forged_beside_stale, 100)

    @needs_root
    def test_believed_locks_are_waited_for(self):
        """The counterpart: two locks of root's own, and rm leaves what they are on."""
        self.fill(self.locked_beside_stale, 2, uid=0)
        status, _ = self.remove()
        self.assertEqual(status, 1)
        self.assertTrue(os.path.exists(self.home))

    @needs_root
    def test_live_sockets_are_not_removed(self):
        """What holds the name is the socket, not the lock: the user's servers stay protected."""
        owner = Actor(self, guard=True)
        owner.become(OWNER)
        path = os.path.join(self.home, "live")
        fd = owner.serve(path)
        self.fill(self.locked_beside_stale, 3)
        status, _ = self.remove()
        self.assertEqual(status, 1)
        self.assertServes(owner, fd, path)
        self.assertEqual([name for name in os.listdir(self.home) if name[0] == "s"], [])


class Crowded(NeighbourCase):
    """Thousands of files that look like lock files, in a directory that has to be listed."""

    DECOYS = 20_000

    @needs_root
    def test_start_among_decoys(self):
        def strew():
            for number in range(self.DECOYS):
                os.close(empty_file(f"{self.lock()}.{number:012x}"))
            return empty_file(self.lock())
        Neighbour(self, strew)
        self.stale_of(0)
        owner, rival = self.server(), self.server()
        fd = self.starts(owner)
        self.assertRefused(lambda: self.promptly(lambda: rival.unlink(self.path)), owner, fd)
        self.assertEqual(self.promptly(lambda: owner.unlink(self.path)), 0)
        found = [name for name in os.listdir(self.dir)
                 if os.lstat(os.path.join(self.dir, name)).st_uid != STRANGER]
        self.assertEqual(found, [])


class Rival(NeighbourCase):
    """
    Not a protection of root's: where strangers may create names, a stranger may bind a socket's
    name first, and then he is a rival like any other.
    """

    def expect(self, guard):
        Neighbour(self, lambda: live_socket(self.path))
        return self.server(guard).unlink(self.path)

    @needs_root
    def test_guarded(self):
        self.assertEqual(self.promptly(lambda: self.expect(True)), errno.EADDRINUSE)

    @needs_root
    def test_unguarded(self):
        self.assertEqual(self.expect(False), 0)


# A server of root's, and a set-ID program that a user starts with settings of his own.
SET_ID = """
install -m 4755 /bin/rm set-id-rm
chmod 755 .. .
python3 -c 'import socket, time
listener = socket.socket(socket.AF_UNIX)
listener.bind("s")
listener.listen()
time.sleep(60)' & server=$!
until [ -S s ]; do sleep 0.05; done
setpriv --reuid 61001 --regid 61001 --clear-groups \
    env SOCKGUARD_DISABLE=1 SOCKGUARD_IGNORE='*' SOCKGUARD_LOG="$PWD/log" ./set-id-rm s
echo $?
kill $server
ls
"""


class SetId(harness.Case):
    """In a set-ID program, by /etc/ld.so.preload: the user's settings mean nothing."""

    def inside(self, guard):
        library = shutil.copy(harness.LIBRARY, os.path.join(self.dir, "libsockguard.so"))
        os.chmod(library, 0o755)
        stage = os.path.join(self.dir, "stage")
        os.mkdir(stage)
        return self.run_program(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", ETC, "sh",
             library if guard else "", SET_ID],
            cwd=stage, stdin=subprocess.DEVNULL, env={"LC_ALL": "C", "HOME": stage})

    @needs_root
    def test_guarded(self):
        done = self.inside(guard=True)
        self.assertEqual(done.stdout, "1\ns\nset-id-rm\n", done.stderr)
        self.assertIn("Address already in use", done.stderr)

    @needs_root
    def test_unguarded(self):
        self.assertEqual(self.inside(guard=False).stdout, "0\nset-id-rm\n")


if __name__ == "__main__":
    sys.exit(harness.main())
