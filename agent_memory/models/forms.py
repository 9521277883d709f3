"""What must be known about an architecture before its parts are called apart: tried out, not looked up.

The loop calls decoder and head separately, and packs. Both are right only if the architecture has no step
of its own between decoder and head (soft caps, scales), and honours the mask or the positions of packed
rows (recurrent layers do not, sliding windows not always). So a base is tried at load on a few short
sequences: each form of packing against every sequence alone through the whole model. The first form that
agrees is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from agent_memory.errors import ModelError
from agent_memory.models.packing import Form, Span, batches

if TYPE_CHECKING:
    from agent_memory.models.local import LocalModel

#: Largest difference of a log-probability, in nats, that counts as rounding: float32, and 16-bit types.
_TOLERANCE = {torch.float32: 2e-3, torch.float16: 0.1, torch.bfloat16: 0.5}

_FORMS: tuple[Form, ...] = ("ragged", "packed", "padded")


def finish_logits(logits: torch.Tensor, config: Any) -> torch.Tensor:
    """What some architectures do after the head: Gemma's soft cap, Cohere's and Granite's scales."""
    if (cap := getattr(config, "final_logit_softcapping", None)) is not None:
        logits = torch.tanh(logits / cap) * cap
    if (scale := getattr(config, "logit_scale", None)) is not None:
        logits = logits * scale
    if (divisor := getattr(config, "logits_scaling", None)) is not None:
        logits = logits / divisor
    return logits


def choose_form(model: LocalModel) -> tuple[Form, tuple[str, ...]]:
    """The fastest form of packing that this base computes rightly, and a note unless it is the first.

    Raises:
        ModelError: none agrees with the whole model, so its parts cannot be called apart.
    """
    spans = _probes(model)
    with model.wearing(None) as network:
        alone = torch.cat([_alone(network, span, model.device) for span in spans])
        tolerance = _TOLERANCE.get(network.dtype, 0.5)
        for form in _FORMS:
            if form == "ragged" and _has_sliding_window(network.config):
                continue
            try:
                packed = _through(model, spans, form=form)
            except (NotImplementedError, TypeError, KeyError):  # its attention is not ours to call
                continue
            if bool((packed - alone).abs().max() <= tolerance):
                note = f"packing: the {form} form is used for this model"
                return form, () if form == "ragged" else (note,)
    raise ModelError(f"{type(network).__name__} computes something after its decoder that is not known here")


def _probes(model: LocalModel) -> list[Span]:
    """Three sequences, two of which begin alike; any tokens will do."""
    size = int(model.head(torch.zeros(1, _width(model), device=model.device, dtype=_dtype(model))).shape[-1])
    ids = [(7 * i * i + 3) % min(size, 1000) for i in range(20)]
    return [Span(tuple(ids[:12]), 4), Span((*ids[:8], *ids[13:20]), 6), Span(tuple(ids[9:16]), 2)]


def _width(model: LocalModel) -> int:
    with model.wearing(None) as network:
        return int(network.get_input_embeddings().weight.shape[1])


def _dtype(model: LocalModel) -> torch.dtype:
    with model.wearing(None) as network:
        return network.dtype  # type: ignore[no-any-return]  # transformers is untyped here


def _alone(network: Any, span: Span, device: str) -> torch.Tensor:
    """(P,) log-probabilities of a span's predicted tokens through the whole model."""
    ids = torch.tensor([span.ids], device=device)
    logits = network(input_ids=ids, use_cache=False).logits[0].float()  # (L, V)
    log_probs = logits[span.start - 1 : -1].log_softmax(-1)
    chosen: torch.Tensor = log_probs.gather(1, ids[0, span.start :, None])[:, 0]
    return chosen


def _through(model: LocalModel, spans: list[Span], *, form: Form) -> torch.Tensor:
    """The same from packed rows, decoder and head apart, in the order of the spans."""
    found: dict[int, torch.Tensor] = {}
    for batch in batches(spans, form=form, forward_tokens=4096, device=model.device):
        log_probs = model.head(model.hidden(batch)).log_softmax(-1)
        wanted = torch.tensor([t for m in batch.members for t in spans[m].ids[spans[m].start :]])
        picked = log_probs.gather(1, wanted.to(model.device)[:, None])[:, 0]
        sizes = [spans[m].predicted for m in batch.members]
        found.update(zip(batch.members, torch.split(picked, sizes), strict=True))
    return torch.cat([found[i] for i in range(len(spans))])


def _has_sliding_window(config: Any) -> bool:
    """Whether some layers look back a limited way only: their window counts columns, which sharing moves."""
    kinds = getattr(config, "layer_types", None)
    if kinds:
        return any(kind != "full_attention" for kind in kinds)
    return bool(getattr(config, "sliding_window", None)) and getattr(config, "use_sliding_window", True)
