"""Files that are either wholly there or not at all, also after a kill or a power cut.

What is written goes beside its place, is flushed to the disk, and is then renamed into place; a rename
within one folder is atomic, and flushing the folder makes it last. Every artefact of a run is written
through these functions.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from agent_memory.errors import AgentMemoryError, InvalidInput, StoreError, StoreFull, StoreReadOnly

#: Name prefix of what is being written; a leftover of a kill may be deleted at any time.
BESIDE = ".new-"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)
_IMPOSSIBLE = (errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)  # whoever asks: the path is wrong


def refusal(error: OSError) -> type[AgentMemoryError]:
    """Which of our errors it is that the system refuses to make or write a file."""
    kinds: tuple[tuple[tuple[int, ...], type[AgentMemoryError]], ...] = (
        (_FULL, StoreFull), (_FORBIDDEN, StoreReadOnly), (_IMPOSSIBLE, InvalidInput),
    )  # fmt: skip
    return next((kind for codes, kind in kinds if error.errno in codes), StoreError)


def write_file(path: Path, data: bytes) -> None:
    """Writes one file; an earlier one of that name is there until the new one is complete.

    Raises:
        OSError: the folder is not there (it may have been removed on purpose, and is not made again), or the
            disk is full or refuses; nothing of the new file is left.
    """
    beside = path.with_name(BESIDE + path.name)
    try:
        _write_through(beside, data)
        os.replace(beside, path)
    except OSError:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Writes a folder of files at once; an earlier folder of that name is removed first.

    Raises:
        OSError: the folder around it is not there, or the disk is full or refuses; nothing of the new folder
            is left.
    """
    beside = folder.with_name(BESIDE + folder.name)
    shutil.rmtree(beside, ignore_errors=True)
    try:
        beside.mkdir()
        for name, data in files.items():
            _write_through(beside / name, data)
        sync_folder(beside)
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(beside, folder)
    except OSError:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Makes renames and deletions within the folder last."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_through(path: Path, data: bytes) -> None:
    """Writes and flushes to the disk."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
