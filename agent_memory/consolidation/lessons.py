"""Lessons: study items and anchors as `distill.train` takes them.

Study items are trained closed-book: the question alone, and the same in other wordings around the same words
("Do you remember where ..."), which have the same target. Without them a fact is known to direct questions
and not to polite ones. What is met behind a block are questions of the scenes (`scenes.py`).
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent_memory.consolidation import items as rows
from agent_memory.consolidation.anchors import Anchors
from agent_memory.consolidation.questions import asked_about
from agent_memory.consolidation.wording import retold
from agent_memory.consolidation.work import Work
from agent_memory.types import Episode

if TYPE_CHECKING:
    from agent_memory.consolidation.targets import Item, Targets


@dataclass(frozen=True, slots=True)
class Lessons:
    """Everything that a training needs, with the targets of items and of anchors."""

    items: list[Item]
    targets: Targets
    anchors: list[Item]
    texts: list[Item]
    scenes: list[tuple[Item, ...]]
    anchor_targets: Targets


def lessons(
    work: Work,
    studied: Sequence[rows.StudyItem],
    episodes: Mapping[int, Episode],
    anchors: Anchors,
    *,
    wordings: int,
    top_k: int,
) -> Lessons:
    """The items, in `wordings` further wordings each, and the anchors; `studied` must not be empty."""
    from agent_memory.consolidation import targets

    answers, found = rows.unpack([(str(item.pk), item.targets or b"") for item in studied])
    made: list[Item] = []
    for item in studied:
        told = in_wordings(item.question, episodes[item.episode_pk].text, count=wordings, seed=work.seed)
        made += [_closed(work, f"{item.pk}:{n}", text, answers[str(item.pk)]) for n, text in enumerate(told)]
    picked = found.pick([item.key.split(":")[0] for item in made])
    return Lessons(
        items=made,
        targets=dataclasses.replace(picked, keys=tuple(item.key for item in made)),
        anchors=list(anchors.unknown),
        texts=list(anchors.texts),
        scenes=list(anchors.scenes),
        anchor_targets=targets.compute(
            work.model, [*anchors.unknown, *anchors.texts, *anchors.reading], top_k=top_k
        ),
    )


def in_wordings(question: str, episode_text: str, *, count: int, seed: int) -> list[str]:
    """The question, and the further wordings in which a run of this seed trains it."""
    rng = random.Random(f"{seed}:wordings:{question}")
    return [question, *retold(question, asked_about(question, episode_text), rng, count=count)]


def _closed(work: Work, key: str, question: str, answer: tuple[int, ...]) -> Item:
    from agent_memory.consolidation.targets import Item

    ids = work.asker.prompt(question)
    return Item(key, teacher=ids, student=ids, answer=answer)
