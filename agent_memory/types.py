"""The records that pass between the parts of the memory, and nothing else.

They are plain frozen values: no behaviour, no database, no model. What the words mean is in the README under
"Words".
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

Trust = Literal["trusted", "untrusted"]
Retrieval = Literal["all", "lean", "none"]
#: Where the block stands: at the end of the system message, or before the last user message.
Placement = Literal["system", "user"]
#: Who reads what is in view: the bare base, or the version that is served.
Reader = Literal["base", "version"]
VersionState = Literal["candidate", "active", "retired", "rejected", "tainted"]


@dataclass(frozen=True, slots=True)
class Namespace:
    """The pair (user, agent) that owns episodes, an index and an adapter; nothing crosses it."""

    user_id: str | None
    agent_id: str | None

    @property
    def key(self) -> str:
        """A name for files and keys: 32 hexadecimal digits, injective for practical purposes.

        The two parts are length-prefixed before hashing, so ("ab", None) and ("a", "b") differ.
        """
        parts = [b"-" if part is None else b"%d:" % len(raw := part.encode()) + raw
                 for part in (self.user_id, self.agent_id)]
        return hashlib.sha256(b"|".join(parts)).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Episode:
    """One thing that happened to the agent, with who, when, source and trust. Times are UTC."""

    id: str
    text: str
    role: str
    session_id: str | None
    source: str
    trust: Trust
    occurred_at: datetime
    created_at: datetime
    revision: int
    metadata: Mapping[str, Any] = field(default_factory=dict)
    user_id: str | None = None
    agent_id: str | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Added:
    """The outcome of an add: a new episode, or the id of the one that was there already."""

    id: str
    event: Literal["ADD", "NOOP"]
    episode: Episode


@dataclass(frozen=True, slots=True)
class SearchResult:
    """An episode found by a search; `score` orders one answer only; `why` is set by `explain=True`."""

    episode: Episode
    score: float
    why: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ForgetReceipt:
    """What a forget did, and what it cannot reach.

    `unserved_at` is when nothing could serve the episodes any more; `erased_at` is when their bytes were
    gone from the data directory, or None while another process still blocks that.
    """

    ids: tuple[str, ...]
    unserved_at: datetime
    erased_at: datetime | None
    counts: Mapping[str, int]
    versions_tainted: tuple[str, ...]
    not_covered: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Context:
    """Prompt text made of episodes: `text` is the delimited block, "" when nothing was recalled."""

    text: str
    episodes: tuple[Episode, ...]
    tokens: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model said, what it was shown, and which version it wore for it (None: the bare base).

    `prompt_tokens` counts all prompts where more than one was needed: the question alone, a block that the
    base found no answer in, and all episodes where a lean block had left some out.
    """

    text: str
    prompt_tokens: int
    episodes: tuple[Episode, ...]
    version: str | None


@dataclass(frozen=True, slots=True)
class Version:
    """An adapter of one namespace: its state, its manifest and where it came from."""

    id: str
    state: VersionState
    parent_id: str | None
    run_id: str | None
    created_at: datetime
    base: str
    episode_ids: tuple[str, ...]
    scores: Mapping[str, float]
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ConsolidationReport:
    """What one run did. `outcome` is "promoted", "rejected", "nothing" or "dry-run"."""

    run_id: str
    outcome: Literal["promoted", "rejected", "nothing", "dry-run"]
    version_id: str | None
    episodes: int
    items: int
    tokens: int
    seconds: Mapping[str, float]
    scores: Mapping[str, float]
    slow: tuple[str, ...]
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
