"""The storm, for a minute: SOCKGUARD_STORM_SECONDS sets another time, SOCKGUARD_STORM_SEED a seed.

    tests/campaign/storm --seconds 3600 --seed 1
    tests/campaign/storm --seconds 3600 --seed 1 --hostile
"""

import os
import re
import subprocess
import tempfile
import unittest

from injection import harness

STORM = os.path.join(harness.BUILD, "tests", "campaign", "storm")
SECONDS = int(os.environ.get("SOCKGUARD_STORM_SECONDS", "60"))
SEED = os.environ.get("SOCKGUARD_STORM_SEED")


class Campaign(harness.Case):
    def storm(self, seconds, *words):
        if SEED:
            words += ("--seed", SEED)
        directory = tempfile.mkdtemp(dir=self.dir)
        os.chmod(directory, 0o755)
        run = subprocess.run([STORM, "--seconds", str(seconds), "--directory", directory, *words],
                             capture_output=True, text=True, timeout=seconds + 60,
                             env=harness.environment(False))
        for line in run.stdout.splitlines():
            print("# " + line, flush=True)
        self.assertIn(run.returncode, (0, 1), run.stderr)
        counts = {name: int(count) for name, count in
                  re.findall(r"^(\S.*?) +(\d+)$", run.stdout, re.MULTILINE)}
        return run, counts


class Storm(Campaign):
    def test_guarded(self):
        """guarded: no theft, no false alarm, no litter"""
        run, counts = self.storm(SECONDS, "--library", harness.LIBRARY)
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertEqual((counts["thefts"], counts["false alarms"], counts["litter"]), (0, 0, 0))
        self.assertGreater(counts["starts"], 10 * SECONDS)
        self.assertGreater(counts["kills"], 10 * SECONDS)

    def test_unguarded(self):
        """unguarded: the same servers rob each other"""
        _, counts = self.storm(min(SECONDS, 5), "--unguarded")
        self.assertGreater(counts["thefts"], 0)


@unittest.skipUnless(os.geteuid() == 0, "needs root")
class Hostile(Campaign):
    """The same beside another user, who plants, leases, locks and exchanges lock files."""

    SECONDS = max(SECONDS // 2, 1)
    FAILURES = ("thefts", "false alarms", "waits too long", "surprises", "crashes", "litter")

    def find(self, failures, *words):
        """One of these within a few storms: races do not come at every time."""
        for _ in range(4):
            _, counts = self.storm(self.SECONDS, "--hostile", *words, "--library",
                                   harness.LIBRARY)
            if any(counts[name] for name in failures):
                return
        self.fail(f"no {' or '.join(failures)}")

    def test_guarded(self):
        """guarded: no theft, no refusal without a rival, no wait above a second"""
        run, counts = self.storm(self.SECONDS, "--hostile", "--library", harness.LIBRARY)
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertEqual([counts[name] for name in self.FAILURES], [0] * len(self.FAILURES))
        self.assertGreater(counts["starts"], 10 * self.SECONDS)
        self.assertGreater(counts["acts"], 10 * self.SECONDS)

    def test_unguarded(self):
        """unguarded: the same servers rob each other"""
        _, counts = self.storm(min(SECONDS, 5), "--hostile", "--unguarded")
        self.assertGreater(counts["thefts"], 0)

    def test_blind(self):
        """guarded, but with a filter that keeps them from finding their lock files: thefts"""
        self.find(("thefts",), "--blind")

    def test_trusted(self):
        """guarded, and the neighbour is root: his locks are waited for"""
        self.find(("waits too long", "false alarms"), "--trusted")


if __name__ == "__main__":
    raise SystemExit(harness.main())
