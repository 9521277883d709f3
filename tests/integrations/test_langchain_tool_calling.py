"""Tools and structured output of a local model: LangChain's suites, and what they do not ask.

The model runs, but what it says is put into its mouth: a call in Hermes' form of the tool that it is asked
about. So LangChain's own tests judge how tools are shown, how calls are read, streamed and answered, and
nothing is said of how well any model calls.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ToolStrategy
from langchain_agent_memory import AgentMemoryMiddleware, ChatAgentMemory
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests
from pydantic import BaseModel

from agent_memory import Config, MemoryManager
from agent_memory.config import PromptConfig
from agent_memory.errors import InvalidInput, ModelError
from agent_memory.models.local import LocalModel
from agent_memory.testing import tiny_model
from tests.integrations.agents import ALICE, Chat, weather

TEMPLATE = (
    "<bos>{% if tools %}{{ tools | tojson }}{% endif %}"
    "{% for m in messages %}<user>{{ m['role'] }}:{{ m['content'] }}"
    "{% if m.tool_calls %}{{ m.tool_calls | tojson }}{% endif %}<end>{% endfor %}<assistant>"
)
#: What the model says where it does not call.
WORDS = "It is done."


class Caller(LocalModel):
    """Calls the tool that the last message names, else the first, with arguments of the right types."""

    calls = True
    _says = WORDS

    def prompt_ids(self, messages: Sequence[Mapping[str, Any]], *, tools: Any = None) -> list[int]:
        asked = messages[-1]
        self._says = (
            call_for(asked["content"], tools) if self.calls and asked["role"] == "user" and tools else WORDS
        )
        return super().prompt_ids(messages, tools=tools)

    def text(self, ids: Sequence[int], *, special: bool = False) -> str:
        return self._says


def call_for(question: str, tools: Sequence[Mapping[str, Any]]) -> str:
    functions = [tool["function"] for tool in tools]
    function = next((f for f in functions if f["name"] in question), functions[0])
    number = int(found.group()) if (found := re.search(r"\d+", question)) else 1
    arguments = {
        name: number if kind.get("type") == "integer" else question
        for name, kind in function["parameters"]["properties"].items()
    }
    call = json.dumps({"name": function["name"], "arguments": arguments}, ensure_ascii=False)
    return f"I look.\n<tool_call>\n{call}\n</tool_call>"


@pytest.fixture(scope="module")
def caller(tmp_path_factory: pytest.TempPathFactory) -> Caller:
    model = Caller.open(tiny_model(tmp_path_factory.mktemp("caller"), template=TEMPLATE))
    model.window = 16_384  # it reads bytes, and schemas are long
    return model


@pytest.fixture
def memory(tmp_path: Path, caller: Caller) -> Iterator[MemoryManager]:
    short = Config(prompt=PromptConfig(max_answer_tokens=4))
    with MemoryManager.open(tmp_path / "memory", model=caller, config=short) as opened:
        yield opened


class _Chat(Chat):
    has_tool_calling = True
    has_structured_output = True


class TestToolCallingUnit(_Chat, ChatModelUnitTests):
    pass


class TestToolCalling(_Chat, ChatModelIntegrationTests):
    pass


def chat(memory: MemoryManager, **settings: Any) -> ChatAgentMemory:
    return ChatAgentMemory(memory=memory, **{**ALICE, **settings})


class Place(BaseModel):
    """A place."""

    city: str
    number: int


# ---------------------------------------------------------------------- tools


def test_tools_and_the_history_of_calls_are_shown_to_the_model(memory):
    history = [
        HumanMessage("How is Oslo?"),
        AIMessage("", tool_calls=[{"name": "weather", "args": {"city": "Oslo"}, "id": "c1"}]),
        ToolMessage("Rain.", tool_call_id="c1", name="weather"),
    ]
    model = chat(memory)
    with_tools = model.bind_tools([weather]).invoke(history)
    without = model.invoke(history)
    assert with_tools.usage_metadata["input_tokens"] > without.usage_metadata["input_tokens"] + 200
    assert with_tools.text == without.text == WORDS


def test_words_and_calls_are_the_same_in_a_whole_answer_and_in_a_stream(memory):
    model = chat(memory).bind_tools([weather])
    whole, total = model.invoke("How is Oslo?"), None
    for piece in model.stream("How is Oslo?"):
        total = piece if total is None else total + piece
    for answer in (whole, total):
        assert answer.text == "I look."
        assert [(c["name"], c["args"]) for c in answer.tool_calls] == [("weather", {"city": "How is Oslo?"})]


def test_without_tools_what_looks_like_a_call_is_words(memory, caller, monkeypatch):
    written = call_for("Oslo", [{"function": {"name": "weather", "parameters": {"properties": {}}}}])
    monkeypatch.setattr(Caller, "text", lambda self, ids, special=False: written)
    for model in (chat(memory), chat(memory).bind_tools([weather], tool_choice="none")):
        answer = model.invoke("How is Oslo?")
        assert (answer.text, answer.tool_calls) == (written, [])
        assert "".join(piece.text for piece in model.stream("How is Oslo?")) == written


def test_a_call_that_is_demanded_and_does_not_come_is_an_error_and_no_answer(memory, monkeypatch):
    monkeypatch.setattr(Caller, "calls", False)
    for choice in ("any", "required", True, "weather", {"type": "function", "function": {"name": "weather"}}):
        model = chat(memory).bind_tools([weather], tool_choice=choice)
        with pytest.raises(ModelError, match="weather"):
            model.invoke("How is Oslo?")
        with pytest.raises(ModelError, match="weather"):
            list(model.stream("How is Oslo?"))
    assert chat(memory).bind_tools([weather], tool_choice="auto").invoke("How is Oslo?").text == WORDS


def test_a_tool_choice_that_names_no_tool_is_refused(memory):
    with pytest.raises(InvalidInput, match=r"'snow'.*'weather'"):
        chat(memory).bind_tools([weather], tool_choice="snow")


def test_the_block_leaves_room_for_the_tools_and_the_answer(memory, caller, monkeypatch):
    for n in range(40):
        memory.add(f"My cat number {n} is called Zorro and sleeps in the kitchen all day.", **ALICE)
    monkeypatch.setattr(caller, "window", 3000)
    recall = AgentMemoryMiddleware(memory, budget_tokens=100_000, record=False)
    for adapter in ("active", "base"):
        agent = create_agent(chat(memory, adapter=adapter), [weather], middleware=[recall])
        answer = agent.invoke({"messages": [("user", "weather for my cat?")]}, {"configurable": ALICE})[
            "messages"
        ][-1]
        assert answer.text == WORDS
        assert 2000 < answer.usage_metadata["input_tokens"] < 3000


# ---------------------------------------------------------------------- structured output


def test_a_structured_answer_comes_through_a_call(memory):
    model = chat(memory).with_structured_output(Place)
    assert model.invoke("Oslo 7") == Place(city="Oslo 7", number=7)
    raw = chat(memory).with_structured_output(Place, include_raw=True).invoke("Oslo 7")
    assert raw["parsed"] == Place(city="Oslo 7", number=7)


def test_an_agent_gives_a_structured_response(memory):
    agent = create_agent(chat(memory), response_format=ToolStrategy(Place),
                         middleware=[AgentMemoryMiddleware(memory, tools=())])  # fmt: skip
    state = agent.invoke({"messages": [("user", "Oslo 7")]}, {"configurable": ALICE})
    assert state["structured_response"] == Place(city="Oslo 7", number=7)


def test_a_structured_answer_that_does_not_come_is_an_error(memory, monkeypatch):
    monkeypatch.setattr(Caller, "calls", False)
    with pytest.raises(ModelError, match="Place"):
        chat(memory).with_structured_output(Place).invoke("Oslo 7")
