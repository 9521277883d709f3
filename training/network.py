"""The reader's network while it trains: Llama's mathematics over a packed stream, weights stacked by kind.

A step on so small a model is bound by element-wise work and by calls, so that matrices which read the same
input are one product, and everything between two products is left to torch.compile to fuse. `export` hands
the weights to `transformers`, whose `LlamaForCausalLM` gives the same logits (a test holds it to that).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from agent_memory.models import loading
from training.attention import HEAD, Attention

Tensor = torch.Tensor
EPSILON = 1e-6  # of the norms
THETA = 10000.0  # of the rotary positions
LAST_NORM = 0.05  # its weights at the start


@dataclass(frozen=True)
class Size:
    """How large the reader is; heads have 32 dimensions each."""

    vocabulary: int = 3072
    layers: int = 6
    width: int = 192
    hidden: int = 512
    longest: int = 1024

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each stack of weights."""
        return {
            "embed": (self.vocabulary, self.width),
            "qkv": (self.layers, 3, self.width, self.width),
            "o": (self.layers, 1, self.width, self.width),
            "up": (self.layers, 2, self.hidden, self.width),  # gate, up
            "down": (self.layers, 1, self.width, self.hidden),
            "norms": (2 * self.layers + 1, self.width),
        }

    def parameters(self) -> int:
        """How many weights there are in all."""
        return sum(math.prod(shape) for shape in self.shapes().values())


def initial(size: Size, *, seed: int) -> dict[str, Tensor]:
    """Fresh float32 weights; what writes to the residual stream starts at zero.

    The embedding starts at unit size and the last norm small, where Llama has 0.02 and one: the logits come
    out alike, but a token is not drowned in the stream by the first layers. Copying came sooner that way.
    """
    made = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in size.shapes().items():
        if name == "norms":  # the last one keeps the first logits small beside an embedding of spread one
            weights[name] = torch.ones(shape)
            weights[name][-1] = LAST_NORM
        elif name in ("o", "down"):
            weights[name] = torch.zeros(shape)
        else:
            spread = 1.0 if name == "embed" else 0.7 / math.sqrt(shape[-1])
            weights[name] = torch.randn(shape, generator=made) * spread
    return weights


def rotation(longest: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines by position, each (longest, 16)."""
    frequency = THETA ** (-torch.arange(0, HEAD, 2, dtype=torch.float64) / HEAD)
    angle = torch.arange(longest, dtype=torch.float64)[:, None] * frequency
    return angle.cos().float(), angle.sin().float()


def _norm(x: Tensor, weight: Tensor, dtype: torch.dtype) -> Tensor:
    return (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + EPSILON) * weight).to(dtype)


def trunk(
    weights: dict[str, Tensor],
    ids: Tensor,
    bounds: Tensor,
    turns: tuple[Tensor, Tensor],
    attention: Attention,
) -> Tensor:
    """The last hidden states (N, width) of a stream `ids` (N,); products in bfloat16, residual in float32."""
    dtype = torch.bfloat16
    tokens = ids.shape[0]
    layers, _, hidden, width = weights["up"].shape
    # unbound once: the gradient of a stack is then one stack, not a sum of padded ones
    qkv, o, up, down = (weights[name].to(dtype).unbind(0) for name in ("qkv", "o", "up", "down"))
    norms = weights["norms"].unbind(0)
    x = functional.embedding(ids, weights["embed"])  # (N, width)
    for i in range(layers):
        h = _norm(x, norms[2 * i], dtype)
        mixed = functional.linear(h, qkv[i].view(3 * width, width)).view(tokens, 3, width // HEAD, HEAD)
        seen = attention(mixed, bounds, *turns).reshape(tokens, width)
        x = x + functional.linear(seen, o[i][0]).float()
        h = _norm(x, norms[2 * i + 1], dtype)
        gate, value = functional.linear(h, up[i].view(2 * hidden, width)).split(hidden, dim=-1)
        x = x + functional.linear(functional.silu(gate.float()).to(dtype) * value, down[i][0]).float()
    return _norm(x, norms[-1], dtype)


def losses(states: Tensor, embed: Tensor, at: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy and whether the best guess is right, at the positions `at` alone: both (n,)."""
    logits = functional.linear(states[at], embed.to(states.dtype)).float()  # (n, V)
    return functional.cross_entropy(logits, targets, reduction="none"), logits.argmax(-1) == targets


def state_dict(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights under the names that `LlamaForCausalLM` gives them."""
    named = {"model.embed_tokens.weight": weights["embed"], "model.norm.weight": weights["norms"][-1]}
    for i in range(len(weights["qkv"])):
        at = f"model.layers.{i}."
        named[at + "input_layernorm.weight"] = weights["norms"][2 * i]
        named[at + "post_attention_layernorm.weight"] = weights["norms"][2 * i + 1]
        for j, name in enumerate(("q_proj", "k_proj", "v_proj")):
            named[f"{at}self_attn.{name}.weight"] = weights["qkv"][i, j]
        named[at + "self_attn.o_proj.weight"] = weights["o"][i, 0]
        named[at + "mlp.gate_proj.weight"] = weights["up"][i, 0]
        named[at + "mlp.up_proj.weight"] = weights["up"][i, 1]
        named[at + "mlp.down_proj.weight"] = weights["down"][i, 0]
    return {name: tensor.detach().clone() for name, tensor in named.items()}


def llama(weights: dict[str, Tensor], size: Size, *, pad: int, end: int) -> Any:
    """The same network as a `LlamaForCausalLM` in float32."""
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=size.vocabulary,
        hidden_size=size.width,
        intermediate_size=size.hidden,
        num_hidden_layers=size.layers,
        num_attention_heads=size.width // HEAD,
        num_key_value_heads=size.width // HEAD,
        head_dim=HEAD,
        max_position_embeddings=size.longest,
        rms_norm_eps=EPSILON,
        rope_theta=THETA,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=end,
        pad_token_id=pad,
    )
    model = LlamaForCausalLM(config).eval()
    missing, unexpected = model.load_state_dict(state_dict(weights), strict=False)
    assert not unexpected, unexpected
    assert set(missing) <= {"lm_head.weight"}, missing
    model.generation_config = GenerationConfig(do_sample=False, eos_token_id=end, pad_token_id=pad)
    return model


def export(weights: dict[str, Tensor], size: Size, tokenizer: Any, folder: Path) -> None:
    """Writes what `transformers` loads, in float16, which keeps more than bfloat16; and the hashes."""
    model = llama(weights, size, pad=tokenizer.pad_token_id, end=tokenizer.eos_token_id).to(torch.float16)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    loading.list_hashes(folder)


def describe(size: Size) -> dict[str, int]:
    """The size as plain data, parameters counted."""
    return {**asdict(size), "parameters": size.parameters()}
