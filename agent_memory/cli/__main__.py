"""`python -m agent_memory.cli`, the same as `agent-memory`."""

from __future__ import annotations

from agent_memory.cli import main

main()
