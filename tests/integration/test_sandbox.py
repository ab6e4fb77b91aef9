"""Programs from Debian's packages that restrict themselves by seccomp, or are restricted by their
units: they start, serve and end with the guard as without, and leave the same files behind."""

import json
import os
import pwd
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
    missing = [program for program in programs if not shutil.which(program)]
    return unittest.skipIf(missing, f"not installed: {', '.join(missing)}")


class Outcome:
    """What a program's run is compared by."""

    def __init__(self, status, names, said):
        self.status, self.names = status, names
        self.refusals = [line for line in said.splitlines() if "sockguard" in line]


class ProgramCase(actor.SocketCase):
    def setUp(self):
        super().setUp()
        self.run_dir = os.path.join(self.dir, "run")
        self.library = os.path.join(self.dir, "libsockguard.so")  # for all users to read
        shutil.copy(harness.LIBRARY, self.library)
        os.chmod(self.library, 0o755)

    def fresh(self, owner=None, mode=0o755):
        """The directory of the sockets, empty."""
        shutil.rmtree(self.run_dir, ignore_errors=True)
        os.mkdir(self.run_dir)
        os.chmod(self.run_dir, mode)
        if owner:
            account = pwd.getpwnam(owner)
            os.chown(self.run_dir, account.pw_uid, account.pw_gid)

    def launch(self, argv, guard):
        """Without a network, so that nobody is called."""
        self.log = open(os.path.join(self.dir, "log"), "w+", encoding="utf-8", errors="replace")
        self.addCleanup(self.log.close)
        env = {"LD_PRELOAD": self.library} if guard else {}
        return self.start(["unshare", "--net", "--", *argv], env=env, stdout=self.log,
                          stderr=self.log, stdin=subprocess.DEVNULL)

    def said(self):
        with open(self.log.name, encoding="utf-8", errors="replace") as log:
            return log.read()

    def awaited(self, process, condition, what):
        def decided():
            return condition() or process.poll() is not None
        harness.wait_until(decided, f"{what}: {self.said()}")
        self.assertIsNone(process.poll(), self.said())

    def ended(self, process):
        status = process.wait(harness.PATIENCE)
        return Outcome(status, sorted(os.listdir(self.run_dir)), self.said())

    def has_guard(self, process, guard):
        """The library is in it, or is not: else the comparison would show nothing."""
        mapped = any("libsockguard" in file for file in kernel.mapped(process.pid))
        self.assertEqual(mapped, guard)

    def connects(self, path):
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(path)
                return True
            except OSError:
                return False

    def assertSameOutcome(self, run):
        """run(guard) is made without the guard and with it."""
        plain, guarded = run(False), run(True)
        self.assertEqual((guarded.status, guarded.names), (plain.status, plain.names),
                         "\n".join(guarded.refusals))
        self.assertEqual(guarded.refusals, [])
        return plain


@actor.needs_root
@needs("chronyd", "unshare")
class Chrony(ProgramCase):
    """chronyd in the seccomp filter of its option -F, as Debian's /etc/default/chrony has it."""

    def run_chronyd(self, level, guard):
        self.fresh("_chrony", 0o750)
        path = os.path.join(self.run_dir, "chronyd.sock")
        config = self.file("chrony.conf", f"bindcmdaddress {path}\nport 0\ncmdport 0\n"
                           f"pidfile {self.run_dir}/chronyd.pid\n"
                           f"driftfile {self.dir}/drift\n")
        process = self.launch(["chronyd", "-x", "-n", "-F", str(level), "-f", config,
                               "-u", "_chrony"], guard)
        self.awaited(process, lambda: self.answers_chronyc(path), "chronyd to answer")
        self.has_guard(process, guard)
        process.terminate()
        return self.ended(process)

    def answers_chronyc(self, path):
        return os.path.exists(path) and self.run_program(
            ["chronyc", "-n", "-h", path, "tracking"]).returncode == 0

    def check(self, level):
        plain = self.assertSameOutcome(lambda guard: self.run_chronyd(level, guard))
        self.assertEqual((plain.status, plain.names), (0, []))

    def test_its_default(self):
        with open(CHRONY_DEFAULTS, encoding="utf-8") as file:
            self.assertIn('DAEMON_OPTS="-F 1"', file.read())

    def test_level_1(self):
        self.check(1)

    def test_level_1_for_the_main_process_alone(self):
        self.check(-1)

    def test_level_2(self):
        """A filter that allows little and kills."""
        self.check(2)


@actor.needs_root
@needs("tor", "unshare")
class Tor(ProgramCase):
    """tor with "Sandbox 1", which compares the paths of some calls by their pointers."""

    def setUp(self):
        super().setUp()
        os.mkdir(self.dir + "/data", 0o700)
        self.control = os.path.join(self.run_dir, "control")

    def run_tor(self, guard, before, after, listeners, owner=None, more=()):
        """Started with one torrc, then given HUP with another, and INT."""
        self.fresh(owner, 0o700)
        if owner:
            shutil.chown(self.dir + "/data", owner)
        torrc = self.file("torrc", before)
        process = self.launch(["tor", *more, "-f", torrc], guard)
        self.awaited(process, lambda: "Bootstrapped 0%" in self.said() and
                     self.connects(self.control), "tor to start")
        self.has_guard(process, guard)
        self.file("torrc", after)
        process.send_signal(signal.SIGHUP)
        self.awaited(process, lambda: "Received reload signal" in self.said() and
                     all(map(self.connects, listeners)), "tor to reload")
        process.send_signal(signal.SIGINT)
        return self.ended(process)

    def common(self):
        return f"DataDirectory {self.dir}/data\nControlPort unix:{self.control}\nSandbox 1\n"

    def test_reload(self):
        torrc = self.common() + "SocksPort 0\nDisableNetwork 1\n"
        plain = self.assertSameOutcome(
            lambda guard: self.run_tor(guard, torrc, torrc, [self.control]))
        self.assertEqual((plain.status, plain.names), (0, []))

    def test_a_listener_opened_in_the_sandbox(self):
        socks = os.path.join(self.run_dir, "socks")
        torrc = self.common() + f"SocksPort unix:{socks}\n"
        plain = self.assertSameOutcome(
            lambda guard: self.run_tor(guard, torrc + "DisableNetwork 1\n", torrc,
                                       [self.control, socks]))
        self.assertEqual((plain.status, plain.names), (0, []))

    def test_with_the_package_s_defaults(self):
        """All of the package's own settings, in directories of the test's."""
        with open(TOR_DEFAULTS, encoding="utf-8") as file:
            defaults = file.read()
        self.assertIn("ControlSocket /run/tor/control", defaults)
        defaults = self.file("defaults", defaults.replace("/run/tor", self.run_dir)
                             .replace("/var/lib/tor", self.dir + "/data")
                             .replace("Log notice syslog", "Log notice stdout"))
        socks = os.path.join(self.run_dir, "socks")
        plain = self.assertSameOutcome(
            lambda guard: self.run_tor(guard, "Sandbox 1\n", "Sandbox 1\n", [self.control, socks],
                                       "debian-tor", ["--defaults-torrc", defaults,
                                                      "--RunAsDaemon", "0"]))
        self.assertEqual(plain.status, 0)
        self.assertNotIn("control", plain.names)
        self.assertNotIn("socks", plain.names)


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
# Any password will do for the test: nobody else sees this file, and nobody gets at the port.
PERMIT = "".join(f"{kind} required pam_permit.so\n" for kind in ("auth", "account", "session"))


@actor.needs_root
@needs("vsftpd", "unshare", "nsenter")
class Vsftpd(ProgramCase):
    """A user's session is in a process of its own, whose filter kills.

    That of the version in Debian 12 is older than its libc: it kills a session for stat(2), which
    RNFR makes, without the guard as well. What it can do is deleted files, and directories.
    """

    def setUp(self):
        super().setUp()
        self.files = os.path.join(self.dir, "run")

    def prepare(self):
        self.fresh("www-data")
        os.makedirs(self.dir + "/empty", exist_ok=True)
        self.file("run/regular")
        self.stale(os.path.join(self.files, "stale"))
        self.server = socket.socket(socket.AF_UNIX)
        self.addCleanup(self.server.close)
        self.server.bind(os.path.join(self.files, "live"))
        self.server.listen()
        for name in os.listdir(self.files):
            shutil.chown(os.path.join(self.files, name), "www-data")

    def launch_vsftpd(self, guard):
        config = self.file("vsftpd.conf", VSFTPD_CONF + f"local_root={self.files}\n"
                           f"secure_chroot_dir={self.dir}/empty\n")
        permit = self.file("pam", PERMIT)
        script = "ip link set lo up && mount --bind \"$1\" /etc/pam.d/vsftpd && exec vsftpd \"$2\""
        process = self.launch(["unshare", "--mount", "sh", "-c", script, "sh", permit, config],
                              guard)
        self.awaited(process, lambda: kernel.comm(process.pid) == "vsftpd", "vsftpd")
        return process

    def session(self, process, *commands):
        """The answers' codes to a logged-in user's commands, in vsftpd's network namespace."""
        client = subprocess.run(
            ["nsenter", "--target", str(process.pid), "--net", harness.PYTHON, "-B", "-c", CLIENT,
             *commands], capture_output=True, text=True, timeout=harness.PATIENCE, check=False)
        self.assertEqual(client.returncode, 0, client.stderr + self.said())
        return client.stdout.split()

    def run_vsftpd(self, guard, *sessions):
        self.prepare()
        process = self.launch_vsftpd(guard)
        answers = [self.session(process, *commands) for commands in sessions]
        self.has_guard(process, guard)
        process.terminate()
        outcome = self.ended(process)
        outcome.status = outcome.status, answers
        return outcome

    def test_deletes(self):
        plain = self.assertSameOutcome(lambda guard: self.run_vsftpd(
            guard, ["DELE regular", "DELE stale", "DELE none", "MKD made", "RMD made"]))
        self.assertEqual(plain.status[1], [["250", "250", "550", "257", "250"]])
        self.assertEqual(plain.names, ["live"])

    def test_renames(self):
        """They go as they do without the guard, whatever that is in this version."""
        self.assertSameOutcome(lambda guard: self.run_vsftpd(
            guard, ["RNFR regular", "RNTO other"], ["RNFR stale", "RNTO moved"],
            ["RNFR none", "RNTO other"]))

    def test_a_delete_of_a_live_socket_ends_no_session(self):
        """The filter lets the guard ask nobody: the name is left to libc, or refused."""
        answers = self.run_vsftpd(True, ["DELE live", "PWD"]).status[1]
        self.assertIn(answers, ([["250", "257"]], [["550", "257"]]))


CLIENT = """
import ftplib, sys
client = ftplib.FTP()
while True:
    try:
        client.connect("127.0.0.1", 2121, 20)
        break
    except ConnectionRefusedError:
        pass
client.login("www-data", "any")
for command in sys.argv[1:]:
    try:
        print(client.sendcmd(command)[:3])
    except ftplib.error_perm as answer:
        if str(answer).startswith("500 OOPS"):  # its last words, if it can still send them
            print("ended")
            break
        print(str(answer)[:3])
    except (EOFError, OSError):
        print("ended")
        break
"""


@needs("qemu-system-x86_64")
class Qemu(ProgramCase):
    """qemu -sandbox on: what a guest's emulator does not need is forbidden to it."""

    MORE = "elevateprivileges=deny,spawn=deny,resourcecontrol=deny,obsolete=deny"

    def quits(self, path):
        """Tells it to end, as a manager of machines does."""
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.settimeout(harness.PATIENCE)
            monitor.connect(path)
            lines = monitor.makefile("rw", encoding="utf-8")
            self.assertIn("QMP", json.loads(lines.readline()))
            for command in "qmp_capabilities", "quit":
                lines.write(json.dumps({"execute": command}) + "\n")
                lines.flush()
                while "return" not in json.loads(lines.readline()):
                    pass

    def run_qemu(self, guard, sandbox):
        self.fresh()
        monitor = os.path.join(self.run_dir, "qmp")
        argv = ["qemu-system-x86_64", "-sandbox", sandbox, "-nodefaults", "-display", "none",
                "-machine", "none", "-S", "-qmp", f"unix:{monitor},server=on,wait=off",
                "-monitor", f"unix:{self.run_dir}/monitor,server=on,wait=off"]
        process = self.launch(argv, guard)
        self.awaited(process, lambda: self.connects(monitor), "qemu")
        self.has_guard(process, guard)
        self.quits(monitor)
        return self.ended(process)

    def check(self, sandbox):
        plain = self.assertSameOutcome(lambda guard: self.run_qemu(guard, sandbox))
        self.assertEqual((plain.status, plain.names), (0, []))

    def test_on(self):
        self.check("on")

    def test_on_and_all_else_denied(self):
        self.check("on," + self.MORE)


class Systemd(unittest.TestCase):
    """Under a real systemd, process 1 of its own namespaces; one for all tests."""

    @classmethod
    def setUpClass(cls):
        if os.getuid() != 0:
            raise unittest.SkipTest("needs root")
        if subprocess.run(["unshare", "--mount", "true"], capture_output=True,
                          check=False).returncode:
            raise unittest.SkipTest("this root may not make namespaces")
        cls.manager = units.Manager(harness.LIBRARY)
        cls.addClassCleanup(cls.manager.close)

    def inside(self, *argv):
        return subprocess.run(["nsenter", "--target", str(self.manager.init), "--mount", "--pid",
                               "--wd=/", *argv], capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=90, check=False)

    def systemctl(self, *words, check=False):
        return self.manager.systemctl(*words, check=check)

    def show(self, unit, *properties):
        return [self.systemctl("show", "--value", "--property", one, unit).strip()
                for one in properties]


@needs("chronyd")
class ChronyUnit(Systemd):
    """chrony.service as its package has it; the clock is left alone, and the guard added."""

    def start(self, guard, level):
        with open(CHRONY_UNIT, encoding="utf-8") as file:
            self.manager.write("/run/units/chrony.service", file.read())
        self.manager.write("/run/matrix/chrony", f'DAEMON_OPTS="-F {level} -x"\n')
        self.manager.write(
            "/run/units/chrony.service.d/test.conf",
            "[Unit]\nDefaultDependencies=no\n[Service]\nEnvironmentFile=/run/matrix/chrony\n"
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
        mapped = self.inside("grep", "-c", "libsockguard", f"/proc/{pid}/maps")
        self.assertEqual(mapped.returncode == 0, guard)
        self.systemctl("stop", "chrony")
        outcome = self.show("chrony", "ActiveState", "Result", "ExecMainStatus")
        self.systemctl("reset-failed", "chrony")
        return outcome, os.path.exists(self.manager.outside("/run/chrony"))

    def check(self, level):
        plain = self.run_unit(False, level)
        self.assertEqual(plain, (["inactive", "success", "0"], False))
        self.assertEqual(self.run_unit(True, level), plain)

    def test_level_1(self):
        self.check(1)

    def test_level_1_for_the_main_process_alone(self):
        self.check(-1)


@needs("gunicorn")
class SystemCallFilter(Systemd):
    """What came before exec no library can see: a list that is too narrow ends the service."""

    # gunicorn itself calls none of these.
    NARROW = "SystemCallFilter=@system-service\nSystemCallFilter=~pwrite64 statx\n"

    def run_unit(self, guard, lines):
        scene = units.Scene(self.manager, guard)
        self.addCleanup(scene.close)
        unit = scene.unit("first", lines)
        started = scene.start(unit)
        names = scene.names()
        if started:
            scene.see_guarded()
            self.assertEqual(scene.instance(), "first")
        scene.systemctl("stop", unit)
        return (started, names, self.show(unit, "Result"), scene.names(), scene.log(unit)), unit

    def outcome(self, guard, lines):
        (started, names, result, left, log), _ = self.run_unit(guard, lines)
        visible = [name for name in names if not name.endswith(".sockguard")]
        return started, visible, result, left, "sockguard" in log

    def command_on(self, unit, path="/usr/sbin:/usr/bin:/sbin:/bin"):
        ended = self.inside("env", "PATH=" + path, harness.COMMAND, "unit", unit)
        self.assertEqual(ended.returncode, 0, ended.stderr)
        return ended.stdout

    def test_system_service(self):
        plain = self.outcome(False, "SystemCallFilter=@system-service")
        self.assertEqual(plain, (True, ["app.sock"], ["success"], [], False))
        self.assertEqual(self.outcome(True, "SystemCallFilter=@system-service"), plain)

    def test_system_service_with_an_errno(self):
        lines = "SystemCallFilter=@system-service\nSystemCallErrorNumber=EPERM"
        self.assertEqual(self.outcome(True, lines), self.outcome(False, lines))

    def test_a_list_too_narrow(self):
        """Ended by SIGSYS, which the command foretells; it goes with what the command advises."""
        self.assertEqual(self.outcome(False, self.NARROW)[:3], (True, ["app.sock"], ["success"]))
        (started, _, result, _, _), unit = self.run_unit(True, self.NARROW)
        self.assertFalse(started)
        self.assertIn(result, (["core-dump"], ["signal"]))
        advice = self.command_on(unit)
        self.assertIn("pwrite64 statx", advice)
        line, = [line[1:] for line in advice.splitlines() if line.startswith("#SystemCallFilter=")]
        self.assertEqual(line, "SystemCallFilter=pwrite64 statx")
        self.assertEqual(self.outcome(True, self.NARROW + line),
                         self.outcome(False, self.NARROW + line))

    def test_what_the_command_says_of_a_running_one(self):
        scene = units.Scene(self.manager, True)
        self.addCleanup(scene.close)
        for lines, said in (("SystemCallFilter=@system-service", False),
                            ("SystemCallFilter=~kcmp", True), ("", False)):
            unit = scene.unit("first", lines)
            self.assertTrue(scene.start(unit), scene.log(unit))
            pid, = self.show(unit, "MainPID")
            ended = self.inside(harness.COMMAND, "check", pid)
            self.assertEqual((ended.returncode, ended.stdout.split("\t")[0]), (0, "guarded"))
            self.assertEqual("SystemCallFilter= leaves out kcmp" in ended.stdout, said,
                             ended.stdout)
            self.assertNotIn("leaves out", "" if said else self.command_on(unit))
            scene.systemctl("stop", unit)


if __name__ == "__main__":
    sys.exit(harness.main())
