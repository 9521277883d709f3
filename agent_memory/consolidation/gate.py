"""Gate: whether a candidate may be served, and if not, why.

A pure comparison of scores with thresholds. An adapter with NaN, Inf, missing files or another base never
comes here (`adapters.check`); what comes here can be loaded, and must have kept what the base and the
parent could do.

Scores are shares of 0 to 1 but for the two that say otherwise:

    new, new_base                 exam items of new episodes right, by the candidate and by the bare base
    new_error                     standard error of their difference
    retained, retained_parent     exam items of earlier episodes right, by the candidate and by what is served
    retained_error                standard error of their difference
    reading, reading_base         questions with the episode in view right
    abstention                    of the unknown-name questions that the base leaves unanswered, those still
                                  left so
    perplexity_rise               relative rise on examined anchors; 0.01 is one per cent
    anchor_kl                     nats per token, base to candidate, on examined anchors

Errors are those of paired shares (McNemar), by the number of items that moved. Where a gain is to be shown
none may have moved, which among few items proves little, so `new_error` is wider, as Wilson's interval is:
where none of 39 is right the gain may still be 0.065, where none of 20 is, 0.12. `anchor_kl` is reported and
not gated: the values measured, 1.5 and 2.4, are of versions of the bundled reader, which never read or speak
freely (the base does), and do not tell how much would be too much of one that does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from agent_memory.config import GateConfig
from agent_memory.consolidation.select import LOST_RETENTION

#: Standard errors by which what was lost, or not gained, must exceed what is allowed (one-sided 95 %).
CHANCE = 1.64


def reasons(scores: Mapping[str, float], *, config: GateConfig, reads: bool = True) -> list[str]:
    """Why a candidate with these scores is rejected; empty when it may be promoted.

    A score that is absent was not measured (a first run has no earlier episodes) and is not held against it;
    nor is lost reading where the candidate will not read (`reads` is false: `PromptConfig.reader` is "base").
    """
    found = [f"not finite: {name}" for name, value in scores.items() if not math.isfinite(value)]
    if found:
        return found

    def lost(name: str, against: str) -> float:
        return scores[against] - scores[name] if name in scores and against in scores else 0.0

    checks = [
        (
            LOST_RETENTION,
            lost("retained", "retained_parent") - CHANCE * scores.get("retained_error", 0.0),
            config.max_retention_lost,
        ),
        ("reading", lost("reading", "reading_base") if reads else 0.0, config.max_reading_lost),
        ("abstention", config.min_abstention - scores.get("abstention", 1.0), 0.0),
        ("perplexity", scores.get("perplexity_rise", 0.0), config.max_perplexity_rise),
    ]
    found = [
        f"{name}: worse by {by:.3f}, allowed {allowed:.3f}" for name, by, allowed in checks if by > allowed
    ]
    if "new" in scores:
        base = scores.get("new_base", 0.0)
        gain, least = scores["new"] - base, config.min_gain * (1.0 - base)
        if gain < least - CHANCE * scores.get("new_error", 0.0):
            found.append(f"gain: {gain:.3f}, at least {least:.3f}")
    return found
