"""Episodes to a file and back, and questions in SQL."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent_memory import MemoryManager
from agent_memory.errors import InvalidInput, StoreError
from tests.store_places import Place, hashed

WEIRD = 'line\nbreak \u2028 \x85 \x1b]0;title\x07 \ufeff \U0001f600 \\u0041 "quoted"'


def test_an_export_comes_back_as_it_was(place: Place, tmp_path: Path) -> None:
    file = tmp_path / "out.jsonl"
    with place.open() as memory:
        memory.add(
            WEIRD,
            user_id="alice",
            source="web:x",
            trust="trusted",
            session_id="s",
            occurred_at=datetime(1999, 1, 1, tzinfo=UTC),
            metadata={"deep": [{"x": None}]},
        )
        memory.add("second", user_id="alice")
        assert memory.export_jsonl(file, user_id="alice") == 2
        report = memory.import_jsonl(file, user_id="bob")
        assert (report.added, report.present, report.refused) == (2, 0, ())
        mine, theirs = (memory.list(user_id=user) for user in ("alice", "bob"))
        for one, other in zip(mine, theirs, strict=True):
            for name in ("id", "text", "role", "session_id", "source", "trust", "occurred_at", "metadata"):
                assert getattr(one, name) == getattr(other, name)
        assert memory.import_jsonl(file, user_id="bob").present == 2
        assert memory.verify(user_id="bob") == []


def test_an_import_refuses_what_was_forgotten_here(place: Place, tmp_path: Path) -> None:
    file = tmp_path / "out.jsonl"
    with place.open(user_id="alice") as memory:
        one, two = memory.add_many(["one", "two"])
        memory.export_jsonl(file)
        memory.forget(one.id)
        report = memory.import_jsonl(file)
        assert (report.added, report.present, report.refused) == (0, 1, (one.id,))
        assert [episode.id for episode in memory.list()] == [two.id]


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        "5",
        '{"id": "x"}',
        '{"text": "no id"}',
        '{"id": "../x", "text": "a"}',
        "[" * 100_000,
        '{"id": "x", "text": "a", "metadata": {"a": NaN}}',
        '{"id": "x", "text": "\\ud800"}',
    ],
)
def test_a_line_that_is_no_episode_stops_the_import_with_nothing_stored(
    place: Place, tmp_path: Path, line: str
) -> None:
    file = tmp_path / "in.jsonl"
    file.write_text('{"id": "good", "text": "good"}\n' + line)
    with place.open(user_id="alice") as memory:
        with pytest.raises(InvalidInput, match="line 2"):
            memory.import_jsonl(file)
        assert memory.list() == []


def test_files_that_cannot_be_read_or_written_say_so(place: Place, tmp_path: Path) -> None:
    with place.open(user_id="alice") as memory:
        memory.add("x")
        with pytest.raises(InvalidInput):
            memory.import_jsonl(tmp_path / "missing")
        (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(InvalidInput):
            memory.import_jsonl(tmp_path / "binary")
        (tmp_path / "taken").mkdir()
        with pytest.raises(StoreError):
            memory.export_jsonl(tmp_path / "taken")


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    items=st.lists(
        st.tuples(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1),
            st.dictionaries(
                st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")),
                st.one_of(
                    st.integers(-(2**63), 2**63 - 1),
                    st.text("aé\n\"'\\{}"),
                    st.booleans(),
                    st.none(),
                    st.floats(allow_nan=False, allow_infinity=False),
                ),
                max_size=3,
            ),
        ),
        max_size=4,
    )
)
def test_any_text_and_metadata_survive_the_round_trip(tmp_path_factory: Any, items: list[Any]) -> None:
    folder = tmp_path_factory.mktemp("round")
    kept = [(text, metadata) for text, metadata in items if text.strip()]
    with MemoryManager.open(folder / "m", embeddings=hashed) as memory:
        memory.add_many(
            [{"text": text, "metadata": data, "session_id": str(n)} for n, (text, data) in enumerate(kept)],
            user_id="a",
        )
        memory.export_jsonl(folder / "x", user_id="a")
        memory.import_jsonl(folder / "x", user_id="b")
        back = [(one.text, one.metadata) for one in reversed(memory.list(user_id="b"))]
    assert back == kept


# ---------------------------------------------------------------------- SQL


def test_a_select_answers_with_mappings(place: Place) -> None:
    with place.open(user_id="alice") as memory:
        memory.add("What is 10:30? 50 %", metadata={"a": 1})
        row = {"text": "What is 10:30? 50 %", "user_id": "alice"}
        select = "SELECT text, user_id FROM episode_overview WHERE"
        assert memory.sql(f"{select} user_id = ? AND text LIKE '%?%' -- why?\n", ["alice"]) == [row]
        assert memory.sql(f"{select} user_id = :who AND text LIKE '%10:30%' ;", {"who": "alice"}) == [row]
        assert memory.sql("/* a */ WITH x AS (SELECT 1 AS n) SELECT n FROM x") == [{"n": 1}]


def test_what_cannot_be_asked_is_refused(place: Place) -> None:
    wrong: list[tuple[Any, Any]] = [
        ("SELECT '\ud800'", []),
        ("SELECT ?", ["\ud800"]),
        ("SELECT ?", [object()]),
        ("SELECT ?", [{"a": 1}]),
        ("SELECT ?", []),
        ("SELECT ?", [1, 2]),
        ("SELECT :a", {"b": 1}),
        ("SELECT 1", None),
        ("SELECT 1", "x"),
        (b"SELECT 1", []),
        (None, []),
    ]
    with place.open(user_id="alice") as memory:
        for statement, parameters in wrong:
            with pytest.raises(InvalidInput):
                memory.sql(statement, parameters)


def test_a_number_that_sqlite_cannot_hold_is_refused(tmp_path: Path) -> None:
    memory = MemoryManager.open(tmp_path / "memory", user_id="alice", embeddings=hashed)
    with memory, pytest.raises(InvalidInput):
        memory.sql("SELECT ?", [2**70])


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM episodes",
        "UPDATE episodes SET trust = 'trusted'",
        "DROP TABLE episodes",
        "",
        "SELECT FROM WHERE",
        "SELECT 1; DROP TABLE episodes",
        "PRAGMA query_only = OFF",
        "ATTACH 'x' AS y",
        "VACUUM INTO 'x'",
        "SELECT * FROM no",
        "WITH x AS (SELECT 1) DELETE FROM episodes",
        "WITH x AS (DELETE FROM episodes RETURNING pk) SELECT * FROM x",
        "SELECT ?",
        "SELECT load_extension('x')",
        "INSERT INTO counters VALUES ('a', 1)",
        "-- SELECT 1\nDELETE FROM episodes",
    ],
)
def test_sql_changes_nothing(place: Place, statement: str) -> None:
    with place.open(user_id="alice") as memory:
        memory.add("x")
        with pytest.raises((InvalidInput, StoreError)):
            memory.sql(statement)
        assert len(memory.list()) == 1
        assert memory.list()[0].trust == "trusted"


def test_the_export_is_lines_of_plain_json(place: Place, tmp_path: Path) -> None:
    with place.open(user_id="alice") as memory:
        memory.add(WEIRD)
        memory.export_jsonl(tmp_path / "x")
    (line,) = (tmp_path / "x").read_text().rstrip("\n").split("\n")
    assert json.loads(line)["text"] == WEIRD
