"""The classic memory class and the message history, in the chains that still use them."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from langchain_agent_memory import AgentMemoryChatHistory, ConsolidatingMemory
from langchain_agent_memory.classic import conversation_prompt
from langchain_classic.chains import ConversationChain
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from agent_memory import Config, MemoryManager
from agent_memory.config import StoreConfig
from agent_memory.errors import InvalidInput, ScopeError
from agent_memory.testing import ScriptedChatModel

ALICE = {"user_id": "alice"}


def chain(memory: Any, script: list[Any], **settings: Any) -> tuple[ConversationChain, ScriptedChatModel]:
    model = ScriptedChatModel(script=script)
    recall = ConsolidatingMemory(memory=memory, **{**ALICE, **settings})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the chain itself is deprecated, by its makers
        return ConversationChain(llm=model, memory=recall, prompt=conversation_prompt("Be brief.")), model


def test_a_conversation_chain_remembers_what_an_earlier_one_was_told(memory):
    first, _ = chain(memory, ["Noted."])
    first.invoke({"input": "My cat is called Zorro."})
    second, model = chain(memory, ["Zorro."])
    assert second.invoke({"input": "What is my cat called?"})["response"] == "Zorro."
    assert model.system_text().startswith("Be brief.\n\n<memory>")
    assert "My cat is called Zorro." in model.system_text()


def test_a_chain_runs_asynchronously_with_the_same_effect(memory):
    import asyncio

    made, model = chain(memory, ["Noted.", "Zorro."])
    asyncio.run(made.ainvoke({"input": "My cat is called Zorro."}))
    asyncio.run(made.ainvoke({"input": "My cat?"}))
    assert "Zorro" in model.system_text()


def test_input_and_answer_are_two_episodes_of_their_own_source(memory):
    made, _ = chain(memory, ["Noted."], session_id="s1")
    made.invoke({"input": "My cat is called Zorro."})
    episodes = {e.source: e for e in memory.list(**ALICE)}
    assert episodes["user"].text == "My cat is called Zorro."
    assert episodes["assistant"].trust == "untrusted"
    assert {e.session_id for e in episodes.values()} == {"s1"}


def test_clear_forgets_the_session_or_else_the_scope(memory):
    memory.add("I live in Lisbon.", user_id="bob")
    one, _ = chain(memory, ["Noted."], session_id="s1")
    two, _ = chain(memory, ["Noted."], session_id="s2")
    one.invoke({"input": "My cat is called Zorro."})
    two.invoke({"input": "My dog is called Rex."})
    one.memory.clear()
    assert {e.session_id for e in memory.list(**ALICE)} == {"s2"}
    ConsolidatingMemory(memory=memory, **ALICE).clear()
    assert memory.list(**ALICE) == []
    assert len(memory.list(user_id="bob")) == 1


def test_an_ambiguous_input_and_a_missing_scope_are_refused(memory):
    recall = ConsolidatingMemory(memory=memory, **ALICE)
    with pytest.raises(InvalidInput, match="input_key"):
        recall.load_memory_variables({"question": "a", "language": "b"})
    assert recall.load_memory_variables({"question": "a", "memory": "old", "stop": ["x"]}) == {"memory": ""}
    with pytest.raises(ScopeError):
        ConsolidatingMemory(memory=memory).load_memory_variables({"input": "a"})


def test_a_system_text_with_braces_is_not_a_template():
    prompt = conversation_prompt('Reply as {"answer": ...}.')
    assert prompt.input_variables == ["input", "memory"]
    assert prompt.invoke({"input": "a", "memory": "b"}).messages[0].text == 'Reply as {"answer": ...}.\n\nb'


def test_a_history_keeps_repeated_words_where_the_memory_has_no_duplicate_window(tmp_path):
    config = Config(store=StoreConfig(duplicate_window_seconds=0))
    with MemoryManager.open(tmp_path / "memory", config=config) as memory:
        history = AgentMemoryChatHistory(memory, "s1", **ALICE)
        for message in (HumanMessage("Yes."), AIMessage("Sure?"), HumanMessage("Yes.")):
            history.add_messages([message])
        assert [m.text for m in history.messages] == ["Yes.", "Sure?", "Yes."]


def test_a_history_gives_back_what_was_said_in_its_session(memory):
    history = AgentMemoryChatHistory(memory, "s1", **ALICE)
    history.add_messages([HumanMessage("Yes?"), AIMessage("Yes.", id="a1")])
    history.add_messages([AIMessage("Yes.", id="a1"), ToolMessage("42", tool_call_id="c")])
    AgentMemoryChatHistory(memory, "s2", **ALICE).add_user_message("Elsewhere.")
    assert [(m.type, m.text) for m in history.messages] == [("human", "Yes?"), ("ai", "Yes.")]
    assert history.messages[1].id == "a1"
    history.clear()
    assert history.messages == []
    assert [e.text for e in memory.list(**ALICE)] == ["Elsewhere."]
