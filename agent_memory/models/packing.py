"""Packing: many short sequences in few rows, each common prefix computed once.

Study items are short and begin alike: the same system text, or the same context block before many questions.
A *tree* is one prefix and the branches that continue it; a row holds trees side by side. Every token sees its
own branch, its tree's prefix and nothing else, so that the model computes for each sequence what it would
compute alone:

    row        p p p a a b b b | q q c c d          two trees: p with a and b, q with c and d
    position   0 1 2 3 4 3 4 5   0 1 2 3 2

Three forms of the same batch, from the fastest to the most widely supported:

- `shared`: trees, with a mask of the allowed pairs (4D, so models use it as it is);
- `packed`: sequences side by side with restarting positions and no mask, from which transformers derives one;
- `padded`: one sequence to a row, with the usual mask.

`LocalModel` checks at load which form its architecture computes rightly. Prefix sharing for training is known
from reinforcement learning (Prefix Grouper, arXiv 2506.05433); ours puts several prefixes into a row, and
chooses them by dynamic programming. Nothing here knows a model: it is integers in, tensors out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import torch

Form = Literal["shared", "packed", "padded"]

#: Shortest row capacity in tokens: under it rows waste prefixes, above it attention over unrelated tokens
#: grows (chosen; 256 and 512 took the same time on two CPU cores with a 3 M model).
ROW_TOKENS = 256


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

    `ids` and `positions` are (B, L) int64; `mask` is (B, 1, L, L) bool, (B, L) int64 or None by form.
    `members` are the sequences in it; `at` holds, for the predicted tokens of all members in order, the flat
    position in B * L of the token before, whose output predicts it.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    mask: torch.Tensor | None
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


def batches(spans: Sequence[Span], *, form: Form, forward_tokens: int, device: str = "cpu") -> list[Batch]:
    """All spans in batches of at most `forward_tokens` tokens with padding, or one row where that is longer.

    Spans of like length go together: row capacity doubles from `ROW_TOKENS` on.
    """
    classes: dict[int, list[int]] = {}
    for i, span in enumerate(spans):
        capacity = min(ROW_TOKENS, forward_tokens)
        while capacity < len(span.ids):
            capacity *= 2
        classes.setdefault(capacity, []).append(i)
    result = []
    for capacity, members in sorted(classes.items()):
        rows_of_class = _rows(spans, members, form=form, capacity=capacity)
        for rows in _by_size(rows_of_class, forward_tokens=forward_tokens):
            result.append(_tensors(spans, rows, form=form, device=device))
    return result


def _rows(spans: Sequence[Span], members: list[int], *, form: Form, capacity: int) -> list[list[Tree]]:
    """Rows of trees: first fit, largest tree first."""
    ids = [spans[i].ids for i in members]
    if form == "shared":
        planted = plant(ids, capacity=capacity)
        trees = [Tree(tuple(members[m] for m in t.members), t.prefix, t.tokens) for t in planted]
    else:
        trees = [Tree((i,), len(spans[i].ids), len(spans[i].ids)) for i in members]
    trees.sort(key=lambda tree: (-tree.tokens, tree.members))
    if form == "padded":
        return [[tree] for tree in trees]
    rows: list[list[Tree]] = []
    room: list[int] = []
    for tree in trees:
        for r, left in enumerate(room):
            if tree.tokens <= left:
                rows[r].append(tree)
                room[r] -= tree.tokens
                break
        else:
            rows.append([tree])
            room.append(capacity - tree.tokens)
    return rows


def _by_size(rows: list[list[Tree]], *, forward_tokens: int) -> list[list[list[Tree]]]:
    """Runs of rows whose padded size is at most `forward_tokens`."""
    rows = sorted(rows, key=lambda row: -sum(tree.tokens for tree in row))
    runs: list[list[list[Tree]]] = []
    longest = 0
    for row in rows:
        if runs and longest * (len(runs[-1]) + 1) <= forward_tokens:
            runs[-1].append(row)
        else:
            longest = sum(tree.tokens for tree in row)
            runs.append([row])
    return runs


def _tensors(spans: Sequence[Span], rows: list[list[Tree]], *, form: Form, device: str) -> Batch:
    """The tensors of some rows; see `Batch`."""
    length = max(sum(tree.tokens for tree in row) for row in rows)
    ids, positions, branch, trunk = np.zeros((4, len(rows), length), dtype=np.int64)
    members: list[int] = []
    at: list[int] = []
    for r, row in enumerate(rows):
        column, number = 0, 0

        def put(tokens: Sequence[int], *, position: int, root: int) -> int:
            """Writes one piece at the row's end; returns its first column."""
            nonlocal column, number
            first, number = column, number + 1
            column += len(tokens)
            ids[r, first:column] = tokens  # noqa: B023  # called within this turn of the loop only
            positions[r, first:column] = np.arange(position, position + len(tokens))  # noqa: B023  # as above
            branch[r, first:column], trunk[r, first:column] = number, root or number  # noqa: B023  # as above
            return first

        for tree in row:
            base = put(spans[tree.members[0]].ids[: tree.prefix], position=0, root=0)
            root = number
            for member in tree.members:
                span = spans[member]
                shift = put(span.ids[tree.prefix :], position=tree.prefix, root=root) - tree.prefix
                members.append(member)
                at += [
                    r * length + t + (base if t < tree.prefix else shift)
                    for t in range(span.start - 1, len(span.ids) - 1)
                ]
    seen: torch.Tensor | None = None
    if form == "shared":
        seen = _mask(torch.from_numpy(branch), torch.from_numpy(trunk)).to(device)
    elif form == "padded":
        seen = torch.from_numpy((branch > 0).astype(np.int64)).to(device)
    return Batch(
        torch.from_numpy(ids).to(device),
        torch.from_numpy(positions).to(device),
        seen,
        tuple(members),
        torch.tensor(at, dtype=torch.long, device=device),
    )


def _mask(branch: torch.Tensor, trunk: torch.Tensor) -> torch.Tensor:
    """(B, 1, L, L): query i sees key j when j is not later and in i's branch or its tree's prefix.

    `branch` numbers the pieces of a row from 1, pads are 0; `trunk` is the number of the prefix before a
    piece.
    """
    query, key = branch[:, :, None], branch[:, None, :]  # (B, L, 1), (B, 1, L)
    allowed = (query == key) | (trunk[:, :, None] == key)
    causal = torch.ones(branch.shape[1], branch.shape[1], dtype=torch.bool).tril()
    return (allowed & causal)[:, None]
