"""A supervisor that cannot act for its caller.

If the supervisor runs out of descriptors, the call fails. If it has no permission to act for a
process, the kernel executes the calls of that process, and the supervisor logs this once.
"""

import errno
import os
import resource
import sys

import actor
import command
import harness

harness.GUARDED_BY = "syscalls"
# Limits on descriptors.
ENOUGH_TO_START = 9
TOO_FEW_TO_START, MORE_THAN_ENOUGH = 3, 32


class DescriptorLimits:
    """The rival and its supervisor have a limit on descriptors."""

    def run_rival(self, soft, hard):
        """Returns the errno of an unlink of the path, or None if the program was not started."""
        ended = self.run_program(
            [harness.COMMAND, "run", "--by", "syscalls", "--strict"] * self.guard +
            ["python3", "-c",
             "import os, sys\ntry:\n    os.unlink(sys.argv[1])\n    print(0)\n"
             "except OSError as error:\n    print(error.errno)\n", self.path],
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard)))
        return int(ended.stdout) if ended.stdout else None

    def test_hard_limits(self):
        """At each limit, the program does not start, or the live socket keeps its path."""
        owner = actor.Actor(self, guard=True)
        outcomes = set()
        for limit in range(TOO_FEW_TO_START, MORE_THAN_ENOUGH):
            fd = owner.serve(self.path)
            outcome = self.run_rival(limit, limit)
            outcomes.add(outcome)
            if self.guard:
                self.assertServes(owner, fd)
            if outcome != 0:
                self.assertEqual(owner.unlink(self.path), 0)
            owner.close(fd)
        self.assertEqual(outcomes, {None, errno.ENOMEM, errno.EADDRINUSE} if self.guard
                         else {None, 0})

    def test_soft_limit(self):
        """The supervisor raises its own soft limit to the hard limit."""
        owner = actor.Actor(self, guard=True)
        fd = owner.serve(self.path)
        self.assertRefusedIfGuarded(lambda: self.run_rival(ENOUGH_TO_START, MORE_THAN_ENOUGH),
                                    owner, fd)


actor.define_counterparts(globals(), DescriptorLimits)


class NotDumpable(command.CommandCase):
    """If a user's process is not dumpable, the user's supervisor may not read its memory."""

    # Tries to steal the path three times in the process, then in a thread, then in a child.
    STEAL_REPEATEDLY = """
import ctypes, os, sys, threading
PR_SET_DUMPABLE = 4
def steal():
    try:
        os.unlink(sys.argv[1])
    except OSError as error:
        sys.exit(error.errno)
    open(sys.argv[1], "w").close()
ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, int(sys.argv[2]), 0, 0, 0)
for i in range(3):
    steal()
thread = threading.Thread(target=steal)
thread.start()
thread.join()
child = os.fork()
if child == 0:
    steal()
    os._exit(0)
os.waitpid(child, 0)
print(os.getpid(), child)
"""

    def setUp(self):
        super().setUp()
        os.chmod(self.dir, 0o777)
        self.log = os.path.join(self.dir, "log")
        self.owner = actor.Actor(self, guard=True)
        self.fd = self.owner.serve(self.path)

    def run_rival(self, dumpable):
        ended = self.sockguard_as_stranger(
            "run", "--by", "syscalls", "--strict", "python3", "-c", self.STEAL_REPEATEDLY,
            self.path, str(dumpable), env=harness.environment(False, LOG=self.log))
        with open(self.log) as log:
            return ended, log.read().splitlines()

    def test_not_dumpable(self):
        """The kernel executes the calls. The supervisor logs this once for each process."""
        ended, log = self.run_rival(0)
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        self.assertFalse(self.serves(self.owner, self.fd))
        expected = [rf"\S+ sockguard: python3\[{pid}\]: unlink is not guarded: the supervisor has "
                    "no permission to read the memory of the process"
                    for pid in ended.stdout.split()]
        self.assertEqual(len(log), 2)
        for line, pattern in zip(log, expected):
            self.assertRegex(line, rf"\A{pattern}\Z")

    def test_dumpable(self):
        """The counterpart: the supervisor judges the calls."""
        ended, log = self.run_rival(1)
        self.assertEqual(ended.returncode, errno.EADDRINUSE)
        self.assertServes(self.owner, self.fd)
        self.assertEqual(len(log), 1)
        self.assertIn("refused with EADDRINUSE", log[0])


if __name__ == "__main__":
    sys.exit(harness.main())
