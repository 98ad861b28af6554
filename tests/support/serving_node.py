"""A node that serves git clients on a real socket, and a proxy's end of the connection that answers its votes."""

from __future__ import annotations

import base64
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar, cast

from google.protobuf.message import Message

from praefect.domain.errors import PraefectError
from praefect.node.context import NodeContext
from praefect.node.git.catfile import CatFilePool
from praefect.node.hooks.reference_update import ReferenceUpdater
from praefect.node.housekeeping.leftovers import LeftoverClearing
from praefect.node.remote import RemoteStorages
from praefect.node.remote_dial import RemoteDial
from praefect.node.services.commit.service import CommitService
from praefect.node.services.hook import HookService
from praefect.node.services.operation.service import OperationService
from praefect.node.services.smarthttp import SmartHttpService
from praefect.node.services.ssh import NegotiationTimeouts, SshService
from praefect.node.storage.temporary import TemporaryDirectories
from praefect.node.voting import Dialect, Phase, Voters
from praefect.proto import commit_pb2, hook_pb2, operations_pb2, smarthttp_pb2, ssh_pb2, transaction_pb2
from praefect.proto.transaction_pb2 import (
    StopTransactionRequest,
    StopTransactionResponse,
    VoteTransactionRequest,
    VoteTransactionResponse,
)
from praefect.transport.addresses import ListenAddress
from praefect.transport.backchannel import BackchannelRegistry
from praefect.transport.dial import open_channel
from praefect.transport.grpc.server import Server
from praefect.transport.listen import listen
from praefect.transport.peer import ListenerKind
from praefect.transport.sidechannel import SidechannelRegistry
from tests.support.git_over_rpc import FrontEnd
from tests.support.hook_node import HookNode, hook_node

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from praefect.node.housekeeping.guard import MaintenanceGuard
    from praefect.transport.grpc.channel import Channel, TypedCall
    from praefect.transport.grpc.metadata import Value
    from praefect.transport.grpc.server_call import ServerCall

MessageT = TypeVar("MessageT", bound=Message)

TRANSACTION_ID = 42
NODE_NAME = "gitaly-1"


@dataclass(slots=True)
class VoteCounter:
    """RefTransaction as a proxy with one node offers it: notes votes, agrees unless told otherwise.

    Attributes:
        answers: what to answer the n-th vote (from 0): a state, or an error to raise.
    """

    votes: list[tuple[Phase, str]] = field(default_factory=list)
    stops: int = 0
    answers: dict[int, VoteTransactionResponse.TransactionState | PraefectError] = field(default_factory=dict)
    on_vote: Callable[[int], None] = lambda _: None

    async def vote_transaction(self, request: VoteTransactionRequest, call: ServerCall) -> VoteTransactionResponse:
        assert request.transaction_id == TRANSACTION_ID
        assert request.node == NODE_NAME
        assert not request.HasField("repository")
        assert call.deadline is not None
        number = len(self.votes)
        self.votes.append((Phase(request.phase), request.reference_updates_hash.hex()))
        self.on_vote(number)
        answer = self.answers.get(number, VoteTransactionResponse.COMMIT)
        if isinstance(answer, PraefectError):
            raise answer
        return VoteTransactionResponse(state=answer)

    async def stop_transaction(self, request: StopTransactionRequest, call: ServerCall) -> StopTransactionResponse:
        assert request.transaction_id == TRANSACTION_ID
        self.stops += 1
        return StopTransactionResponse()


def transaction_metadata(*, primary: bool) -> tuple[str, Value]:
    """Return what a proxy sends with a call that is part of a transaction."""
    value = json.dumps({"id": TRANSACTION_ID, "node": NODE_NAME, "primary": primary})
    return "gitaly-reference-transaction", base64.b64encode(value.encode()).decode()


@dataclass(slots=True, kw_only=True)
class ServingNode:
    """The node, and the calling side's end of one multiplexed connection."""

    hooks: HookNode
    front_end: FrontEnd
    votes: VoteCounter
    plain: Channel
    address: str
    server: Server
    leftovers: LeftoverClearing

    @property
    def path(self) -> Path:
        return self.hooks.path

    @property
    def channel(self) -> Channel:
        return self.front_end.channel

    async def idle(self) -> None:
        """Wait until no call is running on the server."""
        await self.server.drain(10)

    def in_transaction(self, *, primary: bool = True) -> None:
        """Make every further push part of a transaction."""
        self.front_end.metadata = [transaction_metadata(primary=primary)]


async def collect(call: TypedCall[MessageT], answers: list[MessageT]) -> None:
    """Keep the answers of a call also if it ends with an error."""
    async for answer in call.messages():
        answers.append(answer)  # noqa: PERF401 - a comprehension would lose those before the error


@asynccontextmanager
async def serving_node(
    directory: Path,
    *,
    dialect: Dialect = Dialect.DEV,
    negotiation: timedelta = timedelta(minutes=1),
) -> AsyncIterator[ServingNode]:
    """Start a node below ``directory`` and connect to it."""
    backchannels = BackchannelRegistry()
    voters = Voters(backchannels.channel, dialect)
    temporary = TemporaryDirectories()
    votes, sidechannels = VoteCounter(), SidechannelRegistry()
    proxy, server = Server(), Server()
    proxy.add_service(transaction_pb2.DESCRIPTOR.services_by_name["RefTransaction"], votes)
    async with (
        hook_node(directory, voters=voters) as hooks,
        CatFilePool(hooks.git) as objects,
        RemoteStorages(RemoteDial()) as remotes,
    ):
        context = NodeContext(
            storages=hooks.storages,
            temporary=temporary,
            git=hooks.git,
            objects=objects,
            voters=voters,
            hooks=hooks.setups,
            remotes=remotes,
            maintenance=cast("MaintenanceGuard", None),
            leftovers=LeftoverClearing(temporary, objects),
            runtime_directory=directory / "run",
        )
        updater = ReferenceUpdater(hooks.git, hooks.handlers, hooks.setups)
        timeouts = NegotiationTimeouts(upload_pack=negotiation, upload_archive=negotiation)
        for module, name, service in (
            (smarthttp_pb2, "SmartHTTPService", SmartHttpService(context, hooks.setups)),
            (ssh_pb2, "SSHService", SshService(context, hooks.setups, timeouts)),
            (hook_pb2, "HookService", HookService(context, hooks.handlers)),
            (commit_pb2, "CommitService", CommitService(context)),
            (operations_pb2, "OperationService", OperationService(context, updater)),
        ):
            server.add_service(module.DESCRIPTOR.services_by_name[name], service)
        address = ListenAddress(kind=ListenerKind.UNIX, path=str(directory / "node.sock"))
        async with server, proxy, listen(address, server, backchannels=backchannels):
            multiplexed = open_channel(
                address.dial_address,
                token=None,
                multiplex=True,
                backchannel_server=proxy,
                sidechannels=sidechannels,
            )
            async with multiplexed, open_channel(address.dial_address, token=None) as plain:
                front_end = FrontEnd(
                    channel=multiplexed, sidechannels=sidechannels, repository=hooks.repository.message()
                )
                yield ServingNode(
                    hooks=hooks,
                    front_end=front_end,
                    votes=votes,
                    plain=plain,
                    address=address.dial_address,
                    server=server,
                    leftovers=context.leftovers,
                )
    temporary.close()
