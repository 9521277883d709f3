"""Select: what a run takes up.

New are the trusted episodes that the version to start from does not hold in their present revision, oldest
first, within a budget and, for sources that are not trusted by default, a cap per source. Passed over are
those that expire soon, and those in which a run with the same writer has found nothing to learn
(`gave_nothing`). A run starts from the active version, unless something says that it must not: another base,
a forget since, a rejection for lost retention, or `rebuild_every`. Then it starts from zero, and everything
that a version has held is rehearsed whole, over items that are cached. Else rehearsal is capped: the weakest
and most damaged facts come first, and with more items than others (`by_need`).

Not known here: models and files. Everything is read from SQL in the caller's transaction.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, exists, func, or_, select

from agent_memory.config import SelectConfig
from agent_memory.consolidation.study_items import to_train
from agent_memory.consolidation.versions import holds_nothing_expired
from agent_memory.store import tables
from agent_memory.store.rows import live

#: What expires sooner is left to retrieval: a version with an episode in it that has expired is not served,
#: and the next is trained from zero (chosen).
SHORT_LIFE = timedelta(days=30)
#: Prefix of the reason with which the gate rejects a candidate that lost what the parent knew.
LOST_RETENTION = "retention"


@dataclass(frozen=True, slots=True)
class Chosen:
    """An episode that a run takes up; `part` is "new" or "rehearsal"."""

    pk: int
    id: str
    revision: int
    part: str


@dataclass(frozen=True, slots=True)
class Selection:
    """What a run takes up, and the version that it starts from (None: from zero, for the reason given)."""

    chosen: tuple[Chosen, ...]
    parent: str | None
    notes: tuple[str, ...] = ()

    @property
    def new(self) -> tuple[Chosen, ...]:
        """The episodes that are taken up for the first time."""
        return tuple(one for one in self.chosen if one.part == "new")


def selection(
    connection: Connection,
    namespace_id: int,
    *,
    config: SelectConfig,
    base: str,
    trusted_sources: Sequence[str],
    now: datetime,
    writer: str | None = None,
) -> Selection:
    """What the next run of a namespace takes up; empty when nothing is new and nothing must be rebuilt.

    `writer` is the name of the one that will write its questions; None passes over what any found nothing in.
    """
    parent, why_zero = _parent(connection, namespace_id, base=base, config=config, now=now)
    learnt = _manifest(connection, parent) if parent else {}
    held_before = learnt if parent else _ever_held(connection, namespace_id, base=base)
    new: list[Chosen] = []
    rehearsal: list[Chosen] = []
    per_source: Counter[str] = Counter()
    capped = idle = 0
    for row in _trusted(connection, namespace_id, idle=gave_nothing(base, writer), now=now):
        if held_before.get(row.id) == row.revision:
            rehearsal.append(Chosen(row.pk, row.id, row.revision, "rehearsal"))
        elif row.idle:
            idle += 1
        elif row.source not in trusted_sources and per_source[row.source] >= config.max_per_source:
            capped += 1
        elif len(new) < config.max_episodes:
            per_source[row.source] += 1
            new.append(Chosen(row.pk, row.id, row.revision, "new"))
    cap = config.max_per_source
    notes = [f"{capped} episodes wait: their source has reached its cap of {cap}"] if capped else []
    if idle:
        notes.append(f"{idle} episodes gave nothing to learn and stay in retrieval alone")
    if why_zero and rehearsal:
        notes.append(f"from zero: {why_zero}")
    if not new and (parent or not rehearsal):
        return Selection((), parent, tuple(notes))
    return Selection((*rehearsal, *new), parent, tuple(notes))


def _trusted(
    connection: Connection, namespace_id: int, *, idle: ColumnElement[bool], now: datetime
) -> Sequence[Any]:
    """The episodes that may be learnt, in order of time."""
    e = tables.episodes.c
    return connection.execute(
        select(e.pk, e.id, e.revision, e.source, idle.label("idle"))
        .where(learnable(namespace_id, now=now))
        .order_by(e.occurred_at, e.pk)
    ).all()


def learnable(namespace_id: int, *, now: datetime) -> ColumnElement[bool]:
    """That an episode is of this namespace, trusted, and does not expire within `SHORT_LIFE`."""
    e = tables.episodes.c
    lasting = or_(e.expires_at.is_(None), e.expires_at > now + SHORT_LIFE)
    return and_(live(namespace_id, now), e.trust == "trusted", lasting)


def gave_nothing(base: str | None = None, writer: str | None = None) -> ColumnElement[bool]:
    """That a finished run took up an episode, as its text is now, and left nothing to train of it.

    Where a forget has reached that run's version, it may have taken items of the episode, too, and says
    nothing.

    Args:
        base: fingerprint of the base that studied it; None: of any.
        writer: name of the one that wrote the questions; None: of any.
    """
    e, i, v = tables.episodes.c, tables.study_items.c, tables.versions.c
    r, s = tables.runs.c, tables.run_episodes.c
    left = exists().where(i.episode_pk == e.pk, i.revision == e.revision, i.base == r.base, to_train())
    by = [] if base is None else [r.base == base]
    by += [] if writer is None else [r.settings["writer"].as_string() == writer]
    tainted = exists().where(v.run_id == r.id, v.state == "tainted")
    return (
        exists()
        .where(
            s.episode_pk == e.pk,
            s.revision == e.revision,
            s.part == "new",
            r.id == s.run_id,
            r.state == "done",
            r.outcome != "dry-run",
            *by,
            ~left.correlate(tables.episodes, tables.runs),
            ~tainted.correlate(tables.runs),
        )
        .correlate(tables.episodes)
    )


def _parent(
    connection: Connection, namespace_id: int, *, base: str, config: SelectConfig, now: datetime
) -> tuple[str | None, str | None]:
    """The version to start from, or None and why."""
    v = tables.versions.c
    mine = select(v.id, v.base, v.created_at).where(v.namespace_id == namespace_id)
    active = connection.execute(mine.where(v.state == "active")).first()
    if active is None:
        return None, "no version is active"
    if active.base != base:
        return None, "the active version belongs to another base model"
    lasting = mine.where(v.id == active.id, holds_nothing_expired(now))
    if connection.execute(lasting).first() is None:
        return None, "an episode in the active version has expired"
    lost = (v.state == "tainted", v.promoted_at.is_not(None), v.created_at >= active.created_at)
    if connection.execute(mine.where(*lost)).first():
        return None, "an episode was forgotten since"
    r = tables.runs.c
    last = connection.execute(
        select(r.outcome, r.reasons)
        .where(r.namespace_id == namespace_id, r.outcome.in_(("promoted", "rejected")))
        .order_by(r.started_at.desc())
        .limit(1)
    ).first()
    if last and last.outcome == "rejected" and any(str(x).startswith(LOST_RETENTION) for x in last.reasons):
        return None, "the last candidate was rejected for lost retention"
    if config.rebuild_every and _continued(connection, active.id) >= config.rebuild_every:
        return None, f"{config.rebuild_every} runs continued the last rebuild"
    return str(active.id), None


def _continued(connection: Connection, version_id: str) -> int:
    """How many versions lie between this one and the one that was trained from zero."""
    v = tables.versions.c
    count = -1
    version: str | None = version_id
    while version is not None:
        count += 1
        version = connection.execute(select(v.parent_id).where(v.id == version)).scalar()
    return count


def _manifest(connection: Connection, version_id: str) -> dict[str, int]:
    """Episode id -> revision, of what a version has learnt."""
    m = tables.version_episodes.c
    rows = connection.execute(
        select(m.episode_id, m.revision).where(m.version_id == version_id, m.part == "learnt")
    )
    return {row.episode_id: row.revision for row in rows}


def _ever_held(connection: Connection, namespace_id: int, *, base: str) -> dict[str, int]:
    """Episode id -> newest revision that a promoted version of this base has held, clean or tainted."""
    m, v = tables.version_episodes.c, tables.versions.c
    rows = connection.execute(
        select(m.episode_id, func.max(m.revision).label("revision"))
        .join(tables.versions, v.id == m.version_id)
        .where(m.namespace_id == namespace_id, m.part == "learnt", v.base == base, v.promoted_at.is_not(None))
        .group_by(m.episode_id)
    )
    return {row.episode_id: row.revision for row in rows}


def rehearsed_items(
    connection: Connection, run_id: str, *, parent: str | None, most: int | None, seed: int
) -> list[int]:
    """The keys of the study items that a run rehearses, in order of need; `most` None takes all."""
    i = tables.study_items.c
    rows = connection.execute(
        select(i.pk, i.episode_pk, i.answer_group)
        .where(_in_rehearsal(run_id), to_train())
        .order_by(i.pk)
    ).all()
    failed, known = _exam_of(connection, run_id, parent=parent)
    items = [(row.pk, (row.episode_pk, row.answer_group)) for row in rows]
    continued = _continued(connection, parent) if parent else 0
    return by_need(items, weak=failed, damaged=failed & known, seed=seed, continued=continued)[:most]


def _exam_of(
    connection: Connection, run_id: str, *, parent: str | None
) -> tuple[set[tuple[int, int]], set[tuple[int, int]]]:
    """The groups in rehearsal that the parent failed in its exam, and those that another version knew."""
    i, x = tables.study_items.c, tables.exam_results.c
    rows = connection.execute(
        select(i.episode_pk, i.answer_group, x.version_id, x.correct)
        .join(tables.exam_results, x.item_pk == i.pk)
        .where(_in_rehearsal(run_id))
    ).all()
    failed = {(row[0], row[1]) for row in rows if row.version_id == parent and not row.correct}
    return failed, {(row[0], row[1]) for row in rows if row.version_id != parent and row.correct}


def _in_rehearsal(run_id: str) -> ColumnElement[bool]:
    """That an item of the run's base is about an episode that it rehearses, as its text is now."""
    i, s, r = tables.study_items.c, tables.run_episodes.c, tables.runs.c
    return exists().where(
        r.id == run_id,
        s.run_id == r.id,
        s.part == "rehearsal",
        s.episode_pk == i.episode_pk,
        s.revision == i.revision,
        r.base == i.base,
    ).correlate(tables.study_items)


#: How many items of a damaged and of a weak group are rehearsed for one of another (chosen).
DAMAGED, WEAK = 3, 2


def by_need(
    items: Iterable[tuple[int, tuple[int, int]]],
    *,
    weak: Set[tuple[int, int]],
    damaged: Set[tuple[int, int]],
    seed: int,
    continued: int = 0,
) -> list[int]:
    """The keys of items in the order in which they are rehearsed.

    Every fact comes up before any does twice: one item of each group, those first that the parent failed in
    its exam though an earlier version had them right (damaged), then others that it failed (weak), then the
    rest; and so on with further items, of which damaged and weak groups get more. Chance orders within each;
    which item of a group comes first goes round from run to run, so that capped rehearsal reaches them all.

    Args:
        items: key, and episode and number of the group.
        weak: the groups that the parent failed, those that are damaged among them.
        damaged: of these the ones that an earlier version had right.
        seed: of chance.
        continued: how many runs have gone on since the one from zero.
    """
    rng = random.Random(seed)
    groups: dict[tuple[int, int], list[tuple[float, int]]] = {}
    for pk, group in items:
        groups.setdefault(group, []).append((rng.random(), pk))
    needs: list[tuple[float, int, float, int]] = []
    for group, drawn in groups.items():
        share = DAMAGED if group in damaged else WEAK if group in weak else 1
        ordered = sorted(drawn)
        first = continued % len(ordered)
        for count, (chance, pk) in enumerate(ordered[first:] + ordered[:first]):
            needs.append((count / share, -share, chance, pk))
    return [pk for *_, pk in sorted(needs)]
