"""From conversations of the world to packed batches.

A batch is one stream of N tokens: conversations end to end, the rest filled with one run of padding.
`bounds` says where each begins, so that attention stays within it and nothing else needs to know. Loss
falls on the assistant's tokens that may be learnt, `<|end|>` included.

At the start a share of the rows is a random token sequence said twice, loss on the second time: without it
a small model guesses answers by their frequency for a long time before it finds that they can be copied
(measured). A few of them stay to the end: tokens that the world's names hardly use would lose their meaning
(a reader without them copied "Ursula" as "Urrentla" and "empty" as "rentty").
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from tokenizers import Tokenizer

from training.tokenizer import END, PAD, ROLES, SPECIAL

WAITING = 16  # rows at hand to fill a batch from; with them about 1 % of it is padding
MOST_DOCS = 128  # a batch's bounds are padded to this many, so that shapes stay fixed
COPY_SHARE = 0.4  # of the rows at the start, chosen
COPY_TOKENS = 3_000_000  # seen until only the least share is left, chosen
COPY_LEAST = 0.05  # chosen


class Source(Protocol):
    """What the trainer needs from the reader's world."""

    def conversation(self, rng: random.Random, *, stage: float) -> list[dict[str, Any]]:
        """Messages: `role`, `content`, `learn`, perhaps `skill`; `stage` in [0, 1] is the curriculum."""
        ...


@dataclass
class Row:
    """One conversation as tokens."""

    ids: list[int]
    learn: list[tuple[int, int, str]]  # from, to (end excluded), skill


@dataclass
class Batch:
    """One packed stream: ids (N,), bounds (MOST_DOCS + 1,), and where loss falls: at, targets (n,)."""

    ids: torch.Tensor
    bounds: torch.Tensor
    at: torch.Tensor
    targets: torch.Tensor
    spans: list[tuple[int, int, str]]  # of each learnt message, within at
    used: int  # tokens that are not padding


class Encoder:
    """Turns messages into tokens exactly as the chat template does, message by message."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.end = tokenizer.token_to_id(END)
        self.pad = tokenizer.token_to_id(PAD)
        self.roles = {role: tokenizer.token_to_id(token) for role, token in ROLES.items()}
        self.size = tokenizer.get_vocab_size()

    def row(self, messages: Sequence[Mapping[str, Any]]) -> Row:
        """The conversation's tokens and the spans that carry loss."""
        texts = self.tokenizer.encode_batch_fast([m["content"] for m in messages], add_special_tokens=False)
        row = Row([], [])
        for message, text in zip(messages, texts, strict=True):
            row.ids.append(self.roles[message["role"]])
            start = len(row.ids)
            row.ids += text.ids
            row.ids.append(self.end)
            if message.get("learn") and message["role"] == "assistant":
                row.learn.append((start, len(row.ids), str(message.get("skill", "all"))))
        return row

    def copy_row(self, rng: random.Random) -> Row:
        """A random sequence said twice."""
        part = rng.choices(range(len(SPECIAL), self.size), k=rng.randint(4, 60))
        said = [self.roles["user"], *part, self.end, self.roles["assistant"], *part, self.end]
        return Row(said, [(len(part) + 3, len(said), "copy")])


class Packer:
    """Fills batches of `tokens` from the world; its place in the data is `state()`."""

    def __init__(self, world: Source, encoder: Encoder, *, tokens: int, longest: int, seed: str) -> None:
        self.world, self.encoder, self.tokens, self.longest, self.seed = world, encoder, tokens, longest, seed
        self.count = 0  # rows drawn so far
        self.too_long = 0  # conversations skipped since they exceed the window
        self.waiting: list[Row] = []  # drawn, not yet used, oldest first

    def state(self) -> dict[str, Any]:
        """What `restore` needs to go on with the very next row; plain data."""
        return {"count": self.count, "waiting": [vars(row) for row in self.waiting]}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on where `state` was taken."""
        self.count = state["count"]
        self.waiting = [Row(row["ids"], [tuple(s) for s in row["learn"]]) for row in state["waiting"]]

    def _draw(self, *, stage: float, copy: float) -> Row:
        while True:
            self.count += 1
            rng = random.Random(f"{self.seed}/{self.count}")
            if rng.random() < copy:
                return self.encoder.copy_row(rng)
            row = self.encoder.row(self.world.conversation(rng, stage=stage))
            if len(row.ids) <= self.longest and row.learn:
                return row
            self.too_long += 1

    def _next(self, *, room: int) -> Row | None:
        """The oldest row for an empty batch, then the longest that fits."""
        fitting = [i for i, row in enumerate(self.waiting) if len(row.ids) <= room]
        if not fitting:
            return None
        best = 0 if room == self.tokens else max(fitting, key=lambda i: len(self.waiting[i].ids))
        return self.waiting.pop(best)

    def batch(self, *, stage: float, seen: int) -> Batch:
        """The next batch at this place of the curriculum, `seen` tokens into the training."""
        copy = max(COPY_LEAST, COPY_SHARE * (1 - seen / COPY_TOKENS))
        ids: list[int] = []
        bounds, at, spans = [0], [], []
        while len(bounds) < MOST_DOCS:
            while len(self.waiting) < WAITING:
                self.waiting.append(self._draw(stage=stage, copy=copy))
            row = self._next(room=self.tokens - len(ids))
            if row is None:
                break
            for start, end, skill in row.learn:
                spans.append((len(at), len(at) + end - start, skill))
                at += range(len(ids) + start - 1, len(ids) + end - 1)  # what is known before each token
            ids += row.ids
            bounds.append(len(ids))
        used = len(ids)
        ids += [self.encoder.pad] * (self.tokens - used)
        bounds += [self.tokens] * (MOST_DOCS + 1 - len(bounds))
        stream, where = torch.tensor(ids), torch.tensor(at)
        return Batch(stream, torch.tensor(bounds), where, stream[where + 1], spans, used)
