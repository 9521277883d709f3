"""A run killed at any instant leaves a good version active, goes on, and ends in the same bytes."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from agent_memory.consolidation import candidate, versions
from agent_memory.errors import AdapterRefused
from agent_memory.models import adapters
from tests.killing import KILLED, killed_at, points
from tests.memories import fact, memory, reader

#: Instants that the test tries; `benchmarks/consolidation.py kills` tries all of them.
TRIED = 8


@dataclass
class Prepared:
    """A memory with one version and a new episode, the bytes that its next run ends in, and its instants."""

    model: Any
    path: Path
    first: str
    weights: bytes
    instants: int

    def copy(self, place: Path) -> Path:
        """A fresh copy of the memory."""
        shutil.copytree(self.path, place)
        return place

    def run(self, path: Path) -> Callable[[], object]:
        """A call that consolidates the memory at a path."""

        def call() -> object:
            with memory(path, self.model) as alice:
                return alice.consolidate(progress=False)

        return call


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepare(tmp_path_factory.mktemp("kills"))


def prepare(place: Path) -> Prepared:
    """A memory with one version, and what an undisturbed second run makes of it."""
    torch.set_num_threads(1)  # a fork cannot use threads of its parent
    model = reader(place / "model")
    path = place / "start"
    with memory(path, model, facts=[fact(0)]) as alice:
        first = alice.consolidate(progress=False).version_id or ""
        alice.add(fact(1))
    made = Prepared(model, path, first, b"", 0)
    whole = made.copy(path.parent / "whole")
    made.run(whole)()
    made.weights = _active_weights(whole, model)
    made.instants = points(made.run(made.copy(path.parent / "counted")))
    return made


def _active_weights(path: Path, model: Any) -> bytes:
    with memory(path, model) as alice:
        (active,) = (version.id for version in alice.versions() if version.state == "active")
    return (path / "versions" / active / "adapter_model.safetensors").read_bytes()


def assert_sound(prepared: Prepared, path: Path) -> None:
    """What a kill left: an active version that loads and answers, and a run that goes on to the same end."""
    with memory(path, prepared.model) as alice:
        (active,) = (version for version in alice.versions() if version.state == "active")
        adapters.check(versions.folder(path, active.id), base=prepared.model.fingerprint)
        assert alice.ask("What is the code of Vela?", retrieval="none").version == active.id
        assert alice.verify() == []
        report = alice.consolidate(progress=False)
        assert (report.outcome == "promoted") == (active.id == prepared.first)
        states = {version.id: version.state for version in alice.versions()}
        assert sorted(states.values()) == ["active", "retired"]
    assert _active_weights(path, prepared.model) == prepared.weights
    assert {child.name for child in (path / "versions").iterdir()} == set(states)
    assert [child for child in (path / "runs").iterdir() if child.is_dir()] == []


@pytest.mark.parametrize("attempt", range(TRIED))
def test_a_killed_run_leaves_a_good_version_and_goes_on(
    tmp_path: Path, prepared: Prepared, attempt: int
) -> None:
    step = prepared.instants / TRIED
    point = int(step * attempt + random.Random(attempt).random() * step)
    path = prepared.copy(tmp_path / "memory")
    assert killed_at(point, prepared.run(path))
    assert_sound(prepared, path)


def test_two_kills_in_one_run_change_nothing(tmp_path: Path, prepared: Prepared) -> None:
    path = prepared.copy(tmp_path / "memory")
    assert killed_at(prepared.instants // 3, prepared.run(path))
    assert killed_at(prepared.instants // 3, prepared.run(path))
    assert_sound(prepared, path)


def test_the_check_sees_a_twin_that_does_not_move_a_version_at_once(
    tmp_path: Path, prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    def file_by_file(source: Path, place: Path) -> None:
        place.mkdir(parents=True)
        first = min(source.iterdir())
        shutil.copyfile(first, place / first.name)
        os._exit(KILLED)  # killed while the folder was not whole

    path = prepared.copy(tmp_path / "memory")
    with monkeypatch.context() as twin:
        twin.setattr(candidate, "_move", file_by_file)
        assert killed_at(prepared.instants, prepared.run(path))
    with pytest.raises((AssertionError, AdapterRefused)):
        assert_sound(prepared, path)
