"""The speed benchmark runs from its command line, on a shape so small that it tells nothing of speed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from agent_memory.config import DistillConfig
from benchmarks import speed


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the base of random weights is made, once for all loops."""
    return tmp_path_factory.mktemp("bases")


@pytest.mark.parametrize("loop", ["ours", "published"])
def test_a_shape_is_measured_as_its_command_does(
    bases: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], loop: str
) -> None:
    row = speed.options(["shapes", "--sizes", "tiny", "--device", "cpu", "--items", "2"])
    given = {**vars(row), "worker": "shape", "loop": loop, "shape": row.sizes[0]}
    given["threads"] = torch.get_num_threads()  # it sets them for the whole process
    monkeypatch.setattr(speed, "BASES", bases)
    monkeypatch.setattr("sys.argv", ["speed.py", "worker", "--given", json.dumps(given, default=str)])
    speed.main()
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["student_tokens"] == 4 * (48 + 16)
    assert found["seconds"] > 0
    assert found["seconds_per_episode"] == pytest.approx(10 * found["seconds"], abs=0.2)
    assert 0 < found["model_flop_utilisation"] < 1
    assert found["peak_mb"] >= 0


def test_the_settings_that_are_recorded_are_those_of_the_row() -> None:
    assert speed.settings_of("time").consolidation.distill == DistillConfig()
    assert speed.settings_of("shapes").consolidation.distill == speed.ONE_PASS
