"""One session of the memory as a `BaseChatMessageHistory`, for code that still uses that interface.

Holds what people and models said in words; tool calls and their results have no place in it. Messages that
come back are made from episodes, so `clear()` forgets them for good, from weights as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.chat_history import BaseChatMessageHistory
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from langchain_agent_memory.messages import to_items
from langchain_agent_memory.recording import Recorder
from langchain_agent_memory.scope import Scope

_KINDS: dict[str, type[BaseMessage]] = {"user": HumanMessage, "assistant": AIMessage}


class AgentMemoryChatHistory(BaseChatMessageHistory):
    """The messages of one session.

    The same words in the same role count once within the memory's duplicate window, like every episode; a
    memory that is to keep each of them is opened with `StoreConfig(duplicate_window_seconds=0)`.

    Args:
        memory: An open `MemoryManager`.
        session_id: The session.
        user_id: Whose, unless the memory has a fixed scope.
        agent_id: Likewise.
    """

    def __init__(
        self, memory: Any, session_id: str, *, user_id: str | None = None, agent_id: str | None = None
    ) -> None:
        self._memory = memory
        self._scope = Scope(user_id=user_id, agent_id=agent_id, session_id=session_id)
        self._recorder = Recorder(memory)

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]  # theirs is an attribute
        """The session so far, oldest first."""
        episodes = self._memory.list(filters={"session_id": self._scope.session_id}, **self._scope.owner)
        return [
            _KINDS[e.role](content=e.text, id=e.metadata.get("message_id") or e.id)
            for e in reversed(episodes)
            if e.role in _KINDS
        ]

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        """Records the messages in one transaction; one whose id is known is not recorded again.

        Raises:
            ScopeError: The scope is absent or not the memory's.
            StoreError: The record cannot be written.
        """
        said = [message for message in messages if isinstance(message, HumanMessage | AIMessage)]
        inputs = [message.id for message in said if message.id]
        items = to_items(said, inputs=[*inputs, None], session_id=self._scope.session_id)
        self._recorder.record(items, self._scope)

    def clear(self) -> None:
        """Forgets the session, as `MemoryManager.forget` does."""
        self._memory.forget(
            filters={"session_id": self._scope.session_id}, reason="history cleared", **self._scope.owner
        )
