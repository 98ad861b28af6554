"""Joins a node's sidechannel to the client's in a proxy, without a task or a queue between them while bytes flow.

Source: the Praefect wire reference, section 5.6.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Self

from praefect.domain.errors import InternalError, PraefectError
from praefect.observability.log import get_logger
from praefect.transport.sidechannel.client import SIDECHANNEL_KEY
from praefect.transport.sidechannel.packets import END, PacketDecoder, PacketError, encode
from praefect.transport.sidechannel.server import parse_sidechannel_id

if TYPE_CHECKING:
    from types import TracebackType

    from praefect.transport.grpc.server_call import ServerCall
    from praefect.transport.peer import Peer
    from praefect.transport.sidechannel.client import ClientSidechannel, SidechannelRegistry
    from praefect.transport.sidechannel.server import Sidechannel
    from praefect.transport.yamux import StreamTransport

_log = get_logger("sidechannel")


class SidechannelBridgeError(InternalError):
    """The bytes of the call were not all carried."""

    def __init__(self, cause: str) -> None:
        super().__init__(f"sidechannel: proxy callback: {cause}")


class SidechannelBridges:
    """Makes bridges.

    Args:
        registry: where nodes' sidechannels arrive; one for all nodes.
    """

    def __init__(self, registry: SidechannelRegistry) -> None:
        self._registry = registry

    def bridge(self, call: ServerCall) -> Bridge:
        """Prepare a bridge to the sidechannel that ``call`` announces."""
        return Bridge(self._registry, call.peer, parse_sidechannel_id(call.metadata.last(SIDECHANNEL_KEY) or ""))


class Bridge:
    """Carries the bytes of one call; a context manager, which on leaving cuts off what is still open.

    Args:
        registry: where the node's sidechannel arrives.
        peer: the client.
        client_id: the sidechannel the client announced.
    """

    def __init__(self, registry: SidechannelRegistry, peer: Peer, client_id: int) -> None:
        self._client = registry.register()
        self._peer = peer
        self._client_id = client_id
        self._tasks = asyncio.TaskGroup()
        self._task: asyncio.Task[None] | None = None
        self._error: SidechannelBridgeError | None = None

    @property
    def metadata(self) -> tuple[str, str]:
        """What to append to the call's metadata, so that the node opens its sidechannel to this process."""
        return self._client.metadata

    @property
    def error(self) -> SidechannelBridgeError | None:
        """What broke the bridge, if anything did."""
        return self._error

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        self._task = self._tasks.create_task(self._run(), name=f"sidechannel bridge {self._client.id}")
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._client.withdraw()
        if self._task is not None:
            self._task.cancel()
        # An error of the block is its own, and no failure of the group.
        await self._tasks.__aexit__(None, None, None)

    async def settle(self) -> None:
        """Wait until everything has been carried or the bridge broke; give up a bridge that was never used."""
        if not self._client.arrived:
            self._client.withdraw()
        if self._task is not None:
            await asyncio.wait([self._task])

    async def finish(self) -> None:
        """Do as ``settle``, and raise if not everything was carried.

        Raises:
            SidechannelBridgeError: the bridge broke.
        """
        await self.settle()
        if self._error is not None:
            raise self._error

    async def _run(self) -> None:
        node = await self._client.accept()
        try:
            client = await self._peer.open_sidechannel(self._client_id)
        except PraefectError as exc:
            # The node takes this for the end of its input.
            self._fail(str(exc))
            with contextlib.suppress(PraefectError):
                await node.close()
            return
        except BaseException:
            node.abort()
            raise
        error = await _splice(node, client)
        if error is not None:
            self._fail(error)

    def _fail(self, cause: str) -> None:
        self._error = SidechannelBridgeError(cause)
        _log.error("sidechannel proxying failed", error=cause)


async def _splice(node: ClientSidechannel, client: Sidechannel) -> str | None:
    """Carry bytes both ways until both streams ended; return what broke, if anything did."""
    splice = _Splice(node.endpoint.transport, client.endpoint.transport)
    node.endpoint.detach(_NodeEnd(splice))
    client.endpoint.detach(_ClientEnd(splice))
    # What arrived before is passed on only now: both ends must hear if the other one cannot take it.
    splice.resume_all()
    node.endpoint.hand_on()
    client.endpoint.hand_on()
    try:
        return await splice.done
    except BaseException:
        splice.fail("canceled")
        raise


class _Splice:
    """Two streams and how their joining ended."""

    def __init__(self, node: StreamTransport, client: StreamTransport) -> None:
        self.node = node
        self.client = client
        self.node_finished = False
        self.error: str | None = None
        self.done: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()

    def resume_all(self) -> None:
        """Undo what the ends paused on their own account."""
        self.node.resume_reading()
        self.client.resume_reading()

    def finish_response(self) -> None:
        """The node sends no more: the client gets the end once it has everything."""
        self.node_finished = True
        self.client.close()

    def complete(self) -> None:
        """The client has everything."""
        if self.node.get_write_buffer_size():
            self.node.abort()  # it has closed and takes no more of the request
        else:
            self.node.close()
        if not self.done.done():
            self.done.set_result(self.error)

    def fail(self, reason: str) -> None:
        """Cut both streams off."""
        self.node.abort()
        self.client.abort()
        if not self.done.done():
            self.done.set_result(reason)


class _NodeEnd(asyncio.Protocol):
    """Passes the node's bytes on to the client as they are."""

    def __init__(self, splice: _Splice) -> None:
        self._splice = splice

    def data_received(self, data: bytes) -> None:
        self._splice.client.write(data)

    def eof_received(self) -> bool:
        self._splice.finish_response()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            self._splice.fail(str(exc))

    def pause_writing(self) -> None:
        self._splice.client.pause_reading()

    def resume_writing(self) -> None:
        self._splice.client.resume_reading()


class _ClientEnd(asyncio.Protocol):
    """Passes the client's packets on to the node, packet boundaries apart."""

    def __init__(self, splice: _Splice) -> None:
        self._splice = splice
        self._decoder = PacketDecoder()
        self._ended = False

    def data_received(self, data: bytes) -> None:
        if self._ended:
            return
        try:
            payloads = self._decoder.feed(data)
        except PacketError as exc:
            self._splice.fail(str(exc))
            return
        pieces = [piece for payload in payloads for piece in encode(payload)]
        self._ended = self._decoder.finished
        if self._ended:
            pieces.append(END)
        if pieces:
            self._splice.node.writelines(pieces)

    def eof_received(self) -> bool:
        if not self._ended:
            self._splice.error = "unexpected EOF"
            self._splice.node.write_eof()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            self._splice.fail(str(exc))
        elif self._splice.node_finished:
            self._splice.complete()

    def pause_writing(self) -> None:
        self._splice.node.pause_reading()

    def resume_writing(self) -> None:
        self._splice.node.resume_reading()
