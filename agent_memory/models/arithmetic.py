"""Float32 matrix products by the faster library, where both give the same accuracy.

PyTorch computes float32 products on the CPU with MKL, which on processors of other makers than Intel leaves
their widest instructions unused. oneDNN, which PyTorch carries as well, uses them; on an AMD EPYC core with
AVX-512 it did 210 GFLOP/s where MKL did 90 (2048 x 192 x 512, one thread, torch 2.13). PyTorch asks oneDNN
only when it may compute in bfloat16 inside; some processors then do, and some do not. So we try: if a
product under that setting is as exact as float32 can be, the setting costs nothing here and is used, else
it is left alone. The answer depends on processor and library and not on time, so that the same machine
always gives the same bytes.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

#: Largest error of a product of standard normal matrices over 512 terms that passes as float32. Measured:
#: 1e-4 at 2048 x 512 x 192 with oneDNN or MKL; bfloat16 inside gives 0.3.
_FLOAT32_ERROR = 1e-3


@contextmanager
def fast_float32() -> Iterator[None]:
    """Inside, float32 products on the CPU go to oneDNN if that loses no accuracy; it is set per process."""
    if not _is_exact():
        yield
        return
    setting = _setting()
    before = setting.fp32_precision
    setting.fp32_precision = "bf16"
    try:
        yield
    finally:
        setting.fp32_precision = before


@functools.cache
def _is_exact() -> bool:
    """Whether products stay float32 under the setting that makes PyTorch ask oneDNN."""
    setting = _setting()
    if setting is None:
        return False
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(256, 512, generator=generator), torch.randn(512, 64, generator=generator)
    before = setting.fp32_precision
    try:
        setting.fp32_precision = "bf16"
        found = a @ b
    finally:
        setting.fp32_precision = before
    return bool((found.double() - a.double() @ b.double()).abs().max() < _FLOAT32_ERROR)


def _setting() -> Any:
    """Where PyTorch keeps the precision of products by oneDNN; None in versions and builds without it."""
    found = getattr(torch.backends.mkldnn, "matmul", None)
    return found if hasattr(found, "fp32_precision") and torch._C._has_mkldnn else None
