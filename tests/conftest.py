"""Fixtures that several files share. Not covered: GPUs, macOS, network file systems, power cuts."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent_memory import MemoryManager
from tests import command_line
from tests.store_places import DIALECTS, Place, fresh

if TYPE_CHECKING:
    from agent_memory.models.local import LocalModel


@pytest.fixture(params=DIALECTS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """An empty place on each database."""
    with fresh(request.param, tmp_path / "memory") as found:
        yield found


@pytest.fixture
def memory(place: Place) -> Iterator[MemoryManager]:
    """An empty memory of alice on each database."""
    with place.open(user_id="alice") as opened:
        yield opened


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a base of two layers, with random weights."""
    from agent_memory.testing import tiny_model

    return tiny_model(tmp_path_factory.mktemp("models") / "base", seed=3)


@pytest.fixture
def model(base: Path) -> LocalModel:
    """That base, freshly opened."""
    from agent_memory.models.local import LocalModel

    return LocalModel.open(base)


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """A folder that another user may enter."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


@pytest.fixture
def run(tmp_path: Path) -> command_line.Run:
    """Runs a command on a memory of ada in a temporary directory."""
    return command_line.on(tmp_path / "memory")
