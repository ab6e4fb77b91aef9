"""The manual names the installed files, and every reason and warning of the command."""

import os
import re
import subprocess
import sys

import command
import harness


def source(name):
    with open(os.path.join(harness.SOURCE, name), encoding="utf-8") as file:
        return file.read()


def strings(text):
    """The string literals in C source text. Adjacent ones are joined."""
    pieces = re.findall(r'(?:"(?:[^"\\]|\\.)*"\s*)+', text)
    return ["".join(re.findall(r'"((?:[^"\\]|\\.)*)"', piece)) for piece in pieces]


def words_of(page):
    """The text of a page, without its macros."""
    lines = [re.sub(r"^\.[A-Z][a-z] ", "", line) for line in page.splitlines()]
    text = " ".join(" ".join(lines).split())
    return re.sub(r" (?:No|Ns|Ar|Ev|Fl|Pa)\b", "", text).replace("\\&", "")


class Installed(command.CommandCase):
    def setUp(self):
        super().setUp()
        self.root = os.path.join(self.dir, "root")
        env = {name: value for name, value in os.environ.items()
               if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "DESTDIR")}
        subprocess.run(["make", "-s", "-C", harness.BUILD, "install", "DESTDIR=" + self.root],
                       env=env, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def find(self, *names):
        """The paths of these files below the scratch root, relative to it."""
        return {name: [os.path.join(where, name)[len(self.root):]
                       for where, _, files in os.walk(self.root) if name in files]
                for name in names}

    def page(self, name):
        place, = self.find(name)[name]
        with open(self.root + place, encoding="utf-8") as file:
            return file.read()

    def test_the_path_of_the_library(self):
        library, = self.find("libsockguard.so")["libsockguard.so"]
        for name in ("sockguard.1", "libsockguard.7"):
            named = set(re.findall(r"(/[\w/$.-]*/libsockguard\.so)", self.page(name)))
            self.assertEqual(named, {library}, name)

    def test_the_paths_of_the_schemas(self):
        schemas = self.find("status.schema.json", "check.schema.json")
        for name, places in schemas.items():
            self.assertEqual(len(places), 1, name)
            self.assertIn(os.path.dirname(places[0]), self.page("sockguard.1"))
            self.assertIn(name, self.page("sockguard.1"))

    def test_no_placeholder_remains(self):
        for name in ("sockguard.1", "libsockguard.7"):
            self.assertNotRegex(self.page(name), "@[a-z]+@")


class Diagnostics(command.CommandCase):
    def setUp(self):
        super().setUp()
        self.page = words_of(source("man/sockguard.1.in").split(".Sh DIAGNOSTICS")[1])

    def test_each_reason_of_check(self):
        reasons = {"corrupt: it has too many program headers"}
        for name in ("program", "process"):
            text = source(f"src/command/{name}.c")
            for call in re.findall(
                    r"\b(?:not_guardable|set)\(((?:[^()\"]|\"(?:[^\"\\]|\\.)*\")*)\)", text):
                reasons.update(strings(call))
            reasons.update(strings("".join(re.findall(r"ignored \?[^:]*:", text))))
        reasons.update(strings("".join(re.findall(r"define NOT_READABLE.*", source(
            "src/command/program.c")))))
        self.assertGreater(len(reasons), 20)
        for reason in reasons:
            self.assertIn(reason, self.page)

    def test_each_warning_of_run(self):
        for words in ("will not be guarded", "cannot determine whether",
                      "can be guarded: cannot read", "SOCKGUARD_DISABLE"):
            self.assertIn(words, self.page)
            self.assertIn(words, source("src/command/run.c"))
        for words in ("cannot read", "install libsockguard", "LD_PRELOAD cannot name",
                      "move it to a path without spaces and colons"):
            self.assertIn(words, self.page)
            self.assertIn(words, source("src/command/library.c"))

    def test_each_remark_of_check(self):
        for words in ("its library file has been removed or replaced since", "only", "all but"):
            self.assertIn(words, self.page)
            self.assertIn(words, source("src/command/check.c"))


class Examples(command.CommandCase):
    """Commands in the manual that readers may paste into a shell."""

    def test_examples_do_not_kill_unnamed_processes(self):
        for name in ("man/sockguard.1.in", "man/libsockguard.7.in", "README.md",
                     "src/command/status.c"):
            self.assertNotRegex(source(name), r"kill \$\(|status [^\n]*\|\| *systemctl")


if __name__ == "__main__":
    sys.exit(harness.main())
