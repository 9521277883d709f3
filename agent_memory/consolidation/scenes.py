"""Scenes: a block of episodes and many questions about it, so that a version goes on reading what is in view.

The block of a scene is read once for all of its questions (`models/packing.py`), in making and in training
alike; a question with a block of its own costs ten times as much. A block holds up to four episodes: one or
two with other names, so that answers must be read and cannot be known, and others as they are. Asked are

    reading      what a renamed episode tells; the target is what the base says
    own          what a real one tells, by the base again
    elsewhere    what an episode tells that is not in the block; the target is the teacher's, who has it in
                 view, for a block without it (lean, or missed by the search) must not silence the weights

The exam is made of the first kind alone.
"""

from __future__ import annotations

import dataclasses
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent_memory.consolidation import study_items
from agent_memory.consolidation.asking import Said
from agent_memory.consolidation.questions import name_words, with_other_names
from agent_memory.consolidation.study_items import StudyItem
from agent_memory.consolidation.work import Work
from agent_memory.types import Episode

if TYPE_CHECKING:
    from agent_memory.consolidation.targets import Item

#: Most episodes of a block, of them with other names, and questions about any one of them (chosen).
MOST_EPISODES, MOST_RENAMED, MOST_EACH = 4, 2, 6
#: Questions of a scene about what is not in view (chosen).
ELSEWHERE = 3

#: Whether a name occurs in the namespace.
Taken = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class _Draft:
    """A question of a scene before the base has answered: its prompt; `item` is there if it is elsewhere."""

    kind: str
    prompt: tuple[int, ...]
    item: StudyItem | None = None


def scenes(
    work: Work,
    studied: Sequence[StudyItem],
    episodes: dict[int, Episode],
    *,
    taken: Taken,
    wanted: int,
    exam: bool,
) -> list[tuple[Item, ...]]:
    """At most `wanted` scenes; for the exam, scenes of readings alone, drawn otherwise than for training."""
    rng = random.Random(f"{work.seed}:scenes:{exam}")
    asked: dict[int, list[StudyItem]] = defaultdict(list)
    for item in studied:
        if item.episode_pk in episodes and item.targets and (exam or item.kind == "study"):
            asked[item.episode_pk].append(item)
    known = name_words(episodes.values())
    drafts = [
        _drafted(work, asked, episodes, rng=rng, taken=taken, known=known, exam=exam)
        for _ in range(wanted if asked else 0)
    ]
    said = iter(work.asker.answers([one.prompt for draft in drafts for one in draft if one.item is None]))
    made: list[tuple[Item, ...]] = []
    for number, draft in enumerate(drafts):
        found = [
            _item(
                work,
                f"{one.kind}:{int(exam)}:{number}:{n}",
                one,
                episodes,
                next(said) if one.item is None else None,
            )
            for n, one in enumerate(draft)
        ]
        kept = tuple(item for item in found if item is not None)
        made += [kept] if kept else []
    return made


def _drafted(
    work: Work,
    asked: dict[int, list[StudyItem]],
    episodes: dict[int, Episode],
    *,
    rng: random.Random,
    taken: Taken,
    known: Sequence[str],
    exam: bool,
) -> list[_Draft]:
    """One block and its questions, as far as they fit the window."""
    pks = rng.sample(sorted(asked), min(len(asked), rng.randint(1, MOST_EPISODES)))
    block: list[Episode] = []
    questions: list[tuple[str, str]] = []
    for place, pk in enumerate(pks):
        own = rng.sample(asked[pk], min(len(asked[pk]), MOST_EACH))
        renamed = None
        if place < MOST_RENAMED:
            texts = [episodes[pk].text, *(item.question for item in own)]
            renamed = with_other_names(texts, taken=taken, rng=rng, known=known)
        if renamed is not None:
            block.append(dataclasses.replace(episodes[pk], text=renamed[0]))
            questions += [("reading", text) for text in renamed[1:]]
        else:
            block.append(episodes[pk])
            questions += [("own", item.question) for item in own[: MOST_EACH // 2]]
    elsewhere = [pk for pk in asked if pk not in pks]
    lost = [rng.choice(asked[pk]) for pk in rng.sample(elsewhere, min(ELSEWHERE, len(elsewhere)))]
    drafts = [
        _Draft(kind, work.asker.prompt(text, block)) for kind, text in questions
        if kind == "reading" or not exam
    ]  # fmt: skip
    if not exam:
        drafts += [_Draft("elsewhere", work.asker.prompt(item.question, block), item) for item in lost]
    return [draft for draft in drafts if work.asker.fits(draft.prompt)]


def _item(
    work: Work, key: str, draft: _Draft, episodes: dict[int, Episode], said: Said | None
) -> Item | None:
    """The question with its target; None where the base did not finish, or declined to read."""
    from agent_memory.consolidation.targets import Item

    if draft.item is not None:
        teacher = work.asker.prompt(draft.item.question, [episodes[draft.item.episode_pk]])
        answer = study_items.answer_ids(draft.item.targets or b"")
        return Item(key, teacher=teacher, student=draft.prompt, answer=answer)
    if said is None or not said.complete or said.declines:
        return None
    return Item(key, teacher=draft.prompt, student=draft.prompt, answer=said.ids)
