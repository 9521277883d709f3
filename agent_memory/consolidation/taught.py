"""Taught: which episodes a version holds, and whether it can know of what a question names.

Weights that are asked about a name they never met mix what they know, and do not notice. The record does: it
holds the episodes that a version was taught, as they are now. So a version of the bundled reader is not asked
about a name that stands in none of them, nor about "the red pen" where one tells of a red bag and another of
a pen; the base answers instead. Where a name begins and ends, English capitals tell, and the phrasings that
the bundled reader brings, so no other base is kept from answering.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

from sqlalchemy import Connection, and_, exists, false, or_, select

from agent_memory.consolidation.phrasings import Phrasings
from agent_memory.consolidation.questions import content, names
from agent_memory.consolidation.wording import OPENINGS, is_word
from agent_memory.models.loading import READER
from agent_memory.store import tables
from agent_memory.types import Episode

_OPENING = re.compile(r"(?:^|[.!?:]\s+)\W*(\w+)")
_LEAD = re.compile(rf"\A(?:{'|'.join(re.escape(one.removesuffix('{}')) for one in OPENINGS)})")
#: What may stand before the name where a phrasing begins with it: "Do you know the red bag's owner?"
_ASKING = frozenset({"know", "remember", "need", "am", "wondering", "forgot"})
_POSSESSIVE = re.compile(r"['’]s?$")


def heard_of(connection: Connection, version_id: str, question: str) -> bool:
    """Whether each name in a question, and what it asks about, stands in an episode of the version.

    Case does not count. What it asks about is known where a phrasing of the bundled reader fits: then those
    of its words that the episodes have at all must stand together in one. (Words that they do not have may
    belong to the question: "Where is the red bag *kept*?")
    """
    if not all(_stands(connection, version_id, word) for word in asked_names(question)):
        return False
    subject = subject_of(question)
    having = [subject & content(text) for text in _texts(connection, version_id, sorted(subject))]
    standing = frozenset().union(*having)
    return not subject or (bool(standing) and standing in having)


def settled(connection: Connection, version_id: str, episodes: Sequence[Episode]) -> frozenset[str]:
    """The ids of the episodes that cannot be news to a version, in the revisions given.

    It was taught them, in these revisions, from items that its exam could ask for, and did not get every one
    of those wrong.
    """
    m, i, x = tables.version_episodes.c, tables.study_items.c, tables.exam_results.c
    e = tables.episodes.c
    present = and_(m.episode_id == e.id, m.namespace_id == e.namespace_id, m.revision == e.revision)
    examined = exists().where(i.episode_pk == e.pk, i.revision == e.revision, i.kind == "exam")
    marks = exists().where(x.version_id == m.version_id, x.episode_pk == e.pk, x.revision == e.revision)
    found = connection.execute(
        select(e.id, e.revision)
        .join_from(tables.version_episodes, tables.episodes, present)
        .where(
            m.version_id == version_id,
            m.part == "learnt",
            m.episode_id.in_([episode.id for episode in episodes]),
            examined,
            or_(~marks, marks.where(x.correct)),
        )
    ).all()
    revisions = {row.id: row.revision for row in found}
    return frozenset(one.id for one in episodes if revisions.get(one.id) == one.revision)


def _stands(connection: Connection, version_id: str, word: str) -> bool:
    pattern = re.compile(rf"(?<!\w){re.escape(_folded(word))}")
    return any(pattern.search(_folded(text)) for text in _texts(connection, version_id, [word]))


def _texts(connection: Connection, version_id: str, words: Sequence[str]) -> Sequence[str]:
    """The episodes that the version has learnt, or of these at least those that have one of the words."""
    m, e = tables.version_episodes.c, tables.episodes.c
    mine = and_(m.version_id == version_id, m.part == "learnt")
    own = and_(e.id == m.episode_id, e.namespace_id == m.namespace_id, mine)
    found = select(e.text).join_from(tables.version_episodes, tables.episodes, own)
    if all(word.isascii() and word.isalnum() for word in words):  # the database knows no other letters
        found = found.where(or_(false(), *(e.text.icontains(word, autoescape=True) for word in words)))
    return connection.execute(found).scalars().all()


def _folded(text: str) -> str:
    return text.casefold().replace("’", "'")


def asked_names(question: str) -> list[str]:
    """The words that are names in a question, without possessive endings.

    English words are none where they open a sentence ("Hey", "Remember") or follow in a row of capitals
    ("Ada's PIN"), and nothing is where all is in capitals.
    """
    if question.isupper():
        return []
    opening = {word for word in _OPENING.findall(question) if is_word(word.lower())}
    found: list[str] = []
    for name in names(question):
        first, *rest = (_POSSESSIVE.sub("", word) for word in name.split())
        found += [] if first in opening or not _is_marked(first) else [first]
        found += [word for word in rest if _is_marked(word) and not is_word(word.lower())]
    return found


def subject_of(question: str) -> frozenset[str]:
    """The words of what a question asks about, ordinary ones left out; none where no phrasing fits it."""
    placed = _phrasings().placed([f"{_LEAD.sub('', question).rstrip(' ?.')}?"])
    if placed is None:
        return frozenset()
    clauses = [content(clause) - _ASKING for clause in re.split(r"[,:] ", placed.name)]  # "By the way, Bo"
    return next((clause for clause in reversed(clauses) if clause), frozenset())


@cache
def _phrasings() -> Phrasings:
    return Phrasings.of(READER)


def _is_marked(word: str) -> bool:
    """Whether a capital or a digit marks the word as a name."""
    return word[:1].isupper() or any(letter.isdigit() for letter in word)
