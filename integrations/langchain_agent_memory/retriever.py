"""The memory's search as a LangChain retriever: a document per episode, best first.

`k`, `filters`, `as_of`, `user_id` and `agent_id` can be given per call: `retriever.invoke(query, k=3)`. Knows
nothing of prompts; for a context block use `MemoryManager.context` or the middleware.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import Field

from agent_memory.types import SearchResult


class AgentMemoryRetriever(BaseRetriever):
    """Retrieves episodes as documents; score and origin are in their metadata."""

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
        given = {"k": self.k, "filters": self.filters, "user_id": self.user_id, "agent_id": self.agent_id}
        return [to_document(result) for result in self.memory.search(query, **{**given, **kwargs})]


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
