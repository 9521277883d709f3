"""The first schema."""

from __future__ import annotations

from alembic import op

from agent_memory.store.tables import metadata
from agent_memory.store.views import VIEWS

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes all tables and views."""
    metadata.create_all(op.get_bind())
    for name, query in VIEWS.items():
        op.execute(f"CREATE VIEW {name} AS {query}")
    op.execute("INSERT INTO counters (name, value) VALUES ('episodes', 0)")
