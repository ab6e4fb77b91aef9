"""Containers: the cases of docs/containers.md, as root and rootless, with the guard and without.

scripts/containers prepares and runs these tests.
"""

import errno
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import unittest

import engine
from engine import Container, QUICK, ROOT, ROOTLESS

import actor
import harness

VOLUME = "/run/shared"  # the path of the volume in the containers
CONTAINER_PATH = VOLUME + "/app.sock"

# The tests that run with --quick: one case of each kind.
QUICK_TESTS = re.compile(r"""
    Shared(Root|Rootless)(Unguarded|Env|Syscalls)\. |
    DroppedRoot(Unguarded|Syscalls)\.test_a_second |
    ReadOnlyRootless(Unguarded|Env)\. |
    RestartedRoot(Unguarded|Env)\. |
    CommittedRootEnv\. |
    StaleInLowerLayerRoot(Unguarded|Env)\. |
    Status\.test_(live|stale)$ |
    Profiles\.test_no_supervisor_without_pidfd_getfd |
    DifferentUidMaps\. |
    ProcessOne\.test_(stop|exec_is.*)$ |
    (Guarded|Unguarded)SupervisedPodman(Rootless)?\.test_a_second
    """, re.VERBOSE)


def load_tests(_loader, tests, _pattern):
    """unittest calls this if no test is named."""
    flat = [test for group in tests for test in group]
    return unittest.TestSuite(test for test in flat
                              if not QUICK or QUICK_TESTS.match(test.id().split(".", 1)[1]))



class ContainerCase(actor.SocketCase):
    """Containers of one engine that share a directory of the host."""

    engine = ROOT
    image = "plain"

    def setUp(self):
        super().setUp()
        self.volume = self.shared_directory()
        self.host_path = os.path.join(self.volume, "app.sock")

    def shared_directory(self, mode=0o755):
        path = os.path.join(self.dir, f"shared-{len(os.listdir(self.dir))}")
        os.mkdir(path)
        os.chmod(path, mode)
        os.chown(path, self.engine.on_host(0), self.engine.on_host(0))
        return path

    def mount(self):
        return ["--volume", f"{self.volume}:{VOLUME}"]

    def container(self, *options, image=None, **settings):
        """Starts a container with its own PID, network and user namespaces."""
        return Container(self, self.engine, image or self.image, *self.engine.maps, *self.mount(),
                         *options, **settings)

    def bind_with_reuseaddr(self, container, path=CONTAINER_PATH):
        """Binds like a server that sets SO_REUSEADDR, which lets the guard replace a stale path."""
        fd = container.socket("stream")
        container.set_reuseaddr(fd)
        error = container.bind(fd, path)
        if not error:
            container.listen(fd)
        return fd, error

    def assertReplaced(self, container, path=CONTAINER_PATH, host=None, guard=None):
        """Requires that a server can start on a stale path with the guard, and cannot without it.
        """
        fd, error = self.bind_with_reuseaddr(container, path)
        if self.guard if guard is None else guard:
            self.assertEqual(error, 0)
            self.assertServes(container, fd, host or self.host_path)
            self.assertEqual(container.unlink(path), 0)
        else:
            self.assertEqual(error, errno.EADDRINUSE)

    def status(self, path, container=None):
        """Returns the output of sockguard status for a path, in a container or on the host."""
        if container:
            output = container.execute("sockguard", "status", "--json", path, check=False).stdout
        else:
            output = self.run_program([harness.COMMAND, "status", "--json", path]).stdout
        status, = json.loads(output)["sockets"]
        return status


def with_each_guard(mixin):
    """Adds subclasses to this module: for each engine, one without the guard, and one for each way
    to guard an image."""
    module = sys.modules[mixin.__module__]
    for each_engine in (ROOT, ROOTLESS):
        for image in ("plain", "env", "run", "syscalls"):
            guard = image != "plain"
            name = mixin.__name__ + each_engine.name.capitalize() + \
                ("Unguarded" if not guard else image.capitalize())
            setattr(module, name, type(name, (mixin, ContainerCase), {
                "engine": each_engine, "image": image, "guard": guard,
                "__module__": mixin.__module__}))
    return mixin


@with_each_guard
class Shared:
    """Two containers that share a volume, each with its own PID, network and user namespace."""

    options = ()
    user = 0

    def shared_directory(self, mode=0o755):
        path = super().shared_directory(mode)
        os.chown(path, self.engine.on_host(self.user), self.engine.on_host(self.user))
        return path

    def start_pair(self):
        return self.container(*self.options), self.container(*self.options)

    def test_a_second_start_on_a_live_path(self):
        owner, rival = self.start_pair()
        fd = owner.serve(CONTAINER_PATH)
        self.assertRefusedIfGuarded(lambda: rival.unlink(CONTAINER_PATH), owner, fd, self.host_path)
        if self.guard:  # both processes have PID 1, and the message does not confuse them
            rival.wait_for_output(
                f'sockguard: actor[1]: unlink("{CONTAINER_PATH}") refused with EADDRINUSE: '
                f"in use by actor (pid 1 of another PID namespace, uid {self.user})\n")

    def test_kill_of_the_container_frees_the_path(self):
        owner, rival = self.start_pair()
        owner.serve(CONTAINER_PATH)
        owner.kill()
        self.assertReplaced(rival)
        if self.guard:
            self.assertEqual(os.listdir(self.volume), [])

    def test_a_path_removed_on_the_host_stays_claimed(self):
        owner, rival = self.start_pair()
        owner.serve(CONTAINER_PATH)
        os.unlink(self.host_path)
        fd = rival.socket("stream")
        self.assertEqual(rival.bind(fd, CONTAINER_PATH), errno.EADDRINUSE if self.guard else 0)
        if self.guard:
            rival.wait_for_output("(pid 1 of another PID namespace, ")
            owner.kill()
            self.assertEqual(rival.bind(fd, CONTAINER_PATH), 0)


@with_each_guard
class Dropped(Shared):
    """The same without capabilities, and with no_new_privs."""

    options = ("--cap-drop", "all", "--security-opt", "no-new-privileges")


@with_each_guard
class AsUser(Shared):
    """The same for a program that is not root in its container."""

    options = ("--user", "500:500")
    user = 500


class StartedByExec:
    """podman exec starts guarded processes in a container that only sleeps."""

    def start_pair(self, *options, **settings):
        """Returns an idle container, and the command prefix for the programs started in it."""
        idle = Container(self, self.engine, self.image, *self.mount(), *options, idle=True,
                         **settings)
        before = {"run": ["sockguard", "run", "--"],
                  "syscalls": ["sockguard", "run", "--by", "syscalls", "--"]}
        return idle, before.get(self.image, [])


@with_each_guard
class ReadOnly(StartedByExec):
    """A read-only root file system, with a tmpfs for sockets."""

    def test_a_second_start_in_a_tmpfs(self):
        idle, before = self.start_pair("--read-only", "--tmpfs", "/run/app:mode=755")
        owner, rival = idle.start_in_same_container(*before), idle.start_in_same_container(*before)
        self.assertEqual(owner.bind(owner.socket("stream"), "/srv.sock"), errno.EROFS)
        fd = owner.serve("/run/app/app.sock")
        host = idle.on_host("/run/app/app.sock")
        self.assertRefusedIfGuarded(lambda: rival.unlink("/run/app/app.sock"), owner, fd, host)
        owner.serve("/run/app/stale.sock")
        owner.exit()
        self.assertReplaced(rival, "/run/app/stale.sock", idle.on_host("/run/app/stale.sock"))


@with_each_guard
class Restarted(StartedByExec):
    """A stale socket in the writable layer of a container that is killed and started again."""

    def test_restart_after_kill(self):
        idle, before = self.start_pair()
        idle.start_in_same_container(*before).serve("/tmp/app.sock")
        idle.kill()
        idle.start_again()
        self.assertReplaced(idle.start_in_same_container(*before), "/tmp/app.sock",
                            idle.on_host("/tmp/app.sock"))


@with_each_guard
class Committed(StartedByExec):
    """podman commit keeps the lock file of a killed server, but not its socket."""

    def test_commit(self):
        idle, before = self.start_pair()
        idle.execute("mkdir", "/srv")
        idle.start_in_same_container(*before).serve("/srv/app.sock")
        idle.kill()
        image = idle.commit()
        again = Container(self, self.engine, image, idle=True)
        left = os.listdir(again.on_host("/srv"))
        self.assertEqual(left, [".app.sock.sockguard"] if self.guard else [])
        self.assertReplaced(again.start_in_same_container(*before), "/srv/app.sock",
                            again.on_host("/srv/app.sock"), guard=True)
        self.assertEqual(os.listdir(again.on_host("/srv")), [])


@with_each_guard
class StaleInLowerLayer:
    """A stale socket and its lock file are in a lower layer of overlayfs."""

    def make_layer(self):
        """Makes a root file system in which a server was killed, and returns its path."""
        root = os.path.join(self.dir, "layer")
        shutil.copytree(os.path.join(engine.WORK, "context", "root"), root, symlinks=True)
        os.mkdir(os.path.join(root, "srv"))
        os.chmod(self.dir, 0o755)
        dead = actor.Actor(self, guard=True)
        dead.chdir(os.path.join(root, "srv"))
        dead.serve("app.sock")
        dead.kill()
        self.assertEqual(sorted(os.listdir(os.path.join(root, "srv"))),
                         [".app.sock.sockguard", "app.sock"])
        if self.engine.uid != 0:
            owner = f"{self.engine.uid}:{self.engine.uid}"
            subprocess.run(["chown", "-hR", owner, root], check=True)
        return root

    def start_on_layer(self, root, *options):
        before = {"run": ["sockguard", "run", "--"], "env": ["env", "LD_PRELOAD=" + engine.LIBRARY],
                  "syscalls": ["sockguard", "run", "--by", "syscalls", "--"]}
        return Container(self, self.engine, None, *options, "--rootfs", root + ":O",
                         before=before.get(self.image, []))

    def test_each_container_replaces_its_own(self):
        """The containers share a network namespace, so sock_diag shows both sockets."""
        root = self.make_layer()
        one = self.start_on_layer(root)
        fd, error = self.bind_with_reuseaddr(one, "/srv/app.sock")
        if not self.guard:
            self.assertEqual(error, errno.EADDRINUSE)
            return
        self.assertEqual(error, 0)
        other = self.start_on_layer(root, "--network", "container:" + one.name)
        self.assertReplaced(other, "/srv/app.sock", other.on_host("/srv/app.sock"))
        self.assertServes(one, fd, one.on_host("/srv/app.sock"))


class Status(ContainerCase):
    """sockguard status reports the state of a shared path correctly, and what it cannot see."""

    image = "env"
    by = "preload"

    def statuses(self, owner, rival):
        """Returns the status in the owner's container, in the rival's, and on the host."""
        return (self.status(CONTAINER_PATH, owner), self.status(CONTAINER_PATH, rival),
                self.status(self.host_path))

    def test_live(self):
        owner, rival = self.container(), self.container()
        owner.serve(CONTAINER_PATH)
        in_owners_container, in_rivals_container, seen_from_host = self.statuses(owner, rival)
        for status in (in_owners_container, in_rivals_container, seen_from_host):
            self.assertEqual(status["state"], "live")
            self.assertEqual(status["lock_file"]["state"], "claimed")
            self.assertEqual((status["bound_by"]["pid"], status["bound_by"]["command"]),
                             (1, "actor"))
        self.assertEqual([holder["pid"] for holder in in_owners_container["holders"]], [1])
        self.assertIs(in_owners_container["holders_complete"], True)
        self.assertEqual(in_owners_container["holders"][0]["by"], self.by)
        self.assertIs(in_owners_container["bound_by"]["ended"], False)
        for status in (in_rivals_container, seen_from_host):  # in another PID and network namespace
            self.assertEqual((status["holders"], status["holders_complete"]), ([], False))
            self.assertIsNone(status["bound_by"]["ended"])

    def test_removed_by_an_unguarded_process(self):
        owner, rival = self.container(), self.container()
        owner.serve(CONTAINER_PATH)
        os.unlink(self.host_path)
        in_owners_container, in_rivals_container, seen_from_host = self.statuses(owner, rival)
        self.assertEqual(in_rivals_container["state"], "claimed")
        self.assertEqual(seen_from_host["state"], "claimed")
        self.assertIn(in_owners_container["state"], ("claimed", "lost"))

    def test_stale(self):
        owner, rival = self.container(), self.container()
        owner.serve(CONTAINER_PATH)
        owner.kill()
        for status in (self.status(CONTAINER_PATH, rival), self.status(self.host_path)):
            self.assertEqual((status["state"], status["holders"]), ("stale", []))
            self.assertNotEqual(status["lock_file"]["state"], "claimed")

    def test_an_unguarded_owner(self):
        owner, rival = self.container(image="plain"), self.container()
        owner.serve(CONTAINER_PATH)
        for status in self.statuses(owner, rival):
            self.assertEqual((status["state"], status["lock_file"]["state"]), ("live", "none"))


class StatusSupervised(Status):
    """The same for an owner that a supervisor guards."""

    image = "syscalls"
    by = "syscalls"


class StatusRootless(Status):
    engine = ROOTLESS


class Profiles(ContainerCase):
    """Seccomp profiles that allow less than the default profile, which all other tests use."""

    def profile(self, *forbidden):
        """Returns the option for podman's default profile without these system calls, which then
        fail with EPERM. "netlink" forbids netlink sockets."""
        with open(engine.PROFILE, encoding="ascii") as file:
            profile = json.load(file)
        for rule in profile["syscalls"]:
            rule["names"] = [name for name in rule["names"] if name not in forbidden]
        profile["syscalls"] = [rule for rule in profile["syscalls"] if rule["names"]]
        if "netlink" in forbidden:
            profile["syscalls"] = [rule for rule in profile["syscalls"]
                                   if rule["names"] != ["socket"]]
            profile["syscalls"].append({"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [
                {"index": 0, "value": socket.AF_NETLINK, "op": "SCMP_CMP_NE"}]})
        path = os.path.join(self.dir, "profile.json")
        with open(path, "w", encoding="ascii") as out:
            json.dump(profile, out)
        return ["--security-opt", "seccomp=" + path]

    # System calls that the guard makes, but that servers may not need.
    GUARD_ONLY = ("fstatfs", "getdents64", "kcmp", "name_to_handle_at", "renameat2",
                  "rt_sigpending", "statx")

    def start_owner_and_rival(self, options, image):
        owner, rival = (self.container(*options, image=image) for _ in range(2))
        fd = owner.serve(CONTAINER_PATH)
        return owner, rival, fd

    def test_without_the_calls_only_the_guard_makes(self):
        for forbidden in (self.GUARD_ONLY, ("netlink",), (*self.GUARD_ONLY, "netlink")):
            for image in ("env", "plain"):
                with self.subTest(forbidden=forbidden, image=image):
                    self.guard = image == "env"
                    self.volume = self.shared_directory()
                    self.host_path = os.path.join(self.volume, "app.sock")
                    owner, rival, fd = self.start_owner_and_rival(self.profile(*forbidden), image)
                    self.assertRefusedIfGuarded(lambda: rival.unlink(CONTAINER_PATH),
                                                owner, fd, self.host_path)
                    if self.guard:
                        owner.kill()
                        self.assertReplaced(rival)

    def message_without_supervisor(self, *forbidden, add=()):
        """Returns the message of sockguard run under a profile that forbids these calls, and
        requires that run --strict fails and that run lets the theft happen."""
        options = self.profile(*forbidden)
        strict = self.engine.podman("run", "--rm", *engine.OPTIONS, *options,
                                    self.engine.build("syscalls"), "actor", check=False)
        self.assertEqual(strict.returncode, 126)
        self.assertIn("not started", strict.stderr)
        before = ["sockguard", "run", "--by", "syscalls"]
        owner, rival = (self.container(*options, image="plain", before=before) for _ in range(2))
        fd = owner.serve(CONTAINER_PATH)
        self.assertStolen(lambda: rival.unlink(CONTAINER_PATH), owner, fd, self.host_path)
        rival.wait_for_output("sockguard: actor will not be guarded: ")
        return rival.stderr()

    def test_no_supervisor_without_pidfd_getfd(self):
        """Docker's default profile forbids it too."""
        self.assertIn("the container's security profile",
                      self.message_without_supervisor("pidfd_getfd"))

    def test_no_supervisor_without_process_vm_readv(self):
        self.message_without_supervisor("process_vm_readv")

    def test_no_supervisor_without_seccomp(self):
        self.message_without_supervisor("seccomp")


class ProfilesRootless(Profiles):
    engine = ROOTLESS


class DifferentUidMaps(ContainerCase):
    """Two containers whose user namespaces map root to different uids. Both may write to the
    volume."""

    image = "env"

    def setUp(self):
        super().setUp()
        os.chmod(self.volume, 0o777)

    def start_with_map(self, first, image, *options):
        return Container(self, self.engine, image, *self.mount(), "--uidmap", f"0:{first}:1000",
                         "--gidmap", f"0:{first}:1000", *options)

    def start_pair(self, image, umask, *options):
        owner, rival = (self.start_with_map(first, image, *options) for first in (300000, 400000))
        owner.umask(umask)
        return owner, rival, owner.serve(CONTAINER_PATH)

    def test_a_socket_open_to_every_user(self):
        owner, rival, fd = self.start_pair("env", 0)
        self.assertRefused(lambda: rival.unlink(CONTAINER_PATH), owner, fd, self.host_path)
        rival.wait_for_output("in use by ")

    def test_a_socket_open_to_every_user_unguarded(self):
        owner, rival, fd = self.start_pair("plain", 0)
        self.assertStolen(lambda: rival.unlink(CONTAINER_PATH), owner, fd, self.host_path)

    def test_a_socket_open_to_its_user_only(self):
        """The rival can neither connect to the socket, nor find it with sock_diag, nor open the
        lock file. Only /proc/locks shows it the owner's claim."""
        owner, rival, fd = self.start_pair("env", 0o022)
        self.assertRefused(lambda: rival.unlink(CONTAINER_PATH), owner, fd, self.host_path)
        rival.wait_for_output("another user's process in another network namespace")
        owner.kill()
        self.assertReplaced(rival, guard=True)

    def test_a_socket_open_to_its_user_only_unguarded(self):
        owner, rival, fd = self.start_pair("plain", 0o022)
        self.assertStolen(lambda: rival.unlink(CONTAINER_PATH), owner, fd, self.host_path)

    def test_known_limit_unguarded_owner(self):
        """A known limit: an unguarded owner has no claim."""
        owner = self.start_with_map(300000, "plain")
        rival = self.start_with_map(400000, "env")
        owner.umask(0o022)
        fd = owner.serve(CONTAINER_PATH)
        self.assertStolen(lambda: rival.unlink(CONTAINER_PATH), owner, fd, self.host_path)

    def test_kill_frees_the_path(self):
        owner, rival, _ = self.start_pair("env", 0)
        owner.kill()
        fd, error = self.bind_with_reuseaddr(rival)
        self.assertEqual(error, 0)
        self.assertServes(rival, fd, self.host_path)


class SupervisedPodman:
    """podman runs under a supervisor, which guards the containers' processes too. The image has no
    guard."""

    def container(self, *options, **settings):
        supervised = [harness.COMMAND, "run", "--by", "syscalls", "--strict", "--"]
        return super().container(*options, run_under=supervised if self.guard else (), **settings)

    def test_a_second_start_on_a_live_path(self):
        owner, rival = self.container(), self.container("--user", "500:500", "--cap-drop", "all")
        os.chmod(self.volume, 0o777)
        fd = owner.serve(CONTAINER_PATH)
        self.assertRefusedIfGuarded(lambda: rival.unlink(CONTAINER_PATH), owner, fd, self.host_path)
        own = VOLUME + "/own.sock"
        rival.serve(own)
        found = os.stat(os.path.join(self.volume, "own.sock"))
        self.assertEqual((found.st_uid, found.st_gid), (self.engine.on_host(500),) * 2)
        self.assertEqual(rival.unlink(own), 0)

    def test_kill_of_the_container_frees_the_path(self):
        owner, rival = self.container(), self.container()
        owner.serve(CONTAINER_PATH)
        owner.kill()
        self.assertReplaced(rival)


class GuardedSupervisedPodman(SupervisedPodman, ContainerCase):
    guard = True


class UnguardedSupervisedPodman(SupervisedPodman, ContainerCase):
    guard = False


class GuardedSupervisedPodmanRootless(GuardedSupervisedPodman):
    engine = ROOTLESS


class UnguardedSupervisedPodmanRootless(UnguardedSupervisedPodman):
    engine = ROOTLESS


class ProcessOne(ContainerCase):
    """Process 1 of a container gets signals, exits and leaves no zombies as without the guard."""

    images = ("plain", "env", "run", "syscalls")
    # Exits with status 7 on SIGTERM. sh is linked statically, so --by auto supervises it.
    SCRIPT = 'trap "exit 7" TERM; echo ready; while :; do sleep 1 & wait $!; done'

    def start_script(self, image, *options):
        name = f"sg-{os.getpid()}-first-{image}"
        words = self.start(self.engine.command(
            "run", "--rm", "--name", name, *engine.OPTIONS, *self.mount(), *options,
            self.engine.build(image), "sh", "-c", self.SCRIPT),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(self.engine.podman, "rm", "--force", "--time", "0", name, check=False)
        self.assertEqual(words.stdout.readline(), "ready\n")
        return name, words

    def check_stop(self, image, first, *options):
        name, process = self.start_script(image, *options)
        output = self.engine.podman("exec", name, "cat", "/proc/1/comm").stdout
        self.assertEqual(output.strip(), first)
        self.engine.podman("stop", "--time", "20", name)
        self.assertEqual(process.wait(4 * harness.TIMEOUT), 7)

    def test_stop(self):
        for image in self.images:
            with self.subTest(image=image):
                self.check_stop(image, "sh")

    def test_stop_with_an_init(self):
        for image in self.images:
            with self.subTest(image=image):
                self.check_stop(image, "podman-init", "--init")

    def test_the_supervisor_leaves_no_zombies(self):
        for options in ((), ("--init",)):
            with self.subTest(options=options):
                owner = self.container(*options, image="syscalls")
                for _ in range(20):
                    owner.serve(CONTAINER_PATH)
                    self.assertEqual(owner.unlink(CONTAINER_PATH), 0)
                states = self.engine.podman("exec", owner.name, "sh", "-c",
                                            "cat /proc/[0-9]*/stat").stdout
                self.assertNotIn(") Z ", states)

    def test_exec_is_guarded_by_the_environment_only(self):
        """A program started by podman exec is no child of the entry point and does not have its
        supervisor's filter."""
        for image, guard in (("env", True), ("run", False), ("syscalls", False)):
            with self.subTest(image=image):
                self.volume = self.shared_directory()
                self.host_path = os.path.join(self.volume, "app.sock")
                owner = self.container(image=image)
                fd = owner.serve(CONTAINER_PATH)
                rival = owner.start_in_same_container()
                self.guard = guard
                self.assertRefusedIfGuarded(lambda: rival.unlink(CONTAINER_PATH),
                                            owner, fd, self.host_path)


class ProcessOneRootless(ProcessOne):
    engine = ROOTLESS
    images = ("run", "syscalls")


class Servers(ContainerCase):
    """Unmodified servers: from Debian's packages, and a statically linked one written in Go."""

    COMMANDS = {
        "redis": ["redis-server", "--port", "0", "--save", "", "--unixsocket", CONTAINER_PATH],
        "memcached": ["memcached", "-u", "root", "-s", CONTAINER_PATH],
        "listener": ["listener", CONTAINER_PATH],
    }
    SERVERS_AND_GUARDS = [("redis", "env"), ("redis", "run"), ("redis", "syscalls"),
                          ("redis", "plain"),
                          ("memcached", "env"), ("memcached", "syscalls"), ("memcached", "plain"),
                          ("listener", "run"), ("listener", "plain")]

    def start_server_container(self, image, words):
        """Starts a container with a server. Returns its name and the file with its output."""
        name = f"sg-{os.getpid()}-{len(self._started)}-{self.id().rsplit('.', 1)[-1]}"[:60]
        output = tempfile.TemporaryFile()
        self.addCleanup(output.close)
        self.addCleanup(self.engine.podman, "rm", "--force", "--time", "0", name, check=False)
        self.start(self.engine.command(
            "run", "--name", name, *engine.OPTIONS, *self.engine.maps, *self.mount(),
            self.engine.build(image), *words),
            stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        return name, output

    def reached_socket(self):
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(self.host_path)
                return self.identity(self.host_path)
        except OSError:
            return None

    def test_servers(self):
        for server, image in self.SERVERS_AND_GUARDS:
            with self.subTest(server=server, image=image):
                self.volume = self.shared_directory()
                self.host_path = os.path.join(self.volume, "app.sock")
                self.check_two_servers(image, self.COMMANDS[server])

    def check_two_servers(self, image, words):
        first, _ = self.start_server_container(image, words)
        before = harness.wait_until(self.reached_socket, "the first server")
        _, output = self.start_server_container(image, words)
        if image == "plain":
            harness.wait_until(lambda: self.reached_socket() not in (None, before), "the theft")
            return
        harness.wait_until(lambda: b"refused with EADDRINUSE: in use by" in
                           os.pread(output.fileno(), 65536, 0), "the refusal")
        self.assertEqual(self.reached_socket(), before)
        pid = int(self.engine.podman("inspect", "--format", "{{.State.Pid}}", first).stdout)
        os.kill(pid, signal.SIGKILL)
        harness.wait_until(lambda: not self.reached_socket(), "the end of the first server")
        self.start_server_container(image, words)
        harness.wait_until(self.reached_socket, "the next server")


class ServersRootless(Servers):
    engine = ROOTLESS


if __name__ == "__main__":
    sys.exit(harness.main())
