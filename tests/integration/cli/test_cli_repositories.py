"""The commands that look at disks and records: untracked repositories, tracking, removal, pools."""

from __future__ import annotations

import asyncio
import json

import pytest

from praefect.proto import internal_pb2
from tests.support.eventually import eventually
from tests.support.postgres import Rows
from tests.support.praefect_cli import (
    KNOWN_STORAGES,
    KNOWN_VIRTUAL_STORAGES,
    LONG_AGO,
    NO_REPOSITORIES,
    Installation,
    Result,
    recently,
)

PATH = "@hashed/aa/bb/cc.git"
TRACK = ["-virtual-storage", "default", "-relative-path", PATH, "-replica-path", "disk/path"]
ATTEMPT = "attempting to track repository in praefect database: "


def names(installation: Installation, storage: str) -> list[tuple[str, str]]:
    return installation.nodes[storage].calls


async def jobs(connection: Rows) -> list[tuple[object, ...]]:
    return await connection.run(
        "SELECT job->>'change', job->>'source_node_storage', job->>'target_node_storage', job->>'relative_path' "
        "FROM replication_queue ORDER BY id"
    )


async def replicas(connection: Rows) -> list[tuple[object, ...]]:
    return await connection.run("SELECT storage, generation FROM storage_repositories ORDER BY storage")


# --- list-untracked-repositories ---

HEADING = "The following repositories were found on disk, but missing from the tracking database:\n"


def hit(path: str, storage: str = "gitaly-1") -> str:
    return f'{{"relative_path":"{path}","storage":"{storage}","virtual_storage":"default"}}'


async def test_everything_is_tracked(nodes: Installation) -> None:
    assert await nodes("list-untracked-repositories") == Result(0, "", "")
    assert names(nodes, "gitaly-1") == [("WalkRepos", "list-untracked-repositories")]


async def test_old_repositories_without_record_are_listed(nodes: Installation, connection: Rows) -> None:
    nodes.nodes["gitaly-1"].repositories = {
        "known": LONG_AGO,
        **{f"lost/{number}": LONG_AGO for number in range(20)},
        "young": recently(),
        "a<b>&c": LONG_AGO,
    }
    nodes.nodes["gitaly-2"].repositories = {"known": LONG_AGO}
    await connection.run(
        "WITH r AS (INSERT INTO repositories (virtual_storage, relative_path, generation, replica_path) "
        "VALUES ('default', 'client', 0, 'known') RETURNING repository_id) "
        "INSERT INTO storage_repositories (virtual_storage, relative_path, storage, generation, repository_id) "
        "SELECT 'default', 'client', 'gitaly-1', 0, repository_id FROM r"
    )
    expected = [
        *(hit(f"lost/{number}") for number in range(20)),
        hit("a\\u003cb\\u003e\\u0026c"),
        hit("known", "gitaly-2"),
    ]
    result = await nodes("list-untracked-repositories")
    assert result.ok() == HEADING + "".join(f"{line}\n" for line in expected)
    result = await nodes("list-untracked-repositories", "-delimiter", ",", "-older-than", "1s")
    assert result.ok() == HEADING + "".join(f"{line}," for line in [*expected[:20], hit("young"), *expected[20:]])


async def test_a_node_that_does_not_know_us(nodes: Installation) -> None:
    nodes.path.write_text(nodes.path.read_text().replace("internal-secret", "wrong"))
    reason = "rpc error: code = PermissionDenied desc = permission denied: wrong hmac signature"
    expected = f'exec on "default"/"gitaly-1": failure on walking repos: {reason}\n'
    assert await nodes("list-untracked-repositories") == Result(1, "", expected)


async def test_an_address_that_nobody_understands(nodes: Installation) -> None:
    address = nodes.addresses["gitaly-2"]
    nodes.path.write_text(nodes.path.read_text().replace(address, "gitaly-2:1"))
    result = await nodes("list-untracked-repositories")
    assert result.stderr.startswith('dial nodes: dial with "gitaly-2" gitaly at "gitaly-2:1"')


# --- track-repository ---


async def test_tracking_queues_copies(nodes: Installation, connection: Rows) -> None:
    nodes.nodes["gitaly-2"].repositories["disk/path"] = LONG_AGO
    result = await nodes("track-repository", *TRACK, "-authoritative-storage", "gitaly-2")
    assert result.ok() == (
        "Finished adding new repository to be tracked in praefect database.\n"
        'Added replication job to replicate repository to "gitaly-1".\n'
        'Added replication job to replicate repository to "gitaly-3".\n'
    )
    assert names(nodes, "gitaly-2") == [("RepositoryExists", "track-repository")]
    assert await connection.run('SELECT replica_path, "primary", generation::int FROM repositories') == [
        ("disk/path", "gitaly-2", 0)
    ]
    assert await replicas(connection) == [("gitaly-2", 0)]
    assert await jobs(connection) == [
        ("update", "gitaly-2", "gitaly-1", PATH),
        ("update", "gitaly-2", "gitaly-3", PATH),
    ]
    again = await nodes("track-repository", *TRACK, "-authoritative-storage", "gitaly-2")
    assert again.ok() == (
        "repository is already tracked in praefect database\n"
        "Finished adding new repository to be tracked in praefect database.\n"
        f'replication event queue already has similar entry: replication event "" -> "default" -> "gitaly-1" -> '
        f'"{PATH}" already exists.\n'
    )


async def test_tracking_copies_at_once(nodes: Installation, connection: Rows) -> None:
    nodes.nodes["gitaly-1"].repositories["disk/path"] = LONG_AGO
    words = [*TRACK, "-authoritative-storage", "gitaly-1", "-replicate-immediately"]
    assert (await nodes("track-repository", *words)).ok() == (
        "Finished adding new repository to be tracked in praefect database.\n"
        'Finished replicating repository to "gitaly-2".\n'
        'Finished replicating repository to "gitaly-3".\n'
    )
    assert "disk/path" in nodes.nodes["gitaly-3"].repositories
    assert await replicas(connection) == [("gitaly-1", 0), ("gitaly-2", 0), ("gitaly-3", 0)]
    assert await jobs(connection) == []


async def test_tracking_heeds_the_replication_factor(nodes: Installation, connection: Rows) -> None:
    name = 'name = "default"'
    nodes.path.write_text(nodes.path.read_text().replace(name, f"{name}\ndefault_replication_factor = 2"))
    nodes.nodes["gitaly-3"].repositories["disk/path"] = LONG_AGO
    await nodes("track-repository", *TRACK, "-authoritative-storage", "gitaly-3")
    assigned = await connection.run("SELECT storage FROM repository_assignments ORDER BY storage")
    assert len(assigned) == 2
    assert ("gitaly-3",) in assigned
    assert len(await jobs(connection)) == 1


@pytest.mark.parametrize(
    ("words", "reason", "hint"),
    [
        ([*TRACK, "-authoritative-storage", "gitaly-1"], "authoritative repository does not exist", ""),
        ([*TRACK, "-authoritative-storage", "s"], 'node "s" not found', KNOWN_STORAGES),
        (
            [*TRACK, "-virtual-storage", "v", "-authoritative-storage", "gitaly-1"],
            'virtual storage "v" not found',
            KNOWN_VIRTUAL_STORAGES,
        ),
    ],
)
async def test_what_cannot_be_tracked(
    nodes: Installation, connection: Rows, words: list[str], reason: str, hint: str
) -> None:
    assert await nodes("track-repository", *words) == Result(1, "", f"{ATTEMPT}{reason}\n{hint}")
    assert await connection.run("SELECT * FROM repositories") == []


async def test_a_node_that_does_not_answer_when_asked_for_the_repository(nodes: Installation) -> None:
    nodes.path.write_text(nodes.path.read_text().replace("internal-secret", "wrong"))
    result = await nodes("track-repository", *TRACK, "-authoritative-storage", "gitaly-1")
    assert result == Result(
        1,
        'checking if repository exists "gitaly-1", "disk/path"\n',
        f"{ATTEMPT}authoritative repository does not exist\n",
    )


# --- track-repositories ---


def line(path: str, **changes: str) -> str:
    entry = {
        "relative_path": path,
        "replica_path": f"disk/{path}",
        "virtual_storage": "default",
        "authoritative_storage": "gitaly-1",
    }
    return json.dumps({**entry, **changes})


async def test_tracking_many(nodes: Installation, connection: Rows) -> None:
    nodes.nodes["gitaly-1"].repositories |= {"disk/a": LONG_AGO, "disk/b": LONG_AGO}
    file = nodes.path.with_name("input")
    file.write_text(f"{line('a')}\n{line('b')}\n")
    queued = "".join(f'Added replication job to replicate repository to "gitaly-{n}".\n' for n in (2, 3))
    added = f"Finished adding new repository to be tracked in praefect database.\n{queued}"
    assert (await nodes("track-repositories", "-input-path", str(file))).ok() == (
        f'Validating repository information in "{file}"\n'
        "All repository details are correctly formatted\n"
        "Tracking 2 repositories in Praefect DB...\n" + added + added
    )
    assert len(await jobs(connection)) == 4


async def test_nothing_is_tracked_unless_all_can_be(nodes: Installation, connection: Rows) -> None:
    nodes.nodes["gitaly-1"].repositories |= {"disk/a": LONG_AGO}
    await connection.run(
        "INSERT INTO repositories (virtual_storage, relative_path, generation, replica_path) "
        "VALUES ('default', 'known', 0, 'known')"
    )
    file = nodes.path.with_name("input")
    lines = [
        line("a"),
        line("known"),
        line("a"),
        line("gone"),
        line("v", virtual_storage="v"),
        line("s", authoritative_storage="s"),
        line("r", replica_path=""),
        "nope",
    ]
    file.write_text("\n".join(lines))
    result = await nodes("track-repositories", "-input-path", str(file))
    assert result == Result(
        1,
        f'Validating repository information in "{file}"\n'
        f'Found 7 invalid request(s) in "{file}":\n'
        '  line 2, relative_path: "known", replica_path: "disk/known"\n'
        "    repository is already tracked by Praefect\n"
        '  line 3, relative_path: "a", replica_path: "disk/a"\n'
        "    duplicate entries for relative_path, line [1 3]\n"
        '  line 4, relative_path: "gone", replica_path: "disk/gone"\n'
        "    not a valid git repository\n"
        '  line 5, relative_path: "v", replica_path: "disk/v"\n'
        '    checking repository on disk: virtual storage "v" not found\n'
        '  line 6, relative_path: "s", replica_path: "disk/s"\n'
        '    checking repository on disk: node "s" not found\n'
        '  line 7, relative_path: "r", replica_path: ""\n'
        '    "replica-path" is a required parameter\n'
        '  line 8, relative_path: "", replica_path: ""\n'
        "    invalid character 'o' in literal null (expecting 'u')\n",
        f"invalid entries found, aborting\n{KNOWN_VIRTUAL_STORAGES}{KNOWN_STORAGES}",
    )
    assert await jobs(connection) == []


async def test_files_without_entries(nodes: Installation) -> None:
    missing = nodes.path.with_name("none")
    expected = f"open input: open {missing}: no such file or directory\n"
    assert await nodes("track-repositories", "-input-path", str(missing)) == Result(1, "", expected)
    empty = nodes.path.with_name("empty")
    empty.write_text("")
    for path in (empty, nodes.path.parent):
        result = await nodes("track-repositories", "-input-path", str(path))
        assert result == Result(
            1,
            f'Validating repository information in "{path}"\n',
            f'no repository information found in "{path}"\n',
        )


# --- remove-repository ---

REMOVE = ["remove-repository", "-virtual-storage", "default", "-relative-path", PATH]


async def test_removing_shows_what_it_would_do(nodes: Installation, connection: Rows) -> None:
    untracked = "repository is not being tracked in Praefect\n"
    assert await nodes(*REMOVE) == Result(1, "", untracked + NO_REPOSITORIES)
    elsewhere = await nodes(*REMOVE, "-apply", "-db-only", "-virtual-storage", "x")
    assert elsewhere == Result(1, "", untracked + KNOWN_VIRTUAL_STORAGES)
    nodes.nodes["gitaly-1"].repositories["disk/path"] = LONG_AGO
    (await nodes("track-repository", *TRACK, "-authoritative-storage", "gitaly-1")).ok()
    found = (
        "Repository found in the database.\nRe-run the command with -apply to remove repositories from the database "
        "and disk or -apply and -db-only to remove from database only.\n"
    )
    assert (await nodes(*REMOVE)).ok() == found
    assert (await nodes(*REMOVE, "-db-only")).ok() == found
    assert len(await replicas(connection)) == 1


async def test_removing_records_only(nodes: Installation, connection: Rows) -> None:
    nodes.nodes["gitaly-1"].repositories["disk/path"] = LONG_AGO
    (await nodes("track-repository", *TRACK, "-authoritative-storage", "gitaly-1")).ok()
    assert (await nodes(*REMOVE, "-apply", "-db-only")).ok() == (
        "Repository found in the database.\n"
        f"Attempting to remove {PATH} from the database...\n"
        "Repository removal from database completed.\n"
    )
    assert await connection.run("SELECT * FROM repositories") == []
    assert await jobs(connection) == []
    assert "disk/path" in nodes.nodes["gitaly-1"].repositories


async def test_removing_everywhere(praefect: Installation, connection: Rows) -> None:
    praefect.nodes["gitaly-1"].repositories["disk/path"] = LONG_AGO
    words = [*TRACK, "-authoritative-storage", "gitaly-1", "-replicate-immediately"]
    (await praefect("track-repository", *words)).ok()
    assert (await praefect(*REMOVE, "-apply")).ok() == (
        "Repository found in the database.\n"
        f"Attempting to remove {PATH} from the database, and delete it from all gitaly nodes...\n"
        "Repository removal completed.\nRemoving replication events...\nReplication event removal completed.\n"
    )
    assert await connection.run("SELECT * FROM repositories") == []
    assert all("disk/path" not in node.repositories for node in praefect.nodes.values())


async def test_removing_waits_for_jobs_that_are_being_done(nodes: Installation, connection: Rows) -> None:
    nodes.nodes["gitaly-1"].repositories["disk/path"] = LONG_AGO
    (await nodes("track-repository", *TRACK, "-authoritative-storage", "gitaly-1")).ok()
    await connection.run(
        "UPDATE replication_queue SET state = 'in_progress' WHERE job->>'target_node_storage' = 'gitaly-2'"
    )

    async def other_job_is_gone() -> bool:
        return len(await jobs(connection)) == 1

    async with asyncio.TaskGroup() as group:
        removal = group.create_task(nodes(*REMOVE, "-apply", "-db-only"), name="remove")
        await eventually(other_job_is_gone)
        assert not removal.done()
        await connection.run("UPDATE replication_queue SET state = 'failed'")
    assert removal.result().code == 0
    assert await jobs(connection) == []


async def test_removing_everywhere_without_a_server(nodes: Installation) -> None:
    nodes.nodes["gitaly-1"].repositories["disk/path"] = LONG_AGO
    (await nodes("track-repository", *TRACK, "-authoritative-storage", "gitaly-1")).ok()
    result = await nodes(*REMOVE, "-apply")
    assert result.code == 1
    assert result.stderr.startswith("repository removal failed: rpc error: code = Unavailable desc = connection error:")


# --- pool ---


async def test_pools_of_nobody(nodes: Installation) -> None:
    assert (await nodes("pool")).ok() == (
        'found 0 unique pool members in virtual storage "default"\n'
        'no pool members found on virtual storage "default", nothing to store\n'
    )


async def test_pool_members_are_stored_on_all_nodes(nodes: Installation) -> None:
    node = nodes.nodes["gitaly-1"]
    node.repositories["disk/path"] = LONG_AGO
    (await nodes("track-repository", *TRACK, "-authoritative-storage", "gitaly-1")).ok()
    node.members = [
        internal_pb2.ScanPoolMetadataResponse(relative_path="disk/path", pool_disk_path="pool", is_upstream=True),
        internal_pb2.ScanPoolMetadataResponse(relative_path="disk/path", pool_disk_path="pool"),
        internal_pb2.ScanPoolMetadataResponse(relative_path="unknown", pool_disk_path="pool"),
    ]
    assert (await nodes("pool")).ok() == (
        'found 2 unique pool members in virtual storage "default"\n'
        'stored pool metadata for virtual storage "default" on 3 nodes\n'
    )
    for storage, stored in ((storage, node.stored) for storage, node in nodes.nodes.items()):
        assert stored == [
            internal_pb2.StorePoolMetadataRequest(
                storage_name=storage, relative_path=PATH, pool_disk_path="pool", is_upstream=True
            )
        ]


async def test_pools_of_a_node_that_does_not_know_us(nodes: Installation) -> None:
    nodes.nodes["gitaly-1"].repositories["disk/path"] = LONG_AGO
    (await nodes("track-repository", *TRACK, "-authoritative-storage", "gitaly-1")).ok()
    nodes.path.write_text(nodes.path.read_text().replace("internal-secret", "wrong"))
    reason = "rpc error: code = PermissionDenied desc = permission denied: wrong hmac signature"
    expected = f'scan primaries for "default": scan gitaly-1: scan pool metadata: receive: {reason}\n'
    assert await nodes("pool") == Result(1, "", expected)
