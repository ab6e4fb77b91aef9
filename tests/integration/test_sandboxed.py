"""Programs that restrict themselves by seccomp: tests/sandboxed makes each call under each filter,
once with the guard and once without, and both must tell the same.

Each test here is a series of trials, of which tests/sandboxed.c tells more. A rival's live socket is
left out of the comparison: where a filter keeps the guard from judging, the name is left to libc.
"""

import concurrent.futures
import errno
import os
import re
import shutil
import subprocess
import sys
import unittest

import harness

SANDBOXED = os.path.join(harness.BUILD, "tests", "sandboxed")
CALLS = os.path.join(harness.SOURCE, "src", "core", "calls.h")
MANUAL = os.path.join(harness.SOURCE, "man", "libsockguard.7.in")
KERNEL = os.path.join(harness.SOURCE, "src", "core", "kernel.c")

VERBS = ("bind", "rebind", "unlink", "unlinkat", "remove", "rename", "over", "renameat",
         "renameat2", "exchange", "link", "linkat")
# Those that take a name away. A bind finds the name taken, and a link adds one, with and without
# the guard.
TAKING = ("unlink", "unlinkat", "remove", "rename", "over", "renameat", "renameat2", "exchange")
ACTIONS = ("kill", "thread", "trap", "handled", "errno", "lie", "trace")

# Without these the guard does not see what a name leads to, nor what a lock file is.
LOOKS = ("newfstatat", "fstat", "fstatat64", "fstat64")
REFUSED = ("-1", str(errno.EADDRINUSE))


class Trial:
    """A line of tests/sandboxed."""

    def __init__(self, line):
        fields = line.split("\t")
        self.object, self.denied = fields[:2]
        self.answer = tuple(fields[2:4])
        self.signals, self.ended, self.names = fields[4:7]
        self.locks = fields[7].split()

    def outcome(self):
        return self.answer, self.signals, self.ended, self.names

    def __str__(self):
        return (f"{self.object}, denied {self.denied}: returned {self.answer[0]}, "
                f"errno {errno.errorcode.get(int(self.answer[1].strip('-') or 0), 'none')}, "
                f"{self.signals} SIGSYS, ended by {self.ended}, left: {self.names}")


class SandboxedCase(harness.Case):
    def trials(self, *words, guard):
        ran = self.run_program([SANDBOXED, *words], guard=guard, cwd=self.dir)
        self.assertEqual(ran.returncode, 0, ran.stderr)
        return [Trial(line) for line in ran.stdout.splitlines()]

    def compare(self, series, method, action, verb):
        """Both runs; fails where a trial with the guard went otherwise than without."""
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            plain, guarded = pool.map(lambda guard: self.trials(series, method, action, verb,
                                                                guard=guard), (False, True))
        self.assertEqual(len(plain), len(guarded))
        self.assertGreaterEqual(len(plain), 7)
        wrong = [f"with the guard: {with_guard}\nwithout: {without}"
                 for without, with_guard in zip(plain, guarded)
                 if not self.same(verb, without, with_guard)]
        self.assertFalse(wrong, f"\n{len(wrong)} of {len(plain)}:\n" + "\n".join(wrong[:20]))
        return plain, guarded

    @staticmethod
    def same(verb, without, with_guard):
        if with_guard.outcome() == without.outcome():
            return True
        undisturbed = (with_guard.signals, with_guard.ended) == ("0", "0")
        if with_guard.object == "live":
            return undisturbed and with_guard.answer == REFUSED
        # What SO_REUSEADDR asks for, and the guard does where it may.
        return verb == "rebind" and with_guard.object == "stale" and undisturbed and \
            with_guard.answer[0] == "0"


def cases(series, methods, actions, verbs=VERBS, protected=False, tidy=False):
    """A class of tests, one for each series of trials. protected: a rival's socket is kept; tidy:
    lock files go with the sockets."""
    def case(method, action, verb):
        def test(self):
            plain, guarded = self.compare(series, method, action, verb)
            for trial in guarded:
                if tidy and trial.object != "live" and trial.denied not in LOOKS and \
                        trial.answer[0] == "0":
                    self.assertEqual(trial.locks, [], str(trial))
            if not protected:
                return
            for without, with_guard in zip(plain, guarded):
                self.assertEqual(with_guard.locks, [], str(with_guard))
                if with_guard.object == "live" and verb in TAKING:
                    self.assertEqual(with_guard.answer, REFUSED, str(with_guard))
                    self.assertEqual(without.answer[0], "0", str(without))
        return test

    namespace = {}
    for method in methods:
        for action in actions:
            for verb in verbs:
                name = f"test_{method}_{action}_{verb}".replace("-", "_")
                namespace[name] = case(method, action, verb)
    return type("Cases", (SandboxedCase,), {**namespace, "__module__": __name__})


COMMON = ("kill", "trap", "handled", "errno")
RARE = ("thread", "lie", "trace")
SOME = ("bind", "unlink", "over")

# The filter allows what the program itself calls, and nothing else.
Exact = cases("exact", ("prctl", "pointers"), COMMON + RARE)
ExactBy = cases("exact", ("syscall", "stacked", "strict"), ("kill", "handled"))

# All but one of the guard's calls, or but one value of an argument of them.
Without = cases("without", ("prctl",), COMMON, tidy=True)
WithoutRarely = cases("without", ("prctl",), RARE, SOME)
WithoutBy = cases("without", ("stacked", "split", "forked", "clone", "thread", "tsync",
                              "bystander"), ("kill",), SOME)
Values = cases("values", ("prctl",), ("kill", "errno"), tidy=True)

# Filters that allow all, that failed to come in, and those of other processes cost no protection.
Permissive = cases("open", ("none", "prctl", "syscall", "stacked", "forked", "clone", "thread",
                            "tsync"), ("kill",), protected=True)
OfOthers = cases("exact", ("failed", "vfork", "clone-vm", "fork-child"), ("kill",),
                 protected=True)


for _name, _class in list(globals().items()):
    if getattr(_class, "__name__", "") == "Cases":
        _class.__name__ = _class.__qualname__ = _name


class Calls(SandboxedCase):
    """The one list of the guard's system calls, src/core/calls.h, is what the others say."""

    def here(self):
        """Those of this machine."""
        return {trial.denied
                for trial in self.trials("without", "none", "kill", "bind", guard=False)}

    def test_the_code(self):
        """kernel.c makes these calls, of all machines it knows, and no other."""
        with open(KERNEL, encoding="utf-8") as file:
            made = set(re.findall(r"\bSYS_([a-z0-9_]+)\b", file.read()))
        with open(CALLS, encoding="utf-8") as file:
            listed = set(re.findall(r"\bX\(([a-z0-9_]+)\)", file.read()))
        self.assertEqual(made, listed)
        self.assertLessEqual(self.here(), listed)
        self.assertGreater(len(self.here()), 30)

    def test_nobody_else_enters_the_kernel(self):
        """The library takes from libc nothing that makes a system call, kernel.c's needs aside."""
        ran = self.run_program(["nm", "--dynamic", "--undefined-only", harness.LIBRARY])
        names = {line.split()[-1].split("@")[0] for line in ran.stdout.splitlines()}
        calls = {"accept", "clock_gettime", "close", "connect", "fchmod", "fcntl", "fstat",
                 "fstatat", "geteuid", "getpeername", "getpid", "getrlimit", "getsockname",
                 "getsockopt", "ioctl", "kill", "lstat", "mmap", "munmap", "nanosleep", "open",
                 "openat", "poll", "pread", "pread64", "pwrite", "pwrite64", "read", "recv",
                 "select", "sendto", "sigpending", "sigprocmask", "sigtimedwait", "socket", "stat",
                 "statx", "unlinkat", "write", "fstatfs", "fstatfs64", "statfs", "getcwd"}
        self.assertLessEqual(names & calls, {
            "clock_gettime", "mmap", "pread", "pread64", "pwrite", "pwrite64", "sigprocmask"})

    @unittest.skipUnless(sys.maxsize > 1 << 32, "the manual has the names of 64-bit machines")
    def test_the_manual(self):
        with open(MANUAL, encoding="utf-8") as file:
            text = file.read()
        entry = text[text.index(".It Sy SystemCallFilter="):]
        told = entry[entry.index(".Bd"):entry.index(".Ed")].split()[4:]
        self.assertEqual(told, sorted(told))
        optional = {"unlink", "renameat"}  # some machines lack them
        self.assertEqual(set(told) - self.here() - optional, set())
        self.assertEqual(self.here() - set(told), set())

    @unittest.skipUnless(shutil.which("systemd-analyze"), "systemd-analyze is not installed")
    def test_system_service_has_them_all(self):
        self.assertEqual(self.here() - system_service(), set())


def system_service(group="@system-service"):
    shown = subprocess.run(["systemd-analyze", "syscall-filter", group], check=True,
                           capture_output=True, text=True).stdout.splitlines()
    names = set()
    for line in map(str.strip, shown[1:]):
        names |= system_service(line) if line.startswith("@") else {line}
    return names


if __name__ == "__main__":
    sys.exit(harness.main())
