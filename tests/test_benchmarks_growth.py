"""Growth is read from whole runs of one commit; anything else is said, not plotted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import growth, record


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of results of its own, and a command line without options but the counts."""
    for module in (growth, record):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    monkeypatch.setattr("sys.argv", ["growth.py", "--counts", "20", "100"])
    return tmp_path


def leave(results: Path, episodes: int, *, commit: str = "a", **report: Any) -> None:
    """Leaves what a run of so many episodes would have left."""
    told = {"wall_seconds": 2.0 * episodes, "peak_mb": 100, "resumed": False, **report}
    found = json.dumps({"commit": commit, "report": told})
    (results / f"consolidation-run-{episodes}.json").write_text(found)


def test_twice_the_time_for_twice_the_episodes_is_linear(results: Path) -> None:
    leave(results, 20)
    leave(results, 100)
    points = [growth.point(20), growth.point(100)]
    assert growth.exponent(points, "seconds") == pytest.approx(1.0)
    assert growth.exponent(points, "peak_mb") == pytest.approx(0.0)


def test_figures_and_plot_lie_beside_the_runs(results: Path) -> None:
    pytest.importorskip("matplotlib")  # of the extra for benchmarks
    leave(results, 20)
    leave(results, 100)
    growth.main()
    assert json.loads((results / "growth.json").read_text())["seconds_exponent"] == pytest.approx(1.0)
    assert (results / "growth.png").stat().st_size > 0


@pytest.mark.parametrize("other", [None, {"resumed": True}, {"commit": "b"}])
def test_a_run_that_is_missing_resumed_or_of_other_code_is_refused(
    results: Path, other: dict[str, Any] | None
) -> None:
    leave(results, 20)
    if other is not None:
        leave(results, 100, **other)
    with pytest.raises(SystemExit, match=r"100 episodes|several commits"):
        growth.main()
    assert not (results / "growth.json").exists()
