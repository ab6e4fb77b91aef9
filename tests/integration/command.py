"""The command as tests run it: in a pipe, on a terminal, and as somebody else."""

import fcntl
import os
import pty
import shutil
import socket
import struct
import subprocess
import termios

import actor
import harness

ESCAPE = "\x1b"


class CommandCase(actor.SocketCase):
    def sockguard(self, *args, **popen):
        return self.run_program([harness.COMMAND, *args], **popen)

    def as_stranger(self, *args, **popen):
        """The same for a user to whom nothing belongs."""
        return self.sockguard(*args, user=actor.STRANGER, group=actor.STRANGER, **popen)

    def assert_misused(self, *args, hint="--help"):
        """One line on stderr that says what to do next, nothing on stdout, status 2."""
        ended = self.sockguard(*args)
        self.assertEqual((ended.returncode, ended.stdout), (2, ""))
        self.assertRegex(ended.stderr, r"\Asockguard: .*; see sockguard .*\n\Z")
        self.assertIn(hint, ended.stderr)
        return ended.stderr

    def assert_ended(self, ended, status, stdout, stderr=""):
        self.assertEqual((ended.returncode, ended.stdout, ended.stderr), (status, stdout, stderr))

    def on_terminal(self, width, *args, **env):
        """What a person sees: the lines on a terminal of that width, and the exit status."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
        env = {**harness.environment(False), "TERM": "xterm", **env}
        process = subprocess.Popen([harness.COMMAND, *args], env=env, stdout=theirs,
                                   stdin=theirs, stderr=theirs)
        os.close(theirs)
        shown = b""
        while True:
            try:
                shown += os.read(ours, 65536)
            except OSError:  # EIO: nobody has the other end any more
                break
        os.close(ours)
        return shown.decode().replace("\r\n", "\n").splitlines(), process.wait(harness.PATIENCE)

    def bound(self, path=None, kind=socket.SOCK_STREAM):
        ours = socket.socket(socket.AF_UNIX, kind)
        self.addCleanup(ours.close)
        ours.bind(path or self.path)
        if kind != socket.SOCK_DGRAM:
            ours.listen()
        return ours

    def owner(self, path=None, **settings):
        """A guarded process that has bound the path, and listens."""
        owner = actor.Actor(self, guard=True, settings=settings)
        fd = owner.socket("stream")
        self.assertEqual(owner.bind(fd, path or self.path), 0)
        self.assertEqual(owner.listen(fd), 0)
        return owner

    def patched(self, program, *changes):
        """A copy of a program with some bytes at some places written over."""
        copy = os.path.join(self.dir, "patched")
        shutil.copy(program, copy)
        with open(copy, "r+b") as file:
            for offset, data in changes:
                file.seek(offset)
                file.write(data)
        return copy

    def executable(self, name, content):
        path = os.path.join(self.dir, name)
        with open(path, "w", encoding="ascii") as file:
            file.write(content)
        os.chmod(path, 0o755)
        return path


def with_interpreter(case, program, interpreter):
    """A copy of a program with another, not longer, PT_INTERP."""
    content = open(program, "rb").read()
    at = content.index(b"/lib", 64)
    end = content.index(b"\0", at)
    return case.patched(program, (at, interpreter.encode().ljust(end - at, b"\0")))


def with_go_note(case, program):
    """A copy of a program that the loader takes, with the note Go puts into what it builds."""
    content = open(program, "rb").read()
    at = content.index(b"\4\0\0\0\x10\0\0\0\1\0\0\0GNU\0")  # its ABI tag
    return case.patched(program, (at + 8, b"\4\0\0\0Go\0\0"))
