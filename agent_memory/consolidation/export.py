"""Export: a version as files that other software loads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent_memory.models.local import LocalModel


def export_adapter(adapter: Path, target: Path, *, base: str) -> None:
    """Copies a checked version as a plain PEFT folder, as vLLM loads it.

    Raises:
        InvalidInput: `target` exists and is not empty.
        AdapterRefused: the version failed its checks.
    """
    raise NotImplementedError


def export_model(model: LocalModel, adapter: Path, target: Path) -> None:
    """Writes a plain Hugging Face model: a copy of the base with the version merged in, tensor by tensor.

    Raises:
        InvalidInput: `target` exists and is not empty.
        AdapterRefused: the version failed its checks.
    """
    raise NotImplementedError
