"""The README keeps its word: its blocks run, its map and numbers are the files', its commands exist."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

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


@pytest.fixture
def writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What writes the tables, as a module, with a folder of results of its own."""
    found = importlib.util.spec_from_file_location("readme_writer", ROOT / ".ci" / "readme.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    module.result.cache_clear()
    monkeypatch.setattr(module, "RESULTS", tmp_path)
    return module


def test_the_share_of_the_bare_base_counts_every_stage_in_which_it_answers(writer: Any) -> None:
    seconds = {"write": 10, "answer": 4, "turn": 1, "complete": 2, "change": 1, "anchors": 12, "distill": 60}
    found = {"report": {"seconds": seconds, "wall_seconds": 100, "resumed": False}}
    share = writer.stages_share(*writer.BASE_ANSWERS)
    assert share(found) == "20.0 %"
    found["report"]["resumed"] = True
    assert share(found) == "20.0 % (resumed, not the whole time)"


def test_what_a_result_does_not_have_is_not_measured(writer: Any, tmp_path: Path) -> None:
    (tmp_path / "any.json").write_text(json.dumps({"stale": 0.25}))
    assert writer._read("any", writer.percent("weights: stale")) == "not measured yet"
    either = writer.either(writer.percent("by the version: stale"), writer.percent("stale"))
    assert writer._read("any", either) == "25.0 %"
    assert writer._read("none", writer.percent("stale")) == "not measured yet"


def test_the_ablation_has_a_table_once_it_is_measured_and_nothing_before(writer: Any, tmp_path: Path) -> None:
    assert writer.ablation() == []
    known = {
        "weights": 0.75, "abstention": {"share": 0.9}, "outcome": "promoted", "distill_seconds": 60.4,
        "resumed": False,
    }  # fmt: skip
    columns = {
        "defaults": {"settings": {}, "seeds": {"0": known, "1": {**known, "resumed": True}}},
        "rank 8": {"settings": {"rank": 8}, "seeds": {"0": {**known, "outcome": "rejected"}}},
    }
    distill = {"targets": "all-linear", "rank": 16, "learning_rate": 0.01}
    found = {"settings": {"consolidation": {"distill": distill}}, "episodes": 20, "columns": columns}
    writer.result.cache_clear()
    (tmp_path / "consolidation-ablation-20.json").write_text(json.dumps(found))
    table = "\n".join(writer.ablation())
    assert "(all-linear, rank 16, rate 0.01), on 20 episodes" in table
    assert "| defaults | 75.0 % / 75.0 % | 90.0 % / 90.0 % | 60 / 60 (resumed) |" in table
    assert "| rank 8 | rejected | 90.0 % | 60 |" in table
