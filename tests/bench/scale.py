"""What changes with numbers: sockets on the machine, sockets of a process, processes at once; and
what the library takes up."""

import contextlib
import os
import re
import statistics
import subprocess

from figures import Figure
from meter import LIBRARY, Calls, Worker, built, interleave, scratch, stripped

EACH = 5000  # sockets a holder holds: below the usual hard limit of descriptors
CROWDS = (10, 1000, 20_000)
STARTERS = (8, 16, 32, 64, 128)


@contextlib.contextmanager
def _crowd(count):
    """That many live sockets, of unguarded processes."""
    with contextlib.ExitStack() as stack:
        while count > 0:
            stack.enter_context(Calls()).ask("own", min(count, EACH))
            count -= EACH
        yield


def crowd(seconds):
    group = "Sockets on the machine"
    with Calls() as plain, Calls(LIBRARY) as guarded:
        workers = {"plain": plain, "guarded": guarded}
        variants = {}
        for name, worker in workers.items():
            for count in CROWDS:
                def one(worker=worker, count=count):
                    with _crowd(count):
                        worker.ask("bind-unlink", 20)
                        return statistics.median(worker.ask("bind-unlink", 10)[0] / 10
                                                 for _ in range(20))
                variants[f"{name} {count}"] = one
        variants["twin 10"] = variants["guarded 10"]
        taken = interleave(variants, 6 * seconds)
    for count in CROWDS[1:]:
        yield Figure(group, f"bind, unlink with {count:,} others live", "us",
                     {name: taken.median(f"{name} {count}") / 1000 for name in workers},
                     taken.ratio(f"guarded {count}", "guarded 10"), "x with 10", 1.1,
                     taken.ratio("twin 10", "guarded 10"))


def owned(seconds):
    with Calls() as plain_first, Calls() as plain_last, Calls(LIBRARY) as first, \
            Calls(LIBRARY) as twin, Calls(LIBRARY) as last:
        for worker in (last, plain_last):
            worker.ask("own", 999)
        taken = interleave({"first": first.batch("bind-unlink", 1),
                            "twin": twin.batch("bind-unlink", 1),
                            "guarded": last.batch("bind-unlink", 1),
                            "plain": plain_last.batch("bind-unlink", 1),
                            "plain first": plain_first.batch("bind-unlink", 1)}, 2 * seconds)
    yield Figure("Sockets of a process", "bind, unlink of the 1,000th", "us",
                 {name: taken.median(name) / 1000
                  for name in ("plain", "guarded", "first", "plain first")},
                 taken.ratio("guarded", "first"), "x the 1st", 1.2, taken.ratio("twin", "first"))


def rush(seconds):
    """From the word to go until the last has its answer. Without the guard nearly all of them
    serve, each but the last in vain."""
    group = "Processes starting at once on one path"
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
                def one(worker=worker, count=count, how=how, key=(name, count)):
                    took, serve, _ = worker.ask(count, how)
                    serving.setdefault(key, []).append(serve)
                    return took
                variants[f"{name} {count}"] = one
        taken = interleave(variants, 6 * seconds)
    for count in STARTERS:
        wrong = sum(served != 1 for served in serving["guarded", count])
        if wrong:
            raise RuntimeError(f"{wrong} times not just one of {count} served")
        each = taken.median(f"guarded {count}") / count
        yield Figure(group, f"{count} processes, one serves", "ms",
                     {name: taken.median(f"{name} {count}") / 1e6
                      for name in ("plain", "guarded", "classic")},
                     taken.median(f"guarded {count}") / 1e6, "ms", 10.0 if count == 64 else None,
                     None, f"{each / 1000:.0f} us each; without the guard "
                     f"{max(serving['plain', count])} served at once")
    small, large = STARTERS[0], STARTERS[-1]
    yield Figure(group, f"growth from {small} to {large}", "", {},
                 taken.ratio(f"guarded {large}", f"guarded {small}") / (large / small),
                 "x linear", 1.1)


# ---- what it takes up ----

def _private(pid, wanted=""):
    """KiB of a process's own memory in the mappings of that file, or in all."""
    found, inside = 0, False
    with open(f"/proc/{pid}/smaps") as smaps:
        for line in smaps:
            if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
                inside = wanted in line
            elif inside and line.startswith(("Private_Clean:", "Private_Dirty:")):
                found += int(line.split()[1])
    return found


def memory(_seconds):
    """Of the second of two processes each, as the first may have pages that they share."""
    group = "Memory and size"
    with Calls() as _first, Calls() as plain, Calls(LIBRARY) as _other, \
            Calls(LIBRARY) as guarded:
        for moment in ("at its start", "with a socket of its own", "with 1,000 sockets"):
            if moment != "at its start":
                for worker in (_first, plain, _other, guarded):
                    worker.ask("own", 999 if "1,000" in moment else 1)
            else:
                for worker in (_first, plain, _other, guarded):
                    worker.ask("bind-inet", 1)
            values = {"plain": _private(plain.pid), "guarded": _private(guarded.pid),
                      "its file's mappings": _private(guarded.pid, LIBRARY)}
            yield Figure(group, f"a process's private memory {moment}", "KiB", values,
                         values["guarded"] - values["plain"], "KiB more",
                         32.0 if moment == "at its start" else None)


def size(_seconds):
    with scratch() as directory:
        bytes_of = os.path.getsize(stripped(LIBRARY, directory))
    yield Figure("Memory and size", "the library, stripped", "KiB",
                 {"guarded": bytes_of / 1024}, bytes_of / 1024, "KiB", 40.0)
