"""Which items and anchors a step trains on: rest for what is learnt, whole cards, the same once resumed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_memory.config import DistillConfig
from agent_memory.consolidation.plan import MOST_PASSES, Dealer, Deck, Plan, Step, passes, peak_rate

#: Cards of one anchor each, and cards of several.
SINGLE = ((0,), (1,), (2,), (3,), (4,))
SCENES = ((0, 1, 2), (3,), (4, 5))


def whole_cards(hand: list[int]) -> list[tuple[int, ...]]:
    """The scenes that a hand is made of; fails where one is not whole."""
    cards: list[tuple[int, ...]] = []
    while hand:
        card: tuple[int, ...] = next(card for card in SCENES if card[0] == hand[0])
        assert tuple(hand[: len(card)]) == card
        cards.append(card)
        hand = hand[len(card) :]
    return cards


def test_an_item_that_is_learnt_rests_for_longer_and_longer() -> None:
    plan = Plan(2, decks=(), epochs=16, batch_items=1, seed=0)
    epochs: list[int] = []
    while (step := plan.next()) is not None:
        plan.note(step.items[0], learnt=step.items[0] == 0)
        if step.items[0] == 0:
            epochs.append(int(step.progress * 16))
    assert epochs == [0, 2, 5, 10]


def test_every_item_is_met_in_each_epoch_until_it_is_learnt_and_anchors_come_round() -> None:
    plan = Plan(10, decks=[Deck(SINGLE, each=2)], epochs=4, batch_items=4, seed=0)
    met: dict[int, list[int]] = {epoch: [] for epoch in range(4)}
    anchors: list[int] = []
    count = 0
    while (step := plan.next()) is not None:
        met[int(step.progress * 4)] += step.items
        anchors += step.anchors
        count += 1
    assert [sorted(items) for items in met.values()] == [list(range(10))] * 4
    assert count == plan.most_steps()
    assert len(anchors) == 2 * count
    for first in range(0, len(anchors) - 5, 5):
        assert sorted(anchors[first : first + 5]) == list(range(5))


def test_a_run_makes_its_passes_and_as_many_whole_ones_more_as_fit_in_its_further_steps() -> None:
    config = DistillConfig(epochs=3, more_steps=20, batch_items=4)
    for items in range(6, 100):
        a_pass = -(-items // 4)
        further = (passes(items, config) - 3) * a_pass
        assert 20 - a_pass < further <= 20
    assert passes(7, config.model_copy(update={"more_steps": 0})) == 3
    assert passes(1, config.model_copy(update={"more_steps": 1000})) == MOST_PASSES
    assert passes(1, config.model_copy(update={"epochs": 50})) == 50


def test_a_deck_is_dealt_in_whole_cards_every_card_once_a_round_and_no_round_like_the_last() -> None:
    dealer = Dealer(Deck(SCENES, each=2), seed="s")
    dealt = [dealer.deal() for _ in range(6)]  # four rounds of three cards
    cards = [card for hand in dealt for card in whole_cards(hand)]
    rounds = [cards[n : n + 3] for n in range(0, 12, 3)]
    assert all(sorted(one) == sorted(SCENES) for one in rounds)
    assert len({tuple(one) for one in rounds}) > 1


@given(at=st.integers(0, 30), each=st.integers(0, 5), seed=st.integers(0, 9))
def test_a_dealer_goes_on_from_the_number_of_cards_that_were_dealt(at: int, each: int, seed: int) -> None:
    first, again = (Dealer(Deck(SCENES, each=each), seed=f"{seed}") for _ in range(2))
    for _ in range(at):
        first.deal()
    again.dealt = first.dealt
    assert [again.deal() for _ in range(7)] == [first.deal() for _ in range(7)]


def test_a_deck_with_fewer_cards_than_a_step_gets_is_dealt_whole_and_an_empty_one_deals_nothing() -> None:
    assert sorted(Dealer(Deck(SINGLE, each=64), seed="s").deal()) == list(range(5))
    assert Dealer(Deck((), each=64), seed="s").deal() == []
    assert Dealer(Deck(SINGLE, each=0), seed="s").deal() == []


def test_a_step_gets_cards_of_each_deck() -> None:
    decks = [Deck(SINGLE, each=2), Deck(tuple(tuple(n + 5 for n in card) for card in SCENES), each=1)]
    step = Plan(3, decks=decks, epochs=1, batch_items=3, seed=0).next()
    assert step is not None
    assert len([anchor for anchor in step.anchors if anchor < 5]) == 2
    assert len(whole_cards([anchor - 5 for anchor in step.anchors if anchor >= 5])) == 1


@pytest.mark.parametrize("steps", [0, 1, 5, 8])
def test_a_plan_goes_on_from_its_state_with_the_very_next_step(steps: int) -> None:
    def plan() -> Plan:
        return Plan(10, decks=[Deck(SINGLE, each=2), Deck(SCENES, each=1)], epochs=4, batch_items=4, seed=3)

    def rest(of: Plan) -> list[Step]:
        found = []
        while (step := of.next()) is not None:
            of.note(step.items[0], learnt=True)
            found.append(step)
        return found

    one, two = plan(), plan()
    for _ in range(steps):
        step = one.next()
        assert step is not None
        one.note(step.items[0], learnt=True)
    two.restore(json.loads(json.dumps(one.state())))
    assert two.state() == one.state()
    assert rest(two) == rest(one)


def test_the_rate_is_whole_in_short_passes_and_falls_with_the_root_of_the_steps_in_long_ones() -> None:
    config = DistillConfig(learning_rate=0.01, continued=0.3, batch_items=48, whole_rate_steps=250)

    def rate(steps: int, *, continued: bool = False) -> float:
        return peak_rate(48 * steps, config, continued=continued)

    assert rate(1) == rate(250) == 0.01
    assert rate(1000) == pytest.approx(0.005)
    assert all(rate(n) ** 2 * n == pytest.approx(0.01**2 * 250) for n in (251, 1330, 10_000))
    assert rate(1, continued=True) == pytest.approx(0.003)
    assert rate(1000, continued=True) == pytest.approx(0.0015)
