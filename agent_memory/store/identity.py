"""Whose vectors these are: the store remembers which embedder made them.

Vectors of two embedders cannot be compared, so opening with another embedder is an error until all vectors
are made anew. Then every vector is dropped and every index retired in one transaction; the texts wait to be
embedded, and words find them meanwhile.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, delete, insert, literal, select, update

from agent_memory.errors import EmbedderMismatch, EmbeddingError
from agent_memory.store.database import Database
from agent_memory.store.tables import (
    episodes,
    index_generations,
    index_outbox,
    namespaces,
    store_identity,
    vectors,
)

_NAME = "embedder"
Embed = Callable[[Sequence[str]], NDArray[np.float32]]
_log = logging.getLogger(__name__)


def bind_embedder(database: Database, identity: str, *, rebuild: bool = False) -> list[int]:
    """Sees to it that all vectors are of this embedder.

    Returns:
        The namespaces whose vectors wait to be made anew; none where nothing had to change.

    Raises:
        EmbedderMismatch: another embedder made them, and `rebuild` is False.
    """
    wanted = select(store_identity.c.value).where(store_identity.c.name == _NAME)
    with database.read() as connection:
        known = connection.execute(wanted).scalar()
    if known == identity or (known is None and database.read_only):
        return []
    if known is not None and not rebuild:
        raise EmbedderMismatch(
            f"the vectors in {database.path} were made by the embedder {known}, not by {identity}: open with "
            "that one, or with rebuild_index=True to make all vectors anew"
        )
    with database.write() as connection:
        if connection.execute(wanted).scalar() is None:
            connection.execute(insert(store_identity).values(name=_NAME, value=identity))
            return []
        connection.execute(
            update(store_identity).where(store_identity.c.name == _NAME).values(value=identity)
        )
        return _drop_all(connection)


def _drop_all(connection: Connection) -> list[int]:
    """Makes every vector pending and retires every index."""
    connection.execute(delete(index_outbox))
    connection.execute(delete(vectors))
    connection.execute(update(index_generations).values(state="retired"))
    row = select(episodes.c.namespace_id, episodes.c.pk, episodes.c.revision)
    columns = ["namespace_id", "episode_pk", "revision"]
    connection.execute(insert(vectors).from_select(columns, row))
    connection.execute(insert(index_outbox).from_select([*columns, "op"], row.add_columns(literal("embed"))))
    return list(connection.execute(select(namespaces.c.id).order_by(namespaces.c.id)).scalars())


def bound(database: Database, embedder: Embedder, *, rebuild: bool = False) -> tuple[Embed, list[int]]:
    """The embedder's function from texts to vectors, bound to this store, and what waits to be made anew.

    An embedder that fails now cannot say who it is: it is bound at its first success, since a memory must
    open without it.

    Raises:
        EmbedderMismatch: another embedder made the stored vectors; from here, or from the first success.
    """
    changed: list[int] = []
    known = threading.Event()
    try:
        changed = bind_embedder(database, embedder.identity, rebuild=rebuild)
        known.set()
    except EmbeddingError as error:
        _log.warning("the embedder fails, vectors will be pending: %s", error)

    def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        found = embedder.embed_array(texts)
        if not known.is_set():
            bind_embedder(database, embedder.identity, rebuild=rebuild)
            known.set()
        return found

    return embed, changed


class Embedder(Protocol):
    """What is needed of an embedder here."""

    @property
    def identity(self) -> str:
        """Equal identities make comparable vectors; asking may embed a word."""
        ...

    def embed_array(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """One finite row per text."""
        ...
