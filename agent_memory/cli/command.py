"""What every command shares: its options, and the open memory.

`@command` gives a function the options `--path`, `--user`, `--agent`, `--database-url`, `--model`, `--json`
and `--debug`, collected in a `Setting`; what it raises becomes one line on stderr (`ending.py`).
"""

from __future__ import annotations

import functools
import inspect
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent_memory.cli.ending import errors_in_one_line
from agent_memory.cli.printing import busy, log_to_stderr, print_json
from agent_memory.errors import InvalidInput, NotFound, StoreError
from agent_memory.store.directory import check_path, holds_memory

if TYPE_CHECKING:
    from agent_memory.config import Config
    from agent_memory.manager import MemoryManager


@dataclass(frozen=True, slots=True)
class Setting:
    """Where the memory is, whose, which base, and how to print."""

    path: Path
    user: str | None
    agent: str | None
    database_url: str | None
    model: str | None
    json: bool
    debug: bool

    def opened(
        self, *, make: bool = False, scoped: bool = True, config: Config | None = None
    ) -> MemoryManager:
        """The memory, as a context manager; with `make` it may be new.

        Raises:
            NotFound: there is no memory, and this command does not make one.
            InvalidInput: the command needs a scope and none is named, or the path cannot be used.
            StoreError: the record cannot be opened.
        """
        if scoped and self.user is None and self.agent is None:
            raise InvalidInput("whose memory? add --user NAME and/or --agent NAME (or set AGENT_MEMORY_USER)")
        if not make and not holds_memory(check_path(self.path)):
            raise NotFound(
                f"there is no memory at {self.path}: name its directory with --path (or AGENT_MEMORY_PATH), "
                "or make one with 'agent-memory add'"
            )
        with busy("opening the memory"):
            from agent_memory.manager import MemoryManager

            try:
                return MemoryManager.open(
                    self.path,
                    user_id=self.user,
                    agent_id=self.agent,
                    model=self.model,
                    database_url=self.database_url,
                    config=config,
                )
            except StoreError as error:
                if self.database_url is None:
                    raise
                raise type(error)(f"{error}: is --database-url right, and does its server answer?") from error

    def show(self, value: Any, human: Callable[[], None]) -> None:
        """The value as JSON if that was asked for, else as `human` prints it."""
        if self.json:
            print_json(value)
        else:
            human()


_OPTIONS: dict[str, Any] = {
    "path": Annotated[
        Path,
        typer.Option(
            "--path",
            "-p",
            envvar="AGENT_MEMORY_PATH",
            readable=False,  # the store looks, and says more
            help="Directory of the memory.",
        ),
    ],
    "user": Annotated[
        str | None, typer.Option("--user", "-u", envvar="AGENT_MEMORY_USER", help="Whose memory: the user.")
    ],
    "agent": Annotated[
        str | None, typer.Option("--agent", envvar="AGENT_MEMORY_AGENT", help="Whose memory: the agent.")
    ],
    "database_url": Annotated[
        str | None,
        typer.Option("--database-url", envvar="AGENT_MEMORY_DATABASE_URL", help="PostgreSQL, if not SQLite."),
    ],
    "model": Annotated[
        str | None,
        typer.Option("--model", envvar="AGENT_MEMORY_MODEL", help="Base model, if not the bundled reader."),
    ],
    "json": Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")],
    "debug": Annotated[bool, typer.Option("--debug", help="Log to stderr, and show tracebacks.")],
}


def command(function: Callable[..., None], *, path: Path = Path("memory")) -> Callable[..., None]:
    """The function as a command: its first argument becomes a `Setting` made of the shared options.

    `path` is the directory of the memory where none is named.
    """
    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
    defaults: dict[str, Any] = {"path": path, "json": False, "debug": False}
    shared = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=defaults.get(name), annotation=annotation
        )
        for name, annotation in _OPTIONS.items()
    ]

    @functools.wraps(function)
    def run(**given: Any) -> None:
        setting = Setting(**{name: given.pop(name) for name in _OPTIONS})
        with errors_in_one_line(debug=setting.debug):
            if setting.debug:
                log_to_stderr(logging.DEBUG)
            function(setting, **given)
            sys.stdout.flush()

    keyword_only = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own]
    run.__signature__ = inspect.Signature([*keyword_only, *shared])  # type: ignore[attr-defined]  # read by Typer
    run.__annotations__ = {one.name: one.annotation for one in [*keyword_only, *shared]}
    return run


def mapping(text: str | None, *, option: str) -> dict[str, Any] | None:
    """A JSON object from an option; None where it was not given.

    Raises:
        InvalidInput: it is not a JSON object.
    """
    if text is None:
        return None
    import json

    wrong = InvalidInput(f'{option} takes a JSON object, such as \'{{"role": "user"}}\'')
    try:
        value = json.loads(text)
    except ValueError as error:
        raise wrong from error
    if not isinstance(value, dict):
        raise wrong
    return value
