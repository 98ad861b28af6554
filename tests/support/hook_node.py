"""The hook side of a node on a real repository, with real git as the client of a local receive-pack."""

from __future__ import annotations

import asyncio
import os
import shlex
import subprocess
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from praefect.node.git.environment import base_environment
from praefect.node.git.runner import Git, detect_git
from praefect.node.hooks.custom_hooks import CustomHooks
from praefect.node.hooks.gitlab_api import GitlabApi, InternalApiSettings
from praefect.node.hooks.handlers import HookHandlers, VoterSource
from praefect.node.hooks.payload import UserDetails
from praefect.node.hooks.runtime import HookRuntime
from praefect.node.hooks.setup import HookSetups, NodeAddress
from praefect.node.services.packs import pack_command
from praefect.node.storage.repository import LocalRepository
from praefect.node.storage.roots import StorageRoot, Storages
from praefect.node.voting import Dialect, Phase, SilentVoter, Transaction, Voter, transaction_from_metadata
from praefect.proto.shared_pb2 import Repository
from praefect.transport.grpc.metadata import Metadata
from tests.support.internal_api import SECRET, FrontDoor, serve_front_door

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

    from praefect.domain.errors import PraefectError
    from praefect.node.git.command import Command
    from praefect.node.hooks.internal_api import InternalApi

PUSHER = UserDetails(userid="user-7", username="jane", protocol="ssh", remote_ip="192.0.2.1")

CLIENT_ENVIRONMENT = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_AUTHOR_NAME": "Jane",
    "GIT_AUTHOR_EMAIL": "j@x.org",
    "GIT_COMMITTER_NAME": "Jane",
    "GIT_COMMITTER_EMAIL": "j@x.org",
    "LC_ALL": "C",
}


async def run_git(
    *arguments: str,
    cwd: Path | None = None,
    check: bool = True,
    environment: Mapping[str, str] | None = None,
    descriptors: Sequence[int] = (),
) -> subprocess.CompletedProcess[str]:
    """Run git as a user does, without blocking the loop that serves it."""

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["git", *arguments],
            cwd=cwd,
            env={"PATH": os.environ["PATH"], **CLIENT_ENVIRONMENT, **(environment or {})},
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            pass_fds=descriptors,
        )

    completed = await asyncio.to_thread(run)
    if check:
        assert completed.returncode == 0, completed.stderr
    return completed


async def make_work_tree(path: Path, *, object_format: str = "sha1") -> Path:
    """Make a repository with one commit."""
    await run_git("init", "--quiet", "--initial-branch=main", f"--object-format={object_format}", str(path))
    await commit(path, "a", "1\n")
    return path


async def commit(work_tree: Path, file: str, content: str) -> str:
    """Commit a file and return the commit's id."""
    (work_tree / file).write_text(content)
    await run_git("add", file, cwd=work_tree)
    await run_git("commit", "--quiet", "-m", f"write {file}", cwd=work_tree)
    return (await run_git("rev-parse", "HEAD", cwd=work_tree)).stdout.strip()


def count_objects(repository: Path) -> int:
    """Return how many object files there are, quarantines included."""
    files = [path for path in (repository / "objects").rglob("*") if path.is_file()]
    return len([path for path in files if "info" not in path.parts])


@dataclass(slots=True)
class RecordingVoters:
    """Voters that note what they are asked to vote; ``failures`` makes the n-th vote (from 0) fail."""

    dialect: Dialect = Dialect.DEV
    votes: list[tuple[Phase, bytes]] = field(default_factory=list)
    stops: int = 0
    failures: dict[int, PraefectError] = field(default_factory=dict)

    def for_transaction(self, transaction: Transaction | None) -> Voter:
        return _RecordingVoter(self, transaction) if transaction else SilentVoter(self.dialect)

    def for_call(self, metadata: Metadata, backchannel_id: int) -> Voter:
        return self.for_transaction(transaction_from_metadata(metadata, backchannel_id))


class _RecordingVoter:
    def __init__(self, owner: RecordingVoters, transaction: Transaction) -> None:
        self._owner = owner
        self.transaction: Transaction | None = transaction
        self.dialect = owner.dialect

    async def vote(self, vote: bytes, phase: Phase) -> None:
        if phase is Phase.PREPARING and not self.dialect.votes_preparing:
            return
        self._owner.votes.append((phase, vote))
        failure = self._owner.failures.get(len(self._owner.votes) - 1)
        if failure is not None:
            raise failure

    async def stop(self) -> None:
        self._owner.stops += 1


@dataclass(slots=True, kw_only=True)
class HookNode:
    """A storage, a bare repository in it, hooks, and the front door they ask."""

    git: Git
    storages: Storages
    repository: LocalRepository
    setups: HookSetups
    handlers: HookHandlers
    voters: RecordingVoters
    door: FrontDoor
    api: InternalApi
    scripts: Path

    @property
    def path(self) -> Path:
        return self.repository.path

    async def push(
        self,
        work_tree: Path,
        *arguments: str,
        transaction: Transaction | None = None,
        user: UserDetails = PUSHER,
    ) -> subprocess.CompletedProcess[str]:
        """Run ``git push``, served by the receive-pack that this node would start."""
        hooks = self.setups.for_push(self.repository, user, transaction, Metadata())
        command = pack_command("receive-pack", self.repository, hooks=hooks)
        assert hooks.connect is not None
        async with hooks.connect() as connection:
            environment = {**self.git.command_environment(self.repository, command), **connection.environment}
            return await self._push(work_tree, arguments, command, environment, connection.descriptors)

    async def _push(
        self,
        work_tree: Path,
        arguments: Sequence[str],
        command: Command,
        environment: Mapping[str, str],
        descriptors: Sequence[int],
    ) -> subprocess.CompletedProcess[str]:
        argv = self.git.command_line(self.repository, command)[:-1]
        environment = {**environment, "CORRELATION_ID": "push-1"}
        words = [f"{name}={value}" for name, value in environment.items()]
        script = self.scripts / "receive-pack"
        script.write_text(f'#!/bin/sh\nexec env -i {shlex.join([*words, *map(os.fsdecode, argv)])} "$@"\n')
        script.chmod(0o700)
        options = [argument for argument in arguments if argument.startswith("-")]
        refspecs = [argument for argument in arguments if not argument.startswith("-")]
        return await run_git(
            *("push", f"--receive-pack={script}", *options, str(self.path), *refspecs),
            cwd=work_tree,
            check=False,
            descriptors=descriptors,
        )

    def install_hook(self, name: str, text: str, *, mode: int = 0o755) -> None:
        """Write a custom hook of the repository."""
        path = self.path / "custom_hooks" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(mode)

    async def references(self) -> Sequence[str]:
        listed = await run_git("for-each-ref", "--format=%(refname)", cwd=self.path)
        return listed.stdout.split()


@asynccontextmanager
async def hook_node(
    directory: Path,
    *,
    api: InternalApi | None = None,
    voters: VoterSource | None = None,
    object_format: str = "sha1",
) -> AsyncIterator[HookNode]:
    """Start the hook side of a node below ``directory``.

    ``api`` replaces the one that asks the front door, ``voters`` those that only note what is voted.
    """
    storage, runtime, scripts = directory / "storage", directory / "run", directory / "scripts"
    for each in (storage, runtime, runtime / "sock.d", scripts):
        each.mkdir(mode=0o700)
    async with AsyncExitStack() as stack:
        door = await stack.enter_async_context(serve_front_door())
        if api is None:
            api = await stack.enter_async_context(GitlabApi(InternalApiSettings(url=door.url, secret=SECRET)))
        environment = base_environment(os.environ)
        git = Git(binary="git", version=await detect_git("git", environment), environment=environment)
        storages = Storages([StorageRoot(name="default", path=storage)])
        path = storage / "project.git"
        formatted = f"--object-format={object_format}"
        await run_git("init", "--quiet", "--bare", "--template=", "--initial-branch=main", formatted, str(path))
        message = Repository(
            storage_name="default",
            relative_path="project.git",
            gl_repository="project-1",
            gl_project_path="group/project",
        )
        recording = RecordingVoters()
        custom_hooks = CustomHooks(git, directory / "node_hooks")
        handlers = HookHandlers(api=api, custom_hooks=custom_hooks, voters=voters or recording)
        address = NodeAddress(
            runtime_directory=runtime, internal_socket=runtime / "sock.d" / "intern", internal_socket_token="internal"
        )
        hooks = await stack.enter_async_context(HookRuntime(address=address, storages=storages, handlers=handlers))
        yield HookNode(
            git=git,
            storages=storages,
            repository=storages.open(message),
            setups=hooks.setups,
            handlers=handlers,
            voters=recording,
            door=door,
            api=api,
            scripts=scripts,
        )
