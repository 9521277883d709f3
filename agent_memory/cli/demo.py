"""The whole loop in two minutes, shown as it happens."""

from __future__ import annotations

import typer

from agent_memory.cli.command import Setting, command


def register(app: typer.Typer) -> None:
    """Puts this command under `app`."""
    app.command("demo")(demo)


@command
def demo(setting: Setting) -> None:
    """Run the whole loop on a log of sixty messages.

    Example: agent-memory demo
    """
    raise NotImplementedError
