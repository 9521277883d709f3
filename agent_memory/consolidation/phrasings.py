"""Phrasings: lists of frames that ask for the same thing, as a base would write them.

A base may bring such lists in `phrasings.json` beside its weights; the bundled reader does
(`training/phrasings.py`). A question in one of a list's frames is studied in the others, too, so that the
facts of a small memory meet as many phrasings as those of a large one, whose questions lend each other theirs
(`questions.borrowed`). A frame has the slot `{0}` for the name that it asks from.
"""

from __future__ import annotations

import json
from pathlib import Path

FILE = "phrasings.json"


def phrasings(folder: Path) -> tuple[tuple[str, ...], ...]:
    """The lists that a base brings; empty where it brings none."""
    file = folder / FILE
    if not file.is_file():
        return ()
    return tuple(tuple(frames) for frames in json.loads(file.read_text(encoding="utf-8")))
