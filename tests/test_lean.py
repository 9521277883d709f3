"""Lean: what a version is certain of is not read again, unless something newer was told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent_memory import answer
from agent_memory.consolidation import asking
from agent_memory.manager import MemoryManager
from agent_memory.prompt import ABSTENTION
from tests.memories import fact, memory, reader

QUESTION = "What is the code of Vela?"
HELLO = [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Hello."}]


@pytest.fixture
def alice(tmp_path: Path) -> Any:
    """A memory with a version that knows the codes of Vela and Orin."""
    model = reader(tmp_path / "model")
    with memory(tmp_path / "memory", model, facts=[fact(0), fact(1)]) as made:
        made.consolidate(progress=False)
        yield made


def test_of_what_the_version_is_certain_it_answers_and_nothing_is_read(alice: MemoryManager) -> None:
    known = alice.ask(QUESTION, retrieval="lean")
    assert (known.text, known.version, known.episodes) == ("Kappa0", alice.versions()[0].id, ())


def test_of_what_the_version_is_not_certain_everything_is_read(
    alice: MemoryManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "CERTAIN", 2.0)
    read = alice.ask(QUESTION, retrieval="lean")
    assert (read.text, read.version) == ("Kappa0", None)
    assert fact(0) in {episode.text for episode in read.episodes}


def test_what_it_was_not_taught_is_read_before_a_certain_version_is_believed(
    alice: MemoryManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However weak the match. With the twin that drops weaker matches, the stale answer is given."""
    alice.add("Something else altogether.")
    unrelated = alice.ask(QUESTION, retrieval="lean")
    assert (unrelated.text, unrelated.version) == ("Kappa0", alice.versions()[0].id)
    assert [episode.text for episode in unrelated.episodes] == ["Something else altogether."]
    newer = alice.add("Long ago it was quite otherwise with all of them. The code of Vela is Omega9.")
    assert alice.search(QUESTION)[0].episode.text == fact(0), "the old one matches best"
    real = answer.lean
    with monkeypatch.context() as broken:
        broken.setattr(answer, "lean", lambda found, known: real(found, replace(known, answer=None)))
        assert alice.ask(QUESTION, retrieval="lean").text == "Kappa0"
    said = alice.ask(QUESTION, retrieval="lean")
    assert (said.text, said.version) == ("Omega9", None)
    assert newer.id in {episode.id for episode in said.episodes}
    assert fact(0) not in {episode.text for episode in said.episodes}


def test_what_was_not_trusted_is_read_only_if_it_came_since(alice: MemoryManager) -> None:
    """And what waits for a run is read, whenever it came."""
    def shown() -> set[str]:
        return {episode.text for episode in alice.ask(QUESTION, retrieval="lean").episodes}

    alice.add("It rained here.", source="web:here")
    assert shown() == {"It rained here."}
    waits = alice.add("A word of somebody else.", source="web:there")
    alice.add(fact(2))
    assert alice.consolidate(progress=False).outcome == "promoted"
    assert shown() == set()
    alice.approve(waits.id)
    assert shown() == {"A word of somebody else."}


def test_a_taught_episode_that_was_changed_since_is_read(alice: MemoryManager) -> None:
    (vela,) = (r.episode for r in alice.search(QUESTION) if r.episode.text == fact(0))
    alice.update(vela.id, text="The code of Vela is Omega9.")
    assert alice.ask(QUESTION, retrieval="lean").text == "Omega9"


def test_after_earlier_turns_a_lean_block_leaves_out_what_passed_the_exam(alice: MemoryManager) -> None:
    said = alice.chat([*HELLO, {"role": "user", "content": QUESTION}], retrieval="lean")
    assert (said.text, said.version, said.episodes) == ("Kappa0", alice.versions()[0].id, ())


def test_where_nobody_knows_all_is_read_after_all(
    alice: MemoryManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "SURE", 2.0)  # nothing that a version says is believed
    monkeypatch.setattr(asking, "CERTAIN", 2.0)
    said = alice.chat([*HELLO, {"role": "user", "content": QUESTION}], retrieval="lean")
    assert (said.text, said.version) == ("Kappa0", None)
    assert fact(0) in {episode.text for episode in said.episodes}
    assert alice.ask(QUESTION, retrieval="none").text == ABSTENTION
