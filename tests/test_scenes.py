"""Scenes: what is asked about a block and with which targets; and lessons, which take them along."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import torch

from agent_memory import prompt
from agent_memory.consolidation import study_items, targets
from agent_memory.consolidation.anchors import Anchors
from agent_memory.consolidation.asking import Asker
from agent_memory.consolidation.distill import Lessons
from agent_memory.consolidation.lessons import MOST_WORDINGS, lessons, shared_out
from agent_memory.consolidation.questions import is_wrapped, names, normalise, with_other_names
from agent_memory.consolidation.scenes import ELSEWHERE, MOST_EACH, MOST_EPISODES, scenes
from agent_memory.consolidation.study_items import StudyItem
from agent_memory.consolidation.targets import Item
from agent_memory.consolidation.work import Work
from agent_memory.models.local import LocalModel
from agent_memory.types import Episode
from tests.memories import NAMES, fact, reader

NOW = datetime(2026, 3, 1, tzinfo=UTC)
EPISODES = {
    n: Episode(f"e{n}", fact(n), "user", None, "user", "trusted", NOW, NOW, 1) for n in range(len(NAMES))
}
CORPUS = "\n".join(episode.text for episode in EPISODES.values()).lower()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    torch.set_num_threads(1)
    return reader(tmp_path_factory.mktemp("model"))


def work_with(model: LocalModel, *, seed: int = 0) -> Work:
    """A run that needs no database: scenes and lessons read and write none."""
    database: Any = None
    asker = Asker(model, max_answer_tokens=32)
    return Work(database, 1, "run", model.fingerprint, seed, model, asker)


@pytest.fixture(scope="module")
def work(model: LocalModel) -> Work:
    return work_with(model)


@pytest.fixture(scope="module")
def studied(work: Work) -> list[StudyItem]:
    """Three questions about each episode with the teacher's answers and targets."""
    asked = [
        (pk, question)
        for pk, name in enumerate(NAMES)
        for question in (
            f"What is the code of {name}?",
            f"Tell me {name}'s code.",
            f"Whose code is Kappa{pk}?",
        )
    ]
    prompts = [work.asker.prompt(question, [EPISODES[pk]]) for pk, question in asked]
    said = work.asker.answers(prompts)
    made = []
    for number, ((pk, question), ids, one) in enumerate(zip(asked, prompts, said, strict=True)):
        item = Item(f"{number}", ids, ids, one.ids)
        packed = study_items.pack(one.ids, targets.compute(work.model, [item]))
        made.append(StudyItem(number, pk, 1, "study", "written", 0, question, one.text, False, packed))
    return made


def taken(name: str) -> bool:
    return name.lower() in CORPUS


def made(work: Work, studied: Sequence[StudyItem], *, exam: bool, wanted: int = 12) -> list[tuple[Item, ...]]:
    return scenes(work, studied, EPISODES, taken=taken, wanted=wanted, exam=exam)


def text_of(model: Any, ids: Sequence[int]) -> str:
    return str(model._tokenizer.decode(list(ids)))


def block_and_question(model: Any, item: Item) -> tuple[str, str]:
    """What a question of a scene has in view, and the question."""
    text = text_of(model, item.student)
    found = re.search(f"{prompt.OPEN}\n(.*)\n{prompt.CLOSE}", text, re.DOTALL)
    return (found.group(1) if found else ""), text.rsplit("<user>", 1)[-1].split("<end>")[0]


def questions(of: Sequence[Sequence[Item]]) -> Iterator[Item]:
    return (item for scene in of for item in scene)


# ---------------------------------------------------------------------- the exam


def test_what_is_examined_is_in_no_scene_of_training(work: Work, studied: list[StudyItem]) -> None:
    kinds = [replace(item, kind="exam") if "Tell me" in item.question else item for item in studied]
    asked = [block_and_question(work.model, item)[1] for item in questions(made(work, kinds, exam=False))]
    assert asked
    assert not [question for question in asked if "Tell me" in question]


def test_an_exam_holds_readings_alone_of_names_that_the_namespace_does_not_have(
    work: Work, studied: list[StudyItem]
) -> None:
    found = list(questions(made(work, studied, exam=True)))
    assert len(found) > 20
    for item in found:
        block, question = block_and_question(work.model, item)
        assert item.key.startswith("reading:1:")
        assert item.teacher == item.student
        assert names(question)
        assert not any(taken(name) for name in names(question)), question
        assert all(name in block for name in names(question)), "the answer can be read"


def test_the_target_of_a_reading_is_what_the_base_says_and_never_that_it_does_not_know(
    work: Work, studied: list[StudyItem]
) -> None:
    found = list(questions(made(work, studied, exam=True)))
    said = work.asker.answers([item.student for item in found])
    assert [item.answer for item in found] == [one.ids for one in said]
    assert not any(one.declines or not one.complete for one in said)


def test_scenes_of_training_and_of_the_exam_are_different_questions(
    work: Work, studied: list[StudyItem]
) -> None:
    train, exam = (list(questions(made(work, studied, exam=exam))) for exam in (False, True))
    assert not {item.student for item in train} & {item.student for item in exam}
    keys = [item.key for item in (*train, *exam)]
    assert len(set(keys)) == len(keys)


# ---------------------------------------------------------------------- training


KINDS = ("reading", "own", "elsewhere")


def test_a_training_has_readings_what_is_really_there_and_what_is_elsewhere(
    work: Work, studied: list[StudyItem]
) -> None:
    found = list(questions(made(work, studied, exam=False)))
    kinds = {kind: [item for item in found if item.key.startswith(f"{kind}:0:")] for kind in KINDS}
    assert sum(map(len, kinds.values())) == len(found)
    assert all(kinds.values())
    for item in kinds["own"]:
        block, question = block_and_question(work.model, item)
        assert all(taken(name) and name in block for name in names(question))
    for item in kinds["elsewhere"]:
        block, question = block_and_question(work.model, item)
        assert block
        assert all(taken(name) and name not in block for name in names(question))


def test_the_target_of_what_is_elsewhere_is_the_teachers_who_has_it_in_view(
    work: Work, studied: list[StudyItem]
) -> None:
    by_question = {item.question: item for item in studied}
    for item in questions(made(work, studied, exam=False)):
        if item.key.startswith("elsewhere:"):
            own = by_question[block_and_question(work.model, item)[1]]
            assert item.answer == study_items.answer_ids(own.targets or b"")
            assert item.teacher == work.asker.prompt(own.question, [EPISODES[own.episode_pk]])


def test_a_scene_has_one_block_of_few_episodes_and_not_many_questions_about_each(
    work: Work, studied: list[StudyItem]
) -> None:
    for scene in made(work, studied, exam=False):
        blocks = {block_and_question(work.model, item)[0] for item in scene}
        assert len(blocks) == 1
        assert 1 <= len(blocks.pop().splitlines()) <= MOST_EPISODES
        assert len(scene) <= MOST_EPISODES * MOST_EACH + ELSEWHERE


@pytest.mark.parametrize("exam", [False, True])
def test_what_does_not_fit_the_window_is_left_out(
    model: LocalModel, studied: list[StudyItem], exam: bool
) -> None:
    asker = Asker(model, max_answer_tokens=model.window - 230)  # as if the window were small
    tight = dataclasses.replace(work_with(model), asker=asker)
    found = list(questions(made(tight, studied, exam=exam)))
    assert all(len(item.student) <= 230 for item in found)
    assert 0 < len(found) < len(list(questions(made(work_with(model), studied, exam=exam))))


def test_the_same_seed_gives_the_same_scenes_and_another_gives_others(
    model: LocalModel, studied: list[StudyItem]
) -> None:
    first, again, other = (
        made(work_with(model, seed=seed), studied, exam=False, wanted=3) for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other


def test_without_items_or_without_a_wish_there_are_no_scenes(work: Work, studied: list[StudyItem]) -> None:
    bare = [dataclasses.replace(item, targets=None) for item in studied]
    for exam in (False, True):
        assert made(work, [], exam=exam) == made(work, bare, exam=exam) == []
        assert made(work, studied, exam=exam, wanted=0) == []


def test_a_twin_that_keeps_the_names_fails_the_claim_of_the_exam(
    work: Work, studied: list[StudyItem], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broken twin: where names stay as they are, the exam asks for what is known and not read."""
    from agent_memory.consolidation import scenes as module

    def kept(texts: Sequence[str], **_: Any) -> list[str]:
        assert with_other_names(texts, **_) is not None
        return list(texts)

    monkeypatch.setattr(module, "with_other_names", kept)
    with pytest.raises(AssertionError):
        test_an_exam_holds_readings_alone_of_names_that_the_namespace_does_not_have(work, studied)


# ---------------------------------------------------------------------- lessons


def lessons_of(
    work: Work, studied: list[StudyItem], *, each: int, examined: frozenset[str] = frozenset()
) -> Lessons:
    ids = tuple(work.asker.prompt("Hello?"))
    text, unknown = (Item(key, ids, ids, ids[:2]) for key in ("text:0", "unknown:0"))
    anchors = Anchors((text,), (unknown,), ("?",), tuple(made(work, studied, exam=False, wanted=3)))
    wordings = {item.pk: each for item in studied}
    return lessons(work, studied, EPISODES, anchors, wordings=wordings, examined=examined, top_k=4)


@pytest.mark.parametrize("each", [0, 2])
def test_each_item_is_trained_in_further_wordings_with_one_and_the_same_target(
    work: Work, studied: list[StudyItem], each: int
) -> None:
    found = lessons_of(work, studied, each=each)
    assert len(found.items) == len(studied) * (1 + each)
    assert found.targets.keys == tuple(item.key for item in found.items)
    for item in studied:
        own = [one for one in found.items if one.key.split(":")[0] == str(item.pk)]
        asked = [block_and_question(work.model, one)[1] for one in own]
        assert asked[0] == item.question
        assert len(set(asked)) == 1 + each
        assert all(name in one for one in asked for name in names(item.question))
        assert not any(map(is_wrapped, asked))
        assert {one.answer for one in own} == {study_items.answer_ids(item.targets or b"")}
        picked = [found.targets.pick([one.key]).log_probs for one in own]
        assert all(torch.equal(picked[0], one) for one in picked)


def test_a_wording_in_which_the_exam_asks_is_not_trained(work: Work, studied: list[StudyItem]) -> None:
    every = [block_and_question(work.model, one)[1] for one in lessons_of(work, studied, each=2).items]
    examined = frozenset(normalise(asked) for asked in every[1::3])
    left = [
        block_and_question(work.model, one)[1]
        for one in lessons_of(work, studied, each=2, examined=examined).items
    ]
    assert left == [asked for asked in every if normalise(asked) not in examined]
    assert len(left) < len(every)


@pytest.mark.parametrize(
    ("size", "sentences", "each"),
    [(1, 12, [3]), (3, 12, [3, 3, 3]), (5, 12, [2, 2, 1, 1, 1]), (4, 5, [1, 1, 0, 0]), (2, 0, [0, 0]),
     (12, 12, [1] * 6 + [0] * 6)],
)  # fmt: skip
def test_a_fact_with_few_questions_gets_more_wordings_of_each(
    size: int, sentences: int, each: list[int]
) -> None:
    items = [(n, 1, 7) for n in range(size)] + [(100, 1, 8), (101, 2, 7)]
    found = shared_out(items, sentences=sentences)
    assert [found[n] for n in range(size)] == each
    assert found[100] == found[101] == min(MOST_WORDINGS, max(0, sentences - 1))


def test_study_items_are_trained_without_a_block(work: Work, studied: list[StudyItem]) -> None:
    for item in lessons_of(work, studied, each=1).items:
        assert block_and_question(work.model, item)[0] == ""
        assert item.teacher == item.student


def test_anchors_and_scenes_have_targets_under_keys_of_their_own(
    work: Work, studied: list[StudyItem]
) -> None:
    found = lessons_of(work, studied, each=1)
    keys = [item.key for item in (*found.anchors, *found.texts, *questions(found.scenes))]
    assert list(found.anchor_targets.keys) == keys
    assert len(set(keys)) == len(keys)
    assert [keys[0], found.texts[0].key] == ["unknown:0", "text:0"]
