"""Targets: the teacher's top-k log-probabilities for every answer token, computed once and kept.

The teacher is the bare base with the episode in context; it never changes, so its distribution over each answer
token is a constant of the run. Only the k most probable tokens are kept; what they leave over is one tail bucket
(see `loss.py`). All questions about one episode share that episode's prefix, which is computed once
(`models/packing.py`). Anchors are items too: their teacher prompt is the student prompt itself.

Not known here: where questions come from, which items are trained, and where files lie.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from agent_memory.models.local import LocalModel


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to learn: after `student`, say `answer` as the base does after `teacher`.

    `key` is unique within one call and names the item's row in `Targets`. `answer` holds the teacher's own token
    ids, its end-of-turn token included. `begins` is the share of the run (0 to 1) after which the item joins in.
    An anchor has `teacher == student`.
    """

    key: str
    teacher: tuple[int, ...]
    student: tuple[int, ...]
    answer: tuple[int, ...]
    begins: float = 0.0


@dataclass(frozen=True, slots=True)
class Targets:
    """Top-k targets of many items, row after row; item i owns rows `offsets[i]:offsets[i + 1]`.

    `indices` is (T, k) int32 and `log_probs` is (T, k) float32, where T counts answer tokens over all items and
    each row is in falling order of probability.
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
        raise NotImplementedError


def compute(model: LocalModel, items: Sequence[Item], *, top_k: int = 20) -> Targets:
    """The bare base's top-k log-probabilities after `item.teacher`, for every token of `item.answer`.

    Wears nothing while it computes; k is at most the vocabulary's size.
    """
    raise NotImplementedError


def divergence(model: LocalModel, items: Sequence[Item], targets: Targets) -> list[float]:
    """KL from targets to the model as it is worn now, after `item.student`: nats per answer token, per item.

    Call it inside `model.wearing(...)`. It is the surprise of an item, the teacher-student gap of a preview and
    the drift on anchors.
    """
    raise NotImplementedError


def merge(parts: Sequence[Targets]) -> Targets:
    """All parts as one, in order; all must have the same k.

    Raises:
        ValueError: the parts differ in k, or two share a key.
    """
    raise NotImplementedError


def save(path: Path, targets: Targets) -> None:
    """Writes one safetensors file atomically: beside, fsync, rename, fsync of the folder."""
    raise NotImplementedError


def load(path: Path) -> Targets:
    """What `save` wrote.

    Raises:
        StoreCorrupt: the file is not what `save` writes.
    """
    raise NotImplementedError
