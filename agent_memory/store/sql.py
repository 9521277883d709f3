"""Questions to the record in SQL, by people: one SELECT, on a connection that cannot write.

It is the operator's view and has no scope: tables hold the rows of all namespaces, so whoever may call this
may read everybody's memory. On SQLite the file is opened read-only once more; on PostgreSQL the transaction
is read-only, the statement is sent alone, and the connection is not used again, for a SELECT can change the
session that it runs in. Placeholders are `?` with a sequence, or `:name` with a mapping, on both.

A statement is planned (EXPLAIN) before it runs. What is wrong with it comes up there and is told in the
database's own words; what fails later fails on a row, whose text those words may repeat, and is told without.
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
from agent_memory.store import forks
from agent_memory.store.database import Database
from agent_memory.store.directory import FILE
from agent_memory.store.failures import translated

#: Text in quotes and comments, which hold no placeholder and no second statement; then what we look for.
_PIECE = re.compile(
    r"(?P<kept>'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|--[^\n]*|/\*.*?\*/|::)|(?P<mark>\?)|(?P<end>;)|(?P<colon>:)(?=\W)",
    re.DOTALL,
)
_ONLY_READS = "sql only reads: it takes one SELECT (or WITH ... SELECT) and cannot change anything"
_ON_A_ROW = "the statement failed on a row ({}): see to what its functions and casts are given"
#: What SQLite reports of a statement rather than of the file; SCHEMA is a column that no table was named for.
_OF_STATEMENT = frozenset({
    sqlite3.SQLITE_ERROR, sqlite3.SQLITE_SCHEMA, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_AUTH,
    sqlite3.SQLITE_MISMATCH,
})  # fmt: skip
#: What PostgreSQL reports of a statement, by the first two letters of SQLSTATE: data exception, more than one
#: row, syntax or access, unsupported, too complex.
_CLASSES = ("22", "21", "42", "0A", "54")
_READ_ONLY = "25006"  # SQLSTATE of a write in a read-only transaction
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
    if "\x00" in statement or any("\ud800" <= character <= "\udfff" for character in statement):
        raise InvalidInput("the statement holds a NUL character or half a surrogate pair: remove it")
    body = statement.strip().rstrip(";").rstrip()
    opening = _COMMENT.sub(" ", body, count=1).lstrip() if _COMMENT.match(body) else body
    if not re.match(r"(?i)(select|with|values)\b", opening):
        raise InvalidInput(_ONLY_READS)
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
    with (
        translated(),
        forks.inside(),
        closing(sqlite3.connect(location, uri=True, isolation_level=None)) as connection,
    ):
        connection.execute("PRAGMA query_only=ON")
        connection.execute("PRAGMA trusted_schema=OFF")
        connection.row_factory = sqlite3.Row
        try:
            connection.execute(f"EXPLAIN {body}", parameters).close()
        except (sqlite3.ProgrammingError, sqlite3.InterfaceError) as error:
            raise InvalidInput(f"the parameters do not fit the statement: {error}") from error
        except (OverflowError, UnicodeError) as error:
            raise InvalidInput(f"the parameters do not fit the statement: {type(error).__name__}") from error
        except sqlite3.Error as error:
            if error.sqlite_errorcode & 0xFF not in _OF_STATEMENT:
                raise
            raise InvalidInput(f"the statement cannot be run: {error}") from error
        try:
            return [dict(row) for row in connection.execute(body, parameters)]
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", None)  # none where Python cannot read a value
            if code == sqlite3.SQLITE_READONLY:  # as it is: with more bits, it is about the file
                raise InvalidInput(_ONLY_READS) from error
            if code is not None and code & 0xFF not in _OF_STATEMENT:
                raise
            raise InvalidInput(_ON_A_ROW.format(type(error).__name__)) from None


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

    statement = _PIECE.sub(named, body)
    with database.read() as connection:
        planned = False
        try:
            connection.execute(text(f"EXPLAIN {statement}"), values)
            planned = True
            return [dict(row) for row in connection.execute(text(statement), values).mappings()]
        except DBAPIError as error:
            kind, state = type(error.orig).__name__, getattr(error.orig, "sqlstate", None) or ""
            if state == _READ_ONLY:
                raise InvalidInput(_ONLY_READS) from error
            unsent = not state and isinstance(error, DataError | ProgrammingError)
            if not unsent and not state.startswith(_CLASSES):
                raise
            if planned:
                raise InvalidInput(_ON_A_ROW.format(kind)) from None
            said = getattr(error.orig, "diag", None)
            reason = said.message_primary if said and state.startswith("42") else kind
            raise InvalidInput(f"the statement cannot be run: {reason}") from error
        except (StatementError, UnicodeError) as error:
            raise InvalidInput("the parameters do not fit the statement") from error
        finally:
            connection.rollback()
            connection.invalidate()
