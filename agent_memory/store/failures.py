"""What a database driver reports, as one of our errors.

The seam between the drivers and the rest: everything that runs SQL does so inside `translated`. The cause
is kept; parameters are hidden by the engine, so that the text of an episode cannot travel in an error.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from agent_memory.errors import StoreCorrupt, StoreError, StoreFull, StoreReadOnly

#: SQLite's primary result codes, and what they are to a caller.
_SQLITE_ERRORS: dict[int, tuple[type[StoreError], str]] = {
    sqlite3.SQLITE_FULL: (StoreFull, "no space is left; nothing was written: free some and retry"),
    sqlite3.SQLITE_READONLY: (StoreReadOnly, "writes are refused: check owner and mode of the directory"),
    sqlite3.SQLITE_CORRUPT: (StoreCorrupt, "the database file is damaged: restore it from a backup"),
    sqlite3.SQLITE_NOTADB: (StoreCorrupt, "the database file is not a database: restore it from a backup"),
    sqlite3.SQLITE_BUSY: (StoreError, "another process held the database for too long: retry"),
    sqlite3.SQLITE_CANTOPEN: (StoreError, "the file cannot be opened: check owner and mode of the directory"),
    sqlite3.SQLITE_IOERR: (StoreError, "the disk reported an error; the write was not acknowledged"),
}
#: PostgreSQL's SQLSTATE, the same.
_POSTGRESQL_ERRORS: dict[str, tuple[type[StoreError], str]] = {
    "53100": (StoreFull, "no space is left; nothing was written: free some and retry"),
    "25006": (StoreReadOnly, "the database refuses writes"),
    "XX001": (StoreCorrupt, "the database is damaged: restore it from a backup"),
}


@contextmanager
def translated(driver: type[Exception] = sqlite3.Error) -> Iterator[None]:
    """Turns the driver's errors into ours, with the cause kept.

    Args:
        driver: the class of all its errors, for those that did not pass through SQLAlchemy.

    Raises:
        StoreError: or one of its children, by what the driver reported.
    """
    try:
        yield
    except DBAPIError as error:
        kind, message = _meaning(error.orig)
        raise kind(message) from error
    except driver as error:
        kind, message = _meaning(error)
        raise kind(message) from error
    except SQLAlchemyError as error:
        raise StoreError(f"the database layer failed: {type(error).__name__}") from error


def _meaning(error: BaseException | None) -> tuple[type[StoreError], str]:
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None and code & 0xFF in _SQLITE_ERRORS:
        return _SQLITE_ERRORS[code & 0xFF]
    state = getattr(error, "sqlstate", None)
    if state in _POSTGRESQL_ERRORS:
        return _POSTGRESQL_ERRORS[state]
    name = getattr(error, "sqlite_errorname", state)
    return StoreError, f"the database reported {type(error).__name__} ({name})"
