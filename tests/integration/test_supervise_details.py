"""Which calls a supervisor's watcher handles alone, and which it leaves to a worker.

strace shows what handled a call. Only a watcher receives calls. It answers a call itself, lets the
kernel execute it, or starts a worker, which answers it.
"""

import errno
import os
import re
import subprocess
import sys

import actor
import harness

# What handled a call: the kernel, because the watcher let it execute the call; or the process that
# answered the call.
KERNEL, WATCHER, WORKER = "kernel", "watcher", "worker"
AT_SYMLINK_FOLLOW, AT_EMPTY_PATH = 0x400, 0x1000
# Makes the calls in argv. A call is a name and its arguments, separated by "|"; the argument @NAME
# is a descriptor of the directory NAME. Calls getpriority(2) before each call, so that strace shows
# where the call begins. Prints the errno of each call.
CALLER = """
import ctypes, os, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
directories = {}
def argument(word):
    if word.startswith("@"):
        if word not in directories:
            directories[word] = os.open(word[1:], os.O_PATH)
        return directories[word]
    return int(word) if word.lstrip("-").isdigit() else word.encode()
for call in sys.argv[1:]:
    name, *words = call.split("|")
    words = [argument(word) for word in words]
    if name == "bind":
        one = socket.socket(socket.AF_UNIX)
    if name == "chroot":
        os.chroot(".")
        continue
    os.getpriority(0, 0)
    result = one.bind(words[0]) or 0 if name == "bind" else getattr(libc, name)(*words)
    print(ctypes.get_errno() if result else 0)
os.getpriority(0, 0)
"""


class CallHandling(actor.SocketCase):
    def setUp(self):
        super().setUp()
        os.mkdir(self.dir + "/dir")
        os.symlink("loop", self.dir + "/loop")
        os.symlink("file", self.dir + "/link")
        self.log = os.path.join(self.dir, "strace.log")

    def handling_of_calls(self, *calls, through=()):
        """Makes the calls. Returns what handled each of them, and each errno."""
        ended = self.run_program(
            ["strace", "-f", "-o", self.log, "-e", "trace=ioctl,getpriority", harness.COMMAND,
             "run", "--by", "syscalls", "--", *through, harness.PYTHON, "-c", CALLER, *calls],
            cwd=self.dir)
        self.assertEqual(ended.stderr, "")
        with open(self.log, encoding="utf-8", errors="replace") as file:
            text = file.read()
        os.unlink(self.log)
        watchers = set(re.findall(r"^(\d+) +ioctl\(.*NOTIF_RECV", text, re.MULTILINE))
        answers = [re.search(r"^(\d+) +ioctl\(.*NOTIF_SEND, (.*)", part, re.MULTILINE).groups()
                   for part in re.split(r"\bgetpriority\(PRIO_PROCESS", text)[1:-1]]
        if any(answer.startswith("0x") for _, answer in answers):
            self.skipTest("this version of strace does not show the answers")
        return [WORKER if pid not in watchers else KERNEL if "CONTINUE" in answer else WATCHER
                for pid, answer in answers], list(map(int, ended.stdout.split()))

    def assert_handled_by(self, *calls, through=()):
        """Each of the calls is (what must handle it, errno, call).

        Calls for workers come last, because the watcher may also leave the next call of the same
        thread to a worker if the previous worker has not ended yet.
        """
        found, errors = self.handling_of_calls(*(call for _, _, call in calls), through=through)
        expected = [call for call in calls if call[2] != "chroot"]
        self.assertEqual([(handled_by, error, call) for handled_by, error, (_, _, call)
                          in zip(found, errors, expected)], expected)

    def test_unlink(self):
        self.make_stale(self.dir + "/stale")
        self.make_stale(self.dir + "/dir/stale")
        for name in "abcdefg":
            self.write_file(name)
        self.write_file("dir/a")
        self.write_file(".x.sockguard")
        self.assert_handled_by(
            (KERNEL, 0, "unlink|a"), (KERNEL, 0, f"unlink|{self.dir}/b"),
            (KERNEL, 0, "unlink|dir/../c"),
            (KERNEL, 0, "unlinkat|@dir|a|0"), (KERNEL, 0, "unlink|link"),
            (KERNEL, 21, "unlink|dir"),
            (KERNEL, 20, "unlink|e/x"), (KERNEL, 40, "unlink|loop/x"), (KERNEL, 2, "unlink|"),
            (KERNEL, 36, "unlink|" + 300 * "x"), (WATCHER, 2, "unlink|absent"),
            (WATCHER, 2, f"unlink|{self.dir}/absent"), (WATCHER, 2, "unlink|no/absent"),
            (WATCHER, 2, f"unlinkat|@dir|{self.dir}/absent|0"),
            (WORKER, 2, "unlinkat|@dir|absent|0"),
            (WORKER, 0, "unlink|.y.sockguard"), (WORKER, 0, "unlink|.x.sockguard"),
            (WORKER, 0, "unlink|/proc/self/cwd/f"), (WORKER, 2, "unlink|/dev/fd/99/g"),
            (WORKER, 0, "unlinkat|@dir|stale|0"), (WORKER, 0, "unlink|stale"))

    def test_rename(self):
        self.make_stale(self.dir + "/stale")
        for name in ("a", "b", "c", "dir/a", ".x.sockguard"):
            self.write_file(name)
        self.assert_handled_by(
            (KERNEL, 0, "rename|a|b"), (KERNEL, 0, "rename|b|e"),
            (KERNEL, 0, "renameat|@dir|a|@dir|b"),
            (KERNEL, 0, "rename|.x.sockguard|.z.sockguard"), (KERNEL, 0, "rename|.z.sockguard|c"),
            (KERNEL, 2, "rename||c"), (KERNEL, 2, "rename|c|"), (KERNEL, 20, "rename|c|e/x"),
            (KERNEL, 20, "rename|e/x|c"), (WATCHER, 2, "rename|absent|f"),
            (WATCHER, 2, "rename|absent|c"),
            (WATCHER, 2, f"renameat|@dir|{self.dir}/absent|@dir|{self.dir}/f"),
            (WORKER, 2, "renameat|@dir|absent|-100|f"), (WORKER, 2, "renameat|-100|absent|@dir|f"),
            (WORKER, 2, "rename|.y.sockguard|f"), (WORKER, 0, "rename|c|/proc/self/cwd/g"),
            (WORKER, 0, "rename|/proc/self/cwd/g|h"), (WORKER, 0, "rename|stale|stale2"),
            (WORKER, 0, "rename|h|stale2"))

    def test_link(self):
        self.make_stale(self.dir + "/stale")
        self.write_file("a")
        self.assert_handled_by(
            (KERNEL, 0, "link|a|b"), (KERNEL, 17, "link|a|b"), (KERNEL, 2, "link|absent|c"),
            (KERNEL, 17, "link|a|stale"), (KERNEL, 20, "link|a/x|c"),
            (KERNEL, 0, "linkat|-100|link|-100|l|0"),
            (WORKER, 0, "link|stale|stale2"), (WORKER, 0, "link|/proc/self/cwd/a|dir/c"),
            (WORKER, 0, f"linkat|-100|a|-100|e|{AT_SYMLINK_FOLLOW}"),
            (WORKER, 1, f"linkat|-100||-100|f|{AT_EMPTY_PATH}"))

    @actor.needs_root
    def test_in_another_root(self):
        """If the caller's root differs, the watcher can resolve only a path that is a bare name."""
        for name in "abcdef":
            self.write_file(name)
        self.assert_handled_by(
            (None, 0, "chroot"), (KERNEL, 0, "unlink|a"), (KERNEL, 0, "rename|d|g"),
            (KERNEL, 0, "link|g|j"),
            (WORKER, 0, "unlink|./b"), (WORKER, 0, "unlink|/c"), (WORKER, 0, "rename|e|./h"),
            (WORKER, 0, "rename|./f|i"), (WORKER, 0, "link|g|./k"))

    @actor.needs_root
    def test_with_other_credentials(self):
        """The watcher might get another error than a caller with other credentials."""
        os.chmod(self.dir, 0o777)
        as_user = ("setpriv", "--reuid", str(actor.STRANGER), "--clear-groups")
        for through in (as_user, ("setpriv", "--regid", str(actor.STRANGER), "--clear-groups"),
                        ("setpriv", "--groups", str(actor.STRANGER)),
                        ("setpriv", "--bounding-set", "-dac_override", "--inh-caps",
                         "-dac_override")):
            self.assert_handled_by((WORKER, 2, "unlink|absent"), through=through)
        self.assert_handled_by((WATCHER, 2, "unlink|absent"), through=("setpriv", "--keep-groups"))

    def test_bind(self):
        self.assert_handled_by((WORKER, 0, f"bind|{self.path}"))


class ContendedMutex(actor.SocketCase):
    """A call is judged however often other processes acquire the mutex of its path."""

    # Acquires and releases the mutex of a lock file, which each bind creates again.
    RIVAL = """
import fcntl, os, struct, sys
def lock(kind):
    flock = struct.pack("hhqqi4x", kind, os.SEEK_SET, 0, 1, 0)
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, flock)
    except BlockingIOError:
        pass
print(flush=True)
while True:
    try:
        fd = os.open(sys.argv[1], os.O_RDWR)
    except FileNotFoundError:
        continue
    for _ in range(100):
        lock(fcntl.F_WRLCK)
        lock(fcntl.F_UNLCK)
    os.close(fd)
"""

    def test_owner_unlinks(self):
        """The unlink of the owner is judged: the lock file is removed with the socket."""
        rival = self.start([harness.PYTHON, "-c", self.RIVAL, self.lock_file_path()],
                           stdout=subprocess.PIPE)
        self.addCleanup(rival.stdout.close)
        rival.stdout.readline()
        owner = actor.Actor(self, through=[harness.COMMAND, "run", "--by", "syscalls", "--"])
        for _ in range(300):
            fd = owner.serve(self.path)
            self.assertEqual(owner.unlink(self.path), 0)
            self.assertEqual(self.names(), [])
            owner.close(fd)
        self.assertIsNone(rival.poll())


class UnavailableDirectory(actor.SocketCase):
    """A worker cannot duplicate the descriptor of the caller's directory."""

    def setUp(self):
        super().setUp()
        self.caller, _, self.watcher = actor.start_supervised(
            self, through=[harness.COMMAND, "run", "--by", "syscalls", "--"])
        self.directory = self.caller.open_directory(self.dir)
        self.owner = actor.Actor(self)
        self.fd = self.owner.serve(self.path)

    def unlink_with(self, error):
        """Makes the call while every attempt to duplicate a descriptor fails with this errno."""
        with harness.traced(self.watcher, "-f", f"--inject=pidfd_getfd:error={error}"):
            return self.caller.unlinkat(self.directory, os.path.basename(self.path))

    def test_no_free_descriptor(self):
        self.assertEqual(self.unlink_with("EMFILE"), errno.ENOMEM)
        self.assertServes(self.owner, self.fd)

    def test_no_permission(self):
        """The kernel executes the call, as it would without the guard."""
        self.assertStolen(lambda: self.unlink_with("EPERM"), self.owner, self.fd)


if __name__ == "__main__":
    sys.exit(harness.main())
