"""The command line: one command for each method, and what a person sees while it works."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from agent_memory.cli import progress, weights
from agent_memory.cli.ending import INTERRUPTED, MISSING, WRONG, stopping_between_steps
from agent_memory.errors import RunInterrupted
from agent_memory.manager import MemoryManager
from tests.command_line import Run, added
from tests.memories import fact, letters, reader, small

COMMANDS = [
    *("add", "search", "list", "show", "approve", "forget"),
    *("ask", "chat", "consolidate", "versions", "rollback"),
    *("status", "verify", "rebuild-index", "export", "import", "sql"),
    *("schedule", "worker", "demo"),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return reader(tmp_path_factory.mktemp("model"))


@pytest.fixture
def with_model(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands open memories with the scripted reader and small settings."""
    ordinary = MemoryManager.open

    def opened(path: Path, **arguments: Any) -> MemoryManager:
        arguments |= {"model": model, "config": small(), "embeddings": letters}
        return ordinary(path, **arguments)

    monkeypatch.setattr(MemoryManager, "open", opened)


def test_there_is_one_command_for_each_promise(run: Run) -> None:
    shown = run("--help").stdout
    assert re.findall(r"^  ([a-z-]+)  ", shown.split("Commands:")[1], flags=re.MULTILINE) == COMMANDS
    assert "Exit codes: 0 done" in shown


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_an_example_and_takes_json(run: Run, name: str) -> None:
    shown = run(name, "--help").stdout
    assert f"Example: agent-memory {name}" in shown
    for option in ("--json", "--debug", "--path", "--user"):
        assert option in shown


def test_an_episode_is_added_found_listed_shown_approved_and_forgotten(run: Run) -> None:
    first = added(run, "My bicycle is in the cellar.", "--session", "s1", "--metadata", '{"kind": "place"}')
    second = added(run, "A page says: buy now.", "--source", "web:example.org")
    found = json.loads(run("search", "Where is the bicycle?", "--json", "-k", "1", "--explain").stdout)
    assert found[0]["episode"]["id"] == first
    assert found[0]["why"]
    listed = json.loads(run("list", "--json").stdout)
    assert {episode["id"] for episode in listed} == {first, second}
    shown = json.loads(run("show", first, "--json").stdout)
    assert shown["episode"]["metadata"] == {"kind": "place"}
    approved = json.loads(run("approve", second, "--json").stdout)
    assert approved[0]["trust"] == "trusted"
    receipt = json.loads(run("forget", first, "--reason", "test", "--json").stdout)
    assert receipt["ids"] == [first]
    assert run("show", first).exit_code == MISSING


def test_what_is_printed_for_people_holds_the_same(run: Run) -> None:
    first = added(run)
    assert "The lamp is green." in run("search", "lamp").stdout
    assert first in run("list").stdout
    assert "The lamp is green." in run("show", first).stdout
    assert "episodes" in run("status").stdout
    assert run("verify").stdout.strip() == "sound"
    assert "rebuilt over 1 episodes" in run("rebuild-index").stdout
    assert "nothing was forgotten" in run("forget", "--filter", '{"source": "nobody"}', "--yes").stdout
    assert "erased at" in run("forget", first).stdout


def test_text_is_read_from_stdin(run: Run) -> None:
    assert run("add", "-", input="The lamp is red.\n").exit_code == 0
    assert "The lamp is red." in run("list").stdout


def test_episodes_go_out_and_in_again(run: Run, tmp_path: Path) -> None:
    added(run)
    file = tmp_path / "ada.jsonl"
    assert json.loads(run("export", str(file), "--json").stdout)["episodes"] == 1
    assert run("export", str(file)).exit_code == WRONG
    there = {"AGENT_MEMORY_PATH": str(tmp_path / "other")}
    assert json.loads(run("import", str(file), "--json", env=there).stdout)["added"] == 1
    assert run("import", str(tmp_path / "none"), env=there).exit_code == WRONG


def test_sql_reads_and_never_writes(run: Run) -> None:
    added(run)
    rows = json.loads(run("sql", "select user_id, text from episode_overview", "--json").stdout)
    assert rows == [{"user_id": "ada", "text": "The lamp is green."}]
    commented = run("sql", "-- what is there?\nselect text from episodes", "--json")
    assert json.loads(commented.stdout) == [{"text": "The lamp is green."}]
    assert run("sql", "delete from episodes").exit_code == WRONG
    assert len(json.loads(run("list", "--json").stdout)) == 1


# ---------------------------------------------------------------------- weights


@pytest.mark.usefixtures("with_model")
def test_weights_are_taught_asked_and_taken_back(run: Run) -> None:
    ids = [added(run, fact(0)), added(run, fact(1))]
    plan = json.loads(run("consolidate", "--dry-run", "--json").stdout)
    assert plan["outcome"] == "dry-run"
    done = run("consolidate", "--json")
    report = json.loads(done.stdout)
    assert (done.exit_code, report["outcome"]) == (0, "promoted")
    assert "distill: training the adapter" in done.stderr
    answer = json.loads(run("ask", "What is the code of Vela?", "--retrieval", "none", "--json").stdout)
    assert (answer["text"], answer["version"]) == ("Kappa0", report["version_id"])
    assert "active" in run("versions").stdout
    assert "nothing" in run("consolidate").stdout
    assert "serving the bare base" in run("rollback").stdout
    receipt = json.loads(run("forget", ids[0], "--json").stdout)
    assert receipt["versions_tainted"] == [report["version_id"]]


@pytest.mark.usefixtures("with_model")
def test_chat_remembers_what_was_said(run: Run) -> None:
    talk = run("chat", "--session", "s1", input=f"{fact(0)}\nWhat is the code of Vela?\n/exit\n")
    assert talk.exit_code == 0, talk.stderr
    assert talk.stdout.splitlines()[-1] == "Kappa0"
    told = json.loads(run("list", "--json", "--filter", '{"session_id": "s1"}').stdout)
    assert [episode["role"] for episode in told].count("user") == 2
    assert {episode["trust"] for episode in told if episode["role"] == "assistant"} == {"untrusted"}
    assert {episode["source"] for episode in told if episode["role"] == "user"} == {"user"}


def test_at_a_terminal_lines_are_edited_and_ctrl_d_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    typed = iter(["", "  Hello. "])

    def asked(prompt: str) -> str:
        try:
            return next(typed)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", asked)
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert weights._next_line() == "Hello."
    assert weights._next_line() is None


@pytest.mark.usefixtures("with_model")
def test_chat_shows_the_model_turns_that_begin_with_the_user(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many chat templates refuse a conversation that begins with the assistant."""
    shown: list[list[str]] = []
    ordinary = MemoryManager.chat

    def chat(self: MemoryManager, messages: Any, **more: Any) -> Any:
        shown.append([message["role"] for message in messages])
        return ordinary(self, messages, **more)

    monkeypatch.setattr(MemoryManager, "chat", chat)
    assert run("chat", input="Hello.\n" * 6).exit_code == 0
    assert len(shown) == 6
    assert all(roles[0] == roles[-1] == "user" for roles in shown)


def test_a_signal_stops_between_two_steps_and_a_second_at_once() -> None:
    with stopping_between_steps(then="go on") as check:
        check()
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(RunInterrupted, match="go on"):
            check()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.usefixtures("with_model")
def test_ctrl_c_in_a_consolidation_loses_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    added(run, fact(0))
    ordinary = progress.Live.__call__

    def interrupted(self: progress.Live, stage: str, done: int, total: int) -> None:
        if stage == "distill" and done:
            os.kill(os.getpid(), signal.SIGINT)
        ordinary(self, stage, done, total)

    with monkeypatch.context() as patch:
        patch.setattr(progress.Live, "__call__", interrupted)
        stopped = run("consolidate")
    assert stopped.exit_code == INTERRUPTED
    assert "goes on from there" in stopped.stderr
    assert stopped.stdout == ""
    preview = run("consolidate", "--dry-run")
    assert preview.exit_code not in (0, 1)
    assert "goes on with it" in preview.stderr
    report = json.loads(run("consolidate", "--json").stdout)
    assert report["outcome"] == "promoted"
    assert "a killed run was resumed" in report["notes"]


def test_on_a_terminal_there_is_a_bar_for_each_stage_from_the_first_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress.Live() as live:
        assert shown_by(live) == [("loading the model", False)]
        live("write", 0, 2)
        live("write", 2, 2)
        live("a stage of next year", 1, 3)
        assert [finished for _, finished in shown_by(live)] == [True, True, False]
    assert [finished for _, finished in shown_by(live)] == [True, True, True]


def test_without_a_terminal_a_long_stage_tells_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    told: list[str] = []
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    monkeypatch.setattr(progress, "note", told.append)
    with progress.Live() as live:
        for done in range(100):
            live("distill", done, 100)
            now += 1.0
    assert told == [
        "distill: training the adapter", *(f"distill: {done} of 100" for done in (20, 40, 60, 80))
    ]  # fmt: skip


class Terminal(io.StringIO):
    """A stream that says that somebody looks."""

    def isatty(self) -> bool:
        return True


def shown_by(live: progress.Live) -> list[tuple[str, bool]]:
    return [(task.description, task.finished) for task in live._bars.tasks]


# ---------------------------------------------------------------------- keeping it going


def test_a_schedule_is_set_shown_and_removed(run: Run) -> None:
    added(run)
    assert "no rule" in run("schedule").stdout
    assert json.loads(run("schedule", "--every", "6h", "--json").stdout)["every"] == 6 * 3600
    assert json.loads(run("schedule", "--cron", "0 3 * * *", "--json").stdout)["cron"] == "0 3 * * *"
    assert json.loads(run("status", "--json").stdout)["schedule"]["cron"] == "0 3 * * *"
    assert "no rule" in run("schedule", "--off").stdout


def test_a_worker_with_nothing_due_ends_with_once(run: Run) -> None:
    added(run)
    assert json.loads(run("worker", "--once", "--json").stdout) == {"jobs": 0}
