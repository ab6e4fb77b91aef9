#!/usr/bin/python3
"""Completion of the command's arguments, in bash and in zsh."""

import os
import pty
import re
import select
import shutil
import socket
import subprocess
import unittest

import harness

COMPLETIONS = os.path.join(harness.SOURCE, "completions")
BASH_COMPLETION = "/usr/share/bash-completion/bash_completion"
COMMANDS = {"run", "status", "check", "clean", "unit"}


def options_in_help(*command):
    """The long options at the start of the lines of a help text."""
    shown = subprocess.run([harness.COMMAND, *command, "--help"], capture_output=True, text=True,
                           check=True, timeout=harness.TIMEOUT).stdout
    return set(re.findall(r"^ +(?:-\w, )?(--[a-z-]+)", shown, re.MULTILINE))


class CompletionCase(harness.Case):
    def setUp(self):
        super().setUp()
        self.socket = socket.socket(socket.AF_UNIX)
        self.addCleanup(self.socket.close)
        self.socket.bind(self.path)
        for name in ("plain", ".other.sockguard"):
            open(os.path.join(self.dir, name), "w", encoding="ascii").close()
        os.mkdir(os.path.join(self.dir, "deeper"))
        program = os.path.join(self.dir, "a-program")
        open(program, "w", encoding="ascii").close()
        os.chmod(program, 0o755)

    def environment(self):
        return {**harness.environment(False), "PATH": self.dir + ":" + os.environ["PATH"],
                "TERM": "dumb"}


class Bash(CompletionCase):
    def completed(self, *words, before=""):
        """COMPREPLY for the last of sockguard's arguments, split as bash splits them."""
        script = before + """
            . "$0/sockguard.bash"
            COMP_WORDS=(sockguard "$@") COMP_CWORD=$#
            COMP_LINE="${COMP_WORDS[*]}" COMP_POINT=${#COMP_LINE}
            _sockguard
            printf '%s\\n' "${COMPREPLY[@]}"
        """
        ended = subprocess.run(["bash", "--norc", "-c", script, COMPLETIONS, *words],
                               capture_output=True, text=True, cwd=self.dir, check=True,
                               env=self.environment(), timeout=harness.TIMEOUT)
        self.assertEqual(ended.stderr, "")
        return set(ended.stdout.split())

    def test_the_completion_is_registered(self):
        ended = subprocess.run(["bash", "--norc", "-c", '. "$0/sockguard.bash"; complete -p',
                                COMPLETIONS], capture_output=True, text=True, check=True,
                               timeout=harness.TIMEOUT)
        self.assertEqual(ended.stdout, "complete -F _sockguard sockguard\n")

    def test_completes_commands(self):
        self.assertEqual(self.completed(""), COMMANDS | {"--help", "--version"})
        self.assertEqual(self.completed("st"), {"status"})

    def test_options_are_those_of_the_help(self):
        for command in sorted(COMMANDS):
            with self.subTest(command=command):
                self.assertEqual(self.completed(command, "--"), options_in_help(command))

    def test_completes_values(self):
        for words in (("--reuse", ""), ("--reuse", "="), ("--reuse", "=", "a")):
            with self.subTest(words=words):
                rest = set() if "a" in words else {"never"}
                self.assertEqual(self.completed("run", *words), {"auto", "always"} | rest)
        self.assertEqual(self.completed("run", "--log", ""), {"stderr", "syslog", "none"})
        self.assertEqual(self.completed("run", "--log", self.dir + "/pl"), {self.dir + "/plain"})

    def test_completes_socket_paths(self):
        self.assertEqual(self.completed("status", ""), {"app.sock", "deeper"})
        self.assertEqual(self.completed("status", "--json", "a"), {"app.sock"})
        self.assertEqual(self.completed("clean", ""), {"app.sock", "deeper", ".other.sockguard"})

    def test_completes_programs_and_pids(self):
        self.assertEqual(self.completed("check", "a-prog"), {"a-program"})
        self.assertIn(str(os.getpid()), self.completed("check", str(os.getpid())[0]))
        self.assertEqual(self.completed("run", "--strict", "--only", "/x", "a-prog"),
                         {"a-program"})
        self.assertEqual(self.completed("run", "--reuse", "=", "auto", "a-prog"), {"a-program"})
        self.assertEqual(self.completed("run", "--", "a-prog"), {"a-program"})

    def test_arguments_of_the_program_are_not_completed_as_options(self):
        """Options after the program are not options of sockguard."""
        self.assertEqual(self.completed("run", "a-program", "pl"), {"plain"})
        self.assertEqual(self.completed("run", "a-program", "--"), set())

    @unittest.skipUnless(os.path.exists(BASH_COMPLETION), "needs bash-completion")
    def test_arguments_of_the_program_are_completed_by_its_own_completion(self):
        before = f"""
            . {BASH_COMPLETION}
            complete -W 'first second' a-program
        """
        self.assertEqual(self.completed("run", "--strict", "a-program", "f", before=before),
                         {"first"})

    @unittest.skipUnless(shutil.which("systemctl"), "needs systemctl")
    def test_completes_units(self):
        self.assertIn("systemd-logind.service", self.completed("unit", ""))
        self.assertEqual(self.completed("unit", "systemd-logi"), {"systemd-logind.service"})


@unittest.skipUnless(shutil.which("zsh"), "needs zsh")
class Zsh(CompletionCase):
    """An interactive zsh: the test types a tab, then a key that writes the line to a file."""

    SETUP = """
        PS1=ready RPS1= PS2=
        fpath=({completions} $fpath)
        autoload -U compinit && compinit -D -u
        write-line() {{
            print -rn -- $BUFFER >{line_file}.new
            mv {line_file}.new {line_file}
            BUFFER=
        }}
        zle -N write-line; bindkey '^T' write-line; bindkey '^I' complete-word
        setopt no_beep no_list_beep
    """

    def setUp(self):
        super().setUp()
        self.line_file = os.path.join(self.dir, "line")
        setup = self.SETUP.format(completions=COMPLETIONS, line_file=self.line_file)
        open(os.path.join(self.dir, ".zshrc"), "w", encoding="ascii").write(setup)
        pid, self.terminal = pty.fork()
        if pid == 0:
            os.chdir(self.dir)
            env = {**self.environment(), "ZDOTDIR": self.dir}
            os.execvpe("zsh", ["zsh", "-d", "-i"], env)
        self.addCleanup(self.close_terminal, pid)
        harness.wait_until(lambda: b"ready" in self.read_terminal(), "the prompt of zsh")

    def close_terminal(self, pid):
        os.close(self.terminal)
        harness.wait_until(lambda: os.waitpid(pid, os.WNOHANG)[0] == pid, "the end of zsh")

    def read_terminal(self):
        """Reads what zsh has printed; otherwise zsh would block on a full terminal."""
        return os.read(self.terminal, 65536) \
            if select.select([self.terminal], [], [], 0)[0] else b""

    def completed(self, line):
        """The line after completion at its end."""
        if os.path.exists(self.line_file):
            os.remove(self.line_file)
        os.write(self.terminal, line.encode() + b"\t\x14")
        harness.wait_until(lambda: (self.read_terminal(), os.path.exists(self.line_file))[1],
                           "the line")
        with open(self.line_file, encoding="utf-8") as file:
            return file.read()

    def test_completes(self):
        for typed, line in (
                ("sockguard sta", "sockguard status "),
                ("sockguard --ver", "sockguard --version "),
                ("sockguard run --stri", "sockguard run --strict "),
                ("sockguard run --reuse=al", "sockguard run --reuse=always "),
                ("sockguard run --reuse al", "sockguard run --reuse always "),
                ("sockguard run --log sys", "sockguard run --log syslog "),
                ("sockguard run --strict a-prog", "sockguard run --strict a-program "),
                ("sockguard run a-program pl", "sockguard run a-program plain "),
                ("sockguard status a", "sockguard status app.sock "),
                ("sockguard status --js", "sockguard status --json "),
                ("sockguard check a-prog", "sockguard check a-program "),
                ("sockguard clean .ot", "sockguard clean .other.sockguard "),
                ("sockguard clean --dr", "sockguard clean --dry-run "),
                ("sockguard unit systemd-logi", "sockguard unit systemd-logind.service "),
        ):
            with self.subTest(typed=typed):
                self.assertEqual(self.completed(typed).rstrip(), line.rstrip())

    def test_options_are_those_of_the_help(self):
        with open(os.path.join(COMPLETIONS, "_sockguard"), encoding="ascii") as file:
            completed = set(re.findall(r"--[a-z][a-z-]*", file.read().split("_sockguard() {")[1]))
        documented = set().union(options_in_help(), *(options_in_help(c) for c in COMMANDS))
        self.assertEqual(completed, documented)


if __name__ == "__main__":
    raise SystemExit(harness.main())
