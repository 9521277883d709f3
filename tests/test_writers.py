"""Who writes the study questions, and what is made of what they write."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent_memory.config import StudyConfig
from agent_memory.consolidation.writers import OwnWriter, parse
from agent_memory.testing import scripted_reader, tiny_model
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
