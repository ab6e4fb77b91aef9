"""Programs under a supervisor (sockguard run --by syscalls): calls, starts, rm, memory, servers.

In these figures "guarded" means under a supervisor, without the library. Times are elapsed times,
because the processor time of the program does not include that of the supervisor. "floor" is a
supervisor that lets each guarded call continue without checking it (notified.c). It shows the
minimum for any supervisor."""

import glob
import os
import statistics
import time

import servers
from figures import Figure
from meter import COMMAND, LIBRARY, Calls, Worker, built, file_system, interleave

GROUP = "Under a supervisor"
WRAPPER = (COMMAND, "run", "--by", "syscalls")
NOTIFIED = (("unlink", "unlink of a file"), ("absent", "unlink of an absent path"),
            ("rename", "rename of a file"), ("link", "link of a file"))
OTHERS = (("getppid", "getppid"), ("stat", "stat of a directory"),
          ("open-close", "open and close of a directory"))
BATCH = 100
NOTIFIED_TARGET = 12.0  # microseconds that a supervised call may take longer
RIVALS = {"strace": "/usr/bin/strace -f -o /dev/null -e trace=%file",
          "fakeroot-tcp": "/usr/bin/fakeroot-tcp", "proot": "/usr/bin/proot"}
CHILDREN = 1000


def calls(seconds):
    """Measures calls that the supervisor decides, and calls that its filter allows."""
    with Calls() as plain, Calls() as twin, Calls(wrapper=WRAPPER) as guarded, \
            Calls(wrapper=(built("notified"),)) as floor:
        workers = {"plain": plain, "twin": twin, "guarded": guarded, "floor": floor}
        for kind, name in NOTIFIED:
            times = interleave({which: worker.batch(kind, BATCH)
                                for which, worker in workers.items()}, seconds)
            yield Figure(GROUP, f"{name}, {file_system('tmpfs')}", "us",
                         {which: times.median(which) / 1000
                          for which in ("plain", "guarded", "floor")},
                         times.difference("guarded", "plain") / 1000, "us more",
                         NOTIFIED_TARGET,
                         times.difference("twin", "plain") / 1000,
                         f"floor {times.difference('floor', 'plain') / 1000:.1f} us more")
        for kind, name in OTHERS:
            times = interleave({which: worker.batch(kind, BATCH * 10)
                                for which, worker in workers.items()}, seconds)
            noise = times.spread("twin", "plain")
            yield Figure(GROUP, f"{name}, not guarded", "ns",
                         {which: times.median(which) for which in ("plain", "guarded", "floor")},
                         times.ratio("guarded", "plain"), "x plain", 1 + noise, noise,
                         f"{times.difference('guarded', 'plain'):.0f} ns more, "
                         f"floor {times.difference('floor', 'plain'):.0f}")


def remove(seconds):
    """The price is the largest ratio to one of RIVALS. Above 1, that rival is faster."""
    count = 1000 if seconds < 1 else 10_000
    lines = {"plain": "", "twin": "", "guarded": " ".join(WRAPPER), "floor": built("notified"),
             **RIVALS}
    with Worker([built("start")]) as starter:
        def run(wrapper, library="-"):
            with Calls() as creator:
                creator.ask("files", count)
                return starter.ask(1, library, f"{wrapper} /bin/rm -rf {creator.dir}")[0]
        variants = {name: lambda wrapper=wrapper: run(wrapper) for name, wrapper in lines.items()}
        variants["preloaded"] = lambda: run("", LIBRARY)
        times = interleave(variants, 6 * seconds)
    ratios = {name: times.ratio("guarded", name) for name in RIVALS}
    nearest = max(ratios, key=ratios.get)
    shown = ("plain", "guarded", "floor", "preloaded", *RIVALS)
    yield Figure(GROUP, f"rm -rf of {count:,} files, {file_system('tmpfs')}", "ms",
                 {name: times.median(name) / 1e6 for name in shown},
                 ratios[nearest], f"x {nearest}", 1.0, times.ratio("twin", "plain"),
                 "x plain: " + ", ".join(f"{'supervisor' if name == 'guarded' else name} "
                                         f"{times.ratio(name, 'plain'):.1f}"
                                         for name in shown if name != "plain"))


def start(seconds):
    """Measures the time until the program has ended. The supervisor ends later."""
    lines = {"plain": "/bin/true", "run": f"{COMMAND} run /bin/true",
             "twin": f"{COMMAND} run /bin/true", "guarded": " ".join((*WRAPPER, "/bin/true"))}
    with Worker([built("start")]) as starter:
        times = interleave({name: lambda line=line: starter.ask(1, "-", line)[0]
                            for name, line in lines.items()}, 4 * seconds)
    yield Figure(GROUP, "sockguard run --by syscalls /bin/true", "us",
                 {name: times.median(name) / 1000 for name in ("plain", "guarded", "run")},
                 times.ratio("guarded", "run"), "x sockguard run", None,
                 times.ratio("twin", "run"),
                 f"{times.difference('guarded', 'run') / 1000:.0f} us more")


def _supervisors_of(program):
    """Returns the pids of all processes of the supervisor of that program."""
    found = []
    for file in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(file) as cmdline:
                if cmdline.read().rstrip("\0") == f"sockguard: supervisor of {program}":
                    found.append(int(file.split("/")[2]))
        except (FileNotFoundError, ProcessLookupError):
            pass  # the process has ended
    return found


def _proportional_set_size(pid):
    """Returns the PSS in KiB, which includes this process's share of each shared page."""
    with open(f"/proc/{pid}/smaps_rollup") as rollup:
        return next(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))


def memory(_seconds):
    """Adds up the processes of a supervisor after each supervised process has bound a socket."""
    for count, target in ((1, 1024.0), (CHILDREN, 2048.0)):
        with Calls(wrapper=WRAPPER) as worker:
            worker.ask("own", 1)
            if count > 1:
                worker.ask("children", count - 1)
            time.sleep(1)  # until the supervisor's idle worker has ended
            samples = []
            for _ in range(3):
                supervisor = _supervisors_of(worker.pid)
                if not supervisor:
                    raise RuntimeError(f"there is no supervisor of {worker.pid}")
                samples.append(sum(map(_proportional_set_size, supervisor)))
            yield Figure(GROUP, "memory (PSS) of the supervisor of "
                         + (f"{count:,} processes" if count > 1 else "one process"), "KiB",
                         {"guarded": statistics.median(samples)}, statistics.median(samples),
                         "KiB", target, None, f"in {len(supervisor)} processes")


def compare_servers(seconds):
    yield from servers.compare(("nginx", "redis"), GROUP, None, WRAPPER, seconds)
