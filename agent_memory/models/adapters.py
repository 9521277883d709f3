"""Adapters on disk: a PEFT folder, and our manifest that is checked before PEFT sees anything.

    adapter/
      adapter_config.json          LoRA settings, a subset of PEFT's
      adapter_model.safetensors    the matrices, float32
      manifest.json                hashes of both, names and shapes, the base's fingerprint

A folder is either exactly this or refused: no other file may lie in it, no setting may stand in the config
that we do not write, and every number must be finite. So a file that was cut, swapped, made for another
base or made to harm is stopped by plain parsing, before a library acts on it. PEFT itself never opens these
files; it gets tensors (`worn.py`).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors

from agent_memory.durable import write_folder
from agent_memory.errors import AdapterRefused

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
MANIFEST = "manifest.json"
FORMAT = 1

#: Modules that LoRA may never touch: the head is computed apart from the model, in chunks, and embeddings are
#: often tied to it.
FORBIDDEN = frozenset({"lm_head", "embed_tokens", "embed_in", "embed_out", "wte", "wpe"})

#: The settings that we write, each with what it may be.
_MAX_RANK = 1024
_MAX_ALPHA = 65536
_FIXED: dict[str, Any] = {
    "peft_type": "LORA", "task_type": "CAUSAL_LM", "bias": "none", "modules_to_save": None,
    "use_dora": False, "use_rslora": False, "lora_dropout": 0.0, "inference_mode": True,
}
_FREE = frozenset({"r", "lora_alpha", "target_modules", "fan_in_fan_out", "base_model_name_or_path"})

#: Larger headers than this are not ours (chosen).
_MAX_JSON_BYTES = 16 * 2**20

#: (rows, columns) of a linear module's weight, by the module's full name.
Modules = Mapping[str, tuple[int, int]]

_PREFIX = "base_model.model."


@dataclass(frozen=True, slots=True)
class Adapter:
    """A checked adapter: LoRA settings and matrices by PEFT's names, and the hash of the weights file."""

    config: Mapping[str, Any]
    tensors: Mapping[str, torch.Tensor]
    digest: str


def lora_config(
    *, rank: int, alpha: float, target_modules: list[str], base_name: str, transposed: bool
) -> dict[str, Any]:
    """The LoRA settings as they are written; `transposed` for bases whose linear weights are (in, out)."""
    return {
        **_FIXED, "r": rank, "lora_alpha": alpha, "target_modules": sorted(target_modules),
        "fan_in_fan_out": transposed, "base_model_name_or_path": base_name,
    }


def write(folder: Path, adapter: Adapter, *, base: str, modules: Modules) -> str:
    """Writes an adapter folder atomically, if it passes; returns the hash of its weights.

    `base` is the fingerprint of the model that it belongs to. An earlier folder of that name is replaced.

    Raises:
        AdapterRefused: `read` would refuse what was to be written.
    """
    tensors = {
        name: tensor.detach().cpu().float().contiguous() for name, tensor in sorted(adapter.tensors.items())
    }
    _check_config(adapter.config)
    _check_tensors(tensors, adapter.config, modules)
    files = {
        CONFIG: _json(dict(adapter.config)),
        WEIGHTS: save_safetensors(tensors, metadata={"format": "pt"}),
    }
    digest = hashlib.sha256(files[WEIGHTS]).hexdigest()
    manifest = {
        "format": FORMAT,
        "base": base,
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        "tensors": {name: list(tensor.shape) for name, tensor in tensors.items()},
    }
    write_folder(folder, {**files, MANIFEST: _json(manifest)})
    return digest


def check(folder: Path, *, base: str) -> str:
    """The hash of an adapter's weights, once it has passed every check that needs no model in memory.

    Raises:
        AdapterRefused: as `read`, but for what only the base's own modules can tell.
    """
    return read(folder, base=base, modules=None).digest


def read(folder: Path, *, base: str, modules: Modules | None) -> Adapter:
    """The adapter in a folder, once it has passed every check.

    `base` is the fingerprint of the model that will wear it, `modules` are that model's linear modules; None
    where no model is in memory, and the matrices are checked against each other only.

    Raises:
        AdapterRefused: a file is missing, extra or altered; a tensor is missing, extra, of another shape or
            not finite; the base is another one; a setting is unknown or out of bounds.
    """
    present = {
        path.name if path.is_file() and not path.is_symlink() else f"{path.name} (no plain file)"
        for path in (folder.iterdir() if folder.is_dir() else ())
    }
    wanted = {CONFIG, WEIGHTS, MANIFEST}
    if present != wanted:
        raise AdapterRefused(
            f"{folder}: missing {sorted(wanted - present)}, unexpected {sorted(present - wanted)}"
        )
    manifest = _parse(folder / MANIFEST)
    if manifest.get("format") != FORMAT:
        raise AdapterRefused(f"{folder}: manifest of an unknown format")
    if manifest.get("base") != base:
        raise AdapterRefused(f"{folder}: made for another base model than the one that is loaded")
    data = {name: _bytes(folder / name) for name in (CONFIG, WEIGHTS)}
    for name, content in data.items():
        if hashlib.sha256(content).hexdigest() != _mapping(manifest, "sha256").get(name):
            raise AdapterRefused(f"{folder}: {name} is not the file that was written")
    config = _parse(folder / CONFIG)
    _check_config(config)
    try:
        tensors = load_safetensors(data[WEIGHTS])
    except Exception as error:  # the seam to safetensors, which raises its own kinds
        raise AdapterRefused(f"{folder}: {WEIGHTS} is not a safetensors file") from error
    if {name: list(tensor.shape) for name, tensor in tensors.items()} != _mapping(manifest, "tensors"):
        raise AdapterRefused(f"{folder}: the tensors are not those of the manifest")
    _check_tensors(tensors, config, modules)
    return Adapter(config, tensors, hashlib.sha256(data[WEIGHTS]).hexdigest())


def _check_config(config: Mapping[str, Any]) -> None:
    """Refuses settings that we do not write."""
    if set(config) != set(_FIXED) | _FREE:
        odd = sorted(set(config) ^ (set(_FIXED) | _FREE))
        raise AdapterRefused(f"LoRA settings differ from ours in {odd}")
    for name, value in _FIXED.items():
        if config[name] != value or type(config[name]) is not type(value):
            raise AdapterRefused(f"LoRA setting {name} must be {value!r}")
    rank, alpha, targets = config["r"], config["lora_alpha"], config["target_modules"]
    if type(rank) is not int or not 1 <= rank <= _MAX_RANK:
        raise AdapterRefused(f"LoRA rank must be an integer from 1 to {_MAX_RANK}")
    if type(alpha) not in (int, float) or not math.isfinite(alpha) or not 0 < alpha <= _MAX_ALPHA:
        raise AdapterRefused(f"LoRA alpha must be a number over 0 and up to {_MAX_ALPHA}")
    if type(targets) is not list or not targets or not all(type(name) is str for name in targets):
        raise AdapterRefused("target_modules must be a list of module names")
    if touched := FORBIDDEN & {part for name in targets for part in name.split(".")}:
        raise AdapterRefused(f"an adapter may not touch {sorted(touched)}")
    if type(config["fan_in_fan_out"]) is not bool or type(config["base_model_name_or_path"]) is not str:
        raise AdapterRefused("fan_in_fan_out must be a boolean and base_model_name_or_path a text")


def _check_tensors(
    tensors: Mapping[str, torch.Tensor], config: Mapping[str, Any], modules: Modules | None
) -> None:
    """Refuses anything but the finite float32 matrices that these settings ask for on these modules."""
    if modules is None:
        modules = _modules_in(tensors)
    shapes = expected_shapes(config, modules)
    if set(tensors) != set(shapes):
        missing, extra = sorted(set(shapes) - set(tensors)), sorted(set(tensors) - set(shapes))
        raise AdapterRefused(f"{len(missing)} tensors are missing and {len(extra)} are unexpected")
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float32 or tuple(tensor.shape) != shapes[name]:
            raise AdapterRefused(f"{name} must be float32 of shape {shapes[name]}")
        if not bool(torch.isfinite(tensor).all()):
            raise AdapterRefused(f"{name} holds values that are not finite")


def expected_shapes(config: Mapping[str, Any], modules: Modules) -> dict[str, tuple[int, int]]:
    """Names and shapes of the matrices that LoRA with these settings has on these modules.

    Raises:
        AdapterRefused: the settings name none of the modules.
    """
    rank, shapes = config["r"], {}
    for name, (rows, columns) in modules.items():
        if any(name == target or name.endswith(f".{target}") for target in config["target_modules"]):
            shapes[f"{_PREFIX}{name}.lora_A.weight"] = (rank, columns)
            shapes[f"{_PREFIX}{name}.lora_B.weight"] = (rows, rank)
    if not shapes:
        raise AdapterRefused("target_modules names no module of this base")
    return shapes


def _modules_in(tensors: Mapping[str, torch.Tensor]) -> Modules:
    """The modules that pairs of matrices are made for."""
    names = {module_of(name) for name in tensors}
    shapes: dict[str, tuple[int, int]] = {}
    for name in names:
        a = tensors.get(f"{_PREFIX}{name}.lora_A.weight")
        b = tensors.get(f"{_PREFIX}{name}.lora_B.weight")
        if a is None or b is None or a.ndim != 2 or b.ndim != 2:
            raise AdapterRefused("a matrix is without its counterpart")
        shapes[name] = (int(b.shape[0]), int(a.shape[1]))
    return shapes


def module_of(tensor_name: str) -> str:
    """The full module name in a tensor name: "model.layers.0.mlp.up_proj" for its lora_A or lora_B."""
    return tensor_name.removeprefix(_PREFIX).rsplit(".lora_", 1)[0]


def tensor_name(weight: str, which: str) -> str:
    """The name of matrix "A" or "B" for a module's weight: the reverse of `module_of`."""
    return f"{_PREFIX}{weight.removesuffix('.weight')}.lora_{which}.weight"


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise AdapterRefused(f"{path} cannot be read") from error


def _parse(path: Path) -> dict[str, Any]:
    data = _bytes(path)
    if len(data) > _MAX_JSON_BYTES:
        raise AdapterRefused(f"{path} is too large")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise AdapterRefused(f"{path} is not JSON") from error
    if not isinstance(value, dict):
        raise AdapterRefused(f"{path} is not a JSON object")
    return value


def _mapping(manifest: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = manifest.get(key)
    return value if isinstance(value, dict) else {}


def _json(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()
