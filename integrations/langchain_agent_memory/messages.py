"""From LangChain messages to what the memory records, and which of them are already in the model's view.

Each message that says something is one episode: its source follows from its role ("user", "assistant",
"tool:<name>"), its id goes into the metadata and into the idempotency key. Left out are messages without
text (bare tool calls), summaries that other middleware wrote in the user's name, and results of our own
memory tools: recording those would copy episodes into episodes, out of reach of a later `forget`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from agent_memory.types import SearchResult

#: Key of the artifact that marks a result of one of our tools.
TOOL_MARK = "agent_memory_tool"

#: Source of a human message that did not come with the turn's input: another middleware or a tool wrote it.
INSERTED = "inserted"

_ROLES: tuple[tuple[type[BaseMessage], str], ...] = (
    (HumanMessage, "user"),
    (AIMessage, "assistant"),
    (ToolMessage, "tool"),
)


def role_of(message: BaseMessage) -> str | None:
    """The role, "user", "assistant" or "tool"; None for messages that nobody said (system, remove)."""
    return next((role for kind, role in _ROLES if isinstance(message, kind)), None)


def text_of(message: BaseMessage) -> str:
    """The text parts of the message; "" for pictures, sound and bare tool calls."""
    return str(message.text).strip()


def turn_inputs(messages: Sequence[BaseMessage], *, earlier: Sequence[str] = ()) -> list[str]:
    """Ids of the human messages that open the turn: those after the last answer or tool result.

    Where the turn before did not come to its answer, a tool or another middleware may have written in the
    user's name since; then only the last message counts, and what opened that turn.

    Args:
        messages: The whole thread.
        earlier: Ids of the messages that opened the turn before.
    """
    said: list[str] = []
    for message in reversed(messages):
        if isinstance(message, AIMessage | ToolMessage):
            break
        if isinstance(message, HumanMessage) and message.id and not _is_summary(message):
            said.append(message.id)
    if left_over(messages) or set(said) & set(earlier):
        said = [one for n, one in enumerate(said) if n == 0 or one in earlier]
    return said[::-1]


def left_over(messages: Sequence[BaseMessage]) -> list[str]:
    """Ids of the tool calls and results that no answer follows: what an unfinished turn left in the thread.

    There are some where a recursion limit, a crash or another question came between a tool and the model.
    """
    last = next((i for i in reversed(range(len(messages))) if isinstance(messages[i], AIMessage)), None)
    if last is None or not getattr(messages[last], "tool_calls", None):
        return []
    return [m.id for m in messages[last:] if m.id and isinstance(m, AIMessage | ToolMessage)]


def turn_of(messages: Sequence[BaseMessage], ids: Sequence[str]) -> list[BaseMessage]:
    """The messages from the first of these ids on; all of them where a summary has taken its place."""
    known = set(ids)
    first = next((i for i, message in enumerate(messages) if message.id in known), 0)
    return list(messages[first:])


def query_of(messages: Sequence[BaseMessage], inputs: Sequence[str]) -> str:
    """What to recall for: the texts of the turn's input, else of the last human message."""
    known = set(inputs)
    texts = [text_of(m) for m in messages if m.id in known and isinstance(m, HumanMessage)]
    if not any(texts):
        texts = [text_of(m) for m in messages if isinstance(m, HumanMessage) and not _is_summary(m)][-1:]
    return "\n".join(filter(None, texts))


def to_items(
    messages: Iterable[BaseMessage], *, inputs: Sequence[str | None], session_id: str | None
) -> list[dict[str, Any]]:
    """Arguments for `add_many`; a message with an id has an idempotency key.

    Args:
        messages: The messages of a turn.
        inputs: Ids of its human input; other human messages get the source "inserted".
        session_id: The thread, or None.
    """
    items: list[dict[str, Any]] = []
    turn = inputs[0] if inputs else None
    for message in messages:
        role, text = role_of(message), text_of(message)
        if role is None or not text or _is_summary(message) or is_tool_result(message):
            continue
        items.append(
            {
                "text": text,
                "role": role,
                "source": _source(message, role, inputs),
                "session_id": session_id,
                "metadata": {k: v for k, v in (("message_id", message.id), ("turn_id", turn)) if v},
                "idempotency_key": _key(session_id, message.id, role, text) if message.id else None,
            }
        )
    return items


def unseen(results: Iterable[SearchResult], messages: Iterable[BaseMessage]) -> list[SearchResult]:
    """The results that no message says already, word for word and in the same role."""
    seen = {(role_of(message), text_of(message)) for message in messages}
    return [result for result in results if (result.episode.role, result.episode.text) not in seen]


def is_tool_result(message: BaseMessage) -> bool:
    """Whether a memory tool gave this result."""
    artifact = getattr(message, "artifact", None)
    return isinstance(artifact, dict) and TOOL_MARK in artifact


def _is_summary(message: BaseMessage) -> bool:
    return bool(message.additional_kwargs.get("lc_source"))


def _source(message: BaseMessage, role: str, inputs: Sequence[str | None]) -> str:
    if isinstance(message, ToolMessage):
        return f"tool:{message.name or 'unnamed'}"
    if role == "user" and message.id not in inputs:
        return INSERTED
    return role


def _key(session_id: str | None, message_id: str, role: str, text: str) -> str:
    """One key for one message: the id alone may repeat where no checkpointer keeps a thread."""
    parts = (session_id or "", message_id, role, text)
    return hashlib.sha256("\x1f".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
