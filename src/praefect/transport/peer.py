"""Who is on the other end of a connection, and the ways back to it.

Every server-side HTTP/2 connection carries a ``Peer`` as its context. If the peer multiplexes its connection, streams
can be opened towards it: a backchannel (gRPC with the roles swapped, for votes) and sidechannels (bulk bytes of one
call).
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from praefect.transport.grpc.channel import Channel, ChannelOptions
from praefect.transport.http2 import Limits
from praefect.transport.sidechannel.server import NotMultiplexedError, open_sidechannel

if TYPE_CHECKING:
    from praefect.transport.http2 import Connection, Engine
    from praefect.transport.sidechannel.server import Sidechannel
    from praefect.transport.yamux import YamuxConnection

BACKCHANNEL_LIMITS = Limits(keepalive_idle_seconds=None, handshake_timeout_seconds=20.0)
"""Of the calling side: liveness is watched on the connection that the stream is part of."""


class ListenerKind(enum.StrEnum):
    """What the connection arrived on."""

    TCP = "tcp"
    TLS = "tls"
    UNIX = "unix"
    BACKCHANNEL = "backchannel"  # a stream that the other side opened on a connection dialled by this side


class Peer:
    """The other end of one connection.

    Attributes:
        address: the remote address as text, ``@`` for a unix socket without a name.
        listener: what the connection arrived on.
        session: the yamux session, ``None`` on a plain connection.
        backchannel_id: the process-wide number of a multiplexed connection, from 1; 0 on a plain one.
    """

    __slots__ = ("_channel", "_engine", "address", "backchannel_id", "listener", "session")

    def __init__(
        self,
        *,
        address: str,
        listener: ListenerKind = ListenerKind.TCP,
        session: YamuxConnection | None = None,
        engine: Engine | None = None,
    ) -> None:
        self.address = address
        self.listener = listener
        self.session = session
        self.backchannel_id = 0
        self._engine = engine
        self._channel: Channel | None = None

    def __repr__(self) -> str:
        return f"Peer({self.address!r}, {self.listener.value}, backchannel_id={self.backchannel_id})"

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.listener is ListenerKind.TLS

    @property
    def multiplexed(self) -> bool:
        """Whether streams can be opened towards the peer."""
        return self.session is not None

    async def open_sidechannel(self, sidechannel_id: int) -> Sidechannel:
        """Open the sidechannel that the peer registered under this id; see ``sidechannel.open_sidechannel``."""
        return await open_sidechannel(self.session, sidechannel_id)

    def backchannel(self) -> Channel:
        """Return the gRPC channel towards the peer: made at first use, connected on demand, gone with the connection.

        Raises:
            NotMultiplexedError: the connection is a plain one.
        """
        if self._channel is None:
            if self.session is None or self._engine is None:
                raise NotMultiplexedError
            # The address of a unix socket is no authority that HTTP/2 allows.
            authority = "localhost" if self.listener is ListenerKind.UNIX else self.address
            # Its connections are streams of the session and end with it; there is nothing else to close.
            self._channel = Channel(self._connect, options=ChannelOptions(authority=authority or "localhost"))
        return self._channel

    async def _connect(self) -> Connection:
        if self.session is None or self._engine is None:
            raise NotMultiplexedError
        engine = self._engine
        _, connection = await self.session.open_stream(lambda: engine.client(limits=BACKCHANNEL_LIMITS, context=self))
        return connection
