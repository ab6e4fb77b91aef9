"""podman as root and as an ordinary user, and actors in its containers.

scripts/containers prepares the work directory that SOCKGUARD_CONTAINERS names: podman's
configuration, a root file system for the images, and the environment of the ordinary user.
"""

import itertools
import os
import select
import signal
import subprocess
import sys
import tempfile

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "integration"))
import actor  # noqa: E402
import harness  # noqa: E402

WORK = os.environ["SOCKGUARD_CONTAINERS"]
OPTIONS = ["--cgroups=disabled"]  # for each new container
QUICK = "SOCKGUARD_CONTAINERS_QUICK" in os.environ
LIBRARY = os.environ["SOCKGUARD_CONTAINERS_LIBRARY"]  # inside the images
USER = 61009  # the user who runs the rootless containers
SUBORDINATES = 2000000  # this user's first subordinate uid, in /etc/subuid
PROFILE = "/usr/share/containers/seccomp.json"  # podman's default

IMAGES = {
    "plain": "FROM scratch\nCOPY root/ /\n",
    "env": f"FROM plain\nENV LD_PRELOAD={LIBRARY}\n",
    "run": 'FROM plain\nENTRYPOINT ["sockguard", "run", "--strict", "--"]\n',
    "syscalls": "FROM plain\n"
                'ENTRYPOINT ["sockguard", "run", "--by", "syscalls", "--strict", "--"]\n',
}


class Engine:
    """podman with its own storage."""

    def __init__(self, name, uid, maps, on_host):
        """maps are the options that give a container a user namespace of its own. on_host(uid)
        returns the host's uid of a user in such a container."""
        self.name, self.uid, self.maps, self.on_host = name, uid, maps, on_host
        self.home = os.path.join(WORK, name)
        self._built = set()

    def command(self, *words, run_under=()):
        """Returns the command line of podman, as the engine's user. run_under is the start of a
        command that runs podman, such as sockguard run."""
        as_user = [] if self.uid == 0 else \
            ["setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", "--clear-groups"]
        env = {
            "PATH": os.environ["PATH"],
            "HOME": self.home,
            "XDG_RUNTIME_DIR": os.path.join(self.home, "run"),
            "TMPDIR": self.home,
            "CONTAINERS_CONF": os.path.join(WORK, "containers.conf"),
            "CONTAINERS_STORAGE_CONF": os.path.join(self.home, "storage.conf"),
        }
        return [*as_user, "env", "-i", "-C", self.home, *(f"{k}={v}" for k, v in env.items()),
                *run_under, "podman", *words]

    def podman(self, *words, check=True, **popen):
        """Runs podman and waits. Returns the CompletedProcess."""
        ended = subprocess.run(self.command(*words), capture_output=True, text=True,
                               timeout=4 * harness.TIMEOUT, **popen)
        if check and ended.returncode != 0:
            raise AssertionError(f"podman {' '.join(words)}: status {ended.returncode}, "
                                 f"{ended.stdout}{ended.stderr}")
        return ended

    def build(self, image):
        """Builds one of IMAGES, and the image that it is based on, unless they exist."""
        if image in self._built or image not in IMAGES:
            return image
        text = IMAGES[image]
        base = text.split()[1]
        if base != "scratch":
            self.build(base)
        recipe = os.path.join(self.home, "Containerfile." + image)
        with open(recipe, "w", encoding="ascii") as out:
            out.write(text.replace("FROM plain", "FROM localhost/plain"))
        self.podman("build", "--quiet", "--tag", image, "--file", recipe,
                    os.path.join(WORK, "context"))
        self._built.add(image)
        return image


ROOT = Engine("root", 0, ["--uidmap", "0:300000:65536", "--gidmap", "0:300000:65536"],
              lambda user: 300000 + user)
ROOTLESS = Engine("rootless", USER, ["--uidmap", "0:0:1000", "--gidmap", "0:0:1000"],
                  lambda user: USER if user == 0 else SUBORDINATES + user - 1)

_numbers = itertools.count()


class PodmanActor(actor.Actor):
    """An actor that podman starts. It is controlled through its descriptor 3."""

    def __init__(self, case, engine, *words, run_under=()):
        self._case, self.engine = case, engine
        self._stderr = tempfile.TemporaryFile()
        case.addCleanup(self._stderr.close)
        self._control, theirs = self._socketpair()
        through = ["sh", "-c", 'exec "$@" 3<&0 </dev/null', "sh"]
        with theirs:
            self._process = case.start([*through, *engine.command(*words, run_under=run_under)],
                                       stdin=theirs,
                                       stdout=self._stderr, stderr=self._stderr)
        self.read_answer()

    def wait_for_output(self, what):
        harness.wait_until(lambda: what in self.stderr(), f"{what!r} in {self.stderr()!r}")
        return self.stderr()

    def ended(self):
        """Waits for the end of podman and returns its exit status."""
        return self._process.wait(harness.TIMEOUT)


class Container(PodmanActor):
    """A container that runs an actor, or sleeps if it is idle."""

    def __init__(self, case, engine, image, *options, before=(), run_under=(), idle=False):
        """image is one of IMAGES, or the result of commit(); None if the options have --rootfs.

        run_under is the start of a command that runs podman, such as sockguard run."""
        self.name = f"sg-{os.getpid()}-{next(_numbers)}"
        case.addCleanup(engine.podman, "rm", "--force", "--time", "0", self.name, check=False)
        images = [] if image is None else [engine.build(image)]
        words = ["--name", self.name, *OPTIONS, *options, *images, *before]
        if idle:
            self._case, self.engine = case, engine
            engine.podman("run", "--detach", *words, "sleep", "1000")
        else:
            super().__init__(case, engine, "run", "--preserve-fds", "1", *words, "actor", "3",
                             run_under=run_under)

    def kill(self):
        """Kills its process 1 with SIGKILL. When this returns, all its processes have ended.

        It does not use podman kill, which is slow to notice the end of a rootless container.
        """
        pidfd = os.pidfd_open(self.pid_of_process_1())
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        select.select([pidfd], [], [], harness.TIMEOUT)
        os.close(pidfd)

    def inspect(self, what):
        return self.engine.podman("inspect", "--format", what, self.name).stdout.strip()

    def pid_of_process_1(self):
        """Returns the pid of its process 1 on the host."""
        return int(self.inspect("{{.State.Pid}}"))

    def on_host(self, path):
        """Returns the host's path of a path in the container."""
        return f"/proc/{self.pid_of_process_1()}/root{path}"

    def start_again(self):
        self.engine.podman("start", self.name)

    def commit(self):
        """Makes an image of the container and returns its name."""
        self.engine.podman("commit", "--quiet", self.name, self.name)
        return self.name

    def execute(self, *words, check=True):
        """Runs a program in the container. Returns the CompletedProcess."""
        return self.engine.podman("exec", self.name, *words, check=check)

    def start_in_same_container(self, *before):
        """Starts another actor in the same container."""
        return PodmanActor(self._case, self.engine, "exec", "--preserve-fds", "1", self.name,
                           *before, "actor", "3")
