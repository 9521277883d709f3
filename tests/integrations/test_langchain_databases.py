"""The plug-in does the same on PostgreSQL as on SQLite; without a server, SQLite alone is tried.

`AGENT_MEMORY_TEST_POSTGRES` names the server, as for the store's own tests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta

import pytest
from langchain_agent_memory import AgentMemoryChatHistory, AgentMemoryRetriever, AgentMemoryStore
from langchain_core.messages import HumanMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver

from agent_memory import MemoryManager
from tests.integrations.agents import ALICE, Who, agent_of, calls, say, thread, told, weather
from tests.integrations.test_langgraph_store import TidyInMemoryStore, run
from tests.store_places import Place


@pytest.fixture
def memory(place: Place) -> Iterator[MemoryManager]:
    with place.open(embeddings=None) as opened:  # the bundled one
        yield opened


def test_it_is_the_database_that_was_asked_for(memory, place):
    assert memory.database.engine.dialect.name == ("postgresql" if place.url else "sqlite")


def test_an_agent_recalls_records_once_and_forgets(memory):
    script = [
        calls("weather", {"city": "Oslo"}, text="I look it up."),
        "It rains on Zorro.",
        lambda messages: calls("search_memory", {"query": "cat"}),
        lambda messages: calls("forget_memory", {"ids": [memory.search("cat", **ALICE)[0].episode.id]}),
        "Gone.",
    ]
    agent, model = agent_of(memory, script, tools=[weather], checkpointer=InMemorySaver())
    memory.add("My cat is called Zorro.", **ALICE)
    agent.invoke(say("Will my cat get wet in Oslo?", id="m1"), thread("one"), context=Who("alice"))
    assert "My cat is called Zorro." in model.system_text()
    assert told(memory)[1:] == [
        ("user", "user", "Will my cat get wet in Oslo?"),
        ("assistant", "assistant", "I look it up."),
        ("tool", "tool:weather", "Rain in Oslo."),
        ("assistant", "assistant", "It rains on Zorro."),
    ]
    state = asyncio.run(agent.ainvoke(say("Forget my cat."), thread("two"), context=Who("alice")))
    results = [message.text for message in state["messages"] if isinstance(message, ToolMessage)]
    assert "Zorro" in results[0]
    assert results[1] == "Forgotten: 1."
    assert told(memory, "bob") == []


def test_a_turn_whose_model_raises_is_recorded_once(memory):
    failure = ConnectionError("the model is away")
    agent, _ = agent_of(memory, [failure, "Here."], checkpointer=InMemorySaver())
    with pytest.raises(ConnectionError) as raised:
        agent.invoke(say("My cat is called Zorro."), thread("one"), context=Who("alice"))
    assert raised.value is failure
    agent.invoke(None, thread("one"), context=Who("alice"))
    assert [text for _, _, text in told(memory)] == ["My cat is called Zorro.", "Here."]


def test_eight_agents_at_once_lose_nothing_and_record_nothing_twice(memory):
    agent, _ = agent_of(memory, ["Noted."], checkpointer=InMemorySaver())

    async def together() -> None:
        await asyncio.gather(
            *(agent.ainvoke(say(f"Fact {n}."), thread(f"{n}"), context=Who("alice")) for n in range(8))
        )

    asyncio.run(together())
    assert sorted(text for role, _, text in told(memory) if role == "user") == [
        f"Fact {n}." for n in range(8)
    ]
    assert [text for _, _, text in told(memory)].count("Noted.") == 8


def test_the_retriever_and_the_history_read_what_was_recorded(memory):
    history = AgentMemoryChatHistory(memory, "s1", **ALICE)
    history.add_messages([HumanMessage("My cat is called Zorro."), HumanMessage("I live in Lisbon.")])
    found = AgentMemoryRetriever(memory=memory, k=1, **ALICE).invoke("cat called Zorro")
    assert [document.page_content for document in found] == ["My cat is called Zorro."]
    assert [message.text for message in history.messages] == ["My cat is called Zorro.", "I live in Lisbon."]


def test_the_store_answers_as_langgraphs_own_does(memory):
    for seed in range(10):
        store = AgentMemoryStore(memory, user_id=f"seed-{seed}", index=False)
        assert run(store, seed) == run(TidyInMemoryStore(), seed), seed


def test_the_store_searches_by_meaning_ends_items_in_time_and_keeps_its_episodes_in_step(memory):
    store = AgentMemoryStore(memory, agent_id="bot", scope_from=("memories", "{user_id}"))
    store.put(("memories", "alice"), "drink", {"text": "tea"})
    store.put(("memories", "alice"), "pet", {"text": "cat"}, ttl=5)
    assert store.search(("memories",), query="tea", limit=1)[0].key == "drink"
    assert [episode.text for episode in memory.list(user_id="alice", agent_id="bot")] == ["tea"]
    now = memory.database.now
    memory.database.now = lambda: now() + timedelta(minutes=6)
    assert [item.key for item in store.search(("memories",))] == ["drink"]
    store.delete(("memories", "alice"), "drink")
    assert memory.list(user_id="alice", agent_id="bot") == []
