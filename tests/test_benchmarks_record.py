"""What a result says of how it was measured: code, settings and command, and no folder of a machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent_memory import Config
from benchmarks import record


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Records a result beside the real ones, and gives what the file then says."""
    monkeypatch.setattr(record, "RESULTS", tmp_path)

    def call(**more: Any) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(record.record("any", {"figure": 1}, **more).read_text())
        return found

    return call


def test_settings_of_what_was_consolidated_and_asked_are_recorded_where_they_are_passed(
    recorded: Any,
) -> None:
    assert "settings" not in recorded()
    settings = recorded(settings=Config())["settings"]
    assert settings.keys() == {"consolidation", "prompt"}
    assert settings["consolidation"]["distill"]["rank"] == Config().consolidation.distill.rank


def test_the_commit_is_recorded_where_git_can_tell_it(
    recorded: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(record, "COMMIT", "abc1234+")
    assert recorded()["commit"] == "abc1234+"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert record.commit() is None
    monkeypatch.setattr(record, "COMMIT", record.commit())
    assert "commit" not in recorded()


@pytest.mark.parametrize(
    ("argument", "shown"),
    [
        (str(record.ROOT / "runs" / "base"), "runs/base"),
        ("/somewhere/else/base", "base"),
        ("--trl=/somewhere/else/trl", "--trl=trl"),
        ("--again", "--again"),
        ("organisation/model", "organisation/model"),
        ("--where=a=b", "--where=a=b"),
    ],
)
def test_an_argument_is_shown_without_folders_of_the_machine(argument: str, shown: str) -> None:
    assert record.portable(argument) == shown


def test_no_folder_of_the_machine_enters_a_result(recorded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    script = str(record.ROOT / "benchmarks" / "speed.py")
    monkeypatch.setattr("sys.argv", [script, "time", "--trl", "/somewhere/else/trl"])
    assert recorded()["command"] == "python benchmarks/speed.py time --trl trl"
