"""Text to rows of a table: WordPiece, lower case, without accents and punctuation, in plain Python.

The vocabulary is that of BERT (uncased), less the entries that carry no meaning (punctuation, unused,
special). A word is split greedily into its longest known pieces, as in Wu et al. 2016, and the split is
cached, since text repeats its words: that is what makes it several times as fast as a general tokenizer
here.

It differs from BERT's tokenizer where that one gives up. A word with an unknown character is not one
unknown token: the character alone falls into one of `buckets` rows chosen by its checksum, so that two
texts in a script nobody trained on are still told apart. A word of any length is split in linear time.
Nothing that is passed raises.

It knows nothing about vectors.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from itertools import chain
from zlib import crc32

#: Words whose split is remembered; chosen: about 30 MB at worst, and far more words than a memory uses.
CACHED_WORDS = 200_000
#: Longest stretch (characters) that is matched as one word; longer ones are cut. BERT gives up at 100.
LONGEST_WORD = 100

_ASCII_WORDS = re.compile(r"[a-z0-9]+")
_WORDS = re.compile(r"[^\W_]+|[^\w\s\x00-\x7f]")
_IDEOGRAPHS = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003fa1f]")
_SILENT = frozenset("PCZ")  # punctuation, control and separator categories (lone surrogates are control)


class WordPieces(dict[str, tuple[int, ...]]):
    """Word -> rows; a word that is not there yet is split when asked for.

    Args:
        vocabulary: piece -> row; pieces inside a word begin with "##".
        first_bucket: the row of the first bucket for unknown characters.
        buckets: how many there are.
    """

    def __init__(self, vocabulary: Mapping[str, int], *, first_bucket: int, buckets: int) -> None:
        super().__init__()
        self._vocabulary = vocabulary
        self._longest = max(map(len, vocabulary), default=1)  # characters of a piece
        self._first_bucket = first_bucket
        self._buckets = buckets

    def __missing__(self, word: str) -> tuple[int, ...]:
        """The rows of a word that is not cached."""
        if len(word) > LONGEST_WORD:
            parts = (word[at : at + LONGEST_WORD] for at in range(0, len(word), LONGEST_WORD))
            return tuple(chain.from_iterable(map(self.__getitem__, parts)))
        if len(self) >= CACHED_WORDS:
            self.clear()
        rows = tuple(self._split(word))
        self[word] = rows
        return rows

    def rows(self, text: str) -> list[int]:
        """The rows of a text, in order; [] where it holds no word."""
        return list(chain.from_iterable(map(self.__getitem__, words(text))))

    def _split(self, word: str) -> Iterable[int]:
        if len(word) == 1 and unicodedata.category(word)[0] in _SILENT:
            return
        start = 0
        while start < len(word):
            mark = "##" if start else ""
            end = min(len(word), start + self._longest)
            while end > start and (row := self._vocabulary.get(mark + word[start:end])) is None:
                end -= 1
            if row is None:  # not even the first character continues a word; perhaps it begins one
                end = start + 1
                row = self._vocabulary.get(word[start])
            yield self._bucket(word[start]) if row is None else row
            start = end

    def _bucket(self, character: str) -> int:
        return self._first_bucket + crc32(character.encode("utf-8", "surrogatepass")) % self._buckets


def words(text: str) -> list[str]:
    """The words of a text in lower case, without accents; an ideograph or a symbol is a word of its own."""
    text = text.lower()
    if text.isascii():
        return _ASCII_WORDS.findall(text)
    plain = "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn")
    return _WORDS.findall(_IDEOGRAPHS.sub(r" \g<0> ", plain))
