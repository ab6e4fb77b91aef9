"""What a row of the matrix declares, and a running instance of it."""

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
from lockname import lock_of, socket_of  # noqa: E402, F401

HERE = os.path.dirname(os.path.abspath(__file__))
SCRATCH = tempfile.TemporaryDirectory(prefix="sgm-", dir="/tmp", ignore_cleanup_errors=True)
os.chmod(SCRATCH.name, 0o755)
PATIENCE = 90.0  # seconds until what must happen is given up: never a measurement


class Failed(Exception):
    """A server could not be brought to where a situation begins, and why."""


def wait_until(condition, what, patience=PATIENCE):
    """Polls until condition() is true and returns its value."""
    deadline = time.monotonic() + patience
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failed("waited in vain for " + what)
        time.sleep(0.02)


class Server:
    """One row. A subclass declares it.

    Templates know {sock}, the socket path; {run}, its directory; {dir}, the instance's own;
    {name}, "first" or "second"; {port}, one of the loopback interface that is free.
    """

    name = ""  # what the row is called
    packages = ()
    unit = ""  # that of its package, where there is one; "user/..." where users start it
    differs = ""  # in what it is started otherwise than by that unit, and why
    version_of = None  # the package whose version is told, a pattern perhaps; else the first
    language = "C"
    kind = "stream"
    user = None  # the system user it is run as, as by User=; else whoever runs the matrix
    as_root = False  # starts as root, as its users do, and drops privileges itself
    drops_to = None  # then: the user who owns its directories, as packages have it
    files = {}  # of the instance's directory: name to template
    command = ""  # split as a shell would, never given to one
    env = {}
    socket = "{run}/app.sock"
    run_mode = 0o755  # of the socket path's directory
    client = None  # a function of the socket path, from clients
    stop = signal.SIGTERM  # a signal to the main process, or a command
    how_reloaded = ""  # what reload() does, in a word or two
    pidfile = ""  # template; where the main process is not the one that was started
    note = ""  # what its users have to know, in the document
    guardable = True  # what is expected; what is told is what was found
    seed_kept = None

    def __init__(self):
        self.seeding = threading.Lock()

    @property
    def owner(self):
        """Who owns its directories, None for whoever runs the matrix."""
        return self.user or self.drops_to

    def prepare(self, instance):
        """Makes what an instance needs beside its files."""

    def ready(self, instance):
        """Waits until an instance that answers can be stopped and reloaded as well."""

    def reload(self, instance):
        """Reloads or upgrades as its users do. Returns when that is over, with the instance that
        serves now where that is another one."""

    def restarted_cleanly(self, log):
        """Whether a start's log tells of a single attempt."""
        return not re.search(r"(?i)in use|EADDRINUSE|retrying", log)


class Place:
    """A scratch directory: the socket path's own, and one for each instance."""

    all = set()  # those that are not removed yet

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
        if self.server.owner and os.getuid() == 0:
            account = pwd.getpwnam(self.server.owner)
            os.chown(path, account.pw_uid, account.pw_gid)

    def instance(self, name, command=None, again=False):
        """Starts an instance; again: in the directory of an earlier one of that name."""
        directory = os.path.join(self.dir, name)
        if not again:
            self._make(directory)
        started = Instance(self, name, directory, command, again)
        self.instances.append(started)
        return started

    def ask(self):
        """One request of a client; raises where it is not answered."""
        type(self.server).client(self.socket)

    def names(self):
        """What lies where the socket path is."""
        names = os.listdir(os.path.dirname(self.socket))
        if not self.socket.startswith(self.run):  # a shared directory
            names = [name for name in names if name.startswith(os.path.basename(self.socket))]
        return sorted(names)

    def orphans(self):
        """Lock files that lie beside no socket, anywhere in this place."""
        found = []
        for directory, _, names in os.walk(self.dir):
            found += [name for name in names if socket_of(name) and
                      not os.path.lexists(os.path.join(directory, socket_of(name)))]
        return found

    def _unmount(self):
        """Container daemons that are killed leave mounts behind."""
        with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
            points = [line.split()[4] for line in mounts]
        for point in reversed(points):
            if point.startswith(self.dir + "/"):
                subprocess.run(["umount", "--lazy", point], check=False)

    def remove(self):
        """Kills what runs and removes everything."""
        Place.all.discard(self)
        self.removed.set()
        for instance in self.instances:
            instance.kill()
        self._unmount()
        shutil.rmtree(self.dir, ignore_errors=True)
        if not self.socket.startswith(self.run):
            for path in glob.glob(glob.escape(self.socket) + "*"):
                os.unlink(path)


def _free_port():
    """A TCP and UDP port of the loopback interface, for servers that insist on one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Instance:
    """A server that was started: its processes, log and answers."""

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
        """A template's text for this instance."""
        values = {"sock": self.place.socket, "run": self.place.run, "dir": self.dir,
                  "name": self.name, "port": str(self.port)}
        return re.sub(r"\{(%s)\}" % "|".join(values), lambda m: values[m[1]], template)

    def write(self, name, text, mode=0o644):
        """Makes a file of the instance's directory, which belongs to the server's user."""
        path = os.path.join(self.dir, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, mode)
        if self.server.owner and os.getuid() == 0:
            shutil.chown(path, self.server.owner)
            shutil.chown(os.path.dirname(path), self.server.owner)

    def seed(self, name, command):
        """Makes a directory by a command that takes long, once for all instances of the server."""
        with self.server.seeding:
            if not self.server.seed_kept:
                self.run(command)
                self.server.seed_kept = tempfile.mkdtemp(dir=SCRATCH.name)
                subprocess.run(["cp", "-a", os.path.join(self.dir, name), self.server.seed_kept],
                               check=True)
            else:
                subprocess.run(["cp", "-a", os.path.join(self.server.seed_kept, name), self.dir],
                               check=True)

    def run(self, command, **more):
        """Runs a command to its end, as the server's user and unguarded; raises if it fails."""
        if self.server.user and os.getuid() == 0:
            more = {"user": self.server.user, "group": pwd.getpwnam(self.server.user).pw_gid,
                    "extra_groups": [], **more}
        done = subprocess.run(shlex.split(self.fill(command)), stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=PATIENCE, cwd=self.dir,
                              check=False, **more)
        if done.returncode:
            raise Failed(f"{command.split()[0]}: {(done.stderr or done.stdout).strip()[-200:]}")
        return done.stdout

    def argv(self):
        """The command, split."""
        return shlex.split(self.fill(self._command or self.server.command))

    def environment(self):
        """The environment of a service: short, and the guard in it or not."""
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": self.dir,
               "PYTHONDONTWRITEBYTECODE": "1", "INSTANCE": self.name}
        env.update({key: self.fill(value) for key, value in self.server.env.items()})
        if self.place.library:
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
        """All it has written to its output and log files."""
        return self._all_logs()

    def ended(self):
        """Whether nothing of it is left; then status is the exit status of what was started."""
        return self._keeper.poll() is not None

    @property
    def status(self):
        return self._keeper.returncode

    def pids(self):
        """Its processes."""
        return keeper.descendants(self._keeper.pid)

    def main(self):
        """The main process."""
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
        """Signals the main process."""
        os.kill(pid or self.main(), number)

    def wait_log(self, pattern, times=1):
        """Waits until the log says it so many times."""
        wait_until(lambda: len(re.findall(pattern, self.log())) >= times, f"“{pattern}” in the log")

    def answers(self):
        """Whether a client at the socket path is answered."""
        try:
            self.place.ask()
            return True
        except Exception:  # pylint: disable=broad-except
            return False

    def wait_serving(self, patience=PATIENCE):
        """Waits until a client is answered; returns the seconds that took."""
        began = time.monotonic()

        def decided():
            return self.answers() or self.ended()
        try:
            wait_until(decided, "an answer", patience)
        except Failed as failure:
            raise Failed(f"{failure}; {says_how(self.log(), self.place.dir)}") from None
        if self.ended() and not self.answers():
            raise Failed(f"it ended with status {self.status}: "
                         f"{says_how(self.log(), self.place.dir)}")
        self.server.ready(self)
        return time.monotonic() - began

    def stop(self, patience=PATIENCE):
        """Stops it as its users do, and waits until nothing of it is left."""
        if self.ended():
            return
        if isinstance(self.server.stop, str):
            self.run(self.server.stop)
        else:
            try:
                self.signal(self.server.stop)
            except ProcessLookupError:
                pass
        wait_until(self.ended, "its end", patience)

    def kill(self):
        """kill -9 of everything, and the sockets are closed when this returns."""
        if self._keeper.stdin:
            self._keeper.stdin.close()
            self._keeper.stdin = None
        self._keeper.wait()

    def new_log(self):
        """What it has logged since this start."""
        return self._all_logs()[self._logged:]


IN_USE = re.compile(r"(?i)in use|EADDRINUSE|already|another")
LOCKED = re.compile(r"(?i)\block(ed|file)?\b")
TROUBLE = re.compile(r"(?i)bind|socket|error|fatal|fail|could not|cannot|can't|unable|refus")


def says_how(log, directory=None):
    """The line in which a server tells what went wrong, without time stamps and the like."""
    lines = [tidy(line, directory) for line in log.splitlines() if "sockguard" not in line]
    for pattern in IN_USE, LOCKED, TROUBLE:
        for line in lines:
            found = pattern.search(line)
            if found:
                return shorten(line, found.end())
    return "says nothing"


# What differs from run to run, or says nothing to a reader.
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
    """A line of a log, without what differs from run to run."""
    if directory:
        line = re.sub(re.escape(directory) + r"[^\s:'\"\]),]*", "…", line)
    for noise in NOISE:
        line = noise.sub("", line)
    return re.sub(r"\s+", " ", line).strip()


def shorten(line, until=0, width=90):
    """At most so many characters of a line, those before `until` among them."""
    if until > width - 1:
        line = "…" + line[until - width + 12:]
    return line if len(line) <= width else line[:width - 1] + "…"


def version(package):
    """The version of an installed Debian package (a pattern will do), None if it is not there."""
    done = subprocess.run(["dpkg-query", "--show", "--showformat",
                           "${db:Status-Status} ${Version}\\n", package],
                          capture_output=True, text=True, check=False)
    for line in done.stdout.splitlines():
        status, _, number = line.partition(" ")
        if status == "installed":
            return number
    return None
