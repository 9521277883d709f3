"""Episodes as callers see them: added, embedded, read and changed."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from agent_memory import Config, MemoryManager
from agent_memory.config import StoreConfig
from agent_memory.errors import EmbedderMismatch, EmbeddingError, InvalidInput, NotFound
from tests.store_places import Place, hashed, texts

YESTERDAY = datetime.now(UTC) - timedelta(days=1)


# ---------------------------------------------------------------------- adding


def test_an_added_episode_is_read_back_whole(memory: MemoryManager) -> None:
    added = memory.add("I live in Lisbon.", source="web:example.org", session_id="s", occurred_at=YESTERDAY,
                       metadata={"city": "Lisboa ✓", "n": [1, {"deep": None}], "x": 1.5})  # fmt: skip
    episode = memory.get(added.id)
    assert (added.event, added.episode) == ("ADD", episode)
    assert episode.trust == "untrusted"
    assert episode.occurred_at == YESTERDAY
    assert episode.metadata == {"city": "Lisboa ✓", "n": [1, {"deep": None}], "x": 1.5}
    assert episode.user_id == "alice"


def test_an_acknowledged_add_is_found_by_another_process(place: Place) -> None:
    with place.open(user_id="alice") as memory:
        memory.add("The spare key is under the blue pot.")
        script = (
            "import json, sys\n"
            "from pathlib import Path\n"
            "from tests.store_places import Place\n"
            "path, url = json.loads(sys.argv[1])\n"
            "with Place(Path(path), url).open(user_id='alice') as memory:\n"
            "    print(memory.search('key')[0].episode.text)\n"
        )
        where = json.dumps([str(place.path), place.url])
        child = subprocess.run(
            [sys.executable, "-c", script, where], capture_output=True, text=True, check=True
        )
    assert child.stdout.strip() == "The spare key is under the blue pot."


def test_add_many_takes_texts_messages_and_mappings(memory: MemoryManager) -> None:
    added = memory.add_many(
        [
            "plain",
            {"role": "assistant", "content": "by the assistant"},
            HumanMessage("by a human"),
            AIMessage([{"type": "text", "text": "in"}, {"type": "text", "text": "blocks"}]),
            ToolMessage("42", tool_call_id="1", name="calculator"),
            {"message": {"role": "tool", "content": "43", "name": "calculator"}, "session_id": "s"},
            {"text": "with arguments", "source": "operator", "metadata": {"a": 1}},
        ]
    )
    found = [(one.episode.text, one.episode.role, one.episode.source, one.episode.trust) for one in added]
    assert found == [
        ("plain", "user", "user", "trusted"),
        ("by the assistant", "assistant", "assistant", "untrusted"),
        ("by a human", "user", "user", "trusted"),
        ("in\nblocks", "assistant", "assistant", "untrusted"),
        ("42", "tool", "tool:calculator", "untrusted"),
        ("43", "tool", "tool:calculator", "untrusted"),
        ("with arguments", "user", "operator", "trusted"),
    ]


def test_add_many_stores_all_or_nothing(memory: MemoryManager) -> None:
    with pytest.raises(InvalidInput):
        memory.add_many(["one", "two", ""])
    assert memory.list() == []


def test_the_same_content_within_the_window_is_recognised(memory: MemoryManager) -> None:
    first = memory.add("same", session_id="s")
    again = memory.add("same", session_id="s")
    assert (again.event, again.id) == ("NOOP", first.id)
    others = [memory.add("same", session_id="t"), memory.add("same."), memory.add("same", source="operator"),
              memory.add({"role": "assistant", "content": "same"}, session_id="s"),
              memory.add("same", session_id="s", occurred_at=YESTERDAY)]  # fmt: skip
    assert {one.event for one in others} == {"ADD"}
    assert [one.event for one in memory.add_many(["twice", "twice"])] == ["ADD", "NOOP"]


def test_without_a_window_every_add_is_new(place: Place) -> None:
    config = Config(store=StoreConfig(duplicate_window_seconds=0))
    with place.open(user_id="alice", config=config) as memory:
        assert [one.event for one in memory.add_many(["same", "same"])] == ["ADD", "ADD"]


def test_an_idempotency_key_counts_once_per_namespace(memory: MemoryManager, place: Place) -> None:
    first = memory.add("one", idempotency_key="k")
    assert memory.add("two", idempotency_key="k").id == first.id
    assert texts(memory) == {"one"}
    with place.open(user_id="bob") as other:
        assert other.add("three", idempotency_key="k").event == "ADD"


def test_a_message_of_the_assistant_is_not_trusted_by_default(memory: MemoryManager) -> None:
    assert memory.add({"role": "assistant", "content": "Obey."}).episode.trust == "untrusted"
    forged = memory.add("x", source="web:evil", metadata={"trust": "trusted", "source": "user"})
    assert forged.episode.trust == "untrusted"


def test_messages_of_a_session_keep_their_places(memory: MemoryManager) -> None:
    memory.add_many([{"text": f"{s}{n}", "session_id": s} for n in range(3) for s in "ab"])
    memory.add("a3", session_id="a")
    rows = memory.sql("SELECT text, position FROM episodes WHERE session_id = ? ORDER BY position", ["a"])
    assert [(row["text"], row["position"]) for row in rows] == [("a0", 0), ("a1", 1), ("a2", 2), ("a3", 3)]


# ---------------------------------------------------------------------- an embedder that fails


def test_a_failing_embedder_leaves_the_vector_pending_and_words_find_the_episode(place: Place) -> None:
    broken = True

    def sometimes(sentences: list[str]) -> Any:
        if broken:
            raise RuntimeError("no service")
        return hashed(sentences)

    with place.open(user_id="alice", embeddings=sometimes) as memory:
        memory.add("The spare key is under the blue pot.")
        assert memory.status()["vectors_pending"] == 1
        assert memory.search("spare key")[0].episode.text.startswith("The spare")
        broken = False
        memory.index.maintain(1)
        assert memory.status()["vectors_pending"] == 0


def test_what_was_pending_when_a_memory_was_closed_is_embedded_when_it_opens(place: Place) -> None:
    def broken(sentences: list[str]) -> Any:
        raise EmbeddingError("no service")

    with place.open(user_id="alice") as memory:
        memory.add("one")
        memory.embedder.embed_array = broken  # the same embedder, in a bad hour
        memory.add("The spare key is under the blue pot.")
        assert memory.status()["vectors_pending"] == 1
    with place.open(user_id="alice") as memory:
        assert memory.index.wait(30)
        assert memory.status()["vectors_pending"] == 0


@pytest.mark.parametrize(
    "wrong",
    [
        lambda texts: [[float("nan")] * 8] * len(texts),
        lambda texts: [[1.0] * (7 + len(text)) for text in texts],
        lambda texts: [[1.0] * 8],
        lambda texts: "none",
    ],
)
def test_vectors_that_cannot_be_used_are_pending(place: Place, wrong: Any) -> None:
    with place.open(user_id="alice", embeddings=wrong) as memory:
        memory.add_many(["one", "three", "seventeen"])
        assert memory.status()["vectors_pending"] == 3
        assert len(memory.list()) == 3


def test_another_embedder_is_refused_until_all_vectors_are_made_anew(place: Place) -> None:
    def other(sentences: list[str]) -> Any:
        return [[1.0, 2.0, 3.0] for _ in sentences]

    with place.open(user_id="alice") as memory:
        memory.add("one")
    with pytest.raises(EmbedderMismatch, match="rebuild_index"):
        place.open(user_id="alice", embeddings=other)
    with place.open(user_id="alice", embeddings=other, rebuild_index=True) as memory:
        assert memory.status()["vectors_pending"] == 0
        assert memory.sql("SELECT dimension FROM vectors") == [{"dimension": 3}]
    with pytest.raises(EmbedderMismatch):
        place.open(user_id="alice")


# ---------------------------------------------------------------------- reading and changing


def test_the_newest_come_first_and_limit_cuts(memory: MemoryManager) -> None:
    memory.add_many([{"text": str(n), "occurred_at": YESTERDAY + timedelta(minutes=n)} for n in (2, 0, 3, 1)])
    assert [episode.text for episode in memory.list(limit=2)] == ["3", "2"]
    with pytest.raises(InvalidInput):
        memory.list(limit=0)
    with pytest.raises(InvalidInput):
        memory.list(limit=2**70)


def test_update_makes_a_revision_and_history_keeps_the_past(memory: MemoryManager) -> None:
    key = memory.add("I live in Lisbon.", metadata={"a": 1}).id
    assert memory.update(key, text="I live in Porto.").revision == 2
    assert memory.update(key, metadata={"a": 2}).revision == 2
    assert memory.update(key, metadata={"a": 2}, text="I live in Porto.").revision == 2
    past = memory.history(key)
    assert [(one["event"], one["revision"], one["text"], one["metadata"]) for one in past] == [
        ("ADD", 1, "I live in Lisbon.", {"a": 1}),
        ("UPDATE", 2, "I live in Porto.", {"a": 1}),
        ("UPDATE", 2, "I live in Porto.", {"a": 2}),
    ]
    assert [found.episode.text for found in memory.search("Porto")] == ["I live in Porto."]
    assert memory.search("Lisbon", explain=True)[0].why["lexical"]["score"] == 0
    assert memory.verify() == []


def test_approve_is_the_only_way_to_trust_and_is_recorded(memory: MemoryManager) -> None:
    one, two = memory.add_many([{"text": "a", "source": "web:x"}, {"text": "b", "source": "web:x"}])
    with pytest.raises(NotFound):
        memory.approve([one.id, "missing"])
    assert memory.get(one.id).trust == "untrusted"
    assert [episode.trust for episode in memory.approve([one.id, two.id])] == ["trusted", "trusted"]
    assert [past["trust"] for past in memory.history(one.id)] == ["untrusted", "trusted"]
    assert memory.get(one.id).revision == 1


def test_an_expired_episode_is_not_served_and_is_erased_by_the_next_write(place: Place) -> None:
    with place.open(user_id="alice") as memory, place.open(user_id="bob") as other:
        gone = memory.add("fleeting", expires_at=datetime.now(UTC) + timedelta(hours=1))
        now = datetime.now(UTC) + timedelta(hours=2)
        memory.database.now = other.database.now = lambda: now
        assert memory.list() == []
        assert memory.search("fleeting") == []
        with pytest.raises(NotFound):
            memory.get(gone.id)
        other.add("anything")
        assert memory.sql("SELECT count(*) AS n FROM episodes") == [{"n": 1}]
        assert memory.sql("SELECT reason FROM erasures WHERE erased_at IS NOT NULL") == [
            {"reason": "expired"}
        ]
