"""Filters in mem0's operators, as a SQL condition over the episodes of one namespace.

    {"source": "user", "occurred_at": {"gte": "2026-03-01"}, "NOT": {"city": {"in": ["Oslo", "Rome"]}}}

A name is a column of the allow-list, or else a key of the metadata (`metadata.` in front is dropped, so
that a key may be called like a column). An operator is one of eq ne gt gte lt lte in nin contains
icontains; a bare value means eq, a list means in, "*" means that the key is there. AND, OR and NOT take a
filter or a list of them. Logic is two-valued: an episode without the key fails every test, and passes `ne`,
`nin` and NOT.

Values are bound parameters, never SQL; names come from an allow-list or from an alphabet that cannot leave
a JSON path. Numbers compare with numbers and text with text, on SQLite as on PostgreSQL. The namespace is
no part of a filter: whoever runs the condition adds it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from sqlalchemy import ColumnElement, String, and_, cast, false, func, literal, not_, or_, select, true
from sqlalchemy.dialects.postgresql import JSONB

from agent_memory.errors import FilterError, InvalidInput
from agent_memory.store.checks import check_time
from agent_memory.store.tables import episodes

Condition = ColumnElement[bool]
Filter = Mapping[str, Any]

TEXT_COLUMNS = frozenset({"id", "text", "role", "session_id", "source", "trust"})
TIME_COLUMNS = frozenset({"occurred_at", "created_at", "expires_at"})
NUMBER_COLUMNS = frozenset({"revision"})
OPERATORS = ("eq", "ne", "gt", "gte", "lt", "lte", "in", "nin", "contains", "icontains")
_NOT_A_FILTER = frozenset({"user_id", "agent_id", "namespace_id", "pk"})
_KEY = re.compile(r"[^\W\d][\w .:/@-]{0,127}")  # no quote, backslash, bracket, $ or control character
_MAX_DEPTH, _MAX_TESTS, _MAX_VALUES = 8, 200, 1000  # chosen: beyond what a person writes, within SQLite's own

_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "eq": lambda a, b: a == b, "gt": lambda a, b: a > b, "gte": lambda a, b: a >= b,
    "lt": lambda a, b: a < b, "lte": lambda a, b: a <= b,
}  # fmt: skip


def condition(filters: Filter | None, *, dialect: str, empty: bool = True) -> Condition:
    """The filter as SQL for `dialect` ("sqlite" or "postgresql"); true without one.

    Raises:
        FilterError: an operator, name or value that is not allowed, too many of them, or where `empty` is
            False a filter, a part of one or a list in it that is empty.
    """
    if filters is None and empty:
        return true()
    return _Compiler(dialect, empty=empty).all_of(filters, depth=_MAX_DEPTH)


class _Compiler:
    """Walks a filter once and counts its tests, its parts, and the values of its lists."""

    def __init__(self, dialect: str, *, empty: bool) -> None:
        self.sqlite = dialect == "sqlite"
        self.empty = empty
        self.tests = self.parts = self.values = 0

    def all_of(self, filters: object, *, depth: int) -> Condition:
        """Every entry of one mapping holds."""
        if not isinstance(filters, Mapping):
            raise FilterError(f"a filter is a mapping of names to tests, not {type(filters).__name__}")
        self._holds(filters)
        if depth == 0:
            raise FilterError(f"the filter is nested more than {_MAX_DEPTH} deep")
        self.parts += 1
        if self.parts > 2 * _MAX_TESTS:
            raise FilterError(f"the filter has more than {2 * _MAX_TESTS} parts")
        return and_(true(), *(self._entry(name, test, depth=depth) for name, test in filters.items()))

    def _entry(self, name: object, test: object, *, depth: int) -> Condition:
        if not isinstance(name, str):
            raise FilterError(f"a name in a filter is text, not {type(name).__name__}")
        if name in ("AND", "OR", "NOT"):
            self._holds(test)
            parts = [
                self.all_of(one, depth=depth - 1) for one in (test if isinstance(test, list) else [test])
            ]
            if name == "OR":
                return or_(false(), *parts)
            # mem0: NOT of a list means that none of them holds
            return and_(true(), *parts) if name == "AND" else not_(or_(false(), *parts))
        tests = test if isinstance(test, Mapping) else {"in" if isinstance(test, list) else "eq": test}
        if not tests:
            raise FilterError("a test in a filter is empty")
        return and_(true(), *(self._test(name, operator, value) for operator, value in tests.items()))

    def _holds(self, part: object) -> None:
        """Refuses an empty part where none may be: in an OR it would mean everything."""
        if not self.empty and isinstance(part, Collection) and not part:
            raise FilterError(
                "the filter, or a part of it, is empty and may mean everything; say everything=True for that"
            )

    def _test(self, name: str, operator: object, value: object) -> Condition:
        self.tests += 1
        if self.tests > _MAX_TESTS:
            raise FilterError(f"the filter has more than {_MAX_TESTS} tests")
        if operator not in OPERATORS:
            known = ", ".join((*OPERATORS, "AND", "OR", "NOT"))
            raise FilterError(f"no filter operator {operator!r:.40}; there are {known}")
        if operator == "ne":
            return not_(self._test(name, "eq", value))
        if operator == "nin":
            return not_(self._test(name, "in", value))
        if operator == "in":
            if not isinstance(value, list | tuple | set | frozenset):
                raise FilterError(f"'in' and 'nin' take a list, not {type(value).__name__}")
            self._holds(value)
            self.values += len(value)
            if self.values > _MAX_VALUES:
                raise FilterError(f"the lists of the filter hold more than {_MAX_VALUES} values")
            return self._any_of(name, value)
        return self._leaf(name, str(operator), value)

    def _any_of(self, name: str, values: Collection[object]) -> Condition:
        """One of the values; most go into one list, for SQLite bounds the depth of a chain of OR."""
        special = [one for one in (None, True, False) if any(value is one for value in values)]
        wild = ["*"] if any(isinstance(value, str) and value == "*" for value in values) else []
        rest = [
            v for v in values if not (v is None or isinstance(v, bool) or (isinstance(v, str) and v == "*"))
        ]
        parts = [self._leaf(name, "eq", one) for one in (*special, *wild)]
        return or_(false(), *parts, *([self._leaf(name, "in", rest)] if rest else []))

    def _leaf(self, name: str, operator: str, value: object) -> Condition:
        if name in _NOT_A_FILTER:
            raise FilterError(f"{name} is not a filter: the scope is an argument of the call")
        if name in TIME_COLUMNS | TEXT_COLUMNS | NUMBER_COLUMNS:
            return self._column(name, operator, value)
        key = name.removeprefix("metadata.")
        if not _KEY.fullmatch(key):
            raise FilterError(
                "a metadata key in a filter begins with a letter, then letters, digits or ' _.:/@-'"
            )
        value = (
            [_scalar(one) for one in value]
            if isinstance(value, list) and operator == "in"
            else _scalar(value)
        )
        return func.coalesce(self._metadata(key, operator, value), false())

    def _column(self, name: str, operator: str, value: object) -> Condition:
        column = episodes.c[name]
        if value == "*" and operator == "eq":
            return column.is_not(None)
        if value is None and operator == "eq":
            return column.is_(None)
        if operator in ("contains", "icontains"):
            if name not in TEXT_COLUMNS:
                raise FilterError(f"{name} is not text: 'contains' does not apply")
            found = self._contains(column, _of_column(name, value), fold=operator == "icontains")
        elif operator == "in" and isinstance(value, list):
            found = column.in_([_of_column(name, one) for one in value])
        else:
            found = _COMPARE[operator](column, _of_column(name, value))
        return func.coalesce(found, false()) if column.nullable else found

    def _contains(self, column: Any, value: Any, *, fold: bool) -> Condition:
        if not isinstance(value, str):
            raise FilterError("'contains' and 'icontains' look for text")
        place = func.instr if self.sqlite else func.strpos
        if not fold:
            return place(column, value) > 0
        lower = func.agent_memory_lower if self.sqlite else func.lower
        return place(lower(column), lower(literal(value, String))) > 0

    def _metadata(self, key: str, operator: str, value: Any) -> Condition:
        """A test of one metadata value; NULL where the key is absent."""
        kind: ColumnElement[Any]
        plain: ColumnElement[Any]
        if self.sqlite:
            path = f'$."{key}"'
            kind, plain = (
                func.json_type(episodes.c.metadata, path),
                func.json_extract(episodes.c.metadata, path),
            )
        else:
            plain = episodes.c.metadata.op("->")(literal(key, String))
            kind = func.jsonb_typeof(plain)
        if operator == "in":
            return self._metadata_in(kind, plain, value)
        if value == "*" and operator == "eq":
            return kind.is_not(None)
        if value is None:
            if operator != "eq":
                raise FilterError("None is only compared with eq and ne")
            return kind.in_(self._kinds(value))
        if operator in ("contains", "icontains"):
            return self._metadata_contains(key, kind, plain, value, fold=operator == "icontains")
        if isinstance(value, bool) and operator != "eq":
            raise FilterError("True and False are only compared with eq and ne, or contained in a list")
        return and_(kind.in_(self._kinds(value)), _COMPARE[operator](plain, self._bound(value)))

    def _metadata_in(self, kind: Any, plain: Any, values: list[Any]) -> Condition:
        """One of some texts or numbers."""
        texts = [one for one in values if isinstance(one, str)]
        numbers = [one for one in values if not isinstance(one, str)]
        return or_(false(), *(
            and_(kind.in_(self._kinds(same[0])), plain.in_([self._bound(one) for one in same]))
            for same in (texts, numbers) if same
        ))  # fmt: skip

    def _kinds(self, value: object) -> tuple[str, ...]:
        return (_SQLITE_KINDS if self.sqlite else _POSTGRESQL_KINDS)[type(value)]

    def _bound(self, value: Any) -> Any:
        return value if self.sqlite else _jsonb(value)

    def _metadata_contains(self, key: str, kind: Any, plain: Any, value: Any, *, fold: bool) -> Condition:
        """Part of a text, or an element of a list."""
        member = and_(kind == "array", self._member(key, plain, value))
        if not isinstance(value, str):
            return member
        whole = plain if self.sqlite else episodes.c.metadata.op("->>")(literal(key, String))
        is_text = kind == ("text" if self.sqlite else "string")
        return or_(and_(is_text, self._contains(whole, value, fold=fold)), member)

    def _member(self, key: str, plain: Any, value: Any) -> Condition:
        if not self.sqlite:
            inside: Condition = plain.op("@>")(_jsonb(value))
            return inside
        each = func.json_each(episodes.c.metadata, f'$."{key}"').table_valued("value", "type")
        return (
            select(1)
            .select_from(each)
            .where(each.c.type.in_(_SQLITE_KINDS[type(value)]), each.c.value == value)
            .exists()
        )


#: What the databases call the types of JSON.
_SQLITE_KINDS: dict[type, tuple[str, ...]] = {
    bool: ("true", "false"), int: ("integer", "real"), float: ("integer", "real"), str: ("text",),
    type(None): ("null",),
}  # fmt: skip
_POSTGRESQL_KINDS: dict[type, tuple[str, ...]] = {
    bool: ("boolean",), int: ("number",), float: ("number",), str: ("string",), type(None): ("null",),
}  # fmt: skip


def _jsonb(value: object) -> Any:
    return cast(literal(json.dumps(value), String), JSONB)


def _of_column(name: str, value: object) -> Any:
    """The value, if this column can be compared with it."""
    if name in TIME_COLUMNS:
        return _time(name, value)
    number = isinstance(value, int) and not isinstance(value, bool)
    if not (number if name in NUMBER_COLUMNS else isinstance(value, str)):
        raise FilterError(f"{name} is compared with {'a number' if name in NUMBER_COLUMNS else 'text'}")
    return _scalar(value)


def _time(name: str, value: object) -> Any:
    try:
        time = check_time(name, value)
    except InvalidInput as error:
        raise FilterError(str(error)) from None
    if time is None:
        raise FilterError(f"{name} is compared with a time")
    return time


def _scalar(value: object) -> Any:
    """The value, if both databases can be asked for it."""
    if value is None or isinstance(value, bool) or (isinstance(value, int) and abs(value) < 2**63):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, str) and "\x00" not in value and not any("\ud800" <= c <= "\udfff" for c in value):
        return value
    raise FilterError("a filter compares with text, a finite number below 2^63, True, False or None")
