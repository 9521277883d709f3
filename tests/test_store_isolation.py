"""Nothing crosses a namespace; and the same machine finds a store that leaks."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.isolation import leaking, run


def test_nothing_of_one_tenant_reaches_another(tmp_path: Path) -> None:
    assert run(tmp_path, calls=400).total() >= 400


@pytest.mark.parametrize("what", ["rows", "scores"])
def test_a_store_that_forgets_the_namespace_is_caught(tmp_path: Path, what: str) -> None:
    with leaking(what), pytest.raises(AssertionError):
        run(tmp_path, calls=600, shorten=False)
