"""What more than one consolidation shows: what is kept over many runs, and what is said of changed facts."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from agent_memory import MemoryManager
from benchmarks import facts
from benchmarks.arms import Examined, share, texts_of
from benchmarks.memories import asked_about, loaded, opened, rights, shares, tell
from benchmarks.reports import consolidated, once, require_promoted

#: Runs of `sequential` whose facts are asked again at its end; the bar of what is kept is about them.
EARLY_RUNS = 5


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
        late = rights(memory, first, [facts.Asked(**one) for one in early["asked"]])
    return {
        "runs": options.runs, "each": options.each, "outcomes": [row["outcome"] for row in done],
        "wall_seconds": [row["wall_seconds"] for row in done],
        "resumed": [number for number, row in enumerate(done, 1) if row["resumed"]],
        "early_at_run_5": shares(early["right"]), "early_at_end": shares(late),
        **gain_kept(early["right"]["base"], early["right"]["weights"], late["weights"]),
        "time_of_last_to_second": done[-1]["wall_seconds"] / done[1]["wall_seconds"],
        "last": done[-1],
    }  # fmt: skip


def _early(memory: MemoryManager, told: Sequence[facts.Told], *, seed: int) -> dict[str, Any]:
    """Questions about the episodes, and which are answered rightly now."""
    asked = asked_about(memory, told, seed=seed)
    return {"asked": [asdict(question) for question in asked], "right": rights(memory, told, asked)}


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


def changed(options: argparse.Namespace) -> dict[str, Any]:
    """Facts learnt, one of each episode changed, learnt again: stale and new answers."""
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
            **_asked_twice(memory, before, told, after),
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
    require_promoted(consolidated(memory, 1, seed=seed))
    tell(memory, news, first_day=1000)
    found = once(memory.database.path / "news.json", between)
    return found, consolidated(memory, 2, seed=seed)


def _after_the_news(
    memory: MemoryManager, told: Sequence[facts.Told], news: Sequence[facts.Told],
    after: Sequence[facts.Told], *, seed: int,
) -> dict[str, Any]:  # fmt: skip
    """What is answered without retrieval about changed and unchanged facts once the changes are learnt.

    By the weights as served, and by the version itself; by the oracle, with both episodes in view, as well.
    """
    examined = Examined.of(memory)
    asked = _about_values(after, _studied(memory, len(told)), seed=seed)
    moved = _moved(asked, told, after)
    rest = [question for question in asked if question not in moved]
    found: dict[str, Any] = {}
    for who, answers in (("weights", examined.alone), ("by the version", examined.by_the_version)):
        said = answers([question.text for question in moved])
        found |= {f"{who}: {name}": part for name, part in _stale_and_new(said, moved, told).items()}
        said = answers([question.text for question in rest])
        found[f"{who}: unchanged"] = share(_right(said, rest))
    lines = [[told[question.episode].text, news[question.episode].text] for question in moved]
    oracles = [examined.with_lines(q.text, both) for q, both in zip(moved, lines, strict=True)]
    return {**found, "oracle_new": share(examined.right(moved, oracles, None))}


def _on_news(
    memory: MemoryManager, told: Sequence[facts.Told], after: Sequence[facts.Told], *, seed: int
) -> dict[str, Any]:
    """Questions about what has changed since the version was taught, and what `ask` answers."""
    asked = _moved(_about_values(after, texts_of(memory, len(told)), seed=seed), told, after)
    return {"asked": [asdict(question) for question in asked], "said": _by_ask(memory, asked)}


def _asked_twice(
    memory: MemoryManager, before: dict[str, Any], told: Sequence[facts.Told], after: Sequence[facts.Told]
) -> dict[str, Any]:
    """Stale and new answers of `ask` before and after the second run, to the same questions.

    Those are left out that the second run has studied.
    """
    asked = [facts.Asked(**one) for one in before["asked"]]
    studied = _studied(memory, len(told))
    used = [
        {
            frame
            for text in studied[question.episode]
            for frame in facts.frames_of(text, after[question.episode].facts[question.fact])
        }
        for question in asked
    ]
    unseen = [
        n
        for n, question in enumerate(asked)
        if not used[n] & facts.frames_of(question.text, after[question.episode].facts[question.fact])
    ]
    left = [asked[n] for n in unseen]
    earlier = {how: [said[n] for n in unseen] for how, said in before["said"].items()}
    return {
        when: {
            f"{how}: {name}": found
            for how, answers in said.items()
            for name, found in _stale_and_new(answers, left, told).items()
        }
        for when, said in (("before the second run", earlier), ("after it", _by_ask(memory, left)))
    }


def _studied(memory: MemoryManager, count: int) -> list[list[str]]:
    """The study questions about each of the first episodes and about its news."""
    texts = texts_of(memory, 2 * count)
    return [[*old, *new] for old, new in zip(texts[:count], texts[count:], strict=True)]


def _about_values(
    told: Sequence[facts.Told], studied: Sequence[Sequence[str]], *, seed: int
) -> list[facts.Asked]:
    return [question for question in facts.questions(told, studied, seed=seed) if question.kind == "value"]


def _moved(
    asked: Sequence[facts.Asked], told: Sequence[facts.Told], after: Sequence[facts.Told]
) -> list[facts.Asked]:
    """The questions about facts that have another value afterwards."""
    return [q for q in asked if told[q.episode].facts[q.fact].value != after[q.episode].facts[q.fact].value]


def _by_ask(memory: MemoryManager, asked: Sequence[facts.Asked]) -> dict[str, list[str]]:
    """What `ask` answers, with a whole block and with a lean one."""
    return {how: [memory.ask(q.text, retrieval=how).text for q in asked] for how in ("all", "lean")}


def _stale_and_new(
    said: Sequence[str], asked: Sequence[facts.Asked], told: Sequence[facts.Told]
) -> dict[str, Any]:
    """The shares of the answers that were right once, and that are right now."""
    old = [told[question.episode].facts[question.fact].answer for question in asked]
    return {
        "stale": share([Examined.same(s, o) for s, o in zip(said, old, strict=True)]),
        "new": share(_right(said, asked)),
    }


def _right(said: Sequence[str], asked: Sequence[facts.Asked]) -> list[bool]:
    return [Examined.same(s, question.answer) for s, question in zip(said, asked, strict=True)]
