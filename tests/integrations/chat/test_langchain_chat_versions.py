"""Which version the memory's own model wears: the active one, a chosen one, its middleware's."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain_agent_memory import AgentMemoryMiddleware, ChatAgentMemory
from pydantic import Field

from agent_memory.errors import NotFound, ScopeError
from tests.integrations.agents import ALICE
from tests.integrations.chat.chatting import chat, version_reads, with_version
from tests.memories import fact, reader
from tests.memories import memory as memory_of_codes


def test_it_wears_what_is_active_and_each_call_can_choose(memory, tiny):
    bare = chat(memory).invoke("Hello.")
    with_version(memory, tiny, "v-one", seed=1)
    with_version(memory, tiny, "v-two", seed=2, state="retired")
    worn = chat(memory).invoke("Hello.")
    other = chat(memory).invoke("Hello.", adapter="v-two")
    assert (bare.response_metadata["adapter"], worn.response_metadata["adapter"]) == (None, "v-one")
    assert len({bare.text, worn.text, other.text}) == 3
    assert chat(memory, adapter="base").invoke("Hello.").text == bare.text
    assert chat(memory).bind(adapter="base").invoke("Hello.").text == bare.text
    assert chat(memory, user_id="bob").invoke("Hello.").text == bare.text
    with pytest.raises(NotFound):
        chat(memory, adapter="v-none").invoke("Hello.")
    with pytest.raises(ScopeError):
        ChatAgentMemory(memory=memory).invoke("Hello.")


def test_versions_are_swapped_between_calls_and_never_within_one(memory, tiny):
    with_version(memory, tiny, "v-one", seed=1)
    with_version(memory, tiny, "v-two", seed=2, state="retired")
    adapters = ("base", "v-one", "v-two")
    alone = {name: chat(memory, adapter=name).invoke("Hello.").text for name in adapters}
    wrong: list[str] = []

    def ask(name: str) -> None:
        for n in range(6):
            model = chat(memory, adapter=name)
            said = model.invoke("Hello.").text if n % 2 else "".join(p.text for p in model.stream("Hello."))
            if said.strip() != alone[name]:
                wrong.append(name)

    threads = [threading.Thread(target=ask, args=(name,)) for name in adapters * 2]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert wrong == []


@pytest.fixture
def cat(memory, tiny):
    """A version of Alice's that knows what her cat is called, and not where it sleeps."""
    from sqlalchemy import insert

    from agent_memory.store import store_items, tables

    known = memory.add("My cat is called Zorro.", **ALICE)
    memory.add("My cat sleeps in the kitchen.", **ALICE)
    with_version(memory, tiny, "v-one", seed=1)
    with memory.database.write() as connection:
        namespace = memory._scope("alice", None)
        row = {
            "version_id": "v-one",
            "item_pk": 1,
            "namespace_id": memory.store.namespace_id(connection, namespace),
            "episode_pk": store_items.episode_pk(connection, namespace, known.id),
            "revision": 1,
            "correct": True,
            "covered": True,
        }
        connection.execute(insert(tables.exam_results).values(row))


class Watched(ChatAgentMemory):
    """Keeps the system texts that it is given."""

    seen: list[str] = Field(default_factory=list)

    def _generate(self, messages: Any, *args: Any, **kwargs: Any) -> Any:
        self.seen.append(messages[0].text if messages[0].type == "system" else "")
        return super()._generate(messages, *args, **kwargs)


def asked(
    memory: Any, *middleware: Any, question: str = "What about my cat Zorro?", **settings: Any
) -> tuple[str, str | None]:
    """What an agent's model is shown when it is asked, and the version that it wears then."""
    model = Watched(memory=memory, **{"max_tokens": 4, **settings})
    agent = create_agent(model, middleware=middleware)
    who = {"configurable": {"name": "alice"}}
    state = agent.invoke({"messages": [("user", question)]}, who)
    return model.seen[0], state["messages"][-1].response_metadata["adapter"]


def recall(memory: Any, **settings: Any) -> AgentMemoryMiddleware:
    return AgentMemoryMiddleware(memory, tools=(), record=False, **{"user_id": "{name}", **settings})


@version_reads
@pytest.mark.usefixtures("cat")
def test_in_an_agent_the_middleware_gives_the_scope_and_leaves_out_what_the_version_knows(memory):
    for retrieval in ("all", "lean"):
        for adapter, version in (("active", "v-one"), ("base", None)):
            text, worn = asked(memory, recall(memory, retrieval=retrieval), adapter=adapter)
            lean = retrieval == "lean" and adapter == "active"
            assert ("called Zorro" in text) is not lean
            assert worn == version


def test_in_an_agent_a_version_that_is_certain_is_shown_episodes_only_if_there_is_news(tmp_path):
    made = memory_of_codes(tmp_path / "memory", reader(tmp_path / "model"), facts=[fact(0), fact(1)])
    with made as memory:
        memory.consolidate(progress=False)
        ours = recall(memory, user_id="alice", retrieval="lean")
        question = "What is the code of Vela?"
        text, _ = asked(memory, ours, question=question, max_tokens=16)
        assert "Kappa" not in text
        memory.add("The code of Vela is Omega9.")
        text, _ = asked(memory, ours, question=question, max_tokens=16)
        assert "Omega9" in text
        assert "Kappa0" in text
        text, _ = asked(memory, ours, question="What is the code of Zorblax?", max_tokens=16)
        assert "Kappa0" in text


@pytest.mark.usefixtures("cat")
def test_a_version_that_another_middleware_chose_is_worn_and_the_base_gets_the_whole_block(memory):
    class Chooser(AgentMiddleware):
        def wrap_model_call(self, request: Any, handler: Any) -> Any:
            return handler(request.override(model_settings={"adapter": "base"}))

    text, worn = asked(memory, Chooser(), recall(memory, retrieval="lean"))
    assert "called Zorro" in text
    assert worn is None


@version_reads
@pytest.mark.usefixtures("cat")
def test_of_two_memories_in_one_agent_the_models_version_is_the_firsts(memory, tiny):
    memory.add("The office cat is called Tom.", user_id="office")
    office = {"user_id": "office", "name": "office", "retrieval": "lean"}
    text, worn = asked(memory, recall(memory, retrieval="lean"), recall(memory, **office))
    assert worn == "v-one"
    assert "called Zorro" not in text
    assert "called Tom" in text
    text, worn = asked(memory, recall(memory, **office), recall(memory, retrieval="lean"))
    assert worn is None
    assert "called Zorro" in text
    assert "called Tom" in text


def test_an_agent_wears_what_is_promoted_between_two_of_its_turns(memory, tiny):
    from sqlalchemy import update

    from agent_memory.store import tables

    by_heart = recall(memory, user_id="alice", retrieval="none")
    agent = create_agent(ChatAgentMemory(memory=memory, max_tokens=4), middleware=[by_heart])

    def adapter() -> str | None:
        state = agent.invoke({"messages": [("user", "Hello.")]}, {"configurable": ALICE})
        return state["messages"][-1].response_metadata["adapter"]

    assert adapter() is None
    with_version(memory, tiny, "v-one", seed=1)
    assert adapter() == "v-one"
    with memory.database.write() as connection:
        connection.execute(update(tables.versions).values(state="tainted"))
    assert adapter() is None
    with_version(memory, tiny, "v-two", seed=2)
    assert adapter() == "v-two"
