"""LangChain's own suites, none of their tests overridden; run without network like everything else."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_agent_memory import (
    AgentMemoryEmbeddings,
    AgentMemoryRetriever,
    ForgetMemory,
    Remember,
    SearchMemory,
)
from langchain_tests.integration_tests import (
    EmbeddingsIntegrationTests,
    RetrieversIntegrationTests,
    ToolsIntegrationTests,
)
from langchain_tests.unit_tests import EmbeddingsUnitTests, ToolsUnitTests


class _WithMemory:
    """Three episodes of Alice's."""

    @pytest.fixture(autouse=True)
    def _told(self, memory: Any) -> None:
        self.memory = memory
        added = memory.add_many(
            ["My cat is called Zorro.", "My dog is called Rex.", "I live in Lisbon.", "I drink tea."],
            user_id="alice",
        )
        self.first = added[0].id

    @property
    def _params(self) -> dict[str, Any]:
        return {"memory": getattr(self, "memory", None), "user_id": "alice"}


class TestRetriever(_WithMemory, RetrieversIntegrationTests):
    @property
    def retriever_constructor(self) -> type[AgentMemoryRetriever]:
        return AgentMemoryRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return self._params

    @property
    def retriever_query_example(self) -> str:
        return "What is my cat called, and where do I live?"


class _Search(_WithMemory):
    tool_constructor = SearchMemory
    tool_invoke_params_example = {"query": "cat"}  # noqa: RUF012 (their protocol)

    @property
    def tool_constructor_params(self) -> dict[str, Any]:
        return self._params


class _Remember(_Search):
    tool_constructor = Remember
    tool_invoke_params_example = {"text": "Alice likes jazz."}  # noqa: RUF012 (their protocol)


class _Forget(_Search):
    tool_constructor = ForgetMemory

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        return {"ids": [getattr(self, "first", "")]}


class TestSearchMemoryUnit(_Search, ToolsUnitTests):
    pass


class TestSearchMemory(_Search, ToolsIntegrationTests):
    pass


class TestRememberUnit(_Remember, ToolsUnitTests):
    pass


class TestRemember(_Remember, ToolsIntegrationTests):
    pass


class TestForgetMemoryUnit(_Forget, ToolsUnitTests):
    pass


class TestForgetMemory(_Forget, ToolsIntegrationTests):
    pass


class TestEmbeddingsUnit(EmbeddingsUnitTests):
    embeddings_class = AgentMemoryEmbeddings
    embedding_model_params = {}  # noqa: RUF012 (their protocol)


class TestEmbeddings(EmbeddingsIntegrationTests):
    embeddings_class = AgentMemoryEmbeddings
    embedding_model_params = {}  # noqa: RUF012 (their protocol)
