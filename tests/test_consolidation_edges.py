"""What a run may meet: other settings, edits between its stages, a disk that refuses, nothing new."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, update

from agent_memory.consolidation import complete, pipeline, runs, study, versions, work
from agent_memory.consolidation.work import Work
from agent_memory.errors import RunFailed, RunInterrupted, StoreError, StoreFull
from agent_memory.manager import MemoryManager
from agent_memory.store import tables
from agent_memory.store.database import Database
from agent_memory.testing import ScriptedWriter
from tests import test_consolidation_forget as forgetting
from tests import test_consolidation_run as whole_runs
from tests.memories import fact, memory, reader, small


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return reader(tmp_path_factory.mktemp("model"))


def stop_at(stage: str) -> Any:
    def stop(now: str, _done: int, _total: int) -> None:
        if now == stage:
            raise RunInterrupted("a kill")

    return stop


@pytest.mark.parametrize(("before", "after"), [(20, 6), (6, 20)])
def test_a_run_may_keep_other_log_probabilities_than_its_earlier_items_have(
    tmp_path: Path, model: Any, before: int, after: int
) -> None:
    for number, k in enumerate((before, after, after)):
        config = small()
        study_of_k = config.consolidation.study.model_copy(update={"top_k": k})
        changed = config.consolidation.model_copy(update={"study": study_of_k})
        config = config.model_copy(update={"consolidation": changed})
        with memory(tmp_path, model, facts=[fact(number)], config=config) as alice:
            assert alice.consolidate(progress=False).outcome == "promoted"


def test_what_was_written_about_an_earlier_text_is_never_answered(tmp_path: Path, model: Any) -> None:
    with memory(tmp_path, model, facts=[fact(0)]) as alice:
        with pytest.raises(RunInterrupted):
            alice.consolidate(progress=stop_at("answer"))
        assert alice.sql("SELECT DISTINCT kind FROM study_items") == [{"kind": "draft"}]
        alice.update(alice.list()[0].id, text="The code of Vela is Omega9.")
        assert alice.consolidate(progress=False).outcome == "nothing", "it goes on with the run"
        assert alice.sql("SELECT * FROM study_items") == []
        report = alice.consolidate(progress=False)
        assert (report.outcome, len(report.slow)) == ("promoted", 1)
        assert alice.sql("SELECT DISTINCT revision FROM study_items") == [{"revision": 2}]


def test_a_run_without_anything_new_to_learn_trains_nothing(
    tmp_path: Path, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with memory(tmp_path, model, facts=[fact(0)]) as alice:
        alice.consolidate(progress=False)
        alice.add("Thanks a lot!")
        report = alice.consolidate(progress=False, writer=ScriptedWriter([]))
        assert (report.outcome, report.reasons) == ("nothing", (pipeline.NOTHING_LEFT,))
        assert len(alice.versions()) == 1
        alice.add("So long.")
        preview = alice.consolidate(dry_run=True, progress=False, writer=ScriptedWriter([]))
        assert (preview.outcome, preview.episodes, preview.tokens) == ("dry-run", 1, 0)
        with monkeypatch.context() as twin:
            twin.setattr(pipeline, "worth_training", lambda _work, chosen, **_: bool(chosen.studied))
            trained = alice.consolidate(progress=False, writer=ScriptedWriter([]))
        assert trained.outcome == "promoted", "a twin that only looks for items trains what is known"


@pytest.mark.parametrize("days", [(8, 9), (9, 8)], ids=["told in order", "told the other way round"])
def test_of_two_changes_in_one_run_the_later_stands(
    tmp_path: Path, model: Any, monkeypatch: pytest.MonkeyPatch, days: tuple[int, int]
) -> None:
    """Also of what only the first episode was asked, in whatever order and chunks they come."""
    monkeypatch.setattr(work, "CHUNK", 1)
    asked_alone = "Say the code of Vela once more?"
    with memory(tmp_path, model, facts=[fact(0)]) as alice:
        alice.consolidate(progress=False, writer=ScriptedWriter([asked_alone, "What is the code of Vela?"]))
        for day in days:
            alice.add(f"The code of Vela is Omega{day}.", occurred_at=f"2026-04-{day:02}")
        alice.consolidate(progress=False)
        valid = "SELECT DISTINCT answer FROM study_items WHERE superseded_by IS NULL AND question"
        for asked in ("LIKE '%Vela%'", f"= '{asked_alone}'"):
            assert alice.sql(f"{valid} {asked}") == [{"answer": "Omega9"}]


def test_what_a_correction_had_changed_is_trained_again_when_the_correction_is_edited_away(
    tmp_path: Path, model: Any
) -> None:
    with memory(tmp_path, model, facts=[fact(0)]) as alice:
        alice.consolidate(progress=False)
        correction = alice.add("The code of Vela is Omega9.")
        alice.consolidate(progress=False)
        alice.update(correction.id, text="Sorry, never mind.")
        report = alice.consolidate(progress=False)
        assert report.outcome == "promoted"
        assert alice.versions()[0].parent_id is not None


def test_what_is_new_but_of_two_minds_is_learnt_once_and_not_taken_up_again(
    tmp_path: Path, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its items are dropped from the study set, and are items all the same."""
    with memory(tmp_path, model, facts=[fact(0)]) as alice:
        alice.consolidate(progress=False)
        alice.add(fact(1))
        real = pipeline.study_set

        def without_the_new(work: Work, *arguments: Any) -> Any:
            chosen = real(work, *arguments)
            new = {row.episode_pk for row in work.selected("new")}
            return replace(chosen, studied=[one for one in chosen.studied if one.episode_pk not in new])

        monkeypatch.setattr(pipeline, "study_set", without_the_new)
        assert alice.consolidate(progress=False).outcome == "promoted"
        assert alice.consolidate(progress=False).run_id == ""


def test_a_child_that_was_forked_during_a_run_does_not_hold_the_namespace(tmp_path: Path, model: Any) -> None:
    child: list[int] = []

    def fork(_stage: str, _done: int, _total: int) -> None:
        if not child:
            child.append(os.fork())
            if not child[0]:
                signal.pause()
                os._exit(0)

    with memory(tmp_path, model, facts=[fact(0)]) as alice:
        try:
            alice.consolidate(progress=fork)
            alice.add(fact(1))
            assert alice.consolidate(progress=False).outcome == "promoted"
        finally:
            os.kill(child[0], signal.SIGKILL)
            os.waitpid(child[0], 0)


def test_a_run_tries_packing_on_its_own_texts(
    tmp_path: Path, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    def try_form(sequences: Sequence[Sequence[int]]) -> tuple[str, ...]:
        told.extend(model.text(ids) for ids in sequences)
        return ("another form",)

    monkeypatch.setattr(model, "try_form", try_form)
    with memory(tmp_path, model, facts=[fact(0)]) as alice:
        assert "another form" in alice.consolidate(progress=False).notes
    assert any(fact(0) in text for text in told)


# ---------------------------------------------------------------------- what the system refuses


def refuse(code: int) -> Any:
    def refusing(*_: Any, **__: Any) -> Any:
        raise OSError(code, os.strerror(code))

    return refusing


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize(
    ("code", "kind"), [(errno.ENOSPC, StoreFull), (errno.EROFS, StoreError), (errno.EIO, StoreError)]
)
def test_what_the_disk_refuses_is_one_typed_error_from_the_first_file_on(
    tmp_path: Path, model: Any, monkeypatch: pytest.MonkeyPatch, code: int, kind: Any, dry_run: bool
) -> None:
    with memory(tmp_path, model, facts=[fact(0)]) as alice:
        with monkeypatch.context() as full:
            full.setattr(runs.os, "pwrite", refuse(code))
            with pytest.raises(kind):
                alice.consolidate(progress=False, dry_run=dry_run)
        with monkeypatch.context() as full:
            full.setattr(complete, "write_file", refuse(code))
            with pytest.raises(kind):
                alice.consolidate(progress=False, dry_run=dry_run)
        assert alice.versions() == []
        assert alice.consolidate(progress=False).outcome == "promoted"


def test_what_the_caller_passed_fails_as_it_fails(tmp_path: Path, model: Any) -> None:
    def closed(*_: Any) -> None:
        raise BrokenPipeError(errno.EPIPE, "closed")

    with memory(tmp_path, model, facts=[fact(0)]) as alice:
        with pytest.raises(BrokenPipeError):
            alice.consolidate(progress=closed)
        assert alice.consolidate(progress=False).outcome == "promoted"


def test_memory_that_runs_out_where_nothing_can_be_halved_is_one_typed_error(
    tmp_path: Path, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    def too_large(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with memory(tmp_path, model, facts=[fact(0)]) as alice:
        with monkeypatch.context() as full:
            full.setattr(torch.optim.Muon, "step", too_large)
            with pytest.raises(RunFailed, match="out of memory"):
                alice.consolidate(progress=False)
        assert alice.versions() == []
        assert alice.consolidate(progress=False).outcome == "promoted"


@pytest.mark.parametrize("stage", ["write", "answer", "complete", "distill"])
def test_a_forget_during_a_dry_run_ends_it(tmp_path: Path, model: Any, stage: str) -> None:
    with memory(tmp_path, model, facts=[fact(0), fact(1)]) as alice:

        def forget(now: str, _done: int, _total: int) -> None:
            if now == stage and len(alice.list()) == 2:
                alice.forget([alice.list()[0].id])

        with pytest.raises(RunFailed, match="forgotten"):
            alice.consolidate(dry_run=True, progress=forget)
        assert alice.sql("SELECT state FROM runs") == [{"state": "cancelled"}]
        assert alice.consolidate(dry_run=True, progress=False).episodes == 1


# ---------------------------------------------------------------------- versions that are not served again


def states(alice: MemoryManager) -> dict[str, str]:
    return {version.id: version.state for version in alice.versions()}


@pytest.mark.parametrize("by", ["forget", "rollback"])
def test_what_was_rolled_back_does_not_come_back_by_itself(tmp_path: Path, model: Any, by: str) -> None:
    with memory(tmp_path, model, facts=[fact(0)]) as alice:
        first = str(alice.consolidate(progress=False).version_id)
        alice.add(fact(1))
        bad = str(alice.consolidate(progress=False).version_id)
        alice.rollback()
        assert next(v for v in alice.versions() if v.id == bad).reasons == (versions.WITHDRAWN,)
        added = alice.add(fact(2))
        alice.consolidate(progress=False)
        if by == "forget":
            alice.forget([added.id])
        else:
            alice.rollback()
        assert (states(alice)[first], states(alice)[bad]) == ("active", "retired")
        assert alice.ask("What is the code of Vela?", retrieval="none", adapter=bad).version == bad


def test_a_version_that_has_learnt_what_has_expired_is_not_served(tmp_path: Path, model: Any) -> None:
    with memory(tmp_path, model) as alice:
        alice.add(fact(0), expires_at="2036-01-01")
        version = alice.consolidate(progress=False).version_id
        question = "What is the code of Vela?"
        assert alice.ask(question, retrieval="none").text == "Kappa0"
        with alice.database.write() as connection:
            passed = alice.database.now()
            connection.execute(update(tables.episodes).values(expires_at=passed))
        for retrieval in ("none", "lean", "all"):
            assert alice.ask(question, retrieval=retrieval).version is None
        assert alice.consolidate(progress=False).outcome == "nothing", "which erases what has expired"
        assert states(alice) == {version: "tainted"}


def test_nothing_brings_back_a_version_that_holds_what_has_expired(tmp_path: Path, model: Any) -> None:
    with memory(tmp_path, model, facts=[fact(0)]) as alice:
        first = str(alice.consolidate(progress=False).version_id)
        alice.add(fact(1), expires_at="2036-01-01")
        for number in (1, 2):
            alice.consolidate(progress=False)
            alice.add(fact(1 + number))
        expire = update(tables.episodes).where(tables.episodes.c.expires_at.is_not(None))

        def passes(stage: str, done: int, _total: int) -> None:
            if (stage, done) == ("examine", 0):
                with alice.database.write() as connection:
                    connection.execute(expire.values(expires_at=alice.database.now()))

        with pytest.raises(RunFailed, match="expired"):
            alice.consolidate(progress=passes)
        served = alice.rollback()
        assert served is not None
        assert served.id == first


def test_the_folder_of_a_run_that_begins_during_a_sweep_stays(
    tmp_path: Path, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with memory(tmp_path, model, facts=[fact(0)]) as alice:
        alice.consolidate(progress=False)
        begun = tmp_path / "runs" / "begun-meanwhile"
        real = Database.read

        @contextmanager
        def read(self: Database) -> Iterator[Connection]:
            with real(self) as connection:
                begun.mkdir(exist_ok=True)
                yield connection

        monkeypatch.setattr(Database, "read", read)
        versions.sweep(alice.database)
        assert begun.exists()


@pytest.mark.parametrize("at", ["_put", "_flush", "sync_folder"])
@pytest.mark.parametrize("what", ["adapter", "model"])
def test_an_export_does_not_outlive_a_forget(
    tmp_path: Path, model: Any, monkeypatch: pytest.MonkeyPatch, what: str, at: str
) -> None:
    """Whether it comes before the files are read, while they are flushed, or once they are in their place."""
    from agent_memory.consolidation import export as exports
    from agent_memory.errors import NotFound

    with memory(tmp_path / "memory", model, facts=[fact(0)]) as alice:
        alice.consolidate(progress=False)
        real = getattr(exports, at)

        def forgetting(*arguments: Any) -> Any:
            alice.forget(everything=True)
            return real(*arguments)

        monkeypatch.setattr(exports, at, forgetting)
        export = alice.export_adapter if what == "adapter" else alice.export_model
        with pytest.raises(NotFound, match="meanwhile"):
            export(tmp_path / "out")
        assert [path.name for path in tmp_path.iterdir()] == ["memory"]
        with pytest.raises(NotFound, match="no version is active"):
            export(tmp_path / "out")


# ---------------------------------------------------------------------- broken twins


def test_a_twin_whose_forgets_end_no_run_fails_the_claims_of_forgetting(
    tmp_path: Path, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions, "_cancel_runs", lambda *_: None)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        forgetting.test_a_forget_during_a_run_wins(tmp_path, model)


def test_a_twin_that_promotes_beside_a_rollback_fails_the_claim(
    tmp_path: Path, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def promote(connection: Connection, _owner: int, *, version_id: str, run_id: str, now: Any) -> None:
        v = tables.versions.c
        connection.execute(
            update(tables.versions).where(v.id == version_id).values(state="active", promoted_at=now)
        )

    monkeypatch.setattr(versions, "promote", promote)
    with pytest.raises(pytest.fail.Exception):
        whole_runs.test_a_rollback_during_a_run_wins(tmp_path, model)


def test_a_twin_that_answers_drafts_of_any_revision_fails_the_claim(
    tmp_path: Path, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        study, "_asked", lambda work, view: [d.question for d in study.items_of(work, view.pk, kind="draft")]
    )
    with pytest.raises(AssertionError):
        test_what_was_written_about_an_earlier_text_is_never_answered(tmp_path, model)
