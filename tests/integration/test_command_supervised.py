"""What `check`, `status`, `run` and `unit` do with programs that only a supervisor can guard."""

import ctypes
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time

import jsonschema

import actor
import command
import harness
from test_command_unit import UnitCase, system_service

RUN = [harness.COMMAND, "run", "--by", "syscalls", "--"]
CLONE3 = 435
# jsonschema before 4, as in Debian 11, knows no later draft; the schemas use nothing newer.
SchemaValidator = getattr(jsonschema, "Draft202012Validator", jsonschema.Draft7Validator)
WAIT = "echo up; read x"
# A process whose parent exits, so that only its system calls show which supervisor it belongs to.
# Arguments: [PATH [A [B]]]. With PATH, it binds PATH. With A, a child of it lives on until stdin
# ends. With B, the process that binds exits, and its child is the orphan. Prints the orphan's pid.
ORPHAN = """
import os, socket, sys
if os.fork():
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
if len(sys.argv) > 1:
    one = socket.socket(socket.AF_UNIX)
    one.bind(sys.argv[1])
    one.listen()
if len(sys.argv) > 3:
    if os.fork():
        os._exit(0)
if len(sys.argv) > 2 and os.fork() == 0:
    os.close(1)
    os.read(0, 1)  # so that the supervisor lives on
    os._exit(0)
print(os.getpid(), flush=True)
os.close(1)
os.read(0, 1)
"""


def fork_with_pid(pid):
    """Like os.fork(), but the child gets this pid, through set_tid of clone3(2)."""
    set_tid = (ctypes.c_int * 1)(pid)
    arguments = struct.pack("11Q", 0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, ctypes.addressof(set_tid),
                            1, 0)
    libc = ctypes.CDLL(None, use_errno=True)
    child = libc.syscall(CLONE3, arguments, len(arguments))
    if child < 0:
        raise OSError(ctypes.get_errno(), "clone3")
    return child


class SupervisedCase(command.CommandCase):
    def check(self, target, run=None):
        """Runs `sockguard check`. Returns its exit status and the fields that it prints."""
        ended = (run or self.sockguard)("check", str(target))
        self.assertEqual(ended.stderr, "")
        return (ended.returncode, *ended.stdout.rstrip("\n").split("\t"))

    def assert_checked(self, target, status, verdict, by, why="-", run=None):
        found = self.check(target, run)
        self.assertEqual((found[0], found[1], found[5]), (status, verdict, by), found)
        self.assertRegex(found[4], r"\A" + why + r"\Z")

    def start_waiting(self, *argv, **popen):
        """Starts a program that prints "up" and waits. Returns its pid after "up"."""
        process = self.start(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                             **popen)
        self.assertEqual(process.stdout.readline(), "up\n")
        return process.pid

    def start_orphan(self, *words, guard=True, **popen):
        """Runs ORPHAN with these arguments and returns the orphan's pid."""
        process = self.start([*RUN * guard, harness.PYTHON, "-c", ORPHAN, *words],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **popen)
        self.addCleanup(process.stdin.close)
        pid = int(process.stdout.read())
        process.wait()
        return pid


class ProgramsToCheck(SupervisedCase):
    def test_static(self):
        self.assert_checked("busybox", 0, "guardable", "syscalls", "statically linked.*")

    def test_go(self):
        self.assert_checked("gosu", 0, "guardable", "syscalls",
                            "a Go program, which makes system.*")

    def test_dynamic(self):
        self.assert_checked("true", 0, "guardable", "preload")

    def test_interpreter_of_a_script(self):
        script = self.write_executable("a", "#!/usr/bin/busybox sh\n")
        self.assert_checked(script, 0, "guardable", "syscalls",
                            "/usr/bin/busybox is statically linked.*")

    def make_set_user_id_program(self):
        path = self.patched_copy("/bin/true")
        os.chown(path, actor.STRANGER, -1)
        os.chmod(path, 0o4755)
        return path

    @actor.needs_root
    def test_set_user_id_program(self):
        """Under a supervisor, it gains its privileges only if the caller has CAP_SYS_ADMIN."""
        path = self.make_set_user_id_program()
        self.assert_checked(path, 0, "guardable", "syscalls", "set-user-ID.*")
        self.assert_checked(path, 3, "not-guardable", "-", "set-user-ID.*; nor with --by syscalls: "
                            "without CAP_SYS_ADMIN.*",
                            run=lambda *words: self.run_program(
                                ["setpriv", "--bounding-set", "-sys_admin", harness.COMMAND,
                                 *words]))

    def test_where_another_program_supervises(self):
        ended = self.run_program([harness.PYTHON, "-c", command.RUN_WITH_NOTIFY_FD, harness.COMMAND,
                                  "check", "busybox", "true"])
        self.assertEqual(ended.returncode, 3)
        static, dynamic = ended.stdout.splitlines()
        self.assertRegex(static, "^not-guardable\t.*nor with --by syscalls: another program.*EBUSY")
        self.assertRegex(dynamic, "^guardable\t.*\tpreload$")

    def test_under_a_supervisor(self):
        ended = self.run_program([*RUN, harness.COMMAND, "check", "busybox"])
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))


class Strict(SupervisedCase):
    """run --strict without --by fails only if neither method can work, and gives both reasons."""

    def test_program_for_either_method(self):
        for program in ("true", "busybox"):
            self.assert_result(self.sockguard("run", "--strict", program, "true"), 0, "")

    def assert_not_started(self, words, why):
        ended = self.run_program(words)
        self.assertEqual((ended.returncode, ended.stdout), (126, ""))
        self.assertRegex(ended.stderr, rf"\Asockguard: .* will not be guarded: {why}; "
                         r"not started\n\Z")

    def test_program_for_neither_method(self):
        with_notify_fd = [harness.PYTHON, "-c", command.RUN_WITH_NOTIFY_FD, harness.COMMAND,
                          "run", "--strict"]
        self.assert_not_started([*with_notify_fd, "busybox", "echo"],
                                "statically linked.*; nor with --by syscalls: .*EBUSY.*")
        self.assert_result(self.run_program([*with_notify_fd, "echo", "a"]), 0, "a\n")

    def test_one_method_alone(self):
        self.assert_not_started([harness.COMMAND, "run", "--strict", "--by", "preload", "busybox",
                                 "echo"], "statically linked.*")

    @actor.needs_root
    def test_set_user_id_program(self):
        path = ProgramsToCheck.make_set_user_id_program(self)
        bound = ["setpriv", "--bounding-set", "-sys_admin", harness.COMMAND, "run", "--strict"]
        self.assert_not_started(
            [*bound, path], "set-user-ID.*nor with --by syscalls: without CAP_.*")
        self.assert_result(self.run_program([*bound, "--by", "syscalls", path]), 0, "")
        self.assert_result(self.sockguard("run", "--strict", path), 0, "")

    def test_disabled(self):
        for program in ("true", "busybox"):
            self.assert_not_started(["env", "SOCKGUARD_DISABLE=1", harness.COMMAND, "run",
                                     "--strict", program], "SOCKGUARD_DISABLE=1")

    def test_auto_examines_the_wrapper(self):
        """`run` examines sh, and not the program that sh executes. --by syscalls guards both."""
        count = ["sh", "-c", "exec busybox grep Seccomp_filters /proc/self/status"]
        self.assert_result(self.sockguard("run", "--strict", *count), 0, "Seccomp_filters:\t0\n")
        self.assert_result(self.run_program([*RUN, *count]), 0, "Seccomp_filters:\t1\n")


class ProcessesToCheck(SupervisedCase):
    def test_started_program(self):
        self.assert_checked(self.start_waiting(*RUN, "busybox", "sh", "-c", WAIT), 0, "guarded",
                            "syscalls")
        self.assert_checked(self.start_waiting("busybox", "sh", "-c", WAIT), 3, "not-guarded", "-",
                            "statically linked.*")

    def test_dynamic_program(self):
        self.assert_checked(self.start_waiting(*RUN, "dash", "-c", WAIT), 0, "guarded", "syscalls")

    def test_child_of_a_supervised_program(self):
        self.start_waiting(*RUN, "dash", "-c", "dash -c '" + WAIT + "'; true")
        with open(f"/proc/{self._started[-1].pid}/task/{self._started[-1].pid}/children",
                  encoding="ascii") as file:
            child, = file.read().split()
        self.assert_checked(child, 0, "guarded", "syscalls")

    def test_both_methods(self):
        pid = self.start_waiting(*RUN, "dash", "-c", WAIT, env={"LD_PRELOAD": harness.LIBRARY})
        self.assert_checked(pid, 0, "guarded", "preload")

    def test_program_that_disables_preloading(self):
        """The settings of the supervisor apply."""
        pid = self.start_waiting(*RUN, "env", "SOCKGUARD_DISABLE=1",
                                 "LD_PRELOAD=" + harness.LIBRARY,
                                 "dash", "-c", WAIT)
        self.assert_checked(pid, 0, "guarded", "syscalls")

    def test_only_and_ignore_patterns(self):
        run = [harness.COMMAND, "run", "--by", "syscalls"]
        pid = self.start_waiting(*run, "--only", "/run/*", "--only", "/srv/*", "dash", "-c", WAIT)
        self.assert_checked(pid, 0, "guarded", "syscalls", r"only /run/\*:/srv/\*")
        pid = self.start_waiting(*run, "--ignore", "/run/*", "dash", "-c", WAIT)
        self.assert_checked(pid, 0, "guarded", "syscalls", r"all but /run/\*")

    def test_daemon(self):
        """The supervisor's record of the daemon's bind shows that the daemon is supervised."""
        self.assert_checked(self.start_orphan(self.path), 0, "guarded", "syscalls")
        self.assert_checked(self.start_orphan(self.path + "2", guard=False), 3, "not-guarded", "-",
                            "was started without the guard")

    def test_daemon_whose_parent_made_the_call(self):
        """The daemon has inherited the claim."""
        self.assert_checked(self.start_orphan(self.path, "with another process", "forked"), 0,
                            "guarded", "syscalls")

    def test_daemon_that_has_made_no_call(self):
        """Nothing shows to which supervisor the daemon's seccomp filter belongs."""
        self.assert_checked(self.start_orphan(), 4, "unknown", "-", "has a seccomp filter, .*")

    @actor.needs_root
    def test_seccomp_filter_of_another_program(self):
        """The filter belongs to no supervisor, because the process is older than every supervisor
        in its PID namespace. Other tests run supervisors, so this one uses its own namespace."""
        script = f"""
            {harness.PYTHON} -c "$1" sleep 100 & pid=$!
            until grep -q sleep /proc/$pid/comm; do sleep 0.1; done
            grep "Seccomp:.2" /proc/$pid/status
            {harness.COMMAND} check $pid
            {" ".join(RUN)} sleep 100 & other=$!
            until grep -q sleep /proc/$other/comm; do sleep 0.1; done
            {harness.COMMAND} check $pid $other
        """
        ended = self.run_program(["unshare", "--pid", "--fork", "--kill-child", "--mount-proc",
                                  "sh", "-c", script, "sh", command.RUN_WITH_NOTIFY_FD])
        self.assertEqual(ended.stderr, "")
        filtered, *lines = ended.stdout.splitlines()
        self.assertEqual(filtered, "Seccomp:\t2")
        self.assertEqual([(line.split("\t")[0], line.split("\t")[4]) for line in lines],
                         [("not-guarded", "-"), ("not-guarded", "-"), ("guarded", "syscalls")])

    @actor.needs_root
    def test_reused_pid(self):
        """A process that is younger than the record is not the recorded one."""
        first = self.start_orphan(self.path, "and another process")
        self.assert_checked(first, 0, "guarded", "syscalls")
        os.kill(first, signal.SIGKILL)
        time.sleep(0.02)  # the times are in hundredths of a second
        os.waitpid(first, 0)  # harness.main() made the test the parent of orphans
        pid = fork_with_pid(first)
        if pid == 0:
            os.execv(harness.PYTHON, ["python3", "-c", command.RUN_WITH_NOTIFY_FD, "sleep", "100"])
        self.addCleanup(os.waitpid, pid, 0)
        self.addCleanup(os.kill, pid, signal.SIGKILL)
        harness.wait_until(lambda: open(f"/proc/{pid}/comm", encoding="ascii").read() == "sleep\n",
                           "a new process of that number")
        self.assertEqual(pid, first)
        self.assert_checked(pid, 4, "unknown", "-", "has a seccomp filter, .*")

    @actor.needs_root
    def test_without_root(self):
        os.chmod(self.dir, 0o777)
        as_stranger = {"user": actor.STRANGER, "group": actor.STRANGER, "extra_groups": []}
        pid = self.start_waiting(*RUN, "busybox", "sh", "-c", WAIT, **as_stranger)
        self.assert_checked(pid, 0, "guarded", "syscalls", run=self.sockguard_as_stranger)
        self.assert_checked(self.start_orphan(self.path, **as_stranger), 0, "guarded", "syscalls",
                            run=self.sockguard_as_stranger)

    @actor.needs_root
    def test_process_that_its_supervisor_may_not_examine(self):
        """The supervisor lets the calls of such a process pass, so the process is not guarded."""
        not_dumpable = ("import ctypes, signal\n"
                        "ctypes.CDLL(None).prctl(4, 0)\n"
                        "print('up', flush=True)\n"
                "signal.pause()")
        run = [*RUN, harness.PYTHON, "-c", not_dumpable]
        self.assert_checked(self.start_waiting(*run), 0, "guarded", "syscalls")
        pid = self.start_waiting(*run, user=actor.STRANGER, group=actor.STRANGER, extra_groups=[])
        self.assert_checked(pid, 3, "not-guarded", "-",
                            "its supervisor has no permission to examine it.*")

    @actor.needs_root
    def test_supervisor_that_the_caller_may_not_examine(self):
        """Root's supervisor guards a program that changed its user."""
        pid = self.start_waiting(*RUN, "setpriv", "--reuid", str(actor.STRANGER), "--regid",
                                 str(actor.STRANGER), "--clear-groups", "busybox", "sh", "-c", WAIT)
        self.assert_checked(pid, 0, "guarded", "syscalls")
        self.assert_checked(pid, 4, "unknown", "-", "has a seccomp filter, .*",
                            run=self.sockguard_as_stranger)


class Status(SupervisedCase):
    def status_json(self, *words):
        ended = self.sockguard("status", "--json", *words)
        self.assertEqual(ended.stderr, "")
        return json.loads(ended.stdout)

    def holder_of(self, path):
        """Returns what `status` reports of the only holder, after validating both JSON schemas."""
        document = self.status_json(path)
        for name in ("status", "check"):
            with open(os.path.join(harness.SOURCE, "docs", f"{name}.schema.json"),
                      encoding="ascii") as file:
                schema = json.load(file)
            if name == "check":
                pid = document["sockets"][0]["holders"][0]["pid"]
                check_document = json.loads(self.sockguard("check", "--json", "busybox",
                                                           str(pid)).stdout)
                SchemaValidator(schema).validate(check_document)
            else:
                SchemaValidator(schema).validate(document)
        holder, = document["sockets"][0]["holders"]
        return holder["guarded"], holder["by"], holder["why"]

    def guarded_column(self, path):
        line, = self.sockguard("status", path).stdout.splitlines()
        return line.split("\t")[5]

    def test_supervised(self):
        owner = actor.Actor(self, through=RUN)
        owner.serve(self.path)
        self.assertEqual(self.holder_of(self.path), ("yes", "syscalls", None))
        self.assertEqual(self.guarded_column(self.path), "supervised")

    def test_not_guarded(self):
        owner = actor.Actor(self)
        owner.serve(self.path)
        self.assertEqual(self.holder_of(self.path), ("no", None, "was started without the guard"))
        self.assertEqual(self.guarded_column(self.path), "no")

    def test_excluded_path(self):
        """The settings of the process's own supervisor apply, and not those of another one."""
        self.start_waiting(*RUN, "dash", "-c", WAIT)
        owner = actor.Actor(self, through=[*RUN[:-1], "--ignore", "*/app.sock"])
        owner.serve(self.path)
        owner.serve(self.path + "2")
        why = "SOCKGUARD_ONLY or SOCKGUARD_IGNORE excludes this path"
        self.assertEqual(self.holder_of(self.path), ("no", None, why))
        self.assertEqual(self.holder_of(self.path + "2"), ("yes", "syscalls", None))

    def test_daemon(self):
        self.start_orphan(self.path)
        self.assertEqual(self.guarded_column(self.path), "supervised")


class Units(UnitCase):
    """`unit` sets ExecStart= for programs into which Environment= cannot preload the library."""

    PREFIX = f"{harness.COMMAND} run --by syscalls "

    def exec_starts(self, *settings, environment=False):
        """Returns the ExecStart= settings and the comments of the drop-in for such a unit."""
        comments, lines = self.unit(text="[Service]\n" + "\n".join(settings) + "\n")
        self.assertEqual(lines[0], "[Service]")
        preload = [line for line in lines if line.startswith("Environment=LD_PRELOAD=")]
        self.assertEqual(len(preload), environment, lines)
        starts = [line for line in lines[1:] if line not in preload]
        self.assertEqual(starts[:1], ["ExecStart="] if starts else [])
        return [line.removeprefix("ExecStart=") for line in starts[1:]], comments

    def assert_starts(self, line, wanted):
        self.assertEqual(self.exec_starts("ExecStart=" + line)[0], [wanted])

    def test_static(self):
        starts, comments = self.exec_starts("ExecStart=/usr/bin/busybox syslogd -n")
        self.assertEqual(starts, [self.PREFIX + "/usr/bin/busybox syslogd -n"])
        self.assertIn("/usr/bin/busybox is statically linked", comments)

    def test_go(self):
        starts, comments = self.exec_starts(f"ExecStart={shutil.which('gosu')} root id")
        self.assertEqual(starts, [f"{self.PREFIX}{shutil.which('gosu')} root id"])
        self.assertIn("is a Go program", comments)

    def test_dynamic(self):
        self.assertEqual(self.exec_starts("ExecStart=/bin/true", environment=True)[0], [])

    def test_prefixes(self):
        self.assert_starts("-/usr/bin/busybox a", f"-{self.PREFIX}/usr/bin/busybox a")
        self.assert_starts("-:+/usr/bin/busybox a", f"-:+{self.PREFIX}/usr/bin/busybox a")
        self.assert_starts("!!/usr/bin/busybox", f"!!{self.PREFIX}/usr/bin/busybox")
        self.assert_starts("@/usr/bin/busybox own-name a b", f"{self.PREFIX}/usr/bin/busybox a b")
        self.assert_starts("-@/usr/bin/busybox 'own name'", f"-{self.PREFIX}/usr/bin/busybox ")

    def test_arguments_are_unchanged(self):
        """Quotes, specifiers, variables and continuation lines are unchanged."""
        self.assert_starts('"/usr/bin/busybox" "a b" %n ${X} $Y', self.PREFIX +
                           '"/usr/bin/busybox" "a b" %n ${X} $Y')
        self.assert_starts("/usr/bin/busybox a \\\n# no\n  ; no\n  b", self.PREFIX +
                           "/usr/bin/busybox a    b")

    def test_exec_start_that_was_reset(self):
        starts, _ = self.exec_starts("ExecStart=/usr/bin/busybox a", "ExecStart=",
                                     "ExecStart=/usr/bin/busybox b")
        self.assertEqual(starts, [self.PREFIX + "/usr/bin/busybox b"])

    def test_several_exec_starts(self):
        """In a oneshot service, the commands that can be preloaded are unchanged."""
        starts, _ = self.exec_starts("ExecStart=/bin/true a", "ExecStart=-/usr/bin/busybox b",
                                     environment=True)
        self.assertEqual(starts, ["/bin/true a", f"-{self.PREFIX}/usr/bin/busybox b"])

    def test_dynamic_programs_in_other_settings(self):
        for name in ("ExecStartPre", "ExecStop", "ExecReload"):
            starts, _ = self.exec_starts("ExecStart=/usr/bin/busybox", f"{name}=/bin/rm -f /run/a",
                                         environment=True)
            self.assertEqual(starts, [self.PREFIX + "/usr/bin/busybox"])

    def test_drop_in_that_is_already_installed(self):
        """There, the program in ExecStart= is the sockguard command, which needs no guard."""
        first = "[Service]\nExecStart=/usr/bin/busybox a\n"
        _, lines = self.unit(text=first)
        again = first + "# /etc/systemd/system/app.service.d/sockguard.conf\n" + "\n".join(lines)
        self.assertEqual(self.unit(text=again + "\n")[1], lines)

    SETS_NO_NEW_PRIVS = "so its supervisor sets no_new_privs"

    def test_no_new_privs(self):
        for settings in (("User=nobody",), ("DynamicUser=yes",),
                         ("CapabilityBoundingSet=CAP_CHOWN",),
                         ("CapabilityBoundingSet=~CAP_SYS_ADMIN",)):
            _, comments = self.exec_starts("ExecStart=/usr/bin/busybox", *settings)
            self.assertIn(self.SETS_NO_NEW_PRIVS, comments, settings)
            _, comments = self.exec_starts("ExecStart=/usr/bin/busybox", *settings,
                                           "NoNewPrivileges=yes")
            self.assertNotIn(self.SETS_NO_NEW_PRIVS, comments)
        for settings in ((), ("User=root",), ("CapabilityBoundingSet=~CAP_CHOWN",),
                         ("CapabilityBoundingSet=CAP_SYS_ADMIN CAP_CHOWN",)):
            _, comments = self.exec_starts("ExecStart=/usr/bin/busybox", *settings)
            self.assertNotIn(self.SETS_NO_NEW_PRIVS, comments, settings)

    def test_set_user_id_program(self):
        """The service's user determines whether the program gains privileges."""
        agent = shutil.which("ssh-agent")
        starts, comments = self.exec_starts(f"ExecStart={agent} -D", "User=nobody")
        self.assertEqual(starts, [f"{self.PREFIX}{agent} -D"])
        self.assertIn(f"This applies to {agent} itself", comments)
        self.assertEqual(self.exec_starts(f"ExecStart={agent} -D", "User=nobody",
                                          "NoNewPrivileges=yes", environment=True)[0], [])

    def test_advice_on_the_supervisors_calls(self):
        """@system-service, which is allowed here, lacks calls that a supervisor needs."""
        comments, _ = self.unit(text="[Service]\nExecStart=/usr/bin/busybox\n",
                                calls=" ".join(system_service()))
        advice, = [line for line in comments.splitlines() if line.startswith("#SystemCallFilter=")]
        self.assertEqual(set(advice.split("=")[1].split()),
                         {"chroot", "close_range", "pidfd_getfd", "seccomp"} - set(system_service()))
        comments, _ = self.unit(text="[Service]\nExecStart=/bin/true\n",
                                calls=" ".join(system_service()))
        self.assertNotIn("#SystemCallFilter=", comments)

    def test_systemd_accepts_the_drop_in(self):
        self.write_file(
            "app.service", "[Service]\nType=oneshot\nExecStart=-/usr/bin/busybox true\n")
        os.mkdir(self.dir + "/app.service.d")
        _, lines = self.unit(text="[Service]\nExecStart=-/usr/bin/busybox true\n")
        path = self.write_file("app.service.d/sockguard.conf", "\n".join(lines) + "\n")
        ended = self.run_program(["systemd-analyze", "verify", self.dir + "/app.service"])
        self.assertEqual(ended.returncode, 0, ended.stderr)
        self.assertNotIn("sockguard.conf", ended.stderr)
        with open(path, "a", encoding="utf-8") as file:
            file.write("Nonsense\n")  # systemd does read the drop-in
        ended = self.run_program(["systemd-analyze", "verify", self.dir + "/app.service"])
        self.assertIn("sockguard.conf", ended.stderr)


if __name__ == "__main__":
    sys.exit(harness.main())
