"""One call of the chat model: whom it asks in turn, the answer in pieces, and the message that it becomes.

What there is to read the bare base reads; its words are held back while they may still become "I do not
know", and where they do, the served version is asked the question alone, unless it names what the version was
never taught about (`agent_memory/answer.py`). What a version says is shown when it is whole, if it may yet be
doubted: then the base answers instead.

It answers, too, where the version was forgotten, or rolled back, before it had said everything: of a whole
answer, of one with tools and of the bundled reader's nothing is shown until that was looked up. A stream of
another base's version is shown as it comes, and words cannot be taken back: there it is looked up before the
first one, with the model in hand, and what has begun goes on to its end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from queue import Queue
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata

from agent_memory import answer
from agent_memory.consolidation.asking import abstains, doubted, may_abstain
from agent_memory.errors import AdapterRefused, InvalidInput, ModelError
from langchain_agent_memory.tool_calls import Parsed, parse
from langchain_agent_memory.turns import to_turns

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_agent_memory.chat_model import ChatAgentMemory

_DONE = object()


class Call:
    """One call: what is asked of which version, and how its answer becomes a message."""

    def __init__(
        self,
        chat: ChatAgentMemory,
        messages: Sequence[BaseMessage],
        *,
        stop: list[str] | None,
        settings: dict[str, Any],
    ) -> None:
        self._chat = chat
        self._model = chat._model
        self.tools: list[dict[str, Any]] = settings.get("tools") or []
        self._must_call = bool(settings.get("must_call"))
        self._stop = [text for text in (stop or chat.stop or []) if text]
        self._temperature = settings.get("temperature", chat.temperature)
        self._top_p = settings.get("top_p", chat.top_p)
        self._seed = settings.get("seed", chat.seed)
        turns = to_turns(messages, with_tools=bool(self.tools))
        self._what = chat.served(settings.get("adapter"))
        self._longest = settings.get("max_tokens") or chat._longest_answer
        first, *rest = answer.attempts(
            turns,
            self._what,
            reader=chat.memory.config.prompt.reader,
            guarded=self._model.made_here,
        )
        ids = self._model.prompt_ids(first.messages, tools=self.tools or None)
        if self._room(ids) < 1:
            raise InvalidInput(
                f"the messages have {len(ids)} tokens; the window of {self._model.window} is full"
            )
        alone = [(one, self._model.prompt_ids(one.messages)) for one in rest]
        self._attempts = [(first, ids), *((one, own) for one, own in alone if self._room(own) > 0)]
        self._tokens: list[int] = []
        self._read = self._written = 0
        self.origin = {"model_name": chat._name, "adapter": self._what.version}

    def _room(self, ids: Sequence[int]) -> int:
        """Most tokens of an answer behind the prompt."""
        return min(self._longest, self._model.window - len(ids))

    def pieces(self, cancelled: threading.Event) -> Iterator[str]:
        """The answer in pieces of text; holds the model until it is exhausted or closed."""
        try:
            yield from self._in_turn(cancelled)
        except AdapterRefused:
            if self._what.still():
                raise
            yield from self._by_base(cancelled)

    def _in_turn(self, cancelled: threading.Event) -> Iterator[str]:
        """What the first attempt says that does not decline, or the last.

        Raises:
            AdapterRefused: the version is not served any more, or failed its checks; nothing was shown of it.
        """
        for n, (one, ids) in enumerate(self._attempts):
            if n and cancelled.is_set():
                yield self._until_stop()[0]  # what the base said
                return
            pieces = self._said(one.adapter, ids, cancelled)
            if n + 1 == len(self._attempts):
                yield from pieces
            elif (begun := _undeclined(pieces)) is not None:
                yield begun
                yield from pieces
                return

    def _by_base(self, cancelled: threading.Event) -> Iterator[str]:
        """What the bare base says to all that it can read."""
        return self._tried(None, self._attempts[0][1], cancelled)

    def _said(self, adapter: Path | None, ids: Sequence[int], cancelled: threading.Event) -> Iterator[str]:
        """What the base or a version says; of a version that may be doubted, when it has said it."""
        if adapter is None:
            yield from self._tried(None, ids, cancelled)
            return
        with self._model.wearing(adapter):
            self._check_served()
            if not self._model.made_here:
                yield from self._tried(adapter, ids, cancelled)
                return
            whole = "".join(self._tried(adapter, ids, cancelled))
            doubt = not cancelled.is_set() and doubted(self._model, [ids], [self._tokens])[0]
        self._check_served()
        if doubt:
            yield from self._tried(None, ids, cancelled)
        else:
            yield whole

    def _check_served(self) -> None:
        if not self._what.still():
            raise AdapterRefused(f"{self._what.version} is not served any more")

    def _tried(self, adapter: Path | None, ids: Sequence[int], cancelled: threading.Event) -> Iterator[str]:
        from agent_memory.models.generation import Sampling, stream

        self._written += len(self._tokens)
        self._tokens = []
        self._read += len(ids)
        self.origin["adapter"] = None if adapter is None else self._what.version
        shown = ""
        with self._model.wearing(adapter):
            for token in stream(
                self._model,
                ids,
                max_new_tokens=self._room(ids),
                ends=self._model.end_ids,
                sampling=Sampling(self._temperature, self._top_p, self._seed),
            ):
                if cancelled.is_set():
                    return
                self._tokens.append(token)
                text, stopped = self._until_stop()
                safe = text if stopped else self._safe(text)
                if safe.startswith(shown) and len(safe) > len(shown):
                    yield safe[len(shown) :]
                    shown = safe
                if stopped:
                    return
        yield self._until_stop()[0][len(shown) :]

    def _until_stop(self) -> tuple[str, bool]:
        """The text so far, cut where the first stop text begins, and whether one does."""
        text = self._model.text(self._tokens, special=bool(self.tools))
        found = min((at for at in map(text.find, self._stop) if at >= 0), default=None)
        return (text, False) if found is None else (text[:found], True)

    def _safe(self, text: str) -> str:
        """The text without an end that may still change: half a character, or half a stop text."""
        text = text.rstrip("\ufffd")
        held = next(
            (
                n
                for n in range(max(map(len, self._stop), default=1) - 1, 0, -1)
                if any(stop.startswith(text[-n:]) for stop in self._stop)
            ),
            0,
        )
        return text[: len(text) - held]

    @property
    def _usage(self) -> UsageMetadata:
        read, written = self._read, self._written + len(self._tokens)
        return UsageMetadata(input_tokens=read, output_tokens=written, total_tokens=read + written)

    def message(self, written: str) -> AIMessage:
        """The whole answer."""
        parsed = self._parsed(self._held(written))
        return AIMessage(
            content=parsed.text,
            tool_calls=parsed.calls,
            invalid_tool_calls=parsed.invalid,
            usage_metadata=self._usage,
            response_metadata=self.origin,
        )

    def last_chunk(self, written: str) -> AIMessageChunk:
        """What a stream ends with: usage, and with tools all that was held back."""
        parsed = self._parsed(self._held(written) if self.tools else written)
        return AIMessageChunk(
            content=parsed.text if self.tools else "",
            tool_calls=parsed.calls,
            invalid_tool_calls=parsed.invalid,
            usage_metadata=self._usage,
            response_metadata=self.origin,
            chunk_position="last",
        )

    def _held(self, written: str) -> str:
        """What was written and not shown yet; the base's words where its version is not served any more."""
        if self.origin["adapter"] is None or self._what.still():
            return written
        return "".join(self._by_base(threading.Event()))

    def _parsed(self, written: str) -> Parsed:
        """The words and the calls; without tools there are no calls, whatever the words look like.

        Raises:
            ModelError: A call was demanded, and there is none.
        """
        if not self.tools:
            return Parsed(text=written.strip())
        offered = {tool["function"]["name"] for tool in self.tools}
        parsed = parse(written, offered=offered)
        if self._must_call and not parsed.calls:
            raise ModelError(
                f"the model was to call one of {sorted(offered)} and wrote no call that can be read; "
                'ask again, or bind the tools with tool_choice="auto" and take words for an answer'
            )
        return parsed


def _undeclined(pieces: Iterator[str]) -> str | None:
    """The beginning of an answer once it can no longer decline; None where it does."""
    said = ""
    for piece in pieces:
        said += piece
        if not may_abstain(said):
            return said
    return None if abstains(said) else said


def from_thread(make: Callable[[threading.Event], Iterator[str]]) -> Iterator[str]:
    """The pieces, made by a thread of their own, since the model's lock belongs to a thread.

    A consumer may take them from any thread, slowly, or not to the end: the model is free again once the
    answer is complete, or soon after the consumer has gone.
    """
    queue: Queue[Any] = Queue()
    cancelled = threading.Event()

    def work() -> None:
        try:
            for piece in make(cancelled):
                queue.put(piece)
        except BaseException as error:  # noqa: BLE001 (it is raised again in the consumer's thread)
            queue.put(error)
        queue.put(_DONE)

    threading.Thread(target=work, name="agent-memory-answer", daemon=True).start()
    try:
        while (piece := queue.get()) is not _DONE:
            if isinstance(piece, BaseException):
                raise piece
            yield piece
    finally:
        cancelled.set()
