"""Nothing crosses a namespace; and the same machine finds a store that leaks."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent_memory import search
from agent_memory.store import episodes
from benchmarks.isolation import leak, run


def test_nothing_of_one_tenant_reaches_another(tmp_path: Path) -> None:
    assert run(tmp_path, calls=400).total() >= 400


def test_a_store_that_forgets_the_namespace_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (search, episodes):
        monkeypatch.setattr(module, "live", module.live)  # restored afterwards
    leak()
    with pytest.raises(AssertionError):
        run(tmp_path, calls=600)
