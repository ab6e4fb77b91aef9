"""Programs under valgrind, with the guard and without.

Valgrind's memcheck checks each memory access and each byte that is passed to the kernel. With
--track-fds, it lists the descriptors that are open when a program ends. The guard must add neither
an error nor a descriptor, except its claims.
"""

import errno
import glob
import os
import re
import shutil
import signal
import socket
import sys
import unittest

import harness
from actor import Actor, SocketCase, KINDS, RENAME_EXCHANGE
from test_gunicorn import GUNICORN, DIRECTORY, ask

AT_FDCWD = -100
VALGRIND_TIMEOUT = 3 * harness.TIMEOUT  # valgrind makes programs about 50 times slower

# Valgrind 3.24 and later report each use of a number that is not an open descriptor as an error. To
# find out how large the descriptor table is, the guard uses two numbers that may not be open. Such
# errors are not counted here, because valgrind 3.24 cannot read a suppression of this kind,
# although it prints one.
ERROR = r"== (\d+) errors in context \d+ of \d+:\n"
ERROR_FOR_PROBED_NUMBER = (ERROR + r"==\d+== File descriptor (?:64|256) .*\n"
                           r"(?:==\d+==    (?:at|by) .*\n){1,3}"
                           r"==\d+==    by \w+: descriptor_table_reaches ")
# Python 3.8 of Ubuntu 20.04, also without the guard.
ERROR_OF_PYTHON = (ERROR + r"==\d+== Conditional jump or move depends on uninitialised value.*\n"
                   r"==\d+==    at \w+: PyUnicode_Decode \(in /usr/bin/python3\.8\)\n")


def sum_of_matches(expression, text):
    """The sum of the numbers that the expression finds."""
    return sum(map(int, re.findall(expression, text)))


@unittest.skipUnless(shutil.which("valgrind"), "needs valgrind")
class Memcheck(SocketCase):
    def setUp(self):
        super().setUp()
        self.logs = os.path.join(self.dir, "valgrind")
        os.mkdir(self.logs)

    def start(self, argv, **popen):
        """Starts a program under valgrind; programs that it executes run under valgrind too."""
        valgrind = ["valgrind", "--trace-children=yes", "--track-fds=yes", "--show-error-list=yes",
                    f"--log-file={self.logs}/%p"]
        return super().start([*valgrind, *argv], **popen)

    def reports(self):
        """Reads and deletes the reports, which must contain no error.

        Returns, for each process, the numbers of descriptors that were open at its end: all except
        claims, and claims. A claim is the guard's, and is open as long as the process owns the
        path.
        """
        counts = []
        self.claims = {}
        for name in glob.glob(self.logs + "/*"):
            with open(name, encoding="utf-8", errors="replace") as log:
                text = log.read()
            os.unlink(name)
            summary = re.findall(r"ERROR SUMMARY: (\d+) errors", text)
            opened = re.findall(r"FILE DESCRIPTORS: (\d+) open", text)
            self.assertEqual((bool(summary), len(opened)), (True, 1), text)
            listed_errors = sum_of_matches(ERROR, text)
            self.assertEqual(listed_errors, sum_of_matches(ERROR_FOR_PROBED_NUMBER, text) +
                             sum_of_matches(ERROR_OF_PYTHON, text), text)
            # Valgrind 3.24 and later count open descriptors as errors, but do not list them as
            # such. Valgrind 3.27 names a socket by its family.
            possible_unlisted = {0, len(re.findall(
                r"== Open (?:file descriptor|AF_\w+ socket) \d+:", text))}
            self.assertIn(int(summary[-1]) - listed_errors, possible_unlisted, text)
            claims = len(re.findall(r"Open file descriptor .*\.sockguard", text))
            self.claims[int(os.path.basename(name))] = claims
            counts.append((int(opened[0]) - claims, claims))
        return sorted(counts)

    def use_own_sockets(self, guard):
        """Makes every call on own sockets: in an actor, in its fork, and after exec."""
        actor = Actor(self, guard=guard)
        other = os.path.join(self.dir, "other")
        for kind in KINDS:
            fd = actor.serve(self.path, kind)
            self.make_stale(other, kind)
            self.assertEqual(actor.rename(self.path, other), 0)
            self.assertEqual(actor.link(other, self.path), 0)
            self.assertEqual(actor.renameat2(AT_FDCWD, other, AT_FDCWD, self.path,
                                             RENAME_EXCHANGE), 0)
            self.assertEqual(actor.remove(other), 0)
            child = actor.fork()
            self.assertEqual(child.unlinkat(AT_FDCWD, self.path), 0)
            self.assertEqual(child.close(fd), 0)
            child.exit()
            self.assertEqual(actor.close(fd), 0)
        fd = actor.serve(self.path)
        self.assertEqual(actor.execute_again(fd), 0)
        self.assertEqual(actor.unlink(self.path), 0)
        self.assertEqual(actor.close(fd), 0)
        actor.exit()
        self.assertEqual(actor._process.returncode, 0)
        return actor._process.pid

    def test_own_sockets(self):
        """calls on a program's own sockets"""
        self.use_own_sockets(False)
        without = self.reports()
        pid = self.use_own_sockets(True)
        guarded = self.reports()
        self.assertEqual([program for program, _ in guarded], [program for program, _ in without])
        self.assertEqual(self.claims[pid], 0)  # it has unlinked its last path, after its exec

    def test_refused_calls(self):
        """refused calls, and a stale path that is replaced"""
        Actor(self).exit()
        without = self.reports()
        with socket.socket(socket.AF_UNIX) as owner:
            owner.bind(self.path)
            actor = Actor(self, guard=True, settings={"REUSE": "always"})
            before = self.identity()
            for call in (actor.unlink, actor.remove, lambda path: actor.rename(path, path + "2")):
                self.assertEqual(call(self.path), errno.EADDRINUSE)
            self.assertEqual(self.identity(), before)
        fd = actor.serve(self.path)
        self.assertServes(actor, fd)
        self.assertEqual(actor.unlink(self.path), 0)
        self.assertEqual(actor.close(fd), 0)
        actor.exit()
        self.assertEqual(self.reports(), without)

    def run_gunicorn(self, guard):
        """Starts a gunicorn, sends requests, reloads and stops it."""
        argv = [harness.PYTHON, "-B", GUNICORN, "--bind", "unix:" + self.path, "--workers", "1",
                "--timeout", "0", "--pythonpath", DIRECTORY, "wsgi_app"]
        log = os.path.join(self.dir, "log")
        with open(log, "wb") as stderr:
            server = self.start(argv, guard=guard, stderr=stderr,
                                env={"INSTANCE": "watched", "PYTHONMALLOC": "malloc"})
        harness.wait_until(lambda: b"Booting worker" in open(log, "rb").read(), "gunicorn",
                           VALGRIND_TIMEOUT)
        self.assertEqual(ask(self.path)[0], "watched")
        server.send_signal(signal.SIGTERM)
        self.assertEqual(server.wait(VALGRIND_TIMEOUT), 0)
        self.assertEqual(self.names(), ["log", "valgrind"])

    def test_gunicorn(self):
        """a gunicorn from its start to a clean stop"""
        self.run_gunicorn(False)
        *others, (worker, _) = self.reports()
        self.assertTrue(others)  # the master, and with Python 3.8 a short-lived uname
        self.run_gunicorn(True)
        self.assertEqual(self.reports(), [*others, (worker, 1)])  # a fork keeps the claim


if __name__ == "__main__":
    sys.exit(harness.main())
