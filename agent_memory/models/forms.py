"""What must be known about an architecture before its parts are called apart: tried out, not looked up.

The loop calls decoder and head separately, and packs. Both are right only if the architecture has no step
of its own between decoder and head (soft caps, scales), and honours the mask or the positions of packed
rows (recurrent layers do not, sliding windows not always). So a base is tried at load on a few short
sequences: each form of packing against every sequence alone through the whole model. The first form that
agrees is used. A run tries it once more on prompts of its own, which are as long as those that it trains.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from agent_memory.errors import ModelError
from agent_memory.models.packing import Form, Span, batches

if TYPE_CHECKING:
    from agent_memory.models.local import LocalModel

#: Largest difference of a log-probability, in nats, that counts as rounding: float32, and 16-bit types.
_TOLERANCE = {torch.float32: 2e-3, torch.float16: 0.1, torch.bfloat16: 0.5}

#: Tokens at the end of a sequence of the caller's that are compared (chosen).
JUDGED = 16

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
        alone = _all_alone(network, spans, model.device)
        for form in _FORMS:
            if _agrees(model, network, spans, alone, form=form):
                return form, () if form == "ragged" else (_note(form),)
    raise ModelError(f"{type(network).__name__} computes something after its decoder that is not known here")


def try_again(model: LocalModel, sequences: Sequence[Sequence[int]]) -> tuple[Form, tuple[str, ...]]:
    """The form in use if it agrees on these sequences, too; else the next that does, at last padding."""
    spans = [Span(tuple(ids), max(1, len(ids) - JUDGED)) for ids in sequences]
    with model.wearing(None) as network:
        alone = _all_alone(network, spans, model.device)
        left = _FORMS[_FORMS.index(model.form) :]
        form = next((one for one in left if _agrees(model, network, spans, alone, form=one)), left[-1])
    return form, () if form == model.form else (_note(form),)


def _note(form: Form) -> str:
    return f"packing: the {form} form is used for this model"


@torch.no_grad()
def _agrees(
    model: LocalModel, network: Any, spans: Sequence[Span], alone: torch.Tensor, *, form: Form
) -> bool:
    """Whether what a form computes differs from each sequence alone by rounding only."""
    if form == "ragged" and _has_sliding_window(network.config):
        return False
    try:
        packed = _through(model, spans, form=form)
    except (NotImplementedError, TypeError, KeyError):  # its attention is not ours to call
        return False
    return bool((packed - alone).abs().max() <= _TOLERANCE.get(network.dtype, 0.5))


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


@torch.no_grad()
def _all_alone(network: Any, spans: Sequence[Span], device: str) -> torch.Tensor:
    return torch.cat([_alone(network, span, device) for span in spans])


def _alone(network: Any, span: Span, device: str) -> torch.Tensor:
    """(P,) log-probabilities of a span's predicted tokens through the whole model."""
    ids = torch.tensor([span.ids], device=device)
    logits = network(input_ids=ids, use_cache=False).logits[0].float()  # (L, V)
    log_probs = logits[span.start - 1 : -1].log_softmax(-1)
    chosen: torch.Tensor = log_probs.gather(1, ids[0, span.start :, None])[:, 0]
    return chosen


def _through(model: LocalModel, spans: Sequence[Span], *, form: Form) -> torch.Tensor:
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
