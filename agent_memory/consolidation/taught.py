"""Taught: whether a version can know of what a question names.

Weights that are asked about a name they never met mix what they know, and do not notice. The record does: it
holds every episode that a version was taught. So a version of the bundled reader is not asked about a name
that stands in none of them; the base answers instead. Where a name begins and ends, English capitals tell,
so no other base is kept from answering.
"""

from __future__ import annotations

from sqlalchemy import Connection, and_, literal, select

from agent_memory.consolidation.questions import names
from agent_memory.consolidation.wording import is_word
from agent_memory.store import tables


def heard_of(connection: Connection, version_id: str, question: str) -> bool:
    """Whether each name in a question stands, with all of its words, in an episode of the version."""
    m, e = tables.version_episodes.c, tables.episodes.c
    taught = (
        select(literal(1))
        .join_from(
            tables.version_episodes,
            tables.episodes,
            and_(e.id == m.episode_id, e.namespace_id == m.namespace_id),
        )
        .where(m.version_id == version_id)
        .limit(1)
    )
    return all(
        connection.execute(taught.where(*(e.text.icontains(word, autoescape=True) for word in name))).first()
        for name in asked_names(question)
    )


def asked_names(question: str) -> list[list[str]]:
    """The words of each name in a question; an English word that opens it is none ("Hey", "Any idea")."""
    found = [name.split() for name in names(question)]
    if found and question.startswith(found[0][0]) and is_word(found[0][0].lower()):
        found[0] = found[0][1:]
    return [words for words in found if words]
