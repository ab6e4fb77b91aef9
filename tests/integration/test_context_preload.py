"""The guard beside another preloaded library, and in every process through /etc/ld.so.preload."""

import errno
import os
import re
import shutil
import subprocess
import sys
import textwrap

import harness
from actor import Actor, SocketCase, needs_root

WRAPPER_LIBRARY = os.path.join(harness.BUILD, "tests", "context", ".libs", "libwrapper.so")


class WrapperLibrary:
    """Another preloaded library wraps the same calls; tests/context/wrapper.c describes it.

    Subclasses set position: whether the loader finds that library's functions before or after the
    guard's.
    """

    def start_actor(self, guard=True, **settings):
        """Starts an actor with both libraries, or without the guard with only the other one.

        settings are the other library's WRAPPER_* variables, without the prefix.
        """
        order = {"before": [WRAPPER_LIBRARY, harness.LIBRARY],
                 "after": [harness.LIBRARY, WRAPPER_LIBRARY]}
        libraries = order[self.position] if guard else [WRAPPER_LIBRARY]
        env = {"WRAPPER_" + name: value for name, value in settings.items()}
        actor = Actor(self, guard=guard, env={"LD_PRELOAD": ":".join(libraries), **env})
        with open(f"/proc/{actor.pid}/maps") as maps:
            self.assertIn(WRAPPER_LIBRARY, maps.read())
        return actor

    def test_both_libraries_wrap_the_same_calls(self):
        owner, rival = self.start_actor(), self.start_actor()
        away = os.path.join(self.dir, "away")
        fd = owner.serve(self.path)
        self.assertRefused(lambda: rival.unlink(self.path), owner, fd)
        self.assertRefused(lambda: rival.remove(self.path), owner, fd)
        self.assertRefused(lambda: rival.rename(self.path, away), owner, fd)
        self.assertEqual(owner.rename(self.path, away), 0)
        self.assertEqual(owner.link(away, self.path), 0)
        self.assertEqual(owner.unlink(away), 0)
        self.assertEqual(owner.unlink(self.path), 0)
        self.assertEqual((self.names(), owner.stderr()), ([], ""))

    def test_wrapper_alone(self):
        owner, rival = self.start_actor(guard=False), self.start_actor(guard=False)
        fd = owner.serve(self.path)
        self.assertStolen(lambda: rival.unlink(self.path), owner, fd)

    def test_wrappers_calls_before_our_constructor(self):
        """The guard judges the calls of another library's constructor like later calls."""
        owner = Actor(self, guard=True)
        fd = owner.serve(self.path)
        rival = self.start_actor(EARLY=self.path)
        self.assertServes(owner, fd)
        self.assertTrue(rival.stderr().endswith(f"wrapper: {errno.EADDRINUSE}\n"), rival.stderr())
        stale = os.path.join(self.dir, "stale")
        self.make_stale(stale)
        starter = self.start_actor(EARLY=stale)
        self.assertEqual(starter.stderr(), "")
        self.assertNotExists(stale)

    def test_wrappers_calls_before_our_constructor_without_the_guard(self):
        owner = Actor(self)
        fd = owner.serve(self.path)
        self.start_actor(guard=False, EARLY=self.path)
        self.assertFalse(self.serves(owner, fd))

    def test_wrapper_makes_calls_on_other_paths(self):
        """The other library's bind and unlink make further calls, on other paths."""
        other = os.path.join(self.dir, "other")
        owner = self.start_actor(BACK=other)
        rival = self.start_actor(BACK=other + "2")
        fd = owner.serve(self.path)
        self.assertRefused(lambda: rival.unlink(self.path), owner, fd)
        self.assertEqual(owner.unlink(self.path), 0)
        self.assertEqual(owner.stderr(), "")
        self.assertEqual([name for name in self.names() if name.startswith("app")], [])
        self.assertIn("other", self.names())  # the other library was called

    def test_wrappers_bind_unlinks_the_same_path_first(self):
        """The results are the same as if the program itself had unlinked the path."""
        self.make_stale()
        owner = self.start_actor(CLEARS="1")
        fd = owner.serve(self.path)
        rival = self.start_actor(CLEARS="1")
        inner = rival.socket("stream")
        self.assertRefused(lambda: rival.bind(inner, self.path), owner, fd)
        self.assertNotIn("busy", rival.stderr() + owner.stderr())
        self.assertEqual(owner.unlink(self.path), 0)


class WrapperBeforeGuard(WrapperLibrary, SocketCase):
    position = "before"


class WrapperAfterGuard(WrapperLibrary, SocketCase):
    position = "after"


# sh -c this sh LIBRARY SCRIPT: runs a bash script in an empty directory, with an overlay over /etc.
# There, /etc/ld.so.preload names the library, unless LIBRARY is empty.
RUN_WITH_PRIVATE_ETC = """
set -e
mkdir layers
mount -t tmpfs none layers
mkdir layers/upper layers/work
mount -t overlay -o lowerdir=/etc,upperdir=layers/upper,workdir=layers/work none /etc
[ -z "$1" ] || echo "$1" >/etc/ld.so.preload
mkdir work
cd work
exec bash -lc "$2"
"""

# Followed by paths: creates stale sockets without lock files there.
CREATE_STALE_SOCKETS = ("SOCKGUARD_DISABLE=1 python3 -c 'import socket, sys; "
                        "[socket.socket(socket.AF_UNIX).bind(path) for path in sys.argv[1:]]' ")


@needs_root
class LdSoPreload(harness.Case):
    """/etc/ld.so.preload, in a private mount namespace, preloads the guard into every program."""

    def setUp(self):
        super().setUp()
        # Every user must be able to read it.
        self.library = shutil.copy(harness.LIBRARY, os.path.join(self.dir, "libsockguard.so"))
        os.chmod(self.library, 0o755)

    def run_script(self, script, guard):
        """Runs a script in an empty directory. Returns its exit status, stdout and stderr."""
        scratch = os.path.join(self.dir, "scratch")
        os.mkdir(scratch)
        done = self.run_program(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", RUN_WITH_PRIVATE_ETC,
             "sh", self.library if guard else "", textwrap.dedent(script)],
            cwd=scratch, stdin=subprocess.DEVNULL,
            env={"LC_ALL": "C", "HOME": scratch, "SOURCE": harness.SOURCE})
        shutil.rmtree(scratch)
        # bash 5.0 prints this by chance, also without the guard.
        stderr = re.sub(r".*: wait_for: No record of process \d+\n", "", done.stderr)
        return done.returncode, done.stdout, stderr

    def assert_same_results(self, script, expect=0):
        """The script has the same results with and without the guard. Returns its output."""
        plain = self.run_script(script, guard=False)
        self.assertEqual(plain[0], expect, plain)
        self.assertEqual(self.run_script(script, guard=True), plain)
        return plain[1]

    def test_library_is_in_every_process(self):
        script = "grep -c libsockguard /proc/self/maps"
        self.assertEqual(self.run_script(script, guard=False)[1], "0\n")
        self.assertRegex(self.run_script(script, guard=True)[1], r"\A[1-9]\d*\n\Z")

    SERVER = """
        cat >server.py <<'END'
        import os, socket, sys, time
        try:
            os.unlink(sys.argv[1])
        except FileNotFoundError:
            pass
        except OSError as error:
            sys.exit(f"refused {error.errno}")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(sys.argv[1])
        listener.listen()
        print("serving", flush=True)
        time.sleep(float(sys.argv[2]))
        END
        python3 server.py s 1000 >first & first=$!
        until [ -s first ]; do sleep 0.05; done
        SOCKGUARD_LOG=none python3 server.py s 0
        echo "status $?"
        kill $first
        wait $first
        python3 server.py s 0
        """

    def test_second_start_is_refused(self):
        status, out, err = self.run_script(self.SERVER, guard=True)
        self.assertEqual((status, out), (0, "status 1\nserving\n"))
        self.assertRegex(err, r"\Arefused 98\n")

    def test_second_start_without_the_guard(self):
        self.assertEqual(self.run_script(self.SERVER, guard=False)[1],
                         "serving\nstatus 0\nserving\n")

    def test_shell(self):
        out = self.assert_same_results(r"""
            set -e
            printf 'b\na\nc\n' | sort | tr a-z A-Z >sorted
            cat sorted - <<END
            here: $(wc -l <sorted)
            END
            exec 3<>both; echo to >&3; exec 3>&-
            cat <(echo one) both
            temporary=$(mktemp -d)
            mkfifo "$temporary/fifo"
            echo through >"$temporary/fifo" & cat "$temporary/fifo"; wait
            """ + CREATE_STALE_SOCKETS + """ "$temporary/s" plain
            mv plain moved; ln moved hard; rm hard; mv -f sorted moved; cat moved
            rm -r "$temporary"
            [ ! -e "$temporary" ] && ls
            (exit 3) || echo $?
            trap 'echo trapped' EXIT
            ls /nowhere 2>&1 || rm nothing-there || rmdir / || true
            """)
        self.assertIn("through", out)
        self.assertIn("trapped", out)

    def test_packages(self):
        self.assert_same_results("""
            set -e
            apt-get -s install bash | sed -n 1,4p
            apt-cache policy bash | sed -n 1,3p
            mkdir -p tiny/DEBIAN tiny/opt/tiny root/var/lib/dpkg/{info,updates}
            touch root/var/lib/dpkg/status
            echo content >tiny/opt/tiny/file
            printf '%s\\n' 'Package: tiny' 'Version: 1' 'Architecture: all' \
                'Maintainer: nobody <nobody@localhost>' 'Description: tiny' >tiny/DEBIAN/control
            dpkg-deb --build --root-owner-group tiny tiny.deb
            dpkg-deb --contents tiny.deb | cut -c1-20
            for how in --unpack --configure --install; do
                what=tiny.deb; [ $how != --configure ] || what=tiny
                dpkg --root="$PWD/root" --log=/dev/null $how $what
            done
            dpkg --root="$PWD/root" --log=/dev/null --purge tiny
            find root | sort
            """)

    def test_make_and_gcc(self):
        self.assert_same_results("""
            set -e
            printf 'actor: actor.o\\n\\tgcc -o $@ $<\\nactor.o: %s\\n\\tgcc -O -c -o $@ $<\\n' \
                "$SOURCE/tests/actor.c" >Makefile
            make -s; ./actor </dev/null || echo $?
            make; rm actor.o; make -n actor >/dev/null; ls
            """)

    def test_git(self):
        out = self.assert_same_results("""
            set -e
            export GIT_AUTHOR_DATE='2020-01-01T00:00:00Z' GIT_COMMITTER_DATE='2020-01-01T00:00:00Z'
            export GIT_CONFIG_NOSYSTEM=1
            git config --global user.name nobody
            git config --global user.email nobody@localhost
            git -c init.defaultBranch=main init -q one
            for i in 1 2 3; do
                echo $i >one/file; git -C one add file; git -C one commit -qm $i
            done
            git clone -q one two
            git -C two log --format='%H %s'
            git -C two mv file moved; git -C two commit -qm moved; git -C two push -q origin HEAD:x
            git -C one gc -q; git -C one fsck --strict; git -C one branch
            """)
        self.assertIn(" 3\n", out)

    def test_python(self):
        out = self.assert_same_results("""
            cat >many.py <<'END'
            import asyncio, multiprocessing, os, socket, subprocess, tempfile
            async def talk():
                async def answer(reader, writer):
                    writer.write(await reader.readline())
                    writer.close()
                server = await asyncio.start_unix_server(answer, "s")
                reader, writer = await asyncio.open_unix_connection("s")
                writer.write(b"echo\\n")
                print(await reader.readline())
                writer.close()
                server.close()
                await server.wait_closed()
            if __name__ == "__main__":
                asyncio.run(talk())
                if os.path.exists("s"):  # until Python 3.13, whose asyncio removes it
                    os.unlink("s")
                with multiprocessing.Manager() as manager:
                    shared = manager.list([1])
                    process = multiprocessing.Process(target=shared.append, args=[2])
                    process.start()
                    process.join()
                    print(list(shared))
                with tempfile.TemporaryDirectory() as directory:
                    socket.socket(socket.AF_UNIX).bind(directory + "/s")
                print(subprocess.run(["ls"], capture_output=True).stdout)
            END
            python3 many.py
            """)
        self.assertIn("[1, 2]", out)

    def test_other_users(self):
        """The loader also preloads the libraries in that file into set-user-ID programs."""
        out = self.assert_same_results("""
            chmod 755 .. .
            su nobody -s /bin/sh -c 'id -un; grep -c "^root:" /etc/passwd'
            sudo -n -u nobody sh -c 'id -un'
            sudo -n -u nobody sudo -n true
            echo $?
            su nobody -s /bin/sh -c 'su root -c true' </dev/null
            echo $?
            """)
        self.assertTrue(out.startswith("nobody\n1\nnobody\n1\n"), out)

    def test_ssh_agent(self):
        self.assert_same_results("""
            eval "$(ssh-agent -a "$PWD/agent")" >/dev/null
            ssh-keygen -q -t ed25519 -N '' -f key -C key
            ssh-add -q key; ssh-add -l | cut -d' ' -f1,3-
            ssh-agent -a "$PWD/agent"; echo $?
            ssh-agent -k | sed 's/[0-9]//g'
            until [ ! -e agent ]; do sleep 0.05; done
            ls
            """)

    def test_archives(self):
        """tar, rsync, cp, mv, find and rm on directory trees that contain stale sockets."""
        self.assert_same_results("""
            mkdir tree tree/sub; echo content >tree/file; mkfifo tree/fifo
            """ + CREATE_STALE_SOCKETS + """ tree/s tree/sub/t
            tar -cf tree.tar tree; echo $?
            mkdir out; tar -xf tree.tar -C out; find out | sort
            rsync -a tree/ copy; rsync -a tree/ copy; rm tree/s; rsync -a --delete tree/ copy
            cp -a tree again; mv again moved; find copy moved | sort
            find moved -type s -delete; rm -r tree moved copy; ls
            """)

    def test_tmpfiles(self):
        self.assert_same_results("""
            mkdir old; """ + CREATE_STALE_SOCKETS + """ stale
            printf '%s\\n' "d $PWD/made 0755 - - 0" "p $PWD/fifo 0600" \
                "f $PWD/file 0644 - - - text" "r $PWD/stale" "R $PWD/old" \
                "L $PWD/link - - - - file" >x.conf
            systemd-tmpfiles --create --remove "$PWD/x.conf"; echo $?
            ls -p; cat link
            """ + CREATE_STALE_SOCKETS + """ made/s
            systemd-tmpfiles --clean "$PWD/x.conf"; ls made
            """)


if __name__ == "__main__":
    sys.exit(harness.main())
