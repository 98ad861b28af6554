"""Whether the nodes can be reached, know us and serve the storages that the configuration expects of them.

A health check needs no token: what judges a node's token is the call that follows it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from praefect.cli.nodes import open_node
from praefect.cli.running_praefect import describe_rpc_error
from praefect.config.quoting import quote
from praefect.domain.errors import PraefectError
from praefect.proto import health_pb2, server_pb2
from praefect.transport.dial import InvalidAddressError
from praefect.transport.grpc.status import StatusError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from praefect.config.praefect import PraefectConfig
    from praefect.transport.grpc.channel import Channel

    Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbedNode:
    """One server: an address and the token it is called with.

    Attributes:
        storages: virtual storages by the storage that the server is expected to serve.
    """

    address: str
    token: str = field(repr=False)
    storages: dict[str, list[str]] = field(default_factory=dict)


class ProbeFailedError(PraefectError):
    """A node is not fit to be used; the message is the line that says why."""


def nodes_to_probe(config: PraefectConfig) -> list[ProbedNode]:
    """The servers of the configuration; storages behind one address with one token are one."""
    found: dict[tuple[str, str], ProbedNode] = {}
    for virtual in config.virtual_storages:
        for node in virtual.nodes:
            probed = found.setdefault((node.address, node.token), ProbedNode(address=node.address, token=node.token))
            probed.storages.setdefault(node.storage, []).append(virtual.name)
    return list(found.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What was found of one server; without ``errors`` it is fit to be used."""

    node: ProbedNode
    errors: Sequence[str] = ()

    def document(self) -> dict[str, object]:
        """Say it in a document."""
        return {
            "address": self.node.address,
            "storages": self.node.storages,
            "healthy": not self.errors,
            "errors": list(self.errors),
        }


def unhealthy_addresses(probes: Sequence[Probe]) -> Sequence[str]:
    """The addresses of servers that are not fit to be used, in the order in which that was found."""
    return list(dict.fromkeys(probe.node.address for probe in probes if probe.errors))


async def probe_nodes(config: PraefectConfig, *, seconds: float, say: Say, show: Say) -> Sequence[Probe]:
    """Probe all nodes at once, each within the limit; return what was found, the quickest first.

    Args:
        config: names the nodes.
        seconds: the limit.
        say: told what is tried and found.
        show: told how many nodes have been probed.
    """
    nodes = nodes_to_probe(config)
    probes: list[Probe] = []
    deadline = asyncio.get_running_loop().time() + seconds

    async def probe(node: ProbedNode) -> None:
        def say_of_node(text: str) -> None:
            say(f"[{node.address}]: {text}")

        errors: Sequence[str] = ()
        try:
            await _probe(node, config, deadline, say_of_node)
        except ProbeFailedError as exc:
            errors = str(exc).split("\n")
            for line in errors:
                say_of_node(f"ERROR: {line}")
        probes.append(Probe(node=node, errors=errors))
        show(f"probed {len(probes)} of {len(nodes)} nodes")

    show(f"probing {len(nodes)} nodes")
    async with asyncio.TaskGroup() as group:
        for node in nodes:
            group.create_task(probe(node), name=f"probe {node.address}")
    return probes


async def _probe(node: ProbedNode, config: PraefectConfig, deadline: float, say: Say) -> None:
    say("dialing...")
    try:
        channel = open_node(node.address, node.token, config)
    except InvalidAddressError as exc:
        raise ProbeFailedError(f"dialing failed: {exc}") from exc
    async with channel:
        say("dialed successfully!")
        say("checking health...")
        await _check_health(channel, deadline)
        say("SUCCESS: node is healthy!")
        say("checking consistency...")
        try:
            await _check_storages(channel, node, deadline, say)
        except ProbeFailedError as exc:
            raise ProbeFailedError(f"{exc}\nconsistency check failed") from exc
        say("SUCCESS: node configuration is consistent!")


async def _check_health(channel: Channel, deadline: float) -> None:
    try:
        response = await channel.unary(
            "/grpc.health.v1.Health/Check",
            health_pb2.HealthCheckRequest(),
            health_pb2.HealthCheckResponse,
            timeout=_remaining(deadline),
        )
    except StatusError as exc:
        raise ProbeFailedError(f"unable to request health check: {describe_rpc_error(exc)}") from exc
    if response.status != health_pb2.HealthCheckResponse.SERVING:
        status = health_pb2.HealthCheckResponse.ServingStatus.Name(response.status)
        raise ProbeFailedError(f"health check did not report serving, instead reported: {status}")


async def _check_storages(channel: Channel, node: ProbedNode, deadline: float, say: Say) -> None:
    try:
        response = await channel.unary(
            "/gitaly.ServerService/ServerInfo",
            server_pb2.ServerInfoRequest(),
            server_pb2.ServerInfoResponse,
            timeout=_remaining(deadline),
        )
    except StatusError as exc:
        raise ProbeFailedError(f"failed to receive state from the remote: {describe_rpc_error(exc)}") from exc
    if not response.storage_statuses:
        raise ProbeFailedError("remote has no configured storages")
    counts = Counter(status.storage_name for status in response.storage_statuses)
    missing = set(node.storages)
    for status in response.storage_statuses:
        name = status.storage_name
        if counts[name] > 1:
            raise ProbeFailedError(f"remote has duplicated storage: {quote(name)}")
        if name not in node.storages:
            continue
        if not (status.readable and status.writeable):
            raise ProbeFailedError(f"storage {quote(name)} is not readable or writable")
        missing.discard(name)
        users = " ".join(node.storages[name])
        say(f"SUCCESS: confirmed Gitaly storage {quote(name)} in virtual storages [{users}] is served")
    if missing:
        text = (f"configured storage was not reported by remote: {quote(name)}" for name in sorted(missing))
        raise ProbeFailedError("\n".join(text))


def _remaining(deadline: float) -> float:
    return deadline - asyncio.get_running_loop().time()
