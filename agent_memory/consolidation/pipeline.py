"""Pipeline: one consolidation, from selection to promotion, as a row in SQL and a folder of artefacts.

    select | write  answer  turn  complete  change | distill | examine | promote
             study: everything in SQL                 files    SQL       SQL

Each stage leaves its result and then its mark (`runs.stage`), so a killed run goes on where it stood, with
the same items, the same seeds and, at the end, the same bytes.

The active version changes in one transaction at the very end. A stage that fails leaves it as it was.
Errors that another try may mend (a full disk, an interruption) leave the run to be resumed; any other ends
it as failed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import exists, or_, select, update

from agent_memory.config import ConsolidationConfig
from agent_memory.consolidation import examine, gate, runs, study_items, versions
from agent_memory.consolidation.anchors import Amounts, Anchors, anchors
from agent_memory.consolidation.asking import Asker
from agent_memory.consolidation.candidate import candidate
from agent_memory.consolidation.change import change
from agent_memory.consolidation.complete import complete
from agent_memory.consolidation.plan import passes
from agent_memory.consolidation.runs import Run
from agent_memory.consolidation.select import Selection, selection
from agent_memory.consolidation.study import answer, write
from agent_memory.consolidation.study_set import StudySet, study_set
from agent_memory.consolidation.turn import turn
from agent_memory.consolidation.work import Nearest, Work, cancelled
from agent_memory.consolidation.writers import QuestionWriter
from agent_memory.durable import refusal
from agent_memory.errors import AgentMemoryError, LeaseLost, RunFailed, RunInterrupted, StoreError, StoreFull
from agent_memory.progress import Progress
from agent_memory.store import tables
from agent_memory.store.database import Database
from agent_memory.types import ConsolidationReport, Namespace, Placement, Reader

if TYPE_CHECKING:
    from typing import Literal

    from agent_memory.models.local import LocalModel


#: Episodes of a run on which packing is tried (chosen).
PROBES = 8
#: Why a run ends with nothing.
NOTHING_LEFT = "no question about what is new was left to learn"


@dataclass(frozen=True)
class Setting:
    """What a consolidation is given besides the memory: model, writer, search, settings."""

    model: LocalModel
    writer: QuestionWriter
    nearest: Nearest
    config: ConsolidationConfig
    trusted_sources: Sequence[str]
    placement: Placement = "system"
    reader: Reader = "base"
    seed: int = 0


@dataclass
class Figures:
    """What the report is made of, gathered as the run goes."""

    seconds: dict[str, float] = field(default_factory=dict)
    items: int = 0
    tokens: int = 0

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Adds the time that passes to a stage."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.monotonic() - start


def consolidate(
    database: Database, namespace: Namespace, namespace_id: int, setting: Setting, *, progress: Progress
) -> ConsolidationReport:
    """Carries out one run, or goes on with a killed one.

    Raises:
        RunBusy: another process or thread holds the namespace.
        RunFailed: a stage failed, or a forget cancelled the run; the active version is untouched.
        StoreError: no space is left (`StoreFull`), or a file is refused; called again, the run goes on.
        ModelError: the model or the parent version cannot be used.
    """
    with typed(), runs.held(database.path, namespace):
        versions.sweep(database)
        run, notes = _run(database, namespace_id, setting)
        if run is None:
            return nothing(notes)
        work = work_of(database, namespace_id, run, setting, progress=progress)
        work.notes.extend(notes)
        try:
            report = _carry_out(work, run, setting)
        except (StoreError, OSError, RunInterrupted, LeaseLost) as error:
            gone = work.is_cancelled()
            if gone:
                runs.end(database, run.id, state="cancelled")
                versions.sweep(database)
            if gone and isinstance(error, OSError):  # the forget took the run's folder
                raise cancelled(run.id) from error
            raise
        except Exception as error:
            gone = work.is_cancelled()
            runs.end(database, run.id, state="failed", reasons=[_reason(error)])
            versions.sweep(database)
            if gone:
                raise cancelled(run.id) from error
            raise
        runs.remove(database.path, run.id)
        versions.sweep(database)
        return report


def _run(database: Database, namespace_id: int, setting: Setting) -> tuple[Run | None, list[str]]:
    """The run to carry out, None when there is nothing to do, and notes on its selection."""
    base = setting.model.fingerprint
    settings = {
        "consolidation": setting.config.model_dump(mode="json"), "writer": setting.writer.name,
        "placement": setting.placement, "reader": setting.reader,
    }  # fmt: skip
    found = runs.resumed(database, namespace_id, base=base, seed=setting.seed, settings=settings)
    if found is not None:
        return found, ["a killed run was resumed"]
    chosen = selected(database, namespace_id, setting)
    if not chosen.chosen:
        return None, list(chosen.notes)
    run = runs.begin(database, namespace_id, chosen, base=base, seed=setting.seed, settings=settings)
    return run, list(chosen.notes)


def selected(database: Database, namespace_id: int, setting: Setting) -> Selection:
    """What a run would take up now."""
    with database.read() as connection:
        return selection(
            connection,
            namespace_id,
            config=setting.config.select,
            base=setting.model.fingerprint,
            trusted_sources=setting.trusted_sources,
            now=database.now(),
            writer=setting.writer.name,
        )


def work_of(database: Database, namespace_id: int, run: Run, setting: Setting, *, progress: Progress) -> Work:
    """What the stages of a run share."""
    asker = Asker(
        setting.model,
        max_answer_tokens=setting.config.study.max_answer_tokens,
        placement=setting.placement,
        reader=setting.reader,
    )
    return Work(
        database=database,
        namespace_id=namespace_id,
        run_id=run.id,
        base=setting.model.fingerprint,
        seed=run.seed,
        model=setting.model,
        asker=asker,
        progress=progress,
        notes=list(setting.model.notes),
    )


def nothing(notes: Sequence[str]) -> ConsolidationReport:
    """The report where there is nothing to do, and why."""
    notes = notes or ("nothing is new",)
    return ConsolidationReport(
        run_id="", outcome="nothing", version_id=None, episodes=0, items=0, tokens=0, seconds={}, scores={},
        slow=(), notes=tuple(notes),
    )  # fmt: skip


def _reason(error: Exception) -> str:
    """What the run's row says of an error: of those that are not ours only the kind is kept."""
    return str(error) if isinstance(error, AgentMemoryError) else type(error).__name__


@contextmanager
def typed() -> Iterator[None]:
    """Turns what the system refuses into errors of ours; what is wrong with the code stays as it is.

    So does what no disk says: that a connection was closed, or took too long, is said by what the caller
    passed (`progress`, a stream that it writes to).

    Raises:
        StoreError: a file cannot be made, read or written; `StoreFull` where no space is left.
        RunFailed: memory ran out where nothing can be halved.
    """
    try:
        yield
    except (ConnectionError, TimeoutError):
        raise
    except OSError as error:
        kind = refusal(error)
        what = "no space is left; free some" if kind is StoreFull else f"a file is refused ({error}); mend it"
        raise (kind if issubclass(kind, StoreError) else StoreError)(
            f"{what} and call consolidate() again: a run that has begun goes on"
        ) from error
    except (RuntimeError, MemoryError) as error:
        from agent_memory.models.loading import is_out_of_memory

        if not is_out_of_memory(error):
            raise
        raise RunFailed("out of memory: free some, or use a smaller model or rank") from error


# ---------------------------------------------------------------------- stages


def _carry_out(work: Work, run: Run, setting: Setting) -> ConsolidationReport:
    """All stages after the selection, without those that are behind already."""
    figures = Figures()
    _try_packing(work)
    study(work, setting, figures)
    chosen = study_set(work, setting.config)
    figures.items = len(chosen.studied)
    if not worth_training(work, chosen, parent=run.parent):
        runs.end(work.database, run.id, state="done", outcome="nothing", reasons=[NOTHING_LEFT])
        return _report(work, run, "nothing", figures, reasons=[NOTHING_LEFT])
    with figures.timed("anchors"):
        trained_on, examined_on = anchors_of(work, chosen, setting.config)
    with figures.timed("distill"):
        adapter, figures.tokens = candidate(work, run, chosen, trained_on, setting.config)
    with figures.timed("examine"):
        scores = _examine(work, run, adapter, chosen.exams, examined_on, setting.config)
    return _decide(work, run, scores, setting, figures)


def _try_packing(work: Work) -> None:
    """Compares packed passes with each sequence alone on some of the run's own texts."""
    few = list(work.episodes().values())[:PROBES]
    prompts = [work.asker.prompt("?", [episode]) for episode in few]
    if fitting := [ids for ids in prompts if work.asker.fits(ids)]:
        work.notes.extend(work.model.try_form(fitting))


def worth_training(work: Work, chosen: StudySet, *, parent: str | None) -> bool:
    """Whether there is something to learn.

    A run that goes on from a version has that only in new episodes, or where one of them was learnt with
    another text: what that text had changed is to be trained again.
    """
    if parent is None or not chosen.studied:
        return bool(chosen.studied)
    e, i = tables.episodes.c, tables.study_items.c
    s, m = tables.run_episodes.c, tables.version_episodes.c
    asked = exists().where(
        i.episode_pk == s.episode_pk, i.revision == s.revision, i.base == work.base, study_items.to_train()
    )
    edited = exists().where(
        e.pk == s.episode_pk, m.episode_id == e.id, m.version_id == parent, m.part == "learnt",
        m.revision != s.revision,
    )  # fmt: skip
    reason = or_(asked.correlate(tables.run_episodes), edited.correlate(tables.run_episodes))
    new = select(s.episode_pk).where(s.run_id == work.run_id, s.part == "new", reason)
    with work.database.read() as connection:
        return connection.execute(new.limit(1)).first() is not None


def study(work: Work, setting: Setting, figures: Figures) -> None:
    """Questions, answers, groups, exams and what has changed, for every selected episode."""
    config = setting.config.study
    versions.run_folder(work.database.path, work.run_id).mkdir(mode=0o700, exist_ok=True)
    steps: tuple[tuple[str, Callable[[], None]], ...] = (
        ("write", lambda: write(work, setting.writer, config=config)),
        ("answer", lambda: answer(work, config=config)),
        ("turn", lambda: turn(work, config=config)),
        ("complete", lambda: complete(work, config=config)),
        ("change", lambda: change(work, setting.nearest, config=config)),
    )
    for stage, step in steps:
        if not work.is_done(stage):
            with figures.timed(stage):
                step()
                with work.transaction(done=stage):
                    pass


def anchors_of(work: Work, chosen: StudySet, config: ConsolidationConfig) -> tuple[Anchors, Anchors]:
    """The anchors to train on, and those to examine, as many as a run with these items needs."""
    train, exam = config.distill, config.exam
    items = sum(1 + chosen.wordings[item.pk] for item in chosen.studied)
    steps = passes(items, train) * math.ceil(items / train.batch_items)
    amounts = Amounts(  # a short run sees no more
        texts=(min(train.text_items, steps * train.batch_texts), exam.anchor_items),
        unknown=(min(train.unknown_items, steps * train.batch_anchors), exam.unknown_items),
        scenes=(min(train.scenes, steps * train.batch_scenes), exam.scenes),
    )
    return anchors(work, [*chosen.studied, *chosen.exams], work.episodes(), amounts=amounts)


def _examine(
    work: Work,
    run: Run,
    adapter: Path,
    exams: Sequence[study_items.StudyItem],
    examined_on: Anchors,
    config: ConsolidationConfig,
) -> dict[str, float]:
    """The candidate's scores; its marks go to SQL. Done before: the scores that were kept."""
    v = tables.versions.c
    if work.is_done("examine"):
        with work.database.read() as connection:
            return dict(connection.execute(select(v.scores).where(v.id == run.version_id)).scalar_one())
    work.progress("examine", 0, 2)
    new = {row.episode_pk for row in work.selected("new")}
    marked = examine.exam(work, adapter, exams, new=new, config=config.exam)
    with work.database.read() as connection:
        served = versions.active(connection, work.namespace_id)
        before = examine.results(connection, served.id if served else None)
    work.progress("examine", 1, 2)
    scores = examine.closed_book(marked, new=new, before=before)
    scores |= examine.kept(work, adapter, examined_on, top_k=config.study.top_k)
    with work.transaction(done="examine") as connection:
        examine.write_results(connection, work, run.version_id, marked)
        connection.execute(update(tables.versions).where(v.id == run.version_id).values(scores=scores))
    return scores


def _decide(
    work: Work, run: Run, scores: Mapping[str, float], setting: Setting, figures: Figures
) -> ConsolidationReport:
    """Promotes or rejects, in the transaction that ends the run."""
    why = gate.reasons(scores, config=setting.config.gate, reads=setting.reader == "version")
    outcome: Literal["rejected", "promoted"] = "rejected" if why else "promoted"
    report = _report(work, run, outcome, figures, scores=scores, reasons=why)
    r = tables.runs.c
    ended: dict[str, Any] = {
        "state": "done", "outcome": outcome, "reasons": why, "finished_at": work.database.now(),
        "report": {"seconds": dict(report.seconds), "items": report.items, "tokens": report.tokens,
                   "episodes": report.episodes, "scores": dict(scores), "notes": list(report.notes)},
    }  # fmt: skip
    with work.transaction(done="examine") as connection:
        if why:
            versions.reject(connection, version_id=run.version_id, reasons=why)
        else:
            versions.promote(
                connection,
                work.namespace_id,
                version_id=run.version_id,
                run_id=run.id,
                now=work.database.now(),
            )
        connection.execute(update(tables.runs).where(r.id == run.id).values(**ended))
    return report


def _report(
    work: Work,
    run: Run,
    outcome: Literal["promoted", "rejected", "nothing"],
    figures: Figures,
    *,
    scores: Mapping[str, float] | None = None,
    reasons: Sequence[str] = (),
) -> ConsolidationReport:
    made = outcome in ("promoted", "rejected")
    with work.database.read() as connection:
        slow = examine.slow(connection, run.version_id) if outcome == "promoted" else ()
    return ConsolidationReport(
        run_id=run.id,
        outcome=outcome,
        version_id=run.version_id if made else None,
        episodes=len(work.selected("new")),
        items=figures.items,
        tokens=figures.tokens,
        seconds=dict(figures.seconds),
        scores=dict(scores or {}),
        slow=slow,
        reasons=tuple(reasons),
        notes=tuple(work.notes),
    )
