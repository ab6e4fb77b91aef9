#!/usr/bin/python3
"""Checks what is written for readers: documentation.py SOCKGUARD, the built command.

- Every option a --help names is in sockguard(1), and the other way round.
- Every SOCKGUARD_ variable of src/core/config.c is in libsockguard(7) and README.md, and the other way
  round.
- Every relative link in the Markdown files leads to a file, and its anchor to a heading.

Prints one line for each fault; the exit status is 1 when there is one.
"""

import os
import re
import subprocess
import sys

SOURCE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
COMMANDS = ("", "run", "status", "check", "clean", "unit")


def text_of(path):
    with open(os.path.join(SOURCE, path), encoding="utf-8") as file:
        return file.read()


def differences(there, here, what):
    for name in sorted(there ^ here):
        yield what.format(name, "is missing" if name in there else "is not in the program")


def options_in_help(sockguard, command):
    shown = subprocess.run([sockguard, *command.split(), "--help"], capture_output=True, text=True,
                           check=True).stdout
    words = re.findall(r"^ +(-[a-zA-Z-]+)(?:, (--[a-z-]+))?", shown, re.MULTILINE)
    return {word for pair in words for word in pair if word}


def options_in_page(page, command):
    """Those of the list in the command's subsection; of no command, before the first one."""
    description = page.split("\n.Sh DESCRIPTION\n")[1].split("\n.Sh ")[0]
    sections = re.split(r"\n\.Ss (?:sockguard )?", description)
    section = next(s for i, s in enumerate(sections)
                   if (s.split("\n")[0] == command if command else i == 0))
    items = re.findall(r"^\.It Fl (.*)", section, re.MULTILINE)
    return {"-" + word for item in items for word in re.sub(r" Ar .*", "", item).split(" , ")}


def check_options(sockguard):
    page = text_of("man/sockguard.1.in")
    for command in COMMANDS:
        yield from differences(options_in_help(sockguard, command), options_in_page(page, command),
                               f"man/sockguard.1.in: {command} {{}} {{}}".replace(":  ", ": "))


def check_variables():
    there = set(re.findall(r'"(SOCKGUARD_\w+)"', text_of("src/core/config.c")))
    page = set(re.findall(r"^\.It Ev (SOCKGUARD_\w+)$", text_of("man/libsockguard.7.in"),
                          re.MULTILINE))
    readme = set(re.findall(r"^\| `(SOCKGUARD_\w+)`", text_of("README.md"), re.MULTILINE))
    yield from differences(there, page, "man/libsockguard.7.in: {} {}")
    yield from differences(there, readme, "README.md: {} {}")


def without_code(markdown):
    return re.sub(r"^```.*?^```$|`[^`\n]*`", "", markdown, flags=re.MULTILINE | re.DOTALL)


def anchors_of(path):
    """As the forges make them of headings."""
    anchors = set()
    for heading in re.findall(r"^#+ +(.*)", re.sub(r"^```.*?^```$", "", text_of(path),
                                                   flags=re.MULTILINE | re.DOTALL), re.MULTILINE):
        anchor = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        number = 1
        while anchor in anchors:
            anchor = re.sub(r"-\d+$", "", anchor) + f"-{number}"
            number += 1
        anchors.add(anchor)
    return anchors


def markdown_files():
    for directory, subdirectories, names in os.walk(SOURCE):
        subdirectories[:] = [s for s in subdirectories if s != "build" and not s.startswith(".")]
        for name in names:
            if name.endswith(".md"):
                yield os.path.relpath(os.path.join(directory, name), SOURCE)


def check_links():
    for path in sorted(markdown_files()):
        links = re.findall(r'\]\(([^)\s]+)\)|(?:src|srcset|href)="([^"]+)"',
                           without_code(text_of(path)))
        for link in (a or b for a, b in links):
            if re.match(r"[a-z]+:", link):
                continue
            file, _, anchor = link.partition("#")
            target = os.path.normpath(os.path.join(os.path.dirname(path), file)) if file else path
            if not os.path.exists(os.path.join(SOURCE, target)):
                yield f"{path}: {link}: there is no such file"
            elif anchor and anchor not in anchors_of(target):
                yield f"{path}: {link}: there is no such heading"


def main():
    if len(sys.argv) != 2:
        print("usage: documentation.py SOCKGUARD", file=sys.stderr)
        return 2
    faults = [*check_options(sys.argv[1]), *check_variables(), *check_links()]
    print(*faults, sep="\n", end="\n" if faults else "")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
