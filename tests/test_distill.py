"""What is distilled is learnt, the base stays as it was, and a killed training ends in the same bytes."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from agent_memory.config import DistillConfig, ModelConfig
from agent_memory.consolidation import distill, student, targets
from agent_memory.consolidation.checkpoint import identity
from agent_memory.consolidation.targets import Item, Targets
from agent_memory.errors import InvalidInput, ModelError, RunFailed
from agent_memory.models.adapters import WEIGHTS
from agent_memory.models.local import LocalModel
from agent_memory.models.worn import Worn
from agent_memory.testing import tiny_model

CONFIG_OF_RUN = DistillConfig(
    rank=8, epochs=6, more_steps=0, batch_items=8, batch_anchors=4, anchor_weight=1.0, checkpoint_steps=3,
    learning_rate=2e-2,
)


@dataclass(frozen=True)
class Study:
    items: list[Item]
    targets: Targets
    anchors: list[Item]
    anchor_targets: Targets


def study_of(model: LocalModel, *, episodes: int = 5, seed: int = 0) -> Study:
    """Questions whose answers depend on an episode in the system text, answered by the base."""
    chance = random.Random(seed)
    asked = []
    for episode in range(episodes):
        block = f"\n- name{episode} has {chance.randrange(10**6)}"
        for n in range(3):
            question = {"role": "user", "content": f"What has name{episode}, {n}?"}
            teacher, plain = (
                model.prompt_ids([{"role": "system", "content": f"Be brief.{text}"}, question])
                for text in (block, "")
            )
            asked.append((tuple(teacher), tuple(plain)))
    with model.wearing(None):
        answers = model.generate([teacher for teacher, _ in asked], max_new_tokens=4)
    items = [
        Item(f"item{i}", teacher, plain, tuple(answer))
        for i, ((teacher, plain), answer) in enumerate(zip(asked, answers, strict=True))
    ]
    anchors = [Item(f"anchor{i}", it.teacher, it.teacher, it.answer) for i, it in enumerate(items[:5])]
    return Study(items, targets.compute(model, items), anchors, targets.compute(model, anchors))


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("models") / "base", seed=3)


@pytest.fixture(scope="module")
def model(base: Path) -> LocalModel:
    return LocalModel.open(base)


@pytest.fixture(scope="module")
def study(model: LocalModel) -> Study:
    return study_of(model)


class Killed(BaseException):
    """Stands for a kill."""


def train(
    model: LocalModel, study: Study, folder: Path, *, kill_at: int | None = None,
    anchors: Sequence[Item] | None = None, scenes: Sequence[Sequence[Item]] = (), **changes: object,
) -> distill.Trained:  # fmt: skip
    def progress(done: int, most: int) -> None:
        assert 0 < done <= most
        if done == kill_at:
            raise Killed

    alone = study.anchors if anchors is None else anchors
    lessons = distill.Lessons(study.items, study.targets, alone, study.anchor_targets, scenes=scenes)
    arguments = {"parent": None, "config": CONFIG_OF_RUN, "seed": 1, "progress": progress, **changes}
    folder.mkdir(exist_ok=True)
    return distill.train(model, lessons, folder=folder, **arguments)  # type: ignore[arg-type]


def weights(trained: distill.Trained) -> bytes:
    return (trained.adapter / WEIGHTS).read_bytes()


def mean(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers)


# -- learning

def test_training_closes_most_of_the_gap_and_keeps_the_anchors(
    model: LocalModel, study: Study, tmp_path: Path
) -> None:
    with model.wearing(None):
        before = mean(targets.divergence(model, study.items, study.targets))
        assert mean(targets.divergence(model, study.anchors, study.anchor_targets)) < 1e-6
    config = CONFIG_OF_RUN.model_copy(update={"epochs": 25})
    trained = train(model, study, tmp_path, config=config)
    with model.wearing(trained.adapter):
        assert mean(targets.divergence(model, study.items, study.targets)) < 0.2 * before
        assert mean(targets.divergence(model, study.anchors, study.anchor_targets)) < 0.05
    assert trained.tokens > 0


def test_the_base_keeps_every_bit(base: Path, study: Study, tmp_path: Path) -> None:
    model = LocalModel.open(base)

    def bits() -> dict[str, bytes]:
        with model.wearing(None) as network:
            return {
                name.replace(".base_layer", ""): tensor.numpy().tobytes()
                for name, tensor in network.state_dict().items() if ".lora_" not in name
            }

    before = bits()
    train(model, study, tmp_path)
    assert bits() == before


def test_a_run_goes_on_from_its_parent(model: LocalModel, study: Study, tmp_path: Path) -> None:
    config = CONFIG_OF_RUN.model_copy(update={"epochs": 2})  # which leaves much to learn
    parent = train(model, study, tmp_path / "first", config=config)
    child = train(model, study, tmp_path / "second", config=config, parent=parent.adapter, seed=2)
    fresh = train(model, study, tmp_path / "fresh", config=config, seed=2)

    def left(trained: distill.Trained) -> float:
        with model.wearing(trained.adapter):
            return mean(targets.divergence(model, study.items, study.targets))

    assert left(child) < 0.7 * min(left(parent), left(fresh))


def test_a_run_goes_on_in_smaller_steps_than_one_from_zero(
    model: LocalModel, study: Study, tmp_path: Path
) -> None:
    """What was learnt before is not in every batch, and whole steps run over it."""
    parent = train(model, study, tmp_path / "first")

    def moved(name: str, continued: float) -> float:
        config = CONFIG_OF_RUN.model_copy(update={"epochs": 2, "continued": continued})
        child = train(model, study, tmp_path / name, config=config, parent=parent.adapter, seed=2)
        before, after = (load_file(trained.adapter / WEIGHTS) for trained in (parent, child))
        return mean([float((after[key] - tensor).norm()) for key, tensor in before.items()])

    assert moved("small", DistillConfig().continued) < 0.5 * moved("whole", 1.0)


# -- the same bytes

def test_the_same_seed_gives_the_same_bytes_and_another_gives_others(
    base: Path, model: LocalModel, study: Study, tmp_path: Path
) -> None:
    first = weights(train(model, study, tmp_path / "first"))
    assert weights(train(LocalModel.open(base), study, tmp_path / "second")) == first
    assert weights(train(model, study, tmp_path / "third", seed=2)) != first


@pytest.mark.parametrize("kill_at", [1, 3, 4, 7])
def test_a_killed_training_ends_in_the_same_bytes(
    model: LocalModel, study: Study, tmp_path: Path, kill_at: int
) -> None:
    whole = train(model, study, tmp_path / "whole")
    with pytest.raises(Killed):
        train(model, study, tmp_path / "killed", kill_at=kill_at)
    resumed = train(model, study, tmp_path / "killed")
    assert weights(resumed) == weights(whole)
    assert (resumed.steps, resumed.tokens) == (whole.steps, whole.tokens)
    assert sorted(path.name for path in (tmp_path / "killed").iterdir()) == [distill.ADAPTER, distill.DONE]


def test_a_kill_at_any_write_leaves_what_can_be_gone_on_from(
    model: LocalModel, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = CONFIG_OF_RUN.model_copy(update={"epochs": 2, "checkpoint_steps": 2})
    whole = weights(train(model, study, tmp_path / "whole", config=config))
    calls = 0

    def killing(call: int, real: object) -> object:
        def replaced(*arguments: object) -> object:
            nonlocal calls
            calls += 1
            if calls == call:
                raise Killed
            return real(*arguments)  # type: ignore[operator]

        return replaced

    call, survived = 0, False
    while not survived:
        call, calls, folder = call + 1, 0, tmp_path / f"killed{call}"
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", killing(call, os.fsync))
            patched.setattr(os, "replace", killing(call, os.replace))
            try:
                train(model, study, folder, config=config)
                survived = True
            except Killed:
                pass
        assert weights(train(model, study, folder, config=config)) == whole
    assert call > 15


def test_a_killed_training_with_scenes_ends_in_the_same_bytes_and_scenes_count(
    model: LocalModel, study: Study, tmp_path: Path
) -> None:
    config = CONFIG_OF_RUN.model_copy(update={"batch_scenes": 1})
    own: dict[str, Any] = {"anchors": study.anchors[:2], "config": config}
    scenes = [study.anchors[2:4], study.anchors[4:]]
    whole = train(model, study, tmp_path / "whole", scenes=scenes, **own)
    with pytest.raises(Killed):
        train(model, study, tmp_path / "killed", kill_at=4, scenes=scenes, **own)
    assert weights(train(model, study, tmp_path / "killed", scenes=scenes, **own)) == weights(whole)
    assert weights(train(model, study, tmp_path / "none", **own)) != weights(whole)


def test_scenes_of_other_questions_are_other_material(
    model: LocalModel, study: Study, tmp_path: Path
) -> None:
    config = CONFIG_OF_RUN.model_copy(update={"batch_scenes": 1})
    own: dict[str, Any] = {"anchors": study.anchors[:2], "config": config}
    with pytest.raises(Killed):
        train(model, study, tmp_path / "a", kill_at=5, scenes=[study.anchors[2:]], **own)
    fresh = train(model, study, tmp_path / "b", scenes=[study.anchors[2:4]], **own)
    assert weights(train(model, study, tmp_path / "a", scenes=[study.anchors[2:4]], **own)) == weights(fresh)


def test_a_finished_training_is_not_done_again(model: LocalModel, study: Study, tmp_path: Path) -> None:
    first = train(model, study, tmp_path)
    assert train(model, study, tmp_path, kill_at=1) == first


def test_a_checkpoint_of_other_material_is_not_used(model: LocalModel, study: Study, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        train(model, study, tmp_path / "a", kill_at=5)
    fewer = replace(study, items=study.items[:-1])
    fresh = train(model, fewer, tmp_path / "b")
    assert weights(train(model, fewer, tmp_path / "a")) == weights(fresh)


def test_an_answer_from_another_thread_meanwhile_changes_nothing(
    model: LocalModel, study: Study, tmp_path: Path
) -> None:
    alone = weights(train(model, study, tmp_path / "alone"))
    old = train(model, study, tmp_path / "old", seed=9).adapter
    prompts = [item.student for item in study.items]
    with model.wearing(old):
        expected = model.generate(prompts, max_new_tokens=4)
    answers, stop = [], threading.Event()

    def ask() -> None:
        while not stop.is_set():
            with model.wearing(old):
                answers.append(model.generate(prompts[:3], max_new_tokens=4))

    thread = threading.Thread(target=ask)
    thread.start()
    trained = train(model, study, tmp_path / "shared")
    stop.set()
    thread.join()
    assert weights(trained) == alone
    assert len(answers) > 3
    assert all(answer == expected[:3] for answer in answers)


# -- bad input

def test_nothing_to_train_is_refused(model: LocalModel, study: Study, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="nothing to train"):
        train(model, replace(study, items=[]), tmp_path)


def test_an_item_without_an_answer_is_refused() -> None:
    with pytest.raises(InvalidInput):
        Item("key", (1,), (1,), ())


def test_a_cancelled_training_stops_before_its_next_step(
    model: LocalModel, study: Study, tmp_path: Path
) -> None:
    asked: list[bool] = []

    def cancelled() -> bool:
        asked.append(True)
        return len(asked) == 3

    with pytest.raises(RunFailed, match="cancelled"):
        train(model, study, tmp_path, cancelled=cancelled)
    assert not (tmp_path / distill.ADAPTER).exists()


def test_a_loss_that_is_not_finite_fails_the_run(model: LocalModel, study: Study, tmp_path: Path) -> None:
    broken = replace(study.targets, log_probs=study.targets.log_probs.clone().fill_(float("nan")))
    with pytest.raises(RunFailed, match="finite"):
        train(model, replace(study, targets=broken), tmp_path)
    assert not (tmp_path / distill.ADAPTER).exists()


def test_modules_that_the_base_does_not_have_are_refused(model: LocalModel) -> None:
    bare = Worn(torch.nn.Sequential(torch.nn.Linear(2, 2)), base="", name="")
    with pytest.raises(ModelError, match="no modules"):
        bare.fresh(rank=2, alpha=2.0, targets="q_v", seed=0)


def test_when_memory_runs_out_passes_are_halved_and_the_run_goes_on(
    base: Path, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = LocalModel.open(base, config=ModelConfig(forward_tokens=2048))
    real = LocalModel.hidden

    def small(self: LocalModel, batch: student.Batch) -> torch.Tensor:
        if batch.ids.numel() > 150:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
        return real(self, batch)

    monkeypatch.setattr(LocalModel, "hidden", small)
    trained = train(model, study, tmp_path)
    assert trained.notes == ("memory ran out: passes of 128 tokens were used",)


def test_when_not_even_one_sequence_fits_the_run_fails_cleanly(
    base: Path, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = LocalModel.open(base)

    def nothing(self: LocalModel, batch: student.Batch) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(LocalModel, "hidden", nothing)
    with pytest.raises(RunFailed, match="out of memory"):
        train(model, study, tmp_path)
    monkeypatch.undo()
    with model.wearing(None):
        assert model.generate([study.items[0].student], max_new_tokens=2)


# -- targets

def test_targets_can_be_picked(study: Study) -> None:
    keys = [study.items[i].key for i in (4, 0, 2)]
    picked = study.targets.pick(keys)
    assert picked.keys == tuple(keys)
    for key in keys:
        own, again = study.targets.pick([key]), picked.pick([key])
        assert torch.equal(own.log_probs, again.log_probs)
        assert torch.equal(own.indices, again.indices)
    with pytest.raises(KeyError):
        picked.pick(["unknown"])


def test_targets_are_the_distribution_of_the_base_with_the_block(model: LocalModel, study: Study) -> None:
    item = study.items[7]
    own = study.targets.pick([item.key])
    with model.wearing(None) as network, torch.no_grad():
        logits = network(torch.tensor([[*item.teacher, *item.answer]])).logits[0]
    alone = logits[len(item.teacher) - 1 : -1].log_softmax(-1).topk(20)
    torch.testing.assert_close(own.log_probs, alone.values, atol=1e-4, rtol=1e-4)
    assert own.indices[:, 0].tolist() == list(item.answer)  # greedy answers are the first choices


def test_an_identity_changes_with_any_part() -> None:
    tensor = torch.arange(4.0)
    marks = {identity("a", 1, tensor), identity("a", 2, tensor), identity("b", 1, tensor)}
    marks.add(identity("a", 1, tensor + 1))
    assert len(marks) == 4
    assert identity("a", 1, tensor.clone()) in marks
