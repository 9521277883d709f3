"""From LangChain messages to the turns that a chat template takes.

System texts are joined at the front and neighbours of one role are joined, since many templates refuse
anything but system, user, assistant, user and so on. Without tools, a tool's result reads as the user's
words: a template without that role has no other place for it. Pictures and sound are refused, not dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, SystemMessage, ToolMessage

from agent_memory.errors import InvalidInput
from langchain_agent_memory.messages import role_of

Turn = dict[str, Any]

#: Blocks that stand beside the text: calls are read from the message itself, reasoning is not given back.
_NOT_SAID = ("tool_call", "tool_use", "reasoning", "thinking", "non_standard")


def to_turns(messages: Sequence[BaseMessage], *, with_tools: bool) -> list[Turn]:
    """The turns, oldest first.

    Raises:
        InvalidInput: A message holds something that is not text, or has a role that no template knows.
    """
    system = [_text(m) for m in messages if isinstance(m, SystemMessage)]
    turns: list[Turn] = []
    for message in messages:
        if not isinstance(message, SystemMessage):
            _append(turns, _turn(message, with_tools=with_tools))
    head = "\n\n".join(filter(None, system))
    return [{"role": "system", "content": head}, *turns] if head else turns


def _turn(message: BaseMessage, *, with_tools: bool) -> Turn:
    role = role_of(message)
    if role is None:
        raise InvalidInput(f"a message of the type {message.type!r} has no place in a conversation")
    turn: Turn = {"role": role, "content": _text(message)}
    if not with_tools:
        return {**turn, "role": "user" if role == "tool" else role}
    if isinstance(message, AIMessage) and message.tool_calls:
        functions = [{"name": call["name"], "arguments": call["args"]} for call in message.tool_calls]
        ids = [call["id"] for call in message.tool_calls]
        turn["tool_calls"] = [
            {"id": one, "type": "function", "function": function}
            for one, function in zip(ids, functions, strict=True)
        ]
    if isinstance(message, ToolMessage):
        turn |= {"tool_call_id": message.tool_call_id, "name": message.name or ""}
    return turn


def _append(turns: list[Turn], turn: Turn) -> None:
    """Adds the turn, or its text to a neighbour of the same role."""
    last = turns[-1] if turns else None
    plain = set(turn) == {"role", "content"}
    if last is not None and plain and last["role"] == turn["role"] and set(last) == {"role", "content"}:
        last["content"] = "\n\n".join(filter(None, (last["content"], turn["content"])))
    else:
        turns.append(turn)


def _text(message: BaseMessage) -> str:
    """The message's text blocks, joined as paragraphs.

    Raises:
        InvalidInput: It holds another kind of block.
    """
    if isinstance(message.content, str):
        return message.content
    parts: list[str] = []
    for block in message.content:
        if isinstance(block, str):
            parts.append(block)
        elif block.get("type") in ("text", "output_text"):
            parts.append(str(block.get("text", "")))
        elif block.get("type") not in _NOT_SAID:
            raise InvalidInput(f"this model reads text; a message holds a block of {block.get('type')!r}")
    return "\n\n".join(filter(None, parts))
