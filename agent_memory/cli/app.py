"""The command line put together; importing it loads Typer, and nothing that is heavy."""

from __future__ import annotations

import os
import sys

import typer

import agent_memory
from agent_memory.cli import demo, episodes, service, upkeep, weights

EXIT_CODES = (
    "Exit codes: 0 done; 1 could not be done; 2 wrong command line or value; 3 no such memory, episode or "
    "version; 4 another run holds the namespace; 5 the answer is no (rejected by the gate, problems found); "
    "130 interrupted; 141 closed pipe."
)

app = typer.Typer(
    name="agent-memory",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 100},
)


@app.callback(invoke_without_command=True)
def about(
    version: bool = typer.Option(False, "--version", help="Print the version of the package and stop."),
) -> None:
    """Agent memory with two speeds: episodes that are found at once, and weights that learn them.

    Example: agent-memory add "My bicycle is in the cellar." --user ada
    """
    if version:
        typer.echo(agent_memory.__version__)
        raise typer.Exit


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
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    app()
