"""The package's face: its names, its lightness, and what it says when an extra is missing."""

from __future__ import annotations

import subprocess
import sys

import langchain_agent_memory
import pytest

from tests.integrations import test_langchain_tool_calling
from tests.integrations.chat import test_langchain_chat_model
from tests.integrations.skips import SKIPS


def test_every_public_name_can_be_imported():
    for name in langchain_agent_memory.__all__:
        assert getattr(langchain_agent_memory, name).__name__.lower() == name.lower()
    with pytest.raises(AttributeError):
        langchain_agent_memory.nothing  # noqa: B018 (the access is what is tested)


def test_importing_the_package_loads_nothing_heavy():
    code = (
        "import sys, langchain_agent_memory\n"
        "heavy = {'torch', 'peft', 'chromadb', 'langchain', 'langgraph', 'langchain_classic'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_test_that_is_listed_as_skipped_exists():
    suites = {**vars(test_langchain_chat_model), **vars(test_langchain_tool_calling)}
    for _, classes, tests in SKIPS:
        for test in tests:
            assert any(hasattr(suites[name], test) for name in classes), test


@pytest.mark.parametrize(
    ("name", "missing", "extra"),
    [
        ("AgentMemoryMiddleware", "langchain", "langchain"),
        ("AgentMemoryStore", "langgraph", "langchain"),
        ("ConsolidatingMemory", "langchain_classic", "classic"),
    ],
)
def test_a_missing_extra_is_named(name, missing, extra):
    code = (
        "import sys\n"
        f"sys.modules[{missing!r}] = None\n"
        "import langchain_agent_memory\n"
        f"langchain_agent_memory.{name}\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"ImportError: {name} needs {missing}" in done.stderr.splitlines()[-1]
    assert f"agent-memory-lora[{extra}]" in done.stderr.splitlines()[-1]
