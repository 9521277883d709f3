"""What a base model wears: LoRA adapters, at most one at a time, put on and taken off in place.

The base's own weights are never touched: PEFT wraps its linear modules, and a module without an active
adapter computes exactly what the bare one did. A *draft* is an adapter in training that exists in memory
only. `LocalModel` holds the lock around every call; nothing else touches adapter state.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from agent_memory.errors import ModelError
from agent_memory.models import adapters
from agent_memory.models.adapters import Adapter, Modules
from agent_memory.models.fused import fuse

#: Saved adapters kept in memory; the least recently worn one goes first (chosen: an old one and its
#: candidate).
_KEPT = 2

_TARGETS = {
    "down_proj": ("down_proj",),
    "q_v": ("q_proj", "v_proj"),
    "gate_up": ("gate_proj", "up_proj"),
    "mlp": ("gate_proj", "up_proj", "down_proj"),
}


@dataclass(frozen=True, eq=False)
class Draft:
    """An adapter in training: LoRA settings, and the matrices to start from or a seed for fresh ones."""

    config: Mapping[str, Any]
    start: Mapping[str, torch.Tensor] | None
    seed: int


class Worn:
    """The adapters on one base."""

    def __init__(self, network: Any, *, base: str, name: str) -> None:
        self.network = network
        self.modules: Modules = linear_modules(network)
        self._base = base
        self._base_name = name
        self._peft: Any = None
        self._now: str | None = None
        self._saved: OrderedDict[Path, str] = OrderedDict()
        self._drafts: dict[Draft, str] = {}
        self._count = 0

    def put_on(self, what: Path | Draft | None) -> None:
        """Wears this and nothing else.

        Raises:
            AdapterRefused: a saved adapter failed its checks.
        """
        name = None if what is None else self._draft(what) if isinstance(what, Draft) else self._load(what)
        if self._peft is None or name == self._now:
            return
        if name is None:
            self._peft.base_model.disable_adapter_layers()
        else:
            if self._now is None:
                self._peft.base_model.enable_adapter_layers()
            self._peft.set_adapter(name)
        self._now = name

    def fresh(self, *, rank: int, alpha: float, targets: str, seed: int) -> Draft:
        """A draft from zero on the named group of modules.

        Raises:
            ModelError: the base has no such modules.
        """
        leaves = {name.rsplit(".", 1)[-1] for name in self.modules}
        chosen = leaves if targets == "all-linear" else leaves & set(_TARGETS[targets])
        if not chosen:
            raise ModelError(f"the base has no modules for targets {targets!r}; it has {sorted(leaves)}")
        config = adapters.lora_config(
            rank=rank, alpha=alpha, target_modules=sorted(chosen), base_name=self._base_name,
            transposed=_is_transposed(self.network),
        )
        return Draft(config, None, seed)

    def continued(self, parent: Path, *, seed: int) -> Draft:
        """A draft that starts where a saved adapter ended, with its settings.

        Raises:
            AdapterRefused: the parent failed its checks.
        """
        adapter = self.read(parent)
        return Draft(adapter.config, adapter.tensors, seed)

    def read(self, folder: Path) -> Adapter:
        """A saved adapter, checked against this base."""
        return adapters.read(folder, base=self._base, modules=self.modules)

    def save(self, draft: Draft, folder: Path) -> str:
        """Writes the draft as it is now; returns the hash of its weights."""
        tensors = {name: parameter.detach() for name, parameter in self.parameters(draft).items()}
        adapter = Adapter(draft.config, tensors, digest="")
        return adapters.write(folder, adapter, base=self._base, modules=self.modules)

    def parameters(self, draft: Draft) -> dict[str, torch.nn.Parameter]:
        """The draft's trainable matrices by their names on disk, in the order of those names."""
        return dict(sorted(self._named(self._drafts[draft]).items()))

    def discard(self, draft: Draft) -> None:
        """Forgets a draft; one that was never worn is nothing to forget."""
        name = self._drafts.pop(draft, None)
        if name is not None:
            self._delete(name)

    def _load(self, folder: Path) -> str:
        key = _key(folder)
        if key in self._saved:
            self._saved.move_to_end(key)
            return self._saved[key]
        adapter = self.read(folder)
        name = self._add(adapter.config, adapter.tensors, seed=0)
        while len(self._saved) >= _KEPT:
            self._delete(self._saved.popitem(last=False)[1])
        self._saved[key] = name
        return name

    def _draft(self, draft: Draft) -> str:
        if draft not in self._drafts:
            self._drafts[draft] = self._add(draft.config, draft.start, seed=draft.seed)
        return self._drafts[draft]

    def _add(
        self, config: Mapping[str, Any], tensors: Mapping[str, torch.Tensor] | None, *, seed: int
    ) -> str:
        """Injects an adapter; fresh matrices depend on the seed alone."""
        from peft import LoraConfig, PeftModel

        self._count += 1
        name = f"adapter{self._count}"
        settings = LoraConfig(**{k: v for k, v in config.items() if k not in ("peft_type", "inference_mode")})
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # between PEFT and transformers; not ours to mend
            torch.manual_seed(seed)
            if self._peft is None:
                self._peft = PeftModel(self.network, settings, adapter_name=name)
            else:
                self._peft.add_adapter(name, settings)
        fuse(self.network)
        self.network.eval()
        self._now = name  # PEFT's state is unsure after an injection:
        self._peft.base_model.enable_adapter_layers()
        self._peft.set_adapter(name)
        if tensors is not None:
            with torch.no_grad():
                for full, parameter in self._named(name).items():
                    parameter.copy_(tensors[full])
        return name

    def _named(self, name: str) -> dict[str, torch.nn.Parameter]:
        inner = f".{name}.weight"
        return {
            full.removesuffix(inner) + ".weight": parameter
            for full, parameter in self._peft.named_parameters() if full.endswith(inner)
        }

    def _delete(self, name: str) -> None:
        """Removes an adapter; the bare base is worn afterwards, so that PEFT need not choose a successor."""
        self._peft.base_model.set_adapter([])
        self._peft.base_model.disable_adapter_layers()
        self._now = None
        self._peft.delete_adapter(name)


def linear_modules(network: Any) -> dict[str, tuple[int, int]]:
    """(out, in) of every linear module but head and embeddings, by full name."""
    found = {}
    for name, module in network.named_modules():
        if adapters.FORBIDDEN & set(name.split(".")):
            continue
        if isinstance(module, torch.nn.Linear):
            found[name] = (module.out_features, module.in_features)
        elif type(module).__name__ == "Conv1D":  # GPT-2's linear, stored (in, out)
            found[name] = (int(module.weight.shape[1]), int(module.weight.shape[0]))
    return found


def _is_transposed(network: Any) -> bool:
    return any(type(module).__name__ == "Conv1D" for module in network.modules())


def _key(folder: Path) -> Path:
    return folder.resolve()
