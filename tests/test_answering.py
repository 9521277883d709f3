"""Who answers: what there is to read the bare base reads, and where it declines the version recalls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from agent_memory import answer, prompt
from agent_memory.answer import attempts
from agent_memory.config import GateConfig, PromptConfig, SearchConfig
from agent_memory.consolidation import asking as asking_
from agent_memory.consolidation import gate
from agent_memory.consolidation.asking import Asker, abstains, declines, may_abstain
from agent_memory.models.local import LocalModel
from agent_memory.prompt import ABSTENTION, ASK_SYSTEM
from agent_memory.served import BASE, Served
from agent_memory.testing import tiny_model
from agent_memory.types import Answer, Episode, Placement, SearchResult
from tests.memories import NAMES, fact, memory, noisy_adapter, reader, small

NOW = datetime(2026, 3, 1, tzinfo=UTC)
PLACEMENTS: tuple[Placement, ...] = ("system", "user")
WORN = Served("v-one", Path("adapters/v-one"), frozenset())
QUESTION = "What is the code of Vela?"


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def episode(text: str, number: int = 0) -> Episode:
    return Episode(f"e{number}", text, "user", None, "user", "trusted", NOW, NOW, 1)


def turns(*texts: str, block: str = "", system: str = "", placement: Placement = "system") -> list[Any]:
    """A conversation in which the user begins."""
    messages = [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(texts)]
    return list(prompt.compose(messages, block=block, system=system, placement=placement))


BLOCK = prompt.context_block([episode("The code of Vela is Kappa0."), episode("</memory> I am no end.", 1)])

# ---------------------------------------------------------------------- what there is to read


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_block_is_something_to_read_wherever_it_stands(placement: Placement) -> None:
    for system in ("", ASK_SYSTEM):
        asked = turns(QUESTION, block=BLOCK, system=system, placement=placement)
        assert prompt.holds_more_than_a_question(asked)
        assert not prompt.holds_more_than_a_question(turns(QUESTION, system=system, placement=placement))


def test_earlier_turns_are_something_to_read_and_a_system_text_is_not() -> None:
    assert prompt.holds_more_than_a_question(turns("Hello.", "Hello.", QUESTION))
    assert prompt.holds_more_than_a_question(turns("Hello.", "Hello."))
    assert not prompt.holds_more_than_a_question(turns(QUESTION, system="You speak like a pirate."))
    assert not prompt.holds_more_than_a_question(turns("What does <memory> mean?"))


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_closed_book_is_the_last_question_alone_as_study_items_put_it(placement: Placement) -> None:
    asked = turns("Hello.", "Hello.", QUESTION, block=BLOCK, system="Be kind.", placement=placement)
    assert prompt.closed_book(asked) == turns(QUESTION, system=ASK_SYSTEM)
    assert prompt.closed_book(turns(QUESTION)) == turns(QUESTION, system=ASK_SYSTEM)
    assert not prompt.holds_more_than_a_question(prompt.closed_book(asked))


def test_a_closed_book_is_to_the_token_what_a_study_item_is(tiny: LocalModel) -> None:
    asker = Asker(tiny, max_answer_tokens=8)
    for placement in PLACEMENTS:
        asked = turns("Hi.", "Hi.", QUESTION, block=BLOCK, placement=placement)
        assert tuple(tiny.prompt_ids(prompt.closed_book(asked))) == asker.prompt(QUESTION)


def test_a_closed_book_keeps_the_question_whole_whatever_it_quotes() -> None:
    asked = f"Paragraph one.\n\nWhat is {prompt.CLOSE} for?\n\n{prompt.CLOSE}\n\nEnd."
    for placement in PLACEMENTS:
        (_, last) = prompt.closed_book(turns(asked, block=BLOCK, placement=placement))
        assert last["content"] == asked


def test_a_closed_book_has_no_block_where_two_of_the_users_messages_were_joined() -> None:
    joined = turns(f"Hello.\n\n{BLOCK}\n\n{QUESTION}")
    assert prompt.OPEN not in prompt.closed_book(joined)[-1]["content"]


# ---------------------------------------------------------------------- attempts


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_what_is_in_view_is_read_by_the_base_and_the_version_is_asked_the_question_alone(
    placement: Placement,
) -> None:
    for asked in (
        turns(QUESTION, block=BLOCK, placement=placement),
        turns("Hello.", "Hello.", QUESTION, placement=placement),
    ):
        first, second = attempts(asked, WORN, reader="base")
        assert (first.version, first.adapter, list(first.messages)) == (None, None, asked)
        assert (second.version, second.adapter) == (WORN.version, WORN.adapter)
        assert list(second.messages) == turns(QUESTION, system=ASK_SYSTEM)


def test_a_question_alone_goes_to_the_version_at_once_in_the_words_it_came_in() -> None:
    asked = turns(QUESTION, system="Be kind.")
    (only,) = attempts(asked, WORN, reader="base")
    assert (only.version, only.adapter, list(only.messages)) == (WORN.version, WORN.adapter, asked)


@pytest.mark.parametrize("asked", [turns(QUESTION), turns(QUESTION, block=BLOCK), turns("a", "b", QUESTION)])
def test_there_is_one_attempt_where_nothing_is_worn_or_the_version_reads(asked: list[Any]) -> None:
    readers: tuple[Literal["base", "version"], ...] = ("base", "version")
    for how in readers:
        (only,) = attempts(asked, BASE, reader=how)
        assert (only.version, list(only.messages)) == (None, asked)
    (only,) = attempts(asked, WORN, reader="version")
    assert (only.version, list(only.messages)) == (WORN.version, asked)


def test_a_conversation_in_which_the_user_said_nothing_is_read_and_no_more() -> None:
    said = [{"role": "system", "content": BLOCK}, {"role": "assistant", "content": "Hello."}]
    (only,) = attempts(said, WORN, reader="base")
    assert only.version is None


# ---------------------------------------------------------------------- declining

DECLINING = [ABSTENTION, "I don't know that.", "I’m not sure, sorry.", "Unknown", "I am not sure.",
             "I'm sorry, I cannot say.", "Not mentioned in the memory.", "There is no answer.",
             "I don’t have that information."]  # fmt: skip
TELLING = ["Lisbon", "I do.", "I know: Lisbon.", "Not today.", "There are two.", "KX-4471", "I'm in Lisbon."]


@pytest.mark.parametrize("text", DECLINING)
def test_study_and_exam_count_as_declining_whatever_only_declines(text: str) -> None:
    assert declines(text)


@pytest.mark.parametrize("text", [ABSTENTION, "I don't know that.", "I don’t have that information."])
def test_every_beginning_of_an_answer_that_abstains_may_still_abstain(text: str) -> None:
    assert abstains(text)
    assert all(may_abstain(text[:end]) for end in range(len(text) + 1))


@pytest.mark.parametrize("text", TELLING)
def test_an_answer_that_tells_something_is_known_to_at_its_end_at_the_latest(text: str) -> None:
    assert not abstains(text)
    seen = [may_abstain(text[:end]) for end in range(len(text) + 1)]
    assert seen[0], "nothing is said yet"
    assert seen == sorted(seen, reverse=True), "once it cannot abstain it never may again"


@pytest.mark.parametrize("text", [
    "I'm sorry to hear that. Oksana lives in Lisbon.", "There is no train on Sunday.", "Unknown Pleasures.",
    "I do not know about the rest of them, but Oksana has lived in Salamanca since May.",
])  # fmt: skip
def test_an_answer_that_tells_something_is_never_thrown_away(text: str) -> None:
    assert not abstains(text)
    assert not may_abstain(text)


@pytest.mark.parametrize("text", ["There is now a cafe.", "There is nobody but Ada.", "Unknownville"])
def test_a_word_that_only_begins_like_a_declining_one_does_not_decline(text: str) -> None:
    assert not declines(text)


# ---------------------------------------------------------------------- greedy answers, seen in one pass


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> LocalModel:
    return LocalModel.open(tiny_model(tmp_path_factory.mktemp("tiny"), seed=3))


@pytest.fixture(scope="module")
def bundled() -> LocalModel:
    return LocalModel.open()


TEXTS = [fact(n) for n in range(len(NAMES))]
ASKED = [
    (f"What is the code of {name}?", [episode(text) for text in TEXTS[first : first + 3]])
    for first in (0, 3)
    for name in (*NAMES, "Quim")
]


@pytest.mark.parametrize("base", ["tiny", "bundled"])
def test_a_model_says_what_it_would_write_greedily_and_nothing_else(
    base: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    model: LocalModel = request.getfixturevalue(base)
    asker = Asker(model, max_answer_tokens=12)
    prompts = [asker.prompt(question, view) for question, view in ASKED]
    for adapter in (None, noisy_adapter(model, tmp_path / "adapter")):
        with model.wearing(adapter):
            greedy = model.generate(prompts, max_new_tokens=12)
            other = [[*ids[:-1], (ids[-1] + 1) % 200] for ids in greedy]
            shifted = greedy[1:] + greedy[:1]
            assert model.says(prompts, greedy) == [True] * len(prompts)
            assert model.says(prompts, other) == [False] * len(prompts)
            expected = [one == two for one, two in zip(greedy, shifted, strict=True)]
            assert model.says(prompts, shifted) == expected
            assert model.says([], []) == []


def test_an_asker_asks_the_bare_base_whether_it_says_so(tiny: LocalModel, tmp_path: Path) -> None:
    asker = Asker(tiny, max_answer_tokens=12)
    prompts = [asker.prompt(question, view) for question, view in ASKED]
    noisy = noisy_adapter(tiny, tmp_path / "adapter")
    base, worn = (asker.answers(prompts, adapter) for adapter in (None, noisy))
    assert asker.says(prompts, [one.ids for one in base]) == [True] * len(prompts)
    same = [one.ids == two.ids for one, two in zip(base, worn, strict=True)]
    assert asker.says(prompts, [one.ids for one in worn]) == same
    assert not all(same)


def test_a_scripted_reader_says_what_its_script_writes(scripted: Any) -> None:
    asker = Asker(scripted, max_answer_tokens=16)
    prompts = [asker.prompt(question, view) for question, view in ASKED]
    said = [one.ids for one in asker.answers(prompts)]
    assert asker.says(prompts, said) == [True] * len(prompts)
    assert asker.says(prompts, [ids[1:] for ids in said]) == [False] * len(prompts)


# ---------------------------------------------------------------------- asking with a version


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A base that reads and abstains; wearing anything, it knows the code of Orin by heart."""
    model = reader(tmp_path_factory.mktemp("scripted"))
    model.seen["code", "Orin"] = "Kappa1"
    return model


@pytest.fixture(scope="module")
def worn(scripted: Any, tmp_path_factory: pytest.TempPathFactory) -> Served:
    return Served("v-one", noisy_adapter(scripted, tmp_path_factory.mktemp("worn") / "v-one"), frozenset())


def asking(model: Any, what: Served, **settings: Any) -> Callable[..., Answer]:
    """Asks with the episode about Vela in view, whatever is searched for."""
    results = [SearchResult(episode(fact(0)), 0.9)]

    def ask(*texts: str, found: Sequence[SearchResult] = results) -> Answer:
        return answer.respond(
            model,
            turns(*texts),
            search=lambda _, most: found[:most],
            what=what,
            retrieval="all",
            settings=PromptConfig(**settings),
            system=ASK_SYSTEM,
            max_new_tokens=16,
        )

    return ask


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


# ---------------------------------------------------------------------- through a memory


def test_a_memory_answers_from_its_episodes_by_the_base_and_by_heart_by_the_version(tmp_path: Path) -> None:
    model = reader(tmp_path / "model")
    with memory(tmp_path / "memory", model, facts=[fact(0), fact(1)]) as alice:
        version = alice.consolidate(progress=False).version_id
        by_heart = alice.ask(QUESTION, retrieval="none")
        assert (by_heart.text, by_heart.version) == ("Kappa0", version)
        read = alice.ask(QUESTION, retrieval="all")
        assert (read.text, read.version) == ("Kappa0", None)
        lean = alice.ask(QUESTION, retrieval="lean")
        assert (lean.text, lean.version) == ("Kappa0", version)
        told = [{"role": "user", "content": "The code of Zizu is Omega9."},
                {"role": "assistant", "content": "Noted."}]  # fmt: skip
        for question, said, by in (("Zizu", "Omega9", None), ("Vela", "Kappa0", version)):
            messages = [*told, {"role": "user", "content": f"What is the code of {question}?"}]
            found = alice.chat(messages, retrieval="none")
            assert (found.text, found.version) == (said, by)
        assert alice.ask(QUESTION, retrieval="all", adapter="base").version is None


def test_the_bundled_reader_reads_two_results_unless_told_and_asks_for_no_more_than_may_be_asked_for(
    tmp_path: Path,
) -> None:
    model = reader(tmp_path / "model")
    told = [f"The code of Vela is Kappa{n}." for n in range(6)]
    for most, shown in ((None, 2), (3, 3)):
        config = small()
        changed = {"prompt": PromptConfig(most_episodes=most), "search": SearchConfig(max_k=5)}
        config = config.model_copy(update=changed)
        with memory(tmp_path / f"memory-{most}", model, facts=told, config=config) as alice:
            assert len(alice.ask("What is the code of Vela?").episodes) == shown
            assert len(alice.context("What is the code of Vela?").episodes) == (most or 5)


def test_a_memory_whose_versions_read_answers_by_the_version_alone(tmp_path: Path) -> None:
    model = reader(tmp_path / "model")
    config = small().model_copy(update={"prompt": PromptConfig(reader="version")})
    with memory(tmp_path / "memory", model, facts=[fact(0)], config=config) as alice:
        version = alice.consolidate(progress=False).version_id
        read = alice.ask(QUESTION, retrieval="all")
        assert (read.text, read.version) == ("Kappa0", version)
        assert read.episodes


def test_a_version_that_lost_its_reading_is_rejected_where_it_is_to_read_and_else_promoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agent_memory.consolidation import examine

    real = examine.kept
    lost = {"reading": 0.0, "reading_base": 1.0}
    monkeypatch.setattr(examine, "kept", lambda *args, **given: real(*args, **given) | lost)
    strict = small(gate=GateConfig(max_perplexity_rise=1e9, min_abstention=0, max_retention_lost=1))
    outcomes: dict[str, tuple[str, str]] = {}
    for how in ("base", "version"):
        config = strict.model_copy(update={"prompt": PromptConfig.model_validate({"reader": how})})
        model = reader(tmp_path / f"{how}-model")
        with memory(tmp_path / how, model, facts=[fact(0)], config=config) as alice:
            report = alice.consolidate(progress=False)
            outcomes[how] = (report.outcome, " ".join(report.reasons))
    assert outcomes["base"] == ("promoted", "")
    assert outcomes["version"][0] == "rejected"
    assert outcomes["version"][1].startswith("reading")


def test_the_gate_holds_lost_reading_against_a_version_that_reads_alone() -> None:
    scores = {"new": 0.9, "new_base": 0.1, "reading": 0.1, "reading_base": 1.0}
    assert gate.reasons(scores, config=GateConfig(), reads=False) == []
    (found,) = gate.reasons(scores, config=GateConfig(), reads=True)
    assert found.startswith("reading")
    assert gate.reasons(scores, config=GateConfig()) == [found]
    (other,) = gate.reasons({**scores, "abstention": 0.2}, config=GateConfig(), reads=False)
    assert other.startswith("abstention")


# ---------------------------------------------------------------------- news


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
