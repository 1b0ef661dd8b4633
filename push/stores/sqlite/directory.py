"""The data directory: made for its owner alone, and used by one process at a time.

Knows files and locks, no SQL. Imports only push.errors.
"""

import fcntl
import os
from pathlib import Path

from push.errors import StartError

LOCK_NAME = "lock"


class DataDirectory:
    """A directory that this process has for itself between `acquire` and `release`.

    The lock is flock's: it belongs to the open file, so it goes with the process however that ends, and a second
    server in the same process is refused as well.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Make the directory where it is missing, and take it.

        Raises:
            StartError: it cannot be made or written, or a running process has it.
        """
        try:
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._path / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StartError(
                f"cannot use the data directory {self._path}: {error.strerror}; "
                "choose another with --data-dir, or let this user write there"
            ) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            # The holder writes its pid right after it has the lock, so it may be missing for an instant.
            pid = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            holder = f"the running process {pid}" if pid else "another running process"
            raise StartError(
                f"the data directory {self._path} is in use by {holder}; "
                "stop that one first, or choose another with --data-dir"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Let it go. The lock's file stays: removing it would let two processes hold a lock of the same name."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.ftruncate(descriptor, 0)
            os.close(descriptor)
