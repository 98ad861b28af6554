"""A storage node whose answers a test writes: real connections, real votes, no git.

Each call goes to the script of its method, or to ``agree``: vote twice if the call is part of a transaction, and answer
with an empty message. Repairs alone hang, so that tests see the jobs of a write before they are done. Between the node
and its clients stands a gate, which can cut its connections, refuse new ones or keep all bytes back.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

from google.protobuf.message import Message

from praefect.domain.errors import PraefectError
from praefect.proto import health_pb2
from praefect.proto.transaction_pb2 import (
    StopTransactionRequest,
    StopTransactionResponse,
    VoteTransactionRequest,
    VoteTransactionResponse,
)
from praefect.transport.addresses import ListenAddress
from praefect.transport.backchannel import BackchannelRegistry
from praefect.transport.grpc.metadata import Metadata
from praefect.transport.grpc.server import Server
from praefect.transport.grpc.server_call import ServerCall
from praefect.transport.grpc.status import StatusCode, StatusError
from praefect.transport.listen import listen
from praefect.transport.methods import METHODS
from praefect.transport.sidechannel import SIDECHANNEL_KEY, Sidechannel, parse_sidechannel_id
from tests.support.gate import Gate

M = TypeVar("M", bound=Message)
Script = Callable[["NodeCall"], Awaitable[None]]
State = VoteTransactionResponse.TransactionState

AGREED = b"\x01" * 20
OTHER = b"\x02" * 20
COMMIT, ABORT, STOP = (
    VoteTransactionResponse.COMMIT,
    VoteTransactionResponse.ABORT,
    VoteTransactionResponse.STOP,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeTransaction:
    """What the metadata of a call say about its transaction."""

    id: int
    node: str
    primary: bool


class NodeCall:
    """One call as a script sees it.

    Attributes:
        node: the node it arrived at.
        raw: the call itself.
        request: its first message.
        votes: what this call's votes were answered with.
    """

    def __init__(self, node: ScriptedNode, raw: ServerCall, request: Message) -> None:
        self.node = node
        self.raw = raw
        self.request: Any = request
        self.votes: list[State | PraefectError] = []

    @property
    def method(self) -> str:
        return self.raw.method

    @property
    def metadata(self) -> Metadata:
        return self.raw.metadata

    @property
    def transaction(self) -> NodeTransaction | None:
        value = self.metadata.first("gitaly-reference-transaction")
        if value is None:
            return None
        return NodeTransaction(**json.loads(base64.b64decode(value)))

    async def vote(self, vote: bytes = AGREED, *, node: str | None = None) -> State:
        """Vote over the connection on which the call came; raises what the proxy answers."""
        transaction = self.transaction
        assert transaction is not None, "the call is part of no transaction"
        request = VoteTransactionRequest(
            transaction_id=transaction.id, node=node or transaction.node, reference_updates_hash=vote
        )
        try:
            response = await self.raw.peer.backchannel().unary(
                "/gitaly.RefTransaction/VoteTransaction", request, VoteTransactionResponse
            )
        except PraefectError as exc:
            self.votes.append(exc)
            raise
        self.votes.append(response.state)
        return response.state

    async def stop(self) -> None:
        """Stop the transaction."""
        assert self.transaction is not None
        await self.raw.peer.backchannel().unary(
            "/gitaly.RefTransaction/StopTransaction",
            StopTransactionRequest(transaction_id=self.transaction.id),
            StopTransactionResponse,
        )

    async def answer(self, message: Message | None = None) -> None:
        """Send a message, by default an empty one of the method's type."""
        message = METHODS[self.method].response_type() if message is None else message
        await self.raw.send(message.SerializeToString())

    async def rest(self) -> list[bytes]:
        """Return the messages behind the first one, up to the client's half-close."""
        return [message async for message in self.raw.messages()]

    async def sidechannel(self) -> Sidechannel:
        """Open the sidechannel that the call announces last."""
        return await self.raw.peer.open_sidechannel(parse_sidechannel_id(self.metadata.last(SIDECHANNEL_KEY) or ""))


# --- scripts ---


async def agree(call: NodeCall) -> None:
    """Vote as the others do, twice, and answer."""
    await _vote_if_asked(call, (AGREED, AGREED))
    await call.answer()


async def hang(call: NodeCall) -> None:
    """Never answer."""
    await asyncio.get_running_loop().create_future()


async def agree_unless_repairing(call: NodeCall) -> None:
    """Hang in what only jobs do, which are in no transaction."""
    await (hang if call.transaction is None else agree)(call)


def answering(*messages: Message, votes: Iterable[bytes] = (AGREED, AGREED)) -> Script:
    """Vote if the call is part of a transaction, and send messages."""

    async def script(call: NodeCall) -> None:
        await _vote_if_asked(call, votes)
        for message in messages or (METHODS[call.method].response_type(),):
            await call.answer(message)

    return script


def voting(*votes: bytes) -> Script:
    """Cast these votes, fail if one is refused, and answer."""

    async def script(call: NodeCall) -> None:
        await _vote_if_asked(call, votes)
        await call.answer()

    return script


def failing(
    code: StatusCode, message: str = "", details: Iterable[Message] = (), *, votes: Iterable[bytes] = ()
) -> Script:
    """Vote if the call is part of a transaction, then fail."""

    async def script(call: NodeCall) -> None:
        await _vote_if_asked(call, votes)
        raise StatusError(code, message, details)

    return script


async def _vote_if_asked(call: NodeCall, votes: Iterable[bytes]) -> None:
    if call.transaction is None:
        return
    for vote in votes:
        if await call.vote(vote) != COMMIT:
            raise StatusError(StatusCode.FAILED_PRECONDITION, "transaction was aborted")


# --- the node ---


@dataclass(slots=True)
class ScriptedNode:
    """A node of a cluster; made by ``scripted_node``.

    Attributes:
        name: of its storage.
        serving: what health checks answer.
        calls: every call it has seen, health checks apart.
        checks: the metadata of each health check.
        ended: calls whose script has come to its end, whatever that was.
    """

    name: str
    gate: Gate
    serving: bool = True
    calls: list[NodeCall] = field(default_factory=list)
    checks: list[ServerCall] = field(default_factory=list)
    ended: list[NodeCall] = field(default_factory=list)
    _scripts: dict[str, Script] = field(default_factory=lambda: {"ReplicateRepository": agree_unless_repairing})
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def address(self) -> str:
        """Where it is dialled."""
        return f"unix:{self.gate.path}"

    def on(self, method: str, script: Script) -> None:
        """Say what happens when a method is called, by its name or its full name."""
        self._scripts[method] = script

    def called(self, method: str) -> list[NodeCall]:
        """Return the calls of a method so far, by its name."""
        return [call for call in self.calls if call.method.endswith(f"/{method}")]

    def requests(self, method: str, message_type: type[M]) -> list[M]:
        """Return the first messages of the calls of a method."""
        requests = [call.request for call in self.called(method)]
        assert all(isinstance(request, message_type) for request in requests)
        return cast("list[M]", requests)

    async def wait_called(self, method: str, times: int = 1) -> NodeCall:
        """Return the call of a method once it has arrived, the n-th one."""
        while len(self.called(method)) < times:
            await self._wait()
        return self.called(method)[times - 1]

    async def wait_ended(self, method: str, times: int = 1) -> NodeCall:
        """Return the call of a method once its script is over."""
        while len(found := [call for call in self.ended if call.method.endswith(f"/{method}")]) < times:
            await self._wait()
        return found[times - 1]

    async def handle(self, raw: ServerCall) -> None:
        """Run the script of a call."""
        first = await raw.receive()
        method = METHODS.get(raw.method)
        if method is None or first is None:
            raise StatusError(StatusCode.UNIMPLEMENTED, f"unknown method {raw.method}")
        call = NodeCall(self, raw, method.request_type.FromString(first))
        self.calls.append(call)
        self._changed.set()
        script = self._scripts.get(raw.method) or self._scripts.get(method.name) or agree
        try:
            await script(call)
        finally:
            self.ended.append(call)
            self._changed.set()

    async def check(self, raw: ServerCall) -> None:
        """Answer a health check."""
        await raw.receive()
        self.checks.append(raw)
        status = health_pb2.HealthCheckResponse.SERVING if self.serving else health_pb2.HealthCheckResponse.NOT_SERVING
        await raw.send(health_pb2.HealthCheckResponse(status=status).SerializeToString())

    async def _wait(self) -> None:
        self._changed.clear()
        await self._changed.wait()


@asynccontextmanager
async def scripted_node(name: str, directory: Path) -> AsyncIterator[ScriptedNode]:
    """Run a node on a unix socket in a directory."""
    gate = Gate(path=directory / f"{name}.sock", target=directory / f"{name}.inner")
    node = ScriptedNode(name, gate)
    server = Server(fallback=node.handle)
    server.add_raw("/grpc.health.v1.Health/Check", node.check)
    address = ListenAddress.parse(f"unix://{gate.target}")
    async with server, listen(address, server, backchannels=BackchannelRegistry()), gate:
        yield node
