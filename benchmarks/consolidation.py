"""Does consolidation teach the weights what the episodes say, and nothing else? Each row is its own command.

    python benchmarks/consolidation.py ROW [--episodes N] [--seed S] [--again]

    run             one consolidation of 100 episodes: arms, marks, reading, anchors, seconds
    sequential      20 runs of 5 episodes: what is kept over many runs, and their time
    changed         stale and new answers after one fact of each of 100 episodes has changed
    shuffled        weights that learnt wrong values, of 50 episodes, are asked the true questions
    ablation        target modules, LoRA rank and learning rate, 20 episodes, two seeds
    cross-entropy   the same items of 20 episodes, one-hot targets
    kills           every instant of a run, on a model of two layers
    kills-reader    ten random times of a run of the bundled reader
    all             all of them, one after the other
    table           what has been measured so far

A row leaves `benchmarks/results/consolidation-<row>.json`; one that is there already is not measured again
without `--again`. Memories lie under `runs/benchmarks/`, each with the reports of its consolidations; a killed
row goes on, and says `resumed` where its seconds are not the whole time. `--model FOLDER` takes another base;
its results have the folder's name.

Accuracy is exact match of normalised greedy answers on the generator's own facts, with names that the
reader never saw and in frames in which no study item asked for that fact (`facts.py`). The *weights* are
what is served without retrieval (`arms.py`); what the version says by itself is named so. The *oracle* is the
bare base with the fact's own episode in view. Intervals: Wilson for shares, paired bootstrap for
differences, both 95 %.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from agent_memory import MemoryManager
from agent_memory.config import Config
from benchmarks import facts
from benchmarks.arms import Examined, arms, as_shipped, kept, share, texts_of
from benchmarks.memories import HERE, asked_about, loaded, opened, settings, tell
from benchmarks.over_time import changed, sequential
from benchmarks.record import RESULTS, record
from benchmarks.reports import consolidated, require_promoted
from benchmarks.variants import ablation, cross_entropy

Row = Callable[[argparse.Namespace], dict[str, Any]]


def run(options: argparse.Namespace) -> dict[str, Any]:
    """One consolidation: the four arms, lean, `ask` as shipped, marks, what is kept, seconds."""
    model = loaded(options)
    told = facts.memory(options.episodes, seed=options.seed)
    with opened(f"run-{options.episodes}-{options.seed}", model, fresh=options.again) as memory:
        tell(memory, told)
        report = consolidated(memory, 1, seed=options.seed)
        studied = texts_of(memory, len(told))
        asked = facts.questions(told, studied, seed=options.seed)
        chosen_on = facts.others(told, studied, asked, seed=options.seed, most=options.chosen_on)
        found = arms(memory, told, asked, chosen_on)
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


def shuffled(options: argparse.Namespace) -> dict[str, Any]:
    """Weights that learnt other values of the same names are asked the true questions."""
    model = loaded(options)
    told = facts.memory(options.episodes, seed=options.seed)
    wrong = facts.with_wrong_values(told, seed=options.seed)
    with opened(f"shuffled-{options.episodes}-{options.seed}", model, fresh=options.again) as memory:
        tell(memory, wrong)
        require_promoted(consolidated(memory, 1, seed=options.seed))
        asked = [q for q in asked_about(memory, told, seed=options.seed) if q.kind == "value"]
        said = Examined.of(memory).alone([question.text for question in asked])
        return {"episodes": options.episodes, **true_and_taught(said, asked, wrong)}


def true_and_taught(
    said: Sequence[str], asked: Sequence[facts.Asked], taught: Sequence[facts.Told]
) -> dict[str, Any]:
    """The shares that are answered truly, and as was taught: of the questions answered, and of all."""
    right = [Examined.same(s, q.answer) for s, q in zip(said, asked, strict=True)]
    learnt = [
        Examined.same(s, taught[q.episode].facts[q.fact].answer) for s, q in zip(said, asked, strict=True)
    ]
    answered = [not Examined.declines(s) for s in said]
    return {
        "right": share([ok for ok, given in zip(right, answered, strict=True) if given]),
        "taught": share([ok for ok, given in zip(learnt, answered, strict=True) if given]),
        "abstains": share([not given for given in answered]),
        "right_of_all": share(right),
        "taught_of_all": share(learnt),
    }


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

#: Episodes of a row unless told.
EPISODES = {"run": 100, "changed": 100, "shuffled": 50, "ablation": 20, "cross-entropy": 20}
#: What `all` measures: the row and its arguments.
ALL = (
    ("run", "--episodes", "20"), ("run", "--episodes", "100"), ("run", "--episodes", "100", "--seed", "1"),
    ("run", "--episodes", "100", "--seed", "2"), ("shuffled",), ("changed",), ("ablation",),
    ("cross-entropy",), ("sequential",), ("kills",), ("kills-reader",), ("run", "--episodes", "50"),
    ("run", "--episodes", "500"),
)  # fmt: skip


def settings_of(row: str) -> Config | None:
    """The settings that a row is measured with, but for what its columns vary; None: those of its test."""
    if row == "kills":
        return None
    return settings() if row in ("ablation", "cross-entropy") else Config()


def name_of(options: argparse.Namespace) -> str:
    """The name of a row's result."""
    sized = f"-{options.episodes}" if options.row in EPISODES else ""
    of_base = f"-{Path(options.model).name}" if options.model else ""
    return f"consolidation-{options.row}{sized}" + (f"-seed{options.seed}" if options.seed else "") + of_base


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
    parser.add_argument("--episodes", type=int, help=f"by default {EPISODES}")
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
    options.episodes = options.episodes or EPISODES.get(options.row)
    if options.model and options.row in ("kills", "kills-reader", "all"):
        parser.error(f"{options.row} takes no other model")
    if options.row == "table":
        return table()
    if options.row == "all":
        given = ["--device", options.device, "--threads", str(options.threads)]
        given += ["--again"] * options.again
        for arguments in ALL:
            subprocess.run([sys.executable, __file__, *arguments, *given], check=False)
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
