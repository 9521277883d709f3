"""What a run takes up, what it passes over, and when it starts from zero."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text, update

from agent_memory import schedule
from agent_memory.config import SelectConfig
from agent_memory.consolidation.select import Selection, rehearsed_items, selection
from agent_memory.errors import RunFailed, RunInterrupted
from agent_memory.manager import MemoryManager
from agent_memory.store import tables
from agent_memory.testing import ScriptedWriter
from agent_memory.types import ConsolidationReport
from tests.memories import fact, memory, reader, small

#: The scripted reader has nothing to ask about these.
IDLE = ("ok, thanks", "fine then")
TWO = small(select=SelectConfig(max_episodes=2))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return reader(tmp_path_factory.mktemp("model"))


def chosen(alice: MemoryManager, model: Any, *, base: str | None = None) -> Selection:
    """What the next run would take up."""
    with alice.database.read() as connection:
        return selection(
            connection, 1, config=SelectConfig(), base=base or model.fingerprint, trusted_sources=("user",),
            now=alice.database.now(),
        )  # fmt: skip


def counted(alice: MemoryManager) -> int:
    """How many new episodes a rule sees."""
    now = alice.database.now()
    with alice.database.read() as connection:
        return schedule.read_state(connection, 1, set_at=now, now=now).new_episodes


def run(alice: MemoryManager, **arguments: Any) -> ConsolidationReport:
    return alice.consolidate(progress=False, **arguments)


def test_episodes_that_yield_nothing_do_not_block_later_ones(tmp_path: Path, model: Any) -> None:
    with memory(tmp_path, model, facts=[*IDLE, fact(0)], config=TWO) as alice:
        assert counted(alice) == 3
        assert run(alice).outcome == "nothing"
        assert counted(alice) == len(chosen(alice, model).new) == 1
        assert run(alice, dry_run=True).episodes == 1
        report = run(alice)
        assert (report.outcome, report.episodes) == ("promoted", 1)
        assert any("2 episodes gave nothing to learn" in note for note in report.notes)
        assert (counted(alice), run(alice).run_id) == (0, "")


def test_items_of_another_base_take_no_place_in_rehearsal(tmp_path: Path, model: Any) -> None:
    with memory(tmp_path, model, facts=[fact(0)]) as alice:
        run(alice)
        alice.add(fact(1))
        second = run(alice)
        copied = ", ".join(c.name for c in tables.study_items.columns if c.name not in ("pk", "base"))
        with alice.database.write() as connection:
            connection.execute(
                text(f"INSERT INTO study_items ({copied}, base) SELECT {copied}, 'another' FROM study_items")
            )
        with alice.database.read() as connection:
            found = rehearsed_items(
                connection, second.run_id, parent=alice.versions()[1].id, most=None, seed=0
            )
        bases = {row["base"] for row in alice.sql(
            f"SELECT base FROM study_items WHERE pk IN ({', '.join(map(str, found))})"
        )}  # fmt: skip
        assert bases == {model.fingerprint}


def test_what_one_writer_found_nothing_in_is_new_again_for_another(tmp_path: Path, model: Any) -> None:
    with memory(tmp_path, model, facts=[fact(0)]) as alice:
        about_nobody = ScriptedWriter(["What is the code of Zanzibar?"])
        assert run(alice, writer=about_nobody).outcome == "nothing"
        assert (run(alice, writer=about_nobody).run_id, run(alice).outcome) == ("", "promoted")


def test_what_yielded_nothing_is_new_again_with_another_text_or_base(tmp_path: Path, model: Any) -> None:
    with memory(tmp_path, model, facts=IDLE, config=TWO) as alice:
        run(alice)
        assert not chosen(alice, model).new
        assert len(chosen(alice, model, base="another").new) == 2
        first = alice.list()[-1]
        alice.update(first.id, text=fact(0))
        assert [one.id for one in chosen(alice, model).new] == [first.id]
        assert counted(alice) == 1
        assert run(alice).outcome == "promoted"


def after_study(stage: str, _done: int, _total: int) -> None:
    if stage == "anchors":
        raise RunInterrupted("a kill")


def test_what_the_base_knew_already_does_not_block_either(tmp_path: Path, model: Any) -> None:
    with memory(tmp_path, model, facts=[fact(0)], config=TWO) as alice:
        with pytest.raises(RunInterrupted):
            alice.consolidate(progress=after_study)
        with alice.database.write() as connection:
            connection.execute(update(tables.study_items).values(known=True))
        assert run(alice).outcome == "nothing"
        assert not chosen(alice, model).new
        assert counted(alice) == 0


def test_a_dry_run_and_a_failed_run_are_no_reason_to_pass_over_an_episode(tmp_path: Path, model: Any) -> None:
    with memory(tmp_path, model, facts=IDLE, config=TWO) as alice:
        for dry in (True, False):
            with pytest.raises(RunFailed):
                run(alice, dry_run=dry, writer=ScriptedWriter(ZeroDivisionError()))
        assert len(chosen(alice, model).new) == counted(alice) == 2


def test_what_a_forget_took_the_items_of_is_no_reason_to_pass_over_an_episode(
    tmp_path: Path, model: Any
) -> None:
    with memory(tmp_path, model) as alice:
        beside = alice.add("Well, let me see.", session_id="s", source="web:example.org")
        alice.add(fact(0), session_id="s")
        run(alice)
        alice.rollback()
        with alice.database.write() as connection:  # as if it had been rejected
            connection.execute(update(tables.versions).values(promoted_at=None, state="rejected"))
            connection.execute(update(tables.runs).values(outcome="rejected"))
        alice.forget([beside.id])
        assert alice.sql("SELECT * FROM study_items") == []
        assert len(chosen(alice, model).new) == counted(alice) == 1


def test_a_tainted_version_that_was_never_served_forces_no_rebuild(tmp_path: Path, model: Any) -> None:
    with memory(tmp_path, model, facts=[fact(0)]) as alice:
        first = run(alice).version_id
        added = alice.add(fact(1))
        second = run(alice).version_id
        v = tables.versions.c
        with alice.database.write() as connection:  # as if the gate had rejected it
            rejected = update(tables.versions).where(v.id == second)
            connection.execute(rejected.values(state="rejected", promoted_at=None))
            connection.execute(update(tables.versions).where(v.id == first).values(state="active"))
        alice.forget([added.id])
        assert {one.id: one.state for one in alice.versions()} == {first: "active", second: "tainted"}
        assert chosen(alice, model).parent == first
