"""Writes the compatibility matrix as Markdown."""

import datetime
import glob
import platform
import re
import textwrap

import situations

WIDTH = 110  # of paragraphs, as in the other documents

ABOUT = """\
# Compatibility

Does libsockguard work with my server? `scripts/matrix` made the tables below. It installs the servers from
Debian's packages, and starts each one as the package's unit does. If there is no unit, it starts the server
as its users do ([differences](#how-each-is-started)). It runs each server without the guard and with it, and
records the results. The guard is the preloaded library, except for servers marked *by system call*:
preloading cannot guard them, or guards them only in part, so the guard is the supervisor of `sockguard run`.
The complete run was on {date}: Debian {debian}, Linux {kernel}, {machine};
{count}.

Run `scripts/matrix` to repeat it, or `scripts/matrix redis-server nginx` to test some servers only. The
script needs root, and a machine on which it may install servers, such as a container.

## How to read it

Each cell describes what happened without the guard and, after the arrow, with it. If there is no arrow, the
result was the same.

- **second start**: the script starts a second instance on the socket path while the first one serves.
  *Stolen*: the path now leads to the second instance, and no client can reach the first one. *Refused*: the
  path still leads to the first instance. The cell quotes the second instance's message and shows how the
  second instance ended. *The guard names the owner*: the second instance's log contains the guard's line,
  which names the owner's process.
- **client during it**: whether the first instance answers the requests of a client during the second start.
- **restart after kill -9**: the script kills all processes of the server at once, and starts the server again
  over the files that they left. *Yes*: after a single start, the server answers a client. If a server does
  not set `SO_REUSEADDR` and fails on any path that exists, the guard does not change that;
  `SOCKGUARD_REUSE=always` does.
- **left after a clean stop**: the files that remain in the socket's directory. The guard removes the lock
  file together with the socket. If the server leaves its socket behind, the lock file remains as well, and
  the next start removes both.
- **reload or upgrade**: the script reloads or upgrades the server as users do, while a client sends requests
  over new connections. Afterwards, it stops the server and also compares the remaining files.

In each run with the preloaded library, the script checked that the processes that hold the socket had mapped
the library, and that the lock file was beside the socket. In each run by system call, it checked that
`sockguard check` reported these processes as guarded. A server for which that was not the case is marked *not
guardable*, with the reason.
"""
ABOUT_SUITE = """\
# Compatibility: {release}

This table shows widely used servers from the packages of {release}, with a library that was
built with the compiler of that release. [compatibility.md](compatibility.md) shows all servers, from Debian
12. It also explains how to read the table and how each server is started. All cells are from the run of
`scripts/matrix --suite {suite}` on {date}: Linux {kernel}, {machine}; {count}.
"""
STARTED = """
## How each is started

The table shows the command in the unit of the server's Debian package, and the command that the script ran.
`{{sock}}` is the socket path, `{{run}}` its directory, `{{dir}}` a directory for the instance's other files,
`{{name}}` the instance's name, and `{{program}}` the test program. Each instance runs as the unit's user. The
unit's restrictions (`SystemCallFilter=` and others) do not apply here; `scripts/machine` compares whole
machines on which they do. If there is no unit, users start the server themselves.

| server | its package's unit | here | differences |
| --- | --- | --- | --- |
{rows}
"""
NOTES = """
## Notes

{notes}
"""
UNITS = """
## systemd units

The tested systemd (package version {version}) is process 1 of a PID namespace of its own, with a
user manager below it. The units run gunicorn with and without `Environment=LD_PRELOAD=…`.

| manager | situation | unguarded | guarded |
| --- | --- | --- | --- |
{rows}

`DynamicUser=` needs the system manager: a user manager lacks the privileges for it, and `User=` cannot select
another user there. A `DynamicUser=` unit has its own `/tmp`, so the library must not be installed there.
Without `RuntimeDirectoryPreserve=`, systemd removes a `RuntimeDirectory=` with its contents when any of the
units that share it stops. Give each unit a directory of its own.
"""


def _escape(text):
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


def _cell(before, after):
    if before.text == after.text:
        return _escape(before.text)
    return f"{_escape(before.text)}<br>→ {_escape(after.text)}"


def _row(row):
    name = f"**{row.server.name}** ({row.server.language}, {row.server.kind})<br>" + \
        (row.version or "not installed")
    if row.server.by != "preload":
        name += "<br>*by system call*"
    if row.not_guardable:
        name += f"<br>**not guardable:** {row.not_guardable}"
    if row.skipped or row.failed:
        cells = [_escape(f"{'skipped' if row.skipped else 'failed'}: {row.skipped or row.failed}")]
        cells += [""] * (len(situations.COLUMNS) - 1)
    else:
        cells = [_cell(before, after) for before, after in zip(row.unguarded, row.guarded)]
    return f"| {name} | " + " | ".join(cells) + " |"


def table(rows):
    """Returns the table of servers."""
    head = ["server", *situations.COLUMNS]
    return "\n".join(["| " + " | ".join(head) + " |", "|" + " --- |" * len(head),
                      *map(_row, rows)])


def units_table(rows):
    """Returns the rows of the table of systemd's units."""
    lines = []
    for row in rows:
        if row.skipped or row.failed:
            cells = [f"{'skipped' if row.skipped else 'failed'}: {row.skipped or row.failed}", ""]
        else:
            cells = [row.unguarded[0].text, row.guarded[0].text]
        manager, _, situation = row.server.name.partition(": ")
        lines.append(f"| {manager} | " + " | ".join(map(_escape, [situation, *cells])) + " |")
    return "\n".join(lines)


def _unit_runs(name):
    """Returns the unit's command, with its variables unexpanded; empty if there is no unit."""
    directory = "/usr/lib/systemd/user/" if name.startswith("user/") else "/lib/systemd/system/"
    for path in sorted(glob.glob(directory + name.removeprefix("user/"))) if name else ():
        with open(path, encoding="utf-8") as file:
            text = re.sub(r"\\\n\s*", "", file.read())
        found = re.search(r"(?m)^ExecStart=[-!@]*(.*)$", text)
        return found[1] if found else ""
    return ""


def _started(rows):
    """Returns the rows of the table of commands."""
    def code(text):
        quote = "``" if "`" in text else "`"
        return f"{quote}{text}{quote}".replace("|", "\\|") if text else "none"

    return "\n".join(f"| {row.server.name} | {code(_unit_runs(row.server.unit))} | "
                     f"{code(row.server.command)} | {row.server.differs} |" for row in rows)


def _debian():
    with open("/etc/debian_version", encoding="utf-8") as file:
        return file.read().strip()


def _release(suite):
    """Returns the name of this system. Of Debian, it has the number of the point release; sid has no
    number, and the name of the next release in its place."""
    with open("/etc/os-release", encoding="utf-8") as file:
        words = dict(re.findall(r'(?m)^(\w+)="?(.*?)"?$', file.read()))
    if words["ID"] != "debian":
        return f"{words['NAME']} {words['VERSION_ID']} ({suite})"
    return "Debian sid" if suite == "sid" else f"Debian {_debian()} ({suite})"


def _notes(rows):
    notes = [f"- {row.server.name}: {row.server.note}." for row in rows if row.server.note]
    notes += [f"- {row.server.name}: the server starts {', '.join(row.without)} without "
              "`LD_PRELOAD` in its environment. That process then holds the socket without the "
              "library. The guard covers the server's calls on the path, but not those of that "
              "process." for row in rows if row.without]
    return "\n".join(notes)


def _conditions(count):
    return {"date": datetime.date.today().isoformat(), "debian": _debian(),
            "kernel": platform.release(), "machine": platform.machine(),
            "count": count}


def wrap(text):
    """Wraps the paragraphs and list items of a document. The other lines, such as those of tables,
    must remain as they are."""
    def filled(match):
        words = re.sub("`[^`]*`", lambda code: code[0].replace(" ", "\0"), " ".join(match[0].split()))
        return textwrap.fill(words, WIDTH, break_long_words=False, break_on_hyphens=False,
                             subsequent_indent="  " * bool(match[1])).replace("\0", " ") + "\n"

    return re.sub(r"(?m)^(- )?(?![|#\s]).*\n(?:(?![|#]|- |\n).*\n)*", filled, text)


def write_suite(path, rows, count, suite):
    """Writes the document about the servers of another release."""
    text = ABOUT_SUITE.format(suite=suite, release=_release(suite), **_conditions(count)) + \
        "\n" + table(rows) + "\n"
    if notes := _notes(rows):
        text += NOTES.format(notes=notes)
    with open(path, "w", encoding="utf-8") as file:
        file.write(wrap(text))


def _replace_or_insert(lines, start, line, followers):
    """Replaces the line that begins with start. If there is none, inserts the line before the first
    line that begins with one of followers."""
    for number, old in enumerate(lines):
        if old.startswith(start):
            lines[number] = line
            return
    number = next(number for number, old in enumerate(lines) if old.startswith(followers))
    lines.insert(number, line)


def _update_notes(lines, rows):
    """Replaces the notes of these servers with their current ones."""
    first = lines.index("## Notes") + 2
    last = lines.index("", first)
    names = tuple(f"- {row.server.name}: " for row in rows)
    notes = re.split(r"(?m)^(?=- )", "\n".join(lines[first:last]))
    kept = [note.rstrip() for note in notes if note.strip() and not note.startswith(names)]
    lines[first:last] = [*"\n".join(kept).splitlines(), *wrap(_notes(rows) + "\n").splitlines()]


def update(path, rows, all_servers):
    """Writes some rows into an existing document. all_servers lists all servers in the order of the
    document."""
    with open(path, encoding="utf-8") as file:
        lines = file.read().splitlines()
    for row in reversed(rows):
        names = [one.name for one in all_servers]
        later = names[names.index(row.server.name) + 1:]
        end = ("",)  # the empty line after the table
        servers = lines.index("## Servers") + 2
        part = lines[servers:]
        _replace_or_insert(part, f"| **{row.server.name}** (", _row(row),
                           tuple(f"| **{name}** (" for name in later) or end)
        lines[servers:] = part
        started = lines.index("## How each is started")
        part = lines[started:]
        table_at = next(number for number, line in enumerate(part) if line.startswith("| --- "))
        rest = part[table_at:]
        _replace_or_insert(rest, f"| {row.server.name} | ", _started([row]),
                           tuple(f"| {name} | " for name in later) or end)
        lines[started:] = part[:table_at] + rest
    _update_notes(lines, rows)
    exception = f"These rows are from a later run, on {datetime.date.today().isoformat()}: "
    intro = lines.index("## How to read it")
    exception += ", ".join(row.server.name for row in rows) + ".\n"
    lines[intro:intro] = [*wrap(exception).splitlines(), ""]
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


def write(path, rows, units, count, machines=None):
    """Writes the whole document. machines is a file that holds the section on whole machines."""
    text = ABOUT.format(**_conditions(count)) + "\n## Servers\n\n" + table(rows) + "\n" + \
        STARTED.format(rows=_started(rows)) + NOTES.format(notes=_notes(rows)) + \
        UNITS.format(version=units[0].version, rows=units_table(units))
    if machines:
        with open(machines, encoding="utf-8") as part:
            text += part.read()
    with open(path, "w", encoding="utf-8") as file:
        file.write(wrap(text))
