"""What becomes of a drafted question: slips are mended, speakers named, other wordings found."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_memory import models
from agent_memory.consolidation.questions import EXAM_TEMPLATES, is_wrapped, names, normalise
from agent_memory.consolidation.wording import (
    about_the_speaker,
    as_clause,
    grounded,
    is_word,
    retold,
    spoken_by,
)

TEXT = "Tarvelin Holm keeps the spare key of Brevnaru in locker KX-4471."
READER = Path(models.__file__).parent / "reader"

# ---------------------------------------------------------------------- grounded


def test_a_question_that_names_what_the_text_holds_stays_as_it_is() -> None:
    for question in ("Where does Tarvelin Holm keep the key?", "What is in KX-4471?", "Where is the key?"):
        assert grounded(question, TEXT) == question


@pytest.mark.parametrize(
    ("drafted", "mended"),
    [
        ("Where does Tarvelon Holm keep it?", "Where does Tarvelin Holm keep it?"),
        ("Which key of Brevnura is it?", "Which key of Brevnaru is it?"),
        ("What lies in locker KX-4417?", "What lies in locker KX-4471?"),
        ("What is Brevnura's key?", "What is Brevnaru's key?"),
    ],
)
def test_a_slip_in_a_name_is_mended_to_the_nearest_name_of_the_text(drafted: str, mended: str) -> None:
    assert grounded(drafted, TEXT) == mended


@pytest.mark.parametrize("drafted", ["Where does Quim live?", "Where do Tarvelin Holm and Oswald meet?"])
def test_a_question_about_a_name_that_is_like_none_in_the_text_is_dropped(drafted: str) -> None:
    assert grounded(drafted, TEXT) is None
    assert grounded(drafted, "no names at all") is None


def test_a_verb_that_opens_a_request_is_no_name() -> None:
    assert grounded("Identify the locker.", TEXT) == "Identify the locker."
    assert grounded("Name one locker of Brevnaru.", TEXT) == "Name one locker of Brevnaru."


def test_two_articles_in_a_row_are_dropped() -> None:
    assert grounded("What is the a key?", TEXT) is None


def test_words_that_are_no_words_are_mended_or_dropped() -> None:
    text = "My zorvane plays the harp."
    assert grounded("Who is the zorvone?", text) == "Who is the zorvane?"
    assert grounded("Who is the zorvane?", text) == "Who is the zorvane?"
    assert grounded("Who is the qwlmptk?", text) is None


def test_the_words_of_the_embedder_in_the_box_are_words() -> None:
    assert all(map(is_word, ("key", "sister", "ice-cream", "it's")))
    assert not is_word("zorvane")


@given(st.text(max_size=40), st.text(max_size=40))
def test_what_is_grounded_names_nothing_that_the_text_does_not_hold(question: str, text: str) -> None:
    found = grounded(question, text)
    if found is not None:
        assert grounded(found, text) is not None


@pytest.mark.parametrize(
    ("question", "stays"),
    [
        ("How can I call her?", False),
        ("Where does she live?", False),
        ("What does Ada say of him?", True),
        ("Where does my sister keep her keys?", True),
        ("What does my cat like when they play?", True),
        ("When is the book book reading?", False),
        ("In which case do I I close it?", False),
        ("Who moved to Walla Walla?", True),
        ("Whose boss is I do not know.", False),
        ("Who has a the key?", False),
    ],
)
def test_what_a_small_writer_stumbles_into_is_dropped(question: str, stays: bool) -> None:
    assert (grounded(question, "Ada moved to Walla Walla.") is not None) == stays


# ---------------------------------------------------------------------- speakers


@pytest.mark.parametrize(
    "text",
    [
        "Omar: I moved to Porto.",
        "I am Omar.",
        "I'm Omar, from Porto.",
        "My name is Omar",
        "Hello! My name is Omar.",
        "Omar here: I live in Porto.",
        "This is Omar here, I live in Porto.",
        "This is Omar. I live in Porto.",
        "Omar wrote: I moved.",
        "Omar said: I moved.",
        "Hi. Omar speaking.",
    ],
)
def test_a_text_tells_who_speaks_in_it(text: str) -> None:
    assert spoken_by(text) == ["Omar"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I live in Lisbon.",
        "Omar lives in Lisbon.",
        "I met Omar. He is here.",
        "I am tired, and Omar is too.",
        "The office is in Lisbon: third floor.",
        "My sister Omar is called: nobody.",
        "It is Monday. I am off.",
        "I'm at home: call me at 10:30.",
    ],
)
def test_an_ordinary_text_tells_of_no_speaker(text: str) -> None:
    assert spoken_by(text) == []


def test_speakers_come_with_their_whole_names_and_once_each() -> None:
    assert spoken_by("Omar Khan: I am Omar Khan. Bea: I am Bea.") == ["Omar Khan", "Bea"]


@pytest.mark.parametrize(
    ("own", "named"),
    [
        ("Where do I live?", "Where does Omar live?"),
        ("Where did I grow up?", "Where did Omar grow up?"),
        ("What am I allergic to?", "What is Omar allergic to?"),
        ("Am I tall?", "Is Omar tall?"),
        ("Which car have I bought?", "Which car has Omar bought?"),
        ("Where was I born?", "Where was Omar born?"),
        ("What is my code?", "What is Omar's code?"),
        ("Is the bag mine?", "Is the bag Omar's?"),
        ("Who called me?", "Who called Omar?"),
        ("When can I come?", "When can Omar come?"),
        ("I've bought what?", "Omar has bought what?"),
    ],
)
def test_a_question_in_the_first_person_is_asked_again_about_the_speaker(own: str, named: str) -> None:
    assert about_the_speaker(own, "I am Omar.") == [named]
    assert about_the_speaker(own, "Somebody lives here.") == []


def test_a_question_that_opens_with_my_is_in_the_first_person() -> None:
    assert about_the_speaker("My home town?", "I am Omar.") == ["Omar's home town?"]


@pytest.mark.parametrize("text", ["I cannot come. It is Monday.", "This is Lisbon."])
def test_a_day_or_a_place_does_not_speak(text: str) -> None:
    assert spoken_by(text) == []


@pytest.mark.parametrize(
    "question",
    ["Tell me where Ada lives.", "Where does Ada live?", "Can I ask who leads?", "Give me the key."],
)
def test_a_request_to_the_one_who_answers_is_not_in_the_first_person(question: str) -> None:
    assert about_the_speaker(question, "I am Omar.") == []


def test_a_request_stays_while_what_it_asks_for_is_put_about_the_speaker() -> None:
    assert about_the_speaker("Can you tell me what my code is?", "I am Omar.") == [
        "Can you tell me what Omar's code is?"
    ]


def test_where_two_speak_the_question_is_asked_about_each() -> None:
    assert about_the_speaker("Where do I live?", "Omar: hello. Bea: hello.") == [
        "Where does Omar live?",
        "Where does Bea live?",
    ]


@given(st.text(max_size=60), st.text(max_size=60))
def test_naming_the_speaker_survives_any_text(question: str, text: str) -> None:
    found = about_the_speaker(question, text)
    assert len(found) in (0, len(spoken_by(text)))


# ---------------------------------------------------------------------- other wordings


@pytest.mark.parametrize(
    ("question", "about", "clause"),
    [
        ("Where does Ada live?", "Ada", "where Ada lives"),
        ("Which badge does Ada Holm carry?", "Ada Holm", "which badge Ada Holm carries"),
        ("When does Ada study?", "Ada", "when Ada studies"),
        ("Where is Ada?", "Ada", "where Ada is"),
        ("When is Ada due at the clinic?", "Ada", "when Ada is due at the clinic"),
        ("What is Ada's code?", "Ada", "what Ada's code is"),
        ("What is the code of Vela?", "Vela", "what the code of Vela is"),
        ("How old is Ada?", "Ada", "how old Ada is"),
        ("What has Ada bought?", "Ada", "what Ada has bought"),
        ("Where can Ada park?", "Ada", "where Ada can park"),
        ("In which city is Ada at home?", "Ada", "in which city Ada is at home"),
        ("Who lives in Lisbon?", "Lisbon", "who lives in Lisbon"),
        ("Whose best friend is Ada?", "Ada", "whose best friend Ada is"),
    ],
)
def test_a_question_becomes_a_clause_by_simple_rules(question: str, about: str, clause: str) -> None:
    assert as_clause(question, (about,)) == clause


@pytest.mark.parametrize(
    "question", ["What did Ada buy?", "Is Ada at home?", "Tell me Ada's code.", "Ada's code?", ""]
)
def test_where_no_simple_rule_gives_a_clause_there_is_none(question: str) -> None:
    assert as_clause(question, ("Ada",)) is None


def test_a_possessive_before_the_verb_gives_no_broken_clause() -> None:
    assert as_clause("What does Ada's badge say?", ("Ada",)) in (None, "what Ada's badge says")


@pytest.mark.parametrize("question", ["Who is allergic to Peanuts?", "Who is married to Peanuts?"])
def test_a_question_for_the_subject_stands_as_it_is(question: str) -> None:
    assert as_clause(question, ("Peanuts",)) in (None, question[0].lower() + question[1:-1])


def test_a_question_is_retold_after_openings_and_as_a_clause() -> None:
    told = [q for n in range(50) for q in retold("Where does Ada live?", ("Ada",), random.Random(n), count=3)]
    assert any(question.endswith(": where does Ada live?") for question in told)
    assert "Do you know where Ada lives?" in told
    assert "Please tell me where Ada lives." in told
    assert all("where does Ada live?" in one or "where Ada lives" in one for one in told)


def test_a_name_at_the_head_keeps_its_capital_and_other_words_lose_theirs() -> None:
    for told in retold("Ada lives where?", ("Ada",), random.Random(0), count=4):
        assert "Ada lives where?" in told
    for told in retold("Did Ada move?", ("Ada",), random.Random(0), count=4):
        assert "did Ada move?" in told


@pytest.mark.parametrize("count", range(9))
def test_as_many_wordings_come_as_are_asked_for_all_different(count: int) -> None:
    for question in ("Where does Ada live?", "What did Ada buy?"):
        told = retold(question, ("Ada",), random.Random(1), count=count)
        assert len({normalise(one) for one in (*told, question)}) == count + 1


def test_the_same_randomness_gives_the_same_wordings() -> None:
    one, two = (retold("Where is Ada?", ("Ada",), random.Random(7), count=3) for _ in range(2))
    assert one == two


@given(question=st.text(max_size=80), seed=st.integers(0, 99), count=st.integers(0, 8))
def test_any_text_can_be_retold(question: str, seed: int, count: int) -> None:
    assert len(retold(question, names(question), random.Random(seed), count=count)) == count


_NAMES = ("Ada", "Holm", "Mary", "Boris", "KX-4471", "12", "Brevnaru")
_OPENINGS = ("Who", "What", "Where", "when", "how", "which", "whose", "Tell me", "Name")
_VERBS = ("is", "was", "does", "did", "has", "can", "live", "lives", "study", "call")
_OTHERS = ("the", "of", "in", "to", "code", "sister's", "city")
#: Questions and near-questions: words of all kinds in any order.
QUESTIONS = st.builds(
    lambda said, end: " ".join(said) + end,
    st.lists(st.sampled_from((*_NAMES, *_OPENINGS, *_VERBS, *_OTHERS)), min_size=1, max_size=9),
    st.sampled_from(["?", ".", ""]),
)


@given(question=QUESTIONS, seed=st.integers(0, 99))
def test_every_wording_keeps_every_name(question: str, seed: int) -> None:
    about = names(question)
    for told in retold(question, about, random.Random(seed), count=4):
        assert all(name in told for name in about), told


@given(question=QUESTIONS, seed=st.integers(0, 99))
def test_no_wording_is_wrapped_as_exam_questions_are(question: str, seed: int) -> None:
    assert not any(map(is_wrapped, retold(question, names(question), random.Random(seed), count=8)))


def test_no_wording_is_the_exams_but_for_punctuation() -> None:
    question = "Who lives in Lisbon?"
    exam = {normalise(template.format(question=question)) for template in EXAM_TEMPLATES}
    told = (retold(question, ("Lisbon",), random.Random(seed), count=4) for seed in range(50))
    assert not exam & {normalise(one) for of_one in told for one in of_one}
