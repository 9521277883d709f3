"""Work for workers, as rows of SQL: leased, kept alive by heartbeats, and fenced.

    due --claim--> running --finish--> done | failed
     ^                |
     +--- release ----+     (SIGTERM between two steps)
                      +---> claimed by another when the lease has run out (the worker died)

A namespace has at most one job that is due or running; a claim takes a job in one transaction that has
writers wait for each other, so that two workers never hold the same namespace. Each claim raises the job's
`token`. A worker that stood still for longer than its lease may wake up and believe that it still holds the
job: everything that it writes goes through `fenced`, which compares the token in the same transaction, so
that a zombie's result is refused whenever it comes.

Not known here: what a job does, when one is due (`schedule.py`), and processes (`worker.py`). Time is passed
in; the clocks of one machine agree.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, insert, or_, select, update

from agent_memory.errors import LeaseLost
from agent_memory.store import tables
from agent_memory.store.database import Database
from agent_memory.types import Namespace

KIND = "consolidate"

#: How long a worker may be silent before its job is given to another. Heartbeats come every third of it, from
#: a thread of their own, so that neither a long step nor one lost beat ends it (chosen).
LEASE = timedelta(seconds=60)

#: Times that a job may be taken before it is given up (chosen).
MOST_ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class Job:
    """A job as its holder sees it; `token` proves the claim."""

    pk: int
    namespace_id: int
    namespace: Namespace
    token: int
    attempts: int
    due_at: datetime


def enqueue(connection: Connection, namespace_id: int, *, due_at: datetime) -> bool:
    """Makes a job for a namespace; False, and no second one, if it has a job that is due or running."""
    j = tables.jobs.c
    waiting = select(j.pk).where(j.namespace_id == namespace_id, j.state.in_(("due", "running"))).limit(1)
    if connection.execute(waiting).first() is not None:
        return False
    connection.execute(
        insert(tables.jobs).values(namespace_id=namespace_id, kind=KIND, state="due", due_at=due_at)
    )
    return True


def claim(database: Database, *, holder: str, now: datetime, lease: timedelta = LEASE) -> Job | None:
    """Takes the job that is due longest, or one whose holder has died; None when there is none.

    A job that has been taken `MOST_ATTEMPTS` times without an end is failed, so that one which kills its
    worker does not do so for ever.
    """
    j, n = tables.jobs.c, tables.namespaces.c
    dead = and_(j.state == "running", j.lease_until < now)
    with database.write() as connection:
        connection.execute(
            update(tables.jobs)
            .where(dead, j.attempts >= MOST_ATTEMPTS)
            .values(state="failed", finished_at=now, lease_until=None, error="WorkerDied")
        )
        found = connection.execute(
            select(j.pk, j.namespace_id, j.token, j.attempts, j.due_at, n.user_id, n.agent_id)
            .join(tables.namespaces, n.id == j.namespace_id)
            .where(or_(j.state == "due", dead), j.due_at <= now)
            .order_by(j.due_at, j.pk)
            .limit(1)
        ).first()
        if found is None:
            return None
        taken = {"token": found.token + 1, "attempts": found.attempts + 1}
        _set(
            connection, found.pk, state="running", holder=holder, lease_until=now + lease, heartbeat_at=now,
            **taken,
        )  # fmt: skip
    namespace = Namespace(found.user_id, found.agent_id)
    return Job(found.pk, found.namespace_id, namespace, due_at=found.due_at, **taken)


@contextmanager
def fenced(database: Database, job: Job) -> Iterator[Connection]:
    """A write transaction that happens only while the claim holds.

    Raises:
        LeaseLost: another worker has taken the job, or it was ended.
    """
    j = tables.jobs.c
    with database.write() as connection:
        held = connection.execute(
            select(j.pk).where(j.pk == job.pk, j.token == job.token, j.state == "running")
        ).first()
        if held is None:
            raise LeaseLost(f"job {job.pk} is no longer held with token {job.token}; its result was refused")
        yield connection


def heartbeat(database: Database, job: Job, *, now: datetime, lease: timedelta = LEASE) -> None:
    """Says that the holder lives, and extends the lease.

    Raises:
        LeaseLost: another worker has taken the job.
    """
    with fenced(database, job) as connection:
        _set(connection, job.pk, lease_until=now + lease, heartbeat_at=now)


def finish(database: Database, job: Job, *, now: datetime, error: str | None = None) -> None:
    """Ends a job as done, or as failed with the kind of its error.

    Raises:
        LeaseLost: another worker has taken the job.
    """
    with fenced(database, job) as connection:
        close(connection, job, now=now, error=error)


def close(connection: Connection, job: Job, *, now: datetime, error: str | None = None) -> None:
    """Ends a job within a transaction of `fenced`, so that its result and its end are one."""
    state = "done" if error is None else "failed"
    _set(connection, job.pk, state=state, finished_at=now, lease_until=None, error=error)


def release(database: Database, job: Job, *, due_at: datetime | None = None) -> None:
    """Gives a job back unfinished: it is due at `due_at`, or at once, for whoever comes.

    Raises:
        LeaseLost: another worker has taken the job.
    """
    with fenced(database, job) as connection:
        _set(connection, job.pk, state="due", holder=None, lease_until=None, due_at=due_at or job.due_at)


def _set(connection: Connection, pk: int, **values: Any) -> None:
    connection.execute(update(tables.jobs).where(tables.jobs.c.pk == pk).values(**values))
