"""Ends a process at a chosen instant: before or after any fsync, rename, removal of a file, or commit.

The process is a fork, so that nothing has to be imported again. `points` counts the instants of an
undisturbed call, `killed_at` ends the call at one of them, as SIGKILL would: no handler, no `finally`, no
flush.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy.engine.default import DefaultDialect

KILLED = 9


def points(call: Callable[[], object]) -> int:
    """How many instants there are in a call; it runs in a fork, and must succeed."""
    reader, writer = os.pipe()

    def counted() -> None:
        with _counting(lambda _: None) as count:
            call()
        os.write(writer, str(count[0]).encode())

    code = _forked(counted)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    assert code == 0, "the undisturbed call failed"
    return int(text)


def killed_at(point: int, call: Callable[[], object]) -> bool:
    """Runs a call in a fork that ends at its n-th instant; False where the call was over before."""

    def ended() -> None:
        def stop(number: int) -> None:
            if number == point:
                os._exit(KILLED)

        with _counting(stop):
            call()

    code = _forked(ended)
    assert code in (0, KILLED), f"the call ended with {code}"
    return code == KILLED


def _forked(call: Callable[[], None]) -> int:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            call()
            code = 0
        except BaseException:  # noqa: BLE001 (the fork must never return into the test)
            import traceback

            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@contextmanager
def _counting(at: Callable[[int], None]) -> Iterator[list[int]]:
    """Calls `at` with the number of each instant."""
    count = [0]

    def around(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            at(count[0])
            count[0] += 1
            result = real(*arguments, **named)
            at(count[0])
            count[0] += 1
            return result

        return call

    places = [(os, "fsync"), (os, "replace"), (os, "unlink"), (DefaultDialect, "do_commit")]
    before = [getattr(owner, name) for owner, name in places]
    for (owner, name), real in zip(places, before, strict=True):
        setattr(owner, name, around(real))
    try:
        yield count
    finally:
        for (owner, name), real in zip(places, before, strict=True):
            setattr(owner, name, real)
