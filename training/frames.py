"""From a fact to a sentence and back: the frames of a relation, which of them are held out, and their expansion.

`expand` prints a frame; `matches` recognises a question by all the frames that could have printed it.
"""

from __future__ import annotations

import random
import re
import zlib
from collections import Counter
from dataclasses import dataclass
from functools import cache, lru_cache

from training.phrases import ASK_NOUN, ASK_WRAPS, KNOW_NOUN, KNOW_WRAPS, SAY_NOUN
from training.relations import RELATIONS, Relation

_FORMS = {
    "{is}": ("is", "am"), "{was}": ("was", "was"), "{has}": ("has", "have"), "<does/do>": ("does", "do"),
}  # fmt: skip
_CHOICE = re.compile(r"\[([^\[\]]*)\]")
#: Clauses that cannot follow "I heard that".
IMPERATIVE = re.compile(
    r"(get|give|keep|do|please|log|book|use|type|look|come|bring|offer|enter|press|call|lesson|if|"
    r"when|whenever|as soon|every time|restart|you can|always|you must|on|in|to)\b"
)
_PERSON = re.compile(r"<([^<>/]*)/([^<>/]*)>")
_STOP = frozenset(
    """a an the is was be been of in on at for to by with from as it its that this and or so up out do does did has
    have had can could will would should must may not no what which who whom whose where when how i you me my we us our
    your their they if there all one""".split()
)


@dataclass(frozen=True)
class Fact:
    """One thing that is true in a memory; `first` tells that the speaker is the subject."""

    relation: Relation
    subject: str
    value: str
    first: bool = False

    @property
    def answer(self) -> str:
        """The right answer to a question about the value."""
        return _yours(self.value)

    @property
    def subject_answer(self) -> str:
        """The right answer to a question about the subject."""
        return "You" if self.first else _yours(self.subject)


def _yours(text: str) -> str:
    return re.sub(r"^(my|our)\b", "your", text)


def content_words(frame: str) -> set[str]:
    """The words of a frame that carry meaning."""
    text = re.sub(r"\{[^}]*\}", " ", frame)
    return {word for word in re.findall(r"[a-z]+", text.lower()) if word not in _STOP}


@lru_cache(maxsize=1)
def held_out() -> frozenset[tuple[str, str, str]]:
    """The held-out frames as (relation, part, frame): a fifth of each part, chosen by checksum.

    A frame qualifies only if each of its content words occurs in a frame that stays in training.
    """
    parts = [(r, part, getattr(r, part)) for r in RELATIONS for part in ("says", "asks", "knows", "who")]
    counts = Counter(word for _, _, frames in parts for frame in frames for word in content_words(frame))
    counts.update(word for r in RELATIONS for noun in r.nouns for word in noun.split())
    held: set[tuple[str, str, str]] = set()
    for relation, part, frames in parts:
        quota = round(len(frames) / 5) if len(frames) > 2 else 0
        for frame in sorted(frames, key=lambda f: zlib.crc32(f"{relation.name}{part}{f}".encode())):
            words = content_words(frame)
            if quota and all(counts[word] > 1 for word in words):
                held.add((relation.name, part, frame))
                counts.subtract(words)
                quota -= 1
    return frozenset(held)


def _noun_held(relation: str, noun: str, template: str) -> bool:
    return zlib.crc32(f"{relation}|{noun}|{template}".encode()) % 5 == 0


@cache
def frames_of(relation_index: int, part: str, frames: str) -> tuple[str, ...]:
    """The frames of one part of a relation that are trained ("seen") or held out ("held")."""
    relation = RELATIONS[relation_index]
    held = held_out()
    if part in ("say_noun", "ask_noun", "know_noun"):
        templates = {"say_noun": SAY_NOUN, "ask_noun": ASK_NOUN, "know_noun": KNOW_NOUN}[part]
        return tuple(
            template.replace("{n}", noun)
            for noun in relation.nouns
            for template in templates
            if _noun_held(relation.name, noun, template) == (frames == "held")
        )
    return tuple(
        f for f in getattr(relation, part) if ((relation.name, part, f) in held) == (frames == "held")
    )


INDEX = {relation.name: i for i, relation in enumerate(RELATIONS)}
BY_SUBJECT: dict[str, list[Relation]] = {}
for _relation in RELATIONS:
    BY_SUBJECT.setdefault(_relation.subject, []).append(_relation)


def capital(text: str) -> str:
    """The text with its first letter in upper case."""
    return text[:1].upper() + text[1:]


def expand(frame: str, rng: random.Random, *, subject: str, value: str, first: bool = False) -> str:
    """The frame with synonyms drawn, person chosen and slots filled."""
    while (match := _CHOICE.search(frame)) is not None:
        frame = frame[: match.start()] + rng.choice(match.group(1).split("|")) + frame[match.end() :]
    form = 1 if first else 0
    for slot, forms in _FORMS.items():
        frame = frame.replace(slot, forms[form])
    frame = _PERSON.sub(lambda m: m.group(form + 1), frame)
    if first:
        own, obj, theirs = "my", "me", "my"
        subject = "I"
    else:
        own = {"she": "her", "he": "his"}.get(subject, f"{subject}'s")
        obj = {"she": "her", "he": "him"}.get(subject, subject)
        theirs = {"she": "her", "he": "his"}.get(subject, "their")
    article = "an" if value[:1].lower() in "aeiou" else "a"
    frame = (frame.replace("{s's}", own).replace("{obj}", obj).replace("{their}", theirs)
             .replace("{a v}", f"{article} {value}").replace("{s}", subject).replace("{v}", value))  # fmt: skip
    return re.sub(r"  +", " ", frame).strip()


def plain(frame: str) -> str:
    """The frame with the first of each group of synonyms."""
    while (match := _CHOICE.search(frame)) is not None:
        frame = frame[: match.start()] + match.group(1).split("|")[0] + frame[match.end() :]
    return frame


def matches(text: str, fact: Fact) -> str | None:
    """The right answer, if `text` is a question about the fact in any frame of its relation; else None.

    For judging written questions: it accepts every synonym, noun and wrapper of the world, seen or held out.
    """
    squeezed = re.sub(r"\s+", "", text.lower()).rstrip("?.!")
    for reverse, answer in ((False, fact.answer), (True, fact.subject_answer)):
        if _question_pattern(fact, reverse).fullmatch(squeezed):
            return answer
    return None


@lru_cache(maxsize=4096)
def _question_pattern(fact: Fact, reverse: bool) -> re.Pattern[str]:
    relation = fact.relation
    if reverse:
        frames = list(relation.who)
    else:
        nouns = [t.replace("{n}", n) for n in relation.nouns for t in (*ASK_NOUN, *KNOW_NOUN)]
        frames = [*relation.asks, *relation.knows, *nouns]
    cores = "|".join(_frame_pattern(frame, fact) for frame in frames) or r"(?!)"
    heads, tails = zip(*(wrap.split("{}") for wrap in (*ASK_WRAPS, *KNOW_WRAPS)), strict=True)
    head = "|".join(sorted({re.escape(_squeeze(h)) for h in heads}))
    tail = "|".join(sorted({re.escape(_squeeze(t).rstrip("?.!")) for t in tails}))
    return re.compile(f"(?:{head})(?:{cores})(?:{tail})")


def _squeeze(text: str) -> str:
    return re.sub(r"\s+", "", text.lower())


def _frame_pattern(frame: str, fact: Fact) -> str:
    form = 1 if fact.first else 0
    slots = {"{s's}": "my" if fact.first else f"{fact.subject}'s", "{obj}": "me" if fact.first else fact.subject,
             "{their}": "my" if fact.first else "their", "{s}": "I" if fact.first else fact.subject,
             "{a v}": f"{'an' if fact.value[:1].lower() in 'aeiou' else 'a'} {fact.value}", "{v}": fact.value}  # fmt: skip
    slots.update({slot: forms[form] for slot, forms in _FORMS.items()})
    pattern = ""
    for piece in re.split(r"(\{[^}]*\}|<[^>]*>|[\[\]|])", frame):
        if piece in slots:
            pattern += re.escape(_squeeze(slots[piece]))
        elif piece.startswith("<"):
            pattern += re.escape(_squeeze(piece[1:-1].split("/")[form]))
        else:
            pattern += {"[": "(?:", "]": ")", "|": "|"}.get(piece) or re.escape(_squeeze(piece))
    return pattern
