"""The stages of a consolidation as they go by: bars on a terminal, else a line every twenty seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from agent_memory.cli.printing import note, safe

#: Seconds between two lines about a stage where there is no terminal.
EVERY = 20.0

#: What the stages do, in words that need no paper.
DOING = {
    "write": "writing questions",
    "answer": "answering them with the episodes in view",
    "turn": "asking the other way round",
    "complete": "completing the study set",
    "change": "looking for facts that changed",
    "anchors": "gathering what must not change",
    "distill": "training the adapter",
    "examine": "examining it without the episodes",
}


class Live:
    """Called as `live(stage, done, total)`; `check` is called first and may end the run by raising."""

    def __init__(self, check: Callable[[], None] = lambda: None) -> None:
        self._check = check
        self._bars: Any = None
        self._tasks: dict[str, Any] = {}
        self._told = time.monotonic()

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

            columns = (
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            )  # fmt: skip
            self._bars = Progress(*columns, console=Console(stderr=True), transient=False)
            self._bars.start()
            self._tasks[""] = self._bars.add_task("loading the model", total=None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            if error is None:
                self._complete()
            self._bars.stop()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Shows how far a stage is."""
        self._check()
        if stage not in self._tasks:
            self._begin(stage, total)
        if self._bars is not None:
            self._bars.update(self._tasks[stage], completed=done, total=total)
        elif time.monotonic() - self._told >= EVERY:
            self._tell(f"{stage}: {done} of {total}")

    def _tell(self, text: str) -> None:
        self._told = time.monotonic()
        note(text)

    def _begin(self, stage: str, total: int) -> None:
        words = DOING.get(stage, safe(stage))
        if self._bars is None:
            self._tasks[stage] = None
            self._tell(f"{stage}: {words}")
            return
        self._complete()  # the stages come one after the other
        self._tasks[stage] = self._bars.add_task(words, total=total)

    def _complete(self) -> None:
        """Fills every bar; one without a measure has one step."""
        for task in self._bars.tasks:
            steps = task.total or 1
            self._bars.update(task.id, completed=steps, total=steps)
