"""Making connections: addresses, TLS, and multiplexing offered by the side that dials.

A multiplexed connection begins with eleven bytes, then yamux; its first stream carries the calls. The other side may
open streams too: a sidechannel goes to the registry, anything else is HTTP/2 with the roles swapped.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, cast

from praefect.domain.errors import UnavailableError
from praefect.transport.addresses import DialAddress, DialKind, InvalidAddressError, join_host_port
from praefect.transport.detector import BACKCHANNEL_MAGIC, SIDECHANNEL_MAGIC, Detector
from praefect.transport.grpc.channel import Channel, ChannelOptions
from praefect.transport.grpc.connector import ConnectOptions
from praefect.transport.grpc.server import Server
from praefect.transport.http2 import Engine, Limits
from praefect.transport.http2 import engine as http2_engine
from praefect.transport.peer import ListenerKind, Peer
from praefect.transport.resolver import resolve
from praefect.transport.sidechannel.client import SidechannelAcceptor, SidechannelRegistry
from praefect.transport.sockets import describe, tune
from praefect.transport.tls import ClientTls
from praefect.transport.yamux import DIALLER_SETTINGS, Traffic, YamuxConnection
from praefect.transport.yamux import Settings as YamuxSettings

if TYPE_CHECKING:
    from praefect.transport.http2 import Connection

__all__ = [
    "ClientTls",
    "DialAddress",
    "DialError",
    "DialOptions",
    "Dialer",
    "InvalidAddressError",
    "YamuxSettings",
    "open_channel",
]

CLIENT_LIMITS = Limits(keepalive_idle_seconds=20.0, keepalive_timeout_seconds=20.0, handshake_timeout_seconds=20.0)
"""Source: the Praefect wire reference, section 8.1."""
_DETECTION_SECONDS = 120.0
_BACKCHANNEL_LIMITS = Limits(keepalive_idle_seconds=7200.0, handshake_timeout_seconds=_DETECTION_SECONDS)


class DialError(UnavailableError):
    """No connection could be made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DialOptions:
    """How a connection is made and used.

    Attributes:
        tls: whom to trust, for addresses with TLS.
        multiplex: whether the other side may open streams.
        backchannel_server: answers calls the other side makes; ``None`` refuses every method.
        sidechannels: takes the sidechannels the other side opens; ``None`` refuses them.
        yamux: limits of a multiplexed connection.
        engine: the HTTP/2 implementation.
        limits: what the HTTP/2 connection may cost.
        traffic: told of reads and writes of multiplexed connections.
    """

    tls: ClientTls = field(default_factory=ClientTls)
    multiplex: bool = False
    backchannel_server: Server | None = None
    sidechannels: SidechannelRegistry | None = None
    yamux: YamuxSettings = DIALLER_SETTINGS
    engine: Engine = field(default_factory=http2_engine)
    limits: Limits = CLIENT_LIMITS
    traffic: Traffic | None = None


class Dialer:
    """Makes connections to one address.

    Args:
        address: whom to dial.
        options: see there.

    Raises:
        InvalidAddressError: the address cannot be understood.
    """

    def __init__(self, address: str | DialAddress, options: DialOptions | None = None) -> None:
        self.address = address if isinstance(address, DialAddress) else DialAddress.parse(address)
        self._options = options if options is not None else DialOptions()
        self._server = self._options.backchannel_server or Server()
        self._context: ssl.SSLContext | None = None
        self._turn = 0

    @property
    def scheme(self) -> str:
        """The ``:scheme`` of requests."""
        return self.address.scheme

    @property
    def authority(self) -> str:
        """The ``:authority`` of requests."""
        return self.address.authority

    async def connect(self) -> Connection:
        """Make a connection; it is not ready before the other side's settings arrived (``wait_ready``).

        Several addresses behind one name are tried in turn, and the next connection begins with the next one.

        Raises:
            DialError: none of them could be reached.
        """
        if self.address.kind is DialKind.UNIX:
            sock = await self._connect_socket(socket.AF_UNIX, self.address.path)
            return await self._establish(sock)
        targets = await self._resolve()
        first = self._turn % len(targets)
        self._turn += 1
        error: DialError | None = None
        for family, target in targets[first:] + targets[:first]:
            try:
                return await self._establish(await self._connect_socket(family, target))
            except DialError as exc:
                error = exc
        assert error is not None  # noqa: S101 - there was a target
        raise error

    async def _resolve(self) -> list[tuple[int, tuple[str, int]]]:
        address = self.address
        try:
            return await resolve(address.host, address.port, address.nameserver)
        except TimeoutError as exc:
            msg = f"lookup {address.host}: i/o timeout"
            raise DialError(msg) from exc
        except OSError as exc:
            what = "no such host" if isinstance(exc, socket.gaierror) else describe(exc)
            msg = f"lookup {address.host}: {what}"
            raise DialError(msg) from exc

    async def _connect_socket(self, family: int, target: str | tuple[str, int]) -> socket.socket:
        try:
            sock = socket.socket(family, socket.SOCK_STREAM)
        except OSError as exc:
            raise _dial_error(target, describe(exc)) from exc
        try:
            sock.setblocking(False)
            tune(sock)
            await asyncio.get_running_loop().sock_connect(sock, target)
        except OSError as exc:
            sock.close()
            raise _dial_error(target, f"connect: {describe(exc)}") from exc
        except BaseException:
            sock.close()
            raise
        return sock

    async def _establish(self, sock: socket.socket) -> Connection:
        """Put TLS, yamux and HTTP/2 on a connected socket, which this owns."""
        options = self._options
        try:
            context = self._tls_context()
            name = (options.tls.server_name or self.address.host) if context is not None else None
            factory = self._multiplexed if options.multiplex else self._http2
            _, protocol = await asyncio.get_running_loop().create_connection(
                cast("type[asyncio.Protocol]", factory), sock=sock, ssl=context, server_hostname=name
            )
        except ssl.SSLError as exc:
            sock.close()
            msg = f"authentication handshake failed: {_tls_text(exc)}"
            raise DialError(msg) from exc
        except OSError as exc:
            sock.close()
            msg = f"authentication handshake failed: {describe(exc) or 'EOF'}"
            raise DialError(msg) from exc
        except BaseException:
            sock.close()
            raise
        if isinstance(protocol, YamuxConnection):
            _, connection = protocol.open_stream_nowait(self._http2)
            return connection
        return cast("Connection", protocol)

    def _tls_context(self) -> ssl.SSLContext | None:
        if self.address.tls and self._context is None:
            self._context = self._options.tls.context()
        return self._context

    def _http2(self) -> Connection:
        return self._options.engine.client(limits=self._options.limits, context=self.address)

    def _multiplexed(self) -> YamuxConnection:
        return YamuxConnection(
            client=True,
            settings=self._options.yamux,
            accept=self._accept,
            preface=BACKCHANNEL_MAGIC,
            ends_with_first=True,
            traffic=self._options.traffic,
        )

    def _accept(self) -> asyncio.Protocol:
        """Make the protocol of a stream that the other side opened."""
        deadline = asyncio.get_running_loop().time() + _DETECTION_SECONDS
        return Detector(SIDECHANNEL_MAGIC, self._sidechannel, self._backchannel, deadline=deadline)

    def _sidechannel(self, _transport: asyncio.Transport) -> asyncio.Protocol:
        return SidechannelAcceptor(self._options.sidechannels or SidechannelRegistry())

    def _backchannel(self, _transport: asyncio.Transport) -> asyncio.Protocol:
        peer = Peer(address=self.address.raw, listener=ListenerKind.BACKCHANNEL)
        connection = self._server.protocol(self._options.engine, limits=_BACKCHANNEL_LIMITS, context=peer)
        return cast("asyncio.Protocol", connection)


def _dial_error(target: str | tuple[str, int], text: str) -> DialError:
    where = f"unix {target}" if isinstance(target, str) else f"tcp {join_host_port(*target[:2])}"
    return DialError(f"dial {where}: {text}")


_EXPIRED = "certificate has expired or is not yet valid"
_UNKNOWN_AUTHORITY = "certificate signed by unknown authority"
_VERIFY_TEXTS = {
    **dict.fromkeys((9, 10), _EXPIRED),
    **dict.fromkeys((18, 19, 20, 21), _UNKNOWN_AUTHORITY),
}
"""Go's words for OpenSSL's codes of X509_verify_cert."""
_NOT_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE")


def _tls_text(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = _VERIFY_TEXTS.get(error.verify_code, error.verify_message)
        return f"tls: failed to verify certificate: x509: {reason}"
    if error.reason in _NOT_TLS:
        return "tls: first record does not look like a TLS handshake"
    return f"tls: {error.reason or error}"


def open_channel(  # noqa: PLR0913 - the choices of whoever dials
    address: str,
    *,
    token: str | None,
    tls: ClientTls | None = None,
    multiplex: bool = False,
    backchannel_server: Server | None = None,
    sidechannels: SidechannelRegistry | None = None,
    yamux: YamuxSettings | None = None,
    engine: Engine | None = None,
    limits: Limits = CLIENT_LIMITS,
    traffic: Traffic | None = None,
    connect_timeout_seconds: float = 20.0,
    reconnect_limit_seconds: float = 120.0,
    options: ChannelOptions | None = None,
) -> Channel:
    """Return a channel to an address; nothing is dialled before the first call.

    Args:
        address: whom to dial.
        token: the secret that calls prove to know, ``None`` for none.
        tls: whom to trust, for addresses with TLS.
        multiplex: whether the other side may open streams, for votes and sidechannels.
        backchannel_server: answers calls the other side makes on a multiplexed connection.
        sidechannels: takes the sidechannels the other side opens on a multiplexed connection.
        yamux: limits of a multiplexed connection.
        engine: the HTTP/2 implementation.
        limits: what the HTTP/2 connection may cost.
        traffic: told of reads and writes of multiplexed connections.
        connect_timeout_seconds: how long a connection may take to be ready.
        reconnect_limit_seconds: the longest wait after failed attempts.
        options: of the calls; authority, scheme and connect options are set here.

    Raises:
        InvalidAddressError: the address cannot be understood.
    """
    dialer = Dialer(
        address,
        DialOptions(
            tls=tls or ClientTls(),
            multiplex=multiplex,
            backchannel_server=backchannel_server,
            sidechannels=sidechannels,
            yamux=yamux or DIALLER_SETTINGS,
            engine=engine or http2_engine(),
            limits=limits,
            traffic=traffic,
        ),
    )
    connect = ConnectOptions(
        timeout_seconds=connect_timeout_seconds,
        backoff_initial_seconds=min(1.0, reconnect_limit_seconds),
        backoff_max_seconds=reconnect_limit_seconds,
    )
    options = replace(options or ChannelOptions(), authority=dialer.authority, scheme=dialer.scheme, connect=connect)
    return Channel(dialer.connect, token=token, options=options)
