"""Export: a version as files that other software loads.

`export_adapter` gives a plain PEFT folder. That `PeftModel.from_pretrained` loads it is tested; vLLM's loader
of adapters (`vllm/lora/lora_model.py`) reads the same two files by the same names, which was not tried.
`export_model` gives a plain Hugging Face model without any adapter: the base's files are copied, and each
weight that carries LoRA becomes W + alpha / rank * B A, one at a time, with one file of weights in memory. No
parameter is added. Either is filled beside its place, flushed to the disk and put there at the end, or not at
all.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from agent_memory.durable import BESIDE, refusal, sync_folder
from agent_memory.errors import InvalidInput, ModelError, NotFound
from agent_memory.models import adapters, loading
from agent_memory.models.adapters import Adapter
from agent_memory.models.local import LocalModel

#: Files of a base folder that are not part of the model itself.
_LEFT_OUT = (adapters.MANIFEST, loading.HASHES, "README.md")


#: Whether the version that is being exported may still be: it was not forgotten meanwhile.
Still = Callable[[], bool]


def export_adapter(adapter: Path, target: Path, *, base: str, still: Still = lambda: True) -> None:
    """Copies a checked version as a plain PEFT folder, without our manifest.

    Raises:
        InvalidInput: `target` exists and is not an empty folder.
        NotFound: the version was forgotten or rolled back meanwhile; nothing is left there.
        AdapterRefused: the version failed its checks.
        StoreError: the disk is full (`StoreFull`) or refuses; nothing is left there.
    """
    adapters.check(adapter, base=base)
    with _put(target, still) as beside:
        for name in (adapters.CONFIG, adapters.WEIGHTS):
            shutil.copyfile(adapter / name, beside / name)


def export_model(model: LocalModel, adapter: Path, target: Path, *, still: Still = lambda: True) -> None:
    """Writes a plain Hugging Face model: a copy of the base with the version merged in, tensor by tensor.

    The weights keep the base's type on disk; the sum is computed in float32. `model` tells which base it
    is, and may be in use meanwhile.

    Raises:
        InvalidInput: `target` exists and is not an empty folder.
        NotFound: the version was forgotten or rolled back meanwhile; nothing is left there.
        AdapterRefused: the version failed its checks.
        ModelError: the weights on disk do not hold a module that the version changes under a name of its own.
        StoreError: the disk is full (`StoreFull`) or refuses; nothing is left there.
    """
    changes = _Changes(model.worn.read(adapter))
    with _put(target, still) as beside:
        merged = set()
        for path in sorted(model.folder.iterdir()):
            if path.suffix == ".safetensors":
                merged |= _merge_file(path, beside / path.name, changes)
            elif path.is_file() and path.name not in _LEFT_OUT:
                shutil.copyfile(path, beside / path.name)
        if missing := changes.names - merged:
            raise ModelError(f"{len(missing)} modules are stored under other names; they cannot be merged")


class _Changes:
    """What is added to each weight, by its name; computed when asked for, so that one exists at a time."""

    def __init__(self, adapter: Adapter) -> None:
        self._adapter = adapter
        self._scale = adapter.config["lora_alpha"] / adapter.config["r"]
        self.names = {f"{adapters.module_of(name)}.weight" for name in adapter.tensors}

    def of(self, name: str) -> torch.Tensor:
        """(out, in), or (in, out) where the base stores it so."""
        a, b = (self._adapter.tensors[adapters.tensor_name(name, which)] for which in ("A", "B"))
        delta: torch.Tensor = self._scale * (b @ a)
        return delta.T if self._adapter.config["fan_in_fan_out"] else delta


def _merge_file(source: Path, target: Path, changes: _Changes) -> set[str]:
    """Writes one weights file with the changes added; returns which were."""
    tensors, merged = {}, set()
    with safe_open(source, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 (no mapping)
            tensor = file.get_tensor(name)
            if name in changes.names:
                tensor = (tensor.float() + changes.of(name)).to(tensor.dtype)
                merged.add(name)
            tensors[name] = tensor.contiguous()
        _save(tensors, target, metadata=file.metadata() or {"format": "pt"})
    return merged


def _save(tensors: Mapping[str, torch.Tensor], target: Path, *, metadata: Mapping[str, str]) -> None:
    """Writes a weights file; what the system refuses is an `OSError` here, too, as safetensors has it not."""
    try:
        save_file(dict(tensors), target, metadata=dict(metadata))
    except SafetensorError as error:
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(target)) from error


@contextmanager
def _put(target: Path, still: Still) -> Iterator[Path]:
    """A fresh folder beside the target, which stands in its place after the block; where that fails, nothing.

    Raises:
        NotFound: what is in it may not be there any more.
        InvalidInput: `target` exists and is not an empty folder, or cannot be one.
        StoreError: the disk is full (`StoreFull`) or refuses.
    """
    beside = target.with_name(BESIDE + target.name)
    try:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise InvalidInput(f"{target} exists; name a new folder or an empty one")
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        yield beside
        _flush(beside)
        _check(still)
        if target.exists():
            target.rmdir()
        beside.rename(target)
        sync_folder(target.parent)
        if not still():
            shutil.rmtree(target)
        _check(still)
    except OSError as error:
        _check(still)  # its files may have gone with it
        raise refusal(error)(f"{target} cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _check(still: Still) -> None:
    if not still():
        raise NotFound("the version was forgotten or rolled back meanwhile: nothing is exported")


def _flush(folder: Path) -> None:
    """Makes the files of a folder, and their names in it, last."""
    for path in folder.iterdir():
        with path.open("r+b") as file:
            os.fsync(file.fileno())
    sync_folder(folder)
