"""From messages to prompt tokens, for models with a chat template, with half of one, or with none.

What a template lacks is made up here and named, so that a report can say it:

- no system role (the template raises, or leaves the text out): the system text opens the first user message;
- no template: `User:` and `Assistant:` lines, and the answer ends where its line ends.

Thinking is switched off where the template knows the switch. What a conversation says can never be read as
the model's control tokens (`control.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from agent_memory.errors import ModelError
from agent_memory.models.control import THINKING, control_pattern, disarmed
from agent_memory.prompt import fold_system

NO_TEMPLATE = "the model has no chat template: plain User/Assistant lines are used"
NO_SYSTEM = "the chat template has no system role: system text opens the first user message"

#: Stands for any text when a template is tried out.
_PROBE = "zqxj"
#: What a template may be given of a message.
_KEYS = ("role", "content", "tool_calls", "tool_call_id", "name")


class ChatFormat:
    """How conversations are written for one tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._control = control_pattern(tokenizer)
        self._control_of_assistant = control_pattern(tokenizer, spare=THINKING)
        self._plain = not tokenizer.chat_template
        self._fold = False
        self.notes: tuple[str, ...] = (NO_TEMPLATE,) if self._plain else ()
        if not self._plain and not self._keeps_system():
            self._fold = True
            self.notes = (NO_SYSTEM,)

    def ids(
        self, messages: Sequence[Mapping[str, Any]], *, tools: Sequence[Mapping[str, Any]] | None = None
    ) -> list[int]:
        """The tokens of the conversation up to where the assistant's answer begins.

        Args:
            messages: roles and contents; with `tools` also `tool_calls` and the role "tool", as OpenAI has
                them.
            tools: what the model may call, as OpenAI's functions.

        Raises:
            ModelError: the template refuses the conversation, or knows no tools.
        """
        if tools and not self.takes_tools:
            raise ModelError("the model's chat template knows no tools: it was not taught to call them")
        turns = [self._harmless({name: m[name] for name in _KEYS if name in m}) for m in messages]
        tools = disarmed(tools, self._control)
        if self._plain:
            return [int(i) for i in self._tokenizer(plain_text(turns))["input_ids"]]
        try:
            ids = self._render(fold_system(turns) if self._fold else turns, tokenize=True, tools=tools)
        except Exception as error:  # a template is foreign code and may raise anything
            roles = ", ".join(turn["role"] for turn in turns)
            raise ModelError(f"the chat template refuses a conversation of the roles {roles}") from error
        return [int(i) for i in ids]

    def end_ids(self, configured: Sequence[int]) -> frozenset[int]:
        """The tokens that end an answer: the configured ones; without a template every line break as well."""
        ends = set(configured)
        if self._tokenizer.eos_token_id is not None:
            ends.add(int(self._tokenizer.eos_token_id))
        if self._plain:
            pieces = self._tokenizer.batch_decode([[i] for i in range(len(self._tokenizer))])
            ends.update(i for i, piece in enumerate(pieces) if "\n" in piece)
        return frozenset(ends)

    def text_ids(self, text: str) -> list[int]:
        """The tokens of a text as it stands in a conversation, none of them a control token."""
        plain = disarmed(text, self._control)
        return [int(i) for i in self._tokenizer(plain, add_special_tokens=False)["input_ids"]]

    def _harmless(self, turn: dict[str, Any]) -> dict[str, Any]:
        """The turn as it may be shown to the template."""
        own = turn.get("role") == "assistant"
        return dict(disarmed(turn, self._control_of_assistant if own else self._control))

    def _keeps_system(self) -> bool:
        """Whether the template takes a system message and shows its text."""
        turns = [{"role": "system", "content": _PROBE}, {"role": "user", "content": "a"}]
        try:
            return _PROBE in self._render(turns, tokenize=False)
        except Exception:  # noqa: BLE001  # raising is how templates say that they have no system role
            return False

    @cached_property
    def takes_tools(self) -> bool:
        """Whether the template shows tools to the model."""
        if self._plain:
            return False
        function = {"name": _PROBE, "description": "", "parameters": {"type": "object", "properties": {}}}
        tools = [{"type": "function", "function": function}]
        try:
            shown = self._render([{"role": "user", "content": "a"}], tokenize=False, tools=tools)
        except Exception:  # noqa: BLE001  # raising is how templates say that they know no tools
            return False
        return _PROBE in shown

    def _render(
        self, turns: list[dict[str, Any]], *, tokenize: bool, tools: Sequence[Mapping[str, Any]] | None = None
    ) -> Any:
        return self._tokenizer.apply_chat_template(
            turns,
            tools=[dict(tool) for tool in tools] if tools else None,
            add_generation_prompt=True,
            tokenize=tokenize,
            return_dict=False,
            enable_thinking=False,
        )


def plain_text(turns: Sequence[Mapping[str, str]]) -> str:
    """The conversation as plain lines, for a model without a template."""
    names = {"system": "", "user": "User: ", "assistant": "Assistant: "}
    return "\n\n".join([*(names.get(t["role"], "User: ") + t["content"] for t in turns), "Assistant:"])
