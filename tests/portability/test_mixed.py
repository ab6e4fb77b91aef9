"""Two builds of the library, for two libcs or two architectures, on one socket path.

SOCKGUARD_BUILD and SOCKGUARD_OTHER are the build directories. If SOCKGUARD_PREFIX is set, both
builds are installed there, each in the directory that its loader substitutes for $LIB.
"""

import errno
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "integration"))

import harness
from actor import Actor, SocketCase

BUILDS = (harness.BUILD, os.environ.get("SOCKGUARD_OTHER", harness.BUILD))
PREFIX = os.environ.get("SOCKGUARD_PREFIX")


class TwoBuilds:
    """Subclasses set owner and rival, the numbers of the builds that the two processes use."""

    def start_actor(self, build_number, guard=True):
        """Starts an actor with the library of its own build. A loader prints an error for a library
        of the other build."""
        self.addCleanup(setattr, harness, "ACTOR", harness.ACTOR)
        harness.ACTOR = os.path.join(BUILDS[build_number], "tests", "actor")
        preload = ["env", "LD_PRELOAD=" + self.library(build_number)] if guard else []
        return Actor(self, through=preload)

    def library(self, build_number):
        return os.path.join(BUILDS[build_number], ".libs", "libsockguard.so")

    def test_theft_is_refused(self):
        owner, rival = self.start_actor(self.owner), self.start_actor(self.rival)
        fd = owner.serve(self.path)
        self.assertRefused(lambda: rival.unlink(self.path), owner, fd)
        self.assertRefused(lambda: rival.rename(self.write_file("intruder"), self.path), owner, fd)
        self.assertIn(f"(pid {owner.pid}, ", rival.stderr())  # the record was read

    def test_theft_without_the_guard(self):
        owner, rival = self.start_actor(self.owner), self.start_actor(self.rival, guard=False)
        fd = owner.serve(self.path)
        self.assertStolen(lambda: rival.unlink(self.path), owner, fd)

    def test_a_claim_is_seen(self):
        owner, rival = self.start_actor(self.owner), self.start_actor(self.rival)
        owner.serve(self.path)
        os.unlink(self.path)
        fd = rival.socket("stream")
        self.assertEqual(rival.bind(fd, self.path), errno.EADDRINUSE)
        owner.kill()
        self.assertEqual(rival.bind(fd, self.path), 0)

    def test_a_start_after_a_crash(self):
        self.start_actor(self.owner).serve(self.path)
        for process in self._started:
            process.kill()
            process.wait()
        rival = self.start_actor(self.rival)
        self.assertEqual(rival.unlink(self.path), 0)
        self.assertServes(rival, rival.serve(self.path))
        self.assertEqual(rival.unlink(self.path), 0)
        self.assertEqual(self.names(), [])


class ByLibPattern(TwoBuilds):
    """One LD_PRELOAD for both builds: each loader chooses the library for its architecture."""

    def library(self, build_number):
        return os.path.join(PREFIX, "$LIB", "libsockguard.so")

    def test_each_program_loads_its_own_library(self):
        for build_number, build in enumerate(BUILDS):
            program = self.start_actor(build_number)
            self.assertNotIn("ERROR", program.stderr())
            with open(f"/proc/{program.pid}/maps") as maps:
                loaded = {line.split()[-1] for line in maps if "libsockguard.so" in line}
            self.assertEqual(len(loaded), 1, loaded)
            with open(loaded.pop(), "rb") as mine, open(program_of(build), "rb") as actor:
                self.assertEqual(mine.read(20)[4:6], actor.read(20)[4:6])


def program_of(build):
    return os.path.join(build, "tests", "actor")


for owner in (0, 1):
    name = "TheOtherComesFirst" if owner else "TheOtherComesLater"
    roles = {"owner": owner, "rival": 1 - owner, "__module__": __name__}
    globals()[name] = type(name, (TwoBuilds, SocketCase), roles)
    if PREFIX:
        globals()[name + "ByLib"] = type(name + "ByLib", (ByLibPattern, SocketCase), roles)

if __name__ == "__main__":
    sys.exit(harness.main())
