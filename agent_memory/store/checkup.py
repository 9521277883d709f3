"""How a memory is: counts for the curious, and a check of everything that must agree.

`verify` asks the database to check its own pages, then whether what is made from episodes is there for each
and for none else: postings and statistics, vectors, history, the files' side of the vector index. It
repairs nothing; `rebuild_index` does where the index is meant.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Connection, exists, func, select, text

from agent_memory.store.database import HEAD
from agent_memory.store.rows import live
from agent_memory.store.tables import (
    episode_history,
    episodes,
    erasures,
    index_outbox,
    lexical_lengths,
    lexical_statistics,
    postings,
    tombstones,
    vectors,
    versions,
)

if TYPE_CHECKING:
    from agent_memory.store.episodes import EpisodeStore
    from agent_memory.store.vector_index import VectorIndex
    from agent_memory.types import Namespace

#: From here on SQLite is free of a defect that can damage a log which two connections write and checkpoint at
#: once (3.7.0 to 3.51.2, https://www.sqlite.org/wal.html). Our writers hold one lock, our guard against it.
SOUND_SQLITE = (3, 51, 3)
WAL_DEFECT = "in this SQLite (before 3.51.3), but met only where writers do not take turns; ours do"


def status(store: EpisodeStore, namespace: Namespace) -> dict[str, Any]:
    """Counts of the namespace, what is pending, and what the record runs on."""
    database = store.database
    with database.read() as connection:
        owner = store.namespace_id(connection, namespace)
        own = -1 if owner is None else owner
        served = connection.execute(
            select(versions.c.id).where(versions.c.namespace_id == own, versions.c.state == "active")
        ).scalar()
        alive = live(own, database.now())
        found: dict[str, Any] = {
            "user_id": namespace.user_id,
            "agent_id": namespace.agent_id,
            "episodes": _count(connection, alive),
            "trusted": _count(connection, alive, episodes.c.trust == "trusted"),
            "vectors_pending": _count(connection, vectors.c.namespace_id == own, vectors.c.vector.is_(None)),
            "index_backlog": _count(connection, index_outbox.c.namespace_id == own),
            "erasures_pending": _count(
                connection, erasures.c.namespace_id == own, erasures.c.erased_at.is_(None)
            ),
            "active_version": served,
        }
    return found | {
        "path": str(database.path),
        "read_only": database.read_only,
        "schema": HEAD,
        "database": database.engine.dialect.name,
        "sqlite": sqlite3.sqlite_version,
        "sqlite_wal_defect": WAL_DEFECT if database.is_sqlite and _is_defective() else None,
    }


def _is_defective() -> bool:
    return sqlite3.sqlite_version_info < SOUND_SQLITE


def verify(store: EpisodeStore, index: VectorIndex | None, namespace: Namespace) -> list[str]:
    """What is wrong, one sentence each; [] when everything agrees."""
    database = store.database
    problems: list[str] = []
    with database.read() as connection:
        if database.is_sqlite:
            pages = connection.execute(text("PRAGMA quick_check")).scalars().all()
            problems += [f"the database file: {page}" for page in pages if page != "ok"]
        owner = store.namespace_id(connection, namespace)
        if owner is None:
            return problems
        for what, n in _disagreements(connection, owner).items():
            if n:
                problems.append(f"{n} {what}")
    if index is not None:
        report = index.verify(owner)
        problems += [f"{report[name]} vectors {name} in the index: rebuild_index() makes it anew"
                     for name in ("missing", "orphans") if report.get(name)]  # fmt: skip
    return problems


def _disagreements(connection: Connection, owner: int) -> dict[str, int]:
    """Rows that have no counterpart, by kind."""
    own = episodes.c.namespace_id == owner
    found = {}
    for name, table in (("vectors", vectors), ("lengths", lexical_lengths)):
        row = exists().where(table.c.episode_pk == episodes.c.pk, table.c.namespace_id == owner)
        found[f"episodes without {name}"] = _count(connection, own, ~row)
    episode = exists().where(episodes.c.namespace_id == owner)
    for name, table in (("vectors", vectors), ("lengths", lexical_lengths), ("postings", postings),
                        ("history", episode_history), ("outbox rows", index_outbox)):  # fmt: skip
        missing = ~episode.where(episodes.c.pk == table.c.episode_pk)
        found[f"{name} without an episode"] = _count(connection, table.c.namespace_id == owner, missing)
    found["episodes that were forgotten are still there"] = _count(
        connection,
        own,
        exists().where(tombstones.c.namespace_id == owner, tombstones.c.episode_id == episodes.c.id),
    )
    counted = connection.execute(
        select(lexical_statistics.c.episodes, lexical_statistics.c.terms).where(
            lexical_statistics.c.namespace_id == owner
        )
    ).one_or_none()
    lengths = connection.execute(
        select(func.count(), func.coalesce(func.sum(lexical_lengths.c.length), 0)).where(
            lexical_lengths.c.namespace_id == owner
        )
    ).one()
    if tuple(counted or (0, 0)) != tuple(lengths):
        found["lexical statistics disagree with the lengths"] = 1
    return found


def _count(connection: Connection, *where: ColumnElement[bool]) -> int:
    return int(connection.execute(select(func.count()).where(*where)).scalar_one())
