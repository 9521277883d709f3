"""Kills of a consolidation: the active version loads, the run goes on to the same bytes, nothing is left over.

On the two-layer model every instant of a run, and some at random: the run of
`tests/test_consolidation_kills.py`, with the same checks. With the bundled reader and the settings that ship
the process of `agent-memory consolidate` is killed at random times.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from agent_memory import MemoryManager
from agent_memory.consolidation import versions
from agent_memory.models import adapters
from agent_memory.models.local import LocalModel
from benchmarks import facts


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


def with_the_reader(place: Path, model: LocalModel, *, kills: int, seed: int) -> dict[str, Any]:
    """SIGKILL at random times of a second run of the bundled reader; counts what was unsound."""
    shutil.rmtree(place, ignore_errors=True)
    start, path = place / "start", place / "copy"
    told = [one.text for one in facts.memory(2, seed=seed)]
    with MemoryManager.open(start, user_id="bench", model=model) as memory:
        memory.add(told[0])
        first = memory.consolidate(progress=False).version_id
        memory.add(told[1])
    shutil.copytree(start, path)
    began = time.monotonic()
    _consolidates(path)
    whole = time.monotonic() - began
    wanted = _active_weights(path, model)
    rng, unsound, killed = random.Random(seed), [], 0
    for number in range(kills):
        shutil.rmtree(path)
        shutil.copytree(start, path)
        killed += _killed_after(rng.uniform(0.0, whole), path)
        found = _unsound(path, model, first=first, wanted=wanted)
        unsound += [f"{number}: {found}"] if found else []
        print(f"\rreader {number + 1}/{kills}, unsound {len(unsound)}", end="", flush=True)
    return {"seconds_of_a_run": round(whole, 1), "kills": kills, "hit": killed, "unsound": unsound}


def _command(path: Path) -> list[str]:
    return [sys.executable, "-m", "agent_memory.cli", "consolidate", "--path", str(path), "--user", "bench"]


def _consolidates(path: Path) -> None:
    subprocess.run(_command(path), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _killed_after(seconds: float, path: Path) -> bool:
    """Whether the kill came before the run was over."""
    process = subprocess.Popen(_command(path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return True
    return False


def _unsound(path: Path, model: LocalModel, *, first: str | None, wanted: bytes) -> str:
    """What is wrong after a kill and after the run that goes on; "" where nothing is."""
    try:
        with MemoryManager.open(path, user_id="bench", model=model) as memory:
            (active,) = (version.id for version in memory.versions() if version.state == "active")
            adapters.check(versions.folder(path, active), base=model.fingerprint)
            if memory.verify():
                return "the index does not agree with the record"
        if active == first:
            _consolidates(path)
        if _active_weights(path, model) != wanted:
            return "other bytes"
        left = [child.name for child in (path / "runs").iterdir() if child.is_dir()]
        return f"left over: {left}" if left or len(list((path / "versions").iterdir())) != 2 else ""
    except Exception as error:  # noqa: BLE001 (every kind of failure counts)
        return f"{type(error).__name__}: {error}"


def _active_weights(path: Path, model: LocalModel) -> bytes:
    with MemoryManager.open(path, user_id="bench", model=model) as memory:
        (active,) = (version.id for version in memory.versions() if version.state == "active")
    return (versions.folder(path, active) / "adapter_model.safetensors").read_bytes()
