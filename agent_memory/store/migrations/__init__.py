"""The schema's history, applied by Alembic; imported only when a database is not at head.

Each revision is numbered, frozen once released, and recorded in the table `agent_memory_version`. The
caller holds the lock and the transaction (BEGIN IMMEDIATE, or an advisory lock on PostgreSQL): a migration
happens once and whole, however many processes open at the same time. Alembic's logging configuration is
never touched.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

VERSION_TABLE = "agent_memory_version"


def configuration(connection: Connection | None = None) -> Config:
    """Alembic's settings for this folder, on an open connection."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def upgrade(connection: Connection) -> None:
    """Brings the schema to head within the caller's transaction; does nothing where it is there."""
    command.upgrade(configuration(connection), "head")
