"""Keeping it going: schedule and worker."""

from __future__ import annotations

import logging
import signal
import sys
from datetime import timedelta
from typing import Annotated, Any

import typer

from agent_memory.cli.command import Setting, command
from agent_memory.cli.printing import note, pairs, say


def register(app: typer.Typer) -> None:
    """Puts these commands under `app`."""
    app.command("schedule")(schedule)
    app.command("worker")(worker)


@command
def schedule(
    setting: Setting,
    every: Annotated[str | None, typer.Option(help="A length of time: 90s, 5m, 6h, 7d.")] = None,
    cron: Annotated[str | None, typer.Option(help="A cron line in UTC: '0 3 * * *'.")] = None,
    min_new_episodes: Annotated[int, typer.Option("--min-new", help="Least new episodes for a run.")] = 20,
    quiet: Annotated[str, typer.Option(help="How long nothing must have been added.")] = "5m",
    off: Annotated[bool, typer.Option("--off", help="Remove the rule.")] = False,
) -> None:
    """Say when to consolidate; without options, show the rule.

    Example: agent-memory schedule --every 6h --min-new 20 --user ada
    """
    with setting.opened() as memory:
        rule: dict[str, Any] | None = memory.schedule(
            every=every, cron=cron, min_new_episodes=min_new_episodes, quiet=quiet, off=off
        )
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
    from agent_memory.schedule import duration
    from agent_memory.worker import Place, Worker

    with setting.opened(scoped=False):
        pass  # a missing or damaged memory is an error now, not a silent wait
    _log()
    config = Config(model=ModelConfig(name=setting.model)) if setting.model else None
    shortest = timedelta(milliseconds=100)
    at_work = Worker(
        Place(setting.path, setting.database_url, config),
        poll=max(shortest, duration(poll)),
        lease=max(shortest, duration(lease)),
    )

    def stop(_number: int, _frame: object) -> None:
        note("stopping after this step")
        at_work.request_stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    ended = at_work.run(once=once)
    setting.show({"jobs": ended}, lambda: say(f"{ended} jobs ended"))


def _log() -> None:
    """Ids and counts on stderr."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(message)s")
    logging.getLogger("agent_memory").setLevel(logging.INFO)
