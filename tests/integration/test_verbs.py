"""Calls that remove a socket path are refused if the socket is live, and allowed if it is stale."""

import errno
import os
import subprocess
import sys

import harness
from actor import RENAME_EXCHANGE, RENAME_NOREPLACE, Actor, SocketCase, define_counterparts

AT_FDCWD = -100
CLOSED_FD = 999  # not open; the kernel ignores it if the path is absolute


class RemovingCalls:
    """One test for each call that removes a path. check(call) makes it and checks the result."""

    def setUp(self):
        super().setUp()
        self.rival = Actor(self, guard=self.guard)
        self.away = os.path.join(self.dir, "away")

    def program(self, *argv):
        """Runs a program that unlinks or renames. Returns 0, EADDRINUSE, or its message."""
        if harness.FOREIGN_ACTOR:
            self.skipTest("no coreutils for the library's libc or architecture")
        ended = self.run_program(argv, guard=self.guard, stdin=subprocess.DEVNULL)
        if ended.returncode == 0:
            return 0
        return errno.EADDRINUSE if "Address already in use" in ended.stderr else ended.stderr

    def regular_file(self):
        return self.write_file("file", "not a socket")

    def directory_fd(self):
        return self.rival.open_directory(self.dir)

    def test_unlink(self):
        self.check(lambda: self.rival.unlink(self.path))

    def test_unlink_of_a_relative_path(self):
        self.rival.chdir(self.dir)
        self.check(lambda: self.rival.unlink("app.sock"))

    def test_unlink_through_a_symlinked_directory(self):
        os.symlink(self.dir, os.path.join(self.dir, "linked"))
        self.check(lambda: self.rival.unlink(os.path.join(self.dir, "linked", "app.sock")))

    def test_unlink_of_a_path_with_dots(self):
        os.mkdir(os.path.join(self.dir, "sub"))
        self.check(lambda: self.rival.unlink(os.path.join(self.dir, "sub", "..", ".", "app.sock")))

    def test_unlinkat_the_working_directory(self):
        self.rival.chdir(self.dir)
        self.check(lambda: self.rival.unlinkat(AT_FDCWD, "app.sock"))

    def test_unlinkat_the_working_directory_with_an_absolute_path(self):
        self.check(lambda: self.rival.unlinkat(AT_FDCWD, self.path))

    def test_unlinkat_a_directory(self):
        self.check(lambda: self.rival.unlinkat(self.directory_fd(), "app.sock"))

    def test_unlinkat_a_closed_descriptor_with_an_absolute_path(self):
        self.check(lambda: self.rival.unlinkat(CLOSED_FD, self.path))

    def test_remove(self):
        self.check(lambda: self.rival.remove(self.path))

    def test_rename_away(self):
        self.check(lambda: self.rival.rename(self.path, self.away))

    def test_rename_of_a_file_over_the_path(self):
        self.check(lambda: self.rival.rename(self.regular_file(), self.path))

    def test_rename_of_a_symlink_over_the_path(self):
        os.symlink("/nowhere", self.away)
        self.check(lambda: self.rival.rename(self.away, self.path))

    def test_rename_of_a_socket_over_the_path(self):
        self.rival.serve(self.away)
        self.check(lambda: self.rival.rename(self.away, self.path), replaced=True)

    def test_renameat_away(self):
        here = self.directory_fd()
        self.check(lambda: self.rival.renameat(here, "app.sock", AT_FDCWD, self.away))

    def test_renameat_of_a_file_over_the_path(self):
        self.regular_file()
        here = self.directory_fd()
        self.check(lambda: self.rival.renameat(here, "file", here, "app.sock"))

    def test_renameat2_away(self):
        self.check(lambda: self.renameat2(self.path, self.away, RENAME_NOREPLACE))

    def test_renameat2_of_a_file_over_the_path(self):
        self.check(lambda: self.renameat2(self.regular_file(), self.path, 0))

    def test_renameat2_exchange_first(self):
        self.check(lambda: self.renameat2(self.path, self.regular_file(), RENAME_EXCHANGE))

    def test_renameat2_exchange_second(self):
        self.check(lambda: self.renameat2(self.regular_file(), self.path, RENAME_EXCHANGE))

    def renameat2(self, old, new, flags):
        outcome = self.rival.renameat2(AT_FDCWD, old, AT_FDCWD, new, flags)
        if outcome == errno.ENOSYS:
            self.skipTest("this libc has no renameat2")
        return outcome

    def test_program_rm(self):
        self.check(lambda: self.program("rm", self.path))

    def test_program_rm_force(self):
        self.check(lambda: self.program("rm", "-f", self.path))

    def test_program_unlink(self):
        self.check(lambda: self.program("unlink", self.path))

    def test_program_mv_away(self):
        self.check(lambda: self.program("mv", self.path, self.away))

    def test_program_mv_over(self):
        self.check(lambda: self.program("mv", "-f", self.regular_file(), self.path))

    def test_program_ln_force(self):
        self.check(lambda: self.program("ln", "-f", self.regular_file(), self.path))

    def test_python_os_remove(self):
        self.check(lambda: self.program(harness.PYTHON, "-c",
                                        f"import os; os.remove({self.path!r})"))

    def test_python_path_unlink(self):
        self.check(lambda: self.program(harness.PYTHON, "-c",
                                        f"import pathlib; pathlib.Path({self.path!r}).unlink()"))

    def test_python_os_replace(self):
        self.check(lambda: self.program(
            harness.PYTHON, "-c", f"import os; os.replace({self.regular_file()!r}, {self.path!r})"))


class OnLivePath(RemovingCalls):
    def check(self, call, replaced=False):
        owner = Actor(self, guard=self.guard)
        fd = owner.serve(self.path)
        self.assertRefusedIfGuarded(call, owner, fd)


class OnStalePath(RemovingCalls):
    def check(self, call, replaced=False):
        owner = Actor(self, guard=self.guard)
        owner.serve(self.path)
        owner.kill()
        before = self.identity()
        self.assertEqual(call(), 0)
        if os.path.lexists(self.path):
            self.assertNotEqual(self.identity(), before)
        if replaced:
            self.assertEqual(self.rival.unlink(self.path), 0)
        self.assertEqual([name for name in self.names() if name.endswith(".sockguard")], [])


class Allowed(SocketCase):
    """Calls that leave the path of the live socket in place are allowed, or fail in the kernel."""

    def setUp(self):
        super().setUp()
        self.owner = Actor(self, guard=True)
        self.fd = self.owner.serve(self.path)
        self.rival = Actor(self, guard=True)

    def test_rename_onto_itself(self):
        self.assertEqual(self.rival.rename(self.path, self.path), 0)
        self.assertServes(self.owner, self.fd)

    def test_rename_onto_another_link_to_the_same_socket(self):
        other = os.path.join(self.dir, "other")
        os.link(self.path, other)
        self.assertEqual(self.rival.rename(other, self.path), 0)
        self.assertServes(self.owner, self.fd)
        self.assertServes(self.owner, self.fd, other)

    def test_renameat2_noreplace_over_a_live_path(self):
        """The kernel would return EEXIST. With either error, the path remains."""
        outcome = self.rival.renameat2(AT_FDCWD, self.write_file("x"), AT_FDCWD, self.path,
                                       RENAME_NOREPLACE)
        self.assertIn(outcome, (errno.EEXIST, errno.EADDRINUSE, errno.ENOSYS))
        self.assertServes(self.owner, self.fd)

    def test_link_over_a_live_path(self):
        self.assertEqual(self.rival.link(self.write_file("x"), self.path), errno.EEXIST)
        self.assertServes(self.owner, self.fd)

    def test_unlink_of_an_own_path_in_the_same_directory(self):
        other = os.path.join(self.dir, "other.sock")
        self.rival.serve(other)
        self.assertEqual(self.rival.unlink(other), 0)
        self.assertServes(self.owner, self.fd)
        self.assertEqual(self.owner.unlink(self.path), 0)
        self.assertEqual(self.names(), [])


define_counterparts(globals(), OnLivePath)
define_counterparts(globals(), OnStalePath)

if __name__ == "__main__":
    sys.exit(harness.main())
