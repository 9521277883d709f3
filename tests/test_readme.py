"""The README keeps its word: its blocks run, its map and numbers are the files', its commands exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agent_memory import MemoryManager
from agent_memory.cli.app import app
from tests.memories import small

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def test_map_and_numbers_are_what_the_files_say() -> None:
    done = subprocess.run(
        [sys.executable, ".ci/readme.py", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_the_programs_and_the_queries_run_as_they_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    ordinary = MemoryManager.open
    # The reader in the box, but with a short training and a short exam: the words are tried, not the scores.
    monkeypatch.setattr(
        MemoryManager, "open", lambda path, **more: ordinary(path, **{"config": small(), **more})
    )
    programs, (queries,) = blocks("python"), blocks("sql")
    assert len(programs) == 2
    for program in programs:
        exec(compile(program, "README.md", "exec"), {})
    assert "The code for the cellar is 8306." in capsys.readouterr().out
    statements = [one for one in queries.split(";") if one.strip()]
    assert len(statements) == 10
    with MemoryManager.open("memory") as memory:
        for statement in statements:
            memory.sql(statement)
        # The agent of the second program has recorded its question, too.
        assert memory.sql(statements[0])[0]["text"] == "Oksana lives in Salamanca."


def test_the_first_program_has_at_most_twelve_lines() -> None:
    lines = [line for line in blocks("python")[0].splitlines() if line.strip()]
    assert len(lines) <= 12


@pytest.mark.parametrize(
    "line",
    [
        line.split("#")[0].removeprefix("$ ").strip()
        for block in blocks("console")
        for line in block.splitlines()
    ],
)
def test_every_command_that_is_shown_exists(line: str) -> None:
    program, name, *rest = shlex.split(line)
    if program == "make":
        assert re.search(rf"^{name}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
        return
    assert program == "agent-memory"
    shown = CliRunner().invoke(app, [name, "--help"])
    assert shown.exit_code == 0
    assert all(option in shown.stdout for option in rest if option.startswith("--"))
