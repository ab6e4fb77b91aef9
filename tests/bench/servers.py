"""Servers at work on a guarded socket: the guard has no part in what they do then."""

import contextlib
import csv
import glob
import io
import os
import subprocess
import sys
import time

from figures import Figure
from meter import LIBRARY, SOURCE, Taken, Worker, built, environment, interleave, scratch

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lockname import lock_of  # noqa: E402

NGINX = """
daemon off; worker_processes 1; pid {dir}/pid; error_log {dir}/error.log;
env LD_PRELOAD;
events {{ worker_connections 64; }}
http {{ access_log off; client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy;
        fastcgi_temp_path {dir}/fastcgi; uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
        server {{ listen unix:{dir}/sock; return 200 "hello"; }} }}
"""
HTTP = "GET / HTTP/1.0\r\nHost: localhost\r\n\r\n"
INTEGRATION = os.path.join(SOURCE, "tests", "integration")


def _gunicorn(directory):
    return ["gunicorn", "--bind", f"unix:{directory}/sock", "--chdir", INTEGRATION,
            "--worker-tmp-dir", "/dev/shm", "wsgi_app:application"]


def _nginx(directory):
    with open(os.path.join(directory, "nginx.conf"), "w") as file:
        file.write(NGINX.format(dir=directory))
    return ["/usr/sbin/nginx", "-e", f"{directory}/error.log", "-c", f"{directory}/nginx.conf"]


def _redis(directory):
    return ["redis-server", "--port", "0", "--unixsocket", f"{directory}/sock", "--save", "",
            "--dir", directory]


@contextlib.contextmanager
def _serving(argv, directory, library):
    path = os.path.join(directory, "sock")
    with open(os.path.join(directory, "log"), "w") as log:
        server = subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True,
                                  env=environment(library, INSTANCE="bench",
                                                  PYTHONDONTWRITEBYTECODE="1"))
    try:
        end = time.monotonic() + 30
        while not os.path.exists(path):
            if server.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{argv[0]} does not start: {_read(directory, 'log')}")
            time.sleep(0.05)
        time.sleep(0.3)  # until its workers are there too
        if bool(library) != os.path.exists(lock_of(path)):
            raise RuntimeError(f"{argv[0]}: the guard is not where it should be")
        yield path, server.pid
    finally:
        server.terminate()
        server.wait()


def _read(directory, name):
    with open(os.path.join(directory, name)) as file:
        return file.read()


def _processor_time(session):
    """Nanoseconds that all processes of a session have run."""
    total = 0
    for stat in glob.glob("/proc/[0-9]*/stat"):
        try:
            with open(stat) as file:
                if int(file.read().rsplit(")", 1)[1].split()[3]) != session:
                    continue
            for task in glob.glob(stat[:-4] + "task/*/schedstat"):
                with open(task) as file:
                    total += int(file.read().split()[0])
        except (FileNotFoundError, ProcessLookupError):
            pass  # it is gone
    return total


def _load(path, stack):
    """One connection a request: requests a second, and p99 in microseconds."""
    worker = stack.enter_context(Worker([built("load"), path, HTTP]))

    def one(count):
        took, p99 = worker.ask(count)
        return count / took * 1e9, p99 / 1000
    return one


def _redis_benchmark(path, _stack):
    def one(count):
        said = subprocess.run(["redis-benchmark", "-s", path, "-t", "get", "-c", "4", "-n",
                               str(count), "--csv"], capture_output=True, text=True, check=True)
        row = list(csv.DictReader(io.StringIO(said.stdout)))[0]
        return float(row["rps"]), float(row["p99_latency_ms"]) * 1000
    return one


def _batch(one, count, session):
    """Requests a second, p99, and the server's processor time for a request."""
    before = _processor_time(session)
    return *one(count), (_processor_time(session) - before) / count / 1000


SERVERS = {"gunicorn": (_gunicorn, _load, 200), "nginx": (_nginx, _load, 2000),
           "redis": (_redis, _redis_benchmark, 10_000)}


def _resolution(taken, which):
    """In what steps the client tells it: redis-benchmark's p99 comes in some microseconds."""
    return min({abs(one["twin"][which] - one["plain"][which]) for one in taken.rounds} - {0},
               default=0)


def _side_by_side(command, client, count, seconds):
    """Two servers without the guard and one with it, anew: each instance has a luck of its own,
    with the addresses it got and the processor it is on."""
    with contextlib.ExitStack() as stack:
        variants = {}
        for variant, library in (("plain", None), ("twin", None), ("guarded", LIBRARY)):
            directory = stack.enter_context(scratch())
            path, session = stack.enter_context(
                _serving(command(directory), directory, library))
            one = client(path, stack)
            variants[variant] = lambda one=one, session=session: _batch(one, count, session)
        return interleave(variants, seconds).rounds


def servers(seconds):
    starts = 2 if seconds < 1 else 8
    for name, (command, client, count) in SERVERS.items():
        taken = Taken([one for _ in range(starts)
                       for one in _side_by_side(command, client, count, 4 * seconds / starts)])
        for which, (what, unit) in enumerate((("requests a second", "/s"), ("p99", "us"),
                                            ("processor time a request", "us"))):
            above, below = ("plain", "guarded") if which == 0 else ("guarded", "plain")
            noise = max(taken.spread("twin", "plain", which),
                        _resolution(taken, which) / taken.median("plain", which))
            yield Figure("Servers at work", f"{name}, {what}", unit,
                         {variant: taken.median(variant, which)
                          for variant in ("plain", "guarded")},
                         taken.ratio(above, below, which), "x plain", 1 + noise, noise)
