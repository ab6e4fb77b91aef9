"""Some servers and systemd units of the compatibility matrix, tests/matrix."""

import concurrent.futures
import os
import re
import sys
import unittest

import harness

sys.path.insert(0, os.path.join(harness.SOURCE, "tests", "matrix"))

import matrix  # noqa: E402
import units  # noqa: E402

SERVERS = ("redis-server", "memcached", "nginx", "haproxy", "haproxy -Ws", "php-fpm", "unicorn",
           "supervisord", "socat UNIX-RECV", "ssh-agent", "busybox syslogd", "Go test program")
UNITS = ("started twice, under two names", "killed with -9, with Restart=on-failure",
         "ExecStartPre=/bin/rm -f on the socket path, while the first serves",
         "ExecStartPre=/bin/rm -f on the socket path, after kill -9",
         "DynamicUser=, started twice",
         "socket-activated, the service restarted while a client polls")
JOBS = 3


class Servers(unittest.TestCase):
    """Each server works under the guard at least as well as without, and loses no socket path."""

    def _check_row(self, name):
        server, = matrix.chosen([name])
        if matrix.installed_version(server) is None:
            self.skipTest(f"{', '.join(server.packages)}: not installed")
        row = _rows.result_of(name)
        for before, after in zip(row.unguarded, row.guarded):
            print(f"# {before.text}" + f" -> {after.text}" * (before.text != after.text))
        if row.skipped:
            self.skipTest(row.skipped)
        self.assertEqual(row.complaints(), [])


def _add_tests():
    for name in [*SERVERS, *("systemd: " + unit for unit in UNITS)]:
        def test(self, name=name):
            self._check_row(name)
        test.__doc__ = f"{name}: no worse under the guard, and no theft"
        label = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
        setattr(Servers, "test_" + label, test)


class _Rows:
    """The rows of the matrix for SERVERS and UNITS. The first call of result_of() starts all of
    them, a few at a time."""

    def __init__(self):
        self._futures = None  # a future, and the row's number in its result or None, for each name

    def _begin(self):
        library = matrix.public_copy(harness.LIBRARY)
        pool = concurrent.futures.ThreadPoolExecutor(JOBS)
        wanted = [matrix.chosen(["systemd: " + unit])[0] for unit in UNITS]
        under_systemd = pool.submit(units.measure_all, wanted, library, lambda row: row)
        self._futures = {"systemd: " + unit: (under_systemd, number)
                         for number, unit in enumerate(UNITS)}
        for name in SERVERS:
            server, = matrix.chosen([name])
            self._futures[name] = (pool.submit(matrix.measure, server, library, False), None)

    def result_of(self, name):
        """Returns the row of this name, when it has been measured."""
        if self._futures is None:
            self._begin()
        future, number = self._futures[name]
        return future.result() if number is None else future.result()[number]


_rows = _Rows()
_add_tests()

if __name__ == "__main__":
    raise SystemExit(harness.main())
