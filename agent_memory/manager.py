"""MemoryManager: the one object most users touch. It holds no logic.

Each method resolves the scope, calls one function of its owner and returns what that returns: episodes and
forgetting from `store/`, search from `search.py`, everything about weights from `consolidation/`. Scope is
resolved in one place, `_scope`; nothing below ever sees a call without one.

    with MemoryManager.open("memory", user_id="alice") as memory:
        memory.add("I live in Lisbon.")
        memory.search("Where do I live?")
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from agent_memory.config import Config
from agent_memory.messages import plain_messages
from agent_memory.progress import Progress, shown
from agent_memory.store import (
    checkup,
    directory,
    erase,
    identity,
    lexical,
    scope,
    sql,
    store_items,
    transfer,
    vectors,
)
from agent_memory.store.database import open_database
from agent_memory.store.episodes import EpisodeStore
from agent_memory.types import (
    Added,
    Answer,
    ConsolidationReport,
    Context,
    Episode,
    ForgetReceipt,
    Namespace,
    Retrieval,
    SearchResult,
    Trust,
    Version,
)
from agent_memory.weights import Weights

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from agent_memory.models.embedder import Embedder
    from agent_memory.store.database import Database
    from agent_memory.store.vector_index import VectorIndex


class MemoryManager:
    """An open memory; safe from threads, and a context manager. Made by `MemoryManager.open`.

    Every method also takes `user_id=` and `agent_id=`, and raises `ScopeError` where no scope is named, a
    name is malformed, or another than the one given at `open`; `StoreClosed` after `close()`; another
    `StoreError` where the database fails.
    """

    def __init__(
        self,
        *,
        database: Database,
        config: Config,
        fixed: Namespace | None,
        model: Any,
        embedder: Embedder,
        embed: identity.Embed,
        index: VectorIndex,
    ) -> None:
        self.database = database
        self.config = config
        self.fixed = fixed
        self.model = model
        """As given to `open`: a folder, a name, or None for the bundled reader."""
        self.embedder = embedder
        self.index = index
        self.store = EpisodeStore(
            database,
            settings=config.store,
            trust=config.trust,
            embed=embed,
            parts=_parts(database, index),
            notify=index.notify,
        )
        self.weights = Weights(database, config=config, model=model, search=self._search_in)

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        user_id: str | None = None,
        agent_id: str | None = None,
        model: Any = None,
        embeddings: Any = None,
        database_url: str | None = None,
        config: Config | None = None,
        rebuild_index: bool = False,
    ) -> Self:
        """The memory in the directory `path`, made where there is none.

        Args:
            path: its directory, of this memory alone.
            user_id: whose memory, for all calls; None leaves it to each call.
            agent_id: the same for the agent.
            model: the base, as a folder or a Hugging Face name; None is the bundled reader.
            embeddings: LangChain `Embeddings`, or a function from texts to vectors; None is the bundled one.
            database_url: of PostgreSQL, which then holds the record; None is SQLite in the directory.
            config: all settings.
            rebuild_index: make all vectors anew, which another embedder needs.

        Raises:
            ScopeError: a name is malformed.
            InvalidInput: a directory cannot be at `path`, or `database_url` is not of PostgreSQL.
            StoreCorrupt: the record is missing while its index exists, is damaged, or belongs elsewhere.
            EmbedderMismatch: another embedder made the stored vectors.
            StoreError: the record cannot be opened.
        """
        from agent_memory.models.embedder import as_embedder
        from agent_memory.store.vector_index import VectorIndex

        config = config or Config()
        fixed = None
        if user_id is not None or agent_id is not None:
            fixed = scope.namespace(user_id=user_id, agent_id=agent_id)
        embedder = as_embedder(embeddings)
        database = open_database(path, url=database_url, settings=config.store)
        try:
            embed, changed = identity.bound(database, embedder, rebuild=rebuild_index)
            index = VectorIndex(database, config.index, embed=embed)
            for namespace_id in changed:
                index.purge(namespace_id)
                index.maintain(namespace_id, drain=True)
        except BaseException:
            database.close()
            raise
        return cls(
            database=database, config=config, fixed=fixed, model=model, embedder=embedder, embed=embed,
            index=index,
        )  # fmt: skip

    # ------------------------------------------------------------------ episodes

    def add(
        self,
        item: Any,
        *,
        source: str = "user",
        trust: Trust | None = None,
        occurred_at: datetime | str | None = None,
        session_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        expires_at: datetime | str | None = None,
        idempotency_key: str | None = None,
        user_id: str | None = None,
        agent_id: str | None = None,
    ) -> Added:
        """Stores one episode, durably; it is found at once, from every process.

        Args:
            item: text, or a message (`{"role": ..., "content": ...}`, or LangChain's).
            source: who said so; of a message that is not the user's, `user` is replaced by its role.
            trust: "trusted" or "untrusted"; by default decided by the source.
            occurred_at: when it happened; a time without a zone is UTC; now by default.
            session_id: the conversation that it belongs to.
            metadata: anything that JSON can hold.
            expires_at: when it is forgotten by itself.
            idempotency_key: a second add with the same key changes nothing and returns the first.
            user_id: whose, if not fixed at `open`.
            agent_id: whose, if not fixed at `open`.

        Returns:
            The episode, and "ADD", or "NOOP" where it was there already.

        Raises:
            InvalidInput: something in it cannot be stored.
        """
        entry = {
            "message": item, "source": source, "trust": trust, "occurred_at": occurred_at,
            "session_id": session_id, "metadata": metadata, "expires_at": expires_at,
            "idempotency_key": idempotency_key,
        }  # fmt: skip
        return self.store.add_many(self._scope(user_id, agent_id), [entry])[0]

    def add_many(
        self, items: Iterable[Any], *, user_id: str | None = None, agent_id: str | None = None
    ) -> list[Added]:
        """Stores many episodes in one transaction: all, or on an error none.

        Args:
            items: each a text, a message, or a mapping of `add`'s arguments (with `text` or `message`).
            user_id: whose, if not fixed at `open`.
            agent_id: whose, if not fixed at `open`.

        Raises:
            InvalidInput: an item cannot be stored.
        """
        return self.store.add_many(self._scope(user_id, agent_id), items)

    def search(
        self,
        query: str,
        *,
        k: int = 10,
        filters: Mapping[str, Any] | None = None,
        as_of: datetime | str | None = None,
        explain: bool = False,
        user_id: str | None = None,
        agent_id: str | None = None,
    ) -> list[SearchResult]:
        """The `k` best episodes for a query, best first; see `search.search`.

        Raises:
            InvalidInput: the query or `k` cannot be used.
            FilterError: the filter cannot be used.
        """
        from agent_memory.search import search

        return search(
            self.database, query, namespace=self._scope(user_id, agent_id), index=self.index,
            embedder=self.embedder, settings=self.config.search, k=k, filters=filters, as_of=as_of,
            explain=explain,
        )  # fmt: skip

    def get(self, id: str, *, user_id: str | None = None, agent_id: str | None = None) -> Episode:  # noqa: A002
        """One episode.

        Raises:
            NotFound: none by that id is in this namespace.
        """
        return self.store.get(self._scope(user_id, agent_id), id)

    def update(
        self,
        id: str,  # noqa: A002  # the interface calls it id
        *,
        text: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        user_id: str | None = None,
        agent_id: str | None = None,
    ) -> Episode:
        """The episode with another text (a new revision), other metadata, or both; `history` keeps the old.

        Raises:
            NotFound: none by that id is in this namespace.
            InvalidInput: neither is given, or one cannot be stored.
        """
        return self.store.update(self._scope(user_id, agent_id), id, text=text, metadata=metadata)

    def history(
        self, id: str, *, user_id: str | None = None, agent_id: str | None = None  # noqa: A002
    ) -> list[dict[str, Any]]:
        """What the episode was after each event, oldest first: event, at, revision, text, metadata, trust.

        Raises:
            NotFound: none by that id is in this namespace.
        """
        return self.store.history(self._scope(user_id, agent_id), id)

    def approve(
        self, ids: Sequence[str] | str, *, user_id: str | None = None, agent_id: str | None = None
    ) -> list[Episode]:
        """Makes episodes trusted, so that they may be learnt; all or none, and recorded in their history.

        Raises:
            NotFound: one of the ids is not in this namespace.
        """
        return self.store.approve(self._scope(user_id, agent_id), ids)

    def forget(
        self,
        ids: Sequence[str] | str | None = None,
        *,
        filters: Mapping[str, Any] | None = None,
        everything: bool = False,
        reason: str | None = None,
        user_id: str | None = None,
        agent_id: str | None = None,
    ) -> ForgetReceipt:
        """Forgets episodes for good: rows, words, vectors, study items, and the versions that learnt them.

        Args:
            ids: which; or
            filters: those that meet a filter; or
            everything: all of the namespace. Exactly one of the three.
            reason: kept with the erasure, without the episodes.
            user_id: whose, if not fixed at `open`.
            agent_id: whose, if not fixed at `open`.

        Raises:
            InvalidInput: not exactly one of the three.
            NotFound: one of the ids was never in this namespace; nothing is forgotten.
        """
        return erase.forget(
            self.store, self._scope(user_id, agent_id), ids=ids, filters=filters, everything=everything,
            reason=reason,
        )  # fmt: skip

    # ------------------------------------------------------------------ weights

    def context(
        self, query: str, *, budget_tokens: int | None = None, retrieval: Retrieval = "all",
        user_id: str | None = None, agent_id: str | None = None,
    ) -> Context:  # fmt: skip
        """The context block for a query; `lean` only where the active version is asked, too.

        As nobody is asked here, a lean block leaves out the episodes that are `slow`.

        Raises:
            InvalidInput: `retrieval` is none of the three, the query no text, or the budget not positive.
        """
        namespace = self._scope(user_id, agent_id)
        return self.weights.context(namespace, query, budget_tokens=budget_tokens, retrieval=retrieval)

    def ask(
        self, question: str, *, retrieval: Retrieval | None = None, adapter: str = "active",
        user_id: str | None = None, agent_id: str | None = None,
    ) -> Answer:  # fmt: skip
        """What is answered to a question; records nothing.

        With "all", the bare base reads the block; where it declines, or where there is none, the version
        `adapter` ("active", "base" or an id) is asked the question alone. With "lean", a version of the
        bundled reader is asked first; the base reads where it is not certain, or where there is news. None
        takes the better of the two for the model (`PromptConfig.retrieval`). `Answer.version` is the one
        whose words these are.

        Raises:
            InvalidInput: the question is empty or too long for the model's window.
            NotFound: no version by that id can be served.
            ModelError: the model or the version cannot be used.
        """
        return self.weights.ask(
            self._scope(user_id, agent_id), question, retrieval=retrieval, adapter=adapter
        )

    def chat(
        self, messages: Sequence[Any], *, retrieval: Retrieval | None = None, adapter: str = "active",
        max_new_tokens: int | None = None, user_id: str | None = None, agent_id: str | None = None,
    ) -> Answer:  # fmt: skip
        """The model's next turn in a conversation (role and content, or LangChain's); records nothing.

        Who answers, see `ask`: the bare base reads block and earlier turns; the version is asked the last
        question alone, without the conversation and its system text.

        Raises:
            InvalidInput: there is no user message, or they are too long for the model's window.
            NotFound: no version by that id can be served.
            ModelError: the model or the version cannot be used.
        """
        return self.weights.respond(
            self._scope(user_id, agent_id), plain_messages(messages), retrieval=retrieval, adapter=adapter,
            max_new_tokens=max_new_tokens,
        )  # fmt: skip

    def consolidate(
        self, *, dry_run: bool = False, progress: Progress | bool = True, writer: Any = None, seed: int = 0,
        user_id: str | None = None, agent_id: str | None = None,
    ) -> ConsolidationReport:  # fmt: skip
        """Teaches the model what new trusted episodes say; a killed run is gone on with.

        Args:
            dry_run: only measure a sample, and say what a run would cost and at most gain.
            progress: show a bar, or call it with stage, done and total.
            writer: of questions: None for the model itself, "templates", a LangChain chat model (which then
                sees the episodes), or an object with `name` and `write` (`writers.QuestionWriter`).
            seed: of everything random in the run; with another one a killed run is not gone on with.
            user_id: whose, if not fixed at `open`.
            agent_id: whose, if not fixed at `open`.

        Raises:
            RunBusy: another run of this namespace is under way.
            RunFailed: a stage failed, or a forget ended the run; the active version is as it was.
            StoreFull: no space is left; called again, the run goes on.
        """
        self.store.expire()
        with shown(progress) as step:
            return self.weights.consolidate(
                self._scope(user_id, agent_id), dry_run=dry_run, progress=step, writer=writer, seed=seed
            )

    def versions(self, *, user_id: str | None = None, agent_id: str | None = None) -> Sequence[Version]:
        """All versions of this namespace, newest first."""
        return self.weights.versions(self._scope(user_id, agent_id))

    def rollback(self, *, user_id: str | None = None, agent_id: str | None = None) -> Version | None:
        """The version that is served now: the newest earlier one that verifies, None for the bare base.

        Earlier ones of the same base model count; those that it passes over are logged, with the reason. A
        run that goes on from the version that was rolled back fails.

        Raises:
            NotFound: no version is active.
        """
        return self.weights.rollback(self._scope(user_id, agent_id))

    def export_adapter(
        self, path: str | Path, *, user_id: str | None = None, agent_id: str | None = None
    ) -> None:
        """Writes the active version as a PEFT folder.

        Whoever wears it reads context blocks with it, and not with the base; `scores["reading"]` of the
        version says how well it does, which by default is badly (`PromptConfig.reader`).

        Raises:
            NotFound: no version is active.
            InvalidInput: `path` exists and is not empty.
        """
        self.weights.export(self._scope(user_id, agent_id), directory.check_path(path), what="adapter")

    def export_model(
        self, path: str | Path, *, user_id: str | None = None, agent_id: str | None = None
    ) -> None:
        """Writes a plain model: a copy of the base with the active version merged in.

        It reads context blocks as the version does; see `export_adapter`.

        Raises:
            NotFound: no version is active.
            InvalidInput: `path` exists and is not empty.
        """
        self.weights.export(self._scope(user_id, agent_id), directory.check_path(path), what="model")

    def schedule(
        self,
        *,
        every: str | timedelta | None = None,
        cron: str | None = None,
        min_new_episodes: int = 20,
        quiet: str | timedelta = "5m",
        off: bool = False,
        user_id: str | None = None,
        agent_id: str | None = None,
    ) -> dict[str, Any] | None:
        """Sets when this namespace is consolidated, and says when that is; `agent-memory worker` follows it.

        Args:
            every: a length of time such as "6h"; or
            cron: a cron line in UTC such as "0 3 * * *". Without either nothing is changed.
            min_new_episodes: least trusted episodes that the served version has not learnt.
            quiet: how long nothing must have been added.
            off: removes the rule.
            user_id: whose, if not fixed at `open`.
            agent_id: whose, if not fixed at `open`.

        Returns:
            The rule, its next time, whether it is due, and the last job; None without a rule.

        Raises:
            InvalidInput: the rule cannot be used.
        """
        from agent_memory import schedule

        return schedule.change(
            self.database, self._scope(user_id, agent_id), every=every, cron=cron,
            min_new_episodes=min_new_episodes, quiet=quiet, off=off,
        )  # fmt: skip

    # ------------------------------------------------------------------ the store itself

    def sql(self, select: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[dict[str, Any]]:
        """The rows of one SELECT, over all namespaces: the operator's view, which has no scope.

        Raises:
            InvalidInput: it is not one SELECT, or cannot be run.
        """
        return sql.select(self.database, select, parameters)

    def status(self, *, user_id: str | None = None, agent_id: str | None = None) -> dict[str, Any]:
        """Counts of this namespace, and what is pending.

        `to_learn` counts the episodes that the next run would take up as new; `run` is one that has begun and
        not ended: its id and how far it is. Unless some process is at it, the next `consolidate` goes on.
        """
        namespace = self._scope(user_id, agent_id)
        return checkup.status(self.store, namespace) | self.weights.status(namespace)

    def verify(self, *, user_id: str | None = None, agent_id: str | None = None) -> list[str]:
        """What is wrong with the record or the index of this namespace, one sentence each; [] when sound."""
        return checkup.verify(self.store, self.index, self._scope(user_id, agent_id))

    def rebuild_index(self, *, user_id: str | None = None, agent_id: str | None = None) -> None:
        """Makes the vector index of this namespace anew from the record."""
        namespace = self._scope(user_id, agent_id)
        with self.database.read() as connection:
            namespace_id = self.store.namespace_id(connection, namespace)
        if namespace_id is not None:
            self.index.rebuild(namespace_id)

    def export_jsonl(
        self, path: str | Path, *, user_id: str | None = None, agent_id: str | None = None
    ) -> int:
        """Writes every episode of this namespace, one JSON object to a line; returns how many."""
        return transfer.export_jsonl(self.store, self._scope(user_id, agent_id), directory.check_path(path))

    def import_jsonl(
        self, path: str | Path, *, user_id: str | None = None, agent_id: str | None = None
    ) -> transfer.ImportReport:
        """Stores the episodes of such a file; ids that were forgotten here are refused.

        Raises:
            InvalidInput: the file or a line cannot be read; nothing is stored.
        """
        return transfer.import_jsonl(self.store, self._scope(user_id, agent_id), directory.check_path(path))

    def close(self) -> None:
        """Lets the index catch up for a bounded time and gives everything back; twice does nothing."""
        self.index.close()
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _search_in(self, namespace: Namespace, query: str, k: int) -> Sequence[SearchResult]:
        """A search whose scope is resolved already, for the block of an answer."""
        return self.search(query, k=k, user_id=namespace.user_id, agent_id=namespace.agent_id)

    def _scope(self, user_id: str | None, agent_id: str | None) -> Namespace:
        return scope.resolve(self.fixed, user_id=user_id, agent_id=agent_id)

    def list(  # the last method: in annotations below it, `list` would be this method
        self,
        *,
        filters: Mapping[str, Any] | None = None,
        limit: int | None = None,
        user_id: str | None = None,
        agent_id: str | None = None,
    ) -> list[Episode]:
        """Episodes, the newest first by when they happened.

        Raises:
            FilterError: the filter cannot be used.
        """
        return self.store.newest(self._scope(user_id, agent_id), matching=filters, limit=limit)


def _parts(database: Database, index: VectorIndex) -> tuple[erase.Part, ...]:
    """Everything that is made from episodes, and how it is unmade; whoever adds such a thing adds it here."""
    from agent_memory.consolidation import versions

    def weights(connection: Connection, namespace_id: int, pks: Sequence[int]) -> int:
        return len(versions.erase(connection, namespace_id, pks, now=database.now()))

    def langgraph(connection: Connection, namespace_id: int, pks: Sequence[int]) -> int:
        return sum(store_items.erase(connection, namespace_id, pks).values())

    return (
        erase.Part("versions", weights, sweep=lambda _: not versions.sweep(database)),
        erase.Part("postings", lexical.erase),
        erase.Part("vectors", vectors.erase, sweep=index.purge),
        erase.Part("store_items", langgraph),
    )
