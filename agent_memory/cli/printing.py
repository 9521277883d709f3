"""What reaches the terminal: text made harmless, values as JSON, rows as tables, and signs of life.

Stored text may hold anything, terminal escapes among it. `safe` is the only way for it to be shown: every
control character, and those that turn the direction of writing, appear as their escape. JSON is ASCII
throughout. Results go to stdout, everything else to stderr. Without a terminal, rows are lines with tabs,
never cut.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields, is_dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

#: Letters that are drawn, and those that only change how the neighbours are drawn, are not refused.
_JOINERS = frozenset("\u200c\u200d")


def safe(value: object) -> str:
    """Text that can be printed anywhere, on one line: what is not drawn appears as its escape."""
    text = value if isinstance(value, str) else str(plain(value))
    return "".join(
        letter
        if letter in _JOINERS or unicodedata.category(letter) not in {"Cc", "Cf", "Cs", "Zl", "Zp"}
        else letter.encode("unicode_escape", "surrogatepass").decode()
        for letter in text
    )


def plain(value: Any) -> Any:
    """The value as JSON can hold it: records become mappings, times ISO text, sequences lists."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(entry) for entry in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    return value


def print_json(value: Any) -> None:
    """One JSON value on one line of stdout."""
    sys.stdout.write(json.dumps(plain(value)) + "\n")


def say(text: str) -> None:
    """One line on stdout."""
    sys.stdout.write(safe(text) + "\n")


def note(text: str) -> None:
    """One line on stderr."""
    sys.stderr.write(safe(text) + "\n")


def shout(text: str) -> None:
    """One line on stderr from a signal handler, which may have interrupted `note` itself."""
    with suppress(OSError):
        os.write(2, f"{safe(text)}\n".encode())


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str | None = None) -> None:
    """Rows under their names: drawn on a terminal, else as lines with tabs."""
    cells = [["" if cell is None else safe(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        sys.stdout.write("".join("\t".join(row) + "\n" for row in [list(columns), *cells]))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(*columns, title=title, title_justify="left")
    for row in cells:
        drawn.add_row(*(Text(cell) for cell in row))
    Console().print(drawn)


def pairs(values: Mapping[str, object]) -> None:
    """Names and values, one pair to a line."""
    width = max((len(name) for name in values), default=0)
    for name, value in values.items():
        shown = "-" if value is None else safe(value)
        sys.stdout.write(f"{name.ljust(width)}  {shown}\n")


def note_lines(text: str) -> None:
    """Lines on stderr: a traceback, say."""
    for line in text.splitlines():
        note(line)


class _Safe(logging.Formatter):
    """Log lines made harmless: names of users are stored text, too."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as harmless lines."""
        return "\n".join(map(safe, super().format(record).splitlines()))


def log_to_stderr(level: int) -> None:
    """Has what the package logs from this level on, and others' warnings, go to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Safe("%(asctime)s %(name)s %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logging.getLogger("agent_memory").setLevel(level)


@contextmanager
def busy(doing: str) -> Iterator[None]:
    """Says on stderr what goes on, for as long as it does; nothing without a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(safe(doing)):
        yield
