"""The guard together with other libraries in LD_PRELOAD, before and after them, and under tools
that instrument a program.

Both the guard and the other library or tool must work.
"""

import contextlib
import errno
import fcntl
import glob
import os
import platform
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

sys.path[:0] = [os.path.join(os.path.dirname(__file__), "..", name)
                for name in ("integration", "bench")]

import harness
import meter
from actor import STRANGER, Actor, SocketCase

# A program that starts like a server: unlink, bind. Prints the errno of each call.
STARTER = """
import os, socket, sys
def error_of(call, *arguments):
    try:
        call(*arguments)
        return 0
    except OSError as error:
        return error.errno
listener = socket.socket(socket.AF_UNIX)
print(error_of(os.unlink, sys.argv[1]), error_of(listener.bind, sys.argv[1]))
"""


def library(name):
    """Returns the path of a library in Debian's multiarch directory."""
    machine = subprocess.run(["gcc", "-print-multiarch"], capture_output=True, text=True)
    return os.path.join("/usr/lib", machine.stdout.strip(), name)


class OtherLibrary:
    """The other library, and a program that shows whether it works."""

    library = None
    settings = {}
    works_test = None  # statements after STARTER, which print True if the other library works
    wrapper = ()

    def preload(self):
        order = (harness.LIBRARY, self.library) if self.first else (self.library, harness.LIBRARY)
        return ":".join(order)

    def preload_command(self, preload):
        """Returns a command prefix that sets LD_PRELOAD for the rest of the command line."""
        return [*self.wrapper, "env", "LD_PRELOAD=" + preload,
                *(f"{name}={value}" for name, value in self.settings.items())]

    def start_actor(self):
        return Actor(self, through=self.preload_command(self.preload()))

    def run_python(self, code, preload):
        done = self.run_program([*self.preload_command(preload), harness.PYTHON, "-c", code,
                                 self.path])
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.splitlines()

    def test_it_works_alone(self):
        """Without this test, the others would show nothing: the effect comes from the library."""
        self.assertEqual(self.run_python(self.works_test, self.library), ["True"])
        self.assertEqual(self.run_python(self.works_test, ""), ["False"])

    def test_it_works_beside_the_guard(self):
        """The other library works in the process whose calls the guard refuses."""
        owner = Actor(self, guard=True)
        fd = owner.serve(self.path)
        output = self.run_python(STARTER + self.works_test, self.preload())
        self.assertEqual(output, [f"{errno.EADDRINUSE} {errno.EADDRINUSE}", "True"])
        self.assertServes(owner, fd)

    def test_theft_without_the_guard(self):
        owner = Actor(self, through=self.preload_command(self.library))
        rival = Actor(self, through=self.preload_command(self.library))
        fd = owner.serve(self.path)
        self.assertStolen(lambda: rival.unlink(self.path), owner, fd)

    def test_theft_is_refused(self):
        owner, rival = self.start_actor(), self.start_actor()
        fd = owner.serve(self.path)
        self.assertRefused(lambda: rival.unlink(self.path), owner, fd)
        self.assertRefused(lambda: rival.remove(self.path), owner, fd)
        intruder = self.write_file("intruder")
        self.assertRefused(lambda: rival.rename(intruder, self.path), owner, fd)
        self.assertRefused(lambda: rival.rename(self.path, self.path + ".old"), owner, fd)
        self.assertIn("refused with EADDRINUSE", rival.stderr())

    def test_a_path_removed_by_another_process_stays_claimed(self):
        """The lock file also protects the path, not only the kernel's answer."""
        owner, rival = self.start_actor(), self.start_actor()
        owner.serve(self.path)
        os.unlink(self.path)
        self.assertEqual(rival.bind(rival.socket("stream"), self.path), errno.EADDRINUSE)

    def test_server_without_a_rival(self):
        self.make_stale()
        program = self.start_actor()
        self.assertEqual(program.unlink(self.path), 0)
        fd = program.serve(self.path)
        self.assertEqual(self.names(), [".app.sock.sockguard", "app.sock"])
        self.assertServes(program, fd)
        child = program.fork()
        self.assertEqual(program.close(fd), 0)
        self.assertEqual(child.unlink(self.path), 0)
        self.assertEqual(self.names(), [])
        self.assertNotIn("sockguard:", program.stderr())


class Eatmydata(OtherLibrary):
    library = library("libeatmydata.so")
    works_test = """
import os
try:
    os.fsync(os.pipe()[0])
    print(True)
except OSError:
    print(False)
"""


class Faketime(OtherLibrary):
    library = library("faketime/libfaketime.so.1")
    settings = {"FAKETIME": "2001-02-03 04:05:06", "TZ": "UTC"}  # stands still
    works_test = "import time; print(time.time() == 981173106)"

    def test_a_wait_for_a_mutex_ends(self):
        """A wait ends although the clock stands still."""
        F_OFD_SETLK = 37
        self.make_stale()
        mutex = os.open(self.lock_file_path(), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.addCleanup(os.close, mutex)
        fcntl.fcntl(mutex, F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 1, 0))
        self.assertEqual(self.start_actor().unlink(self.path), errno.EADDRINUSE)


class Fakeroot(OtherLibrary):
    """fakeroot, tested as a user other than root."""

    library = library("libfakeroot/libfakeroot-sysv.so")
    wrapper = ("setpriv", f"--reuid={STRANGER}", f"--regid={STRANGER}", "--clear-groups") \
        if os.getuid() == 0 else ()
    works_test = """
import os, sys
name = sys.argv[1] + ".owned"
try:
    open(name, "w").close()
    os.chown(name, 12345, 12345)
    print(os.getuid() == 0 and os.stat(name).st_uid == 12345)
except PermissionError:
    print(False)
"""

    def setUp(self):
        super().setUp()
        os.chmod(self.dir, 0o777)
        self.make_readable_copy("LIBRARY")
        self.make_readable_copy("ACTOR")
        daemon = contextlib.ExitStack()
        self.addCleanup(daemon.close)
        self.settings = daemon.enter_context(meter.fakeroot(self.wrapper or ("setpriv",)))

    def make_readable_copy(self, name):
        """Makes harness use a copy that this user can read, wherever the build directory is."""
        original = getattr(harness, name)
        self.addCleanup(setattr, harness, name, original)
        os.makedirs(os.path.join(self.dir, "lent"), exist_ok=True)
        setattr(harness, name, shutil.copy(original, os.path.join(self.dir, "lent")))

    def names(self):
        return [name for name in super().names() if name != "lent"]


class Jemalloc(OtherLibrary):
    library = library("libjemalloc.so.2")
    works_test = """
import ctypes
try:
    ctypes.CDLL(None).malloc_stats_print
    print(True)
except AttributeError:
    print(False)
"""


class Torsocks(OtherLibrary):
    library = library("torsocks/libtorsocks.so")
    works_test = """
import socket
try:
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    print(False)
except OSError:
    print(True)
"""


for neighbour in (Eatmydata, Faketime, Fakeroot, Jemalloc, Torsocks):
    for first in (True, False):
        name = neighbour.__name__ + ("AfterGuard" if first else "BeforeGuard")
        globals()[name] = type(name, (neighbour, SocketCase), {
            "first": first, "__module__": __name__,
            "__doc__": f"{neighbour.__name__} {'after' if first else 'before'} the guard"})


# Like jemalloc in glibc before 2.34: makes system calls before the guard's constructor, and a dlsym
# meanwhile would wait for ever. Here it ends the program instead.
EARLY = r"""
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#ifdef __x86_64__
#define FIRST_VERSION "GLIBC_2.2.5"
#else
#define FIRST_VERSION "GLIBC_2.17"
#endif
static int busy;
void *dlsym(void *restrict handle, const char *restrict name)
{
	void *(*next)(void *, const char *) = dlvsym(RTLD_NEXT, "dlsym", FIRST_VERSION);
	if (busy)
		_exit(42);
	return next(handle, name);
}
static __attribute__((constructor)) void early(void)
{
	busy = 1;
	if (getenv("EARLY_UNLINK"))
		unlink("");
	if (syscall(SYS_getpid) != getpid() || syscall(SYS_close, -1) != -1 || errno != EBADF ||
		prctl(PR_GET_DUMPABLE) < 0 || prctl(-1) != -1 || errno != EINVAL)
		_exit(43);
	busy = 0;
}
"""


@unittest.skipUnless(platform.machine() in ("x86_64", "aarch64"), "implemented for these")
class EarlyCalls(SocketCase):
    """A library that makes system calls before the guard is initialized, under a lock."""

    def setUp(self):
        super().setUp()
        source = self.write_file("early.c", "#define _GNU_SOURCE\n#include <errno.h>\n" + EARLY)
        self.early = os.path.join(self.dir, "early.so")
        subprocess.run(["gcc", "-shared", "-fPIC", "-o", self.early, source, "-ldl"], check=True)

    def run_starter(self, **env):
        preload = f"{harness.LIBRARY}:{self.early}"
        return self.run_program([harness.PYTHON, "-c", STARTER, self.path],
                                env={"LD_PRELOAD": preload, **env})

    def test_calls_are_made_without_dlsym(self):
        owner = Actor(self, guard=True)
        fd = owner.serve(self.path)
        done = self.run_starter()
        self.assertEqual((done.returncode, done.stdout),
                         (0, f"{errno.EADDRINUSE} {errno.EADDRINUSE}\n"), done.stderr)
        self.assertServes(owner, fd)

    def test_another_call_needs_dlsym(self):
        """Otherwise the test above would show nothing."""
        self.assertEqual(self.run_starter(EARLY_UNLINK="1").returncode, 42)


class Tools(SocketCase):
    """The guard under a tool that instruments the program."""

    def check(self, *words):
        """words is the command that starts an actor with the tool and the guard."""
        owner, rival = Actor(self, through=words), Actor(self, through=words)
        fd = owner.serve(self.path)
        self.assertRefused(lambda: rival.unlink(self.path), owner, fd)
        self.assertEqual(owner.unlink(self.path), 0)
        self.make_stale()
        self.assertEqual(rival.unlink(self.path), 0)
        self.assertEqual(self.names(), [])
        return owner, rival

    def test_theft_without_the_guard(self):
        owner, rival = Actor(self), Actor(self)
        fd = owner.serve(self.path)
        self.assertStolen(lambda: rival.unlink(self.path), owner, fd)

    def test_strace(self):
        self.check("strace", "-f", "-o", "/dev/null", "-E", "LD_PRELOAD=" + harness.LIBRARY)

    def test_valgrind(self):
        """The tool finds no error in the actor."""
        log = tempfile.NamedTemporaryFile("r")
        for actor in self.check("env", "LD_PRELOAD=" + harness.LIBRARY, "valgrind",
                                "--log-file=" + log.name + ".%p"):
            actor.exit()
        found = glob.glob(log.name + ".*")
        self.assertEqual(len(found), 2)
        for name in found:
            with open(name) as words:
                self.assertIn("ERROR SUMMARY: 0 errors", words.read())
            os.unlink(name)

    def run_starter_in_gdb(self, preload):
        starter = self.write_file("starter.py", STARTER)
        done = self.run_program(["gdb", "-batch", "-nx", "-ex", "set exec-wrapper env " + preload,
                                 "-ex", "run", "--args", harness.PYTHON, starter, self.path])
        self.assertIn("exited normally", done.stdout, done.stderr)
        return re.findall(r"(?m)^\d+ \d+$", done.stdout)

    def test_gdb(self):
        owner = Actor(self, guard=True)
        fd = owner.serve(self.path)
        guarded = "LD_PRELOAD=" + harness.LIBRARY
        refused = f"{errno.EADDRINUSE} {errno.EADDRINUSE}"
        self.assertEqual(self.run_starter_in_gdb(guarded), [refused])
        self.assertServes(owner, fd)
        self.assertEqual(self.run_starter_in_gdb("LD_PRELOAD="), ["0 0"])
        owner.kill()
        self.assertEqual(self.run_starter_in_gdb(guarded), ["0 0"])


class AddressSanitizer(SocketCase):
    """The actor, built with AddressSanitizer, whose runtime must be loaded first."""

    FIRST = "ASan runtime does not come first"

    def build(self, *compiler):
        """Builds an actor with the sanitizer, and uses it in the rest of this test."""
        program = os.path.join(self.dir, "actor")
        subprocess.run([*compiler, "-fsanitize=address", "-o", program,
                        os.path.join(harness.SOURCE, "tests", "actor.c")], check=True)
        before = harness.ACTOR
        self.addCleanup(setattr, harness, "ACTOR", before)
        harness.ACTOR = program

    def check(self, *words):
        """words is the environment of a guarded program."""
        wrapper = ["env", *words]
        owner, rival = Actor(self, through=wrapper), Actor(self, through=wrapper)
        fd = owner.serve(self.path)
        self.assertRefused(lambda: rival.unlink(self.path), owner, fd)
        self.assertEqual(owner.unlink(self.path), 0)
        self.assertStolenWithout()

    def assertStolenWithout(self):
        owner, rival = Actor(self), Actor(self)
        fd = owner.serve(self.path)
        self.assertStolen(lambda: rival.unlink(self.path), owner, fd)

    def test_a_shared_runtime_refuses_to_start(self):
        """With gcc's default, the runtime ends the program with a message if any library is
        preloaded before it."""
        self.build("gcc")
        with self.assertRaisesRegex(AssertionError, self.FIRST):
            Actor(self, guard=True)

    def test_a_runtime_without_the_check(self):
        self.build("gcc")
        self.check("LD_PRELOAD=" + harness.LIBRARY, "ASAN_OPTIONS=verify_asan_link_order=0")

    def test_a_preloaded_runtime(self):
        self.build("gcc")
        runtime = subprocess.run(["gcc", "-print-file-name=libasan.so"], capture_output=True,
                                 text=True, check=True).stdout.strip()
        self.check(f"LD_PRELOAD={os.path.realpath(runtime)}:{harness.LIBRARY}")

    def test_a_statically_linked_runtime(self):
        self.build("gcc", "-static-libasan")
        self.check("LD_PRELOAD=" + harness.LIBRARY)

    def test_clang(self):
        """clang's default: the runtime is linked into the program."""
        self.build("clang")
        self.check("LD_PRELOAD=" + harness.LIBRARY)


if __name__ == "__main__":
    missing = [tool for tool in ("strace", "gdb", "valgrind", "faked-sysv", "gcc", "clang")
               if not shutil.which(tool)]
    missing += [neighbour.library for neighbour in
                (Eatmydata, Faketime, Fakeroot, Jemalloc, Torsocks)
                if not os.path.exists(neighbour.library)]
    if missing:
        print(f"1..0 # SKIP needs {' '.join(missing)}")
        sys.exit(0)
    sys.exit(harness.main())
