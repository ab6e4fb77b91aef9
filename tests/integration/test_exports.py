"""The library adds the functions that it wraps to a process, and nothing else."""

import errno
import re
import shutil
import sys
import unittest

import harness
from actor import Actor

WRAPPED = ["bind", "link", "linkat", "prctl", "remove", "rename", "renameat", "renameat2",
           "syscall", "unlink", "unlinkat"]


@unittest.skipUnless(shutil.which("readelf"), "needs readelf, of binutils")
class Exports(harness.Case):
    def readelf(self, *options):
        ended = self.run_program(["readelf", "-W", *options, harness.LIBRARY],
                                 env={"LC_ALL": "C"})
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        return ended.stdout

    def test_only_wrapped_functions_are_exported(self):
        """Only functions that this libc has: musl before 1.2.6 has no renameat2."""
        missing = Actor(self).renameat2(-1, "", -1, "", 0) == errno.ENOSYS
        expected = [name for name in WRAPPED if name != "renameat2" or not missing]
        defined = []
        for line in self.readelf("--dyn-syms").splitlines():
            # Num: Value Size Type Bind Vis Ndx Name
            fields = line.split()
            # musl's crti.o adds _init and _fini. 32-bit machines have a second prctl.
            if len(fields) >= 8 and fields[0].rstrip(":").isdigit() and fields[6] != "UND" \
                    and fields[7] not in ("_init", "_fini", "__prctl_time64"):
                defined.append(fields[7].split("@")[0])
        self.assertEqual(sorted(defined), expected)

    def test_needed_libraries(self):
        """The library needs only libc. Older versions of libc have a part of it in libdl."""
        needed = re.findall(r"\(NEEDED\).*\[(.*)\]", self.readelf("--dynamic"))
        others = [name for name in needed
                  if not re.match(r"(libc\.|libdl\.|ld-|ld64\.)", name)]
        self.assertEqual(others, [])

    def test_no_search_path(self):
        self.assertNotRegex(self.readelf("--dynamic"), r"\((RPATH|RUNPATH|TEXTREL)\)")

    def test_the_stack_is_not_executable(self):
        stack = re.findall(r"GNU_STACK.*", self.readelf("--program-headers"))
        self.assertEqual(len(stack), 1)
        self.assertNotRegex(stack[0], r"\bR?WE\b")

    def test_symbols_are_bound_at_load_time(self):
        self.assertIn("GNU_RELRO", self.readelf("--program-headers"))
        self.assertRegex(self.readelf("--dynamic"), r"BIND_NOW|\(FLAGS_1\).*\bNOW\b")


if __name__ == "__main__":
    sys.exit(harness.main())
