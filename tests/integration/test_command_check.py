"""sockguard check: what can be guarded, what is, and why not."""

import json
import os
import shutil
import signal
import sys

import jsonschema

import actor
import command
import harness

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
