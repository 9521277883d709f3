"""Search: from a query to scored episodes, by words, by meaning, and by what stands beside them.

BM25 and cosine each propose candidates (`SearchConfig.candidates`). Over the union of the candidates both are
standardised (minus the mean, over the standard deviation) and added: rank fusion throws away how much better
the best is (LoCoMo, turn recall at 10: ranks 56-59 %, sums 64-66 %), and standardising over the whole
namespace lets the words drown the vectors as it grows, because most texts hold none of the words. A found
message then gives a share of its score to those around it in its session, for an answer often stands beside
the words that were asked about (70-77 %). The effects are measured in `benchmarks/retrieval.py`.

Filters, `as_of` and expiry are conditions in SQL. Everything that an index proposes is joined to the episodes
of the namespace, in one snapshot, or dropped.

What it does not know: prompts, models, and how vectors are kept.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Connection, bindparam, or_, select

from agent_memory.config import SearchConfig
from agent_memory.errors import EmbeddingError, InvalidInput
from agent_memory.models.embedder import Embedder
from agent_memory.store import lexical
from agent_memory.store.checks import check_time
from agent_memory.store.database import Database
from agent_memory.store.filters import condition
from agent_memory.store.keys import Keys, Scores, among, fetched
from agent_memory.store.owners import owner_of
from agent_memory.store.rows import episode_of
from agent_memory.store.tables import UtcTime, episodes
from agent_memory.store.vector_index import VectorIndex
from agent_memory.store.vectors import Similar, normalised
from agent_memory.types import Episode, Namespace, SearchResult

logger = logging.getLogger(__name__)

_giver, _other = episodes.alias("giver"), episodes.alias("other")
#: Keys of found episodes and of those around them in their sessions, and how many steps are between.
_AROUND = select(_giver.c.pk, _other.c.pk, _giver.c.position - _other.c.position).where(
    among(_giver, _giver.c.pk),
    _other.c.namespace_id == _giver.c.namespace_id,
    _other.c.session_id == _giver.c.session_id,
    _other.c.position.between(_giver.c.position - bindparam("reach"), _giver.c.position + bindparam("reach")),
    _other.c.pk != _giver.c.pk,
)
_NAMES = select(episodes.c.pk, episodes.c.id).where(among(episodes, episodes.c.pk))
_TIMES = select(episodes.c.pk, episodes.c.occurred_at).where(among(episodes, episodes.c.pk))
_LIVE = select(episodes).where(
    among(episodes, episodes.c.pk),
    or_(episodes.c.expires_at.is_(None), episodes.c.expires_at > bindparam("now", type_=UtcTime)),
)
_MAX_CHARACTERS = 1_000_000  # of a query; only its first terms count
_SECONDS_PER_DAY = 86_400.0


def search(
    database: Database,
    query: str,
    *,
    namespace: Namespace,
    index: VectorIndex,
    embedder: Embedder,
    settings: SearchConfig,
    k: int = 10,
    filters: Mapping[str, Any] | None = None,
    as_of: datetime | str | None = None,
    explain: bool = False,
) -> list[SearchResult]:
    """The k best episodes of a namespace for a query, best first; fewer where there are fewer.

    Scores order one answer and mean nothing across answers. Sessions are ranked by their best episode: take
    a larger k and keep each session's first. When the embedder fails, words alone decide, and a warning is
    logged.

    Args:
        database: the record.
        query: a question or any words.
        namespace: whose episodes.
        index: their vectors.
        embedder: makes the vector of the query; the same that made the episodes'.
        settings: candidates, weights, limits.
        k: how many, from 1 to `settings.max_k`.
        filters: see `store/filters.py`.
        as_of: only what had been stored by then.
        explain: fill `why` of each result.

    Raises:
        InvalidInput: the query is empty or no text, or k is out of range.
        FilterError: an unknown operator, column or value.
    """
    _check(query)
    check_k(k, most=settings.max_k)
    vector = _embedded(embedder, query)
    with database.read() as connection:
        owner = owner_of(connection, namespace)
        conditions = _conditions(filters, as_of, dialect=connection.dialect.name)
        if owner is None:
            return []
        fusion = _Fusion(connection, owner, settings, now=database.now())
        fusion.allow(conditions)
        fusion.rank(query, vector, index, k=k)
        return fusion.results(namespace, k=k, explain=explain)


def _check(query: object) -> None:
    if not isinstance(query, str):
        raise InvalidInput(f"a query is text, not {type(query).__name__}")
    if not query.strip():
        raise InvalidInput("the query is empty")
    if len(query) > _MAX_CHARACTERS:
        raise InvalidInput(f"the query has {len(query)} characters; at most {_MAX_CHARACTERS} are allowed")


def check_k(k: object, *, most: int) -> None:
    """Refuses what is no number of results.

    Raises:
        InvalidInput: it is no whole number, or out of range.
    """
    if not isinstance(k, int) or isinstance(k, bool) or not 1 <= k <= most:
        raise InvalidInput(f"k must be a whole number from 1 to {most} (SearchConfig.max_k)")


def _embedded(embedder: Embedder, query: str) -> Any:
    """The query's vector at length one; None where the embedder fails."""
    try:
        return normalised(embedder.embed_query(query))
    except EmbeddingError as error:
        logger.warning("the query could not be embedded, words alone decide: %s", error)
        return None


def _conditions(filters: Any, as_of: Any, *, dialect: str) -> list[ColumnElement[bool]]:
    """What the caller asks of an episode, as SQL."""
    conditions = [] if filters is None else [condition(filters, dialect=dialect)]
    by = check_time("as_of", as_of)
    return conditions if by is None else [*conditions, episodes.c.created_at <= by]


@dataclass(frozen=True)
class _Part:
    """One score of all candidates: as it came, and standardised. Both (N,)."""

    raw: Scores
    standard: Scores


class _Fusion:
    """One search in one snapshot: candidates, their scores, their neighbours."""

    def __init__(self, connection: Connection, owner: int, settings: SearchConfig, *, now: datetime) -> None:
        self.connection = connection
        self.owner = owner
        self.settings = settings
        self.now = now
        self.allowed: Keys | None = None
        """Keys that meet the caller's conditions, ascending; None where there are no conditions."""

    def allow(self, conditions: Sequence[ColumnElement[bool]]) -> None:
        """Restricts everything to the episodes that meet the conditions."""
        if conditions:
            statement = select(episodes.c.pk).where(episodes.c.namespace_id == self.owner, *conditions)
            pks = self.connection.execute(statement.order_by(episodes.c.pk)).scalars().all()
            self.allowed = np.array(pks, dtype=np.int64)

    def rank(self, query: str, vector: Any, index: VectorIndex, *, k: int) -> None:
        """Finds the candidates and scores them and their neighbours."""
        n = max(self.settings.candidates, k)
        self.words = lexical.rank(self.connection, self.owner, query, settings=self.settings)
        found = self.words.top(n, only=self.allowed)
        self.meaning: Similar | None = None
        if vector is not None and self.settings.vector_weight:
            self.meaning = index.nearest(self.connection, self.owner, vector, n=n, only=self.allowed)
            found = np.concatenate((found, self.meaning.top(n, only=self.allowed)))
        self.candidates = np.unique(found)
        self._score(self.candidates)
        best = np.argsort(-self.own, kind="stable")[: self.settings.neighbour_givers]
        self.pairs = self._neighbours(self.candidates[best[self.own[best] > 0]])
        if len(self.pairs):
            self._score(np.union1d(self.candidates, self.pairs[:, 1]))
        self.total = self.own + self._given() + self._recency()

    def _score(self, pks: Keys) -> None:
        """Sets both scores of these keys, standardised by those of the candidates."""
        self.pks = pks
        inside = np.isin(pks, self.candidates)
        self.by_words = _standardised(self.words.of(pks), inside)
        self.own = self.by_words.standard
        self.by_meaning: _Part | None = None
        if self.meaning is not None:
            self.by_meaning = _standardised(self.meaning.of(pks), inside)
            self.own = self.own + self.settings.vector_weight * self.by_meaning.standard

    def _neighbours(self, givers: Keys) -> Any:
        """Rows of giver, receiver, steps between them in their session. (M, 3)."""
        reach = self.settings.neighbour_reach
        if not reach or not self.settings.neighbour_share:
            return np.empty((0, 3), np.int64)
        rows = fetched(self.connection, _AROUND, owner=self.owner, pks=givers, reach=reach)
        pairs = np.array(rows, dtype=np.int64).reshape(-1, 3)
        return pairs if self.allowed is None else pairs[np.isin(pairs[:, 1], self.allowed)]

    def _shares(self) -> tuple[Keys, Scores]:
        """For each pair: the place of its receiver among the keys, and what it gets."""
        givers, receivers = (np.searchsorted(self.pks, self.pairs[:, side]) for side in (0, 1))
        steps = np.abs(self.pairs[:, 2])
        share = self.settings.neighbour_share * self.settings.neighbour_decay ** (steps - 1.0)
        return receivers, share * self.own[givers]

    def _given(self) -> Scores:
        """What each key gets from its neighbours."""
        if not len(self.pairs):
            return np.zeros(len(self.pks))
        receivers, shares = self._shares()
        return np.bincount(receivers, shares, len(self.pks)).astype(np.float64)

    def _recency(self) -> Any:
        """Points for recent episodes, by when they occurred."""
        weight, half_life = self.settings.recency_weight, self.settings.recency_half_life_days
        if not weight:
            return np.zeros(len(self.pks))
        found = self.connection.execute(_TIMES, {"owner": self.owner, "pks": self.pks}).all()
        times: dict[int, datetime] = {row.pk: row.occurred_at for row in found}
        seconds = [(self.now - times.get(pk, self.now)).total_seconds() for pk in self.pks.tolist()]
        days = np.maximum(np.array(seconds), 0.0) / _SECONDS_PER_DAY
        return weight * 0.5 ** (days / half_life)

    def results(self, namespace: Namespace, *, k: int, explain: bool) -> list[SearchResult]:
        """The k best that are live in SQL, the later episode first among equals."""
        order = np.lexsort((-self.pks, -self.total))
        taken: list[tuple[int, Episode]] = []
        for start in range(0, len(order), 2 * k):  # twice as many, for some may have expired
            places = order[start : start + 2 * k]
            live = self._live(self.pks[places].tolist(), namespace)
            taken += [(int(at), live[pk]) for at in places if (pk := int(self.pks[at])) in live]
            if len(taken) >= k:
                break
        taken = taken[:k]
        why = self._why([at for at, _ in taken]) if explain else {}
        return [SearchResult(episode, float(self.total[at]), why.get(at)) for at, episode in taken]

    def _live(self, pks: list[int], namespace: Namespace) -> dict[int, Episode]:
        rows = self.connection.execute(_LIVE, {"owner": self.owner, "pks": pks, "now": self.now}).all()
        return {row.pk: episode_of(row, namespace) for row in rows}

    def _why(self, places: list[int]) -> dict[int, Mapping[str, Any]]:
        """For each result: what its words, its meaning, its neighbours and its age gave."""
        pks = self.pks[places]
        matched = self.words.matched(pks)
        given, recency = self._given(), self._recency()
        givers = self._givers(places)
        return {
            at: {
                "lexical": {
                    "score": float(self.by_words.raw[at]),
                    "standardised": float(self.by_words.standard[at]),
                    "terms": matched[int(pk)],
                },
                "vector": self._why_vector(at),
                "neighbours": {"score": float(given[at]), "from": givers.get(at, {})},
                "recency": float(recency[at]),
            }
            for at, pk in zip(places, pks, strict=True)
        }

    def _why_vector(self, at: int) -> Mapping[str, Any] | None:
        """None where the query or the episode has no vector."""
        if self.meaning is None or self.by_meaning is None or np.isnan(self.by_meaning.raw[at]):
            return None
        return {
            "cosine": float(self.by_meaning.raw[at]),
            "standardised": float(self.by_meaning.standard[at]),
            "weight": self.settings.vector_weight,
            "path": self.meaning.path,
        }

    def _givers(self, places: list[int]) -> dict[int, dict[str, float]]:
        """For each result: ids of the episodes around it that gave to its score, and how much."""
        if not len(self.pairs):
            return {}
        receivers, shares = self._shares()
        wanted = np.isin(receivers, places)
        names = dict(fetched(self.connection, _NAMES, owner=self.owner, pks=np.unique(self.pairs[wanted, 0])))
        found: dict[int, dict[str, float]] = {}
        for at, pk, share in zip(receivers[wanted], self.pairs[wanted, 0], shares[wanted], strict=True):
            found.setdefault(int(at), {})[names[int(pk)]] = float(share)
        return found


def _standardised(raw: Scores, inside: Any) -> _Part:
    """Minus the mean, over the standard deviation of the candidates; what is unknown is average."""
    known = raw[inside & ~np.isnan(raw)]
    mean, spread = (known.mean(), known.std()) if len(known) else (0.0, 0.0)
    standard = (raw - mean) / spread if spread > 0 else np.zeros(len(raw))
    return _Part(raw, np.nan_to_num(standard, nan=0.0))
