"""Phrasings: frames that ask for the same thing, and those that ask it back, as a base would write them.

A base may bring them in `phrasings.json` beside its weights; the bundled reader does
(`training/phrasings.py`). A question in one of a list's frames is studied in the others, too, so that the
facts of a small memory meet as many phrasings as those of a large one, whose questions lend each other theirs
(`questions.borrowed`); and a fact that was asked from one side only is asked from the other (`turn.py`). A
frame has the slot `{0}` for the name that it asks from.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

FILE = "phrasings.json"


@dataclass(frozen=True, slots=True)
class Relation:
    """Frames that ask for a fact's value from its subject, and for the subject from the value."""

    value: tuple[str, ...]
    back: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a question stands: the name it asks from, and the frames that ask for the same, and back."""

    name: str
    same: tuple[str, ...]
    back: tuple[str, ...]


class Phrasings:
    """What a base brings; without any relation nothing is placed."""

    def __init__(self, relations: Sequence[Relation]) -> None:
        self.lists = tuple(frames for one in relations for frames in (one.value, one.back) if frames)
        self._by_opening: dict[str, list[tuple[re.Pattern[str], Relation, bool]]] = defaultdict(list)
        for one in relations:
            for is_value, frames in ((True, one.value), (False, one.back)):
                for frame in frames:
                    self._by_opening[_opening(frame)].append((_pattern(frame), one, is_value))

    @classmethod
    def of(cls, folder: Path) -> Phrasings:
        """Those of a base in a folder."""
        file = folder / FILE
        if not file.is_file():
            return cls(())
        found = json.loads(file.read_text(encoding="utf-8"))
        return cls([Relation(tuple(one["value"]), tuple(one["back"])) for one in found])

    def placed(self, questions: Iterable[str]) -> Placed | None:
        """Where most of some synonymous questions stand, None where none has a known frame."""
        votes: Counter[Placed] = Counter()
        for question in questions:
            for pattern, one, is_value in (*self._by_opening[_opening(question)], *self._by_opening["{0}"]):
                if (match := pattern.fullmatch(question)) is not None:
                    sides = (one.value, one.back) if is_value else (one.back, one.value)
                    votes[Placed(match["name"], *sides)] += 1
        return votes.most_common(1)[0][0] if votes else None


def _opening(text: str) -> str:
    """The first word, by which frames are found; that of a frame that opens with its name is its slot."""
    first = text.split(" ", 1)[0]
    return "{0}" if first.startswith("{0}") else first.lower()


def _pattern(frame: str) -> re.Pattern[str]:
    head, tail = (re.escape(part) for part in frame.split("{0}"))
    return re.compile(rf"{head}(?P<name>\S(?:.*\S)?){tail}", re.IGNORECASE)
