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
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from agent_memory.errors import ModelError

FILE = "phrasings.json"
SLOT = "{0}"


@dataclass(frozen=True, slots=True)
class Relation:
    """Frames that ask for a fact's value from its subject, and for the subject from the value."""

    value: tuple[str, ...]
    back: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a question stands: the name it asks from, and the frames that ask for the same, and back.

    `asks_back` says that it asks for a subject by its value, of which several may have the same.
    """

    name: str
    same: tuple[str, ...]
    back: tuple[str, ...]
    asks_back: bool


class Phrasings:
    """What a base brings; without any relation nothing is placed."""

    def __init__(self, relations: Sequence[Relation]) -> None:
        self.lists = tuple(frames for one in relations for frames in (one.value, one.back) if frames)
        self._sides = [side for one in relations for side in ((one.value, one.back), (one.back, one.value))]
        self._by_opening: dict[str, list[tuple[re.Pattern[str], int]]] = {}
        for number, (frames, _) in enumerate(self._sides):
            for frame in frames:
                self._by_opening.setdefault(_opening(frame), []).append((_pattern(frame), number))

    @classmethod
    def of(cls, folder: Path) -> Phrasings:
        """Those of a base in a folder.

        Raises:
            ModelError: its file is not what it should be.
        """
        file = folder / FILE
        if not file.is_file():
            return cls(())
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
            return cls([Relation(tuple(one["value"]), tuple(one["back"])) for one in found])
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ModelError(
                f'{file} must be a list of {{"value": [...], "back": [...]}}, each a list of questions with '
                "one {0} where the name stands; correct it, or remove it"
            ) from error

    def placed(self, questions: Iterable[str]) -> Placed | None:
        """Where most of some synonymous questions stand, None where none has a known frame.

        Of the frames that a question has, those count that leave the shortest name ("Where does {0} live?"
        before "Where does {0}?"). A frame may belong to several relations; then the frames of all are given.
        """
        votes: Counter[tuple[str, int]] = Counter()
        for question in questions:
            found = [
                (match["name"], number)
                for opening in (_opening(question), SLOT)
                for pattern, number in self._by_opening.get(opening, ())
                if (match := pattern.fullmatch(question)) is not None
            ]
            shortest = min((len(name) for name, _ in found), default=0)
            votes.update({one for one in found if len(one[0]) == shortest})
        if not votes:
            return None
        most = max(votes.values())
        name = min(name for (name, _), count in votes.items() if count == most)
        numbers = [n for (one, n), count in sorted(votes.items()) if (one, count) == (name, most)]
        sides = [self._sides[n] for n in numbers]
        return Placed(
            name, _by_turns([same for same, _ in sides]), _by_turns([back for _, back in sides]),
            asks_back=all(n % 2 for n in numbers),
        )  # fmt: skip


def _by_turns(lists: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """The first of each list, the second of each, and so on, without repetitions."""
    return tuple(dict.fromkeys(one for row in zip_longest(*lists) for one in row if one is not None))


def _opening(text: str) -> str:
    """The first word, by which frames are found; that of a frame that opens with its name is its slot."""
    first = text.split(" ", 1)[0]
    return SLOT if first.startswith(SLOT) else first.lower()


def _pattern(frame: str) -> re.Pattern[str]:
    head, tail = (re.escape(part) for part in frame.split(SLOT))
    return re.compile(rf"{head}(?P<name>\S(?:.*\S)?){tail}", re.IGNORECASE)
