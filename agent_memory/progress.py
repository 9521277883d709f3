"""How a consolidation tells how far it is: to the caller, to a bar on a terminal, or to nobody."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

#: Told the stage, how much of it is done, and how much there is.
Progress = Callable[[str, int, int], None]


@contextmanager
def shown(progress: Progress | bool) -> Iterator[Progress]:
    """A function to tell progress to: the caller's, a bar on a terminal, or nobody."""
    if callable(progress):
        yield progress
        return
    if not progress or not sys.stderr.isatty():
        yield lambda stage, done, total: None  # noqa: ARG005 (nobody listens)
        return
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, Any] = {}

        def step(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage)
            bar.update(tasks[stage], completed=done, total=total)

        yield step
