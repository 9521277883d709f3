"""What is studied, and when again: what a forget, a dry run or a killed run leaves, and what stays fast."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select

from agent_memory.config import SelectConfig
from agent_memory.consolidation import study_items, versions
from agent_memory.consolidation.select import SHORT_LIFE
from agent_memory.errors import RunInterrupted
from agent_memory.store import tables
from agent_memory.testing import ScriptedWriter
from tests.memories import NAMES, fact, memory, reader, small


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return reader(tmp_path_factory.mktemp("model"))


def stop_before_training(stage: str, _done: int, _total: int) -> None:
    if stage == "distill":
        raise RunInterrupted("a kill")


def test_an_episode_that_loses_what_was_written_about_it_is_studied_anew(tmp_path: Path, model: Any) -> None:
    """What it had changed of another is left of it alone, and does not pass for its study."""
    with memory(tmp_path, model, facts=[fact(0)]) as alice:
        alice.consolidate(progress=False, writer=ScriptedWriter(["Say the code of Vela once more?"]))
        beside = alice.add(fact(1), session_id="s")
        alice.add(f"The code of Vela is Omega9. {fact(2)}", session_id="s")
        alice.consolidate(progress=False)
        alice.forget([beside.id])
        alice.consolidate(progress=False)
        asked = "SELECT DISTINCT answer FROM study_items WHERE superseded_by IS NULL AND question LIKE '%{}%'"
        assert alice.sql(asked.format(NAMES[2])) == [{"answer": "Kappa2"}]
        assert alice.sql(asked.format(NAMES[0])) == [{"answer": "Omega9"}]


def test_a_twin_that_keeps_what_is_left_of_an_episode_fails_the_claim(
    tmp_path: Path, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = study_items.erase

    def erase(connection: Connection, pks: Sequence[int]) -> None:
        i = tables.study_items.c
        left = select(i.pk).where(i.pk.in_(pks), i.origin != "changed")
        real(connection, connection.execute(left).scalars().all())

    monkeypatch.setattr(study_items, "erase", erase)
    with pytest.raises(AssertionError):
        test_an_episode_that_loses_what_was_written_about_it_is_studied_anew(tmp_path, model)


def test_a_run_is_the_same_to_the_byte_with_a_dry_run_before_it(tmp_path: Path, model: Any) -> None:
    config = small(select=SelectConfig(dry_run_episodes=2))
    weights: list[bytes] = []
    for dry in (False, True):
        path = tmp_path / str(dry)
        with memory(path, model, facts=[fact(n) for n in range(3)], config=config) as alice:
            if dry:
                writer = ScriptedWriter(["Which code has Vela?"])
                alice.consolidate(dry_run=True, progress=False, writer=writer)
                assert alice.sql("SELECT * FROM study_items") == []
            version = alice.consolidate(progress=False).version_id
            folder = versions.folder(path, str(version))
            weights.append((folder / "adapter_model.safetensors").read_bytes())
    assert weights[0] == weights[1]


def test_what_a_killed_run_has_studied_is_left_to_the_next_unless_that_studies_otherwise(
    tmp_path: Path, model: Any
) -> None:
    asked = "SELECT count(*) AS n FROM study_items WHERE question LIKE 'Say the code%'"
    writer = ScriptedWriter(["Say the code of Vela?"])
    for other, left in (({"seed": 1, "writer": writer}, 1), ({}, 0)):
        with memory(tmp_path / str(left), model, facts=[fact(0)]) as alice:
            with pytest.raises(RunInterrupted):
                alice.consolidate(progress=stop_before_training, writer=writer)
            assert alice.sql(asked) == [{"n": 1}]
            with pytest.raises(RunInterrupted):
                alice.consolidate(progress=stop_before_training, **other)
            assert alice.sql(asked) == [{"n": left}]


def test_what_gave_nothing_is_not_learnt_and_another_writer_may_try(tmp_path: Path, model: Any) -> None:
    with memory(tmp_path, model, facts=[fact(0)]) as alice:
        silent = alice.add("Thanks a lot!")
        alice.consolidate(progress=False, writer=ScriptedWriter(["What is the code of Vela?"]))
        (version,) = alice.versions()
        assert len(version.episode_ids) == 1
        assert silent.id not in version.episode_ids
        assert alice.consolidate(progress=False, writer=ScriptedWriter(["x"])).outcome == "nothing"
        assert alice.consolidate(progress=False, writer=ScriptedWriter(["x"])).run_id == ""
        assert alice.consolidate(progress=False).run_id, "the base itself has not tried yet"


def test_what_expires_soon_stays_fast_and_is_not_in_the_teachers_view(tmp_path: Path, model: Any) -> None:
    soon = datetime.now(UTC) + SHORT_LIFE
    with memory(tmp_path, model) as alice:
        brief = alice.add(fact(0), session_id="s", expires_at=soon - timedelta(hours=1))
        lasting = alice.add(fact(1), session_id="s", expires_at=soon + timedelta(hours=1))
        alice.consolidate(progress=False)
        (version,) = alice.versions()
        assert version.episode_ids == (lasting.id,)
        assert not alice.sql(f"SELECT * FROM version_episodes WHERE episode_id = '{brief.id}'")
        assert alice.consolidate(progress=False).run_id == ""
