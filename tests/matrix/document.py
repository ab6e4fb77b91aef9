"""Writes the compatibility matrix down, in Markdown."""

import datetime
import glob
import platform
import re

import situations

ABOUT = """\
# Compatibility

Does libsockguard work with my server? This table was made by `scripts/matrix`, which installs the
servers from Debian's packages, starts each as its package's unit does, or as its users do where there is
none ([what differs](#how-each-is-started)), without the guard and with it preloaded, and writes down what
it sees. Every cell is from the run of {date}: Debian {debian},
Linux {kernel}, {machine}. {count}

Run `scripts/matrix` to make it anew, or `scripts/matrix redis-server nginx` to see some servers only.
It wants root, and a machine where servers may be installed: a container will do.

## How to read it

Each cell says what happened without the guard and, after the arrow, with it; where there is no
arrow, the guard made no difference.

- **second start**: a second instance is started on the socket path while the first serves. *Stolen*:
  the path leads to the second from then on, and the first serves nobody. *Refused*: the path is the
  first's still; what the second says of that, and what becomes of it. *The guard names the owner*: it
  has told, in the second's log, which process the path belongs to.
- **client during it**: a client asks on and on during that attempt; is it answered, by the first?
- **restart after kill -9**: every process of the server is killed at once, and it is started again over
  what that left. *Yes* is a client answered by a start that needed a single attempt. Where the server
  does not set `SO_REUSEADDR` and gives up on any name that exists, the guard leaves it so;
  `SOCKGUARD_REUSE=always` changes that.
- **left after a clean stop**: what lies in the socket path's directory then. A lock file goes with the
  socket: where the server leaves its socket behind, the lock file stays beside it, and the next start
  clears up both.
- **reload or upgrade**: as the server's users do it, while a client polls with a new connection for
  each request. Afterwards the server is stopped, and what that leaves is compared as well.

In each guarded run the library was looked for in `/proc/PID/maps` of the processes that hold the socket,
and the lock file beside the socket. Where either is missing, the server is *not guardable*, and
the reason is the one the kernel tells.
"""
STARTED = """
## How each is started

What the unit of the server's Debian package runs, and what is run here. In all rows the files of an
instance are in a directory of its own, with the socket path; the user is the unit's, and the unit's
own restrictions (`SystemCallFilter=` and others) are not there: with these, whole machines are
compared, by `scripts/machine`. Where there is no unit, users start the server themselves.

| server | its package's unit | here | otherwise than there |
| --- | --- | --- | --- |
{rows}
"""
NOTES = """
## Notes

{notes}
"""
UNITS = """
## Units of systemd

A real systemd (package version {version}), as process 1 of a PID namespace of its own, and a user manager
below it. The units run gunicorn with `Environment=LD_PRELOAD=…`, or without it.

| manager | situation | unguarded | guarded |
| --- | --- | --- | --- |
{rows}

`DynamicUser=` needs a system manager: a user manager has not the privileges for it, and `User=` cannot
name another user there. A `DynamicUser=` unit has a `/tmp` of its own, so the library must not lie there.
Without `RuntimeDirectoryPreserve=` systemd removes a `RuntimeDirectory=` when any of the units that
share it stops, and whatever lies in it: give each unit its own.
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
    if row.not_guardable:
        name += f"<br>**not guardable:** {row.not_guardable}"
    if row.skipped or row.failed:
        cells = [_escape(f"{'skipped' if row.skipped else 'failed'}: {row.skipped or row.failed}")]
        cells += [""] * (len(situations.COLUMNS) - 1)
    else:
        cells = [_cell(before, after) for before, after in zip(row.unguarded, row.guarded)]
    return f"| {name} | " + " | ".join(cells) + " |"


def table(rows):
    """The servers' table."""
    head = ["server", *situations.COLUMNS]
    return "\n".join(["| " + " | ".join(head) + " |", "|" + " --- |" * len(head),
                      *map(_row, rows)])


def units_table(rows):
    """The rows of the table of systemd's units."""
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
    """What the unit of that name starts, with its variables as they are; empty without a unit."""
    directory = "/usr/lib/systemd/user/" if name.startswith("user/") else "/lib/systemd/system/"
    for path in sorted(glob.glob(directory + name.removeprefix("user/"))) if name else ():
        with open(path, encoding="utf-8") as file:
            text = re.sub(r"\\\n\s*", "", file.read())
        found = re.search(r"(?m)^ExecStart=[-!@]*(.*)$", text)
        return found[1] if found else ""
    return ""


def _started(rows):
    """The rows of the table of commands."""
    def code(text):
        quote = "``" if "`" in text else "`"
        return f"{quote}{text}{quote}".replace("|", "\\|") if text else "none"

    return "\n".join(f"| {row.server.name} | {code(_unit_runs(row.server.unit))} | "
                     f"{code(row.server.command)} | {row.server.differs} |" for row in rows)


def _debian():
    with open("/etc/os-release", encoding="utf-8") as file:
        words = dict(re.findall(r'(?m)^(\w+)="?(.*?)"?$', file.read()))
    try:
        with open("/etc/debian_version", encoding="utf-8") as file:
            return file.read().strip()
    except FileNotFoundError:
        return words.get("PRETTY_NAME", "unknown")


def _notes(rows):
    notes = [f"- {row.server.name}: {row.server.note}." for row in rows if row.server.note]
    notes += [f"- {row.server.name}: {', '.join(row.without)} holds the socket as well, but has not "
              "the library in it: the server starts it without `LD_PRELOAD` in its environment. "
              "What it might do to the path is not guarded; the server's own doing is."
              for row in rows if row.without]
    return "\n".join(notes)


def write(path, rows, units, count, machines=None):
    """Writes the whole document; machines: the file of the part about them."""
    with open(path, "w", encoding="utf-8") as file:
        file.write(ABOUT.format(date=datetime.date.today().isoformat(), debian=_debian(),
                                kernel=platform.release(), machine=platform.machine(),
                                count=f"In all: {count}."))
        file.write("\n## Servers\n\n" + table(rows) + "\n")
        file.write(STARTED.format(rows=_started(rows)))
        file.write(NOTES.format(notes=_notes(rows)))
        file.write(UNITS.format(version=units[0].version, rows=units_table(units)))
        if machines:
            with open(machines, encoding="utf-8") as part:
                file.write(part.read())
