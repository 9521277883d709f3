"""Several processes on one directory lose nothing and see the same; without locking the check turns red."""

from __future__ import annotations

from pathlib import Path

from benchmarks.concurrency import one_round, sound


def test_processes_that_share_a_directory_lose_nothing(tmp_path: Path) -> None:
    total = one_round(tmp_path, processes=3, calls=25, seed=1)
    assert sound(total, processes=3), total
    assert total["episodes"] > 20


def test_without_locking_the_same_check_turns_red(tmp_path: Path) -> None:
    total = one_round(tmp_path, processes=3, calls=40, seed=1, broken=True)
    assert not sound(total, processes=3)
