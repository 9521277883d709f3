"""What a durable add costs, one by one and in batches, beside single upserts into plain Chroma.

    python -m benchmarks.store                                 # some minutes
    python -m benchmarks.store --adds 200 --batch 1000 --upserts 50

Texts are those of `benchmarks/search.py` (8 to 40 words). Every add is synced before it returns, with the
bundled embedder's vector, postings and all; embedding is part of its time. `add_many` is one transaction
for each batch. Chroma gets the same texts and vectors by single upserts into a persistent collection, in
the same run and on the same disk, and does no embedding of its own. `floor` is a commit of one small row,
synced: no durable add can be faster here. How long a search takes, and how a memory grows, is measured by
`benchmarks/search.py`.
"""

from __future__ import annotations

import argparse
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from agent_memory import MemoryManager
from benchmarks.record import record
from benchmarks.search import Texts

WARM = 20  # calls before the clock starts


def timed(calls: Iterable[Callable[[], Any]]) -> dict[str, float]:
    """Median and 95th percentile in milliseconds, and calls per second."""
    times = []
    for call in calls:
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    seconds = np.array(times)
    return {
        "median_ms": round(float(np.median(seconds)) * 1000, 2),
        "p95_ms": round(float(np.percentile(seconds, 95)) * 1000, 2),
        "per_second": round(len(seconds) / float(seconds.sum()), 1),
    }


def floor(place: Path, *, commits: int) -> dict[str, float]:
    """Synced commits of one small row into a bare SQLite file."""
    connection = sqlite3.connect(place / "floor.sqlite3", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE t (x)")
    found = timed(lambda: connection.execute("INSERT INTO t VALUES (1)") for _ in range(commits))
    connection.close()
    return found


def ours(place: Path, texts: list[str], batches: list[list[str]]) -> dict[str, Any]:
    """Adds one by one, then in batches, to one memory."""
    with MemoryManager.open(place / "memory", user_id="alice") as memory:
        for text in texts[:WARM]:
            memory.add(text)
        one_by_one = timed(lambda text=text: memory.add(text) for text in texts[WARM:])  # type: ignore[misc]
        began = time.perf_counter()
        for batch in batches:
            memory.add_many(batch)
        seconds = time.perf_counter() - began
        return {"add": one_by_one, "add_many_per_second": round(sum(map(len, batches)) / seconds, 1)}


def chroma(place: Path, texts: list[str]) -> dict[str, float]:
    """Single upserts of the same texts and vectors into plain Chroma."""
    import chromadb
    from chromadb.config import Settings

    from agent_memory.models.embedder import as_embedder

    vectors = as_embedder(None).embed_array(texts)
    client = chromadb.PersistentClient(str(place / "chroma"), settings=Settings(anonymized_telemetry=False))
    items = client.create_collection("episodes", embedding_function=None)

    def upsert(number: int) -> None:
        items.upsert(ids=[str(number)], documents=[texts[number]], embeddings=vectors[number : number + 1])

    for number in range(min(WARM, len(texts))):
        upsert(number)
    return timed(lambda number=number: upsert(number) for number in range(WARM, len(texts)))  # type: ignore[misc]


def main() -> None:
    """Measures, prints a table and records it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--adds", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=5000)
    parser.add_argument("--batches", type=int, default=4)
    parser.add_argument("--upserts", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    made = Texts(options.seed)
    singles = made.episodes(options.adds + WARM)
    batches = [made.episodes(options.batch) for _ in range(options.batches)]
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        result: dict[str, Any] = {"floor": floor(place, commits=300), **ours(place, singles, batches)}
        result["chroma_upsert"] = chroma(place, singles[: options.upserts + WARM])
    result["ratio_to_chroma"] = round(result["add"]["per_second"] / result["chroma_upsert"]["per_second"], 1)
    for title in ("floor", "add", "chroma_upsert"):
        print(f"{title:>14}  " + "  ".join(f"{key} {value:>8}" for key, value in result[title].items()))
    print(f"      add_many  {result['add_many_per_second']} per second")
    print(f"         ratio  {result['ratio_to_chroma']} adds to one upsert into plain Chroma")
    record("store", result | {"adds": options.adds, "batch": options.batch, "upserts": options.upserts},
           seed=options.seed)  # fmt: skip


if __name__ == "__main__":
    main()
