"""A kill at any instant loses nothing that was acknowledged; and the same trial finds a store that lies."""

from __future__ import annotations

from pathlib import Path

from benchmarks.kills import summary, trials


def test_nothing_acknowledged_is_lost_by_kills_at_random_instants(tmp_path: Path) -> None:
    result = summary(list(trials(tmp_path, kills=6, seed=1, chain=6)))
    assert result["not_clean"] == []
    assert result["acknowledged"] > 0


def test_a_store_that_acknowledges_too_early_is_caught(tmp_path: Path) -> None:
    findings = []
    for finding in trials(tmp_path, kills=40, seed=2, chain=40, broken=True):
        findings.append(finding)
        if finding["lost"] or finding["phantom"]:
            break
    result = summary(findings)
    assert result["lost"] + result["phantom"] > 0
