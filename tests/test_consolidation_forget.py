"""Forgetting reaches the weights: items, versions, the active pointer, runs under way, files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, true, update

from agent_memory.consolidation import candidate, checkpoint, complete, study, versions
from agent_memory.consolidation.asking import Said
from agent_memory.errors import RunFailed
from agent_memory.store import tables
from agent_memory.testing import ScriptedWriter
from tests.memories import NAMES, fact, memory, reader, small


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return reader(tmp_path_factory.mktemp("model"))


def test_a_version_that_holds_a_forgotten_episode_is_tainted_and_gone(tmp_path: Path, model: Any) -> None:
    with memory(tmp_path, model, facts=[fact(0)]) as alice:
        first = alice.consolidate(progress=False).version_id
        added = alice.add(fact(1))
        second = alice.consolidate(progress=False).version_id
        receipt = alice.forget([added.id])
        assert receipt.versions_tainted == (second,)
        assert receipt.erased_at is not None
        assert alice.ask("What is the code of Vela?", retrieval="none").version == first
        assert {v.id: v.state for v in alice.versions()} == {first: "active", second: "tainted"}
        assert [child.name for child in (tmp_path / "versions").iterdir()] == [first]
        assert alice.sql("SELECT * FROM study_items WHERE answer = 'Kappa1'") == []


def test_without_a_clean_version_the_bare_base_is_served(tmp_path: Path, model: Any) -> None:
    with memory(tmp_path, model, facts=[fact(0), fact(1)]) as alice:
        alice.consolidate(progress=False)
        alice.forget([alice.list()[0].id])
        assert alice.ask("What is the code of Vela?", retrieval="none").version is None
        assert [v.state for v in alice.versions()] == ["tainted"]


def test_the_next_run_rebuilds_from_zero_over_cached_items(tmp_path: Path, model: Any) -> None:
    with memory(tmp_path, model, facts=[fact(0), fact(1)]) as alice:
        alice.consolidate(progress=False)
        gone, kept = alice.list()
        items = alice.sql("SELECT pk FROM study_items WHERE answer = 'Vela'")
        alice.forget([gone.id])
        report = alice.consolidate(progress=False)
        assert report.outcome == "promoted"
        assert report.episodes == 0, "nothing is new"
        assert any(note.startswith("from zero") for note in report.notes)
        newest = alice.versions()[0]
        assert (newest.parent_id, newest.episode_ids) == (None, (kept.id,))
        again = alice.sql("SELECT pk FROM study_items WHERE answer = 'Vela'")
        assert again == items, "nothing was written anew"


def test_a_forget_during_a_run_wins(tmp_path: Path, model: Any) -> None:
    for stage in ("write", "answer", "turn", "complete", "distill"):
        with memory(tmp_path / stage, model, facts=[fact(0), fact(1)]) as alice:
            victim = alice.list()[0].id

            def forget(now: str, done: int, total: int, *, at: str = stage, whom: str = victim) -> None:
                if now == at and any(episode.id == whom for episode in alice.list()):
                    alice.forget([whom])

            with pytest.raises(RunFailed, match="forgotten"):
                alice.consolidate(progress=forget)
            assert all(version.state != "active" for version in alice.versions())
            assert alice.sql("SELECT state FROM runs") == [{"state": "cancelled"}]
            assert [child for child in (tmp_path / stage / "runs").iterdir() if child.is_dir()] == []
            assert alice.consolidate(progress=False).outcome == "promoted"
            assert victim not in alice.versions()[0].episode_ids


def test_what_was_only_seen_beside_a_studied_message_taints_as_well(tmp_path: Path, model: Any) -> None:
    with memory(tmp_path, model) as alice:
        beside = alice.add("Well, let me see.", session_id="s", source="web:example.org")
        alice.add(fact(0), session_id="s")
        version = alice.consolidate(progress=False).version_id
        assert beside.id not in alice.versions()[0].episode_ids, "it was not learnt"
        assert alice.forget([beside.id]).versions_tainted == (version,)
        assert alice.sql("SELECT * FROM study_items") == [], "its teacher's answers go with it"


@pytest.mark.parametrize("stage", ["answer", "turn", "complete", "distill", "examine"])
def test_a_forget_of_what_was_only_seen_beside_wins_as_well(tmp_path: Path, model: Any, stage: str) -> None:
    with memory(tmp_path, model) as alice:
        beside = alice.add("Omega says well, let me see.", session_id="s", source="web:example.org")
        alice.add(fact(0), session_id="s")

        def forget(now: str, _done: int, _total: int) -> None:
            if now == stage and alice.list(filters={"session_id": "s", "source": "web:example.org"}):
                alice.forget([beside.id])

        if stage == "answer":  # nothing was answered with it in view yet
            assert alice.consolidate(progress=forget).outcome == "promoted"
        else:
            with pytest.raises(RunFailed, match="forgotten"):
                alice.consolidate(progress=forget)
            assert [version for version in alice.versions() if version.state == "active"] == []
            assert list(tmp_path.rglob("*.safetensors")) == []
        assert alice.sql("SELECT * FROM study_context") == []


def test_what_was_answered_with_a_forgotten_episode_in_view_is_not_kept(
    tmp_path: Path, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with memory(tmp_path, model) as alice:
        beside = alice.add("Well, let me see.", session_id="s", source="web:example.org")
        alice.add(fact(0), session_id="s")
        real = study.consistent

        def forgetting(*args: Any) -> Any:
            found = real(*args)
            alice.forget([beside.id])
            return found

        monkeypatch.setattr(study, "consistent", forgetting)
        with pytest.raises(RunFailed, match="forgotten"):
            alice.consolidate(progress=False)
        assert alice.sql("SELECT * FROM study_items WHERE kind <> 'draft'") == []
        assert alice.sql("SELECT * FROM study_context") == []


def test_what_only_an_untrusted_neighbour_says_is_never_learnt(tmp_path: Path, model: Any) -> None:
    for trust in ("untrusted", "trusted"):
        with memory(tmp_path / trust, model) as alice:
            alice.add(fact(0), session_id="s")
            alice.add("The code of Vela is Omega9.", session_id="s", source="web:x", trust=trust)
            alice.consolidate(progress=False)
            answers = {row["answer"] for row in alice.sql("SELECT answer FROM study_items")}
            assert ("Omega9" in answers) == (trust == "trusted")


def test_a_rebuild_without_anything_new_is_examined_too(tmp_path: Path, model: Any) -> None:
    with memory(tmp_path, model, facts=[fact(0), fact(1)]) as alice:
        alice.consolidate(progress=False)
        alice.forget([alice.list()[0].id])
        report = alice.consolidate(progress=False)
        assert (report.episodes, report.outcome) == (0, "promoted")
        assert report.scores["new"] == 1.0


def test_a_forget_after_the_last_step_leaves_no_adapter(
    tmp_path: Path, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = candidate._move
    with memory(tmp_path, model, facts=[fact(0), fact(1)]) as alice:

        def move(source: Path, place: Path) -> None:
            alice.forget([alice.list()[0].id])
            real(source, place)

        monkeypatch.setattr(candidate, "_move", move)
        with pytest.raises(RunFailed, match="forgotten"):
            alice.consolidate(progress=False)
        assert list((tmp_path / "versions").iterdir()) == []


def test_a_step_under_way_writes_nothing_more_once_its_run_is_swept(
    tmp_path: Path, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, left = checkpoint.save, []

    def save(path: Path, *given: Any, **named: Any) -> None:
        try:
            real(path, *given, **named)
        finally:
            left.append(path.parent.exists())

    with memory(tmp_path, model, facts=[fact(0), fact(1)], config=small(checkpoint_steps=1)) as alice:

        def forget(stage: str, done: int, total: int) -> None:
            if stage == "distill" and alice.list():
                assert alice.forget(everything=True).erased_at is not None

        monkeypatch.setattr(checkpoint, "save", save)
        with pytest.raises(RunFailed, match="forgotten"):
            alice.consolidate(progress=forget)
        assert left == [False]


def test_a_forget_serves_the_newest_clean_version_of_the_same_base(tmp_path: Path, model: Any) -> None:
    with memory(tmp_path, model, facts=[fact(0)]) as alice:
        first = alice.consolidate(progress=False).version_id
        alice.add(fact(1))
        second = alice.consolidate(progress=False).version_id
        added = alice.add(fact(2))
        third = alice.consolidate(progress=False).version_id
        v = tables.versions.c
        with alice.database.write() as connection:
            connection.execute(update(tables.versions).where(v.id == second).values(base="another"))
        alice.forget([added.id])
        states = {version.id: version.state for version in alice.versions()}
        assert states == {first: "active", second: "retired", third: "tainted"}


def test_a_phrasing_that_only_a_forgotten_episode_had_goes_with_it(
    tmp_path: Path, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = complete._lent

    def lent(work: Any, view: Any, found: Any, *, config: Any) -> list[complete.Made]:
        """The teacher of the tiny model answers no loan greedily: here it does."""
        made = real(work, view, found, config=config)
        for group in found:
            for question, lender in group.loans.items():
                said = Said(group.answer, group.items[0].answer, complete=True)
                answered = study.Answered(question, said, ())
                one = study.row(view, answered, group=group.number, kind="study", origin="lent")
                columns = {**one, "targets": group.items[0].targets, "known": False}
                made.append(complete.Made(columns, group.answer, () if lender is None else (lender,)))
        return made

    class Secret(ScriptedWriter):
        def write(self, episodes: Sequence[Any], *, seed: int) -> list[list[str]]:
            names = [re.findall("of ([A-Z][a-z]+)", one.text)[0] for one in episodes]
            asked = [[f"What is the code of {name}?", f"Tell me the code of {name}!"] for name in names]
            return [[*own, f"The secret code, {name}?"] if name == NAMES[0] else own
                    for own, name in zip(asked, names, strict=True)]  # fmt: skip

    monkeypatch.setattr(complete, "_lent", lent)
    with memory(tmp_path, model, facts=[fact(n) for n in range(3)]) as alice:
        alice.consolidate(progress=False, writer=Secret([]))
        alice.add(fact(3))
        alice.consolidate(progress=False, writer=Secret([]))  # who has borrowed it does not lend it
        secret = "SELECT question FROM study_items WHERE question LIKE '%secret%'"
        assert len(alice.sql(secret)) == 4
        gone = next(one for one in alice.list() if NAMES[0] in one.text)
        alice.forget([gone.id])
        assert alice.sql(secret) == []
        assert alice.sql("SELECT 1 FROM study_items WHERE question LIKE 'Tell me the code%'")


@pytest.mark.parametrize("broken", [False, True])
def test_what_holds_a_forgotten_episode_is_not_promoted(
    tmp_path: Path, model: Any, monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    """The broken twin promotes whatever is a candidate."""
    with memory(tmp_path, model, facts=[fact(0)]) as alice:
        served = alice.consolidate(progress=False).version_id
        gone = alice.add(fact(1))
        alice.forget([gone.id])
        if broken:
            monkeypatch.setattr(versions, "_clean", true)
        with alice.database.write() as connection:
            connection.execute(update(tables.runs).values(state="running"))
            run = connection.execute(select(tables.runs.c.id)).scalar_one()
            versions.register(
                connection, namespace_id=1, version_id="late", run_id=run, parent_id=served, base="base",
                learnt={gone.id: 1}, context={}, now=alice.database.now(),
            )  # fmt: skip

        def promote() -> None:
            with alice.database.write() as connection:
                versions.promote(connection, 1, version_id="late", run_id=run, now=alice.database.now())

        if broken:
            promote()
        else:
            with pytest.raises(RunFailed, match="forgotten"):
                promote()
        states = {version.id: version.state for version in alice.versions()}
        assert states[served] == ("retired" if broken else "active")


def test_forgetting_a_correction_brings_the_older_answer_back(tmp_path: Path, model: Any) -> None:
    with memory(tmp_path, model, facts=[fact(0)]) as alice:
        alice.consolidate(progress=False)
        added = alice.add("The code of Vela is Omega9.")
        alice.consolidate(progress=False)
        alice.forget([added.id])
        valid = "SELECT answer FROM study_items WHERE superseded_by IS NULL"
        assert alice.sql(valid) == [], "what it had replaced is to be compared with what is left"
        alice.consolidate(progress=False)
        assert {row["answer"] for row in alice.sql(valid)} == {"Kappa0", "Vela"}


def test_forgetting_everything_leaves_no_item_and_no_file(tmp_path: Path, model: Any) -> None:
    with memory(tmp_path, model, facts=[fact(0), fact(1)]) as alice:
        alice.consolidate(progress=False)
        alice.forget(everything=True)
        assert alice.sql("SELECT * FROM study_items") == []
        assert alice.sql("SELECT * FROM exam_results") == []
        assert list((tmp_path / "versions").iterdir()) == []
        assert alice.consolidate(progress=False).outcome == "nothing"
    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    for word in (b"Kappa0", b"Kappa1", "Kappa0".encode("utf-16-le")):
        assert word not in stored
