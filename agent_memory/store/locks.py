"""Locks between processes: an open file that the kernel locks, and lets go of when its holders are dead.

Three things that a plain `flock` does not do by itself. A process that forks while it holds a lock leaves it
open in its child, which would keep it for as long as it lives: so it is unlocked by name, not by closing,
and the child closes its copy. A command that may outlive its parent can be handed the lock (`pass_fds`), and
then holds it until it has ended, too. And who waits for at most some seconds tries again and again, for the
kernel knows no time limit; who waits without a limit is served in turn.

It protects nothing on a network file system.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent_memory.durable import refusal

_PAUSE_SECONDS = 0.02  # between two attempts (chosen)
_held: set[int] = set()


@contextmanager
def locked(file: Path, *, seconds: float | None = None) -> Iterator[int | None]:
    """Holds the lock of a file, made where it is missing: its descriptor, or None where others kept it.

    Args:
        file: what the holders agree on.
        seconds: how long to try; None waits for as long as it takes.

    Raises:
        StoreFull: there is no space for the file.
        StoreReadOnly: the directory refuses it.
        StoreError: it cannot be opened for another reason.
    """
    try:
        descriptor = os.open(file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise refusal(error)(f"the lock {file} cannot be opened: {error.strerror}") from error
    _held.add(descriptor)
    try:
        yield descriptor if _taken(descriptor, seconds) else None
    finally:
        if descriptor in _held:  # not in a child that was forked meanwhile: it has no part in this
            _held.remove(descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)


def _taken(descriptor: int, seconds: float | None) -> bool:
    if seconds is None:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return True
    end = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                return False
            time.sleep(_PAUSE_SECONDS)
        else:
            return True


def _after_fork_in_child() -> None:
    """Closes what the parent held; that takes nothing from it, for it unlocks by name."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_after_fork_in_child)
