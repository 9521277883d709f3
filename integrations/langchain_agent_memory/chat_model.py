"""The user's own model as a LangChain chat model: `ChatAgentMemory(memory=memory, user_id="alice")`.

It is the one base that the memory holds, wearing the version that is served in the scope. Each call looks
up once what that is: a newer version is worn from the next call on, and one that is forgotten meanwhile does
not answer any more. `adapter=` chooses otherwise, for the model or for one call: "active", "base", or a
version's id.

What there is to read, a context block or earlier turns, the bare base reads; where it declines, the version
is asked the last question alone (`agent_memory/answer.py`; `PromptConfig.reader` chooses otherwise).

It recalls nothing by itself; `AgentMemoryMiddleware` puts the context block into its messages, and knows that
it may be a lean one. Tools are shown through the model's chat template and read from what it writes
(`tool_calls.py`). A model whose template has no tools, such as the bundled reader, refuses them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import ConfigDict, Field, PrivateAttr, model_validator

from agent_memory import answer, served
from agent_memory.errors import AdapterRefused, InvalidInput
from agent_memory.store import scope as scopes
from langchain_agent_memory.calls import Call, from_thread
from langchain_agent_memory.scope import Scope
from langchain_agent_memory.turns import to_turns

if TYPE_CHECKING:
    from agent_memory.answer import Known
    from agent_memory.models.local import LocalModel
    from agent_memory.served import Served

#: LangChain's standard parameters that only a remote service has a use for; taken, and without effect.
_OF_A_SERVICE = frozenset({"api_key", "max_retries", "timeout"})


class ChatAgentMemory(BaseChatModel):
    """A memory's base model, wearing a version of it.

    `api_key`, `max_retries` and `timeout`, which LangChain gives to every model, have no effect here.
    """

    model_config = ConfigDict(extra="forbid")

    memory: Any = Field(exclude=True, repr=False)
    """An open `MemoryManager`."""
    user_id: str | None = None
    """Whose version it wears; None leaves it to the memory's fixed scope. In an agent with
    `AgentMemoryMiddleware` over the same memory it is set for each call to the scope of that call."""
    agent_id: str | None = None
    """Likewise."""
    adapter: str = "active"
    """"active" (the bare base until there is one), "base", or the id of a version."""
    temperature: float = Field(default=0.0, ge=0)
    """0 is greedy."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Share of the probability that is sampled from; 1 is all of it."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Most tokens of an answer; None takes the memory's setting."""
    stop: list[str] | None = None
    """Texts that end an answer, and are left out of it."""
    seed: int = 0
    """Of sampling: the same seed and messages give the same answer."""
    streaming: bool | None = None
    """LangChain's switch: True makes every call a stream, False none; unset, the caller decides."""

    @model_validator(mode="before")
    @classmethod
    def _without_a_service(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):  # a model that is made already
            return given
        return {name: value for name, value in given.items() if name not in _OF_A_SERVICE}

    @property
    def _llm_type(self) -> str:
        return "agent-memory"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model": self._name, "adapter": self.adapter, "temperature": self.temperature}

    @property
    def _name(self) -> str:
        """The base by the name that was asked for; opens nothing."""
        wanted = self.memory.model
        return "reader" if wanted is None else str(getattr(wanted, "name", wanted))

    @property
    def is_in_the_box(self) -> bool:
        """Whether the bundled reader answers; opens it."""
        return self._model.made_here

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop or self.stop, **kwargs)
        params["ls_provider"] = "agent-memory"
        params["ls_model_name"] = kwargs.get("model") or self._name
        return params

    # ------------------------------------------------------------------ wearing

    _worn_for: Scope | None = PrivateAttr(default=None)
    _pinned: Served | None = PrivateAttr(default=None)

    def wears_versions_of(self, memory: Any, scope: Scope) -> bool:
        """Whether this is that memory's own model, neither the bare base nor worn for another scope."""
        free = self._worn_for is None or self._worn_for.owner == scope.owner
        return self.memory is memory and self.adapter != "base" and free

    def worn_for(self, scope: Scope) -> Self:
        """This model, for one scope."""
        copy = self.model_copy(update=scope.owner)
        copy._worn_for = scope
        return copy

    def pinned(self) -> Self:
        """This model with the version that is served now, even should another be promoted meanwhile."""
        what = self.served()
        copy = self.model_copy(update={"adapter": what.version or "base"})
        copy._pinned = what
        return copy

    def served(self, adapter: str | None = None) -> Served:
        """The version that answers, its folder, and what it knows.

        Raises:
            ScopeError: Neither the memory nor this model names a scope.
            NotFound: No version by that id can be served in this scope.
        """
        wanted = adapter or self.adapter
        if self._pinned is not None and wanted == self.adapter:
            return self._pinned
        if wanted == "base":
            return served.BASE
        namespace = scopes.resolve(self.memory.fixed, user_id=self.user_id, agent_id=self.agent_id)
        with self.memory.database.read() as connection:
            owner = self.memory.store.namespace_id(connection, namespace)
        return served.find(self.memory.database, owner, adapter=wanted, base=self._model.fingerprint)

    def known(self, messages: Sequence[BaseMessage]) -> Known:
        """What the version knows where these messages ask something; see `agent_memory/answer.py`."""
        most, reader = self._longest_answer, self.memory.config.prompt.reader
        what, turns = self.served(), to_turns(messages, with_tools=False)
        try:
            return answer.known(self._model, turns, what, reader=reader, max_new_tokens=most)
        except AdapterRefused:  # its folder may be gone by now
            if what.still():
                raise
            return answer.UNKNOWN

    def room_beside(self, messages: Sequence[BaseMessage], tools: Sequence[Any] = ()) -> int:
        """Most tokens of a context block beside messages, tools and an answer; 0 or less where none fits."""
        shown = [convert_to_openai_tool(tool) for tool in tools] if self._model.takes_tools else []
        turns = to_turns(messages, with_tools=bool(shown))
        used = len(self._model.prompt_ids(turns, tools=shown or None)) + self._longest_answer
        return self._model.window - used - answer.SEAM_TOKENS

    @property
    def _longest_answer(self) -> int:
        most: int = self.max_tokens or self.memory.config.prompt.max_answer_tokens
        return most

    def get_token_ids(self, text: str) -> list[int]:
        """The model's own tokens of a text."""
        return self._model.token_ids(text)

    @property
    def _model(self) -> LocalModel:
        model: LocalModel = self.memory.weights.model
        return model

    # ------------------------------------------------------------------ answering

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002 (nothing to tell before the end)
        **kwargs: Any,
    ) -> ChatResult:
        call = Call(self, messages, stop=stop, settings=kwargs)
        message = call.message("".join(call.pieces(threading.Event())))
        return ChatResult(generations=[ChatGeneration(message=message)], llm_output=call.origin)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        call = Call(self, messages, stop=stop, settings=kwargs)
        said: list[str] = []
        for piece in from_thread(call.pieces):
            said.append(piece)
            if not call.tools:  # with tools, words and calls can be told apart only at the end
                chunk = ChatGenerationChunk(message=AIMessageChunk(content=piece))
                if run_manager:
                    run_manager.on_llm_new_token(piece, chunk=chunk)
                yield chunk
        yield ChatGenerationChunk(message=call.last_chunk("".join(said)))

    def bind_tools(
        self,
        tools: Sequence[Any],
        *,
        tool_choice: str | bool | Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """The model, shown these tools; `with_structured_output` rests on it.

        A local model cannot be made to call. Where `tool_choice` demands it, an answer without a call that
        can be read is a `ModelError` instead of an answer.

        Args:
            tools: Whatever LangChain takes for a tool.
            tool_choice: None or "auto", "none", "any" (also "required" or True), or the name of a tool, which
                is then the only one that is shown.
            **kwargs: Settings of each call, such as `temperature`.

        Raises:
            InvalidInput: The model's chat template has no tools, or `tool_choice` names none of these.
        """
        if not self._model.takes_tools:
            raise InvalidInput(
                f"the chat template of {self._name!r} has no tools, so it can be given none; in an agent, "
                "pass AgentMemoryMiddleware(..., tools=())"
            )
        shown, demanded = _chosen([convert_to_openai_tool(tool) for tool in tools], tool_choice)
        return self.bind(tools=shown, **({"must_call": True} if demanded else {}), **kwargs)


def _chosen(
    tools: list[dict[str, Any]], choice: str | bool | Mapping[str, Any] | None
) -> tuple[list[dict[str, Any]], bool]:
    """The tools that are shown, and whether the model must call one of them."""
    if choice in (None, "auto"):
        return tools, False
    if choice == "none":
        return [], False
    if choice in ("any", "required", True):
        return tools, True
    wanted = choice.get("function", choice).get("name") if isinstance(choice, Mapping) else choice
    named = [tool for tool in tools if tool["function"]["name"] == wanted]
    if not named:
        names = [tool["function"]["name"] for tool in tools]
        raise InvalidInput(f'tool_choice is {wanted!r}; it may be "auto", "none", "any", or one of {names}')
    return named, True
