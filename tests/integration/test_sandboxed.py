"""Programs that restrict themselves by seccomp: tests/sandboxed makes each call under each filter,
once with the guard and once without, and both must tell the same.

Each test here is a series of trials, of which tests/sandboxed.c tells more. A rival's live socket is
left out of the comparison: where a filter keeps the guard from judging, the name is left to libc.
"""

import errno
import os
import re
import sys

import harness

SANDBOXED = os.path.join(harness.BUILD, "tests", "sandboxed")
CALLS = os.path.join(harness.SOURCE, "src", "core", "calls.h")
KERNEL = os.path.join(harness.SOURCE, "src", "core", "kernel.c")

VERBS = ("bind", "rebind", "unlink", "unlinkat", "remove", "rename", "over", "renameat",
         "renameat2", "exchange", "link", "linkat")
# Those that take a name away. A bind finds the name taken, and a link adds one, with and without
# the guard.
TAKING = ("unlink", "unlinkat", "remove", "rename", "over", "renameat", "renameat2", "exchange")
ACTIONS = ("kill", "thread", "trap", "handled", "errno", "lie", "trace")

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
        ran = self.run_program([SANDBOXED, *words], guard=guard)
        self.assertEqual(ran.returncode, 0, ran.stderr)
        return [Trial(line) for line in ran.stdout.splitlines()]

    def compare(self, series, method, action, verb):
        """Both runs; fails where a trial with the guard went otherwise than without."""
        plain = self.trials(series, method, action, verb, guard=False)
        guarded = self.trials(series, method, action, verb, guard=True)
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


def cases(series, methods, actions, verbs=VERBS, protected=False):
    """A class of tests, one for each series of trials. protected: a rival's socket is kept."""
    def case(method, action, verb):
        def test(self):
            plain, guarded = self.compare(series, method, action, verb)
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


# The filter allows what the program itself calls, and nothing else.
Exact = cases("exact", ("prctl", "syscall", "stacked", "pointers"), ACTIONS)
Strict = cases("exact", ("strict",), ("kill",))

# All but one of the guard's calls, or one value of an argument.
Without = cases("without", ("prctl",), ACTIONS)
WithoutBy = cases("without", ("stacked", "split", "forked", "clone", "thread", "tsync",
                              "bystander"), ("kill", "handled"))
Values = cases("values", ("prctl",), ("kill", "handled", "errno"))

# Filters that allow all, that failed to come in, and those of other processes cost no protection.
Permissive = cases("open", ("none", "prctl", "syscall", "stacked", "forked", "clone", "thread",
                            "tsync"), ("kill",), protected=True)
OfOthers = cases("exact", ("failed", "vfork", "clone-vm", "fork-child"), ("kill",), protected=True)


class Calls(harness.Case):
    """src/core/calls.h is what kernel.c calls."""

    def test_the_list_is_whole(self):
        with open(KERNEL, encoding="utf-8") as file:
            made = set(re.findall(r"\bSYS_([a-z0-9_]+)\b", file.read()))
        with open(CALLS, encoding="utf-8") as file:
            listed = set(re.findall(r"\bX\(([a-z0-9_]+)\)", file.read()))
        self.assertEqual(made, listed)
        self.assertGreater(len(made), 30)


if __name__ == "__main__":
    sys.exit(harness.main())
