"""Counts the system calls (with strace) and the instructions that a library call makes."""

import collections
import os
import re
import subprocess

STRACE = "/usr/bin/strace"


def parse(log):
    """Returns {situation: Counter of system calls} from strace's log of tests/bench/tally."""
    counts, inside = {}, None
    for line in log.splitlines():
        mark = re.search(r'\baccess\("== (.*?)"', line)
        if mark:
            inside = counts.setdefault(mark[1], collections.Counter()) if mark[1] else None
            continue
        call = re.match(r"(?:\d+ +)?(\w+)\(", line)
        if call and inside is not None:
            inside[call[1]] += 1
    return counts


def _strace(argv, env, library):
    log = os.path.join(env["TALLY_DIR"], "strace")
    preload = ["-E", "LD_PRELOAD=" + library] if library else []
    done = subprocess.run([STRACE, "-f", "-o", log, *preload, *argv], env=env, timeout=120,
                          stdin=subprocess.DEVNULL,
                          capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{argv[0]} ended with status {done.returncode}: {done.stderr}")
    with open(log) as file:
        return file.read(), done.stdout


def of_situations(program, directory, live, env, library=None):
    """Returns {situation: Counter of system calls} and {situation: errno}."""
    work = os.path.join(directory, "work")
    os.makedirs(work, exist_ok=True)
    log, said = _strace([program, work, live], {**env, "TALLY_DIR": directory}, library)
    errors = dict(line.rsplit(": ", 1) for line in said.splitlines())
    return parse(log), {name: int(error) for name, error in errors.items()}


def of_start(directory, env, library):
    """Counts the system calls of /bin/true with a library, including those of the loader."""
    log, _ = _strace(["/bin/true"], {**env, "TALLY_DIR": directory}, library)
    return collections.Counter(re.findall(r"^(?:\d+ +)?(\w+)\(", log, re.MULTILINE))


def instructions(stepper, mode, argv, env, library):
    """Returns {situation: count} or {program: count}; see tests/bench/steps.c."""
    done = subprocess.run([stepper, mode, library or "-", *argv], env=env, timeout=600,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"steps {argv[0]} failed: {done.stderr}")
    found = (line.rsplit(": ", 1) for line in done.stdout.splitlines())
    return {name: int(count) for name, count in found}
