"""Beside others in LD_PRELOAD, before and behind them, and under tools that look into a program.

The guard does its work, and so does the neighbour.
"""

import contextlib
import errno
import fcntl
import glob
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile

sys.path[:0] = [os.path.join(os.path.dirname(__file__), "..", room)
                for room in ("integration", "bench")]

import harness
import meter
from actor import STRANGER, Actor, SocketCase

# A program that starts as servers do: takes the name, binds. Prints the errno of each.
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
    """Where Debian's multiarch has it."""
    machine = subprocess.run(["gcc", "-print-multiarch"], capture_output=True, text=True)
    return os.path.join("/usr/lib", machine.stdout.strip(), name)


class Neighbour:
    """Its library, and how its work is seen: what a program prints with it, and without."""

    library = None
    settings = {}
    works = None  # statements after STARTER, that print True where the neighbour does its work
    through = ()

    def preload(self):
        order = (harness.LIBRARY, self.library) if self.first else (self.library, harness.LIBRARY)
        return ":".join(order)

    def words(self, preload):
        """The beginning of a command line: the loader's variable is for what comes behind it."""
        return [*self.through, "env", "LD_PRELOAD=" + preload,
                *(f"{name}={value}" for name, value in self.settings.items())]

    def actor(self):
        return Actor(self, through=self.words(self.preload()))

    def run_python(self, code, preload):
        done = self.run_program([*self.words(preload), harness.PYTHON, "-c", code, self.path])
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.splitlines()

    def test_it_works_alone(self):
        """Or the rest would show nothing; and without it nothing of the kind is seen."""
        self.assertEqual(self.run_python(self.works, self.library), ["True"])
        self.assertEqual(self.run_python(self.works, ""), ["False"])

    def test_it_works_beside_the_guard(self):
        """In the process that is refused a name."""
        owner = Actor(self, guard=True)
        fd = owner.serve(self.path)
        said = self.run_python(STARTER + self.works, self.preload())
        self.assertEqual(said, [f"{errno.EADDRINUSE} {errno.EADDRINUSE}", "True"])
        self.assertServes(owner, fd)

    def test_theft_without_the_guard(self):
        owner = Actor(self, through=self.words(self.library))
        rival = Actor(self, through=self.words(self.library))
        fd = owner.serve(self.path)
        self.assertStolen(lambda: rival.unlink(self.path), owner, fd)

    def test_theft_is_refused(self):
        owner, rival = self.actor(), self.actor()
        fd = owner.serve(self.path)
        self.assertRefused(lambda: rival.unlink(self.path), owner, fd)
        self.assertRefused(lambda: rival.remove(self.path), owner, fd)
        intruder = self.file("intruder")
        self.assertRefused(lambda: rival.rename(intruder, self.path), owner, fd)
        self.assertRefused(lambda: rival.rename(self.path, self.path + ".old"), owner, fd)
        self.assertIn("refused with EADDRINUSE", rival.said())

    def test_a_name_removed_by_others_stays_claimed(self):
        """The lock file works too, and not the kernel's answer alone."""
        owner, rival = self.actor(), self.actor()
        owner.serve(self.path)
        os.unlink(self.path)
        self.assertEqual(rival.bind(rival.socket("stream"), self.path), errno.EADDRINUSE)

    def test_a_life_without_a_rival(self):
        self.stale()
        program = self.actor()
        self.assertEqual(program.unlink(self.path), 0)
        fd = program.serve(self.path)
        self.assertEqual(self.names(), [".app.sock.sockguard", "app.sock"])
        self.assertServes(program, fd)
        child = program.fork()
        self.assertEqual(program.close(fd), 0)
        self.assertEqual(child.unlink(self.path), 0)
        self.assertEqual(self.names(), [])
        self.assertNotIn("sockguard:", program.said())


class Eatmydata(Neighbour):
    library = library("libeatmydata.so")
    works = """
import os
try:
    os.fsync(os.pipe()[0])
    print(True)
except OSError:
    print(False)
"""


class Faketime(Neighbour):
    library = library("faketime/libfaketime.so.1")
    settings = {"FAKETIME": "2001-02-03 04:05:06", "TZ": "UTC"}  # stands still
    works = "import time; print(time.time() == 981173106)"

    def test_a_mutex_is_not_waited_for_without_end(self):
        """Though no time passes by the clock."""
        F_OFD_SETLK = 37
        self.stale()
        mutex = os.open(self.lock(), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.addCleanup(os.close, mutex)
        fcntl.fcntl(mutex, F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 1, 0))
        self.assertEqual(self.actor().unlink(self.path), errno.EADDRINUSE)


class Fakeroot(Neighbour):
    """Of a user who is not root; as root we make ourselves one."""

    library = library("libfakeroot/libfakeroot-sysv.so")
    through = ("setpriv", f"--reuid={STRANGER}", f"--regid={STRANGER}", "--clear-groups") \
        if os.getuid() == 0 else ()
    works = """
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
        self.lend("LIBRARY")
        self.lend("ACTOR")
        daemon = contextlib.ExitStack()
        self.addCleanup(daemon.close)
        self.settings = daemon.enter_context(meter.fakeroot(self.through or ("setpriv",)))

    def lend(self, name):
        """A copy that this user can read, wherever the build lies."""
        original = getattr(harness, name)
        self.addCleanup(setattr, harness, name, original)
        os.makedirs(os.path.join(self.dir, "lent"), exist_ok=True)
        setattr(harness, name, shutil.copy(original, os.path.join(self.dir, "lent")))

    def names(self):
        return [name for name in super().names() if name != "lent"]


class Jemalloc(Neighbour):
    library = library("libjemalloc.so.2")
    works = """
import ctypes
try:
    ctypes.CDLL(None).malloc_stats_print
    print(True)
except AttributeError:
    print(False)
"""


class Torsocks(Neighbour):
    library = library("torsocks/libtorsocks.so")
    works = """
import socket
try:
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    print(False)
except OSError:
    print(True)
"""


for neighbour in (Eatmydata, Faketime, Fakeroot, Jemalloc, Torsocks):
    for first in (True, False):
        name = neighbour.__name__ + ("Behind" if first else "Before")
        globals()[name] = type(name, (neighbour, SocketCase), {
            "first": first, "__module__": __name__,
            "__doc__": f"{neighbour.__name__} {'behind' if first else 'before'} the guard"})


class Tools(SocketCase):
    """Under a tool that looks into the program."""

    def check(self, *words):
        """words: how an actor is started with the tool and the guard."""
        owner, rival = Actor(self, through=words), Actor(self, through=words)
        fd = owner.serve(self.path)
        self.assertRefused(lambda: rival.unlink(self.path), owner, fd)
        self.assertEqual(owner.unlink(self.path), 0)
        self.stale()
        self.assertEqual(rival.unlink(self.path), 0)
        self.assertEqual(self.names(), [])
        return owner, rival

    def test_the_same_without_the_guard(self):
        owner, rival = Actor(self), Actor(self)
        fd = owner.serve(self.path)
        self.assertStolen(lambda: rival.unlink(self.path), owner, fd)

    def test_strace(self):
        self.check("strace", "-f", "-o", "/dev/null", "-E", "LD_PRELOAD=" + harness.LIBRARY)

    def test_valgrind(self):
        """And it finds no error in what an actor did."""
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

    def starts_in_gdb(self, preload):
        starter = self.file("starter.py", STARTER)
        done = self.run_program(["gdb", "-batch", "-nx", "-ex", "set exec-wrapper env " + preload,
                                 "-ex", "run", "--args", harness.PYTHON, starter, self.path])
        self.assertIn("exited normally", done.stdout, done.stderr)
        return re.findall(r"(?m)^\d+ \d+$", done.stdout)

    def test_gdb(self):
        owner = Actor(self, guard=True)
        fd = owner.serve(self.path)
        guarded = "LD_PRELOAD=" + harness.LIBRARY
        refused = f"{errno.EADDRINUSE} {errno.EADDRINUSE}"
        self.assertEqual(self.starts_in_gdb(guarded), [refused])
        self.assertServes(owner, fd)
        self.assertEqual(self.starts_in_gdb("LD_PRELOAD="), ["0 0"])
        owner.kill()
        self.assertEqual(self.starts_in_gdb(guarded), ["0 0"])


class AddressSanitizer(SocketCase):
    """The actor, built with it. Its runtime wants to be the first that is loaded."""

    FIRST = "ASan runtime does not come first"

    def build(self, *compiler):
        """An actor with the sanitizer; the actors of this test are such from now on."""
        program = os.path.join(self.dir, "actor")
        subprocess.run([*compiler, "-fsanitize=address", "-o", program,
                        os.path.join(harness.SOURCE, "tests", "actor.c")], check=True)
        before = harness.ACTOR
        self.addCleanup(setattr, harness, "ACTOR", before)
        harness.ACTOR = program

    def check(self, *words):
        """words: the environment with which a guarded program starts."""
        through = ["env", *words]
        owner, rival = Actor(self, through=through), Actor(self, through=through)
        fd = owner.serve(self.path)
        self.assertRefused(lambda: rival.unlink(self.path), owner, fd)
        self.assertEqual(owner.unlink(self.path), 0)
        self.assertStolenWithout()

    def assertStolenWithout(self):
        owner, rival = Actor(self), Actor(self)
        fd = owner.serve(self.path)
        self.assertStolen(lambda: rival.unlink(self.path), owner, fd)

    def test_a_runtime_of_its_own_does_not_start(self):
        """gcc's default. The runtime ends the program, and says why: so it does with any library
        that is preloaded."""
        self.build("gcc")
        with self.assertRaisesRegex(AssertionError, self.FIRST):
            Actor(self, guard=True)

    def test_a_runtime_that_does_not_ask(self):
        self.build("gcc")
        self.check("LD_PRELOAD=" + harness.LIBRARY, "ASAN_OPTIONS=verify_asan_link_order=0")

    def test_a_runtime_that_is_preloaded(self):
        self.build("gcc")
        runtime = subprocess.run(["gcc", "-print-file-name=libasan.so"], capture_output=True,
                                 text=True, check=True).stdout.strip()
        self.check(f"LD_PRELOAD={os.path.realpath(runtime)}:{harness.LIBRARY}")

    def test_a_runtime_within_the_program(self):
        self.build("gcc", "-static-libasan")
        self.check("LD_PRELOAD=" + harness.LIBRARY)

    def test_clang(self):
        """Its default is a runtime within the program."""
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
