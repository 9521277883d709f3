"""The demo: its log is told in words that the reader's training never held, and a second run goes on."""

from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from agent_memory.cli import demo
from agent_memory.cli.app import app
from agent_memory.cli.demo import ASKED_AFTERWARDS, FORGOTTEN, lines
from agent_memory.manager import MemoryManager
from tests.memories import NAMES, fact, letters, reader, small
from training import pools

LOG, QUESTIONS = lines("log.jsonl"), lines("questions.jsonl")


def test_the_log_is_a_week_of_some_sixty_messages() -> None:
    assert 55 <= len(LOG) <= 65
    times = [datetime.fromisoformat(one["occurred_at"]) for one in LOG]
    assert times == sorted(times)
    assert {one["role"] for one in LOG} == {"user", "assistant", "tool", "system"}


def test_names_and_values_are_absent_from_the_readers_training() -> None:
    trained = set(re.findall(r"[A-Z][\w-]+", Path(pools.__file__).read_text(encoding="utf-8")))
    told = " ".join(one["text"] for one in LOG if one["source"] == "user")
    names = set(re.findall(r"(?<![.!:] )(?<!^)\b[A-Z][a-z]{3,}\b", told))
    everyday = {"When", "Project", "News", "Thursday", "Noted"}
    assert len(names - everyday) >= 15
    assert not (names - everyday) & trained


def test_every_question_is_about_one_message_and_its_answer_stands_there() -> None:
    for one in QUESTIONS:
        about = [told["text"] for told in LOG if one["about"] and told["text"].startswith(one["about"])]
        assert len(about) == (1 if one["about"] else 0)
        assert all(one["answer"] in text for text in about)
    assert any(told["text"].startswith(FORGOTTEN) for told in LOG)
    assert ASKED_AFTERWARDS in {one["question"] for one in QUESTIONS}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the demo, each time with a scripted reader that has read nothing yet."""
    ordinary = MemoryManager.open

    def opened(path: Path, **arguments: Any) -> MemoryManager:
        model = reader(tmp_path / "model")
        return ordinary(path, **{**arguments, "model": model, "config": small(), "embeddings": letters})

    monkeypatch.setattr(MemoryManager, "open", opened)
    return lambda *more: CliRunner().invoke(app, ["demo", "--path", str(tmp_path / "demo"), *more])


def test_a_second_run_adds_nothing_and_what_was_forgotten_stays_so(run: Any) -> None:
    """With the log as it is, of which the scripted reader understands nothing: only the steps are tried."""
    first = run("--json")
    assert first.exit_code == 0, (first.stderr, first.exception)
    told = json.loads(first.stdout)
    assert told["added"] >= len(LOG) - 2
    assert len(told["questions"]) == len(QUESTIONS)
    assert len(told["receipt"]["ids"]) == 1
    second = run()
    assert second.exit_code == 0, second.stderr
    assert f"{told['added'] - 1} episodes are there from an earlier run" in second.stdout
    assert "forget: an earlier run did" in second.stdout
    assert FORGOTTEN not in second.stdout


def test_a_path_that_is_named_is_taken_also_where_other_commands_would_take_it_unnamed(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("--path", "memory").exit_code == 0
    assert (tmp_path / "memory").is_dir()
    assert not (tmp_path / ".demo").exists()


@pytest.mark.parametrize(
    ("answer", "bare", "right"),
    [
        ("volcanology", True, True), ("ing volcanology", True, False), ("?", True, False),
        ("Study of volcanology.", True, True), ("She studies volcanology.", False, True),
    ],
)  # fmt: skip
def test_bare_words_are_right_with_what_is_expected_and_no_others_but_those_of_the_question(
    answer: str, bare: bool, right: bool
) -> None:
    row = demo.Row("What does Tamsin study?", "volcanology", None, {"both": answer}, {}, bare_words=bare)
    assert row.right("both") == right


def test_what_is_forgotten_leaves_the_weights_and_the_next_run_learns_the_rest_anew(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a log that the scripted reader understands."""
    facts = [fact(number) for number in range(3)]
    files = {
        "log.jsonl": [{"text": text, "source": "user"} for text in facts],
        "questions.jsonl": [
            {
                "question": f"What is the code of {name}?",
                "answer": f"Kappa{n}",
                "about": f"The code of {name}",
            }
            for n, name in enumerate(NAMES[:3])
        ],
    }
    monkeypatch.setattr(demo, "lines", files.get)
    monkeypatch.setattr(demo, "FORGOTTEN", facts[1])
    monkeypatch.setattr(demo, "ASKED_AFTERWARDS", f"What is the code of {NAMES[1]}?")

    first = json.loads(run("--json").stdout)
    assert first["report"]["outcome"] == "promoted"
    assert [row["answers"]["weights"] for row in first["questions"]] == ["Kappa0", "Kappa1", "Kappa2"]
    assert [row["mark"] for row in first["questions"]] == ["slow"] * 3
    assert first["receipt"]["versions_tainted"] == [first["report"]["version_id"]]
    assert said_afterwards(first) == {
        "retrieval": ("I do not know.", None),
        "weights": ("I do not know.", None),
    }

    second = json.loads(run("--json").stdout)
    assert (second["added"], second["report"]["outcome"]) == (0, "promoted")
    assert [row["answers"]["weights"] for row in second["questions"]] == [
        "Kappa0",
        "I do not know.",
        "Kappa2",
    ]
    # no episode names it any more, so that the new version is not even asked
    assert said_afterwards(second)["weights"] == ("I do not know.", None)

    third = run()
    assert "nothing: 0 episodes" in third.stdout


def said_afterwards(told: dict[str, Any]) -> dict[str, tuple[str, str | None]]:
    return {arm: (answer["text"], answer["version"]) for arm, answer in told["afterwards"].items()}
