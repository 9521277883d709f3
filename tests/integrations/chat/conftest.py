"""Memories of a tiny model, the bundled reader, and a model that takes tools; these two with a version."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent_memory import Config, MemoryManager
from agent_memory.config import PromptConfig
from agent_memory.consolidation import asking
from agent_memory.models.local import LocalModel
from agent_memory.testing import tiny_model
from tests.integrations.chat.chatting import with_version


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> LocalModel:
    return LocalModel.open(tiny_model(tmp_path_factory.mktemp("tiny")))


@pytest.fixture
def memory(
    _empty: Path, tmp_path: Path, tiny: LocalModel, request: pytest.FixtureRequest
) -> Iterator[MemoryManager]:
    """A memory of the tiny model; the parameter, if any, is who reads in it (`PromptConfig.reader`)."""
    import shutil

    shutil.copytree(_empty, tmp_path / "memory")
    config = Config(prompt=PromptConfig(reader=getattr(request, "param", "base")))
    with MemoryManager.open(tmp_path / "memory", model=tiny, config=config) as opened:
        yield opened


@pytest.fixture(scope="session")
def bundled() -> LocalModel:
    return LocalModel.open()


@pytest.fixture
def boxed(
    _empty: Path, tmp_path: Path, bundled: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MemoryManager]:
    """A memory of the bundled reader with a version that answers everything, if not sensibly, believed."""
    import shutil

    monkeypatch.setattr(asking, "SURE", 1e-30)
    shutil.copytree(_empty, tmp_path / "memory")
    with MemoryManager.open(tmp_path / "memory", model=bundled) as opened:
        with_version(opened, bundled, "v-one", seed=1)
        yield opened


@pytest.fixture
def taking_tools(_empty: Path, tmp_path: Path) -> Iterator[MemoryManager]:
    """A memory of another base than the bundled reader, which takes tools, with a version."""
    import shutil

    template = "<bos>{% if tools %}{{ tools | tojson }}{% endif %}{{ messages[-1].content }}<assistant>"
    other = LocalModel.open(tiny_model(tmp_path / "model", template=template))
    shutil.copytree(_empty, tmp_path / "memory")
    with MemoryManager.open(tmp_path / "memory", model=other) as opened:
        with_version(opened, other, "v-one", seed=1)
        yield opened
