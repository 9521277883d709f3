"""What a version was taught about, and that it is not asked about anybody else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pytest

from agent_memory.answer import attempts
from agent_memory.consolidation import taught
from agent_memory.consolidation.asking import Asker, Said
from agent_memory.manager import MemoryManager
from agent_memory.models.local import LocalModel
from agent_memory.served import BASE, Served
from tests.memories import fact, memory, reader


@pytest.mark.parametrize(
    ("question", "names"),
    [
        ("What is Ada Zorblax's code, KX-4471?", ["Ada", "Zorblax", "KX-4471"]),
        ("Hey, where does Bo live?", ["Bo"]),
        ("Any idea where Bo lives?", ["Bo"]),
        ("Tell me: Identify the shop where Bo works.", ["Bo"]),
        ("I need help. Remember the red bag?", []),
        ("What is Ada's PIN?", ["Ada"]),
        ("What is Ada’s PIN?", ["Ada"]),
        ("Is Bo Swedish?", ["Bo"]),
        ("WHAT IS ADA'S DOCTOR CALLED?", []),
        ("Где живёт анна?", ["Где"]),
        ("где живёт анна?", []),
        ("Where is Émile?", ["Émile"]),
        ("Zorblax's code?", ["Zorblax"]),
        ("where is my red bag?", []),
        ("", []),
    ],
)
def test_names_are_asked_but_for_english_words_that_open_a_sentence(question: str, names: list[str]) -> None:
    assert taught.asked_names(question) == names


@pytest.fixture
def alice(tmp_path: Path) -> Any:
    made = memory(tmp_path / "memory", reader(tmp_path / "model"), facts=[fact(0), fact(1)])
    made.consolidate(progress=False)
    made.add("The code of Zorblax is 7.")  # not learnt yet
    with made:
        yield made


def heard_of(alice: MemoryManager, question: str) -> bool:
    (version,) = alice.versions()
    with alice.database.read() as connection:
        return taught.heard_of(connection, version.id, question)


def test_a_version_has_heard_of_the_names_in_its_own_episodes(alice: MemoryManager) -> None:
    assert heard_of(alice, "What is the code of Vela?")
    assert heard_of(alice, "what is the code of VELA, please?")
    assert heard_of(alice, "what is my code?")
    assert not heard_of(alice, "What is the code of Zorblax?")
    assert not heard_of(alice, "What is the code of Vela Zorblax?")
    assert not heard_of(alice, "What is the code of Vela, and who is Per%?")
    assert not heard_of(alice, "What is the code of Ode?"), "it is only a part of other words"


def test_a_version_has_heard_of_a_thing_only_where_its_words_stand_together(tmp_path: Path) -> None:
    facts = [f"{fact(0)} My red bag is behind the door.", f"{fact(1)} The blue pen is in the amber crate."]
    with memory(tmp_path / "memory", reader(tmp_path / "model"), facts=facts) as made:
        made.consolidate(progress=False)
        for question in (
            "Where is my red bag?",
            "Well, where is my red bag, please?",
            "Where is my red bag kept?",  # "kept" stands nowhere
            "Where is the blue pen?",
            "What is it with the red pen there?",  # no phrasing tells what it asks about
        ):
            assert heard_of(made, question), question
        for question in (
            "Where is my red pen?",
            "And where is my red pen",
            "Where is the amber bag?",
            "Where is my umbrella?",
            "Where is my rate?",  # it is only a part of "crate"
        ):
            assert not heard_of(made, question), question


def test_letters_of_any_kind_are_the_same_in_both_cases(tmp_path: Path) -> None:
    told = "The code of Vela is Kappa0. Élodie O’Brien said so."
    with memory(tmp_path / "memory", reader(tmp_path / "model"), facts=[told]) as made:
        made.consolidate(progress=False)
        for question in ("Who is Élodie?", "Who is ÉLODIE?", "Who is O'Brien?", "Who is O’Brien?"):
            assert heard_of(made, question), question
        assert not heard_of(made, "Who is Élise?")


TURN = ({"role": "user", "content": "What is Zorblax's code?"},)
BLOCK = ({"role": "system", "content": "Answer."}, *TURN)


def test_what_a_version_has_not_heard_of_is_the_bases_to_answer() -> None:
    what = Served("v-one", Path("v-one"), frozenset(), heard_of=lambda question: "Zorblax" not in question)
    for turns in (TURN, BLOCK):
        (only,) = attempts(turns, what, reader="base", guarded=True)
        assert (only.version, only.messages) == (None, turns)
        assert attempts(turns, what, reader="base")[-1].version == "v-one"
        assert attempts(turns, what, reader="version", guarded=True)[0].version == "v-one"
    known = ({"role": "user", "content": "What is Vela's code?"},)
    assert attempts(known, what, reader="base", guarded=True)[-1].version == "v-one"
    assert [one.version for one in attempts(TURN, BASE, reader="base", guarded=True)] == [None]


class ScriptedAsker(Asker):
    """Notes who is asked how many questions."""

    def __init__(self, model: LocalModel, *, reader: Literal["base", "version"] = "base") -> None:
        super().__init__(model, max_answer_tokens=8, reader=reader)
        self.asked: list[tuple[str, int]] = []

    def answers(self, prompts: Sequence[Sequence[int]], adapter: Path | None = None) -> list[Said]:
        self.asked.append((adapter.name if adapter else "base", len(prompts)))
        return [Said((1,), adapter.name if adapter else "base", complete=True) for _ in prompts]


def test_strange_names_are_put_to_the_base_in_their_place(alice: MemoryManager) -> None:
    asker = ScriptedAsker(alice.weights.model)
    said = asker.alone(["a?", "b?", "c?"], Path("v-one"), lambda question: question != "b?")
    assert [one.text for one in said] == ["v-one", "base", "v-one"]
    assert asker.asked == [("v-one", 2), ("base", 1)]


def test_the_base_alone_is_asked_everything(alice: MemoryManager) -> None:
    asker = ScriptedAsker(alice.weights.model)
    assert [one.text for one in asker.alone(["a?", "b?"], None, lambda _: False)] == ["base", "base"]


def test_versions_of_other_bases_are_asked_everything(
    alice: MemoryManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LocalModel, "made_here", property(lambda self: False))
    asker = ScriptedAsker(alice.weights.model)
    assert [one.text for one in asker.alone(["a?"], Path("v-one"), lambda _: False)] == ["v-one"]


def test_versions_that_read_by_themselves_are_asked_everything(alice: MemoryManager) -> None:
    asker = ScriptedAsker(alice.weights.model, reader="version")
    assert [one.text for one in asker.alone(["a?"], Path("v-one"), lambda _: False)] == ["v-one"]
