"""The examples say how they are run and what they print; those without a model are held to it here.

The ones that consolidate take a minute each; `make examples` runs them all.
"""

from __future__ import annotations

import ast
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("[0-9]*.py"))
QUICK = [example for example in EXAMPLES if example.name[:2] in ("02", "05")]


def docstring(example: Path) -> str:
    return ast.get_docstring(ast.parse(example.read_text(encoding="utf-8"))) or ""


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_states_its_command_its_time_and_its_output(example):
    text = docstring(example)
    assert f"    python examples/{example.name}\n" in text
    assert "seconds" in text or "minute" in text
    assert text.count("xpected output:\n\n    ") == 1


@pytest.mark.parametrize("example", QUICK, ids=lambda path: path.stem)
def test_an_example_prints_what_it_states(example, tmp_path):
    stated = textwrap.dedent(docstring(example).split("xpected output:\n\n")[1])
    done = subprocess.run([sys.executable, example], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == stated.strip()
