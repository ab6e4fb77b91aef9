"""The compatibility matrix: runs the selected servers and reports the results.

usage: matrix.py [--packages] [--list] [--update FILE]
                 [--document FILE [--machines FILE | --suite SUITE]]
                 [--quick | SERVER...]
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

QUICK = ("gunicorn", "unicorn", "nginx", "haproxy", "haproxy -Ws", "php-fpm", "redis-server",
         "memcached", "postgresql", "supervisord")  # widely used servers
_printing = threading.Lock()


def say(text):
    """Prints a line of progress, without mixing it with the lines of other threads."""
    with _printing:
        print(text, flush=True)


def chosen(names):
    """Returns the servers and units with these names or prefixes; all of them without a name."""
    every = [one for one in servers.all_servers() if not one.too_old()] + units.rows()
    if not names:
        return every
    found = []
    for name in names:
        wanted = [one for one in every if one.name == name] or \
            [one for one in every if re.match(re.escape(name) + "[: ]", one.name)]
        if not wanted:
            print(f"scripts/matrix: unknown server: {name}. --list prints all names.",
                  file=sys.stderr)
            sys.exit(2)
        found += [one for one in wanted if one not in found]
    return found


def public_copy(library):
    """Returns a copy of the library that every user can read, because servers drop privileges. A
    copy of the command is beside it."""
    copies = {library: os.path.join(SCRATCH.name, os.path.basename(library)),
              harness.COMMAND: os.path.join(SCRATCH.name, "sockguard")}
    for original, copy in copies.items():
        shutil.copy(original, copy)
        os.chmod(copy, 0o755)
    os.makedirs(os.path.join(SCRATCH.name, ".libs"), exist_ok=True)
    shutil.copy(library, os.path.join(SCRATCH.name, ".libs"))  # the command searches there
    return copies[library]


def installed_version(server):
    """Returns the version of a row's package; None if one of its packages is not installed."""
    if None in map(version, server.packages):
        return None
    return version(server.version_of or server.packages[0])


def measure(server, library, verbose=True):
    """Returns a server's row. If an exception occurs, returns a failed row."""
    def progress(text):
        if verbose:
            say(f"{server.name}: {text}")

    try:
        return situations.measure(server, installed_version(server), library, progress)
    except Exception:  # pylint: disable=broad-except
        progress(traceback.format_exc())
        return situations.Row(server, installed_version(server), [], [],
                              failed=traceback.format_exc().splitlines()[-1])


def run(wanted, jobs):
    """Runs servers and units, a few at a time. Returns the rows of both, in order."""
    done = []

    def report(row):
        done.append(row)
        say(f"[{len(done)}/{len(wanted)}] {row.server.name}: {verdict(row)}")
        return row

    pool = concurrent.futures.ThreadPoolExecutor(jobs)
    library = public_copy(harness.LIBRARY)
    in_units = [one for one in wanted if isinstance(one, units.Unit)]
    under_systemd = pool.submit(units.measure_all, in_units, library, report)
    rows = list(pool.map(lambda server: report(measure(server, library)),
                         [one for one in wanted if one not in in_units]))
    return rows, under_systemd.result()


def verdict(row):
    """Returns the result of a row in one line."""
    if row.skipped:
        return "skipped: " + row.skipped
    complaints = row.complaints()
    if complaints:
        return "failed: " + "; ".join(complaints)
    return "passed" + (f", not guardable: {row.not_guardable}" if row.not_guardable else "")


def main():
    """Returns the exit status: 1 if a row has failed."""
    parser = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1].strip())
    parser.add_argument("--packages", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--document")
    parser.add_argument("--machines")
    parser.add_argument("--update")
    parser.add_argument("--suite")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("servers", nargs="*")
    options = parser.parse_args()
    wanted = chosen(options.servers or (QUICK if options.quick else ()))
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
    if options.update and not skipped and not failed:
        document.update(options.update, rows, servers.all_servers())
    if options.document and skipped:
        say("The document is not written, because some rows were skipped.")
    elif options.document and options.suite:
        document.write_suite(options.document, rows, count, options.suite)
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
    """Exits at once, because waiting for the running servers would take minutes."""
    for manager in list(units.Manager.all):
        manager.close()
    for place in list(Place.all):
        place.remove()
    SCRATCH.cleanup()
    os._exit(130)  # the keepers kill the remaining processes: see keeper.py


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        interrupted()
