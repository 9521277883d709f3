"""`agent-memory`: one command for each method of `MemoryManager`, and a few around them.

It prints and never decides. What every command shares (where the memory is, whose, how it ends, how to print)
is in `command.py`, `ending.py` and `printing.py`; the commands themselves lie by idea: episodes, weights,
upkeep, service, demo.

Exit codes: 0 done; 1 it could not be done, the line on stderr says why; 2 the command line or a value is
wrong; 3 no such memory, episode or version; 4 another run holds the namespace; 5 it ran and the answer is
no (the gate rejected a version, `verify` found a problem); 130 interrupted; 141 the reader of a pipe left.
"""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Runs the command line; a Ctrl-C while it is still being loaded ends it quietly, too."""
    try:
        from agent_memory.cli import app
    except KeyboardInterrupt:
        sys.exit(130)
    app.main()
