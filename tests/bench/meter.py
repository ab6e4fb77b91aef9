"""Measures times on a machine that is not idle: small batches, alternation, medians.

A variant is a name and a function that runs one batch and returns its time: a number, or a tuple of
numbers. Each round runs one batch of every variant of a figure, in random order, so that other load
on the machine affects all of them. The result for a variant is the median of its times. The result
for two variants is the median of the ratios within a round. A "twin" repeats a variant under
another name: the difference between the two is noise.
"""

import contextlib
import os
import random
import statistics
import subprocess
import tempfile
import time

SOURCE = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
BUILD = os.environ.get("SOCKGUARD_BUILD", SOURCE)
LIBRARY = os.environ.get("LIBRARY") or os.path.join(BUILD, ".libs", "libsockguard.so")
COMMAND = os.path.join(BUILD, "sockguard")
PLACES = {"tmpfs": "/dev/shm", "disk": "/var/tmp"}


def file_system(place):
    """The type of file system, as mount(8) names it."""
    found = subprocess.run(["findmnt", "-n", "-o", "FSTYPE", "-T", PLACES[place]], check=True,
                           capture_output=True, text=True)
    return found.stdout.split()[-1]


def scratch(place="tmpfs"):
    """Returns a temporary directory, for a with statement. In a block group, ext4 avoids recently
    freed inodes for minutes, and each search for another inode takes longer. With chattr +T, each
    subdirectory gets a block group of its own."""
    made = tempfile.TemporaryDirectory(prefix="sg-", dir=PLACES[place])
    if file_system(place).startswith("ext"):
        subprocess.run(["chattr", "+T", made.name], check=True)
    return made


class FreshDisk:
    """A temporary directory like that of scratch(), on a new ext4 file system in a file on the
    disk. After tens of thousands of files were removed from a file system, ext4 needs a minute to
    create as many again, with or without chattr. Requires root. Raises CalledProcessError if this
    process may not mount."""

    def __init__(self):
        self._made = scratch("disk")
        image, self.name = (os.path.join(self._made.name, name) for name in ("image", "mounted"))
        os.mkdir(self.name)
        try:
            for words in (["truncate", "-s", "1G", image],
                          ["mkfs.ext4", "-q", "-F", "-N", "131072", image],
                          ["mount", "-o", "loop,noinit_itable", image, self.name]):
                subprocess.run(words, check=True, capture_output=True)
        except BaseException:
            self._made.cleanup()
            raise

    def cleanup(self):
        subprocess.run(["umount", self.name], check=True)
        self._made.cleanup()


def may_mount():
    try:
        FreshDisk().cleanup()
    except subprocess.CalledProcessError:
        return False
    return True


def built(name):
    """Returns the path of a program or library that tests/bench/local.mk builds."""
    path = os.path.join(BUILD, "tests", "bench", *[".libs"] * name.endswith(".so"), name)
    if not os.path.exists(path):
        raise FileNotFoundError(f"{path} does not exist: run make bench")
    return path


def stripped(library, directory, name="stripped"):
    """Returns the path of a stripped copy. Packages strip the library too."""
    copy = os.path.join(directory, name)
    subprocess.run(["strip", "-o", copy, library], check=True)
    return copy


def environment(library=None, **extra):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("SOCKGUARD_", "LD_"))}
    env.update(extra)
    if library:
        if not os.path.exists(library):
            raise FileNotFoundError(library)  # the loader would only warn
        env["LD_PRELOAD"] = library
    return env


class Worker:
    """A process that answers each line with numbers. The first is a time in nanoseconds."""

    def __init__(self, argv, library=None, **popen):
        self._process = subprocess.Popen(argv, env=environment(library), text=True,
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, **popen)
        self.pid = self._process.pid

    def ask(self, *words):
        print(*words, file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(
                f"{self._process.args[0]} ended without answering {' '.join(map(str, words))}")
        return [int(number) for number in answer.split()]

    def close(self):
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Calls(Worker):
    """A process of tests/bench/calls, with a directory of its own."""

    def __init__(self, library=None, place="tmpfs", wrapper=()):
        self._scratch = FreshDisk() if place == "fresh disk" else scratch(place)
        self.dir = os.path.join(self._scratch.name, "calls")
        os.mkdir(self.dir)
        super().__init__([*wrapper, built("calls"), self.dir], library)

    def batch(self, kind, count):
        """Returns a function that makes that many calls and returns the time per call."""
        return lambda: self.ask(kind, count)[0] / count

    def close(self):
        super().close()
        self._scratch.cleanup()


@contextlib.contextmanager
def fakeroot(setpriv=("setpriv",)):
    """Runs fakeroot's daemon, through the given setpriv command, and yields the variables that
    fakeroot's library reads. The daemon is our own child and dies with us. A daemon started by
    fakeroot(1) would run for ever if fakeroot(1) were killed."""
    daemon = subprocess.Popen([*setpriv, "--pdeathsig", "TERM", "faked-sysv", "--foreground"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    try:
        yield {"FAKEROOTKEY": daemon.stdout.readline().split(":")[0],
               "FAKED_MODE": "unknown-is-root"}
    finally:
        daemon.terminate()  # it removes its message queues
        daemon.wait()
        daemon.stdout.close()


class Measurements:
    """The times of all variants of a figure, by round. "which" selects one number of a tuple."""

    def __init__(self, rounds):
        self.rounds = [{name: time if isinstance(time, tuple) else (time,)
                        for name, time in times.items()} for times in rounds]

    def median(self, name, which=0):
        return statistics.median(one[name][which] for one in self.rounds)

    def ratio(self, name, base, which=0):
        return statistics.median(one[name][which] / one[base][which] for one in self.rounds)

    def spread(self, name, base, which=0):
        """In half of the rounds, the ratio differs from 1 by at most this."""
        return statistics.median(abs(one[name][which] / one[base][which] - 1)
                                 for one in self.rounds)

    def difference(self, name, base, which=0):
        return statistics.median(one[name][which] - one[base][which] for one in self.rounds)


def interleave(variants, seconds):
    """Runs rounds for that many seconds, but at least two. The first, a warm-up, does not count."""
    names = list(variants)
    rounds = []
    end = time.monotonic() + seconds
    while len(rounds) < 2 or time.monotonic() < end:
        random.shuffle(names)
        times = {name: variants[name]() for name in names}
        rounds.append({name: times[name] for name in variants})
    return Measurements(rounds[1:])
