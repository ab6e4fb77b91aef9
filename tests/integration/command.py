"""Helpers to run the command: in a pipe, on a terminal, and as another user."""

import fcntl
import os
import pty
import shutil
import socket
import struct
import subprocess
import termios
import threading

import actor
import harness

ESCAPE = "\x1b"
# Written to a terminal after the program has ended, so that the reader knows that it has read all.
# EIO, which it would get otherwise, may arrive before the last lines.
END = b"\0end of output\0"
# For python3 -c: installs a seccomp filter that allows everything and has a notification
# descriptor, then executes the arguments. No other supervisor can then supervise them.
RUN_WITH_NOTIFY_FD = """
import ctypes, os, struct, sys
code = ctypes.create_string_buffer(struct.pack("=HBBI", 6, 0, 0, 0x7fff0000))
program = struct.pack("HL", 1, ctypes.addressof(code))
libc = ctypes.CDLL(None)
libc.syscall.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_long, ctypes.c_char_p]
libc.prctl(38, 1, 0, 0, 0)
SECCOMP, MODE_FILTER, NEW_LISTENER = %d, 1, 8
os.set_inheritable(libc.syscall(SECCOMP, MODE_FILTER, NEW_LISTENER, program), True)
os.execvp(sys.argv[1], sys.argv[1:])
""" % {"x86_64": 317, "aarch64": 277}.get(os.uname().machine, 354)


class CommandCase(actor.SocketCase):
    def sockguard(self, *args, **popen):
        return self.run_program([harness.COMMAND, *args], **popen)

    def sockguard_as_stranger(self, *args, **popen):
        """The same as sockguard(), as a user to whom no file belongs."""
        return self.sockguard(*args, user=actor.STRANGER, group=actor.STRANGER, **popen)

    def assert_usage_error(self, *args, hint="--help"):
        """Expects one line on stderr that ends with a hint, nothing on stdout, exit status 2."""
        ended = self.sockguard(*args)
        self.assertEqual((ended.returncode, ended.stdout), (2, ""))
        self.assertRegex(ended.stderr, r"\Asockguard: .*; see sockguard .*\n\Z")
        self.assertIn(hint, ended.stderr)
        return ended.stderr

    def assert_result(self, ended, status, stdout, stderr=""):
        self.assertEqual((ended.returncode, ended.stdout, ended.stderr), (status, stdout, stderr))

    def run_on_terminal(self, width, *args, **env):
        """Runs the command; returns what it printed to a terminal of this width, and its status."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
        env = {**harness.environment(False), "TERM": "xterm", **env}
        process = subprocess.Popen([harness.COMMAND, *args], env=env, stdout=theirs,
                                   stdin=theirs, stderr=theirs)

        def mark_end():
            try:
                process.wait(harness.TIMEOUT)
            finally:
                os.write(theirs, END)

        marker = threading.Thread(target=mark_end)
        marker.start()
        shown = b""
        while not shown.endswith(END):
            shown += os.read(ours, 65536)
        marker.join()
        os.close(ours)
        os.close(theirs)
        text = shown[:-len(END)].decode().replace("\r\n", "\n")
        return text.splitlines(), process.wait(0)

    def bind_socket(self, path=None, kind=socket.SOCK_STREAM):
        ours = socket.socket(socket.AF_UNIX, kind)
        self.addCleanup(ours.close)
        ours.bind(path or self.path)
        if kind != socket.SOCK_DGRAM:
            ours.listen()
        return ours

    def start_owner(self, path=None, **settings):
        """Starts a guarded process that binds a socket to the path and listens."""
        owner = actor.Actor(self, guard=True, settings=settings)
        fd = owner.socket("stream")
        self.assertEqual(owner.bind(fd, path or self.path), 0)
        self.assertEqual(owner.listen(fd), 0)
        return owner

    def patched_copy(self, program, *changes):
        """Copies a program, and overwrites the copy with the data of each (offset, data)."""
        copy = os.path.join(self.dir, "patched")
        shutil.copy(program, copy)
        with open(copy, "r+b") as file:
            for offset, data in changes:
                file.seek(offset)
                file.write(data)
        return copy

    def write_executable(self, name, content):
        path = os.path.join(self.dir, name)
        with open(path, "w", encoding="ascii") as file:
            file.write(content)
        os.chmod(path, 0o755)
        return path


def copy_with_interpreter(case, program, interpreter):
    """Copies a program and changes its PT_INTERP, which must not become longer."""
    content = open(program, "rb").read()
    at = content.index(b"/lib", 64)
    end = content.index(b"\0", at)
    return case.patched_copy(program, (at, interpreter.encode().ljust(end - at, b"\0")))


def copy_with_go_note(case, program):
    """Copies a program and adds the ELF note of Go programs. The loader accepts the copy."""
    content = open(program, "rb").read()
    at = content.index(b"\4\0\0\0\x10\0\0\0\1\0\0\0GNU\0")  # the note with the ABI tag
    return case.patched_copy(program, (at + 8, b"\4\0\0\0Go\0\0"))
