"""Every table of the record, made to be read by people as well as by the package.

SQLAlchemy Core, no ORM: a part of the memory imports the tables that it owns and writes plain statements. The
same definitions serve SQLite and PostgreSQL. On SQLite a time is text in UTC, `2026-03-01 10:00:00.000000`,
which sorts and compares with `datetime('now')`; on PostgreSQL it is `timestamptz`.

Naming: `pk` is a table's integer key and never leaves the package; `id` is the text that callers see. Columns
that point to an episode are `episode_pk`. Keys of episodes come from `counters` and are never used twice, so
that a stale index entry cannot name a later episode. Whatever holds text of an episode, or something computed
from it, has a column `episode_pk` and is deleted by its owner's `erase(connection, namespace_id, pks)`.

To change a table: edit it here, with a `comment=` on each new column; add it to the Alembic revision (one
revision, `0001`, until the first release); `tests/test_store_migrations.py` compares the two.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeDecorator, TypeEngine

from agent_memory.errors import InvalidInput


class UtcTime(TypeDecorator[datetime]):
    """An aware time, kept in UTC: text that SQLite's own functions read, `timestamptz` on PostgreSQL."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Text of 26 characters on SQLite."""
        return dialect.type_descriptor(String(26) if dialect.name == "sqlite" else DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """The time in UTC, as the database keeps it."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise InvalidInput("a time without a time zone reached the store; pass an aware datetime")
        if dialect.name != "sqlite":
            return value
        return value.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:  # noqa: ARG002 (theirs)
        """The time, aware, in UTC."""
        if value is None:
            return None
        if isinstance(value, str):
            return datetime.fromisoformat(value).replace(tzinfo=UTC)
        return value.astimezone(UTC)  # type: ignore[no-any-return]  # the driver's value is untyped


Json = JSON().with_variant(JSONB(), "postgresql")

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


def _owner(*, primary_key: bool = False) -> Column[int]:
    """The column that says whose row it is."""
    return Column("namespace_id", ForeignKey("namespaces.id"), primary_key=primary_key, nullable=False,
                  autoincrement=False, comment="Whose row it is; nothing is read or written across it.")


def _episode(*, primary_key: bool = False, nullable: bool = False) -> Column[int]:
    """The column that names an episode; no foreign key: its owner erases, a test counts what is left."""
    return Column("episode_pk", Integer, primary_key=primary_key, nullable=nullable, autoincrement=False,
                  comment="Key of the episode, episodes.pk.")


# ---------------------------------------------------------------------- the record

store_identity = Table(
    "store_identity", metadata,
    Column("name", String(64), primary_key=True, comment="'directory', 'embedder', ..."),
    Column("value", Text, nullable=False, comment="What the store is bound to under that name."),
    comment="What this database belongs to: its data directory, its embedder.",
)

counters = Table(
    "counters", metadata,
    Column("name", String(64), primary_key=True, comment="'episodes'."),
    Column("value", Integer, nullable=False, comment="The last number given out; none is used twice."),
    comment="Keys given out so far.",
)

namespaces = Table(
    "namespaces", metadata,
    Column("id", Integer, primary_key=True, comment="Key."),
    Column("key", String(32), nullable=False, unique=True, comment="Namespace.key; names folders."),
    Column("user_id", Text, comment="User, or NULL."),
    Column("agent_id", Text, comment="Agent, or NULL."),
    Column("created_at", UtcTime, nullable=False, comment="When the first episode came."),
    comment="The pairs (user, agent) that own everything else.",
)

episodes = Table(
    "episodes", metadata,
    Column("pk", Integer, primary_key=True, autoincrement=False, comment="Key, in order of arrival."),
    Column("id", String(64), nullable=False, comment="The id that callers see."),
    _owner(),
    Column("text", Text, nullable=False, comment="What happened, in words."),
    Column("role", String(32), nullable=False, comment="'user', 'assistant', 'system' or 'tool'."),
    Column("session_id", Text, comment="The conversation it belongs to."),
    Column("position", Integer, comment="Place within its session, from 0; NULL without a session."),
    Column("source", Text, nullable=False, comment="Who said so: 'user', 'tool:<name>', 'web:<host>', ..."),
    Column("trust", String(9), nullable=False, comment="'trusted' or 'untrusted'."),
    Column("occurred_at", UtcTime, nullable=False, comment="When it happened."),
    Column("created_at", UtcTime, nullable=False, comment="When it was stored."),
    Column("expires_at", UtcTime, comment="When it is forgotten by itself."),
    Column("revision", Integer, nullable=False, comment="From 1; counts changes of the text."),
    Column("metadata", Json, nullable=False, comment="Whatever the caller attached."),
    Column("content_hash", String(32), nullable=False, comment="Of session, role, source, trust and text."),
    Column("idempotency_key", Text, comment="The caller's own name for this add."),
    CheckConstraint("trust IN ('trusted', 'untrusted')", name="trust"),
    UniqueConstraint("namespace_id", "id"),
    UniqueConstraint("namespace_id", "idempotency_key"),
    Index(None, "namespace_id", "occurred_at"),
    Index(None, "namespace_id", "content_hash"),
    Index(None, "namespace_id", "session_id", "position"),
    comment="One row for each thing that happened.",
)
Index("ix_episodes_expires_at", episodes.c.expires_at, sqlite_where=episodes.c.expires_at.is_not(None),
      postgresql_where=episodes.c.expires_at.is_not(None))

episode_history = Table(
    "episode_history", metadata,
    Column("pk", Integer, primary_key=True, comment="Key, in order of change."),
    _owner(),
    _episode(),
    Column("revision", Integer, nullable=False, comment="The revision that was left."),
    Column("event", String(16), nullable=False, comment="'UPDATE' or 'APPROVE'."),
    Column("text", Text, nullable=False, comment="The text before the change."),
    Column("metadata", Json, nullable=False, comment="The metadata before the change."),
    Column("trust", String(9), nullable=False, comment="The trust before the change."),
    Column("changed_at", UtcTime, nullable=False, comment="When it was changed."),
    Index(None, "episode_pk"),
    comment="What an episode was before each change; erased with it.",
)

# ---------------------------------------------------------------------- search

postings = Table(
    "postings", metadata,
    _owner(primary_key=True),
    Column("term", Text, primary_key=True, comment="A stem."),
    _episode(primary_key=True),
    Column("frequency", Integer, nullable=False, comment="How often the term stands in the text."),
    Column("length", Integer, nullable=False, comment="Number of terms in the text, for BM25."),
    comment="Which terms stand in which episode; what BM25 reads.", sqlite_with_rowid=False,
)

lexical_lengths = Table(
    "lexical_lengths", metadata,
    _owner(),
    _episode(primary_key=True),
    Column("length", Integer, nullable=False, comment="Number of terms in the text."),
    Column("terms", Text, nullable=False, comment="The terms, each once, by which its postings are found."),
    comment="Length of each episode in terms.",
)

lexical_statistics = Table(
    "lexical_statistics", metadata,
    _owner(primary_key=True),
    Column("episodes", Integer, nullable=False, comment="Episodes that are indexed."),
    Column("terms", Integer, nullable=False, comment="Sum of their lengths."),
    comment="What BM25 needs of a whole namespace, and of no other.",
)

vectors = Table(
    "vectors", metadata,
    _owner(primary_key=True),
    _episode(primary_key=True),
    Column("revision", Integer, nullable=False, comment="Revision of the text that was embedded."),
    Column("dimension", Integer, comment="Numbers in the vector."),
    Column("vector", LargeBinary, comment="Little-endian floats of length one; NULL while pending."),
    Column("indexed_in", Integer, comment="index_generations.generation that holds this revision, or NULL."),
    Column("index_revision", Integer, comment="Batch that put this revision there; NULL: waiting."),
    Index(None, "namespace_id", "index_revision"),
    comment="The vector of each episode.",
)

index_outbox = Table(
    "index_outbox", metadata,
    Column("seq", Integer, primary_key=True, comment="Key, in order."),
    _owner(),
    _episode(),
    Column("revision", Integer, nullable=False, comment="Revision that the row is about."),
    Column("op", String(8), nullable=False, comment="'embed': the vector is pending."),
    Column("attempts", Integer, nullable=False, server_default=text("0"), comment="Failed attempts."),
    Column("error", Text, comment="Kind of the last failure."),
    Index(None, "namespace_id", "seq"),
    comment="Texts that are still to be embedded; what is to be copied to the index is marked in vectors.",
)

index_generations = Table(
    "index_generations", metadata,
    _owner(primary_key=True),
    Column("generation", Integer, primary_key=True, autoincrement=False, comment="From 1."),
    Column("state", String(8), nullable=False, comment="'building', 'live' or 'retired' (to be removed)."),
    Column("revision", Integer, nullable=False, server_default=text("0"), comment="Batches written."),
    Column("created_at", UtcTime, nullable=False, comment="When it was begun."),
    comment="Directories of the vector index: index/<namespace key>/<generation>/.",
)

# ---------------------------------------------------------------------- forgetting

tombstones = Table(
    "tombstones", metadata,
    _owner(primary_key=True),
    Column("episode_id", String(64), primary_key=True, comment="Id of an episode that was forgotten."),
    Column("forgotten_at", UtcTime, nullable=False, comment="When."),
    comment="Ids that may not come back; nothing else is kept of them.",
)

erasures = Table(
    "erasures", metadata,
    Column("pk", Integer, primary_key=True, comment="Key."),
    _owner(),
    Column("reason", Text, comment="As the caller gave it."),
    Column("episodes", Integer, nullable=False, comment="How many were forgotten."),
    Column("unserved_at", UtcTime, nullable=False, comment="When nothing could serve them any more."),
    Column("erased_at", UtcTime, comment="When their bytes were gone; NULL while pending."),
    comment="Each forget, and whether its bytes are gone; the next writer retries the pending ones.",
)
Index("ix_erasures_pending", erasures.c.pk, sqlite_where=erasures.c.erased_at.is_(None),
      postgresql_where=erasures.c.erased_at.is_(None))

# ---------------------------------------------------------------------- consolidation

runs = Table(
    "runs", metadata,
    Column("id", String(64), primary_key=True, comment="Id; names the folder runs/<id>/."),
    _owner(),
    Column("state", String(16), nullable=False, comment="'running', 'done', 'failed' or 'cancelled'."),
    Column("stage", String(16), nullable=False,
           comment="Last stage, or part of one ('answer:3'), that is complete."),
    Column("outcome", String(16), comment="'promoted', 'rejected', 'nothing' or 'dry-run'."),
    Column("parent_version_id", String(64), comment="Version that the run started from; NULL: from zero."),
    Column("base", Text, nullable=False, comment="Fingerprint of the base model."),
    Column("seed", Integer, nullable=False, comment="Seed of everything random in it."),
    Column("settings", Json, nullable=False, comment="Settings that the run was begun with."),
    Column("holder", Text, comment="Process that carries it: host and pid."),
    Column("started_at", UtcTime, nullable=False, comment="When it was begun."),
    Column("finished_at", UtcTime, comment="When it ended."),
    Column("reasons", Json, nullable=False, comment="Why it was rejected, failed or cancelled."),
    Column("report", Json, comment="Figures of the run."),
    comment="One row for each consolidation.",
)
Index("uq_runs_running", runs.c.namespace_id, unique=True, sqlite_where=text("state = 'running'"),
      postgresql_where=text("state = 'running'"))

run_episodes = Table(
    "run_episodes", metadata,
    Column("run_id", ForeignKey("runs.id"), primary_key=True, comment="Run."),
    _episode(primary_key=True),
    _owner(),
    Column("revision", Integer, nullable=False, comment="Revision that is studied."),
    Column("part", String(16), nullable=False, comment="'new' or 'rehearsal'."),
    Index(None, "episode_pk"),
    comment="What a run selected.",
)

versions = Table(
    "versions", metadata,
    Column("id", String(64), primary_key=True, comment="Id; names the folder versions/<id>/."),
    _owner(),
    Column("state", String(16), nullable=False,
           comment="'candidate', 'active', 'retired', 'rejected' or 'tainted' (for good)."),
    Column("parent_id", String(64), comment="Version that it was trained from; NULL: from zero."),
    Column("run_id", String(64), comment="Run that made it."),
    Column("base", Text, nullable=False, comment="Fingerprint of the base model."),
    Column("created_at", UtcTime, nullable=False, comment="When it was made."),
    Column("promoted_at", UtcTime, comment="When it was last made active."),
    Column("retired_at", UtcTime, comment="When it stopped being served."),
    Column("scores", Json, nullable=False, comment="Scores of its examination."),
    Column("reasons", Json, nullable=False, comment="Why it was rejected or tainted."),
    CheckConstraint("state IN ('candidate', 'active', 'retired', 'rejected', 'tainted')", name="state"),
    Index(None, "namespace_id", "state"),
    comment="Adapters, their states and scores.",
)
Index("uq_versions_active", versions.c.namespace_id, unique=True, sqlite_where=text("state = 'active'"),
      postgresql_where=text("state = 'active'"))

version_episodes = Table(
    "version_episodes", metadata,
    Column("version_id", ForeignKey("versions.id"), primary_key=True, comment="Version."),
    Column("episode_id", String(64), primary_key=True, comment="episodes.id; stays when it is forgotten."),
    _owner(),
    Column("revision", Integer, nullable=False, comment="Revision that was learnt."),
    Column("part", String(8), nullable=False, comment="'learnt', or 'context' of what was."),
    Index(None, "namespace_id", "episode_id"),
    comment="The manifest: which episodes are in a version.",
)

study_items = Table(
    "study_items", metadata,
    Column("pk", Integer, primary_key=True, comment="Key."),
    _owner(),
    _episode(),
    Column("revision", Integer, nullable=False, comment="Revision that it was made from."),
    Column("run_id", String(64), nullable=False, comment="Run that made it."),
    Column("base", Text, nullable=False, comment="Fingerprint of the teacher."),
    Column("kind", String(8), nullable=False,
           comment="'draft' (unanswered), 'study' or 'exam' (never trained on)."),
    Column("answer_group", Integer, nullable=False, comment="Number of its group within the episode."),
    Column("question", Text, nullable=False, comment="Question."),
    Column("answer", Text, nullable=False, comment="The teacher's answer."),
    Column("origin", String(8), nullable=False,
           comment="'written' about the episode, 'turned' to ask it back, 'lent' by another episode, "
           "'wrapped' for the exam, or 'changed': an earlier episode's question that this one answers anew."),
    Column("known", Boolean, comment="The bare base answers it without the episode, so it is not trained."),
    Column("targets", LargeBinary, comment="Teacher's top-k log-probabilities, as safetensors."),
    Column("superseded_by", Integer,
           comment="study_items.pk whose answer replaces this one; 0: it was erased, this is asked again."),
    Index(None, "episode_pk", "kind"),
    Index(None, "namespace_id", "kind"),
    comment="Questions and answers made from episodes.",
)

study_context = Table(
    "study_context", metadata,
    Column("item_pk", Integer, primary_key=True, autoincrement=False, comment="study_items.pk."),
    _episode(primary_key=True),
    _owner(),
    Index(None, "episode_pk"),
    comment="Other episodes that the teacher saw when it answered an item; the item dies with any of them.",
)

exam_results = Table(
    "exam_results", metadata,
    Column("version_id", ForeignKey("versions.id"), primary_key=True, comment="Version that was examined."),
    Column("item_pk", Integer, primary_key=True, autoincrement=False, comment="study_items.pk."),
    _owner(),
    _episode(),
    Column("revision", Integer, nullable=False, comment="Revision of the episode that was asked about."),
    Column("correct", Boolean, nullable=False, comment="Answered as the teacher did, without the episode."),
    Column("covered", Boolean, nullable=False,
           comment="All groups of its questions are examined and, with the bundled reader, all "
           "sentences asked about; else the episode is not slow."),
    Index(None, "version_id", "episode_pk"),
    Index(None, "episode_pk"),
    comment="What a version answered closed-book; an episode is slow where all rows are correct and covered.",
)

# ---------------------------------------------------------------------- the worker

schedules = Table(
    "schedules", metadata,
    _owner(primary_key=True),
    Column("rule", Json, nullable=False, comment="When a consolidation is due."),
    Column("enabled", Boolean, nullable=False, comment="Whether it is followed."),
    Column("updated_at", UtcTime, nullable=False, comment="When it was set."),
    comment="When a namespace is consolidated.",
)

jobs = Table(
    "jobs", metadata,
    Column("pk", Integer, primary_key=True, comment="Key."),
    _owner(),
    Column("kind", String(32), nullable=False, comment="'consolidate'."),
    Column("state", String(16), nullable=False, comment="'due', 'running', 'done' or 'failed'."),
    Column("due_at", UtcTime, nullable=False, comment="Not before."),
    Column("attempts", Integer, nullable=False, server_default=text("0"), comment="Times that it was taken."),
    Column("holder", Text, comment="Process that has it."),
    Column("token", Integer, nullable=False, server_default=text("0"), comment="Fencing token; grows."),
    Column("lease_until", UtcTime, comment="Until when the holder has it."),
    Column("heartbeat_at", UtcTime, comment="Last sign of life."),
    Column("finished_at", UtcTime, comment="When it ended."),
    Column("error", Text, comment="Kind of the last failure."),
    Index(None, "state", "due_at"),
    comment="Work for the worker.",
)

store_items = Table(
    "store_items", metadata,
    _owner(primary_key=True),
    Column("prefix", Text, primary_key=True, comment="LangGraph namespace, joined."),
    Column("key", Text, primary_key=True, comment="LangGraph key."),
    Column("value", Json, nullable=False, comment="LangGraph value."),
    Column("vectors", LargeBinary, comment="One vector per indexed text, little-endian floats; NULL: none."),
    Column("vector_count", Integer, comment="How many vectors."),
    Column("embedder", Text, comment="Identity of the embedder that made them."),
    Column("ttl_minutes", Float, comment="Time to live, counted anew at each reading; NULL: for ever."),
    _episode(nullable=True),
    Column("created_at", UtcTime, nullable=False, comment="When it was put."),
    Column("updated_at", UtcTime, nullable=False, comment="When it was last put."),
    Column("expires_at", UtcTime, comment="When it ends."),
    Index(None, "episode_pk"),
    comment="Items of the LangGraph store.",
)
