"""Packing: many short sequences in one pass, each common prefix computed once.

Study items are short and begin alike: the same system text, or the same context block before many questions.
A *tree* is one prefix and the branches that continue it. Trees stand end to end in one row; every token sees
its own branch, its tree's prefix and nothing else, so that the model computes for each sequence what it would
compute alone:

    row        p p p a a b b b q q c c d          two trees: p with a and b, q with c and d
    position   0 1 2 3 4 3 4 5 0 1 2 3 2

Three forms of the same batch, from the fastest to the most widely supported:

- `ragged`: trees, with attention of our own over their pieces (`ragged.py`);
- `packed`: sequences side by side in rows, with restarting positions and no mask: transformers makes one;
- `padded`: one sequence to a row, with the usual mask.

`LocalModel` checks at load which form its architecture computes rightly. Prefix sharing for training is
known from reinforcement learning (Prefix Grouper, arXiv 2506.05433); ours has many prefixes in one pass,
and chooses them by dynamic programming. Nothing here knows a model: it is integers in, tensors out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import torch

from agent_memory.models.ragged import Piece, Pieces, gather

Form = Literal["ragged", "packed", "padded"]

#: Shortest row of the packed form, in tokens (chosen).
ROW_TOKENS = 256
#: Most members of a tree; bounds the search for the best partition (chosen).
_MEMBERS = 128
#: Rows are padded to a multiple of this, so that libraries meet the same shapes again (chosen).
_MULTIPLE = 64


@dataclass(frozen=True, slots=True)
class Span:
    """Token ids, of which those from `start` on are predicted: a prompt and its answer."""

    ids: tuple[int, ...]
    start: int

    @property
    def predicted(self) -> int:
        """How many tokens are predicted."""
        return len(self.ids) - self.start


@dataclass(frozen=True, slots=True)
class Tree:
    """Sequences, by index, that share their first `prefix` tokens; together they need `tokens` of a row."""

    members: tuple[int, ...]
    prefix: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Batch:
    """One forward pass over some of the sequences.

    `ids` and `positions` are (B, L) int64; `mask` is (B, L) int64 in the padded form, `pieces` is there in
    the ragged one. `members` are the sequences in it; `at` holds, for the predicted tokens of all members
    in order, the flat position in B * L of the token before, whose output predicts it.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    mask: torch.Tensor | None
    pieces: Pieces | None
    members: tuple[int, ...]
    at: torch.Tensor


def common_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    """How many leading tokens are equal."""
    for i, (a, b) in enumerate(zip(first, second, strict=False)):
        if a != b:
            return i
    return min(len(first), len(second))


def plant(sequences: Sequence[Sequence[int]], *, capacity: int, most: int | None = None) -> list[Tree]:
    """Partitions the sequences into trees with the fewest tokens in all.

    Sorted sequences make common prefixes neighbours, so the best partition is one of the sorted list into
    runs; dynamic programming finds it. A tree has at most `capacity` tokens, unless one sequence alone is
    longer, and at most `most` members.
    """
    order = sorted(range(len(sequences)), key=lambda i: tuple(sequences[i]))
    lengths = [len(sequences[i]) for i in order]
    shared = [0] + [common_prefix(sequences[a], sequences[b]) for a, b in pairwise(order)]
    best: list[tuple[int, int, int, int]] = [(0, 0, 0, 0)]  # tokens so far, first member, prefix, tree tokens
    for end in range(1, len(order) + 1):
        prefix, total, chosen = lengths[end - 1], 0, None
        for first in range(end - 1, -1, -1):
            total += lengths[first]
            count = end - first
            prefix = min(prefix, shared[first + 1] if count > 1 else lengths[first])
            tokens = total - prefix * (count - 1)
            if count > 1 and (tokens > capacity or (most is not None and count > most)):
                break
            if chosen is None or best[first][0] + tokens < chosen[0]:
                chosen = (best[first][0] + tokens, first, prefix, tokens)
        assert chosen is not None
        best.append(chosen)
    trees, end = [], len(order)
    while end:
        _, first, prefix, tokens = best[end]
        trees.append(Tree(tuple(order[first:end]), prefix, tokens))
        end = first
    return trees[::-1]


def batches(
    spans: Sequence[Span], *, form: Form, forward_tokens: int, device: str = "cpu"
) -> list[Batch]:
    """All spans in batches of at most `forward_tokens` tokens, or one sequence where that alone is longer.

    Padding counts, but for the few tokens that round a ragged row up.
    """
    if form == "ragged":
        trees = plant([span.ids for span in spans], capacity=forward_tokens, most=_MEMBERS)
        return [_ragged(spans, run, device=device) for run in _filled(trees, forward_tokens=forward_tokens)]
    rows = _rows(spans, capacity=min(ROW_TOKENS, forward_tokens)) if form == "packed" else [
        [i] for i in range(len(spans))
    ]
    return [
        _rectangle(spans, run, masked=form == "padded", device=device)
        for run in _by_size(spans, rows, forward_tokens=forward_tokens)
    ]


def _filled(trees: Sequence[Tree], *, forward_tokens: int) -> list[list[Tree]]:
    """The trees in order, cut into runs."""
    runs: list[list[Tree]] = []
    room = 0
    for tree in trees:
        if not runs or tree.tokens > room:
            runs.append([])
            room = forward_tokens
        runs[-1].append(tree)
        room -= tree.tokens
    return runs


def _ragged(spans: Sequence[Span], trees: Sequence[Tree], *, device: str) -> Batch:
    """Trees end to end in one row."""
    length = -(-sum(tree.tokens for tree in trees) // _MULTIPLE) * _MULTIPLE
    ids, positions = np.zeros((2, length), dtype=np.int64)
    pieces: list[Piece] = []
    members: list[int] = []
    at: list[np.ndarray[tuple[int], np.dtype[np.int64]]] = []
    column = 0
    for tree in trees:
        trunk = range(column, column + tree.prefix)
        if trunk:
            ids[trunk] = spans[tree.members[0]].ids[: tree.prefix]
            positions[trunk] = np.arange(tree.prefix)
            pieces.append(Piece(trunk, range(0)))
            column = trunk.stop
        for member in tree.members:
            span = spans[member]
            own = range(column, column + len(span.ids) - tree.prefix)
            if own:
                ids[own] = span.ids[tree.prefix :]
                positions[own] = np.arange(tree.prefix, len(span.ids))
                pieces.append(Piece(own, trunk))
                column = own.stop
            place = np.concatenate([np.asarray(trunk, dtype=np.int64), np.asarray(own, dtype=np.int64)])
            members.append(member)
            at.append(place[span.start - 1 : len(span.ids) - 1])
    return Batch(
        torch.from_numpy(ids[None]).to(device), torch.from_numpy(positions[None]).to(device), None,
        gather(pieces, length=length, device=device), tuple(members),
        torch.from_numpy(np.concatenate(at)).to(device),
    )


def _rows(spans: Sequence[Span], *, capacity: int) -> list[list[int]]:
    """First fit, longest sequence first; capacity doubles from class to class of length."""
    rows: list[list[int]] = []
    room: list[int] = []
    for i in sorted(range(len(spans)), key=lambda i: -len(spans[i].ids)):
        size = len(spans[i].ids)
        limit = capacity
        while limit < size:
            limit *= 2
        for r, left in enumerate(room):
            if size <= left:
                rows[r].append(i)
                room[r] -= size
                break
        else:
            rows.append([i])
            room.append(limit - size)
    return rows


def _by_size(
    spans: Sequence[Span], rows: Sequence[list[int]], *, forward_tokens: int
) -> list[list[list[int]]]:
    """Runs of rows of like length, whose padded size is at most `forward_tokens`."""
    sizes = sorted(((sum(len(spans[i].ids) for i in row), row) for row in rows), reverse=True)
    runs: list[list[list[int]]] = []
    longest = 0
    for size, row in sizes:
        if runs and longest * (len(runs[-1]) + 1) <= forward_tokens and 2 * size > longest:
            runs[-1].append(row)
        else:
            longest = size
            runs.append([row])
    return runs


def _rectangle(spans: Sequence[Span], rows: Sequence[list[int]], *, masked: bool, device: str) -> Batch:
    """Rows of whole sequences, padded on the right; padding has position 0, a sequence of its own each."""
    length = max(sum(len(spans[i].ids) for i in row) for row in rows)
    ids, positions, known = np.zeros((3, len(rows), length), dtype=np.int64)
    members: list[int] = []
    at: list[int] = []
    for r, row in enumerate(rows):
        column = 0
        for i in row:
            span, end = spans[i], column + len(spans[i].ids)
            ids[r, column:end] = span.ids
            positions[r, column:end] = np.arange(len(span.ids))
            known[r, column:end] = 1
            members.append(i)
            at += range(r * length + column + span.start - 1, r * length + end - 1)
            column = end
    return Batch(
        torch.from_numpy(ids).to(device), torch.from_numpy(positions).to(device),
        torch.from_numpy(known).to(device) if masked else None, None, tuple(members),
        torch.tensor(at, dtype=torch.long, device=device),
    )
