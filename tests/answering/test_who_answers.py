"""The base reads first; where it declines the version recalls, and where that is not sure the base speaks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent_memory import answer, prompt
from agent_memory.answer import attempts
from agent_memory.config import PromptConfig
from agent_memory.consolidation import asking as asking_
from agent_memory.consolidation.asking import Asker
from agent_memory.errors import InvalidInput
from agent_memory.models.local import LocalModel
from agent_memory.prompt import ABSTENTION, ASK_SYSTEM
from agent_memory.served import BASE, Served
from agent_memory.types import SearchResult
from tests.answering.asked import ASKED, QUESTION, asking, episode, turns
from tests.memories import fact, noisy_adapter

# ---------------------------------------------------------------------- asking with a version


def test_the_base_reads_first_and_the_version_is_asked_where_it_declines(
    scripted: Any, worn: Served
) -> None:
    ask = asking(scripted, worn)
    read = ask(QUESTION)
    assert (read.text, read.version) == ("Kappa0", None)
    recalled = ask("What is the code of Orin?")
    assert (recalled.text, recalled.version) == ("Kappa1", "v-one")
    assert len(read.episodes) == len(recalled.episodes) == 1


def test_earlier_turns_are_read_by_the_base_too(scripted: Any, worn: Served) -> None:
    ask = asking(scripted, worn)
    read = ask("The code of Sago is Omega7.", "Noted.", "What is the code of Sago?", found=[])
    assert (read.text, read.version) == ("Omega7", None)
    recalled = ask("The code of Sago is Omega7.", "Noted.", "What is the code of Orin?", found=[])
    assert (recalled.text, recalled.version) == ("Kappa1", "v-one")


def test_a_question_alone_is_the_versions(scripted: Any, worn: Served) -> None:
    said = asking(scripted, worn)("What is the code of Orin?", found=[])
    assert (said.text, said.version, said.episodes) == ("Kappa1", "v-one", ())


def test_where_both_decline_the_versions_words_are_the_answer(scripted: Any, worn: Served) -> None:
    said = asking(scripted, worn)("What is the colour of Quim?")
    assert (said.text, said.version) == (ABSTENTION, "v-one")


def test_without_a_version_the_base_is_asked_once(scripted: Any) -> None:
    said = asking(scripted, BASE)("What is the code of Orin?")
    assert (said.text, said.version) == (ABSTENTION, None)


@pytest.mark.parametrize("what", [BASE, None], ids=["the base", "a version"])
def test_a_retrieval_that_is_none_of_the_three_is_refused(scripted: Any, worn: Served, what: Any) -> None:
    wrong: Any = "some"
    with pytest.raises(InvalidInput, match="retrieval is"):
        answer.respond(
            scripted, turns(QUESTION), search=lambda *_: [], what=what or worn, retrieval=wrong,
            settings=PromptConfig(), max_new_tokens=16,
        )  # fmt: skip


def test_prompt_tokens_are_those_of_all_that_was_read(scripted: Any, worn: Served) -> None:
    ask, question = asking(scripted, worn), "What is the code of Orin?"
    first, second = (
        len(scripted.prompt_ids(turns(question, system=ASK_SYSTEM, block=block)))
        for block in (prompt.context_block([episode(fact(0))]), "")
    )
    assert ask(question).prompt_tokens == first + second
    assert ask(question, found=[]).prompt_tokens == second
    assert ask(QUESTION).prompt_tokens == first - len("Orin") + len("Vela")


def test_a_version_that_is_to_read_reads(scripted: Any, worn: Served) -> None:
    said = asking(scripted, worn, reader="version")(QUESTION)
    assert (said.text, said.version) == ("Kappa0", "v-one")


def test_twins_with_another_order_fail_the_claim(
    scripted: Any, worn: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broken twins: the version first, the base alone, the version alone."""
    real = attempts
    for twin in (
        lambda *args, **given: real(*args, **given)[::-1],
        lambda *args, **given: real(*args, **given)[:1],
        lambda *args, **given: real(*args, **given)[1:],
    ):
        monkeypatch.setattr(answer, "attempts", twin)
        with pytest.raises(AssertionError):
            test_the_base_reads_first_and_the_version_is_asked_where_it_declines(scripted, worn)


def test_where_the_question_alone_does_not_fit_the_base_has_the_last_word(
    scripted: Any, worn: Served
) -> None:
    long = "x" * (scripted.window - 16 - len(scripted.prompt_ids(turns("a", "b", ""))))
    said = answer.respond(
        scripted,
        turns("a", "b", long),
        search=lambda *_: [],
        what=worn,
        retrieval="none",
        settings=PromptConfig(),
        max_new_tokens=16,
    )
    assert (said.text, said.version) == (ABSTENTION, None)


# ---------------------------------------------------------------------- being sure


def test_what_a_version_of_the_bundled_reader_is_not_sure_of_the_base_answers(
    bundled: LocalModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the twin that believes everything, the same version answers."""
    version = Served("v-one", noisy_adapter(bundled, tmp_path / "v-one"), frozenset())
    asker = Asker(bundled, max_answer_tokens=16)
    prompts = [asker.prompt(question) for question, _ in ASKED]
    base = [one.text for one in asker.answers(prompts)]
    monkeypatch.setattr(asking_, "SURE", 1e-30)
    alone = [one.text for one in asker.answers(prompts, version.adapter)]
    assert alone != base
    believed = asking(bundled, version)("What is the code of Vela?", found=[])
    assert (believed.text, believed.version) == (alone[0], "v-one")
    monkeypatch.setattr(asking_, "SURE", 1.0)
    assert [one.text for one in asker.answers(prompts, version.adapter)] == base
    left = asking(bundled, version)("What is the code of Vela?", found=[])
    assert (left.text, left.version) == (base[0], None)


def test_versions_of_other_bases_are_believed(
    tiny: LocalModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asker = Asker(tiny, max_answer_tokens=12)
    prompts = [asker.prompt(question) for question, _ in ASKED]
    adapter = noisy_adapter(tiny, tmp_path / "adapter")
    said = asker.answers(prompts, adapter)
    monkeypatch.setattr(asking_, "SURE", 1.0)
    assert asker.answers(prompts, adapter) == said != asker.answers(prompts)


# ---------------------------------------------------------------------- the reader in the box


def test_the_bundled_reader_reads_what_is_in_view_and_declines_the_rest(
    bundled: LocalModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking_, "SURE", 1e-30)  # a senseless version is sure of nothing
    what = Served("v-one", noisy_adapter(bundled, tmp_path / "v-one"), frozenset())
    ask = asking(bundled, what)
    mine = [SearchResult(episode("My sister is called Nora."), 0.9)]
    read = ask("What is my sister called?", found=mine)
    assert (read.text.rstrip("."), read.version) == ("Nora", None)
    question = "What is my brother called?"
    with bundled.wearing(what.adapter):
        closed = bundled.prompt_ids(prompt.closed_book(turns(question)))
        by_heart = bundled.text(bundled.generate([closed], max_new_tokens=16)[0])
    recalled = ask(question, found=mine)
    assert (recalled.text, recalled.version) == (by_heart, "v-one")
    assert asking(bundled, replace(what, adapter=None, version=None))(question, found=mine).text == ABSTENTION
