"""One writer for one place: a lock that ends with its process, however that ends.

The lock is ``flock`` on a hidden file, which the kernel drops when a process dies: a stale file stops nobody.
On NFS it holds between machines where the server has locks (version 4, or lockd with 3); elsewhere a warning
says that nothing keeps a second run away.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["InUse", "RunWarning", "locked"]

NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}


class InUse(OSError):
    """Another run writes here."""


class RunWarning(UserWarning):
    """A finding in spite of which a run goes on: an older checkpoint, other versions, no locks."""


@contextmanager
def locked(place: Path) -> Iterator[bool]:
    """Hold a file, or a folder that exists, for this process alone; False where the file system has no locks.

    Raises:
        InUse: Another process holds it; names the process and its machine.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, locked(Path(folder)):
        ...     with locked(Path(folder)):
        ...         pass
        Traceback (most recent call last):
        ...
        driftproof.backends.torch.kit.lock.InUse: ... is in use by process ...
    """
    file = place / ".lock" if place.is_dir() else place.with_name(f".{place.name}.lock")
    handle = _acquire(file, place)
    try:
        yield handle is not None
    finally:
        if handle is not None:
            file.unlink(missing_ok=True)  # before the lock is dropped: nobody else can hold it yet
            os.close(handle)


def _acquire(file: Path, place: Path) -> int | None:
    if sys.platform == "win32":
        warnings.warn(f"{place}: no locks on this system; start one run at a time", RunWarning, stacklevel=4)
        return None
    import fcntl

    while True:
        handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is(file, handle):
                os.ftruncate(handle, 0)
                os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
                return handle
        except BlockingIOError:
            owner = os.pread(handle, 400, 0).decode(errors="replace") or "another process"
            os.close(handle)
            raise InUse(f"{place} is in use by {owner}; wait for it, or choose another folder") from None
        except OSError as error:
            os.close(handle)
            if error.errno not in NO_LOCKS:
                raise
            warnings.warn(
                f"{place}: this file system has no locks; start one run at a time", RunWarning, stacklevel=4
            )
            return None
        os.close(handle)  # its holder has just removed it: this is not the file of that name any more


def _is(file: Path, handle: int) -> bool:
    """Whether a name still means the file that was opened."""
    try:
        return os.path.samestat(os.stat(file), os.fstat(handle))
    except FileNotFoundError:
        return False
