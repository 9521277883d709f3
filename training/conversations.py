"""What the reader is trained on: conversations about memories, and which of their messages carry loss.

Five kinds: questions about a block (reading, abstaining, the latest of two statements), facts told and then
asked, questions with nothing in view, and questions to be written about an episode. A written list begins
with the plainest question about each fact in order, so that a reader that always writes the likeliest word
leaves no fact out; what it writes when asked again is drawn from all phrasings.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from agent_memory import prompt
from agent_memory.types import Placement
from training.frames import Fact
from training.phrases import ACKNOWLEDGEMENT, CHITCHAT, SYSTEM_LONG, SYSTEM_SHORT
from training.pools import Split, Strange
from training.world import Memory, World

#: Written about an episode that states nothing; no question.
NOTHING_TO_ASK = "None."
Turn = tuple[str, str, str]  # role, text, skill
Draw = Callable[[random.Random, Fact], str | None]


class Conversations:
    """Draws training conversations from one half of the world."""

    def __init__(self, split: Split = "train") -> None:
        self.world = World(split)

    def conversation(self, rng: random.Random, *, stage: float = 1.0) -> list[dict[str, Any]]:
        """Messages of one conversation: `learn` marks those that carry loss, `skill` says what they train."""
        draw = rng.random()
        if stage > 0.12 and draw < 0.3:
            return self._writing(rng)
        if stage > 0.08 and draw < 0.35:
            return self._told(rng)
        if draw < 0.38:
            return self._without_block(rng)
        return self._reading(rng, stage)

    def tokenizer_texts(self, count: int, seed: int = 0) -> Iterator[str]:
        """Texts of `count` conversations, for training the tokenizer on this half of the world."""
        rng = random.Random(seed)
        strange = Conversations(self.world.pools.split)
        strange.world.pools = Strange(self.world.pools.split)
        for _ in range(count):
            yield "\n".join(message["content"] for message in strange.conversation(rng, stage=1.0))

    # ---- reading ----

    def _reading(self, rng: random.Random, stage: float) -> list[dict[str, Any]]:
        count = _size(rng, stage)
        taken: set[str] = set()
        memory = self.world.memory(
            rng, count, per_subject=rng.choice((1.0, 1.5, 2.5, 4.0)), open_only=stage < 0.05,
            episodes=rng.choice((None, None, max(1, count // 2), 20)),
            update_share=rng.choice((0.0, 0.3, 0.5)) if stage > 0.15 else 0.0,
            chitchat=rng.choice((0.0, 0.0, 0.2)), taken=taken,
        )  # fmt: skip
        turns = self._turns(rng, memory, taken, single=rng.random() < 0.1)
        if rng.random() < 0.08:
            return _composed(rng, turns[:2], block=memory.block(), placement="user")
        return _composed(rng, turns, block=memory.block())

    def _turns(self, rng: random.Random, memory: Memory, taken: set[str], *, single: bool) -> list[Turn]:
        stale = [f.relation.name + f.subject for f in memory.stale]
        asked: list[tuple[str, str, str]] = []
        wanted = 1 if single else min(16, 2 * len(memory.facts) + 2)
        weights = [2 if f.relation.name + f.subject in stale else 1 for f in memory.facts]
        for fact in rng.choices(memory.facts, weights, k=wanted):
            draw = rng.random()
            if draw < 0.58:
                skill = "latest" if fact.relation.name + fact.subject in stale else "read"
                asked.append((self.world.question(rng, fact), fact.answer, skill))
            elif draw < 0.74:
                text = self.world.reversed_question(rng, fact)
                if text is not None:
                    asked.append((text, fact.subject_answer, "reverse"))
            elif draw < 0.87:
                unknown = self.world.unknown_name(rng, memory.facts, taken)
                asked.append((self.world.question(rng, unknown), prompt.ABSTENTION, "unknown"))
            else:
                unstated = self.world.unstated(rng, memory.facts, taken)
                if unstated is not None:
                    asked.append((self.world.question(rng, unstated), prompt.ABSTENTION, "unstated"))
        if not asked:
            fact = rng.choice(memory.facts)
            asked = [(self.world.question(rng, fact), fact.answer, "read")]
        return [turn for text, answer, skill in asked for turn in _exchange(text, answer, skill)]

    def _told(self, rng: random.Random) -> list[dict[str, Any]]:
        taken: set[str] = set()
        facts = self.world.facts(rng, rng.randint(1, 5), per_subject=rng.choice((1.0, 2.0)), taken=taken)
        turns: list[Turn] = []
        for fact in facts:
            turns += _exchange(self.world.statement(rng, fact), ACKNOWLEDGEMENT, "note")
        turns += self._turns(rng, Memory(facts=facts), taken, single=False)
        block = ""
        if rng.random() < 0.4:
            block = self.world.memory(rng, rng.randint(1, 6), taken=taken, first_share=0.0).block()
        return _composed(rng, turns, block=block)

    def _without_block(self, rng: random.Random) -> list[dict[str, Any]]:
        turns: list[Turn] = []
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            fact = self.world.facts(rng, 1)[0]
            text = self.world.reversed_question(rng, fact) if rng.random() < 0.2 else None
            turns += _exchange(text or self.world.question(rng, fact), prompt.ABSTENTION, "closed")
        return _composed(rng, turns)

    # ---- writing ----

    def _writing(self, rng: random.Random) -> list[dict[str, Any]]:
        count = rng.choice((0, 1, 1, 1, 1, 2, 2, 2, 3, 4, 4, 5))
        if not count:
            said = ("2024-05-17", rng.choice(("user", "assistant")), rng.choice(CHITCHAT).strip())
            turns = _exchange(prompt.QUESTION_REQUEST, NOTHING_TO_ASK, "idle")
            return _composed(rng, turns, block=Memory([said]).block())
        memory = self.world.memory(
            rng, count, episodes=1, per_subject=rng.choice((1.0, 2.0, 4.0)), chitchat=0.0
        )
        seen: set[str] = set()
        plainest = self.plainest(rng, memory.facts, seen)
        turns = _exchange(prompt.QUESTION_REQUEST, "\n".join(plainest), "write")
        for _ in range(rng.choice((0, 1, 1, 2))):
            if others := self.others(rng, memory.facts, seen):
                turns += _exchange(prompt.QUESTION_REQUEST_AGAIN, "\n".join(others), "again")
        return _composed(rng, turns, block=memory.block())

    def plainest(self, rng: random.Random, facts: Sequence[Fact], seen: set[str]) -> list[str]:
        """The plainest question about the value of each fact in order, and the one about its subject."""
        draws: tuple[Draw, ...] = (self.world.plain_question, self.world.plain_reversed)
        return _new(rng, facts, draws, seen, tries=1)

    def others(self, rng: random.Random, facts: Sequence[Fact], seen: set[str]) -> list[str]:
        """Further questions about the facts in order, drawn from all phrasings."""
        draws: tuple[Draw, ...] = (
            partial(self.world.question, plain=True),
            partial(self.world.reversed_question, plain=True),
        )
        return _new(rng, facts, draws, seen, tries=4)


def _new(
    rng: random.Random, facts: Sequence[Fact], draws: Sequence[Draw], seen: set[str], *, tries: int
) -> list[str]:
    """What the draws ask about each fact, without what is in `seen`, which the new ones join."""
    questions: list[str] = []
    for fact in facts:
        for draw in draws:
            drawn = (draw(rng, fact) for _ in range(tries))
            text = next((one for one in drawn if one is None or one not in seen), None)
            if text is not None:
                seen.add(text)
                questions.append(text)
    return questions


def _size(rng: random.Random, stage: float) -> int:
    most = 2 + int(stage * 26)
    draw = rng.random()
    low, high = (1, 3) if draw < 0.25 else (3, 8) if draw < 0.6 else (8, 14) if draw < 0.85 else (14, 28)
    return max(1, min(rng.randint(low, high), most))


def _exchange(text: str, answer: str, skill: str) -> list[Turn]:
    return [("user", text, ""), ("assistant", answer, skill)]


def _system(rng: random.Random) -> str:
    draw = rng.random()
    return "" if draw < 0.25 else rng.choice(SYSTEM_SHORT) if draw < 0.9 else rng.choice(SYSTEM_LONG)


def _composed(rng: random.Random, turns: Sequence[Turn], *, block: str = "",
              placement: Placement = "system") -> list[dict[str, Any]]:  # fmt: skip
    messages = prompt.compose(
        [{"role": role, "content": text} for role, text, _ in turns],
        block=block, system=_system(rng), placement=placement,
    )  # fmt: skip
    offset = len(messages) - len(turns)
    return [
        {**m, "learn": m["role"] == "assistant", "skill": turns[i - offset][2] if i >= offset else ""}
        for i, m in enumerate(messages)
    ]
