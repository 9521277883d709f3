"""Does consolidation teach the weights what the episodes say, and nothing else? Each row is its own command.

    python benchmarks/consolidation.py ROW [--episodes N] [--seed S] [--again]

    run             one consolidation of 100 episodes: arms, marks, reading, anchors, seconds
    sequential      20 runs of 5 episodes: what is kept over many runs, and their time
    changed         stale and new answers after one fact of each of 50 episodes has changed
    shuffled        an adapter of wrong values is asked the true questions
    ablation        target modules, 20 episodes, two seeds
    cross-entropy   the same items, one-hot targets
    kills           every instant of a run, on a model of two layers
    kills-reader    ten random times of a run of the bundled reader
    all             all of them, one after the other
    table           what has been measured so far

A row leaves `benchmarks/results/consolidation-<row>.json`; one that is there already is not measured again
without `--again`. Memories lie under `runs/benchmarks/`, each with the reports of its consolidations; a killed
row goes on, and says `resumed` where its seconds are not the whole time. `--model FOLDER` takes another base.

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
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from agent_memory import MemoryManager
from agent_memory.config import Config, GateConfig
from agent_memory.models.local import LocalModel
from benchmarks import facts
from benchmarks.arms import Examined, arms, as_shipped, kept, oracle, share, texts_of
from benchmarks.record import RESULTS, ROOT, record
from benchmarks.reports import consolidated, once

HERE = ROOT / "runs" / "benchmarks"
Row = Callable[[argparse.Namespace], dict[str, Any]]
#: A gate that rejects nothing, so that variants which the product would refuse are measured as well.
OPEN_GATE = GateConfig(
    max_reading_lost=1.0, max_perplexity_rise=1e9, min_abstention=0.0, max_retention_lost=1.0, min_gain=0.0
)
#: Runs of `sequential` whose facts are asked again at its end; the bar of what is kept is about them.
EARLY_RUNS = 5


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


def loaded(options: argparse.Namespace) -> LocalModel:
    """The base of the benchmark; on as many threads as are asked for."""
    import torch

    torch.set_num_threads(options.threads)
    return LocalModel.open(options.model, device=options.device)


# ---------------------------------------------------------------------- rows


def run(options: argparse.Namespace) -> dict[str, Any]:
    """One consolidation: the four arms, lean, `ask` as shipped, marks, what is kept, seconds."""
    model = loaded(options)
    told = facts.memory(options.episodes, seed=options.seed)
    with opened(f"run-{options.episodes}-{options.seed}", model, fresh=options.again) as memory:
        tell(memory, told)
        report = consolidated(memory, 1, seed=options.seed)
        asked = facts.questions(told, texts_of(memory, len(told)), seed=options.seed)
        chosen_on = facts.questions(
            told, texts_of(memory, len(told)), seed=options.seed + 1000, per_fact=1, held=0
        )
        found = arms(memory, told, asked, chosen_on[: options.chosen_on])
        trusted = marks(memory, report, asked, found.pop("right"))
        return {
            "episodes": options.episodes, "facts": sum(len(one.facts) for one in told), "report": report,
            **found, "as shipped": as_shipped(memory, asked, seed=options.seed),
            **kept(memory, told, seed=options.seed), **trusted,
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
    first = told[: EARLY_RUNS * options.each]
    done: list[dict[str, Any]] = []
    with opened(name, model, fresh=options.again) as memory:
        for start in range(0, len(told), options.each):
            tell(memory, told[start : start + options.each], first_day=start)
            report = consolidated(memory, len(done) + 1, seed=options.seed)
            done.append(report)
            print(f"\nrun {len(done)}: {report['outcome']} {report['wall_seconds']:.0f} s {report['scores']}")
            if len(done) == min(EARLY_RUNS, options.runs):
                early = once(
                    memory.database.path / "early.json", lambda: _early(memory, first, seed=options.seed)
                )
        late = _rights(memory, first, [facts.Asked(**one) for one in early["asked"]])
    return {
        "runs": options.runs, "each": options.each, "outcomes": [row["outcome"] for row in done],
        "wall_seconds": [row["wall_seconds"] for row in done],
        "resumed": [number for number, row in enumerate(done, 1) if row["resumed"]],
        "early_at_run_5": _shares(early["right"]), "early_at_end": _shares(late),
        **gain_kept(early["right"]["base"], early["right"]["weights"], late["weights"]),
        "time_of_last_to_second": done[-1]["wall_seconds"] / done[1]["wall_seconds"],
        "last": done[-1],
    }  # fmt: skip


def _early(memory: MemoryManager, told: Sequence[facts.Told], *, seed: int) -> dict[str, Any]:
    """Questions about the episodes, and which are answered rightly now."""
    asked = _asked(memory, told, seed=seed)
    return {"asked": [asdict(question) for question in asked], "right": _rights(memory, told, asked)}


def gain_kept(
    base: Sequence[bool], early: Sequence[bool], late: Sequence[bool], *, seed: int = 0, rounds: int = 2000
) -> dict[str, Any]:
    """The share of what was gained over the base early on that is there late, and its paired bootstrap.

    Args:
        base: which questions the base answers rightly.
        early: which of the same the early version does.
        late: which of the same the late version does.
        seed: of the resampling of questions.
        rounds: resamplings.
    """
    import numpy as np

    def share_kept(right: Any) -> Any:
        before, gained, left = right.mean(axis=-1)  # each a number, or one for every round
        return (left - before) / np.maximum(1e-9, gained - before)

    right = np.array([base, early, late], dtype=float)  # (3, questions)
    draws = np.random.default_rng(seed).integers(right.shape[1], size=(rounds, right.shape[1]))
    low, high = np.quantile(share_kept(right[:, draws]), (0.025, 0.975))
    return {"gain_kept": float(share_kept(right)), "gain_kept_interval": (float(low), float(high))}


def _asked(memory: MemoryManager, told: Sequence[facts.Told], *, seed: int) -> list[facts.Asked]:
    """Questions about the first episodes in frames that they were not studied in."""
    return facts.questions(told, texts_of(memory, len(told)), seed=seed)


def _rights(
    memory: MemoryManager, told: Sequence[facts.Told], asked: Sequence[facts.Asked]
) -> dict[str, list[bool]]:
    """Which questions are answered rightly by the version alone, the base alone, and the oracle."""
    examined = Examined.of(memory)
    prompts = [examined.asker.prompt(question.text) for question in asked]
    return {
        "weights": examined.right(asked, prompts, examined.adapter),
        "base": examined.right(asked, prompts, None),
        "oracle": oracle(memory, told, asked),
    }


def _shares(right: dict[str, list[bool]]) -> dict[str, float]:
    """The share of right answers of each, and how many questions were asked."""
    return {
        **{who: share(marks)["share"] for who, marks in right.items()},
        "questions": len(right["weights"]),
    }


def changed(options: argparse.Namespace) -> dict[str, Any]:
    """Facts learnt, one of each episode changed, learnt again: stale and new answers, without retrieval."""
    model = loaded(options)
    told = facts.memory(options.episodes, seed=options.seed)
    news, after = facts.changed(told, seed=options.seed)
    with opened(f"changed-{options.episodes}-{options.seed}", model, fresh=options.again) as memory:
        before, report = learnt_twice(
            memory, told, news, seed=options.seed,
            between=lambda: _on_news(memory, told, after, seed=options.seed),
        )  # fmt: skip
        return {
            "episodes": options.episodes, "outcome": report["outcome"],
            "wall_seconds": report["wall_seconds"], "resumed": report["resumed"],
            "before the second run": before,
            **_after_the_news(memory, told, news, after, seed=options.seed),
        }  # fmt: skip


def learnt_twice(
    memory: MemoryManager, told: Sequence[facts.Told], news: Sequence[facts.Told], *, seed: int,
    between: Callable[[], Any],
) -> tuple[Any, dict[str, Any]]:  # fmt: skip
    """Consolidates the episodes, then the news: what is found in between, and the second report.

    The news waits until the first report is kept: a run takes what was told before it began, so a killed one
    that goes on would never learn it.
    """
    tell(memory, told)
    consolidated(memory, 1, seed=seed)
    tell(memory, news, first_day=1000)
    found = once(memory.database.path / "news.json", between)
    return found, consolidated(memory, 2, seed=seed)


def _after_the_news(
    memory: MemoryManager, told: Sequence[facts.Told], news: Sequence[facts.Told],
    after: Sequence[facts.Told], *, seed: int,
) -> dict[str, Any]:  # fmt: skip
    """What is answered about changed and unchanged facts once the changes are learnt."""
    examined = Examined.of(memory)
    texts = texts_of(memory, 2 * len(told))
    studied = [[*old, *new] for old, new in zip(texts[: len(told)], texts[len(told) :], strict=True)]
    asked = [q for q in facts.questions(after, studied, seed=seed) if q.kind == "value"]
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
        "after it": _by_ask(memory, moved, old),
        "stale": share([examined.same(s, o) for s, o in zip(said, old, strict=True)]),
        "new": share([examined.same(s, q.answer) for s, q in zip(said, moved, strict=True)]),
        "oracle_new": share([examined.same(s, q.answer) for s, q in zip(oracles, moved, strict=True)]),
        "unchanged": share(rest),
    }


def _on_news(
    memory: MemoryManager, told: Sequence[facts.Told], after: Sequence[facts.Told], *, seed: int
) -> dict[str, Any]:
    """What `ask` answers about what has changed since the version was taught."""
    studied = texts_of(memory, len(told))
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
        consolidated(memory, 1, seed=options.seed)
        examined = Examined.of(memory)
        asked = [q for q in _asked(memory, told, seed=options.seed) if q.kind == "value"]
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
        report = consolidated(memory, 1, seed=seed)
        return {
            **_shares(_rights(memory, told, _asked(memory, told, seed=seed))),
            **kept(memory, told, seed=seed),
            "scores": report["scores"], "wall_seconds": report["wall_seconds"],
            "distill_seconds": report["seconds"].get("distill"), "resumed": report["resumed"],
        }  # fmt: skip


def kills(options: argparse.Namespace) -> dict[str, Any]:
    """A run of the two-layer model, killed before and after every fsync, rename, removal and commit."""
    from benchmarks.kills_of_a_run import every_instant

    return every_instant(HERE / "kills", random_kills=options.random_kills)


def kills_reader(options: argparse.Namespace) -> dict[str, Any]:
    """A run of the bundled reader, as the command line starts it, killed at random times."""
    from benchmarks.kills_of_a_run import with_the_reader

    return with_the_reader(HERE / "kills-reader", loaded(options), kills=options.reader_kills, seed=options.seed)


ROWS: dict[str, Row] = {
    "run": run, "sequential": sequential, "changed": changed, "shuffled": shuffled, "ablation": ablation,
    "cross-entropy": cross_entropy, "kills": kills, "kills-reader": kills_reader,
}  # fmt: skip

#: What `all` measures: the row and its arguments.
ALL = (
    ("run", "--episodes", "20"), ("run", "--episodes", "100"), ("run", "--episodes", "100", "--seed", "1"),
    ("run", "--episodes", "100", "--seed", "2"), ("shuffled", "--episodes", "50"),
    ("changed", "--episodes", "50"),
    ("ablation", "--episodes", "20"), ("cross-entropy", "--episodes", "20"), ("sequential",), ("kills",),
    ("kills-reader",),
    ("run", "--episodes", "500"),
)  # fmt: skip


def settings_of(row: str) -> Config | None:
    """The settings that a row is measured with, but for what its columns vary; None: those of its test."""
    if row == "kills":
        return None
    return settings() if row in ("ablation", "cross-entropy") else Config()


def name_of(options: argparse.Namespace) -> str:
    """The name of a row's result."""
    sized = "" if options.row in ("kills", "kills-reader", "sequential") else f"-{options.episodes}"
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
    parser.add_argument("--reader-kills", type=int, default=10)
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
    print(record(name, measured, seed=options.seed, settings=settings_of(options.row)))
    return table()


if __name__ == "__main__":
    main()
