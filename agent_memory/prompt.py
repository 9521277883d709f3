"""The only place where episodes become prompt text.

A context block is one line per episode, oldest first, between two delimiters:

    <memory>
    - [2026-03-01, user] I live in Lisbon.
    </memory>

It stands at the end of the system message, or before the last user message. What is recalled is data: the
delimiters are escaped inside content, and a text cannot open a line of its own. The bundled reader is
trained on exactly what this file prints, and study, exam, ask, chat and every integration call it; a change
here needs a new reader.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from agent_memory.types import Episode, Placement

OPEN = "<memory>"
CLOSE = "</memory>"

#: What the bundled reader says when neither block nor weights hold the answer.
ABSTENTION = "I do not know."

#: The system text of `ask`; short, since a closed-book prompt is little else.
ASK_SYSTEM = f"Answer briefly. If you cannot, say: {ABSTENTION}"

#: Asks a model to write study questions about the block; the answer holds one question on each line.
QUESTION_REQUEST = "Write questions about the memory, one per line."
#: The same once more in the same conversation, for questions that were not written yet.
QUESTION_REQUEST_AGAIN = "Write other questions about it, one per line."

Message = dict[str, str]  # {"role": "system" | "user" | "assistant", "content": ...}

_DELIMITER = re.compile(r"<(?=\s*/?\s*memory)", re.IGNORECASE)
_BLOCK = re.compile(rf"(?:(?<=\n)|\A){OPEN}\n.*?\n{CLOSE}\n\n", re.DOTALL)
_BREAKS = re.compile(r"\s*[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]+\s*")


def escape(text: str) -> str:
    """The text as it may stand in a block: on one line, and unable to open or close one."""
    return _DELIMITER.sub("&lt;", _BREAKS.sub(" ", text).strip())


def line(text: str, *, date: str, source: str) -> str:
    """One line of the block; `date` is `YYYY-MM-DD`."""
    return f"- [{date}, {escape(source)}] {escape(text)}"


def context_block(episodes: Iterable[Episode]) -> str:
    """The episodes as a delimited block, oldest first; "" without episodes."""
    ordered = sorted(episodes, key=lambda episode: (episode.occurred_at, episode.created_at, episode.id))
    return block_of_lines(
        [line(e.text, date=e.occurred_at.date().isoformat(), source=e.source) for e in ordered]
    )


def block_of_lines(lines: Sequence[str]) -> str:
    """Lines made by `line`, between the delimiters; "" without lines."""
    return "\n".join([OPEN, *lines, CLOSE]) if lines else ""


def compose(
    messages: Sequence[Mapping[str, str]],
    *,
    block: str = "",
    system: str = "",
    placement: Placement = "system",
) -> list[Message]:
    """The messages with the system text and the block in place; the arguments stay as they are.

    A system message that leads `messages` is kept, after `system`. With `placement="user"` the block stands
    before the text of the last user message.
    """
    rest = [{"role": m["role"], "content": m["content"]} for m in messages]
    head = [system] if system else []
    if rest and rest[0]["role"] == "system":
        head.append(rest.pop(0)["content"])
    if block and placement == "system":
        head.append(block)
    if block and placement == "user":
        last = max(i for i, m in enumerate(rest) if m["role"] == "user")
        rest[last]["content"] = f"{block}\n\n{rest[last]['content']}"
    return ([{"role": "system", "content": "\n\n".join(head)}] if head else []) + rest


def holds_more_than_a_question(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether there is something to read besides the last user message: a block, or earlier turns."""
    spoken = [m for m in messages if m["role"] != "system"]
    return len(spoken) > 1 or any(f"{OPEN}\n" in m["content"] for m in messages)


def closed_book(messages: Sequence[Mapping[str, Any]]) -> list[Message]:
    """The last user message alone, without a block, as `ask` puts it and as study items do."""
    asked = next(m["content"] for m in reversed(messages) if m["role"] == "user")
    asked = _BLOCK.sub("", asked, count=1)
    return compose([{"role": "user", "content": asked}], system=ASK_SYSTEM)


def fold_system(messages: Sequence[Message]) -> list[Message]:
    """For models without a system role: the system text opens the first user message."""
    if not messages or messages[0]["role"] != "system":
        return list(messages)
    system, *rest = messages
    if not rest or rest[0]["role"] != "user":
        return [{"role": "user", "content": system["content"]}, *rest]
    return [{"role": "user", "content": f"{system['content']}\n\n{rest[0]['content']}"}, *rest[1:]]
