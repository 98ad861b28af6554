"""The running Praefect, as its operators' commands reach it: by the addresses of its own configuration file."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from praefect.cli.command import CommandError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from praefect.config.praefect import PraefectConfig
    from praefect.transport.grpc.channel import Channel
    from praefect.transport.grpc.status import StatusError

INFO_SERVICE = "/gitaly.PraefectInfoService"


def praefect_address(config: PraefectConfig) -> str:
    """Where the server of this configuration listens: socket, TCP, TLS, the first that is set.

    Raises:
        CommandError: none is set.
    """
    for prefix, value in (
        ("unix:", config.socket_path),
        ("tcp://", config.listen_addr),
        ("tls://", config.tls_listen_addr),
    ):
        if value:
            return f"{prefix}{value}"
    raise CommandError("no Praefect address configured")


@asynccontextmanager
async def dial_praefect(config: PraefectConfig, *, error_prefix: str) -> AsyncIterator[Channel]:
    """Open a channel to the running Praefect; nothing is sent before the first call.

    Args:
        config: whose server is meant.
        error_prefix: stands before the reason if the address cannot be understood.

    Raises:
        CommandError: it cannot.
    """
    from praefect.transport.dial import InvalidAddressError, open_channel
    from praefect.transport.http2 import engine

    try:
        channel = open_channel(
            praefect_address(config), token=config.auth.token or None, engine=engine(config.http2.engine.value)
        )
    except InvalidAddressError as exc:
        raise CommandError(f"{error_prefix}{exc}") from exc
    async with channel:
        yield channel


def describe_rpc_error(error: StatusError) -> str:
    """Say how a call ended, as Go's clients print it."""
    return f"rpc error: code = {error.code.label} desc = {error.message}"
