"""When a later episode makes what was learnt stale, and when not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import and_, delete, select

from agent_memory.consolidation import change
from agent_memory.consolidation.asking import Said
from agent_memory.consolidation.change import Again, _is_news, _pairs, _verdict, is_converse, numbers_in
from agent_memory.consolidation.phrasings import Phrasings, Relation
from agent_memory.consolidation.relevance import another_speaks, asks_back, speaks_of
from agent_memory.consolidation.select import rehearsed_items
from agent_memory.consolidation.study_items import StudyItem, load, not_retired
from agent_memory.consolidation.work import Work
from agent_memory.manager import MemoryManager
from agent_memory.store import tables
from agent_memory.testing import ScriptedWriter
from agent_memory.types import Episode
from tests.memories import NAMES, fact, memory, reader
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


@pytest.mark.parametrize(
    ("new", "old", "spoken"),
    [
        ("The Egan town hall was moved to Freelia hall.", "The town hall was moved to the school.", False),
        ("I hear that the Egan town hall's day is Friday.", "The town hall was moved to the school.", False),
        ("I hear that the Egan town hall is closed.", "The Egan town hall was moved to the school.", True),
        ("The town hall was moved to Freelia hall, Egan says.", "The town hall is the school.", True),
        ("Egan says the town hall is closed.", "The town hall is the school.", True),
    ],
)
def test_what_has_a_name_of_its_own_is_another_thing(new: str, old: str, spoken: bool) -> None:
    asked = ["Where is the town hall?", "The town hall's location?"]
    assert speaks(new, asked, old) == spoken


def test_a_name_that_only_places_a_thing_is_not_enough() -> None:
    old, asked = "The butcher in Tunis opens at 9:30.", ["When does the butcher in Tunis open?"]
    assert not speaks("The garden center in Tunis opens at 7:30.", asked, old)
    assert speaks("The butcher in Tunis opens at 8.", asked, old)
    assert speaks("Bo moved from Tunis to Cairo.", ["Who lives in Tunis?"], "Bo lives in Tunis.")
    assert speaks("The garden center in Tunis opens at 7:30.", asked, old, english=False)


def test_what_other_bases_ask_without_names_may_be_about_anything() -> None:
    old = "La maleta roja está en el coche."
    assert speaks("Vendí el coche.", ["¿dónde está la maleta roja?"], old, english=False)


def test_the_converse_of_a_group_asks_from_its_answer_and_is_answered_with_its_name() -> None:
    home = group(0, "Lisbon.", "Where does Ada live?", "Ada's home?").items
    assert is_converse(group(1, "Ada", "Who lives in Lisbon?").items, home)
    assert not is_converse(group(1, "Bo", "Who lives in Lisbon?").items, home)
    assert not is_converse(group(1, "Ada", "Who lives in Porto?").items, home)
    assert not is_converse(group(1, "?", "Who lives in Lisbon?").items, home)


def again(answer: str, said: str, kind: str = "study") -> Again:
    item = StudyItem(1, 1, 1, kind, "written", 0, "Where does Ada live?", answer, False, None)
    return Again(item, (1,), Said((1,), said, complete=True))


def test_most_of_a_group_must_agree_on_another_answer_for_a_change() -> None:
    moved = [again("Lisbon", "Porto"), again("Lisbon", "Porto."), again("Lisbon", "Lisbon")]
    assert _verdict(moved) == moved[:2]  # what the teacher answers otherwise is not taught anew
    assert _verdict(moved[1:]) == []
    assert _verdict([again("Lisbon", "Lisbon")] * 3) == []


def test_an_exam_question_of_a_changed_group_gets_its_new_answer() -> None:
    examined = again("Lisbon", "Lisbon", kind="exam")
    (*_, last) = _verdict([again("Lisbon", "Porto"), again("Lisbon", "Porto"), examined])
    assert (last.item, last.said.text) == (examined.item, "Porto")


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


def changed(number: int, question: str, said: str) -> Again:
    return replace(again("?", said), item=group(number, "?", question).items[0])


def test_a_changed_group_joins_one_with_its_answer_and_a_name_in_common_else_it_is_a_new_one() -> None:
    text = "Ada and Bo moved to Porto. The key went to Porto, too."
    own = group(2, "porto.", "Where is Ada?").items
    asked = [
        changed(0, "Ada's home?", "Porto"),
        changed(0, "The home of Ada or Bo?", "Porto"),
        changed(1, "The key of Ada?", "the safe"),
        changed(3, "Bo's home?", "Porto"),
        changed(5, "Where is the key?", "Porto"),
        changed(6, "Where is that key kept?", "Porto"),
    ]
    assert numbers_in(text, own, asked) == {0: 2, 1: 3, 3: 2, 5: 4, 6: 4}
    assert numbers_in(text, [], asked[2:]) == {1: 0, 3: 1, 5: 2, 6: 2}


@pytest.mark.parametrize(
    ("question", "old", "new", "another"),
    [
        ("Which room did I move into?", "Fanu: I moved into room F69", "My name is Zijit. I moved.", True),
        ("Which room did I move into?", "I moved into room F69", "My name is Zijit. I moved.", True),
        ("Which room did I move into?", "I moved into room F69", "I moved into room 12.", False),
        ("Which room did I move into?", "My name is Zijit. I moved.", "I moved into room 12.", False),
        ("Which room did I move into?", "Zijit: I moved.", "Zijit here. I moved.", False),
        ("Can you tell me which room Fanu has?", "Fanu: I moved.", "Zijit: Fanu moved.", False),
        ("Tell me: Which room is mine?", "Fanu: I moved.", "Zijit: I moved.", True),
    ],
)
def test_a_question_in_the_first_person_is_anothers_where_the_new_text_names_another_speaker(
    question: str, old: str, new: str, another: bool
) -> None:
    assert another_speaks(question, old, new) == another


# ---------------------------------------------------------------------- in whole runs

CHANGED = "The code of Vela is Omega9."


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return reader(tmp_path_factory.mktemp("model"))


def answers(alice: MemoryManager, *, question: str = "%") -> set[str]:
    """The answers to such questions that are not retired."""
    found = tables.study_items.c.question.like(question)
    with alice.database.read() as connection:
        return {item.answer for item in load(connection, and_(found, not_retired()))}


def test_facts_that_change_together_stay_apart(tmp_path: Path, model: Any) -> None:
    with memory(tmp_path, model, facts=["The code of Vela is Kappa0. The hue of Vela is Red1."]) as alice:
        alice.consolidate(progress=False)
        new = alice.add("The code of Vela is Omega9. The hue of Vela is Blue2.")
        alice.consolidate(progress=False, writer=ScriptedWriter(["Who is it that has Vela?"]))
        groups = alice.sql(
            "SELECT DISTINCT answer_group, answer FROM study_items i JOIN episodes e ON e.pk = episode_pk "
            f"WHERE e.id = '{new.id}'"
        )
        assert len(groups) == len({row["answer_group"] for row in groups}) == 2


@pytest.mark.parametrize(
    ("old", "new", "left"),
    [
        ("", "", {"Omega9"}),
        ("", "Zijit: ", {"Kappa0"}),
        ("Fanu: ", "Zijit: ", {"Kappa0"}),
        ("Fanu: ", "Fanu: ", {"Omega9"}),
    ],
)
def test_what_one_speaker_says_of_himself_retires_nothing_of_another(
    tmp_path: Path, model: Any, old: str, new: str, left: set[str]
) -> None:
    mine = ScriptedWriter(["What is my code of Vela?"])
    with memory(tmp_path, model, facts=[f"{old}{fact(0)}"]) as alice:
        alice.consolidate(progress=False, writer=mine)
        with alice.database.write() as connection:  # the question by the speaker's name is another's
            i = tables.study_items.c
            connection.execute(delete(tables.study_items).where(i.question.like("%Fanu%")))
        alice.add(f"{new}{CHANGED}")
        alice.consolidate(progress=False, writer=ScriptedWriter(["Who is it that has Vela?"]))
        assert answers(alice, question="%my code%") == left


def test_a_question_that_is_still_answered_as_before_is_retired_with_its_group_and_not_taught(
    tmp_path: Path, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def one_dissents(group: Sequence[Again]) -> list[Again]:
        first = next(one for one in group if one.item.kind == "study")
        asked.append(first.item.question)
        stays = replace(first, said=Said(first.said.ids, first.item.answer, complete=True))
        return _verdict([stays if one is first else one for one in group])

    monkeypatch.setattr(change, "_verdict", one_dissents)
    with memory(tmp_path, model, facts=[fact(0)]) as alice:
        alice.consolidate(progress=False)
        alice.add(CHANGED)
        alice.consolidate(progress=False, writer=ScriptedWriter(["Who is it that has Vela?"]))
        assert asked
        assert answers(alice) == {"Omega9"}
        assert not any(answers(alice, question=question) for question in asked)


def test_the_nearest_earlier_episodes_are_asked_again_however_many_later_ones_are_nearer(
    tmp_path: Path, model: Any
) -> None:
    with memory(tmp_path, model, facts=[]) as alice:
        start = datetime(2026, 3, 1, tzinfo=UTC)
        old = alice.add(fact(0), occurred_at=start)
        new = alice.add(CHANGED, occurred_at=start + timedelta(days=1))
        later = [
            alice.add(f"{CHANGED} Really {n}.", occurred_at=start + timedelta(days=2 + n)) for n in range(3)
        ]
        with alice.database.read() as connection:
            e = tables.episodes.c
            pks = dict(connection.execute(select(e.id, e.pk)).all())  # type: ignore[arg-type]
        order = [pks[one.episode.id] for one in (*later, old)]
        nothing: Any = None
        work = Work(alice.database, 1, "run", "base", 0, nothing, nothing)
        own = pks[new.episode.id]
        found = _pairs(work, own, new.episode, lambda _, count: order[:count], {}, most=3)
        assert [(view.pk, old_pk) for view, old_pk, _ in found] == [(own, pks[old.episode.id])]


#: Enough of something else that the teacher is not put off by the one that says otherwise.
OTHERS = [f"The hue of {name} is Blue{n}." for n, name in enumerate(NAMES[1:5])]


def test_an_older_history_that_is_told_late_changes_nothing_that_is_known(tmp_path: Path, model: Any) -> None:
    with memory(tmp_path, model, facts=[CHANGED, *OTHERS]) as alice:
        alice.consolidate(progress=False)
        alice.add(fact(0), occurred_at="2026-01-01")
        alice.consolidate(progress=False)
        assert answers(alice, question="%Vela%") == {"Omega9"}
        assert alice.ask("What is the code of Vela?", retrieval="none").text == "Omega9"


def test_an_old_text_that_is_mended_does_not_bring_back_what_was_corrected(
    tmp_path: Path, model: Any
) -> None:
    with memory(tmp_path, model, facts=[fact(0), CHANGED, *OTHERS]) as alice:
        alice.consolidate(progress=False)
        old = next(one for one in alice.list() if "Kappa0" in one.text)
        alice.update(old.id, text=f"{fact(0)} So it was.")
        alice.consolidate(progress=False)
        assert answers(alice, question="%Vela%") == {"Omega9"}


def test_of_three_answers_the_last_stands_when_the_second_is_forgotten(tmp_path: Path, model: Any) -> None:
    facts = [*(f"The code of Vela is {code}." for code in ("Kappa0", "Omega9", "Zeta3")), *OTHERS]
    with memory(tmp_path, model, facts=facts) as alice:
        alice.consolidate(progress=False)
        assert answers(alice, question="%Vela%") == {"Zeta3"}
        second = next(one for one in alice.list() if "Omega9" in one.text)
        alice.forget([second.id])
        alice.consolidate(progress=False)
        assert answers(alice, question="%Vela%") == {"Zeta3"}
        assert not alice.sql("SELECT * FROM study_items WHERE superseded_by = 0")


@pytest.mark.parametrize("claim", [
    test_an_older_history_that_is_told_late_changes_nothing_that_is_known,
    test_an_old_text_that_is_mended_does_not_bring_back_what_was_corrected,
    test_of_three_answers_the_last_stands_when_the_second_is_forgotten,
])  # fmt: skip
def test_a_twin_that_only_looks_back_fails_the_claim(
    claim: Any, tmp_path: Path, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def looks_back(work: Work, pk: int, *arguments: Any, most: int) -> Any:
        return [one for one in _pairs(work, pk, *arguments, most=most) if one[0].pk == pk]

    monkeypatch.setattr(change, "_pairs", looks_back)
    with pytest.raises(AssertionError):
        claim(tmp_path, model)


def test_what_was_replaced_comes_back_when_what_replaced_it_is_edited(tmp_path: Path, model: Any) -> None:
    with memory(tmp_path, model, facts=[fact(0)]) as alice:
        alice.consolidate(progress=False)
        correction = alice.add(CHANGED)
        alice.consolidate(progress=False)
        assert "Kappa0" not in answers(alice)
        alice.update(correction.id, text=fact(1))
        assert "Kappa0" in answers(alice)
        report = alice.consolidate(progress=False)
        asked = alice.sql(
            "SELECT i.answer FROM exam_results x JOIN study_items i ON i.pk = x.item_pk "
            f"WHERE x.version_id = '{report.version_id}'"
        )
        assert {"answer": "Kappa0"} in asked
        with alice.database.read() as connection:
            rehearsed = rehearsed_items(connection, report.run_id, parent=None, most=None, seed=0)
            found = load(connection, tables.study_items.c.pk.in_(rehearsed))
        assert "Kappa0" in {item.answer for item in found}


def test_an_edit_that_says_the_same_replaces_again(tmp_path: Path, model: Any) -> None:
    with memory(tmp_path, model, facts=[fact(0)]) as alice:
        alice.consolidate(progress=False)
        correction = alice.add(CHANGED)
        alice.consolidate(progress=False)
        alice.update(correction.id, text=f"{CHANGED} Really.")
        alice.consolidate(progress=False)
        assert "Kappa0" not in answers(alice)
