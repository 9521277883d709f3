"""Keeping it going: schedule and worker."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Annotated, Any

import typer

from agent_memory.cli.command import Setting, command
from agent_memory.cli.ending import asked_to_stop
from agent_memory.cli.printing import log_to_stderr, pairs, say
from agent_memory.errors import InvalidInput


def register(app: typer.Typer) -> None:
    """Puts these commands under `app`."""
    app.command("schedule")(schedule)
    app.command("worker")(worker)


@command
def schedule(
    setting: Setting,
    every: Annotated[str | None, typer.Option(help="A length of time: 90s, 5m, 6h, 7d.")] = None,
    cron: Annotated[str | None, typer.Option(help="A cron line in UTC: '0 3 * * *'.")] = None,
    min_new_episodes: Annotated[
        int | None, typer.Option("--min-new", help="Least new episodes for a run; 20 by default.")
    ] = None,
    quiet: Annotated[
        str | None, typer.Option(help="How long nothing must have been added; 5m by default.")
    ] = None,
    off: Annotated[bool, typer.Option("--off", help="Remove the rule.")] = False,
) -> None:
    """Say when to consolidate; without options, show the rule.

    Example: agent-memory schedule --every 6h --min-new 20 --user ada
    """
    conditions: dict[str, Any] = {
        name: value
        for name, value in (("min_new_episodes", min_new_episodes), ("quiet", quiet))
        if value is not None
    }
    if conditions and every is None and cron is None:
        raise InvalidInput("--min-new and --quiet belong to a rule: name its time too, by --every or --cron")
    with setting.opened() as memory:
        rule: dict[str, Any] | None = memory.schedule(every=every, cron=cron, off=off, **conditions)
    setting.show(rule, lambda: pairs(rule) if rule else say("no rule: nothing is consolidated by itself"))


@command
def worker(
    setting: Setting,
    once: Annotated[bool, typer.Option("--once", help="Stop when nothing is due.")] = False,
    poll: Annotated[str, typer.Option(help="How often to ask what is due.")] = "5s",
    lease: Annotated[str, typer.Option(help="Silence after which a worker counts as dead.")] = "60s",
) -> None:
    """Consolidate what is due, for every user, until SIGTERM or Ctrl-C; those stop between two steps.

    Example: agent-memory worker --once
    """
    from agent_memory.config import Config, ModelConfig
    from agent_memory.models.loading import folder_of
    from agent_memory.worker import Place, Worker

    between, silence = _time(poll, option="--poll"), _time(lease, option="--lease")
    with setting.opened(scoped=False):
        pass  # a missing or damaged memory is an error now, not a silent wait
    folder_of(setting.model, allow_download=False)  # and a missing model, not a failure of each job
    log_to_stderr(logging.INFO)
    config = Config(model=ModelConfig(name=setting.model)) if setting.model else None
    at_work = Worker(Place(setting.path, setting.database_url, config), poll=between, lease=silence)

    with asked_to_stop(at_work.request_stop):
        ended = at_work.run(once=once)
    setting.show({"jobs": ended}, lambda: say(f"{ended} jobs ended"))


def _time(text: str, *, option: str) -> timedelta:
    """A length of time that is not zero.

    Raises:
        InvalidInput: it is zero, or no length of time.
    """
    from agent_memory.schedule import duration

    found = duration(text)
    if not found:
        raise InvalidInput(f"{option} must be at least one second")
    return found
