"""Disks that are not what the database believes: found by verification, repaired by a majority, read-only in a tie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import pytest

from praefect.control.compare import Compared
from praefect.control.verify import Verifier
from praefect.domain.comparison import RepositoryReadOnlyError
from praefect.domain.doubts import Doubt, Incarnation
from praefect.domain.explanation import RepositoryFacts, explain
from praefect.domain.repository import RelativePath, Storage
from praefect.observability.log import capture
from praefect.proto import praefect_pb2, ref_pb2, repository_pb2
from praefect.services.probes import ReplicaProbe
from praefect.transport.grpc.status import StatusCode
from tests.support.scripted_cluster import ALL, G1, G2, G3, VS, Cluster, Repository
from tests.support.scripted_node import NodeCall, answering, failing

READ = "/gitaly.RefService/FindLocalBranches"
WRITE = "/gitaly.RepositoryService/WriteRef"
GONE = "gone"
TIE = {G1: "a", G2: "b", G3: "c"}


@pytest.fixture(autouse=True)
def at_once(cluster: Cluster) -> None:
    """Differences need not last, and no loop looks at them by itself."""
    cluster.parts.doubts.comparer.confirm_seconds = 0.0


def holds(cluster: Cluster, states: Mapping[Storage, str]) -> None:
    for storage, state in states.items():
        node = cluster.nodes[storage]
        exists = repository_pb2.RepositoryExistsResponse(exists=state != GONE)
        node.on("RepositoryExists", answering(exists))
        if state == GONE:
            node.on("CalculateChecksum", failing(StatusCode.NOT_FOUND, "repository not found"))
        else:
            node.on("CalculateChecksum", answering(repository_pb2.CalculateChecksumResponse(checksum=state)))


async def verify(cluster: Cluster, *, delete_invalid: bool = False) -> None:
    await cluster.rows.run("UPDATE storage_repositories SET verified_at = NULL")
    comparer = cluster.parts.doubts.comparer
    verifier = Verifier(
        nodes=cluster.parts.layouts,
        health=cluster.parts.health,
        records=cluster.parts.datastore.verification,
        probe=ReplicaProbe(cluster.parts.nodes),
        interval=timedelta(days=7),
        delete_invalid=delete_invalid,
        compare=comparer.compare_all,
    )
    await verifier.run_once()


async def compare(cluster: Cluster, repository: Repository) -> Compared:
    return await cluster.parts.doubts.comparer.compare(repository.id)


async def read_only(cluster: Cluster) -> int:
    [[count]] = await cluster.rows.run("SELECT count(*) FROM praefect_own.disagreements")
    return int(str(count))


def write_request(repository: Repository) -> repository_pb2.WriteRefRequest:
    return repository_pb2.WriteRefRequest(repository=repository.message, ref=b"refs/heads/main", revision=b"1" * 40)


# --- who is replaced ---


@pytest.mark.parametrize(
    ("states", "behind"),
    [
        ({G1: "a", G2: "b", G3: "b"}, {G1}),
        ({G1: "a", G2: "a", G3: GONE}, {G3}),
        ({G1: GONE, G2: GONE, G3: "a"}, {G1, G2}),
        ({G1: GONE, G2: GONE, G3: GONE}, set()),
    ],
    ids=["primary", "wiped", "one copy left", "nobody left"],
)
async def test_a_majority_replaces_the_others(
    cluster: Cluster, states: Mapping[Storage, str], behind: set[Storage]
) -> None:
    repository = await cluster.repository()
    holds(cluster, states)
    await verify(cluster)
    raised = int(bool(behind))
    expected = {"": raised} | {storage: 0 if storage in behind else raised for storage in ALL}
    assert await cluster.generations(repository) == expected
    jobs = await cluster.jobs()
    assert {target for _, target, _ in jobs} == behind
    assert all(source not in behind for source, _, _ in jobs)
    assert await read_only(cluster) == 0


async def test_wiped_replica_is_copied_also_if_its_record_is_deleted(cluster: Cluster) -> None:
    repository = await cluster.repository()
    holds(cluster, {G1: "a", G2: "a", G3: GONE})
    await verify(cluster, delete_invalid=True)
    assert G3 not in await cluster.generations(repository)
    assert [(target, change) for _, target, change in await cluster.jobs()] == [(G3, "update")]


async def test_replica_that_cannot_be_asked_is_not_left_behind(cluster: Cluster) -> None:
    repository = await cluster.repository()
    holds(cluster, {G1: "a", G2: GONE, G3: "a"})
    await cluster.lose(G3)
    assert await compare(cluster, repository) is Compared.OVERRULED
    assert await cluster.generations(repository) == {"": 1, G1: 1, G2: 0, G3: 1}


async def test_replica_that_is_behind_anyway_has_no_say(cluster: Cluster) -> None:
    repository = await cluster.repository(generation=1, replicas={G1: 1, G2: 1, G3: 0})
    holds(cluster, {G1: "a", G2: "a", G3: "b"})
    assert await compare(cluster, repository) is Compared.EQUAL
    assert cluster.nodes[G3].called("CalculateChecksum") == []


# --- what prevents it ---


async def test_nobody_is_overruled_while_a_write_is_in_doubt(cluster: Cluster) -> None:
    repository = await cluster.repository()
    holds(cluster, {G1: "a", G2: "a", G3: "b"})
    doubt = Doubt(
        incarnation=Incarnation(""),
        number=0,
        repository_id=repository.id,
        virtual_storage=VS,
        relative_path=RelativePath("a.git"),
        replica_path=repository.replica_path,
        full_method=WRITE,
        creates=False,
    )
    store = cluster.parts.datastore.comparisons
    found = await store.read(repository.id)
    assert found is not None
    opened = await cluster.parts.doubts.open(doubt)
    assert opened is not None
    # Also if it was opened during the comparison.
    assert not await store.overrule(found.current, {G1, G2})
    assert await store.disagree(found.current) is None
    await verify(cluster)
    assert await cluster.generations(repository) == {"": 0} | dict.fromkeys(ALL, 0)
    # It stays due, so that it is looked at again soon.
    assert await cluster.rows.run("SELECT FROM storage_repositories WHERE verified_at IS NOT NULL") == []
    assert await cluster.rows.run("SELECT FROM storage_repositories WHERE verification_leased_until IS NOT NULL") == []
    cluster.parts.doubts.close(opened)
    await cluster.parts.doubts.lease.run_once()
    await verify(cluster)
    assert await cluster.generations(repository) == {"": 1, G1: 1, G2: 1, G3: 0}


async def test_a_write_that_was_recorded_meanwhile_prevents_it(cluster: Cluster) -> None:
    repository = await cluster.repository()
    store = cluster.parts.datastore.comparisons
    found = await store.read(repository.id)
    assert found is not None
    await cluster.parts.datastore.repositories.increment_generation(repository.id, G1, [G2])
    assert not await store.overrule(found.current, {G2, G3})
    assert await store.disagree(found.current) is None
    assert not await store.overrule(replace(found.current, generation=1), {G1, G2})  # not the same replicas
    assert await cluster.generations(repository) == {"": 1, G1: 1, G2: 1, G3: 0}


async def test_a_difference_that_does_not_last_is_none(cluster: Cluster) -> None:
    repository = await cluster.repository()
    holds(cluster, {G1: "a", G2: "b", G3: "b"})

    async def first_old_then_new(call: NodeCall) -> None:
        first = len(cluster.nodes[G1].called("CalculateChecksum")) == 1
        await call.answer(repository_pb2.CalculateChecksumResponse(checksum="a" if first else "b"))

    cluster.nodes[G1].on("CalculateChecksum", first_old_then_new)
    assert await compare(cluster, repository) is Compared.EQUAL
    assert await cluster.generations(repository) == {"": 0} | dict.fromkeys(ALL, 0)


async def test_nothing_is_compared_without_our_schema(cluster: Cluster) -> None:
    repository = await cluster.repository()
    holds(cluster, {G1: "a", G2: "a", G3: "b"})
    cluster.parts.doubts.lease.is_off = True
    try:
        assert await compare(cluster, repository) is Compared.UNKNOWN
    finally:
        cluster.parts.doubts.lease.is_off = False
    assert cluster.nodes[G1].called("CalculateChecksum") == []


# --- a tie ---


async def test_in_a_tie_nothing_is_overwritten_and_writes_are_refused(cluster: Cluster) -> None:
    repository = await cluster.repository()
    holds(cluster, TIE)
    with capture() as lines:
        await verify(cluster)
    assert await cluster.generations(repository) == {"": 0} | dict.fromkeys(ALL, 0)
    assert await cluster.jobs() == []
    [line] = [line for line in lines if "read-only" in str(line["msg"])]
    assert (line["relative_path"], line["alike"]) == ("a.git", [[G1], [G2], [G3]])
    assert "accept-dataloss" in str(line["command"])

    cluster.parts.doubts.comparer._read_only.clear()  # as in a process that has not found it
    status = await cluster.status(WRITE, write_request(repository))
    assert status.code is StatusCode.FAILED_PRECONDITION
    assert status.message == (
        "repository is read-only: its replicas differ, none of them has a majority, and Praefect overwrites none; "
        "choose one of gitaly-1, gitaly-2, gitaly-3 with: praefect accept-dataloss -virtual-storage default "
        "-relative-path a.git -authoritative-storage STORAGE"
    )
    assert all(node.called("WriteRef") == [] for node in cluster.nodes.values())
    read = ref_pb2.FindLocalBranchesRequest(repository=repository.message)
    assert (await cluster.status(READ, read)).ok
    await cluster.parts.doubts.comparer.run_once()
    with pytest.raises(RepositoryReadOnlyError):
        await cluster.parts.doubts.comparer.check_writable(VS, RelativePath("a.git"))
    # It is said once.
    with capture() as lines:
        await verify(cluster)
    assert [line for line in lines if "read-only" in str(line["msg"])] == []


async def test_it_is_named_in_dataloss_and_explained(cluster: Cluster) -> None:
    repository = await cluster.repository()
    await cluster.repository("b.git")
    holds(cluster, TIE)
    assert await compare(cluster, repository) is Compared.TIED
    for partially in (False, True):
        request = praefect_pb2.DatalossRequest(virtual_storage=VS, include_partially_replicated=partially)
        [found] = [
            each
            async for response in cluster.client.server_stream(
                "/gitaly.PraefectInfoService/Dataloss", request, praefect_pb2.DatalossResponse
            )
            for each in response.repositories
        ]
        assert (found.relative_path, found.unavailable) == ("a.git", False)
        assert not any(storage.valid_primary for storage in found.storages)
    datastore = cluster.parts.datastore
    facts = RepositoryFacts(
        metadata=await datastore.repositories.get_metadata(repository.id),
        doubts=(),
        jobs=(),
        disagreement=await datastore.comparisons.find(repository.id),
    )
    text = "\n".join(explain(facts))
    assert "Readable: yes" in text
    assert "Writable: no, its replicas on gitaly-1, gitaly-2, gitaly-3 differ since " in text
    assert "-relative-path a.git -authoritative-storage STORAGE" in text


async def test_the_operator_decides(cluster: Cluster) -> None:
    repository = await cluster.repository()
    holds(cluster, TIE)
    assert await compare(cluster, repository) is Compared.TIED
    await cluster.call(
        "/gitaly.PraefectInfoService/SetAuthoritativeStorage",
        praefect_pb2.SetAuthoritativeStorageRequest(
            virtual_storage=VS, relative_path="a.git", authoritative_storage=G2
        ),
    )
    assert await compare(cluster, repository) is Compared.EQUAL
    assert await read_only(cluster) == 0
    assert (await cluster.status(WRITE, write_request(repository))).ok
    assert await cluster.generations(repository) == {"": 2, G1: 0, G2: 2, G3: 0}


async def test_a_witness_that_returns_decides(cluster: Cluster) -> None:
    repository = await cluster.repository()
    holds(cluster, {G1: "a", G2: "b", G3: "b"})
    await cluster.lose(G3)
    assert await compare(cluster, repository) is Compared.TIED
    await cluster.find(G3)
    await cluster.rows.run("UPDATE praefect_own.disagreements SET looked_at = now() - interval '1 minute'")
    assert await cluster.parts.doubts.comparer.run_once() == {repository.id: Compared.OVERRULED}
    assert await cluster.generations(repository) == {"": 1, G1: 0, G2: 1, G3: 1}
    assert await read_only(cluster) == 0


async def test_a_copy_made_after_the_tie_is_no_witness(cluster: Cluster) -> None:
    repository = await cluster.repository(generation=1, replicas={G1: 1, G2: 1, G3: 0})
    holds(cluster, {G1: "a", G2: "b", G3: "a"})
    assert await compare(cluster, repository) is Compared.TIED
    await cluster.parts.datastore.repositories.set_generation(repository.id, G3, RelativePath("a.git"), 1)
    assert await compare(cluster, repository) is Compared.TIED
    assert await cluster.generations(repository) == {"": 1} | dict.fromkeys(ALL, 1)


async def test_removed_repository_is_forgotten(cluster: Cluster) -> None:
    repository = await cluster.repository()
    holds(cluster, TIE)
    assert await compare(cluster, repository) is Compared.TIED
    await cluster.parts.datastore.repositories.delete_repository(VS, RelativePath("a.git"))
    assert await compare(cluster, repository) is Compared.UNKNOWN
    assert await read_only(cluster) == 0
