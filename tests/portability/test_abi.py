"""The interface between the library and libc: the symbol versions that the library needs, the
functions that it wraps, and the types of 32-bit programs.

SOCKGUARD_CC is the compiler that built the library; it determines the libc.
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

COMPILER = shlex.split(os.environ.get("SOCKGUARD_CC", "gcc"))

# The library must run with glibc 2.17, or with the first glibc of a newer architecture.
OLDEST_GLIBC = (2, 17)
FIRST_GLIBC = {"RISC-V": (2, 27), "LoongArch": (2, 36), "ARC": (2, 32)}

# libdl became a part of libc in 2.34, so a library linked with that libc requires this version.
UNAVOIDABLE = {"dlsym": (2, 34)}


def output_of(*argv):
    return subprocess.run(argv, check=True, capture_output=True, text=True,
                          env={**os.environ, "LC_ALL": "C"}).stdout


def libc():
    return output_of(*COMPILER, "-print-file-name=libc.so.6").strip()


def needed_symbols(library):
    """Yields each symbol that the library imports, with its version as a tuple or None."""
    for line in output_of("readelf", "-W", "--dyn-syms", library).splitlines():
        fields = line.split()
        if len(fields) < 8 or fields[6] != "UND":
            continue
        name, _, version = fields[7].partition("@")
        number = re.fullmatch(r"GLIBC_([\d.]+)", version.lstrip("@"))
        yield name, tuple(map(int, number[1].split("."))) if number else None


class Versions(SocketCase):
    """The symbol versions, from readelf. A glibc that lacks one of them cannot load the library."""

    def test_no_newer_version_is_required(self):
        machine = re.search(r"Machine:\s+(.*)", output_of("readelf", "-h", harness.LIBRARY))[1]
        oldest = max([OLDEST_GLIBC] +
                     [since for word, since in FIRST_GLIBC.items() if word in machine])
        new = {name: version for name, version in needed_symbols(harness.LIBRARY)
               if version and version > max(oldest, UNAVOIDABLE.get(name, oldest))}
        self.assertEqual(new, {})

    def test_versions_can_be_read(self):
        """Otherwise the test above would always pass."""
        versions = dict(needed_symbols(harness.LIBRARY))
        self.assertIn("dlsym", versions)
        self.assertTrue(all(versions[name] for name in ("sigprocmask", "getauxval")), versions)


class WrappedFunctions(SocketCase):
    """The functions that the guard must wrap."""

    def exported(self):
        lines = output_of("nm", "-D", "--defined-only", libc()).splitlines()
        return {line.split()[-1].split("@")[0] for line in lines}

    def test_no_wrapped_name_has_a_variant(self):
        """Every variant of a wrapped function, like open64 and __stat64_time64, is wrapped too."""
        exported = self.exported()
        self.assertTrue({"open64", *WRAPPED} <= exported)
        variants = [name for name in exported for wrapped in WRAPPED
                    if re.fullmatch(rf"_*{wrapped}_?(64|_?time64|64_time64|_chk|_2)", name)]
        ours = output_of("nm", "-D", "--defined-only", harness.LIBRARY).split()
        self.assertEqual([name for name in variants if name not in ours], [])


class TypeSizes(SocketCase):
    """Programs whose off_t and time_t differ in size from those of the library."""

    def check(self, flags):
        program = os.path.join(self.dir, "actor")
        source = os.path.join(harness.SOURCE, "tests", "actor.c")
        output_of(*COMPILER, *flags, "-o", program, source)
        self.addCleanup(setattr, harness, "ACTOR", harness.ACTOR)
        harness.ACTOR = program
        for guard in (True, False):
            owner, rival = Actor(self, guard), Actor(self, guard)
            fd = owner.serve(self.path)
            assert_outcome = self.assertRefused if guard else self.assertStolen
            assert_outcome(lambda: rival.rename(self.write_file("intruder"), self.path), owner, fd)
            self.assertEqual(owner.unlink(self.path), 0)

    def test_plain(self):
        self.check(())

    def test_large_files(self):
        self.check(("-D_FILE_OFFSET_BITS=64",))

    def test_large_files_and_times(self):
        self.check(("-D_FILE_OFFSET_BITS=64", "-D_TIME_BITS=64"))


STAT = """
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
class LargeInodeNumbers(SocketCase):
    """Inode numbers of more than 32 bits: XFS uses them on large disks, here a sparse file."""

    def setUp(self):
        super().setUp()
        image, self.mounted = self.write_file("image"), os.path.join(self.dir, "mounted")
        os.truncate(image, 4 << 40)
        output_of("mkfs.xfs", "-q", "-d", "agcount=8", "-l", "size=64m", image)
        os.mkdir(self.mounted)
        # The owner mounts it in its own mount namespace, so the mount ends with the processes
        # there.
        self.owner = self.start_guarded(
            "unshare", "--mount", "--propagation", "private", "sh", "-c",
            'mount -o loop "$0" "$1" && shift && exec "$@"', image, self.mounted)
        # The path by which the test reaches the owner's directory.
        self.seen_by_test = f"/proc/{self.owner.pid}/root{self.mounted}"
        self.directory = self.large_directory()
        self.name = f"{self.mounted}/{self.directory}/app.sock"

    def start_guarded(self, *words):
        return Actor(self, through=[*words, "env", "LD_PRELOAD=" + harness.LIBRARY])

    def start_rival(self, guard=True):
        enter = ("nsenter", "--mount", "--target", str(self.owner.pid))
        return self.start_guarded(*enter) if guard else Actor(self, through=enter)

    def large_directory(self):
        """Returns a directory in which inode numbers have more than 32 bits. XFS puts each new
        directory in the next part of the disk, and files near their directory."""
        for number in range(16):
            os.mkdir(f"{self.seen_by_test}/{number}")
            if os.stat(f"{self.seen_by_test}/{number}").st_ino >> 32:
                return number
        raise AssertionError("no inode number has more than 32 bits")

    def test_theft_is_refused(self):
        fd, path = self.owner.serve(self.name), f"{self.seen_by_test}/{self.directory}/app.sock"
        rival = self.start_rival()
        self.assertGreater(self.identity(path)[1], 1 << 32)
        self.assertRefused(lambda: rival.unlink(self.name), self.owner, fd, path)
        self.assertRefused(lambda: rival.rename(self.name, self.name + ".old"), self.owner, fd,
                           path)
        unguarded = self.start_rival(guard=False)
        self.assertStolen(lambda: unguarded.unlink(self.name), self.owner, fd, path)

    def test_server_without_a_rival(self):
        fd, directory = self.owner.serve(self.name), f"{self.seen_by_test}/{self.directory}"
        self.assertEqual(sorted(os.listdir(directory)), [".app.sock.sockguard", "app.sock"])
        self.assertEqual(self.owner.close(fd), 0)
        self.assertEqual(self.owner.unlink(self.name), 0)
        self.assertEqual(os.listdir(directory), [])
        self.owner.serve(self.name)
        self.owner.kill()

    def test_a_stale_path_is_free(self):
        with_socket = self.start_rival(guard=False)
        self.assertEqual(with_socket.close(with_socket.serve(self.name)), 0)
        self.assertEqual(self.start_rival().unlink(self.name), 0)

    def test_a_32_bit_stat_overflows(self):
        """stat with 32-bit types fails in a program. In the library it would fail too."""
        if "-m32" not in COMPILER:
            self.skipTest("on this architecture every inode number has 64 bits")
        program = os.path.join(self.dir, "stat")
        output_of(*COMPILER, "-o", program, self.write_file("stat.c", STAT))
        with open(f"{self.seen_by_test}/{self.directory}/file", "w"):
            pass
        self.assertEqual(output_of(program, f"{self.seen_by_test}/{self.directory}/file").strip(),
                         str(int(errno.EOVERFLOW)))


if __name__ == "__main__":
    sys.exit(harness.main())
