"""Preview: what a consolidation would be worth and cost, measured on a sample.

Study runs on at most `dry_run_episodes` new episodes. What it makes stays: a run later finds those items in
SQL. The student is asked their exam items as it is now; what it does not answer is what a run could at most
gain, for the teacher, with the episode in view, has answered all of them. (That the gap before training
predicts the gain is the finding of arXiv 2605.30070.) Everything else is extrapolated in proportion.

Scores of the report: `gap` (share of exam items that the student fails: the upper bound on the gain),
`seconds` and `tokens` of the whole run, `memory_mib` that the process had at most while it measured.
"""

from __future__ import annotations

import random
import resource
import sys
import time

from agent_memory.config import DistillConfig
from agent_memory.consolidation import examine, pipeline, runs, versions
from agent_memory.consolidation.pipeline import Figures, Setting
from agent_memory.consolidation.plan import passes
from agent_memory.consolidation.select import Selection, selection
from agent_memory.consolidation.study_set import StudySet, study_set
from agent_memory.consolidation.work import Progress, Work
from agent_memory.errors import RunBusy
from agent_memory.store.database import Database
from agent_memory.types import ConsolidationReport, Namespace

#: The settings in the row of a dry run.
PREVIEW = {"preview": True}
#: A backward pass costs about two forward passes.
BACKWARD = 3.0
#: Share of the item passes that a run saves because learnt items rest (measured on the bundled reader).
RESTING = 0.5


def preview(
    database: Database, namespace: Namespace, namespace_id: int, setting: Setting, *, progress: Progress
) -> ConsolidationReport:
    """The report of a run that is not carried out: `outcome` is "dry-run", numbers are extrapolated.

    Raises:
        RunBusy: a run of this namespace is under way, or was stopped and waits to be gone on with.
        RunFailed: a stage failed.
    """
    with runs.held(database.path, namespace):
        _clear(database, namespace_id)
        base = setting.model.fingerprint
        with database.read() as connection:
            whole = selection(
                connection,
                namespace_id,
                config=setting.config.select,
                base=base,
                trusted_sources=setting.trusted_sources,
                now=database.now(),
            )
        if not whole.new:
            return pipeline.nothing(whole.notes)
        sample = _sample(whole, most=setting.config.select.dry_run_episodes, seed=setting.seed)
        run = runs.begin(
            database, namespace_id, sample, base=base, seed=setting.seed, settings=PREVIEW
        )
        try:
            return _measure(
                pipeline.work_of(database, namespace_id, run, setting, progress=progress), setting, whole
            )
        finally:
            runs.end(database, run.id, state="done", outcome="dry-run")


def _clear(database: Database, namespace_id: int) -> None:
    """Ends a dry run that was killed; a real run that was is not to be lost.

    Raises:
        RunBusy: there is such a run.
    """
    found = runs.stopped(database, namespace_id)
    if found is not None and found[1] != PREVIEW:
        raise RunBusy(
            "a run of this namespace was stopped before its end; consolidate() goes on with it, or ends it "
            "where model or settings have changed, and a dry run is possible afterwards"
        )
    if found is not None:
        runs.end(database, found[0], state="failed", reasons=["a dry run was killed"])


def _sample(whole: Selection, *, most: int, seed: int) -> Selection:
    chosen = random.Random(seed).sample(whole.new, min(most, len(whole.new)))
    return Selection(tuple(sorted(chosen, key=lambda one: one.pk)), whole.parent)


def _measure(work: Work, setting: Setting, whole: Selection) -> ConsolidationReport:
    figures = Figures()
    pipeline.study(work, setting, figures)
    chosen = study_set(work, setting.config)
    with work.database.read() as connection:
        served = versions.active(connection, work.namespace_id)
    adapter = versions.folder(work.database.path, served.id) if served and served.base == work.base else None
    start = time.monotonic()
    marked = examine.mark(work, adapter, chosen.exams)
    figures.seconds["examine"] = time.monotonic() - start
    factor = len(whole.new) / max(1, len(work.selected()))
    tokens, seconds = _training(work, chosen, setting.config.distill, factor=factor)
    figures.seconds["distill"] = seconds
    scores = {
        "gap": 1 - sum(one.correct for one in marked) / max(1, len(marked)),
        "seconds": factor * sum(figures.seconds.values()),
        "tokens": factor * tokens,
        "memory_mib": _peak_mib(),
    }
    return ConsolidationReport(
        run_id=work.run_id,
        outcome="dry-run",
        version_id=None,
        episodes=len(whole.new),
        items=round(factor * len(chosen.studied)),
        tokens=round(scores["tokens"]),
        seconds={stage: factor * spent for stage, spent in figures.seconds.items()},
        scores=scores,
        slow=(),
        notes=(f"measured on {len(work.selected())} episodes, and extrapolated", *work.notes),
    )


def _training(work: Work, chosen: StudySet, config: DistillConfig, *, factor: float) -> tuple[int, float]:
    """Tokens and seconds for these items' part of a training on `factor` times as many."""
    if not chosen.studied:
        return 0, 0.0
    prompts = [work.asker.prompt(item.question) for item in chosen.studied[:64]]
    end = min(work.model.end_ids)
    start = time.monotonic()
    with work.model.wearing(None):
        work.model.log_probs(prompts, [[end]] * len(prompts))
    per_token = (time.monotonic() - start) / sum(map(len, prompts))
    length = sum(map(len, prompts)) / len(prompts)
    lessons = sum(1 + chosen.wordings[item.pk] for item in chosen.studied)
    beside = (config.batch_anchors + config.batch_texts) / config.batch_items
    read = passes(round(factor * lessons), config) * RESTING * (1 + beside)
    tokens = int(lessons * length * read)
    return tokens, tokens * per_token * BACKWARD


def _peak_mib() -> float:
    """The most memory that this process had, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)
