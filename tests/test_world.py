"""The reader's world keeps its promises: breadth, a fair hold-out, and answers that stand in the memory."""

import random
import re

import pytest

from training.conversations import Conversations
from training.frames import content_words, held_out, matches
from training.relations import RELATIONS
from training.world import World


def test_there_are_forty_relations_with_twenty_ways_to_state_and_to_ask_each():
    assert len(RELATIONS) >= 40
    world, rng = World(), random.Random(0)
    for relation in RELATIONS:
        fact = next(
            f for f in iter(lambda: world.facts(rng, 1)[0], None) if f.relation is relation and not f.first
        )
        said = {world.clause(rng, fact, frames=frames) for _ in range(300) for frames in ("seen", "held")}
        assert len(said) >= 20, (relation.name, len(said))
        asked = {world.question(rng, fact) for _ in range(600)}
        assert len(asked) >= 20, (relation.name, len(asked))


def test_a_fifth_of_the_frames_is_held_out_and_their_words_are_trained():
    held = held_out()
    every = {
        (r.name, part, f)
        for r in RELATIONS
        for part in ("says", "asks", "knows", "who")
        for f in getattr(r, part)
    }
    assert 0.15 <= len(held) / len(every) <= 0.25
    trained = {word for _, _, frame in every - held for word in content_words(frame)}
    trained |= {word for r in RELATIONS for noun in r.nouns for word in noun.split()}
    assert {word for _, _, frame in held for word in content_words(frame)} <= trained


@pytest.mark.parametrize("split", ["train", "eval"])
def test_every_answer_stands_in_the_memory_it_is_asked_of(split):
    world = World(split)
    for seed in range(300):
        rng = random.Random(seed)
        memory = world.memory(rng, rng.randint(1, 12), update_share=0.2)
        text = memory.block().lower()
        for fact in memory.facts:
            assert fact.value.lower() in text


def test_the_two_halves_of_the_world_share_no_value():
    drawn = {}
    for split in ("train", "eval"):
        world, rng = World(split), random.Random(3)
        facts = [f for _ in range(2000) for f in world.facts(rng, 1)]
        drawn[split] = {
            f.value for f in facts if f.relation.value in ("city", "food", "digits", "petname", "gift")
        }
        assert drawn[split]
    assert not drawn["train"] & drawn["eval"]


def test_a_question_of_the_world_is_recognised_and_a_broken_one_is_not():
    world, rng = World("eval"), random.Random(5)
    for _ in range(500):
        fact = world.facts(rng, 1)[0]
        question = world.question(rng, fact)
        assert matches(question, fact) == fact.answer, question
        assert matches(question.replace(" ", " zzz ", 1), fact) is None
        turned = world.reversed_question(rng, fact)
        assert turned is None or matches(turned, fact) in (fact.subject_answer, fact.answer), turned


def test_no_slot_is_left_unfilled():
    conversations = Conversations()
    for seed in range(400):
        for message in conversations.conversation(random.Random(seed), stage=1.0):
            assert not re.search(
                r"[{}\[\]<>|](?!memory|/memory)", re.sub(r"- \[[^\]]*\]|</?memory>", "", message["content"])
            )


def test_what_changed_is_stated_after_what_it_replaces():
    world, changes = World("eval"), 0
    for seed in range(400):
        memory = world.memory(random.Random(seed), 5, update_share=0.5)
        texts = [text.lower() for _, _, text in memory.lines]
        for old in memory.stale:
            new = next(f for f in memory.facts if f.subject == old.subject and f.relation is old.relation)
            first = max(i for i, text in enumerate(texts) if old.value.lower() in text)
            last = max(i for i, text in enumerate(texts) if new.value.lower() in text)
            changes += 1
            nested = old.value.lower() in new.value.lower() or new.value.lower() in old.value.lower()
            assert last > first or nested
    assert changes > 300


def test_episodes_asked_for_are_episodes_printed():
    world = World("eval")
    assert all(len(world.memory(random.Random(seed), 20, episodes=20).lines) == 20 for seed in range(20))
