"""sockguard status: every state, who holds the sockets, and what people and programs get to see."""

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

FIELDS = ("state", "path", "pid", "command", "user", "guarded", "since", "started", "lock")
MANY = 2000

# Binds each name it is given, says so, and waits.
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
    """The bytes behind a field, as printf %b makes them."""
    return field.encode().decode("unicode_escape").encode("latin-1") if field.isascii() else \
        re.sub(rb"\\(x..|.)", lambda found: unescape(found[0].decode()), field.encode())


class StatusCase(command.CommandCase):
    def rows(self, *args, run=None):
        """Exit status, and a dictionary a line."""
        ended = (run or self.sockguard)("status", *args)
        self.assertEqual(ended.stderr, "")
        return ended.returncode, [dict(zip(FIELDS, line.split("\t"), strict=True))
                                  for line in ended.stdout.splitlines()]

    def row(self, *args, run=None):
        status, rows = self.rows(*args, run=run)
        self.assertEqual(len(rows), 1, rows)
        return status, rows[0]

    def assert_state(self, status, state, path=None, **fields):
        got, row = self.row(path or self.path)
        self.assertEqual((got, row["state"]), (status, state))
        self.assertEqual({key: row[key] for key in fields}, fields)
        return row

    def here(self, rows):
        """Those of this test, where the whole machine was asked for."""
        return [row for row in rows if row["path"].startswith(self.dir + "/")]

    def binder(self, *names, **popen):
        process = self.start([harness.PYTHON, "-c", BINDER, *names], stdout=-1, text=True,
                             cwd=self.dir, **popen)
        self.assertEqual(process.stdout.readline(), "bound\n")
        return process


class States(StatusCase):
    def test_live(self):
        self.bound()
        self.assert_state(0, "live", pid=str(os.getpid()), guarded="no", since="-", lock="none")

    def test_live_and_guarded(self):
        owner = self.owner()
        row = self.assert_state(0, "live", pid=str(owner.pid), command="actor", guarded="yes",
                                lock="claimed")
        self.assertRegex(row["since"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")

    def test_each_kind(self):
        for kind in (socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
            path = f"{self.path}{kind}"
            self.bound(path, kind)
            self.assert_state(0, "live", path, pid=str(os.getpid()))

    def test_bound_and_not_listening(self):
        ours = socket.socket(socket.AF_UNIX)
        self.addCleanup(ours.close)
        ours.bind(self.path)
        self.assert_state(0, "live", pid=str(os.getpid()))

    def test_stale(self):
        self.stale()
        self.assert_state(3, "stale", pid="-", lock="none")

    def test_stale_with_an_idle_lock_file(self):
        self.stale()
        self.file(".app.sock.sockguard")
        self.assert_state(3, "stale", lock="idle")

    def test_stale_after_a_crash_though_an_accepted_connection_lives(self):
        """What the server accepted tells its path too; it is not the socket that was bound."""
        with self.bound() as listener, socket.socket(socket.AF_UNIX) as client:
            client.connect(self.path)
            accepted, _ = listener.accept()
            self.assert_state(0, "live")
            listener.close()
            with accepted:
                self.assert_state(3, "stale", pid="-")

    def test_absent(self):
        self.assert_state(3, "absent", pid="-")
        self.assert_state(3, "absent", self.path + "/below")

    def test_claimed_without_a_name(self):
        self.owner()
        os.unlink(self.path)
        self.assert_state(3, "claimed", lock="claimed")

    def test_lost(self):
        self.bound()
        os.unlink(self.path)
        self.assert_state(3, "lost", pid=str(os.getpid()))
        self.assertEqual(self.row("app.sock", run=self.in_directory)[1]["state"], "lost")

    def in_directory(self, *args):
        return self.sockguard(*args, cwd=self.dir)

    def test_no_socket(self):
        os.symlink("nowhere", self.path)
        for path in (self.dir, self.file("file"), self.path):
            self.assert_state(3, "no-socket", path)

    def test_the_worst_of_several(self):
        self.bound()
        status, rows = self.rows(self.path, self.path + "2")
        self.assertEqual((status, [row["state"] for row in rows]), (3, ["live", "absent"]))

    def test_a_path_too_long_for_a_lock_file(self):
        self.bound()
        self.assert_state(0, "live", self.dir + 300 * "/." + "/app.sock", lock="none")

    def test_it_leaves_no_trace(self):
        self.bound()
        self.rows(self.path)
        self.assertEqual(self.names(), ["app.sock"])


@actor.needs_root
class Permission(StatusCase):
    def test_unknown_for_lack_of_permission(self):
        self.bound()
        os.chmod(self.dir, 0o700)
        status, row = self.row(self.path, run=self.as_stranger)
        self.assertEqual((status, row["state"]), (4, "unknown"))

    def test_unknown_is_worse_than_stale(self):
        self.stale()
        inner = os.path.join(self.dir, "inner")
        os.mkdir(inner, 0o700)
        status, rows = self.rows(inner + "/a", self.path, run=self.as_stranger)
        self.assertEqual((status, [row["state"] for row in rows]), (4, ["unknown", "stale"]))

    def test_live_though_the_holders_are_not_known(self):
        self.owner()
        status, row = self.row(self.path, run=self.as_stranger)
        self.assertEqual((status, row["state"], row["pid"], row["lock"]),
                         (0, "live", "?", "unknown"))

    def test_a_stranger_s_own(self):
        os.chmod(self.dir, 0o777)
        owner = self.binder(self.path, user=actor.STRANGER, group=actor.STRANGER)
        for run in (self.as_stranger, self.sockguard):
            status, row = self.row(self.path, run=run)
            self.assertEqual((status, row["pid"], row["user"]),
                             (0, str(owner.pid), str(actor.STRANGER)))


class Holders(StatusCase):
    def test_each_worker_of_gunicorn(self):
        server = self.start([test_gunicorn.GUNICORN, "--bind", "unix:" + self.path, "--workers",
                             "3", "--chdir", test_gunicorn.HERE, "wsgi_app"], guard=True,
                            stderr=-3, env={"INSTANCE": "one", "PYTHONDONTWRITEBYTECODE": "1"})

        def all_of_them():
            _, rows = self.rows(self.path)
            return rows if len(rows) == 4 else None

        rows = harness.wait_until(all_of_them, "three workers")
        children = open(f"/proc/{server.pid}/task/{server.pid}/children").read().split()
        self.assertEqual(sorted(row["pid"] for row in rows), sorted([str(server.pid), *children]))
        for row in rows:
            self.assertEqual((row["state"], row["command"], row["guarded"]),
                             ("live", "gunicorn", "yes"))

    def test_a_client_is_no_holder(self):
        listener = self.bound()
        client = self.start([harness.PYTHON, "-c", "import socket, sys\n"
                             "s = socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\n"
                             "sys.stdin.read()", self.path], stdin=-1)
        accepted, _ = listener.accept()
        with accepted:
            self.assert_state(0, "live", pid=str(os.getpid()))
        client.stdin.close()

    def test_a_connection_of_a_lower_number_is_none_either(self):
        """Each processor numbers its sockets from a supply of its own."""
        processors = os.sched_getaffinity(0)
        self.addCleanup(os.sched_setaffinity, 0, processors)
        for i, processor in enumerate(sorted(processors)):
            os.sched_setaffinity(0, {processor})
            path = f"{self.path}{i}"
            listener = self.bound(path)
            for other in processors:
                os.sched_setaffinity(0, {other})
                self.hand_to_another(listener, path)

    def hand_to_another(self, listener, path):
        """Another process holds the connection alone, and is not to be told as a holder."""
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            accepted, _ = listener.accept()
            other = self.start(["sleep", "60"], pass_fds=[accepted.fileno()])
            accepted.close()
            self.assert_state(0, "live", path, pid=str(os.getpid()))
            self.assertIsNone(other.poll())

    def test_by_several_descriptors(self):
        with socket.socket(fileno=os.dup(self.bound().fileno())):
            self.assert_state(0, "live", pid=str(os.getpid()))

    def test_who_holds_it_and_not_who_bound_it(self):
        """The binder handed the socket over by exec; the record still has its name."""
        process = self.start([harness.PYTHON, "-c", "import os, socket, sys\n"
                              "s = socket.socket(socket.AF_UNIX)\ns.bind(sys.argv[1])\n"
                              "s.set_inheritable(True)\n"
                              "os.execvp('sh', ['sh', '-c', 'echo up; read line; true'])",
                              self.path], guard=True, stdin=-1, stdout=-1, text=True)
        self.assertEqual(process.stdout.readline(), "up\n")
        self.assert_state(0, "live", pid=str(process.pid), command="sh", guarded="yes")

    def test_when_it_was_started(self):
        before = time.time()
        owner = self.owner()
        row = self.assert_state(0, "live", pid=str(owner.pid))
        for field in ("since", "started"):
            told = time.strptime(row[field] + "+0000", "%Y-%m-%dT%H:%M:%SZ%z")
            seconds = time.mktime(told) - (time.altzone if told.tm_isdst > 0 else time.timezone)
            self.assertLess(abs(seconds - before), 60 + harness.PATIENCE)

    def test_a_name_of_a_command_that_holds_anything(self):
        ours = self.binder(self.path)
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

    def test_guarded_but_not_this_path(self):
        for settings in ({"IGNORE": self.dir + "/*"}, {"ONLY": "/elsewhere/*"},
                         {"DISABLE": "1"}):
            path = self.path + next(iter(settings))
            self.owner(path, **settings)
            self.assert_state(0, "live", path, guarded="no")
        self.owner(ONLY=self.dir + "/*")
        self.assert_state(0, "live", guarded="yes")


class Robbed(StatusCase):
    """Sockets whose path leads to another by now."""

    def robbed(self, *names):
        """Processes that bind each name in turn, every one taking it from the one before."""
        processes = []
        for name in names:
            processes.append(self.binder(name))
            os.unlink(self.path)
        return processes

    def assert_states(self, *expected, path=None, **popen):
        ended = self.sockguard("status", path or self.path, **popen)
        rows = [line.split("\t")[:3] for line in ended.stdout.splitlines()]
        self.assertEqual((ended.returncode, ended.stderr, rows), (
            max((3 if state != "live" else 0) for state, _ in expected), "",
            [[state, path or self.path, pid if isinstance(pid, str) else str(pid.pid)]
             for state, pid in expected]))

    def test_the_thief_and_its_victim(self):
        victim, = self.robbed(self.path)
        thief = self.binder(self.path)
        self.assert_states(("live", thief), ("lost", victim))

    def test_every_victim(self):
        first, second = self.robbed(self.path, "app.sock")
        thief = self.binder("./app.sock")
        rows = self.rows(self.path)[1]
        self.assertEqual({(row["state"], row["pid"]) for row in rows},
                         {("live", str(thief.pid)), ("lost", str(first.pid)),
                          ("lost", str(second.pid))})
        self.assertEqual(rows[0]["state"], "live")

    def test_however_the_path_is_named(self):
        victim, = self.robbed("app.sock")
        thief = self.binder("app.sock")
        for path, directory in ((self.dir + "//./app.sock", "/"), ("app.sock", self.dir),
                                ("./app.sock", self.dir)):
            self.assert_states(("live", thief), ("lost", victim), path=path, cwd=directory)

    def test_a_stale_name_and_a_victim(self):
        victim, = self.robbed(self.path)
        self.stale()
        self.assert_states(("stale", "-"), ("lost", victim))

    def test_what_is_no_socket_and_a_victim(self):
        victim, = self.robbed(self.path)
        self.file("app.sock")
        self.assert_states(("no-socket", "-"), ("lost", victim))

    def test_no_name_and_two_victims(self):
        first, second = self.robbed(self.path, self.path)
        _, rows = self.rows(self.path)
        self.assertEqual({(row["state"], row["pid"]) for row in rows},
                         {("lost", str(first.pid)), ("lost", str(second.pid))})

    def test_a_datagram_socket(self):
        self.bound(kind=socket.SOCK_DGRAM)
        os.unlink(self.path)
        thief = self.binder(self.path)
        self.assert_states(("live", thief), ("lost", str(os.getpid())))

    def test_one_that_was_renamed_is_none(self):
        """As a server does that puts its socket in place when it is ready."""
        before = self.binder(self.path + ".new")
        os.rename(self.path + ".new", self.path)
        after = self.binder(self.path + ".new")
        self.assert_states(("live", after), path=self.path + ".new")
        os.unlink(self.path + ".new")
        self.assert_states(("lost", after), path=self.path + ".new")
        self.assert_states(("live", before))

    def test_one_of_another_name_is_none(self):
        other = self.binder(self.path + "2")
        os.unlink(self.path + "2")
        thief = self.binder(self.path)
        self.assert_states(("live", thief))
        self.assert_states(("lost", other), path=self.path + "2")

    def test_json(self):
        victim, = self.robbed(self.path)
        thief = self.binder(self.path)
        ended = self.sockguard("status", "--json", self.path)
        self.assertEqual([(one["path"], one["state"], one["holders"][0]["pid"])
                          for one in json.loads(ended.stdout)["sockets"]],
                         [(self.path, "live", thief.pid), (self.path, "lost", victim.pid)])


class Effort(StatusCase):
    def test_each_directory_is_read_once(self):
        """However many sockets have lost their names there."""
        names = [os.path.join(self.dir, f"s{i:03}") for i in range(100)]
        self.binder(*names)
        for name in names:
            os.unlink(name)
        for i in range(1000):
            self.file(f"file{i}")
        log = os.path.join(self.dir, "log")
        ended = self.run_program(["strace", "-f", "-y", "-qq", "-e", "trace=getdents64", "-o", log,
                                  harness.COMMAND, "status"])
        rows = [line.split("\t")[:2] for line in ended.stdout.splitlines()]
        self.assertEqual([row for row in rows if row[1] in names],
                         [["lost", name] for name in names])
        with open(log, encoding="utf-8", errors="replace") as file:
            ends = [line for line in file if f"<{self.dir}>" in line and line.endswith("= 0\n")]
        self.assertEqual(len(ends), 1)

    def test_few_descriptors_do(self):
        """For more processes than that: each is closed."""
        for _ in range(20):
            self.start(["sleep", "60"])
        self.bound()
        ended = self.run_program(["prlimit", "--nofile=16", harness.COMMAND, "status", self.path])
        self.assertEqual((ended.returncode, ended.stdout.split("\t")[:3]),
                         (0, ["live", self.path, str(os.getpid())]))

    @actor.needs_root
    def test_a_kernel_that_does_not_tell_when_it_was_booted(self):
        self.bound()
        ended = self.run_program(["unshare", "--mount", "sh", "-c",
                                  'mount --bind /dev/null /proc/stat && exec "$@"', "-",
                                  harness.COMMAND, "status", self.path])
        self.assertEqual((ended.returncode, ended.stdout.split("\t")[:3],
                          ended.stdout.split("\t")[7]),
                         (0, ["live", self.path, str(os.getpid())], "-"))


class All(StatusCase):
    """Without a path."""

    def test_listening_ones(self):
        stream, datagram = self.path, self.path + "2"
        self.bound(stream)
        self.bound(datagram, socket.SOCK_DGRAM)
        self.stale(self.path + "3")
        _, rows = self.rows()
        self.assertEqual([(row["path"], row["state"]) for row in self.here(rows)],
                         [(stream, "live"), (datagram, "live")])

    def test_connections_are_left_out(self):
        with self.bound() as listener, socket.socket(socket.AF_UNIX) as client:
            client.connect(self.path)
            with listener.accept()[0]:
                _, rows = self.rows()
                self.assertEqual(len(self.here(rows)), 1)

    def test_one_that_was_stolen(self):
        first = self.binder("app.sock")
        os.unlink(self.path)
        second = self.binder("app.sock")
        status, rows = self.rows()
        self.assertIn(status, (3, 4))  # the machine may hold others, unknown ones too
        self.assertEqual([(row["state"], row["pid"]) for row in self.here(rows)],
                         [("live", str(second.pid)), ("lost", str(first.pid))])

    def test_one_that_was_renamed(self):
        self.bound(self.path + ".new")
        os.rename(self.path + ".new", self.path)
        _, rows = self.rows()
        self.assertEqual([(row["path"], row["state"]) for row in self.here(rows)],
                         [(self.path, "live")])

    def test_a_relative_one(self):
        self.binder("app.sock")
        _, rows = self.rows()
        self.assertEqual([(row["path"], row["state"]) for row in self.here(rows)],
                         [(self.path, "live")])

    @actor.needs_root
    def test_one_in_another_mount_namespace(self):
        inner = os.path.join(self.dir, "inner")
        os.mkdir(inner)
        process = self.start(["unshare", "--mount", "--propagation", "private", "sh", "-c",
                              "mount -t tmpfs none \"$0\" && exec \"$@\"", inner, harness.PYTHON,
                              "-c", BINDER, inner + "/app.sock"], stdout=-1, text=True)
        self.assertEqual(process.stdout.readline(), "bound\n")
        self.assertEqual(os.listdir(inner), [])
        _, rows = self.rows()
        self.assertEqual([(row["path"], row["state"]) for row in self.here(rows)],
                         [(inner + "/app.sock", "live")])

    @actor.needs_root
    def test_another_network_namespace_is_not_seen(self):
        self.bound()
        ended = self.run_program(["unshare", "--net", harness.COMMAND, "status"])
        self.assertNotIn(self.dir, ended.stdout)
        ended = self.run_program(["unshare", "--net", harness.COMMAND, "status", self.path])
        self.assertEqual(ended.stdout.split("\t")[:3], ["live", self.path, "?"])

    def test_thousands(self):
        names = [os.path.join(self.dir, f"s{i:04}") for i in range(MANY)]
        self.binder_of_many(names)
        _, rows = self.rows()
        self.assertEqual([(row["path"], row["state"]) for row in self.here(rows)],
                         [(name, "live") for name in names])
        status, rows = self.rows(*names)
        self.assertEqual((status, len(rows), {row["state"] for row in rows}),
                         (0, MANY, {"live"}))

    def binder_of_many(self, names):
        raised = "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))\n"
        process = self.start([harness.PYTHON, "-c", raised + BINDER, *names], stdout=-1,
                             text=True)
        self.assertEqual(process.stdout.readline(), "bound\n")


NAMES = (b"a\nb", b"a\tb", b"a\\b", b"\x1b[31m", b"\xff\xfe", "über".encode(), "日本".encode(),
         b"\xc2\x9b", "a\u202eb".encode(), b"\xed\xa0\x80", b" ")


class Names(StatusCase):
    """Names that may hold anything."""

    def test_in_a_pipe(self):
        for name in NAMES:
            path = os.fsencode(self.dir) + b"/" + name
            self.bound(path)
            ended = self.sockguard("status", path)
            self.assertEqual(ended.returncode, 0)
            fields = ended.stdout.rstrip("\n").split("\t")
            self.assertEqual(len(fields), len(FIELDS))
            self.assertRegex(fields[1], r"\A[^\x00-\x1f\x7f-\x9f\u202e]*\Z")
            self.assertEqual(unescape(fields[1]), path)

    def test_what_is_printable_stays_so(self):
        path = os.path.join(self.dir, "日本 über")
        self.bound(path)
        self.assert_state(0, "live", path)

    def test_in_json(self):
        for name in NAMES:
            path = os.fsencode(self.dir) + b"/" + name
            self.bound(path)
            found = json.loads(self.sockguard("status", "--json", path).stdout)["sockets"][0]
            try:
                self.assertEqual(found["path"], path.decode())
                self.assertNotIn("path_hex", found)
            except UnicodeDecodeError:
                self.assertEqual(bytes.fromhex(found["path_hex"]), path)
                self.assertEqual(found["lock_file"]["path_hex"],
                                 harness.lock_of(path).hex())


class Json(StatusCase):
    def test_it_is_as_its_schema_says(self):
        with open(os.path.join(harness.SOURCE, "docs", "status.schema.json"),
                  encoding="ascii") as file:
            schema = json.load(file)
        jsonschema.Draft202012Validator.check_schema(schema)
        names = {name: os.path.join(self.dir, name) for name in
                 ("live", "guarded", "stale", "absent", "claimed", "lost", "no-socket", "\udcff")}
        self.bound(names["live"])
        owner = self.owner(names["guarded"])
        self.stale(names["stale"])
        self.owner(names["claimed"])
        os.unlink(names["claimed"])
        self.bound(names["lost"])
        os.unlink(names["lost"])
        self.file("no-socket")
        ended = self.sockguard("status", "--json", *names.values())
        told = json.loads(ended.stdout)
        jsonschema.Draft202012Validator(schema).validate(told)
        self.assertEqual(ended.returncode, 3)
        states = [found["state"] for found in told["sockets"]]
        self.assertEqual(states, ["live", "live", *list(names)[2:-1], "absent"])
        guarded = told["sockets"][1]
        self.assertEqual(guarded["bound_by"],
                         {"pid": owner.pid, "uid": os.geteuid(), "command": "actor",
                          "ended": False})
        self.assertEqual((guarded["type"], guarded["holders_complete"]), ("stream", True))
        self.assertEqual([(holder["pid"], holder["guarded"], holder["why"])
                          for holder in guarded["holders"]], [(owner.pid, "yes", None)])
        jsonschema.Draft202012Validator(schema).validate(
            json.loads(self.sockguard("status", "--json").stdout))

    @actor.needs_root
    def test_holders_that_are_not_known(self):
        self.bound()
        ended = self.as_stranger("status", "--json", self.path)
        found = json.loads(ended.stdout)["sockets"][0]
        self.assertEqual((found["state"], found["holders"], found["holders_complete"]),
                         ("live", [], False))


def columns(line):
    """How many columns of a terminal a line takes, colours left out."""
    libc = ctypes.CDLL(None)
    line = re.sub("\x1b\\[[0-9;]*m", "", line)
    return sum(max(libc.wcwidth(ord(character)), 0) for character in line)


class Terminal(StatusCase):
    @classmethod
    def setUpClass(cls):
        ctypes.CDLL(None).setlocale(0, b"C.UTF-8")  # for wcwidth

    def scene(self):
        self.bound(os.path.join(self.dir, 3 * "a-rather-long-name-"))
        self.bound(os.path.join(self.dir, 12 * "日本語"[:2]))
        self.stale(os.path.join(self.dir, "a\x1b[2J\nb"))
        self.owner()
        return [os.path.join(self.dir, name) for name in self.names() if "guard" not in name]

    def test_it_fits_each_width(self):
        paths = self.scene()
        for width in (*range(1, 30), 40, 80, 120, 200):
            lines, status = self.on_terminal(width, "status", *paths, NO_COLOR="1")
            self.assertEqual((len(lines), status), (1 + len(paths), 3))
            if width >= 23:  # state, number and an ellipsis
                self.assertLessEqual(max(map(columns, lines)), width, lines)

    def test_what_is_shown(self):
        paths = self.scene()
        whole = "STATE PATH PID COMMAND USER GUARDED SINCE STARTED LOCK"
        for width, least, most in ((40, "PATH PID", "PID"), (80, "GUARDED", "SINCE"),
                                   (200, whole, whole)):
            lines, _ = self.on_terminal(width, "status", *paths, NO_COLOR="1")
            header = " ".join(lines[0].split())
            self.assertTrue(whole.startswith(header))
            self.assertIn(least, header)
            self.assertLessEqual(header.index(header.split()[-1]), whole.index(most.split()[-1]))
        self.assertTrue(any(r"a\x1b[2J\nb" in line for line in lines), lines)
        self.assertTrue(all(path in "\n".join(lines) for path in paths if path.isascii()
                            and "\n" not in path))

    def test_what_does_not_fit_is_cut_at_its_start(self):
        path = os.path.join(self.dir, 60 * "x" + "the-end")
        self.bound(path)
        lines, _ = self.on_terminal(60, "status", path, NO_COLOR="1")
        self.assertRegex(lines[1], r"^live +…x+the-end  ")
        self.assertLessEqual(columns(lines[1]), 60)

    def test_columns_are_aligned(self):
        paths = self.scene()
        lines, _ = self.on_terminal(200, "status", *paths, NO_COLOR="1")
        starts = {columns(line[:line.index(" actor") if " actor" in line
                                else line.index(" python3")])
                  for line in lines[1:] if " actor" in line or " python3" in line}
        self.assertEqual(starts, {columns(lines[0][:lines[0].index(" COMMAND")])})

    def test_a_path_with_several_holders_is_named_once(self):
        listener = self.bound()
        child = self.start(["sleep", "60"], pass_fds=[listener.fileno()])
        lines, _ = self.on_terminal(80, "status", self.path, NO_COLOR="1")
        self.assertEqual(sum(self.path in line for line in lines), 1)
        told = [int(re.search(r" (\d+)  (python3|sleep) ", line)[1]) for line in lines[1:]]
        self.assertEqual(told, sorted([os.getpid(), child.pid]))

    def test_colours(self):
        self.bound()
        lines, _ = self.on_terminal(80, "status", self.path)
        self.assertIn("\x1b[32mlive\x1b[0m", lines[1])

    def test_no_colours(self):
        self.bound()
        for env in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
            lines, _ = self.on_terminal(80, "status", self.path, **env)
            self.assertNotIn("\x1b", "".join(lines))
        self.assertNotIn("\x1b", self.sockguard("status", self.path).stdout)
        lines, _ = self.on_terminal(80, "status", self.path, NO_COLOR="")
        self.assertIn("\x1b", "".join(lines))

    def test_the_width_of_a_terminal_that_does_not_tell(self):
        paths = self.scene()
        for width, env in ((200, {"COLUMNS": "200"}), (80, {}), (80, {"COLUMNS": "many"})):
            lines, _ = self.on_terminal(0, "status", *paths, NO_COLOR="1", **env)
            self.assertEqual("LOCK" in lines[0], width == 200)
            self.assertLessEqual(max(map(columns, lines)), width)

    def test_nothing_to_show(self):
        lines, status = self.on_terminal(80, "status", "--json", NO_COLOR="1")
        self.assertEqual((lines[0], lines[-1]), ("{", "}"))
        self.assertIn(status, (0, 3, 4))


if __name__ == "__main__":
    sys.exit(harness.main())
