"""The block of an answer: what of the results stands in it, within its budget."""

from __future__ import annotations

from typing import Any

import pytest

from agent_memory import answer
from agent_memory.errors import InvalidInput
from tests.test_consolidation_parts import results


def test_a_lean_block_leaves_out_the_slow_and_what_scores_below_them() -> None:
    found = results(0.9, 0.8, 0.7)
    assert [r.episode.id for r in answer.lean(found, answer.Known(frozenset({"e1"})))] == ["e0"]
    assert answer.lean(found, answer.Known(frozenset({"e0"}))) == []
    assert answer.lean(found, answer.UNKNOWN) == found


def test_a_block_keeps_its_budget_and_uses_what_fits() -> None:
    found = results(0.9, 0.8, 0.7)
    whole = answer.context(lambda *_: found, "x", budget_tokens=10_000, retrieval="all")
    assert len(whole.episodes) == 3
    part = answer.context(lambda *_: found, "x", budget_tokens=whole.tokens - 1, retrieval="all")
    assert [e.id for e in part.episodes] == ["e0", "e1"]
    assert answer.context(lambda *_: found, "x", budget_tokens=1, retrieval="all").text == ""
    assert answer.context(lambda *_: found, "x", budget_tokens=100, retrieval="none").episodes == ()


def test_a_block_of_no_known_kind_is_refused() -> None:
    with pytest.raises(InvalidInput, match="retrieval"):
        answer.context(lambda *_: [], "x", budget_tokens=9, retrieval="some")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("query", "budget"), [(None, 9), (5, 9), (["x"], 9), ("x", 0), ("x", "9"), ("x", [])], ids=str
)
def test_a_block_for_what_is_no_text_or_within_what_is_no_number_is_refused(query: Any, budget: Any) -> None:
    for retrieval in ("all", "none"):
        with pytest.raises(InvalidInput, match=r"query|budget_tokens"):
            answer.context(lambda *_: [], query, budget_tokens=budget, retrieval=retrieval)
