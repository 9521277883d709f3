"""The command line put together; importing it loads Typer, and nothing that is heavy."""

from __future__ import annotations

import os
import sys

import typer

import agent_memory
from agent_memory.cli import demo, episodes, service, upkeep, weights
from agent_memory.cli.ending import FAILED, WRONG, Commands
from agent_memory.cli.printing import note

EXIT_CODES = (
    "Exit codes: 0 done; 1 could not be done; 2 wrong command line or value; 3 no such memory, episode or "
    "version; 4 another run holds the namespace; 5 the answer is no (rejected by the gate, problems found); "
    "130 interrupted; 141 closed pipe."
)

app = typer.Typer(
    name="agent-memory",
    cls=Commands,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 100},
)


@app.callback(invoke_without_command=True)
def about(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", help="Print the version of the package and stop."),
) -> None:
    """Agent memory with two speeds: episodes that are found at once, and weights that learn them.

    Example: agent-memory add "My bicycle is in the cellar." --user ada
    """
    if version:
        typer.echo(agent_memory.__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(WRONG)


for part in (episodes, weights, upkeep, service, demo):
    part.register(app)


def main() -> None:
    """Runs the command line; what reads the model's files stays quiet and offline."""
    for name, value in (
        ("TRANSFORMERS_VERBOSITY", "error"),
        ("HF_HUB_DISABLE_PROGRESS_BARS", "1"),
        ("HF_HUB_DISABLE_TELEMETRY", "1"),
        ("TOKENIZERS_PARALLELISM", "false"),
    ):
        os.environ.setdefault(name, value)
    _streams()
    app()


def _streams() -> None:
    """Makes stdin, stdout and stderr usable however the process was started.

    A stream that came closed is opened on nothing, so that no file of ours gets its number; but without a
    stdout nothing is done, for the caller could not see that it was.
    """
    silent = sys.stdout is None
    for name, number, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8"))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    if silent:
        note("agent-memory: stdout is closed and nothing was done: redirect it, to /dev/null if need be")
        sys.exit(FAILED)
