"""Distil: the student learns to say without the episode what the teacher says with it.

Not known here: questions, exams, SQL. `train` gets items and their targets and leaves one candidate adapter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agent_memory.config import DistillConfig
from agent_memory.consolidation.targets import Item, Targets

if TYPE_CHECKING:
    from agent_memory.models.local import LocalModel


@dataclass(frozen=True, slots=True)
class Trained:
    """What one training left: the candidate adapter's folder and how it went.

    `learnt` are the keys of the items that were learnt when training ended; `tokens` counts what the student read.
    """

    adapter: Path
    steps: int
    tokens: int
    learnt: tuple[str, ...]
    notes: tuple[str, ...]


def train(
    model: LocalModel,
    items: Sequence[Item],
    *,
    targets: Targets,
    anchors: Sequence[Item],
    anchor_targets: Targets,
    parent: Path | None,
    config: DistillConfig,
    seed: int,
    folder: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Trained:
    """Trains one adapter on `items` and leaves it, with its manifest, in `folder / "adapter"`.

    `folder / "checkpoint"` holds the state of an unfinished training; a call that finds one goes on from there and
    ends in the same bytes. `parent` is the adapter to start from, None for zero. Takes the model lock per optimiser
    step. `progress(done_steps, total_steps)` is called after each step; `cancelled()` is asked before each.

    Raises:
        RunFailed: out of memory even with the smallest batch; the loss is not finite; or `cancelled()` said so.
        AdapterRefused: the parent failed its checks.
    """
    raise NotImplementedError
