"""``explain``: say whether a repository can be read and written now, why not, and what helps.

Works on the database alone, so that it answers also where the Praefect on this host does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from praefect.cli.command import FORMAT, Command, CommandError, Flag

if TYPE_CHECKING:
    from praefect.cli.command import Invocation
    from praefect.cli.output import Output
    from praefect.config.praefect import PraefectConfig
    from praefect.datastore import Datastore
    from praefect.domain.explanation import RepositoryFacts
    from praefect.domain.repository import RelativePath, VirtualStorage


def run(invocation: Invocation) -> None:
    """Explain one repository."""
    import asyncio

    from praefect.domain.repository import RelativePath

    config = invocation.load_config()
    name = _virtual_storage(config, invocation.text("virtual-storage"))
    asyncio.run(_run(config, name, RelativePath(invocation.text("repository")), invocation.output))


async def _run(
    config: PraefectConfig, virtual_storage: VirtualStorage, relative_path: RelativePath, output: Output
) -> None:
    from praefect.cli.database import open_records
    from praefect.cli.known import known_repositories
    from praefect.domain.explanation import explain
    from praefect.domain.repository import RepositoryNotFoundError

    async with open_records(config, prefix="open database: sql open: ") as datastore:
        try:
            facts = await _gather(datastore, virtual_storage, relative_path)
        except RepositoryNotFoundError as exc:
            hints = await known_repositories(config, virtual_storage, relative_path, datastore)
            raise CommandError(str(exc), hints=hints) from exc
    lines = list(explain(facts))
    output.result["explanation"] = lines
    output.say("\n".join(lines))


async def _gather(
    datastore: Datastore, virtual_storage: VirtualStorage, relative_path: RelativePath
) -> RepositoryFacts:
    from praefect.domain.explanation import RepositoryFacts

    metadata = await datastore.repositories.get_metadata_by_path(virtual_storage, relative_path)
    are_kept = await datastore.own_schema.is_present()
    return RepositoryFacts(
        metadata=metadata,
        doubts=await datastore.doubts.list_of(metadata.repository_id) if are_kept else None,
        jobs=await datastore.queue.list_of_repository(virtual_storage, relative_path),
        disagreement=await datastore.comparisons.find(metadata.repository_id) if are_kept else None,
    )


def _virtual_storage(config: PraefectConfig, name: str) -> VirtualStorage:
    from praefect.cli.known import known_virtual_storages
    from praefect.config.quoting import quote
    from praefect.domain.repository import VirtualStorage

    names = [virtual.name for virtual in config.virtual_storages]
    if not name and len(names) == 1:
        return VirtualStorage(names[0])
    if not name:
        raise CommandError(f"give -virtual-storage, one of {', '.join(map(quote, names))}")
    if name not in names:
        raise CommandError(f"virtual storage {quote(name)} not found", hints=known_virtual_storages(config, name))
    return VirtualStorage(name)


COMMAND = Command(
    name="explain",
    summary="explain whether a repository can be read and written, and why not",
    description="Says of one repository whether it can be read and written now and if not, why; which replicas are\n"
    "behind and what is queued for them; which writes are in doubt; and which command helps.\n\n"
    "Example: praefect -config praefect.config.toml explain -repository @hashed/aa/bb/cc.git",
    flags=(
        Flag(name="repository", text="relative path of the repository", required=True),
        Flag(name="virtual-storage", text="its virtual storage; may be left out where there is only one"),
        FORMAT,
    ),
    run=run,
)
