"""When a consolidation is due: the pure rule, its text, and what is read from SQL to ask it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, update

from agent_memory import schedule
from agent_memory.errors import InvalidInput
from agent_memory.schedule import Rule, State, due, duration, make_rule, next_time
from agent_memory.store import tables
from agent_memory.store.database import Database, open_database
from agent_memory.types import Namespace
from tests.store_places import Place

MONDAY = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
ADA = Namespace("ada", None)
hours = st.integers(0, 24 * 30).map(lambda n: timedelta(hours=n))


@given(st.integers(1, 10**6))
def test_a_length_of_time_reads_back(seconds: int) -> None:
    minutes, rest = divmod(seconds, 60)
    assert duration(f"{minutes}m{rest}s") == timedelta(seconds=seconds) == duration(f"{seconds}s")


@pytest.mark.parametrize(
    "text",
    ["", "6", "h", "6 h", "-6h", "6.5h", "6y", "9" * 400 + "h", "999999999w", "9w" * 99999, "ৣ6h", 5, None],
)
def test_what_is_no_length_of_time_is_refused_with_an_example(text: object) -> None:
    with pytest.raises(InvalidInput, match="length of time"):
        duration(text)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "0 3 * *",
        "0 3 * * * *",
        "61 * * * *",
        "a b c d e",
        "0 3 * * 8",
        "0 3 * * 5-2",
        "@daily",
        "0 0 1 * 1",
        "0 3 * * 1/0",
        "\x1b[31m 3 * * *",
    ],
)
def test_a_bad_cron_line_is_refused_in_one_printable_line(line: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        make_rule(cron=line)
    assert str(refused.value).isprintable()


def test_a_cron_line_that_never_comes_is_refused() -> None:
    with pytest.raises(InvalidInput, match="never"):
        make_rule(cron="0 0 30 2 *")


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"every": "6h", "cron": "0 3 * * *"},
        {"every": "0s"},
        {"every": "6h", "min_new_episodes": 0},
        {"every": "6h", "min_new_episodes": True},
        {"every": "6h", "quiet": "soon"},
    ],
)
def test_a_rule_names_one_time_and_sound_conditions(arguments: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        make_rule(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("0 3 * * *", datetime(2026, 3, 3, 3, 0, tzinfo=UTC)),
        ("*/15 * * * *", datetime(2026, 3, 2, 12, 15, tzinfo=UTC)),
        ("0 3 * * 0", datetime(2026, 3, 8, 3, 0, tzinfo=UTC)),  # Sunday, as cron counts
        ("0 3 * * 7", datetime(2026, 3, 8, 3, 0, tzinfo=UTC)),
        ("0 3 * * 1-5", datetime(2026, 3, 3, 3, 0, tzinfo=UTC)),
        ("0 3 * * 5-7", datetime(2026, 3, 6, 3, 0, tzinfo=UTC)),
        ("0 3 * * 0-6/3", datetime(2026, 3, 4, 3, 0, tzinfo=UTC)),
        ("0 3 * * sat", datetime(2026, 3, 7, 3, 0, tzinfo=UTC)),
        ("0 0 1 * *", datetime(2026, 4, 1, 0, 0, tzinfo=UTC)),
    ],
)
def test_cron_lines_mean_what_cron_says(line: str, expected: datetime) -> None:
    assert next_time(line, after=MONDAY) == expected


def test_the_next_time_lies_after_and_never_on_the_last() -> None:
    assert next_time("0 12 * * *", after=MONDAY) == MONDAY + timedelta(days=1)


@given(since=hours, every=hours, passed=hours, new=st.integers(0, 50), least=st.integers(1, 50))
def test_due_means_time_and_enough_and_quiet(
    since: timedelta, every: timedelta, passed: timedelta, new: int, least: int
) -> None:
    begin = MONDAY + since
    rule = Rule(every=every, min_new_episodes=least, quiet=timedelta(minutes=5))
    now = begin + passed
    assert due(rule, State(since=begin, new_episodes=new), now) == (passed >= every and new >= least)
    talking = State(since=begin, new_episodes=new, last_added_at=now - timedelta(minutes=4))
    assert not due(rule, talking, now)


@settings(max_examples=50, deadline=None)
@given(
    times=st.lists(hours, min_size=1, max_size=20),
    line=st.sampled_from(["0 3 * * *", "30 */4 * * *", "0 0 * * 1"]),
)
def test_missed_times_mean_due_once(times: list[timedelta], line: str) -> None:
    """However many were missed: due at the first look, and not again until the line names a new time."""
    rule, since = Rule(cron=line, min_new_episodes=1), MONDAY
    for now in sorted(MONDAY + passed for passed in times):
        upcoming = next_time(line, after=since)
        assert upcoming is not None
        if due(rule, State(since=since, new_episodes=1), now):
            assert upcoming <= now
            since = now  # the attempt
            assert not due(rule, State(since=since, new_episodes=1), now)
        else:
            assert now < upcoming


def test_a_rebuild_after_a_forget_is_due_without_new_episodes() -> None:
    rule = make_rule(every="1h", min_new_episodes=20)
    later = MONDAY + timedelta(hours=2)
    assert not due(rule, State(since=MONDAY, new_episodes=0), later)
    assert due(rule, State(since=MONDAY, new_episodes=0, rebuild=True), later)


# ---------------------------------------------------------------------- in SQL


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = MONDAY

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def database(place: Place, clock: Clock) -> Iterator[Database]:
    opened = open_database(place.path, url=place.url, clock=clock)
    yield opened
    opened.close()


def add_episode(database: Database, namespace_id: int, pk: int, *, trust: str = "trusted") -> None:
    """A row as the store would write it."""
    now = database.now()
    with database.write() as connection:
        connection.execute(
            insert(tables.episodes).values(
                pk=pk,
                id=f"e{pk}",
                namespace_id=namespace_id,
                text="The lamp is green.",
                role="user",
                source="user",
                trust=trust,
                occurred_at=now,
                created_at=now,
                revision=1,
                metadata={},
                content_hash=f"{pk:032d}",
            )
        )


def add_version(
    database: Database, namespace_id: int, id: str, state: str, episodes: list[int], *, promoted: bool = True  # noqa: A002 - as the column
) -> None:
    """A version that has learnt the first revision of some episodes."""
    with database.write() as connection:
        connection.execute(
            insert(tables.versions).values(
                id=id,
                namespace_id=namespace_id,
                state=state,
                base="base",
                created_at=database.now(),
                promoted_at=database.now() if promoted else None,
                scores={},
                reasons=[],
            )
        )
        for pk in episodes:
            connection.execute(
                insert(tables.version_episodes).values(
                    version_id=id, episode_id=f"e{pk}", namespace_id=namespace_id, revision=1, part="learnt"
                )
            )


def namespaces_due(database: Database) -> list[int]:
    with database.read() as connection:
        return list(schedule.due_namespaces(connection, now=database.now()))


def test_a_rule_may_come_before_the_first_episode(database: Database, clock: Clock) -> None:
    schedule.follow(database, ADA, make_rule(every="6h", min_new_episodes=2, quiet="5m"))
    clock.now += timedelta(hours=6)
    assert namespaces_due(database) == []
    add_episode(database, 1, 1)
    add_episode(database, 1, 2)
    assert namespaces_due(database) == []  # not quiet yet
    clock.now += timedelta(minutes=5)
    assert namespaces_due(database) == [1]


def test_only_trusted_episodes_that_are_not_learnt_count(database: Database, clock: Clock) -> None:
    schedule.follow(database, ADA, make_rule(every="1h", min_new_episodes=1, quiet="0s"))
    add_episode(database, 1, 1)
    add_episode(database, 1, 2, trust="untrusted")
    add_version(database, 1, "v1", "active", [1])
    clock.now += timedelta(hours=1)
    assert namespaces_due(database) == []
    add_episode(database, 1, 3)
    assert namespaces_due(database) == [1]


def test_what_a_forget_took_from_the_weights_makes_a_rebuild_due(database: Database, clock: Clock) -> None:
    schedule.follow(database, ADA, make_rule(every="1h", min_new_episodes=20, quiet="0s"))
    add_episode(database, 1, 1)
    add_version(database, 1, "v1", "tainted", [1])
    clock.now += timedelta(hours=1)
    assert namespaces_due(database) == [1]
    add_version(database, 1, "v2", "active", [1])
    assert namespaces_due(database) == []


def test_what_was_never_served_makes_no_rebuild_due(database: Database, clock: Clock) -> None:
    schedule.follow(database, ADA, make_rule(every="1h", min_new_episodes=20, quiet="0s"))
    add_episode(database, 1, 1)
    add_version(database, 1, "v1", "tainted", [1], promoted=False)
    clock.now += timedelta(hours=1)
    assert namespaces_due(database) == []


def test_what_has_expired_does_not_count(database: Database, clock: Clock) -> None:
    schedule.follow(database, ADA, make_rule(every="1h", min_new_episodes=1, quiet="0s"))
    add_episode(database, 1, 1)
    add_version(database, 1, "v1", "tainted", [1])
    with database.write() as connection:
        connection.execute(update(tables.episodes).values(expires_at=clock.now + timedelta(minutes=30)))
    clock.now += timedelta(hours=1)
    assert namespaces_due(database) == []


def test_the_time_counts_from_the_last_run_also_one_by_hand(database: Database, clock: Clock) -> None:
    schedule.follow(database, ADA, make_rule(every="1h", min_new_episodes=1, quiet="0s"))
    add_episode(database, 1, 1)
    clock.now += timedelta(minutes=50)
    with database.write() as connection:
        connection.execute(
            insert(tables.runs).values(
                id="r1",
                namespace_id=1,
                state="done",
                stage="examine",
                outcome="rejected",
                base="base",
                seed=0,
                settings={},
                reasons=[],
                started_at=clock.now,
                finished_at=clock.now,
            )
        )
    clock.now += timedelta(minutes=50)
    assert namespaces_due(database) == []
    clock.now += timedelta(minutes=10)
    assert namespaces_due(database) == [1]


def test_a_rule_is_described_replaced_and_removed(database: Database, clock: Clock) -> None:
    assert schedule.describe(database, ADA) is None
    schedule.follow(database, ADA, make_rule(every="6h"))
    schedule.follow(database, ADA, make_rule(cron="0  3 * * *", min_new_episodes=3))
    found = schedule.describe(database, ADA)
    assert found is not None
    assert (found["every"], found["cron"], found["min_new_episodes"]) == (None, "0 3 * * *", 3)
    assert found["next_time"] == datetime(2026, 3, 3, 3, 0, tzinfo=UTC)
    assert found["due"] is False
    assert schedule.unfollow(database, ADA)
    assert not schedule.unfollow(database, ADA)
    assert schedule.describe(database, ADA) is None
