"""Parts: the pieces of an episode that can be understood, and so be asked about, by themselves.

A small reader loses its place among many facts. It writes questions about one part at a time, and as the
teacher it reads the part that a question is about, where one can be told. Cut is between sentences, where the
next one does not lean on what was said before: "She has a dog" says nothing alone. English, so for the
bundled reader alone.
"""

from __future__ import annotations

import re

from agent_memory.consolidation.questions import asked_about, content
from agent_memory.consolidation.wording import FIRST, spoken_by

_SENTENCE_END = re.compile(r"(?<=[.!?])(?<!\b[A-Z]\.)(?<!\b[A-Z][a-z]\.)(?<!\b[A-Z][a-z]{2}\.)\s+")
#: A sentence that opens with a word for something before; "It is true that ..." opens with no such word.
_POINTS_BACK = re.compile(
    r"(?!it (?:is|was|turns|seems|appears)\b[^.]{0,16}\bthat\b)"
    r"(?:he|she|it|they|his|her|hers|its|their|this|that|these|those|there)\b",
    re.IGNORECASE,
)
_SOMEBODY = re.compile(r"\b(?:he|she|him|his|hers?)\b", re.IGNORECASE)


def parts(text: str) -> list[str]:
    """The text cut between sentences, where the next one does not lean on those before.

    An abbreviation ("Dr. Vale") keeps two sentences together, which costs nothing.
    """
    speakers = spoken_by(text)
    found: list[str] = []
    for sentence in _SENTENCE_END.split(text.strip()):
        if found and (_leans(sentence) or _is_spoken_elsewhere(sentence, speakers)):
            found[-1] += f" {sentence}"
        else:
            found.append(sentence)
    return found


def _leans(sentence: str) -> bool:
    """Whether a sentence points back, or speaks of somebody whom another one may have named."""
    return bool(_POINTS_BACK.match(sentence) or _SOMEBODY.search(sentence))


def _is_spoken_elsewhere(sentence: str, speakers: list[str]) -> bool:
    """Whether a sentence says "I" of somebody whom another one names."""
    return bool(speakers and FIRST.search(sentence)) and not spoken_by(sentence)


def part_about(question: str, text: str) -> str | None:
    """The part of a text that a question is about; None where it cannot be told, or where there is one only.

    That is the only one with all the names in the question; else, among those, the one with the most of its
    other words.
    """
    pieces = parts(text)
    about = [name.lower() for name in asked_about(question, text)]
    holding = [piece for piece in pieces if all(name in piece.lower() for name in about)]
    if len(pieces) == 1 or not holding:
        return None
    if about and len(holding) == 1:
        return holding[0]
    shared = [len(content(question) & content(piece)) for piece in holding]
    best = max(shared)
    return holding[shared.index(best)] if shared.count(best) == 1 else None
