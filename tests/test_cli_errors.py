"""The command line where something is wrong: one line, an exit code, nothing raw on the terminal."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import Result

from agent_memory.cli import printing
from agent_memory.cli.ending import BUSY, CLOSED_PIPE, MISSING, NO, WRONG
from agent_memory.manager import MemoryManager
from tests import command_line
from tests.command_line import Run, added
from tests.store_places import in_child

#: Arguments with which a command can be called.
CALLS: dict[str, list[str]] = {
    "add": ["The lamp is green."], "search": ["lamp"], "list": [], "show": ["x"], "ask": ["Which lamp?"],
    "consolidate": [], "versions": [], "rollback": [], "forget": ["x"], "approve": ["x"], "status": [],
    "verify": [], "rebuild-index": [], "export": ["out"], "sql": ["select 1"], "schedule": [],
    "worker": ["--once"],
}  # fmt: skip


# ---------------------------------------------------------------------- bad input


@pytest.mark.parametrize("name", sorted(set(CALLS) - {"add"}))
def test_a_missing_memory_is_one_line_and_is_not_made(run: Run, tmp_path: Path, name: str) -> None:
    result = run(name, *CALLS[name])
    assert_one_line(result, code=MISSING)
    assert "--path" in result.stderr
    assert not (tmp_path / "memory").exists()


@pytest.mark.parametrize("name", sorted(CALLS))
@pytest.mark.parametrize(("below", "code"), [("file", WRONG), ("file/memory", WRONG), ("half \udce9", WRONG)])
def test_a_path_where_no_memory_can_be_is_one_line(
    run: Run, tmp_path: Path, name: str, below: str, code: int
) -> None:
    (tmp_path / "file").write_text("theirs")
    result = run(name, *CALLS[name], "--path", f"{tmp_path}/{below}")
    assert_one_line(result, code=code if name == "add" or "\udce9" in below else MISSING)
    assert re.search("path|directory", result.stderr)


@pytest.mark.skipif(os.getuid() != 0, reason="needs to become another user")
@pytest.mark.parametrize("name", sorted(CALLS))
def test_a_memory_of_another_user_is_one_line_that_says_whose_rights_are_missing(
    shared_folder: Path, name: str
) -> None:
    run = command_line.on(shared_folder / "memory")
    added(run)

    def tried() -> tuple[int, str, str]:
        result = run(name, *CALLS[name])
        return result.exit_code, result.stdout, result.stderr

    code, shown, said = in_child(tried, user=65534)
    assert (code, shown) == (1, "")
    assert re.fullmatch(r"agent-memory: [^\n]+owner and mode[^\n]+\n", said), said


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
        (["list", "--database-url", "nonsense"], WRONG),
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


# ---------------------------------------------------------------------- what goes wrong


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


# ---------------------------------------------------------------------- the terminal


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
