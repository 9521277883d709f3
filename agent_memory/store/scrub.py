"""Overwrites what Chroma's graph files hold by accident: memory that its library never initialised.

The library (hnswlib, in chromadb 1.5.9) allocates room for more vectors than there are, does not clear it,
and writes all of it to disk. Whatever the process freed before lies there, erased vectors among them: found
in 14 of some 80 rebuilds that followed a forget, once in our own test. The header says how many places are
taken; the rest is zeroed after each batch, when nobody writes. A header of another form is left alone: the
files are then as Chroma made them.

    header.bin       <i version> <Q offset> <Q places> <Q taken> <Q bytes of a place> ...
    data_level0.bin  places, one after the other
    length.bin       four bytes for each place
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

_HEADER = struct.Struct("<iQQQQ")
_VERSION = 1  # of chromadb 1.0 to 1.5
_LENGTH_BYTES = 4


def scrub(folder: Path) -> int:
    """Zeroes the places that are not taken in every graph under the folder; returns how many bytes."""
    return sum(_scrub_graph(header.parent) for header in sorted(folder.rglob("header.bin")))


def _scrub_graph(graph: Path) -> int:
    with (graph / "header.bin").open("rb") as opened:
        head = opened.read(_HEADER.size)
    if len(head) < _HEADER.size:
        return 0
    version, _, places, taken, size = _HEADER.unpack(head)
    if version != _VERSION or taken > places:
        return 0
    return sum(
        _zero(graph / name, start=taken * width, whole=places * width)
        for name, width in (("data_level0.bin", size), ("length.bin", _LENGTH_BYTES))
    )


def _zero(file: Path, *, start: int, whole: int) -> int:
    """Zeroes a file from `start`; nothing where it is not as long as the header says."""
    if not file.is_file() or file.stat().st_size != whole or start >= whole:
        return 0
    with file.open("r+b") as opened:
        opened.seek(start)
        opened.write(bytes(whole - start))
        opened.flush()
        os.fsync(opened.fileno())
    return whole - start
