"""One small real memory, shared by the suites of the LangChain plug-in."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent_memory import MemoryManager


@pytest.fixture(scope="session")
def _empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A memory whose tables are made; copying it takes a tenth of the time of making another."""
    path = tmp_path_factory.mktemp("template") / "memory"
    MemoryManager.open(path).close()
    return path


@pytest.fixture
def memory(_empty: Path, tmp_path: Path) -> Iterator[MemoryManager]:
    """A memory without a fixed scope."""
    shutil.copytree(_empty, tmp_path / "memory")
    with MemoryManager.open(tmp_path / "memory") as opened:
        yield opened
