"""Taught: which episodes a version holds, and whether it can know of what a question names.

Weights that are asked about a name they never met mix what they know, and do not notice. The record does: it
holds the episodes that a version was taught, as they are now. So a version of the bundled reader is not asked
about a name that stands in none of them; the base answers instead. Where a name begins and ends, English
capitals tell, so no other base is kept from answering.
"""

from __future__ import annotations

import re

from sqlalchemy import Connection, and_, select

from agent_memory.consolidation.questions import names
from agent_memory.consolidation.wording import is_word
from agent_memory.store import tables

_OPENING = re.compile(r"(?:^|[.!?:]\s+)\W*(\w+)")
_POSSESSIVE = re.compile(r"['’]s?$")


def heard_of(connection: Connection, version_id: str, question: str) -> bool:
    """Whether each name in a question stands in an episode of the version; case does not count."""
    return all(_stands(connection, version_id, word) for word in asked_names(question))


def settled(connection: Connection, version_id: str) -> frozenset[str]:
    """The ids of the episodes that cannot be news to a version, in their present revision.

    It was taught them, or they were not trusted and lay there before its run began. What waits for a run may
    well be newer than what the version was taught, and so may whatever was added or changed since.
    """
    m, e = tables.version_episodes.c, tables.episodes.c
    same = and_(e.id == m.episode_id, e.namespace_id == m.namespace_id, e.revision == m.revision)
    own = and_(m.version_id == version_id, m.part == "learnt")
    learnt = select(e.id).join_from(tables.version_episodes, tables.episodes, same).where(own)
    v, r = tables.versions.c, tables.runs.c
    passed_over = (
        select(e.id)
        .join_from(tables.versions, tables.runs, v.run_id == r.id)
        .join(tables.episodes, e.namespace_id == v.namespace_id)
        .where(
            v.id == version_id, e.trust == "untrusted", e.revision == 1, e.created_at < r.started_at
        )
    )
    return frozenset(connection.execute(learnt.union(passed_over)).scalars())


def _stands(connection: Connection, version_id: str, word: str) -> bool:
    m, e = tables.version_episodes.c, tables.episodes.c
    own = and_(e.id == m.episode_id, e.namespace_id == m.namespace_id, m.version_id == version_id)
    found = select(e.text).join_from(tables.version_episodes, tables.episodes, own)
    if word.isascii() and word.isalnum():  # the database knows no other letters, and it is only to be faster
        found = found.where(e.text.icontains(word, autoescape=True))
    pattern = re.compile(rf"(?<!\w){re.escape(_folded(word))}")
    return any(pattern.search(_folded(text)) for text in connection.execute(found).scalars())


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


def _is_marked(word: str) -> bool:
    """Whether a capital or a digit marks the word as a name."""
    return word[:1].isupper() or any(letter.isdigit() for letter in word)
