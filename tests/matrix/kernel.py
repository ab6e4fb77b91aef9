"""Reads from /proc and sock_diag which processes hold the socket of a path, and whether these
processes are guarded."""

import ctypes
import os
import re
import socket
import stat
import struct

AT_SECURE = 23
SOCK_DIAG_BY_FAMILY = 20
NLM_F_REQUEST_DUMP = 0x301
NLMSG_ERROR, NLMSG_DONE = 2, 3
ESTABLISHED = 1
UDIAG_SHOW_VFS = 2
UNIX_DIAG_VFS = 1
# overlayfs and btrfs, on which stat may report another device than sock_diag.
OTHER_DEVICE_TYPES = (0x794c7630, 0x9123683e)
_libc = ctypes.CDLL(None)


def identity(path):
    """Returns the device and inode number of a path; None if it does not exist."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


class Pin:
    """The inode that a path leads to now. While it is pinned, its inode number is not reused."""

    def __init__(self, path):
        self.path = path
        self._fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        found = os.fstat(self._fd)
        self._identity = found.st_dev, found.st_ino

    def still_there(self):
        """Whether the path still leads to the pinned inode."""
        return identity(self.path) == self._identity

    def close(self):
        os.close(self._fd)


def _messages(data):
    while len(data) >= 16:
        length, kind = struct.unpack_from("=IH", data)
        yield kind, data[16:length]
        data = data[(length + 3) & ~3:]


def _attributes(data):
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        yield kind, data[4:length]
        data = data[(length + 3) & ~3:]


def _type_of_file_system(path):
    """Returns f_type of statfs(2); None if there is no such path."""
    buffer = ctypes.create_string_buffer(256)
    if _libc.statfs(os.fsencode(path), buffer):
        return None
    return ctypes.c_long.from_buffer(buffer).value & 0xffffffff


def _sockets_of(found, path):
    """Returns the socket numbers of the sockets that are bound to a path, except accepted
    connections, from sock_diag. found is the path's identity."""
    device = os.major(found[0]) << 20 | os.minor(found[0])  # in the kernel's own encoding
    any_device = _type_of_file_system(os.path.dirname(path)) in OTHER_DEVICE_TYPES
    request = struct.pack("=BBHIIIII", socket.AF_UNIX, 0, 0, 0xffffffff, 0, UDIAG_SHOW_VFS,
                          0xffffffff, 0xffffffff)
    header = struct.pack("=IHHII", 16 + len(request), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST_DUMP, 1, 0)
    numbers = set()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4) as diag:
        diag.sendall(header + request)
        while True:
            for message, body in _messages(diag.recv(1 << 16)):
                if message in (NLMSG_ERROR, NLMSG_DONE):
                    return numbers
                _, kind, state, _, number = struct.unpack_from("=BBBBI", body)
                if state == ESTABLISHED and kind != socket.SOCK_DGRAM:
                    continue
                for attribute, value in _attributes(body[16:]):
                    if attribute == UNIX_DIAG_VFS:
                        vfs_inode, vfs_device = struct.unpack_from("=II", value)
                        if vfs_inode == found[1] & 0xffffffff and \
                                (any_device or vfs_device == device):
                            numbers.add(number)


def holders(path):
    """Returns the processes that hold a socket bound to the path's inode."""
    found = identity(path)
    links = {f"socket:[{number}]" for number in _sockets_of(found, path)} if found else set()
    pids = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and links:
            try:
                for fd in os.listdir(f"/proc/{entry}/fd"):
                    if os.readlink(f"/proc/{entry}/fd/{fd}") in links:
                        pids.append(int(entry))
                        break
            except OSError:
                pass  # the process has ended or closed the descriptor
    return pids


def comm(pid):
    """Returns the name of a process; None if it has ended."""
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return file.read().rstrip("\n")
    except (FileNotFoundError, ProcessLookupError):
        return None


def filters(pid):
    """Returns the number of seccomp filters of a process."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as status:
            return int(re.search(r"(?m)^Seccomp_filters:\t(\d+)$", status.read())[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def mapped(pid):
    """Returns the files that a process has mapped; none if it has ended."""
    try:
        with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as maps:
            return {line.split(None, 5)[5].rstrip("\n") for line in maps if len(line.split()) > 5}
    except (FileNotFoundError, ProcessLookupError):
        return set()


def _secure(pid):
    with open(f"/proc/{pid}/auxv", "rb") as auxv:
        words = auxv.read()
    pairs = struct.iter_unpack("@LL", words[:len(words) // 16 * 16])
    return any(kind == AT_SECURE and value for kind, value in pairs)


def why_not_mapped(pid):
    """Returns why a process that was started with LD_PRELOAD does not have the library."""
    program = os.readlink(f"/proc/{pid}/exe")
    name = comm(pid)
    if _secure(pid):
        mode = os.stat(program).st_mode
        if mode & stat.S_ISUID:
            return f"{name} is set-user-ID"
        if mode & stat.S_ISGID:
            return f"{name} is set-group-ID"
        return f"{name} has file capabilities"
    if not any("/ld-" in file for file in mapped(pid)):
        return f"{name} is linked statically"
    return f"{name} was started without LD_PRELOAD in its environment"
