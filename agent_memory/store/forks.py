"""What `fork` does to what is open: a child gets its parent's memory, but neither its threads nor its locks.

SQLite keeps in memory which locks its process holds on a file. A child that got an open connection believes
that it holds them, too, and takes none, though the kernel gave it nothing
(https://www.sqlite.org/howtocorrupt.html, section 2.6). Measured with SQLite 3.40: what such a child adds is
lost when its parent closes, which finds no lock, takes itself for the last, and removes the log; and a
write of another thread that was under way is never over for the child, which waits in vain ("held for too
long"). So nothing of SQLite is open while this process forks: a `fork` waits until other threads have left
(`inside`), keeps them out, and closes what idles. Where that cannot be, since the fork is inside of a
transaction itself or another thread's takes too long, the child is refused at its first use.

Chroma's threads do not live on in a child. Measured with chromadb 1.5.9: in a process that was forked from
one that had used it, the first call never returns, and neither does the end of the process, where what the
parent opened is let go. So such a child asks nothing of Chroma (it compares all vectors, which gives the
same answers, and leaves the upkeep of the index to others) and keeps what it inherited untouched to its end.
A child of a process that had only imported Chroma is free, and so is one that was spawned.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol
from weakref import WeakSet

#: How long a fork waits for the transactions of other threads (chosen: they end in milliseconds, a large
#: import or forget in seconds).
PATIENCE_SECONDS = 30.0

# ---------------------------------------------------------------------- SQLite


class Pool(Protocol):
    """What keeps idle connections."""

    def dispose(self) -> None:
        """Closes those that idle; others may be opened later."""
        ...


class _Mine(threading.local):
    depth = 0  # how many `inside` this thread is in
    left_open = False  # whether a connection is open while this thread forks


_mine = _Mine()
_pools: WeakSet[Pool] = WeakSet()
_changed = threading.Condition()
_inside = 0  # threads
_forking = 0  # threads
_inherited = False


def watch(pool: Pool) -> None:
    """Has the pool's idle connections closed before a fork."""
    with _changed:
        _pools.add(pool)


@contextmanager
def inside() -> Iterator[None]:
    """Says that this thread has a connection of SQLite in use; waits while another thread forks."""
    global _inside
    if _mine.depth == 0:
        with _changed:
            _changed.wait_for(lambda: not _forking)
            _inside += 1
    _mine.depth += 1
    try:
        yield
    finally:
        _mine.depth -= 1
        if _mine.depth == 0:
            with _changed:
                _inside -= 1
                _changed.notify_all()


def may_use_sqlite() -> bool:
    """Whether this process got no open connection from its parent."""
    return not _inherited


def _before_fork() -> None:
    """Waits until no other thread is inside, keeps them out, and closes what idles."""
    global _forking
    _mine.left_open = True
    with _changed:
        _forking += 1
        own = 1 if _mine.depth else 0
        alone = _changed.wait_for(lambda: _inside <= own, PATIENCE_SECONDS)
        pools = list(_pools)
    for pool in pools:
        pool.dispose()
    _mine.left_open = not alone or own > 0


def _after_fork_in_parent() -> None:
    global _forking
    with _changed:
        _forking -= 1
        _changed.notify_all()


# ---------------------------------------------------------------------- Chroma

_began_in: int | None = None
_opened: set[object] = set()


def begun() -> None:
    """Says that this process uses Chroma from now on."""
    global _began_in
    _began_in = _began_in or os.getpid()


def keep(folder: object) -> None:
    """Says that this folder is open."""
    _opened.add(folder)


def let_go(folder: object) -> None:
    """Says that this folder was closed."""
    _opened.discard(folder)


def may_use() -> bool:
    """Whether this process may call Chroma."""
    return _began_in in (None, os.getpid())


def _after_fork_in_child() -> None:
    """Begins without the other threads; one reference more to each folder, so that none is ever let go."""
    global _changed, _inside, _forking, _inherited
    _changed, _inside, _forking = threading.Condition(), 1 if _mine.depth else 0, 0
    _inherited = _inherited or _mine.left_open
    for folder in _opened:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(folder))


os.register_at_fork(
    before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
)
