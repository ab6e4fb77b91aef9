"""Bad input, systematically: tests/inputs makes each call with every argument, once with the guard
and once without, and both must tell the same."""

import os
import sys

import harness

INPUTS = os.path.join(harness.BUILD, "tests", "inputs")
MOST_SHOWN = 20


class BadInput(harness.Case):
    def compare(self, call):
        plain, guarded = self.told(call, guard=False), self.told(call, guard=True)
        differences = [f"with the guard: {one}\nwithout: {other}"
                       for one, other in zip(guarded, plain) if one != other]
        self.assertFalse(differences, "\n" + "\n".join(differences[:MOST_SHOWN]))
        self.assertEqual(len(guarded), len(plain))
        self.assertGreater(len(plain), 100)

    def told(self, call, guard):
        directory = os.path.join(self.dir, "guarded" if guard else "plain")
        os.mkdir(directory)
        ran = self.run_program([INPUTS, call], guard=guard, cwd=directory, errors="replace")
        self.assertEqual((ran.stderr, ran.returncode), ("", 0), "".join(ran.stdout[-300:]))
        self.assertEqual(os.listdir(directory), [])
        return ran.stdout.splitlines()

    def test_bind(self):
        self.compare("bind")

    def test_unlink(self):
        self.compare("unlink")

    def test_unlinkat(self):
        self.compare("unlinkat")

    def test_remove(self):
        self.compare("remove")

    def test_rename(self):
        self.compare("rename")

    def test_renameat(self):
        self.compare("renameat")

    def test_renameat2(self):
        self.compare("renameat2")

    def test_link(self):
        self.compare("link")

    def test_linkat(self):
        self.compare("linkat")


if __name__ == "__main__":
    sys.exit(harness.main())
