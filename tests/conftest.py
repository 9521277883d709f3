"""Fixtures that several files share. Not covered: GPUs, macOS, network file systems, power cuts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.store_places import DIALECTS, Place, fresh


@pytest.fixture(params=DIALECTS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """An empty place on each database."""
    with fresh(request.param, tmp_path / "memory") as found:
        yield found
