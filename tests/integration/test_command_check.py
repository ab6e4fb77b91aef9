"""sockguard check: what can be guarded, what is, and why not."""

import json
import os
import shutil
import signal
import subprocess
import sys

import jsonschema

import actor
import command
import harness

# Allows all: what matters is that the kernel tells of a filter.
FILTERED = """
import ctypes, struct
code = ctypes.create_string_buffer(struct.pack("=HBBI", 6, 0, 0, 0x7fff0000))
program = struct.pack("HL", 1, ctypes.addressof(code))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program, 0, 0) == 0
"""
UP = "import signal\nprint('up', flush=True)\nsignal.pause()"


class CheckCase(command.CommandCase):
    def check(self, *targets, run=None):
        """Exit status, and the fields of each line."""
        ended = (run or self.sockguard)("check", *map(str, targets))
        self.assertEqual(ended.stderr, "")
        return ended.returncode, [line.split("\t") for line in ended.stdout.splitlines()]

    def assert_verdict(self, status, verdict, target, why, run=None, program=None):
        got, lines = self.check(target, run=run)
        self.assertEqual(len(lines), 1, lines)
        self.assertEqual((got, *lines[0][:2]), (status, verdict, str(target)))
        self.assertRegex(lines[0][3], r"\A" + why + r"\Z")
        if program:
            self.assertEqual(lines[0][2], program)

    def running(self, *argv, guard=True, env=None, **popen):
        """A program that says "up" and waits."""
        process = self.start(argv, guard=guard, stdout=-1, text=True, env=env or {}, **popen)
        self.assertEqual(process.stdout.readline(), "up\n")
        return process.pid

    def python(self, **popen):
        return self.running(harness.PYTHON, "-c", UP, **popen)


class Programs(CheckCase):
    def test_one_that_can_be_guarded(self):
        self.assert_verdict(0, "guardable", "true", "-", program=shutil.which("true"))

    def test_a_script(self):
        self.assert_verdict(0, "guardable", "gunicorn", "-")

    def test_static(self):
        self.assert_verdict(3, "not-guardable", "busybox", "statically linked.*")

    def test_go(self):
        self.assert_verdict(3, "not-guardable", "gosu", "a Go program, and makes its system.*")

    def test_a_script_s_interpreter(self):
        script = self.executable("a", "#!/usr/bin/busybox sh\n")
        self.assert_verdict(3, "not-guardable", script, "/usr/bin/busybox is statically linked.*",
                            program=script)

    @actor.needs_root
    def test_set_id(self):
        path = self.patched("/bin/true")
        os.chmod(path, 0o4755)
        self.assert_verdict(3, "not-guardable", path, "set-user-ID.*", run=self.as_stranger)
        self.assert_verdict(0, "guardable", path, "-")

    @actor.needs_root
    def test_one_that_may_not_be_read(self):
        path = self.patched("/bin/true")
        os.chmod(path, 0o711)
        self.assert_verdict(4, "unknown", path, "it may not be read", run=self.as_stranger)

    def test_none(self):
        self.assert_verdict(3, "not-guardable", self.path, "there is no such program")
        self.assert_verdict(3, "not-guardable", "no-such-program", "there is no such program")
        self.assert_verdict(3, "not-guardable", self.executable("a", "#!/nonexistent\n"),
                            "the interpreter of its first line is not there")

    def test_one_named_by_a_number(self):
        self.executable("4711", "#!/bin/sh\n")
        ended = self.sockguard("check", "./4711", cwd=self.dir)
        self.assert_ended(ended, 0, "guardable\t./4711\t./4711\t-\n")


class Processes(CheckCase):
    def test_guarded(self):
        self.assert_verdict(0, "guarded", self.python(), "-", program="python3")

    def test_not(self):
        self.assert_verdict(3, "not-guarded", self.python(guard=False),
                            "was started without the guard")

    def test_disabled(self):
        self.assert_verdict(3, "not-guarded", self.python(settings={"DISABLE": "1"}),
                            "was started with SOCKGUARD_DISABLE=1")
        self.assert_verdict(0, "guarded", self.python(settings={"DISABLE": "0"}), "-")

    def test_some_paths_only(self):
        self.assert_verdict(0, "guarded", self.python(settings={"ONLY": "/run/*:/srv/*"}),
                            r"only /run/\*:/srv/\*")
        self.assert_verdict(0, "guarded", self.python(settings={"IGNORE": "/run/*"}),
                            r"all but /run/\*")

    def test_a_setting_that_the_library_does_not_understand(self):
        pid = self.python(settings={"ONLY": "run/*", "LOG": "none"})
        self.assert_verdict(0, "guarded", pid, "-")

    def test_our_own_settings_do_not_matter(self):
        ended = self.sockguard("check", str(self.python()), env={"SOCKGUARD_DISABLE": "1"})
        self.assertEqual(ended.returncode, 0)

    def test_static(self):
        self.assert_verdict(3, "not-guarded", self.running(
            "/usr/bin/busybox", "sh", "-c", "echo up; read x", stdin=-1), "statically linked.*")

    def test_go(self):
        """With a loader: it has the library, and goes round it."""
        shell = command.with_go_note(self, "/bin/dash")
        pid = self.running(shell, "-c", "echo up; read x", stdin=-1)
        with open(f"/proc/{pid}/maps", encoding="utf-8") as maps:
            self.assertIn(harness.LIBRARY, maps.read())
        self.assert_verdict(3, "not-guarded", pid, "a Go program, and makes its system calls.*")

    @actor.needs_root
    def test_set_id(self):
        shell = self.patched("/bin/dash")
        os.chmod(shell, 0o4755)
        pid = self.running(shell, "-p", "-c", "echo up; read x", stdin=-1, user=actor.STRANGER)
        self.assert_verdict(3, "not-guarded", pid, "got other rights by its exec.*")

    def test_a_library_that_the_loader_did_not_find(self):
        pid = self.python(guard=False, env={"LD_PRELOAD": "/nonexistent/libsockguard.so"},
                          stderr=-3)
        self.assert_verdict(3, "not-guarded", pid, "its loader did not load.*")

    def test_a_library_file_that_is_gone(self):
        copy = os.path.join(self.dir, "libsockguard.so")
        shutil.copy(harness.LIBRARY, copy)
        pid = self.python(guard=False, env={"LD_PRELOAD": copy})
        self.assert_verdict(0, "guarded", pid, "-")
        os.unlink(copy)
        self.assert_verdict(0, "guarded", pid, "by a library file that was removed.*")

    def test_a_program_file_that_is_gone(self):
        shell = self.patched("/bin/dash")
        pid = self.running(shell, "-c", "echo up; read x", stdin=-1)
        os.unlink(shell)
        self.assert_verdict(0, "guarded", pid, "-")

    def test_none(self):
        process = self.start(["true"])
        process.wait()
        self.assert_verdict(3, "not-guarded", process.pid, "there is no such process")

    def test_one_that_has_ended(self):
        process = self.start(["sleep", "60"])
        os.kill(process.pid, signal.SIGKILL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        self.assert_verdict(3, "not-guarded", process.pid, ".*has ended")

    @actor.needs_root
    def test_one_that_may_not_be_looked_into(self):
        self.assert_verdict(4, "unknown", self.python(), "no permission to look into it",
                            run=self.as_stranger)


class Services(CheckCase):
    """A process that its unit's settings restrict, in the cgroup of that unit."""

    def setUp(self):
        super().setUp()
        self.executable("systemctl", "#!/bin/sh\n[ \"$*\" = \"$WANTED --no-pager show "
                        "--property=SystemCallFilter -- app.service\" ] && "
                        "echo 'SystemCallFilter=~kcmp statx'\n")
        self.cgroups = os.path.join(self.dir, "cgroup")
        os.mkdir(self.cgroups)

    def in_cgroup(self, path, source):
        if subprocess.run(["mount", "-t", "cgroup2", "cgroup2", self.cgroups],
                          check=False).returncode:
            self.skipTest("this root may not mount cgroups")
        self.addCleanup(subprocess.run, ["umount", self.cgroups], check=True)
        top = os.path.join(self.cgroups, f"check-{os.getpid()}")
        os.makedirs(os.path.join(top, path))
        pid = self.running(harness.PYTHON, "-c", source + UP)
        self.addCleanup(self.leave_cgroup, top, path, pid)
        with open(os.path.join(top, path, "cgroup.procs"), "w", encoding="ascii") as procs:
            procs.write(str(pid))
        return pid

    def leave_cgroup(self, top, path, pid):
        os.kill(pid, signal.SIGKILL)
        with open(os.path.join(top, path, "cgroup.events"), encoding="ascii") as events:
            def is_empty():
                events.seek(0)
                return "populated 0" in events.read()
            harness.wait_until(is_empty, "an empty cgroup")
        while path:
            os.rmdir(os.path.join(top, path))
            path = os.path.dirname(path)
        os.rmdir(top)

    def assert_remark(self, pid, remark, manager="--system"):
        ended = self.sockguard("check", str(pid), env={
            "PATH": f"{self.dir}:{os.environ['PATH']}", "WANTED": manager})
        self.assert_ended(ended, 0, f"guarded\t{pid}\tpython3\t{remark}\n")

    FORBIDDEN = "its SystemCallFilter= leaves out kcmp statx: see sockguard unit app.service"

    @actor.needs_root
    def test_its_settings_forbid_calls(self):
        pid = self.in_cgroup("system.slice/app.service", FILTERED)
        self.assert_remark(pid, self.FORBIDDEN)

    @actor.needs_root
    def test_a_cgroup_below_the_service_s(self):
        pid = self.in_cgroup("system.slice/app.service/worker", FILTERED)
        self.assert_remark(pid, self.FORBIDDEN)

    @actor.needs_root
    def test_a_service_of_a_user_manager(self):
        own = self.in_cgroup("user@0.service/app.slice/app.service", FILTERED)
        self.assert_remark(own, self.FORBIDDEN, "--user")

    @actor.needs_root
    def test_a_service_of_another_user_s_manager(self):
        pid = self.in_cgroup("user@61001.service/app.slice/app.service", FILTERED)
        self.assert_remark(pid, "-", "--user")

    @actor.needs_root
    def test_a_service_without_a_filter(self):
        pid = self.in_cgroup("system.slice/app.service", "")
        self.assert_remark(pid, "-")

    @actor.needs_root
    def test_no_service(self):
        pid = self.in_cgroup("user.slice/session-1.scope", FILTERED)
        self.assert_remark(pid, "-")

    def test_a_filter_of_its_own(self):
        self.assert_remark(self.running(harness.PYTHON, "-c", FILTERED + UP), "-")


class Output(CheckCase):
    def test_the_worst_of_several(self):
        status, lines = self.check("true", "busybox", os.getpid())
        self.assertEqual((status, [line[0] for line in lines]),
                         (3, ["guardable", "not-guardable", "not-guarded"]))

    def test_json_is_as_its_schema_says(self):
        with open(os.path.join(harness.SOURCE, "docs", "check.schema.json"),
                  encoding="ascii") as file:
            schema = json.load(file)
        jsonschema.Draft202012Validator.check_schema(schema)
        pid = self.python()
        ended = self.sockguard("check", "--json", "true", "busybox", str(pid), b"\xff")
        told = json.loads(ended.stdout)
        jsonschema.Draft202012Validator(schema).validate(told)
        self.assertEqual(ended.returncode, 3)
        self.assertEqual([(one["verdict"], one["pid"]) for one in told["targets"]],
                         [("guardable", None), ("not-guardable", None), ("guarded", pid),
                          ("not-guardable", None)])
        self.assertEqual(told["targets"][3]["target_hex"], "ff")

    def test_on_a_terminal(self):
        for width, header in ((40, "VERDICT TARGET WHY"), (80, "VERDICT TARGET WHY"),
                              (200, "VERDICT TARGET PROGRAM WHY")):
            lines, status = self.on_terminal(width, "check", "true", "busybox", NO_COLOR="1")
            self.assertEqual((lines[0].split(), status), (header.split(), 3))
            self.assertLessEqual(max(map(len, lines)), width)
        lines, _ = self.on_terminal(80, "check", "true", "busybox")
        self.assertIn("\x1b[32mguardable\x1b[0m", lines[1])
        self.assertIn("\x1b[31mnot-guardable\x1b[0m", lines[2])


if __name__ == "__main__":
    sys.exit(harness.main())
