"""Versions: which adapter is served, and how that changes. All in SQL; the files only follow.

    candidate --promote--> active --promote of another, or rollback--> retired
        |                     |
        +--gate--> rejected   +--forget--> tainted (from any state, for good)

A version's weights lie in `versions/<id>/` before its row exists, and its row is never deleted. So whatever
instant a process dies at, the row that says `active` names a folder that is whole. `sweep` removes folders
that no row wants.

Promotion is one conditional update: it touches no row if an episode of the manifest has a tombstone or the
run was cancelled, and the transaction that it is part of ends there. `erase` is this part's share of
`forget`: in its transaction, items are deleted, versions tainted, the active pointer moved and runs
cancelled.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence, Set
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, exists, insert, or_, select, update

from agent_memory.consolidation import study_items
from agent_memory.errors import AdapterRefused, NotFound, RunFailed
from agent_memory.store import tables
from agent_memory.store.database import Database
from agent_memory.types import Version

TAINTED = "tainted: an episode in it was forgotten"
#: Why a version that was rolled back is not served again by itself.
WITHDRAWN = "rolled back"


def folder(path: Path, version_id: str) -> Path:
    """Where the weights of a version lie."""
    return path / "versions" / version_id


def run_folder(path: Path, run_id: str) -> Path:
    """Where the artefacts of a run lie while it lasts."""
    return path / "runs" / run_id


def active(connection: Connection, namespace_id: int) -> Any | None:
    """The row of the version that is served, or None for the bare base."""
    v = tables.versions.c
    found = connection.execute(
        select(tables.versions).where(v.namespace_id == namespace_id, v.state == "active")
    )
    return found.first()


def describe(connection: Connection, namespace_id: int) -> list[Version]:
    """All versions of a namespace, newest first."""
    v, m = tables.versions.c, tables.version_episodes.c
    held: dict[str, list[str]] = {}
    for row in connection.execute(
        select(m.version_id, m.episode_id)
        .where(m.namespace_id == namespace_id, m.part == "learnt")
        .order_by(m.version_id, m.episode_id)
    ):
        held.setdefault(row.version_id, []).append(row.episode_id)
    rows = connection.execute(
        select(tables.versions)
        .where(v.namespace_id == namespace_id)
        .order_by(v.created_at.desc(), v.id.desc())
    )
    return [
        Version(
            id=row.id,
            state=row.state,
            parent_id=row.parent_id,
            run_id=row.run_id,
            created_at=row.created_at,
            base=row.base,
            episode_ids=tuple(held.get(row.id, ())),
            scores=dict(row.scores),
            reasons=tuple(row.reasons),
        )
        for row in rows
    ]


def register(
    connection: Connection,
    *,
    namespace_id: int,
    version_id: str,
    run_id: str,
    parent_id: str | None,
    base: str,
    learnt: Mapping[str, int],
    context: Mapping[str, int],
    now: datetime,
) -> None:
    """Writes a candidate and its manifest, once; `learnt` and `context` map episode ids to revisions."""
    if connection.execute(select(tables.versions.c.id).where(tables.versions.c.id == version_id)).first():
        return
    connection.execute(
        insert(tables.versions).values(
            id=version_id,
            namespace_id=namespace_id,
            state="candidate",
            parent_id=parent_id,
            run_id=run_id,
            base=base,
            created_at=now,
            scores={},
            reasons=[],
        )
    )
    rows = [
        {
            "version_id": version_id,
            "namespace_id": namespace_id,
            "episode_id": id_,
            "revision": revision,
            "part": part,
        }
        for part, held in (("learnt", learnt), ("context", context))
        for id_, revision in held.items()
        if part == "learnt" or id_ not in learnt
    ]
    if rows:
        connection.execute(insert(tables.version_episodes), rows)


def _clean() -> ColumnElement[bool]:
    """That no episode of a version's manifest has a tombstone."""
    m, t = tables.version_episodes.c, tables.tombstones.c
    return ~exists().where(
        m.version_id == tables.versions.c.id, t.namespace_id == m.namespace_id, t.episode_id == m.episode_id
    )


def holds_nothing_expired(now: datetime) -> ColumnElement[bool]:
    """That no episode of a version's manifest has expired; erasing it waits for the next write."""
    m, e = tables.version_episodes.c, tables.episodes.c
    return ~exists().where(
        m.version_id == tables.versions.c.id, e.namespace_id == m.namespace_id, e.id == m.episode_id,
        e.expires_at <= now,
    ).correlate(tables.versions)  # fmt: skip


def promote(
    connection: Connection, namespace_id: int, *, version_id: str, run_id: str, now: datetime
) -> None:
    """Makes a candidate the version that is served; what was served is retired.

    Raises:
        RunFailed: the candidate is not there, its run was cancelled, its manifest has a tombstone or an
            episode that has expired, or the version that it goes on from was rolled back meanwhile.
    """
    v = tables.versions.c
    parent = connection.execute(select(v.parent_id).where(v.id == version_id)).scalar()
    served = active(connection, namespace_id)
    if parent is not None and (served is None or served.id != parent):
        raise RunFailed(
            f"version {version_id} cannot be promoted: {parent}, from which it goes on, is not served now"
        )
    _retire(connection, namespace_id, now=now)
    running = exists().where(tables.runs.c.id == run_id, tables.runs.c.state == "running")
    touched = connection.execute(
        update(tables.versions)
        .where(
            v.id == version_id, v.namespace_id == namespace_id, v.state == "candidate", _clean(), running,
            holds_nothing_expired(now),
        )
        .values(state="active", promoted_at=now)
    ).rowcount
    if touched != 1:
        raise RunFailed(
            f"version {version_id} cannot be promoted: an episode of it was forgotten or has expired"
        )


def reject(connection: Connection, *, version_id: str, reasons: Sequence[str]) -> None:
    """Keeps a candidate from ever being served."""
    v = tables.versions.c
    connection.execute(
        update(tables.versions)
        .where(v.id == version_id, v.state == "candidate")
        .values(state="rejected", reasons=list(reasons))
    )


def _retire(connection: Connection, namespace_id: int, *, now: datetime) -> None:
    v = tables.versions.c
    connection.execute(
        update(tables.versions)
        .where(v.namespace_id == namespace_id, v.state == "active")
        .values(state="retired", retired_at=now)
    )


def rollback(database: Database, namespace_id: int) -> tuple[str | None, list[str]]:
    """Serves the newest earlier version of the same base that verifies, else the bare base.

    Returns:
        The id of the version now served (None: the bare base), and of each that was passed over why.

    Raises:
        NotFound: no version is active.
    """
    from agent_memory.models import adapters

    passed: list[str] = []
    v = tables.versions.c
    with database.write() as connection:
        current = active(connection, namespace_id)
        if current is None:
            raise NotFound("no version is active: the bare base is served already")
        now = database.now()
        earlier = _servable(
            connection, namespace_id, base=current.base, before=current.created_at, now=now
        )
        _retire(connection, namespace_id, now=now)
        connection.execute(update(tables.versions).where(v.id == current.id).values(reasons=[WITHDRAWN]))
        for row in earlier:
            try:
                adapters.check(folder(database.path, row.id), base=row.base)
            except AdapterRefused as refused:
                passed.append(f"{row.id}: {refused}")
                continue
            connection.execute(
                update(tables.versions)
                .where(v.id == row.id)
                .values(state="active", promoted_at=now)
            )
            return str(row.id), passed
    return None, passed


def erase(connection: Connection, namespace_id: int, pks: Sequence[int], *, now: datetime) -> list[str]:
    """This part's share of `forget`, in its transaction; returns the ids of the versions that it tainted.

    Study and exam items of the episodes are deleted, and those for which the teacher saw one of them;
    versions that hold one are tainted for good; the newest clean version of the same base is served, else the
    bare base; runs that selected one, or whose teacher saw one, are cancelled.
    """
    ids = _ids(connection, pks)
    _cancel_runs(connection, namespace_id, {*pks, *_erase_items(connection, pks)})
    connection.execute(delete(tables.run_episodes).where(tables.run_episodes.c.episode_pk.in_(pks)))
    v, m = tables.versions.c, tables.version_episodes.c
    holding = exists().where(m.version_id == v.id, m.episode_id.in_(ids), m.namespace_id == namespace_id)
    hit = connection.execute(
        select(v.id, v.state, v.base).where(v.namespace_id == namespace_id, v.state != "tainted", holding)
    ).all()
    if not hit:
        return []
    tainted = [row.id for row in hit]
    connection.execute(
        update(tables.versions)
        .where(v.id.in_(tainted))
        .values(state="tainted", reasons=[TAINTED], retired_at=now)
    )
    connection.execute(delete(tables.exam_results).where(tables.exam_results.c.version_id.in_(tainted)))
    for served in (row for row in hit if row.state == "active"):
        _serve_newest_clean(connection, namespace_id, base=served.base, now=now)
    return tainted


def _ids(connection: Connection, pks: Sequence[int]) -> list[str]:
    e = tables.episodes.c
    return [row.id for row in connection.execute(select(e.id).where(e.pk.in_(pks)))]


def _erase_items(connection: Connection, pks: Sequence[int]) -> set[int]:
    """Deletes the items of these episodes, and those that were answered with one of them in view.

    An episode that loses what was written about it loses all its items, and is studied anew. Returns the keys
    of the episodes that the deleted items are about.
    """
    i, c, x = tables.study_items.c, tables.study_context.c, tables.exam_results.c
    seen = select(c.item_pk).where(c.episode_pk.in_(pks))
    found = select(i.pk, i.episode_pk, i.revision, i.base, i.origin)
    doomed = connection.execute(found.where(or_(i.episode_pk.in_(pks), i.pk.in_(seen)))).all()
    bereft = {tuple(row)[1:4] for row in doomed if row.origin == "written"}
    theirs = connection.execute(found.where(i.episode_pk.in_({pk for pk, *_ in bereft}))).all()
    erased = {row.pk for row in doomed} | {row.pk for row in theirs if tuple(row)[1:4] in bereft}
    study_items.erase(connection, sorted(erased))
    connection.execute(delete(tables.exam_results).where(x.episode_pk.in_(pks)))
    return {row.episode_pk for row in doomed}


def _cancel_runs(connection: Connection, namespace_id: int, pks: Set[int]) -> None:
    r, s = tables.runs.c, tables.run_episodes.c
    for run in connection.execute(
        select(r.id).where(r.namespace_id == namespace_id, r.state == "running")
    ).scalars().all():  # fmt: skip
        selected = connection.execute(select(s.episode_pk).where(s.run_id == run)).scalars()
        if not pks.isdisjoint(selected):
            reasons = ["an episode that it had selected, or that its teacher saw, was forgotten"]
            connection.execute(
                update(tables.runs).where(r.id == run).values(state="cancelled", reasons=reasons)
            )


def _serve_newest_clean(connection: Connection, namespace_id: int, *, base: str, now: datetime) -> None:
    """Serves the newest retired version of a base whose manifest has no tombstone, if there is one."""
    v = tables.versions.c
    for newest in _servable(connection, namespace_id, base=base, now=now)[:1]:
        connection.execute(
            update(tables.versions).where(v.id == newest.id).values(state="active", promoted_at=now)
        )


def _servable(
    connection: Connection, namespace_id: int, *, base: str, now: datetime, before: datetime | None = None
) -> list[Any]:
    """The retired versions of a base that may be served again, newest first.

    What was rolled back may not, nor what holds a forgotten or expired episode.
    """
    v = tables.versions.c
    earlier = [] if before is None else [v.created_at < before]
    rows = connection.execute(
        select(v.id, v.base, v.reasons)
        .where(
            v.namespace_id == namespace_id, v.state == "retired", v.base == base, _clean(),
            holds_nothing_expired(now), *earlier,
        )
        .order_by(v.created_at.desc(), v.id.desc())
    ).all()
    return [row for row in rows if WITHDRAWN not in row.reasons]


def sweep(database: Database) -> list[str]:
    """Removes folders that nothing wants; returns the names of those that could not be removed yet.

    Unwanted are those of tainted and rejected versions, of versions without a row and of runs that have
    ended.
    """
    v, r = tables.versions.c, tables.runs.c
    parents = (database.path / "versions", database.path / "runs")
    # Listed before the rows are read: a run that begins in between has its row before its folder.
    there = [sorted(parent.iterdir()) if parent.is_dir() else [] for parent in parents]
    with database.read() as connection:
        kept = {
            row.id
            for row in connection.execute(select(v.id).where(v.state.in_(("candidate", "active", "retired"))))
        }
        running = {row.id for row in connection.execute(select(r.id).where(r.state == "running"))}
        tainted = {row.id for row in connection.execute(select(v.id).where(v.state == "tainted"))}
        making = {version_of(run) for run in running} - tainted
    left: list[str] = []
    for children, wanted in zip(there, (kept | making, running), strict=True):
        for child in children:
            if child.is_dir() and child.name not in wanted:
                shutil.rmtree(child, ignore_errors=True)
                left += [child.name] if child.exists() else []
    return left


def version_of(run_id: str) -> str:
    """The id of the version that a run makes; fixed, so that a resumed run makes the same."""
    return f"v-{run_id}"
