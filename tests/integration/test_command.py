"""The command: its usage, and sockguard run."""

import os
import re
import shutil
import sys

import actor
import command
import harness

COMMANDS = ("run", "status", "check", "clean", "unit")


class Misuse(command.CommandCase):
    def test_no_command(self):
        ended = self.sockguard()
        self.assertEqual((ended.returncode, ended.stdout), (2, ""))
        self.assertTrue(ended.stderr.startswith("Usage: sockguard run"))

    def test_unknown_command(self):
        self.assert_misused("dance")

    def test_unknown_option(self):
        for words in (["--dance"], ["-x"]):
            self.assert_misused(*words)
            for name in COMMANDS:
                self.assert_misused(name, *words, hint=f"sockguard {name} --help")

    def test_an_option_that_takes_no_value(self):
        self.assertIn("no value", self.assert_misused("status", "--json=yes"))

    def test_nothing_named(self):
        for name in ("run", "check", "clean", "unit"):
            self.assert_misused(name, hint=f"sockguard {name} --help")
            self.assert_misused(name, "--", hint=f"sockguard {name} --help")

    def test_controls_in_words_do_not_reach_the_terminal(self):
        complaint = self.assert_misused("a\nb\x1b[31m")
        self.assertIn("a\\nb\\x1b[31m", complaint)

    def test_a_full_disk(self):
        for args in (["--help"], ["--version"], ["status", self.path], ["check", "true"],
                     ["status", "--help"]):
            with open("/dev/full", "w", encoding="ascii") as full:
                process = self.start([harness.COMMAND, *args], stdout=full, stderr=-1)
                _, words = process.communicate(timeout=harness.PATIENCE)
            self.assertEqual(process.returncode, 1)
            self.assertIn(b"could not be written", words)


class Help(command.CommandCase):
    def test_help_fits_a_screen_and_has_an_example(self):
        for words in ([], *([name] for name in COMMANDS)):
            for option in ("--help", "-h"):
                ended = self.sockguard(*words, option)
                self.assertEqual((ended.returncode, ended.stderr), (0, ""))
                self.assertIn("Example: ", ended.stdout)
                lines = ended.stdout.splitlines()
                self.assertLess(len(lines), 24)
                self.assertLessEqual(max(map(len, lines)), 80)

    def test_version(self):
        for option in ("--version", "-V"):
            self.assertRegex(self.sockguard(option).stdout, r"\Asockguard \d+\.\d+\.\d+\n\Z")


class Run(command.CommandCase):
    def test_the_program_is_guarded(self):
        self.bound()
        before = self.identity()
        ended = self.sockguard("run", "rm", self.path)
        self.assertEqual(ended.returncode, 1)
        self.assertIn("refused with EADDRINUSE", ended.stderr)
        self.assertEqual(self.identity(), before)

    def test_it_is_not_without_the_command(self):
        self.bound()
        self.assertEqual(self.run_program(["rm", self.path]).returncode, 0)
        self.assertEqual(self.names(), [])

    def test_options_of_the_program_are_its_own(self):
        for dashes in ([], ["--"]):
            ended = self.sockguard("run", *dashes, "echo", "--help", "-x")
            self.assertEqual((ended.returncode, ended.stdout), (0, "--help -x\n"))

    def preloaded(self, before):
        ended = self.sockguard("run", "sh", "-c", "echo $LD_PRELOAD", env={"LD_PRELOAD": before})
        return ended.stdout.strip()

    def test_what_was_preloaded_stays_so(self):
        self.assertEqual(self.preloaded("libdl.so.2:libm.so.6"),
                         harness.LIBRARY + ":libdl.so.2:libm.so.6")

    def test_the_library_is_not_preloaded_twice(self):
        for before in (harness.LIBRARY, f"{harness.LIBRARY}:{harness.LIBRARY}",
                       f"libm.so.6 {harness.LIBRARY}"):
            self.assertEqual(self.preloaded(before).count(harness.LIBRARY), 1)
        self.assertIn("libm.so.6", self.preloaded(f"libm.so.6 {harness.LIBRARY}"))

    def test_exit_status_is_the_program_s(self):
        self.assertEqual(self.sockguard("run", "sh", "-c", "exit 7").returncode, 7)

    def test_no_such_program(self):
        for name in (self.path, "no-such-program", ""):
            ended = self.sockguard("run", name)
            self.assertEqual(ended.returncode, 127)
            self.assertIn("No such file", ended.stderr)

    def test_no_program(self):
        for path in (self.dir, self.executable("sock", "")):
            os.chmod(path, 0o755 if os.path.isdir(path) else 0o644)
            self.assertEqual(self.sockguard("run", path).returncode, 126)

    def test_the_first_in_path_that_can_be_executed(self):
        os.mkdir(os.path.join(self.dir, "a"))
        self.executable("a/true", "")
        os.chmod(os.path.join(self.dir, "a/true"), 0o644)
        path = f"{self.dir}/none:{self.dir}/a:{self.dir}:/usr/bin"
        self.executable("true", "#!/bin/sh\nexit 9\n")
        self.assertEqual(self.sockguard("run", "true", env={"PATH": path}).returncode, 9)

    def test_the_current_directory_in_path(self):
        self.executable("hello", "#!/bin/sh\necho hello\n")
        ended = self.sockguard("run", "hello", env={"PATH": "/nonexistent:"}, cwd=self.dir)
        self.assertEqual(ended.stdout, "hello\n")

    def test_a_script_without_a_first_line(self):
        path = self.executable("script", "echo hello\n")
        self.assert_ended(self.sockguard("run", "--strict", path), 0, "hello\n")


@actor.needs_root
class Installed(command.CommandCase):
    """Outside its build tree the command preloads the library that was installed."""

    def setUp(self):
        super().setUp()
        self.copy = os.path.join(self.dir, "sockguard")
        shutil.copy(harness.COMMAND, self.copy)
        shutil.copy(harness.LIBRARY, self.dir)
        with open(self.copy, "rb") as file:
            found = re.search(rb"\0(/[^\0]*/libsockguard\.so)\0", file.read())
        self.library = os.fsdecode(found[1])

    def words(self, **env):
        """LD_PRELOAD as a program sees it, where the library is installed."""
        there = os.path.dirname(self.library)
        above = there
        while not os.path.isdir(above):
            above = os.path.dirname(above)
        ended = self.run_program(
            ["unshare", "--mount", "sh", "-ec", 'mount -t tmpfs none "$1"; mkdir -p "$2"; '
             'cp "$3/libsockguard.so" "$2"; cd "$3"; shift 3; exec "$@"', "-", above, there,
             self.dir, "env", *(f"{name}={value}" for name, value in env.items()), self.copy,
             "run", "sh", "-c", "echo $LD_PRELOAD; grep -c /libsockguard.so /proc/self/maps"])
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        word, count = ended.stdout.split()
        self.assertGreater(int(count), 0)
        return word

    def test_its_word(self):
        self.assertIn(self.words(), (self.library,
                                     re.sub("/lib[^/]*(/[^/]*-[^/]*)?/", "/$LIB/", self.library)))

    def test_a_libc_that_was_found_by_a_relative_name(self):
        """It does not tell what the loader's $LIB is."""
        below = "/".join(self.library.split("/")[-3:-1])
        os.makedirs(os.path.join(self.dir, below))
        with open("/proc/self/maps", encoding="utf-8") as maps:
            libc = next(line.split()[-1] for line in maps if "/libc.so.6" in line)
        shutil.copy(libc, os.path.join(self.dir, below))
        self.assertEqual(self.words(LD_LIBRARY_PATH=below), self.library)


class Settings(command.CommandCase):
    def variables(self, *options, **env):
        ended = self.sockguard("run", *options, "env", env=env)
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        return dict(line.split("=", 1) for line in ended.stdout.splitlines()
                    if line.startswith("SOCKGUARD_") and not line.startswith("SOCKGUARD_BUILD"))

    def test_none(self):
        self.assertEqual(self.variables(), {})

    def test_each(self):
        for option, variable, values in (
                ("--only", "ONLY", ("/run/*", "*.sock")),
                ("--ignore", "IGNORE", ("/run/*",)),
                ("--reuse", "REUSE", ("auto", "always", "never")),
                ("--log", "LOG", ("stderr", "syslog", "none", self.path + ".log"))):
            for value in values:
                self.assertEqual(self.variables(option, value), {"SOCKGUARD_" + variable: value})
                self.assertEqual(self.variables(f"{option}={value}"),
                                 {"SOCKGUARD_" + variable: value})
        self.assertEqual(self.variables("--debug"), {"SOCKGUARD_DEBUG": "1"})

    def test_patterns_are_joined(self):
        self.assertEqual(
            self.variables("--only", "/a", "--ignore", "/b", "--only", "/c", "--ignore", "/d"),
            {"SOCKGUARD_ONLY": "/a:/c", "SOCKGUARD_IGNORE": "/b:/d"})

    def test_of_other_options_the_last_counts(self):
        self.assertEqual(self.variables("--reuse", "auto", "--reuse", "never"),
                         {"SOCKGUARD_REUSE": "never"})

    def test_options_come_before_the_environment(self):
        self.assertEqual(self.variables("--only", "/a", SOCKGUARD_ONLY="/b",
                                        SOCKGUARD_REUSE="auto"),
                         {"SOCKGUARD_ONLY": "/a", "SOCKGUARD_REUSE": "auto"})

    def test_bad_values(self):
        for option, value in (("--only", "run/*"), ("--only", ""), ("--ignore", "/a:b"),
                              ("--reuse", "sometimes"), ("--reuse", ""), ("--log", "file"),
                              ("--log", "/" + 4096 * "x")):
            self.assertIn(option, self.assert_misused("run", option, value, "true"))
        self.assert_misused("run", "--only")

    def test_a_bad_value_of_the_environment_is_the_library_s_to_tell(self):
        ended = self.sockguard("run", "--only", "/a", "true", env={"SOCKGUARD_REUSE": "sometimes"})
        self.assertEqual(ended.returncode, 0)
        self.assertIn("SOCKGUARD_REUSE", ended.stderr)

    def test_ignore_has_its_effect(self):
        self.bound()
        self.assertEqual(self.sockguard("run", "--ignore", self.dir + "/*", "rm", self.path)
                         .returncode, 0)

    def test_only_and_log_have_their_effect(self):
        self.bound()
        log = os.path.join(self.dir, "log")
        ended = self.sockguard("run", "--only", self.path, "--log", log, "rm", self.path)
        self.assertEqual(ended.returncode, 1)
        self.assertNotIn("EADDRINUSE", ended.stderr)
        with open(log, encoding="utf-8") as file:
            self.assertIn("EADDRINUSE", file.read())


class Unguardable(command.CommandCase):
    """Programs the library cannot be preloaded into: told in one line, and with --strict not started.

    With --by auto a supervisor guards most of them: test_supervise.py.
    """

    def assert_told(self, program, why, *args, status=None, stranger=False, **popen):
        """status: how the program ends when it is started all the same; None: not tried."""
        run = self.as_stranger if stranger else self.sockguard
        if status is not None:
            ended = run("run", "--by", "preload", program, *args, **popen)
            self.assertEqual(ended.returncode, status)
            self.assertRegex(ended.stderr, r"\Asockguard: .* will not be guarded: .*" + why)
        ended = run("run", "--by", "preload", "--strict", program, *args, **popen)
        self.assertEqual((ended.returncode, ended.stdout), (126, ""))
        self.assertRegex(ended.stderr, r"\Asockguard: .*" + why + r".*; not started\n\Z")

    def assert_not_told(self, program, *args, stranger=False, **popen):
        run = self.as_stranger if stranger else self.sockguard
        ended = run("run", "--by", "preload", "--strict", program, *args, **popen)
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))

    def test_an_ordinary_program(self):
        self.assert_not_told("true")

    def test_static(self):
        self.assert_told("busybox", "statically linked", "true", status=0)

    def test_go(self):
        self.assert_told("gosu", "a Go program, and makes its system calls itself", "--version",
                         status=0)

    def test_go_with_a_loader(self):
        self.assert_told(command.with_go_note(self, "/bin/true"), "a Go program", status=0)

    def test_another_libc(self):
        self.assert_told(command.with_interpreter(self, "/bin/true", "/lib/ld-musl-x86_64.so.1"),
                         "linked with musl")

    def test_a_loader_of_no_known_name(self):
        self.assert_not_told_but_missing("/lib/ld.so")

    def assert_not_told_but_missing(self, interpreter):
        copy = command.with_interpreter(self, "/bin/true", interpreter)
        ended = self.sockguard("run", "--strict", copy)
        self.assertEqual(ended.returncode, 127)
        self.assertNotIn("guarded", ended.stderr)

    def test_another_machine_class_or_order_of_bytes(self):
        for change in ((18, b"\xb7\0" if os.uname().machine == "x86_64" else b"\x3e\0"),
                       (4, b"\1"), (5, b"\2")):
            self.assert_told(self.patched("/bin/true", change), "for another machine")

    def test_what_is_cut_off(self):
        path = self.patched("/bin/true")
        os.truncate(path, 70)
        self.assert_told(path, "cut off")
        os.truncate(path, 10)
        self.assert_told(path, "cut off")

    @actor.needs_root
    def test_set_id(self):
        for mode, word in ((0o4755, "set-user-ID"), (0o2755, "set-group-ID")):
            path = self.patched("/bin/true")
            os.chmod(path, mode)
            self.assert_told(path, word, status=0, stranger=True)

    @actor.needs_root
    def test_set_id_for_whom_it_changes_nothing(self):
        path = self.patched("/bin/true")
        for mode in (0o4755, 0o2755, 0o6755):
            os.chmod(path, mode)
            self.assert_not_told(path)
        os.chmod(path, 0o2745)  # no group's execution: mandatory locking, once
        self.assert_not_told(path, stranger=True)

    @actor.needs_root
    def test_set_id_that_no_new_privileges_makes_void(self):
        path = self.patched("/bin/true")
        os.chmod(path, 0o4755)
        ended = self.run_program(["setpriv", "--no-new-privs", harness.COMMAND, "run", "--strict",
                                  path], user=actor.STRANGER, group=actor.STRANGER)
        self.assert_ended(ended, 0, "")

    @actor.needs_root
    def test_file_capabilities(self):
        path = self.patched("/bin/true")
        net_raw = (0x02000001).to_bytes(4, "little") + (1 << 13).to_bytes(4, "little") + bytes(12)
        os.setxattr(path, "security.capability", net_raw)
        self.assert_told(path, "has file capabilities", status=0, stranger=True)
        self.assert_not_told(path)  # root's rights do not change by them

    @actor.needs_root
    def test_one_that_may_not_be_read(self):
        path = self.patched("/bin/true")
        os.chmod(path, 0o711)
        said = f"sockguard: {path} cannot be read, so whether the guard can work in it is unknown"
        self.assert_ended(self.as_stranger("run", path), 0, "", said + "\n")
        self.assert_ended(self.as_stranger("run", "--strict", path), 126, "",
                          said + "; not started\n")

    @actor.needs_root
    def test_an_interpreter_that_may_not_be_read(self):
        shell = self.patched("/bin/dash")
        os.chmod(shell, 0o711)
        script = self.executable("a", f"#!{shell}\necho up\n")
        said = (f"sockguard: {shell} cannot be read, so whether the guard can work in {script} "
                "is unknown")
        self.assert_ended(self.as_stranger("run", script), 0, "up\n", said + "\n")
        self.assert_ended(self.as_stranger("run", "--strict", script), 126, "",
                          said + "; not started\n")

    @actor.needs_root
    def test_one_that_cannot_be_read_for_another_reason(self):
        """A file system that fails, say."""
        path = self.patched("/bin/true")
        traced = ["strace", "-f", "-qq", "-o", "/dev/null", "-P", path, "-e", "trace=openat", "-e",
                  "inject=openat:error=EIO:when=1", harness.COMMAND, "run"]
        for option, status in ([], 0), (["--strict"], 126):
            ended = self.run_program([*traced, *option, path])
            self.assertEqual((ended.returncode, ended.stdout), (status, ""))
            self.assertIn(f"{path} cannot be read", ended.stderr)

    def test_one_that_is_not_found_is_not_tried(self):
        """Or it could be started without a look, if only looking for it failed."""
        for name in (self.path, "no-such-program", "", self.executable("a", "#!/nonexistent\n")):
            ended = self.sockguard("run", "--strict", name)
            self.assertEqual((ended.returncode, ended.stdout), (127, ""))
            self.assertRegex(ended.stderr, r"\Asockguard: .*not there|no such program")
        path = self.patched("/bin/echo")
        traced = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=faccessat2", "-e",
                  "inject=faccessat2:error=EIO", harness.COMMAND, "run"]
        ended = self.run_program([*traced, path, "started"])
        self.assertEqual((ended.returncode, ended.stdout), (0, "started\n"))
        ended = self.run_program([*traced, "--strict", path, "started"])
        self.assertEqual((ended.returncode, ended.stdout), (127, ""))

    def test_a_script_s_interpreter(self):
        self.assert_told(self.executable("a", "#!/usr/bin/busybox sh\nexit 5\n"),
                         "/usr/bin/busybox is statically linked", status=5)
        self.assert_not_told(self.executable("b", "#! /bin/sh -e\n"))

    def test_a_script_s_interpreter_that_is_a_script(self):
        inner = self.executable("inner", "#!/usr/bin/busybox sh\n")
        self.assert_told(self.executable("a", f"#!{inner}\n"), "statically linked")

    def test_a_script_for_env(self):
        for line in ("busybox sh", "-S busybox sh", "-S A=b busybox sh", "-S -u HOME busybox sh"):
            self.assert_told(self.executable("a", f"#!/usr/bin/env {line}\nexit 5\n"),
                             "busybox is statically linked")
        self.assert_not_told(self.executable("b", "#!/usr/bin/env sh\n"))

    def test_a_script_for_env_that_clears_the_environment(self):
        self.assert_told(self.executable("a", "#!/usr/bin/env -S -i /bin/sh\nexit 5\n"),
                         "clear LD_PRELOAD", status=5)

    def test_a_script_without_its_interpreter(self):
        ended = self.sockguard("run", self.executable("a", "#!/nonexistent\n"))
        self.assertEqual(ended.returncode, 127)

    def test_a_guard_that_is_disabled(self):
        self.assert_told("true", "SOCKGUARD_DISABLE=1", status=0, env={"SOCKGUARD_DISABLE": "1"})


if __name__ == "__main__":
    sys.exit(harness.main())
