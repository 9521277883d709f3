"""Lean: what a version is certain of is not read again, unless something newer was told."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from agent_memory import answer
from agent_memory import weights as weights_module
from agent_memory.consolidation import asking
from agent_memory.manager import MemoryManager
from agent_memory.prompt import ABSTENTION
from agent_memory.served import Served
from agent_memory.types import SearchResult
from tests.answering.asked import episode
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


def shown(alice: MemoryManager, question: str = QUESTION) -> set[str]:
    """The texts of the episodes in a lean block."""
    return {episode.text for episode in alice.ask(question, retrieval="lean").episodes}


def test_of_what_the_version_is_certain_it_answers_and_nothing_is_read(alice: MemoryManager) -> None:
    known = alice.ask(QUESTION, retrieval="lean")
    assert (known.text, known.version, known.episodes) == ("Kappa0", alice.versions()[0].id, ())


def test_a_block_leaves_out_only_what_a_version_of_the_base_at_hand_knows(
    alice: MemoryManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert alice.context(QUESTION, retrieval="lean").episodes == ()
    with monkeypatch.context() as other:
        other.setattr(alice.weights.model, "fingerprint", "another")
        assert alice.context(QUESTION, retrieval="lean").episodes


def test_a_version_forgotten_while_a_block_is_composed_leaves_nothing_out(
    alice: MemoryManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = answer.context

    def forgetting(*arguments: Any, **named: Any) -> Any:
        block = real(*arguments, **named)
        for one in alice.list():
            if one.text == fact(1):
                alice.forget([one.id])
        return block

    monkeypatch.setattr(answer, "context", forgetting)
    shown = alice.context(QUESTION, retrieval="lean").episodes
    assert [episode.text for episode in shown] == [fact(0)]


@pytest.mark.parametrize(("probability", "read"), [(0.6, True), (0.8, False)])
def test_what_the_version_would_say_but_is_not_certain_of_is_read(
    alice: MemoryManager, monkeypatch: pytest.MonkeyPatch, probability: float, read: bool
) -> None:
    monkeypatch.setattr(
        alice.weights.model, "log_probs",
        lambda _prompts, answers: [[math.log(probability)] * len(answer) for answer in answers],
    )  # fmt: skip
    assert alice.ask(QUESTION, retrieval="none").version is not None, "it is believed"
    said = alice.ask(QUESTION, retrieval="lean")
    assert (said.text, said.version is None) == ("Kappa0", read)
    assert (fact(0) in {episode.text for episode in said.episodes}) == read


@pytest.mark.parametrize("source", ["user", "tool:calendar"])
def test_news_is_read_beside_what_the_version_knows(
    alice: MemoryManager, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    """Also where the old one matches better. With the twin that wants a better match, the answer is stale."""
    news = "Long ago it was quite otherwise with all of them. The code of Vela is Omega9."
    alice.add(news, source=source)
    assert alice.search(QUESTION)[0].episode.text == fact(0)
    with monkeypatch.context() as broken:
        broken.setattr(answer, "NEWS", 1.0)
        assert alice.ask(QUESTION, retrieval="lean").text == "Kappa0"
    said = alice.ask(QUESTION, retrieval="lean")
    assert (said.text, said.version) == ("Omega9", None)
    assert {news, fact(0)} <= {episode.text for episode in said.episodes}


def test_what_has_nothing_to_do_with_the_question_is_no_news(alice: MemoryManager) -> None:
    alice.add("Something else altogether.")
    assert shown(alice) == set()


def test_a_taught_episode_that_was_changed_since_is_news(alice: MemoryManager) -> None:
    (vela,) = (r.episode for r in alice.search(QUESTION) if r.episode.text == fact(0))
    alice.update(vela.id, text="The code of Vela is Omega9.")
    assert alice.ask(QUESTION, retrieval="lean").text == "Omega9"


@pytest.mark.parametrize("change", ["exam_results SET correct = 0", "study_items SET kind = 'study'"])
def test_what_failed_its_exam_or_had_none_is_news_for_good(alice: MemoryManager, change: str) -> None:
    assert shown(alice) == set()
    with alice.database.write() as connection:
        connection.execute(text(f"UPDATE {change}"))
    assert fact(0) in shown(alice)


def test_it_is_what_ask_does_unless_told_where_certainty_can_be_told(
    alice: MemoryManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert alice.ask(QUESTION).episodes == ()
    assert alice.ask(QUESTION, retrieval="all").episodes
    monkeypatch.setattr(type(alice.weights.model), "made_here", False)
    assert alice.ask(QUESTION).episodes


def test_after_earlier_turns_all_is_read(alice: MemoryManager) -> None:
    told = [{"role": "user", "content": "The code of Vela is Omega9."}, HELLO[1]]
    said = alice.chat([*HELLO, {"role": "user", "content": QUESTION}], retrieval="lean")
    assert (said.text, said.version) == ("Kappa0", None)
    assert fact(0) in {episode.text for episode in said.episodes}
    assert alice.chat([*told, {"role": "user", "content": QUESTION}], retrieval="lean").text == "Omega9"


def test_a_version_forgotten_while_it_was_asked_does_not_answer(
    alice: MemoryManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = answer.known

    def forgetting(*args: Any, **given: Any) -> answer.Known:
        found = real(*args, **given)
        alice.forget([r.episode.id for r in alice.search(QUESTION) if r.episode.text == fact(0)])
        return found

    monkeypatch.setattr(answer, "known", forgetting)
    said = alice.ask(QUESTION, retrieval="lean")
    assert (said.text, said.version) == (ABSTENTION, None)


@pytest.mark.parametrize("retrieval", ["lean", "none"])
def test_not_even_where_another_episode_has_the_name(
    alice: MemoryManager, monkeypatch: pytest.MonkeyPatch, retrieval: Any
) -> None:
    served = weights_module.Weights._served

    def forgetting(self: Any, *args: Any, **given: Any) -> Served:
        found = served(self, *args, **given)
        alice.forget([e.id for e in alice.list() if e.text == fact(0)])
        return replace(found, heard_of=lambda _question: True)

    monkeypatch.setattr(weights_module.Weights, "_served", forgetting)
    said = alice.ask(QUESTION, retrieval=retrieval)
    assert (said.text, said.version) == (ABSTENTION, None)


def test_certainty_is_measured_on_the_prompt_that_is_answered(alice: MemoryManager) -> None:
    """The developer's system text among it, as without a block."""
    asked = [{"role": "system", "content": "You are a pirate."}, {"role": "user", "content": QUESTION}]
    lean = alice.chat(asked, retrieval="lean")
    alone = alice.chat(asked, retrieval="none")
    assert (lean.text, lean.version) == (alone.text, alone.version) == ("Kappa0", alice.versions()[0].id)
    assert lean.prompt_tokens == alone.prompt_tokens


def test_where_nobody_knows_all_is_read_after_all(
    alice: MemoryManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a version of another base, which leaves out what is slow."""
    monkeypatch.setattr(answer, "known", lambda _model, _messages, what, **_: answer.Known(what.slow))
    known = alice.ask(QUESTION, retrieval="lean")
    assert (known.text, known.version, known.episodes) == ("Kappa0", alice.versions()[0].id, ())
    monkeypatch.setattr(asking, "SURE", 2.0)  # nothing that a version says is believed
    said = alice.ask(QUESTION, retrieval="lean")
    assert (said.text, said.version) == ("Kappa0", None)
    assert fact(0) in {episode.text for episode in said.episodes}
    assert alice.ask(QUESTION, retrieval="none").text == ABSTENTION


@pytest.mark.parametrize(("best", "other", "read"), [
    (-0.2, -0.25, True), (-0.2, -0.2, True), (-0.2, -1.0, False), (0.0, -0.1, False), (1.0, 0.6, True),
    (1.0, 0.4, False),
])  # fmt: skip
def test_news_is_what_matches_about_as_well_as_the_best_also_where_all_scores_are_negative(
    best: float, other: float, read: bool
) -> None:
    """Scores are standardised, and copies of the question, which stand above all, are taken away."""
    results = [SearchResult(episode(fact(n), n), score) for n, score in enumerate((best, other))]
    certain = answer.Known(answer="Kappa0", settled=lambda _: frozenset({"e0"}))
    assert answer.lean(results, certain) == (results if read else [])
    fresh = replace(certain, settled=lambda _: frozenset())
    assert answer.lean(results, fresh) == results, "the best is news"
