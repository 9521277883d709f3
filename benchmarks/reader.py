"""Does the bundled reader read? Exact match, greedy, on names and values that training never held.

    python benchmarks/reader.py [--model FOLDER] [--questions 500] [--seed 1] [--card]

Each row asks at least `--questions` questions and gives a Wilson 95 % interval. Statement and question frames are
those of training unless the row says "held-out frames". `--card` also writes the model card beside the weights.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from agent_memory import prompt
from agent_memory.config import StudyConfig
from agent_memory.consolidation.writers import OwnWriter
from agent_memory.models.local import LocalModel
from agent_memory.types import Episode
from benchmarks.intervals import wilson
from benchmarks.record import ROOT, record
from training.frames import Fact, matches
from training.relations import RELATIONS
from training.world import Memory, World

BUNDLED = ROOT / "agent_memory" / "models" / "reader"
Asked = tuple[list[prompt.Message], str]  # the prompt, and the right answer


@dataclass(frozen=True)
class Row:
    """One line of the table: a bar that is a floor, or a ceiling where `at_most`."""

    name: str
    right: int
    asked: int
    bar: float
    at_most: bool = False

    @property
    def share(self) -> float:
        return self.right / self.asked

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.right, self.asked)

    @property
    def met(self) -> bool:
        return self.share <= self.bar if self.at_most else self.share >= self.bar


def same(said: str, right: str) -> bool:
    """Exact match but for case and a closing full stop."""
    return said.strip().rstrip(".").lower() == right.strip().rstrip(".").lower()


def answers(
    model: LocalModel, prompts: list[list[prompt.Message]], *, tokens: int = 24, batch: int = 64
) -> list[str]:
    """Greedy answers, in order."""
    said: list[str] = []
    with model.wearing(None):
        for start in range(0, len(prompts), batch):
            ids = [model.prompt_ids(messages) for messages in prompts[start : start + batch]]
            said += [model.text(answer) for answer in model.generate(ids, max_new_tokens=tokens)]
    return said


def asked(memory: Memory, question: str, *, block: bool = True) -> list[prompt.Message]:
    return prompt.compose([{"role": "user", "content": question}], block=memory.block() if block else "",
                          system=prompt.ASK_SYSTEM)  # fmt: skip


class Bench:
    """Draws questions and counts what the model does with them."""

    def __init__(self, model: LocalModel, *, questions: int, seed: int) -> None:
        self.model, self.questions, self.seed = model, questions, seed
        self.world = World("eval")
        self.rows: list[Row] = []

    def draw(self, name: str, make: Callable[[random.Random], Asked | None]) -> list[Asked]:
        rng = random.Random(f"{self.seed}/{name}")
        found: list[Asked] = []
        while len(found) < self.questions:
            drawn = make(rng)
            if drawn is not None and len(self.model.prompt_ids(drawn[0])) < self.model.window - 40:
                found.append(drawn)
        return found

    def row(self, name: str, bar: float, make: Callable[[random.Random], Asked | None], *, at_most: bool = False,
            right: Callable[[str, str], bool] = same) -> None:  # fmt: skip
        pairs = self.draw(name, make)
        said = answers(self.model, [messages for messages, _ in pairs])
        self.add(
            Row(
                name,
                sum(right(s, r) for s, (_, r) in zip(said, pairs, strict=True)),
                len(pairs),
                bar,
                at_most,
            )
        )

    def add(self, row: Row) -> None:
        self.rows.append(row)
        low, high = row.interval
        print(f"{row.name:62s} {row.share:6.1%}  [{low:.1%}, {high:.1%}]  bar {'<=' if row.at_most else '>='} "
              f"{row.bar:.0%}  {'met' if row.met else 'MISSED'}", flush=True)  # fmt: skip

    def reading(self, rng: random.Random, count: int, *, episodes: int | None = None, per_subject: float = 2.0,
                frames: str = "seen", block: bool = True) -> Asked:  # fmt: skip
        memory = self.world.memory(rng, count, episodes=episodes, per_subject=per_subject, frames=frames)
        fact = rng.choice(memory.facts)
        return asked(memory, self.world.question(rng, fact, frames=frames), block=block), fact.answer

    def abstaining(self, rng: random.Random, *, known: bool) -> Asked | None:
        taken: set[str] = set()
        memory = self.world.memory(rng, rng.randint(1, 6), taken=taken)
        fact: Fact | None = (self.world.unstated(rng, memory.facts, taken) if known
                             else self.world.unknown_name(rng, memory.facts, taken))  # fmt: skip
        return None if fact is None else (asked(memory, self.world.question(rng, fact)), prompt.ABSTENTION)

    def latest(self, rng: random.Random) -> Asked | None:
        memory = self.world.memory(rng, rng.randint(2, 6), update_share=0.5)
        changed = {(f.relation.name, f.subject) for f in memory.stale}
        facts = [f for f in memory.facts if (f.relation.name, f.subject) in changed]
        if not facts:
            return None
        fact = rng.choice(facts)
        return asked(memory, self.world.question(rng, fact)), fact.answer

    def reversed(self, rng: random.Random) -> Asked | None:
        memory = self.world.memory(rng, rng.randint(1, 6))
        fact = rng.choice(memory.facts)
        text = self.world.reversed_question(rng, fact)
        return None if text is None else (asked(memory, text), fact.subject_answer)

    def writing(self) -> None:
        """What the product's own writer asks about 4-fact episodes: its first twelve questions, and all of them."""
        rng = random.Random(f"{self.seed}/writing")
        memories = [self.world.memory(rng, 4, episodes=1, per_subject=2.0) for _ in range(self.questions // 4)]
        day = datetime(2026, 1, 1, tzinfo=UTC)
        episodes = [
            Episode(str(i), m.lines[0][2], "user", None, "user", "trusted", day, day, 1)
            for i, m in enumerate(memories)
        ]
        written = OwnWriter(self.model, config=StudyConfig()).write(episodes, seed=self.seed)
        first = [questions[:12] for questions in written]
        good, covered = self._judged(memories, first)
        self.add(Row("written questions well-formed and answered rightly by itself", good, sum(map(len, first)), 0.95))
        self.add(Row("facts of a 4-fact memory covered by 12 written questions", covered, 4 * len(memories), 0.90))
        good, covered = self._judged(memories, written)
        self.add(Row("the same of all questions, sampled ones included", good, sum(map(len, written)), 0.0))
        self.add(Row("facts covered by all of them", covered, 4 * len(memories), 0.0))

    def _judged(self, memories: list[Memory], written: list[list[str]]) -> tuple[int, int]:
        """How many questions are well-formed and answered rightly, and how many facts the well-formed ones ask for."""
        own = iter(answers(self.model, [asked(m, q) for m, of in zip(memories, written, strict=True) for q in of]))
        good, covered = 0, 0
        for memory, questions in zip(memories, written, strict=True):
            about: set[Fact] = set()
            for question, said in zip(questions, own, strict=False):
                meant = {f: a for f in memory.facts if (a := matches(question, f)) is not None}
                about |= meant.keys()
                good += any(same(said, answer) for answer in meant.values())
            covered += len(about)
        return good, covered

    def run(self) -> None:
        self.row("reading, 1-6 facts, seen frames", 0.97, lambda r: self.reading(r, r.randint(1, 6)))
        self.row("reading, 12 facts", 0.93, lambda r: self.reading(r, 12))
        self.row("reading, one relevant among 20 episodes", 0.90, lambda r: self.reading(r, 20, episodes=20))
        self.row("reading, held-out frames, one fact per name", 0.90,
                 lambda r: self.reading(r, r.randint(1, 6), per_subject=1.0, frames="held"))  # fmt: skip
        self.row("reading, held-out frames, several facts per name", 0.75,
                 lambda r: self.reading(r, r.randint(3, 6), per_subject=4.0, frames="held"))  # fmt: skip
        self.row(
            "right without context",
            0.02,
            lambda r: self.reading(r, r.randint(1, 6), block=False),
            at_most=True,
        )
        self.row("abstains on unknown names", 0.97, lambda r: self.abstaining(r, known=False))
        self.row("abstains on known names, unstated relation", 0.90, lambda r: self.abstaining(r, known=True))
        self.row("abstains although the answer is there", 0.02, lambda r: self.reading(r, r.randint(1, 6)), at_most=True,
                 right=lambda said, _: same(said, prompt.ABSTENTION))  # fmt: skip
        self.row("latest statement wins", 0.95, self.latest)
        self.row("reversed questions, 1-6 facts (no bar asked)", 0.0, self.reversed)
        self.writing()


def _training(told: dict[str, Any]) -> str:
    """How long the weights were trained, from their training.json."""
    length = f"{told.get('tokens', 0) / 1e6:.1f} million tokens in {told.get('minutes', 0):.0f} minutes"
    stages = len(told.get("stages", []))
    return length if stages < 2 else (
        f"{length}, in {stages} stages; the mix of conversations changed between them, see `training.json`"
    )


def _bar(row: dict[str, Any]) -> str:
    if not row["bar"]:
        return "none | "
    return f"{'<=' if row['at_most'] else '>='} {row['bar']:.0%} | {'met' if row['met'] else '**missed**'}"


def card(payload: dict[str, Any]) -> str:
    """The model card, all of it from the measured payload."""
    rows = "\n".join(
        f"| {r['measure']} | {r['share']:.1%} ({r['low']:.1%}-{r['high']:.1%}) | {_bar(r)} |"
        for r in payload["rows"]
    )
    return f"""# The bundled reader

A causal language model of the Llama architecture with {payload["parameters"] / 1e6:.2f} million parameters, trained from
random weights on text generated by `training/conversations.py` ({payload["training"]}). Licence: Apache-2.0, like the project.

It reads short memories about people, projects, things and lessons, says "{prompt.ABSTENTION}" when they do not hold the
answer, and writes study questions. It knows nothing else: it is no general assistant, its English is that of the world's
{len(RELATIONS)} relations, and it does not call tools.

Measured by `python benchmarks/reader.py` (greedy, exact match, seed {payload["seed"]}; names and values that training
never held; 95 % Wilson intervals):

| measure | measured | bar | |
|---|---|---|---|
{rows}

Size on disk: {payload["bytes"] / 1e6:.1f} MB. Fingerprint of what was measured: `{payload["fingerprint"][:16]}`.
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=BUNDLED)
    parser.add_argument("--questions", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--card", action="store_true", help="write README.md beside the weights")
    parser.add_argument("--dry", action="store_true", help="print only")
    args = parser.parse_args()
    import json

    started = time.perf_counter()
    model = LocalModel.open(args.model)
    bench = Bench(model, questions=args.questions, seed=args.seed)
    bench.run()
    training = args.model / "training.json"
    told = json.loads(training.read_text()) if training.exists() else {}
    payload = {
        "rows": [{"measure": r.name, "share": r.share, "right": r.right, "asked": r.asked, "low": r.interval[0],
                  "high": r.interval[1], "bar": r.bar, "at_most": r.at_most, "met": r.met} for r in bench.rows],
        "seconds": round(time.perf_counter() - started, 1),
        "parameters": told.get("size", {}).get("parameters", 0),
        "training": _training(told),
        "fingerprint": model.fingerprint,
        "bytes": sum(f.stat().st_size for f in args.model.iterdir()),
    }  # fmt: skip
    if not args.dry:
        record("reader", payload, seed=args.seed)
    if args.card:
        (args.model / "README.md").write_text(card({**payload, "seed": args.seed}), encoding="utf-8")


if __name__ == "__main__":
    main()
