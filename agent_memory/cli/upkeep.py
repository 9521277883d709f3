"""Looking inside and looking after: status, verify, rebuild-index, export, import, sql."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from agent_memory.cli.command import Setting, command
from agent_memory.cli.ending import NO
from agent_memory.cli.printing import busy, pairs, say, table
from agent_memory.errors import InvalidInput


class What(StrEnum):
    """What can be exported."""

    episodes = "episodes"
    adapter = "adapter"
    model = "model"


def register(app: typer.Typer) -> None:
    """Puts these commands under `app`."""
    app.command("status")(status)
    app.command("verify")(verify)
    app.command("rebuild-index")(rebuild_index)
    app.command("export")(export)
    app.command("import")(import_)
    app.command("sql", context_settings={"ignore_unknown_options": True})(sql)  # "-- a comment" is no option


@command
def status(setting: Setting) -> None:
    """Count what there is, and say what is pending.

    Example: agent-memory status --user ada
    """
    with setting.opened() as memory:
        found: dict[str, Any] = {**memory.status(), "schedule": memory.schedule()}
    setting.show(found, lambda: pairs(found))


@command
def verify(setting: Setting) -> None:
    """Check that record and index agree; exit code 5 if they do not.

    Example: agent-memory verify --user ada
    """
    with setting.opened() as memory, busy("checking"):
        problems = memory.verify()

    def human() -> None:
        for problem in problems:
            say(problem)
        say(f"{len(problems)} problems" if problems else "sound")

    setting.show(problems, human)
    if problems:
        raise typer.Exit(NO)


@command
def rebuild_index(setting: Setting) -> None:
    """Make the vector index anew from the record.

    Example: agent-memory rebuild-index --user ada
    """
    with setting.opened() as memory, busy("embedding and indexing"):
        memory.rebuild_index()
        found = memory.status()
    setting.show(found, lambda: say(f"rebuilt over {found['episodes']} episodes"))


@command
def export(
    setting: Setting,
    file: Annotated[Path, typer.Argument(help="File or folder to write; must not be there yet.")],
    what: Annotated[
        What, typer.Option(help="Episodes as JSON lines, a PEFT adapter, or the merged model.")
    ] = What.episodes,
) -> None:
    """Write out the episodes, or the served weights for use elsewhere.

    Example: agent-memory export ada.jsonl --user ada
    """
    if file.exists():
        raise InvalidInput(f"{file} is there already: name another")
    with setting.opened() as memory, busy(f"exporting {what.value}"):
        count = None
        if what is What.episodes:
            count = memory.export_jsonl(file)
        elif what is What.adapter:
            memory.export_adapter(file)
        else:
            memory.export_model(file)
    written = {"path": file, "what": what.value, "episodes": count}
    setting.show(written, lambda: say(f"{what.value} written to {file}"))


@command
def import_(
    setting: Setting, file: Annotated[Path, typer.Argument(help="File of JSON lines, as export writes it.")]
) -> None:
    """Store the episodes of a file; what was forgotten here stays forgotten.

    Example: agent-memory import ada.jsonl --user ada
    """
    if not file.is_file():
        raise InvalidInput(f"there is no file {file}")
    with setting.opened(make=True) as memory, busy("importing"):
        report = memory.import_jsonl(file)
    line = f"{report.added} added, {report.present} there already, {len(report.refused)} refused as forgotten"
    setting.show(report, lambda: say(line))


@command
def sql(
    setting: Setting, select: Annotated[str, typer.Argument(help="One SELECT over tables and views.")]
) -> None:
    """Read the record with SQL, over all users; nothing can be written.

    Example: agent-memory sql "select id, text, mark from episode_overview limit 5"
    """
    with setting.opened(scoped=False) as memory, busy("reading"):
        rows = memory.sql(select)
    columns = list(rows[0]) if rows else []
    setting.show(rows, lambda: table(columns, [[row[name] for name in columns] for row in rows]))
