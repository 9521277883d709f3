"""The record as a file or a server: opened, refused, shared, filled up, and failing at any statement."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text, update
from sqlalchemy.exc import OperationalError

from agent_memory import MemoryManager
from agent_memory.errors import (
    StoreClosed,
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreReadOnly,
)
from agent_memory.store import database as database_module
from agent_memory.store.database import Database, open_database
from agent_memory.store.directory import FILE
from agent_memory.store.failures import _SQLITE_ERRORS, translated
from agent_memory.store.tables import counters
from tests.store_places import Place, hashed, in_child

NOBODY = 65534


# ---------------------------------------------------------------------- opening


def test_eight_processes_that_open_an_empty_store_migrate_it_once(place: Place) -> None:
    def opened() -> str:
        database = place.database()
        with database.read() as connection:
            (name,) = connection.execute(text("SELECT value FROM store_identity")).scalars()
        database.close()
        return str(name)

    with ThreadPoolExecutor(8) as threads:
        names = list(threads.map(lambda _: in_child(opened), range(8)))
    assert len(set(names)) == 1
    database = place.database()
    with database.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM counters")).scalar() == 1
        assert connection.execute(text("SELECT count(*) FROM agent_memory_version")).scalar() == 1
    database.close()


def test_alembic_is_not_imported_when_the_schema_is_at_head(place: Place) -> None:
    place.database().close()

    def opened() -> bool:
        import sys

        for name in [name for name in sys.modules if name.startswith(("alembic", "agent_memory.store.migr"))]:
            del sys.modules[name]
        place.database().close()
        return "alembic" in sys.modules

    assert in_child(opened) is False


def test_a_database_belongs_to_one_directory(place: Place, tmp_path: Path) -> None:
    place.database().close()
    other = tmp_path / "other"
    if place.url is None:
        shutil.copytree(place.path, other)
        (other / "directory-id").write_text("another")
    with pytest.raises(StoreCorrupt, match="directory"):
        open_database(other, url=place.url)
    place.database().close()


@pytest.mark.parametrize("damage", ["deleted", "emptied", "garbage", "header", "foreign"])
def test_a_missing_or_damaged_file_is_never_taken_for_an_empty_memory(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "memory"
    with MemoryManager.open(path, user_id="alice", embeddings=hashed) as memory:
        memory.add("precious")
    file = path / FILE
    if damage == "deleted":
        file.unlink()
    elif damage == "emptied":
        file.write_bytes(b"")
    elif damage == "garbage":
        file.write_bytes(b"not a database" * 1000)
    elif damage == "header":
        file.write_bytes(b"\x00" * 100 + file.read_bytes()[100:])
    else:
        file.unlink()
        sqlite3.connect(file).execute("CREATE TABLE theirs (x)")
    left = file.read_bytes() if file.exists() else None
    with pytest.raises(StoreCorrupt):
        MemoryManager.open(path, user_id="alice", embeddings=hashed)
    assert (file.read_bytes() if file.exists() else None) == left


def test_a_memory_of_a_newer_version_is_refused(place: Place) -> None:
    database = place.database()
    with database.write() as connection:
        connection.execute(text("UPDATE agent_memory_version SET version_num = '9999'"))
    database.close()
    with pytest.raises(StoreError, match="newer"):
        place.database()


def test_an_odd_path_is_just_a_path(tmp_path: Path) -> None:
    path = tmp_path / "a ?mode=ro#%41 'é"
    with MemoryManager.open(path, user_id="alice", embeddings=hashed) as memory:
        memory.add("x")
        assert memory.sql("SELECT text FROM episodes") == [{"text": "x"}]
    assert (path / FILE).exists()


# ---------------------------------------------------------------------- read-only, full


@pytest.mark.skipif(os.getuid() != 0, reason="needs to become another user")
def test_a_read_only_directory_is_searched_and_refuses_writes(shared_folder: Path) -> None:
    path = shared_folder / "memory"
    with MemoryManager.open(path, user_id="alice", embeddings=hashed) as memory:
        memory.add("The spare key is under the blue pot.")
    for one in (path, *path.rglob("*")):
        one.chmod(0o755)

    def reads() -> tuple[str, int, bool, list[str], str]:
        with MemoryManager.open(path, user_id="alice", embeddings=hashed) as memory:
            found = memory.search("spare key")[0].episode.text
            rows = len(memory.sql("SELECT * FROM episode_overview"))
            refused = ""
            for write in (lambda: memory.add("x"), lambda: memory.forget(everything=True)):
                try:
                    write()
                except StoreReadOnly:
                    refused += "x"
            return found, rows, memory.status()["read_only"], memory.verify(), refused

    assert in_child(reads, user=NOBODY) == ("The spare key is under the blue pot.", 1, True, [], "xx")
    with pytest.raises(StoreReadOnly):
        in_child(lambda: MemoryManager.open(shared_folder / "new", user_id="a").close(), user=NOBODY)


def test_a_full_disk_stops_the_add_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    with MemoryManager.open(tmp_path / "memory", user_id="alice", embeddings=hashed) as memory:
        memory.add("before")

        def limit(pages: int) -> None:
            with memory.database.engine.connect() as connection:
                now = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            for _ in range(3):
                raw = memory.database.engine.raw_connection()
                raw.cursor().execute(f"PRAGMA max_page_count={now + pages}")
                raw.close()

        limit(10)
        with pytest.raises(StoreFull, match="nothing was written"):
            memory.add_many([f"{n} " + "x" * 3000 for n in range(200)])
        assert [episode.text for episode in memory.list()] == ["before"]
        assert memory.search("before")[0].episode.text == "before"
        assert memory.verify() == []
        limit(100_000)
        memory.add("after")
        assert len(memory.list()) == 2


@pytest.mark.parametrize("code", [sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CORRUPT,
                                  sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_IOERR,
                                  sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_ERROR])  # fmt: skip
def test_every_error_of_the_driver_becomes_one_of_ours_with_its_cause(code: int) -> None:
    error = sqlite3.OperationalError("the driver's words")
    error.sqlite_errorcode, error.sqlite_errorname = code | (3 << 8), "SQLITE_X"
    with pytest.raises(StoreError) as raised, translated():
        raise OperationalError("SELECT", None, error)
    assert raised.value.__cause__ is not None
    assert type(raised.value) is _SQLITE_ERRORS.get(code, (StoreError, ""))[0]


# ---------------------------------------------------------------------- threads, forks


def add_one(database: Any) -> None:
    """Reads, then writes what it read plus one."""
    with database.write() as connection:
        value = connection.execute(counters.select()).one().value
        connection.execute(update(counters).values(value=value + 1))


def test_what_a_write_reads_cannot_change_before_it_writes(place: Place) -> None:
    databases = [place.database(), place.database()]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: add_one(databases[n % 2]), range(120)))
    with databases[0].read() as connection:
        assert connection.execute(counters.select()).one().value == 120
    for database in databases:
        database.close()


def test_a_deferred_transaction_would_fail_or_lose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The broken twin: begun deferred, and without our turns, the same work is refused by SQLite."""
    from contextlib import nullcontext

    monkeypatch.setattr(
        database_module, "_begin_sqlite", lambda connection: connection.exec_driver_sql("BEGIN")
    )
    monkeypatch.setattr(database_module, "_in_turn", lambda path: nullcontext())
    databases = [open_database(tmp_path / "memory"), open_database(tmp_path / "memory")]
    both_have_read = threading.Barrier(2, timeout=20)
    failed = []

    def race(database: Any) -> None:
        try:
            with database.write() as connection:
                value = connection.execute(counters.select()).one().value
                both_have_read.wait()
                connection.execute(update(counters).values(value=value + 1))
        except StoreError as error:
            failed.append(error)

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(race, databases))
    assert len(failed) == 1
    for database in databases:
        database.close()


def test_a_memory_opened_before_a_fork_works_on_both_sides(place: Place) -> None:
    with place.open(user_id="alice") as memory:
        memory.add("before")

        def child() -> int:
            memory.add("in the child")
            return len(memory.list())

        assert in_child(child) == 2
        memory.add("after")
        assert len(memory.list()) == 3
        assert memory.verify() == []


# ---------------------------------------------------------------------- failing at any statement


def failing_at(database: Database, n: int) -> Callable[[], int]:
    """Makes the n-th statement from now on fail; returns a function that ends it and tells how many ran.

    SQLite itself stops it in the middle, or the next one if the n-th is too short for that. The thread
    of the index is left alone: what it runs is no part of the operation.
    """
    ran, failed = 0, False
    watched: list[sqlite3.Connection] = []

    def counted() -> bool:
        return threading.current_thread() is threading.main_thread()

    def count(_: str) -> None:
        nonlocal ran
        ran += counted()

    def stop_now() -> bool:
        nonlocal failed
        now = ran >= n and not failed and counted()
        failed = failed or now
        return now

    def watch(connection: sqlite3.Connection, *_: Any) -> None:
        connection.set_trace_callback(count)
        connection.set_progress_handler(stop_now, 1)
        watched.append(connection)

    def stop() -> int:
        event.remove(database.engine, "checkout", watch)
        for connection in watched:
            with contextlib.suppress(sqlite3.ProgrammingError):  # closed since: one that truncated the log is
                connection.set_trace_callback(None)
                connection.set_progress_handler(None, 1)
        return ran

    event.listen(database.engine, "checkout", watch)
    return stop


@pytest.mark.parametrize("operation", ["add", "add_many", "update", "approve", "forget"])
def test_an_operation_that_fails_at_any_statement_leaves_everything_as_it_was(
    tmp_path: Path, operation: str
) -> None:
    with MemoryManager.open(tmp_path / "memory", user_id="alice", embeddings=hashed) as memory:
        one = memory.add("the first", source="web:x", session_id="s").id
        memory.add("the second", session_id="s")
        work: dict[str, Callable[[], Any]] = {
            "add": lambda: memory.add("the third", session_id="s"),
            "add_many": lambda: memory.add_many(["a b c", {"text": "d", "session_id": "s"}]),
            "update": lambda: memory.update(one, text="changed", metadata={"a": 1}),
            "approve": lambda: memory.approve([one]),
            "forget": lambda: memory.forget([one]),
        }
        before = memory.sql("SELECT * FROM episodes ORDER BY pk"), memory.sql("SELECT * FROM postings")
        for n in range(1, 200):
            stop = failing_at(memory.database, n)
            try:
                work[operation]()
            except StoreError:
                stop()
            else:
                assert stop() < n
                break
            if memory.sql("SELECT count(*) AS n FROM erasures")[0]["n"]:
                break  # committed; what follows is the removal of bytes, which the next writer retries
            now = memory.sql("SELECT * FROM episodes ORDER BY pk"), memory.sql("SELECT * FROM postings")
            assert now == before
            assert memory.verify() == []
        else:
            pytest.fail("never finished")
        assert n > 3
        assert memory.verify() == []
        memory.add("the last")
        assert memory.status()["erasures_pending"] == 0


# ---------------------------------------------------------------------- what an add asks of the database


def asked(memory: MemoryManager, work: Callable[[], Any]) -> list[str]:
    """Every statement that SQLite runs for this work, but not for the thread of the index."""
    ran: list[str] = []

    def note(statement: str) -> None:
        if threading.current_thread() is threading.main_thread():
            ran.append(statement)

    def watch(raw: sqlite3.Connection, *_: Any) -> None:
        raw.set_trace_callback(note)

    event.listen(memory.database.engine, "checkout", watch)
    work()
    event.remove(memory.database.engine, "checkout", watch)
    return ran


def test_an_add_takes_ten_statements_and_one_for_each_word(tmp_path: Path) -> None:
    with MemoryManager.open(tmp_path / "memory", user_id="alice", embeddings=hashed) as memory:
        memory.add("the first", session_id="s")
        ran = asked(memory, lambda: memory.add("Lisbon harbour ferries", session_id="s"))
    words = [statement for statement in ran if statement.startswith("INSERT INTO postings")]
    assert len(words) == 3 + 3  # day, month and year are words, too
    assert len(ran) - len(words) <= 10


def test_nothing_that_an_add_asks_walks_all_rows_of_a_table_or_of_a_namespace(tmp_path: Path) -> None:
    with MemoryManager.open(tmp_path / "memory", user_id="alice", embeddings=hashed) as memory:
        memory.add("the first", session_id="s")
        ran = asked(memory, lambda: memory.add("the second", session_id="s", idempotency_key="k"))
        with memory.database.read() as connection:
            steps = [
                str(step.detail)
                for statement in ran
                if statement.startswith(("SELECT", "UPDATE", "INSERT"))
                for step in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}")
            ]
    assert len(steps) > 5
    walks = [step for step in steps if step.startswith("SCAN") or step.endswith("(namespace_id=?)")]
    # Neither a row of constants, nor what the caller listed, nor the pending erasures alone are a table.
    harmless = ("SCAN CONSTANT ROW", "SCAN json_each", "SCAN erasures USING INDEX ix_erasures_pending")
    assert [step for step in walks if not step.startswith(harmless)] == []


def test_writes_one_after_the_other_share_a_connection_and_what_it_has_read(tmp_path: Path) -> None:
    database = open_database(tmp_path)
    with database.read(), database.read():
        pass  # now there are two
    used = set()
    for _ in range(4):
        with database.write() as connection:
            used.add(id(connection.connection.driver_connection))
    assert len(used) == 1
    database.close()


def test_a_closed_database_refuses(place: Place) -> None:
    database = place.database()
    database.close()
    with pytest.raises(StoreClosed), database.read():
        pass
