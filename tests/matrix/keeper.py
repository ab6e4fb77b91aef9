"""Runs one server and is the subreaper of all its processes, including daemons.

usage: keeper.py JSON, where JSON is an object with "argv", "env", "cwd", "user" and "output"

When the last process of the server has ended, the keeper exits with the exit status of the command.
At the end of its standard input, it sends SIGKILL to all these processes. So none of them outlives
the matrix, even if the matrix is killed.
"""

import ctypes
import json
import os
import pwd
import signal
import subprocess
import sys
import threading
import time


def _processes():
    """Returns the parent and the start time of each process."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as stat:
                    fields = stat.read().rpartition(")")[2].split()
                found[int(entry)] = int(fields[1]), int(fields[19])
            except (OSError, IndexError):
                pass  # the process has ended
    return found


def descendants(pid):
    """Returns the descendants of pid: first its children, oldest first, then their children."""
    processes = _processes()
    found, parents = [], {pid}
    while parents:
        children = [child for child, (parent, _) in processes.items()
                    if parent in parents and child not in found]
        found += sorted(children, key=lambda child: (processes[child][1], child))
        parents = set(children)
    return found


def kill_all():
    """Kills all descendants. Stops them first, so that no master replaces a killed worker."""
    while True:
        remaining = descendants(os.getpid())
        if not remaining:
            return
        for number in signal.SIGSTOP, signal.SIGKILL:
            for pid in remaining:
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    pass
        time.sleep(0.01)


def kill_at_end_of_input():
    while os.read(0, 1):
        pass
    kill_all()


def main():
    PR_SET_CHILD_SUBREAPER = 36
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    order = json.loads(sys.argv[1])
    identity = {}
    if order["user"]:
        account = pwd.getpwnam(order["user"])
        identity = {"user": account.pw_uid, "group": account.pw_gid,
                    "extra_groups": os.getgrouplist(account.pw_name, account.pw_gid)}
    with open(order["output"], "ab") as output:
        try:
            server = subprocess.Popen(order["argv"], env=order["env"], cwd=order["cwd"],
                                      stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                      start_new_session=True, **identity)
        except OSError as failure:
            output.write(f"cannot be run: {failure}\n".encode())
            return 127
    threading.Thread(target=kill_at_end_of_input, daemon=True).start()
    status = 0
    while True:
        try:
            pid, code = os.wait()
        except ChildProcessError:
            return status
        if pid == server.pid:
            status = os.waitstatus_to_exitcode(code)
            status = status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main())
