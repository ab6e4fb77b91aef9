"""SOCKGUARD_*: each variable does what it says, and nonsense does nothing but warn."""

import errno
import os
import re
import socket
import sys

import harness
from actor import Actor, SocketCase, needs_root


class Settings(SocketCase):
    """An owner with the guard's defaults, and a rival with settings of its own."""

    def setUp(self):
        super().setUp()
        self.owner = Actor(self, guard=True)
        self.fd = self.owner.serve(self.path)
        self.log = os.path.join(self.dir, "log")

    def rival(self, **settings):
        return Actor(self, guard=True, settings=settings)

    def refusal(self, rival, verb="unlink", path=None):
        """The line that tells of it, as a pattern."""
        return (rf"sockguard: actor\[{rival.pid}\]: {verb}\(\"{re.escape(path or self.path)}\"\) "
                rf"refused with EADDRINUSE: in use by actor \(pid {self.owner.pid}, "
                rf"uid {os.geteuid()}\)")

    def assertProtected(self, rival):
        self.assertRefused(lambda: rival.unlink(self.path), self.owner, self.fd)

    def assertUnprotected(self, rival):
        self.assertStolen(lambda: rival.unlink(self.path), self.owner, self.fd)

    # Nothing set.

    def test_refusal_line(self):
        rival = self.rival()
        self.assertProtected(rival)
        self.assertRegex(rival.said(), rf"\A{self.refusal(rival)}\n\Z")
        self.assertEqual(self.owner.said(), "")

    @harness.preload_only("remove(3) is unlink(2) to a supervisor")
    def test_refusal_line_of_each_call(self):
        rival = self.rival()
        here = rival.open_directory(self.dir)
        self.assertEqual(rival.remove(self.path), errno.EADDRINUSE)
        self.assertEqual(rival.unlinkat(here, "app.sock"), errno.EADDRINUSE)
        self.assertEqual(rival.rename(self.path, self.path + "x"), errno.EADDRINUSE)
        lines = rival.said().splitlines()
        self.assertEqual(len(lines), 3)
        self.assertRegex(lines[0], rf"\A{self.refusal(rival, 'remove')}\Z")
        self.assertRegex(lines[1], r"unlinkat\(\".*app\.sock\"\) refused with EADDRINUSE: in use")
        self.assertRegex(lines[2], rf"\A{self.refusal(rival, 'rename')}\Z")

    def test_refusal_names_an_unguarded_owner_or_says_that_it_cannot(self):
        other = os.path.join(self.dir, "other")
        Actor(self).serve(other)
        rival = self.rival()
        self.assertEqual(rival.unlink(other), errno.EADDRINUSE)
        self.assertRegex(rival.said(), r"\Asockguard: .*refused with EADDRINUSE: in use by .*\n\Z")

    def test_refusal_while_only_workers_live(self):
        """The record's process has ended; the line must not send anybody looking for it."""
        self.owner.fork()
        self.owner.kill()
        rival = self.rival()
        self.assertEqual(rival.unlink(self.path), errno.EADDRINUSE)
        self.assertNotRegex(rival.said(), rf"\A{self.refusal(rival)}\n\Z")
        self.assertEqual(len(rival.said().splitlines()), 1)

    def test_one_line_whatever_the_name(self):
        """No name may write lines of its own into a log."""
        path = os.path.join(self.dir, "a\nsockguard: forged\x1b[2J")
        self.owner.serve(path)
        rival = self.rival()
        self.assertEqual(rival.unlink(path), errno.EADDRINUSE)
        self.assertEqual(len(rival.said().splitlines()), 1)
        self.assertNotIn("\x1b", rival.said())

    def test_silent_where_nothing_is_refused(self):
        rival = self.rival()
        other = os.path.join(self.dir, "other")
        self.stale(other)
        rival.unlink(other)
        rival.serve(other)
        rival.unlink(other)
        rival.unlink(other)
        self.assertEqual(rival.said(), "")

    def test_empty_values_are_unset(self):
        rival = self.rival(DISABLE="", ONLY="", IGNORE="", REUSE="", LOG="", DEBUG="")
        self.assertProtected(rival)
        self.assertRegex(rival.said(), rf"\A{self.refusal(rival)}\n\Z")

    # SOCKGUARD_DISABLE

    @harness.preload_only("sockguard run says that it is disabled")
    def test_disable(self):
        rival = self.rival(DISABLE="1")
        self.assertUnprotected(rival)
        rival.serve(os.path.join(self.dir, "other"))
        self.assertEqual(rival.said(), "")
        self.assertNotIn(".other.sockguard", self.names())

    def calls_that_take(self, rival):
        """Each call that would take the owner's name away; unlink is above."""
        here, other = rival.open_directory(self.dir), os.path.join(self.dir, "other")
        yield lambda: rival.unlinkat(here, "app.sock")
        yield lambda: rival.remove(self.path)
        yield lambda: rival.rename(self.path, other)
        yield lambda: rival.renameat(here, "app.sock", here, "other")
        if rival.renameat2(-1, "", -1, "", 0) != errno.ENOSYS:  # as a libc has it without
            yield lambda: rival.renameat2(here, "app.sock", here, "other", 0)

    @harness.preload_only("sockguard run says that it is disabled")
    def test_disable_each_call_that_takes(self):
        rival = self.rival(DISABLE="1")
        for take in self.calls_that_take(rival):
            self.assertStolen(take, self.owner, self.fd)
            self.owner.kill()
            for name in self.names():
                os.unlink(os.path.join(self.dir, name))
            self.owner = Actor(self, guard=True)
            self.fd = self.owner.serve(self.path)
        self.assertEqual(rival.said(), "")

    def test_without_disable_each_call_that_takes(self):
        rival = self.rival(DISABLE="0")
        for take in self.calls_that_take(rival):
            self.assertRefused(take, self.owner, self.fd)

    def linked_names(self, **settings):
        """What there is after links to the owner's socket."""
        rival = self.rival(**settings)
        here = rival.open_directory(self.dir)
        self.assertEqual(rival.link(self.path, os.path.join(self.dir, "a")), 0)
        self.assertEqual(rival.linkat(here, "app.sock", here, "b"), 0)
        return self.names()

    def test_disable_links(self):
        self.assertEqual(self.linked_names(DISABLE="1"),
                         [".app.sock.sockguard", "a", "app.sock", "b"])

    def test_without_disable_links(self):
        self.assertEqual(self.linked_names(),
                         [".a.sockguard", ".app.sock.sockguard", ".b.sockguard", "a", "app.sock", "b"])

    def claims_of_heir(self, **settings):
        """How many claims a process has that inherits the owner's listener with exec."""
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with near, far:
            self.owner.send_fd(self.owner.take(near), self.fd)
            _, listeners, _, _ = socket.recv_fds(far, 16, 1)
        self.addCleanup(os.close, listeners[0])
        heir = Actor(self, guard=True, settings=settings, pass_fds=listeners)
        return [target for _, target in heir.descriptors()].count(self.lock())

    def test_disable_at_load(self):
        self.assertEqual(self.claims_of_heir(DISABLE="1"), 0)

    @harness.preload_only("a supervisor adopts nothing before it has to judge")
    def test_without_disable_at_load(self):
        self.assertEqual(self.claims_of_heir(), 1)

    # SOCKGUARD_ONLY, SOCKGUARD_IGNORE

    def test_only_matches(self):
        for pattern in (self.path, self.dir + "/*", "/nowhere/*:" + self.path, "*/app.sock",
                        self.dir + "/app.soc[j-l]", self.dir + "/???.sock:/nowhere"):
            self.assertProtected(self.rival(ONLY=pattern))

    def test_only_matches_a_relative_path(self):
        """A pattern means the absolute path, however the program says it."""
        rival = self.rival(ONLY=self.path)
        rival.chdir(self.dir)
        here = rival.open_directory(self.dir)
        self.assertRefused(lambda: rival.unlink("app.sock"), self.owner, self.fd)
        self.assertRefused(lambda: rival.unlink("./app.sock"), self.owner, self.fd)
        self.assertRefused(lambda: rival.unlinkat(here, "app.sock"), self.owner, self.fd)

    def test_only_others(self):
        self.assertUnprotected(self.rival(ONLY="/nowhere/*:/run/*"))

    def test_ignore_matches(self):
        self.assertUnprotected(self.rival(IGNORE="/nowhere/*:" + self.dir + "/*"))

    def test_ignore_others(self):
        self.assertProtected(self.rival(IGNORE="/nowhere/*:/run/*"))

    def test_ignore_beats_only(self):
        self.assertUnprotected(self.rival(ONLY=self.dir + "/*", IGNORE=self.path))

    def test_ignored_socket_has_no_lock_file(self):
        other = os.path.join(self.dir, "other")
        self.rival(IGNORE=other).serve(other)
        self.assertNotIn(".other.sockguard", self.names())

    # SOCKGUARD_LOG

    def test_log_stderr(self):
        rival = self.rival(LOG="stderr")
        self.assertProtected(rival)
        self.assertRegex(rival.said(), rf"\A{self.refusal(rival)}\n\Z")

    def test_log_none(self):
        rival = self.rival(LOG="none")
        self.assertProtected(rival)
        self.assertEqual(rival.said(), "")

    def test_log_file(self):
        with open(self.log, "w") as out:
            out.write("what was there\n")
        for count in (1, 2):
            rival = self.rival(LOG=self.log)
            self.assertProtected(rival)
            self.assertEqual(rival.said(), "")
            with open(self.log) as file:
                lines = file.read().splitlines()
            self.assertEqual((lines[0], len(lines)), ("what was there", 1 + count))
            self.assertRegex(lines[-1], self.refusal(rival) + r"\Z")

    def test_log_file_is_made(self):
        self.assertProtected(self.rival(LOG=self.log))
        self.assertEqual(os.stat(self.log).st_mode & 0o077, 0)

    def test_log_file_impossible(self):
        """The guard's trouble, not the program's."""
        os.mkfifo(os.path.join(self.dir, "fifo"))
        for place in ("absent/log", "fifo", ""):
            self.assertProtected(self.rival(LOG=os.path.join(self.dir, place)))

    @needs_root
    def test_log_syslog(self):
        rival = self.rival(LOG="syslog")
        rival.leave_mounts()
        rival.mount("none", "/dev", "tmpfs")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslog:
            syslog.settimeout(harness.PATIENCE)
            syslog.bind(f"/proc/{rival.pid}/root/dev/log")
            self.assertProtected(rival)
            packet = syslog.recv(4096).decode()
        self.assertRegex(packet, r"\A<\d+>")
        self.assertRegex(packet, self.refusal(rival))
        self.assertEqual(rival.said(), "")

    @needs_root
    def test_log_syslog_without_syslog(self):
        rival = self.rival(LOG="syslog")
        rival.leave_mounts()
        rival.mount("none", "/dev", "tmpfs")
        self.assertProtected(rival)
        self.assertEqual(rival.said(), "")

    # Descriptor 2 belongs to the program.

    def data_file(self, rival):
        """The program's own, at descriptor 2."""
        fd = rival.open(os.path.join(self.dir, "data"), os.O_RDWR | os.O_CREAT)
        rival.dup2(fd, 2)
        rival.close(fd)

    def assertNothingWritten(self, rival):
        self.assertProtected(rival)
        self.assertEqual(os.stat(os.path.join(self.dir, "data")).st_size, 0)

    def test_stderr_replaced(self):
        rival = self.rival()
        self.data_file(rival)
        self.assertNothingWritten(rival)
        self.assertEqual(rival.said(), "")

    def test_stderr_closed_and_its_number_in_use(self):
        rival = self.rival(DEBUG="1")
        rival.close(2)
        before = rival.said()
        self.assertEqual(rival.open(os.path.join(self.dir, "data"), os.O_RDWR | os.O_CREAT), 2)
        self.assertNothingWritten(rival)
        self.assertEqual(rival.said(), before)

    def test_stderr_closed_from_the_start(self):
        rival = Actor(self, guard=True, settings={"LOG": "nonsense", "DEBUG": "1"},
                      preexec_fn=lambda: os.close(2))
        self.assertEqual(rival.open(os.path.join(self.dir, "data"), os.O_RDWR | os.O_CREAT), 2)
        self.assertNothingWritten(rival)

    def test_stderr_closed(self):
        rival = self.rival()
        rival.close(2)
        self.assertProtected(rival)

    def test_stderr_back_again(self):
        rival = self.rival()
        kept = rival.dup2(2, 9)
        self.data_file(rival)
        self.assertNothingWritten(rival)
        rival.dup2(kept, 2)
        self.assertProtected(rival)
        self.assertRegex(rival.said(), rf"\A{self.refusal(rival)}\n\Z")

    def test_stderr_is_a_pipe_nobody_reads(self):
        read, write = os.pipe()
        os.close(read)
        rival = Actor(self, guard=True, stderr=write)
        os.close(write)
        self.assertProtected(rival)

    def test_stderr_is_a_full_pipe(self):
        """A refusal waits for nobody."""
        read, write = os.pipe()
        os.set_blocking(write, False)
        try:
            while True:
                os.write(write, b"x" * 4096)
        except BlockingIOError:
            os.set_blocking(write, True)
        rival = Actor(self, guard=True, stderr=write)
        self.assertProtected(rival)
        os.close(write)
        os.close(read)

    # A refusal that cannot be written where it belongs goes to syslog.

    def assert_heard(self, rival, *refusals):
        """What syslog hears, datagram by datagram, of a call that is refused."""
        rival.leave_mounts()
        rival.mount("none", "/dev", "tmpfs")
        heard = []
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslog:
            syslog.bind(f"/proc/{rival.pid}/root/dev/log")
            syslog.setblocking(False)
            self.assertProtected(rival)
            while True:
                try:
                    heard.append(syslog.recv(4096).decode())
                except BlockingIOError:
                    break
        self.assertEqual(len(heard), len(refusals), heard)
        for packet, refusal in zip(heard, refusals):
            self.assertRegex(packet, rf"\A<28>{refusal}\Z")

    @needs_root
    def test_last_resort_where_stderr_was_replaced(self):
        rival = self.rival()
        self.data_file(rival)
        self.assert_heard(rival, self.refusal(rival))
        self.assertEqual(os.stat(os.path.join(self.dir, "data")).st_size, 0)

    @needs_root
    def test_last_resort_where_stderr_was_closed(self):
        rival = self.rival(DEBUG="1")  # what is for debugging is not worth a place in syslog
        rival.close(2)
        self.assert_heard(rival, self.refusal(rival))

    @needs_root
    def test_last_resort_where_stderr_cannot_be_written(self):
        read, write = os.pipe()
        os.close(read)
        rival = Actor(self, guard=True, stderr=write)
        os.close(write)
        self.assert_heard(rival, self.refusal(rival))

    @needs_root
    def test_last_resort_where_the_log_file_is_impossible(self):
        for place in ("absent/log", ""):
            rival = self.rival(LOG=os.path.join(self.dir, place))
            self.assert_heard(rival, self.refusal(rival))
            self.assertEqual(rival.said(), "")

    @needs_root
    def test_no_resort_where_it_was_written(self):
        self.assert_heard(self.rival())
        self.assert_heard(self.rival(LOG=self.log))

    @needs_root
    def test_no_resort_where_none_is_wanted(self):
        rival = self.rival(LOG="none")
        rival.close(2)
        self.assert_heard(rival)

    # An empty piece of a list

    def test_an_empty_pattern_matches_nothing(self):
        """The others in the list count."""
        self.assertUnprotected(self.rival(IGNORE=f":/nowhere::{self.path}:"))

    def test_an_empty_pattern_protects_nothing_else(self):
        self.assertUnprotected(self.rival(ONLY="/nowhere/*:"))

    # SOCKGUARD_DEBUG

    def test_debug_says_what_became_of_a_bind(self):
        rival = self.rival(DEBUG="1")
        self.assertEqual(rival.bind(rival.socket("stream"), self.path), errno.EADDRINUSE)
        self.assertIn(f'bind("{self.path}") failed as without the guard: the path exists',
                      rival.said())

    def test_debug_tells_ignored_paths(self):
        rival = self.rival(DEBUG="1", IGNORE=self.path)
        self.assertEqual(rival.unlink(self.path), 0)
        self.assertEqual(rival.bind(rival.socket("stream"), self.path), 0)
        said = rival.said()
        for verb in ("unlink", "bind"):
            self.assertIn(f'{verb}("{self.path}") left to libc: a setting ignores the path', said)

    def test_debug(self):
        rival = self.rival(DEBUG="1")
        other = os.path.join(self.dir, "other")
        self.stale(other)
        self.assertProtected(rival)
        self.assertEqual(rival.unlink(other), 0)
        lines = rival.said().splitlines()
        for line in lines:
            self.assertRegex(line, r"\Asockguard: ")
        self.assertTrue([line for line in lines if re.search(self.refusal(rival) + r"\Z", line)])
        self.assertTrue([line for line in lines if f'unlink("{other}")' in line], lines)

    # SOCKGUARD_REUSE with sensible values is test_reuse.py's.

    # Values that make no sense: one warning, and the default.

    def assertWarned(self, rival, variable, others=0):
        lines = rival.said().splitlines()
        warnings = [line for line in lines if variable in line]
        self.assertEqual((len(warnings), len(lines)), (1, 1 + others), lines)
        self.assertRegex(warnings[0], r"\Asockguard: ")

    def nonsense(self, variable, *values):
        for value in values:
            rival = self.rival(**{variable: value})
            self.assertProtected(rival)
            self.assertWarned(rival, "SOCKGUARD_" + variable, others=1)

    def test_nonsense_disable(self):
        self.nonsense("DISABLE", "maybe", "11", " ")

    def test_nonsense_only(self):
        self.nonsense("ONLY", "app.sock", "/nowhere/*:app.sock", "x" * 100_000)

    def test_nonsense_ignore(self):
        self.nonsense("IGNORE", "app.sock", f"{self.dir}/*:app.sock", "/" + "*" * 100_000)

    def test_nonsense_log(self):
        self.nonsense("LOG", "relative.log", "STDERR", "/" + "x" * 100_000)
        self.assertNotIn("relative.log", os.listdir("."))

    def test_nonsense_debug(self):
        self.nonsense("DEBUG", "loud", "2")

    def test_nonsense_reuse(self):
        """The default: as the program asks with SO_REUSEADDR."""
        self.nonsense("REUSE", "sometimes", "ALWAYS", "1")
        other = os.path.join(self.dir, "other")
        self.stale(other)
        rival = self.rival(REUSE="sometimes")
        fd = rival.socket("stream")
        self.assertEqual(rival.bind(fd, other), errno.EADDRINUSE)
        rival.reuse(fd)
        self.assertEqual(rival.bind(fd, other), 0)
        self.assertWarned(rival, "SOCKGUARD_REUSE")

    def test_nonsense_everywhere(self):
        """A warning each."""
        variables = ("DISABLE", "ONLY", "IGNORE", "REUSE", "LOG", "DEBUG")
        rival = self.rival(**dict.fromkeys(variables, "nonsense"))
        self.assertProtected(rival)
        for variable in variables:
            self.assertWarned(rival, "SOCKGUARD_" + variable, others=len(variables))

    def test_warned_once(self):
        """Not again at each call."""
        rival = self.rival(REUSE="sometimes")
        for _ in range(3):
            self.assertProtected(rival)
        self.assertWarned(rival, "SOCKGUARD_REUSE", others=3)


class WithoutTheGuard(SocketCase):
    """The counterpart: the variables alone change nothing."""

    def test_variables_alone(self):
        owner = Actor(self)
        fd = owner.serve(self.path)
        rival = Actor(self, settings={"LOG": "nonsense", "REUSE": "always", "DEBUG": "1"})
        self.assertStolen(lambda: rival.unlink(self.path), owner, fd)
        self.assertEqual(rival.said(), "")


if __name__ == "__main__":
    sys.exit(harness.main())
