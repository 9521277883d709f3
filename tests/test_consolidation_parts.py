"""The pure parts of consolidation: questions as text, groups, crowds, answers compared."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_memory.consolidation import candidate, questions, runs, study
from agent_memory.consolidation.asking import Said, declines, same
from agent_memory.consolidation.complete import Group, odd_one_out
from agent_memory.consolidation.phrasings import Phrasings, Relation
from agent_memory.consolidation.study import CROWDS, Answered, View, groups
from agent_memory.consolidation.study_items import StudyItem
from agent_memory.consolidation.turn import ambiguous, turned_groups
from agent_memory.consolidation.work import Work
from agent_memory.types import Episode, Namespace, SearchResult

TEXT = "Ada Holm lives in Lisbon. Her code is KX-4471."


def results(*scores: float) -> list[SearchResult]:
    now = datetime(2026, 3, 1, tzinfo=UTC)
    return [
        SearchResult(Episode(f"e{n}", f"text {n}", "user", None, "user", "trusted", now, now, 1), score)
        for n, score in enumerate(scores)
    ]


def answered(question: str, text: str) -> Answered:
    return Answered(question, Said((1,), text, complete=True), (1,))


def test_repetitions_differ_by_case_and_marks_only() -> None:
    assert questions.unique(["Where is Ada?", "where is Ada", "Where is the Ada?", "?"]) == ["Where is Ada?"]


def test_names_are_capitals_codes_and_numbers_but_not_openings() -> None:
    assert questions.names("Where does Ada Holm live? Tell me Ada's code, KX-4471.") == [
        "Ada Holm",
        "Ada",
        "KX-4471",
    ]
    assert questions.names("I'm here and what is it?") == []


def test_phrasings_are_borrowed_with_the_names_replaced() -> None:
    mine = (("Ada",), ["Where does Ada live?", "Ada's home town?"])
    yours = (("Bo",), ["Where does Bo live?", "In which city is Bo at home?"])
    other = (("Bo",), ["How old is Bo?"])
    lent = questions.borrowed([mine, yours, other], most=5, seed=0)
    assert lent == [
        {"In which city is Ada at home?": "In which city is {0} at home?"},
        {"Bo's home town?": "{0}'s home town?"},
        {},
    ]


@given(st.lists(st.text(alphabet="abcABC {}?'", max_size=12), max_size=4))
def test_borrowing_survives_any_text(asked: list[str]) -> None:
    lent = questions.borrowed([(("A",), asked), (("B",), ["A b", "B c?"])], most=3, seed=1)
    assert len(lent) == 2


def test_other_names_are_the_same_in_question_and_episode_and_not_taken() -> None:
    made = questions.with_other_names(
        ["Where does Ada live?", "Ada lives in Lisbon."],
        taken=lambda name: name.startswith("A"),
        rng=random.Random(3),
    )
    assert made is not None
    (name,) = questions.names(made[0])
    assert name not in ("Ada", "Lisbon")
    assert made[1].startswith(f"{name} lives in ")
    assert "Lisbon" not in made[1]


def test_half_of_the_other_names_look_like_known_ones() -> None:
    known = ["Stobouques", "Wilhelmina"]
    made = [
        questions.with_other_names(
            ["Where does Ada live?"], taken=lambda name: name in known, rng=random.Random(seed), known=known
        )
        for seed in range(100)
    ]
    starts = [known_name[: (len(known_name) + 1) // 2] for known_name in known]
    alike = sum(text is not None and any(start in text[0] for start in starts) for text in made)
    assert 30 <= alike <= 70
    assert not any(text is None or any(name in text[0] for name in known) for text in made)


def test_a_question_without_a_name_has_no_unknown_twin() -> None:
    assert (
        questions.with_other_names(["Where do I live?"], taken=lambda _: False, rng=random.Random(0)) is None
    )


def test_a_subject_in_lower_case_is_what_all_questions_share() -> None:
    asked = ["When can I visit the garden center?", "When does the Garden Center open?"]
    text = "You can go to the garden center from 9 am."
    assert questions.common_subject(asked, text) == ("garden center",)
    assert questions.common_subject(asked[:1], text) == ()
    assert questions.frame(asked[1], ("garden center",)) == "When does the {0} open?"


def test_wrappings_are_recognised() -> None:
    wrapped = [template.format(question="Where is Ada?") for template in questions.EXAM_TEMPLATES]
    assert all(map(questions.is_wrapped, wrapped))
    assert not questions.is_wrapped("Where is Ada?")


def test_groups_hold_questions_that_ask_for_the_same() -> None:
    asked = [
        answered("Where does Ada Holm live?", "Lisbon."),
        answered("Ada Holm's town?", "lisbon"),
        answered("Who lives in Lisbon?", "Ada Holm"),
        answered("Whose code is KX-4471?", "Ada Holm"),
    ]
    assert [[one.question for one in group] for group in groups(asked, TEXT)] == [
        ["Where does Ada Holm live?", "Ada Holm's town?"],
        ["Who lives in Lisbon?"],
        ["Whose code is KX-4471?"],
    ]


def group(number: int, answer: str, *questions: str, known: bool | None = None) -> Group:
    items = [
        StudyItem(n, 1, 1, "study", "written", number, question, answer, known, None)
        for n, question in enumerate(questions)
    ]
    return Group(number, items, (), {})


BROUGHT = Phrasings([
    Relation(("Where does {0} live?", "{0}'s home?"), ("Who lives in {0}?", "Whose home is {0}?")),
    Relation(("Who owns {0}?",), ("What does {0} own?",)),
])  # fmt: skip


def test_what_is_asked_from_one_side_only_is_turned() -> None:
    back = group(3, "Ada Holm.", "Who lives in Lisbon?")
    assert turned_groups([back], TEXT, BROUGHT) == [
        {"group": 4, "questions": ["Where does Ada Holm live?", "Ada Holm's home?"], "answer": "lisbon"}
    ]
    forward = group(0, "Lisbon", "Ada Holm's home?")
    assert turned_groups([forward], TEXT, BROUGHT) == [
        {"group": 1, "questions": ["Who lives in Lisbon?", "Whose home is Lisbon?"], "answer": "ada holm"}
    ]


def test_what_is_asked_from_both_sides_or_before_or_in_no_known_frame_is_not_turned() -> None:
    both = [group(0, "Lisbon", "Ada Holm's home?"), group(1, "Ada Holm", "Who lives in Lisbon?")]
    assert turned_groups(both, TEXT, BROUGHT) == []
    assert turned_groups([group(0, "Lisbon", "Ada Holm's home?", known=False)], TEXT, BROUGHT) == []
    assert turned_groups([group(0, "Lisbon", "To which town did Ada Holm go?")], TEXT, BROUGHT) == []
    assert turned_groups([group(0, "Porto", "Ada Holm's home?")], TEXT, BROUGHT) == []


def test_a_name_within_other_words_is_the_speakers_only_where_it_is_a_word() -> None:
    text = "The neighbour of my aunt lives in Lisbon, an hour from Amy Holm."
    back = group(0, "the neighbour of your aunt", "Who lives in Lisbon?")
    assert turned_groups([back], text, BROUGHT)[0]["questions"][1] == "the neighbour of my aunt's home?"
    forward = group(0, "Lisbon", "Amy Holm's home?")
    assert turned_groups([forward], text, BROUGHT)[0]["answer"] == "amy holm"


def test_what_has_two_answers_in_a_run_is_not_asked() -> None:
    told = [("Who lives in Lisbon?", "Ada"), ("who lives in Lisbon", "Bo"), ("Who is in Porto?", "my aunt")]
    assert ambiguous(told) == {"who lives in lisbon"}
    assert ambiguous([*told[2:], ("Who is in Porto?", "Your aunt.")]) == set()


def test_what_is_the_speakers_is_turned_in_the_speakers_words() -> None:
    text = "Our red bag belongs to my aunt."
    forward = group(0, "Your aunt", "Who owns our red bag?")
    back = group(1, "your red bag", "What does my aunt own?")
    assert turned_groups([forward, back], text, BROUGHT) == []
    assert turned_groups([forward], text, BROUGHT)[0] == {
        "group": 1, "questions": ["What does my aunt own?"], "answer": "your red bag"
    }  # fmt: skip
    assert turned_groups([back], text, BROUGHT)[0]["questions"] == ["Who owns our red bag?"]


@given(st.lists(st.text("ab", min_size=1), min_size=1, max_size=4), st.integers())
def test_crossed_names_begin_like_one_and_end_like_the_other(words: list[str], seed: int) -> None:
    rng = random.Random(seed)
    assert questions.crossed("my red bag", "the blue pen", rng).split()[0] == "my"
    made = questions.crossed(" ".join(words), "the blue pen", rng).split()
    assert (made[0], made[-1]) == (words[0], "pen")


class ScriptedAsker:
    """Answers every question with "yes", and says the same again behind so many crowds, by question."""

    def __init__(self, agrees: dict[str, int], *, room: int = 99) -> None:
        self._left = dict(agrees)
        self._room = room
        self.again: list[tuple[str, int]] = []

    def prompt(self, question: str, view: Sequence[Episode] = ()) -> tuple[str, int]:
        return question, len(view)

    def fits(self, prompt: tuple[str, int]) -> bool:
        return prompt[1] <= self._room

    def answers(self, prompts: Sequence[tuple[str, int]]) -> list[Said]:
        texts = ("I do not know." if "Quim" in question else "yes" for question, _ in prompts)
        return [Said((1,), text, complete=True) for text in texts]

    def says(self, prompts: Sequence[tuple[str, int]], answers: Sequence[tuple[int, ...]]) -> list[bool]:
        assert set(answers) <= {(1,)}
        self.again += prompts
        found = []
        for question, _ in prompts:
            found.append(self._left[question] > 0)
            self._left[question] -= 1
        return found


def kept(asker: ScriptedAsker, asked: list[str], *, crowds: int) -> list[str]:
    """The questions about one episode that study keeps, with so many other episodes at hand."""
    episodes = [result.episode for result in results(*range(crowds + 1))]
    nothing: Any = None
    work = Work(nothing, 1, "run", "base", 0, nothing, asker)  # type: ignore[arg-type]
    view = View(1, episodes[0], ())
    around = study._crowd(view, dict(enumerate(episodes, start=1)), seed=0)
    (found,) = study.consistent(work, [view], [asked], [around])
    return [one.question for one in found]


def test_an_answer_must_be_the_same_in_most_crowds() -> None:
    asker = ScriptedAsker({"a?": 3, "b?": 2, "c?": 1, "d?": 0})
    assert kept(asker, ["a?", "b?", "c?", "d?"], crowds=5) == ["a?", "b?"]
    assert asker.again == [(question, 2) for question in ("a?", "b?", "c?", "d?") for _ in range(CROWDS)]


def test_with_few_others_there_are_fewer_crowds_and_without_any_the_episode_is_alone() -> None:
    assert kept(ScriptedAsker({"a?": 2, "b?": 1}), ["a?", "b?"], crowds=2) == ["a?"]
    asker = ScriptedAsker({"a?": 1})
    assert kept(asker, ["a?"], crowds=0) == ["a?"]
    assert asker.again == [("a?", 1)]


def test_a_crowd_that_does_not_fit_the_window_is_not_asked() -> None:
    asker = ScriptedAsker({"a?": 1}, room=1)
    assert kept(asker, ["a?"], crowds=5) == ["a?"]
    assert asker.again == [("a?", 1)]


def test_what_the_teacher_declines_is_asked_no_crowd() -> None:
    asker = ScriptedAsker({"a?": 3})
    assert kept(asker, ["Quim?", "a?"], crowds=5) == ["a?"]
    assert {question for question, _ in asker.again} == {"a?"}


def test_the_odd_one_out_shares_the_fewest_words() -> None:
    assert (
        odd_one_out(["Where does Ada live?", "Where does Ada live now?", "Which town is home to Ada?"]) == 2
    )


@pytest.mark.parametrize("text", ["I do not know.", "I don't know that.", "", "Unknown"])
def test_declining_answers_are_recognised(text: str) -> None:
    assert declines(text)


def test_answers_are_compared_without_case_marks_and_articles() -> None:
    assert same("The Blue Lamp.", "blue lamp")
    assert not same("Lisbon", "Porto")


def test_the_folders_of_runs_and_versions_are_their_owners_alone(tmp_path: Path) -> None:
    """What lies in them was learnt from episodes, and the memory's own directory may be open to others."""
    with runs.held(tmp_path, Namespace(user_id="alice", agent_id=None)):
        (tmp_path / "runs" / "adapter").mkdir()
        candidate._move(tmp_path / "runs" / "adapter", tmp_path / "versions" / "v1")
    for name in ("runs", "versions"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("question", ["Wo wohnt Oksana?", "Où habite Oksana ?", "奥克萨娜住在哪里？"])
def test_what_another_base_asks_in_its_language_is_for_the_teacher_to_judge(
    question: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the English writer in the box is held to the names that an episode has."""

    class Base:
        made_here = False

    nothing: Any = None
    view = View(1, results(1)[0].episode, ())
    draft: Any = type("Draft", (), {"question": question, "revision": 1})
    monkeypatch.setattr(study, "items_of", lambda *_, **__: [draft])
    foreign: Any = Base()
    work = Work(nothing, 1, "run", "base", 0, foreign, nothing)
    assert study._asked(work, view) == [question]


def test_who_speaks_is_told_by_the_episode_and_not_by_its_neighbours() -> None:
    asker = ScriptedAsker({"Where does Nova live?": 3})
    mine, other = (result.episode for result in results(1, 2))
    view = View(
        1, replace(mine, text="I live in Lisbon."), ((2, replace(other, text="I am Nova, your assistant.")),)
    )
    nothing: Any = None
    work = Work(nothing, 1, "run", "base", 0, nothing, asker)  # type: ignore[arg-type]
    own = [Answered("Where do I live?", Said((1,), "yes", complete=True), ())]
    assert study._named(work, [view], [own], [[]]) == [[]]
    said = replace(view, episode=replace(mine, text="Nova here: I live in Lisbon."))
    (found,) = study._named(work, [said], [own], [[]])
    assert [one.question for one in found] == ["Where does Nova live?"]
