"""Questions to the record in SQL, by people: one SELECT, on a connection that cannot write.

It is the operator's view and has no scope: tables hold the rows of all namespaces, so whoever may call this
may read everybody's memory. On SQLite the file is opened read-only once more; on PostgreSQL the transaction
is read-only and the statement is sent alone. Placeholders are `?` with a sequence, or `:name` with a
mapping, on both.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any
from urllib.parse import quote

from sqlalchemy import text

from agent_memory.errors import InvalidInput
from agent_memory.store.database import Database
from agent_memory.store.directory import FILE
from agent_memory.store.failures import translated

#: Text in quotes and comments, which hold no placeholder and no second statement; then what we look for.
_PIECE = re.compile(
    r"(?P<kept>'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|--[^\n]*|/\*.*?\*/|::)|(?P<mark>\?)|(?P<end>;)|(?P<colon>:)(?=\W)",
    re.DOTALL,
)
_COMMENT = re.compile(r"(?:\s|--[^\n]*(?:\n|$)|/\*.*?\*/)+", re.DOTALL)


def select(
    database: Database, statement: str, parameters: Sequence[Any] | Mapping[str, Any] = ()
) -> list[dict[str, Any]]:
    """The rows of one SELECT (or WITH ... SELECT), as mappings from column to value.

    Raises:
        InvalidInput: it is not one SELECT, the database cannot run it, or its parameters do not fit.
        StoreError: the database failed.
    """
    if not isinstance(statement, str):
        raise InvalidInput(f"sql takes a statement as text, not {type(statement).__name__}")
    body = statement.strip().rstrip(";").rstrip()
    opening = _COMMENT.sub(" ", body, count=1).lstrip() if _COMMENT.match(body) else body
    if not re.match(r"(?i)(select|with|values)\b", opening):
        raise InvalidInput("sql takes one SELECT (or WITH ... SELECT); it cannot change anything")
    if any(piece["end"] for piece in _PIECE.finditer(body)):
        raise InvalidInput("sql takes one statement; there is a second one after ';'")
    if isinstance(parameters, str) or not isinstance(parameters, Sequence | Mapping):
        raise InvalidInput("parameters are a sequence for ?, or a mapping for :name")
    run = _sqlite if database.is_sqlite else _postgresql
    return run(database, body, parameters)


def _sqlite(database: Database, body: str, parameters: Any) -> list[dict[str, Any]]:
    with database.read():  # raises where it is closed
        pass
    log = database.path / f"{FILE}-wal"
    how = "?mode=ro" if log.exists() or not database.read_only else "?mode=ro&immutable=1"
    location = "file:" + quote(str(database.path / FILE)) + how
    with translated(), closing(sqlite3.connect(location, uri=True, isolation_level=None)) as connection:
        connection.execute("PRAGMA query_only=ON")
        connection.execute("PRAGMA trusted_schema=OFF")
        connection.row_factory = sqlite3.Row
        try:
            return [dict(row) for row in connection.execute(body, parameters)]
        except (sqlite3.ProgrammingError, sqlite3.InterfaceError, OverflowError, UnicodeError) as error:
            raise InvalidInput(f"the parameters do not fit the statement: {type(error).__name__}") from error
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_ERROR:
                raise
            raise InvalidInput(f"the statement cannot be run: {error}") from error


def _postgresql(database: Database, body: str, parameters: Any) -> list[dict[str, Any]]:
    from sqlalchemy.exc import DataError, DBAPIError, ProgrammingError, StatementError

    values = (
        dict(parameters)
        if isinstance(parameters, Mapping)
        else {f"p{n}": v for n, v in enumerate(parameters)}
    )
    marks = sum(piece["mark"] is not None for piece in _PIECE.finditer(body))
    if not isinstance(parameters, Mapping) and marks != len(values):
        raise InvalidInput(f"the parameters do not fit the statement: {len(values)} for {marks} marks")
    counted = iter(range(marks))

    def named(piece: re.Match[str]) -> str:
        if piece["mark"] and not isinstance(parameters, Mapping):
            return f":p{next(counted)}"
        return piece[0].replace(":", "\\:") if piece["kept"] else piece[0]

    with database.read() as connection:
        try:
            return [dict(row) for row in connection.execute(text(_PIECE.sub(named, body)), values).mappings()]
        except DBAPIError as error:
            state = getattr(error.orig, "sqlstate", None) or ""
            bound = isinstance(error, DataError | ProgrammingError)  # without a state: not sent at all
            if not state.startswith(("42", "22")) and (
                state or not bound
            ):  # syntax or access; data exception
                raise
            raise InvalidInput(f"the statement cannot be run: {type(error.orig).__name__}") from error
        except (StatementError, UnicodeError) as error:
            raise InvalidInput("the parameters do not fit the statement") from error
