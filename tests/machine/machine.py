"""Compares two machines made from one Debian root, one with the library in /etc/ld.so.preload.

usage: machine.py [--quick] [--document FILE] --library FILE ROOT GUARDED_ROOT

Both boot with systemd as process 1, and go through the same steps at the same time. A step passes
if its results are the same on both machines, and no fault is found on either. Prints PASS or FAIL
for each step, with the differences. The exit status is 1 if a step failed.
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
from lockname import socket_path_of  # noqa: E402

EVENT_TIMEOUT = 180.0  # seconds to wait for an event, such as the end of the boot. Only for hangs.
COMMAND_TIMEOUT = 3 * EVENT_TIMEOUT  # seconds for a command in a machine, such as apt-get install
SUFFIX = ".sockguard"
LOGIN = "visitor"
PROBE = "/run/probe.sock"
UNIT_KINDS = "--type=service,socket"
QUICK = ("redis-server", "haproxy", "chrony", "supervisor", "uuid-runtime", "systemd-userdbd")
ALL = QUICK + ("rsyslog", "nginx-light", "php-fpm", "memcached", "acpid", "dovecot-core",
               "postgresql",
               "mariadb-server", "pcscd", "rpcbind", "cups-daemon", "avahi-daemon", "tor",
               "openssh-server", "systemd-resolved")
# Files that differ between two equal machines, or from one purge to the next.
CHANGING_FILES = re.compile(r"/var/(log|cache|tmp|lib/(apt|private|systemd))/|/etc/ld\.so\.|"
                      r"/lib/[^/]*/libsockguard\.so$|/ssl/certs/|/dpkg/")

# seen: what both machines must have in common; None: the name says what is expected on each.
Step = collections.namedtuple("Step", "name seen wrong", defaults=(None,))


class NoProgress(Exception):
    """The machine did not boot, or an expected event did not happen in time."""


def wait_until(condition, what):
    """Polls until condition() is true and returns its value."""
    deadline = time.monotonic() + EVENT_TIMEOUT
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise NoProgress("timed out waiting for " + what)
        time.sleep(0.1)
    return value


class Machine:
    """A booted root."""

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
        """Kills the machine with all its processes."""
        self._keeper.stdin.close()
        self._keeper.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    def run(self, *argv):
        """Runs a command inside. Returns its exit status and its output."""
        done = subprocess.run(
            ["nsenter", "--target", str(self.init), "--mount", "--pid", "--net", "--uts", "--ipc",
             "--cgroup", "--root", "--wd=/", "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
             "HOME=/root", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive", *argv],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=COMMAND_TIMEOUT, text=True, errors="replace", check=False)
        with open(self.root + ".log", "a", encoding="utf-8") as log:
            log.write(f"$ {' '.join(argv)}\n{done.stdout}status {done.returncode}\n")
        return done.returncode, done.stdout

    def output_of(self, *argv):
        """Returns the output of a command, followed by its exit status if it failed."""
        status, output = self.run(*argv)
        return output + (f"status {status}\n" if status else "")

    def boot(self):
        """Waits until systemd has booted. Returns the state that it reports."""
        def init():
            if self._keeper.poll() is not None:
                raise NoProgress(f"the machine did not boot; see {self.root}.log")
            return next((pid for pid in keeper.descendants(self._keeper.pid)
                         if kernel.comm(pid) == "systemd"), None)
        self.init = wait_until(init, "systemd")
        state = wait_until(lambda: re.match("running|degraded", self.run(
            "systemctl", "is-system-running", "--wait")[1]), "the end of the boot")
        return state[0] + "\n"

    def settle(self):
        """Waits until no unit is changing its state."""
        def quiet():
            jobs = self.run("systemctl", "list-jobs", "--no-legend")[1]
            moving = self.run("systemctl", "list-units", "--no-legend", UNIT_KINDS,
                              "--state=activating,deactivating,reloading")[1]
            return not (jobs + moving).strip().replace("No jobs running.", "")
        for _ in range(2):
            wait_until(quiet, "stable units")

    def units(self):
        """Returns the state of each loaded service and socket."""
        self.settle()
        listed = self.run("systemctl", "list-units", "--all", "--plain", "--no-legend",
                          UNIT_KINDS)[1]
        found = [line.split()[:4] for line in listed.splitlines()]
        return {name: f"{load} {active} {sub}" for name, load, active, sub in found
                if not name.startswith(("run-", "user"))}

    def state(self, unit):
        """Returns a unit's state, and how its main process ended. If ExecStop= makes the process
        exit while systemd sends its signal, either may happen first."""
        self.settle()
        shown = self.output_of("systemctl", "show", unit, "--property="
                         "ActiveState,SubState,Result,ExecMainCode,ExecMainStatus,NRestarts")
        if "Result=success" in shown:
            shown = shown.replace("ExecMainCode=2\nExecMainStatus=15",
                                  "ExecMainCode=1\nExecMainStatus=0")
        return shown

    def newly_failed(self):
        """Returns the units that have failed since the last call."""
        failed = {name for name, state in self.units().items() if " failed " in state}
        new, self._failed = failed - self._failed, failed
        return "".join(f"failed: {name}\n" for name in sorted(new))

    def processes(self):
        """Returns process 1 and its descendants, without those that the test started."""
        return [self.init] + keeper.descendants(self.init)

    def unguarded(self):
        """Returns the names of the processes without the library. A process without any mapped file
        is in the middle of an exec and does not count."""
        found = {pid: kernel.mapped(pid) for pid in self.processes()}
        return sorted(kernel.comm(pid) or "" for pid, files in found.items()
                      if files and not any("libsockguard" in name for name in files))

    def descriptors(self):
        """Returns the descriptors of process 1 at the moment when it has the fewest, because
        clients come and go."""
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
        """Returns the files that find prints with these arguments."""
        return self.run("find", *options)[1].splitlines()

    def sockets(self):
        """Returns the paths of all sockets, and the faults of their lock files."""
        volatile = ("/run", "/tmp", "/var", "-xdev")
        names = self.files(*volatile, "-type", "s")
        locks = self.files(*volatile, "-name", "*" + SUFFIX)
        wrong = [lock for lock in locks if socket_path_of(lock) not in names or not self.guarded]
        seen = sorted(re.sub(r"\d{2,}|systemd-private-\w+", "N", name) for name in names)
        return "\n".join(seen) + "\n", \
            f"lock files without a socket: {' '.join(wrong)}" if wrong else None

    def tree(self):
        """Returns the files of the root, without those that always differ."""
        return "".join(sorted(name + "\n" for name in self.files("/", "-xdev")
                              if not CHANGING_FILES.search(name)))

    def journal(self):
        """Returns the messages in the journal, even after the machine has shut down."""
        done = subprocess.run(["journalctl", "--directory", self.root + "/var/log/journal",
                               "--output=cat", "--no-pager"], stdout=subprocess.PIPE, text=True,
                              errors="replace", check=False)
        return done.stdout.splitlines()


def guard_lines(lines):
    """Returns the lines that the guard logged."""
    return [line for line in lines if re.search(r"\bsockguard: ", line)]


# The steps of a machine. Each function yields steps, whose results must be the same on both
# machines.

def booting(machine):
    """Process 1 starts. The library is in every process of one machine, and in none of the
    other."""
    yield Step("boot", machine.boot() + machine.newly_failed())
    without = machine.unguarded()
    wrong = None
    if machine.guarded and without:
        wrong = "without the library: " + " ".join(without)
    elif not machine.guarded and len(without) < len(machine.processes()):
        wrong = "the library is in processes of the machine without the guard"
    yield Step("the library is in all processes of the guarded machine, and in none of the other",
               None, wrong)
    yield Step("units after the boot", unit_list(machine))


def unit_list(machine):
    return "".join(f"{name} {state}\n" for name, state in sorted(machine.units().items()))


def installing(machine, packages):
    """Packages are installed, and their services start."""
    for package in packages:
        status, output = machine.run("apt-get", "-qq", "-y", "--no-install-recommends",
                                     "--no-download", "install", package)
        yield Step(f"apt-get install {package}", f"status {status}\n{machine.newly_failed()}",
                   "\n".join(guard_lines(output.splitlines())) or None)
    yield Step("units after all are installed", unit_list(machine))
    yield Step("sockets after all are installed", *machine.sockets())


def active(machine, kind):
    """The active units of a kind, except those through which the test accesses the machine."""
    return sorted(name for name, state in machine.units().items() if name.endswith(kind) and
                  state.startswith("loaded active") and not name.startswith("dbus."))


def restarting(machine):
    """Every service is restarted."""
    for unit in active(machine, ".service"):
        yield Step(f"systemctl restart {unit}", machine.output_of("systemctl", "restart", unit) +
                   machine.state(unit))


def reexecuting(machine, times=10):
    """Process 1 re-executes itself several times."""
    before = machine.descriptors()
    seen = "".join(machine.output_of("systemctl", "daemon-reexec") for _ in range(times))
    after = machine.descriptors()
    more = collections.Counter(after) - collections.Counter(before)
    yield Step(f"systemctl daemon-reexec, {times} times", seen + unit_list(machine),
               f"{len(before)} descriptors in process 1 before, {len(after)} after: {dict(more)}"
               if len(after) > len(before) else None)
    without = machine.unguarded() if machine.guarded else None
    yield Step("the library is still in process 1 of the guarded machine", None,
               f"without it: {' '.join(without)}" if without else None)
    yield Step("sockets after daemon-reexec", *machine.sockets())


def logging_in(machine):
    """Users are looked up, and one of them logs in."""
    for command in (f"su - {LOGIN} -c id", f"login -f {LOGIN}", f"getent passwd {LOGIN}",
                    "getent passwd nobody-of-that-name", "userdbctl services",
                    "userdbctl --no-pager user", f"su {LOGIN} -c 'userdbctl services'"):
        output = machine.output_of("sh", "-c", command)
        yield Step(command, re.sub(r"Last login.*\n", "", output))


def stopping(machine, before):
    """The services of the packages are stopped and started; then all services and sockets are
    stopped."""
    for unit in (name for name in active(machine, ".service") if name not in before):
        shown = machine.output_of("systemctl", "stop", unit) + machine.state(unit)
        yield Step(f"systemctl stop {unit}", shown)
        yield Step(f"systemctl start {unit}", machine.output_of("systemctl", "start", unit) +
                   machine.state(unit))
    yield Step("sockets after each service was started again", *machine.sockets())
    for unit in active(machine, ".service") + active(machine, ".socket"):
        if unit not in before:
            machine.run("systemctl", "stop", unit)
    yield Step("units after all are stopped", unit_list(machine))
    yield Step("sockets after all are stopped", *machine.sockets())


def purging(machine, packages):
    """All packages are purged."""
    for package in packages:
        status, output = machine.run("apt-get", "-qq", "-y", "--autoremove", "purge", package)
        yield Step(f"apt-get purge {package}", f"status {status}\n{machine.newly_failed()}",
                   "\n".join(guard_lines(output.splitlines())) or None)
    yield Step("sockets after all are purged", *machine.sockets())
    yield Step("files after all are purged", machine.tree())


def stealing(machine):
    """The counterpart: the guard refuses a theft, and the journal contains its message."""
    status, _ = machine.run("systemd-run", "--wait", "--quiet", "--unit=thief", "rm", PROBE)
    gone = machine.run("test", "-S", PROBE)[0] != 0
    lines = guard_lines(machine.run("journalctl", "--unit=thief", "--output=cat")[1].splitlines())
    fits = (gone, status, bool(lines)) == ((False, 1, True) if machine.guarded
                                           else (True, 0, False))
    yield Step("rm of a socket of process 1: succeeds without the guard; is refused with it, and "
               "the journal contains the message", None,
               None if fits else f"gone: {gone}, status {status}, logged: {lines}")


def shutting_down(machine):
    """The machine shuts down, and all lines that the guard has logged are checked."""
    machine.run("systemctl", "poweroff")
    wait_until(lambda: kernel.comm(machine.init) is None, "the end of process 1")
    yield Step("systemctl poweroff", "")
    journal = machine.journal()
    lines = [line for line in guard_lines(journal) if PROBE not in line]
    yield Step("no other line of the guard in the journal, from boot to shutdown", None,
               "\n".join(lines) or (None if len(journal) > 50 else "the journal was not read"))


def all_steps(machine, quick):
    """Yields all steps of a machine, in order."""
    packages = QUICK if quick else ALL
    yield from booting(machine)
    before = machine.units()
    yield from installing(machine, packages)
    yield from restarting(machine)
    yield from reexecuting(machine)
    yield from logging_in(machine)
    yield from stopping(machine, before)
    yield from purging(machine, packages)
    yield from stealing(machine)
    yield from shutting_down(machine)


def next_step(steps):
    try:
        return next(steps, None)
    except (NoProgress, OSError, subprocess.SubprocessError) as failure:
        return Step("no progress", "", f"{type(failure).__name__}: {failure}")


def judge(plain, guarded):
    """Returns the faults of a pair of steps, as lines; empty if there are none."""
    if plain is None or guarded is None or plain.name != guarded.name:
        names = [step.name if step else "the end" for step in (plain, guarded)]
        return [f"without the guard: {names[0]}; with it: {names[1]}"] + \
            [step.wrong for step in (plain, guarded) if step and step.wrong]
    found = [f"{which} the guard: {step.wrong}" for which, step in
             (("without", plain), ("with", guarded)) if step.wrong]
    return found + list(difflib.unified_diff(
        (plain.seen or "").splitlines(), (guarded.seen or "").splitlines(), "without the guard",
        "with it", lineterm="", n=0))


def compare(machines, quick):
    """Runs the steps on both machines. Returns each step's name, whether it passed, and whether
    the results were compared."""
    results = []
    generators = [all_steps(machine, quick) for machine in machines]
    with concurrent.futures.ThreadPoolExecutor(len(machines)) as pool:
        while any(steps := list(pool.map(next_step, generators))):
            wrong = judge(*steps)
            name = next(step.name for step in steps if step)
            results.append((name, not wrong, any(step and step.seen is not None for step in steps)))
            print("FAIL" if wrong else "PASS", name, sep=": ", flush=True)
            for line in "\n".join(wrong).splitlines():
                print("  " + line, flush=True)
            if None in steps or len({step.name for step in steps}) > 1:
                break  # the following steps cannot be compared
    return results


ABOUT = """
## Whole machines

`scripts/machine` boots two machines from the same Debian root. One has the library in its
`/etc/ld.so.preload`. In each, systemd is process 1 of its own namespaces. The script performs the same steps
on both. It compares exit statuses, failed units, the state of each unit and the result of its main process,
sockets, user listings, and at the end the remaining files. *The same*: the results on the two machines were
the same. *As expected*: each machine had the result that the row states.

| step | with the guard |
| --- | --- |
"""
VERBS = ("apt-get install", "systemctl restart", "systemctl stop", "systemctl start",
         "apt-get purge")


def document(path, results):
    """Writes the results into the document, a line for each kind of step."""
    kinds = {}
    for name, passed, compared in results:
        verb = next((verb for verb in VERBS if name.startswith(verb + " ")), None)
        kinds.setdefault(verb or name, []).append((name.removeprefix(f"{verb} "), passed, compared))
    with open(path, "w", encoding="utf-8") as file:
        file.write(ABOUT)
        for kind, steps in kinds.items():
            names = ": " + ", ".join(name for name, *_ in steps) if kind in VERBS else ""
            differs = [name for name, passed, _ in steps if not passed]
            result = "differs: " + ", ".join(differs) if differs else \
                "the same" if any(compared for *_, compared in steps) else "as expected"
            file.write(f"| {kind}{names} | {result} |\n")



def preload(root, library):
    """Installs the library in a root, for every program in it."""
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
    passed = sum(passed for _, passed, _ in results)
    failed = len(results) - passed
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
