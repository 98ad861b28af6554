"""The installation page's table of errors: each by its cause, at page, API, git and gRPC client, and in the log."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.async_api import expect

from praefect.app.cluster import VIRTUAL_STORAGE
from praefect.proto import ref_pb2, repository_pb2, shared_pb2
from praefect.transport.dial import open_channel
from praefect.transport.grpc.status import StatusError
from tests.support import cluster_faults as faults
from tests.support.browser import create_project, needs_chromium, open_page
from tests.support.cluster import ClusterClient, relative_path
from tests.support.eventually import eventually
from tests.support.git_client import git

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

TROUBLESHOOTING = Path(__file__).parents[2] / "docs" / "troubleshooting.md"


async def wrong_external_token(own: ClusterClient) -> None:
    faults.spoil_gateway_token(own.cluster)
    await faults.restart_gateway(own.cluster)


async def wrong_internal_token(own: ClusterClient) -> None:
    await faults.spoil_node_tokens(own.cluster)


async def stopped_praefect(own: ClusterClient) -> None:
    await faults.stop_praefect(own.cluster)


async def stopped_nodes(own: ClusterClient) -> None:
    await faults.stop_nodes(own.cluster)

    async def noticed() -> bool:
        # Until then a read may still be tried on a node, and say that the node refuses.
        async with open_channel(own.cluster.praefect_address, token=own.cluster.secrets.external_token) as channel:
            try:
                await channel.unary(
                    "/gitaly.RefService/RefExists",
                    ref_pb2.RefExistsRequest(
                        repository=shared_pb2.Repository(storage_name=VIRTUAL_STORAGE, relative_path="none.git"),
                        ref=b"refs/heads/x",
                    ),
                    ref_pb2.RefExistsResponse,
                    timeout=10.0,
                )
            except StatusError as exc:
                return "no healthy nodes" in exc.message
        return False

    await eventually(noticed)


async def right_external_token(own: ClusterClient) -> None:
    faults.restore_gateway_token(own.cluster)
    await faults.restart_gateway(own.cluster)


async def right_internal_token(own: ClusterClient) -> None:
    await faults.restore_node_tokens(own.cluster)


async def started_praefect(own: ClusterClient) -> None:
    await faults.start_praefect(own.cluster)


async def started_nodes(own: ClusterClient) -> None:
    await faults.start_nodes(own.cluster)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of the table.

    Attributes:
        code: of gRPC, as the page has it.
        status: of HTTP, as the page has it.
        part: whose log names the cause, and with which words.
        page: the page's words.
        today: what is said today.
        hint: what the form of the page and the API add, which names the setting or part.
    """

    cause: Callable[[ClusterClient], Awaitable[None]]
    repair: Callable[[ClusterClient], Awaitable[None]]
    code: int
    status: int
    part: str
    words: tuple[str, ...]
    page: str
    today: str
    hint: str


ROWS = [
    Row(
        cause=wrong_external_token,
        repair=right_external_token,
        code=7,
        status=500,
        part="praefect-gateway",
        words=("gitaly_token", "permission denied"),
        page="ActionView::Template::Error (7:permission denied)",
        today="permission denied: wrong hmac signature",
        hint="gitaly_token in the front door's configuration is not the token of",
    ),
    Row(
        cause=wrong_internal_token,
        repair=right_internal_token,
        code=7,
        status=500,
        part="gitaly-1",
        words=("wrong hmac signature",),
        page="Unable to save project. Error: 7:permission denied",
        today="permission denied: wrong hmac signature",
        hint="a node refuses the token that it was given for that node",
    ),
    Row(
        cause=stopped_praefect,
        repair=started_praefect,
        code=14,
        status=503,
        part="praefect-gateway",
        words=("connection refused",),
        page="GRPC::Unavailable (14:failed to connect to all addresses)",
        today='connection error: desc = "transport: Error while dialing: dial tcp ',
        hint="does not run, or cannot be reached from here",
    ),
    Row(
        cause=stopped_nodes,
        repair=started_nodes,
        code=14,
        status=503,
        part="praefect",
        words=("gitaly-1", "connection refused"),
        page="GRPC::Unavailable (14:all SubCons are in TransientFailure...)",
        today="accessor call: route repository accessor: no healthy nodes",
        hint="answers, but reaches none of the nodes that it needs",
    ),
]


async def call(own: ClusterClient, project_id: int, token: str) -> int:
    """Read through Praefect as another client would; return the code of the answer."""
    repository = shared_pb2.Repository(storage_name=VIRTUAL_STORAGE, relative_path=relative_path(project_id))
    async with open_channel(own.cluster.praefect_address, token=token) as channel:
        try:
            await channel.unary(
                "/gitaly.RepositoryService/HasLocalBranches",
                repository_pb2.HasLocalBranchesRequest(repository=repository),
                repository_pb2.HasLocalBranchesResponse,
                timeout=10.0,
            )
        except StatusError as exc:
            return exc.code.value
    return 0


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.cause.__name__)
def test_the_documentation_has_the_pages_words_beside_todays(row: Row) -> None:
    [line] = [line for line in TROUBLESHOOTING.read_text().splitlines() if row.page in line]
    assert f"{row.code}:{row.today}" in line
    assert f"| {row.status} |" in line


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.cause.__name__)
async def test_an_error_arrives_with_its_code(own: ClusterClient, tmp_path: Path, row: Row) -> None:
    project = await own.create_project("app")
    work = await own.clone("app", tmp_path)
    (work / "file.txt").write_text("text\n")
    (await git(work, "add", ".")).ok()
    (await git(work, "commit", "-q", "-m", "change")).ok()
    logs = {log: log.stat().st_size for log in own.cluster.layout.logs.iterdir()}
    await row.cause(own)

    # git, reading and writing
    clone = await git(tmp_path, "clone", own.cluster.clone_url("app"), "again")
    assert f"{row.code}:{row.today}" in clone.errors
    for result in (clone, await own.push(work)):
        assert result.code != 0
        assert f"{row.code}:" in result.errors
        assert f"HTTP {row.status}" in result.errors or f"error: {row.status}" in result.errors
    # the API, which is also what the form of the page shows
    status, body = await own.api("POST", "/api/v4/projects", json={"path": "late", "initialize_with_readme": True})
    assert (status, body["message"].partition(":")[0]) == (row.status, str(row.code))
    assert row.hint in body["hint"]
    # the page says that something is wrong, and where Praefect itself refuses or is away, with the code
    _, state = await own.api("GET", "/-/status.json")
    problem = state["storages"][0]["problem"]
    assert problem.startswith(f"{row.code}:" if row.cause is not wrong_internal_token else "14:the server does not")
    # a client of its own
    token = "wrong" if row.cause is wrong_external_token else own.cluster.secrets.external_token
    assert await call(own, project["id"], token) == row.code
    # the log of the part at fault
    log = own.cluster.layout.log(row.part)
    new = log.read_bytes()[logs.get(log, 0) :].decode()
    lines = [line for line in new.splitlines() if all(word in line for word in row.words)]
    assert lines, new[-4000:]
    json.loads(lines[0])


@needs_chromium
async def test_the_form_of_the_page_names_each_cause_and_works_again_after_it(own: ClusterClient) -> None:
    token = own.cluster.secrets.access_token
    async with open_page(own.cluster.url) as page:
        for number, row in enumerate(ROWS):
            await row.cause(own)
            await create_project(page, f"lost-{number}", token)
            said = page.locator("#result.bad")
            await expect(said).to_contain_text(row.hint, timeout=30_000)
            await expect(said).to_contain_text(f"{row.code}:")
            await row.repair(own)

            async def created(path: str = f"kept-{number}") -> bool:
                await create_project(page, path, token)
                await expect(page.locator("#create button")).to_be_enabled(timeout=30_000)
                return "Created:" in await page.locator("#result").inner_text()

            await eventually(created)
