"""What LangGraph's filters and path conditions mean, in Python: nothing in them ever becomes SQL."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isnan
from typing import Any

from langgraph.store.base import MatchCondition

from agent_memory.errors import FilterError

Path = tuple[str, ...]

_FIELD = re.compile(r"\{(user_id|agent_id)\}")
_ORDER = {"$gt": (1,), "$gte": (0, 1), "$lt": (-1,), "$lte": (-1, 0)}
_OPERATORS = ("$eq", "$ne", *_ORDER)


def check_filter(conditions: object) -> None:
    """Sees to it that a filter means something, whatever it will be compared with.

    Raises:
        FilterError: It is no mapping, or names an operator that does not exist.
    """
    if conditions is None:
        return
    if not isinstance(conditions, Mapping):
        raise FilterError(f"a filter is a mapping of names to values, not {type(conditions).__name__}")
    for wanted in conditions.values():
        _check_part(wanted)


def _check_part(wanted: object) -> None:
    if isinstance(wanted, Mapping):
        operators = any(str(key).startswith("$") for key in wanted)
        for key, one in wanted.items():
            if not operators:
                _check_part(one)
            elif key not in _OPERATORS:
                raise FilterError(f"no filter operator {key!r:.40}; there are {', '.join(_OPERATORS)}")
    elif isinstance(wanted, list | tuple):
        for one in wanted:
            _check_part(one)


def matches(value: Mapping[str, Any], conditions: Mapping[str, Any]) -> bool:
    """Whether the value meets every condition of a checked filter; keys are names, never paths or SQL."""
    return all(_meets(value.get(key), wanted) for key, wanted in conditions.items())


def _meets(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, Mapping):
        if any(str(key).startswith("$") for key in wanted):
            return all(_compares(value, operator, operand) for operator, operand in wanted.items())
        return isinstance(value, Mapping) and matches(value, wanted)
    if isinstance(wanted, list | tuple):
        if not isinstance(value, list | tuple) or len(value) != len(wanted):
            return False
        return all(_meets(inner, one) for inner, one in zip(value, wanted, strict=True))
    return bool(value == wanted)


def _compares(value: Any, operator: str, operand: Any) -> bool:
    """LangGraph's operators; what cannot be ordered is not in order."""
    if operator == "$eq":
        return bool(value == operand)
    if operator == "$ne":
        return bool(value != operand)
    pair = _comparable(value, operand)
    return pair is not None and (pair[0] > pair[1]) - (pair[0] < pair[1]) in _ORDER[operator]


def _comparable(value: Any, operand: Any) -> tuple[Any, Any] | None:
    """Two numbers, or two texts as they are; None for anything else, NaN included."""
    if isinstance(value, str) and isinstance(operand, str):
        return value, operand
    if isinstance(value, int | float) and isinstance(operand, int | float) and not isnan(operand):
        return value, operand
    return None


def matches_path(condition: MatchCondition, path: Path) -> bool:
    """Whether the path begins or ends with the condition's labels; "*" stands for any one label."""
    labels = condition.path
    if len(path) < len(labels):
        return False
    part = path[: len(labels)] if condition.match_type == "prefix" else path[len(path) - len(labels) :]
    return all(wanted in ("*", label) for wanted, label in zip(labels, part, strict=True))


def scope_in(pattern: Any, path: Path) -> dict[str, str] | None:
    """What the fields of the pattern stand for in the path; None where it does not match."""
    if pattern is None or len(path) < len(pattern):
        return None
    found: dict[str, str] = {}
    for wanted, label in zip(pattern, path, strict=False):
        field = _FIELD.fullmatch(wanted)
        if field:
            found[field[1]] = label
        elif wanted != label:
            return None
    return found or None
