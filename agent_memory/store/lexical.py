"""Lexical search: BM25 over a table of postings, with statistics of one namespace and of no other.

The full-text indexes of databases fail us three times: they rank differently on SQLite and PostgreSQL, they
count the rows of all tenants, and they keep words after a delete. So `postings` holds one row for each term
of each episode, with how often it stands there and how long the text is: a row is all that one score needs.
`lexical_statistics` holds the two sums that BM25 needs of the namespace. Everything dies with its episode.

A term is a Snowball stem (English) of a word in lower case, stop words left out; of Chinese and Japanese,
each character is a term. The day, month and year when an episode occurred are terms too, so that "in May"
finds what was said in May (LoCoMo: sessions at 10 from 94.2 to 95.0 %, turns from 75.3 to 77.0 %).

BM25 after Robertson and Zaragoza 2009, "The Probabilistic Relevance Framework", equation 3.15, with the
logarithm kept positive (+1). Ours differs in one thing: terms that stand in very many episodes are read only
for the candidates that rarer terms have found, which bounds the rows of a query and rarely moves a rank.

What it does not know: vectors, sessions, filters.
"""

from __future__ import annotations

import re
import threading
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any

import numpy as np
import snowballstemmer
from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from agent_memory.config import SearchConfig
from agent_memory.store.keys import Keys, Scores, among, chunks, columns, fetched
from agent_memory.store.prepared import Prepared
from agent_memory.store.tables import episodes, lexical_lengths, lexical_statistics, postings

#: Longest term in characters; longer runs are no words, and PostgreSQL's index rows are limited.
MAX_TERM = 64
#: English words that carry no topic; chosen. Letters alone are what is left of "don't" and "I'll". "may" is
#: missing, for it is a month.
_STOP_WORDS = """
    a about above after again against all am an and any are as at be because been before being below between
    both but by can could did do does doing don down during each few for from further had has have having he
    her here hers herself him himself his how i if in into is isn it its itself just let me more most my
    myself no nor not now of off on once only or other our ours ourselves out over own same she should so
    some such than that the their theirs them themselves then there these they this those through to too
    under until up very was we were what when where which while who whom why will with would you your yours
    yourself yourselves ain aren couldn d didn doesn hadn hasn haven ll m re s shouldn t ve wasn weren won
    wouldn
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())
#: Kana and ideographs, which are written without spaces.
_CHARACTER = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_CHARACTER}]|(?:(?![{_CHARACTER}])[^\W_])+")
_MONTHS = ("january", "february", "march", "april", "may", "june", "july", "august", "september", "october",
           "november", "december")  # fmt: skip
_per_thread = threading.local()  # a stemmer keeps the word it works on


def terms(text: str) -> list[str]:
    """The terms of a text in order, repetitions kept, stop words left out."""
    words = _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
    return [_stem(word[:MAX_TERM]) for word in words if word not in STOP_WORDS]


def date_terms(time: datetime) -> list[str]:
    """Day, month and year as the terms that a question would name them by."""
    return [str(time.day), _stem(_MONTHS[time.month - 1]), str(time.year)]


@lru_cache(maxsize=65_536)
def _stem(word: str) -> str:
    if not hasattr(_per_thread, "stemmer"):
        _per_thread.stemmer = snowballstemmer.stemmer("english")
    return str(_per_thread.stemmer.stemWord(word))


# ---------------------------------------------------------------------- writing


def add(
    connection: Connection,
    namespace_id: int,
    rows: Sequence[tuple[int, str]],
    *,
    times: Mapping[int, datetime] | None = None,
) -> None:
    """Makes episodes findable by their words, inside the caller's transaction.

    Args:
        connection: of the transaction that added the episodes, whose rows are there already.
        namespace_id: their owner.
        rows: key and text of each episode; an episode that is indexed already must be removed first.
        times: when each occurred; read where it is not passed.
    """
    if not rows:
        return
    if times is None:
        times = _times(connection, [pk for pk, _ in rows])
    found: list[tuple[int, str, int, int, int]] = []
    lengths: list[tuple[int, int, int, str]] = []
    for pk, text in rows:
        counted = Counter(terms(text))
        counted.update(date_terms(times[pk]) if pk in times else ())
        length = counted.total()
        lengths.append((namespace_id, pk, length, " ".join(counted)))
        found += [(namespace_id, term, pk, frequency, length) for term, frequency in counted.items()]
    _INSERT_LENGTHS.change(connection, lengths)
    _INSERT_POSTINGS.change(connection, found)
    _count(connection, namespace_id, episodes=len(rows), terms=sum(row[2] for row in lengths))


def remove(connection: Connection, episode_pks: Sequence[int]) -> int:
    """Removes every trace of the words of these episodes; returns how many postings that were."""
    removed = 0
    for chunk in chunks(episode_pks):
        named = lexical_lengths.c.episode_pk.in_(chunk)
        known = connection.execute(select(lexical_lengths).where(named)).all()
        keys = [{"owner": row.namespace_id, "stem": term, "pk": row.episode_pk}
                for row in known for term in row.terms.split(" ") if term]  # fmt: skip
        if keys:
            statement = delete(postings).where(
                postings.c.namespace_id == bindparam("owner"),
                postings.c.term == bindparam("stem"),
                postings.c.episode_pk == bindparam("pk"),
            )
            connection.execute(statement, keys)
            removed += len(keys)
        connection.execute(delete(lexical_lengths).where(named))
        for owner in {row.namespace_id for row in known}:
            own = [row.length for row in known if row.namespace_id == owner]
            _count(connection, owner, episodes=-len(own), terms=-sum(own))
    return removed


def erase(connection: Connection, namespace_id: int, pks: Sequence[int]) -> int:
    """As `remove`, in the form in which a forget calls every owner of a table."""
    del namespace_id  # keys of episodes are never used twice
    return remove(connection, pks)


def _times(connection: Connection, pks: Sequence[int]) -> dict[int, datetime]:
    times: dict[int, datetime] = {}
    for chunk in chunks(pks):
        times.update((row.pk, row.occurred_at) for row in connection.execute(_TIMES, {"pks": chunk}))
    return times


def _count(connection: Connection, namespace_id: int, *, episodes: int, terms: int) -> None:
    """Adds to the statistics; writers are alone, so nothing comes between the two statements."""
    if not _COUNT.change(connection, [(episodes, terms, namespace_id)]):
        first = {"namespace_id": namespace_id, "episodes": episodes, "terms": terms}
        connection.execute(insert(lexical_statistics), first)


# Built once: to build a statement takes longer than to run it.
_TIMES = select(episodes.c.pk, episodes.c.occurred_at).where(
    episodes.c.pk.in_(bindparam("pks", expanding=True))
)
_INSERT_LENGTHS = Prepared(insert(lexical_lengths), "namespace_id", "episode_pk", "length", "terms")
_INSERT_POSTINGS = Prepared(insert(postings), "namespace_id", "term", "episode_pk", "frequency", "length")
_COUNT = Prepared(
    update(lexical_statistics)
    .where(lexical_statistics.c.namespace_id == bindparam("owner"))
    .values(
        episodes=lexical_statistics.c.episodes + bindparam("more_episodes"),
        terms=lexical_statistics.c.terms + bindparam("more_terms"),
    ),
    "more_episodes", "more_terms", "owner",
)  # fmt: skip


# ---------------------------------------------------------------------- reading

_OWN = postings.c.namespace_id == bindparam("owner")
_STATISTICS = select(lexical_statistics.c.episodes, lexical_statistics.c.terms).where(
    lexical_statistics.c.namespace_id == bindparam("owner")
)
_FREQUENCIES = (
    select(postings.c.term, func.count())
    .where(_OWN, postings.c.term.in_(bindparam("terms", expanding=True)))
    .group_by(postings.c.term)
)
#: The later ones first, should a single term be in more episodes than are read.
_POSTINGS = (
    select(postings.c.episode_pk, postings.c.frequency, postings.c.length)
    .where(_OWN, postings.c.term == bindparam("term"))
    .order_by(postings.c.episode_pk.desc())
    .limit(bindparam("most"))
)
_INSIDE = select(postings.c.term, postings.c.episode_pk, postings.c.frequency, postings.c.length).where(
    postings.c.term.in_(bindparam("terms", expanding=True)), among(postings, postings.c.episode_pk)
)


@dataclass(frozen=True)
class Lexical:
    """The scores of one query in one namespace: exact for any keys, ranked by the rarer terms."""

    connection: Connection
    namespace_id: int
    settings: SearchConfig
    mean_length: float
    idf: dict[str, float] = field(default_factory=dict)
    """Weight of each term of the query that stands anywhere, in nats, times its count in the query."""
    common: tuple[str, ...] = ()
    """Terms too common to be read in full."""
    pks: Keys = field(default_factory=lambda: np.empty(0, np.int64))
    """Keys of the episodes that hold a rarer term, ascending. (N,)"""
    partial: Scores = field(default_factory=lambda: np.empty(0))
    """Their scores by the rarer terms. (N,)"""

    def top(self, n: int, *, only: Keys | None = None) -> Keys:
        """The n best keys by the rarer terms, best first, the later episode first among equals."""
        pks, scores = self.pks, self.partial
        if only is not None:
            kept = np.isin(pks, only)
            pks, scores = pks[kept], scores[kept]
        return pks[np.lexsort((-pks, -scores))[:n]]

    def of(self, pks: Keys) -> Scores:
        """BM25 of these episodes by all terms; 0 where none stands in them."""
        scores = np.zeros(len(pks))
        if len(self.pks):
            at = np.minimum(np.searchsorted(self.pks, pks), len(self.pks) - 1)
            scores = np.where(self.pks[at] == pks, self.partial[at], 0.0)
        if self.common and len(pks):
            order = np.argsort(pks)
            for term, pk, frequency, length in self._rows(self.common, pks):
                place = order[np.searchsorted(pks, pk, sorter=order)]
                scores[place] += self.weigh(term, frequency, length)
        return scores

    def matched(self, pks: Keys) -> dict[int, dict[str, float]]:
        """What each term of the query gave to each of these episodes."""
        given: dict[int, dict[str, float]] = {int(pk): {} for pk in pks}
        for term, pk, frequency, length in self._rows(tuple(self.idf), pks):
            given[pk][term] = float(self.weigh(term, frequency, length))
        return given

    def weigh(self, term: str, frequency: Any, length: Any) -> Any:
        """The share of one term, for numbers or arrays."""
        k1, b = self.settings.bm25_k1, self.settings.bm25_b
        damping = k1 * (1 - b + b * length / self.mean_length)
        return self.idf[term] * frequency * (k1 + 1) / (frequency + damping)

    def _rows(self, wanted: Sequence[str], pks: Keys) -> Iterator[tuple[str, int, int, int]]:
        yield from fetched(self.connection, _INSIDE, owner=self.namespace_id, terms=wanted, pks=pks)


def rank(connection: Connection, namespace_id: int, query: str, *, settings: SearchConfig) -> Lexical:
    """The scores of a query; reads at most `settings.postings` rows, or one term's.

    Only the first `settings.query_terms` distinct terms of the query count.
    """
    statistics = fetched(connection, _STATISTICS, owner=namespace_id)
    wanted = dict(list(Counter(terms(query)).items())[: settings.query_terms])
    if not statistics or not statistics[0][0] or not wanted:
        return Lexical(connection, namespace_id, settings, mean_length=1.0)
    ((total, length),) = statistics
    in_episodes = dict(fetched(connection, _FREQUENCIES, owner=namespace_id, terms=list(wanted)))
    idf = {
        term: wanted[term] * float(np.log1p((total - count + 0.5) / (count + 0.5)))
        for term, count in in_episodes.items()
    }
    rarer, common = _split(in_episodes, most=settings.postings)
    mean_length = max(length / total, 1.0)
    empty = Lexical(connection, namespace_id, settings, mean_length, idf, common)
    pks, scores = _accumulate(empty, rarer)
    return Lexical(connection, namespace_id, settings, mean_length, idf, common, pks, scores)


def _split(in_episodes: dict[str, int], *, most: int) -> tuple[list[str], tuple[str, ...]]:
    """The rarest terms whose rows together stay within `most` (at least one term), and the others."""
    ordered = sorted(in_episodes, key=lambda term: (in_episodes[term], term))
    read = np.cumsum([in_episodes[term] for term in ordered])
    within = max(1, int(np.searchsorted(read, most, side="right")))
    return ordered[:within], tuple(ordered[within:])


def _accumulate(lexical: Lexical, rarer: list[str]) -> tuple[Keys, Scores]:
    """Keys and summed scores of all episodes that hold one of these terms."""
    keys, scores = [], []
    most = lexical.settings.postings
    for term in rarer:
        found = columns(lexical.connection, _POSTINGS, owner=lexical.namespace_id, term=term, most=most)
        pk, frequency, length = (np.array(column, dtype=np.int64) for column in found)
        keys.append(pk)
        scores.append(lexical.weigh(term, frequency, length))
    if not keys:
        return np.empty(0, np.int64), np.empty(0)
    pks, places = np.unique(np.concatenate(keys), return_inverse=True)
    return pks, np.bincount(places, np.concatenate(scores), len(pks)).astype(np.float64)
