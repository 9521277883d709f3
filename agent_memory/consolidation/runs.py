"""Runs as rows: begun, resumed, ended; and the lock that lets one process at a time carry a namespace's run.

The lock is the kernel's, on a file per namespace, and falls with the process. So a run whose row says
`running` while nobody holds the lock was killed, and whoever gets the lock goes on with it.
"""

from __future__ import annotations

import os
import shutil
import socket
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, insert, select, update

from agent_memory.consolidation import study_items, versions
from agent_memory.consolidation.select import Selection
from agent_memory.errors import RunBusy, RunFailed
from agent_memory.store import tables
from agent_memory.store.database import Database
from agent_memory.store.keys import chunks
from agent_memory.store.locks import locked
from agent_memory.types import Namespace


@dataclass(frozen=True, slots=True)
class Run:
    """A run's row as its holder sees it."""

    id: str
    parent: str | None
    seed: int

    @property
    def version_id(self) -> str:
        """The id of the version that it makes."""
        return versions.version_of(self.id)


@contextmanager
def held(path: Path, namespace: Namespace) -> Iterator[None]:
    """Holds the namespace for runs, against every other process and thread.

    Raises:
        RunBusy: somebody else has it; the message says which process.
    """
    (path / "runs").mkdir(mode=0o700, parents=True, exist_ok=True)
    file = path / "runs" / f"{namespace.key}.lock"
    with locked(file, seconds=0) as lock:
        if lock is None:
            holder = file.read_text(encoding="utf-8", errors="replace").strip() or "another process"
            raise RunBusy(f"a run of this namespace is held by {holder}; try again when it has ended")
        os.ftruncate(lock, 0)
        os.pwrite(lock, holder_name().encode(), 0)
        yield


def holder_name() -> str:
    """This process: host and pid."""
    return f"process {os.getpid()} on {socket.gethostname()}"


def resumed(
    database: Database, namespace_id: int, *, base: str, seed: int, settings: Mapping[str, Any]
) -> Run | None:
    """A killed run, taken up again; one of another base, seed or with other settings is ended as failed.

    What it has studied is left to later runs, unless these would study otherwise.
    """
    r = tables.runs.c
    with database.write() as connection:
        row = connection.execute(
            select(tables.runs).where(r.namespace_id == namespace_id, r.state == "running")
        ).first()
        if row is None:
            return None
        if row.base == base and row.seed == seed and row.settings == settings:
            connection.execute(update(tables.runs).where(r.id == row.id).values(holder=holder_name()))
            return Run(row.id, row.parent_version_id, row.seed)
        if _studying(row.settings) != _studying(settings):
            study_items.erase_of_run(connection, row.id)
    why = "it was begun with another model, another seed or other settings"
    end(database, row.id, state="failed", reasons=[why])
    return None


def _studying(settings: Mapping[str, Any]) -> tuple[Any, ...]:
    """What decides, of a run's settings, which items it makes."""
    consolidation = settings.get("consolidation", {})
    return (consolidation.get("study"), *(settings.get(name) for name in ("writer", "placement", "reader")))


def stopped(database: Database, namespace_id: int) -> tuple[str, Mapping[str, Any]] | None:
    """Id and settings of a run that began and did not end; who holds the namespace knows it was killed."""
    r = tables.runs.c
    running = select(r.id, r.settings).where(r.namespace_id == namespace_id, r.state == "running")
    with database.read() as connection:
        row = connection.execute(running).first()
    return None if row is None else (row.id, row.settings)


def begun(connection: Connection, namespace_id: int) -> str | None:
    """The run that has begun and not ended, and the last stage, or part of one, that is behind it."""
    r = tables.runs.c
    running = select(r.id, r.stage).where(r.namespace_id == namespace_id, r.state == "running")
    row = connection.execute(running).first()
    return None if row is None else f"{row.id}, {row.stage} done"


def begin(
    database: Database,
    namespace_id: int,
    chosen: Selection,
    *,
    base: str,
    seed: int,
    settings: Mapping[str, Any],
) -> Run:
    """Writes the row of a new run and what it selected.

    Raises:
        RunFailed: an episode was forgotten since it was selected.
    """
    run = Run(uuid.uuid4().hex[:16], chosen.parent, seed)
    with database.write() as connection:
        connection.execute(
            insert(tables.runs).values(
                id=run.id,
                namespace_id=namespace_id,
                state="running",
                stage="select",
                parent_version_id=chosen.parent,
                base=base,
                seed=seed,
                settings=dict(settings),
                holder=holder_name(),
                started_at=database.now(),
                reasons=[],
            )
        )
        connection.execute(
            insert(tables.run_episodes),
            [
                {
                    "run_id": run.id,
                    "episode_pk": one.pk,
                    "namespace_id": namespace_id,
                    "revision": one.revision,
                    "part": one.part,
                }
                for one in chosen.chosen
            ],
        )
        _refuse_forgotten(connection, namespace_id, chosen)
    return run


def _refuse_forgotten(connection: Any, namespace_id: int, chosen: Selection) -> None:
    """A selection that was made a moment ago may hold what has been forgotten since."""
    e = tables.episodes.c
    pks = [one.pk for one in chosen.chosen]
    there = 0
    for few in chunks(pks):
        some = connection.execute(select(e.pk).where(e.namespace_id == namespace_id, e.pk.in_(few)))
        there += len(some.all())
    if there != len(pks):
        raise RunFailed("an episode was forgotten while it was being selected: call consolidate() again")


def end(
    database: Database,
    run_id: str,
    *,
    state: str,
    outcome: str | None = None,
    reasons: list[str] | None = None,
) -> None:
    """Ends a run that is not promoted; its candidate, if there is one, is rejected; then its folder goes.

    A run that a forget has cancelled stays cancelled.
    """
    r = tables.runs.c
    with database.write() as connection:
        connection.execute(
            update(tables.runs)
            .where(r.id == run_id, r.state == "running")
            .values(state=state, outcome=outcome, reasons=reasons or [], report={})
        )
        connection.execute(update(tables.runs).where(r.id == run_id).values(finished_at=database.now()))
        versions.reject(
            connection, version_id=versions.version_of(run_id), reasons=reasons or ["its run has ended"]
        )
    remove(database.path, run_id)


def remove(path: Path, run_id: str) -> None:
    """Removes a run's folder."""
    shutil.rmtree(versions.run_folder(path, run_id), ignore_errors=True)
