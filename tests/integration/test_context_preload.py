"""Other libraries preloaded beside ours, and ours in every process by /etc/ld.so.preload."""

import errno
import os
import shutil
import subprocess
import sys
import textwrap

import harness
from actor import Actor, SocketCase, needs_root

NEIGHBOUR = os.path.join(harness.BUILD, "tests", "context", ".libs", "libwrapper.so")


class Neighbours:
    """place: where the other library is, seen from the guard."""

    def neighbour(self, guard=True, **settings):
        order = {"front": [NEIGHBOUR, harness.LIBRARY], "behind": [harness.LIBRARY, NEIGHBOUR]}
        libraries = order[self.place] if guard else [NEIGHBOUR]
        env = {"NEIGHBOUR_" + name: value for name, value in settings.items()}
        actor = Actor(self, guard=guard, env={"LD_PRELOAD": ":".join(libraries), **env})
        with open(f"/proc/{actor.pid}/maps") as maps:
            self.assertIn(NEIGHBOUR, maps.read())
        return actor

    def test_wraps(self):
        owner, rival = self.neighbour(), self.neighbour()
        away = os.path.join(self.dir, "away")
        fd = owner.serve(self.path)
        self.assertRefused(lambda: rival.unlink(self.path), owner, fd)
        self.assertRefused(lambda: rival.remove(self.path), owner, fd)
        self.assertRefused(lambda: rival.rename(self.path, away), owner, fd)
        self.assertEqual(owner.rename(self.path, away), 0)
        self.assertEqual(owner.link(away, self.path), 0)
        self.assertEqual(owner.unlink(away), 0)
        self.assertEqual(owner.unlink(self.path), 0)
        self.assertEqual((self.names(), owner.said()), ([], ""))

    def test_wraps_without_the_guard(self):
        owner, rival = self.neighbour(guard=False), self.neighbour(guard=False)
        fd = owner.serve(self.path)
        self.assertStolen(lambda: rival.unlink(self.path), owner, fd)

    def test_calls_before_our_constructor(self):
        """Refused as later, and allowed as later."""
        owner = Actor(self, guard=True)
        fd = owner.serve(self.path)
        rival = self.neighbour(EARLY=self.path)
        self.assertServes(owner, fd)
        self.assertTrue(rival.said().endswith(f"neighbour: {errno.EADDRINUSE}\n"), rival.said())
        stale = os.path.join(self.dir, "stale")
        self.stale(stale)
        late = self.neighbour(EARLY=stale)
        self.assertEqual(late.said(), "")
        self.assertGone(stale)

    def test_calls_before_our_constructor_without_the_guard(self):
        owner = Actor(self)
        fd = owner.serve(self.path)
        self.neighbour(guard=False, EARLY=self.path)
        self.assertFalse(self.answers(owner, fd))

    def test_calls_back(self):
        """From within its bind and unlink, of other names."""
        back = os.path.join(self.dir, "back")
        owner = self.neighbour(BACK=back)
        rival = self.neighbour(BACK=back + "2")
        fd = owner.serve(self.path)
        self.assertRefused(lambda: rival.unlink(self.path), owner, fd)
        self.assertEqual(owner.unlink(self.path), 0)
        self.assertEqual(owner.said(), "")
        self.assertEqual([name for name in self.names() if name.startswith("app")], [])
        self.assertIn("back", self.names())  # it was called

    def test_clears_the_path_to_be_bound(self):
        """From within its bind, of the very name: as if the program itself had unlinked it."""
        self.stale()
        owner = self.neighbour(CLEARS="1")
        fd = owner.serve(self.path)
        rival = self.neighbour(CLEARS="1")
        inner = rival.socket("stream")
        self.assertRefused(lambda: rival.bind(inner, self.path), owner, fd)
        self.assertNotIn("busy", rival.said() + owner.said())
        self.assertEqual(owner.unlink(self.path), 0)


class Front(Neighbours, SocketCase):
    place = "front"


class Behind(Neighbours, SocketCase):
    place = "behind"


# Sees an /etc of its own, on a layer above the machine's, and runs a script there.
ETC = """
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

# Sockets that nobody guarded left behind: no lock files beside them.
STALE = ("SOCKGUARD_DISABLE=1 python3 -c 'import socket, sys; "
         "[socket.socket(socket.AF_UNIX).bind(path) for path in sys.argv[1:]]' ")


@needs_root
class Everywhere(harness.Case):
    """By /etc/ld.so.preload, in a mount namespace of its own."""

    def setUp(self):
        super().setUp()
        # Where every user may read it.
        self.library = shutil.copy(harness.LIBRARY, os.path.join(self.dir, "libsockguard.so"))
        os.chmod(self.library, 0o755)

    def inside(self, script, guard):
        """What a shell says of a script: always in the same fresh directory."""
        stage = os.path.join(self.dir, "stage")
        os.mkdir(stage)
        done = self.run_program(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", ETC, "sh",
             self.library if guard else "", textwrap.dedent(script)],
            cwd=stage, stdin=subprocess.DEVNULL,
            env={"LC_ALL": "C", "HOME": stage, "SOURCE": harness.SOURCE})
        shutil.rmtree(stage)
        return done.returncode, done.stdout, done.stderr

    def compare(self, script, expect=0):
        """Nothing tells the two apart; returns what was printed."""
        plain = self.inside(script, guard=False)
        self.assertEqual(plain[0], expect, plain)
        self.assertEqual(self.inside(script, guard=True), plain)
        return plain[1]

    def test_library_is_there(self):
        script = "grep -c libsockguard /proc/self/maps"
        self.assertEqual(self.inside(script, guard=False)[1], "0\n")
        self.assertNotEqual(self.inside(script, guard=True)[1], "0\n")

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
        python3 server.py s 60 >first & first=$!
        until [ -s first ]; do sleep 0.05; done
        SOCKGUARD_LOG=none python3 server.py s 0
        echo "status $?"
        kill $first
        wait $first
        python3 server.py s 0
        """

    def test_second_start_is_refused(self):
        status, out, err = self.inside(self.SERVER, guard=True)
        self.assertEqual((status, out), (0, "status 1\nserving\n"))
        self.assertRegex(err, r"\Arefused 98\n")

    def test_second_start_without_the_guard(self):
        self.assertEqual(self.inside(self.SERVER, guard=False)[1],
                         "serving\nstatus 0\nserving\n")

    def test_shell(self):
        out = self.compare(r"""
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
            """ + STALE + """ "$temporary/s" plain
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
        self.compare("""
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

    def test_build(self):
        self.compare("""
            set -e
            printf 'actor: actor.o\\n\\tgcc -o $@ $<\\nactor.o: %s\\n\\tgcc -O -c -o $@ $<\\n' \
                "$SOURCE/tests/actor.c" >Makefile
            make -s; ./actor </dev/null || echo $?
            make; rm actor.o; make -n actor >/dev/null; ls
            """)

    def test_git(self):
        out = self.compare("""
            set -e
            export GIT_AUTHOR_DATE='2020-01-01T00:00:00Z' GIT_COMMITTER_DATE='2020-01-01T00:00:00Z'
            export GIT_CONFIG_NOSYSTEM=1
            git config --global user.name nobody
            git config --global user.email nobody@localhost
            git init -q -b main one
            for i in 1 2 3; do echo $i >one/file; git -C one add file; git -C one commit -qm $i; done
            git clone -q one two
            git -C two log --format='%H %s'
            git -C two mv file moved; git -C two commit -qm moved; git -C two push -q origin HEAD:x
            git -C one gc -q; git -C one fsck --strict; git -C one branch
            """)
        self.assertIn(" 3\n", out)

    def test_python(self):
        out = self.compare("""
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
        """Set-id programs: a library named there is loaded into them as well."""
        out = self.compare("""
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
        self.compare("""
            eval "$(ssh-agent -a "$PWD/agent")" >/dev/null
            ssh-keygen -q -t ed25519 -N '' -f key -C key
            ssh-add -q key; ssh-add -l | cut -d' ' -f1,3-
            ssh-agent -a "$PWD/agent"; echo $?
            ssh-agent -k | sed 's/[0-9]//g'
            until [ ! -e agent ]; do sleep 0.05; done
            ls
            """)

    def test_archives(self):
        """Trees with sockets in them."""
        self.compare("""
            mkdir tree tree/sub; echo content >tree/file; mkfifo tree/fifo
            """ + STALE + """ tree/s tree/sub/t
            tar -cf tree.tar tree; echo $?
            mkdir out; tar -xf tree.tar -C out; find out | sort
            rsync -a tree/ copy; rsync -a tree/ copy; rm tree/s; rsync -a --delete tree/ copy
            cp -a tree again; mv again moved; find copy moved | sort
            find moved -type s -delete; rm -r tree moved copy; ls
            """)

    def test_tmpfiles(self):
        self.compare("""
            mkdir old; """ + STALE + """ stale
            printf '%s\\n' "d $PWD/made 0755 - - 0" "p $PWD/fifo 0600" "f $PWD/file 0644 - - - text" \
                "r $PWD/stale" "R $PWD/old" "L $PWD/link - - - - file" >x.conf
            systemd-tmpfiles --create --remove "$PWD/x.conf"; echo $?
            ls -p; cat link
            """ + STALE + """ made/s
            systemd-tmpfiles --clean "$PWD/x.conf"; ls made
            """)


if __name__ == "__main__":
    sys.exit(harness.main())
