"""A row of the consolidation benchmark that was killed goes on, and measures what it would have measured."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import facts, reports
from benchmarks.memories import tell
from benchmarks.over_time import gain_kept, learnt_twice
from benchmarks.reports import consolidated
from tests.memories import fact, memory, reader

TOLD = [facts.Told(fact(n), ()) for n in range(2)]
NEWS = [facts.Told(fact(n), ()) for n in range(2, 4)]


class Killed(BaseException):
    """What a kill is to a test: nothing catches it."""


def kill_in_the_exam(stage: str, _done: int, _total: int) -> None:
    if stage == "examine":
        raise Killed


def killed(call: Callable[[], object], **by: Callable[..., None]) -> None:
    """Calls it with a part of the benchmark that kills it; it must come to that."""
    with pytest.MonkeyPatch.context() as patch:
        for name, part in by.items():
            patch.setattr(reports, name, part)
        with pytest.raises(Killed):
            call()


def learnt_in(alice: Any, number: int) -> list[str]:
    """The texts of the new episodes of a run that has ended."""
    rows = alice.sql(
        "SELECT r.id AS run, e.text AS text FROM runs r JOIN run_episodes s ON s.run_id = r.id "
        "JOIN episodes e ON e.pk = s.episode_pk WHERE s.part = 'new' ORDER BY r.started_at, e.pk"
    )
    runs = list(dict.fromkeys(row["run"] for row in rows))
    return [row["text"] for row in rows if row["run"] == runs[number - 1]]


def test_a_consolidation_is_done_once_and_there_is_no_report_of_nothing(tmp_path: Path) -> None:
    with memory(tmp_path / "m", reader(tmp_path / "model")) as alice:
        tell(alice, TOLD)
        first = consolidated(alice, 1, seed=0)
        assert first["outcome"] == "promoted"
        assert not first["resumed"]
        assert consolidated(alice, 1, seed=0) == first
        with pytest.raises(SystemExit, match="nothing to consolidate"):
            consolidated(alice, 2, seed=0)
        assert not (tmp_path / "m" / "report-2.json").exists()
        assert len(alice.versions()) == 1


def test_what_another_commit_kept_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert reports.once(tmp_path / "kept.json", lambda: [1]) == [1]
    monkeypatch.setattr(reports, "COMMIT", "abc1234")
    with pytest.raises(SystemExit, match=r"abc1234: start with --again"):
        reports.once(tmp_path / "kept.json", lambda: [2])


def test_other_episodes_in_the_memory_of_a_row_are_refused(tmp_path: Path) -> None:
    with memory(tmp_path / "m", reader(tmp_path / "model")) as alice:
        tell(alice, TOLD)
        tell(alice, TOLD)
        with pytest.raises(SystemExit, match="Other episodes"):
            tell(alice, NEWS)


def test_a_run_killed_in_its_exam_goes_on_and_says_that_its_time_is_not_whole(tmp_path: Path) -> None:
    with memory(tmp_path / "m", reader(tmp_path / "model")) as alice:
        tell(alice, TOLD)
        killed(lambda: consolidated(alice, 1, seed=0), _told=kill_in_the_exam)
        assert [version.state for version in alice.versions()] == ["candidate"]
        report = consolidated(alice, 1, seed=0)
        assert report["outcome"] == "promoted"
        assert report["resumed"]
        assert [version.id for version in alice.versions()] == [report["version"]]


def test_a_run_killed_before_its_report_was_kept_is_told_from_its_row(tmp_path: Path) -> None:
    carried_out: list[dict[str, Any]] = []

    def kept(_file: Path, data: bytes) -> None:
        carried_out.append(json.loads(data)["kept"])
        raise Killed

    with memory(tmp_path / "m", reader(tmp_path / "model")) as alice:
        tell(alice, TOLD)
        killed(lambda: consolidated(alice, 1, seed=0), write_file=kept)
        told = consolidated(alice, 1, seed=0)
        assert told["outcome"] == "promoted"
        assert told["resumed"]
        assert told["wall_seconds"] == pytest.approx(carried_out[0]["wall_seconds"], abs=1.0)
        assert len(alice.versions()) == 1
    apart = {"resumed", "wall_seconds", "peak_mb"}  # what its row does not tell, or tells otherwise
    assert {k: v for k, v in told.items() if k not in apart} == {
        k: v for k, v in carried_out[0].items() if k not in apart
    }


def test_the_news_is_learnt_in_the_second_run_when_the_first_was_killed(tmp_path: Path) -> None:
    with memory(tmp_path / "m", reader(tmp_path / "model")) as alice:
        killed(lambda: learnt_twice(alice, TOLD, NEWS, seed=0, between=list), _told=kill_in_the_exam)
        asked, report = learnt_twice(alice, TOLD, NEWS, seed=0, between=lambda: ["asked in between"])
        assert asked == ["asked in between"]
        assert report["outcome"] == "promoted"
        assert not report["resumed"]
        assert learnt_in(alice, 1) == [one.text for one in TOLD]
        assert learnt_in(alice, 2) == [one.text for one in NEWS]


def test_what_is_found_between_the_runs_is_kept_when_the_second_is_killed(tmp_path: Path) -> None:
    with memory(tmp_path / "m", reader(tmp_path / "model")) as alice:
        tell(alice, TOLD)
        consolidated(alice, 1, seed=0)
        killed(
            lambda: learnt_twice(alice, TOLD, NEWS, seed=0, between=lambda: ["before"]),
            _told=kill_in_the_exam,
        )
        asked, report = learnt_twice(alice, TOLD, NEWS, seed=0, between=lambda: ["after"])
        assert asked == ["before"]
        assert report["resumed"]
        assert len(alice.versions()) == 2


def test_the_gain_kept_lies_in_its_interval_and_is_one_where_nothing_was_lost() -> None:
    base = [False] * 50
    early = [n % 10 != 0 for n in range(50)]
    late = [right and n % 7 != 0 for n, right in enumerate(early)]
    found = gain_kept(base, early, late)
    low, high = found["gain_kept_interval"]
    assert found["gain_kept"] == pytest.approx(sum(late) / sum(early))
    assert low < found["gain_kept"] < high < 1
    assert gain_kept(base, early, early) == {"gain_kept": 1.0, "gain_kept_interval": (1.0, 1.0)}
