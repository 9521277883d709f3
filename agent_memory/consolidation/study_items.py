"""Items in SQL: how a study or exam item, with the teacher's targets, becomes a row and comes back.

The targets of an item are one safetensors blob in its own row: the answer's ids, and per answer token the
top-k ids and log-probabilities. They are in the row and not in a file beside it so that `forget` deletes
them in the same transaction as everything else; an item takes about a kilobyte.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    and_,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)

from agent_memory.errors import RunFailed
from agent_memory.store import tables
from agent_memory.store.keys import chunks

if TYPE_CHECKING:
    from agent_memory.consolidation.targets import Targets

_COLUMNS = (
    "pk", "episode_pk", "revision", "kind", "origin", "answer_group", "question", "answer", "known",
    "targets",
)  # fmt: skip
#: `superseded_by` of an item whose successor was erased: it is asked again, and is to be compared again.
ERASED = 0


@dataclass(frozen=True, slots=True)
class StudyItem:
    """A question about an episode with the teacher's answer.

    `kind` is "draft", "study" or "exam"; `origin` is where the question comes from: see `tables.study_items`.
    """

    pk: int
    episode_pk: int
    revision: int
    kind: str
    origin: str
    answer_group: int
    question: str
    answer: str
    known: bool | None
    targets: bytes | None


def not_retired() -> ColumnElement[bool]:
    """That no item replaces this one; what was made from another text than its episode has now does not."""
    later, e = tables.study_items.alias("later"), tables.episodes.alias("later_episodes")
    replaced = exists().where(
        later.c.pk == tables.study_items.c.superseded_by,
        e.c.pk == later.c.episode_pk,
        e.c.revision == later.c.revision,
    )
    return ~replaced.correlate(tables.study_items)


def to_train() -> ColumnElement[bool]:
    """That a study item has its targets, that the base did not know it, and that it is not retired."""
    i = tables.study_items.c
    unknown = or_(i.known.is_(None), i.known.is_(False))
    return and_(i.kind == "study", i.targets.is_not(None), unknown, not_retired())


def load(connection: Connection, where: Any) -> list[StudyItem]:
    """The items for which the condition holds, in the order in which they were made."""
    columns = [tables.study_items.c[name] for name in _COLUMNS]
    rows: Iterable[RowMapping] = connection.execute(
        select(*columns).where(where).order_by(tables.study_items.c.pk)
    ).mappings()
    return [StudyItem(**row) for row in rows]


def save(
    connection: Connection,
    rows: Sequence[dict[str, Any]],
    *,
    namespace_id: int,
    run_id: str,
    base: str,
    context: Sequence[int] = (),
) -> list[int]:
    """Inserts items and returns their keys; `context` are the other episodes that the teacher saw.

    Raises:
        RunFailed: one of these was forgotten meanwhile; nothing may be kept of what the teacher said.
    """
    e = tables.episodes.c
    there = select(func.count()).select_from(tables.episodes).where(e.pk.in_(context))
    if context and connection.execute(there).scalar() != len(set(context)):
        raise RunFailed("an episode that the teacher saw was forgotten meanwhile: call consolidate() again")
    pks: list[int] = []
    for row in rows:
        found = connection.execute(
            insert(tables.study_items)
            .values(namespace_id=namespace_id, run_id=run_id, base=base, **row)
            .returning(tables.study_items.c.pk)
        ).scalar_one()
        pks.append(found)
        if context:
            connection.execute(
                insert(tables.study_context),
                [{"item_pk": found, "episode_pk": pk, "namespace_id": namespace_id} for pk in context],
            )
    return pks


def erase(connection: Connection, pks: Sequence[int]) -> None:
    """Deletes items with their marks; what they had replaced is asked again."""
    i, c, x = tables.study_items.c, tables.study_context.c, tables.exam_results.c
    for some in chunks(pks):
        connection.execute(delete(tables.exam_results).where(x.item_pk.in_(some)))
        connection.execute(delete(tables.study_context).where(c.item_pk.in_(some)))
        replaced = update(tables.study_items).where(i.superseded_by.in_(some))
        connection.execute(replaced.values(superseded_by=ERASED))
        connection.execute(delete(tables.study_items).where(i.pk.in_(some)))


def erase_of_run(connection: Connection, run_id: str) -> None:
    """Deletes the items that a run has made."""
    i = tables.study_items.c
    erase(connection, connection.execute(select(i.pk).where(i.run_id == run_id)).scalars().all())


def pack(answer: Sequence[int], targets: Targets) -> bytes:
    """The answer's ids and the targets of one item as safetensors bytes."""
    import torch
    from safetensors.torch import save as to_bytes

    packed: bytes = to_bytes(
        {
            "answer": torch.tensor(answer, dtype=torch.int32),
            "indices": targets.indices.to(torch.int32).contiguous(),
            "log_probs": targets.log_probs.to(torch.float32).contiguous(),
        }
    )
    return packed


def answer_ids(blob: bytes) -> tuple[int, ...]:
    """The answer's ids of a packed item."""
    from safetensors.torch import load as from_bytes

    return tuple(from_bytes(blob)["answer"].tolist())


def unpack(blobs: Sequence[tuple[str, bytes]]) -> tuple[dict[str, tuple[int, ...]], Targets]:
    """The answers by key, and the targets of all items in order; blobs are (key, bytes).

    Items that were made under other settings may have more log-probabilities than others; all get as many as
    the one that has the fewest.
    """
    import torch
    from safetensors.torch import load as from_bytes

    from agent_memory.consolidation.targets import Targets

    loaded = [(key, from_bytes(blob)) for key, blob in blobs]
    lengths = [len(tensors["answer"]) for _, tensors in loaded]
    k = min((tensors["indices"].shape[1] for _, tensors in loaded), default=0)
    return (
        {key: tuple(tensors["answer"].tolist()) for key, tensors in loaded},
        Targets(
            keys=tuple(key for key, _ in loaded),
            offsets=torch.tensor([0, *lengths]).cumsum(0),
            indices=torch.cat([tensors["indices"][:, :k] for _, tensors in loaded]),
            log_probs=torch.cat([tensors["log_probs"][:, :k] for _, tensors in loaded]),
        ),
    )
