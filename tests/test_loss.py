"""The loss obeys the identities of a divergence whose tail is one bucket."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_memory.consolidation.loss import TAIL_FLOOR, chunked, log1mexp, topk_kl

VOCABULARY = 13
seeds = st.integers(0, 2**31)
sharpness = st.floats(0.1, 8.0)


def pair(seed: int, scale: float, *, rows: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities of a teacher and logits of a student, (rows, V) each."""
    generator = torch.Generator().manual_seed(seed)
    teacher, student = (
        scale * torch.randn(rows, VOCABULARY, generator=generator, dtype=torch.float64) for _ in range(2)
    )
    return teacher.log_softmax(-1), student


def kept(teacher: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    best = teacher.topk(k, dim=-1)
    return best.indices.int(), best.values


def full_kl(teacher: torch.Tensor, student: torch.Tensor) -> torch.Tensor:
    return (teacher.exp() * (teacher - student.log_softmax(-1))).sum(-1)


@given(seeds, sharpness)
@settings(deadline=None, max_examples=40)
def test_it_does_not_decrease_in_k_and_never_exceeds_the_full_divergence(seed: int, scale: float) -> None:
    teacher, student = pair(seed, scale)
    by_k = torch.stack([topk_kl(student, *kept(teacher, k)).loss for k in range(1, VOCABULARY + 1)])
    slack = 100 * TAIL_FLOOR  # under its floor the tail term is left out
    assert bool((by_k.diff(dim=0) >= -slack).all())
    assert bool((by_k <= full_kl(teacher, student) + slack).all())
    assert bool((by_k >= -slack).all())


@given(seeds, sharpness)
@settings(deadline=None, max_examples=40)
def test_it_is_the_full_divergence_when_k_is_the_vocabulary(seed: int, scale: float) -> None:
    teacher, student = pair(seed, scale)
    torch.testing.assert_close(
        topk_kl(student, *kept(teacher, VOCABULARY)).loss, full_kl(teacher, student), atol=1e-9, rtol=1e-9
    )


@given(seeds, sharpness, st.integers(1, VOCABULARY))
@settings(deadline=None, max_examples=40)
def test_it_is_zero_with_zero_gradient_where_both_agree(seed: int, scale: float, k: int) -> None:
    teacher, _ = pair(seed, scale)
    student = (teacher + 3.0).requires_grad_()  # logits are free up to a constant
    loss = topk_kl(student, *kept(teacher, k)).loss
    loss.sum().backward()
    torch.testing.assert_close(loss, torch.zeros_like(loss), atol=1e-7, rtol=0)
    assert student.grad is not None
    torch.testing.assert_close(student.grad, torch.zeros_like(student.grad), atol=1e-5, rtol=0)


@given(seeds, sharpness, st.integers(1, VOCABULARY))
@settings(deadline=None, max_examples=40)
def test_it_is_the_divergence_once_the_tail_is_one_token(seed: int, scale: float, k: int) -> None:
    teacher, student = pair(seed, scale)
    indices, log_probs = kept(teacher, k)
    inside = torch.zeros_like(teacher, dtype=torch.bool).scatter(1, indices.long(), value=True)

    def merged(distribution: torch.Tensor) -> torch.Tensor:
        chosen = distribution.gather(1, indices.long())
        tail = distribution.masked_fill(inside, 0.0).sum(-1, keepdim=True)
        return torch.cat([chosen, tail], dim=-1)

    p, q = merged(teacher.exp()), merged(student.softmax(-1))
    expected = torch.where(p > 0, p * (p / q).log(), torch.zeros_like(p)).sum(-1)
    loss = topk_kl(student, indices, log_probs).loss
    torch.testing.assert_close(loss, expected, atol=100 * TAIL_FLOOR, rtol=1e-6)


@given(seeds, st.floats(0.1, 3.0), st.integers(1, VOCABULARY))
@settings(deadline=None, max_examples=40)
def test_single_precision_is_enough(seed: int, scale: float, k: int) -> None:
    teacher, student = pair(seed, scale)
    indices, log_probs = kept(teacher, k)
    single = topk_kl(student.float(), indices, log_probs.float()).loss
    torch.testing.assert_close(
        single.double(), topk_kl(student, indices, log_probs).loss, atol=2e-3, rtol=1e-3
    )


@pytest.mark.parametrize("gap", [0.0, 20.0, 200.0, 2000.0])
@pytest.mark.parametrize("k", [1, 3, VOCABULARY])
def test_loss_and_gradient_are_finite_however_sure_the_two_are(gap: float, k: int) -> None:
    teacher = torch.zeros(1, VOCABULARY)
    teacher[0, 0] = gap
    for place in (0, 1):
        student = torch.zeros(1, VOCABULARY)
        student[0, place] = gap
        student.requires_grad_()
        loss = topk_kl(student, *kept(teacher.log_softmax(-1), k)).loss
        loss.sum().backward()
        assert student.grad is not None
        assert bool(torch.isfinite(loss).all())
        assert bool(torch.isfinite(student.grad).all())


@given(seeds, sharpness, st.integers(1, VOCABULARY), st.integers(1, 9))
@settings(deadline=None, max_examples=50)
def test_chunks_change_neither_loss_nor_gradient(seed: int, scale: float, k: int, chunk: int) -> None:
    teacher, _ = pair(seed, scale, rows=8)
    generator = torch.Generator().manual_seed(seed)
    head = torch.randn(5, VOCABULARY, generator=generator, dtype=torch.float64)
    whole = torch.randn(8, 5, generator=generator, dtype=torch.float64).requires_grad_()
    parts = whole.detach().clone().requires_grad_()
    weights = torch.rand(8, generator=generator, dtype=torch.float64)
    indices, log_probs = kept(teacher, k)
    (topk_kl(whole @ head, indices, log_probs).loss * weights).sum().backward()
    total, found = chunked(
        parts, indices, log_probs, weights=weights, head=lambda hidden: hidden @ head, chunk=chunk
    )
    (2.0 * total).backward()  # type: ignore[no-untyped-call]
    assert whole.grad is not None
    assert parts.grad is not None
    torch.testing.assert_close(parts.grad, 2.0 * whole.grad)
    torch.testing.assert_close((found.loss * weights).sum(), total.detach())


@given(seeds)
@settings(deadline=None, max_examples=25)
def test_tokens_of_no_weight_change_nothing(seed: int) -> None:
    teacher, student = pair(seed, 2.0, rows=6)
    indices, log_probs = kept(teacher, 4)
    weights = torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
    gradients = []
    for tail in (student[3:], student[3:].flip(-1)):
        leaf = torch.cat([student[:3], tail]).requires_grad_()
        chunked(leaf, indices, log_probs, weights=weights, head=lambda x: x, chunk=4)[0].backward()  # type: ignore[no-untyped-call]
        assert leaf.grad is not None
        assert bool((leaf.grad[3:] == 0).all())
        gradients.append(leaf.grad[:3])
    assert torch.equal(*gradients)


def test_the_gradient_is_that_of_finite_differences() -> None:
    teacher, student = pair(7, 1.5, rows=2)
    indices, log_probs = kept(teacher, 4)
    student.requires_grad_()
    assert torch.autograd.gradcheck(lambda logits: topk_kl(logits, indices, log_probs).loss, (student,))


@given(st.floats(-60.0, -1e-5))
def test_log1mexp_is_the_logarithm_of_the_rest(x: float) -> None:
    exact = torch.log(-torch.expm1(torch.tensor(x, dtype=torch.float64)))
    torch.testing.assert_close(log1mexp(torch.tensor(x, dtype=torch.float64)), exact, atol=1e-12, rtol=1e-9)
