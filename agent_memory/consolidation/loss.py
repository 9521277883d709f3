"""The loss: KL from the teacher's top-k distribution to the student's, with everything else as one bucket.

With K the teacher's k most probable tokens, p the teacher and q the student,

    L = sum over K of p (log p - log q)  +  p_T (log p_T - log q_T)
    p_T = 1 - sum over K of p            log q_T = log1mexp(logsumexp over K of log q)

It is the KL between the two distributions after all tokens outside K were merged into one. Merging loses
information, so L is at most the full KL, never negative, does not decrease in k, equals the full KL at k =
V, and is zero where the two agree. The second term is left out where p_T < 1e-6: there it is rounding
error. In contrast to a KL over K alone, the bucket makes the student pay for mass that it puts on tokens
the teacher did not rank; in contrast to renormalising, a sharp teacher stays sharp. TRL's
`distillation_add_tail` has the same bucket.

The head is frozen, so its gradient is never needed, and the gradient of L with respect to a hidden state is
small. `chunked` therefore computes that gradient chunk by chunk in the forward pass and keeps nothing else:
logits exist for one chunk at a time only. Liger's fused losses have the same idea, with full-vocabulary
targets and kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

#: Below this the teacher's tail is rounding error of float32 sums.
TAIL_FLOOR = 1e-6

Head = Callable[[torch.Tensor], torch.Tensor]


class TokenLoss(NamedTuple):
    """Per answer token (N,): the loss in nats; the student's log-probability of the teacher's first one."""

    loss: torch.Tensor
    best: torch.Tensor


def topk_kl(logits: torch.Tensor, indices: torch.Tensor, log_probs: torch.Tensor) -> TokenLoss:
    """The loss per token from the student's logits (N, V) and targets of shape (N, k).

    `indices` are the teacher's most probable tokens in falling order, `log_probs` theirs. Computed in
    float32 (in float64 if the logits are), where a student that leaves less than 1e-7 to the tail counts as
    leaving 1e-7.
    """
    exact = logits if logits.dtype == torch.float64 else logits.float()
    log_q = torch.log_softmax(exact, dim=-1).gather(1, indices.long())  # (N, k)
    p = log_probs.exp()  # (N, k)
    head = torch.where(p > 0, p * (log_probs - log_q), torch.zeros_like(p)).sum(dim=-1)  # 0 log 0 = 0
    p_tail = (1.0 - p.sum(dim=-1)).clamp(min=0.0)  # (N,)
    has_tail = p_tail >= TAIL_FLOOR
    log_q_tail = log1mexp(log_q.logsumexp(dim=-1))
    some = torch.where(has_tail, p_tail, torch.ones_like(p_tail))  # a number whose logarithm is finite
    tail = torch.where(has_tail, some * (some.log() - log_q_tail), torch.zeros_like(some))
    return TokenLoss(head + tail, log_q[:, 0])


def log1mexp(x: torch.Tensor) -> torch.Tensor:
    """log(1 - exp(x)) for x <= 0, by the half that is exact (Mächler 2012); finite, with finite gradients."""
    x = x.clamp(max=-torch.finfo(x.dtype).eps)
    near = x > -0.6931471805599453  # log 2
    first = torch.log(-torch.expm1(torch.where(near, x, torch.full_like(x, -0.1))))
    second = torch.log1p(-torch.exp(torch.where(near, torch.full_like(x, -1.0), x)))
    return torch.where(near, first, second)


def chunked(
    hidden: torch.Tensor,
    indices: torch.Tensor,
    log_probs: torch.Tensor,
    *,
    weights: torch.Tensor,
    head: Head,
    chunk: int,
) -> tuple[torch.Tensor, TokenLoss]:
    """The weighted sum of `topk_kl` over hidden states (N, D), and its parts per token, detached.

    `weights` is (N,). Only `hidden` gets a gradient, and only of the sum; `head` must be frozen.
    """
    total, loss, best = _Chunked.apply(hidden, indices, log_probs, weights, head, chunk)  # type: ignore[no-untyped-call]  # in torch
    return total, TokenLoss(loss, best)


class _Chunked(torch.autograd.Function):
    """Computes loss and gradient together, `chunk` tokens at a time, in the forward pass."""

    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, indices: torch.Tensor, log_probs: torch.Tensor, weights: torch.Tensor,
        head: Head, chunk: int,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        gradient = torch.empty_like(hidden)  # (N, D)
        losses, bests = [], []
        for first in range(0, len(hidden), chunk):
            part = slice(first, first + chunk)
            with torch.enable_grad():
                leaf = hidden[part].detach().requires_grad_()
                loss, best = topk_kl(head(leaf), indices[part], log_probs[part])
                (gradient[part],) = torch.autograd.grad((loss * weights[part]).sum(), leaf)
            losses.append(loss.detach())
            bests.append(best.detach())
        ctx.save_for_backward(gradient)
        loss, best = torch.cat(losses), torch.cat(bests)
        ctx.mark_non_differentiable(loss, best)
        return (loss * weights).sum(), loss, best

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return gradient * gradients[0], None, None, None, None, None
