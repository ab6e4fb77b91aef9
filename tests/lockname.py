"""The name of the lock file, for all tests: .NAME.sockguard beside the socket."""

import os


def lock_of(path):
    """The lock file of a socket path, as a string of the same type."""
    dot, suffix = (b".", b".sockguard") if isinstance(path, bytes) else (".", ".sockguard")
    directory, name = os.path.split(path)
    return os.path.join(directory, dot + name + suffix)


def socket_of(lock):
    """The socket path of a lock file; None where this is not a lock file's name."""
    directory, name = os.path.split(lock)
    if not (name.startswith(".") and name.endswith(".sockguard")):
        return None
    return os.path.join(directory, name[1:-len(".sockguard")])
