"""The embedder in the box as a LangChain `Embeddings`: for stores and splitters that ask for that class.

The other way needs nothing: `MemoryManager.open(path, embeddings=...)` takes any LangChain `Embeddings`.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from langchain_core.embeddings import Embeddings


class AgentMemoryEmbeddings(Embeddings):
    """Vectors of the bundled static embedder; the model is read at first use.

    Args:
        model: An embedder to wrap and check instead: `embed_documents` and `embed_query`, or a function.
    """

    def __init__(self, model: Any = None) -> None:
        self._given = model

    @cached_property
    def _model(self) -> Any:
        from agent_memory.models.embedder import as_embedder

        return as_embedder(self._given)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """One vector of length one per text, as lists of floats: (texts, dimension)."""
        vectors: list[list[float]] = self._model.embed_documents(texts)
        return vectors

    def embed_query(self, text: str) -> list[float]:
        """The vector of one text."""
        vector: list[float] = self._model.embed_query(text)
        return vector
