"""Other settings of the training: one table of them, and columns that are measured once."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

from agent_memory.config import DistillConfig
from benchmarks import memories, variants
from tests.memories import reader


class Killed(BaseException):
    """What a kill is to a test: nothing catches it."""


def test_every_variant_is_one_that_the_settings_allow_and_differs_in_one_thing() -> None:
    defaults = variants.DEFAULTS
    made = {
        name: DistillConfig(**{**defaults.model_dump(), **changed})
        for name, changed in variants.VARIANTS.items()
    }
    assert [name for name, one in made.items() if one == defaults] == ["defaults"]
    assert {one.rank for one in made.values()} == {8, 16, 32}
    assert {one.learning_rate / defaults.learning_rate for one in made.values()} == {0.5, 1.0, 2.0}
    assert {one.alpha / one.rank for one in made.values()} == {defaults.alpha / defaults.rank}


def test_a_killed_ablation_goes_on_with_the_columns_that_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base: Any = reader(tmp_path / "model")
    begun: list[int] = []

    def kept(_memory: Any, _told: Any, *, seed: int) -> dict[str, Any]:
        begun.append(seed)
        if len(begun) == 3:
            raise Killed
        return {"abstention": len(begun)}

    monkeypatch.setattr(variants, "VARIANTS", {"defaults": {}, "rank 8": variants.of_rank(8)})
    monkeypatch.setattr(variants, "loaded", lambda _options: base)
    monkeypatch.setattr(variants, "kept", kept)
    monkeypatch.setattr(memories, "HERE", tmp_path)
    options = argparse.Namespace(episodes=1, seed=0, again=False)
    with pytest.raises(Killed):
        variants.ablation(options)
    columns = variants.ablation(options)["columns"]
    assert begun == [0, 1, 0, 0, 1]
    assert columns["rank 8"]["settings"] == {"rank": 8, "alpha": 16.0}
    assert {
        (name, seed): one["abstention"]
        for name, column in columns.items()
        for seed, one in column["seeds"].items()
    } == {("defaults", "0"): 1, ("defaults", "1"): 2, ("rank 8", "0"): 4, ("rank 8", "1"): 5}
