"""The memories that the benchmarks of consolidation make, and how well their episodes are known."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from agent_memory import MemoryManager
from agent_memory.config import Config, GateConfig
from agent_memory.models.local import LocalModel
from benchmarks import facts
from benchmarks.arms import Examined, oracle, share, texts_of
from benchmarks.record import ROOT

HERE = ROOT / "runs" / "benchmarks"
#: A gate that rejects nothing, so that variants which the product would refuse are measured as well.
OPEN_GATE = GateConfig(
    max_reading_lost=1.0, max_perplexity_rise=1e9, min_abstention=0.0, max_retention_lost=1.0, min_gain=0.0
)


def settings(**distill: Any) -> Config:
    """The defaults with other distillation settings, behind a gate that lets every variant through."""
    config = Config()
    changed = config.consolidation.distill.model_copy(update=distill)
    consolidation = config.consolidation.model_copy(update={"distill": changed, "gate": OPEN_GATE})
    return config.model_copy(update={"consolidation": consolidation})


def opened(
    name: str, model: LocalModel, *, config: Config | None = None, fresh: bool = False
) -> MemoryManager:
    """The memory of a row, as a killed attempt left it unless it is to be fresh."""
    path = HERE / (name if model.made_here else f"{name}-{model.folder.name}")
    if fresh:
        shutil.rmtree(path, ignore_errors=True)
    return MemoryManager.open(path, user_id="bench", model=model, config=config or Config())


def tell(memory: MemoryManager, told: Sequence[facts.Told], *, first_day: int = 0) -> None:
    """Adds the episodes, one a day; those that are there already stay as they are.

    Raises:
        SystemExit: others are there.
    """
    start = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=first_day)
    days = [start + timedelta(days=day) for day in range(len(told))]
    added = memory.add_many([
        {"text": one.text, "occurred_at": day, "idempotency_key": day.isoformat()}
        for one, day in zip(told, days, strict=True)
    ])  # fmt: skip
    if [one.episode.text for one in added] != [one.text for one in told]:
        raise SystemExit(f"Other episodes are in {memory.database.path}: start with --again.")


def loaded(options: argparse.Namespace) -> LocalModel:
    """The base of the benchmark; on as many threads as are asked for."""
    import torch

    torch.set_num_threads(options.threads)
    return LocalModel.open(options.model, device=options.device)


def asked_about(memory: MemoryManager, told: Sequence[facts.Told], *, seed: int) -> list[facts.Asked]:
    """Questions about the first episodes in frames that they were not studied in."""
    return facts.questions(told, texts_of(memory, len(told)), seed=seed)


def rights(
    memory: MemoryManager, told: Sequence[facts.Told], asked: Sequence[facts.Asked]
) -> dict[str, list[bool]]:
    """Which questions are answered rightly by the weights, as served; by the base alone; and by the oracle."""
    examined = Examined.of(memory)
    return {
        "weights": examined.right_alone(asked),
        "base": examined.right(asked, [examined.asker.prompt(question.text) for question in asked], None),
        "oracle": oracle(memory, told, asked),
    }


def shares(right: dict[str, list[bool]]) -> dict[str, float]:
    """The share of right answers of each, and how many questions were asked."""
    return {
        **{who: share(marks)["share"] for who, marks in right.items()},
        "questions": len(right["weights"]),
    }
