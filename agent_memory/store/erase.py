"""Forgetting: out of service before the call returns, out of the files as soon as nothing blocks it.

First one transaction: every part that made something from the episodes erases it (postings, vectors,
outbox, study items; versions that hold them are tainted), then history and episodes go, and a tombstone
with id and time stays, so that no import brings them back. From its commit on nothing serves them, in any
process.

Then the bytes. `secure_delete` has overwritten them in the database; copies remain in the write-ahead log
and in the files of the parts. Each part sweeps its own (a new generation of the vector index, run folders,
tainted adapters), and the log is truncated. What another process blocks, a read transaction for instance,
stays pending as a row of `erasures`, and the next writer tries again. An expired episode takes the same
way, at the next write.

What no store can do is listed in the receipt: `not_covered`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    bindparam,
    delete,
    exists,
    insert,
    select,
    true,
    update,
)

from agent_memory.errors import InvalidInput, NotFound
from agent_memory.store.checks import check_ids, check_text
from agent_memory.store.database import Database
from agent_memory.store.filters import Filter, condition
from agent_memory.store.prepared import Prepared
from agent_memory.store.tables import (
    episode_history,
    episodes,
    erasures,
    tombstones,
    version_episodes,
)
from agent_memory.types import ForgetReceipt, Namespace

if TYPE_CHECKING:
    from agent_memory.store.episodes import EpisodeStore

NOT_COVERED = ("exports made earlier", "backups", "blocks that the disk has not overwritten yet")
NOT_COVERED_POSTGRESQL = "PostgreSQL's dead rows and log until VACUUM and log recycling"
_EXPIRED_AT_ONCE = 1000  # chosen: bounds what one add may have to do for others
_PIECE = 500  # values of one IN; old builds of SQLite allow 999 parameters
_REASON_BYTES = 2000  # chosen: a sentence or two


@dataclass(frozen=True)
class Part:
    """Something that is made from episodes, and how it is unmade.

    `erase(connection, namespace_id, pks)` deletes within the transaction, while the episodes are still
    there, and returns how much; it gets at most some hundred keys at once. `sweep(namespace_id)` runs after
    the commit, outside of any transaction, and returns whether none of the erased bytes are left in the
    part's files; it is called again until it returns True.
    """

    name: str
    erase: Callable[[Connection, int, Sequence[int]], int]
    sweep: Callable[[int], bool] = lambda _: True


def forget(
    store: EpisodeStore,
    namespace: Namespace,
    *,
    ids: object = None,
    filters: Filter | None = None,
    everything: bool = False,
    reason: str | None = None,
) -> ForgetReceipt:
    """Forgets the named episodes, those that meet a filter, or all of the namespace.

    Raises:
        InvalidInput: not exactly one of the three, or a filter without a test.
        NotFound: one of the ids was never in this namespace; nothing is forgotten.
    """
    if sum((ids is not None, filters is not None, everything is True)) != 1:
        raise InvalidInput("forget takes exactly one of ids, filters= and everything=True")
    wanted = None if ids is None else check_ids(ids)
    reason = None if reason is None else check_text(reason, limit=_REASON_BYTES)
    dialect = store.database.engine.dialect.name
    where = true() if filters is None else condition(filters, dialect=dialect, empty=False)
    not_covered = NOT_COVERED if store.database.is_sqlite else (*NOT_COVERED, NOT_COVERED_POSTGRESQL)
    now = store.database.now()
    with store.writing() as connection:
        namespace_id = store.namespace_id(connection, namespace)
        owner = -1 if namespace_id is None else namespace_id
        chosen = (
            _by_id(connection, owner, wanted)
            if wanted is not None
            else _by_condition(connection, owner, where)
        )
        tainted = _versions_with(connection, owner, [episode_id for _, episode_id in chosen])
        counts = _erase(connection, store.parts, namespace_id=owner, chosen=chosen, now=now, reason=reason)
        now = store.database.now()
    finished = finish(store.database, store.parts) if chosen else True
    return ForgetReceipt(
        ids=tuple(episode_id for _, episode_id in chosen),
        unserved_at=now,
        erased_at=store.database.now() if finished else None,
        counts=counts,
        versions_tainted=tuple(tainted),
        not_covered=not_covered,
    )


_LOOK = Prepared(
    select(
        exists().where(episodes.c.expires_at <= bindparam("now")),
        exists().where(erasures.c.erased_at.is_(None)),
    ),
    "now",
)


def expire(connection: Connection, parts: Iterable[Part], *, now: datetime) -> bool:
    """Erases what has expired, in any namespace; returns whether erasures are pending (those included)."""
    ((expired, pending),) = _LOOK.rows(connection, now)
    if expired:
        query = select(episodes.c.namespace_id, episodes.c.pk, episodes.c.id).where(
            episodes.c.expires_at <= now
        )
        found = connection.execute(query.limit(_EXPIRED_AT_ONCE)).all()
        for namespace_id in sorted({row.namespace_id for row in found}):
            chosen = [(row.pk, row.id) for row in found if row.namespace_id == namespace_id]
            _erase(connection, parts, namespace_id=namespace_id, chosen=chosen, now=now, reason="expired")
    return bool(expired or pending)


def finish(database: Database, parts: Iterable[Part], *, patience_seconds: float = 0.2) -> bool:
    """Removes the bytes of what is erased but pending; returns whether nothing is pending any more."""
    waiting = select(erasures.c.pk, erasures.c.namespace_id).where(erasures.c.erased_at.is_(None))
    with database.read() as connection:
        rows = connection.execute(waiting).all()
    clean: dict[int, bool] = {}
    for namespace_id in sorted({row.namespace_id for row in rows}):
        swept = [part.sweep(namespace_id) for part in parts]  # each of them, whatever an earlier one says
        clean[namespace_id] = all(swept)
    done = [row.pk for row in rows if clean[row.namespace_id]]
    if done and database.truncate_log(patience_seconds=patience_seconds):
        with database.write() as connection:
            connection.execute(
                update(erasures).where(erasures.c.pk == bindparam("done")).values(erased_at=database.now()),
                [{"done": pk} for pk in done],
            )
        return len(done) == len(rows)
    return not rows


def refused(connection: Connection, *, namespace_id: int | None, ids: Sequence[str]) -> set[str]:
    """Those of the ids that were forgotten in this namespace and may not come back."""
    found: set[str] = set()
    for piece in pieces(ids):
        query = select(tombstones.c.episode_id).where(
            tombstones.c.namespace_id == namespace_id, tombstones.c.episode_id.in_(piece)
        )
        found |= set(connection.execute(query).scalars())
    return found


def _erase(
    connection: Connection,
    parts: Iterable[Part],
    *,
    namespace_id: int,
    chosen: Sequence[tuple[int, str]],
    now: datetime,
    reason: str | None,
) -> dict[str, int]:
    """Every part's rows, history and episodes; leaves tombstones and a pending erasure. Returns counts."""
    counts = {"episodes": len(chosen)}
    if not chosen:
        return counts
    pks = [pk for pk, _ in chosen]
    for part in parts:
        counts[part.name] = sum(part.erase(connection, namespace_id, piece) for piece in pieces(pks))
    counts["history"] = delete_by_pk(connection, episode_history, pks)
    delete_by_pk(connection, episodes, pks, key="pk")
    row = {"namespace_id": namespace_id, "forgotten_at": now}
    connection.execute(insert(tombstones), [row | {"episode_id": episode_id} for _, episode_id in chosen])
    connection.execute(
        insert(erasures).values(
            namespace_id=namespace_id, reason=reason, episodes=len(chosen), unserved_at=now
        )
    )
    return counts


def delete_by_pk(connection: Connection, table: Table, pks: Sequence[int], *, key: str = "episode_pk") -> int:
    """Deletes the rows of these episodes, in pieces; returns how many. For the parts, too."""
    return sum(
        connection.execute(delete(table).where(table.c[key].in_(piece))).rowcount for piece in pieces(pks)
    )


def _by_id(connection: Connection, namespace_id: int, ids: Sequence[str]) -> list[tuple[int, str]]:
    found: list[tuple[int, str]] = []
    for piece in pieces(ids):
        query = select(episodes.c.pk, episodes.c.id).where(
            episodes.c.namespace_id == namespace_id, episodes.c.id.in_(piece)
        )
        found += [(row.pk, row.id) for row in connection.execute(query)]
    missing = set(ids) - {episode_id for _, episode_id in found}
    missing -= refused(connection, namespace_id=namespace_id, ids=sorted(missing))
    if missing:
        raise NotFound(f"no episode {min(missing)} in this namespace; nothing was forgotten")
    return found


def _by_condition(
    connection: Connection, namespace_id: int, where: ColumnElement[bool]
) -> list[tuple[int, str]]:
    query = select(episodes.c.pk, episodes.c.id).where(episodes.c.namespace_id == namespace_id, where)
    return [(row.pk, row.id) for row in connection.execute(query.order_by(episodes.c.pk))]


def _versions_with(connection: Connection, namespace_id: int, ids: Sequence[str]) -> list[str]:
    """Versions whose manifest names one of the episodes; their part taints them."""
    found: set[str] = set()
    for piece in pieces(ids):
        query = select(version_episodes.c.version_id).where(
            version_episodes.c.namespace_id == namespace_id, version_episodes.c.episode_id.in_(piece)
        )
        found |= set(connection.execute(query.distinct()).scalars())
    return sorted(found)


def pieces(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """The values in pieces that one IN can hold."""
    return (values[start : start + _PIECE] for start in range(0, len(values), _PIECE))
