"""Which items an optimiser step trains on: epochs, rest, anchors. Integers only, no tensors.

An epoch passes over the items that are awake when it begins, in an order drawn from the seed. An item that
was found learnt when its turn came rests for one epoch, then for two, four, ... as long as it is found
learnt again: work goes where it is needed, and nothing is trusted for good. Anchors come round in an order
of their own. The learning rate follows the share of the run that is over and not the count of steps, so
resting items shorten a run without changing its shape. The whole state is a few integers per item, and goes
into checkpoints.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent_memory.config import DistillConfig

#: Most passes of a run with few items (chosen: it bounds the time of a run on two or three episodes).
MOST_PASSES = 40


@dataclass(frozen=True, slots=True)
class Step:
    """One optimiser step: items and anchors by index, and the share of the run that is over (0 to 1)."""

    items: tuple[int, ...]
    anchors: tuple[int, ...]
    progress: float


def passes(items: int, config: DistillConfig) -> int:
    """How often a run passes over its items at most: `epochs`, and as often more as fits in `more_steps`."""
    more = config.more_steps // -(-items // config.batch_items)
    return max(config.epochs, min(config.epochs + more, MOST_PASSES))


def peak_rate(items: int, config: DistillConfig, *, continued: bool) -> float:
    """The highest learning rate of a training on so many items, from zero or going on from a version.

    What a step teaches an item must outlast a pass, until the item comes again. Each step between moves the
    weights as far as the rate says, in directions that know nothing of the item: a random walk, whose length
    grows with the root of their number. So beyond `whole_rate_steps` a pass the rate falls with that root.
    """
    steps = -(-items // config.batch_items)
    share = min(1.0, math.sqrt(config.whole_rate_steps / steps))
    return config.learning_rate * share * (config.continued if continued else 1.0)


@dataclass(frozen=True, slots=True)
class Deck:
    """Anchors that are dealt together, card by card; `each` is how many cards a step gets."""

    cards: tuple[tuple[int, ...], ...]
    each: int


class Plan:
    """Deals out the steps of a run; what is learnt is told to it as the run goes."""

    def __init__(
        self, items: int, *, decks: Sequence[Deck], epochs: int, batch_items: int, seed: int
    ) -> None:
        self._decks = [Dealer(deck, seed=f"{seed}/anchors/{n}") for n, deck in enumerate(decks)]
        self._epochs = epochs
        self._batch_items = batch_items
        self._seed = seed
        self._epoch = 0
        self._batches: list[list[int]] = []  # what is left of this epoch, the next batch last
        self._epoch_size = 0
        self._streak = [0] * items  # how often in a row an item was found learnt
        self._wakes = [0] * items  # the epoch from which on it is awake
        self._open_epoch()

    def next(self) -> Step | None:
        """The next step, None when the run is over."""
        while not self._batches:
            if self._epoch + 1 >= self._epochs:
                return None
            self._epoch += 1
            self._open_epoch()
        over = (self._epoch_size - len(self._batches)) / self._epoch_size
        dealt = tuple(anchor for dealer in self._decks for anchor in dealer.deal())
        return Step(tuple(self._batches.pop()), dealt, (self._epoch + over) / self._epochs)

    def note(self, item: int, *, learnt: bool) -> None:
        """Records what a step found of an item."""
        self._streak[item] = self._streak[item] + 1 if learnt else 0
        self._wakes[item] = self._epoch + 1 + (2 ** (self._streak[item] - 1) if learnt else 0)

    def most_steps(self) -> int:
        """How many steps there are if nothing is ever learnt."""
        return self._epochs * -(-len(self._wakes) // self._batch_items)

    def state(self) -> dict[str, Any]:
        """Everything that changes, as JSON values."""
        return {
            "epoch": self._epoch,
            "batches": self._batches,
            "epoch_size": self._epoch_size,
            "dealt": [dealer.dealt for dealer in self._decks],
            "streak": self._streak,
            "wakes": self._wakes,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state` returned."""
        self._epoch, self._epoch_size = state["epoch"], state["epoch_size"]
        for dealer, dealt in zip(self._decks, state["dealt"], strict=True):
            dealer.dealt = dealt
        self._batches = [list(batch) for batch in state["batches"]]
        self._streak, self._wakes = list(state["streak"]), list(state["wakes"])

    def _open_epoch(self) -> None:
        """Cuts the awake items into batches of nearly equal size."""
        awake = [i for i, wakes in enumerate(self._wakes) if wakes <= self._epoch]
        random.Random(f"{self._seed}/items/{self._epoch}").shuffle(awake)
        count = -(-len(awake) // self._batch_items)
        self._batches = [awake[i::count] for i in range(count)][::-1]
        self._epoch_size = count


class Dealer:
    """Deals a deck round after round, each in an order of its own; how far it is, is one number."""

    def __init__(self, deck: Deck, *, seed: str) -> None:
        self.dealt = 0
        self._deck = deck
        self._seed = seed
        self._round = -1
        self._order: list[int] = []  # derived from seed and round

    def deal(self) -> list[int]:
        """The anchors of the next cards; a deck with fewer cards than a step gets is dealt whole."""
        count = len(self._deck.cards)
        chosen: list[int] = []
        for _ in range(min(self._deck.each, count)):
            turn, place = divmod(self.dealt, count)
            if turn != self._round:
                self._round, self._order = turn, list(range(count))
                random.Random(f"{self._seed}/{turn}").shuffle(self._order)
            chosen += self._deck.cards[self._order[place]]
            self.dealt += 1
        return chosen
