"""What the tests of the chat model say to it, and how they put versions into its memory."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_agent_memory import ChatAgentMemory
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

from agent_memory import MemoryManager, prompt
from agent_memory.models.local import LocalModel
from tests.integrations.agents import ALICE

#: The version reads, so that whatever is in view it is worn.
version_reads = pytest.mark.parametrize("memory", ["version"], indirect=True)


def chat(memory: MemoryManager, **settings: Any) -> ChatAgentMemory:
    return ChatAgentMemory(memory=memory, **{**ALICE, "max_tokens": 24, **settings})


def with_version(memory: Any, tiny: LocalModel, name: str, *, seed: int, state: str = "active") -> None:
    """Puts a version of random matrices in the record, as a consolidation would."""
    import torch
    from sqlalchemy import insert

    from agent_memory.consolidation import versions
    from agent_memory.store import tables

    folder = versions.folder(memory.database.path, name)
    folder.parent.mkdir(exist_ok=True)
    draft = tiny.worn.fresh(rank=2, alpha=64, targets="all-linear", seed=seed)
    with tiny.wearing(draft), torch.no_grad():
        for parameter in tiny.worn.parameters(draft).values():
            torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(seed))
        tiny.worn.save(draft, folder)
    tiny.worn.discard(draft)
    learnt = memory.add(f"Something about {name}.", **ALICE)
    with memory.database.write() as connection:
        owner = memory.store.namespace_id(connection, memory._scope("alice", None))
        connection.execute(
            insert(tables.versions).values(
                id=name,
                namespace_id=owner,
                state=state,
                base=tiny.fingerprint,
                created_at=memory.database.now(),
                scores={},
                reasons=[],
            )
        )
        connection.execute(
            insert(tables.version_episodes).values(
                version_id=name, namespace_id=owner, episode_id=learnt.id, revision=1, part="learnt"
            )
        )


BLOCK = prompt.block_of_lines([prompt.line("My sister is called Nora.", date="2026-03-01", source="user")])
SISTER, BROTHER = "What is my sister called?", "What is my brother called?"


def in_view(question: str) -> list[Any]:
    return [SystemMessage(f"{prompt.ASK_SYSTEM}\n\n{BLOCK}"), HumanMessage(question)]


def alone(question: str) -> list[Any]:
    return [SystemMessage(prompt.ASK_SYSTEM), HumanMessage(question)]


def streamed(model: ChatAgentMemory, messages: list[Any]) -> tuple[str, AIMessage]:
    """What a stream shows, and what it adds up to."""
    pieces = list(model.stream(messages))
    whole = pieces[0]
    for piece in pieces[1:]:
        whole += piece
    return "".join(piece.text for piece in pieces), whole


def invoked(model: ChatAgentMemory, messages: list[Any]) -> tuple[str, AIMessage]:
    message = model.invoke(messages)
    return message.text, message
