"""95 % intervals of shares, and of differences of shares over the same questions."""

from __future__ import annotations

import math
from collections.abc import Sequence


def wilson(right: int, asked: int, z: float = 1.96) -> tuple[float, float]:
    """The Wilson 95 % interval of a share (Wilson 1927)."""
    if not asked:
        return (0.0, 1.0)
    share, square = right / asked, z * z / asked
    middle = (share + square / 2) / (1 + square)
    half = z * math.sqrt(share * (1 - share) / asked + square / (4 * asked)) / (1 + square)
    return (max(0.0, middle - half), min(1.0, middle + half))


def paired(
    one: Sequence[bool], other: Sequence[bool], *, seed: int = 0, rounds: int = 2000
) -> tuple[float, float]:
    """The 95 % interval of the difference of two shares over the same questions (paired bootstrap)."""
    import numpy as np

    difference = np.array(one, dtype=float) - np.array(other, dtype=float)
    rng = np.random.default_rng(seed)
    means = rng.choice(difference, (rounds, len(difference))).mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return (float(low), float(high))
