"""The turns of a conversation, however the caller has them, as role and content."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agent_memory.errors import InvalidInput


def plain_messages(messages: Sequence[Any]) -> list[dict[str, str]]:
    """Messages of any of the usual kinds as role and content: mappings, pairs, or LangChain's.

    Raises:
        InvalidInput: one of them is nothing of the kind, or its content is no text.
    """
    return [_plain(message) for message in messages]


_ROLES = {
    "human": "user", "user": "user", "system": "system",
    "ai": "assistant", "AIMessageChunk": "assistant", "assistant": "assistant",
}  # fmt: skip


def _plain(message: Any) -> dict[str, str]:
    if isinstance(message, Mapping):
        role, content = message.get("role"), message.get("content")
    elif isinstance(message, tuple) and len(message) == 2:
        role, content = message
    else:
        role, content = getattr(message, "type", None), getattr(message, "text", None)
    if role not in _ROLES or not isinstance(content, str):
        raise InvalidInput("a message has a role (user, assistant or system) and a text as content")
    return {"role": _ROLES[role], "content": str(content)}
