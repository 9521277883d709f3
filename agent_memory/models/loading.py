"""Finding and loading a base: its folder, its fingerprint, its weights, and whether they fit.

A base is a folder with `config.json`, safetensors weights and a tokenizer: the bundled reader, a folder of
the user's, or a snapshot in the local Hugging Face cache. Nothing is fetched unless the configuration
allows it, no remote code is run, and no pickle is read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agent_memory.errors import AgentMemoryError, ModelError

#: The base that the package carries.
READER = Path(__file__).parent / "reader"

#: {file name: sha256} of a base's files, which lies beside the bundled reader's; checked where it exists.
HASHES = "hashes.json"

#: From here on a tokenizer's longest text is transformers' way to say that none is stated (chosen).
_UNSTATED = 10**9
#: The window where neither model nor tokenizer states one (chosen).
_USUAL_WINDOW = 4096

#: What decides what a base says.
_PATTERNS = (
    "*.safetensors", "config.json", "generation_config.json", "tokenizer*", "vocab*", "merges.txt",
    "special_tokens_map.json", "added_tokens.json", "chat_template*", "*.safetensors.index.json",
)


def folder_of(name_or_path: str | Path | None, *, allow_download: bool) -> Path:
    """The folder of a base.

    Raises:
        ModelError: there is none; says where was looked and what to do.
    """
    if name_or_path is None:
        if not (READER / "config.json").is_file():
            raise ModelError("the bundled reader is not in this installation; name a model with model=...")
        return READER
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        return path.resolve()
    if path.is_absolute() or str(name_or_path).startswith((".", "~")):
        raise ModelError(f"no model folder at {path}")
    return _snapshot(str(name_or_path), allow_download=allow_download)


def fingerprint(folder: Path) -> str:
    """64 hexadecimal digits over the names and bytes of all files that decide what the base says.

    Raises:
        ModelError: no safetensors weights; or a file is missing or altered, if the folder lists its hashes.
    """
    hashes = _hashes(folder)
    if "config.json" not in hashes:
        raise ModelError(f"{folder} is no model folder: config.json is missing")
    if not any(name.endswith(".safetensors") for name in hashes):
        raise ModelError(f"{folder} has no safetensors weights; other formats may run code and are not read")
    _compare(folder, hashes)
    return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()


def list_hashes(folder: Path) -> None:
    """Writes `HASHES` into the folder of a base, so that a file that is altered or lost later is noticed."""
    text = json.dumps(_hashes(folder), indent=1, sort_keys=True)
    (folder / HASHES).write_text(text + "\n", encoding="utf-8")


def _hashes(folder: Path) -> dict[str, str]:
    """The sha256 of every file that decides what the base says, by name."""
    found = {path for pattern in _PATTERNS for path in folder.glob(pattern) if path.is_file()}
    hashes = {}
    for path in sorted(found):
        with path.open("rb") as file:
            hashes[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes


def load(folder: Path, *, device: str) -> tuple[Any, Any]:
    """Model and tokenizer, frozen and in eval mode: float32 on the CPU, the stored type elsewhere.

    Raises:
        ModelError: not a causal LM that transformers can load without remote code, or larger than the memory.
    """
    from transformers import AutoTokenizer

    try:
        with _quiet(), fitting(folder, device=device):
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            model = _network(folder, device=device).to(device)
    except ModelError:
        raise
    except Exception as error:  # the seam to transformers, which raises many kinds
        kind = type(error).__name__
        raise ModelError(f"{folder} cannot be loaded as a causal language model: {kind}") from error
    model.requires_grad_(requires_grad=False)
    return model.eval(), tokenizer


def _network(folder: Path, *, device: str) -> Any:
    """The network of a base with its weights, which are in memory once only also while it is loaded."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    with torch.device("meta"):
        empty = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    stored = getattr(empty.config, "dtype", None)
    dtype = torch.float32 if device == "cpu" or stored is None else stored
    network = type(empty).from_pretrained(
        None, config=empty.config, state_dict=_tensors(folder), dtype=dtype
    )
    if (folder / "generation_config.json").is_file():
        network.generation_config = GenerationConfig.from_pretrained(folder, local_files_only=True)
    return network


def _tensors(folder: Path) -> dict[str, Any]:
    """The stored tensors by name, each of which is read when it is asked for.

    From a mapped file, as transformers reads them, all would stay in memory beside what is made of them.
    """
    from safetensors import safe_open

    index = folder / "model.safetensors.index.json"
    names = {"model.safetensors"}
    if index.is_file():
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    files: list[Any] = [
        safe_open(folder / Path(name).name, framework="pt", device="cpu", backend="pread")
        for name in sorted(names)
    ]
    return {key: file.get_slice(key) for file in files for key in file.keys()}  # noqa: SIM118 (no mapping)


@contextmanager
def fitting(folder: Path, *, device: str) -> Iterator[None]:
    """Turns a lack of memory, while a base is loaded or tried out, into our error.

    Raises:
        ModelError: memory ran out.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise ModelError(
            f"{folder} does not fit into the memory of {device!r}: free some, name a smaller model, or "
            "choose another device (ModelConfig.device)"
        ) from error


#: How torch and its libraries say that memory ran out, where they have no error of its own for it.
_SAID = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether this is how torch says, on any device, that memory ran out."""
    import torch

    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    foreign = isinstance(error, RuntimeError) and not isinstance(error, AgentMemoryError)
    return foreign and any(words in str(error) for words in _SAID)


def device_of(device: str | None, *, bundled: bool) -> str:
    """"cpu" or "cuda": as asked, else CUDA for a named model where there is one.

    Raises:
        ModelError: CUDA was asked for and is not there.
    """
    import torch

    if device in (None, "auto"):
        return "cuda" if torch.cuda.is_available() and not bundled else "cpu"
    assert device is not None
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ModelError("device 'cuda' was asked for, but torch sees no CUDA device")
    return device


def window_of(model: Any, tokenizer: Any) -> int:
    """Most tokens of prompt and answer: the smaller of what model and tokenizer say."""
    stated = (
        getattr(model.config, "max_position_embeddings", None), getattr(tokenizer, "model_max_length", None)
    )
    return min((int(n) for n in stated if n and n < _UNSTATED), default=_USUAL_WINDOW)


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars of transformers meanwhile."""
    from transformers.utils import logging

    before = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if before:
            logging.enable_progress_bar()


def _snapshot(name: str, *, allow_download: bool) -> Path:
    """The folder of a Hugging Face model in the local cache."""
    from huggingface_hub import snapshot_download

    wanted = [*_PATTERNS, "tokenizer.model"]
    try:
        return Path(snapshot_download(name, local_files_only=True, allow_patterns=wanted))
    except Exception as error:  # the seam to huggingface_hub, which raises many kinds
        if not allow_download:
            raise ModelError(
                f"model {name!r} is neither a folder nor in the local Hugging Face cache; fetch it with "
                "`hf download`, or set ModelConfig(allow_download=True)"
            ) from error
    try:
        return Path(snapshot_download(name, allow_patterns=wanted))
    except Exception as error:  # as above
        raise ModelError(f"model {name!r} could not be fetched: {type(error).__name__}") from error


def _compare(folder: Path, hashes: dict[str, str]) -> None:
    """Refuses a folder whose files are not those that it lists."""
    listed = folder / HASHES
    if not listed.is_file():
        return
    for name, digest in json.loads(listed.read_text()).items():
        if name not in hashes:
            raise ModelError(f"{folder.name} is incomplete: {name} is missing; install the package again")
        if hashes[name] != digest:
            raise ModelError(f"{folder.name} was altered: {name} is not the file that was installed")
