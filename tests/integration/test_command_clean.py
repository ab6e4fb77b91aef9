"""sockguard clean: what it removes, what it leaves, and why."""

import errno
import fcntl
import os
import signal
import socket
import struct
import sys
import time
import threading

import actor
import command
import harness

F_OFD_SETLK = 37
SYS_RENAMEAT2 = {"x86_64": 316, "aarch64": 276}.get(os.uname().machine)


def lock_byte(file, byte):
    """As the guard locks: byte 0 is the mutex, byte 1 the claim."""
    fcntl.fcntl(file, F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0))


class CleanCase(command.CommandCase):
    def clean(self, *args, run=None):
        ended = (run or self.sockguard)("clean", *args)
        self.assertEqual(ended.stderr, "")
        return ended.returncode, ended.stdout

    def crashed(self, path=None):
        """What a guarded owner leaves that is killed: a stale socket, and its lock file."""
        owner = self.owner(path)
        os.kill(owner.pid, signal.SIGKILL)
        os.waitid(os.P_PID, owner.pid, os.WEXITED | os.WNOWAIT)

    def removed(self, path=None, what="stale"):
        return f"removed {path or self.path} ({what})\n"

    def left(self, why, path=None):
        return f"left {path or self.path} ({why})\n"


class Paths(CleanCase):
    def test_stale(self):
        self.stale()
        self.assertEqual(self.clean(self.path), (0, self.removed()))
        self.assertEqual(self.names(), [])

    def test_after_a_crash(self):
        self.crashed()
        self.assertEqual(self.names(), [".app.sock.sockguard", "app.sock"])
        self.assertEqual(self.clean(self.path), (0, self.removed()))
        self.assertEqual(self.names(), [])

    def test_live(self):
        self.bound()
        before = self.identity()
        self.assertEqual(self.clean(self.path), (3, self.left("live")))
        self.assertEqual(self.identity(), before)
        self.assertEqual(self.names(), ["app.sock"])

    def test_live_and_guarded(self):
        owner = self.owner()
        why = f"live, bound by actor, pid {owner.pid}"
        self.assertEqual(self.clean(self.path), (3, self.left(why)))
        self.assertEqual(self.names(), [".app.sock.sockguard", "app.sock"])

    def test_live_and_bound_only(self):
        ours = socket.socket(socket.AF_UNIX)
        self.addCleanup(ours.close)
        ours.bind(self.path)
        self.assertEqual(self.clean(self.path), (3, self.left("live")))

    def test_live_and_inherited(self):
        """By the guard's rules a process may remove its own socket; the command may not."""
        listener = self.bound()
        ended = self.sockguard("clean", self.path, pass_fds=[listener.fileno()])
        self.assert_ended(ended, 3, self.left("live"))
        self.assertEqual(self.names(), ["app.sock"])

    def test_absent(self):
        for path in (self.path, self.path + "/", self.path + "/below", self.dir + "/no/app.sock",
                     self.lock(), ""):
            for option in ([], ["-v"], ["-n"]):
                ended = self.sockguard("clean", *option, path)
                self.assert_ended(ended, 3, "", f"sockguard: {path}: there is no such socket, "
                                  "lock file or directory\n")
        self.assertEqual(self.names(), [])

    def test_absent_with_an_idle_lock_file(self):
        self.crashed()
        os.unlink(self.path)
        self.assertEqual(self.clean(self.path),
                         (0, self.removed(self.lock(), "idle lock file")))
        self.assertEqual(self.names(), [])

    def test_absent_and_claimed(self):
        self.owner()
        os.unlink(self.path)
        for path in (self.path, self.lock()):
            self.assertEqual(self.clean(path),
                             (3, self.left("a live owner claims it", self.lock())))
        self.assertEqual(self.names(), [".app.sock.sockguard"])

    def test_no_socket(self):
        path = self.file("file", "precious")
        self.assertEqual(self.clean(path),
                         (3, self.left("neither a socket nor a lock file", path)))
        os.symlink("file", self.path)
        self.assertEqual(self.clean(self.path)[0], 3)
        self.assertEqual(self.names(), ["app.sock", "file"])

    def test_a_symlink_to_a_stale_socket(self):
        self.stale(self.path + "2")
        os.symlink("app.sock2", self.path)
        self.assertEqual(self.clean(self.path)[0], 3)
        self.assertEqual(self.names(), ["app.sock", "app.sock2"])

    def test_the_worst_of_several(self):
        self.stale()
        self.bound(self.path + "2")
        self.assertEqual(self.clean(self.path, self.path + "2"),
                         (3, self.removed() + self.left("live", self.path + "2")))

    def test_a_name_that_holds_anything(self):
        path = os.fsencode(self.dir) + b"/a\n\xff\x1b[2J"
        self.stale(path)
        ended = self.sockguard("clean", path)
        self.assert_ended(ended, 0, self.removed(self.dir + r"/a\n\xff\x1b[2J"))
        self.assertEqual(self.names(), [])

    def test_where_the_command_is_guarded_itself(self):
        self.crashed()
        ended = self.sockguard("run", harness.COMMAND, "clean", self.path)
        self.assert_ended(ended, 0, self.removed())
        self.assertEqual(self.names(), [])


class LockFiles(CleanCase):
    def test_empty(self):
        path = self.file(".app.sock.sockguard")
        self.assertEqual(self.clean(path), (0, self.removed(path, "idle lock file")))
        self.assertEqual(self.names(), [])

    def test_of_another_kind(self):
        other = self.file("other", "precious")
        os.mkdir(harness.lock_of(self.path + "d"))
        os.symlink(other, harness.lock_of(self.path + "s"))
        os.link(other, harness.lock_of(self.path + "l"))
        os.mkfifo(harness.lock_of(self.path + "f"))
        self.file(".t.sockguard", "precious")
        before = self.names()
        self.assertEqual(self.clean(self.dir, "-v")[0], 3)
        self.assertEqual(self.names(), before)
        for name in (".app.sockl.sockguard", ".t.sockguard"):
            path = os.path.join(self.dir, name)
            self.assertEqual(self.clean(path), (3, self.left("not a lock file of ours", path)))
        self.assertEqual(self.names(), before)

    def test_locked(self):
        path = self.file(".app.sock.sockguard")
        for byte, why in ((0, "somebody has locked it"), (1, "a live owner claims it")):
            with open(path, "r+b") as file:
                lock_byte(file, byte)
                for option in ([], ["-n"]):
                    self.assertEqual(self.clean(path, *option), (3, self.left(why, path)))
        self.assertEqual(self.clean(path)[0], 0)

    def test_of_an_alternate_name(self):
        """Where a stranger's file is at the plain one."""
        for mode in (0o755, 0o1777):
            os.chmod(self.dir, mode)
            path = self.file(".app.sock.sockguard.0123456789ab")
            for what in (path, self.dir):
                self.assertEqual(self.clean("-n", what), (
                    0, f"would remove {path} (idle lock file)\n"))
            self.assertEqual(self.clean(self.dir), (0, self.removed(path, "idle lock file")))
            self.assertEqual(self.names(), [])

    @actor.needs_root
    def test_a_stranger_s_in_a_shared_directory(self):
        os.chmod(self.dir, 0o1777)
        path = self.file(".app.sock.sockguard")
        os.chown(path, actor.STRANGER, actor.STRANGER)
        self.assertEqual(self.clean(path), (4, self.left("it cannot be locked", path)))
        self.assertEqual(self.names(), [".app.sock.sockguard"])

    def test_beside_a_live_socket(self):
        self.bound()
        path = self.file(".app.sock.sockguard")
        self.assertEqual(self.clean(path), (0, self.removed(path, "idle lock file")))
        self.assertEqual(self.names(), ["app.sock"])

    def test_a_stale_socket_whose_mutex_is_held(self):
        self.stale()
        with open(self.file(".app.sock.sockguard"), "r+b") as file:
            lock_byte(file, 0)
            self.assertEqual(self.clean(self.path),
                             (3, self.left("live by now, or its lock file is busy")))
        self.assertEqual(self.names(), [".app.sock.sockguard", "app.sock"])


class Directories(CleanCase):
    def scene(self):
        self.stale()
        self.crashed(self.path + "2")
        self.file(".app.sock3.sockguard")
        self.file("file", "precious")
        os.mkdir(os.path.join(self.dir, "below"))
        self.stale(os.path.join(self.dir, "below", "app.sock"))

    def test_its_entries(self):
        self.scene()
        expected = self.removed() + self.removed(self.path + "2") + \
            self.removed(harness.lock_of(self.path + "3"), "idle lock file")
        self.assertEqual(self.clean(self.dir), (0, expected))
        self.assertEqual(self.names(), ["below", "file"])
        self.assertEqual(os.listdir(self.dir + "/below"), ["app.sock"])

    def test_dry_run(self):
        self.scene()
        before = self.states()
        for option in ("-n", "--dry-run"):
            status, told = self.clean(option, self.dir + "/")
            # The lock file of the crashed one too.
            self.assertEqual((status, told.count("app.sock")), (0, 4))
        self.assertEqual(self.states(), before)

    def states(self):
        """Each name with what would not stay as it is if somebody wrote there."""
        found = {name: os.lstat(os.path.join(self.dir, name)) for name in self.names()}
        return {name: (one.st_ino, one.st_nlink, one.st_size, one.st_mtime_ns)
                for name, one in found.items()}

    def test_live_ones(self):
        self.bound()
        ended = self.sockguard("clean", self.dir)
        self.assert_ended(ended, 3, "",
                          "sockguard: left 1 as they are; --verbose prints which, and why\n")
        for option in ("-v", "--verbose"):
            self.assertEqual(self.clean(option, self.dir), (3, self.left("live")))
        self.assertEqual(self.names(), ["app.sock"])

    def test_an_empty_one(self):
        self.assertEqual(self.clean(self.dir), (0, ""))


@actor.needs_root
class Permission(CleanCase):
    def test_a_directory_that_may_not_be_written_to(self):
        self.stale()
        os.chmod(self.path, 0o777)
        self.assertEqual(self.clean(self.path, run=self.as_stranger),
                         (4, self.left("no permission")))
        self.assertEqual(self.names(), ["app.sock"])

    def test_a_directory_that_may_not_be_read(self):
        os.chmod(self.dir, 0o700)
        self.assertEqual(self.clean(self.dir, run=self.as_stranger),
                         (4, self.left("no permission", self.dir)))
        self.assertEqual(self.clean(self.path, run=self.as_stranger)[0], 4)

    def test_a_stranger_s_lock_file(self):
        path = self.file(".app.sock.sockguard")
        os.chmod(path, 0o600)
        self.assertEqual(self.clean(path, run=self.as_stranger),
                         (4, self.left("no permission to look into it", path)))

    def test_one_planted_in_a_sticky_directory(self):
        os.chmod(self.dir, 0o1777)
        path = self.file(".app.sock.sockguard")
        os.chmod(path, 0o666)
        self.assertEqual(self.clean(path, run=self.as_stranger)[0], 4)
        self.assertEqual(self.names(), [".app.sock.sockguard"])


# Swaps two names for ever, as their owner.
SWAPPER = """
import ctypes, sys
libc = ctypes.CDLL(None)
one, other = (name.encode() for name in sys.argv[1:])
print("up", flush=True)
while libc.renameat2(-100, one, -100, other, 2) == 0:
    pass
"""


@actor.needs_root
class Foreign(CleanCase):
    """Root cleans a directory of somebody who is not to be trusted."""

    def setUp(self):
        super().setUp()
        self.home = os.path.join(self.dir, "home")
        self.run = os.path.join(self.home, "run")
        self.path = os.path.join(self.run, "app.sock")
        for directory in (self.home, self.run):
            os.mkdir(directory)
            os.chown(directory, actor.STRANGER, actor.STRANGER)

    def of_stranger(self, path, lock=True):
        """A stale socket, and what a guarded server that crashed leaves beside it."""
        self.stale(path)
        os.chown(path, actor.STRANGER, actor.STRANGER)
        if lock:
            with open(self.lock(path), "w", encoding="ascii"):
                os.chmod(self.lock(path), 0o600)
                os.chown(self.lock(path), actor.STRANGER, actor.STRANGER)

    def why(self):
        return (f"no lock file to lock, and the directory belongs to uid {actor.STRANGER}: "
                "run this command as that user")

    def test_with_a_lock_file(self):
        for what in (self.path, self.run):
            self.of_stranger(self.path)
            self.assertEqual(self.clean(what), (0, self.removed()))
            self.assertEqual(os.listdir(self.run), [])

    def test_without_one_none_is_created(self):
        self.of_stranger(self.path, lock=False)
        before = os.stat(self.run).st_mtime_ns
        for option in ([], ["-n"]):
            self.assertEqual(self.clean(self.path, *option), (4, self.left(self.why())))
        ended = self.sockguard("clean", self.run)
        self.assert_ended(ended, 4, "",
                          "sockguard: left 1 as they are; --verbose prints which, and why\n")
        self.assertEqual(self.clean("-v", self.run), (4, self.left(self.why())))
        self.assertEqual((os.listdir(self.run), os.stat(self.run).st_mtime_ns),
                         (["app.sock"], before))

    def test_its_owner_may(self):
        self.of_stranger(self.path, lock=False)
        self.assertEqual(self.clean(self.path, run=self.as_stranger), (0, self.removed()))
        self.assertEqual(os.listdir(self.run), [])

    def test_a_mutex_that_is_held_delays_little(self):
        """However many there are. Each would take three seconds."""
        paths = [f"{self.path}{i}" for i in range(30)]
        files = []
        for path in paths:
            self.of_stranger(path)
            files.append(open(self.lock(path), "r+b"))
            self.addCleanup(files[-1].close)
            lock_byte(files[-1], 0)
        start = time.monotonic()
        status, told = self.clean("-v", self.run)
        self.assertEqual(status, 3)
        self.assertEqual(told.count("live by now, or its lock file is busy"), len(paths))
        self.assertLess(time.monotonic() - start, 3 * len(paths))
        self.assertEqual(len(os.listdir(self.run)), 2 * len(paths))

    def test_a_symbolic_link_is_not_followed(self):
        secret = os.path.join(self.dir, "secret")
        os.mkdir(secret, 0o700)
        self.stale(os.path.join(secret, "app.sock"))
        link = os.path.join(self.home, "link")
        os.symlink(secret, link)
        for name in (link, link + "/"):
            self.assertEqual(self.clean(name), (3, self.left(
                "a symbolic link, which is not followed", name)))
        self.assertEqual(os.listdir(secret), ["app.sock"])

    def test_a_directory_that_is_swapped_for_a_symbolic_link(self):
        """For one to a directory of root's, where files have the names of the stale sockets."""
        names = [f"victim{i:02}" for i in range(20)]
        secret = os.path.join(self.dir, "secret")
        link = os.path.join(self.home, "link")
        os.mkdir(secret, 0o700)
        for name in names:
            with open(os.path.join(secret, name), "w", encoding="ascii") as file:
                file.write("precious")
        os.symlink(secret, link)
        os.lchown(link, actor.STRANGER, actor.STRANGER)
        run = os.open(self.run, os.O_RDONLY | os.O_DIRECTORY)
        self.addCleanup(os.close, run)
        swapper = self.start([harness.PYTHON, "-c", SWAPPER, self.run, link], stdout=-1,
                             text=True, user=actor.STRANGER, group=actor.STRANGER)
        self.assertEqual(swapper.stdout.readline(), "up\n")
        cleaned = 0
        for turn in range(300):
            self.assertIsNone(swapper.poll())
            for name in os.listdir(run):
                os.unlink(name, dir_fd=run)
            for name in names:
                self.of_stranger(f"/proc/self/fd/{run}/{name}", lock=turn % 2 == 0)
            ended = self.sockguard("clean", "-v", self.run)
            self.assertEqual(sorted(os.listdir(secret)), names)
            cleaned += ended.stdout.count("removed ")
        self.assertGreater(cleaned, 0)  # it was not the symbolic link each time


class Race(CleanCase):
    """A server takes the stale name over between the command's look and its act."""

    def taken_over(self, inherited):
        """Holds the mutex until the command waits for it, and the name leads to a live socket."""
        self.stale()
        before = self.identity()
        with socket.socket(socket.AF_UNIX) as server, \
                open(self.file(".app.sock.sockguard"), "r+b") as file:
            lock_byte(file, 0)
            cleaner = self.start([harness.COMMAND, "clean", self.path], stdout=-1, text=True,
                                 pass_fds=[server.fileno()] if inherited else [])
            harness.wait_until(lambda: self.pauses(cleaner.pid) >= 3, "the command to wait")
            self.assertEqual(self.identity(), before)
            os.unlink(self.path)
            server.bind(self.path)
            taken = self.identity()
            file.close()
            told, _ = cleaner.communicate(timeout=harness.PATIENCE)
            self.assertEqual(told, self.left("live by now, or its lock file is busy"))
            self.assertEqual((cleaner.returncode, self.identity()), (3, taken))

    def pauses(self, pid):
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            return int(file.read().partition("\nvoluntary_ctxt_switches:")[2].split()[0])

    def test_by_another_process(self):
        self.taken_over(inherited=False)

    def test_with_a_socket_that_the_command_inherited(self):
        """By the guard's rules it would be the command's own to remove."""
        self.taken_over(inherited=True)

    def test_between_the_last_look_and_the_act(self):
        """By a server that knows no mutex: what is removed is compared once more."""
        self.stale()
        cleaner = self.start(["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=renameat2",
                              "-e", "inject=renameat2:delay_enter=2000000:when=1",
                              harness.COMMAND, "clean", self.path], stdout=-1, stderr=-1,
                             text=True)
        harness.wait_until(lambda: self.is_renaming(cleaner.pid), "the command to act")
        os.unlink(self.path)
        self.bound()
        taken = self.identity()
        told, complaints = cleaner.communicate(timeout=harness.PATIENCE)
        self.assertEqual((told, complaints),
                         (self.left("live by now, or its lock file is busy"), ""))
        self.assertEqual((cleaner.returncode, self.identity(), self.names()),
                         (3, taken, ["app.sock"]))

    def is_renaming(self, parent):
        """Does strace hold its child up in the call?"""
        try:
            with open(f"/proc/{parent}/task/{parent}/children", encoding="ascii") as file:
                child = file.read().split()[0]
            with open(f"/proc/{child}/syscall", encoding="ascii") as file:
                return file.read().split()[0] == str(SYS_RENAMEAT2)
        except (IndexError, FileNotFoundError):
            return False

    def test_where_nothing_can_be_renamed_without_replacing(self):
        self.stale()
        ended = self.run_program(["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=renameat2",
                                  "-e", "inject=renameat2:error=EINVAL", harness.COMMAND, "clean",
                                  self.path])
        self.assert_ended(ended, 0, self.removed())
        self.assertEqual(self.names(), [])


# Starts on the path, looks a few times whether it leads to its own socket still, and crashes; again
# and again, until it is told to stop. Prints how often it was bound, and how often it was robbed.
SERVER = """
import array, fcntl, os, select, socket, sys
SIOCUNIXFILE = 0x89E0
path = sys.argv[1]
lives = thefts = 0
print("up", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    try:
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        server = socket.socket(socket.AF_UNIX)
        server.bind(path)
    except OSError:
        continue
    server.listen()
    own = os.fstat(fcntl.ioctl(server, SIOCUNIXFILE, 0))
    lives += 1
    for _ in range(20):
        try:
            there = os.lstat(path)
        except FileNotFoundError:
            there = None
        if not there or (there.st_dev, there.st_ino) != (own.st_dev, own.st_ino):
            thefts += 1
            break
    server.close()
print(lives, thefts)
"""


@actor.needs_root
class Starts(CleanCase):
    """Guarded servers start and crash all the time, while others clear up."""

    def thefts(self, *cleaner):
        servers = [self.start([harness.PYTHON, "-c", SERVER, self.path], guard=True,
                              settings={"LOG": "none"}, stdin=-1, stdout=-1, text=True)
                   for _ in range(2)]
        for server in servers:
            self.assertEqual(server.stdout.readline(), "up\n")
        removed = 0
        for _ in range(200):
            ended = self.run_program(cleaner)
            removed += ended.stdout.count("removed ")
        told = [server.communicate("stop\n", timeout=harness.PATIENCE)[0] for server in servers]
        lives, thefts = (sum(int(line.split()[i]) for line in told) for i in (0, 1))
        self.assertGreater(lives, len(servers))
        return removed, thefts

    def test_they_lose_nothing_to_the_command(self):
        removed, thefts = self.thefts(harness.COMMAND, "clean", self.path, self.dir)
        self.assertGreater(removed, 0)  # it had something to do
        self.assertEqual(thefts, 0)

    def test_they_do_to_others(self):
        _, thefts = self.thefts("rm", "-f", self.path)
        self.assertGreater(thefts, 0)


class Beside(CleanCase):
    """A cleaner that goes through the directory again and again, and servers that come and go."""

    def setUp(self):
        super().setUp()
        crowd = os.path.join(harness.BUILD, "tests", "context", "crowd")
        self.servers = [self.start([crowd, self.dir, "rival", "50"], guard=True, stdin=-1,
                                   stdout=-1, stderr=-1, text=True, settings={"LOG": "none"})
                        for _ in range(2)]

    def clean_until(self, over, clean):
        harness.wait_until(lambda: clean() or over(), "the servers to have met")

    def test_servers(self):
        """Nothing of theirs is stolen, and nothing is left."""
        said = []

        def listen(server):
            said.append(server.stdout.readline())

        listeners = [threading.Thread(target=listen, args=[server]) for server in self.servers]
        for listener in listeners:
            listener.start()
        self.clean_until(lambda: len(said) == 2 or self.any_ended(),
                         lambda: self.sockguard("clean", self.dir) and None)
        for server, listener in zip(self.servers, listeners):
            _, err = server.communicate("", timeout=harness.PATIENCE)
            listener.join()
            self.assertEqual((server.returncode, err), (0, ""))
        self.assertEqual((said, self.names()), (["met\n"] * 2, []))

    def any_ended(self):
        return any(server.poll() is not None for server in self.servers)

    def test_a_cleaner_that_looks_and_acts(self):
        """It takes a socket that was not listening yet for stale."""
        self.clean_until(self.any_ended, self.remove_refused)
        robbed = next(server for server in self.servers if server.poll() is not None)
        self.assertEqual(robbed.returncode, 1)
        self.assertRegex(robbed.stderr.read(), r"\Astolen")

    def remove_refused(self):
        for name in self.names():
            path = os.path.join(self.dir, name)
            with socket.socket(socket.AF_UNIX) as client:
                if client.connect_ex(path) == errno.ECONNREFUSED:
                    try:
                        os.unlink(path)
                    except FileNotFoundError:
                        pass


if __name__ == "__main__":
    sys.exit(harness.main())
