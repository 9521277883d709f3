"""Phrasings that a base brings: where questions are placed, what they lend, and that none is held out."""

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
from agent_memory.consolidation.questions import borrowed, normalise
from agent_memory.errors import ModelError
from benchmarks.facts import frames_of
from training.frames import INDEX, Fact, held_out
from training.frames import frames_of as frames_of_a_part
from training.relations import RELATIONS
from training.world import World

READER = Path(models.__file__).parent / "reader"

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
