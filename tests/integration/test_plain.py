"""Where no live socket path is at stake, libc's results, its errno and its effects are unchanged.

Each test is a script of calls that one actor makes with the guard and another without, each in a
directory of its own; results, errno and what the directory holds are compared call by call. Single
calls with every bad argument are in test_inputs.py; here one call meets what others have left.
"""

import os
import shutil
import socket
import struct
import sys

import harness
from actor import (FAMILY, FULL_LENGTH, RENAME_EXCHANGE, RENAME_NOREPLACE, Actor, SocketCase,
                   address, needs_root, tcp_address)

HERE = -100  # AT_FDCWD
NONE = 999  # no descriptor


class Scripts(SocketCase):
    """Paths are relative to the directory: what the actors see is the same to a byte."""

    def compare(self, script, prepare=None, furnish=None, claims=False):
        """script: the commands; furnish: makes the directory's content; prepare: the actor.

        claims: lock files may come and go, and are gone after the last call.
        """
        said = []
        plain = self.play(False, script, prepare, furnish, said)
        guarded = self.play(True, script, prepare, furnish, said)
        if claims:
            self.assertEqual(guarded[-1], plain[-1])
            guarded = [self.without_lock_files(call) for call in guarded]
        self.assertAlike(plain, guarded)
        self.assertEqual(said, ["", ""])

    def without_lock_files(self, call):
        *rest, listing = call
        return (*rest, [found for found in listing if not found[0].endswith(".sockguard")])

    def play(self, guard, script, prepare, furnish, said):
        stage = os.path.join(self.dir, "stage")
        os.mkdir(stage)
        if furnish:
            furnish(stage)
        actor = Actor(self, guard=guard)
        actor.chdir(stage)
        if prepare:
            prepare(actor)
        transcript = []
        for words in script:
            result, error, rest = actor.call(*words)
            transcript.append((words, result, error, rest, self.listing(stage)))
        said.append(actor.said())
        actor.kill()
        shutil.rmtree(stage)
        return transcript

    def assertAlike(self, plain, guarded):
        """Every difference is told, not only the first."""
        differences = [f"{other[0]}: with the guard {other[1:]}, without {one[1:]}"
                       for one, other in zip(plain, guarded) if one != other]
        self.assertFalse(differences, "\n" + "\n".join(differences))

    def listing(self, directory):
        """Every name below, and what kind of thing it is."""
        found = []
        for where, directories, files in os.walk(directory):
            for name in directories + files:
                path = os.path.join(where, name)
                status = os.lstat(path)
                found.append((os.path.relpath(path, directory), oct(status.st_mode),
                              status.st_nlink if not os.path.isdir(path) else 0))
        return sorted(found)

    def furnish(self, stage):
        """Something of every kind that is not a socket."""
        for name in ("file", "other", "third"):
            with open(os.path.join(stage, name), "w") as out:
                out.write(name)
        os.mkdir(os.path.join(stage, "directory"))
        os.mkdir(os.path.join(stage, "full"))
        with open(os.path.join(stage, "full", "inner"), "w"):
            pass
        os.symlink("file", os.path.join(stage, "link"))
        os.symlink("directory", os.path.join(stage, "dirlink"))
        os.symlink("nowhere", os.path.join(stage, "dangling"))
        os.symlink("loop", os.path.join(stage, "loop"))
        os.mkfifo(os.path.join(stage, "fifo"))

    def test_unlinkat(self):
        self.compare([("open", "full", os.O_PATH | os.O_DIRECTORY),
                      ("unlinkat", 3, "inner", 0),
                      ("unlinkat", 3, "inner", 0),
                      ("unlinkat", HERE, "full", 0),
                      ("unlinkat", HERE, "full", 0x200),
                      ("unlinkat", 3, "inner", 0),
                      ("unlinkat", 3, "../file", 0),
                      ("unlinkat", HERE, "other", 0x200),
                      ("unlinkat", HERE, "directory", 0x200),
                      ("unlinkat", HERE, "dirlink", 0x200),
                      ("unlinkat", NONE, "other", 0),
                      ("unlinkat", -1, "other", 0),
                      ("unlinkat", HERE, "other", 0x40000000),
                      ("unlinkat", HERE, "other", 1),
                      ("unlinkat", HERE, "absent", 1),
                      ("unlinkat", 0, "other", 0),
                      ("unlinkat", 3, "", 0),
                      ("unlinkat", HERE, "", 0x1000),
                      ("unlinkat", HERE, "other", 0)], furnish=self.furnish)

    def test_rename(self):
        self.compare([("rename", old, new) for old, new in (
            ("file", "file"), ("file", "other"), ("file", "other"), ("other", "directory"),
            ("directory", "other"), ("directory", "full"), ("full", "directory"),
            ("directory", "directory/x"), ("link", "moved"), ("dangling", "link2"),
            ("dirlink", "dirlink2"), ("third", "absent/x"), ("third", "third/"),
            ("third", "x/"), ("directory", "x/"), ("", "x"), ("third", ""), ("third", "."),
            (".", "x"), ("fifo", "third"), ("absent", "absent"), ("absent", "third"))],
            furnish=self.furnish)

    def test_renameat(self):
        self.compare([("open", "full", os.O_PATH | os.O_DIRECTORY),
                      ("renameat", HERE, "file", 3, "file"),
                      ("renameat", 3, "file", 3, "inner"),
                      ("renameat", 3, "inner", HERE, "back"),
                      ("renameat", NONE, "other", HERE, "x"),
                      ("renameat", HERE, "other", NONE, "x"),
                      ("renameat", 0, "other", HERE, "x"),
                      ("renameat", HERE, "absent", NONE, "x")], furnish=self.furnish)

    def test_renameat2(self):
        self.compare([("renameat2", HERE, "file", HERE, "other", RENAME_NOREPLACE),
                      ("renameat2", HERE, "file", HERE, "new", RENAME_NOREPLACE),
                      ("renameat2", HERE, "new", HERE, "other", RENAME_EXCHANGE),
                      ("renameat2", HERE, "new", HERE, "directory", RENAME_EXCHANGE),
                      ("renameat2", HERE, "new", HERE, "absent", RENAME_EXCHANGE),
                      ("renameat2", HERE, "absent", HERE, "new", RENAME_EXCHANGE),
                      ("renameat2", HERE, "other", HERE, "new", 3),
                      ("renameat2", HERE, "other", HERE, "new", 0x100),
                      ("renameat2", NONE, "other", HERE, "new", 0),
                      ("renameat2", HERE, "other", HERE, "third", 0)], furnish=self.furnish)

    def test_link(self):
        self.compare([("link", "file", "hard"), ("link", "file", "hard"),
                      ("link", "hard", "harder"), ("link", "link", "linked"),
                      ("link", "dangling", "linked2"), ("link", "directory", "x"),
                      ("link", "absent", "x"), ("link", "file", "absent/x"),
                      ("link", "file", ""), ("link", "", "x"), ("link", "file/", "x"),
                      ("link", "file", "x/"), ("link", "fifo", "fifo2"),
                      ("unlink", "hard"), ("rename", "harder", "file"),
                      ("linkat", HERE, "link", HERE, "followed", 0x400),
                      ("linkat", HERE, "link", HERE, "not", 0),
                      ("linkat", HERE, "dangling", HERE, "followed2", 0x400),
                      ("linkat", HERE, "file", HERE, "x", 0x8000),
                      ("linkat", NONE, "file", HERE, "x", 0),
                      ("linkat", HERE, "file", NONE, "x", 0),
                      ("open", "file", os.O_PATH),
                      ("linkat", 3, "", HERE, "by-descriptor", 0x1000)], furnish=self.furnish)

    def test_dead_socket(self):
        """What is done to it, all of it allowed."""
        def furnish(stage):
            self.furnish(stage)
            for name in ("dead", "dead2", "dead3"):
                self.stale(os.path.join(stage, name))
        self.compare([("unlink", "dead/"), ("unlink", "dead/x"), ("rename", "dead/", "x"),
                      ("rename", "dead", "x/"), ("rename", "dead", "directory"),
                      ("rename", "directory", "dead"), ("rename", "dead", "absent/x"),
                      ("rename", "dead", "dead"), ("link", "dead", "hard"),
                      ("link", "dead", "hard"), ("link", "dead", "file"),
                      ("rename", "hard", "dead"), ("unlink", "hard"), ("link", "dead", "dead2"),
                      ("rename", "dead", "dead2"), ("rename", "file", "dead2"),
                      ("rename", "dead3", "moved"), ("rename", "moved", "fifo"),
                      ("renameat2", HERE, "other", HERE, "fifo", RENAME_NOREPLACE),
                      ("renameat2", HERE, "other", HERE, "fifo", RENAME_EXCHANGE),
                      ("remove", "other"), ("unlink", "other")], furnish=furnish, claims=True)

    def test_symlink_to_a_live_socket(self):
        """A name of its own: what it leads to is not touched."""
        live = socket.socket(socket.AF_UNIX)

        def furnish(stage):
            nonlocal live
            live.close()
            live = socket.socket(socket.AF_UNIX)
            live.bind(os.path.join(stage, "live"))
            for name in ("one", "two", "three", "four"):
                os.symlink("live", os.path.join(stage, name))
            with open(os.path.join(stage, "file"), "w"):
                pass
        self.compare([("unlink", "one"), ("remove", "two"), ("rename", "three", "moved"),
                      ("rename", "file", "moved"), ("link", "four", "five"), ("unlink", "four"),
                      ("unlink", "five"), ("unlink", "moved"), ("unlink", "live/")],
                     furnish=furnish)
        live.close()

    def test_own_socket(self):
        """A server's whole life; while it lives its lock file is all there is to see."""
        raw = address("s").hex()
        script = [("socket", "stream"), ("unlink", "s"), ("bind", 3, raw, 4), ("listen", 3, 5),
                  ("bind", 3, raw, 4), ("link", "s", "t"), ("link", "s", "t"), ("unlink", "s"),
                  ("rename", "t", "s"), ("rename", "s", "s"), ("rename", "s", "x/"),
                  ("rename", "s", "d/x"), ("socket", "dgram"), ("bind", 4, raw, 4),
                  ("unlink", "s/"), ("unlinkat", HERE, "s", 0x200), ("unlinkat", HERE, "s", 1),
                  ("open", "s", os.O_RDONLY), ("unlink", "s"), ("unlink", "s"), ("remove", "s"),
                  ("bind", 4, raw, 4), ("close", 4), ("unlink", "s"), ("close", 3)]
        self.compare(script, claims=True)

    def bind_script(self, kind, addresses):
        """Each address on a socket of its own; closed again, so numbers do not pile up."""
        script = []
        for raw, length in addresses:
            script += [("socket", kind), ("bind", 3, raw.hex(), length), ("close", 3)]
        return script

    def test_bind_that_fails(self):
        good = address("x")
        self.compare(self.bind_script("stream", [
            (good, 0), (good, 1), (good, 111), (good, 1 << 16), (good, -1), (b"", FULL_LENGTH),
            (FAMILY, FULL_LENGTH), (good, FULL_LENGTH),
            (struct.pack("=H", 99) + b"x\0", 4), (tcp_address(0), 16),
            (address("absent/x"), 11), (address("file/x"), 9), (address("file"), 7),
            (address("directory"), 12), (address("link"), 7), (address("dangling"), 11),
            (address("loop/x"), 9), (address("y/"), 5), (address("directory/"), 13),
            (address("n" * 107), FULL_LENGTH), (FAMILY + b"d/" * 54, FULL_LENGTH),
            (address("."), 4), (address("/"), 4)]) +
            [("bind", NONE, good.hex(), 4), ("bind", -1, good.hex(), 4),
             ("open", "file", os.O_RDONLY), ("bind", 3, good.hex(), 4)],
            furnish=lambda stage: (self.furnish(stage), os.mkfifo(os.path.join(stage, "n" * 107))))

    def test_bind_without_a_final_nul(self):
        """All 108 bytes, and fewer: the address ends where its length says."""
        def tidy(script):
            return [words for name, length in script for words in (
                ("socket", "stream"), ("bind", 3, (FAMILY + name).hex(), length), ("close", 3),
                ("unlink", name.split(b"\0")[0]))]
        script = tidy([(b"x" * 108, 110), (b"y" * 107 + b"\0", 110), (b"z", 3), (b"zz", 4),
                       (b"zz\0garbage", 12), (b"\xff\xfe", 4), (b"with space\n", 13)])
        self.compare(script, claims=True)

    def test_abstract_and_autobind(self):
        name = f"sockguard-test-{os.getpid()}".encode()
        self.compare([
            ("socket", "stream"), ("bind", 3, FAMILY.hex(), 2),
            ("socket", "stream"), ("bind", 4, (FAMILY + b"\0" + name).hex(), 3 + len(name)),
            ("socket", "stream"), ("bind", 5, (FAMILY + b"\0" + name).hex(), 3 + len(name)),
            ("socket", "dgram"), ("bind", 6, (FAMILY + b"\0" + name).hex(), 3 + len(name)),
            ("socket", "dgram"), ("bind", 7, (FAMILY + b"\0").hex(), 3),
            ("option", 5, "reuseaddr"),
            ("bind", 5, (FAMILY + b"\0" + name).hex(), 3 + len(name)),
            ("close", 4), ("bind", 5, (FAMILY + b"\0" + name).hex(), 3 + len(name)),
            ("bind", 5, (FAMILY + b"\0again").hex(), 8)])

    def test_tcp(self):
        with socket.socket() as finder:
            finder.bind(("127.0.0.1", 0))
            port = finder.getsockname()[1]
        raw = tcp_address(port).hex()
        self.compare([
            ("socket", "tcp"), ("option", 3, "reuseport"), ("bind", 3, raw, 16), ("listen", 3, 5),
            ("socket", "tcp"), ("option", 4, "reuseport"), ("bind", 4, raw, 16), ("listen", 4, 5),
            ("socket", "tcp"), ("option", 5, "reuseaddr"), ("bind", 5, raw, 16),
            ("bind", 5, raw, 3), ("bind", 5, address("x").hex(), 4), ("bind", 3, raw, 16)])

    @needs_root
    def test_no_write_permission(self):
        def furnish(stage):
            self.furnish(stage)
            self.stale(os.path.join(stage, "dead"))
            os.chmod(stage, 0o755)
        script = [("unlink", "file"), ("unlink", "dead"), ("unlink", "absent"), ("remove", "dead"),
                  ("rename", "dead", "x"), ("rename", "file", "dead"), ("link", "dead", "x"),
                  ("socket", "stream"), ("bind", 3, address("x").hex(), 4),
                  ("bind", 3, address("dead").hex(), 7), ("option", 3, "reuseaddr"),
                  ("bind", 3, address("dead").hex(), 7), ("bind", 3, address("file").hex(), 7)]
        self.compare(script, prepare=lambda actor: actor.become(61001), furnish=furnish)

    @needs_root
    def test_no_search_permission(self):
        def furnish(stage):
            os.mkdir(os.path.join(stage, "closed"), 0o700)
            self.stale(os.path.join(stage, "closed", "dead"))
            os.chmod(stage, 0o777)
        self.compare([("unlink", "closed/dead"), ("unlink", "closed/absent"),
                      ("remove", "closed/dead"), ("rename", "closed/dead", "x"),
                      ("rename", "x", "closed/dead"), ("link", "closed/dead", "x"),
                      ("socket", "stream"), ("bind", 3, address("closed/dead").hex(), 14),
                      ("bind", 3, address("closed/x").hex(), 11)],
                     prepare=lambda actor: actor.become(61001), furnish=furnish)

    @needs_root
    def test_read_only_mount(self):
        def furnish(stage):
            self.furnish(stage)
            self.stale(os.path.join(stage, "dead"))

        def prepare(actor):
            stage = os.path.join(self.dir, "stage")
            actor.read_only(stage)
            actor.chdir(stage)
        self.compare([("unlink", "absent"), ("unlink", "file"), ("unlink", "dead"),
                      ("unlink", "directory"), ("unlink", "absent/x"), ("remove", "absent"),
                      ("remove", "directory"), ("unlinkat", HERE, "absent", 0),
                      ("unlinkat", HERE, "absent", 0x200), ("unlink", ""), ("unlink", "."),
                      ("rename", "absent", "x"), ("rename", "dead", "x"),
                      ("rename", "file", "dead"), ("rename", "file", "other"),
                      ("link", "absent", "x"), ("link", "dead", "x"), ("link", "file", "dead"),
                      ("socket", "stream"), ("bind", 3, address("x").hex(), 4),
                      ("bind", 3, address("dead").hex(), 7), ("option", 3, "reuseaddr"),
                      ("bind", 3, address("dead").hex(), 7)],
                     prepare=prepare, furnish=furnish)

    def test_removed_directory(self):
        """The working directory is gone."""
        def prepare(actor):
            directory = os.path.join(self.dir, "stage", "gone")
            os.mkdir(directory)
            actor.chdir(directory)
            os.rmdir(directory)
        self.compare([("unlink", "x"), ("remove", "x"), ("rename", "x", "y"), ("link", "x", "y"),
                      ("socket", "stream"), ("bind", 3, address("x").hex(), 4)], prepare=prepare)


if __name__ == "__main__":
    sys.exit(harness.main())
