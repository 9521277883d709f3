"""From text to vectors: the bundled embedding table, and the seam for any other embedder.

The table was distilled from all-MiniLM-L6-v2 (`training/embedder.py`; the folder's README tells how and
what it scores). To encode is to look up a row per word piece, add, and scale to length one: word order is
lost, which costs little on short episodes. The weights of the pieces (smooth inverse frequency, Arora et al.
2017) and the last number, which makes long texts weigh less, are inside the rows. NumPy alone; torch is
never imported.

Every vector has length one. A text without a word (empty, punctuation, lone surrogates) gets one fixed
vector that is nearly orthogonal to all others, so that a cosine is always defined and never NaN.

Any object with LangChain's `embed_documents` and `embed_query`, or a plain function from texts to vectors,
can take its place: `as_embedder` wraps it and checks what comes back. Vectors of different identity are
never compared; that rule is the store's.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from agent_memory.errors import EmbeddingError, InvalidInput, ModelError
from agent_memory.models.wordpiece import WordPieces

Vectors = NDArray[np.float32]  # (N, D)

#: The bundled table. Module and folder share a name: the folder has no `__init__.py`, so the module wins.
FOLDER = Path(__file__).with_name("embedder")
MANIFEST = "manifest.json"
TABLE = "table.safetensors"
VOCABULARY = "vocabulary.txt"

#: Raised when the same table gives other vectors, because tokenising or adding changed.
REVISION = 1
#: Rows for characters outside the vocabulary; chosen: enough to tell letters apart, 1 MB in memory.
BUCKETS = 1024
#: Length of a bucket's row; the table's own are scaled so that a rare piece has 1 on average.
BUCKET_LENGTH = 1.0
#: Word pieces of one text that are gathered at once; 16 MB at 256 dimensions.
GATHERED = 16_384
#: Below this length a sum has cancelled itself out and has no direction.
SMALLEST_LENGTH = 1e-6


@runtime_checkable
class Embedder(Protocol):
    """What the store needs: documents as an array, a query as a list, and who made the vectors."""

    @property
    def identity(self) -> str:
        """Name, dimension and hash or model; equal identities make comparable vectors."""
        ...

    @property
    def dimension(self) -> int:
        """The length of every vector."""
        ...

    def embed_array(self, texts: Sequence[str]) -> Vectors:
        """One row per text, float32, all finite."""
        ...

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """The same as lists."""
        ...

    def embed_query(self, text: str) -> list[float]:
        """The vector of a query."""
        ...


class TableEmbedder:
    """The bundled table: rows looked up, added, scaled to length one. Safe to share between threads.

    Args:
        folder: with `manifest.json`, `table.safetensors` and `vocabulary.txt`; the bundled one by default.

    Raises:
        ModelError: a file is missing, altered or of the wrong shape; the message names it.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        manifest, files = _verified(Path(folder) if folder is not None else FOLDER)
        self.name: str = manifest["name"]
        self.dimension: int = manifest["dimension"]
        self.hash: str = hashlib.sha256(json.dumps(manifest["files"], sort_keys=True).encode()).hexdigest()
        pieces = files[VOCABULARY].decode().split("\n")
        self._table = _rows(files[TABLE], pieces=len(pieces), dimension=self.dimension)  # (V + 1025, D)
        self._silence = len(self._table) - 1
        vocabulary = {piece: row for row, piece in enumerate(pieces)}
        self._pieces = WordPieces(vocabulary, first_bucket=len(pieces), buckets=BUCKETS)

    @property
    def identity(self) -> str:
        """Name, dimension and the hash of the files with the revision of the code that reads them."""
        return f"{self.name}:{self.dimension}:{self.hash[:16]}.{REVISION}"

    def embed_array(self, texts: Sequence[str]) -> Vectors:
        """Vectors of length one, float32 (N, D); a text's vector does not depend on its neighbours.

        Raises:
            InvalidInput: something in `texts` is not a string, or `texts` is a single one.
        """
        vectors = np.empty((len(_strings(texts)), self.dimension), dtype=np.float32)  # (N, D)
        for n, text in enumerate(texts):
            self._add(self._pieces.rows(text) or [self._silence], out=vectors[n])
        return self._to_length_one(vectors)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Like `embed_array`, as lists; the method LangChain's vector stores call."""
        vectors: list[list[float]] = self.embed_array(texts).tolist()
        return vectors

    def embed_query(self, text: str) -> list[float]:
        """The vector of one text; queries and documents are embedded alike."""
        return self.embed_documents([text])[0]

    def _add(self, rows: list[int], *, out: Vectors) -> None:
        """Writes the sum of the rows to `out` (D,); `np.add.reduceat` over many texts is ten times slower."""
        if len(rows) <= GATHERED:
            np.add.reduce(self._table.take(rows, axis=0), axis=0, out=out)
        else:  # a very long text: count first, so that memory stays bounded
            counts = np.bincount(rows, minlength=len(self._table)).astype(np.float32)  # (V,)
            np.matmul(counts, self._table, out=out)

    def _to_length_one(self, sums: Vectors) -> Vectors:
        length = np.sqrt(np.einsum("nd,nd->n", sums, sums))[:, None]  # (N, 1)
        cancelled = length[:, 0] < SMALLEST_LENGTH
        if cancelled.any():
            sums[cancelled] = self._table[self._silence]
            length[cancelled] = BUCKET_LENGTH
        sums /= length
        return sums


class CheckedEmbedder:
    """A foreign embedder whose every answer is checked; what it raises becomes an `EmbeddingError`.

    Its dimension is learnt from the first answer, by a probe where nothing was embedded yet. Vectors are
    passed on as they come, not scaled.

    Args:
        documents: many texts to as many vectors.
        query: one text to its vector.
        name: of the embedder, the first part of its identity.
    """

    def __init__(
        self, documents: Callable[[list[str]], Any], query: Callable[[str], Any], *, name: str
    ) -> None:
        self.name = name
        self._documents = documents
        self._query = query
        self._dimension: int | None = None
        self._lock = threading.Lock()

    @property
    def dimension(self) -> int:
        """The length of its vectors; embeds one word where it is not known yet."""
        if self._dimension is None:
            self.embed_query("dimension")
        assert self._dimension is not None
        return self._dimension

    @property
    def identity(self) -> str:
        """Class, model where it tells one, and dimension; its weights cannot be seen from here."""
        return f"{self.name}:{self.dimension}"

    def embed_array(self, texts: Sequence[str]) -> Vectors:
        """What the embedder returns, as finite float32 (N, D).

        Raises:
            EmbeddingError: it raised, or returned another number of vectors, another dimension, NaN or
            infinity.
        """
        texts = list(_strings(texts))
        if not texts:
            return np.empty((0, self.dimension), dtype=np.float32)
        return self._checked(self._called(self._documents, texts), count=len(texts))

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Like `embed_array`, as lists."""
        vectors: list[list[float]] = self.embed_array(texts).tolist()
        return vectors

    def embed_query(self, text: str) -> list[float]:
        """The vector of a query; some embedders treat it unlike a document.

        Raises:
            EmbeddingError: as `embed_array`.
        """
        _strings([text])
        vector: list[float] = self._checked([self._called(self._query, text)], count=1)[0].tolist()
        return vector

    def _called(self, function: Callable[[Any], Any], argument: list[str] | str) -> Any:
        try:
            return function(argument)
        except Exception as error:  # whatever a stranger raises becomes one of ours, cause kept
            raise EmbeddingError(f"The embedder {self.name} raised {type(error).__name__}.") from error

    def _checked(self, answer: Any, *, count: int) -> Vectors:
        try:
            with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinity, refused below
                vectors = np.asarray(answer, dtype=np.float32)
        except (TypeError, ValueError) as error:
            message = f"The embedder {self.name} returned no lists of equally many numbers."
            raise EmbeddingError(message) from error
        if vectors.ndim != 2 or len(vectors) != count or vectors.shape[1] == 0:
            raise EmbeddingError(
                f"The embedder {self.name} returned an array of shape {vectors.shape} for {count} texts; "
                f"expected ({count}, dimension)."
            )
        if not np.isfinite(vectors).all():
            raise EmbeddingError(f"The embedder {self.name} returned NaN or infinity.")
        with self._lock:
            self._dimension = self._dimension or vectors.shape[1]
        if vectors.shape[1] != self._dimension:
            raise EmbeddingError(
                f"The embedder {self.name} returned vectors of {vectors.shape[1]} dimensions after "
                f"{self._dimension}; is it a different model now?"
            )
        return vectors


def as_embedder(embeddings: Any = None) -> Embedder:
    """The embedder to use: None gives the bundled table, loaded once; all else is wrapped with checks.

    Args:
        embeddings: None, an object with LangChain's `embed_documents` and `embed_query`, or a function from
            a list of texts to a list of vectors.

    Raises:
        InvalidInput: it is none of these.
        ModelError: the bundled table is missing or altered.
    """
    if embeddings is None:
        return _bundled()
    if isinstance(embeddings, (TableEmbedder, CheckedEmbedder)):
        return embeddings
    name = _name(embeddings)
    documents, query = (getattr(embeddings, method, None) for method in ("embed_documents", "embed_query"))
    usable = not isinstance(embeddings, type)  # a class that nobody made an object of is a likely slip
    if usable and callable(documents) and callable(query):
        return CheckedEmbedder(documents, query, name=name)
    if usable and callable(embeddings):
        return CheckedEmbedder(embeddings, lambda text: embeddings([text])[0], name=name)
    raise InvalidInput(
        f"embeddings must be None, an object with embed_documents and embed_query, or a function from a list "
        f"of texts to a list of vectors; got {type(embeddings).__name__}."
    )


@cache
def _bundled() -> TableEmbedder:
    return TableEmbedder()


def _name(embeddings: Any) -> str:
    """Class (or function) name, with the model's name where the object tells it."""
    kind = getattr(embeddings, "__qualname__", None) or type(embeddings).__name__
    models = (getattr(embeddings, attribute, None) for attribute in ("model_name", "model", "model_id"))
    return next((f"{kind}({model})" for model in models if isinstance(model, str) and model), kind)


def _strings(texts: Sequence[str]) -> Sequence[str]:
    """The same texts, if that is what they are."""
    if isinstance(texts, str):
        raise InvalidInput("Expected a list of texts, got a single one; pass [text].")
    for n, text in enumerate(texts):
        if not isinstance(text, str):
            raise InvalidInput(f"Text {n} is a {type(text).__name__}, expected a string.")
    return texts


def _verified(folder: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The manifest, and the content of the files that it lists, each equal to its hash."""
    path = folder / MANIFEST
    try:
        manifest = json.loads(_read(path))
        expected = {name: manifest["files"][name] for name in (TABLE, VOCABULARY)}
        known = isinstance(manifest["name"], str) and isinstance(manifest["dimension"], int)
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"The embedder's file {path} is damaged; reinstall the package.") from error
    if not known:
        raise ModelError(f"The embedder's file {path} has no name or dimension; reinstall the package.")
    files = {name: _read(folder / name) for name in expected}
    for name, content in files.items():
        if hashlib.sha256(content).hexdigest() != expected[name]:
            raise ModelError(f"The embedder's file {folder / name} was altered; reinstall the package.")
    return manifest, files


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        message = f"The embedder's file {path} is missing or unreadable; reinstall the package."
        raise ModelError(message) from error


def _rows(table: bytes, *, pieces: int, dimension: int) -> Vectors:
    """The table in float32, then rows for unknown characters, then the row of a text without words."""
    from safetensors.numpy import load

    tensors = load(table)
    rows, scales, masses = (tensors[name] for name in ("rows", "scales", "masses"))
    if (rows.shape, scales.shape, masses.shape) != ((pieces, dimension - 1), (pieces,), (pieces,)):
        raise ModelError(f"The embedder's {TABLE} does not fit its {MANIFEST}; reinstall the package.")
    full = np.zeros((pieces + BUCKETS + 1, dimension), dtype=np.float32)
    np.multiply(rows, scales[:, None], out=full[:pieces, :-1])
    full[:pieces, -1] = masses
    full[pieces:, :-1] = _directions(BUCKETS + 1, dimension - 1)
    full[pieces:-1, -1] = masses.max()  # an unknown character counts as rare; silence has no mass
    return full


def _directions(count: int, dimension: int) -> Vectors:
    """Fixed pseudo-random rows (count, D), nearly orthogonal to each other, the same on every machine."""
    noise = hashlib.shake_256(b"agent-memory buckets").digest(count * dimension)
    rows = np.frombuffer(noise, dtype=np.int8).reshape(count, dimension).astype(np.float32) + 0.5
    directions: Vectors = rows * (BUCKET_LENGTH / np.linalg.norm(rows, axis=1, keepdims=True))
    return directions
