"""No bad adapter is ever accepted, and writing one leaves it whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from agent_memory.errors import AdapterRefused, ModelError
from agent_memory.models import adapters
from agent_memory.models.adapters import CONFIG, MANIFEST, WEIGHTS, Adapter

BASE = "b" * 64
MODULES = {
    "model.layers.0.self_attn.q_proj": (8, 8),
    "model.layers.0.mlp.up_proj": (16, 8),
    "model.layers.1.self_attn.q_proj": (8, 8),
}


def good(seed: int = 0) -> Adapter:
    config = adapters.lora_config(
        rank=2, alpha=4.0, target_modules=["q_proj", "up_proj"], base_name="base", transposed=False
    )
    generator = torch.Generator().manual_seed(seed)
    tensors = {
        name: torch.randn(*shape, generator=generator)
        for name, shape in adapters.expected_shapes(config, MODULES).items()
    }
    return Adapter(config, tensors, digest="")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    adapters.write(tmp_path / "adapter", good(), base=BASE, modules=MODULES)
    return tmp_path / "adapter"


def reseal(folder: Path) -> None:
    """Makes the manifest agree with the files, as a careful attacker would."""
    manifest = json.loads((folder / MANIFEST).read_text())
    for name in (CONFIG, WEIGHTS):
        manifest["sha256"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    manifest["tensors"] = {name: list(t.shape) for name, t in load_file(folder / WEIGHTS).items()}
    (folder / MANIFEST).write_text(json.dumps(manifest))


def change_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor], int], None], seed: int) -> None:
    tensors = load_file(folder / WEIGHTS)
    change(tensors, seed)
    save_file(tensors, folder / WEIGHTS)
    reseal(folder)


def change_config(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / CONFIG).read_text())
    config.update(changes)
    (folder / CONFIG).write_text(json.dumps(config))
    reseal(folder)


def poke(value: float) -> Callable[[dict[str, torch.Tensor], int], None]:
    def change(tensors: dict[str, torch.Tensor], seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        name = sorted(tensors)[int(torch.randint(len(tensors), (), generator=generator))]
        place = int(torch.randint(tensors[name].numel(), (), generator=generator))
        tensors[name].view(-1)[place] = value

    return change


def drop(tensors: dict[str, torch.Tensor], seed: int) -> None:
    del tensors[sorted(tensors)[seed % len(tensors)]]


def drop_module(tensors: dict[str, torch.Tensor], seed: int) -> None:
    module = sorted({name.rsplit(".lora_", 1)[0] for name in tensors})[seed % len(MODULES)]
    for name in [name for name in tensors if name.startswith(module + ".")]:
        del tensors[name]


def add(tensors: dict[str, torch.Tensor], seed: int) -> None:
    tensors[f"base_model.model.lm_head.lora_A.weight{seed}"] = torch.zeros(2, 8)


def widen(tensors: dict[str, torch.Tensor], seed: int) -> None:
    name = sorted(tensors)[seed % len(tensors)]
    tensors[name] = torch.zeros(tensors[name].shape[0] + 1, tensors[name].shape[1])


def halve(tensors: dict[str, torch.Tensor], seed: int) -> None:
    name = sorted(tensors)[seed % len(tensors)]
    tensors[name] = tensors[name].half()


def truncated(folder: Path, seed: int) -> None:
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[: len(data) * (seed + 1) // 7])


def flipped(folder: Path, seed: int) -> None:
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[(seed + 1) * len(data) // 7] ^= 1
    (folder / WEIGHTS).write_bytes(bytes(data))


def pickled(folder: Path, seed: int) -> None:
    (folder / WEIGHTS).write_bytes(pickle.dumps({"seed": seed}))
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["sha256"][WEIGHTS] = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    (folder / MANIFEST).write_text(json.dumps(manifest))


def pickle_beside(folder: Path, seed: int) -> None:
    (folder / "adapter_model.bin").write_bytes(pickle.dumps(seed))


def other_base(folder: Path, seed: int) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["base"] = f"{seed:064x}"
    (folder / MANIFEST).write_text(json.dumps(manifest))


ABSURD: list[dict[str, Any]] = [
    {"r": 0}, {"r": -1}, {"r": 10**9}, {"r": True}, {"r": "16"}, {"r": None},
    {"lora_alpha": float("nan")}, {"lora_alpha": float("inf")}, {"lora_alpha": 0}, {"lora_alpha": 1e30},
    {"target_modules": []}, {"target_modules": "all-linear"}, {"target_modules": ["nothing_here"]},
    {"target_modules": ["q_proj", "up_proj", "lm_head"]}, {"target_modules": ["model.embed_tokens"]},
    {"modules_to_save": ["lm_head"]}, {"peft_type": "IA3"}, {"bias": "all"}, {"use_dora": True},
    {"auto_mapping": {"parent_library": "os"}}, {"lora_dropout": 2.0}, {"fan_in_fan_out": 1},
]

ZOO: dict[str, Callable[[Path, int], None]] = {
    "nan": lambda f, s: change_tensors(f, poke(float("nan")), s),
    "infinite": lambda f, s: change_tensors(f, poke(float("-inf")), s),
    "missing tensor": lambda f, s: change_tensors(f, drop, s),
    "missing module": lambda f, s: change_tensors(f, drop_module, s),
    "extra tensor": lambda f, s: change_tensors(f, add, s),
    "other shape": lambda f, s: change_tensors(f, widen, s),
    "other type": lambda f, s: change_tensors(f, halve, s),
    "truncated": truncated,
    "one bit flipped": flipped,
    "pickle as weights": pickled,
    "pickle beside": pickle_beside,
    "other base": other_base,
    "no manifest": lambda f, s: (f / MANIFEST).unlink(),
    "no config": lambda f, s: (f / CONFIG).unlink(),
    "manifest is a list": lambda f, s: (f / MANIFEST).write_text("[]") and None,
    "manifest is deep": lambda f, s: (f / MANIFEST).write_text("[" * 10**5) and None,
    "unknown format": lambda f, s: (f / MANIFEST).write_text('{"format": 99}') and None,
}


def test_a_good_adapter_passes_and_comes_back_as_it_was(folder: Path) -> None:
    adapter = adapters.read(folder, base=BASE, modules=MODULES)
    assert all(torch.equal(adapter.tensors[name], tensor) for name, tensor in good().tensors.items())
    assert adapter.config == good().config
    assert adapters.check(folder, base=BASE) == adapter.digest


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kind", ZOO)
def test_the_zoo_is_refused(folder: Path, kind: str, seed: int) -> None:
    ZOO[kind](folder, seed)
    with pytest.raises(AdapterRefused):
        adapters.read(folder, base=BASE, modules=MODULES)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kind", sorted(set(ZOO) - {"missing module", "other shape"}))
def test_the_zoo_is_refused_without_a_model_in_memory(folder: Path, kind: str, seed: int) -> None:
    # the two left out show only against the base, which then refuses them at use
    ZOO[kind](folder, seed)
    with pytest.raises(AdapterRefused):
        adapters.check(folder, base=BASE)


def test_a_twin_that_does_not_look_at_the_tensors_lets_in_some_of_the_zoo(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapters, "_check_tensors", lambda *_: None)
    with pytest.raises(pytest.fail.Exception):
        test_the_zoo_is_refused(folder, "nan", 0)


@pytest.mark.parametrize("changes", ABSURD, ids=str)
def test_absurd_settings_are_refused(folder: Path, changes: dict[str, Any]) -> None:
    change_config(folder, **changes)
    with pytest.raises(AdapterRefused):
        adapters.read(folder, base=BASE, modules=MODULES)


def test_a_link_in_place_of_a_file_is_refused(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "weights"
    (folder / WEIGHTS).rename(elsewhere)
    (folder / WEIGHTS).symlink_to(elsewhere)
    with pytest.raises(AdapterRefused):
        adapters.read(folder, base=BASE, modules=MODULES)


@pytest.mark.parametrize("name", ["lm_head", "embed_tokens", "model.embed_tokens"])
def test_head_and_embeddings_are_refused_at_writing_too(tmp_path: Path, name: str) -> None:
    adapter = good()
    config = {**adapter.config, "target_modules": ["q_proj", "up_proj", name]}
    with pytest.raises(AdapterRefused):
        adapters.write(
            tmp_path / "a", Adapter(config, adapter.tensors, ""), base=BASE, modules={**MODULES, name: (4, 8)}
        )
    assert not (tmp_path / "a").exists()


def test_values_that_are_not_finite_are_never_written(tmp_path: Path) -> None:
    adapter = good()
    next(iter(adapter.tensors.values()))[0, 0] = float("nan")
    with pytest.raises(AdapterRefused):
        adapters.write(tmp_path / "a", adapter, base=BASE, modules=MODULES)
    assert not list(tmp_path.iterdir())


def test_the_same_adapter_is_the_same_bytes(tmp_path: Path) -> None:
    digests = {adapters.write(tmp_path / str(n), good(), base=BASE, modules=MODULES) for n in range(2)}
    assert len(digests) == 1
    assert (tmp_path / "0" / CONFIG).read_bytes() == (tmp_path / "1" / CONFIG).read_bytes()


def test_a_failed_write_leaves_the_earlier_adapter(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = adapters.check(folder, base=BASE)

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            adapters.write(folder, good(1), base=BASE, modules=MODULES)
    assert adapters.check(folder, base=BASE) == before
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_refusal_is_a_model_error_that_names_the_folder(folder: Path) -> None:
    (folder / MANIFEST).unlink()
    with pytest.raises(ModelError, match=r"adapter: missing \['manifest.json'\]"):
        adapters.check(folder, base=BASE)
