"""Writes the parts of README.md that can be derived: the file map and the measured results.

`python .ci/readme.py` rewrites what stands between `<!-- begin NAME -->` and `<!-- end NAME -->`; with
`--check` it changes nothing and fails where that would differ. Descriptions in the map are the first
sentence of each file; numbers come from `benchmarks/results/*.json` and from nowhere else. What has not been
measured is said to be so.
"""

from __future__ import annotations

import ast
import json
import re
import runpy
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
RESULTS = ROOT / "benchmarks" / "results"

#: What the map shows, in this order. A folder with a description stands for its files.
PLACES: tuple[tuple[str, str | None], ...] = (
    ("agent_memory", None),
    ("integrations/langchain_agent_memory", None),
    ("training", None),
    ("benchmarks", None),
    ("benchmarks/results/", "what the benchmarks measured, one JSON file each"),
    ("examples", None),
    ("examples/data/", "what `agent-memory demo` adds and asks"),
    ("tests/", "each test is a claim; the file says about what"),
)


# ---------------------------------------------------------------------- the file map


def file_map() -> str:
    """One line for each file, by folder."""
    lines: list[str] = []
    for place, description in PLACES:
        if description is not None:
            lines.append(_line(place, description))
            continue
        for path in sorted((ROOT / place).rglob("*.py"), key=_order):
            if path.stem == "__main__" or "__pycache__" in path.parts:
                continue
            lines.append(_line(str(path.relative_to(ROOT)), first_sentence(path)))
    return "```text\n" + "\n".join(lines) + "\n```"


def _order(path: Path) -> tuple[Any, ...]:
    """Files of a folder before its folders, `__init__` first."""
    parts = path.relative_to(ROOT).parts
    last = "" if parts[-1] == "__init__.py" else parts[-1]
    return (*((1, part) for part in parts[:-1]), (0, last))


def _line(name: str, description: str) -> str:
    return f"{name:52} {description}"


def first_sentence(path: Path) -> str:
    """The first line of a module's docstring, without a leading name and the full stop."""
    text = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n\n")[0]
    line = " ".join(text.split())
    line = re.split(r"(?<=[a-z0-9)`])[.](?:\s|$)", line)[0].rstrip(".:")
    return line if len(line) <= 110 else line[:107].rsplit(" ", 1)[0].rstrip(",;:") + " …"


# ---------------------------------------------------------------------- the results

Pick = Callable[[Mapping[str, Any]], str]


@cache
def result(name: str) -> Mapping[str, Any] | None:
    """What a benchmark recorded, or None."""
    file = RESULTS / f"{name}.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None


def percent(*path: str) -> Pick:
    """A share at this place of the result, with its interval if there is one."""

    def pick(found: Mapping[str, Any]) -> str:
        value = _at(found, path)
        if not isinstance(value, Mapping):
            return f"{100 * value:.1f} %"
        low, high = value["interval"]
        return f"{100 * value['share']:.1f} % ({100 * low:.1f}–{100 * high:.1f})"

    return pick


def number(*path: str, unit: str = "", digits: int = 1) -> Pick:
    """A number at this place of the result."""
    return lambda found: f"{_at(found, path):,.{digits}f}{unit}".replace(",", " ")


def within(name: str, interval: str) -> Pick:
    """A number with its interval, if that was recorded."""

    def pick(found: Mapping[str, Any]) -> str:
        low, high = found.get(interval, (None, None))
        return f"{found[name]:.2f}" + ("" if low is None else f" ({low:.2f}–{high:.2f})")

    return pick


def signed_percent(*path: str) -> Pick:
    """A relative change at this place of the result, with its sign."""
    return lambda found: f"{100 * _at(found, path):+.1f} %".replace("-", "−")


def against(rival: str) -> Pick:
    """Our time to that of another loop, which may have been stopped before it knew as much."""

    def pick(found: Mapping[str, Any]) -> str:
        row = found["rows"].get(rival, {})
        if "seconds" not in row:
            return "not measured"
        ratio = f"{row['ours_to_this_seconds']:.3f}"
        return ratio if row["reached"] else f"below {ratio} (stopped after {row['seconds'] / 60:.0f} minutes)"

    return pick


#: Stages in which the bare base answers: as the teacher, whose answers are checked and made targets, and
#: about anchors. Targets of anchors it makes within training and exam, whose seconds do not tell them apart.
BASE_ANSWERS = ("answer", "turn", "complete", "change", "anchors")


def stages_share(*stages: str) -> Pick:
    """What part of a run's time goes to these stages."""

    def pick(found: Mapping[str, Any]) -> str:
        report = found["report"]
        return f"{100 * sum(report['seconds'][stage] for stage in stages) / report['wall_seconds']:.1f} %"

    return timed(pick, "report")


def right_and_taught(found: Mapping[str, Any]) -> str:
    """True answers of weights that learnt wrong values, beside what they learnt.

    Results from before abstentions stood apart are of all questions.
    """
    of = "of the answered" if "right_of_all" in found else "of all questions"
    abstains = f"{100 * found['abstains']['share']:.1f} % abstained"
    return f"right {percent('right')(found)}, as taught {percent('taught')(found)}, {of}; {abstains}"


def either(*picks: Pick) -> Pick:
    """The first of these that the result has: older results call some figures otherwise."""

    def pick(found: Mapping[str, Any]) -> str:
        for one in picks[:-1]:
            with suppress(KeyError):
                return one(found)
        return picks[-1](found)

    return pick


def questions_and_episodes(found: Mapping[str, Any]) -> str:
    """How many questions were asked about changed facts, and of how many episodes those are."""
    return f"{found['oracle_new']['n']}, {found['episodes']} episodes"


def timed(pick: Pick, *path: str) -> Pick:
    """The same, with a word where `resumed` at this place says that the time is not whole."""
    return lambda found: pick(found) + (" (resumed, not the whole time)" if _resumed(found, path) else "")


def _resumed(found: Mapping[str, Any], path: Sequence[str]) -> bool:
    """Whether a measurement was resumed; those from before it was noted were not asked."""
    return bool(_at(found, path).get("resumed"))


def _at(found: Any, path: Sequence[str]) -> Any:
    for name in path:
        found = found[int(name)] if isinstance(found, list) else found[name]
    return found


def reader_row(measure: str) -> Pick:
    """A row of the reader's table."""

    def pick(found: Mapping[str, Any]) -> str:
        row = next(row for row in found["rows"] if row["measure"] == measure)
        return f"{100 * row['share']:.1f} % ({100 * row['low']:.1f}–{100 * row['high']:.1f})"

    return pick


def measured(*names: str) -> str:
    """The first of these results that there is; the first of all while there is none."""
    return next((name for name in names if result(name) is not None), names[0])


RUN, LARGER = "consolidation-run-20", "consolidation-run-100-seed1"
ANOTHER = "consolidation-run-100-seed2"
CHANGED = measured("consolidation-changed-100", "consolidation-changed-20")


def consolidation_rows(
    run: str, *, seconds: str = "", weights: str = "95 % of the oracle"
) -> tuple[tuple[str, str, str, Pick], ...]:
    """What one consolidation is measured by; `seconds` and `weights` are bars."""
    return (
        ("outcome", "promoted", run, lambda found: found["report"]["outcome"]),
        ("the oracle: base with the episode in view", "92 %", run, percent("value: oracle")),
        ("weights alone, no episode in view", weights, run, percent("value: weights")),
        ("the same, questions in held-out frames", "", run, percent("held: weights")),
        ("the same, reversed questions", "", run, percent("reversed: weights")),
        ("results in the block (k, chosen on other questions)", "", run, number("k", digits=0)),
        ("retrieval of k", "", run, percent("value: retrieval")),
        ("both, with k: the base reads the block, the version answers where it declines",
         "not worse than each", run, percent("value: both")),
        ("reversed questions, retrieval of k", "", run, percent("reversed: retrieval")),
        ("reversed questions, both, with k", "not worse than each", run, percent("reversed: both")),
        ("context tokens, retrieval of k", "", run, number("context_tokens", "all")),
        ("context tokens, lean, of k", "1/3 of that", run, number("context_tokens", "lean")),
        ("right with the lean block, of k", "retrieval", run, percent("value: lean")),
        ("right by `ask` as shipped", "", run, percent("as shipped", "value")),
        ("the same, questions in held-out frames", "", run, percent("as shipped", "held")),
        ("the same, reversed questions", "", run, percent("as shipped", "reversed")),
        ("tokens of the whole prompt, retrieval of k", "", run, number("prompt_tokens", "all")),
        ("tokens of all prompts of a question, `ask` as shipped", "", run, number("as shipped", "tokens")),
        ("reading of other memories, by the base alone", "", run, percent("reading_base")),
        ("the same as served, by the base again", "by construction", run, percent("reading")),
        ("the same by the version itself, as an export is used", "1 point less", run,
         percent("reading_by_the_version")),
        ("abstains on unknown names, no episode in view", "95 %", run, percent("abstention")),
        ("the same by the version itself, asked about every name", "", run,
         percent("abstention_by_the_version")),
        ("of questions about `slow` episodes, right without retrieval", "97 %", run,
         percent("right_about_slow")),
        ("of wholly known episodes, marked `slow`", "85 %", run, percent("known_episodes_marked_slow")),
        ("examined-anchor perplexity, change", "+1 %", run,
         signed_percent("report", "scores", "perplexity_rise")),
        ("KL from the base on examined anchors, nats per token", "", run,
         number("report", "scores", "anchor_kl", digits=2)),
        ("seconds, all stages, two cores", seconds, run,
         timed(number("report", "wall_seconds", digits=0), "report")),
        ("of these in stages of the teacher: answers with their checks and targets, anchors", "15 %", run,
         stages_share(*BASE_ANSWERS)),
        ("the same with the writing of questions", "", run, stages_share("write", *BASE_ANSWERS)),
        ("its exam: questions that were never trained on, right without an episode", "", run,
         percent("report", "scores", "new")),
    )  # fmt: skip


def largest_rows(run: str) -> tuple[tuple[str, str, str, Pick], ...]:
    """Of a run on very many episodes what belongs to the curve, and its memory."""
    shown = (
        "outcome", "the oracle", "weights alone", "retrieval of k", "both", "context tokens", "right",
        "abstains", "of questions", "of wholly", "seconds", "KL",
    )  # fmt: skip
    every = consolidation_rows(run, weights="90 % of the oracle")
    peak = timed(number("report", "peak_mb", digits=0, unit=" MB"), "report")
    kept = tuple(row for row in every if row[0].startswith(shown))
    return (*kept, ("peak memory of the process", "", run, peak))


#: Section -> rows of (what is measured, the bar we set ourselves, result, how it is read).
SECTIONS: dict[str, tuple[tuple[str, str, str, Pick], ...]] = {
    "Search": (
        ("LoCoMo, turn recall@10", "72 %", "retrieval", number("locomo", "search", "turn@10", unit=" %")),
        ("the same, BM25 alone", "", "retrieval", number("locomo", "BM25 alone", "turn@10", unit=" %")),
        ("the same, plain Chroma with MiniLM", "", "retrieval",
         number("locomo", "plain Chroma, MiniLM", "turn@10", unit=" %")),
        ("LoCoMo, session recall@10", "94 %", "retrieval",
         number("locomo", "search", "session@10", unit=" %")),
        ("embedder alone, LoCoMo turn recall@10", "its teacher − 1", "embedder",
         number("recall_percent", "table", "turn @10", unit=" %")),
        ("its teacher all-MiniLM-L6-v2, alone", "", "embedder",
         number("recall_percent", "teacher", "turn @10", unit=" %")),
        ("a search among the most episodes measured, p95", "50 ms", "search",
         number("growth", "-1", "p95 ms", unit=" ms")),
    ),
    "Store": (
        ("durable adds per second", "300", "store", number("add", "per_second", digits=0)),
        ("the same to one upsert into plain Chroma", "10", "store", number("ratio_to_chroma")),
        ("episodes a second with `add_many`", "3,000", "store", number("add_many_per_second", digits=0)),
    ),
    "Reader": (
        ("reading, 1-6 facts in context", "97 %", "reader", reader_row("reading, 1-6 facts, seen frames")),
        ("reading, 12 facts in context", "93 %", "reader", reader_row("reading, 12 facts")),
        ("reading, one relevant among 20 episodes", "90 %", "reader",
         reader_row("reading, one relevant among 20 episodes")),
        ("reading, held-out frames, one fact per name", "90 %", "reader",
         reader_row("reading, held-out frames, one fact per name")),
        ("abstains on unknown names", "97 %", "reader", reader_row("abstains on unknown names")),
        ("latest statement wins", "95 %", "reader", reader_row("latest statement wins")),
        ("its own study questions, well-formed and answered rightly", "95 %", "reader",
         reader_row("written questions well-formed and answered rightly by itself")),
        ("facts that twelve of them cover", "90 %", "reader",
         reader_row("facts of a 4-fact memory covered by 12 written questions")),
    ),
    "Consolidation of 20 episodes (seed 0, with which settings were chosen, too)": consolidation_rows(RUN),
    "Consolidation of 100 episodes (seed 1, with which nothing was chosen)": consolidation_rows(
        LARGER, seconds="480"
    ),
    "Consolidation of 500 episodes": largest_rows("consolidation-run-500"),
    "Consolidation, other measurements": (
        ("true questions to weights that learnt wrong values (50 episodes)", "at most 2 % right",
         "consolidation-shuffled-50", right_and_taught),
        ("questions about changed facts", "", CHANGED, questions_and_episodes),
        ("stale answers to them, weights alone", "at most 2 %", CHANGED, percent("weights: stale")),
        ("new answers to them, weights alone", "93 %", CHANGED, percent("weights: new")),
        ("stale answers, by the version itself, asked about every name", "", CHANGED,
         either(percent("by the version: stale"), percent("stale"))),
        ("new answers, likewise", "", CHANGED, either(percent("by the version: new"), percent("new"))),
        ("new answers, by the base with both episodes in view", "", CHANGED, percent("oracle_new")),
        ("new answers of `ask` (lean), changes not consolidated yet", "", CHANGED,
         percent("before the second run", "lean: new")),
        ("the same, stale", "", CHANGED, percent("before the second run", "lean: stale")),
        ("new answers of `ask` (lean), changes consolidated", "", CHANGED,
         percent("after it", "lean: new")),
        ("the same, stale", "", CHANGED, percent("after it", "lean: stale")),
        ("share of the gain kept after 20 runs", "0.90", "consolidation-sequential",
         within("gain_kept", "gain_kept_interval")),
        ("seconds of run 20 to those of run 2", "2", "consolidation-sequential",
         timed(number("time_of_last_to_second", digits=2))),
        ("100 episodes once more (seed 2): weights alone", "95 % of the oracle", ANOTHER,
         percent("value: weights")),
        ("the same: its oracle", "92 %", ANOTHER, percent("value: oracle")),
        ("the same: abstains on unknown names", "95 %", ANOTHER, percent("abstention")),
        ("weights alone, questions of all kinds about 20 episodes, by top-k KL", "",
         "consolidation-cross-entropy-20", percent("columns", "top-k KL", "weights")),
        ("the same items by cross-entropy", "", "consolidation-cross-entropy-20",
         percent("columns", "cross-entropy", "weights")),
        ("kills of a run on a model of two layers: instants tried", "", "consolidation-kills",
         number("instants", digits=0)),
        ("the same: unsound afterwards", "0", "consolidation-kills",
         lambda found: str(len(found["unsound"]))),
        ("kills of a run of the bundled reader, at random times", "10", "consolidation-kills-reader",
         lambda found: str(len(found["killed_at"]))),
        ("the same: unsound afterwards", "0", "consolidation-kills-reader",
         lambda found: str(len(found["unsound"]))),
    ),
    "Consolidation against other loops (20 items or episodes)": (
        ("peak memory at the shape of Qwen2.5-0.5B, ours to the published loop", "0.6", "speed-memory",
         number("rows", "ratio", digits=3)),
        ("time to the same exam score, ours to the published loop", "1/10", "speed-time",
         against("published")),
        ("the same, ours to TRL's self-distillation", "1/3", "speed-time",
         against("trl")),
        ("growth with the number of episodes, 20 to 500 (1 is linear): seconds", "1", "growth",
         number("seconds_exponent", digits=2)),
        ("the same: memory beyond the loaded model's", "1", "growth",
         number("peak_mb_exponent", digits=2)),
    ),
    "The LangChain middleware, per agent turn among 10,000 episodes": (
        ("overhead, median", "", "middleware", number("rows", "with", "overhead", "median_ms", unit=" ms")),
        ("overhead, p95", "60 ms", "middleware", number("rows", "with", "overhead", "p95_ms", unit=" ms")),
    ),
    "Workers (three of them, ten namespaces, random kills)": (
        ("episodes not learnt in the end", "0", "worker", number("found", "episodes_not_learnt", digits=0)),
        ("runs that interleaved", "0", "worker", number("found", "interleaved", digits=0)),
        ("jobs done; workers killed", "", "worker",
         lambda found: f"{found['found']['done_jobs']}; {found['storm'].get('kill', 0)}"),
    ),
}  # fmt: skip


def results() -> str:
    """The measured figures beside their bars, and the commands that gave them."""
    parts = ["| measured | bar | result |", "|---|---|---|"]
    for section, rows in SECTIONS.items():
        parts.append(f"| **{section}** | | |")
        parts += [f"| {what} | {bar} | {_read(name, pick)} |" for what, bar, name, pick in rows]
    parts += ablation()
    found = [one for file in sorted(RESULTS.glob("*.json")) if (one := result(file.stem)) is not None]
    parts += ["", "Each file in `benchmarks/results/` names its command, seed, machine and versions:", ""]
    for one in found:
        machine = one["machine"]
        parts.append(
            f"- `{one['command']}` ({one['date']}, {machine['cores']} cores, {machine['processor']})"
        )
    return "\n".join(parts)


def ablation() -> list[str]:
    """A table of other settings of the training, once it is measured."""
    found = result("consolidation-ablation-20")
    if found is None:
        return []
    distill = found["settings"]["consolidation"]["distill"]
    defaults = f"{distill['targets']}, rank {distill['rank']}, rate {distill['learning_rate']:g}"
    return [
        "",
        f"Other settings of the training than the defaults ({defaults}), on {found['episodes']} episodes, "
        "a figure for each seed:",
        "",
        "| settings | weights alone | abstains on unknown names | seconds of training |",
        "|---|---|---|---|",
        *(
            f"| {name} | {' / '.join(map(_known, seeds))} | {' / '.join(map(_abstains, seeds))} "
            f"| {' / '.join(map(_trained, seeds))} |"
            for name, column in found["columns"].items()
            if (seeds := list(column["seeds"].values()))
        ),
    ]


def _known(column: Mapping[str, Any]) -> str:
    """The share that the weights answer rightly, or what became of the run instead."""
    return f"{100 * column['weights']:.1f} %" if column["outcome"] == "promoted" else str(column["outcome"])


def _abstains(column: Mapping[str, Any]) -> str:
    return f"{100 * column['abstention']['share']:.1f} %"


def _trained(column: Mapping[str, Any]) -> str:
    seconds = "not measured" if column["distill_seconds"] is None else f"{column['distill_seconds']:.0f}"
    return seconds + (" (resumed)" if column["resumed"] else "")


# ---------------------------------------------------------------------- LangChain's suites


def skips() -> str:
    """The tests of LangChain's suites that do not run, by reason; the tests keep that list true."""
    listed = runpy.run_path(str(ROOT / "tests" / "integrations" / "skips.py"))["SKIPS"]
    return "\n".join(f"- {reason}: {', '.join(f'`{test}`' for test in tests)}" for reason, _, tests in listed)


def _read(name: str, pick: Pick) -> str:
    found = result(name)
    if found is None:
        return "not measured yet"
    try:
        return pick(found)
    except (KeyError, IndexError, StopIteration):
        return "not measured yet"


# ---------------------------------------------------------------------- writing


def derived(text: str) -> str:
    """The text with every derived part as it should be."""
    for name, made in (("map", file_map), ("results", results), ("skips", skips)):
        begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
        before, rest = text.split(begin)
        _, after = rest.split(end)
        text = f"{before}{begin}\n{made()}\n{end}{after}"
    return text


def main() -> None:
    """Writes README.md, or checks it."""
    text = README.read_text(encoding="utf-8")
    wanted = derived(text)
    if "--check" in sys.argv:
        if text != wanted:
            sys.exit("README.md is not as .ci/readme.py would write it: run `make readme`")
        return
    README.write_text(wanted, encoding="utf-8")


if __name__ == "__main__":
    main()
