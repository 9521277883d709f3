"""Search: words and vectors together, neighbours beside them, one namespace only, every score explained."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent_memory import MemoryManager, search
from agent_memory.config import Config, IndexConfig, SearchConfig
from agent_memory.errors import FilterError, InvalidInput
from agent_memory.store import lexical, vectors
from agent_memory.types import SearchResult
from tests.store_places import Place

NOON = datetime(2026, 3, 8, 12, tzinfo=UTC)
MEANINGS = ({"dog", "puppy", "hound"}, {"car", "vehicle", "auto"}, {"boat", "ship"}, {"red"}, {"blue"})


def meanings(texts: list[str]) -> np.ndarray:
    """One number for each meaning, so that synonyms are near and nothing else is."""
    rows = [[sum(word.strip("?.!") in words for word in text.lower().split()) for words in MEANINGS]
            for text in texts]  # fmt: skip
    return np.array(rows, dtype=np.float32) + 0.01


def memory(
    place: Place, *, embeddings: Any = meanings, index: IndexConfig | None = None, **search: Any
) -> MemoryManager:
    config = Config(search=SearchConfig(**search), index=index or IndexConfig())
    return place.open(user_id="alice", embeddings=embeddings, config=config)


def texts(results: list[SearchResult]) -> list[str]:
    return [one.episode.text for one in results]


def test_words_and_meaning_each_find_what_the_other_misses(place: Place) -> None:
    with memory(place) as alice:
        alice.add_many(["The hound sleeps.", "Zanzibar is far.", "We drove the auto.", "It rained.", "Tea?"])
        assert texts(alice.search("puppy", k=1)) == ["The hound sleeps."]
        assert texts(alice.search("zanzibar", k=1)) == ["Zanzibar is far."]
        assert len(alice.search("puppy", k=100)) == 5


def test_what_was_added_is_found_at_once_and_by_its_new_text_after_an_update(place: Place) -> None:
    with memory(place) as alice:
        added = alice.add("A red boat")
        assert texts(alice.search("ship", k=1)) == ["A red boat"]
        alice.update(added.id, text="A blue vehicle")
        assert texts(alice.search("car", k=1)) == ["A blue vehicle"]
        alice.forget([added.id])
        assert alice.search("boat") == []


def test_a_message_lends_its_score_to_those_around_it_in_its_session(place: Place) -> None:
    said = ["Which harbour was it?", "Lisbon, of course.", "Fine weather today.", "Nobody came.", "Well."]
    rest = [f"Nothing of note, day {day}." for day in range(20)]
    with memory(place) as alice:
        alice.add_many([{"text": one, "session_id": "s"} for one in said])
        alice.add_many([{"text": "Lisbon, as usual.", "session_id": "t"}, *rest])
        found = texts(alice.search("the harbour", k=3))
        assert found[:2] == ["Which harbour was it?", "Lisbon, of course."]
    with memory(place, neighbour_reach=0) as alice:
        ranked = alice.search("the harbour", k=30)
        scores = {one.episode.text: one.score for one in ranked}
        assert scores["Lisbon, of course."] == pytest.approx(scores["Lisbon, as usual."])


def test_neighbours_are_of_the_same_session_and_namespace(place: Place) -> None:
    with memory(place) as alice:
        alice.add_many([{"text": text, "session_id": "s"} for text in ("harbour lights", "other talk")])
    with place.open(user_id="bob", embeddings=meanings) as bob:
        bob.add_many([{"text": "bob one", "session_id": "s"}, {"text": "bob two", "session_id": "s"}])
        assert set(texts(bob.search("harbour"))) == {"bob one", "bob two"}


def test_filters_and_as_of_and_expiry_are_conditions(place: Place) -> None:
    later = NOON + timedelta(days=30)
    with memory(place) as alice:
        alice.add("red boat one", metadata={"place": "Oslo"}, occurred_at=NOON, session_id="s")
        alice.add("red boat two", metadata={"place": "Rome"}, occurred_at=later, session_id="s")
        alice.add("red boat three", expires_at=alice.database.now() + timedelta(days=1), occurred_at=NOON)
        assert len(alice.search("red boat")) == 3
        assert texts(alice.search("red boat", filters={"place": "Oslo"})) == ["red boat one"]
        assert texts(alice.search("red boat", filters={"occurred_at": {"gt": NOON}})) == ["red boat two"]
        assert alice.search("red boat", filters={"place": "Paris"}) == []
        assert alice.search("red boat", as_of=NOON) == []  # nothing had been stored by then
        assert len(alice.search("red boat", as_of=alice.database.now())) == 3
        now = alice.database.now
        alice.database.now = lambda: now() + timedelta(days=2)
        assert set(texts(alice.search("red boat"))) == {"red boat one", "red boat two"}


@pytest.mark.parametrize("query", ["", "  \n", None, 3, ["boat"], b"boat", "x" * 1_000_001])
def test_what_is_no_query_is_refused(place: Place, query: Any) -> None:
    with memory(place) as alice, pytest.raises(InvalidInput):
        alice.search(query)


@pytest.mark.parametrize("k", [0, -1, 10**6, 1.5, "3", True, None])
def test_a_k_out_of_range_is_refused(place: Place, k: Any) -> None:
    with memory(place) as alice, pytest.raises(InvalidInput, match="k must be"):
        alice.search("boat", k=k)


def test_a_filter_is_checked_even_where_there_is_nothing_to_search(place: Place) -> None:
    with memory(place) as alice, pytest.raises(FilterError):
        alice.search("boat", filters={"text": {"regex": ".*"}})


@pytest.mark.parametrize("query", ["boat \x00", "\ud800 boat", "boat' OR 1=1 --", "*", "NEAR(boat", "👩‍👧"])
def test_odd_characters_in_a_query_find_or_find_nothing(place: Place, query: str) -> None:
    with memory(place) as alice:
        alice.add("boat")
        assert len(alice.search(query)) == 1


def test_when_the_embedder_fails_words_decide(place: Place) -> None:
    works = True

    def embed(given: list[str]) -> np.ndarray:
        if not works:
            raise RuntimeError("down")
        return meanings(given)

    with memory(place, embeddings=embed) as alice:
        alice.add_many(["a dog", "a boat", "tea"])
        works = False
        assert texts(alice.search("boat", k=1)) == ["a boat"]
        assert alice.search("boat", k=1, explain=True)[0].why["vector"] is None
        alice.add("a second boat")
        assert set(texts(alice.search("boat", k=2))) == {"a boat", "a second boat"}


def test_explain_accounts_for_the_score(place: Place) -> None:
    with memory(place, recency_weight=0.5) as alice:
        said = ["red", "boat", "red boat", "dog", "blue ship"] * 4
        alice.add_many([{"text": f"{word} talk {i}", "session_id": "s"} for i, word in enumerate(said)])
        results = alice.search("the red boat", k=20, explain=True)
        for one in results:
            why = one.why
            parts = (why["lexical"]["standardised"], why["vector"]["standardised"] * why["vector"]["weight"],
                     why["neighbours"]["score"], why["recency"])  # fmt: skip
            assert one.score == pytest.approx(sum(parts))
            assert why["lexical"]["score"] == pytest.approx(sum(why["lexical"]["terms"].values()))
            assert why["neighbours"]["score"] == pytest.approx(sum(why["neighbours"]["from"].values()))
        assert any(one.why["neighbours"]["from"] for one in results)
        assert [one.score for one in results] == sorted((one.score for one in results), reverse=True)
        assert all(one.why is None for one in alice.search("the red boat"))


def test_recency_prefers_the_later_of_two_alike(place: Place) -> None:
    def ranked(**options: float) -> list[int]:
        with memory(place, **options) as alice:
            return [one.episode.occurred_at.day for one in alice.search("red boat", k=2)]

    with memory(place) as alice:
        alice.add("red boat", occurred_at=NOON + timedelta(days=10))
        alice.add("red boat", occurred_at=NOON)
    assert ranked() == [8, 18]  # among equals the one added later
    assert ranked(recency_weight=1.0) == [18, 8]


def test_a_search_through_the_index_answers_as_one_without(place: Place) -> None:
    words = [word for group in MEANINGS for word in sorted(group)]
    some = np.random.default_rng(5)
    with memory(place) as exact:
        exact.add_many([{"text": " ".join(some.choice(words, 4)) + f" {i}", "session_id": f"s{i // 6}"}
                        for i in range(90)])  # fmt: skip
        wanted = {query: exact.search(query) for query in words}
    small = IndexConfig(index_from=30, batch=20, drain_from=10)
    with memory(place, index=small) as indexed:
        with indexed.database.read() as connection:
            owner = indexed.store.namespace_id(connection, indexed._scope(None, None))
        indexed.index.maintain(owner)
        for query, results in wanted.items():
            again = indexed.search(query, explain=True)
            assert again[0].why["vector"]["path"] == "index"
            assert [(one.episode.id, one.score) for one in again] == [
                (one.episode.id, pytest.approx(one.score)) for one in results
            ]


names = st.sampled_from(["alice", "bob", "carol"])
shared = st.lists(st.sampled_from(["red", "boat", "dog", "the", "car"]), min_size=1, max_size=4).map(" ".join)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(added=st.lists(st.tuples(names, shared), max_size=12), query=shared, asking=names)
def test_nobody_finds_or_is_moved_by_what_is_of_others(
    place: Place, added: list[tuple[str, str]], query: str, asking: str
) -> None:
    with place.open(embeddings=meanings) as everyone:
        everyone.forget(everything=True, user_id=asking)
        own = [text for name, text in added if name == asking]
        everyone.add_many(own, user_id=asking)
        before = everyone.search(query, user_id=asking, k=50)
        for name, text in added:
            if name != asking:
                everyone.add(text, user_id=name)
        after = everyone.search(query, user_id=asking, k=50)
    assert after == before
    assert {one.episode.user_id for one in after} <= {asking}
    assert len(after) == len(set(own))


def test_keys_are_looked_up_and_no_namespace_is_walked(place: Place) -> None:
    statements = (search._AROUND, search._LIVE, search._NAMES, search._TIMES, vectors._SOME, lexical._INSIDE)
    with memory(place) as alice:
        alice.add_many(["red boat", "blue boat"])
        with alice.database.read() as connection:
            if connection.dialect.name != "sqlite":
                pytest.skip("SQLite's planner chooses without statistics; PostgreSQL's has them")
            for statement in statements:
                compiled = statement.compile(dialect=connection.dialect)
                sql = re.sub(r"__\[POSTCOMPILE_\w+\]", "'red'", str(compiled))
                plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", (None,) * sql.count("?")).all()
                steps = [row[3] for row in plan if "json_each" not in row[3]]
                assert any("pk=?" in step or "rowid=?" in step for step in steps)
                assert not [step for step in steps if step.endswith("(namespace_id=?)") or "SCAN" in step]


def test_a_block_holds_what_answers_however_often_the_question_was_recorded(place: Place) -> None:
    with place.open(user_id="ada") as memory:
        fact = memory.add("My dog is called Rufus.").id
        for session in range(60):
            memory.add("What is my dog called?", session_id=f"s{session}")
        memory.add("The dog of Bea is called Max.", session_id="a")
        again = memory.add("The dog of Bea is called Max.", session_id="b").id
        found = [episode.id for episode in memory.context("what is my  dog called?").episodes]
        assert fact in found
        assert again in found
        assert len(found) == 2
