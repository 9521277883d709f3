"""The row of a namespace, whose key owns everything else that is stored: found, or made.

Such rows are never deleted, so a key that was read once stays right.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, insert, select

from agent_memory.store.tables import namespaces
from agent_memory.types import Namespace


def owner_of(connection: Connection, namespace: Namespace) -> int | None:
    """The key of a namespace; None where nothing was ever stored in it."""
    return connection.execute(select(namespaces.c.id).where(namespaces.c.key == namespace.key)).scalar()


def own(connection: Connection, namespace: Namespace, *, now: datetime) -> int:
    """The key of a namespace, made where it is missing."""
    found = owner_of(connection, namespace)
    if found is not None:
        return found
    names = {"key": namespace.key, "user_id": namespace.user_id, "agent_id": namespace.agent_id}
    made = insert(namespaces).values(created_at=now, **names).returning(namespaces.c.id)
    return int(connection.execute(made).scalar_one())
