"""Migrations of the schema: a pair of files each, and what plans and applies them.

The names of the files, the table ``schema_migrations`` and every object in the database are shared with others.
A row that another Praefect does not know fails its checks: nothing may ever be added to that table that is not theirs.
"""

from praefect.datastore.migrations.engine import (
    Differences,
    MigrationError,
    MigrationStatus,
    Migrator,
    UnknownMigrationError,
)
from praefect.datastore.migrations.files import Migration, load_migrations

__all__ = [
    "Differences",
    "Migration",
    "MigrationError",
    "MigrationStatus",
    "Migrator",
    "UnknownMigrationError",
    "load_migrations",
]
