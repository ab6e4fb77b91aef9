"""The compatibility matrix: runs the servers that are asked for and tells what was seen.

usage: matrix.py [--packages] [--list] [--document FILE [--machines FILE]] [SERVER...]
"""

import argparse
import concurrent.futures
import os
import re
import shutil
import sys
import threading
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "integration")]

import harness  # noqa: E402
import document  # noqa: E402
import servers  # noqa: E402
import situations  # noqa: E402
import units  # noqa: E402
from server import SCRATCH, Place, version  # noqa: E402

_printing = threading.Lock()


def say(text):
    """Prints a line of progress, whole."""
    with _printing:
        print(text, flush=True)


def chosen(names):
    """The servers and units of these names, or of names that begin so; all without a name."""
    everyone = servers.all_servers() + units.rows()
    if not names:
        return everyone
    found = []
    for name in names:
        wanted = [one for one in everyone if one.name == name] or \
            [one for one in everyone if re.match(re.escape(name) + "[: ]", one.name)]
        if not wanted:
            print(f"There is no server {name}; --list tells which there are.", file=sys.stderr)
            sys.exit(2)
        found += [one for one in wanted if one not in found]
    return found


def public_copy(library):
    """A copy of the library that every user can read: servers drop privileges."""
    copy = os.path.join(SCRATCH.name, os.path.basename(library))
    shutil.copy(library, copy)
    os.chmod(copy, 0o755)
    return copy


def about(server):
    """The version of what a row is about, None if a package of it is not there."""
    if None in map(version, server.packages):
        return None
    return version(server.version_of or server.packages[0])


def measure(server, library, tell=True):
    """A server's row, whatever happens."""
    def progress(text):
        if tell:
            say(f"{server.name}: {text}")

    try:
        return situations.measure(server, about(server), library, progress)
    except Exception:  # pylint: disable=broad-except
        progress(traceback.format_exc())
        return situations.Row(server, about(server), [], [],
                              failed=traceback.format_exc().splitlines()[-1])


def run(wanted, jobs):
    """Runs servers and units, a few at a time; returns the rows of each, in order."""
    done = []

    def told(row):
        done.append(row)
        say(f"[{len(done)}/{len(wanted)}] {row.server.name}: {verdict(row)}")
        return row

    pool = concurrent.futures.ThreadPoolExecutor(jobs)
    library = public_copy(harness.LIBRARY)
    in_units = [one for one in wanted if isinstance(one, units.Unit)]
    under_systemd = pool.submit(units.measure_all, in_units, library, told)
    rows = list(pool.map(lambda server: told(measure(server, library)),
                         [one for one in wanted if one not in in_units]))
    return rows, under_systemd.result()


def verdict(row):
    """How a row has ended, in a line."""
    if row.skipped:
        return "skipped: " + row.skipped
    complaints = row.complaints()
    if complaints:
        return "failed: " + "; ".join(complaints)
    return "passed" + (f", not guardable: {row.not_guardable}" if row.not_guardable else "")


def main():
    """Returns the exit status: 1 when a row has failed."""
    parser = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1].strip())
    parser.add_argument("--packages", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--document")
    parser.add_argument("--machines")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("servers", nargs="*")
    options = parser.parse_args()
    wanted = chosen(options.servers)
    if options.list:
        print("\n".join(server.name for server in wanted))
        return 0
    if options.packages:
        print(" ".join(sorted({package for server in wanted for package in server.packages})))
        return 0
    rows, unit_rows = run(wanted, options.jobs)
    everything = rows + unit_rows
    failed = [row for row in everything if row.complaints()]
    skipped = [row for row in everything if row.skipped]
    count = (f"{len(everything) - len(failed) - len(skipped)} passed, {len(failed)} failed, "
             f"{len(skipped)} skipped")
    if options.document and skipped:
        say("What has skipped rows is not written down.")
    elif options.document:
        document.write(options.document, rows, unit_rows, count, options.machines)
    else:
        say("\n" + "\n\n".join(filter(None, [rows and document.table(rows),
                                            document.units_table(unit_rows)])))
    say("")
    for row in skipped + failed:
        say(f"{row.server.name}: {verdict(row)}")
    say(count)
    return 1 if failed else 0


def interrupted():
    """Ends everything at once, where waiting for the servers under way would take minutes."""
    for manager in list(units.Manager.all):
        manager.close()
    for place in list(Place.all):
        place.remove()
    SCRATCH.cleanup()
    os._exit(130)  # what is left of our processes ends with us: see keeper.py


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        interrupted()
