"""The memory's search as a LangChain retriever: a document per episode, best first.

`k`, `filters`, `as_of`, `user_id` and `agent_id` can be given per call: `retriever.invoke(query, k=3)`. What
only repeats the query is left out, and of equal texts the newest stays, as in a context block. Knows nothing
of prompts; for a context block use `MemoryManager.context` or the middleware.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import ConfigDict, Field

from agent_memory import answer
from agent_memory.types import SearchResult


class AgentMemoryRetriever(BaseRetriever):
    """Retrieves episodes as documents; score and origin are in their metadata."""

    model_config = ConfigDict(extra="forbid")

    memory: Any = Field(exclude=True, repr=False)
    """An open `MemoryManager`."""
    user_id: str | None = None
    """Whose; None leaves it to the memory's fixed scope."""
    agent_id: str | None = None
    """Likewise."""
    k: int = 10
    """How many documents at most."""
    filters: Mapping[str, Any] | None = None
    """Filters of `MemoryManager.search`, for every call that brings none."""

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,  # noqa: ARG002 (theirs)
        **kwargs: Any,
    ) -> list[Document]:
        from agent_memory.search import check_k

        fixed = {"filters": self.filters, "user_id": self.user_id, "agent_id": self.agent_id}
        k, settings = kwargs.pop("k", self.k), {**fixed, **kwargs}
        largest = self.memory.config.search.max_k
        check_k(k, most=largest)

        def search(text: str, most: int) -> Sequence[SearchResult]:
            found: Sequence[SearchResult] = self.memory.search(text, k=most, **settings)
            return found

        return [to_document(one) for one in answer.telling_results(search, query, k, largest=largest)]


def to_document(result: SearchResult) -> Document:
    """The episode as a document: its own metadata, then what the memory knows of it (times in ISO 8601)."""
    episode = result.episode
    metadata = {
        **episode.metadata,
        "score": result.score,
        "role": episode.role,
        "source": episode.source,
        "trust": episode.trust,
        "session_id": episode.session_id,
        "occurred_at": episode.occurred_at.isoformat(),
        "created_at": episode.created_at.isoformat(),
    }
    return Document(id=episode.id, page_content=episode.text, metadata=metadata)
