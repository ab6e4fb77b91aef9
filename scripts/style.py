#!/usr/bin/python3
"""Checks the language of documents, manuals, comments and messages: style.py [--all] [FILE...].

- Finds the words and constructions that scripts/style-words lists.
- Checks the spelling with codespell. scripts/spelling-ignore lists correct words that it would
  report.

Prints a line for each fault: FILE:LINE, the words, and what to write instead. Without a FILE,
checks the files that match ENFORCED, or with --all every file of the source tree. The exit status
is 1 if there is a fault.
"""

import argparse
import fnmatch
import os
import re
import subprocess
import sys

SOURCE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
WORDS = os.path.join(SOURCE, "scripts/style-words")
SPELLING = os.path.join(SOURCE, "scripts/spelling-ignore")

# Patterns of the files that must have no faults.
ENFORCED = (
    "*.md", "man/*.in", "scripts/*", "completions/*", "debian/control",
    "src/command/*.[ch]", "src/core/*.[ch]", "src/preload/*.[ch]", "src/supervise/*.[ch]",
    "tests/*",
)
NO_PROSE = ("*.png", "*.svg", "*.json", "*/corpus/*", "LICENSE", "scripts/style-words",
            "scripts/spelling-ignore", "build-aux/*", "m4/*", "configure*", "aclocal.m4",
            "Makefile*", "*.pyc")


def source_files():
    for directory, subdirectories, names in os.walk(SOURCE):
        subdirectories[:] = [s for s in subdirectories
                             if not s.startswith(".") and s not in ("build", "__pycache__",
                                                                    "autom4te.cache")]
        for name in names:
            path = os.path.relpath(os.path.join(directory, name), SOURCE)
            if not any(fnmatch.fnmatch(path, pattern) for pattern in NO_PROSE):
                yield path


def rules():
    with open(WORDS, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if line.startswith("#") or not line.strip():
                continue
            expression, _, advice = line.rstrip("\n").partition("\t")
            try:
                yield re.compile(expression, re.IGNORECASE), advice.strip()
            except re.error as error:
                raise SystemExit(f"scripts/style-words:{number}: {error}") from error


C_PROSE = re.compile(r"/\*.*?\*/|//[^\n]*|\"(?:[^\"\\\n]|\\.)*\"", re.DOTALL)
PYTHON_PROSE = re.compile(r'""".*?"""|#[^\n]*|f?"(?:[^"\\\n]|\\.)*"', re.DOTALL)
SCRIPT_PROSE = re.compile(r"(?:^|(?<=\s))#[^\n]*|\"(?:[^\"\\]|\\.)*\"", re.MULTILINE)
CODE_IN_MARKDOWN = re.compile(r"^```.*?^```$|`[^`\n]*`|\]\([^)]*\)", re.MULTILINE | re.DOTALL)
# The characters before and after the words of a line in a comment, a string or a manual page.
LEADER = re.compile(r"^(?:/?\*+/?|#+|//|f?\"+|\.\w+\b)?\s*")
TRAILER = re.compile(r"(?:\\n|\"+|\*+/|\\|;|,)*$")
# A line of a document or manual page that begins an item of a list, a row or a heading.
DOCUMENT_ITEM = re.compile(r"[-|] |\* \w|#|\.(It|Sh|Ss)\b")


def pieces_of(path, text):
    """Returns (offset, text) of each piece of prose: a comment, a string, a whole document."""
    if path.endswith(".md"):
        return [(0, CODE_IN_MARKDOWN.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text))]
    if fnmatch.fnmatch(path, "man/*.in") or path.endswith(("explained", ".pml")):
        return [(0, text)]
    pattern = (C_PROSE if path.endswith((".c", ".h")) else
               PYTHON_PROSE if path.endswith(".py") else SCRIPT_PROSE)
    pieces = []
    for match in pattern.finditer(text):
        start, words = match.start(), match[0]
        last = pieces[-1] if pieces else (0, "")
        between = text[last[0] + len(last[1]):start] if pieces else "x"
        if not between.strip() and last[1][0] == words[0]:  # the lines of one comment or message
            pieces[-1] = (last[0], last[1] + between + words)
        else:
            pieces.append((start, words))
    return pieces


def paragraphs_of(path, text):
    """Yields (words, line of each word) for each paragraph."""
    is_document = path.endswith((".md", ".in"))
    for offset, piece in pieces_of(path, text):
        first = text.count("\n", 0, offset) + 1
        words, lines = [], []
        for number, line in enumerate(piece.split("\n"), first):
            bare = line.strip()
            if not bare or bare in ("*", "#", ".Pp") or is_document and DOCUMENT_ITEM.match(bare):
                yield words, lines
                words, lines = [], []
            bare = TRAILER.sub(lambda match: re.sub(r"[^;,]", "", match[0]), LEADER.sub("", bare))
            words += bare.split()
            lines += [number] * len(bare.split())
        yield words, lines


def faults_in(path, text, all_rules):
    for words, lines in paragraphs_of(path, text):
        prose = " ".join(words)
        for expression, advice in all_rules:
            for match in expression.finditer(prose):
                before = prose[:match.start()].count(" ") + match[0].startswith(" ")
                line = lines[min(before, len(lines) - 1)]
                yield line, f"{path}:{line}: \"{match[0].strip()}\": {advice}"


def check_words(paths):
    all_rules = list(rules())
    for path in paths:
        try:
            with open(os.path.join(SOURCE, path), encoding="utf-8") as file:
                text = file.read()
        except UnicodeDecodeError:
            continue
        yield from (fault for _, fault in sorted(faults_in(path, text, all_rules)))


def check_spelling(paths):
    found = subprocess.run(["codespell", "--ignore-words", SPELLING, *paths], cwd=SOURCE,
                           capture_output=True, text=True, check=False)
    if found.returncode not in (0, 65):
        raise SystemExit(found.stderr)
    yield from found.stdout.splitlines()


def main():
    parser = argparse.ArgumentParser(description="Checks words and spelling.")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("file", nargs="*")
    options = parser.parse_args()
    every = sorted(source_files())
    enforced = [path for path in every
                if any(fnmatch.fnmatch(path, pattern) for pattern in ENFORCED)]
    given = [os.path.relpath(os.path.abspath(path), SOURCE) for path in options.file]
    found = [*check_words(given or (every if options.all else enforced)),
             *check_spelling(given or every)]
    print(*found, sep="\n", end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
