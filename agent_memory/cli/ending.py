"""How a command ends: whatever goes wrong becomes one line on stderr and an exit code.

That holds for our own errors, for a wrong command line, for a pipe whose reader left, for a full disk, for
Ctrl-C, and for a bug, whose kind is named and whose message is withheld (it may hold what an episode says).
`--debug` shows the traceback, too.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import typer
from typer.core import TyperGroup

from agent_memory.cli.printing import note, note_lines, shout
from agent_memory.errors import AgentMemoryError, InvalidInput, NotFound, RunBusy, RunInterrupted

FAILED, WRONG, MISSING, BUSY, NO, INTERRUPTED, CLOSED_PIPE = 1, 2, 3, 4, 5, 130, 141


class Commands(TyperGroup):
    """The commands under one name; a command line that cannot be read is told in one line, too."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Runs a command line; as a program (the default) it ends the process with the exit code."""
        given = (args, prog_name, complete_var, False, windows_expand_args)
        if not standalone_mode:
            return super().main(*given, **extra)
        try:
            code = super().main(*given, **extra)
            sys.stdout.flush()  # the text of --help
        except typer.Abort:
            code = _told("not confirmed: nothing was done", FAILED)
        except KeyboardInterrupt:
            code = _told("interrupted before anything was done", INTERRUPTED)
        except OSError as error:
            code = _unwritten(error)
        except SystemExit as error:  # Typer's own end where the text of --help meets a closed pipe
            if not isinstance(error.__context__, BrokenPipeError):
                raise
            code = _unwritten(error.__context__)
        except Exception as error:
            said = getattr(error, "format_message", None)  # of the parser's errors, whichever Typer has them
            if said is None:
                raise
            path = getattr(getattr(error, "ctx", None), "command_path", "agent-memory")
            code = _told(f"{' '.join(said().split())} (see '{path} --help')", WRONG)
        sys.exit(code or 0)


@contextmanager
def errors_in_one_line(*, debug: bool) -> Iterator[None]:
    """Turns what goes wrong within into one line on stderr and an exit code.

    Raises:
        typer.Exit: always, where something went wrong.
    """
    try:
        yield
    except (typer.Exit, typer.Abort):
        raise
    except BrokenPipeError as error:
        raise typer.Exit(_unwritten(error)) from error
    except (KeyboardInterrupt, RunInterrupted) as error:
        said = str(error) or "interrupted: nothing that was acknowledged is lost"
        raise typer.Exit(_told(said, INTERRUPTED)) from error
    except Exception as error:
        if debug:
            note_lines(traceback.format_exc())
        raise typer.Exit(_of(error)) from error


def _of(error: Exception) -> int:
    """Says what went wrong; the exit code."""
    if isinstance(error, AgentMemoryError):
        kinds = ((InvalidInput, WRONG), (NotFound, MISSING), (RunBusy, BUSY))
        return _told(str(error), next((code for kind, code in kinds if isinstance(error, kind)), FAILED))
    if isinstance(error, OSError):
        return _unwritten(error)
    kind = type(error).__name__
    return _told(f"unexpected {kind}: run again with --debug for the traceback", FAILED)


def _unwritten(error: OSError) -> int:
    """Says that a pipe was closed, or what the system refused; the exit code."""
    if error.filename is None:
        # Python flushes stdout once more at its end, and would complain then.
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):
        return _told("the output was closed before everything was printed", CLOSED_PIPE)
    what = "the output cannot be written" if error.filename is None else str(error.filename)
    return _told(f"{what}: {error.strerror or type(error).__name__}", FAILED)


def _told(text: str, code: int) -> int:
    with suppress(OSError):  # stderr may be closed as well
        note(f"agent-memory: {text}")
    return code


@contextmanager
def asked_to_stop(stop: Callable[[], None]) -> Iterator[None]:
    """Has the first Ctrl-C or SIGTERM call `stop`, and the second interrupt at once.

    Raises:
        KeyboardInterrupt: from wherever the second signal finds the program.
    """
    came: list[int] = []

    def listen(number: int, _: object) -> None:
        came.append(number)
        if len(came) > 1:
            raise KeyboardInterrupt
        shout("stopping after this step (once more stops at once)")
        stop()

    before = {number: signal.signal(number, listen) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def stopping_between_steps(*, then: str) -> Iterator[Callable[[], None]]:
    """Makes Ctrl-C and SIGTERM stop between two steps; a second one stops at once.

    Gives the function to call between steps; it raises once a signal has come.

    Raises:
        RunInterrupted: from that function; the message says that it stopped, and what to do `then`.
    """
    asked: list[bool] = []

    def check() -> None:
        if asked:
            raise RunInterrupted(f"stopped between two steps; {then}")

    with asked_to_stop(lambda: asked.append(True)):
        yield check
