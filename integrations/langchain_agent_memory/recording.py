"""Writes the messages of a turn into the memory, each once, however often and from wherever it is called.

The truth is the idempotency key in SQL; the keys remembered here only spare a transaction when nothing is
new. A message that the memory refuses (too large, unusable characters) does not take the others with it, nor
the agent's turn: it is named in the log by its id. A memory that cannot write at all raises.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any

from agent_memory.errors import InvalidInput, ScopeError
from langchain_agent_memory.scope import Scope

logger = logging.getLogger(__name__)

#: Keys remembered per recorder; chosen: a few hundred turns.
_REMEMBERED = 4096


class Recorder:
    """Adds items to one memory and remembers which it has added."""

    def __init__(self, memory: Any) -> None:
        self._memory = memory
        self._done: OrderedDict[tuple[str | None, str | None, str], None] = OrderedDict()
        self._lock = Lock()

    def record(self, items: Sequence[Mapping[str, Any]], scope: Scope) -> None:
        """Adds the items that are new, in order, in one transaction.

        Args:
            items: Arguments of `add`; those with an idempotency key are added once.
            scope: Whose they are.

        Raises:
            ScopeError: The scope is absent or not the manager's.
            StoreError: The record cannot be written; nothing is remembered as done.
        """
        fresh = [item for item in items if not self._is_done(item, scope)]
        if not fresh:
            return
        try:
            self._memory.add_many(fresh, **scope.owner)
        except ScopeError:
            raise
        except InvalidInput:
            self._record_singly(fresh, scope)
        self._mark(fresh, scope)

    def _record_singly(self, items: Sequence[Mapping[str, Any]], scope: Scope) -> None:
        for item in items:
            try:
                self._memory.add_many([item], **scope.owner)
            except ScopeError:
                raise
            except InvalidInput as error:
                name = item["metadata"].get("message_id")
                logger.warning("message %s was not recorded: %s", name, type(error).__name__)

    def _is_done(self, item: Mapping[str, Any], scope: Scope) -> bool:
        with self._lock:
            return (scope.user_id, scope.agent_id, item["idempotency_key"]) in self._done

    def _mark(self, items: Sequence[Mapping[str, Any]], scope: Scope) -> None:
        with self._lock:
            for item in items:
                if item["idempotency_key"]:
                    self._done[scope.user_id, scope.agent_id, item["idempotency_key"]] = None
            while len(self._done) > _REMEMBERED:
                self._done.popitem(last=False)
