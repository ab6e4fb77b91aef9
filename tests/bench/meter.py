"""Takes times on a machine that others work on too: in turns, in small batches, and by medians.

A variant is a name and a function that runs one batch and returns what it took: a number, or a
tuple of numbers. All variants of a figure run in one go, one batch each in every round, in an order
that changes; so whatever disturbs the machine disturbs all of them. Of each the median is told, and
of two the median of the ratios within a round. A "twin" is a variant once more, as if it were
another: what it differs by is noise.
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
    """A directory for a with statement. ext4 keeps away for minutes from the inodes it freed in a
    group of blocks, and searches ever longer: each directory made in this one gets a group of its
    own."""
    made = tempfile.TemporaryDirectory(prefix="sg-", dir=PLACES[place])
    if file_system(place).startswith("ext"):
        subprocess.run(["chattr", "+T", made.name], check=True)
    return made


class FreshDisk:
    """As scratch() gives, a directory, on an ext4 of its own, in a file on the disk. Where tens of
    thousands of files were removed, making as many again takes a minute, chattr or not. Wants root,
    and raises CalledProcessError where mounts are not permitted."""

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
    """What tests/bench/local.mk builds: a program, or a library."""
    path = os.path.join(BUILD, "tests", "bench", *[".libs"] * name.endswith(".so"), name)
    if not os.path.exists(path):
        raise FileNotFoundError(f"{path} is not built: make bench")
    return path


def stripped(library, directory, name="stripped"):
    """A copy as packages have it: the debugging information is a package of its own."""
    copy = os.path.join(directory, name)
    subprocess.run(["strip", "-o", copy, library], check=True)
    return copy


def environment(library=None, **more):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("SOCKGUARD_", "LD_"))}
    env.update(more)
    if library:
        if not os.path.exists(library):
            raise FileNotFoundError(library)  # the loader would only warn
        env["LD_PRELOAD"] = library
    return env


class Worker:
    """A process that answers each line with numbers, the first a time in nanoseconds."""

    def __init__(self, argv, library=None, **popen):
        self._process = subprocess.Popen(argv, env=environment(library), text=True,
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, **popen)
        self.pid = self._process.pid

    def ask(self, *words):
        print(*words, file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self._process.args[0]} died of {' '.join(map(str, words))}")
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
    """tests/bench/calls in a directory of its own."""

    def __init__(self, library=None, place="tmpfs", wrapper=()):
        self._scratch = FreshDisk() if place == "fresh disk" else scratch(place)
        self.dir = os.path.join(self._scratch.name, "calls")
        os.mkdir(self.dir)
        super().__init__([*wrapper, built("calls"), self.dir], library)

    def batch(self, kind, count):
        """A function that makes that many calls and returns the time of one."""
        return lambda: self.ask(kind, count)[0] / count

    def close(self):
        super().close()
        self._scratch.cleanup()


@contextlib.contextmanager
def fakeroot(setpriv=("setpriv",)):
    """What its library is to find in the environment, while its daemon runs as setpriv has it. That
    is our own child: the one that fakeroot(1) starts stays for ever where that is killed."""
    daemon = subprocess.Popen([*setpriv, "--pdeathsig", "TERM", "faked-sysv", "--foreground"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    try:
        yield {"FAKEROOTKEY": daemon.stdout.readline().split(":")[0],
               "FAKED_MODE": "unknown-is-root"}
    finally:
        daemon.terminate()  # and it gives back its message queues
        daemon.wait()
        daemon.stdout.close()


class Taken:
    """What all variants of a figure took, by round."""

    def __init__(self, rounds):
        self.rounds = [{name: one if isinstance(one, tuple) else (one,)
                        for name, one in each.items()} for each in rounds]

    def median(self, name, which=0):
        return statistics.median(one[name][which] for one in self.rounds)

    def ratio(self, name, to, which=0):
        return statistics.median(one[name][which] / one[to][which] for one in self.rounds)

    def spread(self, name, to, which=0):
        """Half of the rounds have a ratio that is no further from 1 than this."""
        return statistics.median(abs(one[name][which] / one[to][which] - 1)
                                 for one in self.rounds)

    def more(self, name, than, which=0):
        return statistics.median(one[name][which] - one[than][which] for one in self.rounds)


def interleave(variants, seconds):
    """Runs every variant once a round, for so long, two rounds at least; the first is for nothing."""
    names = list(variants)
    rounds = []
    end = time.monotonic() + seconds
    while len(rounds) < 2 or time.monotonic() < end:
        random.shuffle(names)
        took = {name: variants[name]() for name in names}
        rounds.append({name: took[name] for name in variants})
    return Taken(rounds[1:])
