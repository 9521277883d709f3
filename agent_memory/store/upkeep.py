"""The upkeep of the vector index: opening, checking, building, filling and removing folders of Chroma.

Rules, each bought with a measured loss of Chroma's embedded client:

- whoever opens, writes or removes a folder holds `index/<namespace key>/lock`, which the kernel gives back
  when its holder dies (several writers silently lose vectors);
- who finds that another process has written since, closes and reopens before writing, or at `reopen_from`
  unseen vectors (an open client stays stale for ever);
- a folder is opened only with a matching seal, or after a child process survived it (damaged files kill);
- nothing is deleted in Chroma: forgetting retires the generation, its folder goes, a new one is built
  (its deletes leave text and vectors on disk);
- a process that was forked from a user of Chroma removes folders, and does nothing else here (`forks.py`).

Nothing of it can lose what is in SQL. What fails is a `StoreError`, and is tried again later.

What it does not know: queries. `vector_index.py` asks the open folders, and says when upkeep is due.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import and_, select

from agent_memory.config import IndexConfig
from agent_memory.errors import AgentMemoryError, StoreError
from agent_memory.store import folders, forks, generations, seals
from agent_memory.store import vectors as rows
from agent_memory.store.database import Database
from agent_memory.store.locks import locked
from agent_memory.store.tables import vectors
from agent_memory.store.vectors import ChromaFolder

logger = logging.getLogger(__name__)

FOLDER = "index"
#: Seconds after which to look again at what another process holds (chosen).
RETRY_SECONDS = 0.5
#: Seconds without a further forget before an index is built anew, so that ten cost one build (chosen).
REST_SECONDS = 2.0
#: Seconds that a purge waits for a writer of another process to finish its batch (chosen).
PURGE_SECONDS = 10.0


@dataclass
class Opened:
    """An open folder: its generation, and the last batch that it has seen."""

    generation: int
    revision: int
    folder: ChromaFolder


class Upkeep:
    """The open folders of one memory, and what keeps them sound."""

    def __init__(self, database: Database, settings: IndexConfig) -> None:
        self.database = database
        self.settings = settings
        self.guard = threading.RLock()
        self.open: OrderedDict[int, Opened] = OrderedDict()
        self.deadline = math.inf
        """When copying must stop, on the monotonic clock, in seconds; what is left is copied later."""
        self._rested: dict[int, float] = {}
        self._blocked: set[int] = set()
        """Namespaces whose index another process kept too long; the next purge does not wait for it again."""
        self._locks: dict[str, int] = {}
        """Descriptors of the locks held now, by namespace key."""

    def maintain(self, namespace_id: int, *, drain: bool, wait: float) -> float | None:
        """Removes, opens, builds and fills what there is to; seconds until there is more, None if done.

        Raises:
            StoreError: the index, or the record, could not be read or written; nothing is lost.
        """
        if self.database.read_only:
            return None
        with self.database.read() as connection:
            key = generations.namespace_key(connection, namespace_id)
            large = generations.count(connection, namespace_id) > self.settings.index_from
            if not large and not generations.known(connection, namespace_id):
                return None
        with self._locked(key, wait) as mine:
            if not mine:
                return RETRY_SECONDS
            self._remove_retired(namespace_id, key)
            if not forks.may_use():
                return None
            with self.database.read() as connection:
                live = generations.in_state(connection, namespace_id, "live")
            if live is None:
                rest = self._rested.get(namespace_id, 0.0) - time.monotonic()
                if large and rest <= 0:
                    return self._build(namespace_id, key)
                return rest if large else None
            return self._fill_up(namespace_id, key, live, drain=drain)

    def purge(self, namespace_id: int) -> bool:
        """Whether the folders of retired generations are gone; call it after the transaction of `erase`.

        False when another process kept the index for longer than `PURGE_SECONDS`, which the next writers do
        not wait for again, or a folder could not be removed.
        """
        with self.database.read() as connection:
            key = generations.namespace_key(connection, namespace_id)
            if generations.in_state(connection, namespace_id, "retired") is None:
                return True
        self._rested[namespace_id] = time.monotonic() + REST_SECONDS
        with self._locked(key, 0.0 if namespace_id in self._blocked else PURGE_SECONDS) as mine:
            (self._blocked.discard if mine else self._blocked.add)(namespace_id)
            return mine and self._remove_retired(namespace_id, key)

    def rebuild(self, namespace_id: int) -> None:
        """Removes the index of a namespace and makes it anew from SQL, before returning."""
        with self.database.write() as connection:
            generations.retire(connection, namespace_id)
        self._rested.pop(namespace_id, None)
        self.maintain(namespace_id, drain=True, wait=PURGE_SECONDS)

    def verify(self, namespace_id: int) -> dict[str, int]:
        """How the index differs from SQL: vectors `indexed`, `waiting`, `missing` there, `orphans` there.

        Missing ones cost recall, orphans cost nothing; both are 0 after `maintain`.
        """
        with self.database.read() as connection:
            key = generations.namespace_key(connection, namespace_id)
            waiting = generations.counted(connection, namespace_id, generations.waiting())
            live = generations.in_state(connection, namespace_id, "live")
        report = {"indexed": 0, "waiting": waiting, "missing": 0, "orphans": 0}
        if live is None or self.database.read_only or not forks.may_use():
            return report
        with self._locked(key, PURGE_SECONDS) as mine:
            opened = self._current(namespace_id, key, live, writing=True) if mine else None
            if opened is None:
                return report
            inside = opened.folder.keys()
        with self.database.read() as connection:
            claimed = generations.marked(connection, namespace_id, live.generation)
        expected = {pk for pk, done in claimed.items() if done}
        return report | {
            "indexed": len(expected & inside),
            "missing": len(expected - inside),
            "orphans": len(inside - claimed.keys()),
        }

    def drop(self, namespace_id: int) -> None:
        """Closes the open folder of a namespace."""
        with self.guard:
            opened = self.open.pop(namespace_id, None)
            if opened is not None:
                opened.folder.close()

    def suspect(self, namespace_id: int, generation: int) -> None:
        """Closes a folder that failed, and sees to it that it is checked before it is opened again."""
        self.drop(namespace_id)
        with self.database.read() as connection:
            key = generations.namespace_key(connection, namespace_id)
        seals.unseal(self.database.path / FOLDER / key / str(generation))

    # ---------------------------------------------------------------------- under the lock

    @contextmanager
    def _locked(self, key: str, wait: float) -> Iterator[bool]:
        """Whether this process alone may open, write and remove the folders of a namespace."""
        folder = self.database.path / FOLDER / key
        with _named():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(folder / "lock", seconds=wait) as lock:
            if lock is None:
                yield False
                return
            self._locks[key] = lock
            try:
                with _named():
                    yield True
            finally:
                del self._locks[key]

    def _remove_retired(self, namespace_id: int, key: str) -> bool:
        """Removes folders of retired generations, and those unknown to SQL; returns whether all are gone."""
        with self.database.read() as connection:
            found = generations.known(connection, namespace_id)
        kept = {one.generation for one in found if one.state != "retired"}
        opened = self.open.get(namespace_id)
        if opened is not None and opened.generation not in kept:
            self.drop(namespace_id)
        gone = True
        for path in (self.database.path / FOLDER / key).iterdir():
            if path.is_dir() and path.name not in map(str, kept):
                try:
                    folders.remove_folder(path)
                except OSError as error:
                    logger.warning("a folder of the vector index could not be removed: %s", error.strerror)
                    gone = False
        if gone and len(kept) < len(found):
            with self.database.write() as connection:
                generations.forget_retired(connection, namespace_id)
        return gone

    def _fill_up(self, namespace_id: int, key: str, live: Any, *, drain: bool) -> float | None:
        """Opens the generation in service where it is not, and copies what waits, where that is much."""
        with self.database.read() as connection:
            waiting = generations.counted(connection, namespace_id, generations.waiting())
        writing = waiting >= (1 if drain else self.settings.drain_from)
        opened = self._current(namespace_id, key, live, writing=writing)
        if opened is None:
            return 0.0  # it was unsound and is retired; the next call builds another
        if not writing:
            return None
        try:
            return None if self._fill(namespace_id, opened, generations.waiting()) else RETRY_SECONDS
        except BaseException:
            self.drop(namespace_id)  # without its seal, it is checked before it is opened again
            raise

    def _current(self, namespace_id: int, key: str, live: Any, *, writing: bool) -> Opened | None:
        """The open folder of the generation in service; None where it was unsound and is retired."""
        opened = self.open.get(namespace_id)
        if opened is not None and opened.generation == live.generation:
            if opened.revision == live.revision:
                return opened
            with self.database.read() as connection:
                unseen = generations.counted(connection, namespace_id, generations.unseen(opened.revision))
            if not writing and unseen < self.settings.reopen_from:
                return opened
        self.drop(namespace_id)
        found = self._checked(namespace_id, live, self._folder(key, live.generation))
        if found is not None:
            self._keep(namespace_id, found)
            return found
        logger.warning("the vector index of namespace %s is damaged: it is built anew", key)
        with self.database.write() as connection:
            generations.retire(connection, namespace_id)
        return None

    def _checked(self, namespace_id: int, row: Any, folder: Path) -> Opened | None:
        """A folder, opened, if it is sound and holds as much as SQL says."""
        if not folders.is_sound(folder, lock=self._locks.get(folder.parent.name)):
            return None
        with self.database.read() as connection:
            done = sum(generations.marked(connection, namespace_id, row.generation).values())
            any_vector = connection.execute(
                select(vectors.c.vector, vectors.c.dimension)
                .where(vectors.c.namespace_id == namespace_id, vectors.c.vector.is_not(None))
                .limit(1)
            ).first()
        opened = None
        try:
            opened = ChromaFolder(folder)
            whole = opened.count() >= done
            if whole and done and any_vector is not None:  # loads the graph while nobody writes
                opened.nearest(rows.unpacked([any_vector.vector], any_vector.dimension)[0], 1)
        except Exception as error:  # noqa: BLE001  # native code raises what it likes; the folder is disposable
            logger.warning("the vector index could not be opened: %s", type(error).__name__)
            whole = False
        if opened is None or not whole:
            if opened is not None:
                opened.close()
            return None
        seals.seal(folder)
        return Opened(row.generation, row.revision, opened)

    def _build(self, namespace_id: int, key: str) -> float | None:
        """Fills a generation from SQL, going on with one that was left, and puts it in service."""
        with self.database.read() as connection:
            left = generations.in_state(connection, namespace_id, "building")
        opened = None
        if left is not None:
            opened = self._checked(namespace_id, left, self._folder(key, left.generation))
        if opened is None:
            with self.database.write() as connection:
                number = generations.begin(connection, namespace_id, at=self.database.now())
            opened = Opened(number, number, ChromaFolder(self._folder(key, number), create=True))
        done = False
        try:
            if self._fill(namespace_id, opened, generations.not_in(opened.generation)):
                with self.database.write() as connection:
                    done = generations.serve(connection, namespace_id, opened.generation)
        finally:
            if not done:
                opened.folder.close()
        if not done:
            return 0.0  # stopped, or something was forgotten meanwhile
        self._keep(namespace_id, opened)
        return None

    def _fill(self, namespace_id: int, opened: Opened, wanted: Any) -> bool:
        """Copies the vectors that meet the condition, batch by batch; False when stopped or overtaken."""
        seals.unseal(opened.folder.path)
        last = 0
        while time.monotonic() < self.deadline:
            with self.database.write() as connection:
                batch = generations.claim(
                    connection, namespace_id, opened.generation, revision=opened.revision,
                    wanted=and_(wanted, vectors.c.episode_pk > last), most=self.settings.batch,
                )  # fmt: skip
            if batch is None:
                return False
            if not batch:
                seals.seal(opened.folder.path)
                return True
            last = batch[-1].episode_pk
            matrix = rows.unpacked([row.vector for row in batch], batch[0].dimension)
            opened.folder.put([row.episode_pk for row in batch], matrix)
            with self.database.write() as connection:
                number = generations.mark(
                    connection, namespace_id, opened.generation, revision=opened.revision, batch=batch
                )
            if number is None:
                return False
            opened.revision = number
        return False

    def _folder(self, key: str, generation: int) -> Path:
        return self.database.path / FOLDER / key / str(generation)

    def _keep(self, namespace_id: int, opened: Opened) -> None:
        """Puts an open folder in service, and closes those unused longest."""
        with self.guard:
            self.open[namespace_id] = opened
            self.open.move_to_end(namespace_id)
            while len(self.open) > self.settings.max_open:
                self.drop(next(iter(self.open)))


@contextmanager
def _named() -> Iterator[None]:
    """What Chroma or the disk reports about the index, as one of our errors.

    Raises:
        StoreError: anything that is not ours already; the record is untouched.
    """
    try:
        yield
    except AgentMemoryError:
        raise
    except Exception as error:
        raise StoreError(
            f"the vector index could not be kept up ({type(error).__name__}); nothing is lost, the record "
            "has all vectors and compares them one by one: see to space and rights of its folder"
        ) from error
