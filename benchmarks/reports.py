"""Reports of the consolidations of a benchmark, kept so that a killed benchmark goes on where it was.

A consolidation is done once its report lies in the memory's folder, and not before: a version may be a
candidate, or rejected.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from agent_memory import MemoryManager
from agent_memory.consolidation import examine, versions
from agent_memory.durable import write_file
from benchmarks.record import COMMIT, peak_mb


def once(file: Path, make: Callable[[], Any]) -> Any:
    """What the file keeps as JSON; where there is none, it is made, and written wholly or not at all.

    Raises:
        SystemExit: code of another commit made it; the result would be of both.
    """
    if not file.exists():
        write_file(file, json.dumps({"commit": COMMIT, "kept": make()}).encode())
    found = json.loads(file.read_text(encoding="utf-8"))
    if found["commit"] != COMMIT:
        raise SystemExit(f"{file} is of commit {found['commit']}, not of {COMMIT}: start with --again.")
    return found["kept"]


def consolidated(memory: MemoryManager, number: int, *, seed: int) -> dict[str, Any]:
    """The report of the memory's consolidation of this number, from 1; it is done once its report is kept.

    A killed one goes on. One that was killed after it had ended is told from its row.
    """

    def report() -> dict[str, Any]:
        ended = memory.sql("SELECT * FROM runs WHERE state = 'done' ORDER BY started_at")
        if len(ended) < number:
            return _carried_out(memory, seed=seed)
        return _of_row(memory, ended[number - 1])

    found: dict[str, Any] = once(memory.database.path / f"report-{number}.json", report)
    return found


def require_promoted(report: dict[str, Any]) -> None:
    """Lets a row go on only where something was learnt.

    Raises:
        SystemExit: nothing was. Weights that know nothing say nothing wrong, which would pass for a result.
    """
    if report["outcome"] != "promoted":
        why = "; ".join(report["reasons"])
        raise SystemExit(
            f"The run was not promoted ({report['outcome']}: {why}), so there is nothing learnt to ask about: "
            "mend that, and start with --again."
        )


def _carried_out(memory: MemoryManager, *, seed: int) -> dict[str, Any]:
    """The report of a run, its seconds by the wall, and the MB by which it raised the most this process held.

    `resumed` where those are of the last attempt only.
    """
    device = memory.weights.model.device
    held, start = peak_mb(device), time.monotonic()
    report = memory.consolidate(progress=_told, seed=seed)
    wall = time.monotonic() - start
    if not report.run_id:
        raise SystemExit(f"There was nothing to consolidate in {memory.database.path}: start with --again.")
    return {
        "outcome": report.outcome, "version": report.version_id, "wall_seconds": wall,
        "peak_mb": peak_mb(device) - held, "items": report.items,
        "seconds": dict(report.seconds), "tokens": report.tokens, "scores": dict(report.scores),
        "slow": list(report.slow), "reasons": list(report.reasons), "notes": list(report.notes),
        "resumed": any("resumed" in note for note in report.notes),
    }  # fmt: skip


def _of_row(memory: MemoryManager, row: dict[str, Any]) -> dict[str, Any]:
    """The report of a run that has ended; its wall seconds hold the pauses between attempts, too."""
    report = json.loads(row["report"] or "{}")
    begun, ended = (datetime.fromisoformat(row[name]) for name in ("started_at", "finished_at"))
    made = versions.version_of(row["id"])
    with memory.database.read() as connection:
        slow = examine.slow(connection, made) if row["outcome"] == "promoted" else ()
    return {
        "outcome": row["outcome"], "version": made if row["outcome"] in ("promoted", "rejected") else None,
        "wall_seconds": (ended - begun).total_seconds(), "peak_mb": None, "items": report.get("items", 0),
        "seconds": report.get("seconds", {}), "tokens": report.get("tokens", 0),
        "scores": report.get("scores", {}), "slow": list(slow), "reasons": json.loads(row["reasons"]),
        "notes": report.get("notes", []), "resumed": True,
    }  # fmt: skip


def _told(stage: str, done: int, total: int) -> None:
    if done % 50 == 0:
        print(f"\r{stage} {done}/{total}        ", end="", file=sys.stderr, flush=True)
