"""The command line: one command for each method, one line for each error, nothing raw on the terminal."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import signal
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from agent_memory.cli import printing, progress, weights
from agent_memory.cli.app import app
from agent_memory.cli.ending import (
    BUSY,
    CLOSED_PIPE,
    INTERRUPTED,
    MISSING,
    NO,
    WRONG,
    stopping_between_steps,
)
from agent_memory.errors import RunInterrupted
from agent_memory.manager import MemoryManager
from tests.memories import fact, letters, reader, small

COMMANDS = [
    *("add", "search", "list", "show", "approve", "forget"),
    *("ask", "chat", "consolidate", "versions", "rollback"),
    *("status", "verify", "rebuild-index", "export", "import", "sql"),
    *("schedule", "worker", "demo"),
]
#: Arguments with which a command can be called.
CALLS: dict[str, list[str]] = {
    "add": ["The lamp is green."], "search": ["lamp"], "list": [], "show": ["x"], "ask": ["Which lamp?"],
    "consolidate": [], "versions": [], "rollback": [], "forget": ["x"], "approve": ["x"], "status": [],
    "verify": [], "rebuild-index": [], "export": ["out"], "sql": ["select 1"], "schedule": [],
    "worker": ["--once"],
}  # fmt: skip

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a command on a memory of ada in a temporary directory."""

    def call(*arguments: str, **settings: Any) -> Result:
        environment = {"AGENT_MEMORY_PATH": str(tmp_path / "memory"), "AGENT_MEMORY_USER": "ada",
                       **settings.pop("env", {})}  # fmt: skip
        return CliRunner().invoke(app, list(arguments), env=environment, **settings)

    return call


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


def added(run: Run, text: str = "The lamp is green.", *options: str) -> str:
    """The id of an episode that was added."""
    result = run("add", text, "--json", *options)
    assert result.exit_code == 0, result.stderr
    return str(json.loads(result.stdout)["id"])


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


# ---------------------------------------------------------------------- bad input


@pytest.mark.parametrize("name", sorted(set(CALLS) - {"add"}))
def test_a_missing_memory_is_one_line_and_is_not_made(run: Run, tmp_path: Path, name: str) -> None:
    result = run(name, *CALLS[name])
    assert_one_line(result, code=MISSING)
    assert "--path" in result.stderr
    assert not (tmp_path / "memory").exists()


@pytest.mark.parametrize("name", sorted(set(CALLS) - {"sql", "worker"}))
def test_without_a_scope_nothing_happens(run: Run, name: str) -> None:
    assert_one_line(run(name, *CALLS[name], env={"AGENT_MEMORY_USER": ""}), code=WRONG)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["show", "nobody"], MISSING),
        (["approve", "nobody"], MISSING),
        (["forget", "nobody"], MISSING),
        (["forget"], WRONG),
        (["forget", "--everything"], WRONG),
        (["forget", "--filter", "{}", "--yes"], WRONG),
        (["search", "x", "-k", "0"], WRONG),
        (["search", "x", "--filter", "not json"], WRONG),
        (["search", "x", "--filter", "[1]"], WRONG),
        (["search", "x", "--filter", '{"nothing": {"oops": 1}}'], WRONG),
        (["search", "x", "--as-of", "yesterday"], WRONG),
        (["add", "x", "--trust", "perhaps"], WRONG),
        (["add", ""], WRONG),
        (["schedule", "--every", "soon"], WRONG),
        (["schedule", "--cron", "61 * * * *"], WRONG),
        (["schedule", "--every", "6h", "--cron", "0 3 * * *"], WRONG),
        (["schedule", "--off", "--every", "6h"], WRONG),
        (["schedule", "--min-new", "5"], WRONG),
        (["schedule", "--quiet", "1m"], WRONG),
        (["list", "--limit", "0"], WRONG),
        (["list", "--database-url", "nonsense"], 1),
        (["worker", "--once", "--poll", "often"], WRONG),
        (["worker", "--once", "--lease", "0s"], WRONG),
        (["worker", "--once", "--model", "/no/such/model"], 1),
        (["rollback"], MISSING),
        (["ask", "x", "--model", "no-such-model"], 1),
        (["sql", "select nothing from nowhere"], WRONG),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)  # fmt: skip
def test_bad_input_is_one_line_that_says_what_to_do(run: Run, arguments: list[str], code: int) -> None:
    added(run)
    assert_one_line(run(*arguments), code=code)
    assert len(json.loads(run("list", "--json").stdout)) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["search"],
        ["list", "--nonsense"],
        ["list", "surplus"],
        ["list", "--limit", "many"],
        ["ask", "x", "--retrieval", "some"],
        ["export", "x", "--what", "dreams"],
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_is_one_line_that_names_the_help(run: Run, arguments: list[str]) -> None:
    result = run(*arguments)
    assert_one_line(result, code=WRONG)
    assert "--help')" in result.stderr


def test_without_a_command_the_help_is_shown_and_nothing_is_done(run: Run) -> None:
    result = run()
    assert result.exit_code == WRONG
    assert result.stdout == ""
    assert "Commands:" in result.stderr


def test_what_is_not_confirmed_is_not_forgotten(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    added(run)
    monkeypatch.setattr("agent_memory.cli.episodes._can_ask", lambda: True)
    for said in ("n\n", ""):
        result = run("forget", "--everything", input=said)
        assert result.exit_code == 1
        assert result.stderr.endswith("agent-memory: not confirmed: nothing was done\n")
    assert len(json.loads(run("list", "--json").stdout)) == 1


def test_another_run_is_named_and_its_own_exit_code(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from agent_memory.errors import RunBusy

    added(run)

    def busy(*_: object, **__: object) -> None:
        raise RunBusy("run r1 holds this namespace")

    monkeypatch.setattr(MemoryManager, "consolidate", busy)
    assert_one_line(run("consolidate"), code=BUSY)


def test_a_rejected_version_and_a_found_problem_have_their_exit_code(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    added(run)
    monkeypatch.setattr(MemoryManager, "verify", lambda _: ["the index holds more than the record"])
    assert run("verify").exit_code == NO


def test_a_bug_is_one_line_and_debug_shows_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    added(run)

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("The safe opens with 4711")

    monkeypatch.setattr(MemoryManager, "status", broken)
    result = run("status")
    assert_one_line(result, code=1)
    assert "4711" not in result.stderr
    result = run("status", "--debug")
    assert result.exit_code == 1
    assert "Traceback" in result.stderr
    assert "ZeroDivisionError" in result.stderr


def test_stored_escapes_are_never_printed_raw(run: Run) -> None:
    evil = "\x1b[2J\x1b]0;title\x07 lamp \u202egreen\u2066 [bold]not markup[/bold] \x9b31m"
    id_ = added(run, evil, "--metadata", json.dumps({"note": evil}))
    for arguments in (["list"], ["search", "lamp"], ["show", id_], ["sql", "select text from episodes"]):
        for more in ([], ["--json"]):
            shown = run(*arguments, *more).stdout
            assert not {"\x1b", "\x07", "\u202e", "\u2066", "\x9b"} & set(shown)
            assert "[bold]" in shown


def test_names_in_the_log_are_never_printed_raw() -> None:
    formatter = printing._Safe("%(message)s")
    record = logging.LogRecord("agent_memory", logging.INFO, "", 0, "namespace %s", ("\x1b[2Jada",), None)
    assert formatter.format(record) == "namespace \\x1b[2Jada"


@given(st.text(st.characters()))
def test_safe_text_is_printable_and_says_what_was_there(text: str) -> None:
    shown = printing.safe(text)
    assert all(
        letter.isprintable() or unicodedata.category(letter) in ("Zs", "Cn", "Co", "Cf") for letter in shown
    )
    assert not {"\x1b", "\x00", "\n", "\r", "\x7f", "\x9b", "\u202e"} & set(shown)
    if text.isascii() and text.isprintable():
        assert shown == text


def shell(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A line of bash in which `$run` is the command line in a process of its own."""
    return subprocess.run(
        ["bash", "-c", script],
        env={**os.environ, "run": f"{sys.executable} -m agent_memory.cli", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_closed_pipe_is_one_line_and_its_own_exit_code(run: Run, tmp_path: Path) -> None:
    added(run, "x" * 90_000)
    for command in ("list --json", "list --help"):
        done = shell(
            f"$run {command} | true; exit ${{PIPESTATUS[0]}}",
            AGENT_MEMORY_PATH=str(tmp_path / "memory"),
            AGENT_MEMORY_USER="ada",
        )
        assert done.returncode == CLOSED_PIPE, command
        assert done.stderr == "agent-memory: the output was closed before everything was printed\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_behind_the_output_is_one_line() -> None:
    done = shell("$run list --help > /dev/full")
    assert done.returncode == 1
    assert re.fullmatch(r"agent-memory: the output cannot be written: [^\n]+\n", done.stderr)


def test_without_a_stdout_nothing_is_done_and_without_the_others_all_is(tmp_path: Path) -> None:
    where = {"AGENT_MEMORY_PATH": str(tmp_path / "memory"), "AGENT_MEMORY_USER": "ada"}
    silent = shell("$run add 'The lamp is green.' >&-", **where)
    assert silent.returncode == 1
    assert re.fullmatch(r"agent-memory: stdout is closed [^\n]+\n", silent.stderr)
    assert not (tmp_path / "memory").exists()
    assert shell("$run add - <&- 2>&-", **where).returncode == WRONG


def assert_one_line(result: Result, *, code: int) -> None:
    """One line on stderr that begins with our name, nothing on stdout, and the code."""
    assert result.exit_code == code, (result.exit_code, result.stderr, result.exception)
    assert result.stdout == ""
    assert re.fullmatch(r"agent-memory: [^\n]+\n", result.stderr), result.stderr
