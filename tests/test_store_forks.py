"""Locks between processes, and processes that fork: nobody keeps what is another's, nobody waits for ever."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from agent_memory import MemoryManager
from agent_memory.errors import StoreError
from agent_memory.store import forks
from agent_memory.store.locks import locked
from tests.store_places import Place, in_child, texts


def test_a_lock_is_held_by_one_and_given_back(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    with locked(file) as one:
        assert one is not None
        with locked(file, seconds=0.05) as two:
            assert two is None
        with locked(file, seconds=0.0) as three:
            assert three is None  # the second did not unlock what is the first's
    with locked(file, seconds=0.0) as four:
        assert four is not None


def test_a_lock_that_cannot_be_opened_is_a_store_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="lock"), locked(tmp_path / "missing" / "lock"):
        pass


def test_a_child_that_was_forked_while_a_lock_was_held_does_not_keep_it(tmp_path: Path) -> None:
    """Neither once the parent has given it back, nor by giving back what is the parent's."""
    receiving, sending = os.pipe()
    mine = locked(tmp_path / "lock")
    assert mine.__enter__() is not None
    lasting = os.fork()
    if lasting == 0:
        os.close(sending)
        os.read(receiving, 1)  # until the parent lets it end
        os._exit(0)
    leaving = os.fork()
    if leaving == 0:
        mine.__exit__(None, None, None)
        os._exit(0)
    assert os.waitpid(leaving, 0)[1] == 0
    try:
        with locked(tmp_path / "lock", seconds=0.0) as other:
            assert other is None
        mine.__exit__(None, None, None)
        with locked(tmp_path / "lock", seconds=0.0) as other:
            assert other is not None
    finally:
        os.close(sending)
        os.close(receiving)
        os.waitpid(lasting, 0)


def test_a_command_that_was_given_the_lock_holds_it_after_its_parent_is_killed(tmp_path: Path) -> None:
    script = f"""
        import os, subprocess, sys
        from pathlib import Path
        from agent_memory.store.locks import locked
        with locked(Path({str(tmp_path / "lock")!r})) as lock:
            subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], pass_fds=(lock,))
            os.kill(os.getpid(), 9)
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as parent:
        assert parent.wait(60) == -signal.SIGKILL
        with locked(tmp_path / "lock", seconds=0.0) as lock:
            assert lock is None
        assert parent.stdin is not None
        parent.stdin.close()  # ends the command
        with locked(tmp_path / "lock", seconds=60.0) as lock:
            assert lock is not None


def test_a_process_forked_from_one_with_an_open_index_works_and_ends(tmp_path: Path) -> None:
    """Chroma's threads do not live on in it; asked for anything there, it would never answer."""
    script = f"""
        import os, sys
        from agent_memory import Config, MemoryManager
        from agent_memory.config import IndexConfig
        config = Config(index=IndexConfig(index_from=20, drain_from=5))
        memory = MemoryManager.open({str(tmp_path / "memory")!r}, user_id="alice", config=config)
        added = memory.add_many([f"episode {{n}} about tea" for n in range(40)])
        assert memory.index.maintain(1, drain=True) is None
        found = memory.search("episode 7", explain=True)[0]
        assert found.why["vector"]["path"] == "index"
        pid = os.fork()
        if pid == 0:
            again = memory.search("episode 7", explain=True)[0]
            assert (again.episode.id, again.why["vector"]["path"]) == (found.episode.id, "exact")
            memory.add_many([f"more {{n}}" for n in range(20)])
            assert memory.index.wait(30)
            assert memory.verify() == []
            assert memory.forget([added[3].id]).erased_at is not None
            memory.rebuild_index()
            memory.close()
            sys.exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        assert len(memory.list()) == 59
        memory.rebuild_index()
        assert memory.verify() == []
        assert memory.search("episode 9", explain=True)[0].why["vector"]["path"] == "index"
        memory.close()
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True, timeout=240)


# ---------------------------------------------------------------------- SQLite's locks


@pytest.mark.parametrize("anew", [False, True], ids=["inherited", "opened anew"])
def test_what_a_child_adds_after_its_parent_has_closed_is_kept(place: Place, anew: bool) -> None:
    """Without locks of its own it would write to a log that the parent, as the last one, has removed."""
    memory = place.open(user_id="alice")
    memory.add("before")
    from_child, to_parent = os.pipe()
    from_parent, to_child = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            mine = place.open(user_id="alice") if anew else memory
            mine.add("the child's first")
            os.write(to_parent, b"x")
            os.read(from_parent, 1)
            mine.add("the child's second")
        finally:
            os._exit(0)
    os.read(from_child, 1)
    memory.close()
    with place.open(user_id="alice") as again:
        again.add("between")
    os.write(to_child, b"x")
    os.waitpid(pid, 0)
    for end in (from_child, to_parent, from_parent, to_child):
        os.close(end)
    with place.open(user_id="alice") as again:
        assert texts(again) == {"before", "the child's first", "between", "the child's second"}
        assert again.verify() == []


def test_a_fork_among_writing_and_searching_threads_costs_nobody_anything(place: Place) -> None:
    with place.open(user_id="alice") as memory:
        memory.add("tea at four")
        ended = threading.Event()
        failed: list[Exception] = []
        added = []

        def works(number: int) -> None:
            try:
                while not ended.is_set():
                    added.append(memory.add(f"cup {number}.{len(added)}").episode.text)
                    memory.search("tea")
            except Exception as error:  # noqa: BLE001  # a thread's error is the test's
                failed.append(error)

        threads = [threading.Thread(target=works, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        children = [in_child(lambda n=n: memory.add(f"child {n}").episode.text) for n in range(12)]
        ended.set()
        for thread in threads:
            thread.join()
        assert failed == []
        assert texts(memory) == {"tea at four", *children, *added}
        assert memory.verify() == []


def tried(memory: MemoryManager) -> Callable[[], str]:
    """What a child is told that adds an episode, and one that opens the memory anew."""

    def child() -> str:
        told = []
        for call in (lambda: memory.add("x"), lambda: MemoryManager.open(memory.database.path, user_id="a")):
            try:
                call()
            except StoreError as error:
                told.append(str(error))
        return " ".join(told)

    return child


def test_a_child_that_was_forked_inside_a_transaction_is_refused_and_its_parent_goes_on(
    tmp_path: Path,
) -> None:
    with Place(tmp_path, None).open(user_id="alice") as memory:
        with memory.database.write() as connection:
            connection.execute(text("UPDATE counters SET value = value"))
            said = in_child(tried(memory))
        assert said.count("fork between transactions") == 2
        memory.add("after")
        assert in_child(lambda: memory.add("later").event) == "ADD"
        assert texts(memory) == {"after", "later"}


def test_a_fork_waits_for_a_transaction_for_so_long_and_no_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forks, "PATIENCE_SECONDS", 0.05)
    with Place(tmp_path, None).open(user_id="alice") as memory:
        begun, ended = threading.Event(), threading.Event()

        def reads() -> None:
            with memory.database.read():
                begun.set()
                ended.wait(60)

        thread = threading.Thread(target=reads)
        thread.start()
        assert begun.wait(60)
        assert in_child(tried(memory)).count("fork between transactions") == 2
        memory.add("the parent goes on")
        ended.set()
        thread.join()
        assert in_child(lambda: len(memory.list())) == 1
