"""Muon for the matrices, Adam for the rest, each worker on its own share of the weights.

Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/) makes the momentum of a matrix
orthogonal by five Newton-Schulz steps and follows that; here whole stacks of equal matrices are done at
once. Adam (arXiv:1412.6980) takes the embedding and the norms. The state lives in flat tensors beside the
weights, so that a checkpoint is three tensors and workers may share them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

Tensor = torch.Tensor
MATRICES = ("qkv", "o", "up", "down")
COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic, from the Muon page
MOMENTUM = 0.95
BETAS, TINY = (0.9, 0.98), 1e-10
#: The embedding starts at spread one and learns so much faster; copying comes sooner (measured).
EMBEDDING_SPEED = 10.0
LARGEST = 1.0  # the gradient's norm is cut to this


def orthogonal(matrices: Tensor) -> Tensor:
    """The nearest orthogonal matrices, roughly, (B, rows, columns): singular values in about [0.7, 1.2]."""
    a, b, c = COEFFICIENTS
    x = matrices.bfloat16()
    wide = x.shape[-2] <= x.shape[-1]
    if not wide:
        x = x.mT
    x = (x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)).contiguous()
    for _ in range(5):
        gram = x @ x.mT
        x = torch.baddbmm(x, b * gram + c * gram @ gram, x, beta=a)
    return x if wide else x.mT


def views(flat: Tensor, shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Named pieces of one flat tensor, in the order of `shapes`."""
    sizes = [math.prod(shape) for shape in shapes.values()]
    pieces = flat[: sum(sizes)].split(sizes)
    return {name: piece.view(shape) for (name, shape), piece in zip(shapes.items(), pieces, strict=True)}


class Optimiser:
    """Updates the share `rank` of `world` of the weights; the flat tensors may be shared memory."""

    def __init__(
        self,
        shapes: dict[str, tuple[int, ...]],
        weights: Tensor,
        first: Tensor,
        second: Tensor,
        *,
        rank: int,
        world: int,
    ) -> None:
        self.rank, self.world = rank, world
        self.weights, self.first, self.second = (views(flat, shapes) for flat in (weights, first, second))
        self.shapes = shapes
        self.mean: dict[str, Tensor] = {}

    def _mine(self, named: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
        for name, tensor in named.items():
            yield name, tensor[self.rank :: self.world]  # layers of a stack, rows of a table

    def collect(self, gradients: list[Tensor], *, count: float) -> float:
        """Averages the workers' summed gradients over `count` tokens; the squared norm of this share."""
        parts = [dict(self._mine(views(flat, self.shapes))) for flat in gradients]
        self.mean = {name: sum((p[name] for p in parts[1:]), parts[0][name]) / count for name in parts[0]}
        return sum(float(g.square().sum()) for g in self.mean.values())

    @torch.no_grad()
    def step(self, *, norm: float, muon: float, adam: float, decay: float, number: int) -> None:
        """One update; `norm` of the whole gradient, two learning rates, `number` counts from 1."""
        cut = min(1.0, LARGEST / (norm + 1e-12))
        weights, first, second = (dict(self._mine(x)) for x in (self.weights, self.first, self.second))
        for name, gradient in self.mean.items():
            gradient = gradient * cut
            if name in MATRICES:
                momentum = first[name].lerp_(gradient, 1 - MOMENTUM)
                ahead = gradient.lerp(momentum, MOMENTUM)  # Nesterov
                rows, columns = ahead.shape[-2:]
                turned = orthogonal(ahead.reshape(-1, rows, columns)).view(ahead.shape)
                weights[name].mul_(1 - muon * decay)
                weights[name].add_(turned, alpha=-muon * math.sqrt(max(1.0, rows / columns)))
            else:
                m = first[name].lerp_(gradient, 1 - BETAS[0]) / (1 - BETAS[0] ** number)
                v = second[name].lerp_(gradient.square(), 1 - BETAS[1]) / (1 - BETAS[1] ** number)
                speed = adam * EMBEDDING_SPEED if name == "embed" else adam
                weights[name].sub_(speed * m / (v.sqrt() + TINY))
