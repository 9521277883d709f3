"""Locks between processes, and processes that fork: nobody keeps what is another's, nobody waits for ever."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from agent_memory.errors import StoreError
from agent_memory.store.locks import locked


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
