"""Weights, in a benchmark, are what is served without retrieval; a row of them needs something learnt."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

from agent_memory.prompt import ABSTENTION
from benchmarks import consolidation, facts, memories, over_time
from benchmarks.arms import Examined
from benchmarks.intervals import wilson
from tests.memories import NAMES, memory, reader
from training.frames import BY_SUBJECT, Fact

BADGE = next(relation for relation in BY_SUBJECT["person"] if relation.name == "badge")


def told(name: str, value: str) -> facts.Told:
    """An episode that the scripted reader understands, and the fact in it."""
    return facts.Told(f"The badge of {name} is {value}.", (Fact(BADGE, name, value),))


def asked(number: int, name: str, value: str) -> facts.Asked:
    return facts.Asked(number, 0, f"Which badge does {name} have?", value, "value", "seen")


def test_weights_do_not_answer_about_a_name_that_was_never_taught_and_the_version_itself_may(
    tmp_path: Path,
) -> None:
    known, strange = told(NAMES[0], "Kappa0"), told("Zorblax", "Omega9")
    with memory(tmp_path / "m", reader(tmp_path / "model"), facts=[known.text]) as alice:
        alice.consolidate(progress=False)
        alice.add(strange.text)
        questions = [asked(0, NAMES[0], "Kappa0"), asked(1, "Zorblax", "Omega9")]
        alice.ask(questions[1].text, retrieval="all")  # now the scripted reader has read it
        texts = [question.text for question in questions]
        assert Examined.of(alice).by_the_version(texts) == ["Kappa0", "Omega9"]
        assert Examined.of(alice).alone(texts) == ["Kappa0", ABSTENTION]
        assert [alice.ask(text, retrieval="none").text for text in texts] == ["Kappa0", ABSTENTION]
        right = memories.rights(alice, [known, strange], questions)
        assert right == {"weights": [True, False], "base": [False, False], "oracle": [True, True]}


def test_changed_facts_are_asked_as_served_and_by_the_version_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, news = [told(NAMES[0], "Kappa0")], [told(NAMES[0], "Omega9")]
    with memory(tmp_path / "m", reader(tmp_path / "model")) as alice:
        over_time.learnt_twice(alice, before, news, seed=0, between=list)
        found = over_time._after_the_news(alice, before, news, news, seed=0)
        assert found["weights: new"] == found["by the version: new"] == found["oracle_new"]
        assert (found["weights: new"]["share"], found["weights: new"]["n"]) == (1.0, 3)
        assert found["weights: stale"]["share"] == found["by the version: stale"]["share"] == 0.0
        assert found["weights: unchanged"]["n"] == found["by the version: unchanged"]["n"] == 0
        monkeypatch.setattr(Examined, "heard_of", lambda _self, _question: False)
        found = over_time._after_the_news(alice, before, news, news, seed=0)
        assert [found[f"{who}: new"]["share"] for who in ("weights", "by the version")] == [0.0, 1.0]


def test_the_questions_about_changed_facts_are_enough_to_show_that_two_percent_are_not_reached() -> None:
    """Two in seen frames and one in a held-out one about the fact of each episode that has changed."""
    assert wilson(1, 3 * consolidation.EPISODES["changed"])[1] < 0.02
    assert wilson(0, 3 * 20)[1] > 0.02


def test_wrong_values_are_counted_among_the_questions_answered_and_among_all() -> None:
    wrong = [told(name, "Omega") for name in NAMES[:4]]
    questions = [asked(n, NAMES[n], f"Kappa{n}") for n in range(4)]
    found = consolidation.true_and_taught(["Omega", ABSTENTION, "Kappa2", ABSTENTION], questions, wrong)
    assert {name: (part["share"], part["n"]) for name, part in found.items()} == {
        "right": (0.5, 2), "taught": (0.5, 2), "abstains": (0.5, 4),
        "right_of_all": (0.25, 4), "taught_of_all": (0.25, 4),
    }  # fmt: skip


def test_the_row_of_wrong_values_stops_where_nothing_was_learnt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scripted reader understands nothing of such episodes, and so asks itself nothing about them."""
    base: Any = reader(tmp_path / "model")
    monkeypatch.setattr(consolidation, "loaded", lambda _options: base)
    monkeypatch.setattr(memories, "HERE", tmp_path)
    options = argparse.Namespace(episodes=1, seed=0, again=False)
    with pytest.raises(SystemExit, match=r"not promoted \(nothing: .*\), so there is nothing learnt"):
        consolidation.shuffled(options)
