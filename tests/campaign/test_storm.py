"""The storm, for a minute: SOCKGUARD_STORM_SECONDS sets another time, SOCKGUARD_STORM_SEED a seed.

    tests/campaign/storm --seconds 3600 --seed 1
"""

import os
import re
import subprocess

from injection import harness

STORM = os.path.join(harness.BUILD, "tests", "campaign", "storm")
SECONDS = int(os.environ.get("SOCKGUARD_STORM_SECONDS", "60"))
SEED = os.environ.get("SOCKGUARD_STORM_SEED")


class Storm(harness.Case):
    def storm(self, seconds, *words):
        if SEED:
            words += ("--seed", SEED)
        run = subprocess.run([STORM, "--seconds", str(seconds), "--directory", self.dir, *words],
                             capture_output=True, text=True, timeout=seconds + 60,
                             env=harness.environment(False))
        for line in run.stdout.splitlines():
            print("# " + line, flush=True)
        self.assertIn(run.returncode, (0, 1), run.stderr)
        counts = {name: int(count) for name, count in
                  re.findall(r"^(\S.*?) +(\d+)$", run.stdout, re.MULTILINE)}
        return run, counts

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


if __name__ == "__main__":
    raise SystemExit(harness.main())
