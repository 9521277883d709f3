"""One base model in memory, the versions that it wears, and what it says then.

A `LocalModel` holds a causal LM and its tokenizer once. Teacher, student and every version are the same
weights with another adapter on, or none; `wearing` changes that, under a lock that goes to threads in the
order in which they asked. Everything that computes is called inside `wearing`, so that what is worn is
never a matter of luck:

    with model.wearing(version):
        answers = model.generate([model.prompt_ids(messages)], max_new_tokens=32)

Not known here: episodes, questions, SQL, where versions come from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from agent_memory.config import ModelConfig
from agent_memory.errors import InvalidInput, ModelError
from agent_memory.models import generation, loading
from agent_memory.models.arithmetic import fast_float32
from agent_memory.models.budget import head_positions, pass_tokens
from agent_memory.models.chat import ChatFormat
from agent_memory.models.forms import choose_form, finish_logits, try_again
from agent_memory.models.lock import FairLock
from agent_memory.models.packing import Batch, Span, batches
from agent_memory.models.ragged import RAGGED, register
from agent_memory.models.worn import Draft, Worn


class LocalModel:
    """A causal LM with its tokenizer; what it says depends on what it wears.

    Attributes:
        name: the folder or name that was asked for, "reader" for the bundled one.
        fingerprint: 64 hexadecimal digits over the base's weights, configuration and tokenizer files.
        folder: where those files are.
        window: most tokens of prompt and answer together.
        device: "cpu" or a CUDA device.
        notes: fallbacks in use, for the report (no system role, no chat template, no packing).
        forward_tokens: most tokens of one forward pass over packed rows.
        head_chunk: most positions whose logits exist at once.
        worn: the adapters on the base; only `distill` changes what it holds, inside `wearing`.
        form: how several sequences go through the network at once (`forms.py`).
    """

    def __init__(
        self, network: Any, tokenizer: Any, *, name: str, folder: Path, fingerprint: str, config: ModelConfig
    ) -> None:
        """Use `open`."""
        self.name = name
        self.folder = folder
        self.fingerprint = fingerprint
        self.window = loading.window_of(network, tokenizer)
        self.device = str(network.device)
        self.worn = Worn(network, base=self.fingerprint, name=name)
        self._network = network
        self._tokenizer = tokenizer
        self._config = config
        decoder = network.config.get_text_config()
        self.forward_tokens = config.forward_tokens or pass_tokens(decoder, device=self.device)
        self.head_chunk = head_positions(int(decoder.vocab_size))
        self._lock = FairLock()
        self._chat = ChatFormat(tokenizer)
        self._ends = self._chat.end_ids(_configured_ends(network))
        register()
        with self._lock:
            self.form, form_notes = choose_form(self)
        self.notes = self._chat.notes + form_notes

    @classmethod
    def open(
        cls,
        name_or_path: str | Path | None = None,
        *,
        device: str | None = None,
        config: ModelConfig | None = None,
    ) -> LocalModel:
        """Loads a base: a folder, a name in the local Hugging Face cache, or (None) the bundled reader.

        Arguments given here win over those in `config`.

        Raises:
            ModelError: not there, altered, no safetensors, no causal LM, or larger than the memory.
        """
        config = config or ModelConfig()
        wanted = name_or_path if name_or_path is not None else config.name
        folder = loading.folder_of(wanted, allow_download=config.allow_download)
        where = loading.device_of(device or config.device, bundled=wanted is None)
        fingerprint = loading.fingerprint(folder)
        network, tokenizer = loading.load(folder, device=where)
        name = str(wanted or "reader")
        with loading.fitting(folder, device=where):  # a few short sequences are tried
            return cls(network, tokenizer, name=name, folder=folder, fingerprint=fingerprint, config=config)

    def try_form(self, sequences: Sequence[Sequence[int]]) -> tuple[str, ...]:
        """Tries the form of packing on sequences of the caller's own; a note where another is taken."""
        with self._lock:
            self.form, notes = try_again(self, sequences)
        return notes

    # -- text and tokens

    def prompt_ids(
        self, messages: Sequence[Mapping[str, Any]], *, tools: Sequence[Mapping[str, Any]] | None = None
    ) -> list[int]:
        """The token ids of the conversation up to where the assistant's answer begins; see `ChatFormat.ids`.

        Raises:
            ModelError: the model's chat template refuses the conversation, or knows no tools.
        """
        return self._chat.ids(messages, tools=tools)

    @property
    def made_here(self) -> bool:
        """Whether `training/reader.py` made the base, as it did the bundled one.

        On this rests all that holds for the reader alone: it knows our short requests, in English, asks about
        a text part by part, declines in one way, tells how sure it is, and reads few results best.
        """
        return (self.folder / "training.json").is_file()

    @property
    def takes_tools(self) -> bool:
        """Whether the model's chat template shows it tools."""
        return self._chat.takes_tools

    def token_ids(self, text: str) -> list[int]:
        """The tokens of a text as it stands in a prompt; never a special token, whatever the text holds."""
        return self._chat.text_ids(text)

    def text(self, ids: Sequence[int], *, special: bool = False) -> str:
        """The text of answer ids, outer white space stripped; special tokens only where `special`."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=not special)).strip()

    @property
    def end_ids(self) -> frozenset[int]:
        """The tokens that end an answer."""
        return self._ends

    # -- what is worn

    @contextmanager
    def wearing(self, adapter: Path | Draft | None, *, training: bool = False) -> Iterator[Any]:
        """Holds the model lock with this adapter worn, None for the bare base; yields the network.

        The one place that touches adapter state and the lock. The lock is reentrant and fair; an inner
        `wearing` gives back what the outer one wore. The network stays in eval mode even with
        `training=True`, which only lets gradients flow: dropout in the student would be noise that its
        teacher does not have. A saved adapter is checked before its first use.

        Raises:
            AdapterRefused: the adapter failed its checks.
        """
        with self._lock:
            before = self._wears
            self._wear(adapter)
            try:
                with torch.set_grad_enabled(training):
                    yield self._network
            finally:
                self._wear(before)

    _wears: Path | Draft | None = None

    def _wear(self, adapter: Path | Draft | None) -> None:
        self.worn.put_on(adapter)
        self._wears = adapter

    # -- computing, inside `wearing`

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        max_new_tokens: int,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> list[list[int]]:
        """Answers in the order of the prompts; each ends with its end token unless it ran out of room.

        Greedy at temperature 0; else sampled, the same for the same seed and prompts. Prompts that share a
        prefix pay for it once.

        Raises:
            InvalidInput: a prompt is empty or leaves no room for the answer in the window.
        """
        self._inside()
        for prompt in prompts:
            if not 0 < len(prompt) <= self.window - max_new_tokens:
                raise InvalidInput(
                    f"a prompt of {len(prompt)} tokens with {max_new_tokens} of answer does not fit the "
                    f"window of {self.window} tokens"
                )
        return generation.generate(
            self,
            prompts,
            max_new_tokens=max_new_tokens,
            ends=self._ends,
            sampling=generation.Sampling(temperature, top_p, seed),
            batch_size=self._config.batch_size,
            share=self.form == "ragged",
        )

    @torch.no_grad()
    def log_probs(
        self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]
    ) -> list[list[float]]:
        """The log-probability of each token of each answer after its prompt, in nats."""
        self._inside()
        spans = [Span((*p, *a), len(p)) for p, a in zip(prompts, answers, strict=True)]
        result: list[list[float]] = [[] for _ in spans]
        for batch in self.batches(spans):
            wanted = torch.tensor([t for m in batch.members for t in answers[m]], device=self.device)
            rows = []
            for logits, part in zip(self.logits(batch), torch.split(wanted, self.head_chunk), strict=True):
                rows += logits.log_softmax(-1).gather(1, part[:, None])[:, 0].tolist()
            for m in batch.members:
                result[m], rows = rows[: len(answers[m])], rows[len(answers[m]) :]
        return result

    @torch.no_grad()
    def says(self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]) -> list[bool]:
        """Whether each answer is what the model would say to its prompt, greedily: one pass, no decoding."""
        self._inside()
        spans = [Span((*p, *a), len(p)) for p, a in zip(prompts, answers, strict=True)]
        result = [False] * len(spans)
        for batch in self.batches(spans):
            wanted = torch.tensor([t for m in batch.members for t in answers[m]], device=self.device)
            best = torch.cat([logits.argmax(-1) for logits in self.logits(batch)])  # (N,)
            parts = torch.split(best == wanted, [len(answers[m]) for m in batch.members])
            for member, right in zip(batch.members, parts, strict=True):
                result[member] = bool(right.all())
        return result

    def batches(self, spans: Sequence[Span], *, forward_tokens: int | None = None) -> list[Batch]:
        """The spans in packed batches, in the form that this model computes rightly.

        Raises:
            InvalidInput: a span is longer than the window, or predicts from nothing.
        """
        for span in spans:
            if not 0 < span.start <= len(span.ids) <= self.window:
                raise InvalidInput(f"{len(span.ids)} tokens do not fit the window of {self.window}")
        limit = forward_tokens or self.forward_tokens
        return batches(spans, form=self.form, forward_tokens=limit, device=self.device)

    def hidden(self, batch: Batch) -> torch.Tensor:
        """(N, D): the last hidden states before each predicted token of the batch."""
        self._inside()
        own = {} if batch.pieces is None else {"pieces": batch.pieces}
        with fast_float32(), self._attention(RAGGED if own else None):
            states: torch.Tensor = self._network.get_decoder()(
                input_ids=batch.ids,
                position_ids=batch.positions,
                attention_mask=batch.mask,
                use_cache=False,
                **own,
            ).last_hidden_state  # (B, L, D)
        return states.flatten(0, 1).index_select(0, batch.at)

    @contextmanager
    def _attention(self, name: str | None) -> Iterator[None]:
        """Another attention function meanwhile, None for the model's own."""
        config = self._network.get_decoder().config
        before = config._attn_implementation
        if name is not None:
            config._attn_implementation = name
        try:
            yield
        finally:
            config._attn_implementation = before

    def head(self, hidden: torch.Tensor) -> torch.Tensor:
        """Float32 logits (N, V) of hidden states (N, D)."""
        return finish_logits(self._network.get_output_embeddings()(hidden).float(), self._network.config)

    def logits(self, batch: Batch) -> Iterator[torch.Tensor]:
        """The logits before each predicted token, in chunks of at most `head_chunk` positions."""
        for part in torch.split(self.hidden(batch), self.head_chunk):
            yield self.head(part)

    def step(
        self, ids: torch.Tensor, *, positions: torch.Tensor, mask: torch.Tensor, cache: Any
    ) -> tuple[torch.Tensor, Any]:
        """Hidden states (B, L, D) of new tokens (B, L) after what `cache` holds, and the cache with them."""
        out = self._network.get_decoder()(
            input_ids=ids, position_ids=positions, attention_mask=mask, past_key_values=cache, use_cache=True
        )
        return out.last_hidden_state, out.past_key_values

    def _inside(self) -> None:
        if not self._lock.held:
            raise ModelError("call this inside `with model.wearing(...)`")


def _configured_ends(network: Any) -> list[int]:
    """The end tokens of the generation config: none, one or several."""
    ends = getattr(network.generation_config, "eos_token_id", None)
    return [] if ends is None else [int(ends)] if isinstance(ends, int) else [int(end) for end in ends]
