"""How long a search takes, and how a memory grows: 1,000 to 100,000 episodes, and one of 1,000 namespaces.

    python -m benchmarks.search                                     # all sizes; some minutes on two quiet cores
    python -m benchmarks.search --sizes 1000 --namespaces 0 --ways  # a glimpse

Episodes are made, not read: 8 to 40 words from the bundled embedder's vocabulary, drawn by Zipf's law (what
people write has the same few common words, which make long postings), in sessions of 20. A query is eight
words of one episode. Times are of `MemoryManager.search(query, k=10)` in one process, after the index has
caught up and 20 searches have warmed it; embedding of the query included. "exact" is the same with the index
out of reach, as while it is being built. Bytes are those of the whole directory, memory that of the process.
The table "ways" has the processor time of a search with all vectors compared and with the index, each query
both ways, from 500 to 5,000 episodes: where they cross is the default of `IndexConfig.index_from`.
"""

from __future__ import annotations

import argparse
import gc
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agent_memory import MemoryManager
from agent_memory.config import Config, IndexConfig
from agent_memory.models.embedder import FOLDER, VOCABULARY
from benchmarks.record import RESULTS, record

SIZES = (1_000, 2_000, 5_000, 10_000, 30_000, 100_000)
CROSSING = (500, 1_000, 2_000, 3_000, 4_000, 5_000)
BATCH = 1000
SESSION = 20
QUERIES = 200
WARM = 20
EXPONENT = 1.05  # of Zipf's law; near 1 for English
SMALL = 100  # episodes in each of many namespaces


class Texts:
    """Made episodes and queries, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        lines = (FOLDER / VOCABULARY).read_text(encoding="utf-8").splitlines()
        words = [line for line in lines if line.isascii() and line.isalpha() and len(line) > 2]
        self._words = np.array(words)
        chances = 1.0 / np.arange(1, len(self._words) + 1) ** EXPONENT
        self._chances = chances / chances.sum()
        self._random = np.random.default_rng(seed)

    def episodes(self, count: int) -> list[str]:
        """Texts of 8 to 40 words."""
        lengths = self._random.integers(8, 41, count)
        words = self._random.choice(self._words, lengths.sum(), p=self._chances)
        return [" ".join(part) for part in np.split(words, np.cumsum(lengths)[:-1])]

    def queries(self, texts: Sequence[str], count: int) -> list[str]:
        """Eight words of an episode each."""
        chosen = self._random.choice(len(texts), count)
        return [" ".join(self._random.permutation(texts[one].split())[:8]) for one in chosen]


def fill(memory: MemoryManager, texts: Sequence[str], *, first: int, user_id: str) -> Iterator[float]:
    """Adds the texts in batches; the seconds that each took."""
    for start in range(0, len(texts), BATCH):
        items = [{"text": text, "session_id": f"s{(first + start + place) // SESSION}"}
                 for place, text in enumerate(texts[start : start + BATCH])]  # fmt: skip
        begun = time.perf_counter()
        memory.add_many(items, user_id=user_id)
        yield time.perf_counter() - begun


def milliseconds(memory: MemoryManager, queries: Sequence[str], *, user_id: str) -> dict[str, float]:
    """p50 and p95 of a search, by the clock and of the processor."""
    for query in queries[:WARM]:
        memory.search(query, user_id=user_id)
    clock, processor = [], []
    for query in queries[WARM:]:
        begun, used = time.perf_counter(), time.thread_time()
        memory.search(query, user_id=user_id)
        clock.append(1e3 * (time.perf_counter() - begun))
        processor.append(1e3 * (time.thread_time() - used))
    return {f"{name} {kind}": round(float(np.percentile(values, at)), 2)
            for name, at in (("p50", 50), ("p95", 95))
            for kind, values in (("ms", clock), ("ms of processor", processor))}  # fmt: skip


def catch_up(memory: MemoryManager, user_id: str) -> float:
    """Seconds until the index holds everything."""
    begun = time.perf_counter()
    with memory.database.read() as connection:
        owner = memory.store.namespace_id(connection, memory._scope(user_id, None))
    assert owner is not None
    while memory.index.maintain(owner, drain=True) is not None:
        pass
    return time.perf_counter() - begun


def path_of(memory: MemoryManager, query: str, *, user_id: str) -> str:
    """Which way vectors are compared: "exact" or "index"."""
    (found,) = memory.search(query, k=1, explain=True, user_id=user_id)
    why = found.why or {}
    return str((why.get("vector") or {}).get("path"))


def resident_bytes() -> int:
    """Memory of this process, on Linux."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def bytes_under(folder: Path) -> int:
    """Size of all files, the index included."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def grow(sizes: Sequence[int], texts: Texts) -> list[dict[str, Any]]:
    """One namespace, measured at each size on its way."""
    rows: list[dict[str, Any]] = []
    said: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        exact = Config(index=IndexConfig(index_from=10**9))
        with MemoryManager.open(folder) as memory, MemoryManager.open(folder, config=exact) as without:
            for size in sizes:
                new = texts.episodes(size - len(said))
                seconds = sum(fill(memory, new, first=len(said), user_id="one"))
                said += new
                waited = catch_up(memory, "one")
                queries = texts.queries(said, WARM + QUERIES)
                row = {
                    "episodes": size,
                    "path": path_of(memory, queries[0], user_id="one"),
                    **milliseconds(memory, queries, user_id="one"),
                    "exact": milliseconds(without, queries[: WARM + QUERIES // 4], user_id="one"),
                    "add ms per episode": round(1e3 * seconds / len(new), 3),
                    "index seconds": round(waited, 1),
                    "bytes per episode": bytes_under(folder) // size,
                    "resident MB": resident_bytes() // 10**6,
                }
                rows.append(row)
                print(row, flush=True)
    return rows


def ways(sizes: Sequence[int], texts: Texts) -> list[dict[str, Any]]:
    """Processor time of a search, all threads, by the two ways to its vectors, each query both ways."""
    rows: list[dict[str, Any]] = []
    said: list[str] = []
    all_compared, indexed = (Config(index=IndexConfig(index_from=size)) for size in (10**9, 1))
    with (
        tempfile.TemporaryDirectory() as name,
        MemoryManager.open(name, config=all_compared) as exact,
        MemoryManager.open(name, config=indexed) as index,
    ):
        for size in sizes:
            new = texts.episodes(size - len(said))
            sum(fill(exact, new, first=len(said), user_id="one"))
            said += new
            catch_up(index, "one")
            queries = texts.queries(said, WARM + QUERIES)
            row: dict[str, Any] = {"episodes": size}
            times = [(processor(exact, query), processor(index, query)) for query in queries]
            for way, values in zip(("exact", "index"), zip(*times[WARM:], strict=True), strict=True):
                row[way] = {
                    f"p{at} ms of processor": round(float(np.percentile(values, at)), 2) for at in (50, 95)
                }
            assert [path_of(one, queries[0], user_id="one") for one in (exact, index)] == ["exact", "index"]
            rows.append(row)
            print(row, flush=True)
    return rows


def processor(memory: MemoryManager, query: str) -> float:
    """Milliseconds of the processor that one search takes, all threads."""
    begun = time.process_time()
    memory.search(query, user_id="one")
    return 1e3 * (time.process_time() - begun)


def among_many(count: int, texts: Texts) -> dict[str, Any]:
    """One namespace of many, all of the same size."""
    with tempfile.TemporaryDirectory() as name, MemoryManager.open(name) as memory:
        for user in range(count):
            said = texts.episodes(SMALL)
            sum(fill(memory, said, first=0, user_id=f"user {user}"))
        queries = texts.queries(said, WARM + QUERIES)
        row = {
            "namespaces": count, "episodes each": SMALL,
            **milliseconds(memory, queries, user_id=f"user {count - 1}"),
            "bytes per episode": bytes_under(Path(name)) // (count * SMALL),
        }  # fmt: skip
    print(row, flush=True)
    return row


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Time, memory and bytes by size, three panels."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    sizes = [row["episodes"] for row in rows]
    panels = (
        ("milliseconds of a search", {"p50": "p50 ms", "p95": "p95 ms"}),
        ("milliseconds to add one of a batch", {"add_many": "add ms per episode"}),
        ("bytes per episode on disk", {"bytes": "bytes per episode"}),
        ("megabytes in memory", {"process": "resident MB"}),
    )
    figure, axes = pyplot.subplots(1, len(panels), figsize=(4 * len(panels), 3.2), layout="constrained")
    for axis, (title, lines) in zip(axes, panels, strict=True):
        for label, key in lines.items():
            axis.plot(sizes, [row[key] for row in rows], marker="o", label=label)
        axis.set(title=title, xscale="log", xlabel="episodes", ylim=(0, None))
        axis.legend()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Prints a row per size, writes `results/search.json` and `results/search.png`."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--sizes", type=int, nargs="*", default=SIZES)
    arguments.add_argument("--namespaces", type=int, default=1000)
    arguments.add_argument("--ways", type=int, nargs="*", default=CROSSING)
    arguments.add_argument("--seed", type=int, default=0)
    given = arguments.parse_args()
    texts = Texts(given.seed)
    rows = grow(sorted(given.sizes), texts)
    payload: dict[str, Any] = {"load average": round(os.getloadavg()[0], 1), "growth": rows}
    if given.ways:
        payload["ways"] = ways(sorted(given.ways), texts)
    if given.namespaces:
        payload["one of many namespaces"] = among_many(given.namespaces, texts)
    plot(rows, RESULTS / "search.png")
    print(record("search", payload, seed=given.seed))


if __name__ == "__main__":
    main()
