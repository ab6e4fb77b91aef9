#!/usr/bin/python3
"""Tests of scripts/mutate: mutants that a test notices, mutants that no test does, explanations."""

import os
import shutil
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "integration")]
import harness  # noqa: E402
import mutants  # noqa: E402

SOURCE = """\
#include <errno.h>

int doubled(int number)
{
	return number + number; /* if (number) */
}

int unseen(const char *text)
{
	if (text[0] == '!')
		errno = ENOENT;
	return 0;
}
"""
TEST = """\
int doubled(int number);

int main(void)
{
	return doubled(3) == 6 ? 0 : 1;
}
"""
COMMANDS = """\
gcc -c ../source/src/core/demo.c -o demo.o
gcc demo.o ../source/tests/unit/check_demo.c -o tests/unit/check_demo
"""
PREFIX = "src/core/demo.c unseen: "
SURVIVORS = ("if (text[0] == '!') becomes if (!(text[0] == '!'))",
             "if (text[0] == '!') becomes if (text[1] == '!')",
             "if (text[0] == '!') becomes if (text[0] != '!')",
             "errno = ENOENT; becomes ;",
             "errno = ENOENT; becomes errno = EEXIST;",
             "return 0; becomes return 1;",
             "return 0; becomes return -1;")


def can_unshare():
    """Returns whether tests can run in their own process ID namespace."""
    as_user = ["--user", "--map-current-user"] if os.geteuid() else []
    tried = subprocess.run(["unshare", *as_user, "--pid", "--fork", "--mount-proc", "true"],
                           check=False, capture_output=True)
    return tried.returncode == 0


class Mutants(unittest.TestCase):
    def test_kinds(self):
        """Each kind of mutant is made, but none in comments, strings and declarations."""
        code = ("static bool judged(int a)\n{\n\tint fd = open(\"a && b\", O_RDWR | O_CLOEXEC);\n"
                "\n\tif (a < 2 && !is_it(a) || fd == -1)\n\t\treturn is_it(fd - 1);\n"
                "\twhile (a) /* b && c */\n\t\tforget(a,\n\t\t\tFROM);\n\treturn true;\n}\n")
        made = {(mutant.kind, mutant.mutated) for mutant in mutants.mutants_of("a.c", code, {})}
        condition = "if ({} && {}is_it(a) {} fd == -1)"
        for kind, mutated in (
                ("negate", "if (!(a < 2 && !is_it(a) || fd == -1))"),
                ("and-or", "if (a < 2 || !is_it(a) || fd == -1)"),
                ("or-and", condition.format("a < 2", "!", "&&")),
                ("relational", condition.format("a <= 2", "!", "||")),
                ("constant", condition.format("a < 3", "!", "||")),
                ("drop-not", condition.format("a < 2", "", "||")),
                ("drop-flag", 'int fd = open("a && b", O_RDWR);'),
                ("swap", "TO);"), ("swap", "return false;"), ("delete", ";"),
                ("arithmetic", "return is_it(fd + 1);"), ("return", "return !(is_it(fd - 1));")):
            self.assertIn((kind, mutated), made)
        self.assertFalse([line for _, line in made if "a || b" in line or "b || c" in line])


@unittest.skipUnless(can_unshare(), "needs process ID namespaces")
class Mutate(harness.Case):
    def setUp(self):
        super().setUp()
        self.base = os.path.join(self.dir, "base")
        for name, content in (("source/src/core/demo.c", SOURCE),
                              ("source/tests/unit/check_demo.c", TEST),
                              ("source/tests/mutate/explained", ""),
                              ("build/commands.log", COMMANDS), ("build/tests/unit/.dirstamp", "")):
            path = os.path.join(self.base, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="ascii") as file:
                file.write(content)
        subprocess.run(["sh", "-e", "commands.log"], cwd=os.path.join(self.base, "build"),
                       check=True)

    def mutate(self, explained=""):
        """Runs mutate.py. Returns its exit status and the lines it prints."""
        with open(os.path.join(self.base, "source/tests/mutate/explained"), "w",
                  encoding="ascii") as file:
            file.write(explained)
        lane = os.path.join(self.dir, "lane")
        shutil.rmtree(lane, ignore_errors=True)
        shutil.copytree(self.base, lane)
        ended = subprocess.run(
            [sys.executable, "-B", os.path.join(HERE, "mutate.py"), self.base, lane],
            check=False, stdout=subprocess.PIPE, text=True)
        return ended.returncode, ended.stdout.splitlines()

    def test_survivors(self):
        """Mutants that a test notices are counted, and the others are listed."""
        status, lines = self.mutate()
        self.assertEqual(status, 1)
        survivors = [line.split(": ", 2)[2] for line in lines[:-1]]
        self.assertEqual(sorted(survivors), sorted("unseen: " + text for text in SURVIVORS))
        self.assertRegex(lines[-1], r"^\d+ mutants, 2 of them noticed")

    def test_explained(self):
        """An explained survivor is no fault. A stale or wrong explanation is."""
        explained = "".join(f"{PREFIX}{text}\n    Equivalent: the function is never called.\n"
                            for text in SURVIVORS)
        status, lines = self.mutate(explained)
        self.assertEqual((status, len(lines)), (0, 1), lines)
        wrong = "src/core/demo.c doubled: return number + number; becomes return number - number;"
        status, lines = self.mutate(explained + wrong + "\n    Why.\n" +
                                    "src/core/demo.c doubled: a becomes b\n    Why.\n")
        self.assertEqual(status, 1)
        self.assertTrue(any("tests/unit/check_demo notices it" in line for line in lines), lines)
        self.assertTrue(any("no such mutant" in line for line in lines), lines)


if __name__ == "__main__":
    sys.exit(harness.main())
