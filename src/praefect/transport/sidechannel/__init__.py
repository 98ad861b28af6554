"""Sidechannels: the bulk bytes of one call, on a stream of their own beside the call's HTTP/2 connection.

Words: the *client* made the call and registered an id; the *server* handles the call and opens the stream. Towards the
server bytes travel in packets, so that the client can end its request and still read; towards the client they travel as
they are. A *bridge* joins two sidechannels in a proxy.

Source: the Praefect wire reference, section 5.
"""

from praefect.transport.sidechannel.bridge import Bridge, SidechannelBridgeError, SidechannelBridges
from praefect.transport.sidechannel.client import (
    SIDECHANNEL_KEY,
    ClientSidechannel,
    SidechannelClient,
    SidechannelRegistry,
)
from praefect.transport.sidechannel.endpoint import SidechannelBrokenError
from praefect.transport.sidechannel.packets import PacketDecoder, PacketError, encode
from praefect.transport.sidechannel.server import (
    NotMultiplexedError,
    Sidechannel,
    SidechannelRefusedError,
    SidechannelUnavailableError,
    open_sidechannel,
    parse_sidechannel_id,
)

__all__ = [
    "SIDECHANNEL_KEY",
    "Bridge",
    "ClientSidechannel",
    "NotMultiplexedError",
    "PacketDecoder",
    "PacketError",
    "Sidechannel",
    "SidechannelBridgeError",
    "SidechannelBridges",
    "SidechannelBrokenError",
    "SidechannelClient",
    "SidechannelRefusedError",
    "SidechannelRegistry",
    "SidechannelUnavailableError",
    "encode",
    "open_sidechannel",
    "parse_sidechannel_id",
]
