"""Measures the figures and writes the documents. See scripts/bench.

    bench.py [--quick] [--list] [--document DIRECTORY] [NAME...]
"""

import argparse
import datetime
import os
import platform
import re
import sys
import time

import chart
import figures
import micro
import scale
import servers
import supervised
import trees
from meter import LIBRARY, PLACES, SOURCE, file_system

ROWS = {
    "syscalls": micro.syscalls,
    "instructions": micro.instructions,
    "unlink": micro.unlink,
    "rename": micro.rename,
    "bind": micro.bind,
    "bare": micro.bare,
    "start": micro.start,
    "run": micro.run,
    "rm": trees.remove,
    "git": trees.clone,
    "tar": trees.unpack,
    "crowd": scale.crowd,
    "owned": scale.owned,
    "rush": scale.rush,
    "memory": scale.memory,
    "size": scale.size,
    "servers": servers.servers,
    "supervised-calls": supervised.calls,
    "supervised-rm": supervised.remove,
    "supervised-start": supervised.start,
    "supervised-memory": supervised.memory,
    "supervised-servers": supervised.compare_servers,
}
SECONDS, QUICK_SECONDS = 6.0, 0.4  # per figure of a single call; other figures take a multiple
MARKS = ("<!-- scripts/bench writes from here -->", "<!-- to here -->")


def _conditions(seconds):
    """The date, the machine and the settings."""
    with open("/proc/cpuinfo") as info:
        model = re.search(r"model name\s*: (.*)", info.read())
    with open("/proc/loadavg") as loadavg:
        load = loadavg.read().split()[0]
    return {"date": datetime.date.today().isoformat(), "kernel": platform.release(),
            "processors": os.cpu_count(), "processor": model[1] if model else "unknown",
            "load at the start": float(load), "seconds per call": seconds,
            "file systems": {place: file_system(place) for place in PLACES}}


def _write_documents(results, conditions, directory):
    """Writes the JSON, the chart, and the tables between the marks in price.md."""
    with open(os.path.join(directory, "bench.json"), "w") as file:
        file.write(figures.as_json(results, conditions))
    chart.draw(results, os.path.join(directory, "price.svg"))
    with open(os.path.join(SOURCE, "docs", "price.md")) as file:
        before, rest = file.read().split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    when = (f"{conditions['date']}, Linux {conditions['kernel']}, {conditions['processors']} x "
            f"{conditions['processor']}, load {conditions['load at the start']} at the start.")
    with open(os.path.join(directory, "price.md"), "w") as file:
        file.write("\n".join([before + MARKS[0], "", when, "", figures.as_markdown(results),
                              MARKS[1] + after]))


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench", add_help=False)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--document")
    parser.add_argument("names", nargs="*")
    wanted = parser.parse_args()
    unknown = [name for name in wanted.names if name not in ROWS]
    if unknown:
        print(f"scripts/bench: no such figure: {unknown[0]}", file=sys.stderr)
        return 2
    if wanted.list:
        print("\n".join(ROWS))
        return 0
    seconds = QUICK_SECONDS if wanted.quick else SECONDS
    conditions = _conditions(seconds)
    results = []
    began = time.monotonic()
    for name in wanted.names or ROWS:
        found = list(ROWS[name](seconds))
        results += found
        for group, members in figures.groups(found):
            print(figures.as_text(group, members), end="\n\n", flush=True)
    if wanted.document:
        _write_documents(results, conditions, wanted.document)
    targets = [figure for figure in results if figure.target is not None]
    print(f"{sum(figure.reached for figure in targets)} of {len(targets)} targets reached, "
          f"in {time.monotonic() - began:.0f} s, with {LIBRARY}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
