"""Which items an optimiser step trains on: epochs, rest, anchors. Integers only, no tensors.

An epoch passes over the items that are awake when it begins, in an order drawn from the seed. An item that
was found learnt when its turn came rests for one epoch, then for two, four, ... as long as it is found
learnt again: work goes where it is needed, and nothing is trusted for good. Anchors come round in an order
of their own. The learning rate follows the share of the run that is over and not the count of steps, so
resting items shorten a run without changing its shape. The whole state is a few integers per item, and goes
into checkpoints.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Step:
    """One optimiser step: items and anchors by index, and the share of the run that is over (0 to 1)."""

    items: tuple[int, ...]
    anchors: tuple[int, ...]
    progress: float


class Plan:
    """Deals out the steps of a run; what is learnt is told to it as the run goes."""

    def __init__(
        self,
        begins: Sequence[float],
        *,
        anchors: int,
        epochs: int,
        batch_items: int,
        batch_anchors: int,
        seed: int,
    ) -> None:
        """`begins` is, per item, the share of the run after which it joins in; `anchors` is their number."""
        self._begins = list(begins)
        self._anchors = anchors
        self._epochs = epochs
        self._batch_items = batch_items
        self._batch_anchors = min(batch_anchors, anchors)
        self._seed = seed
        self._epoch = 0
        self._batches: list[list[int]] = []  # what is left of this epoch, the next batch last
        self._epoch_size = 0
        self._dealt = 0  # anchors so far
        self._streak = [0] * len(self._begins)  # how often in a row an item was found learnt
        self._wakes = [0] * len(self._begins)  # the epoch from which on it is awake
        self._open_epoch()

    def next(self) -> Step | None:
        """The next step, None when the run is over."""
        while not self._batches:
            if self._epoch + 1 >= self._epochs:
                return None
            self._epoch += 1
            self._open_epoch()
        over = (self._epoch_size - len(self._batches)) / self._epoch_size
        return Step(
            tuple(self._batches.pop()), self._deal_anchors(), (self._epoch + over) / self._epochs
        )

    def note(self, item: int, *, learnt: bool) -> None:
        """Records what a step found of an item."""
        self._streak[item] = self._streak[item] + 1 if learnt else 0
        self._wakes[item] = self._epoch + 1 + (2 ** (self._streak[item] - 1) if learnt else 0)

    def learnt(self) -> list[int]:
        """The items that were learnt when last looked at."""
        return [i for i, streak in enumerate(self._streak) if streak]

    def most_steps(self) -> int:
        """How many steps there are if nothing is ever learnt."""
        awake = (
            sum(begins * self._epochs <= epoch for begins in self._begins) for epoch in range(self._epochs)
        )
        return sum(-(-count // self._batch_items) for count in awake)

    def state(self) -> dict[str, Any]:
        """Everything that changes, as JSON values."""
        return {
            "epoch": self._epoch, "batches": self._batches, "epoch_size": self._epoch_size,
            "dealt": self._dealt, "streak": self._streak, "wakes": self._wakes,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state` returned."""
        self._epoch, self._epoch_size, self._dealt = state["epoch"], state["epoch_size"], state["dealt"]
        self._batches = [list(batch) for batch in state["batches"]]
        self._streak, self._wakes = list(state["streak"]), list(state["wakes"])

    def _open_epoch(self) -> None:
        """Cuts the awake items into batches of nearly equal size."""
        awake = [
            i for i, begins in enumerate(self._begins)
            if begins * self._epochs <= self._epoch and self._wakes[i] <= self._epoch
        ]
        random.Random(f"{self._seed}/items/{self._epoch}").shuffle(awake)
        count = -(-len(awake) // self._batch_items)
        self._batches = [awake[i::count] for i in range(count)][::-1]
        self._epoch_size = count

    def _deal_anchors(self) -> tuple[int, ...]:
        """The next anchors; each round over them has its own order."""
        chosen = []
        for _ in range(self._batch_anchors):
            turn, place = divmod(self._dealt, self._anchors)
            if place == 0 or not self._anchor_order or self._anchor_turn != turn:
                self._anchor_turn = turn
                self._anchor_order = list(range(self._anchors))
                random.Random(f"{self._seed}/anchors/{turn}").shuffle(self._anchor_order)
            chosen.append(self._anchor_order[place])
            self._dealt += 1
        return tuple(chosen)

    _anchor_turn = -1
    _anchor_order: list[int] = []  # noqa: RUF012 (a cache, derived from seed and turn; replaced, never changed)
