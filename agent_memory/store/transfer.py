"""Episodes out to a file of JSON lines, and in again.

One line is one episode with everything that `Episode` shows but its owner, which is whoever imports. An
export is written beside and put in place whole. An import is one transaction: a line that cannot be read
stops it with nothing stored. Ids are kept; what is there already stays as it is; what was forgotten in this
namespace is refused, line by line, and named in the report. Trust is kept too: the one who imports vouches
for the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

from agent_memory.durable import write_file
from agent_memory.errors import InvalidInput, StoreError
from agent_memory.store.checks import Draft, check_ids, draft
from agent_memory.store.database import dump_json
from agent_memory.store.episodes import EpisodeStore
from agent_memory.store.erase import pieces, refused
from agent_memory.store.tables import episodes
from agent_memory.types import Episode, Namespace

_FIELDS = ("text", "role", "session_id", "source", "trust", "occurred_at", "expires_at", "metadata")


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did: how many were new or there already, and which ids had been forgotten."""

    added: int
    present: int
    refused: tuple[str, ...]


def export_jsonl(store: EpisodeStore, namespace: Namespace, path: Path) -> int:
    """Writes every live episode of the namespace, oldest first; returns how many.

    Raises:
        StoreError: the file cannot be written; an earlier one of that name is untouched.
    """
    found = store.newest(namespace, matching=None, limit=None)
    lines = [dump_json(_line(episode)) + "\n" for episode in reversed(found)]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, "".join(lines).encode())
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}") from error
    return len(found)


def _line(episode: Episode) -> dict[str, Any]:
    line = {"id": episode.id} | {name: getattr(episode, name) for name in _FIELDS}
    for name in ("occurred_at", "expires_at"):
        line[name] = line[name].isoformat() if line[name] else None
    return line | {"metadata": dict(episode.metadata)}


def import_jsonl(store: EpisodeStore, namespace: Namespace, path: Path) -> ImportReport:
    """Stores the episodes of a file that `export_jsonl` wrote.

    Raises:
        InvalidInput: the file cannot be read, or a line is not an episode; nothing is stored.
    """
    now = store.database.now()
    lines = dict(_drafts(store, path))  # id -> draft; of two lines with one id the last holds
    found = store.embedded([one.text for one in lines.values()])
    vectors = {key: None if found is None else found[place] for place, key in enumerate(lines)}
    with store.writing() as connection:
        namespace_id = store.own(connection, namespace, now=now)
        forgotten = refused(connection, namespace_id=namespace_id, ids=list(lines))
        present = _present(connection, namespace_id, list(lines))
        fresh = [key for key in lines if key not in forgotten | present]
        added = store.put(
            connection, namespace, namespace_id, [(lines[key], vectors[key], key) for key in fresh], now=now
        )
    store.notify(namespace_id)
    new = sum(one.event == "ADD" for one in added)
    return ImportReport(
        added=new, present=len(lines) - new - len(forgotten), refused=tuple(sorted(forgotten))
    )


def _present(connection: Connection, namespace_id: int, ids: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for piece in pieces(ids):
        query = select(episodes.c.id).where(episodes.c.namespace_id == namespace_id, episodes.c.id.in_(piece))
        found |= set(connection.execute(query).scalars())
    return found


def _drafts(store: EpisodeStore, path: Path) -> Iterator[tuple[str, Draft]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} cannot be read as UTF-8 text: {type(error).__name__}") from error
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            (found,) = check_ids([(entry := _entry(line)).get("id")])
            item = {name: entry.get(name) for name in _FIELDS}
            yield found, draft(item, now=store.database.now(), store=store.settings, trust=store.trust)
        except (InvalidInput, RecursionError) as error:
            raise InvalidInput(f"line {number} of {path} is not an episode: {error}") from error


def _entry(line: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except ValueError:
        raise InvalidInput("not JSON") from None
    if not isinstance(entry, dict):
        raise InvalidInput("not a JSON object")
    return entry
