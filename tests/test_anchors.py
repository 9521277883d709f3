"""Anchors: what nobody has, and what is trained and examined apart, with the reader in the box."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent_memory.consolidation import anchors
from agent_memory.consolidation.asking import Asker
from agent_memory.consolidation.questions import content, names
from agent_memory.consolidation.study_items import StudyItem
from agent_memory.consolidation.work import Work
from agent_memory.models.local import LocalModel
from agent_memory.types import Episode

renamed = anchors._renamed

NOW = datetime(2026, 3, 1, tzinfo=UTC)
THINGS = {
    "my red bag": "under the desk in the kitchen",
    "the blue pen": "on the shelf in the hallway",
    "our old ladder": "behind the door of the garage",
}
EPISODES = {
    pk: Episode(f"e{pk}", f"Please remember that {thing} is kept {place}.", "user", None, "user", "trusted",
                NOW, NOW, 1)
    for pk, (thing, place) in enumerate(THINGS.items())
}  # fmt: skip


@pytest.fixture(scope="module")
def work() -> Work:
    database: Any = None
    model = LocalModel.open()
    return Work(database, 1, "run", model.fingerprint, 0, model, Asker(model, max_answer_tokens=32))


def studied(questions: Sequence[str]) -> list[StudyItem]:
    return [
        StudyItem(pk, pk, 1, "study", "written", 0, question, "", False, None)
        for pk, question in enumerate(questions)
    ]


def test_what_is_put_together_from_two_things_is_nobodys_and_the_base_declines_it(work: Work) -> None:
    asked = studied([f"Where is {thing}?" for thing in THINGS])
    found = anchors._crossed(work, asked, EPISODES, rng=random.Random(1), wanted=12)
    assert found
    known = [content(thing) for thing in THINGS]
    for question in found.values():
        words = content(question)
        assert not any(one <= words for one in known), question
        assert any(one & words for one in known), question
    said = work.asker.answers([work.asker.prompt(question) for question in found.values()])
    assert all(one.declines for one in said)


def test_questions_in_frames_that_the_base_does_not_bring_are_not_crossed(work: Work) -> None:
    asked = studied([f"Kindly disclose of {thing} the spot" for thing in THINGS])
    assert anchors._crossed(work, asked, EPISODES, rng=random.Random(1), wanted=4) == {}
    assert anchors._crossed(work, [], {}, rng=random.Random(1), wanted=4) == {}


def test_no_exam_question_is_trained_to_be_declined(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anchors, "_texts", lambda *_, **__: [])
    study = studied(["Where does Ada Vale live?", "Who is Ada Vale's dentist?", "Where is Ada Vale's bike?"])
    exam = [replace(one, pk=9 + one.pk, kind="exam", question=f"Tell me: {one.question}") for one in study]
    amounts = anchors.Amounts(texts=(0, 0), unknown=(24, 24), scenes=(0, 0))
    trained, examined = anchors.anchors(work, [*study, *exam], EPISODES, amounts=amounts)
    assert trained.asked
    assert not [question for question in (*trained.asked, *examined.asked) if "Tell me:" in question]


def test_no_name_that_never_occurred_is_both_trained_and_examined(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(anchors, "_texts", lambda *_, **__: [])
    study = studied(["Where does Ada Vale live?", "Who is Ada Vale's dentist?", "Where is Ada Vale's bike?"])
    amounts = anchors.Amounts(texts=(0, 0), unknown=(160, 40), scenes=(0, 0))

    def asked_of() -> list[set[str]]:
        halves = anchors.anchors(work, study, EPISODES, amounts=amounts)
        found = [{name for question in half.asked for name in names(question)} for half in halves]
        return [{name for name in own if len(name.split()) == 2} for own in found]  # "Ada" occurs

    trained, examined = asked_of()
    assert len(trained) > 20 < 2 * len(examined)
    assert not trained & examined
    monkeypatch.setattr(anchors, "is_set_apart", lambda name: False)
    monkeypatch.setattr(anchors, "_renamed", lambda *a, exam, **k: renamed(*a, exam=False, **k))
    trained, examined = asked_of()
    assert trained & examined, "a twin that sets none apart asks about the same"


@pytest.mark.parametrize("wanted", [(8, 4), (5, 3), (1, 1), (0, 2), (120, 64)])
def test_no_prompt_of_a_text_is_both_trained_and_examined(
    work: Work, tmp_path: Path, wanted: tuple[int, int]
) -> None:
    sampled = tmp_path / "anchors" / f"{work.base[:32]}.json"
    sampled.parent.mkdir()
    sampled.write_text(json.dumps([[5 + n, 7] for n in range(len(anchors.written()))]))
    place: Any = SimpleNamespace(path=tmp_path)
    amounts = anchors.Amounts(texts=wanted, unknown=(0, 0), scenes=(0, 0))
    trained, examined = anchors.anchors(replace(work, database=place), [], {}, amounts=amounts)
    assert (len(trained.texts), len(examined.texts)) == wanted
    assert not {one.student for one in trained.texts} & {one.student for one in examined.texts}
    for half, count in zip((trained, examined), wanted, strict=True):
        assert sum(one.key.startswith("said:") for one in half.texts) == count // 2
