"""The price in system calls: what a call of a program makes more with the guard than without it.

Where no pathname socket is involved the price is fixed. Where one is, and at the start, what stands
below is what was reached: it may be lowered, and must not creep up again.
"""

import errno
import os
import re
import shutil
import subprocess
import sys
import unittest

import harness
from actor import Actor, SocketCase

sys.path.insert(0, os.path.join(harness.SOURCE, "tests", "bench"))
import tally  # noqa: E402

TALLY = os.path.join(harness.BUILD, "tests", "bench", "tally")
EMPTY = os.path.join(harness.BUILD, "tests", "bench", ".libs", "empty.so")

# Situations whose price is promised: how many more.
NO_SOCKET = {
    "unlink a file": 1, "unlink an absent name": 1, "unlink a symlink": 1,
    "unlink a directory": 1,
    "unlinkat a file": 1, "unlinkat an absent name": 1, "unlinkat a symlink": 1,
    "unlinkat a directory": 1, "unlinkat AT_REMOVEDIR": 0,
    "remove a file": 1, "remove an absent name": 1, "remove a symlink": 1,
    "remove a directory": 1,
    "rename a file": 2, "rename a file over a file": 2, "rename an absent name": 2,
    "rename a directory": 2, "rename a symlink": 2, "renameat a file": 2,
    "renameat2 two files exchanged": 2,
    "link a file": 2, "linkat a file": 2, "link an absent name": 2,
    "bind AF_INET": 1,
}

# Programs make these by the million, and the guard has no part in them.
FREE = ("other calls", "fork and wait")

# Situations with a Unix socket: at most so many more, as it stands. Three of them, for each name,
# open its directory, look whether strangers may create names there, and close it.
AT_MOST = {
    "bind an abstract name": 2,
    "bind no name (autobind)": 1,
    "bind a path": 22,
    "bind a path that is a file": 15,
    "bind over a stale name": 41,
    "bind a live path, refused": 20,
    "unlink own socket": 19,
    "unlink a stale name": 20,
    "rename own socket": 31,
    "link own socket": 30,
    "rename a live socket, refused": 63,
    "unlink a live socket, refused": 50,
}

AT_START = 65  # more than with a library that does nothing; three descriptors are open

# What these come to with the guard is its doing; every other call comes to the same.
OUTCOMES = {
    "bind over a stale name": 0,
    "bind a live path, refused": errno.EADDRINUSE,
    "rename a live socket, refused": errno.EADDRINUSE,
    "unlink a live socket, refused": errno.EADDRINUSE,
}


class Price(SocketCase):
    """Each situation once with the guard and once without, under strace."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.taken = {}

    def taken_with(self, library):
        """Counts and errnos by situation, taken once for all tests."""
        if library not in self.taken:
            owner = Actor(self, guard=True)
            owner.serve(self.path)
            self.taken[library] = tally.of_situations(
                TALLY, self.dir, self.path, harness.environment(False), library)
            owner.exit()
            for name in (self.path, self.lock()):
                if os.path.lexists(name):
                    os.unlink(name)
        return self.taken[library]

    def more(self, situation):
        """How many more, and which."""
        with_guard = self.taken_with(harness.LIBRARY)[0][situation]
        without = self.taken_with(None)[0][situation]
        return with_guard.total() - without.total(), f"{situation}: {with_guard} for {without}"

    def test_every_situation_is_told(self):
        told = {*NO_SOCKET, *FREE, *AT_MOST}
        self.assertEqual(told, set(self.taken_with(None)[0]))
        self.assertEqual(told, set(self.taken_with(harness.LIBRARY)[0]))

    def test_situations_are_what_they_are_called(self):
        without = self.taken_with(None)[1]
        with_guard = self.taken_with(harness.LIBRARY)[1]
        self.assertEqual(with_guard, {**without, **OUTCOMES})

    def test_calls_on_what_is_no_socket(self):
        for situation, promised in NO_SOCKET.items():
            with self.subTest(situation):
                count, which = self.more(situation)
                self.assertLessEqual(count, promised, which)

    def test_every_other_call_is_free(self):
        for situation in FREE:
            with self.subTest(situation):
                count, which = self.more(situation)
                self.assertEqual(count, 0, which)

    def test_calls_on_sockets(self):
        for situation, most in AT_MOST.items():
            with self.subTest(situation):
                count, which = self.more(situation)
                self.assertLessEqual(count, most, which)

    def test_start(self):
        env = harness.environment(False)
        with_guard = tally.of_start(self.dir, env, harness.LIBRARY)
        empty = tally.of_start(self.dir, env, EMPTY)
        self.assertLessEqual(with_guard.total() - empty.total(), AT_START,
                             f"{with_guard} for {empty}")


# Calls of every kind on sockets of its own and of a rival's.
BUSY = """
import os, socket, sys
rival, claimed = sys.argv[1:]
try:
    os.open("here the calls begin", os.O_RDONLY)
except OSError:
    pass
stale = socket.socket(socket.AF_UNIX)
stale.bind("stale")
stale.close()
again = socket.socket(socket.AF_UNIX)
again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
try:
    again.bind("stale")
except OSError:
    pass
own = socket.socket(socket.AF_UNIX)
own.bind("own")
os.link("own", "other")
os.rename("other", "another")
def expect_refusal(act):
    try:
        act()
    except OSError as error:
        print(error.errno)
    else:
        print(0)
expect_refusal(lambda: os.unlink(rival))
expect_refusal(lambda: os.rename("own", rival))
expect_refusal(lambda: socket.socket(socket.AF_UNIX).bind(claimed))
os.unlink("another")
if os.path.exists("own"):  # the guard refused the rename
    os.unlink("own")
"""

DESCRIPTORS = "open,openat,openat2,socket,accept,accept4,dup,dup2,dup3,fcntl,pipe,pipe2,memfd_create"
MAKES_ONE = re.compile(r"^\d*\s*(?!fcntl)\w+\(|F_DUPFD")


@unittest.skipUnless(shutil.which("strace"), "strace is not installed")
class CloseOnExec(SocketCase):
    """A program that is started meanwhile inherits none of the guard's descriptors."""

    def trace(self, guard):
        """The calls that made a descriptor, and the errnos of the refused ones."""
        log = os.path.join(self.dir, "strace")
        rival = Actor(self, guard=True)
        rival.serve(self.path)
        claimant = Actor(self, guard=True)
        claimed = os.path.join(self.dir, "claimed")
        claimant.serve(claimed)
        os.unlink(claimed)
        env = harness.environment(guard)
        preload = [f"-ELD_PRELOAD={env.pop('LD_PRELOAD')}"] if guard else []
        work = os.path.join(self.dir, "work")
        os.mkdir(work)
        done = subprocess.run(
            ["strace", "-o", log, "-e", "trace=" + DESCRIPTORS, *preload,
             sys.executable, "-c", BUSY, self.path, claimed],
            env=env, cwd=work, stdout=subprocess.PIPE, text=True, check=True)
        with open(log) as lines:
            calls = lines.read().split("here the calls begin", 1)[1].splitlines()[1:]
        made = [call for call in calls if MAKES_ONE.search(call) and " = -1 " not in call]
        return made, [int(number) for number in done.stdout.split()]

    def test_every_descriptor_of_the_guard_is_close_on_exec(self):
        made, errnos = self.trace(guard=True)
        self.assertEqual(errnos, [errno.EADDRINUSE] * 3)
        for kind in ("O_PATH", "sockguard", "SOCK_DGRAM", "AF_NETLINK", "F_DUPFD", "boot_id"):
            self.assertTrue(any(kind in call for call in made), f"{kind} in {made}")
        self.assertEqual([call for call in made if "CLOEXEC" not in call], [])

    def test_without_the_guard_there_are_none_of_these(self):
        made, errnos = self.trace(guard=False)
        self.assertEqual(errnos, [0, 0, 0])
        self.assertFalse(any("sockguard" in call or "NETLINK" in call for call in made), made)


if __name__ == "__main__":
    sys.exit(harness.main())
