"""Memory for an agent in one line: `create_agent(model, middleware=[AgentMemoryMiddleware(memory)])`.

Before each model call it recalls what the memory holds about the turn's question and puts it, as a context
block, behind the developer's system text (or before the last user message). It records every message of the
turn as an episode of its own.

How it keeps its promises:

* Nothing recalled is kept. The block is made at each model call and lives in that request alone: no
  checkpoint holds it, after an interrupt it is made again, and what was forgotten in the middle of a turn is
  gone from the next call. What the conversation shows already is not recalled.
* A turn is recorded as it goes: what is known when the model or a tool is called is written before, the rest
  when the agent ends. So a model that raises, a recursion limit or a cancelled stream lose nothing that was
  said, and errors pass through untouched. The message's id makes the second writing of the same message a
  no-op. Recording reads the agent's state, after other middleware redacted it; hence the last results of
  tools, where a limit or a crash kept them from the model, are recorded when their thread goes on.
* A lean block is for a model whose weights know the rest. One that does not wear a version of this very
  memory gets the whole block, whatever `retrieval` says.

List it after middleware that chooses the model (fallbacks, routers): it decides by the model that it sees. Of
several memories in one agent, a `ChatAgentMemory` wears the version of the first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, NotRequired

from langchain.agents.middleware.types import (
    AgentMiddleware,
    AgentState,
    ModelRequest,
    ModelResponse,
    PrivateStateAttr,
)
from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langgraph.config import get_config

from agent_memory import answer
from agent_memory.errors import InvalidInput, ScopeError
from agent_memory.types import Placement, Retrieval, SearchResult
from langchain_agent_memory import messages as msg
from langchain_agent_memory.chat_model import ChatAgentMemory
from langchain_agent_memory.recording import Recorder
from langchain_agent_memory.scope import Scope, ScopeTemplate
from langchain_agent_memory.tools import TOOLS, MemoryTool, memory_tools

if TYPE_CHECKING:
    from langchain.agents.middleware.types import ToolCallRequest
    from langgraph.runtime import Runtime
    from langgraph.types import Command

    from agent_memory import MemoryManager


#: Most messages of the conversation that a search looks past; beyond, recall gets thinner (chosen).
_MOST_SEEN = 50


class MemoryState(AgentState[Any]):
    """The agent's state, and what the middleware notes in it: ids of messages, never their text."""

    memory_turn: NotRequired[Annotated[list[str], PrivateStateAttr]]
    """Those that opened the turn."""
    memory_left: NotRequired[Annotated[list[str], PrivateStateAttr]]
    """Those that an unfinished turn before it left in the thread."""


class AgentMemoryMiddleware(AgentMiddleware[MemoryState, Any, Any]):
    """Recalls before each model call, records the turn, offers the memory tools.

    Args:
        memory: An open `MemoryManager`.
        user_id: A literal, a template such as "{user_id}", or None: `user_id` of `runtime.context`, else of
            `config["configurable"]`, else the manager's own.
        agent_id: Likewise.
        session_id: Likewise; by default the thread.
        retrieval: "all", "lean" (leaves out what the model's weights know; only for a `ChatAgentMemory` over
            the same memory, any other gets "all"), or "none".
        budget_tokens: Most tokens of the block; None takes the memory's setting.
        placement: "system" or "user" as in `agent_memory.prompt`; None takes the memory's setting.
        record: Whether turns are recorded.
        tools: Names of the tools on offer, of "search_memory", "remember", "forget_memory"; () for none. Of
            several instances in one agent, one may have them.
        name: Name within the agent; give each instance its own.

    Raises:
        InvalidInput: An unknown tool, retrieval or placement.

    A call of the agent raises `ScopeError` where no scope is given in any of these ways.
    """

    state_schema = MemoryState

    def __init__(
        self,
        memory: MemoryManager,
        *,
        user_id: str | None = None,
        agent_id: str | None = None,
        session_id: str | None = None,
        retrieval: Retrieval = "all",
        budget_tokens: int | None = None,
        placement: Placement | None = None,
        record: bool = True,
        tools: Sequence[str] = TOOLS,
        name: str | None = None,
    ) -> None:
        super().__init__()
        _one_of("retrieval", retrieval, ("all", "lean", "none"))
        _one_of("placement", placement, ("system", "user", None))
        self.memory = memory
        self.scope = ScopeTemplate(user_id=user_id, agent_id=agent_id, session_id=session_id)
        self.retrieval = retrieval
        self.budget_tokens = memory.config.prompt.budget_tokens if budget_tokens is None else budget_tokens
        self.placement = placement or memory.config.prompt.placement
        self.record = record
        self.tools = memory_tools(memory, names=tools, user_id=user_id, agent_id=agent_id)
        self._name = name
        self._recorder = Recorder(memory)

    @property
    def name(self) -> str:
        """The name within the agent."""
        return self._name or super().name

    def before_agent(
        self,
        state: MemoryState,
        runtime: Runtime[Any],  # noqa: ARG002 (theirs)
    ) -> dict[str, Any]:
        """Notes which messages open the turn, and which an unfinished one before it left."""
        messages, earlier = state["messages"], state.get("memory_turn")
        return {
            "memory_turn": msg.turn_inputs(messages, earlier=earlier or ()),
            "memory_left": [] if earlier is None else msg.left_over(messages),
        }

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        """Recalls, records what was said so far, and calls the model."""
        return handler(self._prepared(request))

    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> ModelResponse[Any]:
        """The same; the memory works in a thread."""
        return await handler(await asyncio.to_thread(self._prepared, request))

    def wrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], ToolMessage | Command[Any]]
    ) -> ToolMessage | Command[Any]:
        """Records what was said so far, should the tool not come back."""
        self._record(request.state, request.runtime)
        return handler(request)

    async def awrap_tool_call(
        self,
        request: ToolCallRequest,
        handler: Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]],
    ) -> ToolMessage | Command[Any]:
        """The same; the memory works in a thread."""
        await asyncio.to_thread(self._record, request.state, request.runtime)
        return await handler(request)

    def after_agent(self, state: MemoryState, runtime: Runtime[Any]) -> None:
        """Records the rest of the turn."""
        self._record(state, runtime)

    def _prepared(self, request: ModelRequest[Any]) -> ModelRequest[Any]:
        """The request with the block in place and the version on, its messages recorded."""
        self._check_tools(request.tools)
        scope = self._scope_of(request.runtime)
        request = self._worn(request, scope)
        block = self._block(request, scope)
        self._record(request.state, request.runtime)
        return _placed(request, block, self.placement) if block else request

    def _worn(self, request: ModelRequest[Any], scope: Scope) -> ModelRequest[Any]:
        """The request with the version of the scope on, where its model wears versions of this memory."""
        model, settings = request.model, dict(request.model_settings)
        if not isinstance(model, ChatAgentMemory):
            return request
        if chosen := settings.pop("adapter", None):  # by another middleware, for this call
            model = model.model_copy(update={"adapter": chosen})
        if model.wears_versions_of(self.memory, scope):
            model = model.worn_for(scope)
            model = model.pinned() if self.retrieval == "lean" else model
        return request.override(model=model, model_settings=settings)

    def _block(self, request: ModelRequest[Any], scope: Scope) -> str:
        """The context block for this call, "" when there is nothing to recall."""
        query = msg.query_of(request.messages, _inputs(request.state))
        if self.retrieval == "none" or not query:
            return ""

        def search(text: str, most: int) -> list[SearchResult]:
            beyond = min(len(request.messages), _MOST_SEEN)
            found = self.memory.search(text, k=most + beyond, user_id=scope.user_id, agent_id=scope.agent_id)
            return msg.unseen(found, request.messages)[:most]

        budget, count, known, most = self.budget_tokens, None, None, answer.MANY
        model = request.model
        if isinstance(model, ChatAgentMemory):  # knows its window and its tokens, also as the bare base
            most = answer.FEW if model.is_in_the_box else most
            budget = min(budget, model.room_beside(_all_messages(request), request.tools))
            count = model.get_num_tokens
            if self.retrieval == "lean" and model.wears_versions_of(self.memory, scope):
                known = model.known(_all_messages(request))
        if budget < 1:
            return ""
        return answer.context(
            search,
            query,
            budget_tokens=budget,
            retrieval="all" if known is None else "lean",
            known=known,
            count=count,
            most=self.memory.config.prompt.most_episodes or most,
            largest=self.memory.config.search.max_k,
        ).text

    def _check_tools(self, tools: Sequence[Any]) -> None:
        """Refuses an agent where the tools of another instance, for another scope, took the names of ours."""
        ours = {tool.name: tool for tool in self.tools if isinstance(tool, MemoryTool)}
        for tool in tools:
            own = ours.get(tool.name) if isinstance(tool, MemoryTool) else None
            if own is not None and not own.is_like(tool):
                raise InvalidInput(
                    f"two memories offer this agent a tool called {tool.name!r}, and the model could reach "
                    f"only one: give tools=() to all AgentMemoryMiddleware but one (this is {self.name!r})"
                )

    def _record(self, state: Mapping[str, Any], runtime: Any) -> None:
        """Writes those messages of the turn that the memory does not hold yet."""
        if not self.record:
            return
        scope = self._scope_of(runtime)
        inputs = _inputs(state)
        turn = msg.turn_of(state["messages"], [*state.get("memory_left", ()), *inputs])
        self._recorder.record(msg.to_items(turn, inputs=inputs, session_id=scope.session_id), scope)

    def _scope_of(self, runtime: Any) -> Scope:
        """Whose memory this call is about.

        Raises:
            ScopeError: Nobody says.
        """
        scope = self.scope.resolve(context=runtime.context, configurable=get_config().get("configurable"))
        if self.memory.fixed is None and scope.user_id is None and scope.agent_id is None:
            raise ScopeError(
                "no scope for this agent: call it with config={'configurable': {'user_id': ...}} or with a "
                "context that has user_id, or fix user_id= in AgentMemoryMiddleware or in MemoryManager.open"
            )
        return scope


def _placed(request: ModelRequest[Any], block: str, placement: Placement) -> ModelRequest[Any]:
    """The request with the block at the end of the system message, or before the last user message."""
    if placement == "system":
        return request.override(system_message=_joined(request.system_message, block, last=True))
    messages = list(request.messages)
    last = max((i for i, m in enumerate(messages) if isinstance(m, HumanMessage)), default=None)
    if last is None:
        return request
    messages[last] = _joined(messages[last], block, last=False)
    return request.override(messages=messages)


def _joined(message: BaseMessage | None, block: str, *, last: bool) -> Any:
    """A copy of the message with the block after (`last`) or before its text; a system message where None."""
    if message is None:
        return SystemMessage(content=block)
    if isinstance(message.content, str):
        parts = [message.content, block] if last else [block, message.content]
        content: Any = "\n\n".join(filter(None, parts))
    else:
        piece = [{"type": "text", "text": block}]
        content = [*message.content, *piece] if last else [*piece, *message.content]
    return message.model_copy(update={"content": content})


def _all_messages(request: ModelRequest[Any]) -> list[BaseMessage]:
    """The messages of the request, the system message first."""
    return [*([request.system_message] if request.system_message else []), *request.messages]


def _inputs(state: Mapping[str, Any]) -> list[str]:
    """Ids of the messages that opened the turn."""
    return list(state.get("memory_turn", ()))


def _one_of(name: str, value: object, allowed: tuple[object, ...]) -> None:
    if value not in allowed:
        raise InvalidInput(f"{name} is {value!r}; it must be one of {allowed}")
