"""Two machines of one Debian root, one with the library in /etc/ld.so.preload: no difference.

usage: machine.py [--quick] [--document FILE] --library FILE ROOT GUARDED_ROOT

Both are booted with systemd as process 1, and taken through the same steps at the same time. A step
passes if both machines show the same, and if nothing is wrong with either. Prints PASS or FAIL for
each, with the difference; the exit status is 1 when a step failed.
"""

import argparse
import collections
import concurrent.futures
import difflib
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, ".."), os.path.join(HERE, "..", "matrix")]

import keeper  # noqa: E402
import kernel  # noqa: E402
from lockname import socket_of  # noqa: E402

PATIENCE = 180.0  # seconds until what must happen is given up: never a measurement
SUFFIX = ".sockguard"
LOGIN = "visitor"
PROBE = "/run/probe.sock"
UNIT_KINDS = "--type=service,socket"
QUICK = ("redis-server", "haproxy", "chrony", "supervisor", "uuid-runtime", "systemd-userdbd")
ALL = QUICK + ("rsyslog", "nginx-light", "php-fpm", "memcached", "acpid", "dovecot-core", "postgresql",
               "mariadb-server", "pcscd", "rpcbind", "cups-daemon", "avahi-daemon", "tor",
               "openssh-server", "systemd-resolved")
# Files that differ from one machine to its twin, or from one purge to the next, by nature.
UNSTEADY = re.compile(r"/var/(log|cache|tmp|lib/(apt|private|systemd))/|/etc/ld\.so\.|"
                      r"/lib/[^/]*/libsockguard\.so$|/ssl/certs/|/dpkg/")

Step = collections.namedtuple("Step", "name seen wrong", defaults=(None,))


class Stuck(Exception):
    """What must happen has not happened."""


def wait_until(condition, what):
    """Polls until condition() is true and returns its value."""
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise Stuck("waited in vain for " + what)
        time.sleep(0.1)
    return value


class Machine:
    """A root that was booted."""

    def __init__(self, root, guarded):
        self.root, self.guarded = os.path.abspath(root), guarded
        self.dir = tempfile.mkdtemp(prefix="sg-machine-")
        self.init = None
        self._failed = set()
        order = {"argv": ["unshare", "--mount", os.path.join(HERE, "boot.sh"), self.root, self.dir],
                 "env": dict(os.environ), "cwd": "/", "user": None, "output": self.root + ".log"}
        self._keeper = subprocess.Popen(
            [sys.executable, "-B", os.path.join(HERE, "..", "matrix", "keeper.py"),
             json.dumps(order)], stdin=subprocess.PIPE)

    def close(self):
        """Ends it, and all that runs in it, at once."""
        self._keeper.stdin.close()
        self._keeper.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    def run(self, *argv):
        """Runs a command inside; returns its exit status and what it has printed."""
        done = subprocess.run(
            ["nsenter", "--target", str(self.init), "--mount", "--pid", "--net", "--uts", "--ipc",
             "--cgroup", "--root", "--wd=/", "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
             "HOME=/root", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive", *argv],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=3 * PATIENCE, text=True, errors="replace", check=False)
        with open(self.root + ".log", "a", encoding="utf-8") as log:
            log.write(f"$ {' '.join(argv)}\n{done.stdout}status {done.returncode}\n")
        return done.returncode, done.stdout

    def told(self, *argv):
        """What a command prints, and its exit status where it failed."""
        status, output = self.run(*argv)
        return output + (f"status {status}\n" if status else "")

    def boot(self):
        """Waits until systemd is up; returns what it says of itself."""
        def init():
            if self._keeper.poll() is not None:
                raise Stuck(f"it has not booted, see {self.root}.log")
            return next((pid for pid in keeper.descendants(self._keeper.pid)
                         if kernel.comm(pid) == "systemd"), None)
        self.init = wait_until(init, "systemd")
        state = wait_until(lambda: re.match("running|degraded", self.run(
            "systemctl", "is-system-running", "--wait")[1]), "the end of the boot")
        return state[0] + "\n"

    def settle(self):
        """Waits until no unit is on its way into another state."""
        def quiet():
            jobs = self.run("systemctl", "list-jobs", "--no-legend")[1]
            moving = self.run("systemctl", "list-units", "--no-legend", UNIT_KINDS,
                              "--state=activating,deactivating,reloading")[1]
            return not (jobs + moving).strip().replace("No jobs running.", "")
        for _ in range(2):
            wait_until(quiet, "the units to settle")

    def units(self):
        """Each loaded service and socket, and its state."""
        self.settle()
        listed = self.run("systemctl", "list-units", "--all", "--plain", "--no-legend", UNIT_KINDS)[1]
        found = [line.split()[:4] for line in listed.splitlines()]
        return {name: f"{load} {active} {sub}" for name, load, active, sub in found
                if not name.startswith(("run-", "user"))}

    def state(self, unit):
        """How a unit is, and how its main process has ended. Where systemd sends the signal while
        the process is about to end, as it is told to by ExecStop=, either may win."""
        self.settle()
        told = self.told("systemctl", "show", unit, "--property="
                         "ActiveState,SubState,Result,ExecMainCode,ExecMainStatus,NRestarts")
        if "Result=success" in told:
            told = told.replace("ExecMainCode=2\nExecMainStatus=15", "ExecMainCode=1\nExecMainStatus=0")
        return told

    def newly_failed(self):
        """The units that have failed since this was asked last."""
        failed = {name for name, state in self.units().items() if " failed " in state}
        new, self._failed = failed - self._failed, failed
        return "".join(f"failed: {name}\n" for name in sorted(new))

    def processes(self):
        """Its processes, but kernel threads and those that we have put there."""
        return [self.init] + keeper.descendants(self.init)

    def unguarded(self):
        """The processes without the library in them; those that are just being replaced left out."""
        found = {pid: kernel.mapped(pid) for pid in self.processes()}
        return sorted(kernel.comm(pid) or "" for pid, files in found.items()
                      if files and not any("libsockguard" in name for name in files))

    def descriptors(self):
        """What process 1 has open, when it has the fewest: clients come and go."""
        fewest = None
        for _ in range(30):
            names = []
            for fd in os.listdir(f"/proc/{self.init}/fd"):
                try:
                    names.append(os.readlink(f"/proc/{self.init}/fd/{fd}"))
                except OSError:
                    pass  # closed meanwhile
            if fewest is None or len(names) < len(fewest):
                fewest = names
            time.sleep(0.1)
        return fewest

    def files(self, *options):
        """What find finds in the machine's volatile directories, or elsewhere."""
        return self.run("find", *options)[1].splitlines()

    def sockets(self):
        """The names of sockets, and what is wrong with their lock files."""
        volatile = ("/run", "/tmp", "/var", "-xdev")
        names = self.files(*volatile, "-type", "s")
        locks = self.files(*volatile, "-name", "*" + SUFFIX)
        wrong = [lock for lock in locks if socket_of(lock) not in names or not self.guarded]
        seen = sorted(re.sub(r"\d{2,}|systemd-private-\w+", "N", name) for name in names)
        return "\n".join(seen) + "\n", \
            f"lock files without a socket: {' '.join(wrong)}" if wrong else None

    def tree(self):
        """The files of the root, those left out that differ anyway."""
        return "".join(sorted(name + "\n" for name in self.files("/", "-xdev")
                              if not UNSTEADY.search(name)))

    def journal(self):
        """The journal's messages, also after the machine is down."""
        done = subprocess.run(["journalctl", "--directory", self.root + "/var/log/journal",
                               "--output=cat", "--no-pager"], stdout=subprocess.PIPE, text=True,
                              errors="replace", check=False)
        return done.stdout.splitlines()


def told_by_guard(lines):
    """The guard's own lines among these."""
    return [line for line in lines if re.search(r"\bsockguard: ", line)]


# What a machine goes through. Each part yields steps; the other machine's must show the same.

def booting(machine):
    """Process 1 starts, and every service has the library in it, or none has."""
    yield Step("boot", machine.boot() + machine.newly_failed())
    without = machine.unguarded()
    wrong = None
    if machine.guarded and without:
        wrong = "without the library: " + " ".join(without)
    elif not machine.guarded and len(without) < len(machine.processes()):
        wrong = "the library is in the machine that is to be without it"
    yield Step("the library is where it is expected", "", wrong)
    yield Step("units after the boot", units_told(machine))


def units_told(machine):
    return "".join(f"{name} {state}\n" for name, state in sorted(machine.units().items()))


def installing(machine, packages):
    """Packages are installed, whose services start then."""
    for package in packages:
        status, output = machine.run("apt-get", "-qq", "-y", "--no-install-recommends",
                                     "--no-download", "install", package)
        yield Step(f"apt-get install {package}", f"status {status}\n{machine.newly_failed()}",
                   "\n".join(told_by_guard(output.splitlines())) or None)
    yield Step("units after all are installed", units_told(machine))
    yield Step("sockets after all are installed", *machine.sockets())


def active(machine, kind):
    """Units that run, of a kind, but those by which we look into the machine."""
    return sorted(name for name, state in machine.units().items() if name.endswith(kind) and
                  state.startswith("loaded active") and not name.startswith("dbus."))


def restarting(machine):
    """Every service is restarted."""
    for unit in active(machine, ".service"):
        yield Step(f"systemctl restart {unit}", machine.told("systemctl", "restart", unit) +
                   machine.state(unit))


def executing_again(machine, times=10):
    """Process 1 is replaced by itself, again and again."""
    before = machine.descriptors()
    seen = "".join(machine.told("systemctl", "daemon-reexec") for _ in range(times))
    after = machine.descriptors()
    more = collections.Counter(after) - collections.Counter(before)
    yield Step(f"systemctl daemon-reexec, {times} times", seen + units_told(machine),
               f"{len(before)} descriptors in process 1 before, {len(after)} after: {dict(more)}"
               if len(after) > len(before) else None)
    without = machine.unguarded() if machine.guarded else None
    yield Step("the library is in process 1 still", "",
               f"without it: {' '.join(without)}" if without else None)
    yield Step("sockets after that", *machine.sockets())


def logging_in(machine):
    """Users are looked up, and one logs in."""
    for command in (f"su - {LOGIN} -c id", f"login -f {LOGIN}", f"getent passwd {LOGIN}",
                    "getent passwd nobody-of-that-name", "userdbctl services",
                    "userdbctl --no-pager user", f"su {LOGIN} -c 'userdbctl services'"):
        output = machine.told("sh", "-c", command)
        yield Step(command, re.sub(r"Last login.*\n", "", output))


def stopping(machine, before):
    """The services of the packages are stopped and started, and then their sockets too."""
    for unit in (name for name in active(machine, ".service") if name not in before):
        told = machine.told("systemctl", "stop", unit) + machine.state(unit)
        yield Step(f"systemctl stop {unit}", told)
        yield Step(f"systemctl start {unit}", machine.told("systemctl", "start", unit) +
                   machine.state(unit))
    yield Step("sockets after each has started again", *machine.sockets())
    for unit in active(machine, ".service") + active(machine, ".socket"):
        if unit not in before:
            machine.run("systemctl", "stop", unit)
    yield Step("units after all are stopped", units_told(machine))
    yield Step("sockets after all are stopped", *machine.sockets())


def purging(machine, packages):
    """Everything goes again."""
    for package in packages:
        status, output = machine.run("apt-get", "-qq", "-y", "--autoremove", "purge", package)
        yield Step(f"apt-get purge {package}", f"status {status}\n{machine.newly_failed()}",
                   "\n".join(told_by_guard(output.splitlines())) or None)
    yield Step("sockets after all are purged", *machine.sockets())
    yield Step("files after all are purged", machine.tree())


def stealing(machine):
    """The counterpart: what the guard refuses is refused, and is in the journal."""
    status, _ = machine.run("systemd-run", "--wait", "--quiet", "--unit=thief", "rm", PROBE)
    gone = machine.run("test", "-S", PROBE)[0] != 0
    lines = told_by_guard(machine.run("journalctl", "--unit=thief", "--output=cat")[1].splitlines())
    fits = (gone, status, bool(lines)) == ((False, 1, True) if machine.guarded else (True, 0, False))
    yield Step("rm of a socket of process 1: succeeds; under the guard it is refused, and the journal "
               "tells", "", None if fits else f"gone: {gone}, status {status}, told: {lines}")


def shutting_down(machine):
    """The machine ends by itself, and what the guard has said in all its life is looked through."""
    machine.run("systemctl", "poweroff")
    wait_until(lambda: kernel.comm(machine.init) is None, "the end of process 1")
    yield Step("systemctl poweroff", "")
    journal = machine.journal()
    lines = [line for line in told_by_guard(journal) if PROBE not in line]
    yield Step("no line of the guard in the journal, from boot to end", "",
               "\n".join(lines) or (None if len(journal) > 50 else "the journal was not read"))


def story(machine, quick):
    """All steps of a machine, in order."""
    packages = QUICK if quick else ALL
    yield from booting(machine)
    before = machine.units()
    yield from installing(machine, packages)
    yield from restarting(machine)
    yield from executing_again(machine)
    yield from logging_in(machine)
    yield from stopping(machine, before)
    yield from purging(machine, packages)
    yield from stealing(machine)
    yield from shutting_down(machine)


def next_step(steps):
    try:
        return next(steps, None)
    except (Stuck, OSError, subprocess.SubprocessError) as failure:
        return Step("stuck", "", f"{type(failure).__name__}: {failure}")


def judge(plain, guarded):
    """What is wrong with a pair of steps, as lines; empty if nothing is."""
    if plain is None or guarded is None or plain.name != guarded.name:
        names = [step.name if step else "the end" for step in (plain, guarded)]
        return [f"without the guard: {names[0]}; with it: {names[1]}"] + \
            [step.wrong for step in (plain, guarded) if step and step.wrong]
    found = [f"{which} the guard: {step.wrong}" for which, step in
             (("without", plain), ("with", guarded)) if step.wrong]
    return found + list(difflib.unified_diff(
        plain.seen.splitlines(), guarded.seen.splitlines(), "without the guard", "with it",
        lineterm="", n=0))


def compare(machines, quick):
    """Takes both machines through their steps; returns the name of each, and whether it passed."""
    results = []
    stories = [story(machine, quick) for machine in machines]
    with concurrent.futures.ThreadPoolExecutor(len(machines)) as pool:
        while any(steps := list(pool.map(next_step, stories))):
            wrong = judge(*steps)
            name = next(step.name for step in steps if step)
            results.append((name, not wrong))
            print("FAIL" if wrong else "PASS", name, sep=": ", flush=True)
            for line in "\n".join(wrong).splitlines():
                print("  " + line, flush=True)
            if None in steps or len({step.name for step in steps}) > 1:
                break  # from here on they cannot be compared
    return results


ABOUT = """
## Whole machines

Two machines of one Debian root, one as it is, the other with the library in its `/etc/ld.so.preload`,
each with systemd as process 1 of namespaces of its own, go through the same steps (`scripts/machine`).
Compared are exit statuses, the units that have failed, the state of each unit and how its main process
has ended, the sockets, what is listed of users, and at the end the files that are left.

| step | with the guard |
| --- | --- |
"""
VERBS = ("apt-get install", "systemctl restart", "systemctl stop", "systemctl start", "apt-get purge")


def document(path, results):
    """Writes down what was seen, a line for each kind of step."""
    kinds = {}
    for name, passed in results:
        verb = next((verb for verb in VERBS if name.startswith(verb + " ")), None)
        kinds.setdefault(verb or name, []).append((name.removeprefix(f"{verb} "), passed))
    with open(path, "w", encoding="utf-8") as file:
        file.write(ABOUT)
        for kind, steps in kinds.items():
            of = ": " + ", ".join(name for name, _ in steps) if kind in VERBS else ""
            differs = [name for name, passed in steps if not passed]
            file.write(f"| {kind}{of} | {'differs: ' + ', '.join(differs) if differs else 'the same'} |\n")



def preload(root, library):
    """Puts the library into a root, for every program in it."""
    directory, = glob.glob(os.path.join(root, "usr/lib/*-linux-gnu"))
    shutil.copy(library, os.path.join(directory, "libsockguard.so"))
    with open(os.path.join(root, "etc/ld.so.preload"), "w", encoding="ascii") as file:
        file.write("/usr/$LIB/libsockguard.so\n")


def main():
    parser = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1].splitlines()[0])
    parser.add_argument("--packages", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--library")
    parser.add_argument("--document")
    parser.add_argument("roots", nargs="*")
    options = parser.parse_args()
    if options.packages:
        print(" ".join(QUICK if options.quick else ALL))
        return 0
    plain, guarded = options.roots
    preload(guarded, options.library)
    machines = [Machine(plain, False), Machine(guarded, True)]
    try:
        results = compare(machines, options.quick)
    finally:
        for machine in machines:
            machine.close()
    if options.document:
        document(options.document, results)
    passed = sum(passed for _, passed in results)
    failed = len(results) - passed
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
