"""The story of a lost machine: push, kill the primary, go on, bring it back; every step is checked."""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
from rich.table import Table

from praefect.app.cluster import VIRTUAL_STORAGE, Cluster
from praefect.domain.errors import InternalError, PraefectError
from praefect.proto import praefect_pb2, ref_pb2, shared_pb2
from praefect.transport.dial import open_channel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rich.console import Console

    from praefect.transport.grpc.channel import Channel

WAIT_SECONDS = 60.0
POLL_SECONDS = 0.1


class StepFailedError(InternalError):
    """A step of the story did not hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """A step that held, and how long it took."""

    name: str
    seconds: float
    note: str


class Scenario:
    """Plays the story on a fresh cluster."""

    def __init__(self, cluster: Cluster, console: Console) -> None:
        self._cluster = cluster
        self._console = console
        self._project = f"story-{secrets.token_hex(3)}"
        self._results: list[StepResult] = []
        self._relative_path = ""
        self._killed = ""

    async def play(self) -> int:
        """Play all steps; return 0 if each held, 1 after the first that did not."""
        directory = Path(tempfile.mkdtemp(prefix="praefect-story-"))
        steps: list[tuple[str, Callable[[Path], Awaitable[str]]]] = [
            ("create a project with a README", self._create),
            ("clone it", self._clone),
            ("commit and push", self._push_first),
            ("the push is on all nodes", self._on_all_nodes),
            ("kill the primary with SIGKILL", self._kill_primary),
            ("clone again", self._clone_again),
            ("push again, on a new primary", self._push_again),
            ("start the dead node", self._restart),
            ("it is repaired", self._repaired),
            ("all nodes agree with the database", self._agree),
        ]
        failure = ""
        try:
            for name, step in steps:
                began = time.monotonic()
                with self._console.status(name):
                    note = await step(directory)
                self._results.append(StepResult(name=name, seconds=time.monotonic() - began, note=note))
        except (PraefectError, aiohttp.ClientError) as exc:
            failure = f"{steps[len(self._results)][0]}: {exc}"
        finally:
            shutil.rmtree(directory, ignore_errors=True)
        self._print(failure)
        return 1 if failure else 0

    def _print(self, failure: str) -> None:
        table = Table("step", "seconds", "what was seen", title="the story of a lost machine")
        for result in self._results:
            table.add_row(result.name, f"{result.seconds:.2f}", result.note)
        self._console.print(table)
        if failure:
            self._console.print(f"FAILED: {failure}", style="red", markup=False, highlight=False, soft_wrap=True)
            self._console.print(f"logs are in {self._cluster.layout.logs}", markup=False, highlight=False)
        else:
            self._console.print(f"all {len(self._results)} steps held", style="green")

    # --- steps ---

    async def _create(self, _directory: Path) -> str:
        headers = {"PRIVATE-TOKEN": self._cluster.secrets.access_token}
        async with (
            aiohttp.ClientSession(self._cluster.url, headers=headers, trust_env=False) as session,
            session.post("/api/v4/projects", json={"name": self._project, "initialize_with_readme": True}) as response,
        ):
            body = await response.text()
            if response.status != 201:
                raise StepFailedError(f"HTTP {response.status}: {body}")
            project = await response.json()
        self._relative_path = _hashed_path(project["id"])
        return f"project {project['id']} on storage {project['repository_storage']}"

    async def _clone(self, directory: Path) -> str:
        await _git(directory, "clone", self._cluster.clone_url(self._project), "work")
        if not (directory / "work" / "README.md").is_file():
            raise StepFailedError("the clone has no README.md")
        return "README.md is there"

    async def _push_first(self, directory: Path) -> str:
        return await self._commit_and_push(directory / "work", "first")

    async def _on_all_nodes(self, directory: Path) -> str:
        wanted = await _git(directory / "work", "rev-parse", "HEAD")

        async def everywhere() -> str | None:
            references = await self._references()
            missing = [name for name, refs in references.items() if refs.get("refs/heads/main") != wanted]
            return f"not on {', '.join(missing)}" if missing else None

        await _wait(everywhere)
        return f"main is {wanted[:10]} on {len(self._cluster.layout.node_names)} nodes"

    async def _kill_primary(self, _directory: Path) -> str:
        metadata = await self._metadata()
        self._killed = metadata.primary
        child = self._cluster.child(self._killed)
        child.kill()
        await child.wait()
        return f"{self._killed} is dead"

    async def _clone_again(self, directory: Path) -> str:
        await _git(directory, "clone", self._cluster.clone_url(self._project), "again")
        head = await _git(directory / "again", "rev-parse", "HEAD")
        if head != await _git(directory / "work", "rev-parse", "HEAD"):
            raise StepFailedError("the clone does not have the last push")
        return "it has the last push"

    async def _push_again(self, directory: Path) -> str:
        work = directory / "work"
        await _commit(work, "second")

        async def pushed() -> str | None:
            try:
                await _git(work, "push", "origin", "HEAD:main")
            except StepFailedError as exc:
                return str(exc)
            return None

        tries = await _wait(pushed)
        primary = (await self._metadata()).primary
        if primary == self._killed:
            raise StepFailedError(f"the primary is still {primary}")
        return f"{primary} is primary, try {tries}"

    async def _restart(self, _directory: Path) -> str:
        await self._cluster.start_node(self._killed)
        return f"{self._killed} serves"

    async def _repaired(self, _directory: Path) -> str:
        async def current() -> str | None:
            metadata = await self._metadata()
            behind = [replica.storage for replica in metadata.replicas if replica.generation < metadata.generation]
            return f"{', '.join(behind)} behind generation {metadata.generation}" if behind else None

        await _wait(current)
        return f"generation {(await self._metadata()).generation} on all nodes"

    async def _agree(self, directory: Path) -> str:
        metadata = await self._metadata()
        generations = {replica.generation for replica in metadata.replicas}
        if generations != {metadata.generation}:
            raise StepFailedError(f"the database records generations {sorted(generations)}")
        references = await self._references()
        distinct = {tuple(sorted(refs.items())) for refs in references.values()}
        if len(distinct) != 1:
            raise StepFailedError(f"references differ: {references}")
        head = await _git(directory / "work", "rev-parse", "HEAD")
        if next(iter(references.values())).get("refs/heads/main") != head:
            raise StepFailedError("the second push is missing")
        return f"{len(references)} nodes, {len(next(iter(distinct)))} references, generation {metadata.generation}"

    # --- questions ---

    async def _commit_and_push(self, work: Path, text: str) -> str:
        await _commit(work, text)
        await _git(work, "push", "origin", "HEAD:main")
        return "pushed main"

    async def _metadata(self) -> praefect_pb2.GetRepositoryMetadataResponse:
        path = praefect_pb2.GetRepositoryMetadataRequest.Path(
            virtual_storage=VIRTUAL_STORAGE, relative_path=self._relative_path
        )
        async with self._channel() as channel:
            return await channel.unary(
                "/gitaly.PraefectInfoService/GetRepositoryMetadata",
                praefect_pb2.GetRepositoryMetadataRequest(path=path),
                praefect_pb2.GetRepositoryMetadataResponse,
                timeout=10.0,
            )

    async def _references(self) -> dict[str, dict[str, str]]:
        """Return the references of every node's replica, asked of the node itself."""
        replica_path = (await self._metadata()).replica_path
        found: dict[str, dict[str, str]] = {}
        for name in self._cluster.layout.node_names:
            repository = shared_pb2.Repository(storage_name=name, relative_path=replica_path)
            found[name] = {}
            address, token = self._cluster.node_address(name), self._cluster.secrets.internal_token
            async with open_channel(address, token=token) as channel:
                async for response in channel.server_stream(
                    "/gitaly.RefService/ListRefs",
                    ref_pb2.ListRefsRequest(repository=repository, patterns=[b"refs/"]),
                    ref_pb2.ListRefsResponse,
                    timeout=10.0,
                ):
                    found[name] |= {ref.name.decode(): ref.target for ref in response.references}
        return found

    @asynccontextmanager
    async def _channel(self) -> AsyncIterator[Channel]:
        token = self._cluster.secrets.external_token
        async with open_channel(self._cluster.praefect_address, token=token) as channel:
            yield channel


async def _wait(question: Callable[[], Awaitable[str | None]]) -> int:
    """Ask until the answer is ``None``; return how many times it took.

    Raises:
        StepFailedError: with the last answer, if that takes too long.
    """
    tries, answer = 0, None
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                tries += 1
                answer = await question()
                if answer is None:
                    return tries
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError as exc:
        raise StepFailedError(answer or "no answer in time") from exc


async def _commit(work: Path, text: str) -> None:
    (work / f"{text}.txt").write_text(f"{text}\n")
    await _git(work, "add", ".")
    await _git(work, "commit", "-q", "-m", f"{text} commit")


async def _git(directory: Path, *arguments: str) -> str:
    """Run stock git as a user would and return its output.

    Raises:
        StepFailedError: with what git printed.
    """
    process = await asyncio.create_subprocess_exec(
        "git",
        *arguments,
        cwd=directory,
        env=_environment(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    if process.returncode != 0:
        raise StepFailedError(f"git {arguments[0]}: {errors.decode('utf-8', 'replace').strip()}")
    return output.decode().strip()


def _environment() -> Mapping[str, str]:
    """Return an environment in which the user's own git configuration plays no part."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    name = {"GIT_AUTHOR_NAME": "Story", "GIT_COMMITTER_NAME": "Story"}
    email = {"GIT_AUTHOR_EMAIL": "story@example.org", "GIT_COMMITTER_EMAIL": "story@example.org"}
    quiet = {"GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    return {**kept, **name, **email, **quiet, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}


def _hashed_path(project_id: int) -> str:
    digest = hashlib.sha256(str(project_id).encode()).hexdigest()
    return f"@hashed/{digest[:2]}/{digest[2:4]}/{digest}.git"
