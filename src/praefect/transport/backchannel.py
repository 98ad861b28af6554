"""The multiplexed connections that this process accepted, by number.

A call that is part of a transaction remembers the number of the connection it came on; the node votes over exactly that
connection, because transactions are numbered by each Praefect for itself.

Source: the Praefect wire reference, section 4.6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from praefect.domain.errors import InternalError

if TYPE_CHECKING:
    from praefect.transport.grpc.channel import Channel
    from praefect.transport.peer import Peer


class BackchannelNotFoundError(InternalError):
    """The connection is gone, or was never multiplexed."""

    def __init__(self, backchannel_id: int) -> None:
        super().__init__(f"no backchannel for peer {backchannel_id}")
        self.backchannel_id = backchannel_id


class BackchannelRegistry:
    """The peers that streams can be opened to; one for all listeners of a process."""

    def __init__(self) -> None:
        self._peers: dict[int, Peer] = {}
        self._last_id = 0

    def __len__(self) -> int:
        """Return how many multiplexed connections there are."""
        return len(self._peers)

    def add(self, peer: Peer) -> None:
        """Give a peer its number, counted from 1."""
        self._last_id += 1
        peer.backchannel_id = self._last_id
        self._peers[peer.backchannel_id] = peer

    def remove(self, peer: Peer) -> None:
        """Forget a peer whose connection is gone."""
        self._peers.pop(peer.backchannel_id, None)

    def peer(self, backchannel_id: int) -> Peer:
        """Return the peer of that number.

        Raises:
            BackchannelNotFoundError: there is none (any more).
        """
        peer = self._peers.get(backchannel_id)
        if peer is None:
            raise BackchannelNotFoundError(backchannel_id)
        return peer

    def channel(self, backchannel_id: int) -> Channel | None:
        """Return the channel to the peer of that number, ``None`` if there is none (any more)."""
        peer = self._peers.get(backchannel_id)
        return None if peer is None else peer.backchannel()
