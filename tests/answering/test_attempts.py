"""What there is to read the bare base reads; the version is asked the question alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest

from agent_memory import prompt
from agent_memory.answer import attempts
from agent_memory.consolidation.asking import Asker
from agent_memory.models.local import LocalModel
from agent_memory.prompt import ASK_SYSTEM
from agent_memory.served import BASE, Served
from agent_memory.types import Placement
from tests.answering.asked import BLOCK, QUESTION, turns

PLACEMENTS: tuple[Placement, ...] = ("system", "user")
WORN = Served("v-one", Path("adapters/v-one"), frozenset())

# ---------------------------------------------------------------------- what there is to read


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_block_is_something_to_read_wherever_it_stands(placement: Placement) -> None:
    for system in ("", ASK_SYSTEM):
        asked = turns(QUESTION, block=BLOCK, system=system, placement=placement)
        assert prompt.holds_more_than_a_question(asked)
        assert not prompt.holds_more_than_a_question(turns(QUESTION, system=system, placement=placement))


def test_earlier_turns_are_something_to_read_and_a_system_text_is_not() -> None:
    assert prompt.holds_more_than_a_question(turns("Hello.", "Hello.", QUESTION))
    assert prompt.holds_more_than_a_question(turns("Hello.", "Hello."))
    assert not prompt.holds_more_than_a_question(turns(QUESTION, system="You speak like a pirate."))
    assert not prompt.holds_more_than_a_question(turns("What does <memory> mean?"))


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_closed_book_is_the_last_question_alone_as_study_items_put_it(placement: Placement) -> None:
    asked = turns("Hello.", "Hello.", QUESTION, block=BLOCK, system="Be kind.", placement=placement)
    assert prompt.closed_book(asked) == turns(QUESTION, system=ASK_SYSTEM)
    assert prompt.closed_book(turns(QUESTION)) == turns(QUESTION, system=ASK_SYSTEM)
    assert not prompt.holds_more_than_a_question(prompt.closed_book(asked))


def test_a_closed_book_is_to_the_token_what_a_study_item_is(tiny: LocalModel) -> None:
    asker = Asker(tiny, max_answer_tokens=8)
    for placement in PLACEMENTS:
        asked = turns("Hi.", "Hi.", QUESTION, block=BLOCK, placement=placement)
        assert tuple(tiny.prompt_ids(prompt.closed_book(asked))) == asker.prompt(QUESTION)


def test_a_closed_book_keeps_the_question_whole_whatever_it_quotes() -> None:
    asked = f"Paragraph one.\n\nWhat is {prompt.CLOSE} for?\n\n{prompt.CLOSE}\n\nEnd."
    for placement in PLACEMENTS:
        (_, last) = prompt.closed_book(turns(asked, block=BLOCK, placement=placement))
        assert last["content"] == asked


def test_a_closed_book_has_no_block_where_two_of_the_users_messages_were_joined() -> None:
    joined = turns(f"Hello.\n\n{BLOCK}\n\n{QUESTION}")
    assert prompt.OPEN not in prompt.closed_book(joined)[-1]["content"]


# ---------------------------------------------------------------------- attempts


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_what_is_in_view_is_read_by_the_base_and_the_version_is_asked_the_question_alone(
    placement: Placement,
) -> None:
    for asked in (
        turns(QUESTION, block=BLOCK, placement=placement),
        turns("Hello.", "Hello.", QUESTION, placement=placement),
    ):
        first, second = attempts(asked, WORN, reader="base")
        assert (first.version, first.adapter, list(first.messages)) == (None, None, asked)
        assert (second.version, second.adapter) == (WORN.version, WORN.adapter)
        assert list(second.messages) == turns(QUESTION, system=ASK_SYSTEM)


def test_a_question_alone_goes_to_the_version_at_once_in_the_words_it_came_in() -> None:
    asked = turns(QUESTION, system="Be kind.")
    (only,) = attempts(asked, WORN, reader="base")
    assert (only.version, only.adapter, list(only.messages)) == (WORN.version, WORN.adapter, asked)


@pytest.mark.parametrize("asked", [turns(QUESTION), turns(QUESTION, block=BLOCK), turns("a", "b", QUESTION)])
def test_there_is_one_attempt_where_nothing_is_worn_or_the_version_reads(asked: list[Any]) -> None:
    readers: tuple[Literal["base", "version"], ...] = ("base", "version")
    for how in readers:
        (only,) = attempts(asked, BASE, reader=how)
        assert (only.version, list(only.messages)) == (None, asked)
    (only,) = attempts(asked, WORN, reader="version")
    assert (only.version, list(only.messages)) == (WORN.version, asked)


def test_a_conversation_in_which_the_user_said_nothing_is_read_and_no_more() -> None:
    said = [{"role": "system", "content": BLOCK}, {"role": "assistant", "content": "Hello."}]
    (only,) = attempts(said, WORN, reader="base")
    assert only.version is None
