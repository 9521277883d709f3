"""Kills of a consolidation on the two-layer model: every instant, and some at random.

The run is the one of `tests/test_consolidation_kills.py`, with the same checks: the active version loads
and answers, the run goes on and ends in the same bytes, nothing is left over.
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any


def every_instant(place: Path, *, random_kills: int) -> dict[str, Any]:
    """Kills a run at each of its instants, then at random ones twice in one run; counts what was unsound."""
    from tests.killing import killed_at
    from tests.test_consolidation_kills import assert_sound, prepare

    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    prepared = prepare(place)
    unsound: list[str] = []
    rng = random.Random(0)
    plans = [(point,) for point in range(prepared.instants)]
    plans += [tuple(rng.randrange(prepared.instants) for _ in range(2)) for _ in range(random_kills)]
    for number, plan in enumerate(plans):
        path = prepared.copy(place / "copy")
        try:
            for point in plan:
                killed_at(point, prepared.run(path))
            assert_sound(prepared, path)
        except Exception as error:  # noqa: BLE001 (every kind of failure counts)
            unsound.append(f"{plan}: {type(error).__name__}")
        shutil.rmtree(path)
        print(f"\r{number + 1}/{len(plans)}, unsound {len(unsound)}", end="", flush=True)
    return {"instants": prepared.instants, "random_double_kills": random_kills, "unsound": unsound}
