"""How many additional system calls the guard makes: the price of a program's call.

docs/price.md promises the price of calls without a pathname socket. For calls with one, and for the
start of a program, the numbers below are what the guard needs now. They may fall, but must not
rise.
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
EMPTY_LIBRARY = os.path.join(harness.BUILD, "tests", "bench", ".libs", "empty.so")

# The promised number of additional calls in each situation without a pathname socket.
FIXED_PRICES = {
    "unlink a file": 1, "unlink an absent path": 1, "unlink a symlink": 1,
    "unlink a directory": 1,
    "unlinkat a file": 1, "unlinkat an absent path": 1, "unlinkat a symlink": 1,
    "unlinkat a directory": 1, "unlinkat AT_REMOVEDIR": 0,
    "remove a file": 1, "remove an absent path": 1, "remove a symlink": 1,
    "remove a directory": 1,
    "rename a file": 2, "rename a file over a file": 2, "rename an absent path": 2,
    "rename a directory": 2, "rename a symlink": 2, "renameat a file": 2,
    "renameat2 two files exchanged": 2,
    "link a file": 2, "linkat a file": 2, "link an absent path": 2,
    "bind AF_INET": 1,
}

# Calls that programs make by the million, and to which the guard adds nothing.
NO_ADDITIONAL_CALLS = ("other calls", "fork and wait")

# The maximum of additional calls in each situation with a Unix socket. For each path, three of them
# open the directory, check whether strangers may create files there, and close it.
MAX_PRICES = {
    "bind an abstract address": 2,
    "bind without a path (autobind)": 1,
    "bind a path": 22,
    "bind a path that is a file": 15,
    "bind over a stale path": 41,
    "bind a live path, refused": 20,
    "unlink own socket": 19,
    "unlink a stale path": 20,
    "rename own socket": 31,
    "link own socket": 30,
    "rename a live socket, refused": 64,
    "unlink a live socket, refused": 51,
}

# The additional calls of a program that starts with three open descriptors, compared with
# preloading a library that does nothing. Before glibc 2.34, the loader also loads libdl, for dlsym. As
# linked on Debian 11, the library's .bss extends to another page, which takes one more mmap. As linked
# on Ubuntu 20.04, there is a gap between its segments, which takes one more mprotect.
MAX_PRICE_OF_START = 65
LIBDL_PRICE = 9 + 1

# The errno in the situations in which the guard changes it.
CHANGED_RESULTS = {
    "bind over a stale path": 0,
    "bind a live path, refused": errno.EADDRINUSE,
    "rename a live socket, refused": errno.EADDRINUSE,
    "unlink a live socket, refused": errno.EADDRINUSE,
}


class SystemCallPrices(SocketCase):
    """Runs each situation under strace, once with the guard and once without."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.measured = {}

    def measurements_with(self, library):
        """Returns the counted calls and the errno of each situation. Measures only the first
        time."""
        if library not in self.measured:
            owner = Actor(self, guard=True)
            owner.serve(self.path)
            self.measured[library] = tally.of_situations(
                TALLY, self.dir, self.path, harness.environment(False), library)
            owner.exit()
            for name in (self.path, self.lock_file_path()):
                if os.path.lexists(name):
                    os.unlink(name)
        return self.measured[library]

    def additional_calls(self, situation):
        """Returns the number of additional calls, and a text that lists all calls."""
        with_guard = self.measurements_with(harness.LIBRARY)[0][situation]
        without = self.measurements_with(None)[0][situation]
        number = sum(with_guard.values()) - sum(without.values())
        return number, f"{situation}: {with_guard} with the guard, {without} without"

    def test_every_situation_is_measured(self):
        expected = {*FIXED_PRICES, *NO_ADDITIONAL_CALLS, *MAX_PRICES}
        self.assertEqual(expected, set(self.measurements_with(None)[0]))
        self.assertEqual(expected, set(self.measurements_with(harness.LIBRARY)[0]))

    def test_situations_have_the_expected_result(self):
        without = self.measurements_with(None)[1]
        with_guard = self.measurements_with(harness.LIBRARY)[1]
        self.assertEqual(with_guard, {**without, **CHANGED_RESULTS})

    def test_calls_without_a_socket(self):
        for situation, price in FIXED_PRICES.items():
            with self.subTest(situation):
                count, which = self.additional_calls(situation)
                self.assertLessEqual(count, price, which)

    def test_other_calls_have_no_price(self):
        for situation in NO_ADDITIONAL_CALLS:
            with self.subTest(situation):
                count, which = self.additional_calls(situation)
                self.assertEqual(count, 0, which)

    def test_calls_on_sockets(self):
        for situation, price in MAX_PRICES.items():
            with self.subTest(situation):
                count, which = self.additional_calls(situation)
                self.assertLessEqual(count, price, which)

    def test_start(self):
        env = harness.environment(False)
        with_guard = tally.of_start(self.dir, env, harness.LIBRARY)
        empty = tally.of_start(self.dir, env, EMPTY_LIBRARY)
        with open(harness.LIBRARY, "rb") as library:
            allowed = MAX_PRICE_OF_START + LIBDL_PRICE * (b"libdl.so.2" in library.read())
        self.assertLessEqual(sum(with_guard.values()) - sum(empty.values()), allowed,
                             f"{with_guard} with the guard, {empty} with an empty library")


# RIVAL CLAIMED: makes calls of every kind on own sockets, on the live socket RIVAL, and on the
# absent path CLAIMED, which another process claims.
MAKE_ALL_CALLS = """
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

TRACED_CALLS = \
    "open,openat,openat2,socket,accept,accept4,dup,dup2,dup3,fcntl,pipe,pipe2,memfd_create"
CREATES_DESCRIPTOR = re.compile(r"^\d*\s*(?!fcntl)\w+\(|F_DUPFD")


@unittest.skipUnless(shutil.which("strace"), "strace is not installed")
class CloseOnExec(SocketCase):
    """A program started during a call inherits none of the guard's descriptors."""

    def trace_descriptors(self, guard):
        """Returns the calls that created a descriptor, and the errnos of the calls to be
        refused."""
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
            ["strace", "-o", log, "-e", "trace=" + TRACED_CALLS, *preload,
             sys.executable, "-c", MAKE_ALL_CALLS, self.path, claimed],
            env=env, cwd=work, stdout=subprocess.PIPE, text=True, check=True)
        with open(log) as lines:
            calls = lines.read().split("here the calls begin", 1)[1].splitlines()[1:]
        created = [call for call in calls
                   if CREATES_DESCRIPTOR.search(call) and " = -1 " not in call]
        return created, [int(number) for number in done.stdout.split()]

    def test_every_descriptor_of_the_guard_is_close_on_exec(self):
        created, errnos = self.trace_descriptors(guard=True)
        self.assertEqual(errnos, [errno.EADDRINUSE] * 3)
        for kind in ("O_PATH", "sockguard", "SOCK_DGRAM", "AF_NETLINK", "F_DUPFD", "boot_id"):
            self.assertTrue(any(kind in call for call in created), f"{kind} in {created}")
        self.assertEqual([call for call in created if "CLOEXEC" not in call], [])

    def test_none_of_these_descriptors_without_the_guard(self):
        created, errnos = self.trace_descriptors(guard=False)
        self.assertEqual(errnos, [0, 0, 0])
        self.assertFalse(any("sockguard" in call or "NETLINK" in call for call in created), created)


if __name__ == "__main__":
    sys.exit(harness.main())
