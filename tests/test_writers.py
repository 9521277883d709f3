"""Who writes the study questions, and what is made of what they write."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agent_memory.config import StudyConfig
from agent_memory.consolidation import writers
from agent_memory.consolidation.questions import EXAM_TEMPLATES
from agent_memory.consolidation.writers import ChatWriter, OwnWriter, parse, written_by
from agent_memory.errors import AgentMemoryError, LeaseLost, RunFailed, RunInterrupted, StoreFull
from agent_memory.models.local import LocalModel
from agent_memory.testing import ScriptedChatModel, ScriptedWriter, scripted_reader, tiny_model
from agent_memory.types import Episode

SUBJECTS = ("Vela", "Oru", "Tamsin", "Brek")


def episode(text: str) -> Episode:
    day = datetime(2026, 5, 1, tzinfo=UTC)
    return Episode("e", text, "user", None, "user", "trusted", day, day, 1)


def test_a_writer_may_number_quote_and_chat() -> None:
    text = (
        'Here you are\n1. Where does Ada live?\n - "Who lives in Lisbon?"\n(3) Why?\n\nQ4: What is her code?'
    )
    assert parse(text)[1:] == ["Where does Ada live?", "Who lives in Lisbon?", "What is her code?"]


@pytest.mark.parametrize("trained", [True, False])
def test_every_sentence_is_asked_about_before_any_is_asked_about_again(tmp_path: Path, trained: bool) -> None:
    reader = scripted_reader(tiny_model(tmp_path))
    heard: list[str] = []
    real = reader.prompt_ids
    reader.prompt_ids = lambda messages: heard.append(messages[0]["content"]) or real(messages)
    text = " ".join(f"The code of {subject} is Kappa{subject}." for subject in SUBJECTS)
    writer = OwnWriter(reader, config=StudyConfig(samples=2), trained_to_ask=trained)
    [written] = writer.write([episode(text)], seed=0)
    in_view = {sum(subject in block for subject in SUBJECTS) for block in heard}
    if not trained:  # the whole episode at a time
        assert in_view == {len(SUBJECTS)}
        return
    assert in_view == {1}
    first = written[: 3 * len(SUBJECTS)]
    assert all(f"What is the code of {subject}?" in first for subject in SUBJECTS)
    assert len(written) == 5 * len(SUBJECTS) == len(set(written))


def test_sampled_questions_depend_on_the_seed_and_on_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writers, "BATCH", 4)
    config = StudyConfig(rounds=2, samples=3, max_question_tokens=8)
    model = LocalModel.open(tiny_model(tmp_path, seed=3))
    episodes = [episode("The code is 5.")] * 3

    def heard(seed: int) -> list[tuple[int, ...]]:
        said: list[tuple[int, ...]] = []
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(model, "text", lambda ids: said.append(tuple(ids)) or "Where is it?")
            OwnWriter(model, config=config).write(episodes, seed=seed)
        return said

    first = heard(1)
    assert heard(1) == first
    assert heard(2) != first
    assert len(set(first[-6:])) == 6  # all drew other numbers, those of the second slice, too


# -- anybody's writer


class Returning:
    """A writer that returns what it was given."""

    name = "theirs"

    def __init__(self, written: Any) -> None:
        self._written = written

    def write(self, episodes: Any, *, seed: int) -> Any:
        return self._written


def test_what_a_writer_wrote_comes_as_lists() -> None:
    two = [episode("a"), episode("b")]
    assert written_by(Returning((("Who?",), [])), two, seed=0) == [["Who?"], []]


@pytest.mark.parametrize(
    ("written", "wrong"),
    [
        ([["Who?"]], "returned 1 lists for 2 episodes"),
        ([[]] * 3, "returned 3 lists for 2 episodes"),
        (["Who?", "Where?"], "not a list of texts"),
        ([["Who?"], None], "not a list of texts"),
        ([["Who?"], [None]], "not a list of texts"),
        ({"a": [], "b": []}, "not a list of texts"),
        (None, "not a list of texts"),
    ],
)
def test_a_writer_that_returns_something_else_is_named(written: Any, wrong: str) -> None:
    with pytest.raises(RunFailed, match=f"the question writer theirs .*{wrong}"):
        written_by(Returning(written), [episode("a"), episode("b")], seed=0)


@pytest.mark.parametrize(
    ("writer", "name"),
    [
        (ScriptedWriter(OSError("no network")), "scripted raised OSError"),
        (
            ChatWriter(ScriptedChatModel(script=[ValueError("no key")]), config=StudyConfig()),
            "chat:ScriptedChatModel raised ValueError",
        ),
    ],
)
def test_a_writer_that_raises_is_named_and_its_error_is_the_cause(writer: Any, name: str) -> None:
    with pytest.raises(RunFailed, match=f"the question writer {name}; see its cause") as caught:
        written_by(writer, [episode("a")], seed=0)
    assert isinstance(caught.value.__cause__, (OSError, ValueError))


@pytest.mark.parametrize(
    "error", [RunInterrupted("stop"), LeaseLost("gone"), StoreFull("full"), RunFailed("no")]
)
def test_errors_of_ours_pass_a_writer_as_they_are(error: AgentMemoryError) -> None:
    chat = ChatWriter(ScriptedChatModel(script=[error]), config=StudyConfig())
    for writer in (ScriptedWriter(error), chat):
        with pytest.raises(type(error)) as caught:
            written_by(writer, [episode("a")], seed=0)
        assert caught.value is error


def test_an_interrupt_passes_a_writer() -> None:
    chat = ChatWriter(ScriptedChatModel(script=[KeyboardInterrupt()]), config=StudyConfig())
    with pytest.raises(KeyboardInterrupt):
        written_by(chat, [episode("a")], seed=0)


def test_questions_in_scripts_without_blanks_are_questions() -> None:
    asked = ["小明住在哪里？", "東京に住んでいるのは誰ですか？", "แมวชื่ออะไร"]
    assert parse("\n".join([*asked, "Why?", "Ok"])) == asked


def test_what_no_database_holds_and_what_is_for_the_exam_alone_is_no_draft() -> None:
    wrapped = EXAM_TEMPLATES[0].format(question="Who?")
    written = [["Where is \ud800 it?", "Where is\0 it?", wrapped, "Who is it?"]]
    assert written_by(Returning(written), [episode("a")], seed=0) == [["Who is it?"]]


def test_a_conversation_that_outgrows_the_window_ends_and_the_others_go_on(tmp_path: Path) -> None:
    model = LocalModel.open(tiny_model(tmp_path, seed=3))
    short, text = episode("The code is 5."), "The code is 5"
    while len(model.prompt_ids([{"role": "user", "content": text}])) < model.window // 2:
        text += " and so it was"
    writer = OwnWriter(model, config=StudyConfig(samples=1, rounds=9), trained_to_ask=False)
    alone = writer.write([short], seed=0)
    assert writer.write([short, episode(text)], seed=0)[:1] == alone
