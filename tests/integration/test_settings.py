"""Each SOCKGUARD_ variable has its documented effect. An invalid value causes only a warning."""

import errno
import os
import re
import socket
import sys

import harness
from actor import Actor, SocketCase, needs_root


REMOVE = "unlink" if harness.SUPERVISED else "remove"
# sockguard run, which starts every supervisor, prints this line. The library does not.
DISABLED = r"sockguard: \S*actor will not be guarded: .*\n" if harness.SUPERVISED else ""


class Settings(SocketCase):
    """The owner has the default settings, and the rival has those under test."""

    def setUp(self):
        super().setUp()
        self.owner = Actor(self, guard=True)
        self.fd = self.owner.serve(self.path)
        self.log = os.path.join(self.dir, "log")

    def rival(self, **settings):
        return Actor(self, guard=True, settings=settings)

    def refusal(self, rival, verb="unlink", path=None):
        """A pattern that matches the message about the refusal."""
        return (rf"sockguard: actor\[{rival.pid}\]: {verb}\(\"{re.escape(path or self.path)}\"\) "
                rf"refused with EADDRINUSE: in use by actor \(pid {self.owner.pid}, "
                rf"uid {os.geteuid()}\)")

    def assertProtected(self, rival):
        self.assertRefused(lambda: rival.unlink(self.path), self.owner, self.fd)

    def assertUnprotected(self, rival):
        self.assertStolen(lambda: rival.unlink(self.path), self.owner, self.fd)

    # No variable is set.

    def test_a_refusal_is_reported_in_one_line(self):
        rival = self.rival()
        self.assertProtected(rival)
        self.assertRegex(rival.stderr(), rf"\A{self.refusal(rival)}\n\Z")
        self.assertEqual(self.owner.stderr(), "")

    def test_the_report_names_the_call(self):
        """A supervisor reports remove(3) as unlink, because it sees only the system call."""
        rival = self.rival()
        here = rival.open_directory(self.dir)
        self.assertEqual(rival.remove(self.path), errno.EADDRINUSE)
        self.assertEqual(rival.unlinkat(here, "app.sock"), errno.EADDRINUSE)
        self.assertEqual(rival.rename(self.path, self.path + "x"), errno.EADDRINUSE)
        lines = rival.stderr().splitlines()
        self.assertEqual(len(lines), 3)
        self.assertRegex(lines[0], rf"\A{self.refusal(rival, REMOVE)}\Z")
        self.assertRegex(lines[1], r"unlinkat\(\".*app\.sock\"\) refused with EADDRINUSE: in use")
        self.assertRegex(lines[2], rf"\A{self.refusal(rival, 'rename')}\Z")

    def test_a_refusal_is_reported_if_the_owner_is_unguarded(self):
        other = os.path.join(self.dir, "other")
        Actor(self).serve(other)
        rival = self.rival()
        self.assertEqual(rival.unlink(other), errno.EADDRINUSE)
        self.assertRegex(
            rival.stderr(), r"\Asockguard: .*refused with EADDRINUSE: in use by .*\n\Z")

    def test_the_report_does_not_name_an_owner_that_has_ended(self):
        """Only a worker is alive. The process that the record names has ended."""
        self.owner.fork()
        self.owner.kill()
        rival = self.rival()
        self.assertEqual(rival.unlink(self.path), errno.EADDRINUSE)
        self.assertNotRegex(rival.stderr(), rf"\A{self.refusal(rival)}\n\Z")
        self.assertEqual(len(rival.stderr().splitlines()), 1)

    def test_the_report_is_one_line_even_if_the_path_has_newlines(self):
        """Otherwise a path could forge lines of a log."""
        path = os.path.join(self.dir, "a\nsockguard: forged\x1b[2J")
        self.owner.serve(path)
        rival = self.rival()
        self.assertEqual(rival.unlink(path), errno.EADDRINUSE)
        self.assertEqual(len(rival.stderr().splitlines()), 1)
        self.assertNotIn("\x1b", rival.stderr())

    def test_no_output_if_nothing_is_refused(self):
        rival = self.rival()
        other = os.path.join(self.dir, "other")
        self.make_stale(other)
        rival.unlink(other)
        rival.serve(other)
        rival.unlink(other)
        rival.unlink(other)
        self.assertEqual(rival.stderr(), "")

    def test_an_empty_value_is_the_same_as_no_variable(self):
        rival = self.rival(DISABLE="", ONLY="", IGNORE="", REUSE="", LOG="", DEBUG="")
        self.assertProtected(rival)
        self.assertRegex(rival.stderr(), rf"\A{self.refusal(rival)}\n\Z")

    # SOCKGUARD_DISABLE

    def test_disable_unlink_and_bind(self):
        rival = self.rival(DISABLE="1")
        self.assertUnprotected(rival)
        rival.serve(os.path.join(self.dir, "other"))
        self.assertRegex(rival.stderr(), rf"\A{DISABLED}\Z")
        self.assertNotIn(".other.sockguard", self.names())

    def calls_that_remove(self, rival):
        """Each call that removes the owner's path, except unlink."""
        here, other = rival.open_directory(self.dir), os.path.join(self.dir, "other")
        yield lambda: rival.unlinkat(here, "app.sock")
        yield lambda: rival.remove(self.path)
        yield lambda: rival.rename(self.path, other)
        yield lambda: rival.renameat(here, "app.sock", here, "other")
        if rival.renameat2(-1, "", -1, "", 0) != errno.ENOSYS:  # some libcs have no renameat2
            yield lambda: rival.renameat2(here, "app.sock", here, "other", 0)

    def test_disable_other_calls_that_remove(self):
        rival = self.rival(DISABLE="1")
        for call in self.calls_that_remove(rival):
            self.assertStolen(call, self.owner, self.fd)
            self.owner.kill()
            for name in self.names():
                os.unlink(os.path.join(self.dir, name))
            self.owner = Actor(self, guard=True)
            self.fd = self.owner.serve(self.path)
        self.assertRegex(rival.stderr(), rf"\A{DISABLED}\Z")

    def test_without_disable_other_calls_that_remove(self):
        rival = self.rival(DISABLE="0")
        for call in self.calls_that_remove(rival):
            self.assertRefused(call, self.owner, self.fd)

    def names_after_links(self, **settings):
        """Makes two links to the owner's socket. Returns the names in the directory."""
        rival = self.rival(**settings)
        here = rival.open_directory(self.dir)
        self.assertEqual(rival.link(self.path, os.path.join(self.dir, "a")), 0)
        self.assertEqual(rival.linkat(here, "app.sock", here, "b"), 0)
        return self.names()

    def test_disable_links(self):
        self.assertEqual(self.names_after_links(DISABLE="1"),
                         [".app.sock.sockguard", "a", "app.sock", "b"])

    def test_without_disable_links(self):
        self.assertEqual(self.names_after_links(),
                         [".a.sockguard", ".app.sock.sockguard", ".b.sockguard",
                          "a", "app.sock", "b"])

    def count_inherited_claims(self, **settings):
        """The number of claims of a process that inherits the owner's listening socket."""
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with near, far:
            self.owner.send_fd(self.owner.import_fd(near), self.fd)
            _, listeners, _, _ = socket.recv_fds(far, 16, 1)
        self.addCleanup(os.close, listeners[0])
        child = Actor(self, guard=True, settings=settings, pass_fds=listeners)
        return [target for _, target in child.descriptors()].count(self.lock_file_path())

    def test_disable_adoption(self):
        self.assertEqual(self.count_inherited_claims(DISABLE="1"), 0)

    def test_without_disable_adoption(self):
        """The library adopts when it is loaded, a supervisor at the first call that it judges."""
        self.assertEqual(self.count_inherited_claims(), 0 if harness.SUPERVISED else 1)

    # SOCKGUARD_ONLY, SOCKGUARD_IGNORE

    def test_only_matches(self):
        for pattern in (self.path, self.dir + "/*", "/nowhere/*:" + self.path, "*/app.sock",
                        self.dir + "/app.soc[j-l]", self.dir + "/???.sock:/nowhere"):
            self.assertProtected(self.rival(ONLY=pattern))

    def test_only_matches_a_relative_path(self):
        """A pattern matches the absolute path, even if the program uses a relative one."""
        rival = self.rival(ONLY=self.path)
        rival.chdir(self.dir)
        here = rival.open_directory(self.dir)
        self.assertRefused(lambda: rival.unlink("app.sock"), self.owner, self.fd)
        self.assertRefused(lambda: rival.unlink("./app.sock"), self.owner, self.fd)
        self.assertRefused(lambda: rival.unlinkat(here, "app.sock"), self.owner, self.fd)

    def test_only_does_not_match(self):
        self.assertUnprotected(self.rival(ONLY="/nowhere/*:/run/*"))

    def test_ignore_matches(self):
        self.assertUnprotected(self.rival(IGNORE="/nowhere/*:" + self.dir + "/*"))

    def test_ignore_does_not_match(self):
        self.assertProtected(self.rival(IGNORE="/nowhere/*:/run/*"))

    def test_ignore_overrides_only(self):
        self.assertUnprotected(self.rival(ONLY=self.dir + "/*", IGNORE=self.path))

    def test_ignored_socket_has_no_lock_file(self):
        other = os.path.join(self.dir, "other")
        self.rival(IGNORE=other).serve(other)
        self.assertNotIn(".other.sockguard", self.names())

    # SOCKGUARD_LOG

    def test_log_stderr(self):
        rival = self.rival(LOG="stderr")
        self.assertProtected(rival)
        self.assertRegex(rival.stderr(), rf"\A{self.refusal(rival)}\n\Z")

    def test_log_none(self):
        rival = self.rival(LOG="none")
        self.assertProtected(rival)
        self.assertEqual(rival.stderr(), "")

    def test_messages_are_appended_to_the_log_file(self):
        with open(self.log, "w") as out:
            out.write("first line\n")
        for count in (1, 2):
            rival = self.rival(LOG=self.log)
            self.assertProtected(rival)
            self.assertEqual(rival.stderr(), "")
            with open(self.log) as file:
                lines = file.read().splitlines()
            self.assertEqual((lines[0], len(lines)), ("first line", 1 + count))
            self.assertRegex(lines[-1], self.refusal(rival) + r"\Z")

    def test_log_file_is_created_privately(self):
        self.assertProtected(self.rival(LOG=self.log))
        self.assertEqual(os.stat(self.log).st_mode & 0o077, 0)

    def test_log_file_cannot_be_opened(self):
        """The message is lost. The guard still refuses the call."""
        os.mkfifo(os.path.join(self.dir, "fifo"))
        for name in ("absent/log", "fifo", ""):
            self.assertProtected(self.rival(LOG=os.path.join(self.dir, name)))

    @needs_root
    def test_log_syslog(self):
        rival = self.rival(LOG="syslog")
        rival.unshare_mounts()
        rival.mount("none", "/dev", "tmpfs")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslog:
            syslog.settimeout(harness.TIMEOUT)
            syslog.bind(f"/proc/{rival.pid}/root/dev/log")
            self.assertProtected(rival)
            packet = syslog.recv(4096).decode()
        self.assertRegex(packet, r"\A<\d+>")
        self.assertRegex(packet, self.refusal(rival))
        self.assertEqual(rival.stderr(), "")

    @needs_root
    def test_log_syslog_without_syslog(self):
        rival = self.rival(LOG="syslog")
        rival.unshare_mounts()
        rival.mount("none", "/dev", "tmpfs")
        self.assertProtected(rival)
        self.assertEqual(rival.stderr(), "")

    # The program may have replaced or closed descriptor 2.

    def replace_stderr(self, rival):
        """Lets the program open a data file as descriptor 2."""
        fd = rival.open(os.path.join(self.dir, "data"), os.O_RDWR | os.O_CREAT)
        rival.dup2(fd, 2)
        rival.close(fd)

    def assert_data_file_is_empty(self, rival):
        self.assertProtected(rival)
        self.assertEqual(os.stat(os.path.join(self.dir, "data")).st_size, 0)

    def test_stderr_replaced(self):
        rival = self.rival()
        self.replace_stderr(rival)
        self.assert_data_file_is_empty(rival)
        self.assertEqual(rival.stderr(), "")

    def test_stderr_closed_and_its_number_reused(self):
        rival = self.rival(DEBUG="1")
        rival.close(2)
        before = rival.stderr()
        self.assertEqual(rival.open(os.path.join(self.dir, "data"), os.O_RDWR | os.O_CREAT), 2)
        self.assert_data_file_is_empty(rival)
        self.assertEqual(rival.stderr(), before)

    def test_stderr_closed_before_exec(self):
        rival = Actor(self, guard=True, settings={"LOG": "nonsense", "DEBUG": "1"},
                      preexec_fn=lambda: os.close(2))
        self.assertEqual(rival.open(os.path.join(self.dir, "data"), os.O_RDWR | os.O_CREAT), 2)
        self.assert_data_file_is_empty(rival)

    def test_stderr_closed(self):
        rival = self.rival()
        rival.close(2)
        self.assertProtected(rival)

    def test_stderr_restored(self):
        rival = self.rival()
        kept = rival.dup2(2, 9)
        self.replace_stderr(rival)
        self.assert_data_file_is_empty(rival)
        rival.dup2(kept, 2)
        self.assertProtected(rival)
        self.assertRegex(rival.stderr(), rf"\A{self.refusal(rival)}\n\Z")

    def test_stderr_is_a_pipe_without_a_reader(self):
        read, write = os.pipe()
        os.close(read)
        rival = Actor(self, guard=True, stderr=write)
        os.close(write)
        self.assertProtected(rival)

    def test_stderr_is_a_full_pipe(self):
        """A refusal does not block."""
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

    # If a refusal cannot be logged to its destination, it is logged to syslog.

    def assert_sent_to_syslog(self, rival, *refusals):
        """Makes a refused call, and compares the datagrams that syslog receives."""
        rival.unshare_mounts()
        rival.mount("none", "/dev", "tmpfs")
        received = []
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslog:
            syslog.bind(f"/proc/{rival.pid}/root/dev/log")
            syslog.setblocking(False)
            self.assertProtected(rival)
            while True:
                try:
                    received.append(syslog.recv(4096).decode())
                except BlockingIOError:
                    break
        self.assertEqual(len(received), len(refusals), received)
        for packet, refusal in zip(received, refusals):
            self.assertRegex(packet, rf"\A<28>{refusal}\Z")

    @needs_root
    def test_syslog_if_stderr_was_replaced(self):
        rival = self.rival()
        self.replace_stderr(rival)
        self.assert_sent_to_syslog(rival, self.refusal(rival))
        self.assertEqual(os.stat(os.path.join(self.dir, "data")).st_size, 0)

    @needs_root
    def test_syslog_if_stderr_is_dev_null(self):
        """A daemon opens /dev/null as descriptor 2, where the refusal would be lost."""
        rival = self.rival()
        null = rival.open("/dev/null", os.O_RDWR)
        rival.dup2(null, 2)
        rival.close(null)
        self.assert_sent_to_syslog(rival, self.refusal(rival))

    @needs_root
    def test_syslog_if_stderr_was_closed(self):
        rival = self.rival(DEBUG="1")  # debug messages are not sent to syslog
        rival.close(2)
        self.assert_sent_to_syslog(rival, self.refusal(rival))

    @needs_root
    def test_syslog_if_stderr_cannot_be_written(self):
        read, write = os.pipe()
        os.close(read)
        rival = Actor(self, guard=True, stderr=write)
        os.close(write)
        self.assert_sent_to_syslog(rival, self.refusal(rival))

    @needs_root
    def test_syslog_if_the_log_file_cannot_be_opened(self):
        for name in ("absent/log", ""):
            rival = self.rival(LOG=os.path.join(self.dir, name))
            self.assert_sent_to_syslog(rival, self.refusal(rival))
            self.assertEqual(rival.stderr(), "")

    @needs_root
    def test_no_syslog_if_the_message_was_written(self):
        self.assert_sent_to_syslog(self.rival())
        self.assert_sent_to_syslog(self.rival(LOG=self.log))

    @needs_root
    def test_no_syslog_if_log_is_none(self):
        rival = self.rival(LOG="none")
        rival.close(2)
        self.assert_sent_to_syslog(rival)

    # Empty patterns in a list

    def test_an_empty_pattern_matches_nothing(self):
        """The other patterns in the list still apply."""
        self.assertUnprotected(self.rival(IGNORE=f":/nowhere::{self.path}:"))

    def test_an_empty_only_pattern_protects_nothing(self):
        self.assertUnprotected(self.rival(ONLY="/nowhere/*:"))

    # SOCKGUARD_DEBUG

    def test_debug_logs_the_result_of_a_bind(self):
        rival = self.rival(DEBUG="1")
        self.assertEqual(rival.bind(rival.socket("stream"), self.path), errno.EADDRINUSE)
        self.assertIn(f'bind("{self.path}") failed as without the guard: the path exists',
                      rival.stderr())

    def test_debug_logs_ignored_paths(self):
        rival = self.rival(DEBUG="1", IGNORE=self.path)
        self.assertEqual(rival.unlink(self.path), 0)
        self.assertEqual(rival.bind(rival.socket("stream"), self.path), 0)
        messages = rival.stderr()
        for verb in ("unlink", "bind"):
            self.assertIn(f'{verb}("{self.path}") allowed: a setting excludes the path', messages)

    def test_debug_logs_every_decision(self):
        rival = self.rival(DEBUG="1")
        other = os.path.join(self.dir, "other")
        self.make_stale(other)
        self.assertProtected(rival)
        self.assertEqual(rival.unlink(other), 0)
        lines = rival.stderr().splitlines()
        for line in lines:
            self.assertRegex(line, r"\Asockguard: ")
        self.assertTrue([line for line in lines if re.search(self.refusal(rival) + r"\Z", line)])
        self.assertTrue([line for line in lines if f'unlink("{other}")' in line], lines)

    # For the valid values of SOCKGUARD_REUSE, see test_reuse.py.

    # For an invalid value, the guard warns once and uses the default.

    def assert_one_warning(self, rival, variable, others=0):
        lines = rival.stderr().splitlines()
        warnings = [line for line in lines if variable in line]
        self.assertEqual((len(warnings), len(lines)), (1, 1 + others), lines)
        self.assertRegex(warnings[0], r"\Asockguard: ")

    def assert_invalid(self, variable, *values):
        for value in values:
            rival = self.rival(**{variable: value})
            self.assertProtected(rival)
            self.assert_one_warning(rival, "SOCKGUARD_" + variable, others=1)

    def test_invalid_disable(self):
        self.assert_invalid("DISABLE", "maybe", "11", " ")

    def test_invalid_only(self):
        self.assert_invalid("ONLY", "app.sock", "/nowhere/*:app.sock", "x" * 100_000)

    def test_invalid_ignore(self):
        self.assert_invalid("IGNORE", "app.sock", f"{self.dir}/*:app.sock", "/" + "*" * 100_000)

    def test_invalid_log(self):
        self.assert_invalid("LOG", "relative.log", "STDERR", "/" + "x" * 100_000)
        self.assertNotIn("relative.log", os.listdir("."))

    def test_invalid_debug(self):
        self.assert_invalid("DEBUG", "loud", "2")

    def test_invalid_reuse(self):
        """The default is to replace a stale socket if the program sets SO_REUSEADDR."""
        self.assert_invalid("REUSE", "sometimes", "ALWAYS", "1")
        other = os.path.join(self.dir, "other")
        self.make_stale(other)
        rival = self.rival(REUSE="sometimes")
        fd = rival.socket("stream")
        self.assertEqual(rival.bind(fd, other), errno.EADDRINUSE)
        rival.set_reuseaddr(fd)
        self.assertEqual(rival.bind(fd, other), 0)
        self.assert_one_warning(rival, "SOCKGUARD_REUSE")

    def test_all_invalid(self):
        """One warning for each variable."""
        variables = ("DISABLE", "ONLY", "IGNORE", "REUSE", "LOG", "DEBUG")
        rival = self.rival(**dict.fromkeys(variables, "nonsense"))
        self.assertProtected(rival)
        for variable in variables:
            self.assert_one_warning(rival, "SOCKGUARD_" + variable, others=len(variables))

    def test_the_warning_is_not_repeated(self):
        """Only the first call that the guard judges causes the warning."""
        rival = self.rival(REUSE="sometimes")
        for _ in range(3):
            self.assertProtected(rival)
        self.assert_one_warning(rival, "SOCKGUARD_REUSE", others=3)


class WithoutTheGuard(SocketCase):
    """The counterpart: without the guard, the variables have no effect."""

    def test_variables_have_no_effect(self):
        owner = Actor(self)
        fd = owner.serve(self.path)
        rival = Actor(self, settings={"LOG": "nonsense", "REUSE": "always", "DEBUG": "1"})
        self.assertStolen(lambda: rival.unlink(self.path), owner, fd)
        self.assertEqual(rival.stderr(), "")


if __name__ == "__main__":
    sys.exit(harness.main())
