"""Usage errors of the command, its help, and sockguard run."""

import os
import platform
import re
import shutil
import sys
import unittest

import actor
import command
import harness

OLD_LIBC = [int(word) for word in platform.libc_ver()[1].split(".")[:2]] < [2, 33]
COMMANDS = ("run", "status", "check", "clean", "unit")


class UsageErrors(command.CommandCase):
    def test_no_command(self):
        ended = self.sockguard()
        self.assertEqual((ended.returncode, ended.stdout), (2, ""))
        self.assertTrue(ended.stderr.startswith("Usage: sockguard run"))

    def test_unknown_command(self):
        self.assert_usage_error("dance")

    def test_unknown_option(self):
        for words in (["--dance"], ["-x"]):
            self.assert_usage_error(*words)
            for name in COMMANDS:
                self.assert_usage_error(name, *words, hint=f"sockguard {name} --help")

    def test_an_option_that_takes_no_value(self):
        self.assertIn("sockguard: --json does not take a value;",
                      self.assert_usage_error("status", "--json=yes"))

    def test_no_operand(self):
        for name in ("run", "check", "clean", "unit"):
            self.assert_usage_error(name, hint=f"sockguard {name} --help")
            self.assert_usage_error(name, "--", hint=f"sockguard {name} --help")

    def test_control_characters_in_arguments_are_escaped(self):
        message = self.assert_usage_error("a\nb\x1b[31m")
        self.assertIn("a\\nb\\x1b[31m", message)

    def test_a_full_disk_is_an_error(self):
        for args in (["--help"], ["--version"], ["status", self.path], ["check", "true"],
                     ["status", "--help"]):
            with open("/dev/full", "w", encoding="ascii") as full:
                process = self.start([harness.COMMAND, *args], stdout=full, stderr=-1)
                _, message = process.communicate(timeout=harness.TIMEOUT)
            self.assertEqual(process.returncode, 1)
            self.assertIn(b"cannot write the output", message)


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
        self.bind_socket()
        before = self.identity()
        ended = self.sockguard("run", "rm", self.path)
        self.assertEqual(ended.returncode, 1)
        self.assertIn("refused with EADDRINUSE", ended.stderr)
        self.assertEqual(self.identity(), before)

    def test_the_program_is_not_guarded_without_the_command(self):
        self.bind_socket()
        self.assertEqual(self.run_program(["rm", self.path]).returncode, 0)
        self.assertEqual(self.names(), [])

    def test_options_after_the_program_are_passed_to_it(self):
        for dashes in ([], ["--"]):
            ended = self.sockguard("run", *dashes, "echo", "--help", "-x")
            self.assertEqual((ended.returncode, ended.stdout), (0, "--help -x\n"))

    def resulting_ld_preload(self, before):
        ended = self.sockguard("run", "sh", "-c", "echo $LD_PRELOAD", env={"LD_PRELOAD": before})
        return ended.stdout.strip()

    def test_other_preloaded_libraries_are_kept(self):
        self.assertEqual(self.resulting_ld_preload("libdl.so.2:libm.so.6"),
                         harness.LIBRARY + ":libdl.so.2:libm.so.6")

    def test_the_library_is_not_preloaded_twice(self):
        for before in (harness.LIBRARY, f"{harness.LIBRARY}:{harness.LIBRARY}",
                       f"libm.so.6 {harness.LIBRARY}"):
            self.assertEqual(self.resulting_ld_preload(before).count(harness.LIBRARY), 1)
        self.assertIn("libm.so.6", self.resulting_ld_preload(f"libm.so.6 {harness.LIBRARY}"))

    def test_the_exit_status_is_that_of_the_program(self):
        self.assertEqual(self.sockguard("run", "sh", "-c", "exit 7").returncode, 7)

    def test_no_such_program(self):
        for name in (self.path, "no-such-program", ""):
            ended = self.sockguard("run", name)
            self.assertEqual(ended.returncode, 127)
            self.assertIn("No such file", ended.stderr)

    def test_a_file_that_is_not_executable(self):
        for path in (self.dir, self.write_executable("sock", "")):
            os.chmod(path, 0o755 if os.path.isdir(path) else 0o644)
            self.assertEqual(self.sockguard("run", path).returncode, 126)

    def test_path_is_searched_for_an_executable_file(self):
        os.mkdir(os.path.join(self.dir, "a"))
        self.write_executable("a/true", "")
        os.chmod(os.path.join(self.dir, "a/true"), 0o644)
        path = f"{self.dir}/none:{self.dir}/a:{self.dir}:/usr/bin"
        self.write_executable("true", "#!/bin/sh\nexit 9\n")
        self.assertEqual(self.sockguard("run", "true", env={"PATH": path}).returncode, 9)

    def test_an_empty_element_of_path_is_the_current_directory(self):
        self.write_executable("hello", "#!/bin/sh\necho hello\n")
        ended = self.sockguard("run", "hello", env={"PATH": "/nonexistent:"}, cwd=self.dir)
        self.assertEqual(ended.stdout, "hello\n")

    def test_a_script_without_an_interpreter_line(self):
        path = self.write_executable("script", "echo hello\n")
        self.assert_result(self.sockguard("run", "--strict", path), 0, "hello\n")


@actor.needs_root
class Installed(command.CommandCase):
    """Outside the build tree, the command preloads the installed library."""

    def setUp(self):
        super().setUp()
        self.copy = os.path.join(self.dir, "sockguard")
        shutil.copy(harness.COMMAND, self.copy)
        shutil.copy(harness.LIBRARY, self.dir)
        with open(self.copy, "rb") as file:
            found = re.search(rb"\0(/[^\0]*/libsockguard\.so)\0", file.read())
        self.library = os.fsdecode(found[1])

    def ld_preload(self, **env):
        """Installs the library, and returns LD_PRELOAD in the program's environment."""
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

    def test_ld_preload_contains_the_installed_library(self):
        pattern = re.sub("/lib[^/]*(/[^/]*-[^/]*)?/", "/$LIB/", self.library)
        self.assertIn(self.ld_preload(), (self.library, pattern))

    def test_a_libc_that_was_loaded_from_a_relative_path(self):
        """That path does not show the loader's $LIB, so the command uses the absolute path."""
        below = "/".join(self.library.split("/")[-3:-1])
        os.makedirs(os.path.join(self.dir, below))
        with open("/proc/self/maps", encoding="utf-8") as maps:
            libc = next(line.split()[-1] for line in maps
                        if re.search(r"/libc(\.so\.6|-[\d.]+\.so)$", line.rstrip()))
        shutil.copy(libc, os.path.join(self.dir, below, "libc.so.6"))
        self.assertEqual(self.ld_preload(LD_LIBRARY_PATH=below), self.library)


class Settings(command.CommandCase):
    def variables(self, *options, **env):
        ended = self.sockguard("run", *options, "env", env=env)
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        return dict(line.split("=", 1) for line in ended.stdout.splitlines()
                    if line.startswith("SOCKGUARD_") and not line.startswith("SOCKGUARD_BUILD"))

    def test_no_option_sets_no_variable(self):
        self.assertEqual(self.variables(), {})

    def test_each_option_sets_its_variable(self):
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

    def test_repeated_patterns_are_joined(self):
        self.assertEqual(
            self.variables("--only", "/a", "--ignore", "/b", "--only", "/c", "--ignore", "/d"),
            {"SOCKGUARD_ONLY": "/a:/c", "SOCKGUARD_IGNORE": "/b:/d"})

    def test_the_last_of_repeated_options_applies(self):
        self.assertEqual(self.variables("--reuse", "auto", "--reuse", "never"),
                         {"SOCKGUARD_REUSE": "never"})

    def test_options_override_the_environment(self):
        self.assertEqual(self.variables("--only", "/a", SOCKGUARD_ONLY="/b",
                                        SOCKGUARD_REUSE="auto"),
                         {"SOCKGUARD_ONLY": "/a", "SOCKGUARD_REUSE": "auto"})

    def test_invalid_values(self):
        for option, value in (("--only", "run/*"), ("--only", ""), ("--ignore", "/a:b"),
                              ("--reuse", "sometimes"), ("--reuse", ""), ("--log", "file"),
                              ("--log", "/" + 4096 * "x")):
            self.assertIn(option, self.assert_usage_error("run", option, value, "true"))
        self.assert_usage_error("run", "--only")

    def test_the_library_reports_an_invalid_value_in_the_environment(self):
        ended = self.sockguard("run", "--only", "/a", "true", env={"SOCKGUARD_REUSE": "sometimes"})
        self.assertEqual(ended.returncode, 0)
        self.assertIn("SOCKGUARD_REUSE", ended.stderr)

    def test_ignore_takes_effect(self):
        self.bind_socket()
        self.assertEqual(self.sockguard("run", "--ignore", self.dir + "/*", "rm", self.path)
                         .returncode, 0)

    def test_only_and_log_take_effect(self):
        self.bind_socket()
        log = os.path.join(self.dir, "log")
        ended = self.sockguard("run", "--only", self.path, "--log", log, "rm", self.path)
        self.assertEqual(ended.returncode, 1)
        self.assertNotIn("EADDRINUSE", ended.stderr)
        with open(log, encoding="utf-8") as file:
            self.assertIn("EADDRINUSE", file.read())


class Unguardable(command.CommandCase):
    """If the library cannot be preloaded into a program, run warns, and --strict does not start it.

    With --by auto, a supervisor guards most of these programs: see test_supervise.py.
    """

    def assert_warned(self, program, why, *args, status=None, stranger=False, **popen):
        """status: the program's exit status without --strict. None: try only with --strict."""
        run = self.sockguard_as_stranger if stranger else self.sockguard
        if status is not None:
            ended = run("run", "--by", "preload", program, *args, **popen)
            self.assertEqual(ended.returncode, status)
            self.assertRegex(ended.stderr, r"\Asockguard: .* will not be guarded: .*" + why)
        ended = run("run", "--by", "preload", "--strict", program, *args, **popen)
        self.assertEqual((ended.returncode, ended.stdout), (126, ""))
        self.assertRegex(ended.stderr, r"\Asockguard: .*" + why + r".*; not started\n\Z")

    def assert_not_warned(self, program, *args, stranger=False, **popen):
        run = self.sockguard_as_stranger if stranger else self.sockguard
        ended = run("run", "--by", "preload", "--strict", program, *args, **popen)
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))

    def test_an_ordinary_program(self):
        self.assert_not_warned("true")

    def test_a_statically_linked_program(self):
        self.assert_warned("busybox", "statically linked", "true", status=0)

    def test_a_go_program(self):
        self.assert_warned("gosu", "a Go program, which makes system calls without libc", status=1)

    def test_a_go_program_with_a_loader(self):
        self.assert_warned(command.copy_with_go_note(self, "/bin/true"), "a Go program", status=0)

    def test_a_program_for_another_libc(self):
        copy = command.copy_with_interpreter(self, "/bin/true", "/lib/ld-musl-x86_64.so.1")
        self.assert_warned(copy, "linked with musl")

    def test_a_program_with_an_unknown_loader(self):
        self.assert_only_the_loader_is_missing("/lib/ld.so")

    def assert_only_the_loader_is_missing(self, interpreter):
        copy = command.copy_with_interpreter(self, "/bin/true", interpreter)
        ended = self.sockguard("run", "--strict", copy)
        self.assertEqual(ended.returncode, 127)
        self.assertNotIn("guarded", ended.stderr)

    def test_a_program_for_another_architecture(self):
        for change in ((18, b"\xb7\0" if os.uname().machine == "x86_64" else b"\x3e\0"),
                       (4, b"\1"), (5, b"\2")):
            self.assert_warned(self.patched_copy("/bin/true", change),
                               "built for a different architecture")

    def test_a_truncated_program(self):
        path = self.patched_copy("/bin/true")
        os.truncate(path, 70)
        self.assert_warned(path, "truncated")
        os.truncate(path, 10)
        self.assert_warned(path, "truncated")

    @actor.needs_root
    def test_a_set_id_program(self):
        for mode, word in ((0o4755, "set-user-ID"), (0o2755, "set-group-ID")):
            path = self.patched_copy("/bin/true")
            os.chmod(path, mode)
            self.assert_warned(path, word, status=0, stranger=True)

    @actor.needs_root
    def test_a_set_id_program_of_the_same_user(self):
        path = self.patched_copy("/bin/true")
        for mode in (0o4755, 0o2755, 0o6755):
            os.chmod(path, mode)
            self.assert_not_warned(path)
        os.chmod(path, 0o2745)  # set-group-ID without group execution once meant mandatory locking
        self.assert_not_warned(path, stranger=True)

    @actor.needs_root
    def test_a_set_id_program_with_no_new_privileges(self):
        path = self.patched_copy("/bin/true")
        os.chmod(path, 0o4755)
        ended = self.run_program(["setpriv", "--no-new-privs", harness.COMMAND, "run", "--strict",
                                  path], user=actor.STRANGER, group=actor.STRANGER)
        self.assert_result(ended, 0, "")

    @actor.needs_root
    def test_a_program_with_file_capabilities(self):
        path = self.patched_copy("/bin/true")
        net_raw = (0x02000001).to_bytes(4, "little") + (1 << 13).to_bytes(4, "little") + bytes(12)
        os.setxattr(path, "security.capability", net_raw)
        self.assert_warned(path, "privileged by file capabilities", status=0, stranger=True)
        self.assert_not_warned(path)  # they do not change root's privileges

    @actor.needs_root
    def test_a_program_without_read_permission(self):
        path = self.patched_copy("/bin/true")
        os.chmod(path, 0o711)
        message = f"sockguard: cannot determine whether {path} can be guarded: cannot read it"
        self.assert_result(self.sockguard_as_stranger("run", path), 0, "", message + "\n")
        self.assert_result(self.sockguard_as_stranger("run", "--strict", path), 126, "",
                           message + "; not started\n")

    @actor.needs_root
    def test_an_interpreter_without_read_permission(self):
        shell = self.patched_copy("/bin/dash")
        os.chmod(shell, 0o711)
        script = self.write_executable("a", f"#!{shell}\necho up\n")
        message = (f"sockguard: cannot determine whether {script} can be guarded: "
                   f"cannot read {shell}")
        self.assert_result(self.sockguard_as_stranger("run", script), 0, "up\n", message + "\n")
        self.assert_result(self.sockguard_as_stranger("run", "--strict", script), 126, "",
                           message + "; not started\n")

    @actor.needs_root
    def test_a_program_that_cannot_be_read_for_another_reason(self):
        """For example, because of an I/O error."""
        path = self.patched_copy("/bin/true")
        traced = ["strace", "-f", "-qq", "-o", "/dev/null", "-P", path, "-e", "trace=openat", "-e",
                  "inject=openat:error=EIO:when=1", harness.COMMAND, "run"]
        for option, status in ([], 0), (["--strict"], 126):
            ended = self.run_program([*traced, *option, path])
            self.assertEqual((ended.returncode, ended.stdout), (status, ""))
            self.assertIn(f"cannot determine whether {path} can be guarded", ended.stderr)

    def test_a_program_that_is_not_found_is_not_started(self):
        """If only the command's own search failed, execvp(3) could start the program unexamined."""
        script = self.write_executable("a", "#!/nonexistent\n")
        for name in (self.path, "no-such-program", "", script):
            ended = self.sockguard("run", "--strict", name)
            self.assertEqual((ended.returncode, ended.stdout), (127, ""))
            self.assertRegex(ended.stderr, r"\Asockguard: .*(does not exist|no such program)")

    @unittest.skipIf(OLD_LIBC, "glibc before 2.33 does not call faccessat2, which is made to fail")
    def test_strict_starts_nothing_if_the_search_fails(self):
        path = self.patched_copy("/bin/echo")
        traced = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=faccessat2", "-e",
                  "inject=faccessat2:error=EIO", harness.COMMAND, "run"]
        ended = self.run_program([*traced, path, "started"])
        self.assertEqual((ended.returncode, ended.stdout), (0, "started\n"))
        ended = self.run_program([*traced, "--strict", path, "started"])
        self.assertEqual((ended.returncode, ended.stdout), (127, ""))

    def test_a_script_with_a_static_interpreter(self):
        self.assert_warned(self.write_executable("a", "#!/usr/bin/busybox sh\nexit 5\n"),
                           "/usr/bin/busybox is statically linked", status=5)
        self.assert_not_warned(self.write_executable("b", "#! /bin/sh -e\n"))

    def test_a_script_whose_interpreter_is_a_script(self):
        inner = self.write_executable("inner", "#!/usr/bin/busybox sh\n")
        self.assert_warned(self.write_executable("a", f"#!{inner}\n"), "statically linked")

    def test_a_script_with_env(self):
        for line in ("busybox sh", "-S busybox sh", "-S A=b busybox sh", "-S -u HOME busybox sh"):
            self.assert_warned(self.write_executable("a", f"#!/usr/bin/env {line}\nexit 5\n"),
                               "busybox is statically linked")
        self.assert_not_warned(self.write_executable("b", "#!/usr/bin/env sh\n"))

    def test_a_script_with_env_that_clears_the_environment(self):
        self.assert_warned(self.write_executable("a", "#!/usr/bin/env -S -i /bin/sh\nexit 5\n"),
                           "clears LD_PRELOAD", status=5)

    def test_a_script_with_a_missing_interpreter(self):
        ended = self.sockguard("run", self.write_executable("a", "#!/nonexistent\n"))
        self.assertEqual(ended.returncode, 127)

    def test_a_disabled_guard(self):
        self.assert_warned("true", "SOCKGUARD_DISABLE=1", status=0, env={"SOCKGUARD_DISABLE": "1"})


if __name__ == "__main__":
    sys.exit(harness.main())
