"""Directories whose entries mean something: what lists them shows the same with the guard.

Each listing is made by the program that people use for it, in a directory where a guarded server has
its socket, and where it has one without the guard. What a lock file that is not hidden would do
there is shown beside it, by a file that is made by hand.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import unittest

import actor
import harness

USERDBD = "/lib/systemd/systemd-userdbd"
# As its unit starts it, on a /run of its own. The listings are looked at by whoever runs the test.
USERDB = '''
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/systemd/userdb
env ${0:+LD_PRELOAD="$0"} ''' + USERDBD + ''' &
until [ -S /run/systemd/userdb/io.systemd.Multiplexer ]; do sleep 0.01; done
ls -A /run/systemd/userdb
echo --
userdbctl services
getent -s systemd passwd nobody-of-that-name
echo "getent: $?"
touch /run/systemd/userdb/io.systemd.Multiplexer.sockguard
echo --
userdbctl services
kill $!
wait
'''


def needs(*programs):
    """Skips a test where a program is not installed."""
    missing = [name for name in programs if not shutil.which(name)]
    return unittest.skipIf(missing, f"{', '.join(missing)}: not installed")


def lock_files(directory):
    return [name for name in os.listdir(directory) if name.endswith(".sockguard")]


class Listed(harness.Case):
    def setUp(self):
        super().setUp()
        self.place = self.new_place()

    def new_place(self):
        """An empty directory, to which the names in a listing are made relative."""
        place = os.path.join(self.dir, "place")
        shutil.rmtree(place, ignore_errors=True)
        os.mkdir(place, 0o700)
        return place

    def same_with_and_without(self, server, listing):
        """Starts the server in a new place twice, and compares the listings, without numbers."""
        seen = []
        for guard in False, True:
            self.place = self.new_place()
            stop = server(guard)
            self.assertEqual(bool(lock_files(self.place)), guard)
            seen.append(re.sub(r"\d+", "N", listing()))
            stop()
        self.assertEqual(seen[0], seen[1])
        return seen[0]

    def owner(self, name):
        """A server of ours, at a name of the place; its starter stops it."""
        def server(guard):
            owner = actor.Actor(self, guard=guard)
            fd = owner.socket("stream")
            self.assertEqual(owner.bind(fd, os.path.join(self.place, name)), 0)
            self.assertEqual(owner.listen(fd), 0)
            return owner.kill
        return server

    def told(self, *argv, **popen):
        """What a program prints, unguarded, and its exit status."""
        done = self.run_program(argv, stdin=subprocess.DEVNULL, **popen)
        return f"{done.stdout}{done.stderr}status {done.returncode}"


class Shell(Listed):
    def shell(self, script):
        return self.told("sh", "-c", script, cwd=self.place)

    def test_pattern(self):
        """/tmp/.X11-unix/X*, /run/user/N/wayland-*: the socket alone, as scripts find displays"""
        for pattern, name in ("X*", "X77"), ("wayland-*", "wayland-7"), ("*", "S-one"):
            with self.subTest(pattern):
                script = f"for name in {pattern}; do echo $name; done; ls -t | head -n 1"
                told = self.same_with_and_without(self.owner(name), lambda: self.shell(script))
                self.assertEqual(told, re.sub(r"\d+", "N", f"{name}\n{name}\nstatus 0"))

    def test_pattern_of_file_not_hidden(self):
        """a lock file that is not hidden is found by such a pattern, as a display"""
        owner = self.owner("X77")(False)
        open(os.path.join(self.place, "X77.sockguard"), "x", encoding="ascii").close()
        self.assertIn("X77.sockguard", self.shell("ls X*"))
        owner()

    def test_directory(self):
        """ls of a directory of plugins: sockets alone"""
        self.same_with_and_without(self.owner("plugin.sock"), lambda: self.shell("ls"))

    def test_removal_by_pattern(self):
        """rm -f DIRECTORY/* and rmdir, of guarded programs, after kill -9: nothing is left"""
        for guard in False, True:
            with self.subTest(guard=guard):
                self.place = self.new_place()
                self.owner("S-one")(guard)()
                self.assertEqual(bool(lock_files(self.place)), guard)
                ended = self.run_program(["sh", "-c", "rm -f place/* && rmdir place"], guard=guard,
                                         cwd=self.dir)
                self.assertEqual((ended.returncode, ended.stderr), (0, ""))


class Multiplexers(Listed):
    """What lists terminal sessions, which are sockets in a directory."""

    def session(self, *start, **env):
        def server(guard):
            self.assertEqual(self.run_program(start_of(start, self.place), guard=guard,
                                              env=env_of(env, self.place)).returncode, 0)
            harness.wait_until(lambda: self.sockets(), "the session")
            return lambda: self.end_of_session(start[0], env)

        def start_of(words, place):
            return [word.format(place=place) for word in words]

        def env_of(env, place):
            return {"TERM": "linux", **{name: text.format(place=place) for name, text in env.items()}}
        return server

    def sockets(self):
        names = [os.path.join(self.place, name) for name in os.listdir(self.place)]
        return [name for name in names if not name.endswith(".sockguard")]

    def end_of_session(self, program, env):
        if program == "screen":
            self.run_program(["screen", "-X", "quit"], env={"SCREENDIR": self.place})
        elif program == "tmux":
            self.run_program(["tmux", "-S", self.place + "/default", "kill-server"])
        harness.wait_until(lambda: program == "tmux" or not self.sockets(), "the end of the session")

    @needs("screen")
    def test_screen(self):
        """screen -ls, -wipe"""
        server = self.session("screen", "-dmS", "one", "sleep", "1000", SCREENDIR="{place}")

        def listing():
            told = [self.told("screen", option, env={"SCREENDIR": self.place})
                    for option in ("-ls", "-wipe", "-ls")]
            return "\n".join(told).replace("AM", "").replace("PM", "")
        told = self.same_with_and_without(server, listing)
        self.assertEqual(told.count(".one\t"), 3, told)
        self.assertEqual(told.count("N Socket in"), 3, told)

    @needs("tmux")
    def test_tmux(self):
        """tmux ls"""
        server = self.session("tmux", "-S", "{place}/default", "-f", "/dev/null", "new-session", "-d",
                              "-s", "one", "sleep 1000")
        told = self.same_with_and_without(
            server, lambda: re.sub(r"\(created .*?\)", "", self.told(
                "tmux", "-S", self.place + "/default", "ls")))
        self.assertRegex(told, r"\Aone: N windows")


class UserDatabase(Listed):
    """/run/systemd/userdb: each entry is a service that every look-up of a user asks."""

    def userdb(self, guard):
        """The names there, what is told, and what is told with a lock file that is not hidden."""
        ended = self.run_program(["unshare", "--mount", "sh", "-c", USERDB,
                                  harness.LIBRARY if guard else ""])
        self.assertEqual(ended.returncode, 0, ended.stderr)
        return ended.stdout.split("--\n")

    @actor.needs_root
    @needs("userdbctl", "unshare")
    def test_services(self):
        """userdbctl services, getent: the same; a file that is not hidden is taken for a service"""
        names, told, visible = self.userdb(False)
        self.assertNotIn("sockguard", names + told)
        self.assertIn("getent: 2", told)
        self.assertIn("io.systemd.Multiplexer.sockguard", visible)
        guarded_names, guarded_told, _ = self.userdb(True)
        self.assertIn("io.systemd.Multiplexer.sockguard", guarded_names)
        self.assertEqual(guarded_told, told)


class Postgresql(Listed):
    """pg_lsclusters asks for what /etc/postgresql names, in the socket directory of each."""

    VERSIONS = "/usr/lib/postgresql"

    def cluster(self, version):
        """Makes a cluster of its own, of which pg_lsclusters knows by this environment."""
        data, conf = os.path.join(self.dir, "data"), os.path.join(self.dir, "etc", version, "test")
        os.makedirs(conf)
        os.mkdir(data, 0o700)
        shutil.chown(data, "postgres", "postgres")
        made = self.run_program([f"{self.VERSIONS}/{version}/bin/initdb", "--auth=trust", "--no-sync",
                                 data], user="postgres", cwd="/")
        self.assertEqual(made.returncode, 0, made.stderr)
        with open(os.path.join(conf, "postgresql.conf"), "w", encoding="ascii") as file:
            file.write(f"data_directory = '{data}'\nunix_socket_directories = '{self.place}'\n"
                       "listen_addresses = ''\nport = 5466\n"
                       f"hba_file = '{data}/pg_hba.conf'\nident_file = '{data}/pg_ident.conf'\n")
        return data, conf

    @actor.needs_root
    @needs("pg_lsclusters")
    def test_clusters(self):
        """pg_lsclusters, beside .s.PGSQL.N and .s.PGSQL.N.lock"""
        version = max(os.listdir(self.VERSIONS), key=int)
        data, conf = self.cluster(version)
        env = {"PG_CLUSTER_CONF_ROOT": os.path.join(self.dir, "etc")}

        def server(guard):
            shutil.chown(self.place, "postgres", "postgres")
            started = self.start([f"{self.VERSIONS}/{version}/bin/postgres", "-D", conf], guard=guard,
                                 user="postgres", cwd="/", stderr=subprocess.DEVNULL)
            harness.wait_until(lambda: "online" in self.told("pg_lsclusters", env=env), "postgres")

            def stop():
                started.send_signal(signal.SIGINT)
                started.wait(harness.PATIENCE)
                self.assertEqual(os.listdir(self.place), [])
            return stop
        told = self.same_with_and_without(
            server, lambda: self.told("pg_lsclusters", env=env) +
            self.told("psql", "--host", self.place, "--port", "5466", "--list", "--user", "postgres"))
        self.assertRegex(told, r"test +N +online +postgres")


if __name__ == "__main__":
    sys.exit(harness.main())
