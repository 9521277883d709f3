"""An environment for a benchmark has what this one has, and leaves nothing half-made."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from benchmarks import environments


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where environments are made."""
    monkeypatch.setattr(environments, "PLACE", tmp_path)
    return tmp_path


def test_it_has_all_that_this_one_has_and_is_made_once() -> None:
    python = environments.python_with("more", ["packaging"])  # which is here already: nothing is fetched
    code = "import agent_memory, torch, sys; print(sys.prefix)"
    done = subprocess.run([str(python), "-c", code], check=True, capture_output=True, text=True)
    assert Path(done.stdout.strip()) == python.parent.parent
    marker = python.parent / "marker"
    marker.touch()
    assert environments.python_with("more", ["packaging"]) == python
    assert marker.exists()


def test_what_cannot_be_installed_is_said_and_nothing_is_left(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(SystemExit):
        environments.python_with("never", ["a-package-that-nobody-has"])
    assert "a-package-that-nobody-has" in capsys.readouterr().err
    assert list(place.iterdir()) == []
