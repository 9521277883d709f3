"""The worker: asks which namespaces are due, takes one job at a time, carries it out, and stops when told.

`agent-memory worker` runs one as a process, `Worker.start()` as a thread of yours; any number of both may
work on one memory. What a job does is one function of values that could travel to another engine: where the
memory is, whose, and a function to call between two steps. Here it opens the memory by itself, with its own
base model, and calls `consolidate`. Which run that is needs no saying: the namespace's unfinished one, of
which there is at most one, or else a new one.

    every `poll`     rules that are due become jobs (`schedule.py`), one job is claimed (`jobs.py`)
    every lease / 3  a thread says that the worker lives
    between steps    `between_steps` ends the job if the worker was told to stop (the job is due again and the
                     run goes on from its last stage), or if the lease was lost (another worker has it)

A job that fails is recorded with the kind of its error, and tried again when the rule is next due; one that
finds the namespace taken by somebody's own `consolidate()` waits. The log holds ids, counts and kinds of
errors.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from agent_memory import jobs, schedule
from agent_memory.config import Config
from agent_memory.errors import AgentMemoryError, LeaseLost, RunBusy, RunInterrupted
from agent_memory.store.database import Database, open_database, utc_now
from agent_memory.types import Namespace

log = logging.getLogger(__name__)

#: How often rules are asked. A rule is a matter of minutes and asking costs about a millisecond (chosen).
POLL = timedelta(seconds=5)

#: Seconds after which an idle worker notices at the latest that a signal handler told it to stop (chosen).
LOOK_UP = 0.2


@dataclass(frozen=True, slots=True)
class Place:
    """Where a memory is: its directory, its database (None: SQLite in the directory), and its settings."""

    path: Path
    database_url: str | None = None
    config: Config | None = None


#: What a job does, for whom, and what it calls between two steps; it raises what ends the job.
Task = Callable[[Place, Namespace, Callable[[], None]], None]


def consolidate(place: Place, namespace: Namespace, between_steps: Callable[[], None]) -> None:
    """Consolidates one namespace in a memory of its own.

    Raises:
        AgentMemoryError: what `MemoryManager.consolidate` raises, or `between_steps`.
    """
    from agent_memory.manager import MemoryManager

    def progress(stage: str, done: int, total: int) -> None:
        log.debug("stage %s: %d of %d", stage, done, total)
        between_steps()

    with MemoryManager.open(
        place.path,
        user_id=namespace.user_id,
        agent_id=namespace.agent_id,
        database_url=place.database_url,
        config=place.config,
    ) as memory:
        report = memory.consolidate(progress=progress)
    log.info("run %s: %s, %d episodes", report.run_id, report.outcome, report.episodes)


class Worker:
    """Carries out what is due in one memory until it is told to stop.

    `run` works in the calling thread, `start` in a thread of its own. Time comes from `clock`.
    """

    def __init__(
        self,
        place: Place,
        *,
        task: Task = consolidate,
        poll: timedelta = POLL,
        lease: timedelta = jobs.LEASE,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.place = place
        self.holder = f"{socket.gethostname()}:{os.getpid()}:{threading.get_ident()}"
        self._task = task
        self._poll = poll
        self._lease = lease
        self._clock = clock
        self._told = False  # a plain value: a signal handler may find this very thread inside of a lock
        self._awake = threading.Event()
        self._thread: threading.Thread | None = None

    def run(self, *, once: bool = False) -> int:
        """Works until `stop` is called; with `once` until nothing is due. Returns how many jobs were ended.

        Raises:
            StoreError: the record cannot be opened.
        """
        ended = 0
        with _opened(self.place) as database:
            while not self._told:
                job = self._next(database)
                if job is not None:
                    ended += self._carry(database, job)
                elif once:
                    break
                else:
                    self._rest()
        return ended

    def start(self) -> Worker:
        """Works in a thread of its own, and returns the worker."""
        self._thread = threading.Thread(target=self.run, name="agent-memory-worker", daemon=True)
        self._thread.start()
        return self

    def stop(self, *, timeout_seconds: float | None = None) -> None:
        """Asks the worker to stop between two steps; waits for its thread if `start` made one."""
        self._told = True
        self._awake.set()
        if self._thread is not None:
            self._thread.join(timeout_seconds)

    def request_stop(self) -> None:
        """Asks the worker to stop between two steps, and returns at once; fit for a signal handler."""
        self._told = True

    def _rest(self) -> None:
        """Waits until rules are to be asked again, or the worker is told to stop."""
        end = time.monotonic() + self._poll.total_seconds()
        while not self._told and (left := end - time.monotonic()) > 0:
            self._awake.wait(min(left, LOOK_UP))

    def _next(self, database: Database) -> jobs.Job | None:
        """Makes jobs of the rules that are due, and takes one."""
        now = self._clock()
        with database.read() as connection:
            waiting = schedule.due_namespaces(connection, now=now)
        if waiting:
            with database.write() as connection:
                still = set(schedule.due_namespaces(connection, now=now))  # others may have been faster
                for namespace_id in waiting:
                    if namespace_id in still:
                        jobs.enqueue(connection, namespace_id, due_at=now)
        return jobs.claim(database, holder=self.holder, now=now, lease=self._lease)

    def _carry(self, database: Database, job: jobs.Job) -> bool:
        """Carries out one job; returns whether this worker ended it."""
        log.info("job %d: taken for the %d. time, namespace %s", job.pk, job.attempts, job.namespace.key)
        try:
            with _kept_alive(database, job, lease=self._lease, clock=self._clock) as lost:
                self._task(self.place, job.namespace, self._between_steps(lost))
            jobs.finish(database, job, now=self._clock())
        except (RunInterrupted, KeyboardInterrupt):
            with suppress(LeaseLost):
                jobs.release(database, job)
            log.info("job %d: stopped between two steps; it is due again", job.pk)
            self._told = True
            return False
        except LeaseLost:
            log.warning("job %d: another worker has it; the result was refused", job.pk)
            return False
        except RunBusy as error:
            with suppress(LeaseLost):
                jobs.release(database, job, due_at=self._clock() + self._lease)
            log.info("job %d: waits: %s", job.pk, error)
            return False
        except Exception as error:  # noqa: BLE001 - whatever a job raises ends the job, not the worker
            return self._fail(database, job, error)
        log.info("job %d: done", job.pk)
        return True

    def _fail(self, database: Database, job: jobs.Job, error: Exception) -> bool:
        """Records a failure by its kind; our own messages hold no text of episodes, others' may."""
        kind = type(error).__name__
        said = str(error) if isinstance(error, AgentMemoryError) else "(message withheld)"
        log.error("job %d: failed with %s: %s", job.pk, kind, said)
        try:
            jobs.finish(database, job, now=self._clock(), error=kind)
        except LeaseLost:
            return False
        return True

    def _between_steps(self, lost: threading.Event) -> Callable[[], None]:
        def check() -> None:
            if lost.is_set():
                raise LeaseLost("the lease ran out and another worker has the job")
            if self._told:
                raise RunInterrupted("the worker was told to stop")

        return check


@contextmanager
def _opened(place: Place) -> Iterator[Database]:
    settings = place.config.store if place.config else None
    database = open_database(place.path, url=place.database_url, settings=settings)
    try:
        yield database
    finally:
        database.close()


@contextmanager
def _kept_alive(
    database: Database, job: jobs.Job, *, lease: timedelta, clock: Callable[[], datetime]
) -> Iterator[threading.Event]:
    """Extends the lease from a thread of its own; the event it gives is set once the lease is lost."""
    lost, over = threading.Event(), threading.Event()

    def beat() -> None:
        while not over.wait(lease.total_seconds() / 3):
            try:
                jobs.heartbeat(database, job, now=clock(), lease=lease)
            except LeaseLost:
                lost.set()
                return
            except AgentMemoryError as error:  # a full disk, say: the next beat may go through
                log.warning("job %d: no heartbeat: %s", job.pk, type(error).__name__)

    thread = threading.Thread(target=beat, name="agent-memory-heartbeat", daemon=True)
    thread.start()
    try:
        yield lost
    finally:
        over.set()
        thread.join()
