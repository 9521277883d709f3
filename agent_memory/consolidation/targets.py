"""Targets: the teacher's top-k log-probabilities for every answer token, computed once and kept.

The teacher is the bare base with the episode in context; it never changes, so its distribution over each
answer token is a constant of the run. Only the k most probable tokens are kept; what they leave over is one
tail bucket (see `loss.py`). All questions about one episode share that episode's prefix, which is computed
once (`models/packing.py`). Anchors are items too: their teacher prompt is the student prompt itself.

Not known here: where questions come from, which items are trained, and where they are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch

from agent_memory.consolidation.halves import in_halves
from agent_memory.consolidation.loss import topk_kl
from agent_memory.errors import InvalidInput
from agent_memory.models.local import LocalModel
from agent_memory.models.packing import Batch, Span

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to learn: after `student`, say `answer` as the base does after `teacher`.

    `key` is unique within one call and names the item's rows in `Targets`. `answer` holds the teacher's own
    token ids, its end token included. Where nothing stands in the teacher's view alone, as with an anchor, or
    the targets are there already, `teacher == student`.
    """

    key: str
    teacher: tuple[int, ...]
    student: tuple[int, ...]
    answer: tuple[int, ...]

    def __post_init__(self) -> None:
        if not (self.teacher and self.student and self.answer):
            raise InvalidInput("an item needs a prompt for teacher and student, and an answer")

    @property
    def teacher_span(self) -> Span:
        """What the teacher reads, and from where on its distribution is kept."""
        return Span((*self.teacher, *self.answer), len(self.teacher))

    @property
    def student_span(self) -> Span:
        """What the student reads, and from where on it is judged."""
        return Span((*self.student, *self.answer), len(self.student))


@dataclass(frozen=True, slots=True)
class Targets:
    """Top-k targets of many items, row after row; item i owns rows `offsets[i]:offsets[i + 1]`.

    `offsets` is (N + 1,) int64, `indices` is (T, k) int32 and `log_probs` is (T, k) float32, where T counts
    answer tokens over all items and each row is in falling order of probability.
    """

    keys: tuple[str, ...]
    offsets: torch.Tensor
    indices: torch.Tensor
    log_probs: torch.Tensor

    def pick(self, keys: Sequence[str]) -> Targets:
        """The targets of these items, in this order.

        Raises:
            KeyError: an item is not here.
        """
        place = {key: i for i, key in enumerate(self.keys)}
        bounds = self.offsets.tolist()
        ranges = [(bounds[place[key]], bounds[place[key] + 1]) for key in keys]
        rows = torch.tensor([row for first, end in ranges for row in range(first, end)], dtype=torch.long)
        return Targets(
            tuple(keys), _offsets([end - first for first, end in ranges]),
            self.indices[rows], self.log_probs[rows],
        )

    def best(self, k: int) -> Targets:
        """The same with at most k columns; what they leave over is in the tail bucket."""
        return replace(self, indices=self.indices[:, :k], log_probs=self.log_probs[:, :k])

    @property
    def k(self) -> int:
        """How many columns there are."""
        return self.indices.shape[1]


def compute(model: LocalModel, items: Sequence[Item], *, top_k: int = 20) -> Targets:
    """The bare base's top-k log-probabilities after `item.teacher`, for every token of `item.answer`.

    The model lock is taken for one pass at a time, and nothing is worn in it; k is at most the vocabulary's
    size. Items that ask and answer the same (one question in several shapes) are computed once. When memory
    runs out, what is left is done in passes of half the size.

    Raises:
        RunFailed: not even one sequence fits into memory.
    """
    spans = list(dict.fromkeys(item.teacher_span for item in items))

    def taught(members: Sequence[int], batch: Batch) -> list[tuple[torch.Tensor, torch.Tensor]]:
        with model.wearing(None):
            return _best(model, batch, [spans[n].predicted for n in members], top_k=top_k)

    found = dict(zip(spans, _of_each(model, spans, taught), strict=True))
    own = [found[item.teacher_span] for item in items]
    if not own:
        return _empty(top_k)
    return Targets(
        tuple(item.key for item in items), _offsets([len(indices) for indices, _ in own]),
        torch.cat([indices for indices, _ in own]), torch.cat([log_probs for _, log_probs in own]),
    )


def divergence(model: LocalModel, items: Sequence[Item], targets: Targets) -> list[float]:
    """KL from targets to the model as it is worn now, after `item.student`: nats per answer token, per item.

    Call it inside `model.wearing(...)`. It is how far a version has drifted on anchors. When memory
    runs out, what is left is done in passes of half the size.

    Raises:
        RunFailed: not even one sequence fits into memory.
    """
    own = targets.pick([item.key for item in items])
    bounds = own.offsets.tolist()

    def surprise(members: Sequence[int], batch: Batch) -> list[float]:
        rows = torch.cat([torch.arange(bounds[n], bounds[n + 1]) for n in members])
        parts = zip(model.logits(batch), torch.split(rows, model.head_chunk), strict=True)
        losses = torch.cat([
            topk_kl(logits, own.indices[part].to(logits.device), own.log_probs[part].to(logits.device)).loss
            for logits, part in parts
        ])
        sizes = [bounds[n + 1] - bounds[n] for n in members]
        return [float(loss.mean()) for loss in torch.split(losses, sizes)]

    with torch.no_grad():
        return _of_each(model, [item.student_span for item in items], surprise)


def _of_each(
    model: LocalModel, spans: Sequence[Span], work: Callable[[Sequence[int], Batch], Sequence[R]]
) -> list[R]:
    """What `work` makes of each span, told which of them are in a batch; in halves when memory runs out."""
    found: dict[int, R] = {}

    def go_on(forward_tokens: int) -> None:
        left = [n for n in range(len(spans)) if n not in found]
        for batch in model.batches([spans[n] for n in left], forward_tokens=forward_tokens):
            members = [left[m] for m in batch.members]
            found.update(zip(members, work(members, batch), strict=True))

    longest = max((len(span.ids) for span in spans), default=1)
    in_halves(go_on, model.forward_tokens, least=longest, alone=f"one sequence of {longest} tokens")
    return [found[n] for n in range(len(spans))]


def _best(
    model: LocalModel, batch: Batch, sizes: Sequence[int], *, top_k: int
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The (n, k) indices and log-probabilities of each member of a batch, whose answers have these sizes."""
    log_probs, indices = [], []
    for logits in model.logits(batch):
        best = logits.log_softmax(-1).topk(min(top_k, logits.shape[-1]), dim=-1)  # (N, k)
        log_probs.append(best.values.cpu())
        indices.append(best.indices.int().cpu())
    parts = (torch.split(torch.cat(tensors), list(sizes)) for tensors in (indices, log_probs))
    return list(zip(*parts, strict=True))


def _offsets(sizes: Sequence[int]) -> torch.Tensor:
    return torch.tensor([0, *sizes], dtype=torch.long).cumsum(0)


def _empty(top_k: int) -> Targets:
    return Targets((), _offsets([]), torch.zeros(0, top_k, dtype=torch.int32), torch.zeros(0, top_k))
