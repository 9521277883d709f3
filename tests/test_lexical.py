"""Words find episodes: BM25 by the book, one namespace at a time, and nothing left behind."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, select

from agent_memory.config import SearchConfig
from agent_memory.store import lexical
from agent_memory.store.database import Database, open_database
from agent_memory.store.tables import episodes, lexical_lengths, lexical_statistics, namespaces, postings

NOON = datetime(2026, 3, 8, 12, tzinfo=UTC)
SETTINGS = SearchConfig()
ALICE, BOB = 1, 2


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = open_database(tmp_path)
    with opened.write() as connection:
        for pk, name in ((ALICE, "alice"), (BOB, "bob")):
            connection.execute(insert(namespaces).values(id=pk, key=name, user_id=name, created_at=NOON))
    yield opened
    opened.close()


def add(database: Database, owner: int, texts: dict[int, str]) -> None:
    with database.write() as connection:
        lexical.add(connection, owner, list(texts.items()))


def remove(database: Database, *pks: int) -> int:
    with database.write() as connection:
        return lexical.remove(connection, pks)


def scores(database: Database, owner: int, query: str, pks: list[int], **changed: object) -> np.ndarray:
    with database.read() as connection:
        ranked = lexical.rank(connection, owner, query, settings=SearchConfig(**changed))
        return ranked.of(np.array(pks))


def best(database: Database, owner: int, query: str) -> list[int]:
    with database.read() as connection:
        return lexical.rank(connection, owner, query, settings=SETTINGS).top(10).tolist()


def everything(database: Database) -> list[list[tuple[object, ...]]]:
    with database.read() as connection:
        tables = (postings, lexical_lengths, lexical_statistics)
        return [sorted(map(tuple, connection.execute(select(table)))) for table in tables]


def test_terms_are_stems_in_lower_case_without_stop_words() -> None:
    assert lexical.terms("The Dogs' owner wasn't JUMPING; she jumped.") == ["dog", "owner", "jump", "jump"]
    assert lexical.terms("ﬁne ＡＢＣ") == ["fine", "abc"]
    assert lexical.terms("東京タワー hello") == ["東", "京", "タ", "ワ", "ー", "hello"]


def test_any_text_has_terms_that_a_database_can_hold() -> None:
    for term in lexical.terms("a\x00b \ud800 " + "x" * 100_000 + " 👩‍👩‍👧 ½ ٣"):
        term.encode()
        assert 0 < len(term) <= lexical.MAX_TERM
        assert "\x00" not in term


def test_a_month_is_a_term_and_no_stop_word() -> None:
    assert "may" in lexical.terms("What happened in May?")
    assert set(lexical.date_terms(NOON)) == {"8", "march", "2026"}


def test_scores_are_bm25_by_the_book(database: Database) -> None:
    texts = {1: "cat cat dog", 2: "dog bird", 3: "fish", 4: "cat fish bird dog dog"}
    add(database, ALICE, texts)
    k1, b, mean = SETTINGS.bm25_k1, SETTINGS.bm25_b, 11 / 4

    def expected(pk: int) -> float:
        words = texts[pk].split()
        total = 0.0
        for term in ("cat", "dog"):
            holding = sum(term in text.split() for text in texts.values())
            f, damping = words.count(term), k1 * (1 - b + b * len(words) / mean)
            total += math.log(1 + (4 - holding + 0.5) / (holding + 0.5)) * f * (k1 + 1) / (f + damping)
        return total

    found = scores(database, ALICE, "Where are the cat and the dog?", [1, 2, 3, 4])
    assert found == pytest.approx([expected(pk) for pk in (1, 2, 3, 4)])
    assert best(database, ALICE, "cats") == [1, 4]


def test_equal_scores_put_the_later_episode_first(database: Database) -> None:
    add(database, ALICE, {7: "same words", 9: "same words", 8: "same words"})
    assert best(database, ALICE, "same words") == [9, 8, 7]


def test_the_day_month_and_year_find_an_episode(database: Database) -> None:
    with database.write() as connection:
        connection.execute(insert(episodes).values(
            pk=1, id="e1", namespace_id=ALICE, text="We sailed.", role="user", source="user", trust="trusted",
            occurred_at=NOON, created_at=NOON, revision=1, metadata={}, content_hash="-"))  # fmt: skip
    add(database, ALICE, {1: "We sailed.", 2: "We rode."})
    assert best(database, ALICE, "What happened in March?") == [1]
    assert best(database, ALICE, "on 8 March 2026") == [1]


def test_rows_of_another_namespace_move_no_score_and_no_rank(database: Database) -> None:
    add(database, ALICE, {1: "a red boat", 2: "a blue boat", 3: "a red kite over the boat"})
    before = scores(database, ALICE, "red boat", [1, 2, 3])
    add(database, BOB, {10: "red red boat", 11: "boat boat boat", 12: "red"})
    assert (scores(database, ALICE, "red boat", [1, 2, 3]) == before).all()
    assert set(best(database, ALICE, "red boat")) <= {1, 2, 3}
    assert not scores(database, ALICE, "red boat", [10, 11, 12]).any()


def test_terms_too_common_to_be_read_in_full_still_count(database: Database) -> None:
    red = {pk: "red " if pk % 40 == 0 else "" for pk in range(1, 251)}
    texts = {pk: "boat " * (1 + pk % 3) + red[pk] + f"word{pk}" for pk in red}
    add(database, ALICE, texts)
    pks = list(texts)
    full = scores(database, ALICE, "red boat", pks)
    with database.read() as connection:
        cut = lexical.rank(connection, ALICE, "red boat", settings=SearchConfig(postings=100))
        assert cut.common == ("boat",)
        assert cut.of(np.array(pks)) == pytest.approx(full)
        assert set(cut.top(6).tolist()) == {40, 80, 120, 160, 200, 240}
        assert cut.matched(np.array([40])).keys() == {40}


def test_a_long_query_is_cut_to_its_first_terms(database: Database) -> None:
    add(database, ALICE, {1: "alpha", 2: "omega"})
    long = "alpha " + " ".join(f"x{i}" for i in range(5000)) + " omega"
    assert best(database, ALICE, long) == [1]


def test_a_query_of_stop_words_finds_nothing(database: Database) -> None:
    add(database, ALICE, {1: "who are you"})
    assert best(database, ALICE, "who are you?") == []


def test_postings_die_with_their_episode(database: Database) -> None:
    add(database, ALICE, {1: "secret harbour", 2: "open harbour"})
    add(database, BOB, {3: "secret harbour"})
    assert remove(database, 1, 99) == 2
    assert best(database, ALICE, "secret") == []
    assert best(database, BOB, "secret") == [3]
    rows = everything(database)
    assert not [row for row in rows[0] + rows[1] if 1 in row[:3] and row[0] == ALICE and row[2] == 1]


words = st.lists(st.sampled_from(["cat", "dog", "boat", "Cats", "the", "8"]), max_size=6).map(" ".join)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.dictionaries(st.integers(1, 30), words, max_size=8), gone=st.sets(st.integers(1, 30)))
def test_what_is_removed_might_never_have_been_there(
    database: Database, texts: dict[int, str], gone: set[int]
) -> None:
    kept = {pk: text for pk, text in texts.items() if pk not in gone}
    add(database, ALICE, texts)
    remove(database, *gone)
    after = everything(database)
    remove(database, *kept)
    add(database, ALICE, kept)
    assert everything(database) == after
    remove(database, *kept)
    assert [row[1:] for row in everything(database)[2] if row[0] == ALICE] in ([], [(0, 0)])
