"""sockguard clean: which files it removes, which it leaves, and the reasons that it prints."""

import errno
import fcntl
import os
import signal
import socket
import struct
import sys
import threading

import actor
import command
import harness

F_OFD_SETLK = 37


def lock_byte(file, byte):
    """Locks a byte of a lock file, like the guard: byte 0 is the mutex, byte 1 the claim."""
    fcntl.fcntl(file, F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0))


class CleanCase(command.CommandCase):
    def clean(self, *args, run=None):
        ended = (run or self.sockguard)("clean", *args)
        self.assertEqual(ended.stderr, "")
        return ended.returncode, ended.stdout

    def leave_files_of_a_crash(self, path=None):
        """Creates the files that a killed owner leaves: a stale socket and its lock file."""
        owner = self.start_owner(path)
        os.kill(owner.pid, signal.SIGKILL)
        os.waitid(os.P_PID, owner.pid, os.WEXITED | os.WNOWAIT)

    def removed(self, path=None, what="stale"):
        return f"removed {path or self.path} ({what})\n"

    def left(self, why, path=None):
        return f"left {path or self.path} ({why})\n"


class Paths(CleanCase):
    def test_stale(self):
        self.make_stale()
        self.assertEqual(self.clean(self.path), (0, self.removed()))
        self.assertEqual(self.names(), [])

    def test_after_a_crash(self):
        self.leave_files_of_a_crash()
        self.assertEqual(self.names(), [".app.sock.sockguard", "app.sock"])
        self.assertEqual(self.clean(self.path), (0, self.removed()))
        self.assertEqual(self.names(), [])

    def test_live(self):
        self.bind_socket()
        before = self.identity()
        self.assertEqual(self.clean(self.path), (3, self.left("live")))
        self.assertEqual(self.identity(), before)
        self.assertEqual(self.names(), ["app.sock"])

    def test_live_and_guarded(self):
        owner = self.start_owner()
        why = f"live, bound by actor, pid {owner.pid}"
        self.assertEqual(self.clean(self.path), (3, self.left(why)))
        self.assertEqual(self.names(), [".app.sock.sockguard", "app.sock"])

    def test_live_but_not_listening(self):
        ours = socket.socket(socket.AF_UNIX)
        self.addCleanup(ours.close)
        ours.bind(self.path)
        self.assertEqual(self.clean(self.path), (3, self.left("live")))

    def test_live_and_inherited(self):
        """The guard would allow the unlink, because the command owns the path."""
        listener = self.bind_socket()
        ended = self.sockguard("clean", self.path, pass_fds=[listener.fileno()])
        self.assert_result(ended, 3, self.left("live"))
        self.assertEqual(self.names(), ["app.sock"])

    def test_absent(self):
        for path in (self.path, self.path + "/", self.path + "/below", self.dir + "/no/app.sock",
                     self.lock_file_path(), ""):
            for option in ([], ["-v"], ["-n"]):
                ended = self.sockguard("clean", *option, path)
                self.assert_result(ended, 3, "", f"sockguard: {path}: no such socket, "
                                   "lock file or directory\n")
        self.assertEqual(self.names(), [])

    def test_absent_with_an_idle_lock_file(self):
        self.leave_files_of_a_crash()
        os.unlink(self.path)
        self.assertEqual(self.clean(self.path),
                         (0, self.removed(self.lock_file_path(), "idle lock file")))
        self.assertEqual(self.names(), [])

    def test_absent_and_claimed(self):
        self.start_owner()
        os.unlink(self.path)
        for path in (self.path, self.lock_file_path()):
            self.assertEqual(self.clean(path),
                             (3, self.left("a live owner claims it", self.lock_file_path())))
        self.assertEqual(self.names(), [".app.sock.sockguard"])

    def test_not_a_socket(self):
        path = self.write_file("file", "precious")
        self.assertEqual(self.clean(path),
                         (3, self.left("neither a socket nor a lock file", path)))
        os.symlink("file", self.path)
        self.assertEqual(self.clean(self.path)[0], 3)
        self.assertEqual(self.names(), ["app.sock", "file"])

    def test_a_symlink_to_a_stale_socket(self):
        self.make_stale(self.path + "2")
        os.symlink("app.sock2", self.path)
        self.assertEqual(self.clean(self.path)[0], 3)
        self.assertEqual(self.names(), ["app.sock", "app.sock2"])

    def test_exit_status_for_several_paths(self):
        self.make_stale()
        self.bind_socket(self.path + "2")
        self.assertEqual(self.clean(self.path, self.path + "2"),
                         (3, self.removed() + self.left("live", self.path + "2")))

    def test_a_name_with_any_bytes(self):
        path = os.fsencode(self.dir) + b"/a\n\xff\x1b[2J"
        self.make_stale(path)
        ended = self.sockguard("clean", path)
        self.assert_result(ended, 0, self.removed(self.dir + r"/a\n\xff\x1b[2J"))
        self.assertEqual(self.names(), [])

    def test_the_command_is_guarded_itself(self):
        self.leave_files_of_a_crash()
        ended = self.sockguard("run", harness.COMMAND, "clean", self.path)
        self.assert_result(ended, 0, self.removed())
        self.assertEqual(self.names(), [])


class LockFiles(CleanCase):
    def test_empty(self):
        path = self.write_file(".app.sock.sockguard")
        self.assertEqual(self.clean(path), (0, self.removed(path, "idle lock file")))
        self.assertEqual(self.names(), [])

    def test_directories_and_other_types_remain(self):
        other = self.write_file("other", "precious")
        os.mkdir(harness.lock_file_of(self.path + "d"))
        os.symlink(other, harness.lock_file_of(self.path + "s"))
        os.link(other, harness.lock_file_of(self.path + "l"))
        os.mkfifo(harness.lock_file_of(self.path + "f"))
        self.write_file(".t.sockguard", "precious")
        before = self.names()
        self.assertEqual(self.clean(self.dir, "-v")[0], 3)
        self.assertEqual(self.names(), before)
        for name in (".app.sockl.sockguard", ".t.sockguard"):
            path = os.path.join(self.dir, name)
            self.assertEqual(self.clean(path), (3, self.left("not a lock file of the guard", path)))
        self.assertEqual(self.names(), before)

    def test_a_locked_lock_file_remains(self):
        path = self.write_file(".app.sock.sockguard")
        for byte, why in ((0, "another process has locked it"), (1, "a live owner claims it")):
            with open(path, "r+b") as file:
                lock_byte(file, byte)
                for option in ([], ["-n"]):
                    self.assertEqual(self.clean(path, *option), (3, self.left(why, path)))
        self.assertEqual(self.clean(path)[0], 0)

    def test_an_alternate_lock_file(self):
        """The guard uses an alternate if another user's file is at the lock file's usual path."""
        for mode in (0o755, 0o1777):
            os.chmod(self.dir, mode)
            path = self.write_file(".app.sock.sockguard.0123456789ab")
            for what in (path, self.dir):
                self.assertEqual(self.clean("-n", what), (
                    0, f"would remove {path} (idle lock file)\n"))
            self.assertEqual(self.clean(self.dir), (0, self.removed(path, "idle lock file")))
            self.assertEqual(self.names(), [])

    @actor.needs_root
    def test_a_lock_file_of_another_user_in_a_shared_directory(self):
        """The command acquires the mutex that the other user's servers use."""
        os.chmod(self.dir, 0o1777)
        path = self.write_file(".app.sock.sockguard")
        os.chown(path, actor.STRANGER, actor.STRANGER)
        with open(path, "r+b") as file:
            lock_byte(file, 0)
            self.assertEqual(self.clean(path), 
                             (3, self.left("another process has locked it", path)))
        self.assertEqual(self.clean(path), (0, self.removed(path, "idle lock file")))
        self.assertEqual(self.names(), [])

    def test_an_idle_lock_file_beside_a_live_socket_is_removed(self):
        """An unguarded process has bound the path, so no process claims it."""
        self.bind_socket()
        path = self.write_file(".app.sock.sockguard")
        self.assertEqual(self.clean(path), (0, self.removed(path, "idle lock file")))
        self.assertEqual(self.names(), ["app.sock"])

    def test_a_stale_socket_whose_mutex_is_held(self):
        self.make_stale()
        with open(self.write_file(".app.sock.sockguard"), "r+b") as file:
            lock_byte(file, 0)
            self.assertEqual(self.clean(self.path),
                             (3, self.left("now in use, or its lock file is locked")))
        self.assertEqual(self.names(), [".app.sock.sockguard", "app.sock"])


class Directories(CleanCase):
    def create_files(self):
        self.make_stale()
        self.leave_files_of_a_crash(self.path + "2")
        self.write_file(".app.sock3.sockguard")
        self.write_file("file", "precious")
        os.mkdir(os.path.join(self.dir, "below"))
        self.make_stale(os.path.join(self.dir, "below", "app.sock"))

    def test_entries(self):
        self.create_files()
        expected = self.removed() + self.removed(self.path + "2") + \
            self.removed(harness.lock_file_of(self.path + "3"), "idle lock file")
        self.assertEqual(self.clean(self.dir), (0, expected))
        self.assertEqual(self.names(), ["below", "file"])
        self.assertEqual(os.listdir(self.dir + "/below"), ["app.sock"])

    def test_dry_run(self):
        self.create_files()
        before = self.attributes_of_files()
        for option in ("-n", "--dry-run"):
            status, output = self.clean(option, self.dir + "/")
            # Two stale sockets, the lock file of one of them, and a lock file without a socket.
            self.assertEqual((status, output.count("app.sock")), (0, 4))
        self.assertEqual(self.attributes_of_files(), before)

    def attributes_of_files(self):
        """For each name, the attributes that a write would change."""
        found = {name: os.lstat(os.path.join(self.dir, name)) for name in self.names()}
        return {name: (one.st_ino, one.st_nlink, one.st_size, one.st_mtime_ns)
                for name, one in found.items()}

    def test_live_sockets_remain(self):
        self.bind_socket()
        ended = self.sockguard("clean", self.dir)
        self.assert_result(ended, 3, "",
                           "sockguard: entries left: 1; --verbose lists them, with the reasons\n")
        for option in ("-v", "--verbose"):
            self.assertEqual(self.clean(option, self.dir), (3, self.left("live")))
        self.assertEqual(self.names(), ["app.sock"])

    def test_an_empty_directory(self):
        self.assertEqual(self.clean(self.dir), (0, ""))


@actor.needs_root
class Permission(CleanCase):
    def test_a_directory_without_write_permission(self):
        self.make_stale()
        os.chmod(self.path, 0o777)
        self.assertEqual(self.clean(self.path, run=self.sockguard_as_stranger),
                         (4, self.left("no permission")))
        self.assertEqual(self.names(), ["app.sock"])

    def test_a_directory_without_read_permission(self):
        os.chmod(self.dir, 0o700)
        self.assertEqual(self.clean(self.dir, run=self.sockguard_as_stranger),
                         (4, self.left("no permission", self.dir)))
        self.assertEqual(self.clean(self.path, run=self.sockguard_as_stranger)[0], 4)

    def test_a_lock_file_of_another_user(self):
        path = self.write_file(".app.sock.sockguard")
        os.chmod(path, 0o600)
        self.assertEqual(self.clean(path, run=self.sockguard_as_stranger),
                         (4, self.left("no permission to examine it", path)))

    def test_a_planted_lock_file_in_a_sticky_directory(self):
        os.chmod(self.dir, 0o1777)
        path = self.write_file(".app.sock.sockguard")
        os.chmod(path, 0o666)
        self.assertEqual(self.clean(path, run=self.sockguard_as_stranger)[0], 4)
        self.assertEqual(self.names(), [".app.sock.sockguard"])


# Exchanges two names in an endless loop.
SWAPPER = """
import ctypes, sys
libc = ctypes.CDLL(None)
one, other = (name.encode() for name in sys.argv[1:])
print("up", flush=True)
while libc.renameat2(-100, one, -100, other, 2) == 0:
    pass
"""


@actor.needs_root
class DirectoryOfAnotherUser(CleanCase):
    """Root cleans a directory of an untrusted user."""

    def setUp(self):
        super().setUp()
        self.home = os.path.join(self.dir, "home")
        self.run = os.path.join(self.home, "run")
        self.path = os.path.join(self.run, "app.sock")
        for directory in (self.home, self.run):
            os.mkdir(directory)
            os.chown(directory, actor.STRANGER, actor.STRANGER)

    def leave_files_of_a_user(self, path, lock=True):
        """Creates the user's stale socket and, if the killed server was guarded, its lock file."""
        self.make_stale(path)
        os.chown(path, actor.STRANGER, actor.STRANGER)
        if lock:
            with open(self.lock_file_path(path), "w", encoding="ascii"):
                os.chmod(self.lock_file_path(path), 0o600)
                os.chown(self.lock_file_path(path), actor.STRANGER, actor.STRANGER)

    def no_lock_file_reason(self):
        return (f"it has no lock file, and the directory belongs to uid {actor.STRANGER}: "
                "run this command as that user")

    def test_root_removes_a_stale_socket_with_a_lock_file(self):
        for what in (self.path, self.run):
            self.leave_files_of_a_user(self.path)
            self.assertEqual(self.clean(what), (0, self.removed()))
            self.assertEqual(os.listdir(self.run), [])

    def test_root_creates_no_lock_file(self):
        self.leave_files_of_a_user(self.path, lock=False)
        before = os.stat(self.run).st_mtime_ns
        for option in ([], ["-n"]):
            self.assertEqual(self.clean(self.path, *option),
                             (4, self.left(self.no_lock_file_reason())))
        ended = self.sockguard("clean", self.run)
        self.assert_result(ended, 4, "",
                           "sockguard: entries left: 1; --verbose lists them, with the reasons\n")
        self.assertEqual(self.clean("-v", self.run),
                         (4, self.left(self.no_lock_file_reason())))
        self.assertEqual((os.listdir(self.run), os.stat(self.run).st_mtime_ns),
                         (["app.sock"], before))

    def test_the_user_removes_the_stale_socket(self):
        self.leave_files_of_a_user(self.path, lock=False)
        self.assertEqual(self.clean(self.path, run=self.sockguard_as_stranger), (0, self.removed()))
        self.assertEqual(os.listdir(self.run), [])

    def clean_beside_locked_mutexes(self, paths, *words):
        """Runs the command while the mutexes of these paths are locked. Returns its status, its
        output and the number of its pauses."""
        log = os.path.join(self.dir, "log")
        for path in paths:
            self.leave_files_of_a_user(path)
            file = open(self.lock_file_path(path), "r+b")
            self.addCleanup(file.close)
            lock_byte(file, 0)
        ended = self.run_program(["strace", "-qq", "-o", log, "-e",
                                  "trace=clock_nanosleep,nanosleep", harness.COMMAND, "clean",
                                  *words])
        with open(log, encoding="ascii") as file:
            return ended.returncode, ended.stdout, file.read().count("nanosleep(")

    def test_a_locked_mutex_is_waited_for(self):
        """The command pauses between its attempts."""
        self.assertEqual(self.clean_beside_locked_mutexes([self.path], self.path)[2], 50)

    def test_the_total_wait_for_locked_mutexes_is_bounded(self):
        """The command does not wait longer for 30 mutexes than for one."""
        paths = [f"{self.path}{i}" for i in range(30)]
        status, output, pauses = self.clean_beside_locked_mutexes(paths, "-v", self.run)
        self.assertEqual(output.count("now in use, or its lock file is locked"), len(paths))
        self.assertEqual((status, pauses), (3, 50))
        self.assertEqual(len(os.listdir(self.run)), 2 * len(paths))

    def test_a_symbolic_link_is_not_followed(self):
        secret = os.path.join(self.dir, "secret")
        os.mkdir(secret, 0o700)
        self.make_stale(os.path.join(secret, "app.sock"))
        link = os.path.join(self.home, "link")
        os.symlink(secret, link)
        for name in (link, link + "/"):
            self.assertEqual(self.clean(name), (3, self.left(
                "a symbolic link, which is not followed", name)))
        self.assertEqual(os.listdir(secret), ["app.sock"])

    def test_a_directory_that_is_exchanged_with_a_symbolic_link(self):
        """The link leads to root's directory, in which files have the same names."""
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
                self.leave_files_of_a_user(f"/proc/self/fd/{run}/{name}", lock=turn % 2 == 0)
            ended = self.sockguard("clean", "-v", self.run)
            self.assertEqual(sorted(os.listdir(secret)), names)
            cleaned += ended.stdout.count("removed ")
        self.assertGreater(cleaned, 0)  # at least once it was not the symbolic link


class Race(CleanCase):
    """A server binds the stale path after the command has checked it and before it unlinks it."""

    def check_path_bound_meanwhile(self, inherited):
        """Holds the mutex until the command waits for it, and binds a live socket meanwhile."""
        self.make_stale()
        before = self.identity()
        with socket.socket(socket.AF_UNIX) as server, \
                open(self.write_file(".app.sock.sockguard"), "r+b") as file:
            lock_byte(file, 0)
            cleaner = self.start([harness.COMMAND, "clean", self.path], stdout=-1, text=True,
                                 pass_fds=[server.fileno()] if inherited else [])
            harness.wait_until(lambda: harness.waits_in_call(cleaner.pid, "sleep"),
                               "the command to wait")
            self.assertEqual(self.identity(), before)
            os.unlink(self.path)
            server.bind(self.path)
            taken = self.identity()
            file.close()
            output, _ = cleaner.communicate(timeout=harness.TIMEOUT)
            self.assertEqual(output, self.left("now in use, or its lock file is locked"))
            self.assertEqual((cleaner.returncode, self.identity()), (3, taken))

    def test_bound_by_another_process(self):
        self.check_path_bound_meanwhile(inherited=False)

    def test_the_command_has_inherited_the_new_socket(self):
        """The command owns that socket, so the guard would allow the unlink."""
        self.check_path_bound_meanwhile(inherited=True)

    def test_bound_between_the_last_check_and_the_unlink(self):
        """An unguarded server binds the path. The command checks the file again after the
        rename."""
        self.make_stale()
        cleaner = self.start(["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=renameat2",
                              "-e", "inject=renameat2:delay_enter=2000000000:when=1",
                              harness.COMMAND, "clean", self.path], stdout=-1, stderr=-1,
                             text=True)
        renaming, = harness.wait_until(
            lambda: [child for child in harness.child_pids(cleaner.pid)
                     if harness.waits_in_call(child, "renameat2")], "the command to act")
        os.unlink(self.path)
        self.bind_socket()
        taken = self.identity()
        cleaner.kill()  # this ends the delay, and the command becomes the child of this process
        output, errors = cleaner.communicate(timeout=harness.TIMEOUT)
        self.assertEqual((output, errors),
                         (self.left("now in use, or its lock file is locked"), ""))
        _, status = os.waitpid(renaming, 0)
        self.assertEqual((os.waitstatus_to_exitcode(status), self.identity(), self.names()),
                         (3, taken, ["app.sock"]))

    def test_a_file_system_without_renameat2_noreplace(self):
        self.make_stale()
        ended = self.run_program(["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=renameat2",
                                  "-e", "inject=renameat2:error=EINVAL", harness.COMMAND, "clean",
                                  self.path])
        self.assert_result(ended, 0, self.removed())
        self.assertEqual(self.names(), [])


# Until a line arrives on stdin: binds the path, checks a few times whether it still leads to the
# same socket, and crashes. Prints how often it bound the path, and how often the path was stolen.
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
class CleanDuringStarts(CleanCase):
    """Guarded servers start and crash continuously while other programs remove stale sockets."""

    def count_thefts(self, *cleaner):
        servers = [self.start([harness.PYTHON, "-c", SERVER, self.path], guard=True,
                              settings={"LOG": "none"}, stdin=-1, stdout=-1, text=True)
                   for _ in range(2)]
        for server in servers:
            self.assertEqual(server.stdout.readline(), "up\n")
        removed = 0
        for _ in range(200):
            ended = self.run_program(cleaner)
            removed += ended.stdout.count("removed ")
        output = [server.communicate("stop\n", timeout=harness.TIMEOUT)[0] for server in servers]
        lives, thefts = (sum(int(line.split()[i]) for line in output) for i in (0, 1))
        self.assertGreater(lives, len(servers))
        return removed, thefts

    def test_the_command_steals_no_path(self):
        removed, thefts = self.count_thefts(harness.COMMAND, "clean", self.path, self.dir)
        self.assertGreater(removed, 0)  # the cleaner had work to do
        self.assertEqual(thefts, 0)

    def test_another_cleaner_steals_paths(self):
        _, thefts = self.count_thefts("rm", "-f", self.path)
        self.assertGreater(thefts, 0)


class CleanInALoop(CleanCase):
    """A process cleans the directory in a loop while servers start and stop."""

    def setUp(self):
        super().setUp()
        crowd = os.path.join(harness.BUILD, "tests", "context", "crowd")
        self.servers = [self.start([crowd, self.dir, "rival", "50"], guard=True, stdin=-1,
                                   stdout=-1, stderr=-1, text=True, settings={"LOG": "none"})
                        for _ in range(2)]

    def clean_until(self, is_over, clean):
        harness.wait_until(lambda: clean() or is_over(), "both servers to find a path in use")

    def test_sockguard_clean(self):
        """No socket path is stolen, and no file remains."""
        lines = []

        def read_line(server):
            lines.append(server.stdout.readline())

        readers = [threading.Thread(target=read_line, args=[server]) for server in self.servers]
        for reader in readers:
            reader.start()
        self.clean_until(lambda: len(lines) == 2 or self.any_ended(),
                         lambda: self.sockguard("clean", self.dir) and None)
        for server, reader in zip(self.servers, readers):
            _, err = server.communicate("", timeout=harness.TIMEOUT)
            reader.join()
            self.assertEqual((server.returncode, err), (0, ""))
        self.assertEqual((lines, self.names()), (["met\n"] * 2, []))

    def any_ended(self):
        return any(server.poll() is not None for server in self.servers)

    def test_a_cleaner_that_checks_and_unlinks(self):
        """The counterpart: it steals the path of a socket that does not listen yet."""
        self.clean_until(self.any_ended, self.remove_refused)
        victim = next(server for server in self.servers if server.poll() is not None)
        self.assertEqual(victim.returncode, 1)
        self.assertRegex(victim.stderr.read(), r"\Astolen")

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
