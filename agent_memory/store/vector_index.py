"""The vector index as a search sees it: the most similar episodes of a namespace, always current.

Small namespaces have no index: all their vectors are read and compared, which is exact. From `index_from`
episodes on Chroma proposes candidates. A query never waits for it: a background thread opens, checks, fills
and rebuilds it, and until it is ready all vectors are compared. What an open folder has not seen (vectors
that wait, or that another process copied since) is compared exactly beside it; the marks on the rows say
which those are. So every answer holds what was committed before it, from whichever process. A process that
was forked from one whose index was open compares all vectors (`forks.py`).

What it does not know: texts, scores of words, who may see what.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np
from sqlalchemy import Connection

from agent_memory.config import IndexConfig
from agent_memory.errors import AgentMemoryError
from agent_memory.store import generations, upkeep
from agent_memory.store import vectors as rows
from agent_memory.store.database import Database
from agent_memory.store.keys import Keys, Scores
from agent_memory.store.upkeep import Upkeep
from agent_memory.store.vectors import Matrix, Similar, Vector

logger = logging.getLogger(__name__)

#: Seconds for which adds are gathered before the background thread looks at them (chosen).
GATHER_SECONDS = 1.0
#: How many more candidates an index is asked for when most may not meet the caller's conditions (chosen).
FILTERED = 5


class VectorIndex:
    """The vectors of all namespaces of one open memory; safe from threads.

    Args:
        database: the record.
        settings: thresholds and limits.
        embed: texts to vectors, for those that are pending; None leaves them so.
        background: False leaves the upkeep to calls of `maintain`.
    """

    def __init__(
        self,
        database: Database,
        settings: IndexConfig,
        *,
        embed: Callable[[Sequence[str]], Matrix] | None = None,
        background: bool = True,
    ) -> None:
        self._database = database
        self._settings = settings
        self._embed = embed
        self._background = background and not database.read_only
        self._own_upkeep = Upkeep(database, settings)
        self._wake = threading.Condition()
        self._embedding = threading.Lock()
        self._due: dict[int, float] = {}
        self._busy = False
        self._thread: threading.Thread | None = None
        self._closed = False
        self._pid = os.getpid()
        if self._background and embed is not None:
            for namespace_id in rows.pending(database):  # an embedder failed earlier, or was stopped
                self._request(namespace_id)

    # ---------------------------------------------------------------------- reading

    def nearest(
        self, connection: Connection, namespace_id: int, vector: Vector, *, n: int, only: Keys | None = None
    ) -> Similar:
        """Cosines of the vector with about the n most similar episodes at least, and with any asked for.

        Args:
            connection: a snapshot; every key returned was in it.
            namespace_id: whose vectors.
            vector: of length one.
            n: how many candidates are wanted.
            only: the keys that count, ascending.
        """
        most = self._settings.index_from
        if only is not None and len(only) <= most:
            found = rows.compare(connection, namespace_id, vector, only=only)
            return Similar(connection, namespace_id, vector, *found, "exact")
        if generations.count(connection, namespace_id) > most:
            wide = n if only is None else n * FILTERED
            proposed = self._proposed(connection, namespace_id, vector, n=wide)
            if proposed is not None:
                return Similar(connection, namespace_id, vector, *proposed, "index")
        found = rows.compare(connection, namespace_id, vector)
        return Similar(connection, namespace_id, vector, *found, "exact")

    def _proposed(
        self, connection: Connection, namespace_id: int, vector: Vector, *, n: int
    ) -> tuple[Keys, Scores] | None:
        """Keys and cosines of what the index proposes and of what it has not seen; None without an index."""
        live = generations.in_state(connection, namespace_id, "live")
        with self._upkeep.guard:  # a folder is not closed while it is asked
            opened = self._upkeep.open.get(namespace_id)
            if live is None or opened is None or opened.generation != live.generation:
                self._request(namespace_id)
                return None
            self._upkeep.open.move_to_end(namespace_id)
            seen = opened.revision
            try:
                proposed = opened.folder.nearest(vector, n)
            except Exception as error:  # noqa: BLE001  # native code raises what it likes; exact search answers
                logger.warning("the vector index failed (%s): it is checked anew", type(error).__name__)
                self._upkeep.suspect(namespace_id, live.generation)
                self._request(namespace_id)
                return None
        tail, tail_scores = rows.compare_unseen(connection, namespace_id, vector, revision=seen)
        if len(tail) >= self._settings.drain_from:
            self._request(namespace_id)
        fresh = np.setdiff1d(np.array(proposed, dtype=np.int64), tail)
        # What is not in SQL has no vector here, and is dropped.
        keys, scores = rows.compare(connection, namespace_id, vector, only=fresh)
        keys, scores = np.concatenate((keys, tail)), np.concatenate((scores, tail_scores))
        order = np.argsort(keys)
        return keys[order], scores[order]

    # ---------------------------------------------------------------------- upkeep

    def notify(self, namespace_id: int) -> None:
        """Says that vectors were added, changed or erased; the background thread sees to the rest.

        It does so once for all adds of a second, so that it does not compete with them.
        """
        self._request(namespace_id, after=GATHER_SECONDS)

    def maintain(
        self, namespace_id: int, *, drain: bool = False, wait: float = upkeep.PURGE_SECONDS
    ) -> float | None:
        """Does all upkeep that is due, now; seconds until it should be called again, None when done.

        Args:
            namespace_id: whose index.
            drain: copy what waits, however little.
            wait: seconds to wait for another process that has the index.
        """
        later = None
        if self._embed is not None and not self._database.read_only:
            with self._embedding:  # not the same texts twice
                later = rows.embed_pending(self._database, namespace_id, self._embed)
        again = self._upkeep.maintain(namespace_id, drain=drain, wait=wait)
        return later if again is None else again

    def purge(self, namespace_id: int) -> bool:
        """Whether the folders of retired generations are gone; call it after the transaction of `erase`."""
        gone = self._upkeep.purge(namespace_id)
        self._request(namespace_id, after=upkeep.REST_SECONDS)
        return gone

    def rebuild(self, namespace_id: int) -> None:
        """Removes the index of a namespace and makes it anew from SQL, before returning."""
        self._upkeep.rebuild(namespace_id)

    def verify(self, namespace_id: int) -> dict[str, int]:
        """How the index differs from SQL: vectors `indexed`, `waiting`, `missing` there, `orphans` there."""
        return self._upkeep.verify(namespace_id)

    def wait(self, seconds: float) -> bool:
        """Whether all requested upkeep was done within the time."""
        self._after_fork()
        end = time.monotonic() + seconds
        with self._wake:
            while self._busy or self._due:
                left = end - time.monotonic()
                if left <= 0:
                    return False
                self._wake.wait(left)
        return True

    def close(self) -> None:
        """Copies what waits for the open folders, within `close_seconds`, and closes them.

        What is being built is left as it is, and gone on with by whoever opens the memory next.
        """
        if self._pid != os.getpid() or self._closed:
            return
        self._closed = True
        end = time.monotonic() + self._settings.close_seconds
        with self._wake:
            self._upkeep.deadline = 0.0
            self._wake.notify_all()
        if self._thread is not None:
            self._thread.join(self._settings.close_seconds)
            if self._thread.is_alive():  # in the middle of a batch, which ends with the process
                return
        self._upkeep.deadline = end
        for namespace_id in list(self._upkeep.open):
            if self._background and time.monotonic() < end:
                try:
                    self._upkeep.maintain(namespace_id, drain=True, wait=0.0)
                except AgentMemoryError as error:  # what waits is in SQL, for whoever opens the memory next
                    logger.warning("the vector index could not catch up: %s", error)
            self._upkeep.drop(namespace_id)

    # ---------------------------------------------------------------------- the background thread

    def _request(self, namespace_id: int, *, after: float = 0.0) -> None:
        """Has the namespace looked at, soon or after some seconds."""
        if not self._background:
            return
        self._after_fork()
        with self._wake:
            if self._closed:
                return
            due = time.monotonic() + after
            if due >= self._due.get(namespace_id, math.inf):
                return  # it is looked at before that; waking the thread for it would cost each add a tenth
            self._due[namespace_id] = due
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="agent-memory-index", daemon=True)
                self._thread.start()
            self._wake.notify_all()

    def _work(self) -> None:
        """One namespace after the other, until closing."""
        while (namespace_id := self._next()) is not None:
            try:
                after = self.maintain(namespace_id, wait=0.0)
            except AgentMemoryError as error:
                logger.warning("the vector index waits: %s", error)
                after = 20 * upkeep.RETRY_SECONDS
            except Exception:
                logger.exception("the vector index could not be kept up; all vectors are compared")
                after = 60 * upkeep.RETRY_SECONDS
            with self._wake:
                self._busy = False
                self._wake.notify_all()
            if after is not None:
                self._request(namespace_id, after=after)

    def _next(self) -> int | None:
        """The namespace that is due, waited for; None when closing."""
        with self._wake:
            while not self._closed:
                now = time.monotonic()
                for namespace_id, due in self._due.items():
                    if due <= now:
                        del self._due[namespace_id]
                        self._busy = True
                        return namespace_id
                self._wake.wait(min(self._due.values()) - now if self._due else None)
        return None

    @property
    def _upkeep(self) -> Upkeep:
        """The upkeep of this process."""
        self._after_fork()
        return self._own_upkeep

    def _after_fork(self) -> None:
        """A child has no thread, and the parent's open folders are not its own."""
        if self._pid != os.getpid():
            self._own_upkeep = Upkeep(self._database, self._settings)
            self._wake, self._embedding = threading.Condition(), threading.Lock()
            self._due, self._busy, self._thread = {}, False, None
            self._pid = os.getpid()
