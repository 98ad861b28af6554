"""The files of migrations, ``<id>.up.sql`` and ``<id>.down.sql``."""

from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

NO_TRANSACTION: Final = "-- no transaction\n"
"""First line of a file whose only statement cannot run inside a transaction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One step of the schema, and the step back.

    Attributes:
        migration_id: The name it is recorded under, for ever.
        up: Statements that make the step.
        down: Statements that take it back; only a comment where there is nothing to take back.
        is_transactional: The step and its record are one transaction; otherwise it may be left half done.
    """

    migration_id: str
    up: str
    down: str
    is_transactional: bool = True


def load_migrations(directory: Traversable | None = None) -> tuple[Migration, ...]:
    """Return all migrations of a directory, by default this one, in the order they are applied in."""
    directory = directory or files(__package__)
    names = [file.name for file in directory.iterdir()]
    migrations = []
    for migration_id in sorted(name.removesuffix(".up.sql") for name in names if name.endswith(".up.sql")):
        up = directory.joinpath(f"{migration_id}.up.sql").read_text(encoding="utf-8")
        migrations.append(
            Migration(
                migration_id=migration_id,
                up=up.removeprefix(NO_TRANSACTION),
                down=directory.joinpath(f"{migration_id}.down.sql").read_text(encoding="utf-8"),
                is_transactional=not up.startswith(NO_TRANSACTION),
            )
        )
    return tuple(sorted(migrations, key=lambda migration: migration_order(migration.migration_id)))


def migration_order(migration_id: str) -> tuple[int, str]:
    """Return a key that sorts ids by the number they begin with, then by the whole id."""
    digits = migration_id[: len(migration_id) - len(migration_id.lstrip("0123456789"))]
    return int(digits or 0), migration_id
