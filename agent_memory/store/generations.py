"""Which generation of an index serves, and which vectors are in it: the bookkeeping, all of it in SQL.

A generation is one folder of Chroma, `index/<namespace key>/<generation>/`. It is `building`, then `live`,
then `retired` until its folder is gone. Numbers of generations and of batches come from one counter and are
never given twice, so that a mark or an open folder of the past can never be taken for one of today.

A batch is claimed, copied, then marked. The claim (`indexed_in`) comes first so that a forget knows that the
folder may hold the vector; the mark (`index_revision`) comes last, so that no vector counts as copied that is
not. A kill between the two leaves rows that are copied again.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, bindparam, delete, func, insert, or_, select, update

from agent_memory.store.tables import counters, index_generations, lexical_statistics, namespaces, vectors

_table = index_generations


def namespace_key(connection: Connection, namespace_id: int) -> str:
    """The name of the namespace's folder."""
    statement = select(namespaces.c.key).where(namespaces.c.id == namespace_id)
    return str(connection.execute(statement).scalar_one())


def count(connection: Connection, namespace_id: int) -> int:
    """How many episodes the namespace has."""
    statement = select(lexical_statistics.c.episodes).where(lexical_statistics.c.namespace_id == namespace_id)
    return int(connection.execute(statement).scalar() or 0)


def known(connection: Connection, namespace_id: int) -> list[Any]:
    """The generations that have, or may have, a folder."""
    return list(connection.execute(select(_table).where(_table.c.namespace_id == namespace_id)))


def in_state(connection: Connection, namespace_id: int, state: str) -> Any:
    """The generation in this state, or None."""
    return next((one for one in known(connection, namespace_id) if one.state == state), None)


def retire(connection: Connection, namespace_id: int) -> None:
    """Ends the service of every generation of a namespace."""
    connection.execute(update(_table).where(_table.c.namespace_id == namespace_id).values(state="retired"))


def forget_retired(connection: Connection, namespace_id: int) -> None:
    """Drops the retired generations, whose folders are gone."""
    mine = _table.c.namespace_id == namespace_id
    connection.execute(delete(_table).where(mine, _table.c.state == "retired"))


def begin(connection: Connection, namespace_id: int, *, at: datetime) -> int:
    """The number of a new generation, which is building; all others are retired."""
    retire(connection, namespace_id)
    number = _next_number(connection)
    connection.execute(insert(_table).values(
        namespace_id=namespace_id, generation=number, state="building", revision=number, created_at=at
    ))  # fmt: skip
    return number


def serve(connection: Connection, namespace_id: int, generation: int) -> bool:
    """Whether a generation that was building serves now; False when it was retired meanwhile."""
    waits = and_(_this(namespace_id, generation), _table.c.state == "building")
    return bool(connection.execute(update(_table).where(waits).values(state="live")).rowcount)


def not_in(generation: int) -> ColumnElement[bool]:
    """The vectors whose newest revision a generation does not hold."""
    return or_(vectors.c.indexed_in.is_(None), vectors.c.indexed_in != generation,
               vectors.c.index_revision.is_(None))  # fmt: skip


def waiting() -> ColumnElement[bool]:
    """The vectors that no index holds in their newest revision."""
    return vectors.c.index_revision.is_(None)


def unseen(revision: int) -> ColumnElement[bool]:
    """The vectors that a reader who saw this batch last has not seen."""
    return or_(vectors.c.index_revision.is_(None), vectors.c.index_revision > revision)


def counted(connection: Connection, namespace_id: int, wanted: ColumnElement[bool]) -> int:
    """How many vectors of a namespace meet a condition; pending ones are no vectors."""
    statement = select(func.count()).where(vectors.c.namespace_id == namespace_id, wanted)
    return int(connection.execute(statement.where(vectors.c.vector.is_not(None))).scalar_one())


def marked(connection: Connection, namespace_id: int, generation: int) -> dict[int, bool]:
    """The keys that a generation was to hold, and whether it holds their newest revision."""
    statement = select(vectors.c.episode_pk, vectors.c.index_revision).where(
        vectors.c.namespace_id == namespace_id, vectors.c.indexed_in == generation
    )
    return {pk: revision is not None for pk, revision in connection.execute(statement)}


def claim(
    connection: Connection,
    namespace_id: int,
    generation: int,
    *,
    revision: int,
    wanted: ColumnElement[bool],
    most: int,
) -> list[Any] | None:
    """The next rows to be copied, marked as about to be; None when another has written or retired it."""
    if _revision(connection, namespace_id, generation) != revision:
        return None
    columns = (vectors.c.episode_pk, vectors.c.revision, vectors.c.dimension, vectors.c.vector)
    statement = select(*columns).where(
        vectors.c.namespace_id == namespace_id, vectors.c.vector.is_not(None), wanted
    )
    batch = list(connection.execute(statement.order_by(vectors.c.episode_pk).limit(most)))
    if batch:
        connection.execute(
            _by_key(namespace_id).values(indexed_in=generation), [{"pk": row.episode_pk} for row in batch]
        )
    return batch


def mark(
    connection: Connection, namespace_id: int, generation: int, *, revision: int, batch: list[Any]
) -> int | None:
    """Marks a batch as copied, but for rows that changed meanwhile; its number, None when overtaken."""
    if _revision(connection, namespace_id, generation) != revision:
        return None
    number = _next_number(connection)
    connection.execute(update(_table).where(_this(namespace_id, generation)).values(revision=number))
    unchanged = vectors.c.revision == bindparam("seen")
    connection.execute(
        _by_key(namespace_id).where(unchanged).values(index_revision=number),
        [{"pk": row.episode_pk, "seen": row.revision} for row in batch],
    )
    return number


def _this(namespace_id: int, generation: int) -> ColumnElement[bool]:
    return and_(_table.c.namespace_id == namespace_id, _table.c.generation == generation)


def _revision(connection: Connection, namespace_id: int, generation: int) -> int | None:
    """The last batch of a generation; None once it is retired."""
    statement = select(_table.c.revision).where(_this(namespace_id, generation), _table.c.state != "retired")
    return connection.execute(statement).scalar()


def _by_key(namespace_id: int) -> Any:
    return update(vectors).where(
        vectors.c.namespace_id == namespace_id, vectors.c.episode_pk == bindparam("pk")
    )


def _next_number(connection: Connection) -> int:
    """A number for a generation or a batch that was never given before."""
    mine = counters.c.name == "index"
    if not connection.execute(update(counters).where(mine).values(value=counters.c.value + 1)).rowcount:
        connection.execute(insert(counters).values(name="index", value=1))
    return int(connection.execute(select(counters.c.value).where(mine)).scalar_one())
