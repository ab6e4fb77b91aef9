"""sockguard check: which programs can be guarded, which processes are, and the reasons."""

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

# jsonschema before 4, as in Debian 11, knows no later draft; the schemas use nothing newer.
SchemaValidator = getattr(jsonschema, "Draft202012Validator", jsonschema.Draft7Validator)
# Installs a seccomp filter that allows everything, so that the kernel reports a filter.
INSTALL_FILTER = """
import ctypes, struct
code = ctypes.create_string_buffer(struct.pack("=HBBI", 6, 0, 0, 0x7fff0000))
program = struct.pack("HL", 1, ctypes.addressof(code))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program, 0, 0) == 0
"""
PRINT_UP_AND_WAIT = "import signal\nprint('up', flush=True)\nsignal.pause()"


class CheckCase(command.CommandCase):
    def check(self, *targets, run=None):
        """Runs check. Returns its exit status, and the fields of each line."""
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

    def start_waiting(self, *argv, guard=True, env=None, **popen):
        """Starts a program that prints "up" and waits; returns its pid."""
        process = self.start(argv, guard=guard, stdout=-1, text=True, env=env or {}, **popen)
        self.assertEqual(process.stdout.readline(), "up\n")
        return process.pid

    def start_python(self, **popen):
        return self.start_waiting(harness.PYTHON, "-c", PRINT_UP_AND_WAIT, **popen)


class Programs(CheckCase):
    def test_guardable(self):
        self.assert_verdict(0, "guardable", "true", "-", program=shutil.which("true"))

    def test_a_script(self):
        self.assert_verdict(0, "guardable", "gunicorn", "-")

    @actor.needs_root
    def test_a_set_id_program(self):
        path = self.patched_copy("/bin/true")
        os.chmod(path, 0o4755)
        self.assert_verdict(3, "not-guardable", path, "set-user-ID.*",
                            run=self.sockguard_as_stranger)
        self.assert_verdict(0, "guardable", path, "-")

    @actor.needs_root
    def test_a_program_without_read_permission(self):
        path = self.patched_copy("/bin/true")
        os.chmod(path, 0o711)
        self.assert_verdict(4, "unknown", path, "no permission to read it",
                            run=self.sockguard_as_stranger)

    def test_nonexistent(self):
        self.assert_verdict(3, "not-guardable", self.path, "no such program")
        self.assert_verdict(3, "not-guardable", "no-such-program", "no such program")
        self.assert_verdict(3, "not-guardable", self.write_executable("a", "#!/nonexistent\n"),
                            "the interpreter in its first line does not exist")

    def test_numeric_name(self):
        self.write_executable("4711", "#!/bin/sh\n")
        ended = self.sockguard("check", "./4711", cwd=self.dir)
        self.assert_result(ended, 0, "guardable\t./4711\t./4711\t-\tpreload\n")


class Processes(CheckCase):
    def test_guarded(self):
        self.assert_verdict(0, "guarded", self.start_python(), "-", program="python3")

    def test_not_guarded(self):
        self.assert_verdict(3, "not-guarded", self.start_python(guard=False),
                            "was started without the guard")

    def test_disabled(self):
        self.assert_verdict(3, "not-guarded", self.start_python(settings={"DISABLE": "1"}),
                            "was started with SOCKGUARD_DISABLE=1")
        self.assert_verdict(0, "guarded", self.start_python(settings={"DISABLE": "0"}), "-")

    def test_a_process_guarded_for_some_paths_only(self):
        self.assert_verdict(0, "guarded", self.start_python(settings={"ONLY": "/run/*:/srv/*"}),
                            r"only /run/\*:/srv/\*")
        self.assert_verdict(0, "guarded", self.start_python(settings={"IGNORE": "/run/*"}),
                            r"all but /run/\*")

    def test_an_invalid_setting(self):
        pid = self.start_python(settings={"ONLY": "run/*", "LOG": "none"})
        self.assert_verdict(0, "guarded", pid, "-")

    def test_settings_of_the_command_do_not_matter(self):
        ended = self.sockguard("check", str(self.start_python()), env={"SOCKGUARD_DISABLE": "1"})
        self.assertEqual(ended.returncode, 0)

    def test_a_static_program(self):
        self.assert_verdict(3, "not-guarded", self.start_waiting(
            "/usr/bin/busybox", "sh", "-c", "echo up; read x", stdin=-1), "statically linked.*")

    def test_a_go_program(self):
        """With a loader, the library is loaded, but Go's system calls bypass it."""
        shell = command.copy_with_go_note(self, "/bin/dash")
        pid = self.start_waiting(shell, "-c", "echo up; read x", stdin=-1)
        with open(f"/proc/{pid}/maps", encoding="utf-8") as maps:
            self.assertIn(harness.LIBRARY, maps.read())
        self.assert_verdict(3, "not-guarded", pid, "a Go program, which makes system calls.*")

    @actor.needs_root
    def test_a_set_id_program(self):
        shell = self.patched_copy("/bin/dash")
        os.chmod(shell, 0o4755)
        pid = self.start_waiting(shell, "-p", "-c", "echo up; read x", stdin=-1,
                                 user=actor.STRANGER)
        self.assert_verdict(3, "not-guarded", pid, "gained privileges when executed.*")

    def test_a_library_that_the_loader_did_not_find(self):
        pid = self.start_python(guard=False, env={"LD_PRELOAD": "/nonexistent/libsockguard.so"},
                                stderr=-3)
        self.assert_verdict(3, "not-guarded", pid, "its loader could not load.*")

    def test_a_removed_library_file(self):
        copy = os.path.join(self.dir, "libsockguard.so")
        shutil.copy(harness.LIBRARY, copy)
        pid = self.start_python(guard=False, env={"LD_PRELOAD": copy})
        self.assert_verdict(0, "guarded", pid, "-")
        os.unlink(copy)
        self.assert_verdict(0, "guarded", pid, "its library file has been removed.*")

    def test_a_removed_program_file(self):
        shell = self.patched_copy("/bin/dash")
        pid = self.start_waiting(shell, "-c", "echo up; read x", stdin=-1)
        os.unlink(shell)
        self.assert_verdict(0, "guarded", pid, "-")

    def test_nonexistent(self):
        process = self.start(["true"])
        process.wait()
        self.assert_verdict(3, "not-guarded", process.pid, "no such process")

    def test_a_process_that_has_ended(self):
        process = self.start(["sleep", "60"])
        os.kill(process.pid, signal.SIGKILL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        self.assert_verdict(3, "not-guarded", process.pid, ".*has ended")

    @actor.needs_root
    def test_a_process_of_another_user(self):
        self.assert_verdict(4, "unknown", self.start_python(), "no permission to examine it",
                            run=self.sockguard_as_stranger)


class Services(CheckCase):
    """A process in the cgroup of a unit, restricted by that unit's settings."""

    def setUp(self):
        super().setUp()
        self.write_executable("systemctl", "#!/bin/sh\n[ \"$*\" = \"$WANTED --no-pager show "
                              "--property=SystemCallFilter -- app.service\" ] && "
                              "echo 'SystemCallFilter=~kcmp statx'\n")
        self.cgroups = os.path.join(self.dir, "cgroup")
        os.mkdir(self.cgroups)

    def start_in_cgroup(self, path, source):
        if subprocess.run(["mount", "-t", "cgroup2", "cgroup2", self.cgroups],
                          check=False).returncode:
            self.skipTest("this root may not mount cgroups")
        self.addCleanup(subprocess.run, ["umount", self.cgroups], check=True)
        top = os.path.join(self.cgroups, os.path.basename(self.dir))
        os.makedirs(os.path.join(top, path))
        pid = self.start_waiting(harness.PYTHON, "-c", source + PRINT_UP_AND_WAIT)
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
        self.assert_result(ended, 0, f"guarded\t{pid}\tpython3\t{remark}\tpreload\n")

    FORBIDDEN = "its SystemCallFilter= does not allow kcmp statx; see sockguard unit app.service"

    @actor.needs_root
    def test_settings_that_forbid_calls(self):
        pid = self.start_in_cgroup("system.slice/app.service", INSTALL_FILTER)
        self.assert_remark(pid, self.FORBIDDEN)

    @actor.needs_root
    def test_a_cgroup_below_that_of_the_service(self):
        pid = self.start_in_cgroup("system.slice/app.service/worker", INSTALL_FILTER)
        self.assert_remark(pid, self.FORBIDDEN)

    @actor.needs_root
    def test_a_service_of_a_user_manager(self):
        own = self.start_in_cgroup("user@0.service/app.slice/app.service", INSTALL_FILTER)
        self.assert_remark(own, self.FORBIDDEN, "--user")

    @actor.needs_root
    def test_a_service_of_another_user_s_manager(self):
        pid = self.start_in_cgroup("user@61001.service/app.slice/app.service", INSTALL_FILTER)
        self.assert_remark(pid, "-", "--user")

    @actor.needs_root
    def test_a_service_without_a_filter(self):
        pid = self.start_in_cgroup("system.slice/app.service", "")
        self.assert_remark(pid, "-")

    @actor.needs_root
    def test_a_process_outside_any_service(self):
        pid = self.start_in_cgroup("user.slice/session-1.scope", INSTALL_FILTER)
        self.assert_remark(pid, "-")

    def test_a_filter_that_the_program_installed(self):
        pid = self.start_waiting(harness.PYTHON, "-c", INSTALL_FILTER + PRINT_UP_AND_WAIT)
        self.assert_remark(pid, "-")


class Output(CheckCase):
    def test_exit_status_for_several_targets(self):
        status, lines = self.check("true", self.path, os.getpid())
        self.assertEqual((status, [line[0] for line in lines]),
                         (3, ["guardable", "not-guardable", "not-guarded"]))

    def test_json_matches_its_schema(self):
        with open(os.path.join(harness.SOURCE, "docs", "check.schema.json"),
                  encoding="ascii") as file:
            schema = json.load(file)
        SchemaValidator.check_schema(schema)
        pid = self.start_python()
        ended = self.sockguard("check", "--json", "true", self.path, str(pid), b"\xff")
        document = json.loads(ended.stdout)
        SchemaValidator(schema).validate(document)
        self.assertEqual(ended.returncode, 3)
        self.assertEqual([(one["verdict"], one["pid"], one["by"]) for one in document["targets"]],
                         [("guardable", None, "preload"), ("not-guardable", None, None),
                          ("guarded", pid, "preload"), ("not-guardable", None, None)])
        self.assertEqual(document["targets"][3]["target_hex"], "ff")

    def test_on_a_terminal(self):
        for width, header in ((40, "VERDICT TARGET WHY BY"), (80, "VERDICT TARGET PROGRAM WHY BY"),
                              (200, "VERDICT TARGET PROGRAM WHY BY")):
            lines, status = self.run_on_terminal(width, "check", "true", "none", NO_COLOR="1")
            self.assertEqual((lines[0].split(), status), (header.split(), 3))
            self.assertLessEqual(max(map(len, lines)), width)
        lines, _ = self.run_on_terminal(80, "check", "true", "none")
        self.assertIn("\x1b[32mguardable\x1b[0m", lines[1])
        self.assertIn("\x1b[31mnot-guardable\x1b[0m", lines[2])


if __name__ == "__main__":
    sys.exit(harness.main())
