"""What importing the models does to the process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("given", "spins"),
    [({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")],
)
def test_threads_spin_for_a_short_time_unless_somebody_said_otherwise(
    given: dict[str, str], spins: str
) -> None:
    bare = {name: value for name, value in os.environ.items() if not name.endswith(("SPINCOUNT", "POLICY"))}
    code = (
        "import os, sys, agent_memory.models; assert 'torch' not in sys.modules; "
        "print(os.environ.get('GOMP_SPINCOUNT'))"
    )
    said = subprocess.run([sys.executable, "-c", code], env=bare | given, capture_output=True, text=True)
    assert said.stdout.strip() == spins
