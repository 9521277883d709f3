"""An exported version says what it said here; an export is whole on the disk, or not there at all."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable
from pathlib import Path
from statistics import mean

import pytest
import torch

from agent_memory.consolidation.export import export_adapter, export_model
from agent_memory.errors import InvalidInput, StoreError, StoreFull
from agent_memory.models.adapters import CONFIG, WEIGHTS
from agent_memory.models.local import LocalModel
from tests.memories import noisy_adapter


@pytest.fixture
def prompts(model: LocalModel) -> list[tuple[int, ...]]:
    """Some questions."""
    asked = [[{"role": "user", "content": f"What has name{n}?"}] for n in range(5)]
    return [tuple(model.prompt_ids(messages)) for messages in asked]


def test_an_exported_model_says_the_same_without_any_adapter(
    model: LocalModel, prompts: list[tuple[int, ...]], tmp_path: Path
) -> None:
    adapter = noisy_adapter(model, tmp_path / "adapter")
    export_model(model, adapter, tmp_path / "exported")
    with model.wearing(adapter):
        expected = model.generate(prompts, max_new_tokens=6)
        scores = model.log_probs(prompts, expected)
    plain = LocalModel.open(tmp_path / "exported")
    with plain.wearing(None) as network, model.wearing(None) as base:
        torch.testing.assert_close(
            [mean(score) for score in plain.log_probs(prompts, expected)], [mean(score) for score in scores],
            atol=1e-3, rtol=1e-3,
        )
        assert plain.generate(prompts, max_new_tokens=6) == expected
        bare = [name for name, _ in base.named_parameters() if ".lora_" not in name]
        assert [name for name, _ in network.named_parameters()] == [
            name.replace(".base_layer", "") for name in bare
        ]


def test_an_exported_adapter_is_a_folder_that_peft_loads(
    base: Path, model: LocalModel, prompts: list[tuple[int, ...]], tmp_path: Path
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    adapter = noisy_adapter(model, tmp_path / "adapter")
    export_adapter(adapter, tmp_path / "exported", base=model.fingerprint)
    assert sorted(path.name for path in (tmp_path / "exported").iterdir()) == [CONFIG, WEIGHTS]
    network = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), tmp_path / "exported")
    prompt = prompts[0]
    with model.wearing(adapter), torch.no_grad():
        answer = model.generate([prompt], max_new_tokens=6)[0]
        theirs = network.generate(input_ids=torch.tensor([prompt]), max_new_tokens=6, do_sample=False)
    assert theirs[0, len(prompt) :].tolist() == answer


def test_an_export_never_overwrites(model: LocalModel, tmp_path: Path) -> None:
    adapter = noisy_adapter(model, tmp_path / "adapter")
    for export in exports(model, adapter):
        with pytest.raises(InvalidInput, match="exists"):
            export(adapter)


def exports(model: LocalModel, adapter: Path) -> list[Callable[[Path], None]]:
    """Both ways to export a version."""
    return [
        lambda target: export_adapter(adapter, target, base=model.fingerprint),
        lambda target: export_model(model, adapter, target),
    ]


def test_an_export_is_on_the_disk_before_it_is_in_its_place(
    model: LocalModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter, real, flushed = noisy_adapter(model, tmp_path / "adapter"), os.fsync, []

    def fsync(handle: int) -> None:
        path = Path(f"/proc/self/fd/{handle}").readlink()
        flushed.append((path.name, target.exists()))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    for export in exports(model, adapter):
        target = tmp_path / f"exported{len(flushed)}"
        flushed.clear()
        export(target)
        names = {path.name for path in target.iterdir()} | {f".new-{target.name}"}
        assert {name for name, placed in flushed if not placed} == names
        assert flushed[-1] == (tmp_path.name, True)


def test_an_export_to_a_full_disk_is_refused_and_leaves_nothing(
    model: LocalModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    adapter = noisy_adapter(model, tmp_path / "adapter")
    monkeypatch.setattr(os, "fsync", full)
    for export in exports(model, adapter):
        with pytest.raises(StoreFull, match="No space left"):
            export(tmp_path / "exported")
        assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


def test_an_export_of_files_that_the_system_cuts_is_refused_and_leaves_nothing(
    model: LocalModel, tmp_path: Path
) -> None:
    adapter = noisy_adapter(model, tmp_path / "adapter")
    largest, whole = resource.RLIMIT_FSIZE, resource.getrlimit(resource.RLIMIT_FSIZE)
    for export in exports(model, adapter):
        resource.setrlimit(largest, (4096, whole[1]))
        try:
            with pytest.raises(StoreError, match="File too large"):
                export(tmp_path / "exported")
        finally:
            resource.setrlimit(largest, whole)
        assert [path.name for path in tmp_path.iterdir()] == ["adapter"]
