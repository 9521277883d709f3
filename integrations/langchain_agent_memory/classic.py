"""The memory as a classic `BaseMemory`, for `ConversationChain` and `AgentExecutor` of `langchain-classic`.

`{memory}` in the chain's prompt becomes the context block; put it at the end of the system text, where the
models were taught to read it (`conversation_prompt` does). New code wants `AgentMemoryMiddleware`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_classic.base_memory import BaseMemory
from langchain_core.prompts import ChatPromptTemplate
from pydantic import Field

from agent_memory.errors import InvalidInput
from agent_memory.types import Retrieval


class ConsolidatingMemory(BaseMemory):  # type: ignore[misc]  # the checker does not follow langchain_classic
    """Recalls for the chain's input, records its input and output.

    A chain of `langchain-classic` gives no message ids: a repetition within the memory's duplicate window
    counts as the same episode.
    """

    memory: Any = Field(exclude=True, repr=False)
    """An open `MemoryManager`."""
    user_id: str | None = None
    """Whose; None leaves it to the memory's fixed scope."""
    agent_id: str | None = None
    """Likewise."""
    session_id: str | None = None
    """Groups what is recorded; `clear()` then forgets this session only."""
    memory_key: str = "memory"
    """Name of the variable in the prompt."""
    input_key: str | None = None
    """Which input is the user's; needed only where there are several."""
    output_key: str | None = None
    """Which output is the answer; needed only where there are several."""
    retrieval: Retrieval = "all"
    """"lean" only where the chain's model wears this memory's active version."""
    budget_tokens: int | None = None
    """Most tokens of the block; None takes the memory's setting."""

    @property
    def memory_variables(self) -> list[str]:
        """The one variable that it fills."""
        return [self.memory_key]

    def load_memory_variables(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """The context block for the input, "" when nothing is recalled."""
        if self.retrieval == "none":
            return {self.memory_key: ""}
        found = self.memory.context(
            self._only(inputs, self.input_key, "input"),
            budget_tokens=self.budget_tokens,
            retrieval=self.retrieval,
            **self._owner,
        )
        return {self.memory_key: found.text}

    def save_context(self, inputs: dict[str, Any], outputs: dict[str, str]) -> None:
        """Records what was asked and what was answered, each as an episode."""
        asked = self._only(inputs, self.input_key, "input")
        answered = self._only(outputs, self.output_key, "output")
        items: list[dict[str, Any]] = [
            {"text": asked, "role": "user", "source": "user", "session_id": self.session_id},
            {"text": answered, "role": "assistant", "source": "assistant", "session_id": self.session_id},
        ]
        self.memory.add_many([item for item in items if item["text"].strip()], **self._owner)

    def clear(self) -> None:
        """Forgets the session, or everything in the scope where no session is named."""
        what = {"filters": {"session_id": self.session_id}} if self.session_id else {"everything": True}
        self.memory.forget(**what, reason="memory cleared", **self._owner)

    @property
    def _owner(self) -> dict[str, str | None]:
        return {"user_id": self.user_id, "agent_id": self.agent_id}

    def _only(self, values: Mapping[str, Any], key: str | None, what: str) -> str:
        """The named value, or the only one there is."""
        names = [key] if key else [name for name in values if name not in (self.memory_key, "stop")]
        if len(names) != 1 or names[0] not in values:
            raise InvalidInput(f"one {what} is needed, there are {sorted(values)}; set {what}_key=")
        return str(values[names[0]])


def conversation_prompt(system: str = "") -> ChatPromptTemplate:
    """A prompt for `ConversationChain`: `system`, then the block, then the user's input."""
    text = f"{system.replace('{', '{{').replace('}', '}}')}\n\n{{memory}}" if system else "{memory}"
    return ChatPromptTemplate.from_messages([("system", text), ("human", "{input}")])
