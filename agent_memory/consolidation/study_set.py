"""The study set: which items a run trains, and which it examines.

Trained are all study items of new episodes, and of earlier ones those that are rehearsed, but for those that
the exam of another episode asks; examined is every exam item of both. What has two answers among them ("Who
is a nurse?") is neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import and_, select

from agent_memory.config import ConsolidationConfig
from agent_memory.consolidation import study_items
from agent_memory.consolidation.lessons import shared_out
from agent_memory.consolidation.questions import normalise
from agent_memory.consolidation.select import rehearsed_items
from agent_memory.consolidation.turn import ambiguous
from agent_memory.consolidation.work import Work
from agent_memory.store import tables


@dataclass(frozen=True)
class StudySet:
    """What is trained and examined, and in how many further wordings each item is trained, by its key.

    `examined` are the exam's questions, normalised: no wording may be one of them.
    """

    studied: list[study_items.StudyItem]
    exams: list[study_items.StudyItem]
    wordings: Mapping[int, int]
    examined: frozenset[str]


def study_set(work: Work, config: ConsolidationConfig) -> StudySet:
    """What the run trains and examines, once its study is done."""
    i, s = tables.study_items.c, tables.run_episodes.c
    current = and_(
        i.episode_pk == s.episode_pk,
        i.revision == s.revision,
        i.base == work.base,
        study_items.not_retired(),
        i.targets.is_not(None) | (i.kind == "exam"),
        s.run_id == work.run_id,
    )
    with work.database.read() as connection:
        parts = {
            row.pk: row.part
            for row in connection.execute(
                select(i.pk, s.part).select_from(tables.study_items.join(tables.run_episodes, current))
            )
        }
        found = study_items.load(
            connection, and_(i.namespace_id == work.namespace_id, i.base == work.base, i.kind != "draft")
        )
        r = tables.runs.c
        parent = connection.execute(select(r.parent_version_id).where(r.id == work.run_id)).scalar_one()
        most = config.select.rehearsal_items if parent else None
        rehearsed = set(rehearsed_items(connection, work.run_id, parent=parent, most=most, seed=work.seed))
    present = [item for item in found if item.pk in parts]
    two = ambiguous((item.question, item.answer) for item in present)
    mine = [item for item in present if normalise(item.question) not in two]
    exams = [item for item in mine if item.kind == "exam"]
    examined = frozenset(normalise(item.question) for item in exams)
    study = [
        item for item in mine
        if item.kind == "study" and not item.known and normalise(item.question) not in examined
    ]  # fmt: skip
    return StudySet(
        studied=[item for item in study if parts[item.pk] == "new" or item.pk in rehearsed],
        exams=exams,
        examined=examined,
        wordings=shared_out(
            [(item.pk, item.episode_pk, item.answer_group) for item in study],
            sentences=config.distill.sentences if work.model.made_here else 0,  # they are English
        ),
    )
