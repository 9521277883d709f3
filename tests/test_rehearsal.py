"""Which items of earlier episodes a run rehearses first."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from agent_memory.consolidation.select import DAMAGED, WEAK, by_need

GROUPS = [(1, 0), (1, 1), (2, 0), (3, 5)]
ITEMS = [(10 * place + n, group) for place, group in enumerate(GROUPS) for n in range(9)]
GROUP_OF = dict(ITEMS)


@given(seed=st.integers(0, 99), weak=st.sets(st.sampled_from(GROUPS)))
def test_every_fact_comes_up_before_any_does_twice_and_weak_ones_first(
    seed: int, weak: set[tuple[int, int]]
) -> None:
    ordered = [GROUP_OF[pk] for pk in by_need(ITEMS, weak=weak, damaged=set(), seed=seed)]
    assert set(ordered[: len(GROUPS)]) == set(GROUPS)
    assert set(ordered[: len(weak)]) == weak


def test_damaged_facts_come_first_and_get_most() -> None:
    damaged, weak, fine = GROUPS[0], GROUPS[1], GROUPS[2:]
    ordered = [GROUP_OF[pk] for pk in by_need(ITEMS, weak={damaged, weak}, damaged={damaged}, seed=1)]
    assert ordered[:2] == [damaged, weak]
    early = Counter(ordered[: DAMAGED + WEAK + len(fine)])
    assert early == {damaged: DAMAGED, weak: WEAK, **dict.fromkeys(fine, 1)}


def test_all_come_up_once_and_chance_decides_among_equals() -> None:
    orders = [by_need(ITEMS, weak=set(), damaged=set(), seed=seed) for seed in range(9)]
    assert all(sorted(order) == sorted(GROUP_OF) for order in orders)
    assert len({order[0] for order in orders}) > 1
    assert by_need(ITEMS, weak=set(), damaged=set(), seed=3) == orders[3]


def test_which_item_of_a_fact_is_rehearsed_goes_round_from_run_to_run() -> None:
    orders = [by_need(ITEMS, weak=set(), damaged=set(), seed=1, continued=run) for run in range(9)]
    runs = [order[: len(GROUPS)] for order in orders]
    assert all({GROUP_OF[pk] for pk in run} == set(GROUPS) for run in runs)
    assert {pk for run in runs for pk in run} == set(GROUP_OF)
