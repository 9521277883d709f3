"""Questions in SQL: what is wrong with one is said, what a row holds is not, and nothing is left behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent_memory import MemoryManager
from agent_memory.errors import InvalidInput
from tests.command_line import Run, added
from tests.store_places import Place, hashed

CANARY = "CANARY-7f3a speaks"


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("SELECT nope", "nope"),
        ("SELECT nope FROM episodes", "nope"),
        ("SELECT * FROM nope", "nope"),
        ("SELECT nope(1)", "nope"),
        ("SELECT text FRM episodes WHERE", "syntax error"),
        ("-- why\nSELECT nope", "nope"),
        ("WITH x AS (SELECT 1 AS n) SELECT nope FROM x", "nope"),
    ],
)
def test_what_is_wrong_with_a_statement_is_said_in_the_words_of_the_database(
    place: Place, statement: str, reason: str
) -> None:
    with place.open(user_id="alice") as memory, pytest.raises(InvalidInput, match=reason) as raised:
        memory.sql(statement)
    assert raised.value.__cause__ is not None
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM episodes",
        "PRAGMA user_version = 5",
        "WITH x AS (SELECT 1) DELETE FROM episodes",
        "WITH x AS (SELECT 1) UPDATE episodes SET text = 'y'",
        "WITH x AS (SELECT 1) INSERT INTO counters (name, value) SELECT 'x', 1",
        "/* a */ WITH x AS (SELECT 1) DELETE FROM episodes RETURNING pk",
    ],
)
def test_a_statement_that_writes_is_told_that_sql_only_reads(place: Place, statement: str) -> None:
    with place.open(user_id="alice") as memory:
        memory.add("x")
        with pytest.raises(InvalidInput, match="only reads"):
            memory.sql(statement)
        assert [episode.text for episode in memory.list()] == ["x"]


def test_parameters_that_do_not_fit_are_told_why(tmp_path: Path) -> None:
    with MemoryManager.open(tmp_path, user_id="alice", embeddings=hashed) as memory:
        with pytest.raises(InvalidInput, match="uses 1, and there are 2"):
            memory.sql("SELECT ?", [1, 2])
        with pytest.raises(InvalidInput, match="parameter 1"):
            memory.sql("SELECT ?", [object()])


def test_a_statement_that_no_database_could_be_sent_whole_is_refused(place: Place) -> None:
    with place.open(user_id="alice") as memory:
        for statement in ("SELECT 1 \x00 AS n", "SELECT '\ud800'"):
            with pytest.raises(InvalidInput, match="the statement holds"):
                memory.sql(statement)


#: Functions that repeat what they were given when they cannot use it.
TELLTALES = {
    "sqlite": [
        "SELECT json_extract('{}', text) FROM episodes",
        "SELECT CAST(x'ff' || CAST(text AS blob) AS TEXT) FROM episodes",
        "SELECT zeroblob(2000000000) FROM episodes",
    ],
    "postgresql": [
        "SELECT text::integer FROM episodes",
        "SELECT text::json FROM episodes",
        "SELECT text::regclass FROM episodes",
        "SELECT text::jsonpath FROM episodes",
        "SELECT (SELECT 1 FROM (SELECT 1 UNION SELECT 2) AS q) FROM episodes",
    ],
}


def test_a_statement_that_fails_on_a_row_does_not_tell_what_the_row_holds(place: Place) -> None:
    with place.open(user_id="alice") as memory:
        memory.add(CANARY)
        for statement in TELLTALES[memory.status()["database"]]:
            with pytest.raises(InvalidInput, match="failed on a row") as raised:
                memory.sql(statement)
            error: BaseException | None = raised.value
            while error is not None:
                assert "CANARY" not in str(error), statement
                error = error.__cause__


def test_a_statement_leaves_nothing_in_the_session_that_it_ran_in(place: Place) -> None:
    if place.url is None:
        pytest.skip("SQLite opens the file once more for each statement")
    with place.open(user_id="alice") as memory:
        memory.add("x")
        memory.sql("SELECT set_config('search_path', 'public', false)")
        memory.sql("SELECT pg_advisory_lock(1)")
        assert [episode.text for episode in memory.list()] == ["x"]
        assert memory.sql("SELECT count(*) AS n FROM pg_locks WHERE locktype = 'advisory'") == [{"n": 0}]
        memory.sql("SELECT lo_create(4711)")
        assert memory.sql("SELECT count(*) AS n FROM pg_largeobject_metadata") == [{"n": 0}]


def test_the_command_says_the_same_in_one_line(run: Run) -> None:
    added(run)
    wrong: dict[str, Any] = {
        "select nope": "no such column: nope",
        "selec 1": "only reads",
        "with x as (select 1) delete from episodes": "only reads",
    }
    for statement, said in wrong.items():
        result = run("sql", statement)
        assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
        assert said in result.stderr
    assert len(json.loads(run("list", "--json").stdout)) == 1
