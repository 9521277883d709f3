"""Vectors of episodes: kept in SQL, compared exactly, and copied to Chroma where there are many.

A vector is a row beside its episode, written in the same transaction, so nothing is ever lost with the index.
Two marks on the row say where its copy is: `indexed_in`, the last generation of the index that got any
revision of it, and `index_revision`, the number of the batch that put this revision there, NULL while it is
waiting. The marks are the outbox: what waits is what is not marked, row by row, so that no counter can claim
more than was done. `index_outbox` holds only what must be tried again: texts that could not be embedded.

`ChromaFolder` is one directory of Chroma, the only place that imports it. It holds keys and vectors, no text,
and only proposes candidates: what it returns is joined to SQL and scored by the vectors there, so that a
stale, foreign or damaged entry can cost recall and nothing else.

What it does not know: whether a folder is sound (`folders.py`), when to write or rebuild (`upkeep.py`),
scores of words.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from agent_memory.errors import EmbeddingError, StoreError
from agent_memory.store import forks, generations
from agent_memory.store.database import Database
from agent_memory.store.keys import Keys, Scores, among, chunks, columns
from agent_memory.store.prepared import Prepared
from agent_memory.store.tables import episodes, index_outbox, vectors

Vector = NDArray[np.float32]  # (D,)
Matrix = NDArray[np.float32]  # (N, D)

_NUMBER = np.dtype("<f4")
_COLLECTION = "episodes"
_SEARCHED = 300  # neighbours that HNSW keeps in view: above the candidates of a search (chosen)
#: Pending texts that are embedded at once (chosen).
EMBEDDED = 256
#: Longest rest between attempts to embed, in seconds (chosen).
LONGEST_REST_SECONDS = 600.0


# ---------------------------------------------------------------------- rows


def add(
    connection: Connection,
    namespace_id: int,
    rows: Sequence[tuple[int, int, Vector | None]],
    *,
    fresh: bool = False,
) -> None:
    """Stores the vectors of episodes, or that they are pending, inside the caller's transaction.

    Args:
        connection: of the transaction that adds or changes the episodes.
        namespace_id: their owner.
        rows: key, revision and vector of each episode (any length; kept at length one), None while it could
            not be made.
        fresh: none of the episodes has a row yet, which saves looking.

    Raises:
        EmbeddingError: a vector is not a finite row of numbers.
    """
    if not rows:
        return
    pks = [pk for pk, _, _ in rows]
    known: set[int] = set()
    for chunk in () if fresh else chunks(pks):
        known.update(connection.execute(_KNOWN, {"owner": namespace_id, "pks": chunk}).scalars())
    new = [(namespace_id, pk, revision, *_packed(vector).values())
           for pk, revision, vector in rows if pk not in known]  # fmt: skip
    _INSERT.change(connection, new)
    if known:
        _replace(connection, namespace_id, [{"episode_pk": pk, "revision": revision, **_packed(vector)}
                                            for pk, revision, vector in rows if pk in known])  # fmt: skip
    waiting = [{"namespace_id": namespace_id, "episode_pk": pk, "revision": revision, "op": "embed"}
               for pk, revision, vector in rows if vector is None]  # fmt: skip
    if waiting:
        connection.execute(insert(index_outbox), waiting)


_INSERT = Prepared(insert(vectors), "namespace_id", "episode_pk", "revision", "dimension", "vector")
_KNOWN = select(vectors.c.episode_pk).where(  # built once: to build a statement takes longer than to run it
    vectors.c.namespace_id == bindparam("owner"), vectors.c.episode_pk.in_(bindparam("pks", expanding=True))
)


def _replace(connection: Connection, namespace_id: int, rows: Sequence[dict[str, Any]]) -> None:
    """Puts other vectors in place of those that are there; their copies in the index wait to be replaced."""
    changed: dict[str, Any] = {name: bindparam(f"new_{name}") for name in ("revision", "vector", "dimension")}
    statement = update(vectors).where(
        vectors.c.namespace_id == namespace_id, vectors.c.episode_pk == bindparam("pk")
    )
    new = [{"pk": row["episode_pk"], **{f"new_{name}": row[name] for name in changed}} for row in rows]
    connection.execute(statement.values(**changed, index_revision=None), new)
    for chunk in chunks([row["episode_pk"] for row in rows]):
        connection.execute(delete(index_outbox).where(index_outbox.c.episode_pk.in_(chunk)))


def erase(connection: Connection, namespace_id: int, pks: Sequence[int]) -> int:
    """Deletes the vectors of episodes and what waits for them; returns how many vectors there were.

    Where the index got any of them, its generations are retired in the same transaction: Chroma does not
    erase what it deletes, so its folders go (`VectorIndex.purge`) and are made anew from what is left.
    """
    removed, copied = 0, False
    for chunk in chunks(pks):
        inside = select(func.count()).where(_these(namespace_id, chunk), vectors.c.indexed_in.is_not(None))
        copied = copied or bool(connection.execute(inside).scalar_one())
        removed += connection.execute(delete(vectors).where(_these(namespace_id, chunk))).rowcount
        connection.execute(delete(index_outbox).where(index_outbox.c.episode_pk.in_(chunk)))
    if copied:
        generations.retire(connection, namespace_id)
    return removed


remove = erase  # what other parts call it inside an update


def _these(namespace_id: int, pks: Sequence[int]) -> Any:
    return (vectors.c.namespace_id == namespace_id) & vectors.c.episode_pk.in_(pks)


def _packed(vector: Vector | None) -> dict[str, Any]:
    if vector is None:
        return {"dimension": None, "vector": None}
    unit = normalised(vector)
    return {"dimension": len(unit), "vector": unit.astype(_NUMBER).tobytes()}


def normalised(vector: Any) -> Vector:
    """The vector at length one; one of zeros stays as it is and is like nothing.

    Raises:
        EmbeddingError: it is not a finite row of numbers.
    """
    row = np.asarray(vector, dtype=np.float32)
    wide = row.astype(np.float64)
    length = math.sqrt(wide @ wide) if row.ndim == 1 and len(row) else math.nan
    if not math.isfinite(length):  # as it is where one of the numbers is not
        raise EmbeddingError(f"a vector must be a row of finite numbers, not an array of shape {row.shape}")
    return row if length == 0 else (row / length).astype(np.float32)


def unpacked(blobs: Sequence[bytes], dimension: int) -> Matrix:
    """Stored vectors as an array."""
    return np.frombuffer(b"".join(blobs), dtype=_NUMBER).reshape(-1, dimension)


def pending(database: Database) -> list[int]:
    """The namespaces with texts that are still to be embedded."""
    with database.read() as connection:
        return list(connection.execute(select(index_outbox.c.namespace_id).distinct()).scalars())


def embed_pending(
    database: Database, namespace_id: int, embed: Callable[[Sequence[str]], Matrix]
) -> float | None:
    """Makes the vectors that are pending; seconds until the next attempt where that fails, else None."""
    while True:
        columns = (episodes.c.pk, episodes.c.revision, episodes.c.text)
        statement = (
            select(index_outbox.c.seq, index_outbox.c.attempts, *columns)
            .join(episodes, episodes.c.pk == index_outbox.c.episode_pk)
            .where(index_outbox.c.namespace_id == namespace_id)
            .order_by(index_outbox.c.seq)
            .limit(EMBEDDED)
        )
        with database.read() as connection:
            waiting = list(connection.execute(statement))
        if not waiting:
            return None
        try:
            matrix = embed([row.text for row in waiting])
        except EmbeddingError as error:
            _count_attempt(database, [row.seq for row in waiting], error)
            return float(min(2.0 ** min(row.attempts for row in waiting), LONGEST_REST_SECONDS))
        with database.write() as connection:
            current = {}
            for chunk in chunks([row.pk for row in waiting]):
                still = select(episodes.c.pk, episodes.c.revision).where(episodes.c.pk.in_(chunk))
                current.update({row.pk: row.revision for row in connection.execute(still)})
            add(connection, namespace_id, [
                (row.pk, row.revision, vector) for row, vector in zip(waiting, matrix, strict=True)
                if current.get(row.pk) == row.revision
            ])  # fmt: skip


def _count_attempt(database: Database, seqs: Sequence[int], error: EmbeddingError) -> None:
    with database.write() as connection:
        for chunk in chunks(seqs):
            connection.execute(
                update(index_outbox)
                .where(index_outbox.c.seq.in_(chunk))
                .values(attempts=index_outbox.c.attempts + 1, error=type(error).__name__)
            )


# ---------------------------------------------------------------------- comparing


@dataclass(frozen=True)
class Similar:
    """Cosines of one query with episodes of one namespace: some at hand, any others read when asked for."""

    connection: Connection
    namespace_id: int
    vector: Vector
    pks: Keys
    """Keys whose cosine is at hand, ascending. (N,)"""
    scores: Scores
    """Their cosines. (N,)"""
    path: str
    """How they were found: "exact" or "index"."""

    def top(self, n: int, *, only: Keys | None = None) -> Keys:
        """The n most similar of those at hand, best first, the later episode first among equals."""
        pks, scores = self.pks, self.scores
        if only is not None:
            kept = np.isin(pks, only)
            pks, scores = pks[kept], scores[kept]
        if len(pks) > 4 * n:
            kept = scores >= np.partition(scores, -n)[-n]
            pks, scores = pks[kept], scores[kept]
        return pks[np.lexsort((-pks, -scores))[:n]]

    def of(self, pks: Keys) -> Scores:
        """The cosines of these episodes; NaN where a vector is pending."""
        keys, scores = self.pks, self.scores
        missing = np.setdiff1d(pks, keys)
        if self.path != "exact" and len(missing):
            more, theirs = compare(self.connection, self.namespace_id, self.vector, only=missing)
            keys, scores = np.concatenate((keys, more)), np.concatenate((scores, theirs))
            order = np.argsort(keys)
            keys, scores = keys[order], scores[order]
        if not len(keys):
            return np.full(len(pks), np.nan)
        at = np.minimum(np.searchsorted(keys, pks), len(keys) - 1)
        return np.where(keys[at] == pks, scores[at], np.nan)


_ALL = select(vectors.c.episode_pk, vectors.c.vector).where(
    vectors.c.namespace_id == bindparam("owner"), vectors.c.dimension == bindparam("dimension")
)
_SOME = select(vectors.c.episode_pk, vectors.c.vector).where(
    among(vectors, vectors.c.episode_pk), vectors.c.dimension == bindparam("dimension")
)
_WAITING = _ALL.where(vectors.c.index_revision.is_(None))
_LATER = _ALL.where(vectors.c.index_revision > bindparam("seen"))


def compare(
    connection: Connection, namespace_id: int, vector: Vector, *, only: Keys | None = None
) -> tuple[Keys, Scores]:
    """Keys and cosines of all vectors of a namespace, or of some of its keys; keys ascending.

    Vectors of another dimension are left out: another embedder made them.
    """
    given: dict[str, Any] = {"owner": namespace_id, "dimension": len(vector)}
    if only is None:
        keys, blobs = columns(connection, _ALL, **given)
    else:
        keys, blobs = columns(connection, _SOME, **given, pks=only)
    return _cosines(keys, blobs, vector)


def compare_unseen(
    connection: Connection, namespace_id: int, vector: Vector, *, revision: int
) -> tuple[Keys, Scores]:
    """Keys and cosines of the vectors that a reader who saw this batch last has not seen; keys ascending."""
    given: dict[str, Any] = {"owner": namespace_id, "dimension": len(vector)}
    # Two statements, for one with OR would walk all rows of the namespace.
    waiting = columns(connection, _WAITING, **given)
    later = columns(connection, _LATER, **given, seen=revision)
    return _cosines(waiting[0] + later[0], waiting[1] + later[1], vector)


def _cosines(keys: Sequence[int], blobs: Sequence[bytes], vector: Vector) -> tuple[Keys, Scores]:
    pks = np.array(keys, dtype=np.int64)
    scores = (unpacked(blobs, len(vector)) @ vector).astype(np.float64)  # (N, D) @ (D,)
    order = np.argsort(pks)
    return pks[order], scores[order]


# ---------------------------------------------------------------------- Chroma


class ChromaFolder:
    """One open directory of Chroma: keys and vectors. Not for two writers at once.

    Raises:
        StoreError: this process was forked from one that uses Chroma (`forks.py`).
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        if not forks.may_use():
            raise StoreError("a process that was forked from a user of the vector index cannot open it")
        import chromadb
        from chromadb.config import Settings

        self.path = path
        forks.begun()
        self._client = chromadb.PersistentClient(str(path), settings=Settings(anonymized_telemetry=False))
        forks.keep(self)
        try:
            if create:
                shape: Any = {"hnsw": {"space": "cosine", "ef_search": _SEARCHED}}
                self._items = self._client.create_collection(
                    _COLLECTION, configuration=shape, embedding_function=None
                )
            else:
                self._items = self._client.get_collection(_COLLECTION, embedding_function=None)
        except BaseException:
            self.close()
            raise

    def put(self, pks: Sequence[int], matrix: Matrix) -> None:
        """Adds or replaces vectors; at most 5,461 at once."""
        self._items.upsert(ids=[str(pk) for pk in pks], embeddings=matrix)

    def nearest(self, vector: Vector, n: int) -> list[int]:
        """The keys of about the n most similar vectors."""
        found = self._items.query(query_embeddings=[vector], n_results=n, include=[])
        return [int(pk) for pk in found["ids"][0]]

    def count(self) -> int:
        """How many vectors it says to hold."""
        return int(self._items.count())

    def keys(self) -> set[int]:
        """Every key in it."""
        return {int(pk) for pk in self._items.get(include=[])["ids"]}

    def close(self) -> None:
        """Lets go of files and memory."""
        self._client.close()
        forks.let_go(self)
