"""Does consolidation teach the weights what the episodes say, and nothing else? Each row is its own command.

    python benchmarks/consolidation.py ROW [--episodes N] [--seed S] [--again]

    run             one consolidation of 100 episodes: arms, marks, reading, anchors, seconds
    sequential      20 runs of 5 episodes: what is kept over many runs, and their time
    changed         stale and new answers after one fact of each of 50 episodes has changed
    shuffled        an adapter of wrong values is asked the true questions
    ablation        target modules, 20 episodes, two seeds
    cross-entropy   the same items, one-hot targets
    kills           every instant of a run, on a model of two layers
    all             all of them, one after the other
    table           what has been measured so far

A row leaves `benchmarks/results/consolidation-<row>.json`; one that is there already is not measured again
without `--again`. Memories lie under `runs/benchmarks/`; a killed consolidation goes on. `--model FOLDER`
takes another base.

Accuracy is exact match of normalised greedy answers on the generator's own facts, with names that the
reader never saw and in frames in which no study item asked for that fact (`facts.py`). The *oracle* is the
bare base with the fact's own episode in view. Intervals: Wilson for shares, paired bootstrap for
differences, both 95 %.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from agent_memory import MemoryManager
from agent_memory.config import Config, GateConfig
from agent_memory.models.local import LocalModel
from benchmarks import facts
from benchmarks.arms import Examined, arms, kept, oracle, share, texts_of
from benchmarks.record import RESULTS, ROOT, record

HERE = ROOT / "runs" / "benchmarks"
Row = Callable[[argparse.Namespace], dict[str, Any]]
#: A gate that rejects nothing, so that variants which the product would refuse are measured as well.
OPEN_GATE = GateConfig(
    max_reading_lost=1.0, max_perplexity_rise=1e9, min_abstention=0.0, max_retention_lost=1.0, min_gain=0.0
)


# ---------------------------------------------------------------------- memories


def settings(**distill: Any) -> Config:
    """The defaults with other distillation settings, behind a gate that lets every variant through."""
    config = Config()
    changed = config.consolidation.distill.model_copy(update=distill)
    consolidation = config.consolidation.model_copy(update={"distill": changed, "gate": OPEN_GATE})
    return config.model_copy(update={"consolidation": consolidation})


def opened(
    name: str, model: LocalModel, *, config: Config | None = None, fresh: bool = False
) -> MemoryManager:
    """The memory of a row, as a killed attempt left it unless it is to be fresh."""
    path = HERE / name
    if fresh:
        shutil.rmtree(path, ignore_errors=True)
    return MemoryManager.open(path, user_id="bench", model=model, config=config or Config())


def tell(memory: MemoryManager, told: Sequence[facts.Told], *, first_day: int = 0) -> None:
    """Adds the episodes, one a day; those that are there already stay as they are."""
    start = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=first_day)
    days = [start + timedelta(days=day) for day in range(len(told))]
    memory.add_many([
        {"text": one.text, "occurred_at": day, "idempotency_key": day.isoformat()}
        for one, day in zip(told, days, strict=True)
    ])  # fmt: skip


def consolidated(memory: MemoryManager, *, seed: int) -> tuple[Any, float]:
    """The report of a run, and its seconds by the wall."""
    start = time.monotonic()
    report = memory.consolidate(progress=_told, seed=seed)
    return report, time.monotonic() - start


def _told(stage: str, done: int, total: int) -> None:
    if done % 50 == 0:
        print(f"\r{stage} {done}/{total}        ", end="", file=sys.stderr, flush=True)


def loaded(options: argparse.Namespace) -> LocalModel:
    """The base of the benchmark; on as many threads as are asked for."""
    import torch

    torch.set_num_threads(options.threads)
    return LocalModel.open(options.model, device=options.device)


# ---------------------------------------------------------------------- rows


def run(options: argparse.Namespace) -> dict[str, Any]:
    """One consolidation: the four arms, lean, marks, what is kept, seconds."""
    model = loaded(options)
    told = facts.memory(options.episodes, seed=options.seed)
    name = f"run-{options.episodes}-{options.seed}"
    with opened(name, model, fresh=options.again) as memory:
        tell(memory, told)
        if not memory.versions():
            report, wall = consolidated(memory, seed=options.seed)
            (HERE / name / "report.json").write_text(json.dumps(_plain(report, wall)))
        report = json.loads((HERE / name / "report.json").read_text())
        asked = facts.questions(told, texts_of(memory, len(told)), seed=options.seed)
        chosen_on = facts.questions(
            told, texts_of(memory, len(told)), seed=options.seed + 1000, per_fact=1, held=0
        )
        found = arms(memory, told, asked, chosen_on[: options.chosen_on])
        trusted = marks(memory, report, asked, found.pop("right"))
        return {
            "episodes": options.episodes, "facts": sum(len(one.facts) for one in told), "report": report,
            **found, **kept(memory, told, seed=options.seed), **trusted,
        }  # fmt: skip


def _plain(report: Any, wall: float) -> dict[str, Any]:
    return {
        "outcome": report.outcome, "version": report.version_id, "wall_seconds": wall, "items": report.items,
        "seconds": dict(report.seconds), "tokens": report.tokens, "scores": dict(report.scores),
        "slow": list(report.slow), "reasons": list(report.reasons), "notes": list(report.notes),
    }  # fmt: skip


def marks(
    memory: MemoryManager, report: dict[str, Any], asked: Sequence[facts.Asked], right_of: dict[str, list[bool]]
) -> dict[str, Any]:
    """How far a mark can be trusted: questions about slow episodes, and wholly known episodes marked slow."""
    order = [row["id"] for row in memory.sql("SELECT id FROM episodes ORDER BY pk")]
    slow = {order.index(one) for one in report["slow"]}
    right = right_of["weights"]
    about = [ok for question, ok in zip(asked, right, strict=True) if question.episode in slow]
    whole = {
        episode for episode in {q.episode for q in asked}
        if all(ok for q, ok in zip(asked, right, strict=True) if q.episode == episode)
    }  # fmt: skip
    return {
        "slow_episodes": len(slow),
        "right_about_slow": share(about),
        "known_episodes_marked_slow": share([episode in slow for episode in sorted(whole)]),
    }


def sequential(options: argparse.Namespace) -> dict[str, Any]:
    """Many small runs, each going on from the last: what the first five still know at the end."""
    model = loaded(options)
    told = facts.memory(options.runs * options.each, seed=options.seed)
    name = f"sequential-{options.runs}-{options.each}-{options.seed}"
    early = told[: 5 * options.each]
    log = HERE / name / "runs.json"
    with opened(name, model, fresh=options.again) as memory:
        done = json.loads(log.read_text()) if log.exists() else []
        for number in range(len(done), options.runs):
            tell(
                memory,
                told[number * options.each : (number + 1) * options.each],
                first_day=number * options.each,
            )
            report, wall = consolidated(memory, seed=options.seed)
            row = _plain(report, wall)
            if number == 4:
                row["early"] = _accuracy(memory, early, seed=options.seed)
            done.append(row)
            log.write_text(json.dumps(done))
            print(f"\nrun {number + 1}: {row['outcome']} {wall:.0f} s {row['scores']}")
        at_end = _accuracy(memory, early, seed=options.seed)
    at_five = done[4]["early"]
    before = at_five["base"]
    return {
        "runs": options.runs, "each": options.each, "outcomes": [row["outcome"] for row in done],
        "wall_seconds": [row["wall_seconds"] for row in done],
        "early_at_run_5": at_five, "early_at_end": at_end,
        "gain_kept": (at_end["weights"] - before) / max(1e-9, at_five["weights"] - before),
        "time_of_last_to_second": done[-1]["wall_seconds"] / done[1]["wall_seconds"],
        "last": done[-1],
    }  # fmt: skip


def _accuracy(memory: MemoryManager, told: Sequence[facts.Told], *, seed: int) -> dict[str, float]:
    examined = Examined.of(memory)
    asked = facts.questions(told, texts_of(memory, len(told)), seed=seed)
    prompts = [examined.asker.prompt(question.text) for question in asked]
    return {
        "weights": share(examined.right(asked, prompts, examined.adapter))["share"],
        "base": share(examined.right(asked, prompts, None))["share"],
        "oracle": share(oracle(memory, told, asked))["share"],
        "questions": len(asked),
    }


def changed(options: argparse.Namespace) -> dict[str, Any]:
    """Facts learnt, one of each episode changed, learnt again: stale and new answers, without retrieval."""
    model = loaded(options)
    told = facts.memory(options.episodes, seed=options.seed)
    news, after = facts.changed(told, seed=options.seed)
    with opened(f"changed-{options.episodes}-{options.seed}", model, fresh=options.again) as memory:
        tell(memory, told)
        if len(memory.versions()) < 1:
            consolidated(memory, seed=options.seed)
        tell(memory, news, first_day=1000)
        kept_news = memory.database.path / "news.json"
        if len(memory.versions()) < 2 and not kept_news.exists():
            known = texts_of(memory, len(told))
            kept_news.write_text(json.dumps(_on_news(memory, told, after, known, seed=options.seed)))
        report, wall = (None, 0.0) if len(memory.versions()) > 1 else consolidated(memory, seed=options.seed)
        examined = Examined.of(memory)
        texts = texts_of(memory, 2 * len(told))
        studied = [[*old, *new] for old, new in zip(texts[: len(told)], texts[len(told) :], strict=True)]
        asked = [q for q in facts.questions(after, studied, seed=options.seed) if q.kind == "value"]
        moved = _moved(asked, told, after)
        old = [told[q.episode].facts[q.fact].answer for q in moved]
        said = examined.said([examined.asker.prompt(q.text) for q in moved], examined.adapter)
        untouched = [q for q in asked if q not in moved]
        rest = examined.right(untouched, [examined.asker.prompt(q.text) for q in untouched], examined.adapter)
        both = [[memory_line(told, q), memory_line(news, q)] for q in moved]
        oracles = examined.said(
            [examined.with_lines(q.text, lines) for q, lines in zip(moved, both, strict=True)], None
        )
        return {
            "episodes": options.episodes, "outcome": report and report.outcome, "wall_seconds": wall,
            "before the second run": json.loads(kept_news.read_text()),
            "after it": _by_ask(memory, moved, old),
            "stale": share([examined.same(s, o) for s, o in zip(said, old, strict=True)]),
            "new": share([examined.same(s, q.answer) for s, q in zip(said, moved, strict=True)]),
            "oracle_new": share([examined.same(s, q.answer) for s, q in zip(oracles, moved, strict=True)]),
            "unchanged": share(rest),
        }  # fmt: skip


def _on_news(
    memory: MemoryManager, told: Sequence[facts.Told], after: Sequence[facts.Told],
    studied: Sequence[Sequence[str]], *, seed: int,
) -> dict[str, Any]:  # fmt: skip
    """What `ask` answers about what has changed since the version was taught."""
    asked = [q for q in facts.questions(after, studied, seed=seed) if q.kind == "value"]
    moved = _moved(asked, told, after)
    return _by_ask(memory, moved, [told[q.episode].facts[q.fact].answer for q in moved])


def _moved(
    asked: Sequence[facts.Asked], told: Sequence[facts.Told], after: Sequence[facts.Told]
) -> list[facts.Asked]:
    """The questions about facts that have another value afterwards."""
    return [q for q in asked if told[q.episode].facts[q.fact].value != after[q.episode].facts[q.fact].value]


def _by_ask(memory: MemoryManager, asked: Sequence[facts.Asked], old: Sequence[str]) -> dict[str, Any]:
    """Stale and new answers of `ask`, with a whole block and with a lean one."""
    found: dict[str, Any] = {}
    for how in ("all", "lean"):
        said = [memory.ask(q.text, retrieval=how).text for q in asked]
        for name, meant in (("stale", old), ("new", [q.answer for q in asked])):
            found[f"{how}: {name}"] = share([Examined.same(s, m) for s, m in zip(said, meant, strict=True)])
    return found


def memory_line(told: Sequence[facts.Told], question: facts.Asked) -> str:
    """The text of the episode that a question is about."""
    return told[question.episode].text


def shuffled(options: argparse.Namespace) -> dict[str, Any]:
    """An adapter of the same names with wrong values is asked the true questions."""
    model = loaded(options)
    told = facts.memory(options.episodes, seed=options.seed)
    wrong = facts.with_wrong_values(told, seed=options.seed)
    with opened(f"shuffled-{options.episodes}-{options.seed}", model, fresh=options.again) as memory:
        tell(memory, wrong)
        if not memory.versions():
            consolidated(memory, seed=options.seed)
        examined = Examined.of(memory)
        asked = [
            q
            for q in facts.questions(told, texts_of(memory, len(told)), seed=options.seed)
            if q.kind == "value"
        ]
        said = examined.said([examined.asker.prompt(q.text) for q in asked], examined.adapter)
        return {
            "episodes": options.episodes,
            "right": share([examined.same(s, q.answer) for s, q in zip(said, asked, strict=True)]),
            "taught": share([
                examined.same(s, wrong[q.episode].facts[q.fact].answer)
                for s, q in zip(said, asked, strict=True)
            ]),
            "abstains": share([examined.declines(s) for s in said]),
        }  # fmt: skip


def ablation(options: argparse.Namespace) -> dict[str, Any]:
    """Which modules carry LoRA: the same items, two seeds, all columns."""
    model = loaded(options)
    columns: dict[str, Any] = {}
    for targets in ("all-linear", "mlp", "down_proj", "q_v", "gate_up"):
        for seed in (options.seed, options.seed + 1):
            columns[f"{targets} seed {seed}"] = _variant(
                model, options, f"ablation-{targets}-{seed}", settings(targets=targets), seed=seed
            )
    return {"episodes": options.episodes, "columns": columns}


def cross_entropy(options: argparse.Namespace) -> dict[str, Any]:
    """The same items with one-hot targets: the KL of a one-hot target is the cross-entropy."""
    from benchmarks.arms import one_hot_targets

    model = loaded(options)
    ours = _variant(model, options, "cross-entropy-kl", settings(), seed=options.seed)
    with one_hot_targets():
        theirs = _variant(model, options, "cross-entropy-ce", settings(), seed=options.seed)
    return {"episodes": options.episodes, "columns": {"top-k KL": ours, "cross-entropy": theirs}}


def _variant(
    model: LocalModel, options: argparse.Namespace, name: str, config: Config, *, seed: int
) -> dict[str, Any]:
    """One run under other settings: accuracy, what is kept, seconds."""
    told = facts.memory(options.episodes, seed=seed)
    with opened(f"{name}-{options.episodes}", model, config=config, fresh=options.again) as memory:
        tell(memory, told)
        file = memory.database.path / "report.json"
        if not file.exists():
            report, wall = consolidated(memory, seed=seed)
            file.write_text(json.dumps(_plain(report, wall)))
        report = json.loads(file.read_text())
        return {
            **_accuracy(memory, told, seed=seed), **kept(memory, told, seed=seed),
            "scores": report["scores"], "wall_seconds": report["wall_seconds"],
            "distill_seconds": report["seconds"].get("distill"),
        }  # fmt: skip


def kills(options: argparse.Namespace) -> dict[str, Any]:
    """A run of the two-layer model, killed before and after every fsync, rename, removal and commit."""
    from benchmarks.kills_of_a_run import every_instant

    return every_instant(HERE / "kills", random_kills=options.random_kills)


ROWS: dict[str, Row] = {
    "run": run, "sequential": sequential, "changed": changed, "shuffled": shuffled, "ablation": ablation,
    "cross-entropy": cross_entropy, "kills": kills,
}  # fmt: skip

#: What `all` measures: the row and its arguments.
ALL = (
    ("run", "--episodes", "20"), ("run", "--episodes", "100"), ("run", "--episodes", "100", "--seed", "1"),
    ("run", "--episodes", "100", "--seed", "2"), ("shuffled", "--episodes", "50"),
    ("changed", "--episodes", "50"),
    ("ablation", "--episodes", "20"), ("cross-entropy", "--episodes", "20"), ("sequential",), ("kills",),
    ("run", "--episodes", "500"),
)  # fmt: skip


def name_of(options: argparse.Namespace) -> str:
    """The name of a row's result."""
    sized = "" if options.row in ("kills", "sequential") else f"-{options.episodes}"
    return f"consolidation-{options.row}{sized}" + (f"-seed{options.seed}" if options.seed else "")


def table() -> None:
    """Prints the main figures of every result there is."""
    for file in sorted(RESULTS.glob("consolidation-*.json")):
        found = json.loads(file.read_text())
        shown = {key: value for key, value in found.items() if isinstance(value, int | float | dict | str)}
        print(f"\n{file.stem}  ({found['date']})")
        for key, value in shown.items():
            if isinstance(value, dict) and "share" in value:
                low, high = value["interval"]
                print(
                    f"  {key:32} {100 * value['share']:6.1f} %"
                    f"  [{100 * low:.1f}, {100 * high:.1f}]  n {value['n']}"
                )
            elif isinstance(value, float):
                print(f"  {key:32} {value:8.3f}")


def main() -> None:
    """Reads the command line and measures one row."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("row", choices=[*ROWS, "all", "table"])
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--each", type=int, default=5)
    parser.add_argument("--chosen-on", type=int, default=300, help="questions that choose k of retrieval")
    parser.add_argument("--random-kills", type=int, default=100)
    parser.add_argument("--model", default=None)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--again", action="store_true")
    options = parser.parse_args()
    if options.row == "table":
        return table()
    if options.row == "all":
        for arguments in ALL:
            subprocess.run(
                [sys.executable, __file__, *arguments, *(["--again"] if options.again else [])], check=False
            )
        return table()
    name = name_of(options)
    if (RESULTS / f"{name}.json").exists() and not options.again:
        print(f"{name} is measured already; --again measures it anew")
        return None
    measured = ROWS[options.row](options)
    print(record(name, measured, seed=options.seed))
    return table()


if __name__ == "__main__":
    main()
