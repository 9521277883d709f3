"""LoCoMo as the benchmarks read it: conversations of dated turns, questions, and the turns that answer them.

Source: Maharana et al. 2024, "Evaluating Very Long-Term Conversational Memory of LLM Agents" (CC BY-NC 4.0,
for measuring only). Conventions: recall@k is the mean over questions of the share of evidence in the top k,
over turns or over the sessions that hold them. Questions without evidence are left out, and so is an evidence
mark that names no turn. Categories are reported by number: 1 multi-hop, 2 time, 3 open domain, 4 single hop,
5 adversarial (the evidence is about the other speaker).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.record import data_folder

_SESSION = re.compile(r"session_(\d+)")
_MARK = re.compile(r"D:?(\d+):0*(\d+)")  # some marks are "D:11:26", "D30:05", or two in one string


@dataclass(frozen=True)
class Turn:
    """One turn: `id` is `D<session>:<n>`, `caption` describes a shared picture or is ""."""

    id: str
    session: str
    speaker: str
    text: str
    caption: str
    at: datetime

    @property
    def document(self) -> str:
        """What is indexed: speaker and words, and the caption of a shared picture."""
        picture = f" [shares {self.caption}]" if self.caption else ""
        return f"{self.speaker}: {self.text}{picture}"


@dataclass(frozen=True)
class Question:
    """A question, its category, and the turns and sessions that answer it (at least one)."""

    text: str
    category: int
    turns: frozenset[str]
    sessions: frozenset[str]


@dataclass(frozen=True)
class Conversation:
    """Two speakers over many sessions, in order of time."""

    id: str
    turns: tuple[Turn, ...]
    questions: tuple[Question, ...]

    @cached_property
    def sessions(self) -> tuple[str, ...]:
        """The sessions in order, each once."""
        return tuple(dict.fromkeys(turn.session for turn in self.turns))


def conversations(folder: Path | None = None) -> list[Conversation]:
    """All conversations in the folder's LoCoMo files, in order; stops politely where there is no folder."""
    files = sorted((folder or data_folder("locomo")).glob("*.json"))
    return [_conversation(raw) for file in files for raw in json.loads(file.read_bytes())]


def recall(evidence: frozenset[str], ranked: Sequence[str], *, k: int) -> float:
    """The share of the evidence among the first k of the ranking (ids, best first)."""
    return len(evidence.intersection(ranked[:k])) / len(evidence)


def _conversation(raw: dict[str, Any]) -> Conversation:
    spoken = raw["conversation"]
    numbers = sorted(int(m[1]) for key in spoken if (m := _SESSION.fullmatch(key)))
    turns = tuple(turn for number in numbers for turn in _turns(spoken, number))
    session_of = {turn.id: turn.session for turn in turns}
    questions = []
    for entry in raw["qa"]:
        marks = {f"D{m[1]}:{m[2]}" for mark in entry["evidence"] for m in _MARK.finditer(mark)}
        known = frozenset(marks & session_of.keys())
        if known:
            sessions = frozenset(session_of[mark] for mark in known)
            questions.append(Question(entry["question"], entry["category"], known, sessions))
    return Conversation(raw["sample_id"], turns, tuple(questions))


def _turns(spoken: dict[str, Any], number: int) -> list[Turn]:
    at = datetime.strptime(spoken[f"session_{number}_date_time"], "%I:%M %p on %d %B, %Y").replace(tzinfo=UTC)
    return [
        Turn(t["dia_id"], f"D{number}", t["speaker"], t["text"], t.get("blip_caption", ""), at)
        for t in spoken[f"session_{number}"]
    ]
