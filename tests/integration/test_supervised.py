"""Runs other test modules again under a supervisor: with the test programs as they are built, and
with the same programs statically linked.

    test_supervised.py [dynamic|static [MODULE...]]

Each module runs in its own process, a few in parallel. If the outcome of a test must differ from
that with the preloaded library, the test says so and gives the reason.
"""

import concurrent.futures
import os
import re
import subprocess
import sys
import tempfile

DIRECTORY = os.path.dirname(os.path.abspath(__file__))
TESTS_DIRECTORY = os.path.dirname(DIRECTORY)
# The longest-running modules come first.
MODULES = ("inputs", "lockfile", "context_calls", "verbs", "liveness", "settings", "ownership",
           "claim", "plain", "reuse")
PROGRAMS = {"actor": ["actor.c"], "inputs": ["inputs.c"]}
PROGRAMS.update({f"context/{name}": [f"context/{name}.c", "context/common.c"] for name in (
    "cancelled", "chdirs", "crowd", "depth", "forkers", "forks", "interrupted", "jumped")})
JOBS = (os.cpu_count() or 1) + 1  # modules often wait, for example for a mutex


def link_statically(directory):
    """Links the programs in tests statically, so that no loader can preload anything."""
    os.mkdir(os.path.join(directory, "context"))

    def link(name):
        sources = [os.path.join(TESTS_DIRECTORY, source) for source in PROGRAMS[name]]
        subprocess.run(["cc", "-D_GNU_SOURCE", "-static", "-pthread",
                        # A weak reference, as in actor.c, does not link it from an archive.
                        "-Wl,--undefined=renameat2", "-o",
                        os.path.join(directory, name), *sources], check=True)

    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        list(pool.map(link, PROGRAMS))


def run_module(module, linkage, programs):
    """Runs a module. Returns its output and exit status."""
    env = {**os.environ, "SOCKGUARD_BY": "syscalls"}
    if linkage == "static":
        env["SOCKGUARD_PROGRAMS"] = programs
    ran = subprocess.run([sys.executable, "-B", os.path.join(DIRECTORY, f"test_{module}.py")],
                         env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                         text=True, errors="replace", check=False)
    return ran.stdout, ran.returncode


class Output:
    """The TAP lines of all modules, numbered consecutively."""

    def __init__(self):
        self.count, self.failed = 0, False

    def print_result(self, word, about):
        self.count += 1
        self.failed |= word == "not ok"
        print(f"{word} {self.count} - {about}")

    def add_module(self, name, text, status):
        """Adds a module's output. A module that ends early or prints too few lines has failed."""
        printed, planned, failed = 0, None, False
        for line in text.splitlines():
            result = re.match(r"(ok|not ok) \d+ - (.*)", line)
            plan = re.match(r"1\.\.(\d+)\Z", line)
            if result:
                self.print_result(result[1], f"{name}: {result[2]}")
                printed, failed = printed + 1, failed or result[1] == "not ok"
            elif plan:
                planned = int(plan[1])
            else:
                print(line if line.startswith("#") else "# " + line)
        if printed == 0 or printed != planned or (status != 0) != failed:
            self.print_result("not ok",
                              f"{name}: {printed} of {planned} cases, exit status {status}")
        sys.stdout.flush()


def main(linkages, modules):
    output = Output()
    with tempfile.TemporaryDirectory(prefix="sg-", dir="/tmp") as programs:
        os.chmod(programs, 0o755)
        if "static" in linkages:
            link_statically(programs)
        with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
            runs = {pool.submit(run_module, module, linkage, programs): f"{linkage} {module}"
                    for module in modules for linkage in linkages}
            for run in concurrent.futures.as_completed(runs):
                output.add_module(runs[run], *run.result())
    print(f"1..{output.count}")
    return 1 if output.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:2] or ("dynamic", "static"), sys.argv[2:] or MODULES))
