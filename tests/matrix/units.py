"""The guard in systemd's units: runs a real systemd in namespaces of its own.

It is a system manager and process 1 of its PID namespace. It has its own /run and its own cgroup,
and only the units of these tests. It starts a user manager. The systemd of the machine is not
affected.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading

import clients
import keeper
import kernel
from server import (EVENT_TIMEOUT, HERE, SCRATCH, Failed, shorten, tidy, version,
                    wait_until)
from servers.application import WSGI
from situations import REFUSED, Cell, Poller, Row, repeat

# Runs as root: creates a cgroup, then namespaces in which this cgroup is the root.
OUTER = '''
set -e
mount --make-rprivate /
mkdir "$1/cgroup"
mount -t cgroup2 cgroup2 "$1/cgroup"
own=$1/cgroup/sockguard-matrix-${1##*/}
mkdir "$own"
echo $$ >"$own/cgroup.procs"
unshare --pid --cgroup --mount --ipc --uts --fork --kill-child --mount-proc \\
    sh -c "$2" inner "$1" || :
echo $$ >"$1/cgroup/cgroup.procs"
find "$own" -depth -type d -exec rmdir {} \\;
'''
INNER = '''
set -e
umount "$1/cgroup"
mount -t tmpfs -o mode=755 tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /run/units /run/matrix
cat >/run/units/matrix.target <<end
[Unit]
DefaultDependencies=no
end
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin SYSTEMD_UNIT_PATH=/run/units container=matrix \\
    /lib/systemd/systemd --system --unit=matrix.target --log-target=console --show-status=no
'''
USER_MANAGER = '''
[Unit]
DefaultDependencies=no
[Service]
Type=notify
User=www-data
Delegate=yes
RuntimeDirectory=xdg
Environment=XDG_RUNTIME_DIR=/run/xdg SYSTEMD_UNIT_PATH=/run/user-units HOME=/run/xdg
ExecStart=/lib/systemd/systemd --user --unit=matrix.target
'''


class Manager:
    """A running systemd. Paths are those inside its namespaces; outside() translates them."""

    all = set()  # all managers that are not closed yet

    def __init__(self, library):
        Manager.all.add(self)
        self.dir = tempfile.mkdtemp(dir=SCRATCH.name)
        order = {"argv": ["unshare", "--mount", "sh", "-c", OUTER, "outer", self.dir, INNER],
                 "env": dict(os.environ), "cwd": "/", "user": None,
                 "output": os.path.join(self.dir, "log")}
        self._keeper = subprocess.Popen(
            [sys.executable, "-B", os.path.join(HERE, "keeper.py"), json.dumps(order)],
            stdin=subprocess.PIPE)
        try:
            self.init = wait_until(self._find_init, "systemd")
            wait_until(self._running, "systemd's startup")
        except (Failed, OSError) as failure:
            with open(order["output"], encoding="utf-8", errors="replace") as log:
                reason = f"{failure}: {log.read().strip()[-300:]}"
            self.close()
            raise Failed(reason) from None
        shutil.copy(library, self.outside("/run/matrix/libsockguard.so"))
        os.chmod(self.outside("/run/matrix/libsockguard.so"), 0o755)
        self.write("/run/matrix/app.py", WSGI)

    def _find_init(self):
        if self._keeper.poll() is not None:
            raise Failed("systemd has ended")
        for pid in keeper.descendants(self._keeper.pid):
            if kernel.comm(pid) == "systemd":
                return pid
        return None

    def _running(self):
        return self.systemctl("is-system-running", check=False).strip() in ("running", "degraded")

    def outside(self, path):
        """Returns the path at which this process reaches a path inside."""
        return f"/proc/{self.init}/root{path}"

    def write(self, path, text):
        """Writes a file inside."""
        os.makedirs(os.path.dirname(self.outside(path)), exist_ok=True)
        with open(self.outside(path), "w", encoding="utf-8") as file:
            file.write(text)

    def read(self, path):
        """Returns the contents of a file inside; empty if it does not exist."""
        try:
            with open(self.outside(path), encoding="utf-8", errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def systemctl(self, *words, user=False, check=True):
        """Runs systemctl inside and returns its output."""
        command = ["nsenter", "--target", str(self.init), "--mount", "--pid", "--wd=/"]
        if user:
            command += ["setpriv", "--reuid=www-data", "--regid=www-data", "--init-groups",
                        "env", "XDG_RUNTIME_DIR=/run/xdg"]
        command += ["systemctl", *(["--user"] if user else []), *words]
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL,
                              timeout=EVENT_TIMEOUT, check=False)
        if check and done.returncode:
            raise Failed(f"systemctl {' '.join(words)}: {done.stderr.strip()[-200:]}")
        return done.stdout

    def start_user_manager(self):
        """Starts a user manager as a service of the system manager."""
        self.write("/run/user-units/matrix.target", "[Unit]\nDefaultDependencies=no\n")
        self.write("/run/units/user-manager.service", USER_MANAGER)
        self.systemctl("daemon-reload")
        self.systemctl("start", "user-manager")

    def close(self):
        """Kills this systemd and everything it has started."""
        Manager.all.discard(self)
        try:
            os.kill(self._find_init() or 0, signal.SIGKILL)
            self._keeper.wait(20)
        except (Failed, OSError, subprocess.TimeoutExpired):
            pass
        self._keeper.stdin.close()
        self._keeper.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


class Scene:
    """The units and the socket path of one situation, in a manager, guarded or not."""

    numbers = 0

    def __init__(self, manager, guard, user_manager=False):
        Scene.numbers += 1
        self.manager, self.guard, self.user_manager = manager, guard, user_manager
        self.name = f"app{Scene.numbers}"
        self.run = f"/run/matrix/{self.name}"
        self.path = f"{self.run}/app.sock"
        self.units = []
        self.removed = threading.Event()
        os.mkdir(manager.outside(self.run))
        shutil.chown(manager.outside(self.run), "www-data")

    @property
    def socket(self):
        """The socket path as seen from outside."""
        return self.manager.outside(self.path)

    def systemctl(self, *words, check=True):
        """Runs systemctl for the manager of this scene."""
        return self.manager.systemctl(*words, user=self.user_manager, check=check)

    def unit(self, name, *lines, bind=None, kind="service", section="Service"):
        """Writes a unit and returns its name. A service runs gunicorn on the socket path."""
        unit = f"{self.name}-{name}.{kind}"
        text = ["[Unit]", "DefaultDependencies=no", "StartLimitIntervalSec=0", f"[{section}]"]
        if kind == "service":
            log = f"/run/matrix/{unit}.log"
            if self.guard:
                text += ["Environment=LD_PRELOAD=/run/matrix/libsockguard.so"]
            text += [f"Environment=INSTANCE={name} PYTHONDONTWRITEBYTECODE=1",
                     "Type=notify", "WorkingDirectory=/run/matrix", "KillMode=mixed",
                     f"StandardOutput=append:{log}", f"StandardError=append:{log}",
                     "ExecStart=/usr/bin/gunicorn --workers 1 " +
                     (f"--bind unix:{self.path}" if bind is None else bind) + " app"]
            if self.user_manager:
                self.manager.write(log, "")
                shutil.chown(self.manager.outside(log), "www-data")
        directory = "/run/user-units" if self.user_manager else "/run/units"
        self.manager.write(f"{directory}/{unit}", "\n".join([*text, *lines, ""]))
        self.systemctl("daemon-reload")
        self.units.append(unit)
        return unit

    def start(self, unit):
        """Starts a unit. Returns whether it is active."""
        return not self.systemctl("start", unit, check=False) and self.state(unit) == "active"

    def state(self, unit):
        return self.systemctl("is-active", unit, check=False).strip()

    def log(self, unit):
        return self.manager.read(f"/run/matrix/{unit}.log")

    def show(self, unit, what):
        return self.systemctl("show", "--value", "--property", what, unit).strip()

    def ask(self):
        """Sends a client's request. Raises an exception if it is not answered."""
        clients.http_get(self.socket)

    def instance(self):
        """Returns the name of the instance that answers; None if none does."""
        try:
            connection = clients._HTTP(self.socket)
            connection.request("GET", "/", headers={"Connection": "close"})
            answer = connection.getresponse().read().decode()
            connection.close()
            return answer
        except (OSError, clients.http.client.HTTPException):
            return None

    def serving(self, unit):
        """Starts a unit, which must serve, and be guarded if this scene is guarded."""
        if not self.start(unit):
            raise Failed(f"{unit} did not start: {self.log(unit)[-300:]}")
        wait_until(lambda: self.instance() or self.state(unit) == "failed", "an answer")
        if self.state(unit) == "failed":
            raise Failed(f"{unit} has ended: {self.log(unit)[-300:]}")
        self.require_guarded()

    def require_guarded(self):
        """Requires that the holders of the socket have the library if this scene is guarded, and
        that they do not have it otherwise. systemd, which holds the socket in socket activation,
        never has it."""
        for pid in kernel.holders(self.socket):
            if kernel.comm(pid) == "systemd":
                continue
            guarded = any("libsockguard" in file for file in kernel.mapped(pid))
            if guarded and not self.guard:
                raise Failed("the unguarded run is guarded")
            if self.guard and not guarded:
                raise Failed("not guardable: " + kernel.why_not_mapped(pid))

    def names(self):
        """Returns the names in the directory of the socket path; None if it does not exist."""
        try:
            return sorted(os.listdir(os.path.dirname(self.socket)))
        except FileNotFoundError:
            return None

    def close(self):
        """Stops the units and resets their state."""
        self.removed.set()
        if self.units:
            self.systemctl("kill", "--signal=KILL", *self.units, check=False)
            self.systemctl("stop", *self.units, check=False)
            self.systemctl("reset-failed", *self.units, check=False)


def _second(scene, first, second):
    """Starts a second unit while the first one serves, and returns the result."""
    scene.serving(first)
    pin = kernel.Pin(scene.socket)
    poller = Poller(scene, pin)
    poller.wait_more(3)
    started = scene.start(second)
    poller.wait_more(3)
    poller.stop()
    stolen = not pin.still_there()
    pin.close()
    if stolen:
        return Cell("stolen", 0, theft=True)
    if started:
        return Cell("both units are active", 0)
    if poller.failures:
        return Cell(f"refused, but {len(poller.failures)} requests to the first failed", 0)
    names = re.search(r"in use by (.*)", scene.log(second))
    return Cell("refused, the first still serves" +
                ("; the guard names the owner" if names else ""))


def twice(scene, *lines):
    """started twice, under two names"""
    return _second(scene, scene.unit("first", *lines), scene.unit("second", *lines))


def restarted(scene, *lines):
    """restarted (systemctl restart)"""
    unit = scene.unit("first", *lines)
    scene.serving(unit)
    before = kernel.holders(scene.socket)
    scene.systemctl("restart", unit)
    wait_until(scene.instance, "an answer")
    if set(before) & set(kernel.holders(scene.socket)):
        return Cell("no: the old process still serves", 0)
    return _first_attempt(scene, unit)


def _first_attempt(scene, unit):
    log = scene.log(unit)
    if "sockguard" in log:
        return Cell("not at the first attempt: the guard refused a call", REFUSED)
    if "Retrying" in log:
        return Cell("not at the first attempt", 0)
    return Cell("serves again at the first attempt")


def killed(scene, *lines):
    """killed with -9, with Restart=on-failure"""
    unit = scene.unit("first", "Restart=on-failure", "RestartSec=0", *lines)
    scene.serving(unit)
    scene.systemctl("kill", "--signal=KILL", unit)
    wait_until(lambda: scene.show(unit, "NRestarts") == "1" and scene.state(unit) == "active",
               "the restart")
    wait_until(scene.instance, "an answer")
    return _first_attempt(scene, unit)


def stopped(scene, *lines):
    """files left after systemctl stop"""
    unit = scene.unit("first", *lines)
    scene.serving(unit)
    scene.systemctl("stop", unit)
    names = scene.names()
    return Cell("the directory is gone" if names is None else ", ".join(names) or "nothing",
                left=tuple(names or ()))


RM = "ExecStartPre=/bin/rm -f {}"


def rm_while_live(scene):
    """ExecStartPre=/bin/rm -f on the socket path, while the first serves"""
    return _second(scene, scene.unit("first"), scene.unit("second", RM.format(scene.path)))


def rm_when_stale(scene):
    """ExecStartPre=/bin/rm -f on the socket path, after kill -9"""
    unit = scene.unit("first", RM.format(scene.path))
    scene.serving(unit)
    scene.systemctl("kill", "--signal=KILL", unit)
    wait_until(lambda: scene.state(unit) == "failed", "the failed state")
    if "app.sock" not in scene.names():
        raise Failed("there is no stale socket path after kill -9")
    scene.systemctl("start", unit)
    wait_until(scene.instance, "an answer")
    return _first_attempt(scene, unit)


def _in_runtime_directory(scene, *lines):
    scene.run = ("/run/xdg" if scene.user_manager else "/run") + f"/matrix-{scene.name}"
    scene.path = f"{scene.run}/app.sock"
    return [f"RuntimeDirectory=matrix-{scene.name}", *lines]


def runtime_directory_twice(scene, *lines):
    """RuntimeDirectory=, started twice"""
    return twice(scene, *_in_runtime_directory(scene, "RuntimeDirectoryPreserve=yes", *lines))


def runtime_directory_killed(scene, *lines):
    """RuntimeDirectory=, killed with -9"""
    return killed(scene, *_in_runtime_directory(scene, "RuntimeDirectoryPreserve=yes", *lines))


def runtime_directory_stopped(scene, *lines):
    """RuntimeDirectory=, files left after systemctl stop"""
    return stopped(scene, *_in_runtime_directory(scene, *lines))


def user_twice(scene):
    """User=, started twice"""
    return runtime_directory_twice(scene, "User=www-data")


def user_killed(scene):
    """User=, killed with -9"""
    return runtime_directory_killed(scene, "User=www-data")


def users_differ(scene):
    """User=, a second unit of another user who may write to the directory"""
    os.chmod(scene.manager.outside(scene.run), 0o777)
    return _second(scene, scene.unit("first", "User=www-data"), scene.unit("second", "User=nobody"))


# In older versions, DynamicUser= implies this PrivateTmp=. In units without default dependencies,
# systemd 262 mounts a tmpfs instead, in which the dynamic user may not write.
DYNAMIC = ("DynamicUser=yes", "PrivateTmp=yes")


def dynamic_user_twice(scene):
    """DynamicUser=, started twice"""
    return runtime_directory_twice(scene, *DYNAMIC, f"User=matrix-{scene.name}")


def dynamic_user_killed(scene):
    """DynamicUser=, killed with -9"""
    return runtime_directory_killed(scene, *DYNAMIC)


def dynamic_user_stopped(scene):
    """DynamicUser=, files left after systemctl stop"""
    return runtime_directory_stopped(scene, *DYNAMIC)


def _activated(scene):
    unit = scene.unit("first", f"Sockets={scene.name}-first.socket", bind="")
    socket = scene.unit("first", f"ListenStream={scene.path}", "SocketMode=0666",
                        "RemoveOnStop=yes", kind="socket", section="Socket")
    scene.systemctl("start", socket)
    if scene.instance() != "first":
        raise Failed(f"socket activation does not work: {scene.log(unit)[-300:]}")
    scene.require_guarded()
    return unit, socket


def activated_restarted(scene):
    """socket-activated, the service restarted while a client polls"""
    unit, _ = _activated(scene)
    poller = Poller(scene)
    poller.wait_more(3)
    scene.systemctl("restart", unit)
    poller.wait_more(5)
    poller.stop()
    if poller.failures:
        return Cell(f"{len(poller.failures)} of {poller.asked} requests failed", 0)
    return Cell("no request failed")


def activated_twice(scene):
    """socket-activated, a second unit that binds the path itself"""
    _activated(scene)
    second = scene.unit("second")
    pin = kernel.Pin(scene.socket)
    started = scene.start(second)
    stolen = not pin.still_there()
    pin.close()
    if stolen:
        return Cell("stolen", 0, theft=True)
    if started or scene.instance() != "first":
        return Cell("the first does not serve any more", 0)
    return Cell("refused, the first still serves")


def activated_stopped(scene):
    """socket-activated, files left after systemctl stop of both"""
    unit, socket = _activated(scene)
    scene.systemctl("stop", socket, unit)
    names = scene.names()
    return Cell(", ".join(names) or "nothing", left=tuple(names))


SITUATIONS = (twice, restarted, killed, stopped, rm_while_live, rm_when_stale,
              runtime_directory_twice, runtime_directory_killed, runtime_directory_stopped,
              user_twice, user_killed, users_differ,
              dynamic_user_twice, dynamic_user_killed, dynamic_user_stopped,
              activated_restarted, activated_twice, activated_stopped)
USER_SITUATIONS = (twice, restarted, killed, stopped, rm_while_live, rm_when_stale,
                   runtime_directory_twice, activated_restarted)


class Unit:
    """A row of the table of units, which has the attributes of a Server that rows need."""

    packages = ("systemd", "gunicorn", "util-linux")
    version_of = None
    guardable = True
    note = ""

    def __init__(self, situation, user_manager):
        self.situation, self.user_manager = situation, user_manager
        self.name = ("systemd --user: " if user_manager else "systemd: ") + situation.__doc__


def rows():
    """Returns the declarations of all rows."""
    return [Unit(situation, False) for situation in SITUATIONS] + \
        [Unit(situation, True) for situation in USER_SITUATIONS]


def measure(manager, unit, number):
    """Returns a row: the results of the situation, unguarded and guarded."""
    def run(guard):
        scene = Scene(manager, guard, unit.user_manager)
        try:
            return unit.situation(scene)
        except (Failed, OSError, subprocess.SubprocessError) as failure:
            text = str(failure) if isinstance(failure, Failed) else repr(failure)
            return Cell("failed: " + shorten(tidy(text), width=200), 0, failed=True)
        finally:
            scene.close()
    unguarded, guarded = repeat(run(False), run(True), run)
    return Row(unit, number, [unguarded], [guarded])


def measure_all(wanted, library, report):
    """Measures the rows, one after the other, in one systemd. Calls report with each row, and
    returns a list of the results."""
    number = version("systemd")
    if not wanted:
        return []
    if os.getuid() != 0:
        return [report(Row(unit, number, [], [], skipped="needs root")) for unit in wanted]
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        return [report(Row(unit, number, [], [], skipped="may not create namespaces"))
                for unit in wanted]
    try:
        manager = Manager(library)
    except (Failed, OSError) as failure:
        return [report(Row(unit, number, [], [],
                           failed=f"systemd did not start: {tidy(str(failure))}"))
                for unit in wanted]
    try:
        if any(unit.user_manager for unit in wanted):
            manager.start_user_manager()
        return [report(measure(manager, unit, number)) for unit in wanted]
    finally:
        manager.close()
