"""Programs from Debian's packages that restrict themselves through seccomp, or whose units do.

They must start, serve, end and leave the same files with the guard and without.
"""

import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import unittest

import actor
import harness

sys.path.insert(0, os.path.join(harness.SOURCE, "tests", "matrix"))

import kernel  # noqa: E402
import units  # noqa: E402

CHRONY_UNIT = "/lib/systemd/system/chrony.service"
CHRONY_DEFAULTS = "/etc/default/chrony"
TOR_DEFAULTS = "/usr/share/tor/tor-service-defaults-torrc"


def needs(*programs):
    """Skips a class if a program is not installed."""
    missing = [program for program in programs if not shutil.which(program)]
    return unittest.skipIf(missing, f"not installed: {', '.join(missing)}")


class Outcome:
    """How a program ended: its exit status, the names in run_dir, and the guard's log lines."""

    def __init__(self, status, names, log):
        self.status, self.names = status, names
        self.guard_lines = [line for line in log.splitlines() if "sockguard" in line]


class SandboxedProgramCase(actor.SocketCase):
    def setUp(self):
        super().setUp()
        self.run_dir = os.path.join(self.dir, "run")
        # A copy of the library that all users can read.
        self.library = os.path.join(self.dir, "libsockguard.so")
        shutil.copy(harness.LIBRARY, self.library)
        os.chmod(self.library, 0o755)

    def recreate_run_dir(self, user=None, mode=0o755):
        """Replaces the directory of the sockets by an empty one."""
        shutil.rmtree(self.run_dir, ignore_errors=True)
        os.mkdir(self.run_dir)
        os.chmod(self.run_dir, mode)
        if user:
            account = pwd.getpwnam(user)
            os.chown(self.run_dir, account.pw_uid, account.pw_gid)

    def start_without_network(self, argv, guard):
        """Starts the program in a network namespace without interfaces, so that it contacts no
        host."""
        self.log = open(os.path.join(self.dir, "log"), "w+", encoding="utf-8", errors="replace")
        self.addCleanup(self.log.close)
        env = {"LD_PRELOAD": self.library} if guard else {}
        return self.start(["unshare", "--net", "--", *argv], env=env, stdout=self.log,
                          stderr=self.log, stdin=subprocess.DEVNULL)

    def log_text(self):
        with open(self.log.name, encoding="utf-8", errors="replace") as log:
            return log.read()

    def wait_while_running(self, process, condition, what):
        """Waits until condition() is true. Fails if the program ends before that."""
        def done_or_ended():
            return condition() or process.poll() is not None
        harness.wait_until(done_or_ended, f"{what}: {self.log_text()}")
        self.assertIsNone(process.poll(), "\n".join(self.log_text().splitlines()[-3:]))

    def wait_for_outcome(self, process):
        status = process.wait(harness.TIMEOUT)
        return Outcome(status, sorted(os.listdir(self.run_dir)), self.log_text())

    def assert_library_loaded(self, process, guard):
        """Checks that the library is loaded if and only if the program is guarded."""
        mapped = any("libsockguard" in file for file in kernel.mapped(process.pid))
        self.assertEqual(mapped, guard)

    def accepts_connections(self, path):
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(path)
                return True
            except OSError:
                return False

    def assertSameOutcome(self, run, lock_files=()):
        """run(False) and run(True) return equal outcomes, except that with the guard, these lock
        files may remain as well. Returns the first outcome."""
        unguarded, guarded = run(False), run(True)
        names = sorted([*unguarded.names, *lock_files])
        self.assertEqual((guarded.status, guarded.names), (unguarded.status, names),
                         "\n".join(guarded.guard_lines))
        self.assertEqual(guarded.guard_lines, [])
        return unguarded


@actor.needs_root
@needs("chronyd", "unshare")
class Chrony(SandboxedProgramCase):
    """chronyd with the seccomp filter of its option -F, as in Debian's /etc/default/chrony."""

    def run_chronyd(self, level, guard):
        self.recreate_run_dir("_chrony", 0o750)
        path = os.path.join(self.run_dir, "chronyd.sock")
        config = self.write_file("chrony.conf", f"bindcmdaddress {path}\nport 0\ncmdport 0\n"
                                 f"pidfile {self.run_dir}/chronyd.pid\n"
                                 f"driftfile {self.dir}/drift\n")
        process = self.start_without_network(["chronyd", "-x", "-n", "-F", str(level), "-f", config,
                                              "-u", "_chrony"], guard)
        self.wait_while_running(process, lambda: self.answers_chronyc(path), "chronyd to answer")
        self.assert_library_loaded(process, guard)
        process.terminate()
        return self.wait_for_outcome(process)

    def answers_chronyc(self, path):
        return os.path.exists(path) and self.run_program(
            ["chronyc", "-n", "-h", path, "tracking"]).returncode == 0

    def compare(self, level):
        unguarded = self.assertSameOutcome(lambda guard: self.run_chronyd(level, guard))
        self.assertEqual((unguarded.status, unguarded.names), (0, []))

    def test_debian_runs_it_with_level_1(self):
        with open(CHRONY_DEFAULTS, encoding="utf-8") as file:
            self.assertRegex(file.read(), 'DAEMON_OPTS="-F -?1"')  # -1 in Ubuntu 20.04

    def test_level_1(self):
        self.compare(1)

    def test_level_1_for_the_main_process_alone(self):
        self.compare(-1)

    def test_level_2(self):
        """The filter of level 2 allows few calls. Any other call kills the process."""
        self.compare(2)


@actor.needs_root
@needs("tor", "unshare")
class Tor(SandboxedProgramCase):
    """tor with "Sandbox 1", whose filter compares the pointers to the paths of some calls."""

    # The filter forbids a variant of futex(2) that tor makes if its threads start slowly. Then tor
    # ends, with the guard and without.
    ENDED_BY_ITSELF = "The futex facility returned an unexpected error code"

    def setUp(self):
        super().setUp()
        os.mkdir(self.dir + "/data", 0o700)
        self.control = os.path.join(self.run_dir, "control")

    def run_tor(self, *args, **options):
        """Calls try_tor until tor does not end by itself, and returns the outcome."""
        for _ in range(10):
            try:
                return self.try_tor(*args, **options)
            except AssertionError:
                if self.ENDED_BY_ITSELF not in self.log_text():
                    raise
        self.fail("tor always ended by itself")

    def try_tor(self, guard, torrc_text, new_torrc_text, listeners, user=None, options=()):
        """Starts tor, reloads another torrc, waits until tor listens at all listeners, and stops
        it."""
        self.recreate_run_dir(user, 0o700)
        if user:
            shutil.chown(self.dir + "/data", user)
        torrc = self.write_file("torrc", torrc_text)
        process = self.start_without_network(["tor", *options, "-f", torrc], guard)
        self.wait_while_running(process, lambda: "Bootstrapped 0%" in self.log_text() and
                                self.accepts_connections(self.control), "tor to start")
        self.assert_library_loaded(process, guard)
        self.write_file("torrc", new_torrc_text)
        process.send_signal(signal.SIGHUP)
        self.wait_while_running(process, lambda: "Received reload signal" in self.log_text() and
                                all(map(self.accepts_connections, listeners)), "tor to reload")
        if self.blocks_sigint(process):
            self.request_shutdown()
        else:
            process.send_signal(signal.SIGINT)
        return self.wait_for_outcome(process)

    def blocks_sigint(self, process):
        """On Debian sid, tor has SIGINT blocked after it installed its filter, with the guard and
        without."""
        with open(f"/proc/{process.pid}/status", encoding="ascii") as status:
            blocked, = (int(line.split()[1], 16) for line in status if line.startswith("SigBlk:"))
        return bool(blocked & 1 << (signal.SIGINT - 1))

    def request_shutdown(self):
        """Requests through the control socket what SIGINT requests."""
        cookie = ""
        if os.path.exists(self.control + ".authcookie"):
            with open(self.control + ".authcookie", "rb") as file:
                cookie = file.read().hex()
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(harness.TIMEOUT)
            control.connect(self.control)
            with control.makefile("rw", newline="\r\n") as lines:
                for request in f"AUTHENTICATE {cookie}".rstrip(), "SIGNAL SHUTDOWN":
                    lines.write(request + "\n")
                    lines.flush()
                    self.assertEqual(lines.readline().rstrip(), "250 OK", request)

    def lock_files(self):
        """The lock files that remain.

        The filter of tor 0.4.5 (Debian 11) and older does not allow newfstatat(2), without which the
        guard cannot check a path. So tor unlinks its socket as without the guard, and the lock file,
        which was created before the filter was installed, remains.
        """
        told = self.run_program(["tor", "--version"]).stdout
        old = re.search(r"version 0\.4\.[0-5]\.", told)
        return [os.path.basename(harness.lock_file_of(self.control))] if old else []

    def common_torrc(self):
        return f"DataDirectory {self.dir}/data\nControlPort unix:{self.control}\nSandbox 1\n"

    def test_reload(self):
        torrc = self.common_torrc() + "SocksPort 0\nDisableNetwork 1\n"
        unguarded = self.assertSameOutcome(
            lambda guard: self.run_tor(guard, torrc, torrc, [self.control]), self.lock_files())
        self.assertEqual((unguarded.status, unguarded.names), (0, []))

    def test_listener_opened_in_the_sandbox(self):
        socks = os.path.join(self.run_dir, "socks")
        torrc = self.common_torrc() + f"SocksPort unix:{socks}\n"
        unguarded = self.assertSameOutcome(
            lambda guard: self.run_tor(guard, torrc + "DisableNetwork 1\n", torrc,
                                       [self.control, socks]), self.lock_files())
        self.assertEqual((unguarded.status, unguarded.names), (0, []))

    def test_with_the_packaged_defaults(self):
        """The settings of Debian's package, with the directories replaced."""
        with open(TOR_DEFAULTS, encoding="utf-8") as file:
            defaults = file.read()
        self.assertIn("ControlSocket /run/tor/control", defaults)
        defaults = self.write_file("defaults", defaults.replace("/run/tor", self.run_dir)
                                   .replace("/var/lib/tor", self.dir + "/data")
                                   .replace("Log notice syslog", "Log notice stdout"))
        socks = os.path.join(self.run_dir, "socks")
        unguarded = self.assertSameOutcome(
            lambda guard: self.run_tor(guard, "Sandbox 1\n", "Sandbox 1\n", [self.control, socks],
                                       "debian-tor", ["--defaults-torrc", defaults,
                                                      "--RunAsDaemon", "0"]))
        self.assertEqual(unguarded.status, 0)
        self.assertNotIn("control", unguarded.names)
        self.assertNotIn("socks", unguarded.names)


VSFTPD_CONF = """
listen=YES
listen_address=127.0.0.1
listen_port=2121
background=NO
local_enable=YES
write_enable=YES
seccomp_sandbox=YES
xferlog_enable=NO
pam_service_name=vsftpd
"""
# Any password is accepted: no other process sees this file or can reach the port.
PAM_CONFIG = "".join(f"{kind} required pam_permit.so\n" for kind in ("auth", "account", "session"))


@actor.needs_root
@needs("vsftpd", "unshare", "nsenter")
class Vsftpd(SandboxedProgramCase):
    """vsftpd runs each user's session in its own process, under a filter that kills the process.

    The filter in Debian 12 is older than Debian's libc: the stat(2) for an RNFR command kills the
    session, also without the guard. Commands that delete files or make and remove directories work.
    """

    def setUp(self):
        super().setUp()
        self.files = os.path.join(self.dir, "run")

    def create_files(self):
        self.recreate_run_dir("www-data")
        os.makedirs(self.dir + "/empty", exist_ok=True)
        self.write_file("run/regular")
        self.make_stale(os.path.join(self.files, "stale"))
        self.server = socket.socket(socket.AF_UNIX)
        self.addCleanup(self.server.close)
        self.server.bind(os.path.join(self.files, "live"))
        self.server.listen()
        for name in os.listdir(self.files):
            shutil.chown(os.path.join(self.files, name), "www-data")

    def launch_vsftpd(self, guard):
        config = self.write_file("vsftpd.conf", VSFTPD_CONF + f"local_root={self.files}\n"
                                 f"secure_chroot_dir={self.dir}/empty\n")
        permit = self.write_file("pam", PAM_CONFIG)
        script = "ip link set lo up && mount --bind \"$1\" /etc/pam.d/vsftpd && exec vsftpd \"$2\""
        process = self.start_without_network(
            ["unshare", "--mount", "sh", "-c", script, "sh", permit, config],
                                             guard)
        self.wait_while_running(process, lambda: kernel.comm(process.pid) == "vsftpd", "vsftpd")
        return process

    def session(self, process, *commands):
        """Logs in to vsftpd and sends these commands. Returns their reply codes."""
        client = subprocess.run(
            ["nsenter", "--target", str(process.pid), "--net", harness.PYTHON, "-B", "-c",
             FTP_CLIENT, str(harness.TIMEOUT), *commands],
            capture_output=True, text=True, timeout=harness.TIMEOUT, check=False)
        self.assertEqual(client.returncode, 0, client.stderr + self.log_text())
        return client.stdout.split()

    def run_vsftpd(self, guard, *sessions):
        self.create_files()
        process = self.launch_vsftpd(guard)
        answers = [self.session(process, *commands) for commands in sessions]
        self.assert_library_loaded(process, guard)
        process.terminate()
        outcome = self.wait_for_outcome(process)
        outcome.status = outcome.status, answers
        return outcome

    def test_delete_and_directory_commands(self):
        unguarded = self.assertSameOutcome(lambda guard: self.run_vsftpd(
            guard, ["DELE regular", "DELE stale", "DELE none", "MKD made", "RMD made"]))
        self.assertEqual(unguarded.status[1], [["250", "250", "550", "257", "250"]])
        self.assertEqual(unguarded.names, ["live"])

    def test_rename_commands(self):
        """The results without the guard depend on the version of vsftpd, but the guard changes
        none."""
        self.assertSameOutcome(lambda guard: self.run_vsftpd(
            guard, ["RNFR regular", "RNTO other"], ["RNFR stale", "RNTO moved"],
            ["RNFR none", "RNTO other"]))

    def test_session_survives_delete_of_a_live_socket(self):
        """The guard cannot check the path under this filter, so it calls libc or refuses the
        call."""
        answers = self.run_vsftpd(True, ["DELE live", "PWD"]).status[1]
        self.assertIn(answers, ([["250", "257"]], [["550", "257"]]))


# TIMEOUT COMMAND...: prints the reply code of each command, or "ended" if the session ended.
FTP_CLIENT = """
import ftplib, sys
client = ftplib.FTP()
while True:
    try:
        client.connect("127.0.0.1", 2121, float(sys.argv[1]))
        break
    except ConnectionRefusedError:
        pass
client.login("www-data", "any")
for command in sys.argv[2:]:
    try:
        print(client.sendcmd(command)[:3])
    except ftplib.error_perm as answer:
        if str(answer).startswith("500 OOPS"):  # sent at the end of the session, if possible
            print("ended")
            break
        print(str(answer)[:3])
    except (EOFError, OSError):
        print("ended")
        break
"""


@needs("qemu-system-x86_64")
class Qemu(SandboxedProgramCase):
    """qemu -sandbox on, which installs a filter that denies calls that an emulator does not
    need."""

    DENY_EVERYTHING = "elevateprivileges=deny,spawn=deny,resourcecontrol=deny,obsolete=deny"

    def quit_qemu(self, path):
        """Makes qemu quit through its monitor, as VM managers do."""
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.settimeout(harness.TIMEOUT)
            monitor.connect(path)
            lines = monitor.makefile("rw", encoding="utf-8")
            self.assertIn("QMP", json.loads(lines.readline()))
            for command in "qmp_capabilities", "quit":
                lines.write(json.dumps({"execute": command}) + "\n")
                lines.flush()
                while "return" not in json.loads(lines.readline()):
                    pass

    def run_qemu(self, guard, sandbox):
        self.recreate_run_dir()
        monitor = os.path.join(self.run_dir, "qmp")
        argv = ["qemu-system-x86_64", "-sandbox", sandbox, "-nodefaults", "-display", "none",
                "-machine", "none", "-S", "-qmp", f"unix:{monitor},server=on,wait=off",
                "-monitor", f"unix:{self.run_dir}/monitor,server=on,wait=off"]
        process = self.start_without_network(argv, guard)
        self.wait_while_running(process, lambda: self.accepts_connections(monitor), "qemu")
        self.assert_library_loaded(process, guard)
        self.quit_qemu(monitor)
        return self.wait_for_outcome(process)

    def compare(self, sandbox):
        unguarded = self.assertSameOutcome(lambda guard: self.run_qemu(guard, sandbox))
        self.assertEqual((unguarded.status, unguarded.names), (0, []))

    def test_on(self):
        self.compare("on")

    def test_on_with_everything_else_denied(self):
        self.compare("on," + self.DENY_EVERYTHING)


class SystemdCase(unittest.TestCase):
    """All tests of a class share a real systemd, which is process 1 of its own namespaces."""

    @classmethod
    def setUpClass(cls):
        if os.getuid() != 0:
            raise unittest.SkipTest("needs root")
        if subprocess.run(["unshare", "--mount", "true"], capture_output=True,
                          check=False).returncode:
            raise unittest.SkipTest("this root may not make namespaces")
        cls.manager = units.Manager(harness.LIBRARY)
        cls.addClassCleanup(cls.manager.close)

    def run_inside(self, *argv):
        return subprocess.run(["nsenter", "--target", str(self.manager.init), "--mount", "--pid",
                               "--wd=/", *argv], capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=harness.TIMEOUT, check=False)

    def systemctl(self, *words, check=False):
        return self.manager.systemctl(*words, check=check)

    def show(self, unit, *properties):
        return [self.systemctl("show", "--value", "--property", one, unit).strip()
                for one in properties]


@needs("chronyd")
class ChronyUnit(SystemdCase):
    """The packaged chrony.service, with chronyd's option -x, so that the clock is not changed."""

    def start(self, guard, level):
        with open(CHRONY_UNIT, encoding="utf-8") as file:
            self.manager.write("/run/units/chrony.service", file.read())
        self.manager.write("/run/matrix/chrony", f'DAEMON_OPTS="-F {level} -x"\n')
        self.manager.write(
            "/run/units/chrony.service.d/test.conf",  # since chrony 4.8, not in a container
            "[Unit]\nDefaultDependencies=no\nConditionVirtualization=\n"
            "[Service]\nEnvironmentFile=/run/matrix/chrony\n"
            "PrivateNetwork=yes\n" +
            "Environment=LD_PRELOAD=/run/matrix/libsockguard.so\n" * guard)
        self.systemctl("daemon-reload")
        self.systemctl("start", "chrony")

    def run_unit(self, guard, level):
        self.start(guard, level)
        state, pid = self.show("chrony", "ActiveState", "MainPID")
        self.assertEqual(state, "active", self.systemctl("status", "chrony"))
        names = sorted(os.listdir(self.manager.outside("/run/chrony")))
        self.assertIn("chronyd.sock", names)
        mapped = self.run_inside("grep", "-c", "libsockguard", f"/proc/{pid}/maps")
        self.assertEqual(mapped.returncode == 0, guard)
        self.systemctl("stop", "chrony")
        outcome = self.show("chrony", "ActiveState", "Result", "ExecMainStatus")
        self.systemctl("reset-failed", "chrony")
        try:
            return outcome, sorted(os.listdir(self.manager.outside("/run/chrony")))
        except FileNotFoundError:  # it is the unit's RuntimeDirectory, except in Debian 11
            return outcome, []

    def compare(self, level):
        unguarded = self.run_unit(False, level)
        self.assertEqual(unguarded, (["inactive", "success", "0"], []))
        self.assertEqual(self.run_unit(True, level), unguarded)

    def test_level_1(self):
        self.compare(1)

    def test_level_1_for_the_main_process_alone(self):
        self.compare(-1)


@needs("gunicorn")
class SystemCallFilter(SystemdCase):
    """A SystemCallFilter= that lacks the guard's calls ends the service, because the library cannot
    detect a filter that was installed before exec."""

    # gunicorn itself calls none of these.
    TOO_NARROW = "SystemCallFilter=@system-service\nSystemCallFilter=~pwrite64 statx\n"

    def run_unit(self, guard, lines):
        scene = units.Scene(self.manager, guard)
        self.addCleanup(scene.close)
        unit = scene.unit("first", lines)
        started = scene.start(unit)
        names = scene.names()
        if started:
            scene.require_guarded()
            self.assertEqual(scene.instance(), "first")
        scene.systemctl("stop", unit)
        return (started, names, self.show(unit, "Result"), scene.names(), scene.log(unit)), unit

    def outcome(self, guard, lines):
        (started, names, result, left, log), _ = self.run_unit(guard, lines)
        visible = [name for name in names if not name.endswith(".sockguard")]
        return started, visible, result, left, "sockguard" in log

    def unit_advice(self, unit, path="/usr/sbin:/usr/bin:/sbin:/bin"):
        ended = self.run_inside("env", "PATH=" + path, harness.COMMAND, "unit", unit)
        self.assertEqual(ended.returncode, 0, ended.stderr)
        return ended.stdout

    def test_system_service(self):
        unguarded = self.outcome(False, "SystemCallFilter=@system-service")
        self.assertEqual(unguarded, (True, ["app.sock"], ["success"], [], False))
        self.assertEqual(self.outcome(True, "SystemCallFilter=@system-service"), unguarded)

    def test_system_service_with_an_errno(self):
        lines = "SystemCallFilter=@system-service\nSystemCallErrorNumber=EPERM"
        self.assertEqual(self.outcome(True, lines), self.outcome(False, lines))

    def test_list_that_is_too_narrow(self):
        """SIGSYS ends the service. It works with the line that `unit` recommends."""
        self.assertEqual(self.outcome(False, self.TOO_NARROW)[:3],
                         (True, ["app.sock"], ["success"]))
        (started, _, result, _, _), unit = self.run_unit(True, self.TOO_NARROW)
        self.assertFalse(started)
        self.assertIn(result, (["core-dump"], ["signal"]))
        advice = self.unit_advice(unit)
        self.assertIn("pwrite64 statx", advice)
        line, = [line[1:] for line in advice.splitlines() if line.startswith("#SystemCallFilter=")]
        self.assertEqual(line, "SystemCallFilter=pwrite64 statx")
        self.assertEqual(self.outcome(True, self.TOO_NARROW + line),
                         self.outcome(False, self.TOO_NARROW + line))

    def test_check_of_a_running_service(self):
        scene = units.Scene(self.manager, True)
        self.addCleanup(scene.close)
        for lines, reported in (("SystemCallFilter=@system-service", False),
                                ("SystemCallFilter=~kcmp", True), ("", False)):
            unit = scene.unit("first", lines)
            self.assertTrue(scene.start(unit), scene.log(unit))
            pid, = self.show(unit, "MainPID")
            ended = self.run_inside(harness.COMMAND, "check", pid)
            self.assertEqual((ended.returncode, ended.stdout.split("\t")[0]), (0, "guarded"))
            self.assertEqual("SystemCallFilter= does not allow kcmp" in ended.stdout, reported,
                             ended.stdout)
            if not reported:
                self.assertNotIn("does not allow", self.unit_advice(unit))
            scene.systemctl("stop", unit)


if __name__ == "__main__":
    sys.exit(harness.main())
