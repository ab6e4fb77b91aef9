#!/usr/bin/python3
"""Compares the documents with the code: documentation.py SOCKGUARD, the built command.

- Options: those in each --help are those in sockguard(1); each example uses options that exist.
- Messages: a manual page contains every message of the command, the guard and the supervisor,
  except those that LEFT_OUT lists with the reason.
- Settings: the SOCKGUARD_ variables in src/core/config.c are those in libsockguard(7) and
  README.md, which give the same values, and the same defaults.
- Exit statuses: those in src/command/command.h are those in sockguard(1), and include those in each
  --help.
- States and verdicts: the words in the code are those in sockguard(1), --help and the JSON schemas.
- Calls: those that the library wraps and those that the supervisor receives are those that the
  documents list.
- The record: the lines in libsockguard(7) are those that src/core/record.c writes.
- Limits: numbers in the code, such as the time that a process waits for a mutex, are those that the
  documents give.
- Files: every relative link in a Markdown file leads to a file, and its anchor to a heading; every
  file of the source tree that a document names exists, and so does every test in SECURITY.md.

Prints one line for each fault. The exit status is 1 if there is one.
"""

import ast
import json
import os
import re
import subprocess
import sys

SOURCE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
COMMANDS = ("", "run", "status", "check", "clean", "unit")
PAGES = ("man/sockguard.1.in", "man/libsockguard.7.in")


def text_of(path):
    with open(os.path.join(SOURCE, path), encoding="utf-8") as file:
        return file.read()


def differences(there, here, what):
    for name in sorted(there ^ here):
        yield what.format(name, "is missing" if name in there else "is not in the program")


def rendered(path):
    """The text of a manual page as a reader sees it, with single spaces."""
    shown = subprocess.run(["mandoc", "-T", "utf8", "-O", "width=1000", os.path.join(SOURCE, path)],
                           capture_output=True, text=True, check=False).stdout
    return " ".join(re.sub(".\b", "", shown).split())


def help_of(sockguard, command):
    return subprocess.run([sockguard, *command.split(), "--help"], capture_output=True, text=True,
                          check=True).stdout


def options_in_help(sockguard, command):
    words = re.findall(r"^ +(-[a-zA-Z-]+)(?:, (--[a-z-]+))?", help_of(sockguard, command),
                       re.MULTILINE)
    return {word for pair in words for word in pair if word}


def options_in_page(page, command):
    """The options in the command's subsection. Without a command: those before any subsection."""
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


# A command in a document, up to the program that run starts.
EXAMPLE = re.compile(r"\bsockguard (run|status|check|clean|unit)((?: +-[-a-z]+)*)")


def check_examples(sockguard):
    known = {command: options_in_help(sockguard, command) for command in COMMANDS}
    for path in [*sorted(markdown_files()), *PAGES]:
        text = rendered(path) if path in PAGES else " ".join(text_of(path).split())
        for command, options in EXAMPLE.findall(text):
            for option in set(options.split()) - known[command]:
                yield f"{path}: sockguard {command} has no option {option}"


# ---- messages ----

# The files whose strings are messages, and the messages that no manual page needs to explain.
MESSAGES = ("src/command/check.c", "src/command/clean.c", "src/command/command.c",
            "src/command/json.c", "src/command/library.c", "src/command/main.c",
            "src/command/process.c", "src/command/program.c", "src/command/run.c",
            "src/command/status.c", "src/command/unit.c", "src/command/way.c", "src/core/config.c",
            "src/core/guard.c", "src/core/report.c", "src/supervise/start.c",
            "src/supervise/supervisor.c", "src/supervise/worker.c")
LEFT_OUT = (
    # Usage errors, which end with a pointer to --help.
    "does not take a value", "requires a value", "unknown option", "unknown command",
    "unexpected argument", "no program given", "no program or PID given",
    "no path or directory given", "no unit given", "starts no program; name its service",
    "is not a valid unit name", "expected auto, preload or syscalls",
    # Lack of memory, and the ending of a reason under --strict.
    "out of memory", "; not started",
    # Valid values: libsockguard(7) lists them with each variable.
    "1 or 0", "auto, always or never", "patterns of absolute paths, separated by colons",
    # Debug messages, which may change in any version.
    "allowed: ", "failed as without the guard",
    # Comments in the drop-in of sockguard unit, which explain themselves.
    "# ", "#SystemCallFilter=", "run --by syscalls",
)


def strings_of(path):
    """The strings in C source text, without those of help texts. Joins adjacent ones."""
    text = re.sub(r"/\*.*?\*/|^#include.*?$", "", text_of(path), flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"static const char (?:help|usage)\[\] =.*?;\n", "", text, flags=re.DOTALL)
    macros = re.findall(r'^#define (\w+) +("[^"\n]*")$', text, re.MULTILINE)
    text = re.sub(r"^#define .*$", "", text, flags=re.MULTILINE)
    for name, value in macros:
        text = re.sub(rf"\b{name}\b", lambda _, value=value: value, text)
    for pieces in re.findall(r'(?:"(?:[^"\\\n]|\\.)*"\s*)+', text):
        yield "".join(re.findall(r'"((?:[^"\\]|\\.)*)"', pieces)).replace('\\"', '"')


def check_messages():
    """Compares the words between the arguments of each message: two words or more."""
    pages = " ".join(map(rendered, PAGES))
    for path in MESSAGES:
        for string in strings_of(path):
            string = string.removesuffix("\\n")
            if string.startswith(LEFT_OUT) or string.endswith(LEFT_OUT):
                continue
            for part in re.split(r"%-?[.*0-9]*[a-z]+|\\n", string):
                words = part.strip(" (")
                if re.search(r"[A-Za-z]{2,} +[a-z]", words) and words not in pages:
                    yield f"{path}: no manual page contains the message {words!r}"


# ---- settings, exit statuses, states, calls, the record ----

def check_variables():
    there = set(re.findall(r'"(SOCKGUARD_\w+)"', text_of("src/core/config.c")))
    page = set(re.findall(r"^\.It Ev (SOCKGUARD_\w+)$", text_of("man/libsockguard.7.in"),
                          re.MULTILINE))
    readme = set(re.findall(r"^\| `(SOCKGUARD_\w+)`", text_of("README.md"), re.MULTILINE))
    yield from differences(there, page, "man/libsockguard.7.in: {} {}")
    yield from differences(there, readme, "README.md: {} {}")


def check_defaults():
    """README.md lists the default of a setting first."""
    page = text_of("man/libsockguard.7.in").split("\n.Sh ENVIRONMENT\n")[1].split("\n.Sh ")[0]
    in_page = {}
    for item in page.split("\n.It Ev ")[1:]:
        found = re.search(r"\nDefault:(?:\n\.Cm (\w+)| (all paths|none))", item)
        in_page[item.split("\n")[0]] = found and (found[1] or found[2])
    for name, values in re.findall(r"^\| `(SOCKGUARD_\w+)` \| (.*?) \|", text_of("README.md"),
                                   re.MULTILINE):
        word = re.match(r"`(\w+)`", values)
        expected = in_page.get(name)
        if expected is None or (word is not None and word[1] != expected):
            yield f"README.md: {name}: the default is not that of man/libsockguard.7.in"


def check_values():
    """The words that a setting accepts, with the default first, as in the code."""
    page = text_of("man/libsockguard.7.in").split("\n.Sh ENVIRONMENT\n")[1].split("\n.Sh ")[0]
    code = text_of("src/core/config.c")
    for name, setter in (("SOCKGUARD_REUSE", "set_reuse"), ("SOCKGUARD_LOG", "set_log")):
        values = re.findall(r'"(\w+)"', re.search(setter + r"\(.*?words\[\] = \{(.*?)\}", code,
                                                  re.DOTALL)[1])
        row = re.search(rf"^\| `{name}` \| (.*?) \|", text_of("README.md"), re.MULTILINE)[1]
        if re.findall(r"`(\w+)`", row) != values:
            yield f"README.md: {name}: the values are not {', '.join(values)}"
        item = page.split(f"\n.It Ev {name}\n")[1].split("\n.It ")[0]
        yield from differences(set(values), set(re.findall(r"^\.Cm (\w+)", item, re.MULTILINE)),
                               f"man/libsockguard.7.in: {name}: {{}} {{}}")


def check_exit_statuses(sockguard):
    there = set(re.findall(r"^\tEXIT_\w+ = (\d+)", text_of("src/command/command.h"), re.MULTILINE))
    section = text_of("man/sockguard.1.in").split("\n.Sh EXIT STATUS\n")[1].split("\n.Sh ")[0]
    here = set(re.findall(r"^\.It (\d+)$", section, re.MULTILINE))
    yield from differences(there, here, "man/sockguard.1.in: exit status {} {}")
    for command in COMMANDS[1:]:
        shown = re.search(r"Exit status:(.*?)\n\n", help_of(sockguard, command), re.DOTALL)[1]
        for status in set(re.findall(r"\b\d+\b", shown)) - there:
            yield f"sockguard {command} --help: there is no exit status {status}"


def enumeration(schema, *names):
    value = json.loads(text_of(schema))
    for name in names:
        value = value[name]
    return {word for word in value["enum"] if word}


def words_in(path, array):
    body = re.search(array + r"\[\] = \{(.*?)\n\};", text_of(path), re.DOTALL)[1]
    return set(re.findall(r'= \{?"([\w-]+)"', body))


def check_words(sockguard):
    """The words for states in the code, the schemas, sockguard(1) and the help texts."""
    socket = ("$defs", "socket", "properties")
    lock_file = (*socket, "lock_file", "properties")
    holder = ("$defs", "holder", "properties")
    target = ("properties", "targets", "items", "properties")
    for path, array, schema, names in (
            ("src/command/status.c", "states", "status", (*socket, "state")),
            ("src/command/status.c", "locks", "status", (*lock_file, "state")),
            ("src/command/status.c", "guards", "status", (*holder, "guarded")),
            ("src/command/check.c", "verdicts", "check", (*target, "verdict")),
            ("src/command/way.c", "way_words", "check", (*target, "by")),
            ("src/command/way.c", "way_words", "status", (*holder, "by"))):
        schema = f"docs/{schema}.schema.json"
        yield from differences(words_in(path, array), enumeration(schema, *names),
                               f"{schema}: {names[-1]}: {{}} {{}}")
    page = text_of("man/sockguard.1.in")
    output = page.split("\n.Sh OUTPUT\n")[1].split("\n.Sh ")[0]
    for command, array in (("status", "states"), ("check", "verdicts")):
        there = words_in(f"src/command/{command}.c", array)
        section = page.split(f"\n.Ss sockguard {command}\n")[1].split("\n.Ss ")[0]
        here = re.findall(r"^\.It Cm (.*)$", section, re.MULTILINE)
        yield from differences(there, {word for line in here for word in line.split(" , ")},
                               f"man/sockguard.1.in: {command}: {{}} {{}}")
        for word in there - set(re.findall(r"[\w-]+", help_of(sockguard, command))):
            yield f"sockguard {command} --help: {word} is missing"
    shown = words_in("src/command/status.c", "locks") | words_in("src/command/status.c", "ways")
    for word in shown:
        if not re.search(rf"\b{word}\b", output):
            yield f"man/sockguard.1.in: OUTPUT: {word} is missing"


def check_calls():
    wrapped = set(re.findall(r"^EXPORT int (\w+)\(", text_of("src/preload/interpose.c"),
                             re.MULTILINE))
    wrapped -= {"prctl", "__prctl_time64"}  # wrapped only to read seccomp filters
    received = set(re.findall(r'^\t\{"(\w+)", REQUEST_', text_of("src/supervise/request.c"),
                              re.MULTILINE))
    library = text_of("man/libsockguard.7.in").split("\n.Sh DESCRIPTION\n")[1].split("\n.Bl ")[0]
    command = text_of("man/sockguard.1.in").split("\n.Ss The supervisor\n")[1].split("\n.Pp\n")[0]
    changes = re.search(r"The library wraps (.*?)\. ", " ".join(text_of("CHANGELOG.md").split()))[1]
    yield from differences(wrapped, set(re.findall(r"^\.Fn (\w+)", library, re.MULTILINE)),
                           "man/libsockguard.7.in: the function {} {}")
    yield from differences(wrapped, set(re.findall(r"`(\w+)`", changes)),
                           "CHANGELOG.md: the function {} {}")
    yield from differences(received, set(re.findall(r"^\.Xr (\w+) 2", command, re.MULTILINE)),
                           "man/sockguard.1.in: the supervisor's call {} {}")


def check_record():
    fields = re.search(r"\} fields\[\] = \{(.*?)\n\};", text_of("src/core/record.c"), re.DOTALL)[1]
    there = ["sockguard", "name", *re.findall(r'\{"(\w+)"', fields)]
    page = text_of("man/libsockguard.7.in")
    sample = re.search(r"\n(sockguard 1\n.*?)\n\.Ed", page, re.DOTALL)[1]
    if [line.split()[0] for line in sample.split("\n")] != there:
        yield f"man/libsockguard.7.in: the lines of the record are not {', '.join(there)}"


# The file and a pattern of each constant in the code; a divisor, to convert it to the unit of the
# documents; a number to add to the result; and for each document a pattern, in which {} stands for
# the number.
NUMBERS = {3: "three", 5: "five", 8: "eight", 10: "ten", 12: "twelve"}
LIMITS = (
    ("src/command/program.c", r"SCRIPTS +(\d+)", 1, -1,
     {"man/sockguard.1.in": r"at most {} interpreters"}),
    ("src/core/shared.h", r"SHARED_EXTRA (\d+)", 1, -1,  # a dot and the digits
     {"man/libsockguard.7.in": r"{} random hexadecimal digits"}),
    ("src/core/step.h", r"MUTEX_TIMEOUT_NS +INT64_C\((\d+)\)", 10 ** 9, 0,
     {"docs/design.md": r"{} seconds", "man/libsockguard.7.in": r"{} seconds",
      "src/core/report.c": r"{} seconds", "SECURITY.md": r"{} (?:s\b|seconds)"}),
    ("src/core/step.c", r"UNTRUSTED_TIMEOUT_NS +INT64_C\((\d+)\)", 10 ** 6, 0,
     {"docs/design.md": r"{} ms", "SECURITY.md": r"{} ms"}),
    ("src/supervise/pending.h", r"PENDING_SLOTS = (\d+)", 1, 0,
     {"docs/supervisor.md": r"{} workers"}),
    ("src/supervise/supervisor.c", r"WATCHERS = (\d+)", 1, 0,
     {"docs/supervisor.md": r"{} watchers", "docs/limits.md": r"{} such calls"}),
    ("src/supervise/supervisor.c", r"MAX_TRIES = (\d+)", 1, 0,
     {"docs/supervisor.md": r"{} workers died"}),
    ("src/core/record.h", r"RECORD_SIZE (\d+)", 1, 0, {"CHANGELOG.md": r"{} bytes"}),
)


def check_limits():
    for source, pattern, unit, more, documents in LIMITS:
        number = int(re.search(pattern, text_of(source))[1]) // unit + more
        words = f"(?:{number}|{NUMBERS.get(number, number)})"
        for document, phrase in documents.items():
            text = " ".join(text_of(document).split())
            if not re.search(phrase.format(words), text):
                yield f"{document}: does not say {phrase.format(number)!r}, unlike {source}"
    extra = sum(len(part) for part in re.findall(
        r'LOCKFILE_(?:PREFIX|SUFFIX) "(.*)"', text_of("src/core/lockfile.h")))
    for document in "man/libsockguard.7.in", "docs/limits.md":
        if f"longer than {255 - extra} bytes" not in " ".join(text_of(document).split()):
            yield f"{document}: does not say that a socket's name may have {255 - extra} bytes"


# ---- files ----


def without_code(markdown):
    return re.sub(r"^```.*?^```$|`[^`\n]*`", "", markdown, flags=re.MULTILINE | re.DOTALL)


def anchors_of(path):
    """The anchors that GitHub and similar sites make from the headings."""
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


# The name of a source file in backquotes. Files that the build makes, and patterns, are not checked.
NAMED_FILE = re.compile(r"`(?:\./)?((?:docs|man|packaging|scripts|src|tests)/[\w./-]+)[`\s]")


def check_files():
    for path in sorted(markdown_files()):
        for name in NAMED_FILE.findall(text_of(path)):
            made_from = f"{name}.c", f"{name}.in"
            if not any(os.path.exists(os.path.join(SOURCE, file)) for file in (name, *made_from)):
                yield f"{path}: {name}: there is no such file"


def test_names(module):
    """The classes of a test in Python, and their methods as Class.method. None: no such test."""
    for directory, _, names in os.walk(os.path.join(SOURCE, "tests")):
        if module + ".py" in names:
            with open(os.path.join(directory, module + ".py"), encoding="utf-8") as file:
                classes = [node for node in ast.walk(ast.parse(file.read()))
                           if isinstance(node, ast.ClassDef)]
            return {one.name for one in classes} | {
                f"{one.name}.{method.name}" for one in classes for method in one.body
                if isinstance(method, ast.FunctionDef)}
    return None


def check_tests():
    """The last cell of a row in SECURITY.md names tests, and classes or methods of some of them."""
    for cell in re.findall(r"\| ([^|]*\btest_[^|]*) \|$", text_of("SECURITY.md"), re.MULTILINE):
        for module, classes in re.findall(r"\b(test_\w+)(?:: ([\w., ]+))?", cell):
            known = test_names(module)
            if known is None:
                yield f"SECURITY.md: {module}: there is no such test"
            for name in re.findall(r"[A-Z][\w.]+", classes):
                if name not in (known or ()):
                    yield f"SECURITY.md: {module}: there is no {name}"


def main():
    if len(sys.argv) != 2:
        print("usage: documentation.py SOCKGUARD", file=sys.stderr)
        return 2
    faults = [*check_options(sys.argv[1]), *check_examples(sys.argv[1]), *check_messages(),
              *check_variables(), *check_defaults(), *check_values(),
              *check_exit_statuses(sys.argv[1]), *check_words(sys.argv[1]), *check_calls(),
              *check_record(), *check_limits(), *check_links(), *check_files(), *check_tests()]
    print(*faults, sep="\n", end="\n" if faults else "")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
