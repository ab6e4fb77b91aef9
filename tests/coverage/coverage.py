"""Reads the output of llvm-cov export. Prints each file's coverage, and every branch never taken.

usage: coverage.py EXPORT SOURCE EXPLAINED

EXPORT is the output of llvm-cov export -format=text. File names are relative to SOURCE. EXPLAINED
gives the reason why a branch is never taken. An entry is a line

    FILE FUNCTION: CONDITION is true|false|never evaluated

or "case LABEL: is never taken", or "FUNCTION is never called", and below it, indented, the reason.
An entry has no line numbers, because these change with every edit. If only a race takes the branch,
the line ends with "(a race)", and the branch may be taken.

The exit status is 1 if a branch is neither taken nor explained, or if an explained branch is taken
or does not exist any more.
"""

import json
import os
import re
import sys

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from explained import read_explanations  # noqa: E402


class Source:
    """A source file, and the positions of its functions."""

    def __init__(self, path, name):
        self.name = name
        with open(path, encoding="utf-8") as source:
            self._lines = source.read().split("\n")
        self._functions = []

    def add_function(self, name, first, last):
        """Adds a function that extends from line first to line last."""
        self._functions.append((first, last, name))

    def function(self, line):
        """Returns the name of the function that contains the line."""
        return next(name for first, last, name in self._functions if first <= line <= last)

    def before(self, line, column):
        """Returns the text on the line before the column."""
        return self._lines[line - 1][:column - 1]

    def text(self, line, column, last_line, last_column):
        """Returns the text between the two positions, joined into one line."""
        lines = self._lines[line - 1:last_line]
        lines[-1] = lines[-1][:last_column - 1]
        lines[0] = lines[0][column - 1:]
        return re.sub(r"\s+", " ", " ".join(lines)).strip()


class Branch:
    """A condition, and how often it was true and false in all programs."""

    def __init__(self, source, place):
        self._source, self._place = source, place
        self.line = place[0]
        self.true = self.false = 0

    def add(self, true, false):
        """Adds the counts of one program."""
        self.true, self.false = max(self.true, true), max(self.false, false)

    def _text(self):
        return self._source.text(*self._place)

    def condition(self):
        """Returns the start of an explanation's line."""
        return f"{self._source.name} {self._source.function(self.line)}: {self._text()}"

    def missed(self):
        """Returns the explanation's line for the outcome that never occurred; None if there is
        none."""
        text, condition = self._text(), self.condition()
        if re.match(r"(case|default)\b", text):
            return None if self.true else f"{condition.rstrip(':')} is never taken"
        if self._source.before(*self._place[:2]).endswith("switch ("):
            return None  # the implicit default; -Wswitch requires a case for each value
        if text in ("true", "false", "0", "1"):
            return None  # a constant, such as that of an endless loop
        if self.true and self.false:
            return None
        outcome = "false" if self.true else "true" if self.false else "never evaluated"
        return f"{condition} is {outcome}"


def read_export(path, root):
    """Returns the conditions, the branches never taken as {name: file and line}, and each file's
    summary."""
    with open(path, encoding="utf-8") as export:
        data = json.load(export)["data"][0]
    sources, conditions, missed, summaries = {}, set(), {}, {}
    for file in data["files"]:
        full = os.path.realpath(file["filename"])
        name = os.path.relpath(full, os.path.realpath(root))
        sources[file["filename"]] = Source(full, name)
        summaries[name] = file["summary"]
    called = {}
    for function in data["functions"]:
        source = sources.get(function["filenames"][0])
        if source:
            first, _, last = function["regions"][0][:3]
            name = function["name"].rsplit(":", 1)[-1]
            source.add_function(name, first, last)
            key = (source.name, name, first)
            called[key] = max(called.get(key, 0), function["count"])
    for (name, function, first), count in called.items():
        if not count:
            missed[f"{name} {function} is never called"] = f"{name}:{first}"
    for file in data["files"]:
        source = sources[file["filename"]]
        for branch in branches_of(source, file["branches"]):
            conditions.add(branch.condition())
            if branch.missed():
                missed[branch.missed()] = f"{source.name}:{branch.line}"
    return conditions, missed, summaries


def branches_of(source, counted):
    """Returns the branches of one file."""
    branches = {}
    for line, column, last_line, last_column, true, false, *_ in counted:
        place = (line, column, last_line, last_column)
        branches.setdefault(place, Branch(source, place)).add(true, false)
    return branches.values()


def print_summaries(summaries):
    """Prints the coverage of lines and branches, with one line for each file."""
    totals = {"lines": [0, 0], "branches": [0, 0]}
    print(f"{'':20}{'lines':>20}{'branches':>20}")
    for name, summary in sorted(summaries.items()):
        if not summary["lines"]["count"]:
            continue
        parts = []
        for what, total in totals.items():
            total[0] += summary[what]["covered"]
            total[1] += summary[what]["count"]
            parts.append(share(summary[what]["covered"], summary[what]["count"]))
        print(f"{name:20}{parts[0]:>20}{parts[1]:>20}")
    print(f"{'all':20}{share(*totals['lines']):>20}{share(*totals['branches']):>20}")


def share(covered, count):
    """Returns a text like "9/10   90.0%"."""
    return f"{covered}/{count} {100 * covered / count if count else 100:6.1f}%"


def main():
    if len(sys.argv) != 4:
        print("usage: coverage.py EXPORT SOURCE EXPLAINED", file=sys.stderr)
        return 2
    conditions, missed, summaries = read_export(*sys.argv[1:3])
    explained, races = read_explanations(sys.argv[3], "branch", "")
    print_summaries(summaries)
    unexplained = sorted(set(missed) - set(explained))
    stale = sorted(name for name in set(explained) - set(missed)
                   if name not in races or name.rsplit(" is ", 1)[0] not in conditions)
    for name in sorted(set(missed) & set(explained)):
        print(f"Explained: {missed[name]}: {name.split(' ', 1)[1]}\n    {explained[name]}")
    for name in unexplained:
        print(f"Not explained: {missed[name]}: {name.split(' ', 1)[1]}")
    for name in stale:
        print(f"Explained, but taken or missing: {name}")
    print(f"{len(missed)} branches are never taken: {len(missed) - len(unexplained)} explained, "
          f"{len(unexplained)} not; {len(stale)} explanations are stale")
    return 1 if unexplained or stale else 0


if __name__ == "__main__":
    sys.exit(main())
