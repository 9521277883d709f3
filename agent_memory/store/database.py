"""The engine under the record: how it is opened, locked, made durable and kept to its directory.

Two ways in, and no third: `with database.write() as connection:` and `with database.read() as connection:`.
A write begins with BEGIN IMMEDIATE, so that what it reads cannot change before it writes (a deferred
transaction that upgrades fails at once with "database is locked", whatever the timeout); it ends in a
commit that has been synced to disk (`synchronous=FULL`; about 1.7 ms). Writers of one process queue on a
lock in the process, those of several on a file lock that the kernel serves in turn, since SQLite's own
waiting is polling; neither replaces SQLite's locking, which alone keeps the file sound. On PostgreSQL an
advisory lock gives the same order. A read is one snapshot.

Deleted pages are overwritten (`secure_delete`), temporary tables stay in memory, and parameters never
appear in errors: what is forgotten must not live on in a corner. Errors of the driver become ours in
`failures.py`.

What it does not know: episodes, scopes, vectors, what else the directory holds (`directory.py`). It does not
protect against a network file system.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event, insert, inspect, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import QueuePool

from agent_memory.config import StoreConfig
from agent_memory.errors import InvalidInput, StoreClosed, StoreCorrupt, StoreError, StoreReadOnly
from agent_memory.store import directory, forks, tables
from agent_memory.store.directory import FILE
from agent_memory.store.failures import translated
from agent_memory.store.locks import locked

SCHEMA = "agent_memory"  # on PostgreSQL
HEAD = "0001"  # the newest migration; a test compares it with the folder
_ADVISORY_LOCK = 0x6167_6D65  # "agme": chosen, so that it collides with nobody's small numbers

Clock = Callable[[], datetime]


def dump_json(value: Any) -> str:
    """JSON as it stands in the database: compact, and legible in any script."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def utc_now() -> datetime:
    """The time, aware, in UTC."""
    return datetime.now(UTC)


class Database:
    """One open record; safe from threads, and from processes that fork after it was opened."""

    def __init__(self, *, engine: Engine, path: Path, read_only: bool, clock: Clock) -> None:
        self.engine = engine
        self.path = path
        self.read_only = read_only
        self.now = clock
        snapshot = (
            {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        )
        self._reading = engine.execution_options(**snapshot)
        self._writing = engine.execution_options(agent_memory_write=True)
        self._driver_error: type[Exception] = engine.dialect.loaded_dbapi.Error
        self._turn = threading.Lock()
        self._pid = os.getpid()
        self._closed = False

    @property
    def is_sqlite(self) -> bool:
        """Whether the record is a file in the directory."""
        return self.engine.dialect.name == "sqlite"

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One durable transaction, alone among writers; commits at the end, rolls back on any exception.

        Not to be nested: a write inside a write of the same thread waits for itself.

        Raises:
            StoreReadOnly: the directory or the database refuses writes.
            StoreFull: no space is left; nothing was half-written.
            StoreClosed: after `close()`.
            StoreError: anything else that the database reports.
        """
        self._check()
        if self.read_only:
            raise StoreReadOnly(f"{self.path} is open read-only: its directory or database refuses writes")
        with (
            self._turn,
            translated(self._driver_error),
            _in_turn(self.path),
            self._inside(),
            self._writing.begin() as connection,
        ):
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One snapshot of what is committed.

        Raises:
            StoreClosed: after `close()`.
            StoreError: what the database reports.
        """
        self._check()
        with translated(self._driver_error), self._inside(), self._reading.begin() as connection:
            yield connection

    def truncate_log(self, *, patience_seconds: float = 0.2) -> bool:
        """Whether the write-ahead log could be emptied, so that nothing deleted stays in it.

        False while another connection, of any process, still reads an older snapshot. True on PostgreSQL.
        """
        self._check()
        if not self.is_sqlite:
            return True
        if self.read_only:
            return False
        with self._turn, translated(), _in_turn(self.path), self._inside():
            connection = self.engine.raw_connection()
            try:
                # A reader may hold it for long; the caller retries later, so it is not waited for.
                connection.cursor().execute(f"PRAGMA busy_timeout={round(patience_seconds * 1000)}")
                busy, left, done = connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                return bool(busy == 0 and left == done)
            finally:
                connection.invalidate()  # its busy_timeout was changed

    def close(self) -> None:
        """Gives back all connections; calling it again does nothing."""
        if not self._closed:
            self._closed = True
            self.engine.dispose(close=self._pid == os.getpid())

    def _inside(self) -> AbstractContextManager[None]:
        """Holds up a fork meanwhile, but for PostgreSQL, whose connection the child leaves alone."""
        return forks.inside() if self.is_sqlite else nullcontext()

    def _check(self) -> None:
        if self._closed:
            raise StoreClosed(f"the memory at {self.path} was closed; open it again")
        if self.is_sqlite and not forks.may_use_sqlite():
            raise StoreError(
                "this process was forked in the middle of a transaction, and would lose what it writes: fork "
                "between transactions, or start the process with spawn"
            )
        if self._pid != os.getpid():  # forked: the parent's connections are not ours to use or to close
            self.engine.dispose(close=False)
            self._turn = threading.Lock()
            self._pid = os.getpid()


def open_database(
    path: str | Path, *, url: str | None = None, settings: StoreConfig | None = None, clock: Clock = utc_now
) -> Database:
    """The record at `path`, made or migrated where needed; read-only where the directory refuses writes.

    Raises:
        InvalidInput: a directory cannot be at `path`, or `url` is not of PostgreSQL.
        StoreCorrupt: the SQL file is missing while its index exists, is damaged, or belongs elsewhere.
        StoreReadOnly: nothing is there yet and the directory refuses writes.
        StoreError: it may not be read, was made by a newer version, or cannot be reached.
    """
    settings = settings or StoreConfig()
    path = directory.check_path(path)
    read_only = directory.prepare(path)
    with translated():
        if url is None:
            directory.refuse_missing_record(path)
            if not read_only:
                directory.make_record(path)
            engine = _sqlite_engine(path, settings=settings, read_only=read_only)
        else:
            engine = _postgresql_engine(url)
        database = Database(engine=engine, path=path, read_only=read_only, clock=clock)
        try:
            _bring_to_head(database)
            _bind_directory(database)
        except BaseException:
            database.close()
            raise
    return database


# ---------------------------------------------------------------------- opening


def _sqlite_engine(path: Path, *, settings: StoreConfig, read_only: bool) -> Engine:
    file = path / FILE
    if read_only and not file.exists():
        raise StoreReadOnly(f"{path} holds no memory yet and refuses writes")
    location = "file:" + quote(str(file))
    if read_only:
        # Without its log nobody is writing; a read-only directory has no room for the log's shared memory.
        location += "?mode=ro" if Path(f"{file}-wal").exists() else "?mode=ro&immutable=1"

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(
            location,
            uri=True,
            timeout=settings.busy_timeout_seconds,
            isolation_level=None,
            check_same_thread=False,
        )
        for pragma in (
            "foreign_keys=ON",
            "synchronous=FULL",
            "secure_delete=ON",
            "trusted_schema=OFF",
            "temp_store=MEMORY",
            f"cache_size=-{settings.page_cache_mib * 1024}",
        ):
            connection.execute(f"PRAGMA {pragma}")
        connection.create_function("agent_memory_lower", 1, _lower, deterministic=True)
        return connection

    engine = create_engine(
        "sqlite+pysqlite://",
        creator=connect,
        poolclass=QueuePool,
        pool_size=8,
        max_overflow=-1,
        pool_use_lifo=True,  # two that take turns would each forget what they have read at the other's write
        hide_parameters=True,
        json_serializer=dump_json,
    )
    event.listen(engine, "begin", _begin_sqlite)
    forks.watch(engine)
    return engine


def _lower(value: Any) -> Any:
    """Lower case in any script; SQLite's own knows ASCII only."""
    return value.lower() if isinstance(value, str) else value


def _begin_sqlite(connection: Connection) -> None:
    write = connection.get_execution_options().get("agent_memory_write", False)
    driver = connection.connection.driver_connection
    assert driver is not None
    driver.execute("BEGIN IMMEDIATE" if write else "BEGIN")


def _postgresql_engine(url: str) -> Engine:
    try:
        target = make_url(url)
    except (ArgumentError, ValueError):  # whose words may hold a part of the password
        raise InvalidInput("database_url cannot be read: write postgresql://user@host:port/name") from None
    if target.drivername not in ("postgresql", "postgresql+psycopg"):
        raise InvalidInput(
            f"database_url is for PostgreSQL by psycopg (postgresql://...), not for {target.drivername}; "
            "SQLite needs only the path"
        )
    try:
        engine = create_engine(
            target.set(drivername="postgresql+psycopg"),
            pool_size=8,
            max_overflow=-1,
            pool_pre_ping=True,
            hide_parameters=True,
            json_serializer=dump_json,
        )
    except ImportError as error:
        raise StoreError(
            "PostgreSQL needs psycopg, which is not installed: pip install 'agent-memory-lora[postgres]'"
        ) from error
    event.listen(engine, "connect", _prepare_postgresql, insert=True)
    event.listen(engine, "begin", _begin_postgresql)
    return engine


def _prepare_postgresql(connection: Any, _: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SET search_path TO {SCHEMA}")
        cursor.execute("SET TIME ZONE 'UTC'")
    connection.commit()


def _begin_postgresql(connection: Connection) -> None:
    if connection.get_execution_options().get("agent_memory_write", False):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})")


def _bring_to_head(database: Database) -> None:
    """Migrates where the schema is not at head, once, however many open; only then is Alembic imported."""
    if _revision(database) == HEAD:
        return
    if database.read_only:
        raise StoreReadOnly(f"the memory at {database.path} needs a migration, but refuses writes")
    with _in_turn(database.path), database._inside():
        if database.is_sqlite:
            connection = database.engine.raw_connection()
            connection.cursor().execute("PRAGMA journal_mode=WAL")
            connection.close()
        else:
            with database.engine.begin() as opened:
                opened.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})")
                opened.exec_driver_sql(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
            database.engine.dispose()
        with database.engine.execution_options(agent_memory_write=True).begin() as opened:
            from agent_memory.store.migrations import upgrade

            upgrade(opened)


def _revision(database: Database) -> str | None:
    """The revision that the schema is at; None where there is none yet.

    Raises:
        StoreCorrupt: the database holds tables, but none of ours.
        StoreError: it was made by a newer version of this package.
    """
    with database.read() as connection:
        names = inspect(connection).get_table_names()
        if "agent_memory_version" not in names:
            if names:
                raise StoreCorrupt(f"the database of {database.path} is not a memory: its tables are foreign")
            return None
        found = connection.execute(text("SELECT version_num FROM agent_memory_version")).scalar_one()
    if found > HEAD:
        raise StoreError(f"a newer version wrote this memory (schema {found}, known {HEAD}): upgrade")
    return str(found)


def _bind_directory(database: Database) -> None:
    """The database remembers its data directory, so that two directories never share one database.

    Raises:
        StoreCorrupt: this directory and this database belong to others.
    """
    found = directory.read_id(database.path)
    wanted = select(tables.store_identity.c.value).where(tables.store_identity.c.name == "directory")
    with database.read() as connection:
        known = connection.execute(wanted).scalar()
    if known is None:
        with database.write() as connection:
            known = connection.execute(wanted).scalar()
            if known is None:
                known = found or uuid.uuid4().hex
                directory.write_id(database.path, known)
                connection.execute(insert(tables.store_identity).values(name="directory", value=known))
        found = directory.read_id(database.path)
    if found is None and database.is_sqlite and not database.read_only:
        directory.write_id(database.path, known)
    elif found != known and not (found is None and database.is_sqlite):
        raise StoreCorrupt(
            f"{database.path} is not the directory of this database (it remembers {known}, found {found}): "
            "use the directory that it was made with, one directory to a database"
        )


def _in_turn(path: Path) -> AbstractContextManager[int | None]:
    """Waits among the writers of all processes."""
    return locked(path / "write.lock")
