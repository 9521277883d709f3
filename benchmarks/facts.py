"""A memory of known facts, and questions whose right answers are known: what consolidation is measured on.

Facts come from the reader's world in its evaluation half, so no name or value occurred in the reader's
training. No two facts of a memory contradict each other, and no subject occurs in two episodes. An
*examined* question uses a frame in which no study item asked for that fact: either a seen frame that
happens not to have been used, or one that was held out of the reader's training altogether.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import zip_longest

from agent_memory.consolidation.questions import content
from agent_memory.consolidation.wording import CLAUSE_OPENINGS, OPENINGS
from training import frames as forms
from training import phrases
from training.frames import Fact
from training.world import World

FACTS_PER_EPISODE = 4


@dataclass(frozen=True)
class Told:
    """An episode as text, and the facts in it."""

    text: str
    facts: tuple[Fact, ...]


@dataclass(frozen=True)
class Asked:
    """A question about a fact of an episode, both by place; `kind` is "value" or "reversed"."""

    episode: int
    fact: int
    text: str
    answer: str
    kind: str
    frames: str


def memory(count: int, *, seed: int) -> list[Told]:
    """`count` episodes; the first ones are the same for every count."""
    made: list[Told] = []
    world = World("eval")
    subjects: set[str] = set()
    values: set[tuple[str, str]] = set()
    taken: set[str] = set()
    rng = random.Random(f"memory {seed}")
    while len(made) < count:
        facts = world.facts(
            rng, FACTS_PER_EPISODE, per_subject=rng.choice((1.0, 2.0, 4.0)), taken=taken, first_share=0.0
        )
        own = {fact.subject for fact in facts}
        pairs = {(fact.relation.name, fact.value) for fact in facts}
        if own & subjects or pairs & values or len(pairs) < len(facts):
            continue
        subjects |= own
        values |= pairs
        made.append(Told(world.episode(rng, facts), tuple(facts)))
    return made


def with_wrong_values(told: Sequence[Told], *, seed: int) -> list[Told]:
    """The same subjects and relations with the values of others: for the shuffled-value control."""
    rng = random.Random(f"wrong {seed}")
    world = World("eval")
    made: list[Told] = []
    for one in told:
        wrong = tuple(
            replace(fact, value=_other(rng, world, fact, avoid={f.value for f in one.facts}))
            for fact in one.facts
        )
        made.append(Told(world.episode(rng, wrong), wrong))
    return made


def changed(told: Sequence[Told], *, seed: int) -> tuple[list[Told], list[Told]]:
    """One fact of each episode with another value: what is said of it, and what is true after it."""
    rng = random.Random(f"changed {seed}")
    world = World("eval")
    news: list[Told] = []
    after: list[Told] = []
    for one in told:
        place = rng.randrange(len(one.facts))
        fact = one.facts[place]
        newer = replace(fact, value=_other(rng, world, fact, avoid={f.value for f in one.facts}))
        news.append(Told(world.statement(rng, newer, update=True), (newer,)))
        after.append(replace(one, facts=(*one.facts[:place], newer, *one.facts[place + 1 :])))
    return news, after


def _other(rng: random.Random, world: World, fact: Fact, *, avoid: set[str]) -> str:
    for _ in range(100):
        value = world.pools.value(rng, fact.relation.value)
        if value not in avoid:
            return value
    raise ValueError(f"the world has no other value for {fact.relation.name}")


def questions(
    told: Sequence[Told], studied: Sequence[Sequence[str]], *, seed: int, per_fact: int = 2, held: int = 1
) -> list[Asked]:
    """Questions in frames that no study item of the episode has for the fact.

    Args:
        told: the memory.
        studied: the questions of the study items, per episode.
        seed: draws frames; another seed gives other questions.
        per_fact: questions about the value, in seen frames.
        held: questions about the value in held-out frames; one reversed question is added where there is one.
    """
    rng = random.Random(f"questions {seed}")
    world = World("eval")
    asked: list[Asked] = []
    for number, (one, known) in enumerate(zip(told, studied, strict=True)):
        for place, fact in enumerate(one.facts):
            used = {frame for text in known for frame in frames_of(text, fact)}
            for kind, frames, wanted in (
                ("value", "seen", per_fact),
                ("value", "held", held),
                ("reversed", "seen", 1),
            ):
                asked += _draw(
                    rng, world, fact, used, kind=kind, frames=frames, wanted=wanted, at=(number, place)
                )
    return asked


def others(
    told: Sequence[Told], studied: Sequence[Sequence[str]], asked: Sequence[Asked], *, seed: int, most: int
) -> list[Asked]:
    """At most so many other questions, for a choice that must not be made with those that judge it.

    None has the text of a question that is asked, or asks for a fact in a frame in which it is studied or
    asked for. The episodes have equally many, give or take one, as long as they have any left.
    """
    known = [[*texts, *(q.text for q in asked if q.episode == n)] for n, texts in enumerate(studied)]
    texts = {question.text for question in asked}
    drawn = questions(told, known, seed=seed, per_fact=1, held=0)
    return _dealt([question for question in drawn if question.text not in texts], seed=seed)[:most]


def _dealt(asked: Sequence[Asked], *, seed: int) -> list[Asked]:
    """The questions in a drawn order, one of each episode in turn."""
    by_episode: dict[int, list[Asked]] = {}
    for question in random.Random(f"dealt {seed}").sample(list(asked), len(asked)):
        by_episode.setdefault(question.episode, []).append(question)
    return [question for turn in zip_longest(*by_episode.values()) for question in turn if question]


def _draw(
    rng: random.Random, world: World, fact: Fact, used: set[str], *, kind: str, frames: str, wanted: int,
    at: tuple[int, int],
) -> list[Asked]:  # fmt: skip
    """Up to `wanted` questions in frames of their own; fewer where the unused frames are used up."""
    found: dict[str, Asked] = {}
    for _ in range(60):
        if len(found) == wanted:
            break
        draw = world.reversed_question if kind == "reversed" else world.question
        text = draw(rng, fact, frames=frames)
        own = frames_of(text, fact) if text else set()
        if text and own and not own & used and not any(own & frames_of(q.text, fact) for q in found.values()):
            answer = fact.subject_answer if kind == "reversed" else fact.answer
            found[text] = Asked(*at, text, answer, kind, frames)
    return list(found.values())


def frames_of(text: str, fact: Fact) -> set[str]:
    """The frames in which a text asks for the fact; empty if it does not."""
    squeezed = re.sub(r"\s+", "", text.lower()).rstrip("?.!")
    return {frame for frame, pattern in _patterns(fact) if pattern.fullmatch(squeezed)}


@lru_cache(maxsize=8192)
def _patterns(fact: Fact) -> tuple[tuple[str, re.Pattern[str]], ...]:
    relation = fact.relation
    nouns = [t.replace("{n}", n) for n in relation.nouns for t in (*phrases.ASK_NOUN, *phrases.KNOW_NOUN)]
    frames = [*relation.asks, *relation.knows, *nouns, *relation.who]
    head, tail = _wraps()
    return tuple(
        (frame, re.compile(f"(?:{head})(?:{forms._frame_pattern(frame, fact)})(?:{tail})"))
        for frame in frames
    )


@lru_cache(maxsize=1)
def _wraps() -> tuple[str, str]:
    wraps = (*phrases.ASK_WRAPS, *phrases.KNOW_WRAPS, *OPENINGS, *CLAUSE_OPENINGS)
    heads, tails = zip(*(wrap.split("{}") for wrap in wraps), strict=True)
    squeeze = forms._squeeze
    return (
        "|".join(sorted({re.escape(squeeze(h)) for h in heads}, key=len, reverse=True)),
        "|".join(sorted({re.escape(squeeze(t).rstrip("?.!")) for t in tails}, key=len, reverse=True)),
    )


def unknown(told: Sequence[Told], count: int, *, seed: int) -> list[str]:
    """Questions about subjects that are in no episode, nor a part of one that is ("Delhi", "the bank")."""
    rng = random.Random(f"unknown {seed}")
    world = World("eval")
    facts = [fact for one in told for fact in one.facts]
    known = [content(fact.subject) for fact in facts]
    asked: list[str] = []
    while len(asked) < count:
        drawn = world.unknown_name(rng, rng.sample(facts, 1), set())
        if not any(content(drawn.subject) <= name for name in known):
            asked.append(world.question(rng, drawn))
    return asked


def reading(count: int, *, seed: int) -> list[tuple[str, str, str]]:
    """Block, question and answer about other memories of one to six facts."""
    rng = random.Random(f"reading {seed}")
    world = World("eval")
    made: list[tuple[str, str, str]] = []
    for _ in range(count):
        other = world.memory(rng, rng.randint(1, 6), first_share=0.0)
        fact = rng.choice(other.facts)
        made.append((other.block(), world.question(rng, fact), fact.answer))
    return made
