"""How much goes through a model at once, so that what training stores stays within a fixed amount of memory.

A small reader takes thousands of tokens a pass; a model of half a billion parameters would keep gigabytes
for as many, more than its own weights. So the size of a pass follows from the architecture, and the number
of positions whose logits exist at once from the vocabulary. Both depend on model and device alone, never on
what is free just now: the same run must end in the same bytes.
"""

from __future__ import annotations

from typing import Any

import torch

#: What one pass may keep for the backward pass on the CPU (chosen; the bundled reader then takes 4096
#: tokens).
_PASS_BYTES = 512 * 2**20
#: On CUDA an eighth of the device's memory (chosen).
_CUDA_SHARE = 8
#: What the logits of one chunk may take; its loss needs some four times that (chosen).
_LOGIT_BYTES = 64 * 2**20

_MOST_TOKENS = {"cpu": 4096, "cuda": 16384}
_LEAST_TOKENS = 64
_MOST_POSITIONS, _LEAST_POSITIONS = 1024, 16

#: Activations per layer, in numbers per token: about 16 of the width and 4 of the inner width with LoRA on
#: all linear modules (counted in the decoder layer of Llama and Qwen).
_OF_WIDTH, _OF_INNER = 16, 4


def pass_tokens(config: Any, *, device: str) -> int:
    """Most tokens of one training pass of a model with this Hugging Face configuration."""
    kind = "cuda" if device.startswith("cuda") else "cpu"
    budget = _PASS_BYTES
    if kind == "cuda":
        budget = torch.cuda.get_device_properties(device).total_memory // _CUDA_SHARE
    width = int(getattr(config, "hidden_size", 1024))
    inner = int(getattr(config, "intermediate_size", None) or 4 * width)
    per_token = 4 * int(getattr(config, "num_hidden_layers", 24)) * (_OF_WIDTH * width + _OF_INNER * inner)
    return max(_LEAST_TOKENS, min(_MOST_TOKENS[kind], budget // per_token))


def head_positions(vocabulary: int) -> int:
    """Most positions whose float32 logits exist at once."""
    return max(_LEAST_POSITIONS, min(_MOST_POSITIONS, _LOGIT_BYTES // (4 * vocabulary)))
