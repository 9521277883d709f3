"""Eight processes on one directory: is anything lost, and does every row's own vector find it from each?

    python -m benchmarks.concurrency                                    # 5 rounds x 8 processes x 500 calls
    python -m benchmarks.concurrency --rounds 1 --calls 20 --processes 3
    python -m benchmarks.concurrency --rounds 1 --calls 40 --broken     # without our locking; must be caught

Every process opens the same memory and namespace and mixes adds, batches, updates, forgets and searches.
When all are done, and with their handles still open, each process compares what it sees with what all of
them were told: an acknowledged episode that is missing or has another text is *lost*, one that nobody wrote
or that was forgotten is a *phantom*, a row whose own vector does not find it is *unfound*, any exception a
call raised is an *error*. The index is Chroma from 200 episodes on. `wait` is the longest that a write
took, which the others' writes are part of.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from agent_memory import Config, MemoryManager
from agent_memory.config import IndexConfig
from agent_memory.store.failures import translated
from benchmarks.kills import unfound
from benchmarks.processes import fresh
from benchmarks.record import record

USER = "alice"
CONFIG = Config(index=IndexConfig(index_from=200, drain_from=50, reopen_from=200))
PATIENCE_SECONDS = 1200  # for the slowest process


def one_round(
    place: Path, *, processes: int, calls: int, seed: int, broken: bool = False, url: str | None = None
) -> dict[str, Any]:
    """Counts of one round in a fresh directory."""
    context = fresh()
    barrier = context.Barrier(processes)
    workers = [
        context.Process(target=_process, args=(place, number, calls, seed, barrier, broken, url))
        for number in range(processes)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(PATIENCE_SECONDS)
    findings = [json.loads(file.read_text()) for file in sorted(place.glob("finding-*.json"))]
    total: dict[str, Any] = {"processes_that_finished": len(findings)}
    for name in ("lost", "phantom", "unfound", "errors", "problems"):
        total[name] = sum(len(one[name]) for one in findings)
    total["kinds_of_error"] = sorted({kind for one in findings for kind in one["errors"]})
    total["episodes"] = max((one["episodes"] for one in findings), default=0)
    total["wait_seconds"] = max((one["wait"] for one in findings), default=0.0)
    return total


def sound(total: dict[str, Any], *, processes: int) -> bool:
    """Whether nothing went wrong in a round."""
    wrong = ("lost", "phantom", "unfound", "errors", "problems")
    return total["processes_that_finished"] == processes and not any(total[name] for name in wrong)


def _process(
    place: Path, number: int, calls: int, seed: int, barrier: Barrier, broken: bool, url: str | None
) -> None:
    try:
        _take_part(place, number, calls, seed, barrier, broken, url)
    except BaseException:
        barrier.abort()  # the others need not wait for this one
        raise


def _take_part(
    place: Path,
    number: int,
    calls: int,
    seed: int,
    barrier: Barrier,
    broken: bool,
    url: str | None,
) -> None:
    with MemoryManager.open(place / "memory", user_id=USER, config=CONFIG, database_url=url) as memory:
        if broken:
            _without_locks()
        barrier.wait(PATIENCE_SECONDS)
        told = _work(memory, random.Random(seed * 1000 + number), calls, name=str(number))
        (place / f"told-{number}.json").write_text(json.dumps(told))
        barrier.wait(PATIENCE_SECONDS)
        finding = _look(memory, [json.loads(file.read_text()) for file in place.glob("told-*.json")])
        finding |= {"errors": told["errors"], "wait": told["wait"]}
        barrier.wait(PATIENCE_SECONDS)  # nobody closes before all have looked
    (place / f"finding-{number}.json").write_text(json.dumps(finding))


def _work(memory: MemoryManager, rng: random.Random, calls: int, *, name: str) -> dict[str, Any]:
    """Mixed calls on episodes of this process's own making, so that what each must hold is known."""
    texts: dict[str, str] = {}
    told: dict[str, Any] = {"texts": texts, "forgotten": [], "errors": [], "wait": 0.0}
    for number in range(calls):
        about = rng.choice(("keys", "tea", "trains"))
        text = f"process {name} call {number} about {about} {rng.randrange(10**6)}"
        kind = rng.choices(("add", "add_many", "update", "forget", "search"), (50, 5, 20, 5, 20))[0]
        if kind in ("update", "forget") and not texts:
            kind = "add"
        began = time.monotonic()
        try:
            _call(memory, kind, text, texts, told["forgotten"], rng)
        except Exception as error:  # noqa: BLE001  # whatever reaches the caller counts
            told["errors"].append(type(error).__name__)
        told["wait"] = max(told["wait"], time.monotonic() - began if kind != "search" else 0.0)
    return told


def _call(
    memory: MemoryManager,
    kind: str,
    text: str,
    texts: dict[str, str],
    forgotten: list[str],
    rng: random.Random,
) -> None:
    if kind == "add":
        texts[memory.add(text).id] = text
    elif kind == "add_many":
        batch = [f"{text} part {part}" for part in range(10)]
        texts.update({one.id: one.episode.text for one in memory.add_many(batch)})
    elif kind == "update":
        key = rng.choice(sorted(texts))
        texts[memory.update(key, text=text).id] = text
    elif kind == "forget":
        key = rng.choice(sorted(texts))
        memory.forget([key])
        forgotten.append(key)
        del texts[key]
    else:
        memory.search(text)


def _look(memory: MemoryManager, told: list[dict[str, Any]]) -> dict[str, Any]:
    """What this process sees, against what all were told."""
    expected: dict[str, str] = {}
    for one in told:
        expected |= one["texts"]
    seen = {episode.id: episode.text for episode in memory.list()}
    (owner,) = (row["id"] for row in memory.sql("SELECT id FROM namespaces"))
    return {
        "lost": [key for key, text in expected.items() if seen.get(key) != text],
        "phantom": [key for key in seen if key not in expected],
        "unfound": ["row"] * unfound(memory, owner),
        "problems": memory.verify(),
        "episodes": len(seen),
    }


def _without_locks() -> None:
    """The twin: nobody takes turns, and a write begins without the lock that keeps others from writing."""
    from agent_memory.store.database import Database

    @contextmanager
    def write(self: Database) -> Iterator[Any]:
        with translated(), self.engine.begin() as connection:
            yield connection

    Database.write = write  # type: ignore[method-assign]  # that is the twin


def main() -> None:
    """Runs the rounds and prints what they did."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--calls", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--broken", action="store_true", help="without our locking; records nothing")
    options = parser.parse_args()
    rounds = []
    for number in range(options.rounds):
        with tempfile.TemporaryDirectory() as place:
            began = time.monotonic()
            total = one_round(
                Path(place), processes=options.processes, calls=options.calls, seed=options.seed + number,
                broken=options.broken,
            )  # fmt: skip
            rounds.append(total | {"seconds": round(time.monotonic() - began, 1)})
            print(rounds[-1])
    good = sum(sound(one, processes=options.processes) for one in rounds)
    print(f"{good} of {options.rounds} rounds without a fault")
    if not options.broken:
        record("concurrency", {"calls": options.calls, "processes": options.processes, "rounds": rounds},
               seed=options.seed)  # fmt: skip


if __name__ == "__main__":
    main()
