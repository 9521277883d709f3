"""What another training would have taught: the same episodes under other settings, behind an open gate.

A column is one run and what was measured of it. It is kept in the memory's folder, so that a killed row goes
on with the columns that are missing.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from agent_memory import MemoryManager
from agent_memory.config import Config, DistillConfig
from agent_memory.models.local import LocalModel
from benchmarks import facts
from benchmarks.arms import kept
from benchmarks.memories import asked_about, loaded, opened, rights, settings, shares, tell
from benchmarks.reports import consolidated, once

DEFAULTS = DistillConfig()


def of_rank(rank: int) -> dict[str, Any]:
    """LoRA of another rank at the same scale, alpha / rank: else its steps would be of another size, too."""
    return {"rank": rank, "alpha": DEFAULTS.alpha * rank / DEFAULTS.rank}


#: What differs from the defaults, by name.
VARIANTS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "mlp": {"targets": "mlp"},
    "down_proj": {"targets": "down_proj"},
    "q_v": {"targets": "q_v"},
    "gate_up": {"targets": "gate_up"},
    "rank 8": of_rank(8),
    "rank 32": of_rank(32),
    "half the rate": {"learning_rate": DEFAULTS.learning_rate / 2},
    "twice the rate": {"learning_rate": DEFAULTS.learning_rate * 2},
}


def ablation(options: argparse.Namespace) -> dict[str, Any]:
    """Which modules carry LoRA, of which rank, and the learning rate: the same items, two seeds each."""
    model = loaded(options)
    seeds = (options.seed, options.seed + 1)
    columns = {
        name: {
            "settings": changed,
            "seeds": {
                str(seed): column(model, options, f"ablation-{name}", settings(**changed), seed=seed)
                for seed in seeds
            },
        }
        for name, changed in VARIANTS.items()
    }
    return {"episodes": options.episodes, "columns": columns}


def cross_entropy(options: argparse.Namespace) -> dict[str, Any]:
    """The same items with one-hot targets: the KL of a one-hot target is the cross-entropy."""
    model = loaded(options)
    ours = column(model, options, "cross-entropy-kl", settings(), seed=options.seed)
    with one_hot_targets():
        theirs = column(model, options, "cross-entropy-ce", settings(), seed=options.seed)
    return {"episodes": options.episodes, "columns": {"top-k KL": ours, "cross-entropy": theirs}}


@contextmanager
def one_hot_targets() -> Iterator[None]:
    """Study items are trained on the teacher's words alone; anchors stay as they are."""
    from agent_memory.consolidation import study_items

    real = study_items.unpack

    def one_hot(blobs: Sequence[tuple[str, bytes]]) -> Any:
        import torch

        answers, targets = real(blobs)
        said = torch.tensor([t for key, _ in blobs for t in answers[key]], dtype=torch.int32)[:, None]
        k = targets.indices.shape[1]
        fillers = (said + torch.arange(1, k, dtype=torch.int32)) % (int(targets.indices.max()) + 1)
        sure = torch.full_like(targets.log_probs, -60.0)
        sure[:, 0] = 0.0
        return answers, dataclasses.replace(targets, indices=torch.cat([said, fillers], 1), log_probs=sure)

    study_items.unpack = one_hot
    try:
        yield
    finally:
        study_items.unpack = real


def column(
    model: LocalModel, options: argparse.Namespace, name: str, config: Config, *, seed: int
) -> dict[str, Any]:
    """One run under other settings, in a memory of its own: accuracy, what is kept, seconds."""
    told = facts.memory(options.episodes, seed=seed)
    place = f"{name.replace(' ', '-')}-{options.episodes}-{seed}"
    with opened(place, model, config=config, fresh=options.again) as memory:
        return measured(memory, told, seed=seed)


def measured(memory: MemoryManager, told: Sequence[facts.Told], *, seed: int) -> dict[str, Any]:
    """What a memory that is told these episodes learns of them; measured once."""
    tell(memory, told)
    report = consolidated(memory, 1, seed=seed)

    def make() -> dict[str, Any]:
        return {
            **shares(rights(memory, told, asked_about(memory, told, seed=seed))),
            **kept(memory, told, seed=seed),
            "outcome": report["outcome"], "scores": report["scores"], "wall_seconds": report["wall_seconds"],
            "distill_seconds": report["seconds"].get("distill"), "resumed": report["resumed"],
        }  # fmt: skip

    found: dict[str, Any] = once(memory.database.path / "column.json", make)
    return found
