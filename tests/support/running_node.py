"""A whole storage node in this process, with its listeners; and channels to it."""

from __future__ import annotations

import base64
import json
import shutil
import tempfile
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from praefect.app.node import run_node
from praefect.config.node import AuthConfig, NodeConfig, StorageConfig
from praefect.runtime.signals import Stop
from praefect.transport.dial import open_channel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from praefect.config.node import GitlabConfig
    from praefect.transport.grpc.channel import Channel
    from praefect.transport.sidechannel import SidechannelRegistry

TOKEN = "node secret"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningNode:
    """A node and a channel to it."""

    name: str
    storage: Path
    address: str
    channel: Channel

    @property
    def server_metadata(self) -> tuple[str, str]:
        """What tells another node where this one is."""
        return servers_metadata({self.name: {"address": self.address, "token": TOKEN}})

    def multiplexed(self, sidechannels: SidechannelRegistry) -> Channel:
        """Return a further channel, over which the node can open sidechannels."""
        return open_channel(self.address, token=TOKEN, multiplex=True, sidechannels=sidechannels)


def servers_metadata(servers: dict[str, dict[str, str]]) -> tuple[str, str]:
    return ("gitaly-servers", base64.b64encode(json.dumps(servers).encode()).decode())


@asynccontextmanager
async def running_node(
    storage: Path, *, name: str = "default", gitlab: GitlabConfig | None = None, config: NodeConfig | None = None
) -> AsyncIterator[RunningNode]:
    """Run a node on ``storage`` until the block is left."""
    storage.mkdir(parents=True, exist_ok=True)
    runtime = tempfile.mkdtemp(prefix="node-")
    base = config or NodeConfig()
    config = replace(
        base,
        listen_addr="127.0.0.1:0",
        runtime_dir=runtime,
        auth=AuthConfig(token=TOKEN),
        storages=(StorageConfig(name=name, path=str(storage)),),
        gitlab=gitlab or base.gitlab,
    )
    try:
        async with run_node(config, Stop()) as addresses:
            address = addresses[0].dial_address
            async with open_channel(address, token=TOKEN) as channel:
                yield RunningNode(name=name, storage=storage, address=address, channel=channel)
        assert list(Path(runtime).iterdir()) == []
    finally:
        shutil.rmtree(runtime)
