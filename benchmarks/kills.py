"""SIGKILL during adds, updates and forgets: is what was acknowledged still there, and nothing else?

    python -m benchmarks.kills                      # 300 kills; seeds in the result
    python -m benchmarks.kills --kills 20 --broken  # the twin that acknowledges too early, and must be caught

A child process works on a memory (adds, batches, updates, forgets, searches; a vector index from 30
episodes on, so that it is written to all the time) and says through a pipe what it begins and, once the
call has returned, what is done. It is killed at a random instant, in the middle of a call as a rule. Then a
fresh process opens the directory and looks: an acknowledged write that is missing is *lost*; an episode
that nobody wrote, or that was forgotten, is a *phantom*; a batch of which a part is there is *torn*; the
call that was in flight may have happened or not. `verify` must find nothing, and after upkeep every episode
must be found by its own vector. The next child goes on in the same directory, which is changed every
`--chain` kills.

With no failure in n kills the rate is below 3/n with 95 % confidence, not zero. A kill is not a power cut:
what the kernel has, it keeps; that commits are synced is a matter of `synchronous=FULL`.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from agent_memory import Config, MemoryManager
from agent_memory.config import IndexConfig
from benchmarks.processes import started
from benchmarks.record import record

USER = "alice"
MOST_MESSAGES = 60  # of the child before it is killed; two for each call
LONGEST_SECONDS = 0.02  # from the last message waited for to the kill: it falls anywhere within a call
PATIENCE_SECONDS = 120.0  # for the next message, or for what is found; longer is a hang, and a problem
CONFIG = Config(index=IndexConfig(index_from=30, drain_from=10, close_seconds=0))


@dataclass
class Expected:
    """What a directory must hold: texts by id, and the ids that were forgotten."""

    texts: dict[str, str] = field(default_factory=dict)
    forgotten: set[str] = field(default_factory=set)
    acknowledged: int = 0


def opened(path: Path) -> MemoryManager:
    """The memory under test."""
    return MemoryManager.open(path, user_id=USER, config=CONFIG)


# ---------------------------------------------------------------------- the child that is killed


def work(
    path: Path, expected: dict[str, str], *, seed: int, say: Callable[[Any], None], broken: bool
) -> None:
    """Works until it is killed; says ["begin", call] before and ["done", call, ids] after each call."""
    rng = random.Random(seed)
    known = dict(expected)
    with opened(path) as memory:
        for number in range(1_000_000):
            call = _call(rng, known, f"{seed}-{number}")
            say(["begin", call])
            if broken and call[0] in ("update", "forget"):
                say(["done", call, call[1:2]])  # the twin: told before it is true
            ids = _do(memory, call)
            if not broken or call[0] not in ("update", "forget"):
                say(["done", call, ids])
            _apply(known, set(), call, ids)


def _call(rng: random.Random, known: dict[str, str], name: str) -> list[Any]:
    kind = rng.choices(("add", "add_many", "update", "forget", "search"), (45, 10, 25, 15, 5))[0]
    text = f"episode {name} about {rng.choice(('keys', 'tea', 'trains', 'Oslo'))} and {rng.randrange(1000)}"
    if kind in ("update", "forget") and known:
        return [kind, rng.choice(sorted(known)), text]
    if kind == "add_many":
        return [kind, *(f"{text} part {part}" for part in range(4))]
    return ["search", text] if kind == "search" else ["add", text]


def _do(memory: MemoryManager, call: list[Any]) -> list[str]:
    kind, *rest = call
    if kind == "add":
        return [memory.add(rest[0]).id]
    if kind == "add_many":
        return [one.id for one in memory.add_many(rest)]
    if kind == "update":
        return [memory.update(rest[0], text=rest[1]).id]
    if kind == "forget":
        return list(memory.forget([rest[0]]).ids)
    memory.search(rest[0])
    return []


def _apply(texts: dict[str, str], forgotten: set[str], call: list[Any], ids: list[str]) -> None:
    """What a call that has returned means for what is expected."""
    if call[0] in ("add", "add_many"):
        texts.update(zip(ids, call[1:], strict=True))
    elif call[0] == "update":
        texts[call[1]] = call[2]
    elif call[0] == "forget":
        texts.pop(call[1], None)
        forgotten.add(call[1])


# ---------------------------------------------------------------------- the parent


def killed(path: Path, expected: Expected, *, seed: int, broken: bool = False) -> list[Any] | None:
    """Lets a child work, kills it at a random instant, and returns the call that was in flight, if any."""
    process, pipe = started(_work, path, expected.texts, seed, broken)
    rng = random.Random(-seed - 1)
    most, delay = rng.randint(1, MOST_MESSAGES), rng.uniform(0.0, LONGEST_SECONDS)
    messages = list(islice(_heard(pipe), most))
    time.sleep(delay)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL, "the child ended by itself: the trial shows nothing"
    assert len(messages) == most, f"the child said nothing for {PATIENCE_SECONDS} s"
    messages += _heard(pipe)
    return _account(expected, messages)


def _work(sending: Connection, path: Path, texts: dict[str, str], seed: int, broken: bool) -> None:
    work(path, texts, seed=seed, say=sending.send, broken=broken)


def _heard(pipe: Connection) -> Iterator[Any]:
    """What is said, until there is an end or a silence."""
    while pipe.poll(PATIENCE_SECONDS):
        try:
            yield pipe.recv()
        except (EOFError, OSError):  # OSError: killed within a message
            return


def _account(expected: Expected, messages: list[Any]) -> list[Any] | None:
    """Enters what was acknowledged; returns the call that was not."""
    flight: list[Any] | None = None
    for kind, call, *rest in messages:
        flight = call if kind == "begin" else None
        if kind == "done":
            _apply(expected.texts, expected.forgotten, call, rest[0])
            expected.acknowledged += call[0] != "search"
    return flight


def looked_at(path: Path) -> tuple[dict[str, str], list[str]]:
    """What a fresh process finds in the directory: texts by id, and what is wrong with it."""
    process, pipe = started(_tell, path)
    try:
        if not pipe.poll(PATIENCE_SECONDS):
            return {}, [f"whoever looks gets no answer within {PATIENCE_SECONDS} s"]
        found, problems = pipe.recv()
        return found, problems
    except EOFError:
        return {}, ["whoever looks dies of it"]
    finally:
        process.kill()
        process.join()


def _tell(sending: Connection, path: Path) -> None:
    try:
        sending.send(_look(path))
    except Exception as error:  # noqa: BLE001  # whatever it is, it is the finding
        sending.send(({}, [f"the directory cannot be looked at: {type(error).__name__}: {error}"]))


def _look(path: Path) -> tuple[dict[str, str], list[str]]:
    with opened(path) as memory:
        found = {episode.id: episode.text for episode in memory.list()}
        problems = memory.verify()
        with memory.database.read() as connection:
            owners = connection.exec_driver_sql("SELECT id FROM namespaces").scalars().all()
        for owner in owners:
            for _ in range(20):
                if memory.index.maintain(owner, drain=True) is None:
                    break
            problems += [f"{n} episodes not found by their own vector" for n in [unfound(memory, owner)] if n]
        return found, problems + memory.verify()


def unfound(memory: MemoryManager, owner: int) -> int:
    """How many episodes a query with their own vector does not find among its first five."""
    from sqlalchemy import select

    from agent_memory.store.tables import vectors
    from agent_memory.store.vectors import unpacked

    missing = 0
    with memory.database.read() as connection:
        rows = connection.execute(
            select(vectors.c.episode_pk, vectors.c.vector, vectors.c.dimension).where(
                vectors.c.namespace_id == owner, vectors.c.vector.is_not(None)
            )
        ).all()
        for row in rows:
            vector = unpacked([row.vector], row.dimension)[0]
            found = memory.index.nearest(connection, owner, vector, n=5)
            (own,) = (
                found.of(found.pks[found.pks == row.episode_pk]) if row.episode_pk in found.pks else (0.0,)
            )
            missing += not own >= 0.999
    return missing


def judged(expected: Expected, flight: list[Any] | None, found: dict[str, str]) -> dict[str, list[str]]:
    """Ids that are lost, phantoms, or of a torn batch; the call in flight is taken as it turned out."""
    touched = flight[1] if flight and flight[0] in ("update", "forget") else None
    lost = [key for key, text in expected.texts.items() if key != touched and found.get(key) != text]
    phantoms, new = [], {}
    for key, text in found.items():
        if key in expected.forgotten:
            phantoms.append(key)
        elif key not in expected.texts:
            if flight and flight[0] in ("add", "add_many") and text in flight[1:]:
                new[key] = text
            else:
                phantoms.append(key)
    torn = sorted(new) if flight and flight[0] == "add_many" and 0 < len(new) < len(flight) - 1 else []
    if touched is not None and flight is not None:
        allowed = (
            {expected.texts[touched], flight[2]} if flight[0] == "update" else {expected.texts[touched], None}
        )
        if found.get(touched) not in allowed:
            lost.append(touched)
    expected.texts = dict(found)
    return {"lost": lost, "phantom": phantoms, "torn": torn}


def trials(
    place: Path, *, kills: int, seed: int, chain: int, broken: bool = False
) -> Iterator[dict[str, Any]]:
    """One finding per kill: its seed, what was acknowledged, and what was wrong."""
    expected, path = Expected(), place
    for number in range(kills):
        if number % chain == 0:
            expected, path = Expected(), place / str(number // chain)
        before = expected.acknowledged
        one = seed * 100_000 + number
        flight = killed(path, expected, seed=one, broken=broken)
        found, problems = looked_at(path)
        yield {
            "seed": one, "acknowledged": expected.acknowledged - before,
            "in_flight": flight[0] if flight else None, "problems": problems,
            **judged(expected, flight, found),
        }  # fmt: skip
        if number % chain == chain - 1:
            shutil.rmtree(path)


def summary(findings: list[dict[str, Any]]) -> dict[str, Any]:
    """Counts over all kills, and the findings that were not clean."""
    kinds = ("lost", "phantom", "torn", "problems")
    flights = [one["in_flight"] for one in findings]
    return {
        "kills": len(findings),
        "acknowledged": sum(one["acknowledged"] for one in findings),
        "killed_within": {kind: flights.count(kind) for kind in sorted({str(f) for f in flights if f})},
        **{kind: sum(len(one[kind]) for one in findings) for kind in kinds},
        "not_clean": [one for one in findings if any(one[kind] for kind in kinds)],
    }


def main() -> None:
    """Runs the kills and prints what they did."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--chain", type=int, default=25, help="kills in one directory")
    parser.add_argument("--broken", action="store_true", help="acknowledge too early; records nothing")
    options = parser.parse_args()
    findings: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as place:
        for one in trials(Path(place), kills=options.kills, seed=options.seed, chain=options.chain,
                          broken=options.broken):  # fmt: skip
            findings.append(one)
            acknowledged = sum(finding["acknowledged"] for finding in findings)
            print(f"\r{len(findings)}/{options.kills} kills, {acknowledged} acknowledged", end="", flush=True)
    result = summary(findings)
    print("\n" + "\n".join(f"{name:>14}  {value}" for name, value in result.items()))
    bound = None if result["not_clean"] else 3 / len(findings)
    if bound is not None:
        print(f"with no failure, the rate is below {bound:.1%} at 95 % confidence")
    if not options.broken:
        record("kills", result | {"chain": options.chain, "bound_95": bound}, seed=options.seed)


if __name__ == "__main__":
    main()
