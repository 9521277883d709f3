"""The gate: what a candidate must have learnt and kept, and what chance may explain."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from agent_memory.config import GateConfig
from agent_memory.consolidation import gate
from agent_memory.consolidation.examine import Marked, closed_book
from agent_memory.consolidation.study_items import StudyItem

GOOD = {
    "new": 0.9, "new_base": 0.1, "retained": 0.9, "retained_parent": 0.9, "reading": 0.99,
    "reading_base": 1.0, "abstention": 0.99, "perplexity_rise": 0.001, "anchor_kl": 0.01,
}  # fmt: skip


def exams(count: int) -> list[StudyItem]:
    """So many exam items of one episode."""
    return [StudyItem(n, 1, 1, "exam", "written", 0, f"{n}?", "Lisbon", None, None) for n in range(count)]


def test_a_good_candidate_passes_and_so_does_one_without_a_past() -> None:
    assert gate.reasons(GOOD, config=GateConfig()) == []
    assert gate.reasons({"new": 0.9, "new_base": 0.0}, config=GateConfig()) == []


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("new", 0.05, "gain"),
        ("retained", 0.5, "retention"),
        ("reading", 0.5, "reading"),
        ("abstention", 0.2, "abstention"),
        ("perplexity_rise", 0.5, "perplexity"),
        ("anchor_kl", math.nan, "not finite"),
        ("perplexity_rise", math.inf, "not finite"),
    ],
)
def test_each_loss_rejects_with_its_reason(name: str, value: float, reason: str) -> None:
    (found,) = gate.reasons({**GOOD, name: value}, config=GateConfig())
    assert found.startswith(reason)


@pytest.mark.parametrize(
    ("new", "base", "rejected"), [(0.0, 0.0, True), (0.1, 0.0, False), (1.0, 1.0, False), (0.8, 0.8, True)]
)
def test_a_candidate_learnt_something_where_there_was_something_to_learn(
    new: float, base: float, rejected: bool
) -> None:
    found = gate.reasons({**GOOD, "new": new, "new_base": base}, config=GateConfig())
    assert [reason.split(":")[0] for reason in found] == ["gain"] * rejected


@pytest.mark.parametrize(
    ("items", "right", "base", "rejected"),
    [
        (39, 0, 0, True),  # a run of five episodes that learnt nothing
        (39, 4, 4, True),
        (39, 0, 20, True),  # nor kept what the base knew
        (39, 4, 0, False),
        (39, 30, 0, False),
        (3, 2, 0, False),
        (3, 0, 0, False),  # may be chance
        (39, 38, 39, False),
        (600, 30, 0, True),
    ],
)
def test_what_a_small_exam_shows_of_the_gain_is_held_against_a_candidate_and_chance_is_not(
    items: int, right: int, base: int, rejected: bool
) -> None:
    marked = [Marked(replace(item, known=n < base), n < right) for n, item in enumerate(exams(items))]
    scores = closed_book(marked, new={1}, before={})
    found = gate.reasons(scores, config=GateConfig())
    assert [reason.split(":")[0] for reason in found] == ["gain"] * rejected


@pytest.mark.parametrize(("error", "rejected"), [(0.0, True), (0.01, True), (0.03, False)])
def test_retention_is_lost_where_chance_does_not_explain_it(error: float, rejected: bool) -> None:
    scores = {**GOOD, "retained": GOOD["retained_parent"] - 0.08, "retained_error": error}
    assert bool(gate.reasons(scores, config=GateConfig())) == rejected


def test_the_error_of_retention_counts_what_came_and_what_went() -> None:
    right = (True, True, False, True)
    marked = [Marked(item, correct) for item, correct in zip(exams(4), right, strict=True)]
    before = {0: True, 1: False, 2: True, 3: True}
    scores = closed_book(marked, new=set(), before=before)
    assert scores == {"retained": 0.75, "retained_parent": 0.75, "retained_error": math.sqrt(2) / 4}


def test_the_gate_holds_lost_reading_against_a_version_that_reads_alone() -> None:
    scores = {"new": 0.9, "new_base": 0.1, "reading": 0.1, "reading_base": 1.0}
    assert gate.reasons(scores, config=GateConfig(), reads=False) == []
    (found,) = gate.reasons(scores, config=GateConfig(), reads=True)
    assert found.startswith("reading")
    assert gate.reasons(scores, config=GateConfig()) == [found]
    (other,) = gate.reasons({**scores, "abstention": 0.2}, config=GateConfig(), reads=False)
    assert other.startswith("abstention")
