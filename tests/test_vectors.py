"""Vectors: compared exactly where they are few, proposed by Chroma where they are many, always SQL's own."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import insert, select, text

from agent_memory import Config, MemoryManager
from agent_memory.config import IndexConfig
from agent_memory.errors import EmbeddingError, StoreError
from agent_memory.store import folders as folders_on_disk
from agent_memory.store import lexical, vectors
from agent_memory.store.database import Database
from agent_memory.store.tables import episodes, index_generations, namespaces
from agent_memory.store.tables import vectors as table
from agent_memory.store.upkeep import FOLDER, Upkeep
from agent_memory.store.vector_index import VectorIndex
from benchmarks.processes import started
from tests.store_places import Place, hashed

ALICE, BOB = 1, 2
LARGE = IndexConfig(index_from=20, batch=16, drain_from=8, reopen_from=8)
NUMBERS = np.random.default_rng(7).standard_normal((200, 16)).astype(np.float32)
UNIT = NUMBERS / np.linalg.norm(NUMBERS, axis=1, keepdims=True)


@pytest.fixture
def database(place: Place) -> Iterator[Database]:
    opened = place.database()
    with opened.write() as connection:
        for pk, name in ((ALICE, "alice"), (BOB, "bob")):
            row = {"id": pk, "key": name, "user_id": name, "created_at": opened.now()}
            connection.execute(insert(namespaces).values(row))
    yield opened
    opened.close()


@contextmanager
def an_index(database: Database, settings: IndexConfig = LARGE) -> Iterator[VectorIndex]:
    opened = VectorIndex(database, settings, background=False)
    try:
        yield opened
    finally:
        opened.close()


def add(
    database: Database, pks: range | list[int], *, owner: int = ALICE, revision: int = 1, shift: int = 0
) -> None:
    """Episode pk gets vector pk + shift."""
    with database.write() as connection:
        rows = [(pk, revision, NUMBERS[pk + shift]) for pk in pks]
        vectors.add(connection, owner, rows)
        if revision == 1:
            lexical.add(connection, owner, [(pk, "") for pk in pks])


def erase(database: Database, *pks: int, owner: int = ALICE) -> int:
    with database.write() as connection:
        lexical.remove(connection, pks)
        return vectors.erase(connection, owner, pks)


def found(database: Database, index: VectorIndex, number: int, *, n: int = 5) -> list[int]:
    with database.read() as connection:
        return index.nearest(connection, ALICE, UNIT[number], n=n).top(n).tolist()


def path(database: Database, index: VectorIndex) -> str:
    with database.read() as connection:
        return index.nearest(connection, ALICE, UNIT[0], n=3).path


def folders(database: Database) -> list[Path]:
    return sorted(one for one in (database.path / FOLDER).glob("*/*") if one.is_dir())


def bytes_under(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())


# ---------------------------------------------------------------------- rows


def test_comparing_all_is_what_numpy_says(database: Database) -> None:
    add(database, range(1, 20))
    add(database, range(100, 110), owner=BOB)
    with an_index(database) as index, database.read() as connection:
        similar = index.nearest(connection, ALICE, UNIT[3], n=5)
        assert similar.path == "exact"
        assert similar.pks.tolist() == list(range(1, 20))
        assert similar.scores == pytest.approx(UNIT[1:20] @ UNIT[3], abs=1e-6)
        assert similar.top(1).tolist() == [3]
        assert similar.top(3, only=np.array([5, 9])).tolist() in ([5, 9], [9, 5])
        assert np.isnan(similar.of(np.array([100])))


def test_comparing_thousands_never_has_python_search_its_objects_for_cycles(database: Database) -> None:
    with database.write() as connection:
        vectors.add(connection, ALICE, [(pk, 1, NUMBERS[pk % 200]) for pk in range(3000)])
    with database.read() as connection:
        vectors.compare(connection, ALICE, UNIT[3])
        gc.collect()
        before = sum(generation["collections"] for generation in gc.get_stats())
        assert len(vectors.compare(connection, ALICE, UNIT[3])[0]) == 3000
        assert sum(generation["collections"] for generation in gc.get_stats()) == before


@pytest.mark.parametrize("wrong", [[np.nan, 1.0], [np.inf, 1.0], [], [[1.0]], "text"])
def test_what_is_no_finite_row_of_numbers_is_refused(database: Database, wrong: object) -> None:
    with pytest.raises((EmbeddingError, ValueError)), database.write() as connection:
        vectors.add(connection, ALICE, [(1, 1, np.array(wrong, dtype=object))])
    with database.read() as connection:
        assert not connection.execute(select(table)).all()


def test_a_vector_of_zeros_is_like_nothing(database: Database) -> None:
    with database.write() as connection:
        vectors.add(connection, ALICE, [(1, 1, np.zeros(16)), (2, 1, UNIT[0])])
    with database.read() as connection:
        assert vectors.compare(connection, ALICE, UNIT[0])[1].tolist() == pytest.approx([0, 1])


def test_vectors_of_another_dimension_are_left_out(database: Database) -> None:
    with database.write() as connection:
        vectors.add(connection, ALICE, [(1, 1, np.ones(3)), (2, 1, UNIT[0])])
    with database.read() as connection:
        assert vectors.compare(connection, ALICE, UNIT[0])[0].tolist() == [2]


def test_a_pending_vector_is_made_later_and_an_outdated_one_never(database: Database) -> None:
    now = database.now()
    with database.write() as connection:
        for pk in (1, 2):
            connection.execute(insert(episodes).values(
                pk=pk, id=f"e{pk}", namespace_id=ALICE, text=f"text {pk}", role="user", source="user",
                trust="trusted", occurred_at=now, created_at=now, revision=pk, metadata={},
                content_hash="-"))  # fmt: skip
        vectors.add(connection, ALICE, [(1, 1, None), (2, 2, None)])
    asked: list[str] = []

    def embed(texts: object) -> np.ndarray:
        asked.extend(texts)
        if len(asked) < 3:
            raise EmbeddingError("down")
        return UNIT[: len(texts)]

    assert vectors.embed_pending(database, ALICE, embed) == 1.0
    assert vectors.embed_pending(database, ALICE, embed) is None
    assert asked == ["text 1", "text 2"] * 2
    with database.read() as connection:
        assert vectors.compare(connection, ALICE, UNIT[0])[0].tolist() == [1, 2]
        assert not connection.execute(text("SELECT * FROM index_outbox")).all()


# ---------------------------------------------------------------------- the index


def test_a_large_namespace_is_answered_by_its_index_and_a_small_one_is_not(database: Database) -> None:
    add(database, range(1, 100))
    add(database, range(100, 110), owner=BOB)
    with an_index(database) as index:
        assert path(database, index) == "exact"  # it is never waited for
        index.maintain(ALICE)
        index.maintain(BOB)
        assert path(database, index) == "index"
        assert index.verify(ALICE) == {"indexed": 99, "waiting": 0, "missing": 0, "orphans": 0}
        assert [found(database, index, pk, n=1) for pk in range(1, 100)] == [[pk] for pk in range(1, 100)]
        assert [one.parent.name for one in folders(database)] == ["alice"]


def test_the_index_and_the_exact_comparison_agree(database: Database) -> None:
    add(database, range(1, 150))
    with an_index(database) as index, an_index(database, IndexConfig()) as exact:
        index.maintain(ALICE)
        for number in range(150, 170):
            assert found(database, index, number) == found(database, exact, number)


def test_what_the_index_has_not_seen_is_found_at_once(database: Database) -> None:
    add(database, range(1, 50))
    with an_index(database) as index:
        index.maintain(ALICE)
        add(database, range(50, 55))
        add(database, [3], revision=2, shift=100)
        assert path(database, index) == "index"
        assert found(database, index, 52, n=1) == [52]
        assert found(database, index, 103, n=1) == [3]
        assert found(database, index, 3, n=1) != [3]
        assert index.verify(ALICE)["waiting"] == 6
        index.maintain(ALICE, drain=True)
        assert index.verify(ALICE) == {"indexed": 54, "waiting": 0, "missing": 0, "orphans": 0}
        assert found(database, index, 103, n=1) == [3]


def told_by(work: Callable[..., None], place: Place) -> Any:
    """What another process says of its work in the same place; None where it was killed."""
    process, pipe = started(work, place)
    try:
        return pipe.recv() if pipe.poll(120) else "nothing, for too long"
    except EOFError:
        process.join()
        assert process.exitcode == -signal.SIGKILL
        return None
    finally:
        process.kill()
        process.join()


def write_all(sending: Connection, place: Place) -> None:
    """Brings the index up to date, and says how it differs from SQL."""
    with an_index(place.database()) as index:
        assert index.maintain(ALICE) is None
        sending.send(index.verify(ALICE))


def write_until_killed(sending: Connection, place: Place) -> None:
    """Builds the index, and is killed in the third batch."""
    put, batches = vectors.ChromaFolder.put, []

    def dying(folder: vectors.ChromaFolder, pks: list[int], matrix: np.ndarray) -> None:
        put(folder, pks, matrix)
        batches.append(pks)
        if len(batches) == 3:
            os.kill(os.getpid(), signal.SIGKILL)

    vectors.ChromaFolder.put = dying  # in a process of its own
    VectorIndex(place.database(), LARGE, background=False).maintain(ALICE)


def test_what_another_process_wrote_is_found_before_and_after_reopening(
    database: Database, place: Place
) -> None:
    add(database, range(1, 50))
    with an_index(database) as index:
        index.maintain(ALICE)
        add(database, range(50, 90))
        assert told_by(write_all, place) == {"indexed": 89, "waiting": 0, "missing": 0, "orphans": 0}
        assert [found(database, index, pk, n=1) for pk in range(1, 90)] == [[pk] for pk in range(1, 90)]
        index.maintain(ALICE)
        assert index.verify(ALICE) == {"indexed": 89, "waiting": 0, "missing": 0, "orphans": 0}
        assert [found(database, index, pk, n=1) for pk in range(1, 90)] == [[pk] for pk in range(1, 90)]


def test_what_sql_does_not_hold_is_never_returned(database: Database) -> None:
    add(database, range(1, 50))
    add(database, range(60, 70), owner=BOB)
    with an_index(database) as index:
        index.maintain(ALICE)
        opened = index._upkeep.open[ALICE]
        opened.folder.put([61, 150, 999], UNIT[[61, 150, 5]])
        for number in (61, 150, 5):
            assert set(found(database, index, number, n=20)) <= set(range(1, 50))
        assert index.verify(ALICE)["orphans"] == 3


def test_one_index_is_written_by_one_process_at_a_time(database: Database) -> None:
    add(database, range(1, 50))
    with an_index(database) as index, an_index(database) as other:
        with other._upkeep._locked("alice", 0.0) as mine:
            assert mine
            assert index.maintain(ALICE, wait=0.0)  # seconds after which to try again
            assert found(database, index, 7, n=1) == [7]
        assert index.maintain(ALICE, wait=0.0) is None


def test_open_indexes_are_few_and_the_one_unused_longest_closes(database: Database) -> None:
    add(database, range(1, 30))
    add(database, range(30, 60), owner=BOB)
    with an_index(database, LARGE.model_copy(update={"max_open": 1})) as index:
        index.maintain(ALICE)
        index.maintain(BOB)
        assert list(index._upkeep.open) == [BOB]
        assert found(database, index, 7, n=1) == [7]


def test_the_background_thread_builds_what_a_search_missed(database: Database) -> None:
    add(database, range(1, 50))
    index = VectorIndex(database, LARGE)
    assert path(database, index) == "exact"
    assert index.wait(60.0)
    assert path(database, index) == "index"
    add(database, range(50, 52))
    index.close()
    with an_index(database) as later:
        assert later.verify(ALICE)["waiting"] == 0


def test_a_build_that_was_stopped_is_gone_on_with(database: Database) -> None:
    add(database, range(1, 100))
    with an_index(database) as index:
        put = vectors.ChromaFolder.put
        batches: list[int] = []

        def stop_after_two(folder: vectors.ChromaFolder, pks: list[int], matrix: np.ndarray) -> None:
            put(folder, pks, matrix)
            batches.append(len(pks))
            if len(batches) == 2:
                index._upkeep.deadline = 0.0

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(vectors.ChromaFolder, "put", stop_after_two)
            assert index.maintain(ALICE) == 0.0
            index._upkeep.deadline = float("inf")
            assert index.maintain(ALICE) is None
        assert batches[:2] == [16, 16]
        assert sum(batches) == 99
        assert index.verify(ALICE) == {"indexed": 99, "waiting": 0, "missing": 0, "orphans": 0}


# ---------------------------------------------------------------------- forgetting


def test_no_byte_of_an_erased_vector_stays_in_the_index(database: Database) -> None:
    add(database, range(1, 60))
    with an_index(database) as index:
        index.maintain(ALICE)
        add(database, [5], revision=2, shift=100)
        index.maintain(ALICE, drain=True)
        gone = [UNIT[5].tobytes(), UNIT[105].tobytes()]
        assert all(one in bytes_under(database.path / FOLDER) for one in gone)
        assert erase(database, 5) == 1
        assert found(database, index, 105, n=1) != [5]
        assert index.purge(ALICE)
        assert not any(one in bytes_under(database.path / FOLDER) for one in gone)
        index.rebuild(ALICE)
        assert path(database, index) == "index"
        assert not any(one in bytes_under(database.path / FOLDER) for one in gone)
        assert index.verify(ALICE) == {"indexed": 58, "waiting": 0, "missing": 0, "orphans": 0}


def test_a_vector_that_is_erased_while_it_is_copied_leaves_nothing(database: Database) -> None:
    add(database, range(1, 60))
    with an_index(database) as index:
        put = vectors.ChromaFolder.put

        def erase_meanwhile(folder: vectors.ChromaFolder, pks: list[int], matrix: np.ndarray) -> None:
            if 5 in pks:
                erase(database, 5)
            put(folder, pks, matrix)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(vectors.ChromaFolder, "put", erase_meanwhile)
            assert index.maintain(ALICE) == 0.0
        assert index.purge(ALICE)
        assert UNIT[5].tobytes() not in bytes_under(database.path / FOLDER)
        index.rebuild(ALICE)
        assert index.verify(ALICE)["indexed"] == 58


def test_a_folder_that_cannot_be_removed_is_removed_later(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(database, range(1, 60))
    with an_index(database) as index:
        index.maintain(ALICE)
        erase(database, 5)
        with monkeypatch.context() as patched:
            patched.setattr(shutil, "rmtree", failing)
            assert not index.purge(ALICE)
        assert UNIT[5].tobytes() in bytes_under(database.path / FOLDER)
        assert [one.suffix for one in folders(database)] == [".gone"]
        assert index.purge(ALICE)
        assert folders(database) == []


def failing(*_: object) -> None:
    raise OSError(39, "Directory not empty")


def test_an_erasure_that_touches_no_index_keeps_it(database: Database) -> None:
    add(database, range(1, 60))
    with an_index(database) as index:
        index.maintain(ALICE)
        before = folders(database)
        add(database, [60])
        erase(database, 60)
        assert index.purge(ALICE)
        assert folders(database) == before
        assert path(database, index) == "index"


def test_numbers_of_generations_are_never_used_twice(database: Database) -> None:
    add(database, range(1, 60))
    seen: list[str] = []
    with an_index(database) as index:
        for _ in range(3):
            index.rebuild(ALICE)
            seen += [one.name for one in folders(database)]
    assert len(set(seen)) == len(seen) == 3
    with database.read() as connection:
        assert len(connection.execute(select(index_generations)).all()) == 1


# ---------------------------------------------------------------------- damage


def flip(file: Path, count: int = 64) -> None:
    content = bytearray(file.read_bytes())
    for at in np.random.default_rng(1).integers(0, len(content), count):
        content[at] ^= 0xFF
    file.write_bytes(content)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


DAMAGE = {
    "flipped bytes": lambda folder: flip(next(folder.rglob("data_level0.bin"))),
    "a cut header": lambda folder: cut(next(folder.rglob("header.bin"))),
    "a missing file": lambda folder: next(folder.rglob("length.bin")).unlink(),
    "an empty database": lambda folder: (folder / "chroma.sqlite3").write_bytes(b""),
    "a flipped database": lambda folder: flip(folder / "chroma.sqlite3", 4000),
    "a missing folder": folders_on_disk.remove_folder,
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_index_is_noticed_and_built_anew(database: Database, kind: str) -> None:
    add(database, range(1, 120))
    with an_index(database) as index:
        index.maintain(ALICE)
    (folder,) = folders(database)
    DAMAGE[kind](folder)
    with an_index(database) as index:
        assert found(database, index, 9, n=1) == [9]
        assert index.maintain(ALICE) == 0.0
        assert index.maintain(ALICE) is None
        assert index.verify(ALICE) == {"indexed": 119, "waiting": 0, "missing": 0, "orphans": 0}
        assert found(database, index, 9, n=1) == [9]
        assert folders(database) != [folder]


def test_a_file_that_kills_its_reader_kills_a_child_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, codes = subprocess.run, []

    def noted(*arguments: Any, **named: Any) -> Any:
        child = run(*arguments, **named)
        codes.append(child.returncode)
        return child

    monkeypatch.setattr(subprocess, "run", noted)
    folder = tmp_path / "1"
    opened = vectors.ChromaFolder(folder, create=True)
    many = np.random.default_rng(3).standard_normal((1500, 16)).astype(np.float32)
    opened.put(range(1500), many)  # fewer stay in Chroma's log, which is SQLite's
    opened.close()
    assert folders_on_disk.is_sound(folder)
    DAMAGE["flipped bytes"](folder)
    assert not folders_on_disk.is_sound(folder)
    assert codes == [0, -signal.SIGSEGV]


def test_an_index_that_is_short_of_vectors_is_not_taken_for_whole(database: Database) -> None:
    add(database, range(1, 60))
    with an_index(database) as index:
        index.maintain(ALICE)
        index._upkeep.open[ALICE].folder._items.delete(ids=["7", "8"])
        assert index.verify(ALICE)["missing"] == 2
    with an_index(database) as index:
        assert index.maintain(ALICE) == 0.0
        assert index.maintain(ALICE) is None
        assert index.verify(ALICE)["missing"] == 0


def test_an_index_that_cannot_be_written_is_our_error_and_costs_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(database, range(1, 60))
    index = VectorIndex(database, LARGE)
    monkeypatch.setattr(index, "_request", lambda *_, **__: None)  # all upkeep is asked for below
    index.maintain(ALICE)
    add(database, range(60, 65))
    with monkeypatch.context() as patched:
        patched.setattr(vectors.ChromaFolder, "put", failing)
        with pytest.raises(StoreError, match="nothing is lost"):
            index.maintain(ALICE, drain=True)
        assert found(database, index, 62, n=1) == [62]
        assert index.maintain(ALICE) is None  # so few may wait
        index.close()
    with an_index(database) as later:
        assert later.maintain(ALICE, drain=True) is None
        assert later.verify(ALICE) == {"indexed": 64, "waiting": 0, "missing": 0, "orphans": 0}


def test_an_index_under_an_odd_path_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "a ?mode=ro#%41 'é"
    config = Config(index=IndexConfig(index_from=20, drain_from=5))
    for _ in range(2):
        with MemoryManager.open(path, user_id="alice", config=config, embeddings=hashed) as memory:
            memory.add_many([f"n {n}" for n in range(40)])
            assert memory.index.maintain(1, drain=True) is None
    assert [one.name for one in path.glob("index/*/*") if one.is_dir()] == ["1"]


def test_a_killed_writer_loses_nothing(database: Database, place: Place) -> None:
    add(database, range(1, 100))
    assert told_by(write_until_killed, place) is None
    with an_index(database) as index:
        assert found(database, index, 70, n=1) == [70]
        while index.maintain(ALICE) is not None:
            pass
        assert index.verify(ALICE) == {"indexed": 99, "waiting": 0, "missing": 0, "orphans": 0}


def test_upkeep_of_an_unknown_namespace_of_few_episodes_touches_no_disk(database: Database) -> None:
    add(database, range(1, 5))
    assert Upkeep(database, LARGE).maintain(ALICE, drain=True, wait=0.0) is None
    assert not (database.path / FOLDER).exists()
