"""Examine: what a candidate answers without the episodes, and what it still does as the base does.

Closed-book: every exam item of the new episodes, and those of earlier episodes, sampled by whole episodes
beyond a budget, for an episode is slow only if every group of its questions is right. Every sentence must be
asked about, too, where that can be told: what no question was made of was not learnt. The rest compares with
the bare base on anchors that were not trained on: reading, unknown names, perplexity and divergence on
unrelated texts.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, and_, delete, insert, select

from agent_memory.config import ExamConfig
from agent_memory.consolidation import taught
from agent_memory.consolidation.anchors import Anchors
from agent_memory.consolidation.asking import SCORED, Said, same
from agent_memory.consolidation.gate import CHANCE
from agent_memory.consolidation.halves import in_slices
from agent_memory.consolidation.parts import covered
from agent_memory.consolidation.study_items import StudyItem, load, not_retired
from agent_memory.consolidation.work import Work, load_episodes
from agent_memory.store import tables
from agent_memory.store.views import marks

if TYPE_CHECKING:
    from agent_memory.consolidation.targets import Item


@dataclass(frozen=True, slots=True)
class Marked:
    """An exam item and whether it was answered rightly, without its episode."""

    item: StudyItem
    correct: bool


def exam(
    work: Work, adapter: Path, items: Sequence[StudyItem], *, new: set[int], config: ExamConfig
) -> list[Marked]:
    """The exam items of new episodes and of as many earlier ones as the budget allows, marked."""
    earlier = [item for item in items if item.episode_pk not in new]
    pks = sorted({item.episode_pk for item in earlier})
    random.Random(f"{work.seed}:exam").shuffle(pks)
    chosen: set[int] = set()
    count = 0
    for pk in pks:
        own = sum(item.episode_pk == pk for item in earlier)
        if count + own <= config.earlier_items:
            chosen.add(pk)
            count += own
    asked = [item for item in items if item.episode_pk in new or item.episode_pk in chosen]
    return mark(work, adapter, asked)


def mark(work: Work, adapter: Path | None, items: Sequence[StudyItem]) -> list[Marked]:
    """Each item, asked closed-book, with its mark."""
    said = _said_alone(work, adapter, [item.question for item in items])
    return [Marked(item, same(one.text, item.answer)) for item, one in zip(items, said, strict=True)]


def _said_alone(work: Work, adapter: Path | None, questions: Sequence[str]) -> list[Said]:
    """What is said to questions alone, as it would be served."""
    with work.database.read() as connection:
        heard_of = {
            question: adapter is None or taught.heard_of(connection, adapter.name, question)
            for question in questions
        }
    return work.asker.alone(questions, adapter, heard_of.__getitem__)


def write_results(connection: Connection, work: Work, version_id: str, marked: Sequence[Marked]) -> None:
    """Keeps the marks of a version; earlier ones of it are replaced."""
    whole = _covered(connection, work, [one.item for one in marked])
    connection.execute(delete(tables.exam_results).where(tables.exam_results.c.version_id == version_id))
    if marked:
        connection.execute(
            insert(tables.exam_results),
            [
                {
                    "version_id": version_id,
                    "item_pk": one.item.pk,
                    "namespace_id": work.namespace_id,
                    "episode_pk": one.item.episode_pk,
                    "revision": one.item.revision,
                    "correct": one.correct,
                    "covered": one.item.episode_pk in whole,
                }
                for one in marked
            ],
        )


def _covered(connection: Connection, work: Work, examined: Sequence[StudyItem]) -> set[int]:
    """The episodes of which every group of questions is examined, and every sentence asked about.

    A group without an exam has none but questions that two episodes answer differently. Whether sentences are
    asked about can be told of the bundled reader's questions alone, which are English and about words in the
    text.
    """
    pks = {item.episode_pk for item in examined}
    i = tables.study_items.c
    own = and_(i.episode_pk.in_(pks), i.base == work.base, i.kind != "draft", not_retired())
    asked: dict[int, list[StudyItem]] = defaultdict(list)
    episodes = load_episodes(connection, sorted(pks))
    for item in load(connection, own):
        if item.revision == episodes[item.episode_pk].revision:
            asked[item.episode_pk].append(item)
    groups = {(item.episode_pk, item.answer_group) for item in examined}
    return {
        pk
        for pk, episode in episodes.items()
        if groups >= {(pk, item.answer_group) for item in asked[pk]}
        and (
            not work.model.made_here
            or covered(episode.text, [(item.question, item.answer) for item in asked[pk]])
        )
    }


def results(connection: Connection, version_id: str | None) -> dict[int, bool]:
    """The marks of a version, by key of the exam item."""
    x = tables.exam_results.c
    rows = connection.execute(select(x.item_pk, x.correct).where(x.version_id == version_id))
    return {row.item_pk: row.correct for row in rows}


def slow(connection: Connection, version_id: str) -> tuple[str, ...]:
    """The ids of the episodes that a version verifiably knows, in their present revision (view `marks`)."""
    e, m = tables.episodes.c, marks.c
    known = (
        select(e.id)
        .join(marks, and_(m.episode_pk == e.pk, m.revision == e.revision))
        .where(m.version_id == version_id, m.mark == "slow")
        .order_by(e.pk)
    )
    return tuple(connection.execute(known).scalars())


def closed_book(marked: Sequence[Marked], *, new: set[int], before: Mapping[int, bool]) -> dict[str, float]:
    """The shares of right answers that the gate compares; absent where nothing was asked.

    `before` are the marks of the version that is served; earlier items that it was not asked do not count.
    Where nothing is new and none is served (all was learnt before, and a forget took the version), everything
    counts as new: a version is compared with something always.
    """
    fresh = [one for one in marked if one.item.episode_pk in new or not (new or before)]
    earlier = [one for one in marked if one.item.episode_pk not in new and one.item.pk in before]
    scores: dict[str, float] = {}
    if fresh:
        scores["new"] = _share([one.correct for one in fresh])
        scores["new_base"] = _share([bool(one.item.known) for one in fresh])
        moved = sum(one.correct != bool(one.item.known) for one in fresh)
        scores["new_error"] = math.sqrt(moved + CHANCE**2) / (len(fresh) + CHANCE**2)  # likewise, see `gate`
    if earlier:
        scores["retained"] = _share([one.correct for one in earlier])
        scores["retained_parent"] = _share([before[one.item.pk] for one in earlier])
        moved = sum(one.correct != before[one.item.pk] for one in earlier)
        scores["retained_error"] = math.sqrt(moved) / len(earlier)  # of paired shares (McNemar)
    return scores


def kept(work: Work, adapter: Path | None, examined: Anchors, *, top_k: int) -> dict[str, float]:
    """What the candidate keeps of the base on anchors that were not trained; absent where there are none."""
    scores: dict[str, float] = {}
    if examined.reading:
        scores["reading"] = _share(_as_base(work, adapter, examined.reading))
        scores["reading_base"] = 1.0  # an item is what the base answers
    if examined.unknown:
        said = _said_alone(work, adapter, examined.asked)
        scores["abstention"] = _share([one.declines for one in said])
    if examined.texts:
        scores |= _texts(work, adapter, examined.texts, top_k=top_k)
    return scores


def _as_base(work: Work, adapter: Path | None, items: Sequence[Item]) -> list[bool]:
    said = work.asker.answers([item.student for item in items], adapter)
    return [same(one.text, work.model.text(item.answer)) for item, one in zip(items, said, strict=True)]


def _texts(work: Work, adapter: Path | None, items: Sequence[Item], *, top_k: int) -> dict[str, float]:
    """Relative rise of perplexity on unrelated texts, and KL from base to candidate in nats per token."""
    from agent_memory.consolidation import targets

    base = targets.compute(work.model, items, top_k=top_k)
    rise = sum(_log_probs(work, None, items)) - sum(_log_probs(work, adapter, items))
    with work.model.wearing(adapter):
        drift = targets.divergence(work.model, items, base)
    tokens = sum(len(item.answer) for item in items)
    weighted = sum(d * len(item.answer) for d, item in zip(drift, items, strict=True))
    return {"perplexity_rise": math.expm1(rise / tokens), "anchor_kl": weighted / tokens}


def _log_probs(work: Work, adapter: Path | None, items: Sequence[Item]) -> list[float]:
    """The log-probability of each whole answer, in nats; in halves when memory runs out."""

    def score(part: Sequence[Item]) -> list[float]:
        with work.model.wearing(adapter):
            nats = work.model.log_probs([item.student for item in part], [item.answer for item in part])
        return [sum(tokens) for tokens in nats]

    return in_slices(score, items, most=SCORED)


def _share(right: Sequence[bool]) -> float:
    return sum(right) / len(right) if right else 0.0
