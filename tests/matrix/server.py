"""The declaration of a row of the matrix (Server), and a running instance of it."""

import atexit
import glob
import json
import os
import pwd
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import keeper

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lockname import lock_file_of, socket_path_of  # noqa: E402, F401

HERE = os.path.dirname(os.path.abspath(__file__))
# Seconds to wait for an event that must happen; never a measurement.
EVENT_TIMEOUT = float(os.environ.get("SOCKGUARD_TEST_TIMEOUT", "300"))


class _Scratch:
    """A directory that every user can enter. Servers may still write to it while it is removed;
    tempfile.TemporaryDirectory ignores the resulting errors only since Python 3.10."""

    def __init__(self):
        self.name = tempfile.mkdtemp(prefix="sgm-", dir="/tmp")
        os.chmod(self.name, 0o755)
        atexit.register(self.cleanup)

    def cleanup(self):
        shutil.rmtree(self.name, ignore_errors=True)


SCRATCH = _Scratch()


class Failed(Exception):
    """A situation could not be set up. The message gives the reason."""


def wait_until(condition, what, timeout=EVENT_TIMEOUT):  # seconds
    """Polls until condition() is true and returns its value."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failed("timed out waiting for " + what)
        time.sleep(0.02)


class Server:
    """One row, which a subclass declares.

    Templates can contain {sock}, the socket path; {run}, its directory; {dir}, the instance's
    directory; {name}, "first" or "second"; and {port}, a free port of the loopback interface.
    """

    name = ""  # the row's name
    packages = ()
    unit = ""  # the package's unit, if there is one; "user/..." for a unit of the user manager
    differs = ""  # how the command differs from that of the unit, and why
    min_version = None  # of the first package; if it is older, the row is left out
    version_of = None  # the package whose version is shown, or a pattern; None: the first package
    language = "C"
    kind = "stream"
    user = None  # the user it runs as, like User=; None: the user who runs the matrix
    as_root = False  # starts as root, as usual, and drops privileges itself
    drops_to = None  # the user it then runs as, to whom its directories belong
    files = {}  # of the instance's directory: name to template
    command = ""  # split like a shell command, but not run by a shell
    env = {}
    socket = "{run}/app.sock"
    run_mode = 0o755  # of the socket path's directory
    client = None  # a function of the socket path, from clients
    stop = signal.SIGTERM  # a signal to the main process, or a command
    how_reloaded = ""  # a short description of what reload() does
    pidfile = ""  # a template; needed if the main process is not the process that was started
    note = ""  # a note for users, in the document
    guardable = True  # the expected result; the document shows the actual one
    by = "preload"  # how to guard it: "preload", "syscalls", or "auto" (sockguard run chooses)
    program = None  # the command that builds a test program {program} from {source}
    kept_seed = None

    def __init__(self):
        self.seeding = threading.Lock()
        self._building = threading.Lock()  # another one, because seed() needs built()
        self._built = None

    def built(self):
        """Returns the path of the test program, which is built once."""
        with self._building:
            if self.program and not self._built:
                directory = tempfile.mkdtemp(dir=SCRATCH.name)
                os.chmod(directory, 0o755)
                path = os.path.join(directory, "program")
                words = self.program.format(source=os.path.join(HERE, "programs"), program=path)
                subprocess.run(shlex.split(words), check=True, capture_output=True,
                               env={**os.environ, "GOCACHE": os.path.join(directory, "cache"),
                                    "CGO_ENABLED": "0", "GO111MODULE": "off"})
                shutil.rmtree(os.path.join(directory, "cache"), ignore_errors=True)
                self._built = path
        return self._built

    @property
    def directory_user(self):
        """Returns the user to whom its directories belong; None: the user who runs the matrix."""
        return self.user or self.drops_to

    def too_old(self):
        """Returns whether the first package is installed in a version below min_version."""
        found = self.min_version and version(self.packages[0])
        return bool(found) and subprocess.run(
            ["dpkg", "--compare-versions", found, "lt", self.min_version],
            check=False).returncode == 0

    def prepare(self, instance):
        """Makes whatever an instance needs besides its files."""

    def ready(self, instance):
        """Waits until an instance that already answers can be stopped and reloaded as well."""

    def reload(self, instance):
        """Reloads or upgrades the server as its users do, and waits until that is done. Returns the
        instance that serves now if it is another one, otherwise None."""

    def restarted_cleanly(self, log):
        """Returns whether the log of a start shows a single attempt."""
        return not re.search(r"(?i)in use|EADDRINUSE|retrying", log)


class Place:
    """A scratch directory, with one subdirectory for the socket path and one for each instance."""

    all = set()  # all places that are not removed yet

    def __init__(self, server, library, settings=None):
        self.server = server
        self.library = library  # None: unguarded
        self.settings = settings or {}
        self.dir = tempfile.mkdtemp(dir=SCRATCH.name)
        os.chmod(self.dir, 0o755)
        self.run = os.path.join(self.dir, "run")
        self._make(self.run)
        os.chmod(self.run, server.run_mode)
        self.socket = server.socket.format(run=self.run, dir=self.dir)
        self.instances = []
        self.removed = threading.Event()
        Place.all.add(self)

    def _make(self, path):
        os.mkdir(path)
        os.chmod(path, 0o755)
        if self.server.directory_user and os.getuid() == 0:
            account = pwd.getpwnam(self.server.directory_user)
            os.chown(path, account.pw_uid, account.pw_gid)

    def instance(self, name, command=None, again=False):
        """Starts an instance; with again, in the directory of an earlier instance of that name."""
        directory = os.path.join(self.dir, name)
        if not again:
            self._make(directory)
        started = Instance(self, name, directory, command, again)
        self.instances.append(started)
        return started

    def ask(self):
        """Sends a client's request. Raises an exception if it is not answered."""
        type(self.server).client(self.socket)

    def names(self):
        """Returns the names in the directory of the socket path."""
        names = os.listdir(os.path.dirname(self.socket))
        if not self.socket.startswith(self.run):  # a shared directory
            own = os.path.basename(self.socket)
            names = [name for name in names if name.lstrip(".").startswith(own)]
        return sorted(names)

    def orphans(self):
        """Returns the lock files without a socket beside them, in all directories of this place."""
        found = []
        for directory, _, names in os.walk(self.dir):
            found += [name for name in names if socket_path_of(name) and
                      not os.path.lexists(os.path.join(directory, socket_path_of(name)))]
        return found

    def _unmount(self):
        """Unmounts what killed container daemons leave mounted."""
        with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
            points = [line.split()[4] for line in mounts]
        for point in reversed(points):
            if point.startswith(self.dir + "/"):
                subprocess.run(["umount", "--lazy", point], check=False)

    def remove(self):
        """Kills all instances and removes all files."""
        Place.all.discard(self)
        self.removed.set()
        for instance in self.instances:
            instance.kill()
        self._unmount()
        shutil.rmtree(self.dir, ignore_errors=True)
        if not self.socket.startswith(self.run):
            for name in self.names():
                os.unlink(os.path.join(os.path.dirname(self.socket), name))


def _free_port():
    """Returns a free port of the loopback interface, for servers that require one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Instance:
    """A started server: its processes, log and answers."""

    def __init__(self, place, name, directory, command, again):
        self.place, self.name, self.dir = place, name, directory
        self.server = place.server
        self._command = command
        self.output = os.path.join(directory, "output.log")
        self.port = _free_port()
        if not again:
            for file, template in self.server.files.items():
                self.write(file, self.fill(template))
            self.server.prepare(self)
        self._logged = len(self._all_logs())
        order = {"argv": self.argv(), "env": self.environment(), "cwd": directory,
                 "user": self.server.user if os.getuid() == 0 else None, "output": self.output}
        self._keeper = subprocess.Popen(
            [sys.executable, "-B", os.path.join(HERE, "keeper.py"), json.dumps(order)],
            stdin=subprocess.PIPE)

    def fill(self, template):
        """Returns the text of a template for this instance."""
        values = {"sock": self.place.socket, "run": self.place.run, "dir": self.dir,
                  "name": self.name, "port": str(self.port), "program": self.server.built() or ""}
        return re.sub(r"\{(%s)\}" % "|".join(values), lambda m: values[m[1]], template)

    def write(self, name, text, mode=0o644):
        """Writes a file in the instance's directory. It belongs to the server's user."""
        path = os.path.join(self.dir, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, mode)
        if self.server.directory_user and os.getuid() == 0:
            shutil.chown(path, self.server.directory_user)
            shutil.chown(os.path.dirname(path), self.server.directory_user)

    def seed(self, name, command):
        """Makes a directory with a slow command, which runs once for all instances of a server."""
        with self.server.seeding:
            if not self.server.kept_seed:
                self.run(command)
                self.server.kept_seed = tempfile.mkdtemp(dir=SCRATCH.name)
                subprocess.run(["cp", "-a", os.path.join(self.dir, name), self.server.kept_seed],
                               check=True)
            else:
                subprocess.run(["cp", "-a", os.path.join(self.server.kept_seed, name), self.dir],
                               check=True)

    def run(self, command, **options):
        """Runs a command, as the server's user and unguarded, and waits. Raises Failed if it fails.
        """
        if self.server.user and os.getuid() == 0:
            options = {"user": self.server.user, "group": pwd.getpwnam(self.server.user).pw_gid,
                       "extra_groups": [], **options}
        done = subprocess.run(shlex.split(self.fill(command)), stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=EVENT_TIMEOUT, cwd=self.dir,
                              check=False, **options)
        if done.returncode:
            raise Failed(f"{command.split()[0]}: {(done.stderr or done.stdout).strip()[-200:]}")
        return done.stdout

    def argv(self):
        """Returns the words of the command, after those of sockguard run if that starts it."""
        words = shlex.split(self.fill(self._command or self.server.command))
        if self.place.library and self.server.by != "preload":
            return [os.path.join(os.path.dirname(self.place.library), "sockguard"), "run", "--by",
                    self.server.by, "--", *words]
        return words

    def environment(self):
        """Returns a small environment like that of a service, with the guard if there is a library.
        """
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": self.dir,
               "PYTHONDONTWRITEBYTECODE": "1", "INSTANCE": self.name}
        env.update({key: self.fill(value) for key, value in self.server.env.items()})
        if self.place.library:
            if self.server.by == "preload":
                env["LD_PRELOAD"] = self.place.library
            env.update({"SOCKGUARD_" + key: value for key, value in self.place.settings.items()})
        return env

    def _all_logs(self):
        text = ""
        for path in sorted(glob.glob(os.path.join(self.dir, "*.log"))):
            with open(path, encoding="utf-8", errors="replace") as file:
                text += file.read()
        return text

    def log(self):
        """Returns everything in its output and log files."""
        return self._all_logs()

    def ended(self):
        """Returns whether all its processes have ended; then status is the command's exit
        status."""
        return self._keeper.poll() is not None

    @property
    def status(self):
        return self._keeper.returncode

    def pids(self):
        """Returns the pids of its processes."""
        return keeper.descendants(self._keeper.pid)

    def main(self):
        """Returns the pid of the main process."""
        if self.server.pidfile:
            def read():
                try:
                    with open(self.fill(self.server.pidfile), encoding="ascii") as file:
                        return int(file.read().split()[0])
                except (OSError, ValueError, IndexError):
                    return None
            return wait_until(read, "a pid file")
        return wait_until(self.pids, "a process")[0]

    def signal(self, number, pid=None):
        """Sends a signal to the main process, or to pid."""
        os.kill(pid or self.main(), number)

    def wait_log(self, pattern, times=1):
        """Waits until the log contains that many matches of the pattern."""
        wait_until(lambda: len(re.findall(pattern, self.log())) >= times, f"“{pattern}” in the log")

    def answers(self):
        """Returns whether a client at the socket path gets an answer."""
        try:
            self.place.ask()
            return True
        except Exception:  # pylint: disable=broad-except
            return False

    def wait_serving(self, timeout=EVENT_TIMEOUT):
        """Waits until a client gets an answer. Returns how many seconds that took."""
        began = time.monotonic()

        def decided():
            return self.answers() or self.ended()
        try:
            wait_until(decided, "an answer", timeout)
        except Failed as failure:
            raise Failed(f"{failure}; {error_message(self.log(), self.place.dir)}") from None
        if self.ended() and not self.answers():
            raise Failed(f"exit status {self.status}: "
                         f"{error_message(self.log(), self.place.dir)}")
        self.server.ready(self)
        return time.monotonic() - began

    def stop(self, timeout=EVENT_TIMEOUT):
        """Stops it as its users do, and waits until all its processes have ended."""
        if self.ended():
            return
        if isinstance(self.server.stop, str):
            self.run(self.server.stop)
        else:
            try:
                self.signal(self.server.stop)
            except ProcessLookupError:
                pass
        wait_until(self.ended, "the end of the server", timeout)

    def kill(self):
        """Kills all its processes with SIGKILL. When this returns, the sockets are closed."""
        if self._keeper.stdin:
            self._keeper.stdin.close()
            self._keeper.stdin = None
        self._keeper.wait()

    def new_log(self):
        """Returns what it has logged since it was started."""
        return self._all_logs()[self._logged:]


IN_USE = re.compile(r"(?i)in use|EADDRINUSE|already|another")
LOCKED = re.compile(r"(?i)\block(ed|file)?\b")
TROUBLE = re.compile(r"(?i)bind|socket|error|fatal|fail|could not|cannot|can't|unable|refus")


def error_message(log, directory=None):
    """Returns the line of a log that best describes the failure, without time stamps and the like.
    """
    lines = [tidy(line, directory) for line in log.splitlines() if "sockguard" not in line]
    for pattern in IN_USE, LOCKED, TROUBLE:
        for line in lines:
            found = pattern.search(line)
            if found:
                return shorten(line, found.end())
    return "no message"


# Parts of log lines that differ from run to run, or that do not help a reader.
NOISE = [re.compile(pattern) for pattern in (
    r"\x1b\[[0-9;]*m",
    r"^[\[<(]?(\d{4}[-/]\d\d[-/]\d\d|\w{3} \w{3} +\d+|\w{3} +\d+|\d\d-\w{3}-\d{4}|\d\d\d\d-)"
    r"[T ]?[\d:.,+ Z-]*(UTC|CET)?[\])]?( \d{4}[\])]?)?[\s:-]*",
    r"^\d{8,}: ",
    r"^#\d+\(\w+\) ",
    r"^\w \[\d\d/\w{3}/\d{4}:[\d:]+ [-+]\d{4}\] ",
    r"^\d+:[A-Z] \d+ \w+ \d+ [\d:.]+ [*#.-] ",  # redis
    r"^[A-Z], \[[-\dT:.]+ #\d+\] +",  # Ruby's logger
    r"^/\S+:\d+:in `[^']*': ",  # Ruby's traceback
    r"\[\d+(:\d+)?\]|\bpid[ =]?\d+\b|\(\d+\)|\d+#\d+:",
)]


def tidy(line, directory=None):
    """Returns a line of a log without the parts that differ from run to run."""
    if directory:
        line = re.sub(re.escape(directory) + r"[^\s:'\"\]),]*", "…", line)
    for noise in NOISE:
        line = noise.sub("", line)
    return re.sub(r"\s+", " ", line).strip()


def shorten(line, until=0, width=90):
    """Returns at most `width` characters of a line, including those just before `until`."""
    if until > width - 1:
        line = "…" + line[until - width + 12:]
    return line if len(line) <= width else line[:width - 1] + "…"


def version(package):
    """Returns the version of a Debian package, or of the first package that matches a pattern; None
    if it is not installed."""
    done = subprocess.run(["dpkg-query", "--show", "--showformat",
                           "${db:Status-Status} ${Version}\\n", package],
                          capture_output=True, text=True, check=False)
    for line in done.stdout.splitlines():
        status, _, number = line.partition(" ")
        if status == "installed":
            return number
    return None
