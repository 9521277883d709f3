"""Every knob, by section, with unit, range and why this default.

A part of the memory receives its own section and never the whole. Sections are frozen; make a changed one with
`Config(search=SearchConfig(recency_half_life_days=30))`.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """A frozen group of settings; unknown names are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class PromptConfig(Section):
    """How recalled episodes reach the model."""

    placement: Literal["system", "user"] = "system"
    """End of the system message, or before the last user message (for models that ignore system text)."""
    budget_tokens: int = Field(default=700, ge=16)
    """Most tokens of a context block in `ask` and `chat`; leaves a third of the bundled reader's window."""


class TrustConfig(Section):
    """Whose words may be learnt."""

    trusted_sources: tuple[str, ...] = ("user", "operator")
    """Sources trusted by default; everything else is untrusted until approved."""


class Config(Section):
    """All sections."""

    prompt: PromptConfig = PromptConfig()
    trust: TrustConfig = TrustConfig()
