"""From what a client calls a revision to an object id."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from praefect.node.git.catfile import GitObject, ObjectReader


async def resolve(reader: ObjectReader, revision: bytes) -> str | None:
    """Return the id of the object that ``revision`` names, ``None`` if there is none."""
    info = await reader.info(revision)
    return info.oid if info is not None else None


async def resolve_commit(reader: ObjectReader, revision: bytes) -> str | None:
    """Return the id of the commit that ``revision`` leads to, ``None`` if it leads to none."""
    return await resolve(reader, revision + b"^{commit}")


async def read_commit(reader: ObjectReader, revision: bytes) -> GitObject | None:
    """Return the commit that ``revision`` leads to, ``None`` if it leads to none."""
    return await reader.read(revision + b"^{commit}")
