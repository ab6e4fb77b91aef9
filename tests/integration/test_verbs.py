"""Every way to take a name away is refused while its socket lives, and none when it is dead."""

import errno
import os
import subprocess
import sys

import harness
from actor import RENAME_EXCHANGE, RENAME_NOREPLACE, Actor, SocketCase, counterparts

AT_FDCWD = -100
NOWHERE = 999  # a descriptor nobody has; an absolute path does not need it


class Verbs:
    """One method a way: self.take() does it and tells the errno."""

    def setUp(self):
        super().setUp()
        self.rival = Actor(self, guard=self.guard)
        self.away = os.path.join(self.dir, "away")

    def program(self, *argv):
        """Runs a program that removes or renames; its errno as far as it tells."""
        if harness.FOREIGN:
            self.skipTest("no coreutils for the libc or architecture of this library")
        done = self.run_program(argv, guard=self.guard, stdin=subprocess.DEVNULL)
        if done.returncode == 0:
            return 0
        return errno.EADDRINUSE if "Address already in use" in done.stderr else done.stderr

    def intruder(self):
        return self.file("intruder", "not a socket")

    def directory(self):
        return self.rival.open_directory(self.dir)

    def test_unlink(self):
        self.check(lambda: self.rival.unlink(self.path))

    def test_unlink_relative(self):
        self.rival.chdir(self.dir)
        self.check(lambda: self.rival.unlink("app.sock"))

    def test_unlink_through_a_symlinked_directory(self):
        os.symlink(self.dir, os.path.join(self.dir, "linked"))
        self.check(lambda: self.rival.unlink(os.path.join(self.dir, "linked", "app.sock")))

    def test_unlink_with_dots(self):
        os.mkdir(os.path.join(self.dir, "sub"))
        self.check(lambda: self.rival.unlink(os.path.join(self.dir, "sub", "..", ".", "app.sock")))

    def test_unlinkat_here(self):
        self.rival.chdir(self.dir)
        self.check(lambda: self.rival.unlinkat(AT_FDCWD, "app.sock"))

    def test_unlinkat_here_absolute(self):
        self.check(lambda: self.rival.unlinkat(AT_FDCWD, self.path))

    def test_unlinkat_directory(self):
        self.check(lambda: self.rival.unlinkat(self.directory(), "app.sock"))

    def test_unlinkat_directory_absolute(self):
        self.check(lambda: self.rival.unlinkat(NOWHERE, self.path))

    def test_remove(self):
        self.check(lambda: self.rival.remove(self.path))

    def test_rename_away(self):
        self.check(lambda: self.rival.rename(self.path, self.away))

    def test_rename_over(self):
        self.check(lambda: self.rival.rename(self.intruder(), self.path))

    def test_rename_over_by_a_symlink(self):
        os.symlink("/nowhere", self.away)
        self.check(lambda: self.rival.rename(self.away, self.path))

    def test_rename_over_by_a_socket(self):
        self.rival.serve(self.away)
        self.check(lambda: self.rival.rename(self.away, self.path), replaced=True)

    def test_renameat_away(self):
        self.check(lambda: self.rival.renameat(self.directory(), "app.sock", AT_FDCWD, self.away))

    def test_renameat_over(self):
        self.intruder()
        here = self.directory()
        self.check(lambda: self.rival.renameat(here, "intruder", here, "app.sock"))

    def test_renameat2_away(self):
        self.check(lambda: self.renameat2(self.path, self.away, RENAME_NOREPLACE))

    def test_renameat2_over(self):
        self.check(lambda: self.renameat2(self.intruder(), self.path, 0))

    def test_renameat2_exchange_first(self):
        self.check(lambda: self.renameat2(self.path, self.intruder(), RENAME_EXCHANGE))

    def test_renameat2_exchange_second(self):
        self.check(lambda: self.renameat2(self.intruder(), self.path, RENAME_EXCHANGE))

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
        self.check(lambda: self.program("mv", "-f", self.intruder(), self.path))

    def test_program_ln_force(self):
        self.check(lambda: self.program("ln", "-f", self.intruder(), self.path))

    def test_python_os_remove(self):
        self.check(lambda: self.program(harness.PYTHON, "-c",
                                        f"import os; os.remove({self.path!r})"))

    def test_python_path_unlink(self):
        self.check(lambda: self.program(harness.PYTHON, "-c",
                                        f"import pathlib; pathlib.Path({self.path!r}).unlink()"))

    def test_python_os_replace(self):
        self.check(lambda: self.program(
            harness.PYTHON, "-c", f"import os; os.replace({self.intruder()!r}, {self.path!r})"))


class Live(Verbs):
    def check(self, take, replaced=False):
        owner = Actor(self, guard=self.guard)
        fd = owner.serve(self.path)
        self.assertFate(take, owner, fd)


class Dead(Verbs):
    def check(self, take, replaced=False):
        owner = Actor(self, guard=self.guard)
        owner.serve(self.path)
        owner.kill()
        before = self.identity()
        self.assertEqual(take(), 0)
        if os.path.lexists(self.path):
            self.assertNotEqual(self.identity(), before)
        if replaced:
            self.assertEqual(self.rival.unlink(self.path), 0)
        self.assertEqual([name for name in self.names() if name.endswith(".sockguard")], [])


class LeaveAlone(SocketCase):
    """What takes no name away from anybody needs no leave."""

    def setUp(self):
        super().setUp()
        self.owner = Actor(self, guard=True)
        self.fd = self.owner.serve(self.path)
        self.rival = Actor(self, guard=True)

    def test_rename_onto_itself(self):
        self.assertEqual(self.rival.rename(self.path, self.path), 0)
        self.assertServes(self.owner, self.fd)

    def test_rename_onto_a_name_of_the_same_socket(self):
        other = os.path.join(self.dir, "other")
        os.link(self.path, other)
        self.assertEqual(self.rival.rename(other, self.path), 0)
        self.assertServes(self.owner, self.fd)
        self.assertServes(self.owner, self.fd, other)

    def test_noreplace_over_a_live_name(self):
        """The kernel would have said EEXIST; either answer leaves the name where it is."""
        outcome = self.rival.renameat2(AT_FDCWD, self.file("x"), AT_FDCWD, self.path,
                                       RENAME_NOREPLACE)
        self.assertIn(outcome, (errno.EEXIST, errno.EADDRINUSE, errno.ENOSYS))
        self.assertServes(self.owner, self.fd)

    def test_link_over_a_live_name(self):
        self.assertEqual(self.rival.link(self.file("x"), self.path), errno.EEXIST)
        self.assertServes(self.owner, self.fd)

    def test_own_name_beside_it(self):
        other = os.path.join(self.dir, "other.sock")
        self.rival.serve(other)
        self.assertEqual(self.rival.unlink(other), 0)
        self.assertServes(self.owner, self.fd)
        self.assertEqual(self.owner.unlink(self.path), 0)
        self.assertEqual(self.names(), [])


counterparts(globals(), Live)
counterparts(globals(), Dead)

if __name__ == "__main__":
    sys.exit(harness.main())
