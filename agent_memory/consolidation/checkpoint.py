"""What an unfinished training leaves on disk, so that it goes on and ends in the same bytes.

One safetensors file holds the LoRA matrices and the optimiser's momentum; its header holds the plan's
state, and the identity of the training: a hash over all that decides its outcome. A checkpoint of another
identity is ignored.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save as save_safetensors

from agent_memory.consolidation.student import Student
from agent_memory.durable import write_file


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a training stood: steps done, tokens read, the plan's state."""

    steps: int
    tokens: int
    plan: Mapping[str, Any]


def identity(*parts: Any) -> str:
    """A hash over all that decides the outcome of a training: tensors by their bytes, the rest as JSON."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, torch.Tensor):
            digest.update(part.contiguous().numpy().tobytes())
        else:
            digest.update(json.dumps(part, sort_keys=True).encode())
        digest.update(b"\0")
    return digest.hexdigest()


def save(path: Path, student: Student, checkpoint: Checkpoint, *, identity: str) -> None:
    """Writes the checkpoint atomically over the one before."""
    tensors = {}
    for name, parameter in student.parameters.items():
        tensors[f"weight/{name}"] = parameter.detach().cpu()
        state = student.optimiser.state[parameter]  # empty where no gradient has come yet
        tensors[f"momentum/{name}"] = state.get("momentum_buffer", torch.zeros_like(parameter)).cpu()
    header = {
        "identity": identity, "steps": checkpoint.steps, "tokens": checkpoint.tokens, "plan": checkpoint.plan,
        "forward_tokens": student.forward_tokens,
    }
    write_file(path, save_safetensors(tensors, metadata={"training": json.dumps(header)}))


def restore(path: Path, student: Student, *, identity: str) -> Checkpoint | None:
    """Puts the student where the checkpoint stood; None if there is none of this training.

    A checkpoint is replaced atomically, so one that cannot be read was damaged from outside; it is ignored,
    and training starts over.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads(file.metadata()["training"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except Exception:  # noqa: BLE001 (the seam to safetensors, which raises its own kinds)
        return None
    if header["identity"] != identity:
        return None
    with torch.no_grad():
        for name, parameter in student.parameters.items():
            parameter.copy_(tensors[f"weight/{name}"])
            momentum = tensors[f"momentum/{name}"].to(parameter)
            student.optimiser.state[parameter] = {"momentum_buffer": momentum}
    student.forward_tokens = header["forward_tokens"]
    return Checkpoint(header["steps"], header["tokens"], header["plan"])
