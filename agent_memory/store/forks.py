"""Chroma's threads and `fork`: they do not live on in a child, and whoever calls Chroma there waits for ever.

Measured with chromadb 1.5.9: in a process that was forked from one that had used it, the first call never
returns, and neither does the end of the process, where what the parent opened is let go. So such a child
asks nothing of Chroma (it compares all vectors, which gives the same answers, and leaves the upkeep of the
index to others) and keeps what it inherited untouched to its end. A child of a process that had only
imported Chroma is free, and so is one that was spawned.
"""

from __future__ import annotations

import ctypes
import os

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
    """One reference more that nobody gives back, so that these are never let go."""
    for folder in _opened:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(folder))


os.register_at_fork(after_in_child=_after_fork_in_child)
