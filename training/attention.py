"""Causal attention over packed conversations: our kernel on a CPU, PyTorch's own everywhere else.

Both formulations take the projections of N tokens of several conversations laid end to end, (N, 3, H, 32),
and where each conversation starts, (docs + 1,). No token sees another conversation. The kernel
(attention.cpp) is built by the machine's own compiler at first use and cached under `runs/`; without a
compiler, on another device or in float32 the masked formulation below does the same, slowly. A test holds
the two equal.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import torch

SOURCE = Path(__file__).with_name("attention.cpp")
CACHE = Path(__file__).parents[1] / "runs" / "kernels"
HEAD = 32  # the kernel is written for this head size
Tensor = torch.Tensor
Attention = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


@functools.cache
def kernel() -> ctypes.CDLL | None:
    """The compiled kernel; None where no C++ compiler is found."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        return None
    command = [compiler, "-O3", "-march=native", "-std=c++17", "-shared", "-fPIC"]
    key = hashlib.sha256(SOURCE.read_bytes() + " ".join(command).encode()).hexdigest()[:12]
    target = CACHE / f"attention-{key}.so"
    if not target.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        beside = target.with_suffix(f".{os.getpid()}")
        subprocess.run([*command, str(SOURCE), "-o", str(beside)], check=True)
        beside.replace(target)
    return ctypes.CDLL(str(target))


def _call(name: str, *arguments: Tensor | int) -> None:
    library = kernel()
    assert library is not None
    turned = [ctypes.c_int64(a) if isinstance(a, int) else ctypes.c_void_p(a.data_ptr()) for a in arguments]
    getattr(library, name)(*turned)


@torch.library.custom_op("agent_memory::packed_attention", mutates_args=())
def _packed(qkv: Tensor, bounds: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    tokens, _, heads, _ = qkv.shape
    out = torch.empty(tokens, heads, HEAD, dtype=torch.bfloat16)
    lse = torch.empty(tokens, heads)
    _call("attention_forward", qkv, bounds, len(bounds) - 1, heads, cos, sin, out, lse)
    return out, lse


@_packed.register_fake
def _(qkv: Tensor, bounds: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG001 its shape
    tokens, _, heads, _ = qkv.shape
    return qkv.new_empty(tokens, heads, HEAD), qkv.new_empty(tokens, heads, dtype=torch.float32)


@torch.library.custom_op("agent_memory::packed_attention_backward", mutates_args=())
def _packed_backward(
    qkv: Tensor, bounds: Tensor, cos: Tensor, sin: Tensor, out: Tensor, lse: Tensor, grad: Tensor
) -> Tensor:
    given = torch.empty_like(qkv)
    docs, heads = len(bounds) - 1, qkv.shape[2]
    grad = grad.contiguous()
    _call("attention_backward", qkv, bounds, docs, heads, cos, sin, out, lse, grad, given)
    return given


@_packed_backward.register_fake
def _(qkv: Tensor, *_: Tensor) -> Tensor:
    return torch.empty_like(qkv)


def _keep(
    ctx: torch.autograd.function.FunctionCtx, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]
) -> None:
    ctx.save_for_backward(*inputs, *output)


def _differentiate(
    ctx: torch.autograd.function.FunctionCtx, grad: Tensor, _: Tensor
) -> tuple[Tensor | None, ...]:
    return _packed_backward(*ctx.saved_tensors, grad), None, None, None


_packed.register_autograd(_differentiate, setup_context=_keep)


def turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions (arXiv:2104.09864), halves split as in Llama; x (N, H, 32), cos, sin (N, 16)."""
    a, b = x.float().chunk(2, dim=-1)
    c, s = cos[:, None], sin[:, None]
    return torch.cat([a * c - b * s, b * c + a * s], dim=-1).to(x.dtype)


def masked_attention(qkv: Tensor, bounds: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """The same by PyTorch's attention under a block-diagonal causal mask: (N, 3, H, 32) to (N, H, 32)."""
    tokens = torch.arange(qkv.shape[0], device=qkv.device)
    doc = torch.searchsorted(bounds, tokens, right=True) - 1  # (N,)
    place = tokens - bounds[doc]
    q, k, v = qkv.unbind(1)
    q, k = (turn(x, cos[place], sin[place]).transpose(0, 1)[None] for x in (q, k))  # (1, H, N, 32)
    seen = (doc[:, None] == doc[None, :]) & (tokens[:, None] >= tokens[None, :])
    out = torch.nn.functional.scaled_dot_product_attention(q, k, v.transpose(0, 1)[None], attn_mask=seen)
    return out[0].transpose(0, 1)


def kernel_attention(qkv: Tensor, bounds: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """The same by our kernel: bfloat16 on a CPU, contiguous."""
    return _packed(qkv, bounds, cos, sin)[0]


def attention_for(device: torch.device) -> Attention:
    """The fastest of the two formulations that the device has.

    Both take qkv (N, 3, H, 32); bounds (docs + 1,) int64, where each conversation starts, and N at the end;
    cos and sin (longest, 16) float32, by position within the conversation. They return (N, H, 32) in the type
    of qkv.
    """
    return kernel_attention if device.type == "cpu" and kernel() is not None else masked_attention
