"""Runs the tests on mutants of the sources and reports those that no test notices.

usage: mutate.py [OPTION]... BASE LANE... [--files FILE...]

BASE and each LANE have the same contents: source, and the build directory build, in which
commands.log is the output of make V=1. scripts/mutate creates them and documents the options.
"""

import argparse
import collections
import fnmatch
import multiprocessing
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time

import mutants

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from explained import read_explanations  # noqa: E402

# Limits in seconds. If a test takes longer than WALL_CLOCK_LIMIT, or one of its processes uses more
# CPU time than CPU_TIME_LIMIT, the test counts as failed. A script limits each of its waits itself,
# and on a busy machine the longest scripts take many minutes.
WALL_CLOCK_LIMIT = {"unit": 150, "script": 1800}
CPU_TIME_LIMIT = {"unit": 3, "script": 30}

# The tests of a source, in the order in which they run, after its own unit test. Each line whose
# pattern matches the source adds tests. Short tests, and those that notice most mutants, come
# first.
UNIT = "tests/unit/check_"
INTEGRATION = "tests/integration/test_"
CAMPAIGN = "tests/campaign/test_"
TESTS = (
    ("src/core/*", UNIT, "judge liveness owned lockfile shared record sockdiag report step guard"),
    ("src/core/*", INTEGRATION, "claim ownership plain reuse hardened settings context_places "
     "liveness verbs lockfile supervise_abi command_details command_status listed supervise "
     "command_clean"),
    ("src/preload/*", UNIT, "guard"),
    ("src/preload/*", INTEGRATION, "exports plain claim reuse hardened ownership context_places "
     "settings verbs lockfile"),
    ("src/command/*", UNIT, "escape library"),
    ("src/command/unit.c", INTEGRATION, "command_unit"),
    ("src/command/service.c", INTEGRATION, "command_unit"),
    ("src/command/check.c", INTEGRATION, "command_check"),
    ("src/command/program.c", INTEGRATION, "command_check"),
    ("src/command/library.c", INTEGRATION, "command_check"),
    ("src/command/process.c", INTEGRATION, "command_check"),
    ("src/command/status.c", INTEGRATION, "command_status"),
    ("src/command/socketpath.c", INTEGRATION, "command_status"),
    ("src/command/sockets.c", INTEGRATION, "command_status"),
    ("src/command/clean.c", INTEGRATION, "command_clean"),
    ("src/command/supervised.c", INTEGRATION, "command_supervised"),
    ("src/command/*", INTEGRATION, "command_details command command_unit command_check "
     "command_supervised command_status refusals manual completion command_clean"),
    ("src/supervise/*", UNIT, "target request classify proxy unguarded"),
    ("src/supervise/classify.c", INTEGRATION, "supervise_details"),
    ("src/supervise/identity.c", INTEGRATION, "supervise_users"),
    ("src/supervise/inspect.c", INTEGRATION, "supervise_users"),
    ("src/supervise/title.c", INTEGRATION, "supervise"),
    ("src/supervise/start.c", INTEGRATION, "supervise_unable supervise"),
    ("src/supervise/*", INTEGRATION, "supervise_abi supervise_details command_supervised "
     "command_details supervise_unable supervise supervise_users supervised"),
    ("src/supervise/supervisor.c", CAMPAIGN, "supervisor"),
    ("src/supervise/worker.c", CAMPAIGN, "supervisor"),
)
SLOW = (
    ("src/core/*", INTEGRATION, "context_calls sandbox places inputs context_preload neighbour "
     "supervised sandboxed"),
    ("src/core/*", CAMPAIGN, "faults supervisor"),
    ("src/preload/*", INTEGRATION, "context_calls context_preload sandboxed"),
    ("src/preload/*", CAMPAIGN, "faults"),
    ("src/supervise/*", CAMPAIGN, "supervisor"),
)
# The arguments of a script: "dynamic" selects half of the cases, which take half as long.
ARGUMENTS = {INTEGRATION + "supervised.py": ["dynamic"]}
# A failed case. The group that matches has the arguments with which the script runs this case again,
# or the module that contains it.
FAILED = r"^not ok \d+ - (?:(dynamic \w+): )?(\w+\.\w+)"


def tests_of(name, source, effort):
    """Returns the tests for a source: programs and scripts, as paths relative to the root."""
    chosen = [UNIT + os.path.basename(name)[:-2]]
    for pattern, prefix, stems in TESTS + (SLOW if effort == "slow" else ()):
        if fnmatch.fnmatch(name, pattern) and (prefix == UNIT or effort != "unit"):
            chosen += [prefix + stem for stem in stems.split()]
    found = []
    for test in chosen:
        directory, stem = os.path.split(test)
        there = os.path.join(source, directory)
        for entry in sorted(os.listdir(there)) if os.path.isdir(there) else ():
            if fnmatch.fnmatch(entry, stem + ".c") or fnmatch.fnmatch(entry, stem + ".py"):
                found.append(os.path.join(directory, entry.removesuffix(".c")))
    return list(dict.fromkeys(found))


class Build:
    """The commands that make ran in a build directory. Repeats those for one source, without
    make."""

    def __init__(self, directory):
        self._directory = directory
        self._commands, self._inputs = {}, collections.defaultdict(list)
        with open(os.path.join(directory, "commands.log"), encoding="utf-8") as log:
            for line in log.read().replace("\\\n", " ").splitlines():
                self._add(re.sub(r"^libtool: (?:compile|link): +", "", line.strip()))

    def _add(self, command):
        if not re.match(r"(\S*-)?(gcc|clang|cc|ar|ranlib) ", command):
            return
        command = re.sub(r"`test -f '([^']*)' \|\| echo '[^']*/'`(\S+)", self._there, command)
        words = shlex.split(re.split(r" && ?", command)[0])
        if words[0].endswith("ranlib"):
            return
        output = words[2] if words[0].endswith("ar") else words[words.index("-o") + 1]
        output = os.path.normpath(output)
        self._commands[output] = words
        self._inputs[output] = [os.path.normpath(word) for word in words[1:]
                                if word.endswith((".c", ".o", ".a", ".so", ".lo", ".la"))
                                and os.path.normpath(word) != output]

    def _there(self, found):
        name = found.group(1)
        there = os.path.exists(os.path.join(self._directory, name))
        return name if there else os.path.join("../source", found.group(2))

    def objects(self, source):
        """Returns the objects that are compiled from a source."""
        return [output for output, inputs in self._inputs.items()
                if os.path.join("../source", source) in inputs and output.endswith(".o")]

    def depends(self, output, on):
        """Returns whether the output is built, directly or indirectly, from one of these files."""
        return output in on or any(self.depends(part, on) for part in self._inputs.get(output, ()))

    def make(self, output, changed, done):
        """Rebuilds an output, after rebuilding those of its inputs that the change affects."""
        if output in done or not self.depends(output, changed):
            return True
        done.add(output)
        if not all(self.make(part, changed, done) for part in self._inputs[output]):
            return False
        made = subprocess.run(self._commands[output], cwd=self._directory, check=False,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return made.returncode == 0

    def program(self, test):
        """Returns the files to build for a test. An integration test needs all of them."""
        if not test.endswith(".py"):
            return [test]
        return [name for name in (".libs/libsockguard.so", "sockguard") if name in self._commands]


class Lane:
    """A source tree and its build, in which one mutant at a time is built and tested."""

    def __init__(self, base, directory, effort):
        self._base, self._directory, self._effort = base, directory, effort
        self._source = os.path.join(directory, "source")
        self._build = Build(os.path.join(directory, "build"))
        self._sound = set()  # tests that have passed without a mutant

    def _path(self, name):
        return os.path.join(self._directory, "build", name)

    def _run(self, kind, words):
        """Runs a test and returns its exit status. Its remaining processes end with its PID
        namespace."""
        as_user = ["--user", "--map-current-user"] if os.geteuid() else []
        words = ["unshare", *as_user, "--pid", "--fork", "--kill-child", "--mount-proc",
                 "--", "prlimit", f"--cpu={CPU_TIME_LIMIT[kind]}",
                 "sh", "-c", '"$@"; exit $?', "sh", *words]
        # A mutant may wait for ever, so the tests time out earlier than usual.
        env = {**os.environ, "SOCKGUARD_BUILD": self._path(""), "SOCKGUARD_FAIL_FAST": "1",
               "CK_TIMEOUT_MULTIPLIER": "4", "SOCKGUARD_TEST_TIMEOUT": "60"}
        with open(self._path("test.log"), "wb") as log, \
                subprocess.Popen(words, cwd=self._path(""), env=env, start_new_session=True,
                                 stdin=subprocess.DEVNULL, stdout=log, stderr=log) as test:
            deadline = time.monotonic() + WALL_CLOCK_LIMIT[kind]
            while True:
                try:
                    return test.wait(0.2)
                except subprocess.TimeoutExpired:
                    if time.monotonic() > deadline or self._find_in_output("^not ok"):
                        os.killpg(test.pid, signal.SIGKILL)
                        return -1

    def _find_in_output(self, pattern):
        """Returns the matches of the pattern in the test's output so far."""
        with open(self._path("test.log"), encoding="utf-8", errors="replace") as log:
            return re.findall(pattern, log.read(), re.MULTILINE)

    def fails(self, test):
        """A failure counts only if it happens again: the first may be chance, or a busy machine."""
        if not test.endswith(".py"):
            words = [self._path(test)]
            return all(self._run("unit", words) != 0 for _ in range(2))
        words = ["/usr/bin/python3", "-B", os.path.join(self._source, test)]
        arguments = ARGUMENTS.get(test, [])
        if self._run("script", [*words, *arguments]) == 0:
            return False
        for part, case in self._find_in_output(FAILED)[:1]:
            arguments = part.split() if part else [case]
        return self._run("script", [*words, *arguments]) != 0

    def _same_code(self, objects):
        for name in objects:
            with open(os.path.join(self._base, "build", name), "rb") as was, \
                    open(self._path(name), "rb") as now:
                if was.read() != now.read():
                    return False
        return True

    def judge(self, mutant):
        """The result for a mutant: "no code", "same code", "survived", or the test that fails."""
        objects = self._build.objects(mutant.file)
        with open(os.path.join(self._source, mutant.file), "w", encoding="utf-8") as file:
            file.write(self._mutated(mutant))
        done = set()
        try:
            result = self._judge(mutant, objects, done)
        finally:
            self._restore(mutant, done)
        if result.startswith("tests/") and result not in self._sound:
            if self.fails(result):
                return f"{result} fails without a mutant"
            self._sound.add(result)
        return result

    def _mutated(self, mutant):
        with open(os.path.join(self._base, "source", mutant.file), encoding="utf-8") as file:
            text = file.read()
        return text[:mutant.start] + mutant.became + text[mutant.end:]

    def _judge(self, mutant, objects, done):
        if not all(self._build.make(name, objects, done) for name in objects):
            return "no code"
        if self._same_code(objects):
            return "same code"
        return self._test(mutant, objects, done)

    def _test(self, mutant, objects, done):
        for test in tests_of(mutant.file, self._source, self._effort):
            needed = self._build.program(test)
            if not any(self._build.depends(name, objects) for name in needed):
                continue
            if not all(self._build.make(name, objects, done) for name in needed):
                return "no code"
            if self.fails(test):
                return test
        return "survived"

    def _restore(self, mutant, done):
        for name in (os.path.join("source", mutant.file),
                     *(os.path.join("build", name) for name in done)):
            there = os.path.join(self._directory, name)
            if os.path.exists(there):
                os.unlink(there)  # and not overwritten: it may still be running
            shutil.copy(os.path.join(self._base, name), there)


def work(lane, taken, results):
    """The process of a lane: tests one mutant after another."""
    for number, mutant in iter(taken.get, None):
        results.put((number, lane.judge(mutant)))


def judge_all(chosen, lanes):
    """Yields (mutant, result) as soon as a result is known."""
    taken, results = multiprocessing.Queue(), multiprocessing.Queue()
    workers = [multiprocessing.Process(target=work, args=(lane, taken, results), daemon=True)
               for lane in lanes]
    for work_item in [*enumerate(chosen), *[None] * len(workers)]:
        taken.put(work_item)
    for worker in workers:
        worker.start()
    for _ in chosen:
        number, result = results.get()
        yield chosen[number], result
    for worker in workers:
        worker.join()


# ---- choice of mutants ----

def changed_lines(source, revision):
    """{file: numbers of the lines changed since then}."""
    diff = subprocess.run(["git", "-C", source, "diff", "-U0", revision, "--", "src"], check=True,
                          stdout=subprocess.PIPE, text=True).stdout
    lines, name = collections.defaultdict(set), None
    for line in diff.splitlines():
        if line.startswith("+++ "):
            name = line[6:]
        found = re.match(r"@@ -\S+ \+(\d+)(?:,(\d+))? @@", line)
        if found:
            first, count = int(found.group(1)), int(found.group(2) or 1)
            lines[name].update(range(first, first + count))
    return lines


def sample(all_mutants, count, seed):
    """A random sample, from each file in proportion to its mutants; at least two."""
    by_file = collections.defaultdict(list)
    for mutant in all_mutants:
        by_file[mutant.file].append(mutant)
    chooser, chosen = random.Random(seed), []
    for name in sorted(by_file):
        share = max(2, round(count * len(by_file[name]) / len(all_mutants)))
        chosen += chooser.sample(by_file[name], min(share, len(by_file[name])))
    chooser.shuffle(chosen)
    return chosen


# ---- explanations ----

def entry_of(mutant):
    """The mutant as an explanation names it: without line numbers, which change with every edit."""
    return f"{mutant.file} {mutant.function}: {mutant.line} becomes {mutant.mutated}"


class Report:
    """Counts, and prints what a person has to look at."""

    def __init__(self, explained, races):
        self._explained, self._races = explained, races
        self._counts = collections.Counter()
        self._bad = 0

    def add(self, mutant, result):
        """Counts one more result."""
        entry = entry_of(mutant)
        if result in ("no code", "same code"):
            self._counts[result] += 1
        elif result.endswith(" fails without a mutant"):
            self._bad += 1
            print(result, flush=True)
        elif result != "survived":
            self._counts["noticed"] += 1
            if entry in self._explained and entry not in self._races:
                self._say(f"Explained, but {result} notices it", mutant)
        elif entry not in self._explained:
            self._counts["not explained"] += 1
            self._say("Survived", mutant)
        elif self._explained[entry].startswith("Equivalent"):
            self._counts["equivalent"] += 1
        else:
            self._counts["explained"] += 1

    def _say(self, word, mutant):
        self._bad += 1
        print(f"{word}: {mutant.file}:{mutant.number} ({mutant.kind}): "
              f"{entry_of(mutant).split(' ', 1)[1]}", flush=True)

    def add_stale(self, known):
        """Explanations whose mutants can no longer be made."""
        for entry in sorted(set(self._explained) - known):
            self._bad += 1
            print(f"Explained, but there is no such mutant: {entry}")

    def end(self):
        """Prints the totals; returns the exit status."""
        count = self._counts
        judged = count["noticed"] + count["explained"] + count["not explained"]
        print(f"{judged} mutants, {count['noticed']} of them noticed: "
              f"{100 * count['noticed'] / judged if judged else 100:.1f}%. Survivors: "
              f"{count['explained']} explained, {count['not explained']} not. Not counted: "
              f"{count['equivalent']} explained as equivalent, {count['same code']} compiled to "
              f"the same code, {count['no code']} not compiled")
        return 1 if self._bad else 0


def all_mutants_of(source, names):
    """All mutants of these files; the enumerations are those of the whole project."""
    texts = {}
    for directory, _, files in os.walk(os.path.join(source, "src")):
        for file in files:
            path = os.path.join(directory, file)
            if path.endswith((".c", ".h")):
                with open(path, encoding="utf-8") as opened:
                    texts[os.path.relpath(path, source)] = opened.read()
    neighbours = mutants.enumerators(texts.values())
    names = names or sorted(name for name in texts if name.endswith(".c"))
    return [mutant for name in names
            for mutant in mutants.mutants_of(name, texts[name], neighbours)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only")
    parser.add_argument("--change")
    parser.add_argument("--unit", dest="effort", action="store_const", const="unit")
    parser.add_argument("--slow", dest="effort", action="store_const", const="slow")
    parser.add_argument("--results")
    parser.add_argument("base")
    parser.add_argument("lanes", nargs="+")
    parser.add_argument("--files", nargs="*", default=[])
    options = parser.parse_args()
    source = os.path.join(options.base, "source")
    explained, races = read_explanations(os.path.join(source, "tests/mutate/explained"), "mutant",
                                         "no test notices: ")
    known = all_mutants_of(source, options.files)
    chosen = known
    if options.change:
        lines = changed_lines(os.getcwd(), options.change)
        chosen = [mutant for mutant in chosen if mutant.number in lines[mutant.file]]
    if options.only:
        chosen = [mutant for mutant in chosen if options.only in entry_of(mutant)]
    if options.count:
        chosen = sample(chosen, options.count, options.seed)
    lanes = [Lane(options.base, lane, options.effort) for lane in options.lanes]
    report = Report(explained, races)
    with open(options.results or os.devnull, "a", encoding="utf-8") as results:
        for mutant, result in judge_all(chosen, lanes):
            print(f"{result}\t{mutant.number}\t{mutant.kind}\t{entry_of(mutant)}", file=results,
                  flush=True)
            report.add(mutant, result)
    if not options.files:
        report.add_stale({entry_of(mutant) for mutant in known})
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
