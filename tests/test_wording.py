"""What becomes of a drafted question: slips are mended, speakers named, other wordings lent."""

from __future__ import annotations

import json
import random
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_memory import models
from agent_memory.consolidation.phrasings import FILE, Phrasings, Placed, Relation
from agent_memory.consolidation.questions import EXAM_TEMPLATES, borrowed, is_wrapped, names, normalise
from agent_memory.consolidation.wording import (
    about_the_speaker,
    as_clause,
    grounded,
    is_word,
    retold,
    spoken_by,
)
from agent_memory.errors import ModelError
from benchmarks.facts import frames_of
from training.frames import INDEX, Fact, held_out
from training.frames import frames_of as frames_of_a_part
from training.relations import RELATIONS
from training.world import World

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


def test_words_that_are_no_words_are_mended_or_dropped_where_the_language_is_known() -> None:
    text = "My zorvane plays the harp."
    assert grounded("Who is the zorvone?", text) == "Who is the zorvone?"
    assert grounded("Who is the zorvone?", text, is_word=is_word) == "Who is the zorvane?"
    assert grounded("Who is the zorvane?", text, is_word=is_word) == "Who is the zorvane?"
    assert grounded("Who is the qwlmptk?", text, is_word=is_word) is None


def test_the_words_of_the_embedder_in_the_box_are_words() -> None:
    assert all(map(is_word, ("key", "sister", "ice-cream", "it's")))
    assert not is_word("zorvane")


@given(st.text(max_size=40), st.text(max_size=40))
def test_what_is_grounded_names_nothing_that_the_text_does_not_hold(question: str, text: str) -> None:
    found = grounded(question, text, is_word=is_word)
    if found is not None:
        assert grounded(found, text) is not None


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


# ---------------------------------------------------------------------- phrasings


HOME = Relation(("Where does {0} live?", "{0}'s home?"), ("Who lives in {0}?", "Whose home is {0}?"))


def test_a_base_without_phrasings_brings_none(tmp_path: Path) -> None:
    assert Phrasings.of(tmp_path).lists == ()
    assert Phrasings.of(tmp_path).placed(["Where does Ada live?"]) is None
    (tmp_path / FILE).write_text('[{"value": ["Where is {0}?", "{0} is where?"], "back": []}]', "utf-8")
    assert Phrasings.of(tmp_path).lists == (("Where is {0}?", "{0} is where?"),)


def of_home(name: str) -> Placed:
    return Placed(name, HOME.value, HOME.back, asks_back=False)


def to_home(name: str) -> Placed:
    return Placed(name, HOME.back, HOME.value, asks_back=True)


def test_questions_are_placed_on_one_side_of_a_relation() -> None:
    brought = Phrasings([HOME])
    assert brought.placed(["Where does Ada Holm live?"]) == of_home("Ada Holm")
    assert brought.placed(["where does Ada live?", "Ada's home?"]) == of_home("Ada")
    assert brought.placed(["Who lives in Lisbon?"]) == to_home("Lisbon")
    assert brought.placed(["Where does  live?"]) is None
    assert brought.placed(["How old is Ada?"]) is None


def test_most_of_the_questions_decide_where_they_stand() -> None:
    brought = Phrasings([HOME])
    asked = ["Who lives in Lisbon?", "Whose home is Lisbon?", "Where does Ada live?"]
    assert brought.placed(asked) == to_home("Lisbon")


@given(st.sampled_from(("", *HOME.value, *HOME.back)), st.text(max_size=12))
def test_any_text_is_placed_or_not(frame: str, name: str) -> None:
    found = Phrasings([HOME]).placed([frame.replace("{0}", name)])
    assert found is None or found.name in name


def test_of_two_frames_the_one_that_leaves_the_shorter_name_counts() -> None:
    broad = Relation(("Where does {0}?",), ("What is in {0}?",))
    for relations in ([broad, HOME], [HOME, broad]):
        assert Phrasings(relations).placed(["Where does Ada live?"]) == of_home("Ada")


def test_a_frame_of_two_relations_is_asked_back_as_both_would_be() -> None:
    spot = Relation(("Where is {0}?",), ("What is kept {0}?", "What lies {0}?"))
    event = Relation(("Where is {0}?", "Where shall we meet for {0}?"), ("What takes place in {0}?",))
    found = Phrasings([spot, event]).placed(["Where is the fair?"])
    assert found is not None
    assert found.back == ("What is kept {0}?", "What takes place in {0}?", "What lies {0}?")
    assert not found.asks_back


@pytest.mark.parametrize(
    "text", ["{", '[["Where is {0}?"]]', '[{"value": []}]', '[{"value": ["Where?"], "back": []}]', "3"]
)
def test_a_file_of_phrasings_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text, encoding="utf-8")
    with pytest.raises(ModelError, match=FILE):
        Phrasings.of(tmp_path)


def test_every_frame_of_the_reader_is_placed_where_it_stands() -> None:
    brought = Phrasings.of(READER)
    for one in json.loads((READER / FILE).read_text(encoding="utf-8")):
        for own, back in ((one["value"], one["back"]), (one["back"], one["value"])):
            for frame in own:
                found = brought.placed([frame.replace("{0}", "my red Bag")])
                assert found is not None, frame
                assert found.name == "my red Bag", frame
                assert set(back) <= set(found.back), frame


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


def test_the_readers_phrasings_are_lists_of_different_frames_with_one_slot() -> None:
    lists = Phrasings.of(READER).lists
    assert len(lists) > 50
    for frames in lists:
        assert len(frames) > 1
        assert len({normalise(frame.format("Ada")) for frame in frames}) == len(frames)
        for frame in frames:
            assert frame.count("{0}") == frame.count("{") == frame.count("}") == 1, frame


def test_the_readers_phrasings_are_none_of_the_frames_that_are_held_out_of_its_training() -> None:
    """They would be studied, and what is examined in held-out frames would no longer be unseen."""
    facts = [fact for relation in RELATIONS for fact in _some_facts(relation.name)]
    found = {
        (frame, fact.relation.name)
        for frames in Phrasings.of(READER).lists
        for frame in frames
        for fact in facts
        for name in (fact.subject, fact.value)
        if (own := frames_of(frame.format(name), fact)) and own <= _held(fact.relation.name)
    }
    assert not found


def test_the_check_for_held_out_frames_sees_one_in_the_question_that_it_prints() -> None:
    world, rng, seen = World("train"), random.Random(3), 0
    for relation in RELATIONS:
        for fact in _some_facts(relation.name):
            if text := world.question(rng, fact, frames="held"):
                seen += bool(frames_of(text, fact) & _held(relation.name))
    assert seen > len(RELATIONS) / 2


def _some_facts(relation: str) -> list[Fact]:
    world, rng = World("train"), random.Random(relation)
    own = RELATIONS[INDEX[relation]]
    return [
        Fact(own, world.pools.subject(rng, own.subject), world.pools.value(rng, own.value)) for _ in range(2)
    ]


@cache
def _held(relation: str) -> frozenset[str]:
    """The held-out frames in which a fact of the relation is asked for."""
    nouns = (frames_of_a_part(INDEX[relation], part, "held") for part in ("ask_noun", "know_noun"))
    own = (frame for name, part, frame in held_out() if name == relation and part != "says")
    return frozenset(own).union(*nouns)


LISTS = (("Where does {0} live?", "Where is {0} at home?"), ("Who is {0}?", "{0} is who?"))


def lent_to(groups: Any, *, most: int, lists: Any = ()) -> list[list[str]]:
    """The questions that each group is lent."""
    return [list(own) for own in borrowed(groups, most=most, seed=0, lists=lists)]


def test_a_question_is_lent_the_other_frames_of_the_list_that_has_its_own() -> None:
    groups = [(("Ada",), ["Where does Ada live?"]), (("Bo",), ["How old is Bo?"])]
    assert lent_to(groups, most=5, lists=LISTS) == [["Where is Ada at home?"], []]
    assert lent_to(groups, most=5) == [[], []]


def test_of_two_lists_the_one_with_most_of_a_groups_frames_lends() -> None:
    few, most = ("Where is {0}?", "Where does {0} lie?"), ("Where is {0}?", "{0} is where?", "{0}'s place?")
    asked = [(("Ada",), ["Where is Ada?", "Ada is where?"])]
    for lists in ((few, most), (most, few)):
        assert lent_to(asked, most=5, lists=lists) == [["Ada's place?"]]


def test_phrasings_that_are_known_come_before_those_of_other_groups() -> None:
    groups = [(("Ada",), ["Where does Ada live?"]), (("Bo",), ["Where does Bo live?", "Bo's town?"])]
    lent = lent_to(groups, most=2, lists=LISTS)
    assert lent[0] == ["Where is Ada at home?", "Ada's town?"]
    assert lent_to(groups, most=1, lists=LISTS)[0] == ["Where is Ada at home?"]
