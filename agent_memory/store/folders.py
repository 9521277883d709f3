"""Index folders on disk: whether one may be opened, and how one goes.

A damaged file can kill the process that opens it, for Chroma's reader is native code. So the files are sealed
with checksums after each batch (`seals.py`), and a folder without a seal is first opened by a child process
(`python -m agent_memory.store.folders FOLDER`), which walks its graph and may die of it.
"""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import numpy as np

from agent_memory.store import forks
from agent_memory.store.seals import is_whole, seal_path, unseal
from agent_memory.store.vectors import ChromaFolder

_CHECK_SECONDS = 120  # for a child to open a folder (chosen)
_WALKED = 100_000  # vectors that a child asks a folder for: every damaged link that it meets may kill it
_REACHED = 0.99  # share of them that it must get; a whole graph of 1,500 gave all, a broken one 0 to a third
_GONE = ".gone"  # after the name of a folder that is being removed


def is_sound(folder: Path, *, lock: int | None = None) -> bool:
    """Whether a folder that nobody writes to opens without harm, by its seal or by a child process.

    The child holds the `lock`, too: should we be killed, nobody opens the folder before the child is done.
    """
    try:
        location = f"file:{quote(str(folder / 'chroma.sqlite3'))}?mode=ro"
        with forks.inside(), closing(sqlite3.connect(location, uri=True)) as opened:
            if opened.execute("PRAGMA quick_check").fetchone() != ("ok",):
                return False
        if seal_path(folder).exists():
            return is_whole(folder)
    except (sqlite3.Error, OSError, ValueError):
        return False
    command = [sys.executable, "-m", "agent_memory.store.folders", str(folder)]
    try:
        child = subprocess.run(  # noqa: S603  # our own module, and a path that we made
            command,
            timeout=_CHECK_SECONDS,
            capture_output=True,
            check=False,
            pass_fds=() if lock is None else (lock,),
        )
    except subprocess.TimeoutExpired:
        return False
    return child.returncode == 0


def remove_folder(folder: Path) -> None:
    """Removes a folder and its seal.

    It is renamed first: another process that has it open could put a file into it while it is emptied.
    """
    unseal(folder)
    going = folder.with_name(f"{folder.name.removesuffix(_GONE)}{_GONE}")
    if folder != going and folder.exists():
        folder.rename(going)
    if going.exists():
        shutil.rmtree(going)


def _open_once(folder: Path) -> None:
    """Opens a folder and walks its whole graph; for a child process, which may die of it."""
    opened = ChromaFolder(folder)
    wanted = min(opened.count(), _WALKED)
    if wanted:
        dimension = len(opened._items.get(limit=1, include=["embeddings"])["embeddings"][0])
        if len(opened.nearest(np.ones(dimension, dtype=np.float32), wanted)) < _REACHED * wanted:
            raise SystemExit(1)
    opened.close()


if __name__ == "__main__":
    _open_once(Path(sys.argv[1]))
