"""Three workers, ten namespaces, random kills: is what is due consolidated, once at a time, and nothing lost?

`python benchmarks/worker.py` takes about two minutes. Worker processes follow the rules of ten namespaces
while new episodes keep coming; every few seconds one that has come up is killed, stopped for longer than its
lease and woken again, or asked to stop, and is replaced. Each job is a whole consolidation by the pipeline, on a
two-layer model with a scripted reader, so that it takes about a second. Afterwards one worker finishes what
is left, undisturbed, and the record is compared with what must hold:

    every trusted episode is in the active version of its namespace
    no job and no run is left open, and `verify` finds nothing
    the steps that different processes took in one namespace never interleave

The steps are witnessed outside of the record: each process appends them to a file of its own.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # as a script, this folder would come first

from agent_memory import MemoryManager
from agent_memory.config import (
    Config,
    ConsolidationConfig,
    DistillConfig,
    ExamConfig,
    GateConfig,
    SelectConfig,
    StudyConfig,
)
from agent_memory.types import Namespace
from agent_memory.worker import Place, Worker
from benchmarks.record import ROOT, record

WORKERS, NAMESPACES = 3, 10
LEASE = timedelta(seconds=5)
USERS = [f"user{number}" for number in range(NAMESPACES)]
#: What happens to a worker, by weight.
BLOWS = {"kill": 7, "stop and wake": 2, "terminate": 1}
#: A gate that lets everything finite pass: the tiny model has nothing to lose.
GATE = GateConfig(
    max_reading_lost=1, max_perplexity_rise=1e9, min_abstention=0, max_retention_lost=1, min_gain=0
)


def config() -> Config:
    """Settings under which a run takes about a second."""
    return Config(
        consolidation=ConsolidationConfig(
            select=SelectConfig(rehearsal_items=20),
            study=StudyConfig(samples=1, nearest=1),
            distill=DistillConfig(
                epochs=1,
                more_steps=0,
                rank=2,
                unknown_items=2,
                scenes=2,
                text_items=2,
                batch_anchors=2,
                batch_scenes=1,
                batch_items=8,
            ),
            exam=ExamConfig(scenes=1, unknown_items=1, anchor_items=2, earlier_items=20),
            gate=GATE,
        )
    )


def letters(texts: list[str]) -> list[list[float]]:
    """Vectors from counts of letters."""
    return [[1.0 + text.lower().count(letter) for letter in "abcdefghijklmnop"] for text in texts]


def opened(folder: Path, user: str, model: Any = None) -> MemoryManager:
    """The memory of one user."""
    return MemoryManager.open(
        folder / "memory", user_id=user, model=model, config=config(), embeddings=letters
    )


# ---------------------------------------------------------------------- a worker process


def work(folder: Path) -> None:
    """One worker process: consolidates what is due until SIGTERM, and witnesses its steps."""
    import torch

    from agent_memory.testing import scripted_reader

    torch.set_num_threads(1)
    own_copy = Path(tempfile.mkdtemp(dir=folder))
    model = scripted_reader(shutil.copytree(folder / "model", own_copy / "model"))
    calls = itertools.count()
    with (own_copy / "steps").open("a") as steps:

        def task(_place: Place, namespace: Namespace, between_steps: Callable[[], None]) -> None:
            call = f"{own_copy.name}-{next(calls)}"

            def progress(_stage: str, _done: int, _total: int) -> None:
                between_steps()
                steps.write(f"{time.monotonic_ns()} {namespace.user_id} {call}\n")
                steps.flush()

            with opened(folder, str(namespace.user_id), model) as memory:
                memory.consolidate(progress=progress)

        worker = Worker(
            Place(folder / "memory", config=config()),
            task=task,
            poll=timedelta(seconds=0.2),
            lease=LEASE,
        )
        signal.signal(signal.SIGTERM, lambda *_: worker.request_stop())
        (folder / f"ready-{os.getpid()}").touch()
        worker.run()


def ready(folder: Path, worker: subprocess.Popen[bytes]) -> bool:
    """Whether a worker has loaded its model and works; a blow before that would show nothing."""
    return (folder / f"ready-{worker.pid}").exists()


def start(folder: Path) -> subprocess.Popen[bytes]:
    """A worker process."""
    command = [sys.executable, str(Path(__file__)), "--work", str(folder)]
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)


# ---------------------------------------------------------------------- the storm


def storm(folder: Path, *, seconds: float, rng: random.Random) -> Counter[str]:
    """Adds episodes and strikes workers for a while; returns what was done."""
    done: Counter[str] = Counter()
    workers = [start(folder) for _ in range(WORKERS)]
    with ended(workers):
        blows(folder, workers, done, seconds=seconds, rng=rng)
    return done


@contextmanager
def ended(workers: list[subprocess.Popen[bytes]]) -> Iterator[None]:
    """No process outlives the benchmark: asked to stop, and killed if that is not enough."""
    try:
        yield
        for worker in workers:
            worker.send_signal(signal.SIGTERM)
        for worker in workers:
            worker.wait(timeout=60)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def blows(
    folder: Path,
    workers: list[subprocess.Popen[bytes]],
    done: Counter[str],
    *,
    seconds: float,
    rng: random.Random,
) -> None:
    """Adds an episode twice a second, and strikes a worker now and then."""
    asleep: dict[int, float] = {}
    while not all(ready(folder, worker) for worker in workers):
        time.sleep(0.2)
    end = time.monotonic() + seconds
    next_blow = time.monotonic()
    while (now := time.monotonic()) < end:
        time.sleep(0.5)
        add(folder, rng.choice(USERS), number=done["episodes"])
        done["episodes"] += 1
        for index, wake in list(asleep.items()):
            if now >= wake:
                workers[index].send_signal(signal.SIGCONT)
                del asleep[index]
        if now >= next_blow:
            awake = [i for i in range(WORKERS) if i not in asleep and ready(folder, workers[i])]
            if not awake:
                continue
            index = rng.choice(awake)
            blow = rng.choices(list(BLOWS), weights=list(BLOWS.values()))[0]
            done[blow] += 1
            if blow == "stop and wake":
                workers[index].send_signal(signal.SIGSTOP)
                asleep[index] = now + LEASE.total_seconds() * 1.5
            else:
                workers[index].send_signal(signal.SIGKILL if blow == "kill" else signal.SIGTERM)
                workers[index].wait()
                workers[index] = start(folder)
            next_blow = now + rng.uniform(1, 4)
    for index in asleep:
        workers[index].send_signal(signal.SIGCONT)


def add(folder: Path, user: str, *, number: int) -> None:
    """One more fact for a user, in the words that the scripted reader understands."""
    name = "".join(chr(ord("a") + int(digit)) for digit in f"{number:05d}").capitalize()
    with opened(folder, user) as memory:
        memory.add(f"The code of {name} is K{number}.")


def finish(folder: Path, *, limit_seconds: float) -> None:
    """One worker, undisturbed, until nothing is open or due."""
    workers = [start(folder)]
    end = time.monotonic() + limit_seconds
    with ended(workers):
        while time.monotonic() < end and left(folder):
            time.sleep(1)


def left(folder: Path) -> int:
    """Jobs that are open, and namespaces with episodes that no active version has learnt."""
    with opened(folder, USERS[0]) as memory:
        open_jobs = memory.sql("SELECT count(*) AS n FROM jobs WHERE state IN ('due', 'running')")[0]["n"]
    return int(open_jobs) + sum(unlearnt(folder, user) > 0 for user in USERS)


def unlearnt(folder: Path, user: str) -> int:
    """How many episodes of a user the active version does not hold."""
    with opened(folder, user) as memory:
        active = [version for version in memory.versions() if version.state == "active"]
        held = {id_ for version in active for id_ in version.episode_ids}
        return sum(episode.id not in held for episode in memory.list(limit=None))


# ---------------------------------------------------------------------- what must hold


def judge(folder: Path) -> dict[str, Any]:
    """What the record and the witnesses say."""
    problems: list[str] = []
    for user in USERS:
        with opened(folder, user) as memory:
            problems += memory.verify()
    with opened(folder, USERS[0]) as memory:
        jobs = memory.sql("SELECT state, count(*) AS n, sum(attempts > 1) AS again FROM jobs GROUP BY state")
        runs = memory.sql("SELECT state, outcome, count(*) AS n FROM runs GROUP BY state, outcome")
    return {
        "episodes_not_learnt": sum(unlearnt(folder, user) for user in USERS),
        "open_jobs": sum(row["n"] for row in jobs if row["state"] in ("due", "running")),
        "failed_jobs": sum(row["n"] for row in jobs if row["state"] == "failed"),
        "done_jobs": sum(row["n"] for row in jobs if row["state"] == "done"),
        "jobs_taken_more_than_once": sum(row["again"] or 0 for row in jobs),
        "open_runs": sum(row["n"] for row in runs if row["state"] == "running"),
        "promoted_runs": sum(row["n"] for row in runs if row["outcome"] == "promoted"),
        "interleaved": interleaved(folder),
        "problems": problems,
    }


def interleaved(folder: Path) -> int:
    """How often a call took a step in a namespace after another call had begun there: A, then B, then A."""
    steps: dict[str, list[tuple[int, str]]] = {user: [] for user in USERS}
    for file in folder.glob("*/steps"):
        for line in file.read_text().splitlines():
            at, user, call = line.split()
            steps[user].append((int(at), call))
    found = 0
    for taken in steps.values():
        over: set[str] = set()
        holder = ""
        for _, call in sorted(taken):
            if call != holder:
                found += call in over
                over.add(holder)
                holder = call
    return found


def main() -> None:
    """Runs the storm, finishes, judges, prints and records."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(arguments.work)
        return
    from agent_memory.testing import tiny_model

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = Path(tempfile.mkdtemp(prefix="worker-"))
    try:
        tiny_model(folder / "model")
        for user in USERS:
            with opened(folder, user) as memory:
                memory.schedule(every="1s", min_new_episodes=1, quiet="0s")
        for number, user in enumerate(USERS):
            add(folder, user, number=90_000 + number)
        done = storm(folder, seconds=arguments.seconds, rng=random.Random(arguments.seed))
        finish(folder, limit_seconds=300)
        found = judge(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for name, value in {**done, **found}.items():
        print(f"{name:28} {value}")
    bad = ("episodes_not_learnt", "open_jobs", "failed_jobs", "open_runs", "interleaved", "problems")
    sound = not any(found[name] for name in bad)
    print("sound" if sound else "NOT SOUND")
    settings = {"workers": WORKERS, "namespaces": NAMESPACES, "lease_seconds": LEASE.total_seconds()}
    record("worker", {**settings, "seconds": arguments.seconds, "storm": dict(done), "found": found},
           seed=arguments.seed)  # fmt: skip
    sys.exit(not sound)


if __name__ == "__main__":
    main()
