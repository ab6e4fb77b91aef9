#!/usr/bin/python3
"""Completion of the command's words, in a bash and in a zsh."""

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
    """The long options a help text names at the start of its lines."""
    shown = subprocess.run([harness.COMMAND, *command, "--help"], capture_output=True, text=True,
                           check=True, timeout=harness.PATIENCE).stdout
    return set(re.findall(r"^ +(?:-\w, )?(--[a-z-]+)", shown, re.MULTILINE))


class CompletionCase(harness.Case):
    def setUp(self):
        super().setUp()
        self.ours = socket.socket(socket.AF_UNIX)
        self.addCleanup(self.ours.close)
        self.ours.bind(self.path)
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
        """COMPREPLY for the last of the words behind sockguard, as bash splits them."""
        script = before + """
            . "$0/sockguard.bash"
            COMP_WORDS=(sockguard "$@") COMP_CWORD=$#
            COMP_LINE="${COMP_WORDS[*]}" COMP_POINT=${#COMP_LINE}
            _sockguard
            printf '%s\\n' "${COMPREPLY[@]}"
        """
        ended = subprocess.run(["bash", "--norc", "-c", script, COMPLETIONS, *words],
                               capture_output=True, text=True, cwd=self.dir, check=True,
                               env=self.environment(), timeout=harness.PATIENCE)
        self.assertEqual(ended.stderr, "")
        return set(ended.stdout.split())

    def test_is_registered(self):
        ended = subprocess.run(["bash", "--norc", "-c", '. "$0/sockguard.bash"; complete -p',
                                COMPLETIONS], capture_output=True, text=True, check=True,
                               timeout=harness.PATIENCE)
        self.assertEqual(ended.stdout, "complete -F _sockguard sockguard\n")

    def test_commands(self):
        self.assertEqual(self.completed(""), COMMANDS | {"--help", "--version"})
        self.assertEqual(self.completed("st"), {"status"})

    def test_options_are_those_of_the_help(self):
        for command in sorted(COMMANDS):
            with self.subTest(command=command):
                self.assertEqual(self.completed(command, "--"), options_in_help(command))

    def test_values(self):
        for words in (("--reuse", ""), ("--reuse", "="), ("--reuse", "=", "a")):
            with self.subTest(words=words):
                rest = set() if "a" in words else {"never"}
                self.assertEqual(self.completed("run", *words), {"auto", "always"} | rest)
        self.assertEqual(self.completed("run", "--log", ""), {"stderr", "syslog", "none"})
        self.assertEqual(self.completed("run", "--log", self.dir + "/pl"), {self.dir + "/plain"})

    def test_socket_paths(self):
        self.assertEqual(self.completed("status", ""), {"app.sock", "deeper"})
        self.assertEqual(self.completed("status", "--json", "a"), {"app.sock"})
        self.assertEqual(self.completed("clean", ""), {"app.sock", "deeper", ".other.sockguard"})

    def test_programs_and_pids(self):
        self.assertEqual(self.completed("check", "a-prog"), {"a-program"})
        self.assertIn(str(os.getpid()), self.completed("check", str(os.getpid())[0]))
        self.assertEqual(self.completed("run", "--strict", "--only", "/x", "a-prog"),
                         {"a-program"})
        self.assertEqual(self.completed("run", "--reuse", "=", "auto", "a-prog"), {"a-program"})
        self.assertEqual(self.completed("run", "--", "a-prog"), {"a-program"})

    def test_words_of_the_program(self):
        """They are no options of ours."""
        self.assertEqual(self.completed("run", "a-program", "pl"), {"plain"})
        self.assertEqual(self.completed("run", "a-program", "--"), set())

    @unittest.skipUnless(os.path.exists(BASH_COMPLETION), "needs bash-completion")
    def test_words_of_the_program_by_its_own_completion(self):
        before = f"""
            . {BASH_COMPLETION}
            complete -W 'first second' a-program
        """
        self.assertEqual(self.completed("run", "--strict", "a-program", "f", before=before),
                         {"first"})

    @unittest.skipUnless(shutil.which("systemctl"), "needs systemctl")
    def test_units(self):
        self.assertIn("systemd-logind.service", self.completed("unit", ""))
        self.assertEqual(self.completed("unit", "systemd-logi"), {"systemd-logind.service"})


@unittest.skipUnless(shutil.which("zsh"), "needs zsh")
class Zsh(CompletionCase):
    """A zsh that a person types to: a tab, and then a key that writes the line to a file."""

    SETUP = """
        PS1=ready RPS1= PS2=
        fpath=({completions} $fpath)
        autoload -U compinit && compinit -D -u
        told() {{ print -rn -- $BUFFER >{told}.new; mv {told}.new {told}; BUFFER= }}
        zle -N told; bindkey '^T' told; bindkey '^I' complete-word
        setopt no_beep no_list_beep
        : tell
    """

    def setUp(self):
        super().setUp()
        self.told = os.path.join(self.dir, "told")
        setup = self.SETUP.format(completions=COMPLETIONS, told=self.told)
        open(os.path.join(self.dir, ".zshrc"), "w", encoding="ascii").write(setup)
        pid, self.terminal = pty.fork()
        if pid == 0:
            os.chdir(self.dir)
            env = {**self.environment(), "ZDOTDIR": self.dir}
            os.execvpe("zsh", ["zsh", "-d", "-i"], env)
        self.addCleanup(self.end, pid)
        harness.wait_until(lambda: b"ready" in self.shown(), "the prompt of zsh")

    def end(self, pid):
        os.close(self.terminal)
        harness.wait_until(lambda: os.waitpid(pid, os.WNOHANG)[0] == pid, "the end of zsh")

    def shown(self):
        """What zsh has printed since; it would wait for a reader otherwise."""
        return os.read(self.terminal, 65536) \
            if select.select([self.terminal], [], [], 0)[0] else b""

    def completed(self, line):
        """The line after a tab at its end."""
        if os.path.exists(self.told):
            os.remove(self.told)
        os.write(self.terminal, line.encode() + b"\t\x14")
        harness.wait_until(lambda: (self.shown(), os.path.exists(self.told))[1], "the line")
        with open(self.told, encoding="utf-8") as file:
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
            named = set(re.findall(r"--[a-z][a-z-]*", file.read().split("_sockguard() {")[1]))
        there = set().union(options_in_help(), *(options_in_help(c) for c in COMMANDS))
        self.assertEqual(named, there)


if __name__ == "__main__":
    raise SystemExit(harness.main())
