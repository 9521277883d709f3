"""The slow half on the command line: ask, chat, consolidate, versions, rollback."""

from __future__ import annotations

import sys
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from agent_memory.cli.command import Setting, command
from agent_memory.cli.ending import NO, stopping_between_steps
from agent_memory.cli.printing import busy, note, pairs, say, table
from agent_memory.cli.progress import Live
from agent_memory.types import Answer, ConsolidationReport, Retrieval

#: Messages of the conversation that `chat` shows the model again; more may not fit the reader's window. Odd,
#: so that what is shown begins with the user, as many chat templates demand.
CHAT_MESSAGES = 7

Recall = Annotated[
    Retrieval | None,
    typer.Option("--retrieval", help="What stands in the prompt; lean leaves out what the weights know."),
]
Adapter = Annotated[str, typer.Option(help="active, base, or the id of a version.")]


def register(app: typer.Typer) -> None:
    """Puts these commands under `app`."""
    app.command("ask")(ask)
    app.command("chat")(chat)
    app.command("consolidate")(consolidate)
    app.command("versions")(versions)
    app.command("rollback")(rollback)


@command
def ask(
    setting: Setting,
    question: Annotated[str, typer.Argument(help="In words.")],
    retrieval: Recall = None,
    adapter: Adapter = "active",
) -> None:
    """Ask the model, with what the memory holds.

    Example: agent-memory ask "Where is my bicycle?" --retrieval none --user ada
    """
    with setting.opened() as memory, busy("thinking"):
        answer = memory.ask(question, retrieval=retrieval, adapter=adapter)

    def human() -> None:
        say(answer.text)
        note(_about(answer))

    setting.show(answer, human)


@command
def chat(
    setting: Setting,
    session: Annotated[str | None, typer.Option(help="Name of the conversation; new by default.")] = None,
    retrieval: Recall = None,
) -> None:
    """Talk with a model that remembers; ends with /exit or Ctrl-D.

    Example: agent-memory chat --user ada
    """
    session = session or datetime.now(UTC).strftime("chat-%Y%m%d-%H%M%S")
    said: list[dict[str, str]] = []
    with setting.opened(make=True) as memory:
        if sys.stdin.isatty():
            note("What you say is remembered. /exit or Ctrl-D ends.")
        while (text := _next_line()) is not None:
            said.append({"role": "user", "content": text})
            with busy("thinking"):
                answer = memory.chat(said[-CHAT_MESSAGES:], retrieval=retrieval)
            said.append({"role": "assistant", "content": answer.text})
            memory.add_many([{"message": message, "session_id": session} for message in said[-2:]])
            setting.show(answer, lambda shown=answer: say(shown.text))  # type: ignore[misc]  # bound at once
            sys.stdout.flush()


def _next_line() -> str | None:
    """What the user types next, None at the end."""
    while True:
        line = _typed() if sys.stdin.isatty() and sys.stdout.isatty() else sys.stdin.readline()
        if not line or line.strip() in {"/exit", "/quit"}:
            return None
        if line.strip():
            return line.strip()


def _typed() -> str:
    """A line from somebody at a terminal, who can edit it and fetch earlier ones; "" at the end."""
    with suppress(ImportError):
        import readline  # noqa: F401  (what makes `input` editable, where it exists)
    try:
        return input("> ") + "\n"
    except EOFError:
        return ""


@command
def consolidate(
    setting: Setting,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Study a sample, try a few steps, and report; nothing is kept.")
    ] = False,
) -> None:
    """Teach the model's weights what the episodes say; Ctrl-C stops between two steps and loses nothing.

    Example: agent-memory consolidate --dry-run --user ada
    """
    again = "the next 'agent-memory consolidate' goes on from there"
    with setting.opened() as memory, stopping_between_steps(then=again) as check, Live(check) as live:
        report = memory.consolidate(dry_run=dry_run, progress=live)
    setting.show(report, lambda: print_report(report))
    if report.outcome == "rejected":
        raise typer.Exit(NO)


def print_report(report: ConsolidationReport) -> None:
    """A report for people."""
    if report.outcome == "nothing":
        for line in ("nothing was learnt", *report.reasons, *report.notes):
            say(line)
        return
    about = " (estimated)" if report.outcome == "dry-run" else ""
    values: dict[str, Any] = {
        "outcome": report.outcome,
        "run": report.run_id or None,
        "version": report.version_id,
        "episodes": report.episodes,
        f"study items{about}": report.items,
        f"tokens{about}": report.tokens,
        "slow now": len(report.slow),
        f"seconds{about}": ", ".join(f"{stage} {spent:.1f}" for stage, spent in report.seconds.items())
        or None,
        "scores": ", ".join(f"{name} {score:.3f}" for name, score in report.scores.items()) or None,
    }
    pairs(values)
    for line in (*report.reasons, *report.notes):
        say(f"- {line}")


@command
def versions(setting: Setting) -> None:
    """List the versions of the weights, the newest first.

    Example: agent-memory versions --user ada
    """
    with setting.opened() as memory:
        found = memory.versions()
    rows = [
        [one.id, one.state, one.created_at.strftime("%Y-%m-%d %H:%M"), len(one.episode_ids), one.parent_id,
         "; ".join(one.reasons)]
        for one in found
    ]  # fmt: skip
    setting.show(found, lambda: table(["id", "state", "made", "episodes", "parent", "reasons"], rows))


@command
def rollback(setting: Setting) -> None:
    """Serve the newest earlier version that verifies, or the bare base if there is none.

    What was rolled back answers only where it is named (ask --adapter ID); the next consolidate goes on from
    what is served now, or trains from zero.

    Example: agent-memory rollback --user ada
    """
    with setting.opened() as memory, busy("checking versions"):
        now = memory.rollback()
    setting.show(now, lambda: say("serving the bare base" if now is None else f"serving {now.id}"))


def _about(answer: Answer) -> str:
    return (
        f"({answer.version or 'bare base'}; {answer.prompt_tokens} prompt tokens; "
        f"{len(answer.episodes)} episodes in context)"
    )
