"""What the retriever does besides LangChain's own suite: its arguments, and what its documents tell."""

from __future__ import annotations

import asyncio

import pytest
from langchain_agent_memory import AgentMemoryRetriever
from pydantic import ValidationError

from agent_memory.errors import FilterError, InvalidInput, ScopeError
from tests.integrations.agents import ALICE


@pytest.fixture
def retriever(memory):
    memory.add("My cat is called Zorro.", session_id="s1", metadata={"topic": "pets"}, **ALICE)
    memory.add("The cat food is in the cellar.", source="web:shop.example", **ALICE)
    memory.add("Bob's cat is called Tom.", user_id="bob")
    return AgentMemoryRetriever(memory=memory, **ALICE)


def test_a_document_tells_the_score_and_the_origin_of_its_episode(memory, retriever):
    document = retriever.invoke("What is my cat called?")[0]
    result = memory.search("What is my cat called?", **ALICE)[0]
    assert (document.id, document.page_content) == (result.episode.id, "My cat is called Zorro.")
    assert document.metadata == {
        "topic": "pets",
        "score": result.score,
        "role": "user",
        "source": "user",
        "trust": "trusted",
        "session_id": "s1",
        "occurred_at": result.episode.occurred_at.isoformat(),
        "created_at": result.episode.created_at.isoformat(),
    }


def test_filters_number_and_scope_hold_for_all_calls_or_for_one(memory, retriever):
    assert len(retriever.invoke("cat")) == 2
    assert len(retriever.invoke("cat", k=1)) == 1
    web = {"source": "web:shop.example"}
    assert [d.metadata["source"] for d in retriever.invoke("cat", filters=web)] == [web["source"]]
    always = AgentMemoryRetriever(memory=memory, filters=web, k=5, **ALICE)
    assert [d.metadata["source"] for d in asyncio.run(always.ainvoke("cat"))] == [web["source"]]
    assert [d.page_content for d in retriever.invoke("cat", user_id="bob")] == ["Bob's cat is called Tom."]
    assert retriever.invoke("cat", as_of="2020-01-01") == []


def test_a_wrong_filter_and_a_missing_scope_are_refused(memory, retriever):
    with pytest.raises(FilterError):
        retriever.invoke("cat", filters={"source": {"like": "%"}})
    with pytest.raises(ScopeError):
        AgentMemoryRetriever(memory=memory).invoke("cat")


def test_a_number_that_cannot_be_used_is_refused(retriever):
    for k in (0, -1, 2.5, True, "3", None, 10_000):
        with pytest.raises(InvalidInput, match="k must be"):
            retriever.invoke("cat", k=k)


def test_a_misspelt_argument_is_refused_by_name(memory):
    with pytest.raises(ValidationError, match="user\n"):
        AgentMemoryRetriever(memory=memory, user="alice")


def test_what_answers_is_found_however_often_the_question_was_recorded(memory, retriever):
    for session in range(60):
        memory.add("What is my cat called?", session_id=f"s{session}", **ALICE)
        memory.add("Cats are clever.", session_id=f"s{session}", **ALICE)
    found = [document.page_content for document in retriever.invoke("What is my  cat called?", k=3)]
    assert sorted(found) == ["Cats are clever.", "My cat is called Zorro.", "The cat food is in the cellar."]
