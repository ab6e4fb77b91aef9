"""Runs the storm, in which servers fight for a few paths and are killed while a referee checks.

SOCKGUARD_STORM_SECONDS sets the duration of each storm, and SOCKGUARD_STORM_SEED the seed. To run
storms by hand:

    tests/campaign/storm --seconds 3600 --seed 1
    tests/campaign/storm --seconds 3600 --seed 1 --hostile

One storm ends after SOCKGUARD_STORM_KILLS kills instead. SOCKGUARD_STORM=mixed runs only the storms
with supervised populations.
"""

import os
import re
import subprocess
import tempfile
import unittest

from injection import harness

STORM = os.path.join(harness.BUILD, "tests", "campaign", "storm")
SECONDS = int(os.environ.get("SOCKGUARD_STORM_SECONDS", "25"))
SEED = os.environ.get("SOCKGUARD_STORM_SEED")
# If a storm counts fewer starts or kills, it was too short to show anything. A storm of the usual
# length counts thousands, even on a busy machine.
ENOUGH = 50

unless_only_mixed = unittest.skipIf(os.environ.get("SOCKGUARD_STORM") == "mixed",
                                    "SOCKGUARD_STORM=mixed")


def has_supervisor():
    if not os.path.exists(harness.COMMAND):
        return False
    return b"syscalls" in subprocess.run([harness.COMMAND, "run", "--help"], capture_output=True,
                                         check=False).stdout


class StormCase(harness.Case):
    def storm(self, seconds, *words):
        if SEED:
            words += ("--seed", SEED)
        directory = tempfile.mkdtemp(dir=self.dir)
        os.chmod(directory, 0o755)
        run = self.run_storm(seconds + harness.TIMEOUT, "--seconds", str(seconds),
                             "--directory", directory, *words)
        for line in run.stdout.splitlines():
            print("# " + line, flush=True)
        self.assertIn(run.returncode, (0, 1), run.stderr)
        counts = {name: int(count) for name, count in
                  re.findall(r"^(\S.*?) +(\d+)$", run.stdout, re.MULTILINE)}
        return run, counts

    def run_storm(self, timeout, *words):
        """Runs the storm. Returns the CompletedProcess, with its output.

        The output goes to files, because a process that hangs could keep a pipe open after the
        end of the storm.
        """
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            def output_of(file):
                file.seek(0)
                return file.read()

            try:
                run = subprocess.run([STORM, *words], stdout=out, stderr=err, timeout=timeout,
                                     check=False, env=harness.environment(False))
            except subprocess.TimeoutExpired:
                self.fail(f"the storm does not end: {output_of(out)} {output_of(err)}")
            return subprocess.CompletedProcess(words, run.returncode, output_of(out), output_of(err))


@unless_only_mixed
class Storm(StormCase):
    def test_guarded(self):
        """guarded: no theft, no false alarm, no litter"""
        run, counts = self.storm(SECONDS, "--library", harness.LIBRARY)
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertEqual((counts["thefts"], counts["false alarms"], counts["litter"]), (0, 0, 0))
        self.assertGreater(counts["starts"], ENOUGH)
        self.assertGreater(counts["kills"], ENOUGH)

    def test_unguarded(self):
        """unguarded: the same servers steal each other's paths"""
        _, counts = self.storm(SECONDS, "--unguarded", "--until-theft")
        self.assertGreater(counts["thefts"], 0)


@unless_only_mixed
@unittest.skipUnless(os.geteuid() == 0, "needs root")
class Hostile(StormCase):
    """A process of another user creates, leases, locks and exchanges lock files during the
    storm."""

    FAILURES = ("thefts", "false alarms", "waits too long", "surprises", "crashes", "litter")

    def assert_failure_occurs(self, failures, *words):
        """One of these failures must occur within four storms. A race does not occur in each."""
        for _ in range(4):
            _, counts = self.storm(SECONDS, "--hostile", *words, "--library", harness.LIBRARY)
            if any(counts[name] for name in failures):
                return
        self.fail(f"no {' or '.join(failures)}")

    def test_guarded(self):
        """guarded: no theft, no refusal without a rival, no long wait for the neighbour's locks"""
        run, counts = self.storm(SECONDS, "--hostile", "--library", harness.LIBRARY)
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertEqual([counts[name] for name in self.FAILURES], [0] * len(self.FAILURES))
        self.assertGreater(counts["starts"], ENOUGH)
        self.assertGreater(counts["acts"], ENOUGH)

    def test_unguarded(self):
        """unguarded: the same servers steal each other's paths"""
        _, counts = self.storm(SECONDS, "--hostile", "--unguarded", "--until-theft")
        self.assertGreater(counts["thefts"], 0)

    def test_blind(self):
        """guarded, but with a filter that prevents them from finding their lock files: thefts"""
        self.assert_failure_occurs(("thefts",), "--blind", "--until-theft")

    def test_trusted(self):
        """guarded, and the neighbour is root: servers wait for its locks"""
        self.assert_failure_occurs(("waits too long", "false alarms"), "--trusted",
                                   "--until-alarm")


@unittest.skipUnless(has_supervisor(), "this build has no supervisor")
class Mixed(StormCase):
    """Preloaded, supervised and statically linked servers; supervisors are killed too."""

    KILLS = int(os.environ.get("SOCKGUARD_STORM_KILLS", "100000"))
    POPULATIONS = ("preloaded", "supervised", "static")
    FAILURES = ("thefts", "false alarms", "surprises", "crashes", "litter")

    def mixed_storm(self, command, *limits):
        linked = os.path.join(self.dir, "storm")
        sources = [os.path.join(harness.SOURCE, "tests", "campaign", name + ".c") for name in (
            "ground", "hang", "latency", "litter", "neighbour", "referee", "server", "storm", "supervisors")]
        subprocess.run(["cc", "-D_GNU_SOURCE", "-O2", "-static", "-o", linked, *sources, "-lrt"],
                       check=True)
        return self.storm(*limits, "--library", harness.LIBRARY, "--servers", "18", "--mixed",
                          command, "--static", linked)

    def guarded_storm(self, *limits):
        run, counts = self.mixed_storm(harness.COMMAND, *limits)
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertEqual([counts[name] for name in self.FAILURES], [0] * len(self.FAILURES))
        return counts

    def test_guarded(self):
        """guarded: no theft, false alarm, litter or hanging process

        On a busy machine, a population may not lose its supervisor for long. The storm is
        repeated until everything has occurred.
        """
        minimum = {"kills": ENOUGH, "abandoned": 1,
                   **{name: ENOUGH // 5 for name in (*self.POPULATIONS, "supervisors")}}
        total = dict.fromkeys(minimum, 0)
        for _ in range(10):
            counts = self.guarded_storm(max(SECONDS // 2, 1))
            total = {name: total[name] + counts[name] for name in total}
            if all(total[name] >= minimum[name] for name in total):
                return
        self.fail(f"too few: {total}")

    def test_guarded_and_killed_often(self):
        """The same, but the storm kills servers after milliseconds."""
        counts = self.guarded_storm(1200, "--kills", str(self.KILLS))
        self.assertGreaterEqual(counts["kills"], self.KILLS)

    def test_without_supervisors(self):
        """without the supervisors: thefts by and from the servers that they would guard"""
        command = os.path.join(self.dir, "sockguard")
        with open(command, "w") as script:
            script.write('#!/bin/sh\nshift 5\nexec "$@"\n')
        os.chmod(command, 0o755)
        _, counts = self.mixed_storm(command, SECONDS, "--until-theft")
        self.assertGreater(counts["thefts"], 0)


@unless_only_mixed
@unittest.skipUnless(os.geteuid() == 0, "needs root")
class SimultaneousUsers(harness.Case):
    """Two processes start at the same instant on a stale path in a directory that both may write
    to."""

    ROUNDS = 100
    USERS = os.path.join(harness.BUILD, "tests", "campaign", "users")
    FIRST, SECOND = "60101", "60102"

    def thefts(self, first, second, guard):
        run = self.run_program([self.USERS, str(self.ROUNDS), first, second, self.dir],
                               guard=guard, settings={"LOG": "none"})
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertEqual(self.names(), [])
        return int(re.search(r"^thefts (\d+)$", run.stdout, re.MULTILINE)[1])

    def test_guarded(self):
        """guarded processes of one user: no theft"""
        self.assertEqual(self.thefts(self.FIRST, self.FIRST, True), 0)

    def test_unguarded(self):
        """unguarded processes of one user: thefts

        Each run has some, except on a busy machine, where the two processes hardly overlap.
        """
        for _ in range(50):
            if self.thefts(self.FIRST, self.FIRST, False):
                return
        self.fail("no theft")

    def test_two_users(self):
        """processes of two users, which share no mutex (a known limit): both end well, and leave nothing

        The number of thefts depends on the load: without the guard the processes hardly overlap on a
        busy machine.
        """
        print(f"# thefts of {self.ROUNDS}: {self.thefts(self.FIRST, self.SECOND, True)} with the guard")


if __name__ == "__main__":
    raise SystemExit(harness.main())
