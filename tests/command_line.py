"""The command line as the tests call it: in this process, on a memory of ada."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from agent_memory.cli.app import app

Run = Callable[..., Result]


def on(path: Path) -> Run:
    """Runs commands on the memory of ada at `path`."""

    def call(*arguments: str, **settings: Any) -> Result:
        environment = {"AGENT_MEMORY_PATH": str(path), "AGENT_MEMORY_USER": "ada", **settings.pop("env", {})}
        return CliRunner().invoke(app, list(arguments), env=environment, **settings)

    return call


def added(run: Run, text: str = "The lamp is green.", *options: str) -> str:
    """The id of an episode that was added."""
    result = run("add", text, "--json", *options)
    assert result.exit_code == 0, result.stderr
    return str(json.loads(result.stdout)["id"])
