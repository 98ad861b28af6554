"""What there is, for whoever named something that there is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from praefect.config.quoting import quote

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from praefect.config.praefect import PraefectConfig
    from praefect.datastore import Datastore

LISTED = 10
"""How many names of repositories are listed at most."""
_LOOK_SECONDS = 5.0


def known_virtual_storages(config: PraefectConfig, name: str) -> list[str]:
    """List the virtual storages; nothing if the name is one of them."""
    names = [virtual.name for virtual in config.virtual_storages]
    return [] if name in names else [f"known virtual storages: {_listed(names)}"]


def known_storages(config: PraefectConfig, virtual_storage: str, name: str) -> list[str]:
    """List the storages of a virtual storage, or the virtual storages; nothing if both names are right."""
    for virtual in config.virtual_storages:
        if virtual.name == virtual_storage:
            names = [node.storage for node in virtual.nodes]
            return [] if name in names else [f"known storages of {quote(virtual_storage)}: {_listed(names)}"]
    return known_virtual_storages(config, virtual_storage)


async def known_repositories(
    config: PraefectConfig, virtual_storage: str, relative_path: str, datastore: Datastore | None = None
) -> list[str]:
    """List repositories whose paths are like the one named, or the virtual storages if there is no such one.

    Returns:
        Nothing if the repository exists, or if the database cannot be asked.
    """
    import asyncio

    from praefect.cli.command import CommandError
    from praefect.cli.database import open_records
    from praefect.domain.errors import PraefectError

    if unknown := known_virtual_storages(config, virtual_storage):
        return unknown
    try:
        async with asyncio.timeout(_LOOK_SECONDS):
            if datastore is not None:
                return await _like(datastore, virtual_storage, relative_path)
            async with open_records(config, prefix="") as opened:
                return await _like(opened, virtual_storage, relative_path)
    except (CommandError, PraefectError, TimeoutError):
        return []


async def _like(datastore: Datastore, virtual_storage: str, relative_path: str) -> list[str]:
    from difflib import get_close_matches

    from praefect.datastore.failover import PAGE
    from praefect.domain.repository import RelativePath, VirtualStorage

    name = VirtualStorage(virtual_storage)
    if relative_path and await datastore.repositories.repository_exists(name, RelativePath(relative_path)):
        return []
    paths: list[str] = []
    async for state in datastore.failover.list_states(name):
        paths.append(state.relative_path)
        if len(paths) == PAGE:
            break
    if not paths:
        return [f"{quote(virtual_storage)} has no repositories"]
    chosen = get_close_matches(relative_path, paths, n=LISTED, cutoff=0.8) or paths[:LISTED]
    more = ", …" if len(paths) > len(chosen) else ""
    return [f"known repositories of {quote(virtual_storage)}: {_listed(chosen)}{more}"]


def _listed(names: Sequence[str] | Iterable[str]) -> str:
    return ", ".join(map(quote, names))
