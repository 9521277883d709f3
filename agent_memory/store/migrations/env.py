"""Run by Alembic: applies the revisions on the connection that it is handed."""

from alembic import context

from agent_memory.store.migrations import VERSION_TABLE
from agent_memory.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
)
with context.begin_transaction():
    context.run_migrations()
