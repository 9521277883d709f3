"""One base model in memory, and versions worn on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agent_memory.config import ModelConfig


class LocalModel:
    """A causal LM with its tokenizer. What it says depends on what it wears; see `wearing`."""

    name: str
    fingerprint: str
    """64 hexadecimal digits over the base's weights, config and tokenizer files."""
    window: int
    """Most tokens of prompt and answer together."""
    notes: tuple[str, ...]
    """Fallbacks in use, for the report: no system role, no chat template, ..."""

    @classmethod
    def open(
        cls, name_or_path: str | Path | None = None, *, device: str | None = None, config: ModelConfig | None = None
    ) -> LocalModel:
        """Loads a base: a folder, a name in the local Hugging Face cache, or (None) the bundled reader.

        Raises:
            ModelError: not there, altered, no safetensors, or no causal LM.
        """
        raise NotImplementedError

    def prompt_ids(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """The token ids of the conversation up to where the assistant's answer begins."""
        raise NotImplementedError

    def token_ids(self, text: str) -> list[int]:
        """The tokens of plain text, without any special token."""
        raise NotImplementedError

    def text(self, ids: Sequence[int]) -> str:
        """The text of answer ids, special tokens left out, outer white space stripped."""
        raise NotImplementedError

    @contextmanager
    def wearing(self, adapter: Path | None, *, training: bool = False) -> Iterator[Any]:
        """Holds the model lock (fair, reentrant) with this adapter worn, None for the bare base.

        The one place that touches adapter state, train/eval mode and the lock. The adapter is checked before its
        first use. `generate`, `log_probs` and `targets.divergence` are called inside.

        Raises:
            AdapterRefused: the adapter failed its checks.
        """
        raise NotImplementedError
        yield

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        max_new_tokens: int,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> list[list[int]]:
        """Answers to all prompts, in their order; each ends with the end-of-turn token unless it ran out of room.

        Greedy at temperature 0; else sampled, the same for the same seed and prompts. Prompts that share a prefix
        pay for it once. Call it inside `wearing`.

        Raises:
            InvalidInput: a prompt is empty or leaves no room in the window.
        """
        raise NotImplementedError

    def log_probs(self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]) -> list[list[float]]:
        """The log-probability of each token of each answer after its prompt, in nats. Call it inside `wearing`."""
        raise NotImplementedError
