"""The directory of a memory: a wrong one is one typed error, whichever way it is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from agent_memory import MemoryManager
from agent_memory.errors import InvalidInput, StoreCorrupt, StoreError, StoreReadOnly
from agent_memory.store.database import open_database
from agent_memory.store.directory import DIRECTORY_ID, FILE
from tests.store_places import hashed, in_child

NOBODY = 65534
as_root = pytest.mark.skipif(os.getuid() != 0, reason="needs to become another user")


def opened(path: Any, **arguments: Any) -> None:
    """Opens a memory of alice and closes it."""
    MemoryManager.open(path, user_id="alice", embeddings=hashed, **arguments).close()


# ---------------------------------------------------------------------- paths


@pytest.mark.parametrize("path", [None, 5, b"memory", ["memory"], object(), "", "a\x00b", "half \ud800"])
def test_what_is_no_path_is_refused_by_every_call_that_takes_one(tmp_path: Path, path: Any) -> None:
    with pytest.raises(InvalidInput, match="path"):
        opened(path)
    with MemoryManager.open(tmp_path, user_id="alice", embeddings=hashed) as memory:
        for call in (memory.export_jsonl, memory.import_jsonl, memory.export_adapter, memory.export_model):
            with pytest.raises(InvalidInput, match="path"):
                call(path)


def test_a_home_that_nobody_has_is_refused() -> None:
    with pytest.raises(InvalidInput, match="home"):
        opened("~nobody-of-this-name/memory")


def a_file(place: Path) -> Path:
    (place / "file").write_text("theirs")
    return place / "file"


def below_a_file(place: Path) -> Path:
    return a_file(place) / "memory"


def a_link_to_itself(place: Path) -> Path:
    (place / "loop").symlink_to(place / "loop")
    return place / "loop"


def below_a_link_to_itself(place: Path) -> Path:
    return a_link_to_itself(place) / "memory"


def a_link_to_nothing(place: Path) -> Path:
    (place / "link").symlink_to(place / "missing" / "memory")
    return place / "link"


def a_long_name(place: Path) -> Path:
    return place / ("x" * 300)


@pytest.mark.parametrize(
    "wrong",
    [a_file, below_a_file, a_link_to_itself, below_a_link_to_itself, a_link_to_nothing, a_long_name],
)
def test_a_path_where_no_directory_can_be_is_refused_and_named(
    tmp_path: Path, wrong: Callable[[Path], Path]
) -> None:
    path = wrong(tmp_path)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InvalidInput, match="directory") as raised:
        opened(path)
    assert str(path) in str(raised.value)
    assert raised.value.__cause__ is not None
    assert sorted(tmp_path.iterdir()) == before


# ---------------------------------------------------------------------- rights


@as_root
@pytest.mark.parametrize("mode", [0o700, 0o000, 0o744])
def test_a_directory_that_may_not_be_entered_says_whose_rights_are_missing(
    shared_folder: Path, mode: int
) -> None:
    path = shared_folder / "memory"
    opened(path)
    path.chmod(mode)
    with pytest.raises(StoreError, match="owner and mode") as raised:
        in_child(lambda: opened(path), user=NOBODY)
    assert str(path) in str(raised.value)


@as_root
@pytest.mark.parametrize("name", [FILE, DIRECTORY_ID])
def test_a_file_that_may_not_be_read_says_whose_rights_are_missing(shared_folder: Path, name: str) -> None:
    path = shared_folder / "memory"
    opened(path)
    for one in (path, *path.iterdir()):
        one.chmod(0o755)
    (path / name).chmod(0o600)
    with pytest.raises(StoreError, match="owner and mode") as raised:
        in_child(lambda: opened(path), user=NOBODY)
    assert str(path / name) in str(raised.value)


@as_root
def test_a_directory_that_may_not_be_made_says_whose_rights_are_missing(shared_folder: Path) -> None:
    with pytest.raises(StoreReadOnly, match="owner and mode"):
        in_child(lambda: opened(shared_folder / "new" / "memory"), user=NOBODY)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_new_record_is_its_owners_alone_in_whatever_directory(tmp_path: Path, umask: int) -> None:
    path = tmp_path / "memory"
    path.mkdir()
    path.chmod(0o755)

    def modes() -> dict[str, int]:
        os.umask(umask)
        with MemoryManager.open(path, user_id="alice", embeddings=hashed) as memory:
            memory.add("The spare key is under the blue pot.")
            assert sorted(one.name for one in path.iterdir() if one.name.startswith(".")) == []
            return {one.name: one.stat().st_mode & 0o777 for one in path.glob(f"{FILE}*")}

    assert in_child(modes) == {FILE: 0o600, f"{FILE}-wal": 0o600, f"{FILE}-shm": 0o600}


def test_who_opens_a_memory_leaves_the_locks_of_another_who_opened_it(tmp_path: Path) -> None:
    """To open the file by its name, and close it again, would end them: then a process that closes the file
    takes itself for the last, and removes the log under the others."""
    opened(tmp_path)
    database = open_database(tmp_path)
    with database.read() as connection:
        connection.execute(text("SELECT * FROM episodes"))
    opened(tmp_path)
    script = f"import sqlite3; sqlite3.connect({str(tmp_path / FILE)!r}).execute('SELECT * FROM episodes')"
    subprocess.run([sys.executable, "-c", script], check=True)
    assert (tmp_path / f"{FILE}-wal").exists()
    database.close()


def test_the_mode_that_somebody_gave_a_record_stays(tmp_path: Path) -> None:
    opened(tmp_path)
    (tmp_path / FILE).chmod(0o640)
    opened(tmp_path)
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o640


# ---------------------------------------------------------------------- what lies in it


def test_a_directory_id_that_cannot_be_read_or_is_none_is_refused(tmp_path: Path) -> None:
    opened(tmp_path / "memory")
    file = tmp_path / "memory" / DIRECTORY_ID
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(StoreCorrupt):
        opened(tmp_path / "memory")
    file.unlink()
    file.mkdir()
    with pytest.raises(StoreError, match=DIRECTORY_ID):
        opened(tmp_path / "memory")


# ---------------------------------------------------------------------- the other place for a record


@pytest.mark.parametrize(
    "url",
    ["", "nonsense", 5, "sqlite:///x", "mysql://x", "postgresql://secret@host:port/x",
     "postgresql+psycopg2://secret@host/x", "postgresql+asyncpg://secret@host/x"],
)  # fmt: skip
def test_a_url_that_is_not_of_postgresql_is_refused_and_not_repeated(tmp_path: Path, url: Any) -> None:
    with pytest.raises(InvalidInput, match="postgresql://") as raised:
        opened(tmp_path, database_url=url)
    error: BaseException | None = raised.value
    while error is not None:
        assert "secret" not in str(error)
        error = error.__cause__


def test_without_the_driver_of_postgresql_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StoreError, match=r"pip install .*postgres"):
        opened(tmp_path, database_url="postgresql://host/x")
