"""A whole run on a two-layer model with a scripted teacher: what is stored, promoted, kept and reported."""

from __future__ import annotations

import errno
import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from agent_memory.config import SelectConfig
from agent_memory.consolidation import distill, pipeline, runs, work
from agent_memory.consolidation.phrasings import FILE
from agent_memory.consolidation.questions import normalise
from agent_memory.consolidation.study_set import StudySet, study_set
from agent_memory.errors import (
    InvalidInput,
    ModelError,
    NotFound,
    RunBusy,
    RunFailed,
    RunInterrupted,
    StoreFull,
)
from agent_memory.manager import MemoryManager
from agent_memory.prompt import ABSTENTION
from agent_memory.store import tables
from agent_memory.testing import ScriptedChatModel, ScriptedWriter
from tests.memories import NAMES, OPEN_GATE, fact, letters, memory, reader, small


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return reader(tmp_path_factory.mktemp("model"))


def test_a_run_makes_a_version_that_answers_without_retrieval(tmp_path: Path, model: Any) -> None:
    with memory(tmp_path, model, facts=[fact(0), fact(1)]) as alice:
        assert alice.ask("What is the code of Vela?", retrieval="none").text == "I do not know."
        report = alice.consolidate(progress=False)
        assert report.outcome == "promoted"
        assert (report.episodes, len(report.slow)) == (2, 2)
        answer = alice.ask("What is the code of Vela?", retrieval="none")
        assert (answer.text, answer.version, answer.episodes) == ("Kappa0", report.version_id, ())
        (version,) = alice.versions()
        assert version.state == "active"
        assert set(version.episode_ids) == {episode.id for episode in alice.list()}
        assert not any((tmp_path / "runs").glob("*/")), "a finished run leaves no folder"


def test_an_episode_with_a_sentence_that_nothing_asks_about_stays_fast(tmp_path: Path, model: Any) -> None:
    """However well the rest of it is known; thanks say nothing that could be asked."""
    thanked = f"{fact(0)} Thanks a lot!"
    more = f"{fact(1)} We had planned long walks along rivers."
    with memory(tmp_path, model, facts=[thanked, more]) as alice:
        report = alice.consolidate(progress=False)
        answered = alice.sql("SELECT text, mark, questions, correct FROM episode_overview ORDER BY id")
        assert {row["text"]: row["mark"] for row in answered} == {thanked: "slow", more: "fast"}
        assert all(row["questions"] == row["correct"] > 0 for row in answered)
        slow = {episode.text for episode in alice.list() if episode.id in report.slow}
        assert slow == {thanked}


def test_no_exam_question_is_ever_trained_on(tmp_path: Path, model: Any) -> None:
    with memory(tmp_path, model, facts=[fact(n) for n in range(4)]) as alice:
        alice.consolidate(progress=False)
        rows = alice.sql("SELECT kind, question FROM study_items")
        study = {row["question"] for row in rows if row["kind"] == "study"}
        exam = {row["question"] for row in rows if row["kind"] == "exam"}
        assert study
        assert exam
        assert not study & exam
        assert not any(question.startswith("Tell me: ") for question in study)


def trained_questions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[set[str], set[str]]:
    """What a run trains in any wording, and what it asks in its exam, normalised."""
    model = reader(tmp_path / "model")
    monkeypatch.setattr(type(model), "made_here", True)  # so that items are trained in further wordings
    trained: set[str] = set()
    real = distill.train

    def train(model: Any, lessons: distill.Lessons, **settings: Any) -> Any:
        texts = (model._tokenizer.decode(list(item.student)) for item in lessons.items)
        trained.update(normalise(text.rsplit("<user>", 1)[-1].split("<end>")[0]) for text in texts)
        return real(model, lessons, **settings)

    monkeypatch.setattr(distill, "train", train)
    facts = [fact(n) for n in range(4)]
    with memory(tmp_path / "memory", model, facts=facts, config=small(sentences=12)) as alice:
        alice.consolidate(progress=False)
        rows = alice.sql("SELECT question FROM study_items WHERE kind = 'exam'")
    return trained, {normalise(row["question"]) for row in rows}


def test_no_exam_question_is_trained_in_any_wording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained, examined = trained_questions(tmp_path / "one", monkeypatch)
    assert len(trained) > len(examined) > 0
    assert not trained & examined
    real = study_set

    def leaking(*arguments: Any) -> StudySet:
        chosen = real(*arguments)
        with_exams = [*chosen.studied, *(one for one in chosen.exams if one.targets)]
        wordings = {one.pk: 1 for one in with_exams}
        return replace(chosen, studied=with_exams, wordings=wordings, examined=frozenset())

    monkeypatch.setattr(pipeline, "study_set", leaking)
    trained, examined = trained_questions(tmp_path / "two", monkeypatch)
    assert trained & examined, "a twin that does not set them apart trains some"


def test_every_group_of_an_episode_has_an_exam_question(tmp_path: Path, model: Any) -> None:
    with memory(tmp_path, model, facts=[fact(0)]) as alice:
        alice.consolidate(progress=False)
        groups = alice.sql("SELECT DISTINCT answer_group FROM study_items")
        examined = alice.sql("SELECT DISTINCT answer_group FROM study_items WHERE kind = 'exam'")
        assert groups == examined
        assert len(groups) == 2


def test_an_episode_is_slow_only_where_every_group_of_its_questions_is_examined(
    tmp_path: Path, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def one_sided(work: Any, config: Any) -> StudySet:
        """The set without the exam of who has the code: as if two had it."""
        found = study_set(work, config)
        return replace(found, exams=[item for item in found.exams if item.answer != NAMES[0]])

    for chosen, slow in ((study_set, 1), (one_sided, 0)):
        monkeypatch.setattr(pipeline, "study_set", chosen)
        with memory(tmp_path / str(slow), model, facts=[fact(0)]) as alice:
            assert len(alice.consolidate(progress=False).slow) == slow


def test_an_episode_that_is_edited_while_its_groups_are_completed_waits_for_the_next_run(
    tmp_path: Path, model: Any
) -> None:
    with memory(tmp_path, model, facts=[fact(0), fact(1)]) as alice:
        edited = next(one for one in alice.list() if NAMES[0] in one.text)

        def edit(stage: str, done: int, total: int) -> None:
            if stage == "complete" and alice.get(edited.id).revision == 1:
                alice.update(edited.id, text=fact(2))

        alice.consolidate(progress=edit)
        assert alice.sql("SELECT 1 FROM study_items WHERE revision = 2") == []
        model.seen.clear()  # of the codes that the first exam made up, one may be this one
        report = alice.consolidate(progress=False)
        assert (report.outcome, report.episodes) == ("promoted", 1)
        assert edited.id in report.slow


def test_nothing_new_is_said_and_changes_nothing(tmp_path: Path, model: Any) -> None:
    with memory(tmp_path, model) as alice:
        assert alice.consolidate(progress=False).outcome == "nothing"
        alice.add(fact(0))
        assert alice.consolidate(progress=False).outcome == "promoted"
        report = alice.consolidate(progress=False)
        assert (report.outcome, report.run_id) == ("nothing", "")
        assert len(alice.versions()) == 1


def test_untrusted_words_are_not_learnt_until_approved(tmp_path: Path, model: Any) -> None:
    with memory(tmp_path, model) as alice:
        added = alice.add(fact(0), source="web:example.org")
        assert alice.consolidate(progress=False).outcome == "nothing"
        alice.approve([added.id])
        assert alice.consolidate(progress=False).outcome == "promoted"


def test_one_source_cannot_flood_a_run(tmp_path: Path, model: Any) -> None:
    with memory(tmp_path, model, config=small(select=SelectConfig(max_per_source=1))) as alice:
        for n in range(3):
            alice.add(fact(n), source="web:example.org", trust="trusted")
        report = alice.consolidate(progress=False)
        assert report.episodes == 1
        assert any("2 episodes wait" in note for note in report.notes)


def test_a_second_run_goes_on_from_the_first_and_keeps_its_manifest(tmp_path: Path, model: Any) -> None:
    with memory(tmp_path, model, facts=[fact(0), fact(1)]) as alice:
        first = alice.consolidate(progress=False)
        alice.add(fact(2))
        second = alice.consolidate(progress=False)
        assert second.episodes == 1
        newest, older = alice.versions()
        assert (newest.parent_id, older.state) == (first.version_id, "retired")
        assert len(newest.episode_ids) == 3


def test_a_changed_fact_retires_the_old_answer(tmp_path: Path, model: Any) -> None:
    with memory(tmp_path, model, facts=[fact(0)]) as alice:
        alice.consolidate(progress=False)
        alice.add("The code of Vela is Omega9.")
        alice.consolidate(progress=False)
        valid = alice.sql("SELECT answer FROM study_items WHERE superseded_by IS NULL")
        assert {"answer": "Kappa0"} not in valid
        assert alice.sql("SELECT count(*) AS n FROM study_items WHERE superseded_by IS NOT NULL")[0]["n"] >= 4
        back = alice.sql("SELECT superseded_by FROM study_items WHERE question LIKE '%Whose code is Kappa0%'")
        assert back
        assert all(row["superseded_by"] for row in back)


def test_the_gate_rejects_with_reasons_and_what_is_served_stays(tmp_path: Path, model: Any) -> None:
    with memory(tmp_path, model, facts=[fact(0)]) as alice:
        first = alice.consolidate(progress=False)
    strict = small(gate=OPEN_GATE.model_copy(update={"min_gain": 1.0}))
    weak = reader(tmp_path / "weak", learns=False)
    with memory(tmp_path, weak, facts=[fact(1)], config=strict) as alice:
        report = alice.consolidate(progress=False)
        assert report.outcome == "rejected"
        assert any(reason.startswith("gain") for reason in report.reasons)
        states = {version.id: version.state for version in alice.versions()}
        assert states[first.version_id or ""] == "active"
        assert states[report.version_id or ""] == "rejected"
        assert not (tmp_path / "versions" / (report.version_id or "")).exists()


def test_a_dry_run_measures_and_promotes_nothing(tmp_path: Path, model: Any) -> None:
    with memory(tmp_path, model, facts=[fact(0), fact(1), fact(2)]) as alice:
        report = alice.consolidate(dry_run=True, progress=False)
        assert report.outcome == "dry-run"
        assert (report.episodes, report.scores["gap"]) == (3, 1.0)
        assert min(report.items, report.tokens, report.scores["memory_mib"]) > 0
        assert alice.versions() == []
        assert alice.consolidate(progress=False).outcome == "promoted", "what it studied is used"


def test_the_same_seed_gives_the_same_adapter(tmp_path: Path, model: Any) -> None:
    weights = []
    for place in ("one", "two"):
        with memory(tmp_path / place, model, facts=[fact(0), fact(1)]) as alice:
            model.seen.clear()
            version = alice.consolidate(progress=False, seed=7).version_id or ""
        folder = tmp_path / place / "versions" / version
        weights.append((folder / "adapter_model.safetensors").read_bytes())
    assert weights[0] == weights[1]


def interrupted(alice: MemoryManager, *, at: tuple[str, int], **arguments: Any) -> None:
    """A run that is stopped at this point of a stage."""

    def stop(stage: str, done: int, _total: int) -> None:
        if (stage, done) == at:
            raise RunInterrupted("a kill")

    with pytest.raises(RunInterrupted):
        alice.consolidate(progress=stop, **arguments)


def test_a_run_that_was_stopped_goes_on_with_its_own_seed_only(tmp_path: Path, model: Any) -> None:
    with memory(tmp_path, model, facts=[fact(0)]) as alice:
        for seed, resumed in ((7, True), (8, False)):
            interrupted(alice, at=("examine", 0), seed=7)
            report = alice.consolidate(progress=False, seed=seed)
            assert report.outcome == "promoted"
            assert ("a killed run was resumed" in report.notes) == resumed
            assert alice.sql("SELECT seed FROM runs WHERE id = ?", [report.run_id]) == [{"seed": seed}]
            alice.add(fact(1))
        ended = alice.sql("SELECT reasons FROM runs WHERE state = 'failed'")
        assert len(ended) == 1
        assert "seed" in str(ended[0])


@pytest.mark.parametrize("at", [("examine", 0), ("examine", 1)])
def test_a_run_that_goes_on_after_its_training_reports_what_that_took(
    tmp_path: Path, model: Any, at: tuple[str, int]
) -> None:
    tokens = []
    for stops in (False, True):
        with memory(tmp_path / str(stops), model, facts=[fact(0)]) as alice:
            model.seen.clear()
            if stops:
                interrupted(alice, at=at)
            tokens.append(alice.consolidate(progress=False).tokens)
    assert tokens[0] == tokens[1] > 0


def test_rollback_goes_to_the_newest_that_verifies_then_to_the_base(tmp_path: Path, model: Any) -> None:
    with memory(tmp_path, model, facts=[fact(0)]) as alice:
        ids = [alice.consolidate(progress=False).version_id]
        for n in (1, 2):
            alice.add(fact(n))
            ids.append(alice.consolidate(progress=False).version_id)
        (tmp_path / "versions" / str(ids[1]) / "adapter_model.safetensors").write_bytes(b"harmed")
        served = alice.rollback()
        assert served is not None
        assert served.id == ids[0]
        assert alice.rollback() is None
        assert alice.ask("What is the code of Vela?", retrieval="none").version is None
        with pytest.raises(NotFound):
            alice.rollback()


def test_a_rollback_during_a_run_wins(tmp_path: Path, model: Any) -> None:
    with memory(tmp_path, model, facts=[fact(0)]) as alice:
        first = alice.consolidate(progress=False).version_id
        alice.add(fact(1))

        def roll_back(stage: str, _done: int, _total: int) -> None:
            if stage == "examine" and any(v.state == "active" for v in alice.versions()):
                alice.rollback()

        with pytest.raises(RunFailed, match=f"{first}.*not served"):
            alice.consolidate(progress=roll_back)
        assert [version for version in alice.versions() if version.state == "active"] == []


def test_a_rollback_passes_over_versions_of_another_base_and_says_what_it_passed_over(
    tmp_path: Path, model: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with memory(tmp_path, model, facts=[fact(0)]) as alice:
        ids = [alice.consolidate(progress=False).version_id]
        for n in (1, 2):
            alice.add(fact(n))
            ids.append(alice.consolidate(progress=False).version_id)
        with alice.database.write() as connection:
            first = tables.versions.c.id == ids[0]
            connection.execute(update(tables.versions).where(first).values(base="another"))
        (tmp_path / "versions" / str(ids[1]) / "adapter_model.safetensors").write_bytes(b"harmed")
        assert alice.rollback() is None
        assert f"passed over {ids[1]}" in caplog.text


def test_a_second_run_in_the_namespace_says_who_holds_it(tmp_path: Path, model: Any) -> None:
    with memory(tmp_path, model, facts=[fact(0)]) as alice, memory(tmp_path, model) as again:
        met: list[Exception] = []

        def meanwhile(stage: str, done: int, total: int) -> None:
            if stage == "distill" and not met:
                with pytest.raises(RunBusy, match="process") as caught:
                    again.consolidate(progress=False)
                met.append(caught.value)

        assert alice.consolidate(progress=meanwhile).outcome == "promoted"
        assert met


def test_status_tells_what_is_to_be_learnt_and_what_run_has_begun(tmp_path: Path, model: Any) -> None:
    with memory(tmp_path, model) as alice:
        assert (alice.status()["to_learn"], alice.status()["run"]) == (0, None)
        alice.add_many([fact(0), fact(1)])
        assert alice.status()["to_learn"] == 2
        told: list[str] = []

        def note(stage: str, _done: int, _total: int) -> None:
            if stage == "distill":
                told.append(alice.status()["run"])

        report = alice.consolidate(progress=note)
        assert set(told) == {f"{report.run_id}, change done"}
        assert (alice.status()["to_learn"], alice.status()["run"]) == (0, None)
        nothing = alice.consolidate(progress=False)
        assert (nothing.outcome, nothing.notes) == ("nothing", ("nothing is new",))


def test_two_namespaces_run_apart(tmp_path: Path, model: Any) -> None:
    with memory(tmp_path, model, facts=[fact(0)]) as alice:
        alice.add(fact(1), user_id="alice")
        bob = MemoryManager.open(tmp_path, user_id="bob", model=model, embeddings=letters, config=small())
        bob.add(fact(2))
        alice.consolidate(progress=False)
        assert bob.versions() == []
        assert bob.ask("What is the code of Sago?", retrieval="none").version is None
        bob.close()


@pytest.mark.parametrize("script", [[], ["x", "", "?"]])
def test_a_writer_of_nothing_or_nonsense_gets_templates_in_its_place(
    tmp_path: Path, model: Any, script: list[str]
) -> None:
    with memory(tmp_path, model, facts=[fact(0)]) as alice:
        report = alice.consolidate(progress=False, writer=ScriptedWriter(script))
        assert any("templates stood in" in note for note in report.notes)
        assert report.outcome == "promoted"
        assert any("___" in question for question in asked_of(alice))


def asked_of(alice: MemoryManager) -> set[str]:
    return {row["question"] for row in alice.sql("SELECT question FROM study_items")}


def test_slips_in_names_are_mended_and_questions_about_others_dropped(tmp_path: Path, model: Any) -> None:
    script = ["What is the code of Vila?", "Vella's code, please?", "What is the code of Zanzibar or Vela?"]
    with memory(tmp_path, model, facts=[fact(0)]) as alice:
        assert alice.consolidate(progress=False, writer=ScriptedWriter(script)).outcome == "promoted"
        asked = asked_of(alice)
        assert {"What is the code of Vela?", "Vela's code, please?"} <= asked
        assert not any(name in question for question in asked for name in ("Vila", "Vella", "Zanzibar"))


def test_a_fact_that_was_asked_back_only_is_asked_from_its_name_too(tmp_path: Path) -> None:
    """With the reader in the box, which brings the phrasings; nothing is trained."""

    def after_study(stage: str, _done: int, _total: int) -> None:
        if stage == "anchors":
            raise RunInterrupted("a kill")

    with MemoryManager.open(tmp_path, user_id="alice") as alice:
        alice.add("Flora's neighbour is Mardia. Flora comes from Vilnius.")
        with pytest.raises(RunInterrupted):
            alice.consolidate(progress=after_study, writer=ScriptedWriter(["Whose neighbour is Mardia?"]))
        answers = {row["question"]: row["answer"] for row in alice.sql("SELECT * FROM study_items")}
    assert answers["Whose neighbour is Mardia?"] == "Flora"
    assert answers["What is the name of Flora's neighbour?"] == "Mardia"


def test_a_run_that_stops_while_questions_are_turned_goes_on_to_the_same_items(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "CHUNK", 1)
    base = reader(tmp_path / "base")
    frames = [{"value": ["What is the code of {0}?", "{0}'s code?"], "back": ["Whose code is {0}?"]}]
    (tmp_path / "base" / FILE).write_text(json.dumps(frames), encoding="utf-8")
    writer = ScriptedWriter([f"Whose code is Kappa{n}?" for n in range(3)])

    def stop(stage: str, done: int, _total: int) -> None:
        if (stage, done) == ("turn", 1):
            raise RunInterrupted("a kill among the chunks of this stage")

    def items(path: Path, *, stops: bool) -> list[dict[str, Any]]:
        with memory(path, base, facts=[fact(n) for n in range(3)]) as alice:
            if stops:
                with pytest.raises(RunInterrupted):
                    alice.consolidate(progress=stop, writer=writer)
            report = alice.consolidate(progress=False, writer=writer)
            assert ("a killed run was resumed" in report.notes) == stops
            return alice.sql("SELECT question, answer, answer_group, kind FROM study_items ORDER BY pk")

    whole = items(tmp_path / "whole", stops=False)
    assert items(tmp_path / "stopped", stops=True) == whole
    turned = {row["question"]: row["answer"] for row in whole}
    assert [turned[f"What is the code of {NAMES[n]}?"] for n in range(3)] == ["Kappa0", "Kappa1", "Kappa2"]


def test_a_question_in_the_first_person_is_studied_by_the_speakers_name_too(
    tmp_path: Path, model: Any
) -> None:
    script = ["What is my code of Vela?", "What do I call the code of Vela?"]
    with memory(tmp_path, model, facts=[f"Omar: {fact(0)}", fact(1)]) as alice:
        assert alice.consolidate(progress=False, writer=ScriptedWriter(script)).outcome == "promoted"
        asked = asked_of(alice)
        assert {*script, "What is Omar's code of Vela?", "What does Omar call the code of Vela?"} <= asked


def test_a_writer_that_raises_fails_the_run_and_only_the_run(tmp_path: Path, model: Any) -> None:
    with memory(tmp_path, model, facts=[fact(0)]) as alice:
        with pytest.raises(RunFailed, match="question writer"):
            alice.consolidate(progress=False, writer=ScriptedChatModel(script=[RuntimeError("no key")]))
        assert alice.versions() == []
        assert alice.consolidate(progress=False).outcome == "promoted"


def test_a_chat_model_may_write_the_questions(tmp_path: Path, model: Any) -> None:
    script = "1. What is the code of Vela?\n2. Tell me Vela's code.\n- Vela's code, please?"
    chat = ScriptedChatModel(script=[script])
    with memory(tmp_path, model, facts=[fact(0)]) as alice:
        assert alice.consolidate(progress=False, writer=chat).outcome == "promoted"
        asked = {row["question"] for row in alice.sql("SELECT question FROM study_items")}
        assert "What is the code of Vela?" in asked


def test_what_writes_no_questions_is_refused(tmp_path: Path, model: Any) -> None:
    with memory(tmp_path, model, facts=[fact(0)]) as alice, pytest.raises(InvalidInput, match="writer"):
        alice.consolidate(progress=False, writer=42)


def test_an_episode_longer_than_the_window_stays_fast(tmp_path: Path, model: Any) -> None:
    with memory(tmp_path, model, facts=[fact(0), "word " * 2000]) as alice:
        report = alice.consolidate(progress=False)
        assert report.outcome == "promoted"
        assert len(report.slow) == 1
        assert any("longer than the model's window" in note for note in report.notes)


def test_a_full_disk_leaves_the_run_to_be_resumed(tmp_path: Path, model: Any) -> None:
    with memory(tmp_path, model, facts=[fact(0)]) as alice:

        def full(stage: str, done: int, total: int) -> None:
            if stage == "distill":
                raise OSError(errno.ENOSPC, "full")

        with pytest.raises(StoreFull):
            alice.consolidate(progress=full)
        report = alice.consolidate(progress=False)
        assert report.outcome == "promoted"
        assert "a killed run was resumed" in report.notes


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with memory(tmp_path, "nobody/nothing-0.1", facts=[fact(0)]) as alice:
        with pytest.raises(ModelError):
            alice.consolidate(progress=False)
        assert alice.versions() == []


def test_a_hundred_questions_from_another_thread_get_the_old_versions_answers_while_a_run_trains(
    tmp_path: Path, model: Any
) -> None:
    """The run would train for long, and is stopped at the step after the last answer."""
    questions = ["What is the code of Vela?", "Whose code is Kappa0?", "What is the code of Orin?"]
    with memory(tmp_path, model, facts=[fact(0)]) as alice:
        old = alice.consolidate(progress=False).version_id
    with memory(tmp_path, model, config=small(epochs=300)) as alice:

        def ask(question: str) -> tuple[str, str | None]:
            answer = alice.ask(question, retrieval="none")
            return answer.text, answer.version

        before = [ask(question) for question in questions]
        assert before == [("Kappa0", old), ("Vela", old), (ABSTENTION, None)]
        said: list[tuple[str, str | None]] = []
        thread = threading.Thread(target=lambda: [said.append(ask(questions[n % 3])) for n in range(100)])
        steps: list[int] = []

        def watch(stage: str, done: int, _total: int) -> None:
            if thread.ident is None:
                thread.start()
            if stage == "distill":
                steps.append(len(said))
            if not thread.is_alive():
                raise RunInterrupted("all have been answered")

        alice.add(fact(1))
        with pytest.raises(RunInterrupted):
            alice.consolidate(progress=watch)
        assert said == [before[n % 3] for n in range(100)]
        assert len({answered for answered in steps if 0 < answered < 100}) > 10, "it trained between answers"


def test_an_active_version_of_another_base_is_not_worn(tmp_path: Path, model: Any) -> None:
    with memory(tmp_path, model, facts=[fact(0)]) as alice:
        alice.consolidate(progress=False)
        with alice.database.write() as connection:
            connection.execute(update(tables.versions).values(base="another"))
        answer = alice.ask("What is the code of Vela?", retrieval="lean")
        assert answer.version is None
        assert answer.episodes, "a model that wears nothing gets all"


def test_the_lock_falls_with_its_holder(tmp_path: Path, model: Any) -> None:
    with memory(tmp_path, model) as alice:
        namespace = alice._scope(None, None)
        with runs.held(tmp_path, namespace), pytest.raises(RunBusy), runs.held(tmp_path, namespace):
            pass
        with runs.held(tmp_path, namespace):
            pass
