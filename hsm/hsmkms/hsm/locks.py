"""The host-wide lock under which processes log in, one after the other.

The lock is an flock on a file that stays; the kernel gives it back when its holder ends, however it ends.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from hsmkms.core.commands import Outcome
from hsmkms.hsm.errors import StartError

_POLL_S: Final = 0.01


@contextmanager
def start_lock(path: str, wait_s: float) -> Iterator[None]:
    """Hold the lock for the block.

    Args:
        path: The lock file, made if it is not there; never followed if it is a symbolic link.
        wait_s: Longest wait, in seconds.

    Raises:
        StartError: MISCONFIGURED: the file cannot be opened. UNAVAILABLE: another process held it for too long.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StartError(
            Outcome.MISCONFIGURED, f"lock file {path}: {error.strerror}; name one that this user can write"
        ) from error
    try:
        _acquire(descriptor, path, wait_s)
        yield
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, path: str, wait_s: float) -> None:
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise StartError(
                    Outcome.UNAVAILABLE,
                    f"another process has been logging in to the token for {wait_s:g} s (lock file {path})",
                ) from None
            time.sleep(_POLL_S)
        else:
            return
