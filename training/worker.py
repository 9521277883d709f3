"""One worker of the reader's training: batches, steps in concert with the others, checkpoints, export.

The workers share the weights, the optimiser's state and one gradient each in shared memory; a CUDA device
has a single worker and holds the same tensors itself. A step is: own batch, forward and backward; meet; sum
the gradients of the own share of the weights and its norm; meet; update that share; meet. Rank 0 also keeps
the clock, prints the curve and writes the files.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import sys
import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import multiprocessing

from training import network
from training.attention import attention_for
from training.data import Batch, Encoder, Packer
from training.network import Size
from training.optimiser import Optimiser, views
from training.tokenizer import for_transformers

RUNS = Path(__file__).resolve().parents[1] / "runs" / "reader"
WARMUP = 100  # steps
DECAY = 0.75  # share of the time in which the learning rate falls to zero; most is learnt there


@dataclass(frozen=True)
class Plan:
    """The settings of a run; plain data, recorded in training.json."""

    minutes: float = 90.0
    steps: int = 0  # 0: as many as fit in the time
    seed: int = 0
    device: str = "cpu"
    workers: int = 2
    tokens: int = 1536  # of one worker's batch
    muon: float = 0.008  # learning rate of the matrices
    adam: float = 0.003
    decay: float = 0.0  # weight decay of the matrices, per unit of learning rate
    curriculum: float = 0.5  # share of the time until the world is at its hardest
    world: str = "training.conversations:Conversations"
    compiled: bool = True
    folder: str = str(RUNS)

    def __post_init__(self) -> None:
        if self.device != "cpu" and self.workers != 1:
            raise ValueError(f"on {self.device} one worker trains, not {self.workers}: leave --workers out")


@dataclass
class Shared:
    """What the workers hold in common: in shared memory, or on the device of the only worker."""

    weights: torch.Tensor
    first: torch.Tensor
    second: torch.Tensor
    gradients: list[torch.Tensor]
    counts: torch.Tensor  # (workers, 3): learnt tokens, tokens, squared norm; on the CPU
    control: torch.Tensor  # progress, stop, checkpoint; written by rank 0; on the CPU
    barrier: Any

    @classmethod
    def make(cls, size: Size, plan: Plan) -> Shared:
        """Fresh ones, weights initialised from the seed."""
        flat = torch.cat([w.flatten() for w in network.initial(size, seed=plan.seed).values()])
        first, second, *gradients = (
            torch.zeros_like(flat, device=plan.device) for _ in range(2 + plan.workers)
        )
        barrier = multiprocessing.get_context("spawn").Barrier(plan.workers)
        counts, control = (
            torch.zeros(plan.workers, 3, dtype=torch.float64),
            torch.zeros(3, dtype=torch.float64),
        )
        made = cls(flat.to(plan.device), first, second, gradients, counts, control, barrier)
        if plan.device == "cpu":
            for tensor in (made.weights, first, second, *gradients, counts, control):
                tensor.share_memory_()
        return made

    def meet(self) -> None:
        """Waits for all workers; raises when one is gone."""
        self.barrier.wait(timeout=900)


def rate(progress: float, step: int) -> float:
    """The learning rate's factor: warm-up, constant, linear to zero."""
    return min(1.0, step / WARMUP) * min(1.0, max(0.0, (1 - progress) / DECAY))


def load_world(name: str, *, split: str) -> Any:
    """The world named `module:class`."""
    import importlib

    module, attribute = name.split(":")
    return getattr(importlib.import_module(module), attribute)(split)


def _sources() -> str:
    """A checksum of this folder's code, which tells whether two stages saw the same world."""
    code = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
    return hashlib.sha256(code).hexdigest()[:12]


class Meter:
    """Loss and share of answers right, token by token and whole, for each skill since the last line."""

    def __init__(self) -> None:
        self.sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0, 0.0])

    def add(self, batch: Batch, loss: torch.Tensor, right: torch.Tensor) -> None:
        """Counts a batch: loss and right by learnt token (n,)."""
        losses, rights = loss.tolist(), right.tolist()
        for start, end, skill in batch.spans:
            s = self.sums[skill]
            s[0] += sum(losses[start:end])
            s[1] += end - start
            s[2] += all(rights[start:end])
            s[3] += 1

    def line(self) -> str:
        """The figures as text, and starts anew."""
        parts = [f"{k} {s[0] / s[1]:.3f}/{100 * s[2] / s[3]:.0f}%" for k, s in sorted(self.sums.items())]
        self.sums.clear()
        return "  ".join(parts)


class Worker:
    """One process of the training; rank 0 also keeps the clock, prints and saves."""

    def __init__(self, rank: int, shared: Shared, size: Size, plan: Plan, *, resume: bool) -> None:
        self.rank, self.shared, self.size, self.plan = rank, shared, size, plan
        self.folder = Path(plan.folder)
        self.device = torch.device(plan.device)
        self.tokenizer = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        world = load_world(plan.world, split="train")
        self.packer = Packer(
            world,
            Encoder(self.tokenizer),
            tokens=plan.tokens,
            longest=size.longest,
            seed=f"{plan.seed}/{rank}",
        )
        self.seen, self.step_number, self.before = 0, 0, 0.0
        self.earlier: list[dict[str, Any]] = []  # stages before a resume
        self.sources = _sources()
        if resume:
            self._restore()
        self.weights = {
            name: tensor.detach().requires_grad_()
            for name, tensor in views(shared.weights, size.shapes()).items()
        }
        for name, piece in views(shared.gradients[rank], size.shapes()).items():
            self.weights[name].grad = piece  # where backward adds up
        self.optimiser = self._optimiser()
        cos, sin = network.rotation(size.longest)
        self.turns = cos.to(self.device), sin.to(self.device)
        self.attention = attention_for(self.device)
        self.trunk = torch.compile(network.trunk, dynamic=False) if plan.compiled else network.trunk
        self.meter = Meter()
        self.asked_to_stop = self.asked_to_export = False  # set by signals
        self.started = time.monotonic()

    def _optimiser(self) -> Optimiser:
        shared, plan = self.shared, self.plan
        return Optimiser(
            self.size.shapes(),
            shared.weights,
            shared.first,
            shared.second,
            rank=self.rank,
            world=plan.workers,
        )

    def elapsed(self) -> float:
        """Seconds of training, those before a resume included."""
        return self.before + time.monotonic() - self.started

    def forward_backward(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Adds the batch's summed gradient; loss and hits by learnt token."""
        move = {"device": self.device, "non_blocking": True}
        stream, bounds = batch.ids.to(**move), batch.bounds.to(**move)
        states = self.trunk(self.weights, stream, bounds, self.turns, self.attention)
        loss, right = network.losses(
            states, self.weights["embed"], batch.at.to(**move), batch.targets.to(**move)
        )
        loss.sum().backward()
        return loss.detach(), right

    def step(self) -> None:
        """One update by all workers together."""
        shared, plan, control = self.shared, self.plan, self.shared.control
        progress = float(control[0])
        stage = min(1.0, progress / plan.curriculum)
        batch = self.packer.batch(stage=stage, seen=self.seen)
        shared.gradients[self.rank].zero_()
        loss, right = self.forward_backward(batch)
        shared.counts[self.rank, 0], shared.counts[self.rank, 1] = len(batch.at), batch.used
        shared.meet()
        count, tokens = shared.counts[:, 0].sum().item(), int(shared.counts[:, 1].sum())
        shared.counts[self.rank, 2] = self.optimiser.collect(shared.gradients, count=count)
        shared.meet()
        self.step_number += 1
        self.seen += tokens
        factor = rate(progress, self.step_number)
        norm = shared.counts[:, 2].sum().sqrt().item()
        self.optimiser.step(
            norm=norm,
            muon=plan.muon * factor,
            adam=plan.adam * factor,
            decay=plan.decay,
            number=self.step_number,
        )
        if self.rank == 0:  # what all obey changes here alone, between two meetings
            self.meter.add(batch, loss, right)
            self._keep_time()
        shared.meet()

    def _keep_time(self) -> None:
        control, plan = self.shared.control, self.plan
        share = self.elapsed() / (60 * plan.minutes)
        if plan.steps:
            share = max(share, self.step_number / plan.steps)
        control[0] = share
        if share >= 1 or self.asked_to_stop:
            control[1] = 1

    def _print(self, since: tuple[float, int]) -> None:
        now = self.elapsed()
        speed = (self.seen - since[1]) / max(1e-9, now - since[0])
        print(
            f"{now / 60:6.1f} min  {self.seen / 1e6:7.2f} M tokens  {speed:7.0f}/s  "
            f"step {self.step_number}  {float(self.shared.control[0]):.3f}  {self.meter.line()}",
            flush=True,
        )

    def run(self) -> None:
        """Trains until the time is up or a stop is asked for; rank 0 then exports."""
        control = self.shared.control
        printed = (self.elapsed(), self.seen)
        saved = exported = time.monotonic()
        while control[1] == 0:
            self.step()
            if self.rank == 0:
                now = time.monotonic()
                wait = 60 if self.elapsed() < 1200 else 240
                if self.elapsed() - printed[0] > wait:
                    self._print(printed)
                    printed = (self.elapsed(), self.seen)
                if now - saved > 180:
                    control[2], saved = 1, now
                if self.asked_to_export or now - exported > 600:
                    self.export(self.folder / "export")
                    self.asked_to_export, exported = False, now
            self.shared.meet()
            if control[2] or control[1]:
                self.save()
        if self.rank == 0:
            self._print(printed)

    # ---- what is written ----

    def save(self) -> None:
        """A checkpoint that all workers write together; `last` names it once it is complete."""
        place = self.folder / f"checkpoint-{self.step_number % 2}-{self.step_number}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"data-{self.rank}.json").write_text(json.dumps(self.packer.state()))
        self.shared.meet()
        if self.rank == 0:
            shared = self.shared
            torch.save(
                {name: getattr(shared, name).cpu() for name in ("weights", "first", "second")},
                place / "state.pt",
            )
            state = {"step": self.step_number, "seen": self.seen, "elapsed": self.elapsed()}
            state |= {"progress": float(shared.control[0]), "size": asdict(self.size)}
            state["stages"] = self.stages()
            (place / "state.json").write_text(json.dumps(state))
            beside = self.folder / "last.tmp"
            beside.write_text(place.name)
            beside.replace(self.folder / "last")
            for old in self.folder.glob("checkpoint-*"):
                if old != place:
                    shutil.rmtree(old)
            shared.control[2] = 0
        self.shared.meet()

    def _restore(self) -> None:
        place = self.folder / (self.folder / "last").read_text()
        self.packer.restore(json.loads((place / f"data-{self.rank}.json").read_text()))
        state = json.loads((place / "state.json").read_text())
        self.step_number, self.seen, self.before = state["step"], state["seen"], state["elapsed"]
        self.earlier = state.get("stages", [])

    def export(self, folder: Path) -> None:
        """Puts the present weights where `AutoModelForCausalLM` finds them, switched in whole."""
        beside = folder.with_name(folder.name + ".new")
        shutil.rmtree(beside, ignore_errors=True)
        weights = views(self.shared.weights.cpu(), self.size.shapes())
        tokenizer = for_transformers(self.tokenizer, longest=self.size.longest)
        network.export(weights, self.size, tokenizer, beside)
        (beside / "training.json").write_text(json.dumps(self.record(), indent=1) + "\n")
        folder.mkdir(parents=True, exist_ok=True)
        for file in beside.iterdir():  # file by file: the folder may hold the model card
            os.replace(file, folder / file.name)
        beside.rmdir()

    def stages(self) -> list[dict[str, Any]]:
        """The commands that made these weights, oldest first: each with its sources and where it ended."""
        now = {"command": "python training/reader.py " + " ".join(sys.argv[1:]), "sources": self.sources}
        before = [stage for stage in self.earlier if now.items() - stage.items()]
        return [*before, now | {"tokens": self.seen, "minutes": round(self.elapsed() / 60, 1)}]

    def record(self) -> dict[str, Any]:
        """How these weights came about."""
        import tokenizers
        import transformers

        plan = {k: v for k, v in asdict(self.plan).items() if k != "folder"}
        return {
            "stages": self.stages(),
            "tokens": self.seen,
            "steps": self.step_number,
            "minutes": round(self.elapsed() / 60, 1),
            "plan": plan,
            "size": network.describe(self.size),
            "versions": {
                "python": platform.python_version(),
                "torch": torch.__version__,
                "transformers": transformers.__version__,
                "tokenizers": tokenizers.__version__,
            },
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, {self._device_name()}",
        }

    def _device_name(self) -> str:
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.plan.device
