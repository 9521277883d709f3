"""What answers: the version that is served, and what the record says of it.

It is read in one snapshot; who hears a version asks afterwards whether it may speak (`Served.still`), for it
may have been forgotten or rolled back meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, and_, exists, select

from agent_memory.consolidation import examine, taught, versions
from agent_memory.errors import NotFound
from agent_memory.store import tables
from agent_memory.store.database import Database
from agent_memory.types import Episode


@dataclass(frozen=True, slots=True)
class Served:
    """What answers: a version and its folder (None: the bare base), and the ids of what it verifiably knows.

    `heard_of` tells whether the version was taught about the names in a question, `settled` the ids of those
    among some episodes that cannot be news to it, and `still` whether it was neither forgotten nor, unless it
    was asked for by its id, rolled back meanwhile. A newer version that was promoted does not silence it.
    `base` is the fingerprint of the model that wears it.
    """

    version: str | None
    adapter: Path | None
    slow: frozenset[str]
    heard_of: Callable[[str], bool] = lambda _question: True
    settled: Callable[[Sequence[Episode]], frozenset[str]] = lambda _episodes: frozenset()
    still: Callable[[], bool] = lambda: True
    base: str = ""


BASE = Served(None, None, frozenset())


def find(
    database: Database, namespace_id: int | None, *, adapter: str = "active", base: str | None = None
) -> Served:
    """The version that is to answer: "active", "base", or one by its id.

    Args:
        database: the record.
        namespace_id: whose; None where nothing was ever stored.
        adapter: which.
        base: fingerprint of the model at hand; the active version of another base is not served, nor is one
            that has learnt what has expired since: the next write takes it away.

    Raises:
        NotFound: no version by that id can be served in this namespace.
    """
    if adapter == "base":
        return BASE
    v = tables.versions.c
    wanted = (
        v.state == "active"
        if adapter == "active"
        else and_(v.id == adapter, v.state.in_(("active", "retired")))
    )
    with database.read() as connection:
        lasting = versions.holds_nothing_expired(database.now())
        row = connection.execute(
            select(v.id, v.base).where(v.namespace_id == namespace_id, wanted, lasting)
        ).first()
        if row is not None and base in (None, row.base):
            return Served(
                row.id,
                versions.folder(database.path, row.id),
                slow=frozenset(examine.slow(connection, row.id)),
                heard_of=partial(_looked_up, database, taught.heard_of, row.id),
                settled=partial(_looked_up, database, taught.settled, row.id),
                still=lambda: _looked_up(database, _still, row.id, adapter != "active", database.now()),
                base=row.base,
            )
    if adapter != "active":
        raise NotFound(f"no version {adapter} of this model can be served in this namespace")
    return BASE


def _looked_up(database: Database, tell: Callable[..., Any], *about: Any) -> Any:
    with database.read() as connection:
        return tell(connection, *about)


def _still(connection: Connection, version_id: str, named: bool, now: datetime) -> bool:
    v, newer = tables.versions.c, tables.versions.alias().c
    later = and_(newer.namespace_id == v.namespace_id, newer.created_at > v.created_at)
    replaced = exists().where(later, newer.state == "active")
    lasting = versions.holds_nothing_expired(now)
    found = select(v.state, v.reasons, replaced.label("replaced")).where(v.id == version_id, lasting)
    row = connection.execute(found).first()
    if row is None or row.state not in ("active", "retired"):
        return False
    return named or row.state == "active" or (row.replaced and versions.WITHDRAWN not in row.reasons)
