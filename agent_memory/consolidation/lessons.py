"""Lessons: study items and anchors as `distill.train` takes them.

Study items are trained closed-book: the question alone, and the same in other wordings around the same words
("Do you remember where ..."), which have the same target. Without them a fact is known to direct questions
and not to polite ones. A fact with few questions gets more of them, for what is trained in few sentences is
known in few. A wording that the exam asks in is not trained. What is met behind a block are questions of the
scenes (`scenes.py`).
"""

from __future__ import annotations

import dataclasses
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import TYPE_CHECKING

from agent_memory.consolidation import study_items
from agent_memory.consolidation.anchors import Anchors
from agent_memory.consolidation.questions import asked_about, normalise
from agent_memory.consolidation.wording import retold
from agent_memory.consolidation.work import Work
from agent_memory.types import Episode

if TYPE_CHECKING:
    from agent_memory.consolidation.distill import Lessons
    from agent_memory.consolidation.targets import Item

#: Most further wordings of an item (chosen).
MOST_WORDINGS = 3


def lessons(
    work: Work,
    studied: Sequence[study_items.StudyItem],
    episodes: Mapping[int, Episode],
    anchors: Anchors,
    *,
    wordings: Mapping[int, int],
    examined: Set[str],
    top_k: int,
) -> Lessons:
    """The items, and the anchors; `studied` must not be empty.

    `wordings` has the number of further wordings of each item under its key (see `shared_out`), `examined`
    the exam's questions, normalised.
    """
    from agent_memory.consolidation import targets
    from agent_memory.consolidation.distill import Lessons

    answers, found = study_items.unpack([(str(item.pk), item.targets or b"") for item in studied])
    made: list[Item] = []
    for item in studied:
        text, count = episodes[item.episode_pk].text, wordings.get(item.pk, 0)
        told = in_wordings(item.question, text, count=count, seed=work.seed)
        made += [
            _closed(work, f"{item.pk}:{n}", wording, answers[str(item.pk)])
            for n, wording in enumerate(told)
            if normalise(wording) not in examined
        ]
    beside = [*anchors.unknown, *anchors.texts, *anchors.reading]
    base = targets.compute(work.model, beside, top_k=top_k)
    k = min(found.k, base.k)
    picked = found.pick([item.key.split(":")[0] for item in made]).best(k)
    return Lessons(
        items=made,
        targets=dataclasses.replace(picked, keys=tuple(item.key for item in made)),
        anchors=list(anchors.unknown),
        texts=list(anchors.texts),
        scenes=list(anchors.scenes),
        anchor_targets=base.best(k),
    )


def shared_out(items: Iterable[tuple[int, int, int]], *, sentences: int) -> dict[int, int]:
    """How many further wordings each item gets, by its key.

    Args:
        items: key, episode and number of the group of each study item, those not trained now among them.
        sentences: see `DistillConfig.sentences`.
    """
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for pk, *group in items:
        groups[group[0], group[1]].append(pk)
    found: dict[int, int] = {}
    for own in groups.values():
        missing = min(MOST_WORDINGS * len(own), sentences - len(own))
        each, more = divmod(max(missing, len(own) // 2) if sentences else 0, len(own))
        found |= {pk: each + (place < more) for place, pk in enumerate(sorted(own))}
    return found


def in_wordings(question: str, episode_text: str, *, count: int, seed: int) -> list[str]:
    """The question, and the further wordings in which a run of this seed trains it."""
    rng = random.Random(f"{seed}:wordings:{question}")
    return [question, *retold(question, asked_about(question, episode_text), rng, count=count)]


def _closed(work: Work, key: str, question: str, answer: tuple[int, ...]) -> Item:
    from agent_memory.consolidation.targets import Item

    ids = work.asker.prompt(question)
    return Item(key, teacher=ids, student=ids, answer=answer)
