"""Agents with the memory in them and what it then holds; and our chat model as LangChain's suites want it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_agent_memory import AgentMemoryMiddleware, ChatAgentMemory
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool

from agent_memory import MemoryManager
from agent_memory.testing import ScriptedChatModel

ALICE = {"user_id": "alice"}


@dataclass
class Who:
    user_id: str


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"Rain in {city}."


def calls(name: str, arguments: dict[str, Any], *, text: str = "") -> AIMessage:
    return AIMessage(content=text, tool_calls=[{"name": name, "args": arguments, "id": "call-1"}])


def agent_of(
    memory: Any,
    script: list[Any],
    *,
    before: tuple[Any, ...] = (),
    after: tuple[Any, ...] = (),
    tools: Any = None,
    checkpointer: Any = None,
    system_prompt: str | None = None,
    **settings: Any,
) -> tuple[Any, ScriptedChatModel]:
    model = ScriptedChatModel(script=script)
    middleware = [*before, AgentMemoryMiddleware(memory, **settings), *after]
    agent = create_agent(
        model,
        tools,
        middleware=middleware,
        context_schema=Who,
        checkpointer=checkpointer,
        system_prompt=system_prompt,
    )
    return agent, model


def say(text: str, **message: Any) -> dict[str, Any]:
    return {"messages": [HumanMessage(text, **message)]}


def told(memory: MemoryManager, user: str = "alice") -> list[tuple[str, str, str]]:
    return [(e.role, e.source, e.text) for e in reversed(memory.list(user_id=user))]


def thread(name: str) -> dict[str, Any]:
    return {"configurable": {"thread_id": name}}


class Chat:
    """What LangChain's suites for chat models ask of ours; they open it on the fixture `memory`."""

    chat_model_class = ChatAgentMemory
    has_tool_calling = False
    has_structured_output = False
    supports_json_mode = False

    @pytest.fixture(autouse=True)
    def _opened(self, memory: MemoryManager) -> None:
        self.memory = memory

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"memory": getattr(self, "memory", None), **ALICE, "seed": 1}
