"""Many keys of episodes in one statement, and many rows out of it, at the speed of the driver.

A search asks for hundreds of keys at a time and reads thousands of rows. `IN` with a parameter for each key
costs more to write than to run, and making SQLAlchemy's rows of numbers costs more than reading them. So the
keys go as one parameter (a JSON array on SQLite, an array on PostgreSQL) and the rows come as the driver
gives them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, Dialect, Integer, Text, bindparam
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import NullType, TypeDecorator, TypeEngine

Keys = NDArray[np.int64]  # (N,)
Scores = NDArray[np.float64]  # (N,)

#: Rows named in one statement that changes them; SQLite may be built for no more than 999 parameters.
CHUNK = 900


class _KeyList(TypeDecorator[Any]):
    """A list of keys as one parameter."""

    impl = Text
    cache_ok = True
    python: type[int] | type[str] = int
    item: type[TypeEngine[Any]] = Integer

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Text on SQLite, an array on PostgreSQL."""
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else ARRAY(self.item))

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """The list, as the database takes it."""
        keys = [self.python(key) for key in value]
        return json.dumps(keys) if dialect.name == "sqlite" else keys


class _TextList(_KeyList):
    """A list of texts as one parameter."""

    cache_ok = True
    python = str
    item = Text


class _Among(FunctionElement[Any]):
    """Whether two columns are an owner and one of its keys."""

    type = NullType()  # as a boolean, SQLAlchemy would compare it with 1 on SQLite, which no index can serve
    inherit_cache = True
    name = "among"


@compiles(_Among, "sqlite")
def _on_sqlite(element: _Among, compiler: Any, **options: Any) -> str:
    # As a pair, so that SQLite looks each key up; apart, it may walk all rows of the owner.
    owner, column, owns, keys = (compiler.process(part, **options) for part in element.clauses)
    return f"({owner}, {column}) IN (SELECT {owns}, value FROM json_each({keys}))"  # noqa: S608  # parameters


@compiles(_Among, "postgresql")
def _on_postgresql(element: _Among, compiler: Any, **options: Any) -> str:
    owner, column, owns, keys = (compiler.process(part, **options) for part in element.clauses)
    return f"({owner} = {owns} AND {column} = ANY({keys}))"


def among(table: Any, key: Any) -> ColumnElement[bool]:
    """The condition that a row belongs to the parameter `owner` and its key is one of the parameter `pks`."""
    parameters = (bindparam("owner", type_=Integer), bindparam("pks", type_=_KeyList()))
    condition: Any = _Among(table.c.namespace_id, key, *parameters)
    return condition  # type: ignore[no-any-return]  # SQLAlchemy types a function as no condition


class _OneOf(FunctionElement[Any]):
    """Whether a text is one of a list."""

    type = NullType()  # see `_Among`
    inherit_cache = True
    name = "one_of"


@compiles(_OneOf, "sqlite")
def _one_of_on_sqlite(element: _OneOf, compiler: Any, **options: Any) -> str:
    column, texts = (compiler.process(part, **options) for part in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({texts}))"  # noqa: S608  # a parameter


@compiles(_OneOf, "postgresql")
def _one_of_on_postgresql(element: _OneOf, compiler: Any, **options: Any) -> str:
    column, texts = (compiler.process(part, **options) for part in element.clauses)
    return f"{column} = ANY({texts})"


def one_of(column: Any, parameter: str) -> ColumnElement[bool]:
    """The condition that a column of text is one of the parameter's, a list.

    Not as a pair with the owner, as `among` has it: for text, SQLite then walks all rows of the owner.
    """
    condition: Any = _OneOf(column, bindparam(parameter, type_=_TextList()))
    return condition  # type: ignore[no-any-return]  # SQLAlchemy types a function as no condition


def fetched(connection: Connection, statement: Any, **parameters: Any) -> list[Any]:
    """All rows as the driver gives them: for columns of numbers, text and bytes, whose types need no care."""
    result = connection.execute(statement, parameters)
    rows = list(result.cursor.fetchall())
    result.close()
    return rows


def columns(connection: Connection, statement: Any, **parameters: Any) -> list[list[Any]]:
    """The same by column, for rows without number: each is let go at once.

    Thousands of rows that live together have Python search all objects of the process for cycles: at 5,000
    vectors, one search in twenty took 60 ms longer.
    """
    result = connection.execute(statement, parameters)
    rows: Any = result.cursor
    width = len(rows.description)
    values = list(chain.from_iterable(rows))
    result.close()
    return [values[place::width] for place in range(width)]


def chunks(pks: Sequence[int]) -> Iterator[list[int]]:
    """The keys in lists that fit into one statement."""
    for start in range(0, len(pks), CHUNK):
        yield [int(pk) for pk in pks[start : start + CHUNK]]
