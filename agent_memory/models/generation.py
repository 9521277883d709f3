"""Answers from prompts: batched decoding with a key-value cache, greedy or sampled.

Prompts that begin alike (the same system text, the same block before many questions) are grouped into
trees, and each common prefix goes through the model once; its keys and values are then repeated for the
prompts that continue it. All padding is on the right and masked, so that no row of attention is ever empty,
and positions are explicit. Rows that have ended are dropped from the batch once half of it has.

A sampled answer depends on its seed and its place in the list of prompts, not on the batches that were made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from agent_memory.models.packing import Tree, plant


class Decoder(Protocol):
    """What decoding needs of a model."""

    device: str

    def step(
        self, ids: torch.Tensor, *, positions: torch.Tensor, mask: torch.Tensor, cache: Any
    ) -> tuple[torch.Tensor, Any]:
        """Hidden states (B, L, D) of new tokens (B, L) after what `cache` holds, and the cache with them."""
        ...

    def head(self, hidden: torch.Tensor) -> torch.Tensor:
        """Float32 logits (N, V) of hidden states (N, D)."""
        ...


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen: greedy at temperature 0."""

    temperature: float
    top_p: float
    seed: int


@torch.no_grad()
def generate(
    decoder: Decoder,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    ends: frozenset[int],
    sampling: Sampling,
    batch_size: int,
    share: bool,
) -> list[list[int]]:
    """Answers in the order of the prompts, each up to and with its end token.

    Without `share`, as models with sliding windows need, only prompts of equal length are batched.
    """
    chance = None
    if sampling.temperature > 0:
        generator = torch.Generator().manual_seed(sampling.seed)
        chance = torch.rand(len(prompts), max_new_tokens, generator=generator)  # (N, T)
    answers: list[list[int]] = [[] for _ in prompts]
    for trees in _batches(prompts, batch_size=batch_size, share=share):
        batch = _Batch(decoder, prompts, trees)
        for t in range(max_new_tokens):
            drawn = None if chance is None else chance[batch.members, t]
            chosen = choose(batch.logits, sampling, drawn)  # (B,)
            for member, token in zip(batch.members, chosen.tolist(), strict=True):
                answers[member].append(token)
            if not batch.advance(chosen, ends) or t + 1 == max_new_tokens:
                break
    return [_until(answer, ends) for answer in answers]


@torch.no_grad()
def stream(
    decoder: Decoder, prompt: Sequence[int], *, max_new_tokens: int, ends: frozenset[int], sampling: Sampling
) -> Iterator[int]:
    """The tokens of one answer as they are chosen, the same as `generate` gives, without the end token."""
    chance = None
    if sampling.temperature > 0:
        generator = torch.Generator().manual_seed(sampling.seed)
        chance = torch.rand(1, max_new_tokens, generator=generator)  # (1, T)
    batch = _Batch(decoder, [prompt], [Tree((0,), 0, len(prompt))])
    for t in range(max_new_tokens):
        chosen = choose(batch.logits, sampling, None if chance is None else chance[:, t])  # (1,)
        token = int(chosen)
        if token in ends:
            return
        yield token
        if t + 1 < max_new_tokens:
            batch.advance(chosen, ends)


def choose(logits: torch.Tensor, sampling: Sampling, drawn: torch.Tensor | None) -> torch.Tensor:
    """The next tokens (B,) from logits (B, V) and one uniform number per row (B,), None for greedy."""
    if drawn is None:
        return logits.argmax(dim=-1)
    p = torch.softmax(logits / sampling.temperature, dim=-1)
    if sampling.top_p >= 1:  # no order is needed, and sorting a vocabulary costs more than a small step
        mass = p.cumsum(dim=-1)
        wanted = drawn.to(mass)[:, None] * mass[:, -1:]
        return torch.searchsorted(mass, wanted, right=True).clamp(max=p.shape[1] - 1)[:, 0]
    p, tokens = p.sort(dim=-1, descending=True, stable=True)
    before = p.cumsum(dim=-1) - p  # (B, V) mass of more probable tokens
    p = p.masked_fill(before >= sampling.top_p, 0.0)
    mass = p.cumsum(dim=-1)
    wanted = drawn.to(mass)[:, None] * mass[:, -1:]
    place = torch.searchsorted(mass, wanted, right=True).clamp(max=p.shape[1] - 1)
    place = torch.minimum(place, (p > 0).sum(dim=-1, keepdim=True) - 1)
    return tokens.gather(1, place)[:, 0]


class _Batch:
    """The state of one batch: logits of the next token per row, the cache, and what of it may be seen."""

    def __init__(self, decoder: Decoder, prompts: Sequence[Sequence[int]], trees: list[Tree]) -> None:
        self._decoder = decoder
        self.members = [member for tree in trees for member in tree.members]
        self._mask = torch.zeros(len(self.members), 0, dtype=torch.long, device=decoder.device)
        self._cache: Any = None
        if max(tree.prefix for tree in trees):
            self._prefill_prefixes(prompts, trees)
        prefix = [tree.prefix for tree in trees for _ in tree.members]
        rest = [list(prompts[m])[n:] for m, n in zip(self.members, prefix, strict=True)]
        hidden, last = self._feed(rest, torch.tensor(prefix, device=decoder.device))
        self.logits = decoder.head(hidden[torch.arange(len(rest), device=decoder.device), last])
        self._next = torch.tensor([len(prompts[m]) for m in self.members], device=decoder.device)
        self._ended = torch.zeros(len(self.members), dtype=torch.bool, device=decoder.device)

    def advance(self, chosen: torch.Tensor, ends: frozenset[int]) -> bool:
        """Reads the chosen tokens (B,); False when every row has ended."""
        self._ended |= torch.tensor([token in ends for token in chosen.tolist()], device=chosen.device)
        if bool(self._ended.all()):
            return False
        if int(self._ended.sum()) * 2 >= len(self.members):
            chosen = self._drop(chosen)
        ones = torch.ones(len(self.members), 1, dtype=torch.long, device=chosen.device)
        self._mask = torch.cat([self._mask, ones], dim=1)
        hidden, self._cache = self._decoder.step(
            chosen[:, None], positions=self._next[:, None], mask=self._mask, cache=self._cache
        )
        self._next = self._next + 1
        self.logits = self._decoder.head(hidden[:, -1])
        return True

    def _prefill_prefixes(self, prompts: Sequence[Sequence[int]], trees: list[Tree]) -> None:
        """Reads each tree's prefix once, then repeats its keys and values for every member."""
        self._mask = torch.zeros(len(trees), 0, dtype=torch.long, device=self._decoder.device)
        heads = [list(prompts[tree.members[0]])[: tree.prefix] for tree in trees]
        self._feed(heads, torch.zeros(len(trees), dtype=torch.long, device=self._decoder.device))
        owner = [i for i, tree in enumerate(trees) for _ in tree.members]
        index = torch.tensor(owner, device=self._decoder.device)
        self._cache.batch_select_indices(index)
        self._mask = self._mask[index]

    def _feed(self, rows: list[list[int]], start: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Reads rows, padded on the right, from positions `start`: hidden (B, L, D), last columns (B,)."""
        lengths = [len(row) for row in rows]
        length = max(lengths)
        device = self._decoder.device
        ids = torch.tensor([row + [0] * (length - len(row)) for row in rows], device=device)  # (B, L)
        columns = torch.arange(length, device=device)
        known = (columns[None] < torch.tensor(lengths, device=device)[:, None]).long()
        self._mask = torch.cat([self._mask, known], dim=1)
        hidden, self._cache = self._decoder.step(
            ids, positions=start[:, None] + columns[None], mask=self._mask, cache=self._cache
        )
        return hidden, torch.tensor(lengths, device=device) - 1

    def _drop(self, chosen: torch.Tensor) -> torch.Tensor:
        """Takes the ended rows out; returns the chosen tokens of those that stay."""
        stay = (~self._ended).nonzero()[:, 0]
        self.members = [self.members[i] for i in stay.tolist()]
        self._cache.batch_select_indices(stay)
        self._mask, self._next, self._ended = self._mask[stay], self._next[stay], self._ended[stay]
        return chosen[stay]


def _batches(prompts: Sequence[Sequence[int]], *, batch_size: int, share: bool) -> Iterator[list[Tree]]:
    """Trees in batches of at most `batch_size` prompts; a prefix leaves every member a token to feed."""
    if not share:
        lengths: dict[int, list[int]] = {}
        for i, prompt in enumerate(prompts):
            lengths.setdefault(len(prompt), []).append(i)
        for _, members in sorted(lengths.items()):
            for first in range(0, len(members), batch_size):
                yield [Tree((m,), 0, len(prompts[m])) for m in members[first : first + batch_size]]
        return
    trees = plant([tuple(prompt[:-1]) for prompt in prompts], capacity=2**31, most=batch_size)
    trees.sort(key=lambda tree: (_longest_rest(prompts, tree), tree.prefix, tree.members))  # little padding
    batch: list[Tree] = []
    for tree in trees:
        if batch and sum(len(t.members) for t in batch) + len(tree.members) > batch_size:
            yield batch
            batch = []
        batch.append(tree)
    if batch:
        yield batch


def _longest_rest(prompts: Sequence[Sequence[int]], tree: Tree) -> int:
    return max(len(prompts[member]) for member in tree.members) - tree.prefix


def _until(answer: list[int], ends: frozenset[int]) -> list[int]:
    """The answer up to and with its first end token."""
    for i, token in enumerate(answer):
        if token in ends:
            return answer[: i + 1]
    return answer
