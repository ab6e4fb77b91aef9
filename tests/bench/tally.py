"""Counts the system calls that a call of a program makes, as strace sees them; and instructions."""

import collections
import os
import re
import subprocess

STRACE = "/usr/bin/strace"


def parse(log):
    """{situation: Counter of system calls} from strace's log of tests/bench/tally."""
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
    """Counts by situation, and what each call came to: {situation: errno}."""
    work = os.path.join(directory, "work")
    os.makedirs(work, exist_ok=True)
    log, said = _strace([program, work, live], {**env, "TALLY_DIR": directory}, library)
    errors = dict(line.rsplit(": ", 1) for line in said.splitlines())
    return parse(log), {name: int(error) for name, error in errors.items()}


def of_start(directory, env, library):
    """How many system calls /bin/true makes with a library, the loader's included."""
    log, _ = _strace(["/bin/true"], {**env, "TALLY_DIR": directory}, library)
    return collections.Counter(re.findall(r"^(?:\d+ +)?(\w+)\(", log, re.MULTILINE))


def instructions(stepper, mode, argv, env, library):
    """{situation: how many}, or {program: how many}; see tests/bench/steps.c."""
    done = subprocess.run([stepper, mode, library or "-", *argv], env=env, timeout=600,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{argv[0]}, in steps: {done.stderr}")
    found = (line.rsplit(": ", 1) for line in done.stdout.splitlines())
    return {name: int(count) for name, count in found}
