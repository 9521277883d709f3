"""The seal of an index folder: checksums written after each batch, and taken off before the next.

A damaged folder can kill the process that opens it, so that it is compared with its seal first.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from agent_memory.store.scrub import scrub


def seal_path(folder: Path) -> Path:
    """Where the checksums of a folder are."""
    return folder.with_name(f"{folder.name}.seal")


def _beside(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.part")


def unseal(folder: Path) -> None:
    """Says that the folder is about to change."""
    seal_path(folder).unlink(missing_ok=True)
    _beside(folder).unlink(missing_ok=True)


def seal(folder: Path) -> None:
    """Says that the folder is whole as it is now, without what Chroma wrote there by accident."""
    scrub(folder)
    beside = _beside(folder)
    beside.write_text(json.dumps(_checksums(folder)))
    beside.replace(seal_path(folder))


def is_whole(folder: Path) -> bool:
    """Whether the files are those that were sealed."""
    return bool(json.loads(seal_path(folder).read_text()) == _checksums(folder))


def _checksums(folder: Path) -> dict[str, str]:
    """Checksums of the graph's files; SQLite's own file changes with each opening and checks itself."""
    sums = {}
    for file in sorted(folder.rglob("*")):
        if file.is_file() and not file.name.startswith("chroma.sqlite3"):
            with file.open("rb") as opened:
                sums[str(file.relative_to(folder))] = hashlib.file_digest(opened, "sha256").hexdigest()
    return sums
