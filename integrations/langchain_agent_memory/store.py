"""A LangGraph `BaseStore` in the memory's own record: `create_agent(..., store=AgentMemoryStore(memory))`.

Items lie in the table `store_items`, inside one (user, agent) of the memory; LangGraph's namespace tuple is a
path within it. One primitive, `batch`: its reads see the state before it, its writes are one transaction, the
last of two writes to one place wins. Search is by meaning where there is a query (the memory's own embedder
unless `index=` names another), else by the last change; filters have LangGraph's operators.

Items are not episodes and are not learnt, unless `scope_from=` says whose memory a path is. Then the text of
an item is an episode of that user: found by search, consolidated if its source is trusted, updated and
forgotten with the item; and forgetting the episode removes the item. An item with a time to live is passing
by nature and never becomes an episode.

Does not know: SQL (`agent_memory.store.store_items`), prompts, models.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from langgraph.store.base import (
    BaseStore,
    GetOp,
    IndexConfig,
    Item,
    ListNamespacesOp,
    Op,
    PutOp,
    Result,
    SearchItem,
    SearchOp,
    TTLConfig,
    ensure_embeddings,
    get_text_at_path,
    validate_op_namespace,
)

from agent_memory.errors import InvalidInput, NotFound
from agent_memory.store import scope, store_items
from agent_memory.store.store_items import StoredItem
from langchain_agent_memory.store_filters import check_filter, matches, matches_path, scope_in

if TYPE_CHECKING:
    from agent_memory import MemoryManager
    from agent_memory.types import Namespace

Path = tuple[str, ...]
_MOST_ROWS = 2**62  # two of them, offset and limit, add up within what a database counts to
_MOST_MINUTES = 500_000_000  # of a time to live: some 950 years, within what a time can hold (chosen)
ScopeFrom = Sequence[str] | Callable[[Path], "str | Mapping[str, str] | None"]


class AgentMemoryStore(BaseStore):
    """LangGraph's long-term store on the memory's database and embedder.

    Args:
        memory: An open `MemoryManager`.
        user_id: Whose items these are, if the manager has no fixed scope.
        agent_id: Likewise.
        index: LangGraph's index configuration; None embeds whole values with the memory's embedder, False
            turns search by meaning off.
        ttl: LangGraph's time-to-live configuration. Expired items are never shown; they are removed by the
            next write.
        scope_from: Whose memory a path is: a pattern such as ("memories", "{user_id}"), matched from the
            first label, or a function from the path to a user id, a mapping with `user_id` and `agent_id`,
            or None.
        source: Source of the episodes made of items; "operator" is trusted by default.
        text_field: Where in a value the text of its episode is, as a LangGraph path.

    Raises:
        ScopeError: Neither the manager nor the arguments name a scope.
    """

    supports_ttl = True

    def __init__(
        self,
        memory: MemoryManager,
        *,
        user_id: str | None = None,
        agent_id: str | None = None,
        index: IndexConfig | Literal[False] | None = None,
        ttl: TTLConfig | None = None,
        scope_from: ScopeFrom | None = None,
        source: str = "operator",
        text_field: str = "text",
    ) -> None:
        self.ttl_config = ttl
        self._memory = memory
        self._namespace = scope.resolve(memory.fixed, user_id=user_id, agent_id=agent_id)
        self._scope_from = scope_from
        self._source = source
        self._text_field = text_field
        self._embedder, self._fields = _index(memory, index)

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """The results in the order of the operations; reads first, then all writes in one transaction.

        Raises:
            InvalidInput: A key, value, time to live or limit that cannot be used; nothing is written.
            FilterError: A filter that is no mapping, or an operator that does not exist; nothing is written.
            EmbeddingError: The embedder failed; nothing is written.
            StoreError: The record cannot be read or written.
        """
        ops = list(ops)
        for op in ops:
            validate_op_namespace(op)
            _check(op)
        writes = {(op.namespace, op.key): _checked(op) for op in ops if isinstance(op, PutOp)}
        results, read = self._read(ops)
        self._write(list(writes.values()), read)
        return results

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """The same, in a thread."""
        return await asyncio.to_thread(self.batch, list(ops))

    # ------------------------------------------------------------------ reading

    def _read(self, ops: Sequence[Op]) -> tuple[list[Result], list[StoredItem]]:
        """The results, and the items whose time to live begins anew."""
        queries = sorted({op.query for op in ops if isinstance(op, SearchOp) and op.query})
        vectors = dict(zip(queries, self._embedded(queries), strict=True)) if queries else {}
        results: list[Result] = []
        touched: list[StoredItem] = []
        with self._memory.database.read() as connection:
            owner = self._memory.store.namespace_id(connection, self._namespace)
            for op in ops:
                found: list[tuple[StoredItem, float | None]] = []
                if isinstance(op, GetOp):
                    found = self._got(connection, owner, op)
                    results.append(Item(**_fields(found[0][0])) if found else None)
                elif isinstance(op, SearchOp):
                    found = self._found(connection, owner, op, vectors.get(op.query or ""))
                    results.append([SearchItem(**_fields(item), score=score) for item, score in found])
                elif isinstance(op, ListNamespacesOp):
                    results.append(self._listed(connection, owner, op))
                else:
                    results.append(None)
                if getattr(op, "refresh_ttl", False):
                    touched += [item for item, _ in found if item.ttl_minutes is not None]
        return results, touched

    def _got(self, connection: Any, owner: int | None, op: GetOp) -> list[tuple[StoredItem, float | None]]:
        if owner is None:
            return []
        item = store_items.get(connection, owner, op.namespace, op.key, now=self._memory.database.now())
        return [(item, None)] if item else []

    def _found(
        self, connection: Any, owner: int | None, op: SearchOp, vector: Any
    ) -> list[tuple[StoredItem, float | None]]:
        """The items that a search finds, with their scores."""
        if owner is None:
            return []
        now, end = self._memory.database.now(), op.offset + op.limit
        if not op.filter and vector is None:
            page = {"limit": op.limit, "offset": op.offset}
            found = store_items.under(connection, owner, op.namespace_prefix, now=now, **page)
            return [(item, None) for item in found]
        every = store_items.under(connection, owner, op.namespace_prefix, now=now)
        candidates = [item for item in every if matches(item.value, op.filter or {})]
        if vector is None:
            return [(item, None) for item in candidates[op.offset : end]]
        return self._ranked(candidates, vector)[op.offset : end]

    def _ranked(self, items: Sequence[StoredItem], vector: Any) -> list[tuple[StoredItem, float | None]]:
        """By the best of an item's vectors; those without comparable vectors last, without a score."""
        scores = [
            float((item.vectors @ vector).max())
            if item.vectors is not None and item.embedder == self._embedder.identity
            else None
            for item in items
        ]
        scored = [(item, score) for item, score in zip(items, scores, strict=True) if score is not None]
        rest: list[tuple[StoredItem, float | None]] = [
            (item, None) for item, score in zip(items, scores, strict=True) if score is None
        ]
        return sorted(scored, key=lambda pair: -pair[1]) + rest

    def _listed(self, connection: Any, owner: int | None, op: ListNamespacesOp) -> list[Path]:
        if owner is None:
            return []
        found = [
            path
            for path in store_items.paths(connection, owner, now=self._memory.database.now())
            if all(matches_path(condition, path) for condition in op.match_conditions or ())
        ]
        if op.max_depth is not None:
            found = sorted({path[: op.max_depth] for path in found})
        return found[op.offset : op.offset + op.limit]

    # ------------------------------------------------------------------ writing

    def _write(self, writes: Sequence[PutOp], touched: Sequence[StoredItem]) -> None:
        """All writes and refreshed times to live in one transaction; episodes before, items after."""
        if not writes and not touched:
            return
        vectors = self._vectors(writes)
        episodes = self._episodes(writes) if self._scope_from is not None else {}
        with self._memory.store.writing() as connection:
            now = self._memory.database.now()
            owner = self._memory.store.own(connection, self._namespace, now=now)
            store_items.touch(connection, owner, touched, now=now)
            for n, op in enumerate(writes):
                if op.value is None:
                    store_items.remove(connection, owner, op.namespace, op.key)
                    continue
                item = StoredItem(
                    path=op.namespace,
                    key=op.key,
                    value=op.value,
                    created_at=now,
                    updated_at=now,
                    ttl_minutes=op.ttl,
                    vectors=vectors.get(n),
                    embedder=self._embedder.identity if n in vectors else None,
                    episode_pk=store_items.episode_pk(connection, *episodes[n]) if n in episodes else None,
                )
                store_items.put(connection, owner, item)
            store_items.sweep(connection, now=now)

    def _vectors(self, writes: Sequence[PutOp]) -> dict[int, Any]:
        """The vectors of each write that has text to index, by its place in the list."""
        if self._embedder is None:
            return {}
        texts = {n: _texts(op, self._fields) for n, op in enumerate(writes)}
        flat = [text for n in texts for text in texts[n]]
        if not flat:
            return {}
        made = iter(self._embedded(flat))
        stacked = {n: [next(made) for _ in found] for n, found in texts.items()}
        return {n: np.stack(found) for n, found in stacked.items() if found}

    def _embedded(self, texts: Sequence[str]) -> Any:
        """Vectors of length one, (texts, dimension), or as many None without an embedder."""
        if self._embedder is None:
            return [None] * len(texts)
        vectors = self._embedder.embed_array(list(texts))
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / np.where(lengths == 0, 1, lengths)

    # ------------------------------------------------------------------ items as episodes

    def _episodes(self, writes: Sequence[PutOp]) -> dict[int, tuple[Namespace, str]]:
        """Adds, updates or forgets the episode of each write; which write has which one afterwards."""
        made: dict[int, tuple[Namespace, str]] = {}
        for n, op in enumerate(writes):
            owner = self._owner_of(op.namespace)
            if owner is None:
                continue
            whose = scope.resolve(self._memory.fixed, **owner)
            kept = op.value is not None and op.ttl is None
            text = "\n".join(get_text_at_path(op.value, self._text_field)) if kept else ""
            episode_id = self._episode(op, whose, text)
            if episode_id is not None:
                made[n] = (whose, episode_id)
        return made

    def _episode(self, op: PutOp, whose: Namespace, text: str) -> str | None:
        """The id of the episode that says `text`, if there is one to say."""
        with self._memory.database.read() as connection:
            item_owner = self._memory.store.namespace_id(connection, self._namespace)
            old = store_items.episode_of(connection, item_owner, op.namespace, op.key) if item_owner else None
        if not text.strip():
            with suppress(NotFound):  # it was forgotten meanwhile, which is what is wanted
                if old:
                    self._memory.forget(
                        [old], reason="store item deleted", user_id=whose.user_id, agent_id=whose.agent_id
                    )
            return None
        if old is not None:
            self._memory.update(old, text=text, user_id=whose.user_id, agent_id=whose.agent_id)
            return old
        # A session of its own, so that another item with the same words is another episode.
        place = f"store:{'.'.join(op.namespace)}/{op.key}"
        added = self._memory.add(
            text, source=self._source, session_id=place, user_id=whose.user_id, agent_id=whose.agent_id
        )
        return added.id

    def _owner_of(self, path: Path) -> dict[str, str | None] | None:
        """The scope that `scope_from` gives a path; None where it gives none."""
        given = scope_in(self._scope_from, path) if not callable(self._scope_from) else self._scope_from(path)
        if given is None:
            return None
        named = {"user_id": given} if isinstance(given, str) else dict(given)
        return {"user_id": None, "agent_id": self._namespace.agent_id, **named}


def _index(memory: Any, index: IndexConfig | Literal[False] | None) -> tuple[Any, list[str]]:
    """The embedder and the fields to embed; no embedder where search by meaning is off."""
    if index is False:
        return None, []
    if index is None:
        return memory.embedder, ["$"]
    from agent_memory.models.embedder import as_embedder

    return as_embedder(ensure_embeddings(index["embed"])), list(index.get("fields") or ["$"])


def _texts(op: PutOp, fields: Sequence[str]) -> list[str]:
    """The texts of a write that are indexed."""
    if op.value is None or op.index is False:
        return []
    chosen = fields if op.index is None else op.index
    return [text for field in chosen for text in get_text_at_path(op.value, field)]


def _check(op: Op) -> None:
    """Sees to it that a database can be asked for this."""
    if isinstance(op, GetOp | PutOp):
        for part in (*op.namespace, op.key):
            store_items.checked_text(part)
    if isinstance(op, SearchOp):
        for label in op.namespace_prefix:
            store_items.checked_text(label)
        check_filter(op.filter)
    if isinstance(op, SearchOp | ListNamespacesOp):
        for name, number in (("limit", op.limit), ("offset", op.offset)):
            if not isinstance(number, int) or not 0 <= number < _MOST_ROWS:
                raise InvalidInput(f"{name} is a whole number from 0, not {number!r:.40}")


def _checked(op: PutOp) -> PutOp:
    """The write with a value of its own, so that a later change by the caller changes nothing here."""
    if op.ttl is not None and not (isinstance(op.ttl, int | float) and 0 < op.ttl <= _MOST_MINUTES):
        raise InvalidInput(f"a time to live is a positive number of minutes, not {op.ttl!r:.40}")
    return op._replace( value=None if op.value is None else store_items.checked_value(op.value))


def _fields(item: StoredItem) -> dict[str, Any]:
    """What LangGraph's `Item` and `SearchItem` both tell of an item."""
    return {
        "value": dict(item.value),
        "key": item.key,
        "namespace": item.path,
        "created_at": item.created_at,
        "updated_at": item.updated_at,
    }
