"""Who is on the other end of a connection, and the ways back to it.

Every server-side HTTP/2 connection carries a ``Peer`` as its context. If the peer multiplexes its connection, streams
can be opened towards it: a backchannel (gRPC with the roles swapped, for votes) and sidechannels (bulk bytes of one
call).
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from praefect.transport.grpc.channel import Channel
    from praefect.transport.sidechannel import Sidechannel
    from praefect.transport.yamux import YamuxConnection


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

    __slots__ = ("address", "backchannel_id", "listener", "session")

    def __init__(
        self,
        *,
        address: str,
        listener: ListenerKind = ListenerKind.TCP,
        session: YamuxConnection | None = None,
        backchannel_id: int = 0,
    ) -> None:
        self.address = address
        self.listener = listener
        self.session = session
        self.backchannel_id = backchannel_id

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
        raise NotImplementedError

    def backchannel(self) -> Channel:
        """Return the gRPC channel towards the peer, made at first use, connected on demand, closed with the peer."""
        raise NotImplementedError
