"""sockguard status: the states of paths, the holders of sockets, and the formats of the output."""

import ctypes
import json
import os
import re
import socket
import sys
import time

import jsonschema

import actor
import command
import harness
import test_gunicorn

# jsonschema before 4, as in Debian 11, knows no later draft; the schemas use nothing newer.
SchemaValidator = getattr(jsonschema, "Draft202012Validator", jsonschema.Draft7Validator)
FIELDS = ("state", "path", "pid", "command", "user", "guarded", "since", "started", "lock")
SOCKET_COUNT = 2000

# Binds each path in its arguments, prints "bound", and waits.
BINDER = """
import signal, socket, sys
held = []
for name in sys.argv[1:]:
    held.append(socket.socket(socket.AF_UNIX))
    held[-1].bind(name)
    held[-1].listen()
print("bound", flush=True)
signal.pause()
"""


def unescape(field):
    """Decodes an escaped field, like printf %b, and returns its bytes."""
    return field.encode().decode("unicode_escape").encode("latin-1") if field.isascii() else \
        re.sub(rb"\\(x..|.)", lambda found: unescape(found[0].decode()), field.encode())


class StatusCase(command.CommandCase):
    def rows(self, *args, run=None):
        """Runs status. Returns its exit status, and a dictionary for each line."""
        ended = (run or self.sockguard)("status", *args)
        self.assertEqual(ended.stderr, "")
        lines = [line.split("\t") for line in ended.stdout.splitlines()]
        self.assertEqual({len(fields) for fields in lines} - {len(FIELDS)}, set())
        return ended.returncode, [dict(zip(FIELDS, fields)) for fields in lines]

    def row(self, *args, run=None):
        status, rows = self.rows(*args, run=run)
        self.assertEqual(len(rows), 1, rows)
        return status, rows[0]

    def assert_state(self, status, state, path=None, **fields):
        got, row = self.row(path or self.path)
        self.assertEqual((got, row["state"]), (status, state))
        self.assertEqual({key: row[key] for key in fields}, fields)
        return row

    def rows_of_this_test(self, rows):
        """Selects the rows of this test from those of the whole machine."""
        return [row for row in rows if row["path"].startswith(self.dir + "/")]

    def start_binder(self, *names, cwd=None, **popen):
        process = self.start([harness.PYTHON, "-c", BINDER, *names], stdout=-1, text=True,
                             cwd=cwd or self.dir, **popen)
        self.assertEqual(process.stdout.readline(), "bound\n")
        return process


class States(StatusCase):
    def test_live(self):
        self.bind_socket()
        self.assert_state(0, "live", pid=str(os.getpid()), guarded="no", since="-", lock="none")

    def test_live_and_guarded(self):
        owner = self.start_owner()
        row = self.assert_state(0, "live", pid=str(owner.pid), command="actor", guarded="preloaded",
                                lock="claimed")
        self.assertRegex(row["since"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")

    def test_each_type_of_socket(self):
        for kind in (socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
            path = f"{self.path}{kind}"
            self.bind_socket(path, kind)
            self.assert_state(0, "live", path, pid=str(os.getpid()))

    def test_bound_and_not_listening(self):
        ours = socket.socket(socket.AF_UNIX)
        self.addCleanup(ours.close)
        ours.bind(self.path)
        self.assert_state(0, "live", pid=str(os.getpid()))

    def test_stale(self):
        self.make_stale()
        self.assert_state(3, "stale", pid="-", lock="none")

    def test_stale_with_an_idle_lock_file(self):
        self.make_stale()
        self.write_file(".app.sock.sockguard")
        self.assert_state(3, "stale", lock="idle")

    def test_stale_after_a_crash_despite_an_accepted_connection(self):
        """getsockname(2) of the connection returns the server's path, but it is another socket."""
        with self.bind_socket() as listener, socket.socket(socket.AF_UNIX) as client:
            client.connect(self.path)
            accepted, _ = listener.accept()
            self.assert_state(0, "live")
            listener.close()
            with accepted:
                self.assert_state(3, "stale", pid="-")

    def test_absent(self):
        self.assert_state(3, "absent", pid="-")
        self.assert_state(3, "absent", self.path + "/below")

    def test_claimed_but_absent(self):
        self.start_owner()
        os.unlink(self.path)
        self.assert_state(3, "claimed", lock="claimed")

    def test_lost(self):
        self.bind_socket()
        os.unlink(self.path)
        self.assert_state(3, "lost", pid=str(os.getpid()))
        self.assertEqual(self.row("app.sock", run=self.run_in_directory)[1]["state"], "lost")

    def run_in_directory(self, *args):
        return self.sockguard(*args, cwd=self.dir)

    def test_not_a_socket(self):
        os.symlink("nowhere", self.path)
        for path in (self.dir, self.write_file("file"), self.path):
            self.assert_state(3, "no-socket", path)

    def test_exit_status_for_several_paths(self):
        self.bind_socket()
        status, rows = self.rows(self.path, self.path + "2")
        self.assertEqual((status, [row["state"] for row in rows]), (3, ["live", "absent"]))

    def test_a_path_too_long_for_a_lock_file(self):
        self.bind_socket()
        self.assert_state(0, "live", self.dir + 300 * "/." + "/app.sock", lock="none")

    def test_status_changes_no_file(self):
        self.bind_socket()
        self.rows(self.path)
        self.assertEqual(self.names(), ["app.sock"])


@actor.needs_root
class Permission(StatusCase):
    def test_unknown_without_permission(self):
        self.bind_socket()
        os.chmod(self.dir, 0o700)
        status, row = self.row(self.path, run=self.sockguard_as_stranger)
        self.assertEqual((status, row["state"]), (4, "unknown"))

    def test_unknown_is_worse_than_stale(self):
        self.make_stale()
        inner = os.path.join(self.dir, "inner")
        os.mkdir(inner, 0o700)
        status, rows = self.rows(inner + "/a", self.path, run=self.sockguard_as_stranger)
        self.assertEqual((status, [row["state"] for row in rows]), (4, ["unknown", "stale"]))

    def test_live_if_the_holders_are_unknown(self):
        self.start_owner()
        status, row = self.row(self.path, run=self.sockguard_as_stranger)
        self.assertEqual((status, row["state"], row["pid"], row["lock"]),
                         (0, "live", "?", "unknown"))

    def test_a_socket_of_the_caller_without_root(self):
        os.chmod(self.dir, 0o777)
        owner = self.start_binder(self.path, user=actor.STRANGER, group=actor.STRANGER)
        for run in (self.sockguard_as_stranger, self.sockguard):
            status, row = self.row(self.path, run=run)
            self.assertEqual((status, row["pid"], row["user"]),
                             (0, str(owner.pid), str(actor.STRANGER)))


class Holders(StatusCase):
    def test_each_worker_of_gunicorn(self):
        server = self.start([test_gunicorn.GUNICORN, "--bind", "unix:" + self.path, "--workers",
                             "3", "--chdir", test_gunicorn.DIRECTORY, "wsgi_app"], guard=True,
                            stderr=-3, env={"INSTANCE": "one", "PYTHONDONTWRITEBYTECODE": "1"})

        def all_of_them():
            _, rows = self.rows(self.path)
            return rows if len(rows) == 4 else None

        rows = harness.wait_until(all_of_them, "three workers")
        children = open(f"/proc/{server.pid}/task/{server.pid}/children").read().split()
        self.assertEqual(sorted(row["pid"] for row in rows), sorted([str(server.pid), *children]))
        for row in rows:
            self.assertEqual((row["state"], row["command"], row["guarded"]),
                             ("live", "gunicorn", "preloaded"))

    def test_a_client_is_not_a_holder(self):
        listener = self.bind_socket()
        client = self.start([harness.PYTHON, "-c", "import socket, sys\n"
                             "s = socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\n"
                             "sys.stdin.read()", self.path], stdin=-1)
        accepted, _ = listener.accept()
        with accepted:
            self.assert_state(0, "live", pid=str(os.getpid()))
        client.stdin.close()

    def test_a_connection_with_a_lower_inode_number_is_not_a_holder(self):
        """Each CPU allocates socket inode numbers from its own batch."""
        processors = os.sched_getaffinity(0)
        self.addCleanup(os.sched_setaffinity, 0, processors)
        for i, processor in enumerate(sorted(processors)):
            os.sched_setaffinity(0, {processor})
            path = f"{self.path}{i}"
            listener = self.bind_socket(path)
            for other in processors:
                os.sched_setaffinity(0, {other})
                self.pass_connection_to_another_process(listener, path)

    def pass_connection_to_another_process(self, listener, path):
        """Another process holds only the connection, and must not be listed as a holder."""
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            accepted, _ = listener.accept()
            other = self.start(["sleep", "60"], pass_fds=[accepted.fileno()])
            accepted.close()
            self.assert_state(0, "live", path, pid=str(os.getpid()))
            self.assertIsNone(other.poll())

    def test_a_holder_with_several_descriptors(self):
        with socket.socket(fileno=os.dup(self.bind_socket().fileno())):
            self.assert_state(0, "live", pid=str(os.getpid()))

    def test_the_holder_is_listed_and_not_the_binder(self):
        """The binder passed the socket to another program. The record still names the binder."""
        process = self.start([harness.PYTHON, "-c", "import os, socket, sys\n"
                              "s = socket.socket(socket.AF_UNIX)\ns.bind(sys.argv[1])\n"
                              "s.set_inheritable(True)\n"
                              "os.execvp('sh', ['sh', '-c', 'echo up; read line; true'])",
                              self.path], guard=True, stdin=-1, stdout=-1, text=True)
        self.assertEqual(process.stdout.readline(), "up\n")
        self.assert_state(0, "live", pid=str(process.pid), command="sh", guarded="preloaded")

    def test_start_time(self):
        before = time.time()
        owner = self.start_owner()
        row = self.assert_state(0, "live", pid=str(owner.pid))
        for field in ("since", "started"):
            reported = time.strptime(row[field] + "+0000", "%Y-%m-%dT%H:%M:%SZ%z")
            seconds = time.mktime(reported) - \
                (time.altzone if reported.tm_isdst > 0 else time.timezone)
            # A start time counts from the boot, and the clock may have been set since then.
            self.assertGreater(seconds, before - 60)
            self.assertLess(seconds, time.time() + 60)

    def test_a_time_that_no_date_expresses(self):
        """Another user may have written the record."""
        self.start_owner()
        with open(self.lock_file_path(), "r+", encoding="ascii") as file:
            record = file.read()
            digits = len(re.search(r"^time (.*)$", record, re.MULTILINE)[1])
            file.seek(0)
            file.write(re.sub(r"(?m)^time .*$", "time " + ("9" * 18).ljust(digits), record))
        self.assertEqual(self.assert_state(0, "live")["since"], "-")

    def test_a_command_name_with_any_bytes(self):
        ours = self.start_binder(self.path)
        PR_SET_NAME = 15
        ended = self.start([harness.PYTHON, "-c",
                            f"import ctypes, socket, sys\n"
                            f"ctypes.CDLL(None).prctl({PR_SET_NAME}, "
                            "b'a) (\\n\\x1b\\xff', 0, 0, 0)\n"
                            + BINDER, self.path + "2"], stdout=-1, text=True)
        self.assertEqual(ended.stdout.readline(), "bound\n")
        self.assert_state(0, "live", self.path + "2", command=r"a) (\n\x1b\xff",
                          pid=str(ended.pid))
        self.assert_state(0, "live", pid=str(ours.pid))

    def test_a_guarded_holder_whose_settings_exclude_the_path(self):
        for settings in ({"IGNORE": self.dir + "/*"}, {"ONLY": "/elsewhere/*"},
                         {"DISABLE": "1"}):
            path = self.path + next(iter(settings))
            self.start_owner(path, **settings)
            self.assert_state(0, "live", path, guarded="no")
        self.start_owner(ONLY=self.dir + "/*")
        self.assert_state(0, "live", guarded="preloaded")


class StolenPaths(StatusCase):
    """Live sockets whose path leads to another socket."""

    def steal_in_turn(self, *names):
        """Starts processes that bind each path in turn. Each steals it from the previous one."""
        processes = []
        for name in names:
            processes.append(self.start_binder(name))
            os.unlink(self.path)
        return processes

    def assert_states(self, *expected, path=None, **popen):
        ended = self.sockguard("status", path or self.path, **popen)
        rows = [line.split("\t")[:3] for line in ended.stdout.splitlines()]
        self.assertEqual((ended.returncode, ended.stderr, rows), (
            max((3 if state != "live" else 0) for state, _ in expected), "",
            [[state, path or self.path, pid if isinstance(pid, str) else str(pid.pid)]
             for state, pid in expected]))

    def test_a_thief_and_its_victim(self):
        victim, = self.steal_in_turn(self.path)
        thief = self.start_binder(self.path)
        self.assert_states(("live", thief), ("lost", victim))

    def test_several_victims(self):
        first, second = self.steal_in_turn(self.path, "app.sock")
        thief = self.start_binder("./app.sock")
        rows = self.rows(self.path)[1]
        self.assertEqual({(row["state"], row["pid"]) for row in rows},
                         {("live", str(thief.pid)), ("lost", str(first.pid)),
                          ("lost", str(second.pid))})
        self.assertEqual(rows[0]["state"], "live")

    def test_other_spellings_of_the_path(self):
        victim, = self.steal_in_turn("app.sock")
        thief = self.start_binder("app.sock")
        for path, directory in ((self.dir + "//./app.sock", "/"), ("app.sock", self.dir),
                                ("./app.sock", self.dir)):
            self.assert_states(("live", thief), ("lost", victim), path=path, cwd=directory)

    def test_a_stale_path_and_a_victim(self):
        victim, = self.steal_in_turn(self.path)
        self.make_stale()
        self.assert_states(("stale", "-"), ("lost", victim))

    def test_a_regular_file_and_a_victim(self):
        victim, = self.steal_in_turn(self.path)
        self.write_file("app.sock")
        self.assert_states(("no-socket", "-"), ("lost", victim))

    def test_an_absent_path_and_two_victims(self):
        first, second = self.steal_in_turn(self.path, self.path)
        _, rows = self.rows(self.path)
        self.assertEqual({(row["state"], row["pid"]) for row in rows},
                         {("lost", str(first.pid)), ("lost", str(second.pid))})

    def test_a_datagram_socket(self):
        self.bind_socket(kind=socket.SOCK_DGRAM)
        os.unlink(self.path)
        thief = self.start_binder(self.path)
        self.assert_states(("live", thief), ("lost", str(os.getpid())))

    def test_a_renamed_socket_is_not_a_victim(self):
        """Some servers rename their socket to its path when they are ready."""
        before = self.start_binder(self.path + ".new")
        os.rename(self.path + ".new", self.path)
        after = self.start_binder(self.path + ".new")
        self.assert_states(("live", after), path=self.path + ".new")
        os.unlink(self.path + ".new")
        self.assert_states(("lost", after), path=self.path + ".new")
        self.assert_states(("live", before))

    def test_a_socket_at_another_path_is_not_a_victim(self):
        other = self.start_binder(self.path + "2")
        os.unlink(self.path + "2")
        thief = self.start_binder(self.path)
        self.assert_states(("live", thief))
        self.assert_states(("lost", other), path=self.path + "2")

    def test_json(self):
        victim, = self.steal_in_turn(self.path)
        thief = self.start_binder(self.path)
        ended = self.sockguard("status", "--json", self.path)
        self.assertEqual([(one["path"], one["state"], one["holders"][0]["pid"])
                          for one in json.loads(ended.stdout)["sockets"]],
                         [(self.path, "live", thief.pid), (self.path, "lost", victim.pid)])


class ReadsAndDescriptors(StatusCase):
    def test_each_directory_is_read_once(self):
        """The number of stolen sockets in the directory does not matter."""
        names = [os.path.join(self.dir, f"s{i:03}") for i in range(100)]
        self.start_binder(*names)
        for name in names:
            os.unlink(name)
        for i in range(1000):
            self.write_file(f"file{i}")
        log = os.path.join(self.dir, "log")
        ended = self.run_program(["strace", "-f", "-y", "-qq", "-e", "trace=getdents64", "-o", log,
                                  harness.COMMAND, "status"])
        rows = [line.split("\t")[:2] for line in ended.stdout.splitlines()]
        self.assertEqual([row for row in rows if row[1] in names],
                         [["lost", name] for name in names])
        with open(log, encoding="utf-8", errors="replace") as file:
            ends = [line for line in file if f"<{self.dir}>" in line and line.endswith("= 0\n")]
        self.assertEqual(len(ends), 1)

    def test_few_descriptors_suffice(self):
        """The command closes each descriptor, so more processes than descriptors are no problem."""
        for _ in range(20):
            self.start(["sleep", "60"])
        self.bind_socket()
        ended = self.run_program(["prlimit", "--nofile=16", harness.COMMAND, "status", self.path])
        self.assertEqual((ended.returncode, ended.stdout.split("\t")[:3]),
                         (0, ["live", self.path, str(os.getpid())]))

    @actor.needs_root
    def test_a_kernel_that_does_not_report_its_boot_time(self):
        self.bind_socket()
        ended = self.run_program(["unshare", "--mount", "sh", "-c",
                                  'mount --bind /dev/null /proc/stat && exec "$@"', "-",
                                  harness.COMMAND, "status", self.path])
        self.assertEqual((ended.returncode, ended.stdout.split("\t")[:3],
                          ended.stdout.split("\t")[7]),
                         (0, ["live", self.path, str(os.getpid())], "-"))


class WithoutOperand(StatusCase):
    """sockguard status without an operand."""

    def test_listening_sockets(self):
        stream, datagram = self.path, self.path + "2"
        self.bind_socket(stream)
        self.bind_socket(datagram, socket.SOCK_DGRAM)
        self.make_stale(self.path + "3")
        _, rows = self.rows()
        self.assertEqual([(row["path"], row["state"]) for row in self.rows_of_this_test(rows)],
                         [(stream, "live"), (datagram, "live")])

    def test_a_guarded_socket(self):
        owner = self.start_owner()
        _, rows = self.rows()
        self.assertEqual([(row["pid"], row["guarded"], row["lock"], row["since"] == "-")
                          for row in self.rows_of_this_test(rows)],
                         [(str(owner.pid), "preloaded", "claimed", False)])

    def test_connections_are_not_listed(self):
        with self.bind_socket() as listener, socket.socket(socket.AF_UNIX) as client:
            client.connect(self.path)
            with listener.accept()[0]:
                _, rows = self.rows()
                self.assertEqual(len(self.rows_of_this_test(rows)), 1)

    def test_a_stolen_socket(self):
        first = self.start_binder("app.sock")
        os.unlink(self.path)
        second = self.start_binder("app.sock")
        status, rows = self.rows()
        self.assertIn(status, (3, 4))  # the machine may have other sockets, unknown ones too
        self.assertEqual([(row["state"], row["pid"]) for row in self.rows_of_this_test(rows)],
                         [("live", str(second.pid)), ("lost", str(first.pid))])

    def test_a_renamed_socket(self):
        self.bind_socket(self.path + ".new")
        os.rename(self.path + ".new", self.path)
        _, rows = self.rows()
        self.assertEqual([(row["path"], row["state"]) for row in self.rows_of_this_test(rows)],
                         [(self.path, "live")])

    def test_a_socket_with_a_relative_path(self):
        self.start_binder("app.sock")
        _, rows = self.rows()
        self.assertEqual([(row["path"], row["state"]) for row in self.rows_of_this_test(rows)],
                         [(self.path, "live")])

    def test_a_relative_path_in_a_removed_directory(self):
        """The kernel appends " (deleted)" to the directory, which is no part of the path."""
        directory = os.path.join(self.dir, "removed")
        path = os.path.join(directory, "app.sock")
        os.mkdir(directory)
        process = self.start_binder("app.sock", cwd=directory)
        os.unlink(path)
        os.rmdir(directory)
        _, rows = self.rows()
        self.assertEqual([(row["path"], row["state"]) for row in self.rows_of_this_test(rows)],
                         [(path, "lost")])
        self.assert_state(3, "lost", path, pid=str(process.pid))

    def test_a_relative_path_in_a_directory_named_like_a_removed_one(self):
        directory = os.path.join(self.dir, "kept (deleted)")
        os.mkdir(directory)
        self.start_binder("app.sock", cwd=directory)
        _, rows = self.rows()
        self.assertEqual([(row["path"], row["state"]) for row in self.rows_of_this_test(rows)],
                         [(directory + "/app.sock", "live")])

    @actor.needs_root
    def test_a_socket_in_another_mount_namespace(self):
        inner = os.path.join(self.dir, "inner")
        os.mkdir(inner)
        process = self.start(["unshare", "--mount", "--propagation", "private", "sh", "-c",
                              "mount -t tmpfs none \"$0\" && exec \"$@\"", inner, harness.PYTHON,
                              "-c", BINDER, inner + "/app.sock"], stdout=-1, text=True)
        self.assertEqual(process.stdout.readline(), "bound\n")
        self.assertEqual(os.listdir(inner), [])
        _, rows = self.rows()
        self.assertEqual([(row["path"], row["state"]) for row in self.rows_of_this_test(rows)],
                         [(inner + "/app.sock", "live")])

    @actor.needs_root
    def test_a_socket_in_another_network_namespace_is_not_listed(self):
        self.bind_socket()
        ended = self.run_program(["unshare", "--net", harness.COMMAND, "status"])
        self.assertNotIn(self.dir, ended.stdout)
        ended = self.run_program(["unshare", "--net", harness.COMMAND, "status", self.path])
        self.assertEqual(ended.stdout.split("\t")[:3], ["live", self.path, "?"])

    def test_thousands_of_sockets(self):
        """In a network namespace of their own, if possible: the kernel may list a socket twice or
        not at all if others are opened or closed meanwhile."""
        names = [os.path.join(self.dir, f"s{i:04}") for i in range(SOCKET_COUNT)]
        alone = os.geteuid() == 0
        binder = self.start_binder_of_many(names, ["unshare", "--net"] if alone else [])
        inside = ["nsenter", f"--target={binder.pid}", "--net"] if alone else []

        def run(*args):
            return self.run_program([*inside, harness.COMMAND, *args])

        _, rows = self.rows(run=run)
        self.assertEqual([(row["path"], row["state"]) for row in self.rows_of_this_test(rows)],
                         [(name, "live") for name in names])
        status, rows = self.rows(*names, run=run)
        self.assertEqual((status, len(rows), {row["state"] for row in rows}),
                         (0, SOCKET_COUNT, {"live"}))

    def start_binder_of_many(self, names, through):
        raised = "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))\n"
        process = self.start([*through, harness.PYTHON, "-c", raised + BINDER, *names], stdout=-1,
                             text=True)
        self.assertEqual(process.stdout.readline(), "bound\n")
        return process


SPECIAL_NAMES = (b"a\nb", b"a\tb", b"a\\b", b"\x1b[31m", b"\xff\xfe", "über".encode(),
                 "日本".encode(), b"\xc2\x9b", "a\u202eb".encode(), b"\xed\xa0\x80", b" ")


class Names(StatusCase):
    """Paths with arbitrary bytes."""

    def test_special_bytes_are_escaped_in_a_pipe(self):
        for name in SPECIAL_NAMES:
            path = os.fsencode(self.dir) + b"/" + name
            self.bind_socket(path)
            ended = self.sockguard("status", path)
            self.assertEqual(ended.returncode, 0)
            fields = ended.stdout.rstrip("\n").split("\t")
            self.assertEqual(len(fields), len(FIELDS))
            self.assertRegex(fields[1], r"\A[^\x00-\x1f\x7f-\x9f\u202e]*\Z")
            self.assertEqual(unescape(fields[1]), path)

    def test_printable_characters_are_unchanged(self):
        path = os.path.join(self.dir, "日本 über")
        self.bind_socket(path)
        self.assert_state(0, "live", path)

    def test_special_bytes_in_json(self):
        for name in SPECIAL_NAMES:
            path = os.fsencode(self.dir) + b"/" + name
            self.bind_socket(path)
            found = json.loads(self.sockguard("status", "--json", path).stdout)["sockets"][0]
            try:
                self.assertEqual(found["path"], path.decode())
                self.assertNotIn("path_hex", found)
            except UnicodeDecodeError:
                self.assertEqual(bytes.fromhex(found["path_hex"]), path)
                self.assertEqual(found["lock_file"]["path_hex"],
                                 harness.lock_file_of(path).hex())


class Json(StatusCase):
    def test_the_output_matches_the_schema(self):
        with open(os.path.join(harness.SOURCE, "docs", "status.schema.json"),
                  encoding="ascii") as file:
            schema = json.load(file)
        SchemaValidator.check_schema(schema)
        names = {name: os.path.join(self.dir, name) for name in
                 ("live", "guarded", "stale", "absent", "claimed", "lost", "no-socket", "\udcff")}
        self.bind_socket(names["live"])
        owner = self.start_owner(names["guarded"])
        self.make_stale(names["stale"])
        self.start_owner(names["claimed"])
        os.unlink(names["claimed"])
        self.bind_socket(names["lost"])
        os.unlink(names["lost"])
        self.write_file("no-socket")
        ended = self.sockguard("status", "--json", *names.values())
        document = json.loads(ended.stdout)
        SchemaValidator(schema).validate(document)
        self.assertEqual(ended.returncode, 3)
        states = [found["state"] for found in document["sockets"]]
        self.assertEqual(states, ["live", "live", *list(names)[2:-1], "absent"])
        guarded = document["sockets"][1]
        self.assertEqual(guarded["bound_by"],
                         {"pid": owner.pid, "uid": os.geteuid(), "command": "actor",
                          "ended": False})
        self.assertEqual((guarded["type"], guarded["holders_complete"]), ("stream", True))
        self.assertEqual([(holder["pid"], holder["guarded"], holder["by"], holder["why"])
                          for holder in guarded["holders"]],
                         [(owner.pid, "yes", "preload", None)])
        SchemaValidator(schema).validate(
            json.loads(self.sockguard("status", "--json").stdout))

    @actor.needs_root
    def test_unknown_holders_are_null(self):
        self.bind_socket()
        ended = self.sockguard_as_stranger("status", "--json", self.path)
        found = json.loads(ended.stdout)["sockets"][0]
        self.assertEqual((found["state"], found["holders"], found["holders_complete"]),
                         ("live", [], False))


def columns(line):
    """The width of a line on a terminal in columns, without colours."""
    libc = ctypes.CDLL(None)
    line = re.sub("\x1b\\[[0-9;]*m", "", line)
    return sum(max(libc.wcwidth(ord(character)), 0) for character in line)


class Terminal(StatusCase):
    @classmethod
    def setUpClass(cls):
        ctypes.CDLL(None).setlocale(0, b"C.UTF-8")  # for wcwidth

    def create_sockets(self):
        self.bind_socket(os.path.join(self.dir, 3 * "a-rather-long-name-"))
        self.bind_socket(os.path.join(self.dir, 12 * "日本語"[:2]))
        self.make_stale(os.path.join(self.dir, "a\x1b[2J\nb"))
        self.start_owner()
        return [os.path.join(self.dir, name) for name in self.names() if "guard" not in name]

    def test_the_output_fits_the_terminal(self):
        paths = self.create_sockets()
        for width in (*range(1, 30), 40, 80, 120, 200):
            lines, status = self.run_on_terminal(width, "status", *paths, NO_COLOR="1")
            self.assertEqual((len(lines), status), (1 + len(paths), 3))
            if width >= 23:  # state, number and an ellipsis
                self.assertLessEqual(max(map(columns, lines)), width, lines)

    def test_columns_for_each_width(self):
        paths = self.create_sockets()
        whole = "STATE PATH PID COMMAND USER GUARDED SINCE STARTED LOCK"
        for width, least, most in ((40, "PATH PID", "PID"), (80, "GUARDED", "SINCE"),
                                   (200, whole, whole)):
            lines, _ = self.run_on_terminal(width, "status", *paths, NO_COLOR="1")
            header = " ".join(lines[0].split())
            self.assertTrue(whole.startswith(header))
            self.assertIn(least, header)
            self.assertLessEqual(header.index(header.split()[-1]), whole.index(most.split()[-1]))
        self.assertTrue(any(r"a\x1b[2J\nb" in line for line in lines), lines)
        self.assertTrue(all(path in "\n".join(lines) for path in paths if path.isascii()
                            and "\n" not in path))

    def test_a_long_path_is_cut_at_its_start(self):
        path = os.path.join(self.dir, 60 * "x" + "the-end")
        self.bind_socket(path)
        lines, _ = self.run_on_terminal(60, "status", path, NO_COLOR="1")
        self.assertRegex(lines[1], r"^live +…x+the-end  ")
        self.assertLessEqual(columns(lines[1]), 60)

    def test_columns_are_aligned(self):
        paths = self.create_sockets()
        lines, _ = self.run_on_terminal(200, "status", *paths, NO_COLOR="1")
        starts = {columns(line[:line.index(" actor") if " actor" in line
                               else line.index(" python3")])
                  for line in lines[1:] if " actor" in line or " python3" in line}
        self.assertEqual(starts, {columns(lines[0][:lines[0].index(" COMMAND")])})

    def test_a_path_with_several_holders_is_printed_once(self):
        listener = self.bind_socket()
        child = self.start(["sleep", "60"], pass_fds=[listener.fileno()])
        lines, _ = self.run_on_terminal(80, "status", self.path, NO_COLOR="1")
        self.assertEqual(sum(self.path in line for line in lines), 1)
        pids = [int(re.search(r" (\d+)  (python3\S*|sleep) ", line)[1]) for line in lines[1:]]
        self.assertEqual(pids, sorted([os.getpid(), child.pid]))

    def test_colours(self):
        self.bind_socket()
        lines, _ = self.run_on_terminal(80, "status", self.path)
        self.assertIn("\x1b[32mlive\x1b[0m", lines[1])

    def test_no_colours(self):
        self.bind_socket()
        for env in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
            lines, _ = self.run_on_terminal(80, "status", self.path, **env)
            self.assertNotIn("\x1b", "".join(lines))
        self.assertNotIn("\x1b", self.sockguard("status", self.path).stdout)
        lines, _ = self.run_on_terminal(80, "status", self.path, NO_COLOR="")
        self.assertIn("\x1b", "".join(lines))

    def test_a_terminal_that_does_not_report_its_width(self):
        paths = self.create_sockets()
        for width, env in ((200, {"COLUMNS": "200"}), (80, {}), (80, {"COLUMNS": "many"})):
            lines, _ = self.run_on_terminal(0, "status", *paths, NO_COLOR="1", **env)
            self.assertEqual("LOCK" in lines[0], width == 200)
            self.assertLessEqual(max(map(columns, lines)), width)

    def test_json_on_a_terminal(self):
        lines, status = self.run_on_terminal(80, "status", "--json", NO_COLOR="1")
        self.assertEqual((lines[0], lines[-1]), ("{", "}"))
        self.assertIn(status, (0, 3, 4))


if __name__ == "__main__":
    sys.exit(harness.main())
