"""The name of a socket's lock file, for all tests: .NAME.sockguard beside the socket NAME."""

import os


def lock_file_of(socket_path):
    """The path of the lock file: bytes if the socket path is bytes, else a string."""
    dot, suffix = (b".", b".sockguard") if isinstance(socket_path, bytes) else (".", ".sockguard")
    directory, name = os.path.split(socket_path)
    return os.path.join(directory, dot + name + suffix)


def socket_path_of(path):
    """The socket path that a lock file belongs to; None if the path does not name a lock file."""
    directory, name = os.path.split(path)
    if not (name.startswith(".") and name.endswith(".sockguard")):
        return None
    return os.path.join(directory, name[1:-len(".sockguard")])
