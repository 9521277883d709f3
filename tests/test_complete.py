"""Loans and the surprise gate: whose phrasing a question is, and what the bare base knew before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from agent_memory.consolidation import study_items
from agent_memory.consolidation.complete import Made, _known, _lenders
from agent_memory.consolidation.targets import Targets
from agent_memory.consolidation.work import Work
from tests.test_consolidation_parts import group

ANSWER = (7, 8)
PACKED = study_items.pack(ANSWER, Targets(("1",), torch.tensor([0, 2]), torch.ones(2, 1), torch.zeros(2, 1)))


class Base:
    """Knows, without any episode, where Ada lives."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def prompt(self, question: str) -> str:
        return question

    def sure(self, prompts: Sequence[str], answers: Sequence[Sequence[int]]) -> list[bool]:
        assert all(tuple(answer) == ANSWER for answer in answers)
        self.asked += prompts
        return ["Ada" in prompt for prompt in prompts]


def made(question: str, number: int) -> Made:
    return Made({"question": question, "answer_group": number, "known": False}, ANSWER)


def test_a_new_question_is_put_to_the_base_where_it_knows_another_of_the_group() -> None:
    nothing: Any = None
    base = Base()
    groups = [
        group(0, "Lisbon", "Where does Ada live?", "Town, please?"),
        group(1, "Lisbon", "Where is Bo?"),
    ]
    every = [item for one in groups for item in one.items]
    found = [replace(item, pk=pk, targets=PACKED) for pk, item in enumerate(every)]
    new = {1: [made("Ada's home?", 0), made("And the town?", 0), made("Bo's home?", 1)]}
    work = Work(nothing, 1, "run", "base", 0, nothing, base)  # type: ignore[arg-type]
    assert _known(work, found, new) == {0: True, 1: False, 2: False}
    assert [one.row["known"] for one in new[1]] == [True, False, False]
    assert "Bo's home?" not in base.asked


def test_a_phrasing_is_lent_by_the_first_episode_about_which_it_was_written() -> None:
    def about(name: str, number: int, *asked: str, origin: str = "written") -> Any:
        found = group(number, "Lisbon", *asked)
        return replace(found, about=(name,), items=[replace(one, origin=origin) for one in found.items])

    by_episode = {
        3: [about("Ada", 0, "Where does Ada live?", "Ada's secret home?"), about("Ada", 1, "Who is Ada?")],
        2: [about("Bo", 0, "Bo's secret home?", "Bo at home?", origin="lent")],
        5: [about("Cy", 0, "Where does Cy live?", "Cy at home?")],
    }
    lenders = {"Where does {0} live?": 3, "{0}'s secret home?": 3, "Who is {0}?": 3, "{0} at home?": 5}
    assert _lenders(by_episode) == lenders
