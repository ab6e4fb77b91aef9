"""The command: sockguard run and sockguard status."""

import os
import socket
import sys

import actor
import harness


class Command(actor.SocketCase):
    def sockguard(self, *args, **popen):
        return self.run_program([harness.COMMAND, *args], **popen)

    def assert_misused(self, *args):
        """One line on stderr, nothing on stdout, status 2."""
        ended = self.sockguard(*args)
        self.assertEqual((ended.returncode, ended.stdout), (2, ""))
        self.assertEqual(ended.stderr.count("\n"), 1, ended.stderr)

    def bound(self, path=None):
        ours = socket.socket(socket.AF_UNIX)
        self.addCleanup(ours.close)
        ours.bind(path or self.path)
        return ours


class Misuse(Command):
    def test_no_command(self):
        self.assert_misused()

    def test_unknown_command(self):
        self.assert_misused("dance")

    def test_unknown_option(self):
        self.assert_misused("--dance")

    def test_run_without_a_program(self):
        self.assert_misused("run")
        self.assert_misused("run", "--")

    def test_status_without_a_path(self):
        self.assert_misused("status")


class Help(Command):
    def test_help(self):
        ended = self.sockguard("--help")
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        self.assertIn("Example:", ended.stdout)
        self.assertLessEqual(len(ended.stdout.splitlines()), 24)

    def test_version(self):
        self.assertRegex(self.sockguard("--version").stdout, r"^sockguard \d+\.\d+\.\d+\n$")


class Run(Command):
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

    def test_what_was_preloaded_stays_so(self):
        env = {"LD_PRELOAD": "libdl.so.2:libm.so.6"}
        ended = self.sockguard("run", "sh", "-c", "echo $LD_PRELOAD", env=env)
        self.assertEqual(ended.stdout.strip(), harness.LIBRARY + ":" + env["LD_PRELOAD"])

    def test_exit_status_is_the_program_s(self):
        self.assertEqual(self.sockguard("run", "sh", "-c", "exit 7").returncode, 7)

    def test_no_such_program(self):
        ended = self.sockguard("run", self.path)
        self.assertEqual(ended.returncode, 127)
        self.assertIn("No such file", ended.stderr)

    def test_no_program(self):
        self.assertEqual(self.sockguard("run", self.dir).returncode, 126)


class Status(Command):
    def status(self, *paths):
        ended = self.sockguard("status", *paths)
        self.assertEqual(ended.stderr, "")
        return ended.returncode, ended.stdout

    def test_live(self):
        self.bound()
        self.assertEqual(self.status(self.path), (0, f"{self.path}: live\n"))

    def test_live_and_whose(self):
        owner = actor.Actor(self, guard=True)
        owner.bind(owner.socket("stream"), self.path)
        status, line = self.status(self.path)
        self.assertEqual(status, 0)
        self.assertRegex(line, f": live, bound by actor \\(pid {owner.pid}, uid {os.geteuid()}\\)$")

    def test_stale(self):
        self.bound().close()
        self.assertEqual(self.status(self.path), (3, f"{self.path}: stale\n"))

    def test_absent(self):
        self.assertEqual(self.status(self.path), (3, f"{self.path}: absent\n"))

    def test_claimed_without_a_name(self):
        owner = actor.Actor(self, guard=True)
        owner.bind(owner.socket("stream"), self.path)
        os.unlink(self.path)
        status, line = self.status(self.path)
        self.assertEqual(status, 3)
        self.assertIn(": claimed, without a name, bound by actor", line)

    def test_no_socket(self):
        self.assertEqual(self.status(self.dir), (3, f"{self.dir}: not a socket\n"))

    def test_the_worst_of_several(self):
        self.bound()
        other = self.path + "2"
        self.assertEqual(self.status(self.path, other),
                         (3, f"{self.path}: live\n{other}: absent\n"))

    def test_it_leaves_no_trace(self):
        self.bound()
        self.status(self.path)
        self.assertEqual(self.names(), ["app.sock"])


if __name__ == "__main__":
    sys.exit(harness.main())
