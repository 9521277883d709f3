"""What of an episode can be read by itself, and which of it a question is about."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_memory.consolidation import study
from agent_memory.consolidation.complete import _about
from agent_memory.consolidation.parts import covered, part_about, parts
from agent_memory.consolidation.phrasings import Phrasings, Relation
from agent_memory.consolidation.study import View
from tests.test_consolidation_parts import results

MOVED = "Ada moved to Porto. Bo has a cat. Our red drill is in the cellar. Ada plays chess."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ada lives in Lisbon. Bo has a cat!", ["Ada lives in Lisbon.", "Bo has a cat!"]),
        ("Ada moved. She rents a flat. Bo stayed.", ["Ada moved. She rents a flat.", "Bo stayed."]),
        ("Dr. Vale and J. Holm met at 9:30. It rained.", ["Dr. Vale and J. Holm met at 9:30. It rained."]),
        ("  no mark at all ", ["no mark at all"]),
        ("", [""]),
    ],
)
def test_an_episode_is_cut_between_sentences_that_stand_on_their_own(text: str, expected: list[str]) -> None:
    assert parts(text) == expected


@given(st.text(alphabet="Aab .!?\n", max_size=40))
def test_cutting_loses_no_word(text: str) -> None:
    assert " ".join(parts(text)).split() == text.split()


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("Ada moved. On 8 May, it is her birthday.", 1),
        ("Ada moved. The name of his cat is Milo.", 1),
        ("My name is Ada. I moved. Bo stayed.", 2),
        ("This is Ada. When it comes to my cat, it is Milo. Bo stayed.", 2),
        ("I moved. My cat is Milo.", 2),
        ("Bo stayed. Ada here: I moved.", 2),
        ("Ada here: I moved. Bo stayed. I rent a flat.", 1),
        ("I moved. My name is Ada.", 1),
        ("Prof. Holm came at 9 a.m. Monday. 1. Tea. Bo left.", 2),
    ],
)
def test_a_sentence_that_leans_on_another_for_a_name_stays_with_it(text: str, count: int) -> None:
    assert len(parts(text)) == count


@pytest.mark.parametrize(
    ("question", "part"),
    [
        ("What is Bo's cat called?", "Bo has a cat."),
        ("Where did Ada move?", None),
        ("What does Ada do in Porto?", "Ada moved to Porto."),
        ("Does Ada know how one plays chess?", "Ada plays chess."),
        ("Where is our red drill?", "Our red drill is in the cellar."),
        ("Does Ada know Bo?", None),
        ("Who is it?", None),
    ],
)
def test_a_question_is_about_the_part_with_its_names_and_most_of_its_words(
    question: str, part: str | None
) -> None:
    assert part_about(question, MOVED) == part


def test_an_episode_of_one_part_is_read_whole() -> None:
    assert part_about("Where does Ada live?", "Ada lives in Porto.") is None


def test_the_teacher_sees_the_part_where_it_reads_small_reader_and_nothing_stands_beside() -> None:
    mine, other = (result.episode for result in results(1, 2))
    whole = View(1, replace(mine, text=MOVED), ())
    asked = "What is Bo's cat called?"
    assert [one.text for one in whole.seen(asked)] == [MOVED]
    assert [one.text for one in replace(whole, small_reader=True).seen(asked)] == ["Bo has a cat."]
    assert [one.text for one in replace(whole, small_reader=True).seen("Who is it?")] == [MOVED]
    assert [one.text for one in replace(whole, small_reader=True).seen(asked, "Milo")] == [MOVED]
    crowded = replace(whole, small_reader=True, beside=((2, other),))
    assert crowded.seen(asked) == crowded.all


@pytest.mark.parametrize(
    ("answer", "is_read"),
    [("Porto", True), ("your red drill", True), ("Yes.", True), ("Yours", True), ("Portugal", False),
     ("a redrill", False),     ("it", False)],
)  # fmt: skip
def test_an_answer_of_the_small_reader_has_no_word_that_it_was_not_shown(answer: str, is_read: bool) -> None:
    (mine,) = (result.episode for result in results(1))
    whole = View(1, replace(mine, text=MOVED), ())
    assert study._is_an_answer(whole, answer)
    assert study._is_an_answer(replace(whole, small_reader=True), answer) == is_read


BROUGHT = Phrasings([Relation(("Who owns {0}?", "Whose is {0}?"), ("What does {0} own?",))])


@pytest.mark.parametrize(
    ("questions", "text", "about"),
    [
        (["Who owns the red drill?", "Who is it?"], "The red drill: Bo's.", ("the red drill",)),
        (["Who owns the Puma project?"], "Bo has the Puma project.", ("the Puma project",)),
        (["Who owns Puma?", "Where is Puma?"], "Bo has Puma.", ("Puma",)),
        (["Who has Puma now?"], "Bo has Puma.", ("Puma",)),
        (["When does the shop open?", "How long is the shop open?"], "The shop is open.", ("shop",)),
        (["Who owns your drill?"], "My drill is Bo's.", ("my drill",)),
    ],
)
def test_phrasings_tell_what_a_group_asks_from_and_else_its_names_do(
    questions: list[str], text: str, about: tuple[str, ...]
) -> None:
    assert _about(questions, text, BROUGHT) == about


MIRA = "Mira Holm lives in Oslo. Mira Holm plays the cello. Her PIN is 4711. Thanks a lot!"
HOME = [("Where does Mira Holm live?", "Oslo"), ("Who lives in Oslo?", "Mira Holm")]
CELLO = [("What does Mira Holm play?", "the cello"), ("Who plays the cello?", "Mira Holm")]
PIN = [("What is her PIN?", "4711"), ("What is 4711?", "her PIN")]


def test_a_text_is_covered_where_each_sentence_that_says_something_is_asked_about_from_two_sides() -> None:
    assert covered(MIRA, [*HOME, *CELLO, *PIN])
    assert covered("Thanks a lot!", [])


@pytest.mark.parametrize("missing", [HOME, CELLO, PIN, HOME[:1], CELLO[1:]])
def test_a_text_is_not_covered_where_one_side_of_a_sentence_is_not_asked_about(
    missing: list[tuple[str, str]],
) -> None:
    """Though other questions have the same name in them, and a short sentence has a number."""
    assert not covered(MIRA, [item for item in (*HOME, *CELLO, *PIN) if item not in missing])
