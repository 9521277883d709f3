"""Halves: what does not fit into memory is done again, half as much at a time.

How much goes through a model at once is chosen beforehand, from the model and the device alone
(`models/budget.py`); that may be too much for a machine that does other things besides. Then the same is
done in smaller parts, and the result is the same up to rounding. Only what does not fit by itself fails the
run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from agent_memory.errors import RunFailed
from agent_memory.models.loading import is_out_of_memory

T = TypeVar("T")
R = TypeVar("R")


def in_halves(work: Callable[[int], R], most: int, *, least: int, alone: str) -> R:
    """What `work` gives, which does `most` at a time, and half of that again whenever memory runs out.

    Args:
        work: told how much it may do at a time; called again, it goes on or begins anew, as it likes.
        most: how much is tried first.
        least: how much cannot be halved.
        alone: what that is in words: "one sequence of 80 tokens".

    Raises:
        RunFailed: memory runs out even so.
    """
    while True:
        try:
            return work(most)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if most <= least:
                raise RunFailed(f"out of memory even with {alone} at a time") from error
        most = max(most // 2, least)
        _give_back()


def in_slices(work: Callable[[Sequence[T]], Sequence[R]], items: Sequence[T], *, most: int) -> list[R]:
    """What `work` makes of each item, given at most `most` at a time, and fewer where memory runs out.

    Raises:
        RunFailed: memory runs out even with one item.
    """
    made: list[R] = []

    def go_on(size: int) -> list[R]:
        while len(made) < len(items):
            made.extend(work(items[len(made) : len(made) + size]))
        return made

    return in_halves(go_on, min(most, len(items)), least=1, alone="one sequence")


def _give_back() -> None:
    """Lets go of what torch keeps of a device's memory for later."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
