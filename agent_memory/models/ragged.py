"""Attention over trees laid end to end: each piece looks at its prefix and at itself, and at nothing else.

All tokens of a batch stand in one row without padding, so the linear layers waste nothing. For attention
they are cut into *pieces*: the prefix of a tree, and each branch. A branch of m tokens after a prefix of n
needs m x (n + m) scores; a mask over packed rows would compute one for every pair in a row, several times
as many. Pieces of like size are gathered into a group and computed as one batch.

transformers calls this function by the name `RAGGED`, and hands it the pieces that `LocalModel` gives to
the decoder. It knows full causal attention only and refuses anything else, whereupon `forms.py` tries
another form.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

RAGGED = "agent_memory_ragged"

#: A group is closed when padding would make it this much larger than what is in it, in scores (chosen).
_PADDING = 1.6
#: Groups smaller than this many scores are not worth their own call (chosen).
_SMALL = 16384


@dataclass(frozen=True, slots=True)
class Piece:
    """Tokens `own` of a row, which see tokens `before` and, in order, themselves."""

    own: range
    before: range


@dataclass(frozen=True, slots=True)
class Group:
    """Pieces of like size: (P, Q) and (P, K) places in the row, and what is added to scores (P, 1, Q, K)."""

    queries: torch.Tensor
    keys: torch.Tensor
    bias: torch.Tensor


@dataclass(frozen=True, slots=True)
class Pieces:
    """Groups, and for each token of the row (T,) where its output stands in all groups' outputs."""

    groups: tuple[Group, ...]
    order: torch.Tensor


def gather(pieces: Sequence[Piece], *, length: int, device: str) -> Pieces:
    """The pieces of a row of `length` tokens in groups; tokens in no piece get the output of any."""
    order = np.zeros(length, dtype=np.int64)
    groups: list[Group] = []
    first = 0
    for run in _alike(pieces):
        q = max(len(piece.own) for piece in run)
        k = max(len(piece.own) + len(piece.before) for piece in run)
        queries = np.zeros((len(run), q), dtype=np.int64)
        keys = np.zeros((len(run), k), dtype=np.int64)
        bias = np.full((len(run), 1, q, k), -np.inf, dtype=np.float32)
        for i, piece in enumerate(run):
            n, m = len(piece.before), len(piece.own)
            queries[i, :m] = piece.own
            keys[i, :n], keys[i, n : n + m] = piece.before, piece.own
            bias[i, 0, :m, :n] = 0.0
            bias[i, 0, :m, n : n + m] = np.triu(np.full((m, m), -np.inf, dtype=np.float32), 1)
            bias[i, 0, m:, 0] = 0.0  # padding looks at anything, so that no row is empty
            order[piece.own] = first + i * q + np.arange(m)
        first += len(run) * q
        tensors = (torch.from_numpy(array).to(device) for array in (queries, keys, bias))
        groups.append(Group(*tensors))
    return Pieces(tuple(groups), torch.from_numpy(order).to(device))


def _alike(pieces: Sequence[Piece]) -> list[list[Piece]]:
    """Runs of pieces whose padded scores are not many more than their own."""
    ordered = sorted(pieces, key=lambda piece: (-len(piece.own) - len(piece.before), piece.own.start))
    runs: list[list[Piece]] = []
    own = widest = longest = 0
    for piece in ordered:
        q, k = len(piece.own), len(piece.own) + len(piece.before)
        grown = max(longest, q)
        padded = (len(runs[-1]) + 1) * grown * widest if runs else 0
        if runs and padded <= max(_PADDING * (own + q * k), _SMALL):
            runs[-1].append(piece)
            own, longest = own + q * k, grown
        else:
            runs.append([piece])
            own, widest, longest = q * k, k, q
    return runs


def attention(
    _module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float,
    pieces: Pieces,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Any = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """(1, T, H, D) attention of query (1, H, T, D) to key and value (1, G, T, D), as transformers calls it.

    Raises:
        NotImplementedError: the model asks for more than full causal attention.
    """
    if any(extra is not None for extra in (attention_mask, sliding_window, softcap, s_aux)):
        raise NotImplementedError("full causal attention only")
    heads, repeats = query.shape[1], query.shape[1] // key.shape[1]
    rows = [tensor[0].transpose(0, 1).flatten(1) for tensor in (query, key, value)]  # (T, H or G D)
    outputs = []
    for group in pieces.groups:
        q = _pick(rows[0], group.queries, heads)  # (P, H, Q, D)
        k, v = (_pick(row, group.keys, key.shape[1]) for row in rows[1:])  # (P, G, K, D)
        if repeats > 1:
            k, v = (tensor.repeat_interleave(repeats, dim=1) for tensor in (k, v))
        if q.device.type == "cpu":  # its fused kernel is slower on many short sequences
            scores = (q * scaling) @ k.transpose(-1, -2) + group.bias.to(q.dtype)  # (P, H, Q, K)
            out = scores.softmax(-1) @ v
        else:
            bias = group.bias.to(q.dtype)
            out = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scaling)
        outputs.append(out.transpose(1, 2).flatten(2).flatten(0, 1))  # (P Q, H D)
    together = torch.cat(outputs).index_select(0, pieces.order)  # (T, H D)
    return together.view(1, len(together), heads, -1), None


def _pick(row: torch.Tensor, places: torch.Tensor, heads: int) -> torch.Tensor:
    """(P, H, N, D) of a row (T, H D) at places (P, N)."""
    return row.index_select(0, places.flatten()).view(*places.shape, heads, -1).transpose(1, 2)


def register() -> None:
    """Makes the function known to transformers; again is harmless."""
    from transformers import AttentionInterface

    AttentionInterface.register(RAGGED, attention)
