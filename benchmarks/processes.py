"""Processes that begin with nothing but loaded code: no threads, locks or open files of whoever starts them.

They are forked from one server that has imported what takes long and done nothing with it. A fork of the
caller would inherit what cannot be used there: after Chroma, torch or a running thread it may wait for ever.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

#: What the server imports, before the first of them starts.
LOADED = [
    "chromadb.api.rust",
    "agent_memory.manager",
    "agent_memory.models.embedder",
    "agent_memory.search",
    "agent_memory.store.folders",
    "agent_memory.store.migrations",
]


def fresh() -> Any:
    """The context of `multiprocessing` that makes such processes."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LOADED)
    return context


def started(target: Callable[..., None], *arguments: Any) -> tuple[Any, Connection]:
    """A process that does this and sends what it has to say, and the end of the pipe where that arrives."""
    receiving, sending = fresh().Pipe(duplex=False)
    process = fresh().Process(target=target, args=(sending, *arguments))
    process.start()
    sending.close()
    return process, receiving
