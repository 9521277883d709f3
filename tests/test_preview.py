"""A dry run says what the run would do and take, the first one and every later one, and changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent_memory.config import Config, SelectConfig
from agent_memory.consolidation.plan import MOST_PASSES
from agent_memory.consolidation.preview import RESTING, TRIED, _steps
from agent_memory.consolidation.student import Student
from agent_memory.manager import MemoryManager
from agent_memory.types import ConsolidationReport
from tests.memories import fact, memory, reader, small

STAGES = {"write", "answer", "turn", "complete", "change", "anchors", "distill", "examine"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return reader(tmp_path_factory.mktemp("model"))


def run(alice: MemoryManager, **arguments: Any) -> ConsolidationReport:
    return alice.consolidate(progress=False, **arguments)


def assert_foretold(plan: ConsolidationReport, done: ConsolidationReport) -> None:
    """The numbers of items are the same, and of the tokens what the estimate of steps allows."""
    assert (plan.outcome, done.outcome) == ("dry-run", "promoted")
    assert (plan.episodes, plan.items) == (done.episodes, done.items)
    assert 0.7 < plan.tokens / done.tokens < 1.4
    assert set(plan.seconds) == set(done.seconds) == STAGES
    assert plan.scores["seconds"] == pytest.approx(sum(plan.seconds.values()))


@pytest.mark.parametrize("cap", [1200, 5])
def test_what_is_rehearsed_counts(tmp_path: Path, model: Any, cap: int) -> None:
    config = small(select=SelectConfig(rehearsal_items=cap))
    with memory(tmp_path, model, facts=[fact(n) for n in range(3)], config=config) as alice:
        assert_foretold(run(alice, dry_run=True), run(alice))
        alice.add(fact(3))
        assert_foretold(run(alice, dry_run=True), run(alice))


def test_a_rebuild_that_is_due_is_foretold_where_nothing_is_new(tmp_path: Path, model: Any) -> None:
    config = small(select=SelectConfig(rebuild_every=1))
    with memory(tmp_path, model, facts=[fact(0)], config=config) as alice:
        run(alice)
        alice.add(fact(1))
        run(alice)
        plan = run(alice, dry_run=True)
        assert "from zero: 1 runs continued the last rebuild" in plan.notes
        assert plan.scores["gap"] == 0.0, "the scripted reader knows all that it read"
        assert_foretold(plan, run(alice))
        assert run(alice, dry_run=True).outcome == "nothing"


def test_anchors_are_counted_as_they_are_dealt(tmp_path: Path, model: Any) -> None:
    tokens = []
    for each in (0, 12):
        config = small(batch_anchors=each, unknown_items=12, batch_texts=0, batch_scenes=0)
        with memory(tmp_path / str(each), model, facts=[fact(0)], config=config) as alice:
            model.seen.clear()
            plan = run(alice, dry_run=True)
            tokens.append(plan.tokens)
            assert_foretold(plan, run(alice))
    assert tokens[1] > 1.5 * tokens[0]


def test_a_sample_stands_for_all_new_episodes(tmp_path: Path, model: Any) -> None:
    config = small(select=SelectConfig(dry_run_episodes=2))
    with memory(tmp_path, model, facts=[fact(n) for n in range(6)], config=config) as alice:
        plan = run(alice, dry_run=True)
        assert plan.notes[0].startswith("measured on 2 of 6 new episodes")
        done = run(alice)
        assert plan.episodes == done.episodes == 6
        assert plan.items == pytest.approx(done.items, rel=0.3)
        assert plan.tokens == pytest.approx(done.tokens, rel=0.5)


def test_steps_with_their_backward_pass_are_tried_and_nothing_of_them_is_kept(
    tmp_path: Path, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, taken = Student.step, []

    def step(self: Student, *given: Any) -> Any:
        taken.append(self)
        return real(self, *given)

    monkeypatch.setattr(Student, "step", step)
    with memory(tmp_path, model, facts=[fact(0)]) as alice:
        assert run(alice, dry_run=True).scores["memory_mib"] > 0
        assert len(taken) >= TRIED
        assert alice.versions() == []
        assert not any((tmp_path / "runs").glob("*/"))
        assert not any((tmp_path / "versions").glob("*"))


def test_the_steps_of_a_run_follow_from_its_settings() -> None:
    config = Config().consolidation.distill
    assert _steps(48, config) == pytest.approx((1 - RESTING) * MOST_PASSES)
    assert _steps(4800, config) == pytest.approx((1 - RESTING) * 100 * (config.epochs + 1))
    assert _steps(9, config.model_copy(update={"epochs": 1, "more_steps": 0})) == 1
