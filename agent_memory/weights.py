"""Weights: the slow half of one open memory, as the manager uses it.

It opens the base model at its first use, and joins what the parts need of each other: consolidation gets a
question writer and the search for nearest episodes, answering gets the served version and its marks.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import select

from agent_memory import answer, prompt, served
from agent_memory.config import Config
from agent_memory.errors import AdapterRefused, InvalidInput, NotFound
from agent_memory.progress import Progress
from agent_memory.store.database import Database
from agent_memory.store.owners import owner_of
from agent_memory.store.tables import episodes, namespaces
from agent_memory.types import (
    Answer,
    ConsolidationReport,
    Context,
    Episode,
    Namespace,
    Retrieval,
    SearchResult,
    Version,
)

if TYPE_CHECKING:
    from agent_memory.consolidation.writers import QuestionWriter
    from agent_memory.models.local import LocalModel

logger = logging.getLogger(__name__)

#: A search within a namespace: query, how many.
SearchIn = Callable[[Namespace, str, int], Sequence[SearchResult]]
#: Characters of an episode that the search for its like reads (chosen).
MOST_OF_A_TEXT = 2000


class Weights:
    """The base model of a memory and everything that is done with it; safe from threads.

    `model` is a folder, a name, None for the bundled reader, or a `LocalModel` that is open already.
    """

    def __init__(self, database: Database, *, config: Config, model: Any, search: SearchIn) -> None:
        self._database = database
        self._config = config
        self._wanted = model
        self._search = search
        self._opening = threading.Lock()
        self._model: LocalModel | None = model if hasattr(model, "wearing") else None

    @property
    def model(self) -> LocalModel:
        """The base, opened at first use.

        Raises:
            ModelError: it is missing, altered or unsupported.
        """
        with self._opening:
            if self._model is None:
                from agent_memory.models.local import LocalModel

                self._model = LocalModel.open(self._wanted, config=self._config.model)
            return self._model

    # ------------------------------------------------------------------ answers

    def context(
        self, namespace: Namespace, query: str, *, budget_tokens: int | None, retrieval: Retrieval
    ) -> Context:
        """The block for a query; see `answer.context`. Tokens are the base's own where it is open.

        A lean block opens it, for what is left out must be known to a version of this very base.
        """
        model = self.model if retrieval == "lean" else self._model
        compose = partial(
            answer.context,
            self._of(namespace),
            query,
            budget_tokens=self._config.prompt.budget_tokens if budget_tokens is None else budget_tokens,
            retrieval=retrieval,
            count=None if model is None else lambda text: len(model.token_ids(text)),
            most=self._config.prompt.most_episodes or answer.MANY,
            largest=self._config.search.max_k,
        )
        if model is None or retrieval != "lean":
            return compose()
        what = self._served(namespace, "active", base=model.fingerprint)
        block = compose(known=answer.Known(what.slow))
        return block if what.still() else compose(known=None)

    def respond(
        self,
        namespace: Namespace,
        messages: Sequence[Mapping[str, str]],
        *,
        retrieval: Retrieval | None,
        adapter: str,
        system: str = "",
        max_new_tokens: int | None = None,
    ) -> Answer:
        """What the served version says to a conversation; see `answer.respond`.

        Where it was forgotten, or rolled back, before it had said it, the base is asked anew.
        """
        what = self._served(namespace, adapter, base=self.model.fingerprint)
        say = partial(
            answer.respond,
            self.model,
            messages,
            search=self._of(namespace),
            retrieval=retrieval or self._config.prompt.retrieval or self._best_retrieval(),
            settings=self._config.prompt,
            system=system,
            max_new_tokens=max_new_tokens or self._config.prompt.max_answer_tokens,
            largest=self._config.search.max_k,
        )
        try:
            said = say(what=what)
            if what.still():
                return said
        except AdapterRefused:  # its folder may be gone by now
            if what.still():
                raise
        return say(what=served.BASE)

    def ask(
        self, namespace: Namespace, question: str, *, retrieval: Retrieval | None, adapter: str
    ) -> Answer:
        """A short answer to one question.

        Raises:
            InvalidInput: the question is empty, or does not fit the window.
            NotFound: no such version.
        """
        if not isinstance(question, str) or not question.strip():
            raise InvalidInput("a question is text, and not empty")
        return self.respond(
            namespace,
            [{"role": "user", "content": question}],
            retrieval=retrieval,
            adapter=adapter,
            system=prompt.ASK_SYSTEM,
        )

    def _best_retrieval(self) -> Retrieval:
        """See `PromptConfig.retrieval`."""
        return "lean" if self.model.made_here and self._config.prompt.reader == "base" else "all"

    def _of(self, namespace: Namespace) -> answer.Search:
        return lambda query, most: self._search(namespace, query, most)

    def _served(self, namespace: Namespace, adapter: str, *, base: str | None = None) -> served.Served:
        return served.find(self._database, self._owner(namespace), adapter=adapter, base=base)

    # ------------------------------------------------------------------ consolidation

    def consolidate(
        self,
        namespace: Namespace,
        *,
        dry_run: bool,
        progress: Progress,
        writer: Any = None,
        seed: int = 0,
    ) -> ConsolidationReport:
        """One run, or its preview; see `pipeline.consolidate` and `preview.preview`."""
        from agent_memory.consolidation import pipeline, preview

        owner = self._owner(namespace)
        if owner is None:
            return pipeline.nothing(["nothing was ever stored in this namespace"])
        setting = pipeline.Setting(
            model=self.model,
            writer=self._writer(writer),
            nearest=lambda episode, count: self._nearest(namespace, episode, count),
            config=self._config.consolidation,
            trusted_sources=self._config.trust.trusted_sources,
            placement=self._config.prompt.placement,
            reader=self._config.prompt.reader,
            seed=seed,
        )
        step = preview.preview if dry_run else pipeline.consolidate
        return step(self._database, namespace, owner, setting, progress=progress)

    def _writer(self, wanted: Any) -> QuestionWriter:
        """The question writer that was named: the base by default, "templates", a chat model, or a writer."""
        from agent_memory.consolidation import writers

        study = self._config.consolidation.study
        if wanted is None:
            return writers.OwnWriter(self.model, config=study, trained_to_ask=self.model.made_here)
        if wanted == "templates":
            return writers.TemplateWriter()
        if hasattr(wanted, "write") and hasattr(wanted, "name"):
            written: QuestionWriter = wanted
            return written
        if hasattr(wanted, "invoke"):
            return writers.ChatWriter(wanted, config=study)
        raise InvalidInput('writer is None, "templates", a LangChain chat model, or has `name` and `write`')

    def _nearest(self, namespace: Namespace, episode: Episode, count: int) -> list[int]:
        """The keys of the episodes most like one, without it."""
        if count == 0 or not episode.text.strip():
            return []
        found = self._search(namespace, episode.text[:MOST_OF_A_TEXT], count + 1)
        ids = [result.episode.id for result in found if result.episode.id != episode.id][:count]
        with self._database.read() as connection:
            rows = connection.execute(
                select(episodes.c.id, episodes.c.pk)
                .join(namespaces, namespaces.c.id == episodes.c.namespace_id)
                .where(namespaces.c.key == namespace.key, episodes.c.id.in_(ids))
            )
            keys = {row.id: row.pk for row in rows}
        return [keys[id_] for id_ in ids if id_ in keys]

    # ------------------------------------------------------------------ versions

    def status(self, namespace: Namespace) -> dict[str, Any]:
        """How many episodes are to be learnt, and the run that has begun and not ended, if there is one."""
        from agent_memory.consolidation import runs
        from agent_memory.schedule import unlearnt

        owner = self._owner(namespace)
        if owner is None:
            return {"to_learn": 0, "run": None}
        with self._database.read() as connection:
            return {
                "to_learn": unlearnt(connection, owner, now=self._database.now()),
                "run": runs.begun(connection, owner),
            }

    def versions(self, namespace: Namespace) -> list[Version]:
        """All versions, newest first."""
        from agent_memory.consolidation import versions

        owner = self._owner(namespace)
        if owner is None:
            return []
        with self._database.read() as connection:
            return versions.describe(connection, owner)

    def rollback(self, namespace: Namespace) -> Version | None:
        """The version served now: the newest earlier one that verifies, or None for the bare base.

        Those that it passes over are logged, with the reason.

        Raises:
            NotFound: no version is active.
        """
        from agent_memory.consolidation import versions

        owner = self._owner(namespace)
        if owner is None:
            raise NotFound("no version is active: the bare base is served already")
        now_served, passed = versions.rollback(self._database, owner)
        for why in passed:
            logger.warning("rollback passed over %s", why)
        return next((version for version in self.versions(namespace) if version.id == now_served), None)

    def export(self, namespace: Namespace, path: Path, *, what: Literal["adapter", "model"]) -> None:
        """Writes the active version as files for other software.

        Raises:
            NotFound: no version is active, or it is forgotten meanwhile.
            InvalidInput: the path exists and is not empty.
            AdapterRefused: the version failed its checks.
        """
        from agent_memory.consolidation import export

        found = self._served(namespace, "active")
        if found.adapter is None:
            raise NotFound("no version is active, so there is nothing to export: consolidate first")
        try:
            if what == "adapter":
                export.export_adapter(found.adapter, path, base=found.base, still=found.still)
            else:
                export.export_model(self.model, found.adapter, path, still=found.still)
        except AdapterRefused as refused:  # its folder may be gone by now
            if found.still():
                raise
            raise NotFound("the version was forgotten meanwhile: nothing is exported") from refused

    def _owner(self, namespace: Namespace) -> int | None:
        """The key of the namespace; None where nothing was ever stored in it."""
        with self._database.read() as connection:
            return owner_of(connection, namespace)
