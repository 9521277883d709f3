"""Relevance: whether a later episode may have changed the answer to a question about an earlier one.

It is told from words alone, before the teacher is asked: a reader that sees two episodes takes the one that
looks like the question, and would answer of the Egan town hall what was told of the town hall.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from agent_memory.consolidation.phrasings import Phrasings
from agent_memory.consolidation.questions import (
    as_written,
    asked_about,
    common_subject,
    content,
    names,
    words,
)
from agent_memory.consolidation.wording import about_the_speaker, spoken_by

#: A thing in lower case that a name says the place of.
_PLACED = re.compile(
    r"\b(?:the|my|our|your|an?) ((?:(?!(?:the|my|our|your|an?|of|in|at) )[a-z'’-]+ )+)(?=(?:in|at) [A-Z])"
)


def speaks_of(text: str, questions: Sequence[str], episode_text: str, *, english: bool) -> bool:
    """Whether a text speaks of what most of an episode's synonymous questions ask from.

    That is the names in them, or in English, where they have none, the words that they have in common
    ("the spare key"), and what a name only places ("the butcher in Tunis"). What a name of its own tells
    apart is another thing: the Egan town hall is not the town hall. Elsewhere a question without names may be
    about anything.
    """
    named = [(question, about) for question in questions if (about := asked_about(question, episode_text))]
    if named:
        spoken = [
            all(name.lower() in text.lower() for name in about)
            and (not english or content(" ".join(_PLACED.findall(question))) <= content(text))
            for question, about in named
        ]
        return 2 * sum(spoken) > len(spoken)
    if not english:
        return True
    subject = common_subject(questions, episode_text) or tuple(questions)
    shared = content(subject[0]) & content(episode_text)
    return shared <= _not_named(text, known=names(episode_text))


def _not_named(text: str, *, known: Sequence[str]) -> set[str]:
    """The words of a text, without those that belong to a name which is not among the known ones.

    They are the ones behind it up to the next ordinary word or mark: of "the Egan town hall is open" town and
    hall. What opens a sentence may be any word, and is no name here.
    """
    found: set[str] = set()
    for sentence in re.split(r"[.!?:;,]", text):
        named = False
        for place, word in enumerate(words(sentence)):
            own = names(word) if place else []
            if own or not content(word):  # an article, or the like, begins something else
                named = bool(own) and own[0] not in known
            if own or not named:
                found |= content(word)
    return found


def asks_back(brought: Phrasings, questions: Sequence[str], episode_text: str) -> bool:
    """Whether questions ask back, for what may be several: Bo's move to Porto says nothing of Ada there."""
    placed = brought.placed(questions)
    return placed is not None and placed.asks_back and as_written(placed.name, episode_text) is not None


def another_speaks(question: str, episode_text: str, text: str) -> bool:
    """Whether a question is in the first person, and a text names a speaker that its episode does not."""
    others = set(spoken_by(text)) - set(spoken_by(episode_text))
    return bool(others) and bool(about_the_speaker(question, text))
