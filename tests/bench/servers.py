"""Servers under load on a guarded socket. The guard takes no part in serving requests."""

import contextlib
import csv
import glob
import io
import os
import subprocess
import sys
import time

from figures import Figure
from meter import LIBRARY, SOURCE, Measurements, Worker, built, environment, interleave, scratch

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lockname import lock_file_of  # noqa: E402

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
def _serving(argv, directory, library, wrapper):
    path = os.path.join(directory, "sock")
    with open(os.path.join(directory, "log"), "w") as log:
        server = subprocess.Popen([*wrapper, *argv], stdout=log, stderr=log, start_new_session=True,
                                  env=environment(library, INSTANCE="bench",
                                                  PYTHONDONTWRITEBYTECODE="1"))
    try:
        end = time.monotonic() + 30
        while not os.path.exists(path):
            if server.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{argv[0]} does not start: {_read(directory, 'log')}")
            time.sleep(0.05)
        time.sleep(0.3)  # until its workers have started too
        guarded = bool(library or wrapper)
        if guarded != os.path.exists(lock_file_of(path)):
            raise RuntimeError(f"{argv[0]} is {'not ' if guarded else ''}guarded")
        yield path, server.pid
    finally:
        server.terminate()
        server.wait()


def _read(directory, name):
    with open(os.path.join(directory, name)) as file:
        return file.read()


def _processor_time(session):
    """Returns the processor time, in nanoseconds, of all processes of a session."""
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
            pass  # the process has ended
    return total


def _load(path, stack):
    """Returns a function that sends requests, each on a new connection, and returns the requests
    per second and the p99 in microseconds."""
    worker = stack.enter_context(Worker([built("load"), path, HTTP]))

    def send(count):
        took, p99 = worker.ask(count)
        return count / took * 1e9, p99 / 1000
    return send


def _redis_benchmark(path, _stack):
    def send(count):
        done = subprocess.run(["redis-benchmark", "-s", path, "-t", "get", "-c", "4", "-n",
                               str(count), "--csv"], capture_output=True, text=True, check=True)
        row = list(csv.DictReader(io.StringIO(done.stdout)))[0]
        return float(row["rps"]), float(row["p99_latency_ms"]) * 1000
    return send


def _batch(send, count, session):
    """Returns the requests per second, the p99, and the server's processor time per request."""
    before = _processor_time(session)
    return *send(count), (_processor_time(session) - before) / count / 1000


SERVERS = {"gunicorn": (_gunicorn, _load, 200), "nginx": (_nginx, _load, 2000),
           "redis": (_redis, _redis_benchmark, 10_000)}


def _resolution(times, which):
    """Returns the resolution of the client's numbers: redis-benchmark rounds the p99 to several
    microseconds."""
    return min({abs(one["twin"][which] - one["plain"][which]) for one in times.rounds} - {0},
               default=0)


def _side_by_side(command, client, count, guard, seconds):
    """Starts two servers without the guard and one with it, and measures them. The speed of an
    instance also depends on its addresses and its processor, so the caller repeats this."""
    with contextlib.ExitStack() as stack:
        variants = {}
        for variant, (library, wrapper) in (("plain", (None, ())), ("twin", (None, ())),
                                            ("guarded", guard)):
            directory = stack.enter_context(scratch())
            path, session = stack.enter_context(
                _serving(command(directory), directory, library, wrapper))
            send = client(path, stack)
            variants[variant] = lambda send=send, session=session: _batch(send, count, session)
        return interleave(variants, seconds).rounds


def servers(seconds):
    yield from compare(SERVERS, "Servers under load", LIBRARY, (), seconds)


def compare(names, group, library, wrapper, seconds):
    """Compares servers with that library, or under that command, with the same servers alone."""
    starts = 2 if seconds < 1 else 8
    for name in names:
        command, client, count = SERVERS[name]
        times = Measurements([one for _ in range(starts)
                       for one in _side_by_side(command, client, count, (library, wrapper),
                                                4 * seconds / starts)])
        for which, (what, unit) in enumerate((("requests per second", "/s"), ("p99", "us"),
                                              ("processor time per request", "us"))):
            above, below = ("plain", "guarded") if which == 0 else ("guarded", "plain")
            noise = max(times.spread("twin", "plain", which),
                        _resolution(times, which) / times.median("plain", which))
            yield Figure(group, f"{name}, {what}", unit,
                         {variant: times.median(variant, which)
                          for variant in ("plain", "guarded")},
                         times.ratio(above, below, which), "x plain", 1 + noise, noise)
