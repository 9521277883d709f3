"""The model lock: reentrant, and first come, first served.

A training thread that takes the lock per optimiser step releases it and asks again at once; with an
ordinary lock it nearly always wins over a thread that waits to answer a question. Here whoever asked first
is next.
"""

from __future__ import annotations

import threading
from collections import deque
from types import TracebackType


class FairLock:
    """A reentrant lock that goes to waiting threads in the order in which they asked."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._owner: int | None = None
        self._depth = 0
        self._waiting: deque[threading.Lock] = deque()

    def __enter__(self) -> FairLock:
        me = threading.get_ident()
        with self._guard:
            if self._owner in (None, me):
                self._owner = me
                self._depth += 1
                return self
            turn = threading.Lock()
            turn.acquire()
            self._waiting.append(turn)
        try:
            turn.acquire()  # released by the owner, in whose stead we then stand
        except BaseException:  # an interrupt: leave the queue, or pass on what was promised
            with self._guard:
                if turn in self._waiting:
                    self._waiting.remove(turn)
                else:
                    self._pass_on()
            raise
        with self._guard:
            self._owner = me
            self._depth = 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._guard:
            assert self.held, "released by a thread that does not hold it"
            self._depth -= 1
            if self._depth:
                return
            self._pass_on()

    def _pass_on(self) -> None:
        """Gives the lock to the next in the queue, if any; the guard is held."""
        if self._waiting:
            self._owner = -1  # promised: nobody else may take it meanwhile
            self._waiting.popleft().release()
        else:
            self._owner = None

    @property
    def waiting(self) -> int:
        """How many threads wait."""
        return len(self._waiting)

    @property
    def held(self) -> bool:
        """Whether the calling thread holds the lock."""
        return self._owner == threading.get_ident()
