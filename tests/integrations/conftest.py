"""One small real memory for the suites of the LangChain plug-in; and skips that are as they are listed."""

from __future__ import annotations

import shutil
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from agent_memory import MemoryManager
from tests.integrations.skips import is_listed


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fails a test that is skipped and not listed in `skips.py`, or listed and not skipped."""
    report = yield
    suite = getattr(item, "cls", None)
    listed = is_listed(suite.__name__ if suite else "", getattr(item, "originalname", item.name))
    if report.skipped and not listed:
        report.outcome, report.longrepr = "failed", f"not listed in skips.py, but skipped: {report.longrepr}"
    elif listed and report.passed and call.when == "call":
        report.outcome, report.longrepr = "failed", "listed in skips.py as skipped, but it runs"
    return report


@pytest.fixture(scope="session")
def _empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A memory whose tables are made; copying it takes a tenth of the time of making another."""
    path = tmp_path_factory.mktemp("template") / "memory"
    MemoryManager.open(path).close()
    return path


@pytest.fixture
def memory(_empty: Path, tmp_path: Path) -> Iterator[MemoryManager]:
    """A memory without a fixed scope."""
    shutil.copytree(_empty, tmp_path / "memory")
    with MemoryManager.open(tmp_path / "memory") as opened:
        yield opened
