"""When a consolidation is due: one rule per namespace, kept in SQL, and one pure function that asks it.

A rule names a time, as an interval (`every="6h"`) or a cron line in UTC (`cron="0 3 * * *"`), and two
conditions: at least `min_new_episodes` that no served version has learnt, and nothing added for `quiet`, so
that a conversation is over before it is studied. `due(rule, state, now)` knows no clock and no database. A
time that was missed (the machine slept, the worker was down) means due now, and once: the next time counts
from the last attempt, whether it succeeded or not, so that a failure is not tried again before its time.

Cron lines are parsed by APScheduler, and nothing else of it is used. Two of its habits are not cron's and
are corrected here: it counts weekdays from Monday, and it reads "day of month and weekday" as both where
cron reads either, so that a line which restricts both is refused.

Not known here: jobs and workers (`jobs.py`, `worker.py`), models, and what a run does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, exists, func, insert, select

from agent_memory.consolidation.select import gave_nothing, learnable
from agent_memory.errors import InvalidInput
from agent_memory.store import tables
from agent_memory.store.database import Database
from agent_memory.store.owners import own, owner_of
from agent_memory.types import Namespace

#: Defaults of `MemoryManager.schedule`: enough episodes that a run is worth its anchors and exams, and a
#: pause that is longer than the usual one between two turns of a conversation (both chosen).
MIN_NEW_EPISODES = 20
QUIET = "5m"

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"(?:[0-9]{1,9}[smhdw])+")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_LONGEST = timedelta(days=3660)


@dataclass(frozen=True, slots=True)
class Rule:
    """When a namespace is consolidated: `every` or `cron`, never both; see `make_rule`."""

    every: timedelta | None = None
    cron: str | None = None
    min_new_episodes: int = MIN_NEW_EPISODES
    quiet: timedelta = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class State:
    """What a rule is asked about: times in UTC, None where the thing never happened."""

    since: datetime
    """The last attempt, or when the rule was set if that is later."""
    new_episodes: int
    """Trusted episodes that the active version does not hold in their present revision, and may learn."""
    last_added_at: datetime | None = None
    rebuild: bool = False
    """A forget took the weights of other episodes too: they were learnt, and no served version holds them."""


def make_rule(
    *,
    every: str | timedelta | None = None,
    cron: str | None = None,
    min_new_episodes: int = MIN_NEW_EPISODES,
    quiet: str | timedelta = QUIET,
) -> Rule:
    """A rule, checked.

    Raises:
        InvalidInput: neither or both of `every` and `cron`, or one of the four cannot be used.
    """
    if (every is None) == (cron is None):
        raise InvalidInput("name a time: either every='6h' or cron='0 3 * * *'")
    if isinstance(min_new_episodes, bool) or not isinstance(min_new_episodes, int) or min_new_episodes < 1:
        raise InvalidInput("min_new_episodes must be a whole number from 1")
    interval = None if every is None else duration(every)
    if interval is not None and interval < timedelta(seconds=1):
        raise InvalidInput("every must be at least one second")
    if cron is not None:
        if next_time(cron, after=datetime(2026, 1, 1, tzinfo=UTC)) is None:
            raise InvalidInput(f"the cron line {_shown(cron)} names a day that never comes")
        cron = " ".join(cron.split())
    return Rule(every=interval, cron=cron, min_new_episodes=min_new_episodes, quiet=duration(quiet))


def due(rule: Rule, state: State, now: datetime) -> bool:
    """Whether a consolidation is due: its time has come, there is enough to learn, and it is quiet."""
    if rule.every is not None:
        come = now >= state.since + rule.every
    else:
        time = next_time(rule.cron or "", after=state.since)
        come = time is not None and time <= now
    worth = state.rebuild or state.new_episodes >= rule.min_new_episodes
    calm = state.last_added_at is None or now - state.last_added_at >= rule.quiet
    return come and worth and calm


def duration(text: str | timedelta) -> timedelta:
    """A length of time from text such as `90s`, `5m`, `6h`, `1h30m`, `7d` or `2w`.

    Raises:
        InvalidInput: it is not of that form, or longer than ten years.
    """
    if isinstance(text, timedelta):
        seconds = text.total_seconds()
    elif isinstance(text, str) and _DURATION.fullmatch(text.strip()):
        seconds = sum(int(n) * _SECONDS[unit] for n, unit in re.findall(r"([0-9]+)([smhdw])", text))
    else:
        raise InvalidInput(f"{_shown(text)} is not a length of time: write one such as 90s, 5m, 6h or 7d")
    if not 0 <= seconds <= _LONGEST.total_seconds():
        raise InvalidInput("a length of time must lie between 0 and ten years")
    return timedelta(seconds=seconds)


def next_time(cron: str, *, after: datetime) -> datetime | None:
    """The first time after `after` that a cron line names, in UTC; None if it names none.

    Raises:
        InvalidInput: it is not a cron line of five fields, or restricts both day of month and weekday.
    """
    from apscheduler.triggers.cron import CronTrigger

    fields = cron.split() if isinstance(cron, str) else []
    if len(fields) != 5:
        raise InvalidInput(f"{_shown(cron)} is not a cron line: five fields are needed, such as '0 3 * * *'")
    if not fields[2].startswith(("*", "?")) and not fields[4].startswith(("*", "?")):
        raise InvalidInput("a cron line may restrict the day of the month or the weekday, not both")
    try:
        trigger = CronTrigger.from_crontab(" ".join([*fields[:4], _weekdays(fields[4])]), timezone=UTC)
    except ValueError as error:
        raise InvalidInput(f"{_shown(cron)} is not a cron line: write one such as '0 3 * * *'") from error
    later = after.astimezone(UTC) + timedelta(microseconds=1)
    found: datetime | None = trigger.get_next_fire_time(None, later)
    return found


def change(
    database: Database,
    namespace: Namespace,
    *,
    every: str | timedelta | None,
    cron: str | None,
    min_new_episodes: int,
    quiet: str | timedelta,
    off: bool,
) -> dict[str, Any] | None:
    """Sets the rule of a namespace if a time is named, removes it with `off`; then what `describe` says.

    Raises:
        InvalidInput: the rule cannot be used, or `off` comes with a time.
    """
    if off:
        if every is not None or cron is not None:
            raise InvalidInput("off goes without every and cron")
        unfollow(database, namespace)
    elif every is not None or cron is not None:
        follow(
            database,
            namespace,
            make_rule(every=every, cron=cron, min_new_episodes=min_new_episodes, quiet=quiet),
        )
    return describe(database, namespace)


def follow(database: Database, namespace: Namespace, rule: Rule) -> None:
    """Sets the rule of a namespace; its time is counted from now on."""
    now = database.now()
    table = tables.schedules
    with database.write() as connection:
        namespace_id = own(connection, namespace, now=now)  # a rule may come before the first episode
        connection.execute(delete(table).where(table.c.namespace_id == namespace_id))
        values = {"rule": _as_json(rule), "enabled": True, "updated_at": now}
        connection.execute(insert(table).values(namespace_id=namespace_id, **values))


def unfollow(database: Database, namespace: Namespace) -> bool:
    """Removes the rule of a namespace; returns whether there was one. A job that is running goes on."""
    with database.write() as connection:
        mine = owner_of(connection, namespace)
        gone = connection.execute(delete(tables.schedules).where(tables.schedules.c.namespace_id == mine))
        waiting = (tables.jobs.c.namespace_id == mine, tables.jobs.c.state == "due")
        connection.execute(delete(tables.jobs).where(*waiting))
        return gone.rowcount > 0


def describe(database: Database, namespace: Namespace) -> dict[str, Any] | None:
    """The rule of a namespace and what it says now, as plain values; None without a rule."""
    now = database.now()
    s, n, j = tables.schedules.c, tables.namespaces.c, tables.jobs.c
    with database.read() as connection:
        row = connection.execute(
            select(s.namespace_id, s.rule, s.updated_at)
            .join(tables.namespaces, n.id == s.namespace_id)
            .where(n.key == namespace.key)
        ).first()
        if row is None:
            return None
        state = read_state(connection, row.namespace_id, set_at=row.updated_at, now=now)
        last = connection.execute(
            select(j.state, j.holder, j.attempts, j.finished_at, j.error)
            .where(j.namespace_id == row.namespace_id)
            .order_by(j.pk.desc())
            .limit(1)
        ).first()
    rule = _from_json(row.rule)
    time = state.since + rule.every if rule.every else next_time(rule.cron or "", after=state.since)
    return {
        **_as_json(rule),
        "next_time": time,
        "due": due(rule, state, now),
        "new_episodes": state.new_episodes,
        "last_added_at": state.last_added_at,
        "last_job": None if last is None else dict(last._mapping),
    }


def due_namespaces(connection: Connection, *, now: datetime) -> Sequence[int]:
    """The namespaces whose rule says that a consolidation is due and that have no job yet, by id."""
    table, j = tables.schedules, tables.jobs.c
    waiting = exists().where(j.namespace_id == table.c.namespace_id, j.state.in_(("due", "running")))
    rows = connection.execute(
        select(table.c.namespace_id, table.c.rule, table.c.updated_at)
        .where(table.c.enabled, ~waiting)
        .order_by(table.c.namespace_id)
    ).all()
    found: list[int] = []
    for row in rows:
        state = read_state(connection, row.namespace_id, set_at=row.updated_at, now=now)
        if due(_from_json(row.rule), state, now):
            found.append(row.namespace_id)
    return found


def read_state(connection: Connection, namespace_id: int, *, set_at: datetime, now: datetime) -> State:
    """What a rule that was set at `set_at` is asked about now."""
    jobs, runs, episodes = tables.jobs.c, tables.runs.c, tables.episodes.c
    ended = runs.outcome.in_(("promoted", "rejected", "nothing"))
    attempts = [
        connection.execute(statement).scalar()
        for statement in (
            select(func.max(jobs.finished_at)).where(jobs.namespace_id == namespace_id),
            select(func.max(runs.finished_at)).where(runs.namespace_id == namespace_id, ended),
        )
    ]
    last_added_at = connection.execute(
        select(func.max(episodes.created_at)).where(episodes.namespace_id == namespace_id)
    ).scalar()
    return State(
        since=max([set_at, *(time for time in attempts if time is not None)]),
        new_episodes=unlearnt(connection, namespace_id, now=now),
        last_added_at=last_added_at,
        rebuild=_must_rebuild(connection, namespace_id, now=now),
    )


def _held(namespace_id: int, state: str) -> ColumnElement[bool]:
    """Whether a version in that state, served now or once, has learnt the outer query's episode as it is."""
    e, m, v = tables.episodes.c, tables.version_episodes.c, tables.versions.c
    return exists().where(
        m.version_id == v.id,
        v.namespace_id == namespace_id,
        v.state == state,
        v.promoted_at.is_not(None),
        m.part == "learnt",
        m.episode_id == e.id,
        m.revision == e.revision,
    )


def unlearnt(connection: Connection, namespace_id: int, *, now: datetime) -> int:
    """How many episodes the active version does not hold as they are, without those that gave nothing.

    Bases are not known here: what gave nothing to one is not counted for any, so that no run is due in vain.
    """
    wanted = (learnable(namespace_id, now=now), ~_held(namespace_id, "active"), ~gave_nothing())
    count = select(func.count()).select_from(tables.episodes).where(*wanted)
    return int(connection.execute(count).scalar_one())


def _must_rebuild(connection: Connection, namespace_id: int, *, now: datetime) -> bool:
    """Whether an episode that is still there was learnt by a tainted version, and not by the active one."""
    lost = (_held(namespace_id, "tainted"), ~_held(namespace_id, "active"))
    found = select(tables.episodes.c.id).where(learnable(namespace_id, now=now), *lost).limit(1)
    return connection.execute(found).first() is not None


def _weekdays(field: str) -> str:
    """The weekdays of cron (0 and 7 are Sunday) by name; APScheduler would count from Monday."""
    if not re.search(r"\d", field) or field.startswith(("*", "?")):
        return field
    named: list[str] = []
    for part in field.split(","):
        days, _, step = part.partition("/")
        first, _, last = days.partition("-")
        if not first.isdigit() or (last and not last.isdigit()):
            named.append(part)
            continue
        begin, end = int(first), int(last or (first if not step else 7))
        if not (begin <= end <= 7 and (step.isdigit() or not step) and step != "0"):
            raise ValueError(f"weekday {part}")
        named += [_WEEKDAYS[day % 7] for day in range(begin, end + 1, int(step or 1))]
    return ",".join(dict.fromkeys(named))


def _shown(value: object) -> str:
    """A caller's value as it may stand in a message: short, and without control characters."""
    return repr(value)[:60] if isinstance(value, str) else f"a {type(value).__name__}"


def _as_json(rule: Rule) -> dict[str, Any]:
    return {
        "every": None if rule.every is None else rule.every.total_seconds(),
        "cron": rule.cron,
        "min_new_episodes": rule.min_new_episodes,
        "quiet": rule.quiet.total_seconds(),
    }


def _from_json(value: Mapping[str, Any]) -> Rule:
    every = value["every"]
    return Rule(
        every=None if every is None else timedelta(seconds=every),
        cron=value["cron"],
        min_new_episodes=value["min_new_episodes"],
        quiet=timedelta(seconds=value["quiet"]),
    )
