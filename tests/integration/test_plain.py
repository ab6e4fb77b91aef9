"""The guard does not change the results, errno and effects of calls that concern no live socket.

Each test is a list of calls. One actor makes them with the guard and another without it, each in
a new directory. After each call, the test compares the result, errno and the directory.
test_inputs.py makes single calls with every bad argument; here, calls depend on earlier ones.
"""

import os
import shutil
import socket
import struct
import sys

import harness
from actor import (FAMILY, FULL_LENGTH, RENAME_EXCHANGE, RENAME_NOREPLACE, Actor, SocketCase,
                   address, needs_root, tcp_address)

AT_FDCWD = -100
CLOSED_FD = 999  # not open


class SameResults(SocketCase):
    """Paths are relative to the directory, so that both actors use the same paths."""

    def compare(self, script, prepare=None, files=None, claims=False):
        """script: the commands. files(directory) and prepare(actor) run before them.

        claims: lock files may exist between the calls, but not after the last one.
        """
        messages = []
        unguarded = self.run_script(False, script, prepare, files, messages)
        guarded = self.run_script(True, script, prepare, files, messages)
        if claims:
            self.assertEqual(guarded[-1], unguarded[-1])
            guarded = [self.without_lock_files(call) for call in guarded]
        self.assert_same_results(unguarded, guarded)
        self.assertEqual(messages, ["", ""])

    def without_lock_files(self, call):
        *rest, listing = call
        return (*rest, [found for found in listing if not found[0].endswith(".sockguard")])

    def run_script(self, guard, script, prepare, files, messages):
        """Makes the calls in a new directory. Returns a tuple for each, with all that it
        changed."""
        directory = os.path.join(self.dir, "directory")
        os.mkdir(directory)
        if files:
            files(directory)
        actor = Actor(self, guard=guard)
        actor.chdir(directory)
        if prepare:
            prepare(actor)
        transcript = []
        for words in script:
            result, error, rest = actor.call(*words)
            transcript.append((words, result, error, rest, self.listing(directory)))
        messages.append(actor.stderr())
        actor.kill()
        shutil.rmtree(directory)
        return transcript

    def assert_same_results(self, unguarded, guarded):
        """Reports all differences."""
        differences = [f"{other[0]}: with the guard {other[1:]}, without {one[1:]}"
                       for one, other in zip(unguarded, guarded) if one != other]
        self.assertFalse(differences, "\n" + "\n".join(differences))

    def listing(self, directory):
        """The relative path, mode and link count of every file below the directory."""
        found = []
        for where, directories, files in os.walk(directory):
            for name in directories + files:
                path = os.path.join(where, name)
                status = os.lstat(path)
                found.append((os.path.relpath(path, directory), oct(status.st_mode),
                              status.st_nlink if not os.path.isdir(path) else 0))
        return sorted(found)

    def create_all_types(self, directory):
        """Creates files of every type except sockets."""
        for name in ("file", "other", "third"):
            with open(os.path.join(directory, name), "w") as out:
                out.write(name)
        os.mkdir(os.path.join(directory, "directory"))
        os.mkdir(os.path.join(directory, "full"))
        with open(os.path.join(directory, "full", "inner"), "w"):
            pass
        os.symlink("file", os.path.join(directory, "link"))
        os.symlink("directory", os.path.join(directory, "dirlink"))
        os.symlink("nowhere", os.path.join(directory, "dangling"))
        os.symlink("loop", os.path.join(directory, "loop"))
        os.mkfifo(os.path.join(directory, "fifo"))

    def test_unlinkat(self):
        self.compare([("open", "full", os.O_PATH | os.O_DIRECTORY),
                      ("unlinkat", 3, "inner", 0),
                      ("unlinkat", 3, "inner", 0),
                      ("unlinkat", AT_FDCWD, "full", 0),
                      ("unlinkat", AT_FDCWD, "full", 0x200),
                      ("unlinkat", 3, "inner", 0),
                      ("unlinkat", 3, "../file", 0),
                      ("unlinkat", AT_FDCWD, "other", 0x200),
                      ("unlinkat", AT_FDCWD, "directory", 0x200),
                      ("unlinkat", AT_FDCWD, "dirlink", 0x200),
                      ("unlinkat", CLOSED_FD, "other", 0),
                      ("unlinkat", -1, "other", 0),
                      ("unlinkat", AT_FDCWD, "other", 0x40000000),
                      ("unlinkat", AT_FDCWD, "other", 1),
                      ("unlinkat", AT_FDCWD, "absent", 1),
                      ("unlinkat", 0, "other", 0),
                      ("unlinkat", 3, "", 0),
                      ("unlinkat", AT_FDCWD, "", 0x1000),
                      ("unlinkat", AT_FDCWD, "other", 0)], files=self.create_all_types)

    def test_rename(self):
        self.compare([("rename", old, new) for old, new in (
            ("file", "file"), ("file", "other"), ("file", "other"), ("other", "directory"),
            ("directory", "other"), ("directory", "full"), ("full", "directory"),
            ("directory", "directory/x"), ("link", "moved"), ("dangling", "link2"),
            ("dirlink", "dirlink2"), ("third", "absent/x"), ("third", "third/"),
            ("third", "x/"), ("directory", "x/"), ("", "x"), ("third", ""), ("third", "."),
            (".", "x"), ("fifo", "third"), ("absent", "absent"), ("absent", "third"))],
            files=self.create_all_types)

    def test_renameat(self):
        self.compare([("open", "full", os.O_PATH | os.O_DIRECTORY),
                      ("renameat", AT_FDCWD, "file", 3, "file"),
                      ("renameat", 3, "file", 3, "inner"),
                      ("renameat", 3, "inner", AT_FDCWD, "back"),
                      ("renameat", CLOSED_FD, "other", AT_FDCWD, "x"),
                      ("renameat", AT_FDCWD, "other", CLOSED_FD, "x"),
                      ("renameat", 0, "other", AT_FDCWD, "x"),
                      ("renameat", AT_FDCWD, "absent", CLOSED_FD, "x")],
                     files=self.create_all_types)

    def test_renameat2(self):
        self.compare([("renameat2", AT_FDCWD, "file", AT_FDCWD, "other", RENAME_NOREPLACE),
                      ("renameat2", AT_FDCWD, "file", AT_FDCWD, "new", RENAME_NOREPLACE),
                      ("renameat2", AT_FDCWD, "new", AT_FDCWD, "other", RENAME_EXCHANGE),
                      ("renameat2", AT_FDCWD, "new", AT_FDCWD, "directory", RENAME_EXCHANGE),
                      ("renameat2", AT_FDCWD, "new", AT_FDCWD, "absent", RENAME_EXCHANGE),
                      ("renameat2", AT_FDCWD, "absent", AT_FDCWD, "new", RENAME_EXCHANGE),
                      ("renameat2", AT_FDCWD, "other", AT_FDCWD, "new", 3),
                      ("renameat2", AT_FDCWD, "other", AT_FDCWD, "new", 0x100),
                      ("renameat2", CLOSED_FD, "other", AT_FDCWD, "new", 0),
                      ("renameat2", AT_FDCWD, "other", AT_FDCWD, "third", 0)],
                     files=self.create_all_types)

    def test_link(self):
        self.compare([("link", "file", "hard"), ("link", "file", "hard"),
                      ("link", "hard", "harder"), ("link", "link", "linked"),
                      ("link", "dangling", "linked2"), ("link", "directory", "x"),
                      ("link", "absent", "x"), ("link", "file", "absent/x"),
                      ("link", "file", ""), ("link", "", "x"), ("link", "file/", "x"),
                      ("link", "file", "x/"), ("link", "fifo", "fifo2"),
                      ("unlink", "hard"), ("rename", "harder", "file"),
                      ("linkat", AT_FDCWD, "link", AT_FDCWD, "followed", 0x400),
                      ("linkat", AT_FDCWD, "link", AT_FDCWD, "not", 0),
                      ("linkat", AT_FDCWD, "dangling", AT_FDCWD, "followed2", 0x400),
                      ("linkat", AT_FDCWD, "file", AT_FDCWD, "x", 0x8000),
                      ("linkat", CLOSED_FD, "file", AT_FDCWD, "x", 0),
                      ("linkat", AT_FDCWD, "file", CLOSED_FD, "x", 0),
                      ("open", "file", os.O_PATH),
                      ("linkat", 3, "", AT_FDCWD, "by-descriptor", 0x1000)],
                     files=self.create_all_types)

    def test_stale_socket(self):
        """All calls on a stale socket are allowed."""
        def create_files(directory):
            self.create_all_types(directory)
            for name in ("dead", "dead2", "dead3"):
                self.make_stale(os.path.join(directory, name))
        self.compare([("unlink", "dead/"), ("unlink", "dead/x"), ("rename", "dead/", "x"),
                      ("rename", "dead", "x/"), ("rename", "dead", "directory"),
                      ("rename", "directory", "dead"), ("rename", "dead", "absent/x"),
                      ("rename", "dead", "dead"), ("link", "dead", "hard"),
                      ("link", "dead", "hard"), ("link", "dead", "file"),
                      ("rename", "hard", "dead"), ("unlink", "hard"), ("link", "dead", "dead2"),
                      ("rename", "dead", "dead2"), ("rename", "file", "dead2"),
                      ("rename", "dead3", "moved"), ("rename", "moved", "fifo"),
                      ("renameat2", AT_FDCWD, "other", AT_FDCWD, "fifo", RENAME_NOREPLACE),
                      ("renameat2", AT_FDCWD, "other", AT_FDCWD, "fifo", RENAME_EXCHANGE),
                      ("remove", "other"), ("unlink", "other")], files=create_files, claims=True)

    def test_symlink_to_a_live_socket(self):
        """The calls remove or rename the symlink, and do not affect its target."""
        live = socket.socket(socket.AF_UNIX)

        def create_files(directory):
            nonlocal live
            live.close()
            live = socket.socket(socket.AF_UNIX)
            live.bind(os.path.join(directory, "live"))
            for name in ("one", "two", "three", "four"):
                os.symlink("live", os.path.join(directory, name))
            with open(os.path.join(directory, "file"), "w"):
                pass
        self.compare([("unlink", "one"), ("remove", "two"), ("rename", "three", "moved"),
                      ("rename", "file", "moved"), ("link", "four", "five"), ("unlink", "four"),
                      ("unlink", "five"), ("unlink", "moved"), ("unlink", "live/")],
                     files=create_files)
        live.close()

    def test_own_socket(self):
        """Apart from the lock file, a server sees no difference, from its start to its end."""
        raw = address("s").hex()
        script = [("socket", "stream"), ("unlink", "s"), ("bind", 3, raw, 4), ("listen", 3, 5),
                  ("bind", 3, raw, 4), ("link", "s", "t"), ("link", "s", "t"), ("unlink", "s"),
                  ("rename", "t", "s"), ("rename", "s", "s"), ("rename", "s", "x/"),
                  ("rename", "s", "d/x"), ("socket", "dgram"), ("bind", 4, raw, 4),
                  ("unlink", "s/"), ("unlinkat", AT_FDCWD, "s", 0x200),
                  ("unlinkat", AT_FDCWD, "s", 1),
                  ("open", "s", os.O_RDONLY), ("unlink", "s"), ("unlink", "s"), ("remove", "s"),
                  ("bind", 4, raw, 4), ("close", 4), ("unlink", "s"), ("close", 3)]
        self.compare(script, claims=True)

    def bind_script(self, kind, addresses):
        """Binds a new socket to each address and closes it, so that each one has descriptor 3."""
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
            [("bind", CLOSED_FD, good.hex(), 4), ("bind", -1, good.hex(), 4),
             ("open", "file", os.O_RDONLY), ("bind", 3, good.hex(), 4)],
            files=lambda directory: (self.create_all_types(directory),
                                     os.mkfifo(os.path.join(directory, "n" * 107))))

    def test_bind_without_a_terminating_nul(self):
        """The path ends at the length of the address, even if that is the maximum."""
        def bind_and_unlink(addresses):
            return [words for name, length in addresses for words in (
                ("socket", "stream"), ("bind", 3, (FAMILY + name).hex(), length), ("close", 3),
                ("unlink", name.split(b"\0")[0]))]
        script = bind_and_unlink([(b"x" * 108, 110), (b"y" * 107 + b"\0", 110), (b"z", 3),
                                  (b"zz", 4),
                                  (b"zz\0garbage", 12), (b"\xff\xfe", 4), (b"with space\n", 13)])
        self.compare(script, claims=True)

    def test_abstract_addresses_and_autobind(self):
        name = os.fsencode(self.dir)  # no other test uses it
        self.compare([
            ("socket", "stream"), ("bind", 3, FAMILY.hex(), 2),
            ("socket", "stream"), ("bind", 4, (FAMILY + b"\0" + name).hex(), 3 + len(name)),
            ("socket", "stream"), ("bind", 5, (FAMILY + b"\0" + name).hex(), 3 + len(name)),
            ("socket", "dgram"), ("bind", 6, (FAMILY + b"\0" + name).hex(), 3 + len(name)),
            ("option", 5, "reuseaddr"),
            ("bind", 5, (FAMILY + b"\0" + name).hex(), 3 + len(name)),
            ("close", 4), ("bind", 5, (FAMILY + b"\0" + name).hex(), 3 + len(name)),
            ("bind", 5, (FAMILY + b"\0again").hex(), 8)])

    @needs_root
    def test_empty_abstract_name(self):
        """The actor has a network namespace of its own, because another test may use the name."""
        raw = (FAMILY + b"\0").hex()
        self.compare([("socket", "dgram"), ("bind", 3, raw, 3), ("socket", "dgram"),
                      ("bind", 4, raw, 3), ("socket", "stream"), ("bind", 5, raw, 3)],
                     prepare=Actor.unshare_network)

    def test_bind_of_tcp_sockets(self):
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
        def create_files(directory):
            self.create_all_types(directory)
            self.make_stale(os.path.join(directory, "dead"))
            os.chmod(directory, 0o755)
        script = [("unlink", "file"), ("unlink", "dead"), ("unlink", "absent"), ("remove", "dead"),
                  ("rename", "dead", "x"), ("rename", "file", "dead"), ("link", "dead", "x"),
                  ("socket", "stream"), ("bind", 3, address("x").hex(), 4),
                  ("bind", 3, address("dead").hex(), 7), ("option", 3, "reuseaddr"),
                  ("bind", 3, address("dead").hex(), 7), ("bind", 3, address("file").hex(), 7)]
        self.compare(script, prepare=lambda actor: actor.change_user(61001), files=create_files)

    @needs_root
    def test_no_search_permission(self):
        def create_files(directory):
            os.mkdir(os.path.join(directory, "closed"), 0o700)
            self.make_stale(os.path.join(directory, "closed", "dead"))
            os.chmod(directory, 0o777)
        self.compare([("unlink", "closed/dead"), ("unlink", "closed/absent"),
                      ("remove", "closed/dead"), ("rename", "closed/dead", "x"),
                      ("rename", "x", "closed/dead"), ("link", "closed/dead", "x"),
                      ("socket", "stream"), ("bind", 3, address("closed/dead").hex(), 14),
                      ("bind", 3, address("closed/x").hex(), 11)],
                     prepare=lambda actor: actor.change_user(61001), files=create_files)

    @needs_root
    def test_read_only_mount(self):
        def create_files(directory):
            self.create_all_types(directory)
            self.make_stale(os.path.join(directory, "dead"))

        def prepare(actor):
            directory = os.path.join(self.dir, "directory")
            actor.mount_read_only(directory)
            actor.chdir(directory)
        self.compare([("unlink", "absent"), ("unlink", "file"), ("unlink", "dead"),
                      ("unlink", "directory"), ("unlink", "absent/x"), ("remove", "absent"),
                      ("remove", "directory"), ("unlinkat", AT_FDCWD, "absent", 0),
                      ("unlinkat", AT_FDCWD, "absent", 0x200), ("unlink", ""), ("unlink", "."),
                      ("rename", "absent", "x"), ("rename", "dead", "x"),
                      ("rename", "file", "dead"), ("rename", "file", "other"),
                      ("link", "absent", "x"), ("link", "dead", "x"), ("link", "file", "dead"),
                      ("socket", "stream"), ("bind", 3, address("x").hex(), 4),
                      ("bind", 3, address("dead").hex(), 7), ("option", 3, "reuseaddr"),
                      ("bind", 3, address("dead").hex(), 7)],
                     prepare=prepare, files=create_files)

    def test_removed_working_directory(self):
        """Relative paths cannot be resolved."""
        def prepare(actor):
            directory = os.path.join(self.dir, "directory", "gone")
            os.mkdir(directory)
            actor.chdir(directory)
            os.rmdir(directory)
        self.compare([("unlink", "x"), ("remove", "x"), ("rename", "x", "y"), ("link", "x", "y"),
                      ("socket", "stream"), ("bind", 3, address("x").hex(), 4)], prepare=prepare)


if __name__ == "__main__":
    sys.exit(harness.main())
