"""``doubts``: list writes whose outcome is not recorded, and settle those that were interrupted.

Works on the database and the nodes, as ``failover`` and ``remove-repository`` do: it must be possible while no Praefect
runs. What a running one has begun is not touched.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from praefect.cli.command import FORMAT, Command, CommandError, Flag, FlagKind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from praefect.cli.command import Invocation
    from praefect.cli.output import Output
    from praefect.config.praefect import PraefectConfig
    from praefect.control.doubts import DoubtSettler
    from praefect.datastore import Datastore


def run(invocation: Invocation) -> None:
    """List doubts or settle them."""
    import asyncio

    config = invocation.load_config()
    asyncio.run(_run(config, invocation.output, settles=invocation.switch("settle")))


async def _run(config: PraefectConfig, output: Output, *, settles: bool) -> None:
    from praefect.cli.database import open_records

    async with open_records(config, prefix="open database: sql open: ") as datastore:
        if not await datastore.own_schema.is_present():
            raise CommandError("doubts are not kept in this database; praefect check says why")
        if settles:
            await _settle(config, datastore, output)
        else:
            await _list(datastore, output)


async def _list(datastore: Datastore, output: Output) -> None:
    from praefect.domain.explanation import describe_doubt

    doubts = await datastore.doubts.list(only_lapsed=False)
    output.result["doubts"] = [
        {
            "virtual_storage": doubt.virtual_storage,
            "relative_path": doubt.relative_path,
            "repository_id": doubt.repository_id,
            "method": doubt.full_method,
            "opened_at": doubt.opened_at.isoformat() if doubt.opened_at is not None else None,
            "interrupted": doubt.is_lapsed,
        }
        for doubt in doubts
    ]
    for doubt in doubts:
        output.say(f"{doubt.virtual_storage} {doubt.relative_path}: {describe_doubt(doubt)}")
    lapsed = sum(doubt.is_lapsed for doubt in doubts)
    output.say(f"{len(doubts)} in doubt, {lapsed} of them interrupted.")


async def _settle(config: PraefectConfig, datastore: Datastore, output: Output) -> None:
    from praefect.control.doubts import Settled

    await datastore.doubts.bury_leases()
    lapsed = await datastore.doubts.list(only_lapsed=True)
    names = {doubt.repository_id: f"{doubt.virtual_storage} {doubt.relative_path}" for doubt in lapsed}
    left = 0
    output.result["repositories"] = []
    output.summary = lambda: "what was not settled is left as it was, and settled by a running praefect"
    async with _open_settler(config, datastore) as settler:
        for repository_id, name in names.items():
            output.show(f"settling {name}")
            result = await settler.settle(repository_id)
            left += result not in (Settled.SETTLED, Settled.NOTHING_TO_DO)
            output.append("repositories", {"repository_id": repository_id, "outcome": result.value})
            output.say(f"{name}: {result.value.replace('-', ' ')}")
    output.say(f"{len(names) - left} settled, {left} left.")
    if left:
        raise CommandError(f"{left} repositories could not be settled")


@asynccontextmanager
async def _open_settler(config: PraefectConfig, datastore: Datastore) -> AsyncIterator[DoubtSettler]:
    from praefect.cli.nodes import dial_nodes
    from praefect.control.doubts import DoubtSettler
    from praefect.control.lease import Lease
    from praefect.control.replica_states import ReplicaStates

    lease = Lease(schema=datastore.own_schema, records=datastore.doubts, praefect_name="praefect doubts")
    async with dial_nodes(config) as nodes:
        await lease.run_once()
        try:
            yield DoubtSettler(
                records=datastore.doubts, replicas=ReplicaStates(nodes=nodes), queue=datastore.queue, lease=lease
            )
        finally:
            await lease.release()


COMMAND = Command(
    name="doubts",
    summary="list writes that were interrupted, and settle them",
    description="Lists writes that have begun and whose outcome is not recorded. Those of a Praefect that has stopped\n"
    "are settled by the running ones within seconds; with -settle they are settled now: the replicas are\n"
    "compared, the state of most of them is kept, and the others are repaired. Exits with 1 if a repository\n"
    "could not be settled.\n\n"
    "Example: praefect -config praefect.config.toml doubts -settle",
    flags=(Flag(name="settle", kind=FlagKind.BOOL, text="settle what was interrupted"), FORMAT),
    run=run,
)
