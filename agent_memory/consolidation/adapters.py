"""Adapters on disk: a PEFT folder, plus our manifest that is checked before PEFT sees a file.

A folder holds `adapter_config.json`, `adapter_model.safetensors` and `manifest.json`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def write(folder: Path, *, tensors: Mapping[str, torch.Tensor], config: Mapping[str, Any], base: str) -> None:
    """Writes an adapter folder atomically; `base` is the fingerprint of the model that it belongs to.

    Beside, fsync of each file, rename, fsync of the parent folder. An existing folder of that name is replaced.

    Raises:
        AdapterRefused: what was to be written would not pass `check`.
    """
    raise NotImplementedError


def check(folder: Path, *, base: str) -> str:
    """Passes silently when the folder is an adapter of this base; returns the hash of its weights.

    Raises:
        AdapterRefused: a file is missing, extra, altered or no safetensors; a tensor is not finite or of another
            shape; the base is another one; the LoRA config is out of bounds.
    """
    raise NotImplementedError
