"""An environment for a benchmark has what this one has, and one that is not whole is made anew."""

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


def test_one_that_could_not_be_made_whole_is_said_and_made_anew(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(SystemExit):
        environments.python_with("never", ["a-package-that-nobody-has"])
    assert "a-package-that-nobody-has" in capsys.readouterr().err
    python = environments.python_with("never", ["packaging"])
    assert subprocess.run([str(python), "-c", "import packaging"], check=False).returncode == 0
