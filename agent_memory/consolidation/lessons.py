"""Lessons: study items in the shapes in which the student meets them, as `distill.train` takes them.

Each item is trained closed-book from the start. A share of them comes again later, behind a block: of
unrelated episodes only (a lean block must not silence what the weights know), of its own episode, or of
both (reading must survive). The targets are the same in all shapes: what the teacher said with the episode
in view. Items behind blocks come late because they slow learning down when they are there from the start
(measured in trials).
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent_memory.config import DistillConfig
from agent_memory.consolidation import items as rows
from agent_memory.consolidation.work import Work
from agent_memory.types import Episode

if TYPE_CHECKING:
    from agent_memory.consolidation.targets import Item, Targets

#: Of the items behind a block, how many see unrelated episodes only, their own only, or both (chosen).
SHAPES = (("unrelated", 0.6), ("own", 0.15), ("both", 0.25))


@dataclass(frozen=True, slots=True)
class Lessons:
    """Everything that a training needs, with the targets of both kinds of items."""

    items: list[Item]
    targets: Targets
    anchors: list[Item]
    anchor_targets: Targets


def lessons(
    work: Work,
    studied: Sequence[rows.StudyItem],
    episodes: dict[int, Episode],
    *,
    anchors: Sequence[Item],
    config: DistillConfig,
    top_k: int,
) -> Lessons:
    """The items in their shapes, and the anchors, with targets; `studied` must not be empty."""
    from agent_memory.consolidation import targets

    answers, found = rows.unpack([(str(item.pk), item.targets or b"") for item in studied])
    rng = random.Random(f"{work.seed}:shapes")
    made: list[Item] = []
    for item in studied:
        made.append(_closed(work, item, answers[str(item.pk)]))
        if rng.random() < config.in_context:
            shaped = _behind(work, item, answers[str(item.pk)], episodes, config=config, rng=rng)
            made += [shaped] if shaped is not None else []
    picked = found.pick([item.key.split(":")[0] for item in made])
    return Lessons(
        items=made,
        targets=dataclasses.replace(picked, keys=tuple(item.key for item in made)),
        anchors=list(anchors),
        anchor_targets=targets.compute(work.model, list(anchors), top_k=top_k),
    )


def _closed(work: Work, item: rows.StudyItem, answer: tuple[int, ...]) -> Item:
    from agent_memory.consolidation.targets import Item

    ids = work.asker.prompt(item.question)
    return Item(f"{item.pk}", teacher=ids, student=ids, answer=answer)


def _behind(
    work: Work,
    item: rows.StudyItem,
    answer: tuple[int, ...],
    episodes: dict[int, Episode],
    *,
    config: DistillConfig,
    rng: random.Random,
) -> Item | None:
    """The item behind a block in one of the shapes; None where it does not fit the window."""
    from agent_memory.consolidation.targets import Item

    shape = rng.choices([name for name, _ in SHAPES], [share for _, share in SHAPES])[0]
    others = [pk for pk in episodes if pk != item.episode_pk]
    crowd = [episodes[pk] for pk in rng.sample(others, min(len(others), rng.randint(1, config.crowd)))]
    own = [episodes[item.episode_pk]] if item.episode_pk in episodes else []
    block = {"unrelated": crowd, "own": own, "both": [*crowd, *own]}[shape]
    ids = work.asker.prompt(item.question, block)
    if not block or not work.asker.fits(ids):
        return None
    return Item(f"{item.pk}:{shape}", teacher=ids, student=ids, answer=answer, begins=config.late)
