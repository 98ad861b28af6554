"""A storage node in this process: one storage in a directory, real git, services called with a call's metadata."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import shutil
import tempfile
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from praefect.domain.errors import PraefectError
from praefect.node.context import NodeContext, NoHookWiring
from praefect.node.git.catfile import CatFilePool
from praefect.node.git.environment import base_environment
from praefect.node.git.runner import Git, detect_git
from praefect.node.housekeeping.guard import MaintenanceGuard
from praefect.node.housekeeping.leftovers import LeftoverClearing
from praefect.node.remote import RemoteStorages
from praefect.node.storage.roots import StorageRoot, Storages
from praefect.node.storage.temporary import TemporaryDirectories
from praefect.node.voting import Dialect, Phase, Transaction, Voters
from praefect.proto.shared_pb2 import Repository
from praefect.transport.grpc.metadata import Metadata
from praefect.transport.grpc.status import StatusCode, code_of
from praefect.transport.peer import Peer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from contextlib import AbstractAsyncContextManager

    from google.protobuf.message import Message

    from praefect.node.remote import Dial, MultiplexedChannel, ServerAddress
    from praefect.node.voting import Voter
    from praefect.transport.grpc.channel import Channel
    from praefect.transport.grpc.server_call import ServerCall

STORAGE = "default"


@dataclass(slots=True)
class Call:
    """What services look at in a ``ServerCall``."""

    metadata: Metadata = field(default_factory=Metadata)
    peer: Peer = field(default_factory=lambda: Peer(address="@"))

    def as_server_call(self) -> ServerCall:
        return cast("ServerCall", self)


class NoDial:
    """Reaches nobody."""

    def plain(self, server: ServerAddress) -> Channel:
        raise AssertionError(server)

    def multiplexed(self, server: ServerAddress) -> AbstractAsyncContextManager[MultiplexedChannel]:
        raise AssertionError(server)


@dataclass(slots=True)
class RecordedVotes:
    """The votes cast, in order; ``refuse`` answers a vote with an error, by returning it."""

    votes: list[tuple[str, str]] = field(default_factory=list)
    refuse: Callable[[Phase], Exception | None] = lambda _: None
    stopped: int = 0


class RecordingVoter:
    def __init__(self, record: RecordedVotes, dialect: Dialect) -> None:
        self.dialect = dialect
        self.transaction: Transaction | None = Transaction(id=1, node=STORAGE, primary=True)
        self._record = record

    async def vote(self, vote: bytes, phase: Phase) -> None:
        if phase is Phase.PREPARING and not self.dialect.votes_preparing:
            return
        self._record.votes.append((phase.name, vote.hex()))
        error = self._record.refuse(phase)
        if error is not None:
            raise error

    async def stop(self) -> None:
        self._record.stopped += 1


class RecordingVoters(Voters):
    """Records votes of calls that carry a transaction."""

    def __init__(self, dialect: Dialect = Dialect.DEV) -> None:
        super().__init__(lambda _: None, dialect)
        self.record = RecordedVotes()

    def for_transaction(self, transaction: Transaction | None) -> Voter:
        if transaction is None:
            return super().for_transaction(None)
        return RecordingVoter(self.record, self.dialect)


@dataclass(slots=True, kw_only=True)
class StorageNode:
    """The node's parts, and short ways to use them."""

    context: NodeContext
    voters: RecordingVoters
    path: Path

    @property
    def votes(self) -> list[tuple[str, str]]:
        return self.voters.record.votes

    def call(self, *, transaction: bool = False, servers: dict[str, dict[str, str]] | None = None) -> ServerCall:
        metadata = Metadata()
        if transaction:
            value = json.dumps({"id": 1, "node": STORAGE, "primary": True}).encode()
            metadata.append("gitaly-reference-transaction", base64.b64encode(value).decode())
        if servers is not None:
            metadata.append("gitaly-servers", base64.b64encode(json.dumps(servers).encode()).decode())
        return Call(metadata=metadata).as_server_call()

    async def git(self, directory: Path, *words: str, stdin: bytes = b"") -> bytes:
        return await run_git(directory, *words, stdin=stdin)


async def run_git(directory: Path, *words: str, stdin: bytes = b"", check: bool = True) -> bytes:
    """Run git as a user would, apart from the code under test."""
    environment = {
        "PATH": os.environ["PATH"],
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_SYSTEM": "/dev/null",
        "GIT_AUTHOR_NAME": "Jane",
        "GIT_AUTHOR_EMAIL": "j@x.org",
        "GIT_AUTHOR_DATE": "1767225600 +0000",
        "GIT_COMMITTER_NAME": "Jane",
        "GIT_COMMITTER_EMAIL": "j@x.org",
        "GIT_COMMITTER_DATE": "1767225600 +0000",
    }
    process = await asyncio.create_subprocess_exec(
        "git", *words, cwd=directory, env=environment, stdin=-1, stdout=-1, stderr=-1
    )
    stdout, stderr = await process.communicate(stdin)
    if check:
        assert process.returncode == 0, (words, stderr.decode())
    return stdout


def failure(code: StatusCode, text: str) -> pytest.RaisesExc[PraefectError]:
    """Expect an error of this code with exactly this text."""
    return pytest.RaisesExc(PraefectError, match=f"^{re.escape(text)}$", check=lambda exc: code_of(exc) is code)


def repository(relative_path: str = "project.git", **fields: Any) -> Repository:
    return Repository(storage_name=STORAGE, relative_path=relative_path, **fields)


async def make_commit(repository_path: Path, files: dict[str, bytes], *, message: str = "m", parent: str = "") -> str:
    """Write a commit into a bare repository and return its id; no reference is changed."""
    index = {}
    for name, content in files.items():
        index[name] = (await run_git(repository_path, "hash-object", "-w", "--stdin", stdin=content)).decode().strip()
    tree = await _make_tree(repository_path, index)
    parents = ["-p", parent] if parent else []
    commit = await run_git(repository_path, "commit-tree", tree, *parents, stdin=message.encode())
    return commit.decode().strip()


async def _make_tree(repository_path: Path, index: dict[str, str]) -> str:
    lines = []
    directories: dict[str, dict[str, str]] = {}
    for name, oid in index.items():
        head, slash, rest = name.partition("/")
        if slash:
            directories.setdefault(head, {})[rest] = oid
        else:
            lines.append(f"100644 blob {oid}\t{name}\0")
    for name, content in directories.items():
        lines.append(f"040000 tree {await _make_tree(repository_path, content)}\t{name}\0")
    return (await run_git(repository_path, "mktree", "-z", stdin="".join(lines).encode())).decode().strip()


@asynccontextmanager
async def storage_node(
    path: Path, *, dialect: Dialect = Dialect.DEV, dial: Dial | None = None, name: str = STORAGE
) -> AsyncIterator[StorageNode]:
    """Build the parts of a node on ``path``."""
    environment = base_environment(os.environ)
    git = Git(binary="git", version=await detect_git("git", environment), environment=environment)
    path.mkdir(parents=True, exist_ok=True)
    storages = Storages([StorageRoot(name=name, path=path)])
    temporary = TemporaryDirectories()
    voters = RecordingVoters(dialect)
    # Below /tmp, because the path of a socket must be short.
    runtime = tempfile.mkdtemp(prefix="node-")
    async with CatFilePool(git) as objects, RemoteStorages(dial or NoDial()) as remotes:
        context = NodeContext(
            storages=storages,
            temporary=temporary,
            git=git,
            objects=objects,
            voters=voters,
            hooks=NoHookWiring(),
            remotes=remotes,
            maintenance=MaintenanceGuard(),
            leftovers=LeftoverClearing(temporary, objects),
            runtime_directory=Path(runtime),
        )
        try:
            yield StorageNode(context=context, voters=voters, path=path)
        finally:
            temporary.close()
            shutil.rmtree(runtime)


async def collect(responses: Any) -> list[Any]:
    """Return all messages of a server stream."""
    async with aclosing(responses) as stream:
        return [response async for response in stream]


async def stream_of(messages: Iterable[Message]) -> AsyncIterator[Any]:
    """Return messages as a client stream."""
    for message in messages:
        yield message
