"""Supervised services under a real systemd, with the drop-in that `sockguard unit` prints.

The service is a Go program that notifies systemd when it is ready. The program itself must be the
main process, a stop must not be delayed, and a restart must work at once.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile

import harness
from test_sandbox import SystemdCase

sys.path.insert(0, os.path.join(harness.SOURCE, "tests", "matrix"))

import clients  # noqa: E402
import kernel  # noqa: E402
from server import wait_until  # noqa: E402

PROGRAM = os.path.join(harness.SOURCE, "tests", "matrix", "programs", "collector.go")


class GoServices(SystemdCase):
    test_number = 0

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        directory = tempfile.mkdtemp(prefix="sg-", dir="/tmp")
        cls.addClassCleanup(shutil.rmtree, directory)
        os.chmod(directory, 0o755)
        cls.program = os.path.join(directory, "collector")
        subprocess.run(["go", "build", "-o", cls.program, PROGRAM], check=True,
                           env={**os.environ, "GOCACHE": os.path.join(directory, "cache"),
                                "CGO_ENABLED": "0", "GO111MODULE": "off"})
        shutil.rmtree(os.path.join(directory, "cache"))

    def setUp(self):
        GoServices.test_number += 1
        self.run_dir = f"/run/matrix/go{GoServices.test_number}"
        self.path = self.run_dir + "/app.sock"
        os.mkdir(self.manager.outside(self.run_dir))
        os.chmod(self.manager.outside(self.run_dir), 0o777)

    def create_unit(self, name, guard, *lines):
        """Creates a unit and, if guarded, installs the drop-in that the command prints for it."""
        unit = f"go{GoServices.test_number}-{name}.service"
        log = f"/run/matrix/{unit}.log"
        self.manager.write(f"/run/units/{unit}", "\n".join([
            "[Unit]", "DefaultDependencies=no", "StartLimitIntervalSec=0", "[Service]",
            "Type=notify", "NotifyAccess=main", "KillMode=control-group", "TimeoutStopSec=60",
            f"Environment=INSTANCE={name} GARBAGE=1", f"ExecStart={self.program} {self.path}",
            f"StandardOutput=append:{log}", f"StandardError=append:{log}", *lines, ""]))
        self.systemctl("daemon-reload")
        if guard:
            printed = self.run_inside("env", "PATH=/usr/bin:/bin", harness.COMMAND, "unit", unit)
            self.assertEqual((printed.returncode, printed.stderr), (0, ""))
            self.write_drop_in(unit, printed.stdout)
        self.addCleanup(self.systemctl, "reset-failed", unit)
        self.addCleanup(self.systemctl, "stop", unit)
        return unit

    def write_drop_in(self, unit, text):
        self.manager.write(f"/run/units/{unit}.d/sockguard.conf", text)
        self.systemctl("daemon-reload")

    def start_unit(self, unit):
        self.systemctl("start", unit)
        return self.show(unit, "ActiveState")[0] == "active"

    def log_of_unit(self, unit):
        return self.manager.read(f"/run/matrix/{unit}.log")

    def start_serving(self, unit):
        self.assertTrue(self.start_unit(unit), self.log_of_unit(unit))
        self.assertEqual(self.answering_instance(), re.search("-(.*)[.]", unit)[1])
        pid, = self.show(unit, "MainPID")
        return pid

    def answering_instance(self):
        connection = clients._HTTP(self.manager.outside(self.path))
        connection.request("GET", "/")
        answer = connection.getresponse().read().decode()
        connection.close()
        return answer

    def check_verdict(self, pid):
        ended = self.run_inside(harness.COMMAND, "check", pid)
        fields = ended.stdout.rstrip("\n").split("\t")
        return fields[0], fields[-1]

    def assert_supervised(self, guard, pid):
        self.assertEqual(self.check_verdict(pid),
                         ("guarded", "syscalls") if guard else ("not-guarded", "-"))

    def socket_names(self):
        return sorted(os.listdir(self.manager.outside(self.run_dir)))

    def assert_same_outcome(self, outcome):
        """outcome(guard) is the same without the guard and with it. Returns it."""
        outcomes = [outcome(guard) for guard in (False, True)]
        self.assertEqual(*outcomes)
        return outcomes[0]

    def test_main_process(self):
        def outcome(guard):
            pid = self.start_serving(self.create_unit(f"main{guard}", guard))
            self.assert_supervised(guard, pid)
            # The pid belongs to the PID namespace of that systemd.
            exe = self.run_inside("readlink", f"/proc/{pid}/exe").stdout.strip()
            parent = self.run_inside("ps", "-o", "ppid=", pid).stdout.strip()
            self.systemctl("stop", f"go{GoServices.test_number}-main{guard}")
            return exe, parent
        self.assertEqual(self.assert_same_outcome(outcome), (self.program, "1"))

    def test_stop(self):
        """A process that outlived the main process would delay the stop until TimeoutStopSec=."""
        def outcome(guard):
            unit = self.create_unit(f"stop{guard}", guard)
            self.assert_supervised(guard, self.start_serving(unit))
            self.systemctl("stop", unit)
            return self.show(unit, "ActiveState", "Result", "ExecMainStatus"), self.socket_names()
        self.assertEqual(self.assert_same_outcome(outcome), (["inactive", "success", "0"], []))

    def test_restart(self):
        def outcome(guard):
            unit = self.create_unit(f"again{guard}", guard)
            first = self.start_serving(unit)
            self.systemctl("restart", unit)
            second, = self.show(unit, "MainPID")
            self.assertNotEqual(first, second)
            self.assert_supervised(guard, second)
            answer = self.answering_instance()
            self.systemctl("stop", unit)
            return answer.replace(str(guard), ""), "refused" in self.log_of_unit(unit)
        self.assertEqual(self.assert_same_outcome(outcome), ("again", False))

    def test_restart_after_kill(self):
        """Restart=on-failure starts it over its stale socket, and it is supervised again."""
        def outcome(guard):
            unit = self.create_unit(f"killed{guard}", guard, "Restart=on-failure", "RestartSec=0")
            self.start_serving(unit)
            self.systemctl("kill", "--signal=KILL", "--kill-who=main", unit)
            wait_until(lambda: self.show(unit, "NRestarts", "ActiveState") == ["1", "active"],
                       "the restart")
            self.assert_supervised(guard, *self.show(unit, "MainPID"))
            answer = self.answering_instance()
            self.systemctl("stop", unit)
            return (answer.replace(str(guard), ""), "refused" in self.log_of_unit(unit),
                    self.socket_names())
        self.assertEqual(self.assert_same_outcome(outcome), ("killed", False, []))

    def start_twice(self, guard, *lines):
        first = self.create_unit(f"first{guard}", guard, *lines)
        second = self.create_unit(f"second{guard}", guard, *lines)
        self.assert_supervised(guard, self.start_serving(first))
        pin = kernel.Pin(self.manager.outside(self.path))
        self.addCleanup(pin.close)
        started = self.start_unit(second)
        return started, pin.still_there(), self.log_of_unit(second)

    def test_second_start_without_the_guard(self):
        self.assertEqual(self.start_twice(False)[:2], (True, False))

    def test_second_start(self):
        started, there, log = self.start_twice(True)
        self.assertEqual((started, there), (False, True), log)
        self.assertRegex(log, "refused with EADDRINUSE: in use by collector")
        self.assertEqual(self.answering_instance(), "firstTrue")

    def test_second_start_of_a_user_without_capabilities(self):
        started, there, log = self.start_twice(True, "User=www-data")
        self.assertEqual((started, there), (False, True), log)

    def find_processes(self, name, cgroup):
        """Returns the processes of a control group that execute this program."""
        pids = self.run_inside("cat", f"/sys/fs/cgroup{cgroup}/cgroup.procs").stdout.split()
        return [pid for pid in pids
                if self.run_inside("cat", f"/proc/{pid}/comm").stdout == name + "\n"]

    def test_check_of_an_orphan(self):
        """`check` recognises an orphan, which makes no calls, as a process of a supervised service,
        even if the service has further seccomp filters."""
        filtered = "SystemCallFilter=~swapon"
        for guard in (True, False):
            unit = self.create_unit(f"orphan{guard}", False, filtered, "ExecStart=",
                                    f"ExecStart={harness.COMMAND} run --by syscalls " * guard +
                                    "ExecStart=" * (not guard) +
                                    f"/bin/sh -c '(setsid sleep 1000 &); "
                             f"exec {self.program} {self.path}'")
            self.start_serving(unit)
            cgroup, = self.show(unit, "ControlGroup")
            orphan, = wait_until(lambda: self.find_processes("sleep", cgroup), "the orphan")
            self.assertEqual(self.check_verdict(orphan)[0], "guarded" if guard else "not-guarded")
            if guard:  # the unguarded service starts while this one runs
                self.path += "2"

    def test_unit_that_forbids_the_supervisors_calls(self):
        """The drop-in names the calls that the supervisor needs. If they are allowed, it works."""
        # systemd 257 includes seccomp in this group.
        lines = "SystemCallFilter=@system-service\nSystemCallFilter=~seccomp"
        unit = self.create_unit("filtered", True, lines)
        self.assertFalse(self.start_unit(unit))
        printed = self.manager.read(f"/run/units/{unit}.d/sockguard.conf")
        advice, = re.findall(r"(?m)^#(SystemCallFilter=.*)$", printed)
        self.write_drop_in(unit, printed + advice + "\n")
        self.systemctl("reset-failed", unit)
        allowed, = self.show(unit, "SystemCallFilter")
        if "close_range" not in allowed.split():
            self.skipTest("this systemd cannot allow close_range: libseccomp does not know the call")
        self.assert_supervised(True, self.start_serving(unit))
        other = self.create_unit("other", True)
        self.assertFalse(self.start_unit(other), self.log_of_unit(other))
        self.systemctl("stop", unit)
        self.assertEqual((self.show(unit, "Result"), self.socket_names()), (["success"], []))


if __name__ == "__main__":
    sys.exit(harness.main())
