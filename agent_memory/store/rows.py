"""How an episode lies in the tables: rows from drafts, episodes from rows, and what a batch repeats.

Statements only, on the caller's connection; when to run them is decided in `episodes.py`. A batch takes a few
statements, however many episodes it has.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, cast
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    and_,
    bindparam,
    func,
    insert,
    or_,
    select,
    update,
)

from agent_memory.store import lexical, vectors
from agent_memory.store.checks import Draft
from agent_memory.store.keys import among, one_of
from agent_memory.store.prepared import Prepared
from agent_memory.store.tables import counters, episode_history, episodes
from agent_memory.types import Episode, Namespace, Trust


def live(namespace_id: int, now: datetime) -> ColumnElement[bool]:
    """Of this namespace, and not expired."""
    return and_(
        episodes.c.namespace_id == namespace_id,
        or_(episodes.c.expires_at.is_(None), episodes.c.expires_at > now),
    )


def new_id(now: datetime) -> str:
    """A UUID of version 7 (RFC 9562): milliseconds, then 74 random bits; sorts by time, says nothing else."""
    value = int(now.timestamp() * 1000) << 80 | int.from_bytes(os.urandom(10))
    return str(UUID(int=value & ~(0xF << 76 | 0x3 << 62) | 0x7 << 76 | 0x2 << 62))


# Statements are built once: to build one takes longer than to run it.
_OWN = episodes.c.namespace_id == bindparam("owner")
_REPEATING_KEY = Prepared(
    select(episodes.c.pk).where(_OWN, one_of(episodes.c.idempotency_key, "keys")), "owner", "keys"
)
_REPEATING_CONTENT = Prepared(
    select(episodes.c.pk).where(_OWN, one_of(episodes.c.content_hash, "hashes")), "owner", "hashes"
)
_LIVE = select(episodes).where(
    among(episodes, episodes.c.pk),
    or_(episodes.c.expires_at.is_(None), episodes.c.expires_at > bindparam("now")),
)
_GROW = Prepared(
    update(counters)
    .where(counters.c.name == bindparam("counter"))
    .values(value=counters.c.value + bindparam("by"))
    .returning(counters.c.value),
    "by", "counter",
)  # fmt: skip
_LAST_POSITION = Prepared(
    select(func.max(episodes.c.position)).where(_OWN, episodes.c.session_id == bindparam("session")),
    "owner", "session",
)  # fmt: skip
_INSERT = Prepared(
    insert(episodes),
    "pk", "id", "namespace_id", "text", "role", "session_id", "position", "source", "trust", "occurred_at",
    "created_at", "expires_at", "revision", "metadata", "content_hash", "idempotency_key",
)  # fmt: skip


class Known:
    """What a batch may repeat: keys and contents that are in the namespace, or earlier in the batch."""

    def __init__(
        self,
        connection: Connection,
        namespace_id: int,
        drafts: Sequence[Draft],
        *,
        now: datetime,
        window: float,
    ) -> None:
        self._window = timedelta(seconds=window)
        self._keys: dict[str, Any] = {}
        self._contents: dict[str, list[tuple[datetime, Any]]] = {}
        keys = [one.idempotency_key for one in drafts if one.idempotency_key is not None]
        hashes = [one.content_hash for one in drafts] if window else []
        found = _REPEATING_KEY.rows(connection, namespace_id, keys) if keys else []
        found += _REPEATING_CONTENT.rows(connection, namespace_id, hashes) if hashes else []
        if found:
            self._load(connection, namespace_id, [pk for (pk,) in found], now=now)

    def _load(self, connection: Connection, namespace_id: int, pks: list[int], *, now: datetime) -> None:
        """Takes up the live ones among these episodes."""
        for row in connection.execute(_LIVE, {"owner": namespace_id, "pks": pks, "now": now}):
            if row.idempotency_key is not None:
                self._keys[row.idempotency_key] = row
            if self._window:
                self._contents.setdefault(row.content_hash, []).append((row.occurred_at, row))

    def recall(self, one: Draft) -> Any:
        """The row, or the episode of the same batch, that this one repeats; None where it is new."""
        if one.idempotency_key is not None and one.idempotency_key in self._keys:
            return self._keys[one.idempotency_key]
        for occurred_at, earlier in self._contents.get(one.content_hash, ()):
            if abs(one.occurred_at - occurred_at) <= self._window:
                return earlier
        return None

    def remember(self, one: Draft, episode: Episode) -> None:
        """This one is now in the batch."""
        if one.idempotency_key is not None:
            self._keys[one.idempotency_key] = episode
        if self._window:
            self._contents.setdefault(one.content_hash, []).append((one.occurred_at, episode))


def insert_all(
    connection: Connection,
    namespace_id: int,
    fresh: Sequence[tuple[Draft, Episode, NDArray[np.float32] | None]],
) -> None:
    """Episodes, postings, vectors and outbox rows, by a few statements for all of them."""
    ((last,),) = _GROW.rows(connection, len(fresh), "episodes")
    pks = range(last - len(fresh) + 1, last + 1)
    positions = _positions(connection, namespace_id, [one.session_id for one, _, _ in fresh])
    _INSERT.change(connection, [
        (pk, episode.id, namespace_id, one.text, one.role, one.session_id, position, one.source, one.trust,
         one.occurred_at, episode.created_at, one.expires_at, episode.revision, one.metadata,
         one.content_hash, one.idempotency_key)
        for pk, position, (one, episode, _) in zip(pks, positions, fresh, strict=True)
    ])  # fmt: skip
    lexical.add(
        connection,
        namespace_id,
        [(pk, one.text) for pk, (one, _, _) in zip(pks, fresh, strict=True)],
        times={pk: one.occurred_at for pk, (one, _, _) in zip(pks, fresh, strict=True)},
    )
    rows = [(pk, 1, vector) for pk, (_, _, vector) in zip(pks, fresh, strict=True)]
    vectors.add(connection, namespace_id, rows, fresh=True)


def _positions(connection: Connection, namespace_id: int, sessions: Sequence[str | None]) -> list[int | None]:
    """The place of each new episode in its session."""
    following: dict[str, int] = {}
    for named in {session for session in sessions if session is not None}:
        ((last,),) = _LAST_POSITION.rows(connection, namespace_id, named)
        following[named] = 0 if last is None else last + 1
    positions: list[int | None] = []
    for session in sessions:
        if session is None:
            positions.append(None)
            continue
        positions.append(following[session])
        following[session] += 1
    return positions


def record(connection: Connection, rows: Sequence[Row[Any]], event: str, *, now: datetime) -> None:
    """Keeps what the rows are before a change."""
    if rows:
        connection.execute(insert(episode_history), [
            {"namespace_id": row.namespace_id, "episode_pk": row.pk, "revision": row.revision, "event": event,
             "text": row.text, "metadata": row.metadata, "trust": row.trust, "changed_at": now}
            for row in rows
        ])  # fmt: skip


def new_episode(one: Draft, namespace: Namespace, *, now: datetime, episode_id: str) -> Episode:
    """The episode that a draft becomes."""
    return Episode(
        id=episode_id, text=one.text, role=one.role, session_id=one.session_id, source=one.source,
        trust=one.trust,
        occurred_at=one.occurred_at, created_at=now, revision=1, metadata=one.metadata,
        user_id=namespace.user_id, agent_id=namespace.agent_id, expires_at=one.expires_at,
    )  # fmt: skip


def episode_of(row: Any, namespace: Namespace) -> Episode:
    """The episode that a row holds."""
    return Episode(
        id=row.id, text=row.text, role=row.role, session_id=row.session_id, source=row.source,
        trust=cast(Trust, row.trust), occurred_at=row.occurred_at, created_at=row.created_at,
        revision=row.revision, metadata=row.metadata, user_id=namespace.user_id, agent_id=namespace.agent_id,
        expires_at=row.expires_at,
    )  # fmt: skip
