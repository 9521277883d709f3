"""Doubles for the seams that others supply, public so that users can test their own agents without a model.

Each is small, deterministic and offline, and shows what it was given.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import Field


class ScriptedChatModel(BaseChatModel):
    """A chat model that says its script, one entry a call, and keeps what it was asked.

    An entry is a text, an `AIMessage` (with tool calls, say), an exception to raise, or a function from the
    messages to one of those. The last entry is said again when the script is over.
    """

    script: list[Any]
    seen: list[list[BaseMessage]] = Field(default_factory=list)
    """The messages of each call."""
    settings: list[dict[str, Any]] = Field(default_factory=list)
    """The keyword arguments of each call: bound tools, model settings."""

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Sequence[Any], *, tool_choice: str | None = None, **kwargs: Any) -> Any:
        """The model, told of the tools; the script decides whether it calls them."""
        return self.bind(tools=tools, **({"tool_choice": tool_choice} if tool_choice else {}), **kwargs)

    def system_text(self, call: int = -1) -> str:
        """The system text of a call, "" without one."""
        first = self.seen[call][0]
        return str(first.text) if first.type == "system" else ""

    def _next(self, messages: list[BaseMessage], settings: dict[str, Any]) -> AIMessage:
        entry = self.script[min(len(self.seen), len(self.script) - 1)]
        self.seen.append(messages)
        self.settings.append(settings)
        if callable(entry) and not isinstance(entry, type):
            entry = entry(messages)
        if isinstance(entry, BaseException):
            raise entry
        if isinstance(entry, AIMessage):
            return entry.model_copy(update={"id": None})
        return AIMessage(content=entry)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,  # noqa: ARG002 (theirs)
        run_manager: Any = None,  # noqa: ARG002 (theirs)
        **kwargs: Any,
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._next(messages, kwargs))])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,  # noqa: ARG002 (theirs)
        run_manager: Any = None,  # noqa: ARG002 (theirs)
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        said = self._next(messages, kwargs)
        words = str(said.text).split(" ") if said.text else []
        pieces = [word if i == 0 else f" {word}" for i, word in enumerate(words)]
        for piece in pieces:
            yield ChatGenerationChunk(message=AIMessageChunk(content=piece))
        calls = [
            {"name": call["name"], "args": _json(call["args"]), "id": call["id"], "index": i}
            for i, call in enumerate(said.tool_calls)
        ]
        yield ChatGenerationChunk(
            message=AIMessageChunk(content="", tool_call_chunks=calls, chunk_position="last")
        )


def _json(arguments: dict[str, Any]) -> str:
    import json

    return json.dumps(arguments)
