"""One optimiser step of the student.

Everything frozen was computed before: the loop runs no base forward. Sequences go through the model in
packed rows, the head is applied to answer tokens only, and gradients reach LoRA matrices only. When memory
runs out, the same step is done again in passes of half the size; the result is the same up to rounding.

The optimiser is Muon (Jordan et al. 2024, as torch has it, with the step size matched to AdamW's by
Moonlight's rule, arXiv 2502.16982): every LoRA matrix moves as far in its weak directions as in its strong
ones. In a trial (25 episodes, one seed, not a recorded benchmark) it answered as many questions after 0.3 M
tokens as AdamW after 0.6 M, and abstained more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from agent_memory.config import DistillConfig
from agent_memory.consolidation.halves import in_halves
from agent_memory.consolidation.loss import chunked
from agent_memory.consolidation.plan import Step
from agent_memory.consolidation.targets import Item, Targets
from agent_memory.errors import RunFailed
from agent_memory.models.arithmetic import fast_float32
from agent_memory.models.local import LocalModel
from agent_memory.models.packing import Batch, Span
from agent_memory.models.worn import Draft

#: Newton-Schulz iterations with which a step is made orthogonal (chosen: one less than torch's default).
ORTHOGONAL = 4


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a step found: tokens read, and whether each item was learnt."""

    tokens: int
    learnt: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class OnDevice:
    """Items with their targets, where they are trained: spans, and (T, k) indices and log-probabilities."""

    spans: tuple[Span, ...]
    offsets: tuple[int, ...]
    indices: torch.Tensor
    log_probs: torch.Tensor

    @classmethod
    def of(cls, items: Sequence[Item], targets: Targets, *, device: str) -> OnDevice:
        """The items in order, their targets on the device."""
        own = targets.pick([item.key for item in items])
        return cls(
            tuple(item.student_span for item in items), tuple(own.offsets.tolist()),
            own.indices.to(device), own.log_probs.to(device),
        )

    def rows(self, item: int) -> range:
        """The rows of an item's targets."""
        return range(self.offsets[item], self.offsets[item + 1])


class Student:
    """A draft and its optimiser."""

    def __init__(
        self, model: LocalModel, draft: Draft, *, items: OnDevice, anchors: OnDevice, config: DistillConfig,
        forward_tokens: int,
    ) -> None:
        self.forward_tokens = forward_tokens
        self.draft = draft
        self._model = model
        self._items = items
        self._anchors = anchors
        self._config = config
        with model.wearing(draft):
            self.parameters = model.worn.parameters(draft)
        self.optimiser = torch.optim.Muon(
            self.parameters.values(), lr=config.learning_rate, weight_decay=0.0,
            adjust_lr_fn="match_rms_adamw", ns_steps=ORTHOGONAL,
        )  # fmt: skip

    def step(self, step: Step) -> Outcome:
        """Trains once, under the model lock.

        Raises:
            RunFailed: the loss is not finite, or not even one row fits into memory.
        """
        rate = self._config.learning_rate * schedule(step.progress, warm_up=self._config.warm_up)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        with self._model.wearing(self.draft, training=True), fast_float32():
            outcome = self._gradients(step)
            norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), self._config.max_gradient)
            if not math.isfinite(float(norm)):
                raise RunFailed("the loss is no longer finite; a lower learning_rate may help")
            self.optimiser.step()  # type: ignore[no-untyped-call]  # untyped in torch
            self.optimiser.zero_grad(set_to_none=True)
        return outcome

    def _gradients(self, step: Step) -> Outcome:
        """Leaves the step's gradients in the parameters; halves the passes when memory runs out."""

        def attempt(forward_tokens: int) -> Outcome:
            self.forward_tokens = forward_tokens
            self.optimiser.zero_grad(set_to_none=True)
            return self._accumulate(step)

        longest = max(len(span.ids) for span in self._spans(step))
        alone = f"one sequence of {longest} tokens"
        return in_halves(attempt, self.forward_tokens, least=longest, alone=alone)

    def _accumulate(self, step: Step) -> Outcome:
        spans = self._spans(step)
        rows = [self._items.rows(i) for i in step.items] + [self._anchors.rows(a) for a in step.anchors]
        weights = self._weights(rows, items=len(step.items))
        learnt = [False] * len(spans)
        tokens = 0
        for batch in self._model.batches(spans, forward_tokens=self.forward_tokens):
            indices, log_probs = self._targets(batch, rows, items=len(step.items))
            scale = torch.tensor([weights[m] for m in batch.members for _ in rows[m]], device=indices.device)
            with _autocast(self._model.device):
                hidden = self._model.hidden(batch)
            total, found = chunked(
                hidden,
                indices,
                log_probs,
                weights=scale,
                head=self._model.head,
                chunk=self._model.head_chunk,
            )
            total.backward()  # type: ignore[no-untyped-call]  # untyped in torch
            tokens += batch.ids.numel()
            sizes = [len(rows[m]) for m in batch.members]
            close = found.best - log_probs[:, 0] >= math.log(self._config.learnt)
            for member, near in zip(batch.members, torch.split(close, sizes), strict=True):
                learnt[member] = bool(near.all())
        return Outcome(tokens, tuple(learnt[: len(step.items)]))

    def _spans(self, step: Step) -> list[Span]:
        return [self._items.spans[i] for i in step.items] + [self._anchors.spans[a] for a in step.anchors]

    def _weights(self, rows: Sequence[range], *, items: int) -> list[float]:
        """What a token of each sequence weighs: the loss is the mean of answer tokens plus that of anchors.

        Each anchor counts the same whatever its length, since the long ones are unrelated texts and the
        short ones keep abstention.
        """
        answer_tokens = max(1, sum(map(len, rows[:items])))
        anchors = len(rows) - items
        return [1.0 / answer_tokens] * items + [
            self._config.anchor_weight / (anchors * max(1, len(row))) for row in rows[items:]
        ]

    def _targets(
        self, batch: Batch, rows: Sequence[range], *, items: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, k) indices and log-probabilities for the batch's predicted tokens, in its order."""
        parts = [
            (self._items if m < items else self._anchors, slice(rows[m].start, rows[m].stop))
            for m in batch.members
        ]
        return (
            torch.cat([pool.indices[part] for pool, part in parts]),
            torch.cat([pool.log_probs[part] for pool, part in parts]),
        )


def schedule(progress: float, *, warm_up: float) -> float:
    """The learning rate's share of its peak: up over `warm_up` of the run, then down to zero in a line."""
    if progress < warm_up:
        return (progress + 1e-3) / (warm_up + 1e-3)
    return (1.0 - progress) / (1.0 - warm_up)


def _autocast(device: str) -> AbstractContextManager[object]:
    """bfloat16 matrix products on CUDA; plain float32 on the CPU."""
    return torch.autocast("cuda", dtype=torch.bfloat16) if device.startswith("cuda") else nullcontext()
