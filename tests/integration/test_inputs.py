"""The guard does not change the results of calls with bad arguments.

tests/inputs makes each call with every argument, once with the guard and once without. Both runs
must print the same.
"""

import os
import sys

import harness

INPUTS = os.path.join(harness.PROGRAMS, "inputs")
MAX_DIFFERENCES = 20
# Under a supervisor, all arguments would take minutes, because the directory contains many sockets
# and is set up again after each call that changes it. So only every nth call is made. n is prime,
# so that each argument still occurs.
STEPS = {"bind": 3, "rename": 13, "renameat": 23, "renameat2": 31, "link": 5, "linkat": 7} \
    if harness.SUPERVISED and os.environ.get("SOCKGUARD_CAMPAIGN") != "full" else {}


class BadInput(harness.Case):
    def compare(self, call):
        unguarded, guarded = self.output_of(call, guard=False), self.output_of(call, guard=True)
        differences = [f"with the guard: {one}\nwithout: {other}"
                       for one, other in zip(guarded, unguarded) if one != other]
        self.assertFalse(differences, "\n" + "\n".join(differences[:MAX_DIFFERENCES]))
        self.assertEqual(len(guarded), len(unguarded))
        self.assertGreater(len(unguarded), 100)

    def output_of(self, call, guard):
        directory = os.path.join(self.dir, "guarded" if guard else "plain")
        os.mkdir(directory)
        ended = self.run_program([INPUTS, call, str(STEPS.get(call, 1))], guard=guard,
                                 cwd=directory, errors="replace")
        self.assertEqual((ended.stderr, ended.returncode), ("", 0), "".join(ended.stdout[-300:]))
        self.assertEqual(os.listdir(directory), [])
        return ended.stdout.splitlines()

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
