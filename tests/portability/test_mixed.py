"""Two builds of the library at one path: of two libcs, or of two architectures.

SOCKGUARD_BUILD and SOCKGUARD_OTHER are their directories. With SOCKGUARD_PREFIX both are installed
there, each in the directory that its loader takes $LIB for.
"""

import errno
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "integration"))

import harness
from actor import Actor, SocketCase

BUILDS = (harness.BUILD, os.environ.get("SOCKGUARD_OTHER", harness.BUILD))
PREFIX = os.environ.get("SOCKGUARD_PREFIX")


class Mixed:
    """owner, rival: which of the builds."""

    def actor(self, which, guard=True):
        """Its libraries are its own; the loader of another would only complain."""
        self.addCleanup(setattr, harness, "ACTOR", harness.ACTOR)
        harness.ACTOR = os.path.join(BUILDS[which], "tests", "actor")
        preload = ["env", "LD_PRELOAD=" + self.library(which)] if guard else []
        return Actor(self, through=preload)

    def library(self, which):
        return os.path.join(BUILDS[which], ".libs", "libsockguard.so")

    def test_theft_is_refused(self):
        owner, rival = self.actor(self.owner), self.actor(self.rival)
        fd = owner.serve(self.path)
        self.assertRefused(lambda: rival.unlink(self.path), owner, fd)
        self.assertRefused(lambda: rival.rename(self.file("intruder"), self.path), owner, fd)
        self.assertIn(f"(pid {owner.pid}, ", rival.said())  # the record was understood

    def test_theft_without_the_guard(self):
        owner, rival = self.actor(self.owner), self.actor(self.rival, guard=False)
        fd = owner.serve(self.path)
        self.assertStolen(lambda: rival.unlink(self.path), owner, fd)

    def test_a_claim_is_seen(self):
        owner, rival = self.actor(self.owner), self.actor(self.rival)
        owner.serve(self.path)
        os.unlink(self.path)
        fd = rival.socket("stream")
        self.assertEqual(rival.bind(fd, self.path), errno.EADDRINUSE)
        owner.kill()
        self.assertEqual(rival.bind(fd, self.path), 0)

    def test_a_start_after_a_crash(self):
        self.actor(self.owner).serve(self.path)
        for process in self._started:
            process.kill()
            process.wait()
        rival = self.actor(self.rival)
        self.assertEqual(rival.unlink(self.path), 0)
        self.assertServes(rival, rival.serve(self.path))
        self.assertEqual(rival.unlink(self.path), 0)
        self.assertEqual(self.names(), [])


class ByLib(Mixed):
    """One LD_PRELOAD for all: the loader of each chooses the library of its kind."""

    def library(self, which):
        return os.path.join(PREFIX, "$LIB", "libsockguard.so")

    def test_each_has_its_own(self):
        for which, build in enumerate(BUILDS):
            program = self.actor(which)
            self.assertNotIn("ERROR", program.said())
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
    globals()[name] = type(name, (Mixed, SocketCase), roles)
    if PREFIX:
        globals()[name + "ByLib"] = type(name + "ByLib", (ByLib, SocketCase), roles)

if __name__ == "__main__":
    sys.exit(harness.main())
