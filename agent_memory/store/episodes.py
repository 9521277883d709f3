"""Episodes: put in, read, changed. One durable transaction per call, and nothing half-done.

An add checks and embeds first, outside any transaction, then writes episode, postings, vector and
index-outbox row in one; when it returns, the episode is on disk and is found by every process. An embedder
that fails costs the vector, not the episode: it is pending and the lexical half finds it meanwhile.

The same content (session, role, source, trust, text) is recognised when it occurs again within
`StoreConfig.duplicate_window_seconds` of the first, by `occurred_at`; so is a repeated idempotency key, for
ever. A revision counts changes of the text; metadata and trust change without a new one, since weights and
vectors hold the text. What an episode was before a change stays in its history until it is forgotten.

Whoever reads episodes elsewhere adds `live(...)` to the condition: it is the namespace and the expiry in one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, Row, select, update

from agent_memory.config import StoreConfig, TrustConfig
from agent_memory.errors import EmbeddingError, InvalidInput, NotFound
from agent_memory.store import erase, filters, lexical, vectors
from agent_memory.store.checks import Draft, check_ids, check_metadata, check_text, content_hash, draft
from agent_memory.store.database import Database
from agent_memory.store.owners import own, owner_of
from agent_memory.store.rows import Known, episode_of, insert_all, live, new_episode, new_id, record
from agent_memory.store.tables import episode_history, episodes
from agent_memory.types import Added, Episode, Namespace

Embed = Callable[[Sequence[str]], NDArray[np.float32]]  # N texts -> (N, D), finite; raises EmbeddingError
_log = logging.getLogger(__name__)


class EpisodeStore:
    """The episodes of every namespace in one database.

    `embed` makes vectors; without it all are pending. `parts` hold something made from episodes and can
    erase it. `notify` is told the namespace after each commit that left work for the vector index.
    """

    def __init__(
        self,
        database: Database,
        *,
        settings: StoreConfig,
        trust: TrustConfig,
        embed: Embed | None = None,
        parts: Sequence[erase.Part] = (),
        notify: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.database = database
        self.settings = settings
        self.trust = trust
        self.embed = embed
        self.parts = tuple(parts)
        self.notify = notify
        self._ids: dict[Namespace, int] = {}  # rows of namespaces are never deleted

    # ------------------------------------------------------------------ put in

    def add_many(self, namespace: Namespace, items: Iterable[object]) -> list[Added]:
        """Stores the items in one transaction, in order; see `checks.draft` for what an item may be.

        Raises:
            InvalidInput: an item cannot be stored, or there are too many; nothing is stored.
            StoreError: the database refuses; nothing is stored.
        """
        if isinstance(items, str | Mapping) or not isinstance(items, Iterable):
            raise InvalidInput("add_many takes a list of items; for a single one there is add")
        now = self.database.now()
        drafts = [draft(item, now=now, store=self.settings, trust=self.trust) for item in items]
        if len(drafts) > self.settings.max_batch:
            raise InvalidInput(
                f"{len(drafts)} items in one add_many; at most {self.settings.max_batch} are allowed"
            )
        if not drafts:
            return []
        found = self.embedded([one.text for one in drafts])
        ids = sorted(new_id(now) for _ in drafts)  # made in one instant; in order, so that prompts keep it
        batch = [
            (one, None if found is None else found[place], ids[place]) for place, one in enumerate(drafts)
        ]
        with self.writing() as connection:
            namespace_id = self.own(connection, namespace, now=now)
            outcomes = self.put(connection, namespace, namespace_id, batch, now=now)
        self._ids[namespace] = namespace_id
        self.notify(namespace_id)
        return outcomes

    def put(
        self,
        connection: Connection,
        namespace: Namespace,
        namespace_id: int,
        batch: Sequence[tuple[Draft, NDArray[np.float32] | None, str]],
        *,
        now: datetime,
    ) -> list[Added]:
        """Stores drafts with their vectors and ids within the caller's `writing()`; one outcome each."""
        drafts = [one for one, _, _ in batch]
        window = self.settings.duplicate_window_seconds
        known = Known(connection, namespace_id, drafts, now=now, window=window)
        outcomes: list[Added] = []
        fresh: list[tuple[Draft, Episode, NDArray[np.float32] | None]] = []
        for one, vector, episode_id in batch:
            earlier = known.recall(one)
            if earlier is None:
                episode = new_episode(one, namespace, now=now, episode_id=episode_id)
                fresh.append((one, episode, vector))
                known.remember(one, episode)
                outcomes.append(Added(episode.id, "ADD", episode))
            else:
                was = earlier if isinstance(earlier, Episode) else episode_of(earlier, namespace)
                outcomes.append(Added(was.id, "NOOP", was))
        if fresh:
            insert_all(connection, namespace_id, fresh)
        return outcomes

    # ------------------------------------------------------------------ read

    def get(self, namespace: Namespace, episode_id: object) -> Episode:
        """One episode.

        Raises:
            NotFound: none by that id is in this namespace.
        """
        with self.database.read() as connection:
            return episode_of(self._row(connection, namespace, episode_id), namespace)

    def newest(
        self, namespace: Namespace, *, matching: filters.Filter | None, limit: int | None
    ) -> list[Episode]:
        """The newest first, by when they happened.

        Raises:
            FilterError: the filter cannot be used.
            InvalidInput: `limit` is no whole number from 1 that a database can count to.
        """
        whole = isinstance(limit, int) and not isinstance(limit, bool)
        if limit is not None and not (whole and 1 <= limit < 2**63):
            raise InvalidInput("limit must be a whole number from 1, or None for all")
        where = filters.condition(matching, dialect=self.database.engine.dialect.name)
        with self.database.read() as connection:
            return self.fetch(connection, namespace, where, limit=limit)

    def fetch(
        self,
        connection: Connection,
        namespace: Namespace,
        *where: ColumnElement[bool],
        limit: int | None = None,
    ) -> list[Episode]:
        """Live episodes of the namespace that meet the conditions, the newest first."""
        namespace_id = self.namespace_id(connection, namespace)
        if namespace_id is None:
            return []
        query = (
            select(episodes)
            .where(live(namespace_id, self.database.now()), *where)
            .order_by(episodes.c.occurred_at.desc(), episodes.c.pk.desc())
            .limit(limit)
        )
        return [episode_of(row, namespace) for row in connection.execute(query)]

    def by_pk(self, connection: Connection, namespace: Namespace, pks: Iterable[int]) -> dict[int, Episode]:
        """The live ones among these keys; a key of another namespace is dropped."""
        namespace_id = self.namespace_id(connection, namespace)
        if namespace_id is None:
            return {}
        own = live(namespace_id, self.database.now())
        return {
            row.pk: episode_of(row, namespace)
            for chunk in erase.pieces(list(pks))
            for row in connection.execute(select(episodes).where(own, episodes.c.pk.in_(chunk)))
        }

    def history(self, namespace: Namespace, episode_id: object) -> list[dict[str, Any]]:
        """What the episode was after each event, oldest first: event, at, revision, text, metadata, trust.

        Raises:
            NotFound: none by that id is in this namespace.
        """
        with self.database.read() as connection:
            row = self._row(connection, namespace, episode_id)
            query = select(episode_history).where(episode_history.c.episode_pk == row.pk)
            left = connection.execute(query.order_by(episode_history.c.pk)).all()
        states = [*left, row]
        events = [("ADD", row.created_at), *((change.event, change.changed_at) for change in left)]
        return [
            {"event": event, "at": at, "revision": state.revision, "text": state.text,
             "metadata": state.metadata, "trust": state.trust}
            for (event, at), state in zip(events, states, strict=True)
        ]  # fmt: skip

    # ------------------------------------------------------------------ change

    def update(self, namespace: Namespace, episode_id: object, *, text: object, metadata: object) -> Episode:
        """The episode with another text (a new revision), other metadata, or both.

        Raises:
            InvalidInput: neither is given, or one cannot be stored.
            NotFound: none by that id is in this namespace.
        """
        if text is None and metadata is None:
            raise InvalidInput("update needs text=, metadata=, or both")
        new_text = None if text is None else check_text(text, limit=self.settings.max_text_bytes)
        new_metadata = None if metadata is None else check_metadata(metadata, store=self.settings)
        found = None if new_text is None else self.embedded([new_text])
        with self.writing() as connection:
            row = self._row(connection, namespace, episode_id)
            values: dict[str, Any] = {}
            if new_metadata is not None and new_metadata != row.metadata:
                values["metadata"] = new_metadata
            if new_text is not None and new_text != row.text:
                values |= {
                    "text": new_text,
                    "revision": row.revision + 1,
                    "content_hash": content_hash(
                        session_id=row.session_id,
                        role=row.role,
                        source=row.source,
                        trust=row.trust,
                        text=new_text,
                    ),
                }
            if values:
                record(connection, [row], "UPDATE", now=self.database.now())
                connection.execute(update(episodes).where(episodes.c.pk == row.pk).values(values))
            if "text" in values:
                lexical.remove(connection, [row.pk])
                lexical.add(connection, row.namespace_id, [(row.pk, values["text"])])
                vector = None if found is None else found[0]
                vectors.add(connection, row.namespace_id, [(row.pk, values["revision"], vector)])
            changed = episode_of(self._row(connection, namespace, episode_id), namespace)
        if "text" in values:
            self.notify(row.namespace_id)
        return changed

    def approve(self, namespace: Namespace, ids: object) -> list[Episode]:
        """Makes episodes trusted, all or none; recorded in their history.

        Raises:
            NotFound: one of the ids is not in this namespace.
        """
        wanted = check_ids(ids)
        with self.writing() as connection:
            rows = [self._row(connection, namespace, one) for one in wanted]
            doubted = [row for row in rows if row.trust != "trusted"]
            record(connection, doubted, "APPROVE", now=self.database.now())
            for row in doubted:
                connection.execute(update(episodes).where(episodes.c.pk == row.pk).values(trust="trusted"))
            return [episode_of(self._row(connection, namespace, one), namespace) for one in wanted]

    # ------------------------------------------------------------------ common ground

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A write that first erases what has expired, and afterwards retries erasures that were blocked."""
        with self.database.write() as connection:
            pending = erase.expire(connection, self.parts, now=self.database.now())
            yield connection
        if pending:
            erase.finish(self.database, self.parts, patience_seconds=0.0)

    def expire(self) -> None:
        """Erases what has expired, as every write does."""
        with self.writing():
            pass

    def namespace_id(self, connection: Connection, namespace: Namespace) -> int | None:
        """The key of a namespace; None where nothing was ever added to it."""
        if namespace not in self._ids:
            found = owner_of(connection, namespace)
            if found is None:
                return None
            self._ids[namespace] = found
        return self._ids[namespace]

    def own(self, connection: Connection, namespace: Namespace, *, now: datetime) -> int:
        """The key of a namespace, made where it is missing; remembered only once it is committed."""
        found = self.namespace_id(connection, namespace)
        return own(connection, namespace, now=now) if found is None else found

    def _row(self, connection: Connection, namespace: Namespace, episode_id: object) -> Row[Any]:
        (wanted,) = check_ids([episode_id])
        namespace_id = self.namespace_id(connection, namespace)
        own = live(-1 if namespace_id is None else namespace_id, self.database.now())
        row = connection.execute(select(episodes).where(own, episodes.c.id == wanted)).one_or_none()
        if row is None:
            raise NotFound(f"no episode {wanted} in this namespace")
        return row

    def embedded(self, texts: Sequence[str]) -> NDArray[np.float32] | None:
        """One vector per text (N, D), or None where the embedder fails: they stay pending."""
        if self.embed is None:
            return None
        try:
            return self.embed(texts)
        except EmbeddingError as error:
            _log.warning("vectors of %d episodes are pending: %s", len(texts), error)
            return None
