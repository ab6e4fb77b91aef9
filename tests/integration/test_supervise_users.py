"""sockguard run --by syscalls: callers in user namespaces, such as those that bwrap creates."""

import errno
import os
import shutil
import socket
import struct
import sys
import unittest

import actor
import harness
from actor import OTHER_USER, STRANGER, needs_root

harness.GUARDED_BY = "syscalls"
SUBORDINATE_IDS = 170000  # where a user's range of subordinate IDs begins, as in /etc/subuid
NOT_GUARDED = 'sockguard: actor[%d]: unlink("%s") is not guarded: ' \
    "the supervisor has no permission to act for the process\n"

# Each command executes its arguments in new namespaces.
AS_NAMESPACE_ROOT = ("unshare", "--user", "--map-root-user")
NAMESPACE_COMMANDS = (
    AS_NAMESPACE_ROOT,
    # Two nested user namespaces. The outer one owns the mount and network namespaces; the inner one
    # maps no IDs.
    (*AS_NAMESPACE_ROOT, "--mount", "--net", "unshare", "--user"),
    ("bwrap", "--bind", "/", "/", "--unshare-user", "--uid", "7", "--gid", "8",
     "--die-with-parent"),
    # Two nested user namespaces, and a PID namespace, so that /proc does not show the supervisor.
    ("bwrap", "--bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--unshare-all",
     "--die-with-parent"),
)


@needs_root
@unittest.skipUnless(shutil.which("bwrap"), "bwrap: not installed")
class UserNamespaces:
    """Owner, rival or both are in a user namespace. Their supervisors run as root or as a user."""

    def setUp(self):
        super().setUp()
        self.supervisor_is_root = self.starter == "root"
        self.uid = 0 if self.supervisor_is_root else STRANGER
        self.credentials = {} if self.supervisor_is_root else {
            "user": STRANGER, "group": STRANGER, "extra_groups": [OTHER_USER]}
        os.chmod(self.dir, 0o777)

    def start_outside(self):
        return actor.Actor(self, guard=self.guard, **self.credentials)

    def start_inside(self, command):
        return actor.Actor(self, guard=self.guard, through=command, **self.credentials)

    def each_namespace_command(self):
        """Yields each command line and command, after setting self.path to a path for it."""
        for number, command in enumerate(NAMESPACE_COMMANDS):
            self.path = os.path.join(self.dir, f"{number}.sock")
            yield " ".join(command), command

    def start_with_id_range(self):
        """Starts an actor in a user namespace with a range of IDs, as in a rootless container, and
        changes its user and group to 33."""
        process = self.start_outside()
        process.unshare("user")
        for kind in "uid", "gid":
            with open(f"/proc/{process.pid}/{kind}_map", "w") as table:
                table.write(f"0 {self.uid} 1\n1 {SUBORDINATE_IDS + 1} 100\n")
        process.change_user(33)
        return process

    def start_with_id_range_and_exec(self):
        """The same, but the actor then executes its program again, so that the user namespace owns
        its memory."""
        process = self.start_with_id_range()
        process.execute_again()
        return process

    def assert_unlinks_own(self, owner):
        self.assertEqual(owner.unlink(self.path), 0)
        self.assertEqual(self.names(), [])

    def test_rival_inside(self):
        for name, command in self.each_namespace_command():
            with self.subTest(name):
                owner, rival = self.start_outside(), self.start_inside(command)
                fd = owner.serve(self.path)
                self.assertRefusedIfGuarded(lambda: rival.unlink(self.path), owner, fd)
                self.assertEqual("in use by" in rival.stderr(), self.guard)
                self.assertNotIn("not guarded", rival.stderr())

    def test_owner_inside(self):
        for name, command in self.each_namespace_command():
            with self.subTest(name):
                owner, rival = self.start_inside(command), self.start_outside()
                fd = owner.serve(self.path)
                self.assertRefusedIfGuarded(lambda: rival.unlink(self.path), owner, fd)
                if self.guard:
                    self.assertEqual(owner.rename(self.path, self.path + ".new"), 0)
                    self.path += ".new"
                    self.assert_unlinks_own(owner)
                self.assertEqual(owner.stderr(), "")

    def test_owner_and_rival_inside(self):
        for name, command in self.each_namespace_command():
            with self.subTest(name):
                owner, rival = self.start_inside(command), self.start_inside(command)
                fd = owner.serve(self.path)
                self.assertRefusedIfGuarded(lambda: rival.unlink(self.path), owner, fd)

    def test_start_after_a_crash(self):
        for name, command in self.each_namespace_command():
            with self.subTest(name):
                owner, starter = self.start_inside(command), self.start_inside(command)
                owner.serve(self.path)
                owner.kill()
                # With bwrap, the actor is a child of the process that was killed.
                harness.wait_until(lambda: starter.unlink(self.path) == 0, "the owner's end")
                self.assertServes(starter, starter.serve(self.path))
                self.assert_unlinks_own(starter)

    def test_file_and_peer_credentials_seen_outside(self):
        """The socket file's uid and mode and the peer's credentials are those without the
        guard."""
        for name, command in self.each_namespace_command():
            with self.subTest(name):
                owner = self.start_inside(command)
                owner.umask(0o027)
                fd = owner.serve(self.path)
                found = os.stat(self.path)
                self.assertEqual((found.st_uid, found.st_gid, found.st_mode & 0o777),
                                 (self.uid, self.uid, 0o750))
                with socket.socket(socket.AF_UNIX) as client:
                    client.connect(self.path)
                    peer = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
                self.assertEqual(struct.unpack("iii", peer)[1:], (self.uid, self.uid))
                self.assertEqual(owner.close(fd), 0)
                self.assertEqual(owner.unlink(self.path), 0)

    def test_supplementary_group(self):
        """A group without a mapping in the namespace cannot be set there, but its rights count."""
        os.chown(self.dir, OTHER_USER, OTHER_USER)
        os.chmod(self.dir, 0o770)
        for name, command in self.each_namespace_command():
            with self.subTest(name):
                owner = self.start_inside(command)
                if self.supervisor_is_root:  # root has no rights there over files of unmapped users
                    fd = owner.socket("stream")
                    self.assertEqual(owner.bind(fd, self.path), errno.EACCES)
                else:
                    fd = owner.serve(self.path)
                    self.assertServes(owner, fd)
                    self.assertEqual(owner.unlink(self.path), 0)

    def test_range_of_ids(self):
        owner, rival = self.start_with_id_range_and_exec(), self.start_with_id_range_and_exec()
        fd = owner.serve(self.path)
        found = os.stat(self.path)
        self.assertEqual((found.st_uid, found.st_gid), (SUBORDINATE_IDS + 33, SUBORDINATE_IDS + 33))
        self.assertRefusedIfGuarded(lambda: rival.unlink(self.path), owner, fd)
        if self.guard:
            self.assert_unlinks_own(owner)
        self.assertEqual(owner.stderr(), "")

    def test_without_capabilities(self):
        """The caller has no capabilities, so it may not write to another user's directory."""
        os.chown(self.dir, SUBORDINATE_IDS + 1, SUBORDINATE_IDS + 1)
        os.chmod(self.dir, 0o755)
        owner = self.start_with_id_range_and_exec()
        self.assertEqual(owner.bind(owner.socket("stream"), self.path), errno.EACCES)
        self.assertEqual(owner.stderr(), "")

    def test_worker_without_permission(self):
        """A theft succeeds, because the worker has no permission to examine its caller.

        The caller changed its user and did not call exec, so the outer user namespace still owns
        its memory, and the worker has entered the inner one. An ordinary user's supervisor may not
        even read the call's arguments, nor write to the caller's descriptor 2.
        """
        owner, rival = self.start_outside(), self.start_with_id_range()
        fd = owner.serve(self.path)
        self.assertStolen(lambda: rival.unlink(self.path), owner, fd)
        fd = owner.serve(self.path)
        self.assertStolen(lambda: rival.unlink(self.path), owner, fd)
        self.assertEqual(rival.stderr(), NOT_GUARDED % (rival.pid, self.path)
                         if self.guard and self.supervisor_is_root else "")


actor.define_counterparts(globals(), UserNamespaces, starter=("root", "stranger"))

if __name__ == "__main__":
    sys.exit(harness.main())
