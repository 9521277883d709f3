"""A small memory with a scripted reader, for the tests of consolidation: seconds, not minutes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agent_memory.config import (
    Config,
    ConsolidationConfig,
    DistillConfig,
    ExamConfig,
    GateConfig,
    SelectConfig,
    StudyConfig,
)
from agent_memory.manager import MemoryManager
from agent_memory.testing import scripted_reader, tiny_model

NAMES = ("Vela", "Orin", "Sago", "Talu", "Miro", "Bexa")

#: The tiny model keeps nothing that it could lose, so the gate lets everything finite pass.
OPEN_GATE = GateConfig(
    max_reading_lost=1, max_perplexity_rise=1e9, min_abstention=0, max_retention_lost=1, min_gain=0
)


def small(*, gate: GateConfig = OPEN_GATE, select: SelectConfig | None = None, **distill: Any) -> Config:
    """Settings under which a run on a few episodes takes about a second."""
    settings = {
        "epochs": 1, "more_steps": 0, "rank": 2, "batch_items": 8, "batch_anchors": 2, "checkpoint_steps": 2,
        "batch_scenes": 1, "unknown_items": 2, "scenes": 2, "text_items": 2, **distill,
    }  # fmt: skip
    return Config(
        consolidation=ConsolidationConfig(
            select=select or SelectConfig(),
            study=StudyConfig(samples=1, nearest=1),
            distill=DistillConfig(**settings),
            exam=ExamConfig(scenes=1, unknown_items=1, anchor_items=2),
            gate=gate,
        )
    )


def fact(number: int, *, name: str | None = None) -> str:
    """An episode that the scripted reader understands."""
    return f"The code of {name or NAMES[number]} is Kappa{number}."


def reader(folder: Path, *, learns: bool = True) -> Any:
    """A scripted reader whose files lie in `folder`."""
    return scripted_reader(tiny_model(folder), learns=learns)


def memory(
    path: Path, model: Any, *, facts: Sequence[str] = (), config: Config | None = None
) -> MemoryManager:
    """An open memory of alice, with these episodes, one a day."""
    config = config or small()
    made = MemoryManager.open(path, user_id="alice", model=model, config=config, embeddings=letters)
    if facts:
        days = [f"2026-03-{day:02}" for day in range(1, len(facts) + 1)]
        made.add_many([{"text": t, "occurred_at": day} for t, day in zip(facts, days, strict=True)])
    return made


def letters(texts: Sequence[str]) -> list[list[float]]:
    """Vectors from counts of letters; enough for a search among a handful of texts."""
    return [[1.0 + text.lower().count(letter) for letter in "abcdefghijklmnop"] for text in texts]


def noisy_adapter(model: Any, folder: Path, *, seed: int = 1, targets: str = "all-linear") -> Path:
    """A saved adapter that changes what the model says."""
    import torch

    draft = model.worn.fresh(rank=4, alpha=8.0, targets=targets, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with model.wearing(draft), torch.no_grad():
        for parameter in model.worn.parameters(draft).values():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
        model.worn.save(draft, folder)
    with model.wearing(None):
        model.worn.discard(draft)
    return folder
