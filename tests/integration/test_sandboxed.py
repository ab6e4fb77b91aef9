"""Calls in programs that restrict themselves through seccomp.

tests/sandboxed makes each call under each filter. It runs once with the guard and once without, and
both runs must print the same. Each test is a series of trials, which tests/sandboxed.c describes.
The results for a rival's live socket may differ: the guard refuses the call if the filter permits
the guard's checks, and otherwise makes the call unchecked.
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

OPERATIONS = ("bind", "rebind", "unlink", "unlinkat", "remove", "rename", "over", "renameat",
              "renameat2", "exchange", "link", "linkat")
# The operations that remove a path. A bind fails in any case because the path exists, and a link
# only adds a path.
REMOVING_OPERATIONS = ("unlink", "unlinkat", "remove", "rename", "over", "renameat", "renameat2",
                       "exchange")
ACTIONS = ("kill", "thread", "trap", "handled", "errno", "lie", "trace")

# Without these, the guard can examine neither the file at a path nor a lock file.
STAT_CALLS = ("newfstatat", "fstat", "fstatat64", "fstat64")
REFUSED_ANSWER = ("-1", str(errno.EADDRINUSE))


class Trial:
    """A line of output of tests/sandboxed."""

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

    def compare(self, series, method, action, operation):
        """Runs the series with and without the guard. Fails if the results of a trial differ.

        Returns the trials without the guard, and those with it.
        """
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            plain, guarded = pool.map(lambda guard: self.trials(series, method, action, operation,
                                                                guard=guard), (False, True))
        self.assertEqual(len(plain), len(guarded))
        self.assertGreaterEqual(len(plain), 7)
        differences = [f"with the guard: {with_guard}\nwithout: {without}"
                       for without, with_guard in zip(plain, guarded)
                       if not self.is_same_or_protected(operation, without, with_guard)]
        self.assertFalse(differences, f"\n{len(differences)} of {len(plain)}:\n" +
                         "\n".join(differences[:20]))
        return plain, guarded

    @staticmethod
    def is_same_or_protected(operation, without, with_guard):
        if with_guard.outcome() == without.outcome():
            return True
        ran_to_the_end = (with_guard.signals, with_guard.ended) == ("0", "0")
        if with_guard.object == "live":
            return ran_to_the_end and with_guard.answer == REFUSED_ANSWER
        # SO_REUSEADDR asks the guard to replace a stale socket, which it does if the filter allows.
        return operation == "rebind" and with_guard.object == "stale" and ran_to_the_end and \
            with_guard.answer[0] == "0"


def make_case_class(series, methods, actions, operations=OPERATIONS, fully_protected=False,
                    removes_lock_files=False):
    """Returns a class with a test for each combination of method, action and operation.

    fully_protected: a rival's live socket must not be removed. removes_lock_files: no lock file may
    remain after a successful call.
    """
    def make_test(method, action, operation):
        def test(self):
            plain, guarded = self.compare(series, method, action, operation)
            for trial in guarded:
                if removes_lock_files and trial.object != "live" and \
                        trial.denied not in STAT_CALLS and trial.answer[0] == "0":
                    self.assertEqual(trial.locks, [], str(trial))
            if not fully_protected:
                return
            for without, with_guard in zip(plain, guarded):
                self.assertEqual(with_guard.locks, [], str(with_guard))
                if with_guard.object == "live" and operation in REMOVING_OPERATIONS:
                    self.assertEqual(with_guard.answer, REFUSED_ANSWER, str(with_guard))
                    self.assertEqual(without.answer[0], "0", str(without))
        return test

    namespace = {}
    for method in methods:
        for action in actions:
            for operation in operations:
                name = f"test_{method}_{action}_{operation}".replace("-", "_")
                namespace[name] = make_test(method, action, operation)
    return type("Cases", (SandboxedCase,), {**namespace, "__module__": __name__})


COMMON_ACTIONS = ("kill", "trap", "handled", "errno")
RARE_ACTIONS = ("thread", "lie", "trace")
SOME_OPERATIONS = ("bind", "unlink", "over")

# The filter allows only the program's own calls.
AllowProgramsCalls = make_case_class("exact", ("prctl", "pointers"), COMMON_ACTIONS + RARE_ACTIONS)
AllowProgramsCallsOtherMethods = make_case_class("exact", ("syscall", "stacked", "strict"),
                                                 ("kill", "handled"))

# The filter allows everything except one of the guard's calls, or one value of an argument.
DenyOneCall = make_case_class("without", ("prctl",), COMMON_ACTIONS, removes_lock_files=True)
DenyOneCallRareActions = make_case_class("without", ("prctl",), RARE_ACTIONS, SOME_OPERATIONS)
DenyOneCallOtherMethods = make_case_class(
    "without", ("stacked", "split", "forked", "clone", "thread", "tsync", "bystander"), ("kill",),
    SOME_OPERATIONS)
DenyOneArgument = make_case_class("values", ("prctl",), ("kill", "errno"), removes_lock_files=True)

# Filters that allow everything, that could not be installed, or that another process installed. The
# guard must protect all paths.
AllowEverything = make_case_class(
    "open", ("none", "prctl", "syscall", "stacked", "forked", "clone", "thread", "tsync"),
    ("kill",), fully_protected=True)
FiltersOfOtherProcesses = make_case_class(
    "exact", ("failed", "vfork", "clone-vm", "fork-child"), ("kill",), fully_protected=True)


for _name, _class in list(globals().items()):
    if getattr(_class, "__name__", "") == "Cases":
        _class.__name__ = _class.__qualname__ = _name


class ListOfSystemCalls(SandboxedCase):
    """The code and the manual agree with src/core/calls.h, the list of the guard's system calls."""

    def calls_of_this_architecture(self):
        """The listed calls that exist on this architecture, according to tests/sandboxed."""
        return {trial.denied
                for trial in self.trials("without", "none", "kill", "bind", guard=False)}

    def test_kernel_c_makes_the_listed_calls(self):
        """kernel.c mentions exactly the listed calls, for all architectures."""
        with open(KERNEL, encoding="utf-8") as file:
            in_code = set(re.findall(r"\bSYS_([a-z0-9_]+)\b", file.read()))
        with open(CALLS, encoding="utf-8") as file:
            listed = set(re.findall(r"\bX\(([a-z0-9_]+)\)", file.read()))
        self.assertEqual(in_code, listed)
        self.assertLessEqual(self.calls_of_this_architecture(), listed)
        self.assertGreater(len(self.calls_of_this_architecture()), 30)

    def test_no_other_module_makes_system_calls(self):
        """The library imports none of the libc functions below, except those that kernel.c calls."""
        ran = self.run_program(["nm", "--dynamic", "--undefined-only", harness.LIBRARY])
        names = {line.split()[-1].split("@")[0] for line in ran.stdout.splitlines()}
        calls = {"accept", "clock_gettime", "close", "connect", "fchmod", "fchmodat", "fcntl",
                 "fstat", "fstatat", "geteuid", "getpeername", "getpid", "getrlimit", "getsockname",
                 "getsockopt", "ioctl", "kill", "lstat", "mmap", "munmap", "nanosleep", "open",
                 "openat", "poll", "pread", "pread64", "pwrite", "pwrite64", "read", "recv",
                 "select", "sendto", "sigpending", "sigprocmask", "sigtimedwait", "socket", "stat",
                 "statx", "unlinkat", "write", "fstatfs", "fstatfs64", "statfs", "getcwd"}
        self.assertLessEqual(names & calls, {
            "clock_gettime", "mmap", "pread", "pread64", "pwrite", "pwrite64", "sigprocmask"})

    @unittest.skipUnless(sys.maxsize > 1 << 32, "the manual has the names of 64-bit architectures")
    def test_manual_names_the_listed_calls(self):
        with open(MANUAL, encoding="utf-8") as file:
            text = file.read()
        entry = text[text.index(".It Sy SystemCallFilter="):]
        in_manual = entry[entry.index(".Bd"):entry.index(".Ed")].split()[4:]
        self.assertEqual(in_manual, sorted(in_manual))
        optional = {"unlink", "renameat"}  # some architectures lack them
        self.assertEqual(set(in_manual) - self.calls_of_this_architecture() - optional, set())
        self.assertEqual(self.calls_of_this_architecture() - set(in_manual), set())

    @unittest.skipUnless(shutil.which("systemd-analyze"), "systemd-analyze is not installed")
    def test_system_service_allows_the_listed_calls(self):
        self.assertEqual(self.calls_of_this_architecture() - system_service(), set())


def system_service(group="@system-service"):
    """The system calls in a group of systemd's, including those in the groups that it contains."""
    shown = subprocess.run(["systemd-analyze", "syscall-filter", group], check=True,
                           capture_output=True, text=True).stdout.splitlines()
    names = set()
    for line in map(str.strip, shown[1:]):
        names |= system_service(line) if line.startswith("@") else {line}
    return names


if __name__ == "__main__":
    sys.exit(harness.main())
