"""When a later episode makes what was learnt stale, and when not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from agent_memory.consolidation.asking import Said
from agent_memory.consolidation.change import Again, _is_news, _verdict, asks_back, is_converse, speaks_of
from agent_memory.consolidation.items import StudyItem
from agent_memory.consolidation.phrasings import Phrasings, Relation
from agent_memory.consolidation.work import Work
from agent_memory.types import Episode
from tests.test_consolidation_parts import TEXT, group, results


def speaks(text: str, asked: list[str], old: str, *, english: bool = True) -> bool:
    return speaks_of(text, asked, old, english=english)


def test_a_text_speaks_of_questions_by_the_names_in_most_of_them() -> None:
    assert speaks("Ada Holm moved.", ["Where does Ada Holm live?", "Who lives there?"], TEXT)
    assert not speaks("Ada Brandt moved.", ["Where does Ada Holm live?"], TEXT)
    assert not speaks("Ada moved.", ["Where does Ada live?", "Ada of Lisbon?", "Who's in Lisbon?"], TEXT)


def test_a_text_speaks_of_questions_without_names_by_the_words_that_they_have_in_common() -> None:
    old = "The spare key is kept in the drawer."
    asked = ["Where is the spare key kept?", "What is the spare key's place?"]
    assert speaks("I moved my spare key to the safe.", asked, old)
    assert not speaks("I moved my front door key to the safe.", asked, old)
    assert speaks("The spare key was kept in the car.", asked[:1], old)
    assert speaks("Anything at all.", ["What now?"], old)


def test_what_other_bases_ask_without_names_may_be_about_anything() -> None:
    old = "La maleta roja está en el coche."
    assert speaks("Vendí el coche.", ["¿dónde está la maleta roja?"], old, english=False)


def test_the_converse_of_a_group_asks_from_its_answer_and_is_answered_with_its_name() -> None:
    home = group(0, "Lisbon.", "Where does Ada live?", "Ada's home?").items
    assert is_converse(group(1, "Ada", "Who lives in Lisbon?").items, home)
    assert not is_converse(group(1, "Bo", "Who lives in Lisbon?").items, home)
    assert not is_converse(group(1, "Ada", "Who lives in Porto?").items, home)
    assert not is_converse(group(1, "?", "Who lives in Lisbon?").items, home)


def again(answer: str, said: str) -> Again:
    item = StudyItem(1, 1, 1, "study", 0, "Where does Ada live?", answer, False, False, None, None, None)
    return Again(item, (1,), Said((1,), said, complete=True))


def test_most_of_a_group_must_agree_on_another_answer_for_a_change() -> None:
    moved = [again("Lisbon", "Porto"), again("Lisbon", "Porto."), again("Lisbon", "Lisbon")]
    assert [one.said.text for one in _verdict(moved)] == ["Porto"] * 3
    assert _verdict(moved[1:]) == []
    assert _verdict([again("Lisbon", "Lisbon")] * 3) == []


class Teacher:
    """Answers from what is in view: with where the last episode that names Ada says that she is."""

    def prompt(self, _question: str, view: Sequence[Episode]) -> str:
        return " ".join(one.text for one in view)

    def answers(self, prompts: Sequence[str]) -> list[Said]:
        said = re.compile(r"Ada (?:lives in|moved to) (\w+)")
        found = [said.findall(text) or ["I do not know."] for text in prompts]
        return [Said((1,), one[-1], complete=True) for one in found]


@pytest.mark.parametrize(
    ("answer", "new", "is_news"),
    [
        ("Rome", "Ada moved to Rome.", True),
        ("Porto", "Ada moved to Porto.", True),
        ("Porto", "Ada is off. Bo stays in Porto.", False),
        ("Porto", "Ada moved to Rome.", False),
        ("Paris", "Ada moved to Rome.", False),
        ("your aunt", "Ada stays with my aunt.", True),
    ],
)
def test_what_the_old_episode_holds_is_news_only_where_the_new_one_alone_says_it(
    answer: str, new: str, is_news: bool
) -> None:
    earlier, later = (result.episode for result in results(1, 2))
    earlier = replace(earlier, text="Ada lives in Lisbon. Bo lives in Porto.")
    nothing: Any = None
    work = Work(nothing, 1, "run", "base", 0, nothing, Teacher())  # type: ignore[arg-type]
    verdict = [again("Lisbon", answer)]
    assert _is_news(work, verdict, replace(later, text=new), earlier) == is_news


def test_a_question_for_one_of_several_is_told_by_its_phrasing() -> None:
    brought = Phrasings([Relation(("Where does {0} live?",), ("Who lives in {0}?",))])
    assert asks_back(brought, ["Who lives in Porto?"], "Bo lives in Porto.")
    assert not asks_back(brought, ["Who lives in Porto?"], "Bo lives in Rome.")
    assert not asks_back(brought, ["Where does Ada live?"], "Ada lives in Porto.")
    assert not asks_back(brought, ["Who is in Porto?"], "Bo lives in Porto.")


def test_that_an_answer_is_no_longer_found_is_no_change() -> None:
    assert _verdict([again("Lisbon", "I do not know.")] * 3) == []
