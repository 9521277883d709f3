"""Preview: what a consolidation would be worth and cost, measured on a sample.

Study runs on at most `dry_run_episodes` new episodes, beside all that the run would rehearse, which have
their items (a rebuild may rehearse alone). What it makes goes at its end, so that a run is the same with a
dry run before it as without. The student is asked the sample's exam items as it is now; what it does not
answer is what a run could at most gain, for the teacher, with the episode in view, has answered all of them.
(That the gap before training predicts the gain is the finding of arXiv 2605.30070.)

Measured as in a run, and not extrapolated: making the anchors, their exam, their targets. Measured on the
sample, and extrapolated in proportion: study, and the exam of new episodes (that of earlier ones by the
time of one item). Of training the first optimiser steps are done, on an adapter that is thrown away; how many
follow is what `plan.py` allows, less what is saved as learnt items rest. Rehearsed items are counted as they
are. Not measured: waiting for files and for others who use the model, and memory on a GPU.

Scores of the report: `gap` (share of those exam items that the student fails: the upper bound on the gain),
`seconds` and `tokens` of the whole run, and `memory_mib`: the peak resident memory of this process so far,
with the model and whatever the process did before.
"""

from __future__ import annotations

import random
import resource
import sys
import time
from collections.abc import Set
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from agent_memory.config import ConsolidationConfig, DistillConfig
from agent_memory.consolidation import examine, pipeline, runs, study_items, versions
from agent_memory.consolidation.candidate import lessons_of, train
from agent_memory.consolidation.pipeline import Figures, Setting
from agent_memory.consolidation.plan import passes
from agent_memory.consolidation.select import Selection
from agent_memory.consolidation.study_items import StudyItem
from agent_memory.consolidation.study_set import StudySet, study_set
from agent_memory.consolidation.work import Work, cancelled
from agent_memory.errors import RunBusy
from agent_memory.progress import Progress
from agent_memory.store.database import Database
from agent_memory.types import ConsolidationReport, Namespace

if TYPE_CHECKING:
    from agent_memory.consolidation.distill import Lessons

#: The settings in the row of a dry run.
PREVIEW = {"preview": True}
#: Optimiser steps that are tried, at least; the first, in which much is done once, is not timed (chosen).
TRIED = 3
#: Share of the steps that a run saves because learnt items rest (in a trial with the bundled reader, seed 0,
#: not a recorded benchmark, 0.22 in a first run on 24 episodes and 0.41 in the next, on 6 more).
RESTING = 0.3


def preview(
    database: Database, namespace: Namespace, namespace_id: int, setting: Setting, *, progress: Progress
) -> ConsolidationReport:
    """The report of a run that is not carried out: `outcome` is "dry-run", numbers are extrapolated.

    Raises:
        RunBusy: a run of this namespace is under way, or was stopped and waits to be gone on with.
        RunFailed: a stage failed, or an episode of the sample was forgotten.
        StoreError: no space is left (`StoreFull`), or a file is refused.
        AdapterRefused: the version that the run would start from failed its checks.
    """
    with pipeline.typed(), runs.held(database.path, namespace):
        _clear(database, namespace_id)
        base = setting.model.fingerprint
        whole = pipeline.selected(database, namespace_id, setting)
        if not whole.chosen:
            return pipeline.nothing(whole.notes)
        sample = _sample(whole, most=setting.config.select.dry_run_episodes, seed=setting.seed)
        run = runs.begin(database, namespace_id, sample, base=base, seed=setting.seed, settings=PREVIEW)
        work = pipeline.work_of(database, namespace_id, run, setting, progress=progress)
        try:
            return _measure(work, setting, whole, parent=run.parent)
        except Exception as error:
            if work.is_cancelled():
                raise cancelled(run.id) from error
            raise
        finally:
            _undo(database, run.id)
            runs.end(database, run.id, state="done", outcome="dry-run")


def _undo(database: Database, run_id: str) -> None:
    """Erases what a dry run has studied."""
    with database.write() as connection:
        study_items.erase_of_run(connection, run_id)


def _clear(database: Database, namespace_id: int) -> None:
    """Ends a dry run that was killed; a real run that was is not to be lost.

    Raises:
        RunBusy: there is such a run.
    """
    found = runs.stopped(database, namespace_id)
    if found is not None and found[1] != PREVIEW:
        raise RunBusy(
            "a run of this namespace was stopped before its end; consolidate() goes on with it, or ends it "
            "where model, seed or settings have changed, and a dry run is possible afterwards"
        )
    if found is not None:
        _undo(database, found[0])
        runs.end(database, found[0], state="failed", reasons=["a dry run was killed"])


def _sample(whole: Selection, *, most: int, seed: int) -> Selection:
    """Some of the new episodes, and all that are rehearsed."""
    new = set(random.Random(seed).sample(whole.new, min(most, len(whole.new))))
    chosen = tuple(one for one in whole.chosen if one.part == "rehearsal" or one in new)
    return Selection(chosen, whole.parent)


def _measure(
    work: Work, setting: Setting, whole: Selection, *, parent: str | None
) -> ConsolidationReport:
    figures = Figures()
    pipeline.study(work, setting, figures)
    chosen = study_set(work, setting.config)
    new = {row.episode_pk for row in work.selected("new")}
    factor = len(whole.new) / max(1, len(new))
    spent = {stage: (factor or 1.0) * seconds for stage, seconds in figures.seconds.items()}

    def stands_for(item: StudyItem) -> float:
        """How many items of the run one of the sample stands for; earlier ones are all there."""
        return factor if item.episode_pk in new else 1.0

    gap, spent["examine"] = _exam(work, setting.config, chosen, new=new, factor=factor)
    tokens = 0
    if pipeline.worth_training(work, chosen, parent=parent):
        count = sum(stands_for(item) * (1 + chosen.wordings[item.pk]) for item in chosen.studied)
        tokens, more = _training(work, setting.config, chosen, items=round(count), parent=parent)
        spent = {stage: spent.get(stage, 0.0) + more.get(stage, 0.0) for stage in {**spent, **more}}
    return ConsolidationReport(
        run_id=work.run_id,
        outcome="dry-run",
        version_id=None,
        episodes=len(whole.new),
        items=round(sum(map(stands_for, chosen.studied))),
        tokens=tokens,
        seconds=spent,
        scores={
            "gap": gap, "seconds": sum(spent.values()), "tokens": float(tokens), "memory_mib": _peak_mib()
        },
        slow=(),
        notes=(
            f"measured on {len(new)} of {len(whole.new)} new episodes, and extrapolated; "
            f"{len(work.selected('rehearsal'))} earlier ones are rehearsed",
            *whole.notes,
            *work.notes,
        ),
    )  # fmt: skip


def _served(work: Work) -> Path | None:
    """The version that is served now, if it is one of the run's base."""
    with work.database.read() as connection:
        served = versions.active(connection, work.namespace_id)
    return versions.folder(work.database.path, served.id) if served and served.base == work.base else None


def _exam(
    work: Work, config: ConsolidationConfig, chosen: StudySet, *, new: Set[int], factor: float
) -> tuple[float, float]:
    """The gap, and what asking the exam items of the whole run takes, in seconds.

    The gap is that of the new episodes; where there are none, of as many earlier ones.
    """
    pks = sorted({item.episode_pk for item in chosen.exams})
    few = random.Random(work.seed).sample(pks, min(config.select.dry_run_episodes, len(pks)))
    own = [item for item in chosen.exams if item.episode_pk in new]
    asked = own or [item for item in chosen.exams if item.episode_pk in few]
    start = time.monotonic()
    marked = examine.mark(work, _served(work), asked)
    each = (time.monotonic() - start) / max(1, len(asked))
    earlier = min(len(chosen.exams) - len(own), config.exam.earlier_items)
    gap = sum(not one.correct for one in marked) / max(1, len(marked))
    return gap, each * (factor * len(own) + earlier)


def _training(
    work: Work, config: ConsolidationConfig, chosen: StudySet, *, items: int, parent: str | None
) -> tuple[int, dict[str, float]]:
    """The tokens of a training on so many items, and its seconds with those of anchors, by stage."""
    figures = Figures()
    with figures.timed("anchors"):
        trained_on, examined_on = pipeline.anchors_of(work, chosen, config)
    with figures.timed("distill"):
        made = lessons_of(work, chosen, trained_on, config)
    tokens, seconds = _timed_step(work, made, config.distill, parent=parent)
    with figures.timed("examine"):
        examine.kept(work, _served(work), examined_on, top_k=config.study.top_k)
    steps = _steps(items, config.distill)
    figures.seconds["distill"] += steps * seconds
    return round(steps * tokens), figures.seconds


def _steps(items: int, config: DistillConfig) -> float:
    """How many optimiser steps so many items take; the first pass is always whole."""
    each = -(-items // config.batch_items)
    return each * max(1.0, (1 - RESTING) * passes(items, config))


def _timed_step(
    work: Work, made: Lessons, config: DistillConfig, *, parent: str | None
) -> tuple[float, float]:
    """Tokens and seconds of an optimiser step, as the first ones of a training go."""
    count = min(len(made.items), TRIED * config.batch_items)
    tried = replace(made, items=random.Random(work.seed).sample(made.items, count))
    epochs = -(-TRIED // -(-count // config.batch_items))
    few = config.model_copy(update={"epochs": epochs, "more_steps": 0})
    ended: list[float] = []
    trained = train(
        work, tried, parent=parent, config=few, after_step=lambda: ended.append(time.monotonic())
    )
    work.notes.extend(trained.notes)
    return trained.tokens / trained.steps, (ended[-1] - ended[0]) / max(1, len(ended) - 1)


def _peak_mib() -> float:
    """The most memory that this process had, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)
