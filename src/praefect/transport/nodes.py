"""The connections to all nodes: one multiplexed channel each, made on demand and kept."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace

from praefect.domain.repository import Storage, VirtualStorage
from praefect.proto import health_pb2
from praefect.transport.dial import CLIENT_LIMITS, ClientTls, InvalidAddressError, YamuxSettings, open_channel
from praefect.transport.grpc.channel import Channel, ChannelOptions
from praefect.transport.grpc.client_call import ClientCall
from praefect.transport.grpc.retry import RetryPolicy
from praefect.transport.grpc.server import Server
from praefect.transport.grpc.status import Status, StatusCode, StatusError
from praefect.transport.http2 import Engine, Limits
from praefect.transport.http2 import engine as http2_engine
from praefect.transport.methods import METHODS, Operation
from praefect.transport.sidechannel import SidechannelRegistry
from praefect.transport.yamux import DIALLER_SETTINGS, Traffic

RECONNECT_LIMIT_SECONDS = 1.0
CHECK_SECONDS = 1.0
NODE_LIMITS = replace(
    CLIENT_LIMITS, keepalive_idle_seconds=1.25, keepalive_timeout_seconds=2.0, keepalive_interval_seconds=10.0
)
"""A node that has sent nothing for longer than checks are apart is asked. One that says nothing for two seconds more
has stopped, or cannot be reached: all calls on its connection end. A live one answers, whatever its calls do. The
interval is what nodes insist on. Source: the Praefect wire reference, section 8.1."""
CONTENT_TYPE = "application/grpc+proxy>proto"
"""What every call to a node carries, as upstream's codec is named. Source: the Praefect wire reference, section 8.3."""


def is_repeatable(method: str) -> bool:
    """Return whether a call of this method may be sent again by itself: only reads may."""
    info = METHODS.get(method)
    return info is not None and info.operation is Operation.ACCESSOR


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeOptions:
    """How nodes are reached.

    Attributes:
        tls: how nodes reached by TLS are verified.
        yamux: limits of the multiplexed connections.
        engine: the HTTP/2 implementation.
        limits: what a connection may cost, and when a silent one is given up.
        traffic: told of reads and writes of the multiplexed connections.
        observe: told of every call; see ``ChannelOptions``.
    """

    tls: ClientTls = field(default_factory=ClientTls)
    yamux: YamuxSettings = DIALLER_SETTINGS
    engine: Engine = field(default_factory=http2_engine)
    limits: Limits = NODE_LIMITS
    traffic: Traffic | None = None
    observe: Callable[[str, ClientCall], Callable[[Status], None]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeAddress:
    """Where a storage is served, and the secret of whoever serves it."""

    storage: Storage
    address: str
    token: str = field(repr=False)


@dataclass(slots=True)
class NodePool:
    """The channels by virtual storage and storage; made by ``open_nodes``."""

    addresses: Mapping[tuple[VirtualStorage, Storage], NodeAddress]
    channels: Mapping[tuple[VirtualStorage, Storage], Channel]
    on_unreachable: Callable[[VirtualStorage, Storage], None] = field(default=lambda _virtual_storage, _storage: None)

    def channel(self, virtual_storage: VirtualStorage, storage: Storage) -> Channel | None:
        """Return the channel to a node, ``None`` for one that is not configured."""
        return self.channels.get((virtual_storage, storage))

    def address(self, virtual_storage: VirtualStorage, storage: Storage) -> str:
        """Return the configured address of a node."""
        return self.addresses[virtual_storage, storage].address

    def server_info(self, virtual_storage: VirtualStorage, storage: Storage) -> dict[str, str]:
        """Return ``address`` and ``token`` of a node, for another node to use."""
        node = self.addresses[virtual_storage, storage]
        return {"address": node.address, "token": node.token}

    def report_unreachable(self, virtual_storage: VirtualStorage, storage: Storage) -> None:
        """Pass on that a connection to the node broke or could not be made."""
        self.on_unreachable(virtual_storage, storage)

    async def check(self, virtual_storage: VirtualStorage, storage: Storage, correlation_id: str) -> None:
        """Return if the node answers a health check with SERVING.

        Raises:
            StatusError: it does not.
        """
        channel = self.channels[virtual_storage, storage]
        if not channel.connected:
            channel.retry_now()
        response = await channel.unary(
            "/grpc.health.v1.Health/Check",
            health_pb2.HealthCheckRequest(),
            health_pb2.HealthCheckResponse,
            metadata=[("x-gitlab-correlation-id", correlation_id)],
            timeout=CHECK_SECONDS,
        )
        if response.status != health_pb2.HealthCheckResponse.SERVING:
            raise StatusError(StatusCode.UNAVAILABLE, "node is not serving")


@asynccontextmanager
async def open_nodes(
    nodes: Mapping[VirtualStorage, Sequence[NodeAddress]],
    *,
    backchannel: Server,
    sidechannels: SidechannelRegistry,
    options: NodeOptions | None = None,
) -> AsyncIterator[NodePool]:
    """Prepare a channel to every node; nothing is dialled before the first call.

    Args:
        nodes: the members of each virtual storage.
        backchannel: serves the calls that nodes make back over these connections.
        sidechannels: takes the sidechannels that nodes open.
        options: see there.
    """
    options = options or NodeOptions()
    calls = ChannelOptions(content_type=CONTENT_TYPE, retry=RetryPolicy(applies=is_repeatable), observe=options.observe)
    async with AsyncExitStack() as stack:
        addresses: dict[tuple[VirtualStorage, Storage], NodeAddress] = {}
        channels: dict[tuple[VirtualStorage, Storage], Channel] = {}
        for virtual_storage, members in nodes.items():
            for node in members:
                try:
                    channel = open_channel(
                        node.address,
                        token=node.token,
                        tls=options.tls,
                        multiplex=True,
                        backchannel_server=backchannel,
                        sidechannels=sidechannels,
                        yamux=options.yamux,
                        engine=options.engine,
                        limits=options.limits,
                        traffic=options.traffic,
                        reconnect_limit_seconds=RECONNECT_LIMIT_SECONDS,
                        options=calls,
                    )
                except InvalidAddressError as exc:
                    place = f'dial nodes: dial "{virtual_storage}"/"{node.storage}"'
                    raise InvalidAddressError(f"{place}: {exc}") from exc
                addresses[virtual_storage, node.storage] = node
                channels[virtual_storage, node.storage] = await stack.enter_async_context(channel)
        yield NodePool(addresses, channels)
