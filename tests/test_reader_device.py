"""The reader's training computes on the device it was given; what CUDA would do is tried without one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from training import attention, network
from training.network import Size
from training.optimiser import views
from training.reader import ON_CUDA, plan_of, prepare
from training.worker import Plan, Shared, Worker

ROOT = Path(__file__).parent.parent


def worker_on(device: str, folder: Path) -> Worker:
    """The only worker of a small run."""
    plan = Plan(
        device=device, workers=1, tokens=256, compiled=False, folder=str(folder),
        world="tests.test_reader_training:SmallWorld",
    )
    size = Size(vocabulary=prepare(plan).get_vocab_size(), layers=2, width=64, hidden=64)
    shared = Shared.make(size, plan)
    for name in ("o", "down"):  # zero at first, which would hide most gradients
        views(shared.weights, size.shapes())[name].uniform_(-0.1, 0.1)
    return Worker(0, shared, size, plan, resume=False)


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    torch.manual_seed(1)
    return worker_on("cpu", tmp_path)


def gradients(worker: Worker) -> dict[str, torch.Tensor]:
    """What a batch adds to the shared buffer, by name."""
    worker.packer.count, worker.packer.waiting = 0, []
    worker.shared.gradients[0].zero_()
    worker.forward_backward(worker.packer.batch(stage=0.5, seen=10**9))
    return {n: g.clone() for n, g in views(worker.shared.gradients[0], worker.size.shapes()).items()}


def test_backward_adds_to_the_shared_buffer_on_any_device_that_computes(worker: Worker) -> None:
    """The weights are views of the shared tensor, so nothing is left to be copied, on CUDA neither."""
    found = gradients(worker)
    for name, weight in worker.weights.items():
        assert weight.grad is not None
        assert weight.data_ptr() == views(worker.shared.weights, worker.size.shapes())[name].data_ptr()
        assert torch.equal(weight.grad, found[name])
        assert found[name].abs().sum() > 0


@pytest.mark.skipif(attention.kernel() is None, reason="no C++ compiler here")
def test_the_attention_of_other_devices_gives_the_gradients_of_the_kernel(worker: Worker) -> None:
    ours = gradients(worker)
    worker.attention = attention.attention_for(torch.device("cuda"))
    assert worker.attention is attention.masked_attention
    for name, theirs in gradients(worker).items():
        near = torch.nn.functional.cosine_similarity(ours[name].flatten(), theirs.flatten(), dim=0)
        assert near > 0.99, name  # both in bfloat16


def test_a_step_stays_on_the_device_it_was_given(tmp_path: Path) -> None:
    """On PyTorch's device without data, the only foreign one everywhere at hand."""
    worker = worker_on("meta", tmp_path)
    batch = worker.packer.batch(stage=0.5, seen=10**9)
    loss, right = worker.forward_backward(batch)
    shared, optimiser = worker.shared, worker.optimiser
    optimiser.mean = {name: g / 3 for name, g in views(shared.gradients[0], worker.size.shapes()).items()}
    optimiser.step(norm=1.0, muon=0.01, adam=0.01, decay=0.0, number=1)
    on = (loss, right, shared.weights, shared.first, shared.second, shared.gradients[0])
    assert {tensor.device.type for tensor in on} == {"meta"}
    assert all(weight.grad is not None and weight.grad.is_meta for weight in worker.weights.values())
    assert {tensor.device.type for tensor in (shared.counts, shared.control)} == {"cpu"}
    worker.turns = network.rotation(worker.size.longest)
    with pytest.raises(RuntimeError, match="device"):  # so a mixture would have been seen
        worker.forward_backward(batch)


def test_cuda_has_one_worker_and_its_own_batch() -> None:
    assert Plan(device="cuda", workers=ON_CUDA["workers"]).workers == 1
    assert ON_CUDA["tokens"] > Plan.tokens
    with pytest.raises(ValueError, match="one worker"):
        Plan(device="cuda", workers=2)
    assert plan_of({}) == Plan()
    assert plan_of({"workers": 1, "tokens": 512}) == Plan(workers=1, tokens=512)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_without_a_device_is_one_clear_line(tmp_path: Path) -> None:
    command = [sys.executable, "training/reader.py", "--out", str(tmp_path / "out"), "--device", "cuda"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "torch sees no CUDA device" in done.stderr
    assert not (tmp_path / "out").exists()
