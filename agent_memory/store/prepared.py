"""Statements that every add runs: SQLAlchemy writes them once, and the driver runs them as they are.

To send a small statement through SQLAlchemy takes ten times as long as SQLite needs to run it (26 against 2
microseconds for an update of one row by its key; more after each wait for the disk, when the processor's
caches are cold). An add runs ten. So such a statement is compiled once for each kind of database, its values
are given as tuples, and its rows come as the driver gives them, which suits numbers and text. It runs on the
caller's connection, in its transaction, where the driver's errors become ours.

What it does not know: tables. Whatever runs less often goes through SQLAlchemy as usual.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Dialect

Values = tuple[Any, ...]


class Prepared:
    """A statement of SQLAlchemy Core, compiled once.

    Args:
        statement: all its values are named parameters; those of an insert are its columns.
        names: of the parameters, in the order in which their values will be given.
    """

    def __init__(self, statement: Any, *names: str) -> None:
        self._statement = statement
        self._names = names
        self._compiled: dict[tuple[str, str], _Compiled] = {}

    def rows(self, connection: Connection, *values: Any) -> list[Values]:
        """What the statement returns."""
        compiled = self._for(connection.dialect)
        with closing(connection.connection.cursor()) as cursor:
            cursor.execute(compiled.sql, compiled.arguments(values))
            return list(cursor.fetchall())

    def change(self, connection: Connection, rows: Sequence[Values]) -> int:
        """Runs the statement for each row of values; how many rows of the table that inserted or changed."""
        if not rows:
            return 0
        compiled = self._for(connection.dialect)
        given = rows if compiled.plain else [compiled.arguments(row) for row in rows]
        with closing(connection.connection.cursor()) as cursor:
            cursor.executemany(compiled.sql, given)
            return int(cursor.rowcount)

    def _for(self, dialect: Dialect) -> _Compiled:
        which = (dialect.name, dialect.driver)
        if which not in self._compiled:
            self._compiled[which] = _compiled(self._statement, self._names, dialect)
        return self._compiled[which]


@dataclass(frozen=True)
class _Compiled:
    """A statement as one kind of database takes it."""

    sql: str
    converters: tuple[tuple[int, Callable[[Any], Any]], ...]
    """Places of values that the driver does not know (times, JSON), and what makes its own of them."""
    shaped: Callable[[Values], Any] | None
    """Puts values into the driver's order, or under the driver's names; None where they are in order."""

    @property
    def plain(self) -> bool:
        """Whether the driver takes the values as they are."""
        return not self.converters and self.shaped is None

    def arguments(self, values: Values) -> Any:
        """The values as the driver takes them."""
        if self.converters:
            changed = list(values)
            for place, convert in self.converters:
                changed[place] = convert(changed[place])
            values = tuple(changed)
        return values if self.shaped is None else self.shaped(values)


def _compiled(statement: Any, names: tuple[str, ...], dialect: Dialect) -> _Compiled:
    made = statement.compile(dialect=dialect, column_keys=names)
    found = [made.binds[name].type.dialect_impl(dialect).bind_processor(dialect) for name in names]
    converters = tuple((place, convert) for place, convert in enumerate(found) if convert is not None)
    if not made.positional:
        return _Compiled(made.string, converters, lambda values: dict(zip(names, values, strict=True)))
    if tuple(made.positiontup) == names:
        return _Compiled(made.string, converters, None)
    order = [names.index(name) for name in made.positiontup]
    return _Compiled(made.string, converters, lambda values: tuple(values[place] for place in order))
