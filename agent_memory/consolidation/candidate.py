"""Candidate: from study items to an adapter in its place, registered with its manifest.

Training leaves the adapter in the run's folder; it is moved to `versions/<id>/` by one rename, and only
then gets its row. A kill in between is found by the folder: a resumed run registers what lies there
already.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, and_, exists, select

from agent_memory.config import ConsolidationConfig, DistillConfig
from agent_memory.consolidation import versions
from agent_memory.consolidation.anchors import Anchors
from agent_memory.consolidation.lessons import lessons
from agent_memory.consolidation.runs import Run
from agent_memory.consolidation.study_set import StudySet
from agent_memory.consolidation.work import Work
from agent_memory.durable import sync_folder
from agent_memory.store import tables

if TYPE_CHECKING:
    from agent_memory.consolidation.distill import Lessons, Trained


def candidate(
    work: Work, run: Run, chosen: StudySet, trained_on: Anchors, config: ConsolidationConfig
) -> tuple[Path, int]:
    """The candidate's folder, trained, moved to its place and registered; and the tokens that it took.

    Where a run goes on after its training, tokens and notes are those that the training left.

    Raises:
        RunFailed: training failed, or the run was cancelled.
        AdapterRefused: the parent failed its checks.
    """
    place = versions.folder(work.database.path, run.version_id)
    if not work.is_done("distill"):
        if not place.exists():
            made = _train(work, run, chosen, trained_on, config)
            work.check()
            _move(made, place)
        with work.transaction(done="distill") as connection:
            _register(connection, work, run)
    return place, _take_up(work, run)


def _train(
    work: Work, run: Run, chosen: StudySet, trained_on: Anchors, config: ConsolidationConfig
) -> Path:
    made = lessons_of(work, chosen, trained_on, config)
    return train(work, made, parent=run.parent, config=config.distill).adapter


def train(
    work: Work,
    made: Lessons,
    *,
    parent: str | None,
    config: DistillConfig,
    after_step: Callable[[], None] = lambda: None,
) -> Trained:
    """Trains on the lessons in the run's folder.

    `parent` is the version that the run goes on from; `after_step()` is called after each optimiser step.
    """
    from agent_memory.consolidation import distill

    def progress(done: int, total: int) -> None:
        work.progress("distill", done, total)
        after_step()

    return distill.train(
        work.model,
        made,
        parent=versions.folder(work.database.path, parent) if parent else None,
        config=config,
        seed=work.seed,
        folder=versions.run_folder(work.database.path, work.run_id),
        progress=progress,
        cancelled=work.is_cancelled,
    )


def lessons_of(work: Work, chosen: StudySet, trained_on: Anchors, config: ConsolidationConfig) -> Lessons:
    """What the run trains on, with all targets."""
    return lessons(
        work,
        chosen.studied,
        work.episodes(),
        trained_on,
        wordings=chosen.wordings,
        examined=chosen.examined,
        top_k=config.study.top_k,
    )


def _take_up(work: Work, run: Run) -> int:
    """The tokens that the training took, by what it left; its notes go to the run's."""
    from agent_memory.consolidation import distill

    done = versions.run_folder(work.database.path, run.id) / distill.DONE
    if not done.is_file():  # a forget has taken the folder, and the run ends with its next transaction
        return 0
    left = json.loads(done.read_text(encoding="utf-8"))
    work.notes.extend(left["notes"])
    return int(left["tokens"])


def _move(source: Path, place: Path) -> None:
    """Moves a finished adapter to where versions lie, lastingly."""
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.replace(source, place)
    sync_folder(place.parent)
    sync_folder(source.parent)


def _register(connection: Connection, work: Work, run: Run) -> None:
    """The row and its manifest: what the parent held, what the run selected, and what its teacher saw.

    What was selected and gave no item is not learnt, but its teacher saw it.
    """
    e, m, c = tables.episodes.c, tables.version_episodes.c, tables.study_context.c
    i, s = tables.study_items.c, tables.run_episodes.c
    before = connection.execute(
        select(m.episode_id, m.revision, m.part).where(m.version_id == run.parent)
    ).all()
    studied = exists().where(
        i.episode_pk == s.episode_pk, i.revision == s.revision, i.base == work.base, i.kind != "draft"
    ).correlate(tables.run_episodes)  # fmt: skip
    own = connection.execute(
        select(e.id, s.revision, studied.label("studied"))
        .join(tables.run_episodes, s.episode_pk == e.pk)
        .where(s.run_id == run.id)
    ).all()
    seen = connection.execute(
        select(e.id, e.revision)
        .distinct()
        .join(tables.study_context, c.episode_pk == e.pk)
        .join(tables.study_items, i.pk == c.item_pk)
        .join(tables.run_episodes, and_(s.episode_pk == i.episode_pk, s.run_id == run.id))
    ).all()
    learnt = {row.episode_id: row.revision for row in before if row.part == "learnt"}
    context = {row.episode_id: row.revision for row in before if row.part == "context"}
    versions.register(
        connection,
        namespace_id=work.namespace_id,
        version_id=run.version_id,
        run_id=run.id,
        parent_id=run.parent,
        base=work.base,
        learnt=learnt | {row.id: row.revision for row in own if row.studied},
        context=context | {row.id: row.revision for row in (*own, *seen)},
        now=work.database.now(),
    )
