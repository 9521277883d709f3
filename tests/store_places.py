"""Places for the store's tests: a directory on SQLite, or one with a fresh PostgreSQL database.

`AGENT_MEMORY_TEST_POSTGRES` holds the URL of a server that may create databases; without it those tests do
not run.
"""

from __future__ import annotations

import multiprocessing
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from agent_memory import MemoryManager
from agent_memory.config import Config
from agent_memory.store.database import Database, open_database

SERVER = os.environ.get("AGENT_MEMORY_TEST_POSTGRES")
DIALECTS = ("sqlite", "postgresql") if SERVER else ("sqlite",)


@dataclass(frozen=True)
class Place:
    """Where a memory can be opened, again and again."""

    path: Path
    url: str | None

    def open(self, **arguments: Any) -> MemoryManager:
        """A memory there; small vectors unless told otherwise."""
        arguments.setdefault("embeddings", hashed)
        return MemoryManager.open(self.path, database_url=self.url, **arguments)

    def database(self) -> Database:
        """The bare record there."""
        return open_database(self.path, url=self.url)


def hashed(texts: list[str]) -> NDArray[np.float32]:
    """Vectors of eight numbers that depend on the words only: an embedder that costs nothing."""
    rows = np.full((len(texts), 8), 0.01, dtype=np.float32)
    for row, sentence in zip(rows, texts, strict=True):
        for word in sentence.lower().split():
            row[sum(word.encode()) % 8] += 1
    return rows


@contextmanager
def fresh(dialect: str, path: Path) -> Iterator[Place]:
    """An empty place; its database is dropped afterwards."""
    if dialect == "sqlite":
        yield Place(path, None)
        return
    assert SERVER is not None
    name = f"test_{uuid.uuid4().hex}"
    engine = create_engine(SERVER, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        yield Place(path, make_url(SERVER).set(database=name).render_as_string(hide_password=False))
        with engine.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    finally:
        engine.dispose()


def texts(memory: MemoryManager, **arguments: Any) -> set[str]:
    """What the episodes of a memory say."""
    return {episode.text for episode in memory.list(**arguments)}


def small(**sections: Any) -> Config:
    """Settings with the given sections changed."""
    return Config(**sections)


def in_child(work: Callable[[], Any], *, user: int | None = None) -> Any:
    """What `work` returns in a forked process, under another user's rights where one is named.

    Raises:
        Exception: what it raised there.
    """
    receiving, sending = multiprocessing.Pipe(duplex=False)
    pid = os.fork()
    if pid == 0:
        outcome: Any = ChildProcessError("nothing was sent")
        try:
            if user is not None:
                os.setgid(user)
                os.setuid(user)
            outcome = work()
        except BaseException as error:  # noqa: BLE001  # sent to the parent, which raises it
            outcome = error
        finally:
            sending.send(outcome)
            os._exit(0)
    sending.close()
    outcome = receiving.recv()
    os.waitpid(pid, 0)
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome
