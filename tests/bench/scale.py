"""Figures for growing numbers of sockets on the machine, of sockets of a process, and of concurrent
processes; and the memory and the size of the library."""

import contextlib
import os
import re
import statistics
import subprocess

from figures import Figure
from meter import LIBRARY, Calls, Worker, built, interleave, scratch, stripped

SOCKETS_PER_PROCESS = 5000  # below the usual hard limit on descriptors
CROWDS = (10, 1000, 20_000)
STARTERS = (8, 16, 32, 64, 128)


@contextlib.contextmanager
def _crowd(count):
    """Runs unguarded processes that hold that many live sockets."""
    with contextlib.ExitStack() as stack:
        while count > 0:
            stack.enter_context(Calls()).ask("own", min(count, SOCKETS_PER_PROCESS))
            count -= SOCKETS_PER_PROCESS
        yield


def crowd(seconds):
    group = "Sockets on the machine"
    with Calls() as plain, Calls(LIBRARY) as guarded:
        workers = {"plain": plain, "guarded": guarded}
        variants = {}
        for name, worker in workers.items():
            for count in CROWDS:
                def bind_in_crowd(worker=worker, count=count):
                    with _crowd(count):
                        worker.ask("bind-unlink", 20)
                        return statistics.median(worker.ask("bind-unlink", 10)[0] / 10
                                                 for _ in range(20))
                variants[f"{name} {count}"] = bind_in_crowd
        variants["twin 10"] = variants["guarded 10"]
        times = interleave(variants, 6 * seconds)
    for count in CROWDS[1:]:
        yield Figure(group, f"bind, unlink with {count:,} other live sockets", "us",
                     {name: times.median(f"{name} {count}") / 1000 for name in workers},
                     times.ratio(f"guarded {count}", "guarded 10"), "x with 10", 1.1,
                     times.ratio("twin 10", "guarded 10"))


def owned(seconds):
    with Calls() as plain_first, Calls() as plain_last, Calls(LIBRARY) as first, \
            Calls(LIBRARY) as twin, Calls(LIBRARY) as last:
        for worker in (last, plain_last):
            worker.ask("own", 999)
        times = interleave({"first": first.batch("bind-unlink", 1),
                            "twin": twin.batch("bind-unlink", 1),
                            "guarded": last.batch("bind-unlink", 1),
                            "plain": plain_last.batch("bind-unlink", 1),
                            "plain first": plain_first.batch("bind-unlink", 1)}, 2 * seconds)
    yield Figure("Sockets of a process", "bind, unlink of the 1,000th socket", "us",
                 {name: times.median(name) / 1000
                  for name in ("plain", "guarded", "first", "plain first")},
                 times.ratio("guarded", "first"), "x the first", 1.2, times.ratio("twin", "first"))


def rush(seconds):
    """Measures the time from the start signal until the last process has succeeded or failed.
    Without the guard nearly all of them serve, although only the last one is reachable."""
    group = "Processes started at once on one path"
    with scratch() as directory, contextlib.ExitStack() as stack:
        workers = {name: stack.enter_context(Worker([built("rush"), directory], library,
                                                    stderr=subprocess.DEVNULL))
                   for name, library in (("plain", None), ("guarded", LIBRARY))}
        serving = {}
        variants = {}
        for count in STARTERS:
            for name, worker, how in (("plain", workers["plain"], "guard"),
                                      ("classic", workers["plain"], "classic"),
                                      ("guarded", workers["guarded"], "guard")):
                def start_all(worker=worker, count=count, how=how, key=(name, count)):
                    took, serve, _ = worker.ask(count, how)
                    serving.setdefault(key, []).append(serve)
                    return took
                variants[f"{name} {count}"] = start_all
        times = interleave(variants, 6 * seconds)
    for count in STARTERS:
        wrong = sum(served != 1 for served in serving["guarded", count])
        if wrong:
            raise RuntimeError(f"in {wrong} rounds, the number of servers among {count} was not 1")
        each = times.median(f"guarded {count}") / count
        yield Figure(group, f"{count} processes, one serves", "ms",
                     {name: times.median(f"{name} {count}") / 1e6
                      for name in ("plain", "guarded", "classic")},
                     times.median(f"guarded {count}") / 1e6, "ms", 10.0 if count == 64 else None,
                     None, f"{each / 1000:.0f} us each; without the guard "
                     f"{max(serving['plain', count])} served at once")
    small, large = STARTERS[0], STARTERS[-1]
    yield Figure(group, f"growth from {small} to {large} processes", "", {},
                 times.ratio(f"guarded {large}", f"guarded {small}") / (large / small),
                 "x linear", 1.1)


# ---- memory and size ----

def _private_memory(pid, wanted=""):
    """Returns the private KiB of a process in the mappings of that file, or in all mappings."""
    found, inside = 0, False
    with open(f"/proc/{pid}/smaps") as smaps:
        for line in smaps:
            if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
                inside = wanted in line
            elif inside and line.startswith(("Private_Clean:", "Private_Dirty:")):
                found += int(line.split()[1])
    return found


def memory(_seconds):
    """Measures the second of two identical processes. The two share pages that a single process
    would have for itself."""
    group = "Memory and size"
    with Calls() as plain_twin, Calls() as plain, Calls(LIBRARY) as guarded_twin, \
            Calls(LIBRARY) as guarded:
        for moment in ("at its start", "with a socket of its own", "with 1,000 sockets"):
            if moment != "at its start":
                for worker in (plain_twin, plain, guarded_twin, guarded):
                    worker.ask("own", 999 if "1,000" in moment else 1)
            else:
                for worker in (plain_twin, plain, guarded_twin, guarded):
                    worker.ask("bind-inet", 1)
            values = {"plain": _private_memory(plain.pid), "guarded": _private_memory(guarded.pid),
                      "mappings of the library": _private_memory(guarded.pid, LIBRARY)}
            yield Figure(group, f"private memory of a process {moment}", "KiB", values,
                         values["guarded"] - values["plain"], "KiB more",
                         32.0 if moment == "at its start" else None)


def size(_seconds):
    with scratch() as directory:
        stripped_size = os.path.getsize(stripped(LIBRARY, directory))
    yield Figure("Memory and size", "the library, stripped", "KiB",
                 {"guarded": stripped_size / 1024}, stripped_size / 1024, "KiB", 40.0)
