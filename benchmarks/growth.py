"""How do time and memory of one consolidation grow with the number of episodes?

    python benchmarks/growth.py [--counts 20 50 100 500]

It measures nothing anew: it reads what `python benchmarks/consolidation.py run --episodes N` has left for each
of these numbers (seed 0), all stages of the run that users start, writes `benchmarks/results/growth.json`, and
draws `growth.png` beside it. The results must be of one commit.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.record import RESULTS, record

MEASURED = {"seconds": "seconds, all stages", "peak_mb": "MB of memory above the loaded model's"}


def point(count: int) -> dict[str, Any]:
    """Seconds and peak memory of one run of so many episodes, and its commit.

    Raises:
        SystemExit: it has not been measured, or was resumed, so that its figures are not of the whole run.
    """
    file = RESULTS / f"consolidation-run-{count}.json"
    command = f"python benchmarks/consolidation.py run --episodes {count} --again"
    found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    report = found.get("report", {})
    if "peak_mb" not in report or report["resumed"]:
        raise SystemExit(f"There is no whole measurement of {count} episodes: {command}")
    return {
        "episodes": count, "seconds": report["wall_seconds"], "peak_mb": report["peak_mb"],
        "commit": found.get("commit"),
    }  # fmt: skip


def exponent(points: Sequence[dict[str, Any]], key: str) -> float:
    """The power of the number of episodes with which a figure grows from the first point to the last; 1 is linear."""
    first, last = points[0], points[-1]
    return math.log(last[key] / first[key]) / math.log(last["episodes"] / first["episodes"])


def plot(points: Sequence[dict[str, Any]], path: Path) -> None:
    """Seconds and peak memory by number of episodes, each beside a line through zero and the first point."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    counts = [one["episodes"] for one in points]
    figure, axes = pyplot.subplots(1, len(MEASURED), figsize=(4.5 * len(MEASURED), 3.2), layout="constrained")
    for axis, (key, title) in zip(axes, MEASURED.items(), strict=True):
        axis.plot(counts, [one[key] for one in points], marker="o", label="measured")
        axis.plot(counts, [points[0][key] * n / counts[0] for n in counts], linestyle=":", label="linear")
        axis.set(title=title, xlabel="episodes", xlim=(0, None), ylim=(0, None))
        axis.legend()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def main() -> None:
    """Reads the runs, and leaves the figures and the plot."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--counts", type=int, nargs="+", default=[20, 50, 100, 500])
    points = [point(count) for count in sorted(parser.parse_args().counts)]
    if len({one["commit"] for one in points}) > 1:
        raise SystemExit(f"The runs are of several commits: {[one['commit'] for one in points]}")
    plot(points, RESULTS / "growth.png")
    powers = {f"{key}_exponent": exponent(points, key) for key in MEASURED} if len(points) > 1 else {}
    print(record("growth", {"points": points, **powers}, seed=0))


if __name__ == "__main__":
    main()
