"""Key-value items under a path, beside the episodes in the same record: what a LangGraph store keeps.

An item belongs to one namespace and lies at a path (a tuple of labels) under a key. Its value is JSON; its
vectors, if it has any, stand in the row itself, one per indexed text, so that they die with it. Items are not
episodes: nothing here is consolidated. Where a caller made an episode of an item, the row names it, and
forgetting that episode deletes the row in the same transaction (`erase`).

Paths are joined by "." (labels hold none) and compared by whole labels: ("a",) is no prefix of ("ab",).

Does not know: LangGraph, filters on values, embedders, whether an item is due to be an episode.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, or_, select, true, update

from agent_memory.errors import InvalidInput
from agent_memory.store.erase import delete_by_pk
from agent_memory.store.tables import episodes, namespaces
from agent_memory.store.tables import store_items as t
from agent_memory.types import Namespace

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StoredItem:
    """One row. `vectors` is (texts, dimension), float32, rows of length one, or None when not indexed."""

    path: Path
    key: str
    value: Mapping[str, Any]
    created_at: datetime
    updated_at: datetime
    ttl_minutes: float | None = None
    vectors: NDArray[np.float32] | None = None
    embedder: str | None = None
    """Identity of the embedder that made the vectors."""
    episode_pk: int | None = None


def checked_value(value: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the value as JSON gives it back; tuples become lists.

    Raises:
        InvalidInput: It is no mapping, something in it is not JSON (a set, NaN, a key that is no text), or is
            unusable text.
    """
    if not isinstance(value, Mapping):
        raise InvalidInput(
            f'the value of a store item is a mapping such as {{"text": "..."}}, not {type(value).__name__}'
        )
    try:
        copy: dict[str, Any] = _plain(value)
    except RecursionError as error:
        raise InvalidInput("the value of a store item is nested too deeply") from error
    return copy


def checked_text(text: object) -> str:
    """The text, usable on every database.

    Raises:
        InvalidInput: It is not text, or holds NUL or half a surrogate pair.
    """
    if not isinstance(text, str):
        raise InvalidInput(f"keys of store items are text, not {type(text).__name__}")
    if "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise InvalidInput("text in a store item must hold neither NUL nor half a surrogate pair")
    return text


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {checked_text(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, str):
        return checked_text(value)
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and isfinite(value)):
        return value
    raise InvalidInput(f"the value of a store item must be JSON; it holds a {type(value).__name__}")


def put(connection: Connection, namespace_id: int, item: StoredItem) -> None:
    """Writes the item over the one at its place; the time of its making stays."""
    place = _place(namespace_id, item.path, item.key)
    row = {
        "value": dict(item.value),
        "updated_at": item.updated_at,
        "ttl_minutes": item.ttl_minutes,
        "expires_at": _expiry(item.updated_at, item.ttl_minutes),
        "vectors": None if item.vectors is None else item.vectors.astype("<f4").tobytes(),
        "vector_count": None if item.vectors is None else len(item.vectors),
        "embedder": item.embedder,
        "episode_pk": item.episode_pk,
    }
    if connection.execute(update(t).where(place).values(row)).rowcount == 0:
        here = {"namespace_id": namespace_id, "prefix": _joined(item.path), "key": item.key}
        connection.execute(insert(t).values(**here, **row, created_at=item.created_at))


def remove(connection: Connection, namespace_id: int, path: Path, key: str) -> None:
    """Deletes the item, if it is there."""
    connection.execute(delete(t).where(_place(namespace_id, path, key)))


def get(
    connection: Connection, namespace_id: int, path: Path, key: str, *, now: datetime
) -> StoredItem | None:
    """The item at this place, unless it has expired."""
    row = connection.execute(select(t).where(_place(namespace_id, path, key), _alive(now))).one_or_none()
    return _item(row) if row else None


def under(
    connection: Connection,
    namespace_id: int,
    prefix: Path,
    *,
    now: datetime,
    limit: int | None = None,
    offset: int = 0,
) -> list[StoredItem]:
    """The items at the path and below, the last changed first."""
    query = (
        select(t)
        .where(t.c.namespace_id == namespace_id, _below(prefix), _alive(now))
        .order_by(t.c.updated_at.desc(), t.c.prefix, t.c.key)
        .limit(limit)
        .offset(offset)
    )
    return [_item(row) for row in connection.execute(query)]


def paths(connection: Connection, namespace_id: int, *, now: datetime) -> list[Path]:
    """Every path that holds an item, in order."""
    query = select(t.c.prefix).where(t.c.namespace_id == namespace_id, _alive(now)).distinct()
    return sorted(_split(prefix) for prefix in connection.scalars(query))


def touch(connection: Connection, namespace_id: int, items: Iterable[StoredItem], *, now: datetime) -> None:
    """Begins the time to live of these items anew."""
    for item in items:
        if item.ttl_minutes is not None:
            place = _place(namespace_id, item.path, item.key)
            connection.execute(update(t).where(place).values(expires_at=_expiry(now, item.ttl_minutes)))


def sweep(connection: Connection, *, now: datetime) -> int:
    """How many expired items were deleted, of all namespaces."""
    return connection.execute(delete(t).where(t.c.expires_at.is_not(None), t.c.expires_at <= now)).rowcount


def erase(connection: Connection, namespace_id: int, pks: Sequence[int]) -> dict[str, int]:  # noqa: ARG001
    """Deletes the items that became these episodes; returns how many.

    An item may lie in another namespace than its episode (the agent's, say), so the episodes alone decide.
    """
    return {"store_items": delete_by_pk(connection, t, pks)}


def episode_pk(connection: Connection, namespace: Namespace, episode_id: str) -> int | None:
    """The key of an episode; None where there is none by that id in the namespace."""
    query = select(episodes.c.pk).join(namespaces, namespaces.c.id == episodes.c.namespace_id)
    return connection.scalar(query.where(namespaces.c.key == namespace.key, episodes.c.id == episode_id))


def episode_of(connection: Connection, namespace_id: int, path: Path, key: str) -> str | None:
    """The id of the episode that was made of this item, if one was."""
    query = select(episodes.c.id).join(t, t.c.episode_pk == episodes.c.pk)
    return connection.scalar(query.where(_place(namespace_id, path, key)))


# ---------------------------------------------------------------------- rows


def _place(namespace_id: int, path: Path, key: str) -> ColumnElement[bool]:
    return and_(t.c.namespace_id == namespace_id, t.c.prefix == _joined(path), t.c.key == key)


def _below(prefix: Path) -> ColumnElement[bool]:
    """Whole labels, exactly; LIKE would fold case on SQLite."""
    if not prefix:
        return true()
    head = _joined(prefix)
    return or_(t.c.prefix == head, func.substr(t.c.prefix, 1, len(head) + 1) == f"{head}.")


def _alive(now: datetime) -> ColumnElement[bool]:
    return or_(t.c.expires_at.is_(None), t.c.expires_at > now)


def _expiry(start: datetime, minutes: float | None) -> datetime | None:
    return None if minutes is None else start + timedelta(minutes=minutes)


def _joined(path: Path) -> str:
    return ".".join(path)


def _split(prefix: str) -> Path:
    return tuple(prefix.split("."))


def _item(row: Any) -> StoredItem:
    vectors = None
    if row.vectors is not None:
        vectors = np.frombuffer(row.vectors, dtype="<f4").reshape(row.vector_count, -1)
    return StoredItem(
        path=_split(row.prefix),
        key=row.key,
        value=row.value,
        created_at=row.created_at,
        updated_at=row.updated_at,
        ttl_minutes=row.ttl_minutes,
        vectors=vectors,
        embedder=row.embedder,
        episode_pk=row.episode_pk,
    )
