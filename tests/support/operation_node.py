"""OperationService on a real repository, called without a connection: metadata and peer are all it sees of a call."""

from __future__ import annotations

import base64
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar, cast

from praefect.node.context import NodeContext, NoHookWiring
from praefect.node.git.catfile import CatFilePool
from praefect.node.hooks.reference_update import ReferenceUpdater
from praefect.node.housekeeping.leftovers import LeftoverClearing
from praefect.node.services.operation.service import OperationService
from praefect.node.storage.temporary import TemporaryDirectories
from praefect.node.voting import Voters
from praefect.proto.shared_pb2 import User
from praefect.transport.grpc.metadata import Metadata
from praefect.transport.peer import Peer
from tests.support.hook_node import HookNode, hook_node, run_git

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path

    from praefect.node.housekeeping.guard import MaintenanceGuard
    from praefect.node.remote import RemoteStorages
    from praefect.transport.grpc.server_call import ServerCall

T = TypeVar("T")

USER = User(gl_id="user-7", gl_username="jane", name=b"Jane", email=b"j@x.org", timezone="UTC")


@dataclass(slots=True)
class CallStub:
    """What a handler of a unary or client-streaming call sees of it, and what it sends."""

    metadata: Metadata = field(default_factory=Metadata)
    peer: Peer = field(default_factory=lambda: Peer(address="test"))
    sent: list[bytes] = field(default_factory=list)

    async def send(self, message: bytes) -> None:
        self.sent.append(message)


def a_call(*, transaction: str = "") -> ServerCall:
    """Return a call; ``transaction`` is the role this node has in one: ``primary`` or ``secondary``."""
    metadata = Metadata()
    if transaction:
        value = json.dumps({"id": 5, "node": "gitaly-1", "primary": transaction == "primary"})
        metadata.append("gitaly-reference-transaction", base64.b64encode(value.encode()).decode())
    return cast("ServerCall", CallStub(metadata))


async def stream_of(messages: Iterable[T]) -> AsyncIterator[T]:
    for message in messages:
        yield message


@dataclass(slots=True, kw_only=True)
class OperationNode:
    """A repository, the service, and what stands around them."""

    hooks: HookNode
    service: OperationService
    context: NodeContext

    @property
    def path(self) -> Path:
        return self.hooks.path

    async def git(self, *arguments: str) -> str:
        """Run git in the repository and return its output without surrounding white space."""
        return (await run_git(*arguments, cwd=self.path)).stdout.strip()


@asynccontextmanager
async def operation_node(directory: Path, *, object_format: str = "sha1") -> AsyncIterator[OperationNode]:
    """Open a node for user operations below ``directory``."""
    temporary = TemporaryDirectories()
    async with hook_node(directory, object_format=object_format) as hooks, CatFilePool(hooks.git) as objects:
        context = NodeContext(
            storages=hooks.storages,
            temporary=temporary,
            git=hooks.git,
            objects=objects,
            voters=cast("Voters", hooks.voters),
            hooks=NoHookWiring(),
            remotes=cast("RemoteStorages", None),
            maintenance=cast("MaintenanceGuard", None),
            leftovers=LeftoverClearing(temporary, objects),
            runtime_directory=directory / "run",
        )
        updater = ReferenceUpdater(hooks.git, hooks.handlers, hooks.setups)
        try:
            yield OperationNode(hooks=hooks, service=OperationService(context, updater), context=context)
        finally:
            temporary.close()
