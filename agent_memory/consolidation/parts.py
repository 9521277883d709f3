"""Parts: the pieces of an episode that can be understood, and so be asked about, by themselves.

A small reader loses its place among many facts. It writes questions about one part at a time, and as the
teacher it reads the part that a question is about, where one can be told. Cut is between sentences, where the
next one does not lean on what was said before: "She has a dog" says nothing alone. English, so for the
bundled reader alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from agent_memory.consolidation.questions import asked_about, content
from agent_memory.consolidation.wording import FIRST, spoken_by

_SENTENCE_END = re.compile(
    r"(?<=[.!?])(?<!\b[A-Z]\.)(?<!\b[A-Z][a-z]\.)(?<!\b[A-Z][a-z]{2}\.)"
    r"(?<!\bProf\.)(?<!\bvs\.)(?<!\b[ap]\.m\.)(?<!\be\.g\.)(?<!\bi\.e\.)\s+"
)
_NUMBER = re.compile(r"\W*\d+\.")
#: A sentence that opens with a word for something before; "It is true that ..." opens with no such word.
_POINTS_BACK = re.compile(
    r"(?!it (?:is|was|turns|seems|appears)\b[^.]{0,16}\bthat\b)"
    r"(?:he|she|it|they|his|her|hers|its|their|this|that|these|those|there)\b",
    re.IGNORECASE,
)
_THIRD_PERSON = re.compile(r"\b(?:he|she|him|his|hers?)\b", re.IGNORECASE)


#: Words that a sentence needs to say something, unless it has a number ("Thanks a lot!" is not asked about),
#: and how many things must be asked for in it: a fact has two sides (both chosen).
_SAYS, _SIDES = 3, 2


def covered(text: str, items: Iterable[tuple[str, str]]) -> bool:
    """Whether two things at least are asked for in each sentence that says something.

    What is asked for stands in the sentence, and question or answer have a word that no other sentence has:
    "Where does Mira live?" asks for nothing in "Mira plays the cello".

    Args:
        text: of the episode.
        items: the questions about it and their answers.
    """
    told = [(sentence, content(sentence)) for sentence in _SENTENCE_END.split(text.strip())]
    asked = [(content(answer), content(question) | content(answer)) for question, answer in items]
    for place, (sentence, said) in enumerate(told):
        others = frozenset().union(*(words for n, (_, words) in enumerate(told) if n != place))
        sides = {answer for answer, all_of in asked if answer and answer <= said and all_of & (said - others)}
        says = len(said) >= _SAYS or any(map(str.isdigit, sentence))
        if says and said - others and len(sides) < _SIDES:
            return False
    return True


def parts(text: str) -> list[str]:
    """The text cut between sentences, where the next one does not lean on those before.

    Where a speaker is named, all that is said in the first person is one part. An abbreviation ("Dr. Vale")
    keeps two sentences together, which costs nothing.
    """
    sentences = _SENTENCE_END.split(text.strip())
    spoken = _spoken(sentences, spoken_by(text))
    found: list[str] = []
    for place, sentence in enumerate(sentences):
        if found and (place in spoken or _leans(sentence) or _NUMBER.fullmatch(found[-1])):
            found[-1] += f" {sentence}"
        else:
            found.append(sentence)
    return found


def _leans(sentence: str) -> bool:
    """Whether a sentence points back, or speaks of somebody whom another one may have named."""
    return bool(_POINTS_BACK.match(sentence) or _THIRD_PERSON.search(sentence))


def _spoken(sentences: Sequence[str], speakers: Sequence[str]) -> range:
    """The sentences that go on with what a named speaker says: to the last one in the first person."""
    own = [n for n, one in enumerate(sentences) if FIRST.search(one) or spoken_by(f"{one} ")]
    return range(own[0] + 1, own[-1] + 1) if speakers and own else range(0)


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
