"""LoRA's linear module in few products: the same as PEFT's, with less to store and to add.

PEFT computes y = W x + scale * B (A x) as separate modules, each with its own autograd nodes and
temporaries of the size of y. Here one node does it in place, and keeps x and A x for the backward pass
only:

    u = x A'      y = x W' + scale * u B'
    v = g B       dx = g W + scale * v A      dA = scale * v' x      dB = scale * g' u

It stands in for PEFT's forward where nothing else was asked for (float32 on the CPU, one adapter, no
dropout, no DoRA), and is left aside otherwise. Adapters, files and names are PEFT's all the same.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional


def fuse(network: Any) -> None:
    """Puts the fused forward into every LoRA linear module of the network that has not got it yet."""
    from peft.tuners.lora import Linear

    for module in network.modules():
        if isinstance(module, Linear) and "forward" not in vars(module):
            module.forward = _forward_of(module)


def _forward_of(layer: Any) -> Any:
    """The forward of one LoRA module: fused where it may be, else PEFT's own."""
    general = layer.forward

    def forward(x: torch.Tensor, *arguments: Any, **keywords: Any) -> torch.Tensor:
        base = layer.base_layer
        if layer.disable_adapters or not layer.active_adapters:
            return base(x)  # type: ignore[no-any-return]  # torch's
        name = layer.active_adapters[0]
        plain = (
            type(base) is torch.nn.Linear and base.weight.dtype == torch.float32 and x.device.type == "cpu"
            and x.dtype == torch.float32 and len(layer.active_adapters) == 1 and not layer.merged
            and name in layer.lora_A and isinstance(layer.lora_dropout[name], torch.nn.Identity)
            and not layer.use_dora.get(name, False) and not arguments and not keywords
        )  # fmt: skip
        if not plain:
            return general(x, *arguments, **keywords)  # type: ignore[no-any-return]  # PEFT's
        a, b = layer.lora_A[name].weight, layer.lora_B[name].weight
        return lora_linear(x, base.weight, base.bias, a, b, scale=layer.scaling[name])

    return forward


def lora_linear(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, a: torch.Tensor, b: torch.Tensor,
    *, scale: float,
) -> torch.Tensor:
    """The product of x (..., in) with W (out, in) + scale * B (out, r) A (r, in); W and bias are frozen."""
    y: torch.Tensor = _LoraLinear.apply(x.flatten(0, -2), weight, bias, a, b, scale)  # type: ignore[no-untyped-call]
    return y.view(*x.shape[:-1], -1)


class _LoraLinear(torch.autograd.Function):
    """See the module's docstring; x is (N, in)."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, a: torch.Tensor,
        b: torch.Tensor, scale: float,
    ) -> torch.Tensor:
        u = x @ a.T  # (N, r)
        ctx.save_for_backward(x, u, weight, a, b)
        ctx.scale = scale
        return functional.linear(x, weight, bias).addmm_(u, b.T, alpha=scale)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, u, weight, a, b = ctx.saved_tensors
        g = gradients[0]  # (N, out)
        v = g @ b  # (N, r)
        dx = (g @ weight).addmm_(v, a, alpha=ctx.scale) if ctx.needs_input_grad[0] else None
        return dx, None, None, (v.T @ x) * ctx.scale, (g.T @ u) * ctx.scale, None
