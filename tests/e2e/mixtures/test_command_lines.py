"""Upstream's commands against our server and ours against upstream's: the same words give the same output."""

from __future__ import annotations

import itertools
import re
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from praefect.proto import repository_pb2
from tests.support.eventually import eventually
from tests.support.praefect_cli import Result
from tests.support.upstream import MixedCluster, Mixture, needs_praefect, repository, run_mixture

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.asyncio(loop_scope="module"),
    needs_praefect,
]

OURS, UPSTREAMS = "praefect", "praefect-2"
PAIRS = tuple(itertools.product(("upstream", "ours"), (UPSTREAMS, OURS)))
"""Every command line with every server; the first, upstream's with upstream's, is what the others must equal."""
PATH = "some/repository.git"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def both(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MixedCluster]:
    """Our nodes, with our praefect and upstream's before them, and one repository."""
    directory = tmp_path_factory.mktemp("commands") / "c"
    async with run_mixture(directory, Mixture(praefects=[UPSTREAMS]), praefects=2, reconciliation="0s") as mixed:
        await _create(mixed, PATH)
        yield mixed


async def _create(mixed: MixedCluster, path: str) -> None:
    request = repository_pb2.CreateRepositoryRequest(repository=repository(path), default_branch=b"main")
    await mixed.call("/gitaly.RepositoryService/CreateRepository", request, repository_pb2.CreateRepositoryResponse)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended, without what must differ: times, the address of the server, and the names that ours adds."""

    code: int
    stdout: str
    stderr: str


def _normal(result: Result, mixed: MixedCluster) -> Outcome:
    def clean(text: str) -> str:
        for name in (OURS, UPSTREAMS):
            text = text.replace(mixed.cluster.address_of_praefect(name), "SERVER")
            text = text.replace(mixed.cluster.address_of_praefect(name).removeprefix("tcp://"), "SERVER")
        return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ \+0000 UTC", "TIME", text)

    # Where a name is unknown ours names the known ones, in a last line that upstream's does not have.
    stderr = re.sub(
        r"^known (virtual storages|storages|repositories).*\n\Z", "", clean(result.stderr), flags=re.MULTILINE
    )
    return Outcome(result.code, clean(result.stdout), stderr)


def _lines_in_any_order(outcome: Outcome) -> Outcome:
    """Forget the order of lines that come from nodes asked at the same time."""
    nodes = ", ".join(sorted(outcome.stderr.strip().rpartition(": ")[2].split(", ")))
    return Outcome(outcome.code, "\n".join(sorted(outcome.stdout.splitlines())), nodes)


async def _outcomes(
    mixed: MixedCluster, words: Sequence[str], clean: Callable[[Outcome], Outcome] = lambda outcome: outcome
) -> dict[str, Outcome]:
    found = {}
    for program, server in PAIRS:
        result = await mixed.run(program, *words, config=mixed.cluster.layout.praefect_config_of(server))
        found[f"{program} at {server}"] = clean(_normal(result, mixed))
    return found


def _assert_equal(found: dict[str, Outcome]) -> None:
    first, *others = found
    differing = {name: found[name] for name in others if found[name] != found[first]}
    assert not differing, f"{found[first]}\nbut {differing}"


QUESTIONS = [
    "sql-ping",
    "sql-migrate",
    "sql-migrate-status",
    "sql-migrate-down 2",
    "sql-migrate-down 0",
    "sql-migrate-down x",
    "list-storages",
    "list-storages -virtual-storage default",
    "list-storages -virtual-storage none",
    "metadata -repository-id 1",
    "metadata -repository-id 99",
    "metadata -virtual-storage default -relative-path some/repository.git",
    "metadata -virtual-storage none -relative-path some/repository.git",
    "metadata -virtual-storage default",
    "metadata -repository-id 1 -virtual-storage default",
    "metadata",
    "dataloss",
    "dataloss -partially-unavailable",
    "dataloss -virtual-storage default",
    "dataloss -virtual-storage none",
    "accept-dataloss -virtual-storage none -relative-path a -authoritative-storage gitaly-1",
    "accept-dataloss -virtual-storage default -relative-path a -authoritative-storage gitaly-1",
    "accept-dataloss -virtual-storage default -relative-path some/repository.git -authoritative-storage gitaly-9",
    "set-replication-factor -virtual-storage none -relative-path a -replication-factor 1",
    "set-replication-factor -virtual-storage default -relative-path a -replication-factor 1",
    "set-replication-factor -virtual-storage default -relative-path some/repository.git -replication-factor 0",
    "set-replication-factor -virtual-storage default -relative-path some/repository.git -replication-factor 4",
    "set-replication-factor -virtual-storage default -relative-path some/repository.git -replication-factor -1",
    "set-replication-factor -virtual-storage default -relative-path some/repository.git -replication-factor 3",
    "verify",
    "verify -repository-id 99",
    "verify -virtual-storage none",
    "verify -storage gitaly-1",
    "remove-repository -virtual-storage default -relative-path some/repository.git",
    "remove-repository -virtual-storage default -relative-path none",
    "remove-repository -virtual-storage none -relative-path none -apply",
    "track-repository -virtual-storage default -relative-path a -replica-path a -authoritative-storage gitaly-1",
    "track-repository -virtual-storage none -relative-path a -replica-path a -authoritative-storage gitaly-1",
    "track-repository -virtual-storage default -relative-path a -replica-path a -authoritative-storage gitaly-9",
    "track-repositories -input-path /dev/null",
    "track-repositories -input-path /nowhere",
    "list-untracked-repositories",
    "list-untracked-repositories -older-than 0s",
    "pool",
    "check -q",
    "surprise",
    "metadata -surprise",
]


@pytest.mark.parametrize("words", QUESTIONS)
async def test_questions(both: MixedCluster, words: str) -> None:
    _assert_equal(await _outcomes(both, words.split()))


@pytest.mark.parametrize("words", ["dial-nodes", "dial-nodes -timeout 5s", "dial-nodes -timeout -1s"])
async def test_nodes_are_asked_at_the_same_time(both: MixedCluster, words: str) -> None:
    _assert_equal(await _outcomes(both, words.split(), _lines_in_any_order))


async def test_usage_errors_are_the_same_below_the_help(both: MixedCluster) -> None:
    """The help's texts are our own, its layout is upstream's."""

    def without_help(outcome: Outcome) -> Outcome:
        headings = "".join(line for line in outcome.stdout.splitlines() if line.endswith(":") and line.isupper())
        return Outcome(outcome.code, headings, outcome.stderr)

    for words in ("sql-migrate-down", "sql-migrate-down 1 2", "metadata -surprise", "track-repository"):
        _assert_equal(await _outcomes(both, words.split(), without_help))


async def test_changes(both: MixedCluster) -> None:
    """What changes something is done four times, to a repository of its own each time."""
    words = [
        "verify -repository-id {id}",
        "set-replication-factor -virtual-storage default -relative-path {path} -replication-factor 3",
        "accept-dataloss -virtual-storage default -relative-path {path} -authoritative-storage gitaly-2",
        "remove-repository -virtual-storage default -relative-path {path} -apply -db-only",
        "track-repository -authoritative-storage gitaly-1 -virtual-storage default -relative-path {path}{replica}",
        "remove-repository -virtual-storage default -relative-path {path} -apply",
    ]
    found: dict[str, list[Outcome]] = {}
    for number, (program, server) in enumerate(PAIRS):
        path = f"changed/{number}.git"
        await _create(both, path)
        for line in words:
            record = await both.record(path)
            values = {"path": path, "id": "", "replica": ""}
            if line.startswith("verify"):
                await _wait_until_verified(both, path)
            if record is not None:
                values |= {"id": await _id(both, path), "replica": f" -replica-path {record.replica_path}"}
                kept = values
            text = line.format(**{**values, "replica": kept["replica"]})
            result = await both.run(program, *text.split(), config=both.cluster.layout.praefect_config_of(server))
            outcome = _normal(result, both)
            stdout = outcome.stdout.replace(path, "PATH")
            found.setdefault(line, []).append(Outcome(outcome.code, stdout, outcome.stderr.replace(path, "PATH")))
        assert await both.record(path) is None
    different = {line: outcomes for line, outcomes in found.items() if len(set(outcomes)) > 1}
    assert not different


async def test_repositories_found_on_disk_are_listed_and_tracked(both: MixedCluster, tmp_path: Path) -> None:
    record = await both.record(PATH)
    assert record is not None
    first, second, _ = both.replicas(record)
    for number, (program, server) in enumerate(PAIRS):
        stray = Path(str(first).removesuffix(record.replica_path)) / f"stray/{number}.git"
        shutil.copytree(first, stray)
        listed = await _outcomes(both, ["list-untracked-repositories", "-older-than", "0s"])
        _assert_equal(listed)
        assert f"stray/{number}.git" in next(iter(listed.values())).stdout
        path = tmp_path / "lines"
        path.write_text(
            f'{{"virtual_storage":"default","relative_path":"tracked/{number}.git",'
            f'"replica_path":"stray/{number}.git","authoritative_storage":"gitaly-1"}}\n'
        )
        config = both.cluster.layout.praefect_config_of(server)
        result = await both.run(
            program, "track-repositories", "-input-path", str(path), "-replicate-immediately", config=config
        )
        assert (result.code, result.stderr) == (0, ""), result
        assert result.stdout.splitlines()[-1] == 'Finished replicating repository to "gitaly-3".'
        await both.wait_until_equal(f"tracked/{number}.git")
    assert second.is_dir()


async def _wait_until_verified(mixed: MixedCluster, path: str) -> None:
    async def verified() -> bool:
        async with mixed.rows() as rows:
            found = await rows.run(
                "SELECT count(*) FROM storage_repositories WHERE relative_path = %s AND verified_at IS NOT NULL", path
            )
        return found == [(3,)]

    await eventually(verified)


async def _id(mixed: MixedCluster, path: str) -> str:
    async with mixed.rows() as rows:
        found = await rows.run("SELECT repository_id FROM repositories WHERE relative_path = %s", path)
    return str(found[0][0])
