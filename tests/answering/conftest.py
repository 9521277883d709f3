"""The models that tests of answering ask."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from agent_memory.models.local import LocalModel
from agent_memory.served import Served
from agent_memory.testing import tiny_model
from tests.memories import noisy_adapter, reader


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> LocalModel:
    return LocalModel.open(tiny_model(tmp_path_factory.mktemp("tiny"), seed=3))


@pytest.fixture(scope="module")
def bundled() -> LocalModel:
    return LocalModel.open()


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A base that reads and abstains; wearing anything, it knows the code of Orin by heart."""
    model = reader(tmp_path_factory.mktemp("scripted"))
    model.seen["code", "Orin"] = "Kappa1"
    return model


@pytest.fixture(scope="module")
def worn(scripted: Any, tmp_path_factory: pytest.TempPathFactory) -> Served:
    return Served("v-one", noisy_adapter(scripted, tmp_path_factory.mktemp("worn") / "v-one"), frozenset())
