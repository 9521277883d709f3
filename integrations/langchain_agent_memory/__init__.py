"""Agent memory for LangChain: `create_agent(model, middleware=[AgentMemoryMiddleware(memory)])`.

Each name is imported when first used, so that a program pays only for what it touches. What needs more
than the core says which extra to install.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_agent_memory.chat_model import ChatAgentMemory as ChatAgentMemory
    from langchain_agent_memory.classic import ConsolidatingMemory as ConsolidatingMemory
    from langchain_agent_memory.embeddings import AgentMemoryEmbeddings as AgentMemoryEmbeddings
    from langchain_agent_memory.history import AgentMemoryChatHistory as AgentMemoryChatHistory
    from langchain_agent_memory.middleware import AgentMemoryMiddleware as AgentMemoryMiddleware
    from langchain_agent_memory.retriever import AgentMemoryRetriever as AgentMemoryRetriever
    from langchain_agent_memory.store import AgentMemoryStore as AgentMemoryStore
    from langchain_agent_memory.tools import ForgetMemory as ForgetMemory
    from langchain_agent_memory.tools import Remember as Remember
    from langchain_agent_memory.tools import SearchMemory as SearchMemory
    from langchain_agent_memory.tools import memory_tools as memory_tools

#: Name -> (module, the extra that it needs besides the core, or "").
_HOMES = {
    "AgentMemoryChatHistory": ("history", ""),
    "AgentMemoryEmbeddings": ("embeddings", ""),
    "AgentMemoryMiddleware": ("middleware", "langchain"),
    "AgentMemoryRetriever": ("retriever", ""),
    "AgentMemoryStore": ("store", "langchain"),
    "ChatAgentMemory": ("chat_model", ""),
    "ConsolidatingMemory": ("classic", "classic"),
    "ForgetMemory": ("tools", ""),
    "Remember": ("tools", ""),
    "SearchMemory": ("tools", ""),
    "memory_tools": ("tools", ""),
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Public names are imported when first used (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'langchain_agent_memory' has no attribute {name!r}")
    module, extra = _HOMES[name]
    try:
        return getattr(import_module(f"langchain_agent_memory.{module}"), name)
    except ModuleNotFoundError as error:
        if not extra or (error.name or "").startswith("langchain_agent_memory"):
            raise
        raise ImportError(
            f"{name} needs {error.name}, which is not installed: pip install 'agent-memory-lora[{extra}]'",
            name=error.name,
        ) from error


def __dir__() -> list[str]:
    """The public names, imported or not."""
    return __all__
