"""Jobs are leased, kept alive and fenced; a worker carries them out and stops when told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, select

from agent_memory import jobs, schedule
from agent_memory.errors import LeaseLost, RunBusy, RunFailed
from agent_memory.store import tables
from agent_memory.store.database import Database, open_database
from agent_memory.types import Namespace
from agent_memory.worker import Place, Worker
from tests import store_places

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
LEASE = timedelta(seconds=60)


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def database(place: store_places.Place, clock: Clock) -> Iterator[Database]:
    opened = open_database(place.path, url=place.url, clock=clock)
    yield opened
    opened.close()


def make_due(database: Database, user: str, *, at: datetime = NOON) -> None:
    """A namespace with a rule whose time has come, and one episode to learn."""
    with_rule = schedule.make_rule(every="1s", min_new_episodes=1, quiet="0s")
    schedule.follow(database, Namespace(user, None), with_rule)
    with database.write() as connection:
        own = select(tables.namespaces.c.id).where(tables.namespaces.c.user_id == user)
        namespace_id = connection.execute(own).scalar_one()
        connection.execute(
            insert(tables.episodes).values(
                pk=namespace_id,
                id=f"e{namespace_id}",
                namespace_id=namespace_id,
                text="The lamp is green.",
                role="user",
                source="user",
                trust="trusted",
                occurred_at=at,
                created_at=at,
                revision=1,
                metadata={},
                content_hash="0" * 32,
            )
        )


def enqueue(database: Database, user: str = "ada") -> None:
    make_due(database, user)
    with database.write() as connection:
        own = select(tables.namespaces.c.id).where(tables.namespaces.c.user_id == user)
        assert jobs.enqueue(connection, connection.execute(own).scalar_one(), due_at=NOON)


def states(database: Database) -> list[tuple[str, str | None]]:
    with database.read() as connection:
        rows = connection.execute(select(tables.jobs.c.state, tables.jobs.c.error).order_by(tables.jobs.c.pk))
        return [tuple(row) for row in rows]


def take(database: Database, clock: Clock, holder: str = "one") -> jobs.Job:
    job = jobs.claim(database, holder=holder, now=clock(), lease=LEASE)
    assert job is not None
    return job


# ---------------------------------------------------------------------- jobs


def test_a_namespace_has_one_job_at_a_time(database: Database, clock: Clock) -> None:
    enqueue(database)
    with database.write() as connection:
        assert not jobs.enqueue(connection, 1, due_at=NOON)
    job = take(database, clock)
    with database.write() as connection:
        assert not jobs.enqueue(connection, 1, due_at=NOON)
    assert jobs.claim(database, holder="two", now=clock(), lease=LEASE) is None
    jobs.finish(database, job, now=clock())
    with database.write() as connection:
        assert jobs.enqueue(connection, 1, due_at=NOON)


def test_a_dead_workers_job_is_taken_over_after_its_lease(database: Database, clock: Clock) -> None:
    enqueue(database)
    first = take(database, clock)
    clock.now += LEASE
    assert jobs.claim(database, holder="two", now=clock(), lease=LEASE) is None
    clock.now += timedelta(microseconds=1)
    second = take(database, clock, "two")
    assert (second.pk, second.token, second.attempts) == (first.pk, first.token + 1, 2)


def test_a_heartbeat_keeps_the_job(database: Database, clock: Clock) -> None:
    enqueue(database)
    job = take(database, clock)
    for _ in range(5):
        clock.now += LEASE * 0.9
        jobs.heartbeat(database, job, now=clock(), lease=LEASE)
        assert jobs.claim(database, holder="two", now=clock(), lease=LEASE) is None


def test_a_zombies_result_is_refused(database: Database, clock: Clock) -> None:
    enqueue(database)
    zombie = take(database, clock)
    clock.now += LEASE * 2
    heir = take(database, clock, "two")
    for late in (
        lambda: jobs.heartbeat(database, zombie, now=clock()),
        lambda: jobs.finish(database, zombie, now=clock()),
        lambda: jobs.release(database, zombie),
    ):
        with pytest.raises(LeaseLost):
            late()
    jobs.finish(database, heir, now=clock())
    with pytest.raises(LeaseLost):
        jobs.finish(database, zombie, now=clock())
    assert states(database) == [("done", None)]


def test_without_the_token_a_zombies_result_would_be_taken(
    database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broken twin: the check above turns red when the fence does not compare tokens."""
    enqueue(database)
    zombie = take(database, clock)
    clock.now += LEASE * 2
    take(database, clock, "two")
    monkeypatch.setattr(jobs, "fenced", lambda database, _: database.write())
    jobs.finish(database, zombie, now=clock())
    assert states(database) == [("done", None)]


def test_a_job_that_kills_its_workers_is_given_up(database: Database, clock: Clock) -> None:
    enqueue(database)
    for _ in range(jobs.MOST_ATTEMPTS):
        take(database, clock)
        clock.now += LEASE * 2
    assert jobs.claim(database, holder="last", now=clock(), lease=LEASE) is None
    assert states(database) == [("failed", "WorkerDied")]


@settings(max_examples=20, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from(["claim", "beat", "finish", "release", "wait"])),
        max_size=40,
    )
)
def test_at_most_one_holder_whatever_workers_do(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, str]]
) -> None:
    """Three workers, any order of calls and silences: whoever succeeds in writing holds the newest token."""
    clock = Clock()
    opened = open_database(tmp_path_factory.mktemp("jobs"), clock=clock)
    try:
        enqueue(opened)
        held: dict[int, jobs.Job] = {}
        newest = 0
        for worker, step in steps:
            if step == "claim":
                job = jobs.claim(opened, holder=str(worker), now=clock(), lease=LEASE)
                if job is not None:
                    assert job.token > newest
                    newest, held[worker] = job.token, job
            elif step == "wait":
                clock.now += LEASE * 0.7
            elif worker in held:
                act: dict[str, Callable[[], None]] = {
                    "beat": lambda job=held[worker]: jobs.heartbeat(opened, job, now=clock(), lease=LEASE),
                    "finish": lambda job=held[worker]: jobs.finish(opened, job, now=clock()),
                    "release": lambda job=held[worker]: jobs.release(opened, job),
                }
                try:
                    act[step]()
                except LeaseLost:
                    continue
                assert held[worker].token == newest
    finally:
        opened.close()


# ---------------------------------------------------------------------- the worker


def worker(database: Database, clock: Clock, task: Callable[..., None]) -> Worker:
    url = None if database.is_sqlite else database.engine.url.render_as_string(hide_password=False)
    return Worker(Place(database.path, url), task=task, lease=LEASE, clock=clock)


def test_a_worker_carries_out_every_due_namespace_once(database: Database, clock: Clock) -> None:
    for user in ("ada", "ben", "eve"):
        make_due(database, user)
    clock.now += timedelta(seconds=1)
    seen: list[str | None] = []
    assert (
        worker(database, clock, lambda _place, whose, _check: seen.append(whose.user_id)).run(once=True) == 3
    )
    assert seen == ["ada", "ben", "eve"]
    assert states(database) == [("done", None)] * 3
    assert worker(database, clock, lambda *_: pytest.fail("done already")).run(once=True) == 0


def test_a_failing_job_is_recorded_by_kind_and_spares_the_others(
    database: Database, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    make_due(database, "ada")
    make_due(database, "ben")
    clock.now += timedelta(seconds=1)

    def task(_place: Place, whose: Namespace, _check: Callable[[], None]) -> None:
        if whose.user_id == "ada":
            raise ValueError("The safe opens with 4711")

    assert worker(database, clock, task).run(once=True) == 2
    assert states(database) == [("failed", "ValueError"), ("done", None)]
    assert "4711" not in caplog.text


def test_a_stop_between_two_steps_gives_the_job_back(database: Database, clock: Clock) -> None:
    make_due(database, "ada")
    clock.now += timedelta(seconds=1)
    steps: list[int] = []

    def task(_place: Place, _whose: Namespace, between_steps: Callable[[], None]) -> None:
        for step in range(3):
            between_steps()
            steps.append(step)
            if step == 1:
                told.request_stop()

    told = worker(database, clock, task)
    assert told.run() == 0
    assert steps == [0, 1]
    assert states(database) == [("due", None)]
    assert worker(database, clock, lambda *_: steps.append(9)).run(once=True) == 1
    assert steps == [0, 1, 9]


def test_a_job_waits_while_somebody_consolidates_by_hand(database: Database, clock: Clock) -> None:
    make_due(database, "ada")
    clock.now += timedelta(seconds=1)

    def busy(*_: object) -> None:
        raise RunBusy("run r1 holds the namespace")

    assert worker(database, clock, busy).run(once=True) == 0
    assert states(database) == [("due", None)]
    assert worker(database, clock, lambda *_: pytest.fail("not yet")).run(once=True) == 0
    clock.now += LEASE
    assert worker(database, clock, lambda *_: None).run(once=True) == 1


def test_a_worker_that_lost_its_lease_stops_and_leaves_the_job_to_the_heir(
    database: Database, clock: Clock
) -> None:
    make_due(database, "ada")
    clock.now += timedelta(seconds=1)

    def slow(_place: Place, _whose: Namespace, _check: Callable[[], None]) -> None:
        clock.now += LEASE * 2  # the process stood still
        heirs.append(take(database, clock, "heir"))

    heirs: list[jobs.Job] = []
    assert worker(database, clock, slow).run(once=True) == 0
    jobs.finish(database, heirs[0], now=clock())
    assert states(database) == [("done", None)]


def test_a_failure_is_tried_again_when_next_due_and_not_before(database: Database, clock: Clock) -> None:
    make_due(database, "ada")
    clock.now += timedelta(seconds=1)

    def fails(*_: object) -> None:
        raise RunFailed("the loss is not finite")

    assert worker(database, clock, fails).run(once=True) == 1
    assert worker(database, clock, lambda *_: pytest.fail("too early")).run(once=True) == 0
    clock.now += timedelta(seconds=1)
    assert worker(database, clock, lambda *_: None).run(once=True) == 1


def test_a_worker_in_a_thread_works_and_stops(database: Database, clock: Clock) -> None:
    make_due(database, "ada")
    clock.now += timedelta(seconds=1)
    done = threading.Event()
    thread = worker(database, clock, lambda *_: done.set()).start()
    assert done.wait(10)
    thread.stop(timeout_seconds=10)
    assert states(database) == [("done", None)]
