"""The reader's world: facts, how they are stated and asked, and memories made of them.

A *fact* is (relation, subject, value). `World` states facts in frames, groups them into episodes, prints the episodes
with `agent_memory.prompt` and asks about them, so that the reader is trained on exactly what the product prints.
Breadth is the point: a statement is frame x synonym x wrapper x person, a question likewise, and both also arise from
the nouns of a relation. A fifth of the frames is held out (`frames="held"`); each content word of a held-out frame
occurs in some other frame that is trained, so that only the sentence is new and not the words.

`World(split="train")` and `World(split="eval")` share no listed or invented name or value (see `pools.py`); dates,
times, amounts of money and weekdays are too few to be split.
"""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

from agent_memory import prompt
from training.frames import BY_SUBJECT, IMPERATIVE, INDEX, Fact, capital, expand, frames_of, plain
from training.phrases import (
    ASK_WRAPS,
    CHITCHAT,
    CONFUSABLE,
    KNOW_WRAPS,
    NAMED_SPEAKER,
    OPEN_KINDS,
    SAY_WRAPS,
    SOURCES,
    UPDATE_WRAPS,
)
from training.pools import Pools, core, pronoun
from training.relations import RELATIONS

_OWN = re.compile(r"\b(I|my|our|me|My|Our)\b")


@dataclass
class Memory:
    """Episode lines, and what is true after the last of them. `lines` are (date, source, text)."""

    lines: list[tuple[str, str, str]] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    stale: list[Fact] = field(default_factory=list)

    def block(self) -> str:
        """The memory as the product prints it."""
        return prompt.block_of_lines(
            [prompt.line(text, date=day, source=source) for day, source, text in self.lines]
        )


class World:
    """Draws memories, statements and questions of one half of the world."""

    def __init__(self, split: str = "train") -> None:
        self.pools = Pools(split)

    # ---- facts -------------------------------------------------------------------------------------------------

    def facts(self, rng: random.Random, count: int, *, per_subject: float = 2.0, open_only: bool = False,
              taken: set[str] | None = None, first_share: float = 0.25) -> list[Fact]:  # fmt: skip
        """`count` facts that do not contradict each other, about `count / per_subject` subjects."""
        found: list[Fact] = []
        taken = set() if taken is None else taken
        used: set[tuple[str, str]] = set()
        # In half of the memories a few relations recur, so that only the name tells whose value is asked for.
        focus = {kind: rng.sample(rs, min(len(rs), rng.randint(2, 5))) for kind, rs in BY_SUBJECT.items()}
        focused = rng.random() < 0.5
        while len(found) < count:
            kind = rng.choice(("person",) * 7 + ("project", "project", "item", "place", "event", "condition"))
            known = focus[kind] if focused else BY_SUBJECT[kind]
            relations = [r for r in known if not open_only or r.value in OPEN_KINDS]
            if not relations:
                continue
            first = kind == "person" and rng.random() < first_share and ("first", "I") not in used
            subject = "I" if first else self._new(lambda kind=kind: self.pools.subject(rng, kind), taken)
            if first:
                used.add(("first", "I"))
            wanted = min(count - len(found), 1 + int(rng.random() * 2 * (per_subject - 0.5)), len(relations))
            for relation in rng.sample(relations, wanted):
                value = self._new(lambda r=relation: self.pools.value(rng, r.value), taken)
                found.append(Fact(relation, subject, value, first))
        rng.shuffle(found)
        return found

    @staticmethod
    def _new(draw: Callable[[], str], taken: set[str]) -> str:
        for _ in range(20):
            text = draw()
            if core(text) not in taken:
                break
        taken.add(core(text))
        return text

    # ---- statements --------------------------------------------------------------------------------------------

    def clause(self, rng: random.Random, fact: Fact, *, frames: str = "seen", subject: str | None = None,
               first: bool | None = None) -> str:  # fmt: skip
        """The fact as a clause without capital and end mark."""
        index = INDEX[fact.relation.name]
        part = "say_noun" if fact.relation.nouns and rng.random() < 0.3 else "says"
        first = fact.first if first is None else first
        choices = (
            _speakable(frames_of(index, part, frames), first=first)
            or frames_of(index, "says", frames)
            or frames_of(index, "says", "seen")
        )
        return expand(rng.choice(choices), rng, subject=subject or fact.subject, value=fact.value, first=first)

    def statement(self, rng: random.Random, fact: Fact, *, frames: str = "seen", update: bool = False,
                  plain: bool = False, speaker: bool = False) -> str:  # fmt: skip
        """The fact as a sentence; with `speaker` a named person may tell it in the first person."""
        named = (
            speaker
            and fact.relation.subject == "person"
            and not fact.first
            and not fact.subject.startswith(("my ", "our ", "the "))
        )
        if named and not plain and rng.random() < 0.12:
            clause = self.clause(rng, fact, frames=frames, subject="I", first=True)
            told = (rng.choice(UPDATE_WRAPS) if update else "{}.").format(clause)
            return rng.choice(NAMED_SPEAKER).replace("{n}", fact.subject).format(capital(told))
        wraps = UPDATE_WRAPS if update else SAY_WRAPS
        clause = self.clause(rng, fact, frames=frames)
        plain = plain or bool(IMPERATIVE.match(clause))
        return capital(("{}." if plain else rng.choice(wraps)).format(clause))

    def episode(
        self,
        rng: random.Random,
        facts: Sequence[Fact],
        *,
        frames: str = "seen",
        plain: bool = False,
        speaker: bool = True,
    ) -> str:
        """Several facts as one text; a repeated subject may become a pronoun or share a verb.

        With `speaker` a named person may speak, if nothing is told of an "I" that has no name.
        """
        sentences: list[str] = []
        previous: Fact | None = None
        speaker = speaker and not any(fact.first for fact in facts)
        for fact in facts:
            same = previous is not None and previous.subject == fact.subject and not fact.first
            person = fact.relation.subject == "person"
            if same and person and sentences and rng.random() < 0.45 and not sentences[-1].endswith("?"):
                she = pronoun(fact.subject)
                clause = self.clause(rng, fact, frames=frames, subject=she)
                begins = sentences[-1].startswith((f"{fact.subject} ", f"{capital(she)} ", capital(f"{fact.subject} ")))
                if clause.startswith(she + " ") and begins and rng.random() < 0.6 and sentences[-1].endswith("."):
                    sentences[-1] = f"{sentences[-1][:-1]} and {clause[len(she) + 1 :]}."
                else:
                    sentences.append(capital(clause) + ".")
            else:
                sentences.append(self.statement(rng, fact, frames=frames, plain=plain, speaker=speaker))
            previous = fact
        return " ".join(sentences)

    # ---- questions ---------------------------------------------------------------------------------------------

    def question(self, rng: random.Random, fact: Fact, *, frames: str = "seen", plain: bool = False) -> str:
        """A question whose answer is `fact.answer`; a plain one is direct for the most part."""
        index = INDEX[fact.relation.name]
        draw = rng.random() * (0.66 if plain else 1.0)
        part = (
            "asks" if draw < 0.45 else "ask_noun" if draw < 0.6 else "know_noun" if draw < 0.75 else "knows"
        )
        choices = _speakable(frames_of(index, part, frames), first=fact.first)
        if not choices:
            part, choices = "asks", frames_of(index, "asks", frames) or frames_of(index, "asks", "seen")
        text = expand(rng.choice(choices), rng, subject=fact.subject, value=fact.value, first=fact.first)
        if part in ("knows", "know_noun"):
            return capital(rng.choice(KNOW_WRAPS).format(text))
        return capital(("{}?" if plain else rng.choice(ASK_WRAPS)).format(text))

    def reversed_question(
        self, rng: random.Random, fact: Fact, *, frames: str = "seen", plain: bool = False
    ) -> str | None:
        """A question whose answer is `fact.subject_answer`; None where the relation has none."""
        index = INDEX[fact.relation.name]
        choices = frames_of(index, "who", frames) or frames_of(index, "who", "seen")
        if not choices:
            return None
        text = expand(rng.choice(choices), rng, subject=fact.subject, value=fact.value)
        return capital(("{}?" if plain else rng.choice(ASK_WRAPS)).format(text))

    def plain_question(self, rng: random.Random, fact: Fact) -> str:
        """The first question of the relation that is trained, in its first words; always the same for a fact."""
        frames = _speakable(frames_of(INDEX[fact.relation.name], "asks", "seen"), first=fact.first)
        text = expand(plain(frames[0]), rng, subject=fact.subject, value=fact.value, first=fact.first)
        return capital(f"{text}?")

    def plain_reversed(self, rng: random.Random, fact: Fact) -> str | None:
        """The same for the subject; None where the relation has no such question."""
        frames = frames_of(INDEX[fact.relation.name], "who", "seen")
        if not frames:
            return None
        return capital(f"{expand(plain(frames[0]), rng, subject=fact.subject, value=fact.value)}?")

    def unknown_name(self, rng: random.Random, facts: Sequence[Fact], taken: set[str]) -> Fact:
        """A fact about somebody or something that the memory does not hold."""
        kinds = [f.relation for f in facts if not f.first] or list(RELATIONS)
        relation = rng.choice(kinds) if rng.random() < 0.7 else rng.choice(RELATIONS)
        subject = self._new(lambda: self.pools.subject(rng, relation.subject), taken)
        return Fact(relation, subject, self._new(lambda: self.pools.value(rng, relation.value), taken))

    def unstated(self, rng: random.Random, facts: Sequence[Fact], taken: set[str]) -> Fact | None:
        """A fact about a known subject in a relation that the memory does not state, nor one like it."""
        base = rng.choice(facts)
        stated = {f.relation.name for f in facts if f.subject == base.subject}
        barred = stated | {name for group in CONFUSABLE if group & stated for name in group}
        relations = [r for r in BY_SUBJECT[base.relation.subject] if r.name not in barred]
        if not relations:
            return None
        relation = rng.choice(relations)
        value = self._new(lambda: self.pools.value(rng, relation.value), taken)
        return Fact(relation, base.subject, value, base.first)

    # ---- memories ----------------------------------------------------------------------------------------------

    def memory(self, rng: random.Random, count: int, *, episodes: int | None = None, per_subject: float = 2.0,
               frames: str = "seen", open_only: bool = False, update_share: float = 0.0, chitchat: float = 0.0,
               taken: set[str] | None = None, first_share: float = 0.25) -> Memory:  # fmt: skip
        """A memory of `count` facts in `episodes` lines (by default one to four facts a line)."""
        taken = set() if taken is None else taken
        facts = self.facts(
            rng, count, per_subject=per_subject, open_only=open_only, taken=taken, first_share=first_share
        )
        if rng.random() < 0.5:  # facts about one subject stand together
            facts.sort(key=lambda f: zlib.crc32(f.subject.encode()))
        groups: list[list[Fact]] = []
        for fact in facts:
            if (
                groups
                and len(groups[-1]) < 4
                and (rng.random() < 0.35 if episodes is None else len(groups) >= episodes)
            ):
                groups[-1].append(fact)
            else:
                groups.append([fact])
        speaker = not any(fact.first for fact in facts)
        texts = [self.episode(rng, group, frames=frames, speaker=speaker) for group in groups]
        memory = Memory(facts=list(facts))
        for i, fact in enumerate(facts):
            if rng.random() < update_share:
                newer = Fact(
                    fact.relation,
                    fact.subject,
                    self._new(lambda f=fact: self.pools.value(rng, f.relation.value), taken),
                    fact.first,
                )
                place = next(j for j, group in enumerate(groups) if fact in group)
                at = rng.randrange(place, len(texts)) + 1
                texts.insert(at, self.statement(rng, newer, frames=frames, update=True))
                groups.insert(at, [])  # keeps step with texts: what comes later must stay later
                memory.facts[i] = newer
                memory.stale.append(fact)
        for _ in range(sum(rng.random() < chitchat for _ in texts)):
            texts.insert(rng.randrange(len(texts) + 1), rng.choice(CHITCHAT).strip())
        day = date(2023, 1, 1) + timedelta(days=rng.randrange(1600))
        for text in texts:
            source = "user" if _OWN.search(text) else rng.choice(SOURCES)
            memory.lines.append((day.isoformat(), source, text))
            day += timedelta(days=rng.choice((0, 0, 0, 1, 1, 2, 5, 9)))
        return memory


def _speakable(frames: Sequence[str], *, first: bool) -> Sequence[str]:
    """Those that can be said of "me": "the job of me" is not."""
    return [frame for frame in frames if " of {obj}" not in frame] if first else frames
