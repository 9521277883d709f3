"""The schema: what a migration makes is what the tables say."""

from __future__ import annotations

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from agent_memory.store.database import HEAD
from agent_memory.store.migrations import VERSION_TABLE, configuration
from agent_memory.store.tables import metadata
from agent_memory.store.views import VIEWS
from tests.store_places import Place


def test_a_migrated_schema_equals_the_tables(place: Place) -> None:
    database = place.database()
    with database.read() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": VERSION_TABLE, "compare_server_default": database.is_sqlite}
        )
        assert compare_metadata(context, metadata) == []
    database.close()


def test_every_view_is_there_and_answers(place: Place) -> None:
    database = place.database()
    with database.read() as connection:
        assert set(inspect(connection).get_view_names()) == set(VIEWS)
        for name in VIEWS:
            assert connection.execute(text(f"SELECT * FROM {name}")).all() == []
    database.close()


def test_on_postgresql_everything_lies_in_one_schema(place: Place) -> None:
    if place.url is None:
        return
    database = place.database()
    with database.read() as connection:
        found = connection.execute(text(
            "SELECT DISTINCT table_schema FROM information_schema.tables WHERE table_schema NOT IN "
            "('pg_catalog', 'information_schema')"
        )).scalars().all()  # fmt: skip
    assert found == ["agent_memory"]
    database.close()


def test_the_newest_revision_is_the_one_that_the_code_expects() -> None:
    revisions = ScriptDirectory.from_config(configuration())
    assert revisions.get_heads() == [HEAD]
    assert len({one.revision for one in revisions.walk_revisions()}) == len(list(revisions.walk_revisions()))


def test_every_table_and_column_is_documented() -> None:
    for table in metadata.tables.values():
        assert table.comment, table.name
        for column in table.columns:
            assert column.comment, f"{table.name}.{column.name}"
