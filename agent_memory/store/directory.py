"""The directory of a memory: rightly named, its owner's alone, and never taken for a new one.

    path/memory.sqlite3   the record (-wal and -shm beside it while open), unless on PostgreSQL
    path/directory-id     what the database remembers of its directory
    path/index/           vector index, disposable          store/vectors.py
    path/versions/ runs/  adapters and artefacts            consolidation/

What it does not know: databases. `database.py` opens what is here.
"""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from pathlib import Path

from agent_memory.durable import BESIDE, refusal, write_file
from agent_memory.errors import InvalidInput, StoreCorrupt, StoreError

FILE = "memory.sqlite3"
DIRECTORY_ID = "directory-id"
_PARTS = (DIRECTORY_ID, "index", "versions", "runs")  # one is there wherever a memory was opened before
_RIGHTS = "check its owner and mode, or name another"


def check_path(path: object) -> Path:
    """The path in full, `~` for a home resolved.

    Raises:
        InvalidInput: it is no path, or none that a file system could have.
    """
    if not isinstance(path, str | os.PathLike) or path == "":
        given = "empty text" if path == "" else type(path).__name__
        raise InvalidInput(f"a path is text or a pathlib.Path, not {given}")
    try:
        found = Path(path)
        if b"\x00" in str(found).encode():
            raise InvalidInput("the path holds a NUL character, which no file system can")
        return found.expanduser().absolute()
    except UnicodeEncodeError as error:
        raise InvalidInput(f"the path holds half a surrogate pair at character {error.start}") from None
    except (TypeError, RuntimeError, OSError) as error:
        raise InvalidInput(f"the path cannot be used: {error}; name it in full, from the root") from error


def holds_memory(path: Path) -> bool:
    """Whether a memory was opened in this directory before.

    Raises:
        StoreError: it may not be entered.
    """
    if path.is_dir() and not os.access(path, os.X_OK):
        raise StoreError(f"the directory {path} may not be entered: {_RIGHTS}")
    return any((path / name).exists() for name in (FILE, *_PARTS))


def prepare(path: Path) -> bool:
    """Makes the directory, for the owner only; returns whether it refuses writes.

    Raises:
        InvalidInput: a directory cannot be there.
        StoreReadOnly: it is missing, and may not be made.
        StoreFull: it is missing, and there is no space for it.
        StoreError: it, or the record in it, may not be read.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError as error:
        raise InvalidInput(f"{path} is a file or leads nowhere; a memory needs a directory") from error
    except OSError as error:
        raise refusal(error)(f"the directory {path} cannot be made: {error.strerror}: {_RIGHTS}") from error
    file = path / FILE
    if not os.access(path, os.X_OK):
        raise StoreError(f"the directory {path} may not be entered: {_RIGHTS}")
    if file.exists() and not os.access(file, os.R_OK):
        raise StoreError(f"the record {file} may not be read: {_RIGHTS}")
    writable = os.access(path, os.W_OK | os.X_OK) and (not file.exists() or os.access(file, os.W_OK))
    return not writable


def refuse_missing_record(path: Path) -> None:
    """An index or a version without its record must never be taken for a new, empty memory.

    Raises:
        StoreCorrupt: they are there, and the record is not.
    """
    file = path / FILE
    if file.exists() and file.stat().st_size > 0:
        return
    left = [name for name in _PARTS if _holds_something(path / name)]
    if left:
        raise StoreCorrupt(
            f"{file} is missing or empty, but {', '.join(left)} of it exist: restore the file from a backup, "
            "or empty the directory to begin anew"
        )


def make_record(path: Path) -> None:
    """Makes the file of the record where it is missing, for its owner only; its log takes the same mode.

    Raises:
        StoreFull: no space is left.
        StoreReadOnly: the directory refuses it.
        StoreError: it cannot be made for another reason.
    """
    # SQLite would make it as the umask has it, which is the whole process's. A file that is there keeps its
    # mode: somebody may have opened it to a reader on purpose.
    if (path / FILE).exists():
        return
    # Not opened under its name: to close a file ends all locks that the process has on it, those of another
    # memory at this path, too (https://www.sqlite.org/howtocorrupt.html, section 2.2).
    beside = path / f"{BESIDE}{uuid.uuid4().hex}"
    try:
        os.close(os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        with suppress(OSError):  # another was first; or there are no links here (FAT), and no modes either
            os.link(beside, path / FILE)
        beside.unlink()
    except OSError as error:
        raise refusal(error)(f"{path / FILE} cannot be made: {error.strerror}: {_RIGHTS}") from error


def _holds_something(path: Path) -> bool:
    return path.is_file() or (path.is_dir() and any(path.iterdir()))


def read_id(path: Path) -> str | None:
    """What the directory is called by its database; None where it has no name yet.

    Raises:
        StoreError: the file may not be read.
    """
    file = path / DIRECTORY_ID
    try:
        return file.read_bytes().decode(errors="replace").strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"{file} cannot be read: {error.strerror}: check its owner and mode") from error


def write_id(path: Path, name: str) -> None:
    """Gives the directory its name.

    Raises:
        StoreFull: no space is left.
        StoreReadOnly: the directory refuses it.
        StoreError: the file cannot be written for another reason.
    """
    file = path / DIRECTORY_ID
    try:
        write_file(file, name.encode())
    except OSError as error:
        raise refusal(error)(f"{file} cannot be written: {error.strerror}: {_RIGHTS}") from error
