"""What the LangChain middleware costs an agent per turn, with 10,000 episodes in the memory.

    python -m benchmarks.middleware            # about two minutes on two quiet cores

The same agent with and without `AgentMemoryMiddleware` answers the same questions, each in a thread of
its own with a checkpointer. Its model is scripted and answers at once, so that everything but the model is
measured: recall (search, context block), the durable recording of question and answer, and the middleware's
own nodes. The overhead of a turn is its time less the median time of a turn without memory; "cpu" is the
processor's time, of all threads. Episodes and questions are those of `benchmarks/search.py`. Bar: p95 of the
overhead under 60 ms.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from langchain.agents import create_agent
from langchain_agent_memory import AgentMemoryMiddleware
from langgraph.checkpoint.memory import InMemorySaver

from agent_memory import MemoryManager
from agent_memory.testing import ScriptedChatModel
from benchmarks.record import record
from benchmarks.search import WARM, Texts, fill

BAR_P95_MS = 60.0
FIGURES = ("median_ms", "p95_ms")
ANSWER = "It is in the cellar."


def timed(agent: Any, text: str, thread: str) -> tuple[float, float]:
    """Wall and processor milliseconds of one turn."""
    wall, cpu = time.perf_counter(), time.process_time()
    agent.invoke({"messages": [("user", text)]}, {"configurable": {"thread_id": thread, "user_id": "ada"}})
    return (time.perf_counter() - wall) * 1000, (time.process_time() - cpu) * 1000


def percentile(values: list[float], share: float) -> float:
    """The value below which that share of them lies."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def summary(values: list[float]) -> dict[str, float]:
    """Median, p95 and p99 in milliseconds."""
    return {
        "median_ms": round(statistics.median(values), 2),
        "p95_ms": round(percentile(values, 0.95), 2),
        "p99_ms": round(percentile(values, 0.99), 2),
    }


def agents(memory: MemoryManager) -> dict[str, Any]:
    """The same agent three times: without memory, with it, and with it and its tools."""
    def made(*middleware: AgentMemoryMiddleware) -> Any:
        model = ScriptedChatModel(script=[ANSWER])
        return create_agent(model, middleware=middleware, checkpointer=InMemorySaver())

    return {
        "without": made(),
        "with": made(AgentMemoryMiddleware(memory, tools=())),
        "with, and tools": made(AgentMemoryMiddleware(memory)),
    }


def measure(memory: MemoryManager, questions: Sequence[str]) -> dict[str, dict[str, list[float]]]:
    """Wall and processor times of each agent's turns; the agents alternate, so that all fare alike."""
    subjects = agents(memory)
    times: dict[str, dict[str, list[float]]] = {name: {"wall": [], "cpu": []} for name in subjects}
    for n, text in enumerate(questions):
        for name, agent in subjects.items():
            wall, cpu = timed(agent, text, f"{name}-{n}")
            if n >= WARM:
                times[name]["wall"].append(wall)
                times[name]["cpu"].append(cpu)
        if n % 50 == 0:
            print(f"turn {n} of {len(questions)}", file=sys.stderr)
    return times


def table(rows: Mapping[str, Mapping[str, Mapping[str, float]]]) -> None:
    """Prints one line per agent."""
    heads = ("turn, median", "p95", "overhead, median", "p95", "cpu, median", "p95")
    print(f"{'agent (ms)':18}" + "".join(f"{head:>18}" for head in heads))
    for name, row in rows.items():
        cells = [row[kind][figure] for kind in ("turn", "overhead", "overhead_cpu") for figure in FIGURES]
        print(f"{name:18}" + "".join(f"{cell:18.1f}" for cell in cells))


def main() -> None:
    """Prints the table and writes the record."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--episodes", type=int, default=10_000)
    parser.add_argument("--turns", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    settings = parser.parse_args()
    made, load = Texts(settings.seed), os.getloadavg()[0]
    texts = made.episodes(settings.episodes)
    with tempfile.TemporaryDirectory() as folder, MemoryManager.open(Path(folder) / "memory") as memory:
        seconds = sum(fill(memory, texts, first=0, user_id="ada"))
        memory.rebuild_index(user_id="ada")
        print(f"{settings.episodes} episodes added in {seconds:.0f} s", file=sys.stderr)
        times = measure(memory, made.queries(texts, settings.turns + WARM))
    base = {kind: statistics.median(times["without"][kind]) for kind in ("wall", "cpu")}
    rows = {
        name: {
            "turn": summary(kinds["wall"]),
            "overhead": summary([t - base["wall"] for t in kinds["wall"]]),
            "overhead_cpu": summary([t - base["cpu"] for t in kinds["cpu"]]),
        }
        for name, kinds in times.items()
    }
    table(rows)
    met = rows["with"]["overhead"]["p95_ms"] < BAR_P95_MS
    print(f"overhead p95 under {BAR_P95_MS:.0f} ms: {'met' if met else 'missed'}; load before: {load:.1f}")
    payload = {"episodes": settings.episodes, "turns": settings.turns, "bar_p95_ms": BAR_P95_MS, "met": met,
               "load_before": round(load, 2), "rows": rows}  # fmt: skip
    record("middleware", payload, seed=settings.seed)


if __name__ == "__main__":
    main()
