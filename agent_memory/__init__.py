"""Agent memory with two speeds: episodes in SQL and a vector index, consolidated into LoRA weights."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from agent_memory.config import Config as Config
    from agent_memory.manager import MemoryManager as MemoryManager
    from agent_memory.types import Episode as Episode

_HOMES = {
    "Config": "agent_memory.config",
    "MemoryManager": "agent_memory.manager",
    **dict.fromkeys(
        ("Added", "Answer", "ConsolidationReport", "Context", "Episode", "ForgetReceipt", "Namespace",
         "SearchResult", "Version"),
        "agent_memory.types",
    ),
}

__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    """Public names are imported when first used (PEP 562), so that the import itself stays light."""
    if name not in _HOMES:
        raise AttributeError(f"module 'agent_memory' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
