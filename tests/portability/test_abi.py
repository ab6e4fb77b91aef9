"""What the library and a libc owe each other: the symbol versions it needs, the names it wraps, and
the widths of 32-bit programs.

SOCKGUARD_CC is the compiler that built the library: it tells which libc that is.
"""

import errno
import os
import re
import shlex
import shutil
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "integration"))

import harness
from actor import Actor, SocketCase, needs_root
from test_exports import WRAPPED

CC = shlex.split(os.environ.get("SOCKGUARD_CC", "gcc"))

# Symbols may be as old as glibc 2.17, or as the first glibc of a younger architecture.
OLDEST = (2, 17)
FIRST = {"RISC-V": (2, 27), "LoongArch": (2, 36), "ARC": (2, 32)}

# libdl became a part of libc in 2.34, and what is linked with that libc asks for no older dlsym.
UNAVOIDABLE = {"dlsym": (2, 34)}


def output(*argv):
    return subprocess.run(argv, check=True, capture_output=True, text=True,
                          env={**os.environ, "LC_ALL": "C"}).stdout


def libc():
    return output(*CC, "-print-file-name=libc.so.6").strip()


def needed_symbols(library):
    """Each symbol that the library wants of another, with its version as a tuple or None."""
    for line in output("readelf", "-W", "--dyn-syms", library).splitlines():
        fields = line.split()
        if len(fields) < 8 or fields[6] != "UND":
            continue
        name, _, version = fields[7].partition("@")
        number = re.fullmatch(r"GLIBC_([\d.]+)", version.lstrip("@"))
        yield name, tuple(map(int, number[1].split("."))) if number else None


class Versions(SocketCase):
    """As readelf tells them; an older glibc would not load the library."""

    def test_no_new_one_has_crept_in(self):
        machine = re.search(r"Machine:\s+(.*)", output("readelf", "-h", harness.LIBRARY))[1]
        oldest = max([OLDEST] + [since for word, since in FIRST.items() if word in machine])
        new = {name: version for name, version in needed_symbols(harness.LIBRARY)
               if version and version > max(oldest, UNAVOIDABLE.get(name, oldest))}
        self.assertEqual(new, {})

    def test_versions_can_be_read(self):
        """Or the case above would show nothing."""
        versions = dict(needed_symbols(harness.LIBRARY))
        self.assertIn("dlsym", versions)
        self.assertTrue(all(versions[name] for name in ("sigprocmask", "getauxval")), versions)


class Names(SocketCase):
    """The names that the guard must be in front of."""

    def exported(self):
        lines = output("nm", "-D", "--defined-only", libc()).splitlines()
        return {line.split()[-1].split("@")[0] for line in lines}

    def test_no_wrapped_name_has_a_variant(self):
        """As open has open64 and stat has __stat64_time64; none but those that are exported too."""
        exported = self.exported()
        self.assertTrue({"open64", *WRAPPED} <= exported)
        variants = [name for name in exported for wrapped in WRAPPED
                    if re.fullmatch(rf"_*{wrapped}_?(64|_?time64|64_time64|_chk|_2)", name)]
        ours = output("nm", "-D", "--defined-only", harness.LIBRARY).split()
        self.assertEqual([name for name in variants if name not in ours], [])


class Widths(SocketCase):
    """Programs with other widths of off_t and time_t than the library's own."""

    def check(self, flags):
        program = os.path.join(self.dir, "actor")
        output(*CC, *flags, "-o", program, os.path.join(harness.SOURCE, "tests", "actor.c"))
        self.addCleanup(setattr, harness, "ACTOR", harness.ACTOR)
        harness.ACTOR = program
        for guard in (True, False):
            owner, rival = Actor(self, guard), Actor(self, guard)
            fd = owner.serve(self.path)
            fate = self.assertRefused if guard else self.assertStolen
            fate(lambda: rival.rename(self.file("intruder"), self.path), owner, fd)
            self.assertEqual(owner.unlink(self.path), 0)

    def test_plain(self):
        self.check(())

    def test_large_files(self):
        self.check(("-D_FILE_OFFSET_BITS=64",))

    def test_large_files_and_times(self):
        self.check(("-D_FILE_OFFSET_BITS=64", "-D_TIME_BITS=64"))


LOOK = """
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
int main(int argc, char **argv)
{
	struct stat found;
	printf("%d\\n", stat(argv[1], &found) ? errno : 0);
	return 0;
}
"""


@needs_root
@unittest.skipUnless(shutil.which("mkfs.xfs"), "needs mkfs.xfs")
class LargeNumbers(SocketCase):
    """Inode numbers of more than 32 bits: XFS has them on large disks, here a file full of holes."""

    def setUp(self):
        super().setUp()
        image, self.mounted = self.file("image"), os.path.join(self.dir, "mounted")
        os.truncate(image, 4 << 40)
        output("mkfs.xfs", "-q", "-d", "agcount=8", "-l", "size=64m", image)
        os.mkdir(self.mounted)
        # In a mount namespace of the first actor's: with the last process there the mount goes.
        self.owner = self.actor("unshare", "--mount", "--propagation", "private", "sh", "-c",
                                'mount -o loop "$0" "$1" && shift && exec "$@"', image,
                                self.mounted)
        self.seen = f"/proc/{self.owner.pid}/root{self.mounted}"
        self.directory = self.large_directory()
        self.name = f"{self.mounted}/{self.directory}/app.sock"

    def actor(self, *words):
        return Actor(self, through=[*words, "env", "LD_PRELOAD=" + harness.LIBRARY])

    def rival(self, guard=True):
        entered = ("nsenter", "--mount", "--target", str(self.owner.pid))
        return self.actor(*entered) if guard else Actor(self, through=entered)

    def large_directory(self):
        """Each new directory goes to the next part of the disk, and files to where theirs is."""
        for number in range(16):
            os.mkdir(f"{self.seen}/{number}")
            if os.stat(f"{self.seen}/{number}").st_ino >> 32:
                return number
        raise AssertionError("no number of more than 32 bits")

    def test_theft_is_refused(self):
        fd, seen = self.owner.serve(self.name), f"{self.seen}/{self.directory}/app.sock"
        rival = self.rival()
        self.assertGreater(self.identity(seen)[1], 1 << 32)
        self.assertRefused(lambda: rival.unlink(self.name), self.owner, fd, seen)
        self.assertRefused(lambda: rival.rename(self.name, self.name + ".old"), self.owner, fd,
                           seen)
        self.assertStolen(lambda: self.rival(guard=False).unlink(self.name), self.owner, fd, seen)

    def test_a_life_without_a_rival(self):
        fd, seen = self.owner.serve(self.name), f"{self.seen}/{self.directory}"
        self.assertEqual(sorted(os.listdir(seen)), [".app.sock.sockguard", "app.sock"])
        self.assertEqual(self.owner.close(fd), 0)
        self.assertEqual(self.owner.unlink(self.name), 0)
        self.assertEqual(os.listdir(seen), [])
        self.owner.serve(self.name)
        self.owner.kill()

    def test_a_stale_name_is_free(self):
        with_socket = self.rival(guard=False)
        self.assertEqual(with_socket.close(with_socket.serve(self.name)), 0)
        self.assertEqual(self.rival().unlink(self.name), 0)

    def test_a_32_bit_look_overflows(self):
        """A program's own, with the off_t of old: so would the library's."""
        if "-m32" not in CC:
            self.skipTest("this architecture has 64 bits for every inode number")
        look = os.path.join(self.dir, "look")
        output(*CC, "-o", look, self.file("look.c", LOOK))
        with open(f"{self.seen}/{self.directory}/file", "w"):
            pass
        self.assertEqual(output(look, f"{self.seen}/{self.directory}/file").strip(),
                         str(int(errno.EOVERFLOW)))


if __name__ == "__main__":
    sys.exit(harness.main())
