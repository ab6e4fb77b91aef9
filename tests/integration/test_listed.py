"""Programs that list a directory of sockets print the same with the guard and without.

Such programs use every entry of the directory. The names of lock files begin with a dot, so that
they are not listed. Some tests create a lock file without a dot, to show that it would be listed.
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
# Starts systemd-userdbd with a private /run, with $0 preloaded if it is not empty. Prints the names
# in the directory, the listing, and the listing with a lock file whose name begins with no dot. Once
# systemd-userdbd listens, all its sockets are there.
USERDB = '''
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/systemd/userdb
env ${0:+LD_PRELOAD="$0"} ''' + USERDBD + ''' &
until userdbctl services | grep -q 'Multiplexer *yes'; do sleep 0.01; done
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
LISTENING = 0x10000  # __SO_ACCEPTCON in the flags of /proc/net/unix


def needs(*programs):
    """Skips a test if a program is not installed."""
    missing = [name for name in programs if not shutil.which(name)]
    return unittest.skipIf(missing, f"{', '.join(missing)}: not installed")


def lock_files(directory):
    return [name for name in os.listdir(directory) if name.endswith(".sockguard")]


class ListingCase(harness.Case):
    """self.directory is the directory of the sockets."""

    def setUp(self):
        super().setUp()
        self.directory = self.make_new_directory()

    def make_new_directory(self):
        """Replaces the directory of the sockets by an empty one and returns its path."""
        directory = os.path.join(self.dir, "sockets")
        shutil.rmtree(directory, ignore_errors=True)
        os.mkdir(directory, 0o700)
        return directory

    def assert_same_listing(self, start_server, listing):
        """Calls listing() beside an unguarded and beside a guarded server. The results must agree.

        start_server(guard) starts a server and returns a function that stops it. Numbers, such as
        pids, are replaced by N. Returns the listing.
        """
        listings = []
        for guard in False, True:
            self.directory = self.make_new_directory()
            stop = start_server(guard)
            self.assertEqual(bool(lock_files(self.directory)), guard)
            listings.append(re.sub(r"\d+", "N", listing()))
            stop()
        self.assertEqual(listings[0], listings[1])
        return listings[0]

    def actor_server(self, name):
        """Returns a start_server function, which binds a socket with this name in the directory."""
        def start_server(guard):
            owner = actor.Actor(self, guard=guard)
            fd = owner.socket("stream")
            self.assertEqual(owner.bind(fd, os.path.join(self.directory, name)), 0)
            self.assertEqual(owner.listen(fd), 0)
            return owner.kill
        return start_server

    def run_and_describe(self, *argv, **popen):
        """Runs an unguarded program. Returns its output and exit status as a text."""
        done = self.run_program(argv, stdin=subprocess.DEVNULL, **popen)
        return f"{done.stdout}{done.stderr}status {done.returncode}"


class ShellPatterns(ListingCase):
    def run_shell(self, script):
        return self.run_and_describe("sh", "-c", script, cwd=self.directory)

    def test_pattern_matches_only_the_socket(self):
        """patterns such as /tmp/.X11-unix/X* and /run/user/N/wayland-* match only the socket"""
        for pattern, name in ("X*", "X77"), ("wayland-*", "wayland-7"), ("*", "S-one"):
            with self.subTest(pattern):
                script = f"for name in {pattern}; do echo $name; done; ls -t | head -n 1"
                listing = self.assert_same_listing(self.actor_server(name),
                                                   lambda: self.run_shell(script))
                self.assertEqual(listing, re.sub(r"\d+", "N", f"{name}\n{name}\nstatus 0"))

    def test_pattern_matches_a_lock_file_without_a_dot(self):
        """a pattern for displays would match a lock file without a leading dot"""
        stop = self.actor_server("X77")(False)
        open(os.path.join(self.directory, "X77.sockguard"), "x", encoding="ascii").close()
        self.assertIn("X77.sockguard", self.run_shell("ls X*"))
        stop()

    def test_ls_shows_only_the_socket(self):
        """ls in a directory of plugins' sockets"""
        self.assert_same_listing(self.actor_server("plugin.sock"), lambda: self.run_shell("ls"))

    def test_removal_by_pattern(self):
        """guarded rm -f DIRECTORY/* and rmdir remove the directory, after kill -9 too"""
        for guard in False, True:
            with self.subTest(guard=guard):
                self.directory = self.make_new_directory()
                self.actor_server("S-one")(guard)()
                self.assertEqual(bool(lock_files(self.directory)), guard)
                ended = self.run_program(["sh", "-c", "rm -f sockets/* && rmdir sockets"],
                                         guard=guard, cwd=self.dir)
                self.assertEqual((ended.returncode, ended.stderr), (0, ""))


class Multiplexers(ListingCase):
    """Programs that list terminal sessions, which are sockets in a directory."""

    def session_server(self, *argv, **env):
        """Returns a start_server function, which starts a session. In argv and env, {directory}
        stands for the directory of the sockets."""
        def filled(text):
            return text.format(directory=self.directory)

        def start_server(guard):
            variables = {"TERM": "linux", **{name: filled(text) for name, text in env.items()}}
            started = self.run_program(list(map(filled, argv)), guard=guard, env=variables)
            self.assertEqual(started.returncode, 0)
            harness.wait_until(self.session_listens, "the session")
            return lambda: self.end_session(argv[0])
        return start_server

    def session_sockets(self):
        names = [os.path.join(self.directory, name) for name in os.listdir(self.directory)]
        return [name for name in names if not name.endswith(".sockguard")]

    def session_listens(self):
        """Before a session listens, screen lists it as dead."""
        with open("/proc/net/unix", encoding="utf-8", errors="replace") as table:
            sockets = [line.split(maxsplit=7) for line in table if self.directory + "/" in line]
        return self.session_sockets() and \
            any(int(flags, 16) & LISTENING for _, _, _, flags, *_ in sockets)

    def end_session(self, program):
        if program == "screen":
            self.run_program(["screen", "-X", "quit"], env={"SCREENDIR": self.directory})
        elif program == "tmux":
            self.run_program(["tmux", "-S", self.directory + "/default", "kill-server"])
        harness.wait_until(lambda: program == "tmux" or not self.session_sockets(),
                           "the end of the session")

    @needs("screen")
    def test_screen_ls(self):
        """screen -ls, -wipe"""
        start_server = self.session_server("screen", "-dmS", "one", "sleep", "1000",
                                           SCREENDIR="{directory}")

        def list_sessions():
            listings = [self.run_and_describe("screen", option, env={"SCREENDIR": self.directory})
                        for option in ("-ls", "-wipe", "-ls")]
            return "\n".join(listings).replace("AM", "").replace("PM", "")
        listing = self.assert_same_listing(start_server, list_sessions)
        self.assertEqual(listing.count(".one\t"), 3, listing)
        self.assertEqual(listing.count("N Socket in"), 3, listing)

    @needs("tmux")
    def test_tmux_ls(self):
        """tmux ls"""
        start_server = self.session_server("tmux", "-S", "{directory}/default", "-f", "/dev/null",
                                           "new-session", "-d", "-s", "one", "sleep 1000")
        listing = self.assert_same_listing(
            start_server, lambda: re.sub(r"\(created .*?\)", "", self.run_and_describe(
                "tmux", "-S", self.directory + "/default", "ls")))
        self.assertRegex(listing, r"\Aone: N windows")


class UserDatabase(ListingCase):
    """/run/systemd/userdb: each entry is a service, which every user lookup queries."""

    def run_userdb(self, guard):
        """Returns the three parts of the output of USERDB."""
        ended = self.run_program(["unshare", "--mount", "sh", "-c", USERDB,
                                  harness.LIBRARY if guard else ""])
        self.assertEqual(ended.returncode, 0, ended.stderr)
        return ended.stdout.split("--\n")

    @actor.needs_root
    @needs("userdbctl", "unshare")
    def test_userdbctl_services(self):
        """userdbctl and getent; they would use a lock file without a leading dot as a service"""
        names, listing, with_visible_lock_file = self.run_userdb(False)
        self.assertNotIn("sockguard", names + listing)
        self.assertIn("getent: 2", listing)
        self.assertIn("io.systemd.Multiplexer.sockguard", with_visible_lock_file)
        guarded_names, guarded_listing, _ = self.run_userdb(True)
        self.assertIn("io.systemd.Multiplexer.sockguard", guarded_names)
        self.assertEqual(guarded_listing, listing)


class Postgresql(ListingCase):
    """pg_lsclusters looks for the socket of each cluster in /etc/postgresql."""

    VERSIONS = "/usr/lib/postgresql"

    def create_cluster(self, version):
        """Creates a cluster. Returns its data directory and its configuration directory."""
        data, conf = os.path.join(self.dir, "data"), os.path.join(self.dir, "etc", version, "test")
        os.makedirs(conf)
        os.mkdir(data, 0o700)
        shutil.chown(data, "postgres", "postgres")
        made = self.run_program([f"{self.VERSIONS}/{version}/bin/initdb", "--auth=trust",
                                 "--no-sync", data], user="postgres", cwd="/")
        self.assertEqual(made.returncode, 0, made.stderr)
        with open(os.path.join(conf, "postgresql.conf"), "w", encoding="ascii") as file:
            file.write(f"data_directory = '{data}'\nunix_socket_directories = '{self.directory}'\n"
                       "listen_addresses = ''\nport = 5466\n"
                       f"hba_file = '{data}/pg_hba.conf'\nident_file = '{data}/pg_ident.conf'\n")
        return data, conf

    @actor.needs_root
    @needs("pg_lsclusters")
    def test_pg_lsclusters(self):
        """pg_lsclusters, beside .s.PGSQL.N and .s.PGSQL.N.lock"""
        version = max(os.listdir(self.VERSIONS), key=int)
        data, conf = self.create_cluster(version)
        env = {"PG_CLUSTER_CONF_ROOT": os.path.join(self.dir, "etc")}

        def list_databases():
            return self.run_and_describe("psql", "--host", self.directory, "--port", "5466",
                                         "--user", "postgres", "--list")

        def start_server(guard):
            shutil.chown(self.directory, "postgres", "postgres")
            started = self.start([f"{self.VERSIONS}/{version}/bin/postgres", "-D", conf],
                                 guard=guard, user="postgres", cwd="/", stderr=subprocess.DEVNULL)
            harness.wait_until(lambda: list_databases().endswith("status 0"), "postgres")

            def stop():
                started.send_signal(signal.SIGINT)
                started.wait(harness.TIMEOUT)
                self.assertEqual(os.listdir(self.directory), [])
            return stop
        listing = self.assert_same_listing(
            start_server, lambda: self.run_and_describe("pg_lsclusters", env=env) + list_databases())
        self.assertRegex(listing, r"test +N +online +postgres")


if __name__ == "__main__":
    sys.exit(harness.main())
