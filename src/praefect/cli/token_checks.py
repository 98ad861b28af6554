"""Whether the secret of clients opens nodes: who may call Praefect must not be able to write behind its back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from praefect.cli.node_probe import nodes_to_probe
from praefect.cli.nodes import open_node
from praefect.config.quoting import quote
from praefect.domain.errors import FailedPreconditionError, PraefectError
from praefect.proto import server_pb2

if TYPE_CHECKING:
    from collections.abc import Callable

    from praefect.config.praefect import PraefectConfig

    Say = Callable[[str], None]

_CONSEQUENCE = "clients that call nodes directly change repositories behind Praefect's back, which loses data"


class TokenExposedError(FailedPreconditionError):
    """Nodes accept what clients know."""


def check_tokens_differ(config: PraefectConfig) -> None:
    """Compare the token of clients with those of the nodes.

    Raises:
        TokenExposedError: naming the nodes whose token is the clients'.
    """
    nodes = [
        quote(node.storage)
        for virtual in config.virtual_storages
        for node in virtual.nodes
        if node.token and node.token == config.auth.token
    ]
    if nodes:
        text = f"auth.token, the secret of clients, is also the token of {', '.join(nodes)}"
        raise TokenExposedError(f"{text}: {_CONSEQUENCE}")


async def check_nodes_refuse_clients(config: PraefectConfig, *, seconds: float) -> None:
    """Call every node with the token of clients; one that does not answer cannot be judged and passes.

    Raises:
        TokenExposedError: naming the nodes that accept it.
    """
    if not config.auth.token:
        return
    async with asyncio.TaskGroup() as calls:
        accepts = {
            address: calls.create_task(_accepts(address, config, seconds), name=f"call {address}")
            for address in dict.fromkeys(node.address for node in nodes_to_probe(config))
        }
    open_nodes = [address for address, call in accepts.items() if call.result()]
    if open_nodes:
        text = f"auth.token, the secret of clients, is accepted by {', '.join(open_nodes)}"
        raise TokenExposedError(f"{text}: {_CONSEQUENCE}")


async def _accepts(address: str, config: PraefectConfig, seconds: float) -> bool:
    try:
        async with open_node(address, config.auth.token, config) as channel:
            await channel.unary(
                "/gitaly.ServerService/ServerInfo",
                server_pb2.ServerInfoRequest(),
                server_pb2.ServerInfoResponse,
                timeout=seconds,
            )
    except PraefectError:
        return False
    return True
