"""Memory and descriptors: programs under valgrind, with the guard and without.

Valgrind's memcheck sees each access and each byte handed to the kernel; with --track-fds it tells
which descriptors are open at the end. The guard is to add neither an error nor a descriptor.
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
from test_gunicorn import GUNICORN, HERE, ask

AT_FDCWD = -100
SLOWLY = 240.0  # seconds to wait for what runs some fifty times slower than it does by itself


@unittest.skipUnless(shutil.which("valgrind"), "needs valgrind")
class Memcheck(SocketCase):
    def setUp(self):
        super().setUp()
        self.logs = os.path.join(self.dir, "valgrind")
        os.mkdir(self.logs)

    def start(self, argv, **popen):
        """Starts a program under valgrind; what it executes is watched too."""
        valgrind = ["valgrind", "--trace-children=yes", "--track-fds=yes", "--error-exitcode=9",
                    f"--log-file={self.logs}/%p"]
        return super().start([*valgrind, *argv], **popen)

    def reports(self):
        """Each process, which must be without an error: its descriptors at the end, claims apart.

        A claim is the guard's, and open for as long as the name is the process's own.
        """
        found = []
        for name in glob.glob(self.logs + "/*"):
            with open(name, encoding="utf-8", errors="replace") as log:
                text = log.read()
            os.unlink(name)
            errors = re.findall(r"ERROR SUMMARY: (\d+) errors", text)
            opened = re.findall(r"FILE DESCRIPTORS: (\d+) open", text)
            self.assertEqual((errors, len(opened)), (["0"], 1), text)
            claims = len(re.findall(r"Open file descriptor .*\.sockguard", text))
            found.append((int(opened[0]) - claims, claims))
        return sorted(found)

    def sockets(self, guard):
        """Every rule of the guard, by an actor, its fork, and the program it executes again."""
        actor = Actor(self, guard=guard)
        other = os.path.join(self.dir, "other")
        for kind in KINDS:
            fd = actor.serve(self.path, kind)
            self.stale(other, kind)
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

    def test_sockets(self):
        """what a program does with its own sockets"""
        self.sockets(False)
        without = self.reports()
        self.sockets(True)
        guarded = self.reports()
        self.assertEqual([program for program, _ in guarded], [program for program, _ in without])
        # The one with most, which inherited a listener when executed again, had let go of it.
        self.assertEqual(guarded[-1][1], 0)

    def test_refusals(self):
        """what is refused, and a stale name replaced"""
        Actor(self).exit()
        bare = self.reports()
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
        self.assertEqual(self.reports(), bare)

    def gunicorn(self, guard):
        """Starts one, asks it, reloads it and stops it."""
        argv = [harness.PYTHON, "-B", GUNICORN, "--bind", "unix:" + self.path, "--workers", "1",
                "--timeout", "0", "--pythonpath", HERE, "wsgi_app"]
        log = os.path.join(self.dir, "log")
        with open(log, "wb") as stderr:
            server = self.start(argv, guard=guard, env={"INSTANCE": "watched"}, stderr=stderr)
        harness.wait_until(lambda: b"Booting worker" in open(log, "rb").read(), "gunicorn",
                           SLOWLY)
        self.assertEqual(ask(self.path)[0], "watched")
        server.send_signal(signal.SIGTERM)
        self.assertEqual(server.wait(SLOWLY), 0)
        self.assertEqual(self.names(), ["log", "valgrind"])

    def test_gunicorn(self):
        """a gunicorn, from its start to its clean stop"""
        self.gunicorn(False)
        (master, _), (worker, _) = self.reports()
        self.gunicorn(True)
        self.assertEqual(self.reports(), [(master, 0), (worker, 1)])  # a fork keeps the claim


if __name__ == "__main__":
    sys.exit(harness.main())
