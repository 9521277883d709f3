"""One small real memory, shared by the suites of the LangChain plug-in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent_memory import MemoryManager


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[MemoryManager]:
    """A memory without a fixed scope."""
    with MemoryManager.open(tmp_path / "memory") as opened:
        yield opened
