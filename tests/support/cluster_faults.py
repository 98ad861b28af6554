"""Faults of a cluster of real processes, each with its repair: parts that are away, and secrets that do not fit."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from praefect.app.cluster import Cluster

WRONG = "wrong"


async def stop_nodes(cluster: Cluster, *names: str) -> None:
    """Stop nodes, all if none is named."""
    for name in names or cluster.layout.node_names:
        await cluster.child(name).stop()


async def start_nodes(cluster: Cluster, *names: str) -> None:
    """Start nodes, all if none is named."""
    for name in names or cluster.layout.node_names:
        await cluster.start_node(name)


async def spoil_node_tokens(cluster: Cluster, *names: str) -> None:
    """Let nodes know another token than Praefect has for them."""
    for name in names or cluster.layout.node_names:
        await cluster.child(name).stop()
        replace(cluster.layout.node_config(name), cluster.secrets.internal_token, WRONG)
        await cluster.start_node(name)


async def restore_node_tokens(cluster: Cluster, *names: str) -> None:
    """Undo ``spoil_node_tokens``."""
    for name in names or cluster.layout.node_names:
        await cluster.child(name).stop()
        replace(cluster.layout.node_config(name), WRONG, cluster.secrets.internal_token)
        await cluster.start_node(name)


async def stop_praefect(cluster: Cluster) -> None:
    """Stop Praefect."""
    await cluster.child("praefect").stop()


async def start_praefect(cluster: Cluster) -> None:
    """Start Praefect."""
    await cluster.start_praefect()


async def stop_postgresql(cluster: Cluster) -> None:
    """Stop PostgreSQL, which cuts its clients off."""
    assert cluster.postgres is not None
    os.kill(cluster.postgres.process_id, signal.SIGINT)
    await cluster.postgres.wait()


async def start_postgresql(cluster: Cluster) -> None:
    """Start PostgreSQL."""
    assert cluster.postgres is not None
    await cluster.postgres.restart()


def spoil_gateway_token(cluster: Cluster) -> None:
    """Write another token for Praefect into the gateway's file."""
    replace(cluster.layout.gateway_config, cluster.secrets.external_token, WRONG)


def restore_gateway_token(cluster: Cluster) -> None:
    """Undo ``spoil_gateway_token``."""
    replace(cluster.layout.gateway_config, WRONG, cluster.secrets.external_token)


async def restart_gateway(cluster: Cluster) -> None:
    """Let the gateway read its file again."""
    await cluster.child("praefect-gateway").stop()
    await cluster.start_gateway()


def replace(path: Path, old: str, new: str) -> None:
    """Replace what stands once in a file."""
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
