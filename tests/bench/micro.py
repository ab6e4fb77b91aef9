"""Single calls and single starts."""

import contextlib
import os
import subprocess

import tally
from figures import Figure
from meter import COMMAND, LIBRARY, Calls, Worker, built, environment, fakeroot, file_system, \
    interleave, scratch, stripped

SHIMS = {  # Debian package: its library
    "libeatmydata1": "libeatmydata.so.1.3.0",
    "torsocks": "torsocks/libtorsocks.so.0.0.0",
    "libfaketime": "faketime/libfaketime.so.1",
    "libsocket-wrapper": "libsocket_wrapper.so",
    "libproxychains4": "libproxychains.so.4",
    "libfakeroot": "libfakeroot/libfakeroot-sysv.so",
}
# Settings that the libraries require, or that keep them from printing.
SHIM_SETTINGS = {"PROXYCHAINS_QUIET_MODE": "1", "SOCKET_WRAPPER_DIR": "/tmp"}
BATCH = 100
TARGETS = {"unlink a file": 1, "unlink an absent path": 1, "unlinkat a file": 1,
           "remove a file": 1, "rename a file": 2, "renameat2 two files exchanged": 2,
           "link a file": 2, "bind AF_INET": 1, "other calls": 0, "fork and wait": 0}
COUNTED = ("unlink a file", "unlink an absent path", "unlinkat a file", "remove a file",
           "rename a file", "bind AF_INET", "bind an abstract address", "bind a path",
           "unlink own socket", "unlink a live socket, refused", "other calls")


def shim(package):
    """Returns the path of the package's library."""
    listed = subprocess.run(["dpkg", "-L", package], capture_output=True, text=True, check=True)
    return next(path for path in listed.stdout.splitlines()
                if path.endswith("/" + SHIMS[package]))


def syscalls(_seconds):
    """Counts system calls with strace. The counts depend on the kernel, but not on the machine."""
    group = "System calls"
    with scratch() as directory, Calls(LIBRARY) as owner:
        owner.ask("own", 1)
        live = os.path.join(owner.dir, "own.0")
        plain, _ = tally.of_situations(built("tally"), directory, owner.dir + "/none",
                                       environment())
        guarded, _ = tally.of_situations(built("tally"), directory, live, environment(), LIBRARY)
        start = {name: tally.of_start(directory, environment(), library).total()
                 for name, library in (("plain", None), ("empty", built("empty.so")),
                                       ("guarded", LIBRARY))}
    for name, with_guard in guarded.items():
        values = {"plain": plain[name].total(), "guarded": with_guard.total()}
        yield Figure(group, name, "", values, values["guarded"] - values["plain"], "more",
                     TARGETS.get(name))
    yield Figure(group, "start of /bin/true", "", start, start["guarded"] - start["empty"],
                 "more than empty")


def instructions(_seconds):
    """Counts the instructions of the program, libc and the library, but not those of the kernel.
    The environment is empty, because the loader and the guard search it at the start."""
    group = "Instructions in user space"
    steps, env = built("steps"), {}
    with scratch() as directory, Calls(LIBRARY) as owner:
        owner.ask("own", 1)
        counts = {name: tally.instructions(steps, "marks", [built("tally"), directory, live], env,
                                           library)
                  for name, library, live in (("plain", None, owner.dir + "/none"),
                                              ("guarded", LIBRARY, owner.dir + "/own.0"))}
    for name in COUNTED:
        values = {which: by_name[name] for which, by_name in counts.items()}
        yield Figure(group, name, "", values, values["guarded"] - values["plain"], "more")
    start = {name: tally.instructions(steps, "whole", ["/bin/true"], env, library)["/bin/true"]
             for name, library in (("plain", None), ("guarded", LIBRARY),
                                   ("empty", built("empty.so")))}
    yield Figure(group, "start of /bin/true", "", start, start["guarded"] - start["empty"],
                 "more than empty")


def unlink(seconds):
    """Compares the guard, for paths that are not sockets, with the floor and with fakeroot."""
    with contextlib.ExitStack() as stack:
        settings = {**stack.enter_context(fakeroot()), "LD_PRELOAD": shim("libfakeroot")}
        under_fakeroot = ("env", *(f"{name}={value}" for name, value in settings.items()))
        for place in ("tmpfs", "disk"):
            workers = {name: stack.enter_context(Calls(library, place)) for name, library in (
                ("plain", None), ("floor", built("floor.so")), ("twin", built("floor.so")),
                ("guarded", LIBRARY))}
            workers["fakeroot"] = stack.enter_context(Calls(None, place, under_fakeroot))
            for kind in ("unlink", "unlinkat", "remove", "absent") if place == "tmpfs" else \
                    ("unlink", "unlinkat"):
                times = interleave({name: worker.batch(kind, BATCH)
                                    for name, worker in workers.items()}, seconds)
                yield Figure(f"Paths that are not sockets, {file_system(place)}",
                             "unlink of an absent path" if kind == "absent"
                             else f"{kind} of a file",
                             "ns", {name: times.median(name) for name in
                                    ("plain", "guarded", "floor", "fakeroot")},
                             times.ratio("guarded", "floor"), "x floor", 1.05,
                             times.ratio("twin", "floor"))


def rename(seconds):
    for place in ("tmpfs", "disk"):
        with Calls(None, place) as plain, Calls(None, place) as twin, \
                Calls(LIBRARY, place) as guarded:
            times = interleave({"plain": plain.batch("rename", BATCH),
                                "twin": twin.batch("rename", BATCH),
                                "guarded": guarded.batch("rename", BATCH)}, seconds)
        yield _compare_with_plain(f"Paths that are not sockets, {file_system(place)}",
                                  "rename of a file", times)


def _compare_with_plain(group, name, times):
    return Figure(group, name, "ns",
                  {which: times.median(which) for which in ("plain", "guarded")},
                  times.ratio("guarded", "plain"), "x plain", None, times.ratio("twin", "plain"))


def bind(seconds):
    """Measures binds, and compares the guard with the usual protocol of servers, which leaves its
    lock file in place."""
    for kind in ("bind-inet", "bind-abstract"):
        with Calls() as plain, Calls() as twin, Calls(LIBRARY) as guarded:
            times = interleave({"plain": plain.batch(kind, 50), "twin": twin.batch(kind, 50),
                                "guarded": guarded.batch(kind, 50)}, seconds)
        yield _compare_with_plain("Sockets", {"bind-inet": "bind, AF_INET",
                                              "bind-abstract": "bind, abstract"}[kind], times)
    for place in ("tmpfs", "disk"):
        with Calls(None, place) as plain, Calls(None, place) as bare, \
                Calls(LIBRARY, place) as guarded:
            for kind, name in (("bind-unlink", "bind, unlink"),
                               ("unlink-bind-unlink", "unlink, bind, unlink")):
                yield _socket_figure(f"{name}, {file_system(place)}", kind, plain, bare, guarded,
                                     seconds, 1.5 if place == "tmpfs" else None)


def _socket_figure(name, kind, plain, bare, guarded, seconds, target):
    """Compares with the classic protocol and, for bind and unlink, with the guard's system calls
    alone ("bare"). The latter run in a directory without the classic protocol's lock files."""
    variants = {"plain": plain.batch(kind, 20), "guarded": guarded.batch(kind, 20),
                "classic": plain.batch("classic-" + kind, 20),
                "twin": plain.batch("classic-" + kind, 20)}
    if kind == "bind-unlink":
        variants["bare"] = bare.batch("bare-" + kind, 20)
    times = interleave(variants, seconds)
    return Figure("Sockets", name, "us",
                  {which: times.median(which) / 1000 for which in variants if which != "twin"},
                  times.ratio("guarded", "classic"), "x classic", target,
                  times.ratio("twin", "classic"),
                  f"{times.ratio('guarded', 'bare'):.3f} x bare" if "bare" in variants else "")


def bare(seconds):
    """Measures each system call of the protocol separately, on tmpfs."""
    names = subprocess.run([built("calls"), "--bare"], capture_output=True, text=True,
                           check=True).stdout.splitlines()
    with Calls() as calls:
        times = interleave({"bare": lambda: tuple(calls.ask("bare-calls", BATCH))}, seconds)
    for which, name in enumerate(names):
        yield Figure(f"Bind and unlink, call by call, {file_system('tmpfs')}", name, "ns",
                     {"bare": times.median("bare", which) / BATCH})


def start(seconds):
    """Starts /bin/true with nothing preloaded, and with each library. All libraries are in one
    directory, because looking up the path is a part of the loader's time."""
    os.environ.update(SHIM_SETTINGS)
    libraries = {"empty": built("empty.so"), "floor": built("floor.so"), "guarded": LIBRARY,
                 **{package: shim(package) for package in SHIMS}}
    with scratch("disk") as directory, Worker([built("start")]) as starter:
        libraries = {"plain": "-", "twin": "-",
                     **{name: stripped(library, directory, name + ".so")
                        for name, library in libraries.items()}}
        times = interleave({name: lambda library=library: tuple(
            starter.ask(1, library, "/bin/true")) for name, library in libraries.items()},
            10 * seconds)
    extra = {name: times.difference(name, "plain") / 1000 for name in libraries}
    yield Figure("Start of /bin/true", "libsockguard", "us",
                 {name: times.median(name) / 1000 for name in ("plain", "guarded")},
                 extra["guarded"], "us more", 30.0, extra["twin"],
                 _processor_time(times, "guarded"))
    for name in libraries:
        if name in ("plain", "twin", "guarded"):
            continue
        yield Figure("Start of /bin/true", name, "us", {name: times.median(name) / 1000},
                     extra[name], "us more", None, extra["twin"], _processor_time(times, name))
    rivals = {package: extra[package] for package in SHIMS if package != "libeatmydata1"}
    cheapest = min(rivals, key=rivals.get)
    yield Figure("Start of /bin/true", "libsockguard compared with the cheapest of these", "us",
                 {"guarded": extra["guarded"], cheapest: rivals[cheapest]}, extra["guarded"],
                 "us more", rivals[cheapest], None, "excluding libeatmydata1")


def _processor_time(times, name):
    return f"processor time {times.difference(name, 'plain', 1) / 1000:+.0f} us, " \
        f"page faults {times.difference(name, 'plain', 2):+.0f}"


def run(seconds):
    """Compares sockguard run with flock(1), the usual wrapper for a server."""
    with scratch() as directory, Worker([built("start")]) as starter:
        lock = os.path.join(directory, "lock")
        lines = {"plain": "/bin/true", "flock": f"/usr/bin/flock -n {lock} /bin/true",
                 "twin": f"/usr/bin/flock -n {lock} /bin/true",
                 "env": f"/usr/bin/env LD_PRELOAD={LIBRARY} /bin/true",
                 "launch": f"{built('launch')} {LIBRARY} /bin/true",
                 "guarded": f"{COMMAND} run /bin/true"}
        times = interleave({name: lambda line=line: tuple(starter.ask(1, "-", line))
                            for name, line in lines.items()}, 4 * seconds)
    yield Figure("Start of /bin/true", "sockguard run /bin/true", "us",
                 {name: times.median(name) / 1000
                  for name in ("plain", "guarded", "flock", "env", "launch")},
                 times.ratio("guarded", "flock"), "x flock -n", 0.7, times.ratio("twin", "flock"),
                 f"launch {times.ratio('launch', 'flock'):.3f} x")

