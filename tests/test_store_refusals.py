"""What the store refuses: input that cannot be used, scopes that name nobody, and what is another's."""

from __future__ import annotations

from typing import Any

import pytest

from agent_memory import MemoryManager
from agent_memory.errors import EmbeddingError, InvalidInput, NotFound, ScopeError, StoreClosed, TextTooLarge
from tests.store_places import Place, texts

# ---------------------------------------------------------------------- input


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        " \n",
        5,
        b"bytes",
        ["list"],
        "nul\x00",
        "half \ud800 pair",
        {"role": "user"},
        {"role": "wizard", "content": "x"},
        {"role": "user", "content": None},
        {"role": "user", "content": []},
    ],
)
def test_text_that_cannot_be_stored_is_refused(memory: MemoryManager, text: Any) -> None:
    with pytest.raises(InvalidInput):
        memory.add(text)
    assert memory.list() == []


def test_text_beyond_the_limit_is_refused(memory: MemoryManager) -> None:
    with pytest.raises(TextTooLarge):
        memory.add("x" * 20_000_000)
    with pytest.raises(TextTooLarge):
        memory.add("é" * 600_000)
    assert memory.add("x " * 400_000).event == "ADD"


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    "metadata",
    [
        [],
        "text",
        {1: "key"},
        nested(100_000),
        {"a": "x" * 70_000},
        {"a": float("nan")},
        {"a": float("inf")},
        {"a": 2**63},
        {"a": {1, 2}},
        {"a": "nul\x00"},
        {"nul\x00": 1},
        {"a": "\udfff"},
        {"a": object()},
    ],
)
def test_metadata_that_cannot_be_stored_is_refused(memory: MemoryManager, metadata: Any) -> None:
    with pytest.raises(InvalidInput):
        memory.add("text", metadata=metadata)
    assert memory.list() == []


def test_a_role_that_does_not_exist_is_refused(memory: MemoryManager) -> None:
    for role in ("", {}, [], 0, False, "admin", ["user"]):
        with pytest.raises(InvalidInput):
            memory.add({"role": role, "content": "text"})
    assert memory.list() == []


def test_what_is_no_id_is_refused(memory: MemoryManager) -> None:
    calls: tuple[Any, ...] = (
        memory.get,
        memory.history,
        lambda key: memory.forget([key]),
        lambda key: memory.approve([key]),
    )
    for key in (None, 5, [], {}, [["x"]], "", "x" * 65, "a/b", "\x00"):
        for call in calls:
            with pytest.raises(InvalidInput):
                call(key)


@pytest.mark.parametrize(
    "arguments",
    [
        {"source": ""},
        {"source": "a\nb"},
        {"source": 3},
        {"trust": "admin"},
        {"trust": True},
        {"occurred_at": "soon"},
        {"occurred_at": 5},
        {"expires_at": "0000-00-00"},
        {"session_id": ""},
        {"session_id": "x" * 600},
        {"idempotency_key": 7},
        {"source": "\ud800"},
    ],
)
def test_arguments_that_cannot_be_used_are_refused(memory: MemoryManager, arguments: Any) -> None:
    with pytest.raises(InvalidInput):
        memory.add("text", **arguments)


# ---------------------------------------------------------------------- scopes


@pytest.mark.parametrize(
    "scope",
    [
        {},
        {"user_id": ""},
        {"user_id": " a"},
        {"user_id": {"$ne": ""}},
        {"user_id": ["a", "b"]},
        {"user_id": 5},
        {"user_id": "a\x00b"},
        {"user_id": "a\nb"},
        {"user_id": "x" * 1000},
        {"agent_id": "\ud800"},
        {"user_id": "e\u0301"},
    ],
)
def test_a_scope_that_names_nobody_is_refused_by_every_call(place: Place, scope: Any) -> None:
    with place.open() as memory:
        for call in (
            lambda: memory.add("x", **scope),
            lambda: memory.add_many(["x"], **scope),
            lambda: memory.search("x", **scope),
            lambda: memory.list(**scope),
            lambda: memory.get("x", **scope),
            lambda: memory.update("x", text="y", **scope),
            lambda: memory.history("x", **scope),
            lambda: memory.approve(["x"], **scope),
            lambda: memory.forget(everything=True, **scope),
            lambda: memory.status(**scope),
            lambda: memory.verify(**scope),
            lambda: memory.rebuild_index(**scope),
            lambda: memory.export_jsonl(place.path / "x", **scope),
            lambda: memory.import_jsonl(place.path / "x", **scope),
        ):
            with pytest.raises(ScopeError):
                call()
        assert memory.sql("SELECT * FROM namespaces") == []


def test_a_fixed_scope_holds(memory: MemoryManager) -> None:
    memory.add("x", user_id="alice")
    for other in ({"user_id": "bob"}, {"agent_id": "bot"}, {"user_id": "alice", "agent_id": "bot"}):
        with pytest.raises(ScopeError):
            memory.list(**other)


def test_the_pair_is_the_namespace(place: Place) -> None:
    with place.open() as memory:
        memory.add("alice alone", user_id="alice")
        memory.add("alice with bot", user_id="alice", agent_id="bot")
        memory.add("bot alone", agent_id="bot")
        assert texts(memory, user_id="alice") == {"alice alone"}
        assert texts(memory, user_id="alice", agent_id="bot") == {"alice with bot"}
        assert texts(memory, agent_id="bot") == {"bot alone"}
        assert texts(memory, user_id="bot") == set()


def test_an_id_of_another_namespace_does_not_exist(place: Place) -> None:
    with place.open() as memory:
        key = memory.add("secret", user_id="alice").id
        for call in (
            lambda: memory.get(key, user_id="bob"),
            lambda: memory.history(key, user_id="bob"),
            lambda: memory.update(key, text="x", user_id="bob"),
            lambda: memory.approve([key], user_id="bob"),
            lambda: memory.forget([key], user_id="bob"),
        ):
            with pytest.raises(NotFound):
                call()
        assert memory.get(key, user_id="alice").text == "secret"


# ---------------------------------------------------------------------- what errors say


def test_a_closed_memory_says_so(place: Place) -> None:
    memory = place.open(user_id="alice")
    memory.close()
    memory.close()
    for call in (lambda: memory.add("x"), lambda: memory.list(), lambda: memory.sql("SELECT 1")):
        with pytest.raises(StoreClosed):
            call()


def test_no_error_holds_the_text_of_an_episode(memory: MemoryManager) -> None:
    canary = "CANARY-7f3a"
    for call in (
        lambda: memory.add(canary + "\x00"),
        lambda: memory.add(canary + "\ud800"),
        lambda: memory.add(canary, metadata={"a": object()}),
        lambda: memory.add(canary * 200_000),
        lambda: memory.list(filters={"text": {"like": canary}}),
    ):
        with pytest.raises(InvalidInput) as raised:
            call()
        error: BaseException | None = raised.value
        while error is not None:
            assert canary not in str(error)
            error = error.__cause__
    assert isinstance(EmbeddingError("x"), ValueError)
