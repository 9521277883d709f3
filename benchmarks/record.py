"""Where a benchmark finds its data and leaves its numbers.

Evaluation data is never part of the project. It lies in the folder named by `AGENT_MEMORY_DATA`, else in
`../shared/data` beside the project; where it is absent a benchmark says so and stops with status 0, for
nothing is wrong with the code. Results are one JSON file per benchmark, with what it takes to get them again:
command, commit, seed, settings, machine and versions. No folder of the machine enters a result.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import shlex
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agent_memory.config import Config

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
    name: str, payload: Mapping[str, Any], *, seed: int | None = None, date: str | None = None,
    settings: Config | None = None,
) -> Path:  # fmt: skip
    """Writes `benchmarks/results/NAME.json` and returns its path.

    Args:
        name: of the benchmark, without a folder or suffix.
        payload: the numbers and the settings that gave them.
        seed: of everything random in the run; None where nothing was.
        date: `YYYY-MM-DD`; today where it is not passed.
        settings: of what was consolidated and asked, where the benchmark is about that.
    """
    head: dict[str, Any] = {
        "benchmark": name,
        "command": shlex.join(["python", *_relative(sys.argv)]),
        "date": date or datetime.now(UTC).date().isoformat(),
        "seed": seed,
        "machine": machine(),
        "versions": versions(),
    }
    if COMMIT is not None:
        head["commit"] = COMMIT
    if settings is not None:
        head["settings"] = settings.model_dump(mode="json", include={"consolidation", "prompt"})
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


def peak_mb(device: str = "cpu") -> int:
    """The most memory that this process has held so far, in MB: on the GPU, or its resident size."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.max_memory_allocated()) >> 20
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) // 1024


def versions() -> dict[str, str]:
    """The installed versions of the packages that numbers depend on."""
    found: dict[str, str] = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """The short name of the commit, with "+" where code has changed since; None where git cannot tell."""
    changes = ("status", "--porcelain", "--", "agent_memory", "benchmarks", ":!benchmarks/results")
    name, changed = _git("rev-parse", "--short", "HEAD"), _git(*changes)
    return None if name is None or changed is None else name + ("+" if changed else "")


def _git(*arguments: str) -> str | None:
    """What git says in the project's folder; None without git or a repository."""
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


#: The commit whose code this process runs: read before a benchmark begins, for it may take hours.
COMMIT = commit()


def portable(argument: str) -> str:
    """An argument without folders of the machine: a path from the project's root on, or its last name."""
    option, equals, value = argument.partition("=")
    if equals and option.startswith("-"):
        return f"{option}={portable(value)}"
    path = Path(argument)
    if not path.is_absolute():
        return argument
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else path.name


def _relative(arguments: list[str]) -> list[str]:
    """The command as typed at the project root, so that no folder of the machine enters a result."""
    return [portable(str(Path(arguments[0]).resolve())), *map(portable, arguments[1:])]


def _processor() -> str:
    """The name of the processor as Linux tells it, else as Python does."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
