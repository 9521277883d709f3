"""A version that is forgotten, or rolled back, while it is heard leaves the word to the base."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent_memory import served
from agent_memory.errors import AdapterRefused
from agent_memory.manager import MemoryManager
from agent_memory.prompt import ABSTENTION
from agent_memory.served import Served, find
from agent_memory.types import Answer
from tests.answering.asked import QUESTION, turns
from tests.memories import fact, memory, reader


@pytest.fixture
def alice(tmp_path: Path) -> Iterator[MemoryManager]:
    """A memory with a version that knows the code of Vela."""
    with memory(tmp_path / "memory", reader(tmp_path / "model"), facts=[fact(0)]) as made:
        made.consolidate(progress=False)
        yield made


def forget(alice: MemoryManager) -> None:
    alice.forget([e.id for e in alice.list()])


def roll_back(alice: MemoryManager) -> None:
    alice.rollback()


def by_ask(alice: MemoryManager, **how: Any) -> Answer:
    return alice.ask(QUESTION, **how)


def by_chat(alice: MemoryManager, **how: Any) -> Answer:
    return alice.chat(turns("Hello.", "Hello.", QUESTION), **how)


def once_in(
    alice: MemoryManager, name: str, act: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Does something before the first call of a method of the model that has to do with a version."""
    model, left = alice.weights.model, [act]
    real = getattr(model, name)

    def acting(what: Any, **settings: Any) -> Any:
        if left and (model._wears or isinstance(what, Path)):
            left.pop()(alice)
        return real(what, **settings)

    monkeypatch.setattr(model, name, acting)


@pytest.mark.parametrize(("asked", "retrieval"), [(by_ask, "lean"), (by_ask, "none"), (by_chat, "none")])
@pytest.mark.parametrize(("act", "by_id"), [(forget, False), (forget, True), (roll_back, False)])
def test_a_version_that_is_forgotten_or_rolled_back_while_it_speaks_leaves_the_word_to_the_base(
    alice: MemoryManager, monkeypatch: pytest.MonkeyPatch, asked: Any, retrieval: Any, act: Any, by_id: bool
) -> None:
    adapter = alice.versions()[0].id if by_id else "active"
    once_in(alice, "generate", act, monkeypatch)
    said = asked(alice, retrieval=retrieval, adapter=adapter)
    can_read = act is roll_back and retrieval == "lean"
    assert (said.text, said.version) == ("Kappa0" if can_read else ABSTENTION, None)
    assert bool(said.episodes) == can_read


def test_a_twin_that_does_not_ask_again_fails_the_claim(
    alice: MemoryManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    def heedless(*arguments: Any, **settings: Any) -> Served:
        return replace(find(*arguments, **settings), still=lambda: True)

    monkeypatch.setattr(served, "find", heedless)
    claim = test_a_version_that_is_forgotten_or_rolled_back_while_it_speaks_leaves_the_word_to_the_base
    with pytest.raises(AssertionError):
        claim(alice, monkeypatch, by_ask, "none", forget, by_id=False)


def test_a_version_that_was_asked_for_by_its_id_speaks_though_it_is_rolled_back(
    alice: MemoryManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = alice.versions()[0].id
    once_in(alice, "generate", roll_back, monkeypatch)
    said = alice.ask(QUESTION, retrieval="none", adapter=version)
    assert (said.text, said.version) == ("Kappa0", version)
    assert alice.ask(QUESTION, retrieval="none").version is None


@pytest.fixture
def again(alice: MemoryManager, tmp_path: Path) -> Iterator[MemoryManager]:
    """The same memory, opened by somebody who has loaded no version yet."""
    with memory(tmp_path / "memory", reader(tmp_path / "model")) as opened:
        yield opened


@pytest.mark.parametrize("retrieval", ["lean", "none"])
def test_a_version_whose_folder_goes_while_the_model_is_waited_for_is_no_error(
    again: MemoryManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, retrieval: Any
) -> None:
    once_in(again, "wearing", forget, monkeypatch)
    said = again.ask(QUESTION, retrieval=retrieval)
    assert (said.text, said.version) == (ABSTENTION, None)
    assert not any((tmp_path / "memory" / "versions").iterdir())


@pytest.mark.parametrize("retrieval", ["lean", "none"])
def test_a_version_that_is_served_and_harmed_is_refused(
    again: MemoryManager, tmp_path: Path, retrieval: Any
) -> None:
    (weights,) = tmp_path.glob("memory/versions/*/adapter_model.safetensors")
    weights.write_bytes(b"harmed")
    with pytest.raises(AdapterRefused, match="not the file"):
        again.ask(QUESTION, retrieval=retrieval)


def test_a_version_may_speak_after_a_promotion_and_not_after_a_rollback(alice: MemoryManager) -> None:
    def served(adapter: str = "active") -> Served:
        return find(alice.database, alice.weights._owner(alice._scope(None, None)), adapter=adapter)

    first = served()
    alice.add(fact(1))
    alice.consolidate(progress=False)
    second = served()
    named = served(str(second.version))
    assert first.version != second.version
    assert all(one.still() for one in (first, second, named))
    alice.rollback()
    assert [one.still() for one in (first, second, named)] == [True, False, True]
    forget(alice)
    assert not any(one.still() for one in (first, second, named))
    assert served().still(), "the bare base is"
