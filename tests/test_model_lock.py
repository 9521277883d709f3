"""Whoever asks for the model waits for one pass of a stage, not for the stage."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from agent_memory.config import ModelConfig, StudyConfig
from agent_memory.consolidation import targets, writers
from agent_memory.consolidation.targets import Item
from agent_memory.consolidation.writers import OwnWriter
from agent_memory.models.local import LocalModel
from agent_memory.testing import tiny_model
from tests.test_writers import episode


@pytest.fixture
def model(tmp_path: Path) -> LocalModel:
    return LocalModel.open(tiny_model(tmp_path, seed=3), config=ModelConfig(forward_tokens=64))


def let_in(model: LocalModel, method: str, work: Callable[[], object]) -> tuple[int, int]:
    """Calls of a method by `work` when a thread that asked during the first got the model, and in the end."""
    real, calls, found = getattr(model, method), 0, []

    def ask() -> None:
        with model.wearing(None):
            found.append(calls)

    asker = threading.Thread(target=ask)

    def counted(*arguments: object, **named: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 1:
            asker.start()
            while not model._lock.waiting:  # until the other thread stands in the queue
                pass
        return real(*arguments, **named)

    setattr(model, method, counted)
    work()
    asker.join()
    return found[0], calls


def teach(model: LocalModel) -> None:
    items = [Item(f"{n}", (1, n, 3), (1, n), (2, n, 4)) for n in range(100)]
    targets.compute(model, items)


def write(model: LocalModel) -> None:
    config = StudyConfig(rounds=1, samples=1, max_question_tokens=8)
    episodes = [episode(f"The code is {n}.") for n in range(3 * writers.BATCH)]
    OwnWriter(model, config=config).write(episodes, seed=0)


@pytest.mark.parametrize(("method", "stage"), [("hidden", teach), ("generate", write)])
def test_another_thread_gets_the_model_after_one_pass(
    model: LocalModel, method: str, stage: Callable[[LocalModel], None]
) -> None:
    after, calls = let_in(model, method, lambda: stage(model))
    assert after == 1 < calls


def test_it_would_wait_to_the_end_where_the_stage_held_the_lock(model: LocalModel) -> None:
    def held() -> None:
        with model.wearing(None):
            teach(model)

    after, calls = let_in(model, "hidden", held)
    assert after == calls > 1
