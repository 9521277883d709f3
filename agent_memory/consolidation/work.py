"""What the stages of one run share: the database, the run's row, the model, and the way to write.

Every write of a run goes through `transaction`, which first touches the run's row on the condition that it
is still running. A forget that cancels the run therefore wins over whatever the run was about to write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, select, update

from agent_memory.consolidation.asking import Asker
from agent_memory.errors import RunFailed
from agent_memory.progress import Progress
from agent_memory.store import tables
from agent_memory.store.database import Database
from agent_memory.store.keys import chunks
from agent_memory.types import Episode

if TYPE_CHECKING:
    from agent_memory.models.local import LocalModel

#: The stages of a run, in order; `runs.stage` names the last one that is complete, or a part of it:
#: `answer:3`.
STAGES = ("select", "write", "answer", "turn", "complete", "change", "distill", "examine")

#: Episodes whose questions are written, answered or completed together, in one transaction.
CHUNK = 16

#: From an episode and a number to the keys of the episodes most like it.
Nearest = Callable[[Episode, int], Sequence[int]]


def _silent(stage: str, done: int, total: int) -> None:
    """Tells nobody."""
    del stage, done, total


@dataclass(frozen=True)
class Work:
    """One run as its stages see it; `notes` collects what the report should say."""

    database: Database
    namespace_id: int
    run_id: str
    base: str
    seed: int
    model: LocalModel
    asker: Asker
    progress: Progress = _silent
    notes: list[str] = field(default_factory=list)

    @contextmanager
    def transaction(self, *, done: str | None = None) -> Iterator[Connection]:
        """One durable transaction of this run; `done` marks a stage, or a part of one, as complete with it.

        Raises:
            RunFailed: the run was cancelled; nothing is written.
        """
        r = tables.runs.c
        with self.database.write() as connection:
            mine = update(tables.runs).where(r.id == self.run_id, r.state == "running")
            if connection.execute(mine.values(stage=r.stage if done is None else done)).rowcount != 1:
                raise cancelled(self.run_id)
            yield connection

    def is_done(self, stage: str) -> bool:
        """Whether the whole stage is complete."""
        reached, _, part = self._stage().partition(":")
        return bool(reached) and STAGES.index(stage) < STAGES.index(reached) + (not part)

    def chunks(self, stage: str, pks: Sequence[int] | None = None) -> Iterator[tuple[str, list[int]]]:
        """The selected episodes, a few at a time, without those that this stage has behind it already.

        Yields the mark for `transaction(done=...)`, and keys of episodes. The partition depends on nothing
        but the selection, so that a resumed run meets the same chunks as one that was never killed; so must
        `pks`, if some of them, or another order, are given.
        """
        if pks is None:
            pks = [row.episode_pk for row in self.selected()]
        reached, _, part = self._stage().partition(":")
        first = int(part) if reached == stage and part else 0
        for number in range(first, -(-len(pks) // CHUNK)):
            self.check()
            self.progress(stage, number * CHUNK, len(pks))
            yield f"{stage}:{number + 1}", list(pks[number * CHUNK : (number + 1) * CHUNK])

    def _stage(self) -> str:
        r = tables.runs.c
        with self.database.read() as connection:
            return str(connection.execute(select(r.stage).where(r.id == self.run_id)).scalar_one())

    def is_cancelled(self) -> bool:
        """Whether the run's row says anything but running."""
        r = tables.runs.c
        with self.database.read() as connection:
            state = connection.execute(select(r.state).where(r.id == self.run_id)).scalar()
        return bool(state != "running")

    def check(self) -> None:
        """Goes on, or stops a run that was cancelled.

        Raises:
            RunFailed: the run was cancelled.
        """
        if self.is_cancelled():
            raise cancelled(self.run_id)

    def selected(self, part: str | None = None) -> list[Any]:
        """The rows (episode_pk, revision, part) of what the run selected, in order of arrival."""
        s = tables.run_episodes.c
        wanted = select(s.episode_pk, s.revision, s.part).where(s.run_id == self.run_id)
        if part is not None:
            wanted = wanted.where(s.part == part)
        with self.database.read() as connection:
            return list(connection.execute(wanted.order_by(s.episode_pk)))

    def episodes(self) -> dict[int, Episode]:
        """What the run selected, by key."""
        with self.database.read() as connection:
            return load_episodes(connection, [row.episode_pk for row in self.selected()])


def cancelled(run_id: str) -> RunFailed:
    """The error of a run that a forget has ended."""
    return RunFailed(
        f"run {run_id} was cancelled, since an episode that it had selected, or that its teacher saw, was "
        "forgotten; the active version is as it was: call consolidate() again"
    )


_OF_AN_EPISODE = {field.name for field in fields(Episode)} - {"user_id", "agent_id"}


def load_episodes(connection: Connection, pks: Sequence[int]) -> dict[int, Episode]:
    """Episodes by key."""
    e = tables.episodes
    found: dict[int, Episode] = {}
    for few in chunks(pks):
        for row in connection.execute(select(e).where(e.c.pk.in_(few))):
            columns = {name: value for name, value in row._mapping.items() if name in _OF_AN_EPISODE}
            found[row.pk] = Episode(**columns)
    return found


def load_neighbours(connection: Connection, pk: int, *, reach: int) -> list[int]:
    """The keys of the messages before and after one in its session, without those that expire."""
    e = tables.episodes.c
    own = connection.execute(select(e.namespace_id, e.session_id, e.position).where(e.pk == pk)).first()
    if own is None or own.session_id is None or own.position is None or not reach:
        return []
    reach_of = e.position.between(own.position - reach, own.position + reach)
    rows = connection.execute(
        select(e.pk)
        .where(e.namespace_id == own.namespace_id, e.session_id == own.session_id, e.pk != pk, reach_of)
        .where(e.expires_at.is_(None))
        .order_by(e.position)
    )
    return [row.pk for row in rows]
