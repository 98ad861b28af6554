"""Accepting connections: sockets, TLS, and whether a client multiplexes its connection.

Every listener offers the same. What has been recognised is handed to the gRPC server, which owns the connection from
then on; a connection that takes too long to show what it is is dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import weakref
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, cast

from praefect.transport.addresses import ListenAddress
from praefect.transport.backchannel import BackchannelRegistry
from praefect.transport.detector import BACKCHANNEL_MAGIC, Detector
from praefect.transport.http2 import Engine, Limits
from praefect.transport.http2 import engine as http2_engine
from praefect.transport.listening_sockets import ListenError, bound_address, file_identity, open_socket, remove_file
from praefect.transport.peer import ListenerKind, Peer
from praefect.transport.sockets import describe, peer_address, tune
from praefect.transport.tls import ServerTls
from praefect.transport.yamux import LISTENER_SETTINGS, Traffic, YamuxConnection

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable

    from praefect.transport.grpc.server import Server

__all__ = [
    "ListenAddress",
    "ListenError",
    "ListenOptions",
    "Listener",
    "ListenerKind",
    "ServerTls",
    "check_certificate",
    "listen",
]

SERVER_LIMITS = Limits(keepalive_idle_seconds=300.0, keepalive_timeout_seconds=20.0, min_ping_interval_seconds=10.0)
"""Source: the Praefect wire reference, section 8.1."""

_SETTLE_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenOptions:
    """How a listener treats its connections.

    Attributes:
        engine: the HTTP/2 implementation.
        limits: what one HTTP/2 connection may cost.
        handshake_seconds: from the accept to the client's HTTP/2 settings, TLS included.
        backlog: connections the system holds until they are accepted.
        reuse_port: whether other processes may listen on the same TCP port.
        on_connection: told of each accepted connection, before its TLS handshake.
        traffic: told of reads and writes of multiplexed connections.
    """

    engine: Engine = field(default_factory=http2_engine)
    limits: Limits = SERVER_LIMITS
    handshake_seconds: float = 120.0
    backlog: int = 1024
    reuse_port: bool = False
    on_connection: Callable[[ListenerKind], None] | None = None
    traffic: Traffic | None = None


class Listener:
    """One listening socket and its connections; made by ``listen``."""

    def __init__(
        self, address: ListenAddress, server: Server, backchannels: BackchannelRegistry, options: ListenOptions
    ) -> None:
        self._address = address
        self._server = server
        self._backchannels = backchannels
        self._options = options
        self._loop = asyncio.get_running_loop()
        self._undecided: set[asyncio.Transport] = set()
        # Weak, as a connection whose TLS handshake fails ends without a word to its protocol.
        self._arriving: weakref.WeakSet[_Accepted] = weakref.WeakSet()
        self._arrived = asyncio.Event()
        self._keeps_file = False

    @property
    def address(self) -> ListenAddress:
        """Where it listens, with the port that the system chose."""
        return self._address

    @property
    def keeps_file(self) -> bool:
        """Whether the file of a unix socket stays when listening ends."""
        return self._keeps_file

    def keep_file(self) -> None:
        """Note that another process listens on the socket now.

        The file of a unix socket stays where it is, and connections that this process has accepted are served, though
        they have not shown what they are: no client shall see the change.
        """
        self._keeps_file = True

    def protocol(self) -> asyncio.Protocol:
        """Make the protocol of an accepted connection."""
        if self._options.on_connection is not None:
            self._options.on_connection(self._address.kind)
        accepted = _Accepted(self, self._loop.time() + self._options.handshake_seconds)
        self._arriving.add(accepted)
        return accepted

    # --- from the connections ---

    def accepted(self, transport: asyncio.Transport) -> None:
        """Note a new connection, after its TLS handshake."""
        sock = transport.get_extra_info("socket")
        if sock is not None:
            tune(sock)
        self._undecided.add(transport)

    def decided(self, transport: asyncio.Transport) -> None:
        """Note that a connection belongs to the server now, or is gone."""
        self._undecided.discard(transport)

    def arrived(self, accepted: _Accepted) -> None:
        """Note that a connection has shown what it is, or is gone."""
        self._arriving.discard(accepted)
        self._arrived.set()

    def plain(self, transport: asyncio.Transport, deadline: float) -> asyncio.Protocol:
        """Make the HTTP/2 protocol of a plain connection."""
        self.decided(transport)
        return self._http2(Peer(address=peer_address(transport), listener=self._address.kind), deadline)

    def multiplexed(self, transport: asyncio.Transport, deadline: float) -> asyncio.Protocol:
        """Make the yamux protocol of a multiplexed connection; its first stream carries HTTP/2."""
        timer = self._loop.call_at(deadline, transport.abort)
        peer: Peer | None = None

        def accept() -> asyncio.Protocol:
            nonlocal peer
            timer.cancel()
            self.decided(transport)
            peer = Peer(
                address=peer_address(transport),
                listener=self._address.kind,
                session=connection,
                engine=self._options.engine,
            )
            self._backchannels.add(peer)
            return self._http2(peer, deadline)

        def lost() -> None:
            timer.cancel()
            self.decided(transport)
            if peer is not None:
                self._backchannels.remove(peer)

        connection = YamuxConnection(
            client=False,
            settings=LISTENER_SETTINGS,
            accept=accept,
            ends_with_first=True,
            on_lost=lost,
            traffic=self._options.traffic,
        )
        return connection

    async def settle(self) -> None:
        """Wait a little until the accepted connections have shown what they are."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SETTLE_SECONDS):
                await asyncio.sleep(0)  # the last ones accepted become connections
                while self._arriving:
                    self._arrived.clear()
                    await self._arrived.wait()

    def drop_undecided(self) -> None:
        """Drop the connections that have not shown what they are."""
        for transport in tuple(self._undecided):
            transport.abort()

    def _http2(self, peer: Peer, deadline: float) -> asyncio.Protocol:
        limits = replace(self._options.limits, handshake_timeout_seconds=max(deadline - self._loop.time(), 0.0))
        connection = self._server.protocol(self._options.engine, limits=limits, context=peer)
        return cast("asyncio.Protocol", connection)


class _Accepted(Detector):
    """An accepted connection that has not shown what it is."""

    def __init__(self, listener: Listener, deadline: float) -> None:
        super().__init__(
            BACKCHANNEL_MAGIC,
            lambda transport: self._decide(listener.multiplexed, transport),
            lambda transport: self._decide(listener.plain, transport),
            deadline=deadline,
        )
        self._listener = listener
        self._accepted: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._accepted = cast("asyncio.Transport", transport)
        self._listener.accepted(self._accepted)
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._accepted is not None:
            self._listener.decided(self._accepted)
        self._listener.arrived(self)
        super().connection_lost(exc)

    def _decide(
        self, make: Callable[[asyncio.Transport, float], asyncio.Protocol], transport: asyncio.Transport
    ) -> asyncio.Protocol:
        self._listener.arrived(self)
        return make(transport, self._deadline)


@asynccontextmanager
async def listen(
    address: ListenAddress,
    server: Server,
    *,
    backchannels: BackchannelRegistry,
    tls: ServerTls | None = None,
    sock: socket.socket | None = None,
    options: ListenOptions | None = None,
) -> AsyncIterator[Listener]:
    """Accept connections for ``server`` until the block is left; those accepted go on, the server ends them.

    Args:
        address: where; its kind decides about TLS.
        server: entered before, left after.
        backchannels: learns of multiplexed connections; one for all listeners of the process.
        tls: needed by TLS addresses.
        sock: an open, bound socket to use instead of a new one; closed on leaving.
        options: see there.

    Raises:
        ListenError: the socket cannot be opened, or the certificate not be read.
    """
    options = options if options is not None else ListenOptions()
    context = _tls_context(address, tls)
    sock = sock if sock is not None else open_socket(address, reuse_port=options.reuse_port)
    bound = bound_address(address, sock)
    listener = Listener(bound, server, backchannels, options)
    file = file_identity(bound)
    handshake = options.handshake_seconds if context is not None else None
    accepting = await asyncio.get_running_loop().create_server(
        listener.protocol, sock=sock, ssl=context, ssl_handshake_timeout=handshake, backlog=options.backlog
    )
    try:
        yield listener
    finally:
        await _stop_accepting(accepting, sock)
        if listener.keeps_file:
            await listener.settle()
        listener.drop_undecided()
        if not listener.keeps_file:
            remove_file(bound, file)


async def _stop_accepting(accepting: asyncio.Server, sock: socket.socket) -> None:
    """Close the socket, but not before what was accepted has become connections.

    asyncio accepts in one turn of the loop and makes the transport in the next one; a server that was closed in between
    has the connection reset.
    """
    try:
        asyncio.get_running_loop().remove_reader(sock)
        await asyncio.sleep(0)
    finally:
        accepting.close()


def check_certificate(address: ListenAddress, tls: ServerTls | None) -> None:
    """Make sure that a listener has what it needs for TLS.

    Raises:
        ListenError: it has no certificate, or one that cannot be read.
    """
    _tls_context(address, tls)


def _tls_context(address: ListenAddress, tls: ServerTls | None) -> ssl.SSLContext | None:
    if address.kind is not ListenerKind.TLS:
        return None
    if tls is None:
        msg = f"listen tcp {address.text}: no certificate is configured"
        raise ListenError(msg)
    try:
        return tls.context()
    except OSError as exc:
        msg = f'load certificate "{tls.certificate_path}": {describe(exc)}'
        raise ListenError(msg) from exc
