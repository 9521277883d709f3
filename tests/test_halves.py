"""What does not fit into memory is done in smaller parts, and only what does not fit alone fails the run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from agent_memory.config import StudyConfig
from agent_memory.consolidation import anchors, examine, targets
from agent_memory.consolidation.asking import Asker
from agent_memory.consolidation.halves import in_halves, in_slices
from agent_memory.consolidation.targets import Item
from agent_memory.consolidation.work import Work
from agent_memory.consolidation.writers import OwnWriter
from agent_memory.errors import ModelError, RunFailed
from agent_memory.models import local
from agent_memory.models.loading import is_out_of_memory
from agent_memory.models.local import LocalModel
from tests.memories import memory, noisy_adapter
from tests.test_writers import episode

SAID = "CUDA out of memory. Tried to allocate 2.00 GiB"


def room_for(most: int, seen: list[int]) -> Callable[[Sequence[int]], list[int]]:
    """Doubles numbers, at most so many at a time."""

    def double(part: Sequence[int]) -> list[int]:
        seen.append(len(part))
        if len(part) > most:
            raise RuntimeError("out of memory")
        return [2 * number for number in part]

    return double


def shrink(monkeypatch: pytest.MonkeyPatch, *, rows: int, tokens: int) -> None:
    """As if no more rows could be decoded at once, and no more tokens read in one pass."""
    step, hidden = LocalModel.step, LocalModel.hidden

    def small_step(self: LocalModel, ids: torch.Tensor, **named: Any) -> Any:
        if ids.shape[0] > rows:
            raise torch.OutOfMemoryError(SAID)
        return step(self, ids, **named)

    def small_pass(self: LocalModel, batch: targets.Batch) -> torch.Tensor:
        if batch.ids.numel() > tokens:
            raise torch.OutOfMemoryError(SAID)
        return hidden(self, batch)

    monkeypatch.setattr(LocalModel, "step", small_step)
    monkeypatch.setattr(LocalModel, "hidden", small_pass)


@pytest.fixture
def work(model: LocalModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Work:
    """A run of no episodes that goes on."""
    monkeypatch.setattr(Work, "is_cancelled", lambda _: False)
    asker = Asker(model, max_answer_tokens=6)
    with memory(tmp_path, model) as alice:
        return Work(alice.database, 1, "run", model.fingerprint, 0, model, asker)


# -- the parts themselves

def test_slices_are_halved_until_they_fit_and_nothing_is_done_twice() -> None:
    seen: list[int] = []
    assert in_slices(room_for(2, seen), range(9), most=64) == [0, 2, 4, 6, 8, 10, 12, 14, 16]
    assert seen == [9, 4, 2, 2, 2, 2, 1]


def test_what_fits_is_done_in_slices_of_the_size_that_was_asked_for() -> None:
    seen: list[int] = []
    assert in_slices(room_for(9, seen), range(5), most=2) == [0, 2, 4, 6, 8]
    assert seen == [2, 2, 1]
    assert in_slices(room_for(9, seen), [], most=2) == []


def test_what_does_not_fit_alone_fails_the_run_with_its_cause() -> None:
    with pytest.raises(RunFailed, match="one sequence at a time") as caught:
        in_slices(room_for(0, []), range(9), most=4)
    assert str(caught.value.__cause__) == "out of memory"


def test_the_least_is_tried_before_the_run_fails() -> None:
    tried: list[int] = []

    def work(size: int) -> None:
        tried.append(size)
        raise MemoryError

    with pytest.raises(RunFailed, match="even with one sequence of 30 tokens at a time"):
        in_halves(work, 100, least=30, alone="one sequence of 30 tokens")
    assert tried == [100, 50, 30]


@pytest.mark.parametrize(
    "error", [ValueError("out of memory"), RuntimeError("shape"), RunFailed("out of memory even so")]
)
def test_other_errors_pass_at_once(error: Exception) -> None:
    tried: list[int] = []

    def work(part: Sequence[int]) -> list[int]:
        tried.append(len(part))
        raise error

    with pytest.raises(type(error)) as caught:
        in_slices(work, range(4), most=4)
    assert caught.value is error
    assert tried == [4]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError(SAID),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_it_is_known_how_torch_says_that_memory_ran_out(error: Exception) -> None:
    assert is_out_of_memory(error)


# -- the stages

def test_answers_and_scores_are_the_same_when_memory_is_short(
    model: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    asker = Asker(model, max_answer_tokens=6)
    prompts = [asker.prompt(f"Where is {n}?") for n in range(7)]

    def found() -> tuple[Any, ...]:
        said = asker.answers(prompts)
        ids = [one.ids for one in said]
        return said, asker.says(prompts, ids), asker.least_log_probs(prompts, ids)

    (said, right, nats), longest = found(), max(map(len, prompts)) + 6
    shrink(monkeypatch, rows=2, tokens=2 * longest)
    again = found()
    assert again[:2] == (said, right)
    assert again[2] == pytest.approx(nats, abs=1e-4)


def test_questions_are_the_same_when_memory_is_short(
    model: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = OwnWriter(model, config=StudyConfig(rounds=2, samples=1, max_question_tokens=8))
    episodes = [episode(f"The code is {n}.") for n in range(7)]
    heard: list[list[str]] = []
    monkeypatch.setattr(model, "text", lambda ids: heard[-1].append(str(ids)) or "Where is it?")
    for _ in range(2):
        heard.append([])
        writer.write(episodes, seed=0)
        shrink(monkeypatch, rows=2, tokens=10**6)
    assert heard[0] == heard[1]
    assert len(heard[0]) == 14


def test_targets_and_divergences_are_the_same_when_memory_is_short(
    model: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = [Item(f"{n}", (1, n, 3), (1, n), (2, n, 4)) for n in range(100)]

    def found() -> tuple[targets.Targets, list[float]]:
        computed = targets.compute(model, items)
        with model.wearing(None):
            return computed, targets.divergence(model, items, computed)

    whole, drift = found()
    shrink(monkeypatch, rows=1, tokens=64)
    parts, drift_again = found()
    assert parts.keys == whole.keys
    assert torch.equal(parts.indices[:, 0], whole.indices[:, 0])
    torch.testing.assert_close(parts.log_probs, whole.log_probs, atol=1e-4, rtol=1e-4)
    assert drift_again == pytest.approx(drift, abs=1e-4)


def test_the_exam_on_texts_is_the_same_when_memory_is_short(
    work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = [Item(f"{n}", (1, n, 3), (1, n, 3), (2, n, 4)) for n in range(100)]
    adapter = noisy_adapter(work.model, tmp_path / "adapter")
    whole = examine._texts(work, adapter, items, top_k=20)
    assert whole["anchor_kl"] > 0.01
    shrink(monkeypatch, rows=0, tokens=64)
    assert examine._texts(work, adapter, items, top_k=20) == pytest.approx(whole, abs=1e-4)


def test_as_many_texts_are_sampled_when_memory_is_short(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch, rows=2, tokens=0)
    said = anchors._sampled(work, ["Good morning!", "Hello?", "I am bored.", "Why?", "Who are you?"])
    assert len(said) == 5
    assert all(said)


def test_a_stage_fails_cleanly_where_not_even_one_sequence_fits(
    work: Work, model: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    asker, ids = work.asker, (5, 6, 7)
    writer = OwnWriter(model, config=StudyConfig(samples=1))
    stages: list[Callable[[], object]] = [
        lambda: asker.answers([ids]),
        lambda: asker.says([ids], [ids]),
        lambda: asker.least_log_probs([ids], [ids]),
        lambda: writer.write([episode("It is.")], seed=0),
        lambda: targets.compute(model, [Item("a", ids, ids, ids)]),
        lambda: anchors._sampled(work, ["Hello?"]),
        lambda: examine._log_probs(work, None, [Item("a", ids, ids, ids)]),
    ]
    shrink(monkeypatch, rows=0, tokens=0)
    for stage in stages:
        with pytest.raises(RunFailed, match="out of memory even with one sequence"):
            stage()
    monkeypatch.undo()
    assert asker.answers([ids])


# -- loading

def test_a_base_that_does_not_fit_is_a_model_error_that_says_so(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError(SAID)

    for owner, name in ((torch.nn.Module, "to"), (local, "choose_form")):
        with monkeypatch.context() as short:
            short.setattr(owner, name, full)
            with pytest.raises(ModelError, match="does not fit into the memory of 'cpu'") as caught:
                LocalModel.open(base, device="cpu")
        assert str(caught.value.__cause__) == SAID
    assert LocalModel.open(base, device="cpu")
