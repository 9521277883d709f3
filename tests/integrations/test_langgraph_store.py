"""The LangGraph store: against LangGraph's two own, and where they are silent or differ, by claims."""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.tools import ToolRuntime
from langchain_agent_memory import AgentMemoryEmbeddings, AgentMemoryStore
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.store.base import (
    GetOp,
    InvalidNamespaceError,
    ListNamespacesOp,
    MatchCondition,
    PutOp,
    SearchOp,
)
from langgraph.store.memory import InMemoryStore
from langgraph.store.sqlite import SqliteStore
from sqlalchemy import event

from agent_memory import MemoryManager
from agent_memory.errors import EmbeddingError, FilterError, InvalidInput, ScopeError
from agent_memory.testing import ScriptedChatModel

SEEDS, OPERATIONS = 200, 60
LABELS = ("a", "ab", "b", "é%_", "x y")
KEYS = ("k", "K", "k1", "日本", "a.b/c'")
START = datetime(2026, 3, 1, tzinfo=UTC)


class Clock:
    """A time that passes when told to."""

    def __init__(self) -> None:
        self.time = START

    def __call__(self) -> datetime:
        return self.time

    def pass_minutes(self, minutes: float) -> None:
        self.time += timedelta(minutes=minutes)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(memory: MemoryManager) -> AgentMemoryStore:
    return AgentMemoryStore(memory, agent_id="bot", index=False)


# ---------------------------------------------------------------------- against the others


def random_op(chance: random.Random) -> Any:
    path = tuple(chance.choices(LABELS, k=chance.randint(1, 3)))
    key = chance.choice(KEYS)
    kind = chance.random()
    if kind < 0.45:
        value = {
            "n": chance.randint(0, 3),
            "s": chance.choice(["x", "X", "é", "' OR 1=1"]),
            "b": chance.random() < 0.5,
            "f": chance.choice([0.5, 2.0]),
            "deep": {"list": [1, None, "z"]},
        }
        return PutOp(path, key, value)
    if kind < 0.55:
        return PutOp(path, key, None)
    if kind < 0.7:
        return GetOp(path, key)
    if kind < 0.9:
        return SearchOp(path[: chance.randint(0, 2)], filter=random_filter(chance), limit=1000)
    condition = MatchCondition(
        chance.choice(["prefix", "suffix"]), tuple(chance.choices([*LABELS, "*"], k=chance.randint(1, 2)))
    )
    return ListNamespacesOp(
        match_conditions=chance.choice([None, (condition,)]),
        max_depth=chance.choice([None, 1, 2]),
        limit=1000,
    )


def random_filter(chance: random.Random) -> dict[str, Any] | None:
    return chance.choice(
        [
            None,
            {"n": chance.randint(0, 3)},
            {"n": {chance.choice(["$gt", "$gte", "$lt", "$lte", "$ne", "$eq"]): chance.randint(0, 3)}},
            {"s": chance.choice(["x", "é", "' OR 1=1"]), "n": {"$gt": 0, "$lt": 3}},
            {"s": {"$ne": "x"}},
            {"b": chance.random() < 0.5},
            {"f": {"$gte": 1}},
            {"missing": None},
            {"n": {"$eq": None}},
        ]
    )


class TidyInMemoryStore(InMemoryStore):
    """Without its listing of namespaces that were only read, or whose items are gone."""

    def _handle_list_namespaces(self, op: ListNamespacesOp) -> list[tuple[str, ...]]:
        for path in [path for path, items in self._data.items() if not items]:
            del self._data[path]
        return super()._handle_list_namespaces(op)


def seen(op: Any, result: Any) -> Any:
    """A result without what the two references themselves disagree on."""
    if isinstance(op, GetOp):
        return None if result is None else (result.namespace, result.key, result.value)
    if isinstance(op, SearchOp):  # the order without a query is nobody's promise
        return sorted((item.namespace, item.key, json.dumps(item.value, sort_keys=True)) for item in result)
    return result


def run(store: Any, seed: int) -> list[Any]:
    """What the store answers to a random sequence, in batches of one to six."""
    chance = random.Random(seed)
    ops = [random_op(chance) for _ in range(OPERATIONS)]
    answers: list[Any] = []
    while ops:
        batch, ops = ops[: (size := chance.randint(1, 6))], ops[size:]
        answers += [seen(op, result) for op, result in zip(batch, store.batch(batch), strict=True)]
    return answers


def test_it_answers_as_langgraphs_own_stores_do(memory):
    event.listen(memory.database.engine, "connect", lambda raw, _: raw.execute("PRAGMA synchronous=OFF"))
    memory.database.engine.dispose()  # durability is tested elsewhere; here it would take a minute
    for seed in range(SEEDS):
        ours = AgentMemoryStore(memory, user_id=f"seed-{seed}", index=False)
        answers = run(ours, seed)
        assert answers == run(TidyInMemoryStore(), seed), seed
        with SqliteStore.from_conn_string(":memory:") as other:
            other.setup()
            assert answers == run(other, seed), seed


def test_search_by_meaning_ranks_as_langgraphs_own_store_does(memory):
    texts = ["My cat is called Zorro.", "The dog sleeps.", "Lisbon is warm.", "I drink tea.", "Cats purr."]
    index = {"dims": 256, "embed": AgentMemoryEmbeddings(), "fields": ["text", "tags[*]"]}
    ours, theirs = AgentMemoryStore(memory, user_id="alice", index=index), InMemoryStore(index=index)
    for store in (ours, theirs):
        for n, text in enumerate(texts):
            store.put(("notes", str(n % 2)), f"k{n}", {"text": text, "tags": ["pets", "note"][: n % 3]})
        store.put(("notes",), "unindexed", {"text": "cat"}, index=False)
    for query in ("cat", "what do I drink", "weather in Portugal"):
        for limit in (2, 10):
            mine, other = (s.search(("notes",), query=query, limit=limit) for s in (ours, theirs))
            assert [(i.namespace, i.key) for i in mine] == [(i.namespace, i.key) for i in other]
            for a, b in zip(mine, other, strict=True):
                assert a.score == (None if b.score is None else pytest.approx(b.score, abs=1e-5))


# ---------------------------------------------------------------------- by claims


def test_a_batch_answers_in_order_reads_before_it_writes_and_lets_the_last_write_win(store):
    store.put(("a",), "k", {"n": 1})
    results = store.batch(
        [
            PutOp(("a",), "k", {"n": 2}),
            GetOp(("a",), "k"),
            PutOp(("a",), "k", {"n": 3}),
            SearchOp(("a",)),
            ListNamespacesOp(),
        ]
    )
    assert results[0] is None
    assert results[1].value == {"n": 1}
    assert results[3][0].value == {"n": 1}
    assert results[4] == [("a",)]
    assert store.get(("a",), "k").value == {"n": 3}


def test_a_namespace_ends_at_its_label_and_knows_case_and_wildcards(store):
    for path in (("a",), ("ab",), ("a", "b"), ("A",), ("a%",), ("a_",), ("*",)):
        store.put(path, "k", {"p": list(path)})
    assert {i.namespace for i in store.search(("a",))} == {("a",), ("a", "b")}
    assert {i.namespace for i in store.search(("a%",))} == {("a%",)}
    assert store.list_namespaces(prefix=("A",)) == [("A",)]
    assert store.list_namespaces(suffix=("b",)) == [("a", "b")]
    assert ("a", "b") in store.list_namespaces(prefix=("*", "b"))
    assert len(store.list_namespaces(max_depth=1)) == 6


@pytest.mark.parametrize("path", [("a.b",), ("",), ("a\x00",), (1,)])
def test_a_malformed_namespace_is_refused_in_every_operation(store, path):
    for op in (GetOp(path, "k"), PutOp(path, "k", {}), SearchOp(path)):
        with pytest.raises(InvalidNamespaceError):
            store.batch([op])


@pytest.mark.parametrize("key", ["n' OR '1'='1", "n') --", "$.n", "a.b", '"', "n; DROP TABLE store_items"])
def test_a_filter_key_or_value_is_never_sql_or_a_path(store, key):
    store.put(("a",), "one", {"n": 1, "a": {"b": 1}})
    assert store.search(("a",), filter={key: 1}) == []
    assert store.search(("a",), filter={"n": key}) == []
    store.put(("a",), "two", {key: 7})
    assert [i.key for i in store.search(("a",), filter={key: 7})] == ["two"]


@pytest.mark.parametrize(
    "conditions",
    [
        {"n": {"$regex": 1}},
        {"other": 2, "n": {"$regex": 1}},
        {"in": {"n": {"$regex": 1}}},
        {"n": [{"$regex": 1}]},
    ],
)
@pytest.mark.parametrize("path", [("a",), ("empty",)])
def test_an_unknown_operator_is_named_whatever_there_is_to_compare(store, path, conditions):
    store.put(("a",), "k", {"n": 1})
    with pytest.raises(FilterError, match=r"'\$regex'"):
        store.search(path, filter=conditions)


@pytest.mark.parametrize("conditions", ["n", ["n"], 5, True])
def test_a_filter_that_is_no_mapping_is_refused(store, conditions):
    with pytest.raises(FilterError, match="mapping"):
        store.search(("a",), filter=conditions)


@pytest.mark.parametrize(
    "op",
    [
        GetOp(("a",), "half \ud800"),
        GetOp(("half \ud800",), "k"),
        SearchOp(("half \ud800",)),
        SearchOp(("a",), limit=-1),
        SearchOp(("a",), limit=2**70),
        SearchOp(("a",), limit="3"),
        SearchOp(("a",), offset=-1),
        ListNamespacesOp(limit=-1),
        PutOp(("a",), "k", {}, ttl=float("inf")),
        PutOp(("a",), "k", {}, ttl=1e300),
        PutOp(("a",), "k", {}, ttl="5"),
    ],
    ids=str,
)
def test_an_operation_that_no_database_could_carry_out_is_refused_before_anything_is_done(store, op):
    with pytest.raises(InvalidInput):
        store.batch([PutOp(("a",), "good", {"n": 1}), op])
    assert store.search(("a",)) == []


def test_an_unknown_operator_is_refused_and_what_has_no_order_is_not_in_order(store):
    store.put(("a",), "k", {"n": 1, "s": "m", "none": None, "list": [1]})
    with pytest.raises(FilterError, match="regex"):
        store.search(("a",), filter={"s": {"$regex": ".*"}})
    unordered = (("missing", 0), ("none", 0), ("s", 0), ("n", "0"), ("list", 0), ("n", float("nan")))
    for name, operand in unordered:
        assert store.search(("a",), filter={name: {"$gt": operand}}) == []
    assert len(store.search(("a",), filter={"s": {"$gt": "a"}})) == 1
    assert len(store.search(("a",), filter={"n": {"$lt": float("inf")}})) == 1


def test_values_come_back_as_they_were_and_do_not_follow_the_callers_dict(store):
    value = {"text": "日本語 🎈 ‮", "big": 10**30, "deep": [{"a": None}], "": True}
    store.put(("日本",), "ключ", value)
    value["text"] = "changed"
    item = store.get(("日本",), "ключ")
    assert item.value == {"text": "日本語 🎈 ‮", "big": 10**30, "deep": [{"a": None}], "": True}
    item.value["text"] = "changed"
    assert store.get(("日本",), "ключ").value["text"].startswith("日本語")


@pytest.mark.parametrize("value", [{"a": {1}}, {1: "a"}, {"a": float("nan")}, {"a": "\ud800"}, {"a": "\x00"}])
def test_a_value_that_is_not_json_is_refused_and_nothing_is_written(store, value):
    with pytest.raises(InvalidInput):
        store.batch([PutOp(("a",), "good", {"n": 1}), PutOp(("a",), "bad", value)])
    assert store.search(("a",)) == []


@pytest.mark.parametrize("value", ["I drink tea.", 5, ["tea"], [("text", "tea")]])
def test_a_value_that_is_no_mapping_is_refused_with_what_to_pass(store, value):
    with pytest.raises(InvalidInput, match=r'such as \{"text"'):
        store.put(("a",), "k", value)
    assert store.search(("a",)) == []


def test_times_tell_when_an_item_was_made_and_last_changed(tmp_path, clock):
    with MemoryManager.open(tmp_path / "m") as memory:
        memory.database.now = clock
        store = AgentMemoryStore(memory, user_id="alice")
        store.put(("a",), "k", {"n": 1})
        clock.pass_minutes(5)
        store.put(("a",), "k", {"n": 2})
        item = store.get(("a",), "k")
        assert (item.created_at, item.updated_at) == (START, START + timedelta(minutes=5))


def test_an_item_ends_with_its_time_to_live_and_reading_prolongs_it(tmp_path, clock):
    with MemoryManager.open(tmp_path / "m") as memory:
        memory.database.now = clock
        store = AgentMemoryStore(memory, user_id="alice", ttl={"default_ttl": 10, "refresh_on_read": True})
        store.put(("a",), "short", {"n": 1}, ttl=2)
        store.put(("a",), "default", {"n": 2})
        store.put(("a",), "ever", {"n": 3}, ttl=None)
        clock.pass_minutes(3)
        assert store.get(("a",), "short") is None
        assert {i.key for i in store.search(("a",))} == {"default", "ever"}
        clock.pass_minutes(8)
        assert store.get(("a",), "default", refresh_ttl=False) is not None
        clock.pass_minutes(8)
        assert {i.key for i in store.search(("a",))} == {"ever"}
        store.put(("b",), "k", {})
        with sqlite3.connect(tmp_path / "m" / "memory.sqlite3") as raw:
            assert raw.execute("SELECT count(*) FROM store_items").fetchone() == (2,)


def test_nothing_crosses_from_one_scope_to_another_and_a_scope_is_needed(memory):
    alice, bob = (AgentMemoryStore(memory, user_id=name) for name in ("alice", "bob"))
    alice.put(("notes",), "k", {"text": "secret"})
    assert bob.get(("notes",), "k") is None
    assert bob.search(("notes",), query="secret") == []
    assert bob.list_namespaces() == []
    with pytest.raises(ScopeError):
        AgentMemoryStore(memory)


def test_the_store_outlives_its_process_and_async_does_the_same(tmp_path):
    with MemoryManager.open(tmp_path / "m", user_id="alice") as memory:
        store = AgentMemoryStore(memory)
        asyncio.run(store.aput(("notes",), "k", {"text": "tea"}))
    with MemoryManager.open(tmp_path / "m", user_id="alice") as memory:
        store = AgentMemoryStore(memory)
        found = asyncio.run(store.asearch(("notes",), query="what do I drink"))
        assert found[0].value == {"text": "tea"}


def test_a_failing_embedder_stops_the_write_and_vectors_of_another_are_not_compared(tmp_path):
    def fails(texts: list[str]) -> list[list[float]]:
        raise OSError("away")

    with MemoryManager.open(tmp_path / "m", user_id="alice") as memory:
        broken = AgentMemoryStore(memory, index={"dims": 2, "embed": fails})
        with pytest.raises(EmbeddingError):
            broken.put(("a",), "k", {"text": "tea"})
        AgentMemoryStore(memory).put(("a",), "k", {"text": "tea"})
        flat = {"dims": 2, "embed": lambda texts: [[1.0, 0.0] for _ in texts]}
        other = AgentMemoryStore(memory, index=flat)
        assert [(i.key, i.score) for i in other.search(("a",), query="tea")] == [("k", None)]


def test_it_serves_as_the_store_of_an_agent(memory):
    @tool
    def keep(text: str, runtime: ToolRuntime) -> str:
        """Keeps a text."""
        runtime.store.put(("notes",), "k", {"text": text})
        return "kept"

    call = AIMessage("", tool_calls=[{"name": "keep", "args": {"text": "tea"}, "id": "1"}])
    store = AgentMemoryStore(memory, user_id="alice")
    agent = create_agent(ScriptedChatModel(script=[call, "Done."]), [keep], store=store)
    agent.invoke({"messages": [("user", "Keep tea.")]})
    assert store.get(("notes",), "k").value == {"text": "tea"}


# ---------------------------------------------------------------------- items and episodes


def learnt(memory: MemoryManager, **scope: str) -> list[tuple[str, str]]:
    return sorted((e.text, e.trust) for e in memory.list(**scope))


def test_items_are_not_episodes_unless_the_store_is_told_whose_they_are(memory):
    AgentMemoryStore(memory, agent_id="bot").put(("memories", "alice"), "k", {"text": "Alice drinks tea."})
    assert learnt(memory, agent_id="bot") == []
    assert learnt(memory, user_id="alice", agent_id="bot") == []
    store = AgentMemoryStore(memory, agent_id="bot", scope_from=("memories", "{user_id}"))
    store.put(("memories", "alice", "drinks"), "k", {"text": "Alice drinks tea."})
    store.put(("settings",), "k", {"text": "Nobody's."})
    store.put(("memories", "bob"), "k", {"other": "no text here"})
    store.put(("memories", "bob"), "soon", {"text": "Passing."}, ttl=5)
    assert learnt(memory, user_id="alice", agent_id="bot") == [("Alice drinks tea.", "trusted")]
    assert learnt(memory, user_id="bob", agent_id="bot") == []


def test_an_episode_follows_its_item_and_two_items_with_the_same_words_are_two(memory):
    store = AgentMemoryStore(memory, agent_id="bot", scope_from=lambda path: path[1], source="store")
    alice = {"user_id": "alice", "agent_id": "bot"}
    for key in ("one", "two"):
        store.put(("memories", "alice"), key, {"text": "I drink tea."})
    assert learnt(memory, **alice) == [("I drink tea.", "untrusted")] * 2
    store.put(("memories", "alice"), "one", {"text": "I drink coffee."})
    assert [text for text, _ in learnt(memory, **alice)] == ["I drink coffee.", "I drink tea."]
    store.delete(("memories", "alice"), "one")
    assert [text for text, _ in learnt(memory, **alice)] == ["I drink tea."]
    store.put(("memories", "alice"), "two", {"note": "no text any more"})
    assert learnt(memory, **alice) == []
    assert store.get(("memories", "alice"), "two") is not None


def test_forgetting_the_episode_removes_the_item(memory):
    store = AgentMemoryStore(memory, agent_id="bot", scope_from=("memories", "{user_id}"))
    store.put(("memories", "alice"), "k", {"text": "I drink tea."})
    store.put(("memories", "alice"), "other", {"text": "I like jazz."})
    alice = {"user_id": "alice", "agent_id": "bot"}
    tea = next(e.id for e in memory.list(**alice) if "tea" in e.text)
    memory.forget([tea], **alice)
    assert [i.key for i in store.search(("memories",))] == ["other"]
    store.delete(("memories", "alice"), "k")
    assert len(memory.list(**alice)) == 1
