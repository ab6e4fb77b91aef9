"""Details that the other tests of the command leave open: the exact words of its remarks, values at
the limits, and what it prints if a system call fails.

strace makes the calls fail. Each case gives the call, its error, and the whole output.
"""

import errno
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import unittest

import actor
import command
import harness
from test_command_unit import UNIT, UnitCase

VALGRIND_TIMEOUT = 3 * harness.TIMEOUT  # valgrind makes programs about 50 times slower
BUSYBOX = "/usr/bin/busybox"


class FailingCallCase(command.CommandCase):
    def run_with_fault(self, call, error, *args, path=None, when="1+", run=None):
        """Runs the command. The call fails in it; with path, only on that path or its
        descriptor."""
        only = ["-P", path] if path else []
        return (run or self.run_program)(
            ["strace", "-f", "--quiet=all", "-o", "/dev/null", *only, "-e", f"trace={call}", "-e",
             f"inject={call}:error={error}:when={when}", harness.COMMAND, *args])


class DropInCase(UnitCase):

    HEAD = """\
# Makes systemd start app.service under the guard. To install it, run as root:
#   mkdir -p /etc/systemd/system/app.service.d
#   sockguard unit app.service >/etc/systemd/system/app.service.d/sockguard.conf
#   systemctl daemon-reload && systemctl restart app.service
"""
    PREFIX = f"{harness.COMMAND} run --by syscalls "
    PRELOAD = f"Environment=LD_PRELOAD={harness.LIBRARY}"

    def drop_in(self, text, calls="~"):
        """Returns the lines of the drop-in after the comments that every drop-in begins with."""
        self.unit(text=text, calls=calls)  # it also writes the systemctl that prints the text
        ended = self.sockguard("unit", "app", env={"PATH": self.dir})
        self.assertEqual(ended.stdout[:len(self.HEAD)], self.HEAD)
        return ended.stdout[len(self.HEAD):].splitlines()

    def assert_comments(self, settings, *comments, start="/bin/true"):
        lines = self.drop_in(f"[Service]\nExecStart={start}\n{settings}\n")
        self.assertEqual(lines, [*comments, "[Service]", self.PRELOAD])

    PRIVATE = ("# {}= gives the service a private /tmp: a socket path there is visible,",
               "# and guarded, only within this unit.")


class Unit(DropInCase):
    """The comments of a drop-in, word by word."""

    def test_boolean_values(self):
        comments = [line.format("PrivateTmp") for line in self.PRIVATE]
        for value in ("1", "yes", "y", "true", "t", "on", "YES", " yes", "yes \t", "\ton "):
            self.assert_comments(f"PrivateTmp={value}", *comments)
        for value in ("0", "no", "n", "false", "f", "off", "", "yess", "yes no", "10", "onn", "of"):
            self.assert_comments(f"PrivateTmp={value}")
            self.assert_comments(f"PrivateTmp=yes\nPrivateTmp={value}")

    def test_directories(self):
        self.assert_comments("DynamicUser=yes\nPrivateTmp=no",
                             *[line.format("DynamicUser") for line in self.PRIVATE])
        self.assert_comments(
            "RuntimeDirectory=app",
            "# RuntimeDirectory=: when a unit that uses this directory stops, systemd removes it "
            "with",
            "# all sockets in it. Give each unit a directory of its own.")
        for name in ("RootDirectory", "RootImage"):
            self.assert_comments(f"{name}=/srv/app", "# RootDirectory= or RootImage=: the library "
                                 "must exist at the same path inside.")
            self.assert_comments(f"{name}=/srv/app\n{name}= \t")
        self.assert_comments("RuntimeDirectoryMode=0755\nRuntimeDirectory\nRootDirectory/srv=a")

    def test_spaces_around_names_and_values(self):
        lines = self.drop_in(" [Service]\n  ExecStart = /bin/true\n\tPrivateTmp \t= yes\n"
                             "[Socket]\nRuntimeDirectory=app\n")
        self.assertEqual(lines, [line.format("PrivateTmp") for line in self.PRIVATE] +
                         ["[Service]", self.PRELOAD])

    def test_a_text_without_a_last_new_line(self):
        self.write_executable("systemctl", "#!/bin/sh\nprintf '[Service]\\nRuntimeDirectory=app'\n")
        ended = self.sockguard("unit", "app", env={"PATH": self.dir})
        self.assertIn("# RuntimeDirectory=: when", ended.stdout)
        self.write_executable("systemctl",
                              "#!/bin/sh\nprintf '[Service]\\nRuntimeDirectory=app\\\\'\n")
        ended = self.sockguard("unit", "app", env={"PATH": self.dir})
        self.assertIn("# RuntimeDirectory=: when", ended.stdout)

    def test_a_long_text(self):
        """Longer than the buffer into which systemctl's output is read at first."""
        for length in (4094, 4095, 4096, 4097, 20000):
            text = "[Service]\n#" + "x" * (length - 35) + "\nRuntimeDirectory=app\n"
            self.write_executable("systemctl", f"#!/bin/sh\n/bin/cat <<'END'\n{text}END\n")
            ended = self.sockguard("unit", "app", env={"PATH": self.dir})
            self.assertIn("# RuntimeDirectory=: when", ended.stdout, length)

    def test_continued_lines(self):
        self.assert_comments("RuntimeDirectory=\\\n# a comment\n ; another\n\\\n\n")
        lines = self.drop_in("[Service]\nExecStart=/bin/true a\\b \\\n# no\n;no\n  c\n")
        self.assertEqual(lines, ["[Service]", self.PRELOAD])
        lines = self.drop_in("[Service]\nExecStart=/usr/bin/busybox a\\b \\\n# no\n;no\n  c\n")
        self.assertEqual(lines[-2:], ["ExecStart=", f"ExecStart={self.PREFIX}{BUSYBOX} a\\b    c"])

    def test_address_families(self):
        unix = ("# RestrictAddressFamilies= does not allow AF_UNIX: the service itself cannot "
                "create",
                "# Unix sockets.")
        netlink = ("# RestrictAddressFamilies= does not allow AF_NETLINK: the guard then treats a "
                   "stale", "# socket of another user as live if the service may not write to it.")
        self.assert_comments("RestrictAddressFamilies= \t~AF_UNIX", *unix)
        self.assert_comments("RestrictAddressFamilies=AF_UNIX", *netlink)
        self.assert_comments("RestrictAddressFamilies= \t")

    def test_forbidden_calls(self):
        self.assertEqual(self.drop_in(UNIT.replace("Environment=", ""), calls="~statx kcmp"), [
            "# SystemCallFilter= does not allow kcmp statx,",
            "# which the guard calls: the kernel may kill the service with SIGSYS. To allow them,",
            "# remove the # from the last line.", "[Service]", self.PRELOAD, "#SystemCallFilter=kcmp statx"])

    def test_preloaded_libraries(self):
        words = ("# The unit already sets LD_PRELOAD={}; the line below includes it, since",
                 "# only the last one counts.")
        lines = self.drop_in("[Service]\nExecStart=/bin/true\nEnvironment=LD_PRELOAD=/a%%b.so C=d\n"
                             "Environment=E=f\n")
        self.assertEqual(lines, [words[0].format("/a%%b.so"), words[1], "[Service]",
                                 f"{self.PRELOAD}:/a%%%%b.so"])
        lines = self.drop_in(f"[Service]\nExecStart={BUSYBOX}\nEnvironment=LD_PRELOAD=/a.so\n")
        self.assertEqual(lines[-3:], ["[Service]", "ExecStart=",
                                      f"ExecStart={self.PREFIX}{BUSYBOX}"])
        self.assertNotIn("already sets", "\n".join(lines))

    def test_an_earlier_drop_in_at_the_end(self):
        for name in ("app.service.d/sockguard.conf", "app@.service.d/sockguard.conf"):
            self.assert_comments(f"# /etc/systemd/system/{name}\n[Service]\nRuntimeDirectory=app")
        for name in ("app.service.d/not-sockguard.conf", "app.service.d/sockguard.conf.d/a.conf"):
            lines = self.drop_in(f"[Service]\nExecStart=/bin/true\n# /etc/systemd/system/{name}\n"
                                 "[Service]\nRuntimeDirectory=app\n")
            self.assertIn("# all sockets in it. Give each unit a directory of its own.", lines)
        lines = self.drop_in("# /etc/systemd/system/app.service.d/sockguard.conf\n[Service]\n"
                             "PrivateTmp=yes\n# no path\nPrivateTmp=yes\n"
                             "# /run/systemd/system/app.service\n[Service]\nRuntimeDirectory=a\n")
        self.assertNotIn("PrivateTmp", "\n".join(lines))
        self.assertIn("# all sockets in it. Give each unit a directory of its own.", lines)


class SupervisedUnit(DropInCase):
    """The same for programs that a supervisor must guard."""

    WHY = (f"# The library cannot be preloaded: {BUSYBOX} is statically linked, so no loader can "
           "preload the guard.",
           "# The ExecStart= below guards it by system call, see sockguard(1).")
    NAME = "# The drop-in omits the name that @ gives to the program."
    NO_NEW_PRIVS = ("# The service has no CAP_SYS_ADMIN, so its supervisor sets no_new_privs: "
                    "set-ID programs",
                    "# that the service starts, such as sudo, gain no privileges.")

    def assert_supervised(self, settings, comments, starts):
        lines = self.drop_in("[Service]\n" + settings + "\n")
        self.assertEqual(lines, [*comments, "[Service]", "ExecStart=",
                                 *("ExecStart=" + start for start in starts)])

    def test_programs(self):
        for start in (BUSYBOX, f"'{BUSYBOX}'", f"\"{BUSYBOX}\" \t a b", f"'{BUSYBOX}"):
            self.assert_supervised(f"ExecStart={start}", self.WHY, [self.PREFIX + start])
        for start, left in ((f"{BUSYBOX} name", f"{BUSYBOX} "), (f"{BUSYBOX} 'a b' c d",
                            f"{BUSYBOX} c d"), (f"'{BUSYBOX}' name  c", f"'{BUSYBOX}' c"),
                            (BUSYBOX, BUSYBOX)):
            self.assert_supervised(f"ExecStart=@{start}", [*self.WHY, self.NAME],
                                   [self.PREFIX + left])

    def test_name_of_a_preloaded_program_is_kept(self):
        lines = self.drop_in(f"[Service]\nExecStart=@-/bin/true name\nExecStart={BUSYBOX} a\n")
        self.assertEqual(lines, [*self.WHY, "[Service]", self.PRELOAD, "ExecStart=",
                                 "ExecStart=@-/bin/true name",
                                 f"ExecStart={self.PREFIX}{BUSYBOX} a"])

    def test_dynamic_programs_in_other_settings(self):
        for name in ("ExecCondition", "ExecStartPre", "ExecStartPost", "ExecReload", "ExecStop",
                     "ExecStopPost"):
            lines = self.drop_in(f"[Service]\nExecStart={BUSYBOX}\n{name}=/bin/true\n")
            self.assertEqual(lines[2:4], ["[Service]", self.PRELOAD], name)
        for ignored in ("ExecStop=", "ExecStart", "ExecStartX=/bin/true",
                        "[Install]\nExecStop=/bin/a"):
            self.assert_supervised(f"ExecStart={BUSYBOX}\n{ignored}", self.WHY,
                                   [self.PREFIX + BUSYBOX])

    def test_no_exec_start(self):
        for text in ("", "ExecStart=\n", f"ExecStart={BUSYBOX}\nExecStart=\n"):
            self.assertEqual(self.drop_in("[Service]\n" + text), ["[Service]", self.PRELOAD])

    def test_no_new_privs(self):
        """Without CAP_SYS_ADMIN, the filter is possible only with no_new_privs."""
        lost, kept = [*self.WHY, *self.NO_NEW_PRIVS], self.WHY
        for settings, comments in (
                ("User=nobody", lost), ("User=61234", lost), ("User=root", kept), ("User=0", kept),
                ("User=", kept), ("User=nobody\nUser=", kept), ("Group=nogroup", kept),
                ("User=0\nDynamicUser=off", kept), ("User=00", lost),
                ("CapabilityBoundingSet=", lost), ("CapabilityBoundingSet=~", kept),
                ("CapabilityBoundingSet=CAP_KILL CAP_SYS_ADMIN", kept),
                ("CapabilityBoundingSet= ~CAP_KILL CAP_SYS_ADMIN", lost)):
            self.assert_supervised(f"ExecStart={BUSYBOX}\n{settings}", comments,
                                   [self.PREFIX + BUSYBOX])
        self.assert_supervised(f"ExecStart=+{BUSYBOX}\nUser=nobody", self.WHY,
                               [f"+{self.PREFIX}{BUSYBOX}"])

    @actor.needs_root
    def test_set_id_program_and_the_services_user_and_group(self):
        shell = self.patched_copy(harness.PYTHON)
        itself = (f"# This applies to {shell} itself: give it the privileges that it needs with",
                  "# User=, Group= or AmbientCapabilities=.")
        why = "# The library cannot be preloaded: {} is set-{}-ID, so the dynamic loader ignores " \
            "LD_PRELOAD."
        for mode, uid, gid, settings, kind in (
                (0o4755, 0, 0, "User=nobody", "user"), (0o4755, 0, 0, "User=61234", "user"),
                (0o2755, 0, 0, "User=nobody", "group"), (0o2755, 0, 0, "DynamicUser=yes", "group"),
                (0o2755, 1, 1, "User=nobody\nGroup=root", "group")):
            os.chown(shell, uid, gid)
            os.chmod(shell, mode)
            private = [line.format("DynamicUser") for line in self.PRIVATE] \
                if "Dynamic" in settings else []
            self.assert_supervised(f"ExecStart={shell}\n{settings}", [
                                   why.format(shell, kind), self.WHY[1], *self.NO_NEW_PRIVS,
                                   *itself, *private], [self.PREFIX + shell])
        for mode, uid, gid, settings in (
                (0o4755, 65534, 0, "User=nobody"), (0o4755, 65534, 0, "User=61234"),
                (0o2755, 0, 0, "User=nobody\nGroup=root"), (0o2745, 0, 0, "User=nobody"),
                (0o4755, 0, 0, "Group=nogroup"), (0o2755, 1, 65534, "User=nobody")):
            os.chown(shell, uid, gid)
            os.chmod(shell, mode)
            self.assert_comments(settings, start=shell)


class Clean(FailingCallCase):
    def removed(self, what="stale", path=None):
        return f"removed {path or self.path} ({what})\n"

    def left(self, why, path=None):
        return f"left {path or self.path} ({why})\n"

    def leave_lock_file_of_a_crash(self):
        owner = self.start_owner()
        os.kill(owner.pid, signal.SIGKILL)
        os.waitid(os.P_PID, owner.pid, os.WEXITED | os.WNOWAIT)

    def test_a_socket_that_cannot_be_unlinked(self):
        self.make_stale()
        for error, why, status in (("EACCES", "no permission", 4), ("EPERM", "no permission", 4),
                                   ("EROFS", "no permission", 4), ("EIO", "Input/output error", 3)):
            ended = self.run_with_fault("renameat2", error, "clean", self.path)
            self.assert_result(ended, status, self.left(why))
            self.assertEqual(self.names(), ["app.sock"])

    def test_a_socket_that_another_process_removes_first(self):
        self.make_stale()
        self.assert_result(self.run_with_fault("renameat2", "ENOENT", "clean", self.path), 0, "")

    def test_kernel_without_renameat2(self):
        for error in ("ENOSYS", "EEXIST", "EINVAL"):
            self.make_stale()
            ended = self.run_with_fault("renameat2", error, "clean", self.path)
            self.assert_result(ended, 0, self.removed())
            self.assertEqual(self.names(), [])

    def test_a_directory_that_cannot_be_read(self):
        self.make_stale()
        for call, error, why, status in (
                ("getdents64", "EIO", "Input/output error", 3), ("getdents64", "EACCES",
                                                                 "no permission", 4)):
            ended = self.run_with_fault(call, error, "clean", self.dir, path=self.dir)
            self.assert_result(ended, status, self.left(why, self.dir))
            self.assertEqual(self.names(), ["app.sock"])

    def test_a_directory_that_cannot_be_opened(self):
        self.make_stale()
        ended = self.run_with_fault("openat", "EMFILE", "clean", self.path, path=self.dir + "/")
        self.assert_result(ended, 3, self.left("Too many open files"))
        ended = self.run_with_fault("openat", "EACCES", "clean", self.path, path=self.dir + "/")
        self.assert_result(ended, 4, self.left("no permission"))
        for error in ("ENOENT", "ENOTDIR"):
            ended = self.run_with_fault("openat", error, "clean", self.path, path=self.dir + "/")
            self.assert_result(ended, 3, "", f"sockguard: {self.path}: no such socket, lock file "
                               "or directory\n")
        self.assertEqual(self.names(), ["app.sock"])

    def test_options(self):
        self.make_stale()
        for option in ("-n", "--dry-run", "-nv", "-vn"):
            self.assert_result(self.sockguard("clean", option, self.path), 0,
                              f"would remove {self.path} (stale)\n")
        self.bind_socket(self.path + "2")
        for option in ("-v", "-nv", "-vn"):
            ended = self.sockguard("clean", option, self.dir)
            self.assertIn(self.left("live", self.path + "2"), ended.stdout)

    def test_trailing_slashes(self):
        for path in (self.dir + "//", self.dir + "/./"):
            self.make_stale()
            ended = self.sockguard("clean", path)
            self.assertEqual((ended.returncode, ended.stderr, self.names()), (0, "", []))
            self.assertRegex(ended.stdout, r"\Aremoved .*/app\.sock \(stale\)\n\Z")
        self.assert_result(self.sockguard("clean", "-n", "/"), 0, "")

    def test_a_relative_path(self):
        self.make_stale()
        self.assert_result(self.sockguard("clean", "app.sock", cwd=self.dir), 0,
                          "removed app.sock (stale)\n")
        self.make_stale()
        self.assert_result(self.sockguard("clean", ".", cwd=self.dir), 0,
                          "removed ./app.sock (stale)\n")

    def test_a_lock_file_that_cannot_be_unlinked(self):
        self.leave_lock_file_of_a_crash()
        os.unlink(self.path)
        for call, error, when, why in (("unlinkat", "EPERM", "1+", "cannot remove it"),
                                       ("openat", "EMFILE", "1+", "no permission to examine it"),
                                       ("openat", "EMFILE", "2", "cannot lock it")):
            ended = self.run_with_fault(call, error, "clean", self.lock_file_path(),
                                        path=".app.sock.sockguard", when=when)
            self.assert_result(ended, 4, self.left(why, self.lock_file_path()))
        ended = self.run_with_fault("openat", "ENOENT", "clean", self.lock_file_path(),
                                    path=".app.sock.sockguard", when="2")
        self.assert_result(ended, 0, "")
        self.assertEqual(self.names(), [".app.sock.sockguard"])

    @actor.needs_root
    def test_an_owner_in_another_pid_namespace(self):
        owner = actor.Actor(self, guard=True, through=["unshare", "--pid", "--fork",
                                                       "--kill-child"])
        owner.serve(self.path)
        ended = self.sockguard("clean", self.path)
        self.assert_result(ended, 3,
                           self.left("live, bound by actor, pid 1 of another PID namespace"))
        report = json.loads(self.sockguard("status", "--json", self.path).stdout)["sockets"][0]
        self.assertEqual((report["state"], report["bound_by"]), ("live", {
            "pid": 1, "uid": 0, "command": "actor", "ended": None}))


ELF_HEADER, PROGRAM_HEADER, NOTE_HEADER = "=16sHHIQQQIHHHHHH", "=IIQQQQQQ", "=III"
PT_LOAD, PT_INTERP, PT_NOTE = 1, 3, 4
GO_NOTE = struct.pack(NOTE_HEADER, 4, 8, 4) + b"Go\0\0" + b"build id"
ABI_NOTE = struct.pack(NOTE_HEADER, 4, 16, 1) + b"GNU\0" + bytes(16)
STATIC = "statically linked, so no loader can preload the guard"
GO = "a Go program, which makes system calls without libc"
CORRUPT = "corrupt: it has too many program headers"
TRUNCATED = "corrupt: its headers are truncated"


@unittest.skipUnless(sys.maxsize > 1 << 32, "the ELF files are of 64 bits")
class ElfHeaders(command.CommandCase):
    """Files with just the headers that the command reads."""

    def elf(self, *parts, at=64, size=56, count=None, gap=0, machine=None):
        """A file with a program header for each (type, content). at: where the headers begin;
        gap: bytes between them and the first content."""
        with open("/bin/true", "rb") as own:
            ident, kind, own_machine, *_ = struct.unpack(ELF_HEADER, own.read(64))
        content = b""
        headers = b""
        start = at + 56 * len(parts) + gap
        for kind_of_part, data in parts:
            headers += struct.pack(PROGRAM_HEADER, kind_of_part, 4, start + len(content), 0, 0,
                                   len(data), len(data), 4)
            content += data
        head = struct.pack(ELF_HEADER, ident, kind, machine or own_machine, 1, 0, at, 0, 0, 64,
                           size, len(parts) if count is None else count, 0, 0, 0)
        path = os.path.join(self.dir, "program")
        with open(path, "wb") as file:
            file.write(head + bytes(at - 64) + headers + bytes(gap) + content)
        os.chmod(path, 0o755)
        return path

    def assert_why(self, why, *parts, **places):
        path = self.elf(*parts, **places)
        ended = self.sockguard("check", path)
        fields = ended.stdout.rstrip("\n").split("\t")
        self.assertEqual((fields[3], fields[4], ended.stderr),
                         (why or "-", "syscalls" if why else "preload", ""))

    LOADER = (PT_INTERP, b"/lib64/ld-linux-x86-64.so.2\0")

    def test_notes(self):
        for places in ({}, {"at": 5000}, {"gap": 5000}, {"at": 4096 - 56},
                       {"gap": 4096 - 64 - 112}):
            self.assert_why(None, (PT_NOTE, ABI_NOTE), self.LOADER, **places)
            self.assert_why(GO, (PT_NOTE, GO_NOTE), self.LOADER, **places)
            self.assert_why(GO, (PT_NOTE, ABI_NOTE + GO_NOTE), self.LOADER, **places)
            self.assert_why(GO, (PT_NOTE, ABI_NOTE), (PT_NOTE, GO_NOTE), **places)
            self.assert_why(STATIC, (PT_NOTE, ABI_NOTE), (PT_LOAD, GO_NOTE), **places)

    def test_notes_that_are_not_gos(self):
        for note in (struct.pack(NOTE_HEADER, 4, 8, 3) + b"Go\0\0" + bytes(8),
                     struct.pack(NOTE_HEADER, 3, 8, 4) + b"Go\0\0" + bytes(8),
                     struct.pack(NOTE_HEADER, 4, 8, 4) + b"Oo\0\0" + bytes(8),
                     struct.pack(NOTE_HEADER, 4, 8, 4), b"", GO_NOTE[:11], GO_NOTE[:15],
                     struct.pack(NOTE_HEADER, 4, 4000000000, 1) + GO_NOTE,
                     struct.pack(NOTE_HEADER, 4000000000, 4000000000, 1) + GO_NOTE):
            self.assert_why(None, (PT_NOTE, note), self.LOADER)

    def test_the_padding_of_notes(self):
        for name, described in ((5, 0), (4, 1), (1, 3), (0, 0), (0, 4), (7, 7)):
            padded = [-(-length // 4) * 4 for length in (name, described)]
            note = struct.pack(NOTE_HEADER, name, described, 1) + bytes(sum(padded))
            self.assert_why(GO, (PT_NOTE, note + GO_NOTE), self.LOADER)
        self.assert_why(GO, (PT_NOTE, GO_NOTE[:16]), self.LOADER)  # its end is not needed

    def test_many_notes(self):
        self.assert_why(GO, (PT_NOTE, (ABI_NOTE * 120)[:4096 - 64] + GO_NOTE), self.LOADER)
        self.assert_why(None, (PT_NOTE, ABI_NOTE * 128 + GO_NOTE), self.LOADER)

    def test_interpreters(self):
        for name, why in (("ld-linux.so.2", None), ("/lib/ld.so.1", None), ("/lib/ld64.so.2", None),
                          ("/lib/ld-musl-x86_64.so.1", "linked with musl, unlike the guard"),
                          ("ld-musl-x86_64.so.1", "linked with musl, unlike the guard"),
                          ("/system/bin/linker64", "linked with Android's libc"),
                          ("/ld-musl-x/rtld", None), ("", None), ("/", None),
                          ("/x" * 2000 + "/ld-musl-", "linked with musl, unlike the guard"),
                          ("/x" * 2100 + "/ld-musl-", None)):
            self.assert_why(why, (PT_INTERP, name.encode() + b"\0"))

    def test_broken_headers(self):
        parts = [(PT_LOAD, b"")] * 63 + [self.LOADER]
        self.assert_why(None, *parts)
        self.assert_why(CORRUPT, *parts, (PT_LOAD, b""))
        self.assert_why(CORRUPT, self.LOADER, size=32)
        self.assert_why(TRUNCATED, self.LOADER, count=3)
        self.assert_why(STATIC)
        path = self.elf(self.LOADER)
        for length in (4, 63):
            os.truncate(path, length)
            ended = self.sockguard("check", path)
            self.assertIn(f"\t{TRUNCATED}\t", ended.stdout)

    def test_another_machine(self):
        self.assert_why("built for a different architecture than the guard", self.LOADER, machine=8)


class Programs(command.CommandCase):
    def assert_checked(self, name, why, program=None, **popen):
        """why: None if the program can be preloaded."""
        ended = self.sockguard("check", name, **popen)
        self.assertEqual(ended.stderr, "")
        fields = ended.stdout.rstrip("\n").split("\t")
        self.assertEqual((fields[1], fields[3], fields[4]),
                         (name, why or "-", "preload" if why is None else fields[4]))
        if program:
            self.assertEqual(fields[2], program)

    def test_numbers_that_are_not_pids(self):
        for name in ("0", "-1", "+1", "1x", "2147483648", "4294967297", "18446744073709551617",
                     "1 "):
            ended = self.sockguard("check", "--", name)
            self.assert_result(ended, 3, f"not-guardable\t{name}\t-\tno such program\t-\n")
        for pid in ("2147483647", "02147483647"):
            ended = self.sockguard("check", pid)
            self.assert_result(ended, 3, f"not-guarded\t{pid}\t-\tno such process\t-\n")

    MISSING = "the interpreter in its first line does not exist"
    CLEARS = "a script whose first line clears LD_PRELOAD"

    def test_first_lines(self):
        env = "/usr/bin/env"
        for line, why in (
                ("#!/bin/sh", None), ("#! \t/bin/sh \t-e", None), ("#!/bin/sh/", self.MISSING),
                ("#!/bin/true/x", self.MISSING), (f"#!{env} sh", None), (f"#!{env}\tsh -e", None),
                (f"#!{env} -S sh -e", None), (f"#!{env} -Ssh", None),
                (f"#!{env} -S -i sh", self.CLEARS),
                (f"#!{env} -S-i sh", self.CLEARS), (f"#!{env} - sh", self.CLEARS),
                (f"#!{env} --ignore-environment sh", self.CLEARS), (f"#!{env} -u PATH sh", None),
                (f"#!{env} -C / sh", None), (f"#!{env} -u -i sh", None), (f"#!{env} A=b sh", None),
                (f"#!{env} -v A=b -u C sh", None), (f"#!{env} sh -i", None),
                (f"#!{env} no-such-program", self.MISSING), (f"#!{env} -u sh", self.MISSING),
                (f"#!{env}", self.MISSING), ("#!/nonexistent/env sh", None),
                ("#!env -i sh", self.CLEARS), ("#!/usr/bin/env2 sh", self.MISSING)):
            path = self.write_executable("script", line + "\n")
            if why in (None, self.MISSING):
                self.assert_checked(path, why)
            else:
                self.assertIn(why, self.sockguard("check", path).stdout, line)

    def test_short_files(self):
        """Programs that execvp(3) runs with /bin/sh."""
        for content in ("", "#", "\x7fEL", "a\n"):
            self.assert_checked(self.write_executable("script", content), None)
        self.assertIn(TRUNCATED, self.sockguard("check",
                                                self.write_executable("script", "\x7fELF")).stdout)

    def test_long_first_lines(self):
        """The kernel reads 256 bytes."""
        for length in (255, 256, 257):
            line = "#!" + "/" * (length - 9) + "/bin/sh"
            self.assertEqual(len(line), length)
            self.assert_checked(self.write_executable("script", line + "\n"),
                                None if length <= 256 else self.MISSING)

    def test_nested_scripts(self):
        """check accepts as many levels of scripts as the kernel does."""
        interpreter = "/bin/sh"
        outcomes = set()
        for depth in range(1, 9):
            interpreter = self.write_executable(f"s{depth}", f"#!{interpreter}\n")
            try:
                runs = self.run_program([interpreter]).returncode == 0
            except OSError as error:
                self.assertEqual(error.errno, errno.ELOOP)
                runs = False
            outcomes.add(runs)
            ended = self.sockguard("check", interpreter)
            wanted = "-" if runs else "one of too many nested script interpreters"
            self.assertRegex(ended.stdout, rf"\t(\S+ is )?{wanted}\t")
        self.assertEqual(outcomes, {True, False})

    def test_where_programs_are_found(self):
        self.assert_checked("true", None, "/bin/true", env={"PATH": "/nonexistent:/bin"})
        for path in (":/nonexistent", "/nonexistent:", ":", "/nonexistent::/x", "x" * 5000 + ":."):
            self.write_executable("mine", "#!/bin/sh\n")
            self.assert_checked("mine", None, cwd=self.dir, env={"PATH": path})
        ended = self.run_program(["env", "-u", "PATH", harness.COMMAND, "check", "true"])
        self.assertEqual(ended.stdout, "guardable\ttrue\t/bin/true\t-\tpreload\n")
        for name in ("", "/" + "x" * 5000, "./" + "x" * 4094, "/bin", self.dir, "/etc/passwd"):
            self.assertIn("\tno such program\t", self.sockguard("check", name).stdout)

    @actor.needs_root
    def test_set_id_program_on_a_nosuid_mount(self):
        script = "mount -t tmpfs -o {},mode=755 none \"$1\"; cp /bin/true \"$1\"; chmod 4755 " \
            "\"$1/true\"; exec setpriv --reuid 61001 --clear-groups \"$2\" check \"$1/true\""
        for option, by in (("nosuid", "preload"), ("suid", "-")):
            ended = self.run_program(["unshare", "--mount", "sh", "-ec", script.format(option),
                                      "sh", self.dir, harness.COMMAND])
            self.assertEqual((ended.stderr, ended.stdout.split("\t")[-1]), ("", by + "\n"))


class Processes(command.CommandCase):
    """Files with unusual contents are mounted over those of a process in /proc."""

    def setUp(self):
        super().setUp()
        process = self.start(["sleep", "600"], guard=True)
        self.pid = process.pid
        harness.wait_until(lambda: harness.LIBRARY in self.read_proc("maps") and
                           harness.waits_in_call(self.pid, "sleep"), "the program")

    def read_proc(self, name):
        with open(f"/proc/{self.pid}/{name}", "rb") as file:
            return os.fsdecode(file.read().replace(b"\0", b"|"))

    def check(self, env=None, **files):
        """Returns the output of `check` for the process, if its files in /proc have these
        contents."""
        script = ""
        for name, content in files.items():
            path = os.path.join(self.dir, "proc-" + name)
            with open(path, "wb") as file:
                file.write(os.fsencode(content))
            script += f"mount --bind {path} /proc/{self.pid}/{name}\n"
        ended = self.run_program(["unshare", "--mount", "sh", "-ec", script +
                                  f"exec {harness.COMMAND} check {self.pid}"], env=env or {})
        self.assertEqual(ended.stderr, "")
        return ended.stdout

    def expected_line(self, why="-", verdict="guarded", by="preload", name="sleep"):
        return f"{verdict}\t{self.pid}\t{name}\t{why}\t{by}\n"

    @actor.needs_root
    def test_names_and_settings(self):
        self.assertEqual(self.check(), self.expected_line())
        stat = self.read_proc("stat")
        for name in (") (", "(a", "a b)", ""):
            self.assertEqual(self.check(stat=stat.replace("sleep", name)),
                             self.expected_line(name=name))
        for content in ("", "4711 sleep S", "4711 (sleep S 1"):
            self.assertEqual(self.check(stat=content), self.expected_line(name="-"))
        environ = self.read_proc("environ").replace("|", "\0")
        for words, why in (("SOCKGUARD_ONLY=/a/*", "only /a/*"), ("SOCKGUARD_ONLYX=/a/*", "-"),
                           ("SOCKGUARD_IGNORE=/a/*", "all but /a/*"), ("XSOCKGUARD_IGNORE=/a", "-"),
                           ("SOCKGUARD_ONLY=/a\0SOCKGUARD_IGNORE=/b", "only /a")):
            self.assertEqual(self.check(environ=environ + words + "\0"), self.expected_line(why))

    @actor.needs_root
    def test_process_without_the_library(self):
        without = "was started without the guard"
        not_loaded = "its loader could not load the library in LD_PRELOAD"
        maps = "\n".join(line for line in self.read_proc("maps").splitlines()
                         if "sockguard" not in line)
        for preload, why in (("LD_PRELOAD=/a/libother.so", without),
                             ("XLD_PRELOAD=libsockguard.so", without),
                             ("LD_PRELOAD=/a.so:/b/libsockguard.so", not_loaded), ("A=b", without)):
            self.assertEqual(self.check(maps=maps, environ=f"A=b\0{preload}\0C=d\0"),
                             self.expected_line(why, "not-guarded", "-"))
        self.assertEqual(self.check(maps=""), self.expected_line("a kernel thread, or has ended",
                                                                 "not-guarded", "-"))

    @actor.needs_root
    def test_names_of_the_library_in_maps(self):
        maps = self.read_proc("maps")
        for name, guarded in (("libsockguard.so (deleted)", True), ("libsockguard.so.1", False),
                              ("xlibsockguard.so", False), ("libsockguard.so-", False)):
            report = self.check(maps=maps.replace("libsockguard.so", name))
            self.assertEqual(report.startswith("guarded"), guarded, report)
            self.assertEqual("its library file has been removed" in report, "deleted" in name)

    @actor.needs_root
    def test_gained_privileges(self):
        maps = "\n".join(line for line in self.read_proc("maps").splitlines()
                         if "sockguard" not in line)
        with open(f"/proc/{self.pid}/auxv", "rb") as file:
            words = [list(pair) for pair in struct.iter_unpack("NN", file.read())]
        for secure, why in ((1,
                             "gained privileges when executed, so its loader ignored LD_PRELOAD"),
                            (0, "its loader could not load the library in LD_PRELOAD")):
            auxv = b"".join(struct.pack("NN", key, secure if key == 23 else value)
                            for key, value in words)
            report = self.check(maps=maps, auxv=os.fsdecode(auxv))
            self.assertEqual(report, self.expected_line(why, "not-guarded", "-"))

    @actor.needs_root
    def test_service_of_the_process(self):
        self.write_executable("systemctl", "#!/bin/sh\necho SystemCallFilter=~statx\necho \"$*\" >"
                        f"{self.dir}/asked\n")
        env = {"PATH": f"{self.dir}:{os.environ['PATH']}"}
        status = self.read_proc("status").replace("Seccomp:\t0", "Seccomp:\t2")
        user = "/user.slice/user-{0}.slice/user@{0}.service"
        for cgroup, manager, service in (
                ("0::/system.slice/app.service\n", "--system", "app.service"),
                ("0::/system.slice/app.service/a/b\n", "--system", "app.service"),
                ("0::/a.service/b.service\n", "--system", "b.service"),
                ("0::/a.service/.service\n", "--system", "a.service"),
                ("1:name=systemd:/system.slice/app.service\n0::/\n", "--system", "app.service"),
                ("12:pids:/x.service\n1:name=systemd:/app.service\n", "--system", "app.service"),
                (f"0::{user.format(0)}/app.slice/app.service\n", "--user", "app.service"),
                (f"0::{user.format(0)}/init.scope\n", "--system", "user@0.service"),
                (f"0::{user.format(1)}/init.scope\n", "--system", "user@1.service"),
                (f"0::{user.format(1)}/app.service\n", None, None),
                (f"0::{user.format(1)}{user.format(0)}/app.service\n", "--user", "app.service"),
                ("0::/app.service.d/x\n", None, None), ("0::/\n", None, None), ("", None, None),
                ("3:pids:/app.service\n", None, None)):
            report = self.check(env=env, status=status, cgroup=cgroup)
            why = "its SystemCallFilter= does not allow statx; see sockguard unit {}"
            self.assertEqual(report, self.expected_line(why.format(service) if service else "-"),
                             cgroup)
            if service:
                with open(self.dir + "/asked", encoding="ascii") as asked:
                    self.assertEqual(asked.read(), f"{manager} --no-pager show --property="
                                     f"SystemCallFilter -- {service}\n")
        self.assertEqual(self.check(env=env, cgroup="0::/app.service\n"), self.expected_line())

    @actor.needs_root
    def test_a_service_that_forbids_nothing(self):
        status = self.read_proc("status").replace("Seccomp:\t0", "Seccomp:\t2")
        for output in ("SystemCallFilter=", "SystemCallFilter=~", "Other=~statx", ""):
            self.write_executable("systemctl", f"#!/bin/sh\necho '{output}'\n")
            env = {"PATH": f"{self.dir}:{os.environ['PATH']}"}
            self.assertEqual(self.check(env=env, status=status, cgroup="0::/app.service\n"),
                             self.expected_line())


class Status(FailingCallCase):
    def row(self, ended):
        """The fields of the only line."""
        self.assertEqual((ended.stderr, ended.stdout.count("\n")), ("", 1))
        return ended.stdout.rstrip("\n").split("\t")

    def test_types(self):
        for kind, name in ((socket.SOCK_STREAM, "stream"), (socket.SOCK_SEQPACKET, "seqpacket"),
                           (socket.SOCK_DGRAM, "datagram")):
            path = os.path.join(self.dir, name)
            self.bind_socket(path, kind)
            report = json.loads(self.sockguard("status", "--json", path).stdout)["sockets"][0]
            self.assertEqual((report["state"], report["type"], report["holders"][0]["pid"]),
                             ("live", name, os.getpid()))
        report = json.loads(self.sockguard("status", "--json", self.path).stdout)["sockets"][0]
        self.assertEqual((report["state"], report["type"]), ("absent", None))

    def test_without_sock_diag(self):
        self.bind_socket()
        for call, error in (("sendto", "EPERM"), ("socket", "EAFNOSUPPORT"), ("recvfrom", "EIO")):
            ended = self.run_with_fault(call, error, "status")
            self.assert_result(ended, 4, "", "sockguard: cannot list the kernel's sockets "
                              "(sock_diag(7)); name the paths to inspect\n")
            if call != "socket":
                row = self.row(self.run_with_fault(call, error, "status", self.path))
                self.assertEqual(row[:3], ["live", self.path, "?"])

    def test_a_list_in_several_pieces_is_read_twice(self):
        """The kernel may skip a socket in a list that it sends in several pieces."""
        pairs = [socket.socketpair() for _ in range(400)]
        self.addCleanup(lambda: [end.close() for pair in pairs for end in pair])
        names = [os.path.join(self.dir, f"s{i:02}") for i in range(50)]
        for name in names:
            self.bind_socket(name)
        ended = self.run_with_fault("recvfrom", "EIO", "status", when="3")  # in the first list
        self.assertEqual([line.split("\t")[1] for line in ended.stdout.splitlines()
                          if self.dir in line], names)

    def test_descriptors_that_cannot_be_listed(self):
        """The holder's, and those of a process that may hold the socket."""
        self.bind_socket()
        mine = [str(os.getpid())]
        for call, error, pid in (("openat", "EACCES", "?"), ("openat", "EPERM", "?"),
                                 ("openat", "ENOENT", "-"), ("getdents64", "EACCES", "?"),
                                 ("getdents64", "EPERM", "?"), ("getdents64", "ENOENT", "-")):
            path = f"{os.getpid()}/fd" if call == "openat" else f"/proc/{os.getpid()}/fd"
            row = self.row(self.run_with_fault(call, error, "status", self.path, path=path))
            self.assertEqual(row[:4], ["live", self.path, pid, pid], (call, error))
            report = json.loads(self.run_with_fault(call, error, "status", "--json", self.path,
                                                    path=path).stdout)["sockets"][0]
            self.assertEqual((report["holders"], report["holders_complete"]), ([], pid == "-"))
        other = self.start(["sleep", "60"])
        row = self.row(self.run_with_fault("openat", "EACCES", "status", self.path,
                                           path=f"{other.pid}/fd"))
        self.assertEqual(row[:3], ["live", self.path, *mine])

    def test_a_path_that_cannot_be_looked_up(self):
        self.make_stale()
        for error, state, status in (("ENOENT", "absent", 3), ("ENOTDIR", "absent", 3),
                                     ("EACCES", "unknown", 4), ("EIO", "unknown", 4)):
            ended = self.run_with_fault("openat", error, "status", self.path, path=self.path)
            self.assertEqual((ended.returncode, self.row(ended)[0]), (status, state))

    def test_a_lock_file_that_cannot_be_examined(self):
        owner = self.start_owner()
        for error, lock in (("EACCES", "unknown"), ("EMFILE", "unknown")):
            row = self.row(self.run_with_fault("openat", error, "status", self.path,
                                               path=self.lock_file_path()))
            self.assertEqual((row[0], row[2], row[8]), ("live", str(owner.pid), lock))
        self.assertEqual(self.row(self.sockguard("status", self.path))[8], "claimed")

    @actor.needs_root
    def test_an_overlay(self):
        """There, stat(2) shows the device of a layer, but sock_diag shows that of the overlay."""
        script = """
mount -t tmpfs none "$1"
mkdir "$1/low" "$1/up" "$1/over"
mount -t tmpfs none "$1/up"
mkdir "$1/up/up" "$1/up/work"
mount -t overlay -o "lowerdir=$1/low,upperdir=$1/up/up,workdir=$1/up/work" none "$1/over"
exec "$2" -c '
import os, socket, subprocess, sys
one = socket.socket(socket.AF_UNIX)
one.bind(sys.argv[1] + "/over/app.sock")
one.listen()
print(os.getpid(), flush=True)
subprocess.run([sys.argv[2], "status", sys.argv[1] + "/over/app.sock"])' "$1" "$3"
"""
        ended = self.run_program(["unshare", "--mount", "sh", "-ec", script, "sh", self.dir,
                                  harness.PYTHON, harness.COMMAND])
        pid, row = ended.stdout.splitlines()
        self.assertEqual((row.split("\t")[:3], ended.stderr),
                         (["live", self.dir + "/over/app.sock", pid], ""))


class Terminal(command.CommandCase):
    """The exact layout of tables."""

    PATH = "/nonexistent/app.sock"
    HEADER = ("STATE ", "PATH", "PID", "COMMAND", "USER", "GUARDED", "SINCE", "STARTED", "LOCK")
    CELLS = ("absent", PATH, "  -", "-      ", "-   ", "-      ", "-    ", "-      ", "none")

    @staticmethod
    def cut(words, width):
        """The words, or their end after an ellipsis if they are too long for the width."""
        cut = "\N{HORIZONTAL ELLIPSIS}" + words[len(words) - width + 1:] if width > 1 else \
            "\N{HORIZONTAL ELLIPSIS}"
        return words.ljust(width) if len(words) <= width else cut

    def test_columns_that_fit(self):
        """Each width at which one more column just fits, and the next smaller width."""
        without_user = (0, 1, 2, 3, 5)
        for width, path, shown in ((200, 21, range(9)), (80, 21, range(9)), (79, 20, range(9)),
                                   (78, 21, range(8)), (74, 21, range(8)), (73, 20, range(8)),
                                   (72, 21, range(7)), (65, 21, range(7)), (64, 20, range(7)),
                                   (63, 21, range(6)), (58, 21, range(6)), (57, 20, range(6)),
                                   (56, 21, without_user), (52, 21, without_user),
                                   (51, 20, without_user),
                                   (50, 21, range(4)), (43, 21, range(4)), (42, 20, range(4)),
                                   (41, 21, range(3)), (34, 21, range(3)), (33, 20, range(3)),
                                   (32, 21, range(2)), (29, 21, range(2)), (28, 20, range(2)),
                                   (27, 19, range(2)), (20, 12, range(2)), (10, 2, range(2)),
                                   (9, 1, range(2)), (1, 1, range(2))):
            wanted = ["  ".join(self.cut(cells[i], path) if i == 1 else cells[i]
                                for i in shown).rstrip()
                      for cells in (self.HEADER, self.CELLS)]
            lines, status = self.run_on_terminal(width, "status", self.PATH, NO_COLOR="1")
            self.assertEqual((lines, status), (wanted, 3), width)

    def test_the_widest_column_is_cut_first(self):
        program = os.path.join(self.dir, "a-program-with-a-long-name")
        shutil.copy("/bin/true", program)
        for width, target, shown in ((130, 43, 43), (120, 38, 39), (100, 28, 29), (76, 16, 17),
                                     (75, 16, 16), (74, 15, 16), (71, 12, 16), (70, 29, None),
                                     (60, 19, None)):
            lines, _ = self.run_on_terminal(width, "check", "no", program, NO_COLOR="1")
            cells = [self.cut(program, part) for part in (target, shown) if part]
            self.assertEqual(lines[2], "  ".join(["guardable    ", *cells, "-".ljust(15),
                                                  "preload"]))

    def test_colours(self):
        def coloured(words, code):
            return f"\x1b[{code}m{words}\x1b[0m"

        for env, uncoloured in (({}, False), ({"NO_COLOR": ""}, False), ({"NO_COLOR": "1"}, True),
                                ({"TERM": "dumb"}, True), ({"TERM": "vt100"}, False)):
            lines, _ = self.run_on_terminal(80, "check", "true", "no", **env)
            wanted = [[("VERDICT", 2), ("TARGET", 2), ("PROGRAM", 2), ("WHY", 2), ("BY", 2)],
                      [("guardable", 32), "true", "/bin/true", "-", "preload"],
                      [("not-guardable", 31), "no", "-", "no such program", "-"]]
            widths = (15, 8, len(shutil.which("true")) + 2, 17, 0)
            wanted[1][2] = shutil.which("true")
            for line, cells in zip(lines, wanted):
                text = ""
                for cell, width in zip(cells, widths):
                    words, code = cell if isinstance(cell, tuple) else (cell, None)
                    text += words if uncoloured or not code else coloured(words, code)
                    text += " " * (width - len(words))
                self.assertEqual(line, text)

    def test_several_holders(self):
        """The second one's row repeats neither the path nor a colour."""
        self.bind_socket()
        child = self.start(["sleep", "60"], pass_fds=[self.listener.fileno()])
        lines, _ = self.run_on_terminal(200, "status", self.path)
        self.assertIn("\x1b[32mlive\x1b[0m", lines[1])
        pids = sorted((os.getpid(), child.pid))
        other = lines[2] if pids[0] == os.getpid() else lines[1]
        self.assertIn("sleep", other)
        self.assertRegex(lines[2], rf"\A +{pids[1]}  \S")

    def bind_socket(self):
        self.listener = super().bind_socket()

    def test_a_width_from_the_environment(self):
        """For a terminal that does not report its width."""
        for report, width in (("100", 100), ("0", 80), ("-5", 80), ("x", 80), ("32767", 80),
                              ("32766", 32766), ("99999", 80), ("60", 60)):
            lines, _ = self.run_on_terminal(0, "status", self.PATH + "x" * 60, NO_COLOR="1",
                                            COLUMNS=report)
            self.assertEqual(len(lines[0]), min(width, 140), report)


class Run(command.CommandCase):
    LIST = 'cd /proc/$$/fd && echo *'

    def test_descriptors(self):
        """The program inherits none of the command's descriptors."""
        shell = ["sh", "-c", self.LIST]
        unguarded = self.run_program(shell, stdin=-3).stdout
        for by in ("auto", "preload", "syscalls"):
            ended = self.sockguard("run", "--by", by, *shell, stdin=-3)
            self.assertEqual((ended.stdout, ended.stderr), (unguarded, ""), by)


class Start(FailingCallCase):
    """If a supervisor cannot start, `run` reports the reason, and runs the program nevertheless."""

    SHOW = ["sh", "-c", "grep -E '^(NoNewPrivs|Seccomp):' /proc/$$/status"]
    TOO_OLD = "the kernel is older than Linux 5.9 or does not permit supervision"
    CANNOT = "cannot start a supervisor"
    FORBIDDEN = "a supervisor has no permission to examine processes"
    TAKEN = r"another program already supervises its system calls \(EBUSY\)"
    # If the supervisor ends, the reason depends on whether the notification descriptor has already
    # been sent.
    ENDED = f"({CANNOT}|{FORBIDDEN})"

    def assert_started(self, call, error, when, why, rights=None):
        """why: a pattern; None if the program is supervised. rights: of the program, NoNewPrivs and
        Seccomp."""
        ended = self.run_with_fault(call, error, "run", "--by", "syscalls", *self.SHOW, when=when)
        words = f"\\Asockguard: sh will not be guarded: {why}" if why else r"\A\Z"
        self.assertEqual(ended.returncode, 0)
        self.assertRegex(ended.stderr, words, (call, error, when))
        filters = ended.stdout.replace("\t", " ").split()[1::2]
        self.assertEqual(filters, rights or (["0", "0"] if why else ["0", "2"]),
                         (call, error, when))
        if why:
            ended = self.run_with_fault(call, error, "run", "--strict", "--by", "syscalls",
                                        *self.SHOW, when=when)
            self.assertEqual((ended.returncode, ended.stdout), (126, ""))
            self.assertRegex(ended.stderr, words)
            self.assertIn("; not started\n", ended.stderr)

    @actor.needs_root
    def test_calls_before_the_filter(self):
        for call, error, when, why in (
                ("seccomp", "EINVAL", "1+", self.TOO_OLD),
                ("socketpair", "EMFILE", "1", self.CANNOT),
                ("memfd_create", "EMFILE", "1", self.TOO_OLD),
                ("clone", "EAGAIN", "1", self.CANNOT),
                ("wait4", "ECHILD", "1", self.CANNOT), ("wait4", "EINTR", "1", None),
                ("sendmsg", "EPIPE", "1", self.CANNOT), ("recvmsg", "EIO", "1", self.ENDED),
                ("process_vm_readv", "EPERM", "1", self.FORBIDDEN),
                ("pidfd_open", "EMFILE", "1+", self.FORBIDDEN),
                ("pidfd_getfd", "EPERM", "1", self.FORBIDDEN), ("pidfd_getfd", "EBADF", "1", None),
                ("chdir", "EACCES", "1+", self.FORBIDDEN), ("dup2", "EBADF", "1+", self.FORBIDDEN),
                ("setsid", "EPERM", "1", None)):
            self.assert_started(call, error, when, why)

    @actor.needs_root
    def test_the_filter(self):
        """The program's own filter, which `run` installs after a trial in another process."""
        log = os.path.join(self.dir, "log")
        self.run_program(["strace", "-o", log, "-e", "trace=seccomp", harness.COMMAND, "run",
                          "--by", "syscalls", "true"])
        with open(log, encoding="utf-8") as file:
            last = file.read().count("seccomp(")
        unprivileged = ["1", "2"]
        for error, when, why, rights in (
                ("EPERM", f"{last}+", self.CANNOT, None), ("EBUSY", f"{last}+", self.TAKEN, None),
                ("EINVAL", f"{last}+", self.TOO_OLD, None), ("EINVAL", f"{last}", None, None),
                ("EACCES", f"{last}", None, unprivileged), ("EACCES", f"{last}..{last + 1}", None,
                                                           unprivileged),
                ("EACCES", f"{last}+", self.CANNOT, ["1", "0"])):
            self.assert_started("seccomp", error, when, why, rights)

    @actor.needs_root
    def test_supervisor_that_does_not_report_that_it_is_ready(self):
        """The filter is already installed, and calls on sockets would fail without a supervisor."""
        for call, error in (("sendto", "EPIPE"), ("recvfrom", "EIO")):
            ended = self.run_with_fault(call, error, "run", "--by", "syscalls", *self.SHOW)
            self.assert_result(ended, 126, "",
                               "sockguard: sh was not started: the supervisor has ended\n")
        self.assert_started("recvfrom", "EINTR", "1", None)

    def test_the_filter_and_other_calls(self):
        """Calls that cannot remove a socket do not wait for the supervisor."""
        script = "import os; os.mkdir('d'); os.rmdir('d'); os.mkdir('e'); os.rename('e', 'f')"
        ended = self.sockguard("run", "--by", "syscalls", harness.PYTHON, "-c", script,
                               cwd=self.dir)
        self.assert_result(ended, 0, "")
        self.assertEqual(self.names(), ["f"])


@unittest.skipUnless(shutil.which("valgrind"), "needs valgrind")
class WithoutLeaks(command.CommandCase):
    """No command loses memory, or leaves a descriptor open."""

    VALGRIND = (shutil.which("valgrind"), "-q", "--child-silent-after-fork=yes",
                "--leak-check=full", "--track-fds=yes", "--error-exitcode=99",
                "--errors-for-leak-kinds=definite,indirect")

    def assert_tidy(self, *args, status=0, **popen):
        log = os.path.join(self.dir, "valgrind.log")
        ended = subprocess.run([*self.VALGRIND, f"--log-file={log}", harness.COMMAND, *args],
                               capture_output=True, text=True, timeout=VALGRIND_TIMEOUT,
                               check=False, **popen)
        with open(log, encoding="utf-8", errors="replace") as file:
            output = file.read()
        os.unlink(log)
        self.assertIn(ended.returncode, (0, 3, 4) if status is None else (status,),
                      output + ended.stderr)
        opened = re.findall(r"Open file descriptor.*\n(?!.*<inherited from parent>).*", output)
        self.assertEqual(opened, [])
        return ended.stdout

    def test_check(self):
        process = self.start(["sleep", "60"], guard=True, settings={"ONLY": "/run/*"})
        static = self.start([BUSYBOX, "sleep", "60"])
        script = self.write_executable("script", "#!/usr/bin/env -S A=b python3 -m x\n")
        self.assert_tidy("check", "true", "none", BUSYBOX, script, str(process.pid),
                         str(static.pid), str(os.getpid()), status=3)
        self.assert_tidy("check", "--json", "true", "none", BUSYBOX, str(process.pid), status=3)

    def test_check_of_supervised_processes(self):
        process = self.start([harness.COMMAND, "run", "--by", "syscalls", BUSYBOX, "sh", "-c",
                              "echo up; sleep 60; :"], stdout=-1)
        self.assertEqual(process.stdout.readline(), b"up\n")
        self.assert_tidy("check", str(process.pid))

    def test_status(self):
        self.start_owner()
        self.bind_socket(self.path + "2")
        self.make_stale(self.path + "3")
        self.bind_socket(self.path + "4")
        os.rename(self.path + "4", self.path + "5")
        self.bind_socket(self.path + "6")
        os.unlink(self.path + "6")
        self.bind_socket(self.path + "6")
        paths = [f"{self.path}{end}" for end in ("", *range(2, 8))]
        self.assert_tidy("status", *paths, status=3)
        self.assert_tidy("status", "--json", *paths, status=3)
        self.assert_tidy("status", status=None)  # it depends on other programs' sockets

    def test_clean(self):
        self.bind_socket(self.path + "2")
        self.write_file(".app.sock.sockguard")
        self.write_file(".app.sock3.sockguard")
        self.write_file("file")
        self.make_stale(self.path)
        for options in (["-n"], ["-v"]):
            self.assert_tidy("clean", *options, self.dir, self.path + "4", self.dir + "/file",
                             self.path, status=3)

    @actor.needs_root
    def test_clean_of_another_users_directory(self):
        os.chown(self.dir, actor.STRANGER, actor.STRANGER)
        self.make_stale(self.path)
        self.write_file(".app.sock.sockguard")
        self.make_stale(self.path + "2")
        self.assert_tidy("clean", "-v", self.dir, status=4)

    def test_unit(self):
        text = f"[Service]\nExecStart=@{BUSYBOX} a b\nExecStart=/bin/true\nExecStop=/bin/true\n" \
            "User=nobody\nGroup=root\nEnvironment=LD_PRELOAD=/a.so\n" \
            "CapabilityBoundingSet=CAP_KILL\n" \
            "RestrictAddressFamilies=AF_INET\nRuntimeDirectory=a\nPrivateTmp=yes\n"
        self.write_executable("systemctl",
                              f"#!/bin/sh\ncase \"$*\" in *cat*) /bin/cat <<'END'\n{text}END\n;;\n"
                        "*) echo SystemCallFilter=~statx kcmp ;;\nesac\n")
        report = self.assert_tidy("unit", "app", env={"PATH": self.dir})
        self.assertIn("#SystemCallFilter=kcmp statx", report)
        self.write_executable("systemctl", "#!/bin/sh\necho text\nexit 1\n")
        self.assert_tidy("unit", "app", env={"PATH": self.dir})
        self.assert_tidy("unit", "app", env={"PATH": "/nonexistent"})


if __name__ == "__main__":
    sys.exit(harness.main())
