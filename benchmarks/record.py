"""Where a benchmark finds its data and leaves its numbers.

Evaluation data is never part of the project. It lies in the folder named by `AGENT_MEMORY_DATA`, else in
`../shared/data` beside the project; where it is absent a benchmark says so and stops with status 0, for
nothing is wrong with the code. Results are one JSON file per benchmark, with what it takes to get them again.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PACKAGES = ("numpy", "torch", "transformers", "tokenizers", "peft", "chromadb", "sqlalchemy", "langchain")


def data_folder(name: str) -> Path:
    """The folder `name` of the evaluation data; stops politely where it is absent.

    Raises:
        SystemExit: with status 0 and a line on stdout, when there is no such folder.
    """
    base = Path(os.environ.get("AGENT_MEMORY_DATA") or ROOT.parent / "shared" / "data")
    if not (base / name).is_dir():
        print(f"No evaluation data {name!r} in {base}: set AGENT_MEMORY_DATA to its folder. Stopped.")
        raise SystemExit(0)
    return base / name


def record(
    name: str, payload: Mapping[str, Any], *, seed: int | None = None, date: str | None = None
) -> Path:
    """Writes `benchmarks/results/NAME.json` and returns its path.

    Args:
        name: of the benchmark, without a folder or suffix.
        payload: the numbers and the settings that gave them.
        seed: of everything random in the run; None where nothing was.
        date: `YYYY-MM-DD`; today where it is not passed.
    """
    head = {
        "benchmark": name,
        "command": shlex.join(["python", *_relative(sys.argv)]),
        "date": date or datetime.now(UTC).date().isoformat(),
        "seed": seed,
        "machine": machine(),
        "versions": versions(),
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    beside = path.with_suffix(".json.part")
    beside.write_text(json.dumps({**head, **payload}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    beside.replace(path)
    return path


def machine() -> dict[str, Any]:
    """The processor, the cores this process may use, and the system."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": _processor(),
        "cores": cores,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def versions() -> dict[str, str]:
    """The installed versions of the packages that numbers depend on."""
    found: dict[str, str] = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _relative(arguments: list[str]) -> list[str]:
    """The command as typed at the project root, so that no folder of the machine enters a result."""
    script = Path(arguments[0]).resolve()
    inside = script.is_relative_to(ROOT)
    return [str(script.relative_to(ROOT)) if inside else script.name, *arguments[1:]]


def _processor() -> str:
    """The name of the processor as Linux tells it, else as Python does."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
