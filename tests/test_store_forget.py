"""Forgetting: out of service at once, out of every file when the receipt says so."""

from __future__ import annotations

import random
import struct
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import text as sql_text

from agent_memory import Config, MemoryManager
from agent_memory.config import IndexConfig
from agent_memory.errors import FilterError, InvalidInput, NotFound
from agent_memory.store.scrub import scrub
from agent_memory.store.vectors import ChromaFolder
from tests.store_places import Place


def random_vectors(texts: list[str]) -> Any:
    """Vectors whose bytes occur nowhere else."""
    return [np.random.default_rng(abs(hash(text))).normal(size=16).astype(np.float32) for text in texts]


def traces(folder: Path, patterns: Iterable[bytes]) -> list[str]:
    """Which patterns stand in which files of the folder."""
    wanted = list(patterns)
    return [
        f"{file.relative_to(folder)}: {pattern[:24]!r}"
        for file in folder.rglob("*") if file.is_file()
        for content in [file.read_bytes()]
        for pattern in wanted if pattern in content
    ]  # fmt: skip


def marks(number: int) -> list[bytes]:
    """Bytes that only the episode of this number has, in text, in metadata, and before its update."""
    words = [f"{kind}{number:06d}z" for kind in ("MARK", "LAST", "META", "ONCE")]
    return [code for word in words for code in (word.encode(), word.encode("utf-16-le"))]


def filled(memory: MemoryManager, numbers: range, rng: random.Random) -> dict[int, str]:
    """Episodes of very different lengths, some updated; returns their ids."""
    items = []
    for number in numbers:
        words = " ".join(f"w{rng.randrange(10**6)}" for _ in range(rng.choice([3, 20, 80, 1500])))
        items.append({
            "text": f"ONCE{number:06d}z MARK{number:06d}z {words} LAST{number:06d}z",
            "metadata": {"tag": f"META{number:06d}z"},
        })  # fmt: skip
    ids = {number: one.id for number, one in zip(numbers, memory.add_many(items), strict=True)}
    for number in rng.sample(list(numbers), len(numbers) // 5):
        memory.update(ids[number], text=f"MARK{number:06d}z again LAST{number:06d}z")
    return ids


def vectors_of(memory: MemoryManager, ids: Iterable[str]) -> list[bytes]:
    wanted = set(ids)
    with memory.database.read() as connection:
        rows = connection.execute(
            sql_text("SELECT e.id, v.vector FROM vectors v JOIN episodes e ON e.pk = v.episode_pk")
        ).all()
    return [bytes(row.vector)[:32] for row in rows if row.id in wanted]


@pytest.mark.parametrize("index_from", [10_000, 50], ids=["exact", "indexed"])
def test_no_byte_of_a_forgotten_episode_is_left_in_any_file(tmp_path: Path, index_from: int) -> None:
    rng = random.Random(5)
    config = Config(index=IndexConfig(index_from=index_from, drain_from=20))
    path = tmp_path / "memory"
    with MemoryManager.open(path, user_id="alice", config=config, embeddings=random_vectors) as memory:
        ids: dict[int, str] = {}
        gone: list[bytes] = []
        for turn in range(3):  # adding and forgetting in turn, so that pages are split, merged and used again
            ids |= filled(memory, range(turn * 100, turn * 100 + 100), rng)
            memory.index.maintain(1, drain=True)
            chosen = rng.sample(sorted(ids), 40)
            patterns = [pattern for number in chosen for pattern in marks(number)[::2]]
            patterns += vectors_of(memory, [ids[number] for number in chosen])
            assert len(traces(path, patterns)) >= 80  # the search itself works
            receipt = memory.forget([ids.pop(number) for number in chosen])
            assert receipt.erased_at is not None
            gone += patterns + [pattern for number in chosen for pattern in marks(number)]
            assert traces(path, gone) == []
        assert memory.verify() == []
        memory.index.maintain(1, drain=True)
        assert traces(path, gone) == []
    assert traces(path, gone) == []


def test_without_secure_delete_bytes_would_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The broken twin: the search for bytes turns red where the database does not overwrite."""
    import sqlite3

    connect = sqlite3.connect

    class Careless(sqlite3.Connection):
        def execute(self, statement: str, *rest: Any) -> sqlite3.Cursor:
            return super().execute(statement.replace("secure_delete=ON", "secure_delete=OFF"), *rest)

    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, **k, factory=Careless))
    with MemoryManager.open(tmp_path / "memory", user_id="alice", embeddings=random_vectors) as memory:
        ids = filled(memory, range(30), random.Random(5))
        assert memory.forget([ids[n] for n in range(10)]).erased_at is not None
        assert traces(tmp_path, [pattern for n in range(10) for pattern in marks(n)]) != []


READER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("BEGIN")
connection.execute("SELECT count(*) FROM episodes").fetchone()
print("reading", flush=True)
sys.stdin.readline()
"""


def test_what_a_reading_process_blocks_is_pending_and_the_next_writer_erases_it(tmp_path: Path) -> None:
    path = tmp_path / "memory"
    with MemoryManager.open(path, user_id="alice", embeddings=random_vectors) as memory:
        ids = filled(memory, range(20), random.Random(5))
        command = [sys.executable, "-c", READER, str(path / "memory.sqlite3")]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
            assert reader.stdout is not None
            assert reader.stdout.readline() == "reading\n"
            receipt = memory.forget([ids[3]])
            assert receipt.erased_at is None
            assert memory.search("MARK000003z", k=30) != []
            assert all(found.episode.id != ids[3] for found in memory.search("MARK000003z", k=30))
            assert memory.status()["erasures_pending"] == 1
            memory.add("while it reads")
            assert memory.status()["erasures_pending"] == 1
            reader.communicate("done\n")
        memory.add("afterwards")
        assert memory.status()["erasures_pending"] == 0
        assert traces(path, marks(3)) == []


def test_a_receipt_counts_what_went_and_says_what_it_cannot_reach(place: Place) -> None:
    with place.open(user_id="alice") as memory:
        one, two = memory.add_many(["one two three", "four"])
        memory.update(one.id, text="one two")
        receipt = memory.forget([one.id], reason="asked to")
        assert receipt.ids == (one.id,)
        assert (receipt.counts["episodes"], receipt.counts["history"], receipt.counts["vectors"]) == (1, 1, 1)
        assert receipt.counts["postings"] >= 2
        assert "backups" in receipt.not_covered
        assert receipt.erased_at is not None
        assert receipt.erased_at >= receipt.unserved_at
        with pytest.raises(NotFound):
            memory.get(one.id)
        assert memory.get(two.id).text == "four"
        assert memory.verify() == []
        assert memory.sql("SELECT reason, episodes FROM forget_overview") == [
            {"reason": "asked to", "episodes": 1}
        ]


def test_forgetting_twice_is_harmless_and_an_unknown_id_forgets_nothing(place: Place) -> None:
    with place.open(user_id="alice") as memory:
        one, two = memory.add_many(["one", "two"])
        memory.forget(one.id)
        assert memory.forget([one.id]).ids == ()
        with pytest.raises(NotFound):
            memory.forget([two.id, "00000000-never"])
        assert memory.get(two.id)


def test_exactly_one_way_to_choose_and_no_filter_that_means_everything(place: Place) -> None:
    with place.open(user_id="alice") as memory:
        memory.add_many(["one", "two"])
        for wrong in (
            {},
            {"ids": ["a"], "everything": True},
            {"filters": {"source": "user"}, "everything": True},
        ):
            with pytest.raises(InvalidInput):
                memory.forget(**wrong)
        for empty in (
            {},
            {"AND": []},
            {"NOT": [{}]},
            {"OR": [{}]},
            {"OR": [{}, {"source": "tool"}]},
            {"AND": [{"source": "user"}, {"NOT": []}]},
            {"source": {"nin": []}},
        ):
            with pytest.raises(FilterError):
                memory.forget(filters=empty)
        assert len(memory.list()) == 2
        assert len(memory.forget(filters={"text": "one"}).ids) == 1
        assert len(memory.forget(everything=True).ids) == 1
        assert memory.forget(everything=True).ids == ()


def test_forgetting_everything_leaves_the_neighbours_alone(place: Place) -> None:
    with place.open() as memory:
        for user in ("alice", "bob"):
            memory.add_many(["the same words", "for each"], user_id=user)
        before = [(one.episode.text, one.score) for one in memory.search("same words", user_id="bob")]
        memory.forget(everything=True, user_id="alice")
        assert memory.list(user_id="alice") == []
        assert [(one.episode.text, one.score) for one in memory.search("same words", user_id="bob")] == before
        assert memory.verify(user_id="bob") == memory.verify(user_id="alice") == []


def test_what_was_forgotten_may_be_told_again(place: Place) -> None:
    with place.open(user_id="alice") as memory:
        one = memory.add("I live in Lisbon.", idempotency_key="k")
        memory.forget(one.id)
        again = memory.add("I live in Lisbon.", idempotency_key="k")
        assert (again.event, again.id != one.id) == ("ADD", True)


def test_many_thousand_ids_are_forgotten_in_one_call(place: Place) -> None:
    with place.open(user_id="alice", config=Config(index=IndexConfig(index_from=100_000))) as memory:
        added = memory.add_many([f"n {n}" for n in range(1200)])
        assert len(memory.forget([one.id for one in added]).ids) == 1200
        assert memory.verify() == []


def test_what_chroma_leaves_uninitialised_is_zeroed_and_its_graph_still_answers(tmp_path: Path) -> None:
    matrix = np.random.default_rng(3).normal(size=(120, 16)).astype(np.float32)
    opened = ChromaFolder(tmp_path / "graph", create=True)
    opened.put(range(120), matrix)
    opened.nearest(matrix[0], 1)
    graphs = [header.parent for header in tmp_path.rglob("header.bin")]
    assert graphs
    for graph in graphs:
        _, _, places, taken, size = struct.unpack_from("<iQQQQ", (graph / "header.bin").read_bytes())
        secret = b"freed memory of this process"
        for name, width in (("data_level0.bin", size), ("length.bin", 4)):
            content = bytearray((graph / name).read_bytes())
            assert len(content) == places * width  # else the layout is another, and scrub does nothing
            kept = bytes(content[: taken * width])
            content[-len(secret) :] = secret
            (graph / name).write_bytes(content)
            scrub(tmp_path)
            now = (graph / name).read_bytes()
            assert now == kept + bytes(len(content) - len(kept))
    opened.close()
    again = ChromaFolder(tmp_path / "graph")
    assert [again.nearest(row, 1)[0] for row in matrix] == list(range(120))
    again.close()
