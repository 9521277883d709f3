"""Anchors: what must not change, for training and, apart from it, for the exam.

Three kinds; but for one kind of question in scenes, the bare base's own answer is the target:

    texts      unrelated conversations: half from `anchors.txt`, which we wrote, half that the base samples
               itself to the same openings (seeded, cached by its fingerprint; they hold nothing of anybody's
               memory)
    unknown    written questions with the names replaced by names that never occurred, half of them put
               together from known ones; questions about what is put together from two known things ("my red
               bag", "the blue pen": "my red pen"), where the base brings its phrasings; and questions about a
               known name that its episode does not answer (the phrasing is another episode's). The base
               leaves all of them unanswered
    scenes     blocks with many questions about each: `scenes.py`

Without many unknown names a student answers anything it is asked; without scenes, which are trained only for
versions that are to read, it stops looking at the block (measured in trials). Trained and examined anchors
are disjoint, in their prompts, too.
"""

from __future__ import annotations

import json
import random
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, TypeVar

from agent_memory.consolidation.halves import in_slices
from agent_memory.consolidation.phrasings import Phrasings
from agent_memory.consolidation.questions import (
    asked_about,
    content,
    crossed,
    frame,
    name_words,
    names,
    normalise,
    with_other_names,
)
from agent_memory.consolidation.scenes import scenes
from agent_memory.consolidation.study_items import StudyItem
from agent_memory.consolidation.wording import retold
from agent_memory.consolidation.work import Work
from agent_memory.durable import write_file
from agent_memory.types import Episode

if TYPE_CHECKING:
    from agent_memory.consolidation.targets import Item

T = TypeVar("T")

#: Of the texts that the base samples: how long in tokens, how hot (chosen).
LENGTH, TEMPERATURE = 48, 1.0
#: Texts that are sampled at once (chosen).
SAMPLED = 32
#: Parts of the stage, by which its progress is told.
PARTS = 5
#: Most episodes that may speak of a name asked about (chosen).
MOST_HOLDING = 3
#: Unknown-name questions that are answered by decoding, to learn the base's usual words (chosen).
FIRST = 64
#: One unknown-name question in so many is about a known name instead, and one in so many about known things
#: crossed: where names are never asked about that no episode holds (`taught.py`), what a version answers
#: wrongly is mostly about things (three in four such answers in a trial).
UNSTATED, CROSSED = 4, 2


@dataclass(frozen=True, slots=True)
class Anchors:
    """One half of the anchors; every item has a key of its own. `asked` are the questions of `unknown`."""

    texts: tuple[Item, ...]
    unknown: tuple[Item, ...]
    asked: tuple[str, ...]
    scenes: tuple[tuple[Item, ...], ...]

    @property
    def reading(self) -> tuple[Item, ...]:
        """The questions of all scenes."""
        return tuple(item for scene in self.scenes for item in scene)


@dataclass(frozen=True, slots=True)
class Amounts:
    """How many anchors of each kind are wanted for training and for the exam."""

    texts: tuple[int, int]
    unknown: tuple[int, int]
    scenes: tuple[int, int]


def anchors(
    work: Work, studied: Sequence[StudyItem], episodes: dict[int, Episode], *, amounts: Amounts
) -> tuple[Anchors, Anchors]:
    """The anchors to train on, and those to examine.

    Unknown names are asked about in the words of study items alone: those of the exam, trained with another
    name and "I do not know", would teach to decline the exam.
    """
    corpus = "\n".join(episode.text for episode in episodes.values()).lower()
    work.progress("anchors", 0, PARTS)
    openings = (-(-amounts.texts[0] // 2), -(-amounts.texts[1] // 2))
    texts = _texts(work, openings=sum(openings))
    work.progress("anchors", 1, PARTS)
    trained = [item for item in studied if item.kind == "study"]
    unknown = _unknown(work, trained, episodes, corpus=corpus, wanted=amounts.unknown)
    work.progress("anchors", 4, PARTS)
    views = [
        scenes(work, studied, episodes, taken=_taken(corpus, exam=exam), wanted=wanted, exam=exam)
        for exam, wanted in zip((False, True), amounts.scenes, strict=True)
    ]
    work.progress("anchors", PARTS, PARTS)
    halves = [
        Anchors(
            tuple(item for pair in _share(texts, openings, place) for item in pair)[: amounts.texts[place]],
            tuple(item for item, _ in unknown[place]),
            tuple(question for _, question in unknown[place]),
            tuple(views[place]),
        )
        for place in (0, 1)
    ]
    return halves[0], halves[1]


def _share(made: Sequence[T], wanted: tuple[int, int], place: int) -> tuple[T, ...]:
    """The part for training (place 0) or for the exam (1), in proportion where they are too few."""
    cut = wanted[0] if len(made) >= sum(wanted) else len(made) * wanted[0] // max(1, sum(wanted))
    return tuple(made[:cut] if place == 0 else made[cut : cut + wanted[1]])


# ---------------------------------------------------------------------- texts


def written() -> list[tuple[str, str]]:
    """The conversations of `anchors.txt`: what the user says, and what the assistant answers."""
    text = resources.files("agent_memory.consolidation").joinpath("anchors.txt").read_text(encoding="utf-8")
    pairs = [line.split(" | ") for line in text.splitlines() if " | " in line and not line.startswith("#")]
    return [(user.strip(), assistant.strip()) for user, assistant in pairs]


def _texts(work: Work, *, openings: int) -> list[tuple[Item, ...]]:
    """For each opening the written and the sampled conversation, in an order that is always the same.

    Both of an opening are on one side, for they have the same prompt.
    """
    own = written()[:openings]
    said = _sampled(work, [user for user, _ in own])
    made: list[tuple[Item, ...]] = []
    for place, (user, assistant) in enumerate(own):
        ids = tuple(work.model.prompt_ids([{"role": "user", "content": user}]))
        pair = [_anchor(f"text:{place}", ids, tuple(work.model.token_ids(assistant)))]
        if place < len(said) and said[place]:
            pair.append(_anchor(f"said:{place}", ids, said[place]))
        made.append(tuple(pair))
    random.Random(len(made)).shuffle(made)
    return made


def _sampled(work: Work, openings: Sequence[str]) -> list[tuple[int, ...]]:
    """What the bare base says to some openings, sampled once and kept by its fingerprint."""
    cache = work.database.path / "anchors" / f"{work.base[:32]}.json"
    if cache.exists():
        kept = [tuple(ids) for ids in json.loads(cache.read_text(encoding="utf-8"))]
        if len(kept) >= len(openings):
            return kept[: len(openings)]
    prompts = [work.model.prompt_ids([{"role": "user", "content": opening}]) for opening in openings]

    def say(part: Sequence[tuple[int, list[int]]]) -> list[list[int]]:
        work.check()
        with work.model.wearing(None):
            return work.model.generate(
                [ids for _, ids in part],
                max_new_tokens=LENGTH,
                temperature=TEMPERATURE,
                seed=part[0][0],  # another in each part, or all would draw the same numbers
            )

    said = in_slices(say, list(enumerate(prompts)), most=SAMPLED)
    cache.parent.mkdir(mode=0o700, exist_ok=True)
    write_file(cache, json.dumps(said).encode())
    return [tuple(ids) for ids in said]


def _anchor(key: str, prompt_ids: Sequence[int], answer: Sequence[int]) -> Item:
    from agent_memory.consolidation.targets import Item

    return Item(key, teacher=tuple(prompt_ids), student=tuple(prompt_ids), answer=tuple(answer))


# ---------------------------------------------------------------------- unknown names


def _unknown(
    work: Work,
    studied: Sequence[StudyItem],
    episodes: dict[int, Episode],
    *,
    corpus: str,
    wanted: tuple[int, int],
) -> tuple[list[tuple[Item, str]], list[tuple[Item, str]]]:
    """Questions that the base declines: about names that never occurred, and about known ones, unstated.

    Those to train on, and those to examine, about other names that never occurred.
    """
    rng = random.Random(f"{work.seed}:unknown")
    sides = _candidates(work, studied, episodes, corpus=corpus, rng=rng, wanted=wanted)
    prompts = {work.asker.prompt(question): question for question in sides}
    fitting = [ids for ids in prompts if work.asker.fits(ids)]
    rng.shuffle(fitting)
    declined = [
        (_anchor(f"unknown:{n}", ids, said), prompts[ids])
        for n, (ids, said) in enumerate(_declined(work, fitting))
    ]
    trained, tested = _dealt(declined, sides, wanted=wanted)
    return _mixed(trained, rng), _mixed(tested, rng)


def _candidates(
    work: Work,
    studied: Sequence[StudyItem],
    episodes: dict[int, Episode],
    *,
    corpus: str,
    rng: random.Random,
    wanted: tuple[int, int],
) -> dict[str, int | None]:
    """Questions that may have no answer, each with its side: 0 to train on, 1 to examine, None for either."""
    either = _unstated(work, studied, episodes, rng=rng, wanted=sum(wanted) // UNSTATED)
    work.progress("anchors", 2, PARTS)
    either |= _crossed(work, studied, episodes, rng=rng, wanted=sum(wanted) // CROSSED)
    left = sum(wanted) - len(either)  # in proportion
    examined = left * wanted[1] // max(1, sum(wanted))
    sides: dict[str, int | None] = dict.fromkeys(either.values())
    known = name_words(episodes.values())
    for side, count in enumerate((left - examined, examined)):
        renamed = _renamed(studied, corpus, known=known, rng=rng, wanted=count, exam=bool(side))
        sides |= dict.fromkeys(renamed.values(), side)
    work.progress("anchors", 3, PARTS)
    return sides


def _dealt(
    declined: Sequence[tuple[Item, str]], sides: Mapping[str, int | None], *, wanted: tuple[int, int]
) -> list[list[tuple[Item, str]]]:
    """What has a side goes there, and the rest to both, as far as they want more."""
    own = [[one for one in declined if sides[one[1]] == side] for side in (0, 1)]
    free = [one for one in declined if sides[one[1]] is None]
    shares = (max(0, wanted[0] - len(own[0])), max(0, wanted[1] - len(own[1])))
    return [own[side] + list(_share(free, shares, side)) for side in (0, 1)]


def _mixed(made: list[T], rng: random.Random) -> list[T]:
    rng.shuffle(made)
    return made


#: One made-up name in so many is for the exam alone.
SET_APART = 8


def is_set_apart(name: str) -> bool:
    """Whether a name that never occurred is for the exam alone, which is decided by its letters."""
    return zlib.crc32(name.lower().encode()) % SET_APART == 0


def _taken(corpus: str, *, exam: bool) -> Callable[[str], bool]:
    """What tells of a name whether it occurs, or is for the other half alone."""
    return lambda name: name.lower() in corpus or is_set_apart(name) != exam


def _renamed(
    studied: Sequence[StudyItem],
    corpus: str,
    *,
    known: Sequence[str],
    rng: random.Random,
    wanted: int,
    exam: bool,
) -> dict[str, str]:
    """Study questions about names that never occurred, for the exam or for training."""
    asked: dict[str, str] = {}
    for item in _drawn(studied, 2 * wanted, rng):
        renamed = with_other_names(
            [item.question], taken=_taken(corpus, exam=exam), rng=rng, known=known
        )
        if renamed is not None and len(asked) < wanted:
            question = _in_some_wording(renamed[0], rng)
            asked.setdefault(normalise(question), question)
    return asked


def _declined(
    work: Work, prompts: Sequence[tuple[int, ...]]
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """The prompts that the base declines, with its words.

    The bundled reader has one way to decline, and `FIRST` prompts show it. Whether the rest is declined in
    these very words is seen in one pass, without decoding. Any other base is heard out.
    """
    first = work.asker.answers(prompts[:FIRST] if work.model.made_here else prompts)
    heard = zip(prompts, first, strict=False)
    found = [(ids, one.ids) for ids, one in heard if one.complete and one.declines]
    if not found:
        return []
    usual = Counter(said for _, said in found).most_common(1)[0][0]
    rest = prompts[len(first) :]
    same = work.asker.says(rest, [usual] * len(rest))
    return found + [(ids, usual) for ids, declines in zip(rest, same, strict=True) if declines]


def _in_some_wording(question: str, rng: random.Random) -> str:
    """The question as it is, or in one of the wordings in which study items are trained, too."""
    return rng.choice([question, *retold(question, names(question), rng, count=2)])


def _unstated(
    work: Work,
    studied: Sequence[StudyItem],
    episodes: dict[int, Episode],
    *,
    rng: random.Random,
    wanted: int,
) -> dict[str, str]:
    """Questions about a known name in another episode's phrasing that no episode with the name answers."""
    asked: dict[str, tuple[str, list[Episode]]] = {}
    here = [item for item in studied if item.episode_pk in episodes]
    for item in _drawn(here, 2 * wanted, rng):
        own, lender = episodes[item.episode_pk], rng.choice(here)
        about = asked_about(item.question, own.text)
        lent = frame(lender.question, asked_about(lender.question, episodes[lender.episode_pk].text))
        if lender.episode_pk != item.episode_pk and lent is not None and lent.count("{") == len(about):
            question, holding = lent.format(*about), _holding(about, episodes.values())
            if len(holding) <= MOST_HOLDING and work.asker.fits(work.asker.prompt(question, holding)):
                asked.setdefault(normalise(question), (question, holding))
    return _left_open(work, asked, rng=rng, wanted=wanted)


def _crossed(
    work: Work,
    studied: Sequence[StudyItem],
    episodes: dict[int, Episode],
    *,
    rng: random.Random,
    wanted: int,
) -> dict[str, str]:
    """Questions about things put together from two that are asked about alike, and that no episode holds."""
    brought = Phrasings.of(work.model.folder)
    alike: dict[tuple[str, ...], list[tuple[str, int]]] = defaultdict(list)
    for item in studied:
        place = brought.placed([item.question])
        if place is not None and content(place.name) and item.episode_pk in episodes:
            alike[place.same].append((place.name, item.episode_pk))
    known = {content(name) for own in alike.values() for name, _ in own}
    texts = [content(episode.text) for episode in episodes.values()]
    drawn = [(frames, one) for frames, own in alike.items() for one in own]
    asked: dict[str, tuple[str, list[Episode]]] = {}
    for _ in range(8 * wanted if drawn else 0):
        frames, (name, pk) = rng.choice(drawn)
        other, other_pk = rng.choice(alike[frames])
        made = crossed(name, other, rng)
        held = any(content(made) <= text for text in texts) or any(one <= content(made) for one in known)
        if len(asked) < 2 * wanted and not held:
            question = rng.choice(frames).replace("{0}", made)
            view = [episodes[one] for one in dict.fromkeys((pk, other_pk))]
            if work.asker.fits(work.asker.prompt(question, view)):
                asked.setdefault(normalise(question), (question, view))
    return _left_open(work, asked, rng=rng, wanted=wanted)


def _left_open(
    work: Work, asked: dict[str, tuple[str, list[Episode]]], *, rng: random.Random, wanted: int
) -> dict[str, str]:
    """Of questions, each with episodes, those that the base declines even with these in view."""
    prompts = {key: work.asker.prompt(question, view) for key, (question, view) in asked.items()}
    declined = {ids for ids, _ in _declined(work, list(prompts.values()))}
    kept = [key for key, ids in prompts.items() if ids in declined]
    return {key: _in_some_wording(asked[key][0], rng) for key in kept[:wanted]}


def _holding(about: Sequence[str], episodes: Iterable[Episode]) -> list[Episode]:
    return [episode for episode in episodes if all(name.lower() in episode.text.lower() for name in about)]


def _drawn(studied: Sequence[StudyItem], count: int, rng: random.Random) -> list[StudyItem]:
    """Study items in random order, again from the start where there are too few."""
    if not studied:
        return []
    return [item for _ in range(-(-count // len(studied))) for item in rng.sample(studied, len(studied))][
        :count
    ]
