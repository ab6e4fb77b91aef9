"""What the library brings into other people's processes: the wrapped names, and nothing else."""

import errno
import re
import shutil
import sys
import unittest

import harness
from actor import Actor

WRAPPED = ["bind", "link", "linkat", "prctl", "remove", "rename", "renameat", "renameat2", "syscall", "unlink",
           "unlinkat"]


@unittest.skipUnless(shutil.which("readelf"), "needs readelf, of binutils")
class Exports(harness.Case):
    def readelf(self, *options):
        done = self.run_program(["readelf", "-W", *options, harness.LIBRARY],
                                env={"LC_ALL": "C"})
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    def test_names(self):
        """Those of them that the library's libc has: musl before 1.2.6 has no renameat2."""
        missing = Actor(self).renameat2(-1, "", -1, "", 0) == errno.ENOSYS
        expected = [name for name in WRAPPED if name != "renameat2" or not missing]
        defined = []
        for line in self.readelf("--dyn-syms").splitlines():
            # Num: Value Size Type Bind Vis Ndx Name
            fields = line.split()
            # _init and _fini come with musl's crti.o; 32-bit machines have a second prctl.
            if len(fields) >= 8 and fields[0].rstrip(":").isdigit() and fields[6] != "UND" \
                    and fields[7] not in ("_init", "_fini", "__prctl_time64"):
                defined.append(fields[7].split("@")[0])
        self.assertEqual(sorted(defined), expected)

    def test_needs_libc_alone(self):
        """libdl is a part of libc that was once a file of its own."""
        needed = re.findall(r"\(NEEDED\).*\[(.*)\]", self.readelf("--dynamic"))
        strangers = [name for name in needed
                     if not re.match(r"(libc\.|libdl\.|ld-|ld64\.)", name)]
        self.assertEqual(strangers, [])

    def test_no_search_path(self):
        self.assertNotRegex(self.readelf("--dynamic"), r"\((RPATH|RUNPATH|TEXTREL)\)")

    def test_stack_not_executable(self):
        stack = re.findall(r"GNU_STACK.*", self.readelf("--program-headers"))
        self.assertEqual(len(stack), 1)
        self.assertNotRegex(stack[0], r"\bR?WE\b")

    def test_bound_at_load_and_read_only_then(self):
        self.assertIn("GNU_RELRO", self.readelf("--program-headers"))
        self.assertRegex(self.readelf("--dynamic"), r"BIND_NOW|\(FLAGS_1\).*\bNOW\b")


if __name__ == "__main__":
    sys.exit(harness.main())
