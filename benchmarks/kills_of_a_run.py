"""Kills of a consolidation: the active version loads, the run goes on to the same bytes, nothing is left over.

On the two-layer model every instant of a run, and some at random: the run of
`tests/test_consolidation_kills.py`, with the same checks. With the bundled reader and the settings that ship
the process of `agent-memory consolidate` is killed at random times.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from agent_memory import MemoryManager
from agent_memory.consolidation import versions
from agent_memory.models import adapters
from agent_memory.models.local import LocalModel
from agent_memory.store import directory
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
        memory.consolidate(progress=False)
        memory.add(told[1])
    shutil.copytree(start, path)
    whole = _killed_after(None, path)
    wanted = _active_weights(path, model)
    rng, unsound, missed = random.Random(seed), [], 0
    at: list[float] = []
    while len(at) < kills:
        shutil.rmtree(path)
        shutil.copytree(start, path)
        seconds = rng.uniform(0.0, whole)
        if _killed_after(seconds, path) < seconds:
            missed += 1
            continue
        at.append(round(seconds, 1))
        found = _unsound(path, model, wanted=wanted)
        unsound += [f"{seconds:.1f} s: {found}"] if found else []
        print(f"\rreader {len(at)}/{kills}, unsound {len(unsound)}", end="", flush=True)
    return {"seconds_of_a_run": round(whole, 1), "killed_at": at, "over_before": missed, "unsound": unsound}


def _command(path: Path) -> list[str]:
    return [sys.executable, "-m", "agent_memory.cli", "consolidate", "--path", str(path), "--user", "bench"]


def _consolidates(path: Path) -> None:
    subprocess.run(_command(path), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _killed_after(seconds: float | None, path: Path) -> float:
    """Kills a run so many seconds after it began; how long it went on, less where it was over before."""
    process = subprocess.Popen(_command(path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    record = sqlite3.connect(path / directory.FILE)
    while not record.execute("SELECT count(*) FROM runs WHERE state = 'running'").fetchone()[0]:
        if process.poll() is not None:
            raise RuntimeError(f"`agent-memory consolidate` ended with {process.returncode} before its run")
        time.sleep(0.02)
    record.close()
    began = time.monotonic()
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    return time.monotonic() - began


def _unsound(path: Path, model: LocalModel, *, wanted: bytes) -> str:
    """What is wrong after a kill and after the run that goes on; "" where nothing is."""
    try:
        with MemoryManager.open(path, user_id="bench", model=model) as memory:
            (active,) = (version.id for version in memory.versions() if version.state == "active")
            adapters.check(versions.folder(path, active), base=model.fingerprint)
            if memory.verify():
                return "the index does not agree with the record"
        _consolidates(path)  # it goes on, or finds that all is done
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
