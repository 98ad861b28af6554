"""What every TCP socket of the program is told, and how addresses and system errors are shown."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
from typing import TYPE_CHECKING

from praefect.transport.addresses import join_host_port

if TYPE_CHECKING:
    import asyncio

_KEEPALIVE_SECONDS = 15
_USER_TIMEOUT_MILLISECONDS = 20_000


def tune(sock: socket.socket) -> None:
    """Make a TCP socket send at once, and notice within 20 s that the other machine is gone; others are left alone.

    Source: the Praefect wire reference, section 8.1.
    """
    if sock.family == socket.AF_UNIX:
        return
    options = [
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_SECONDS),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE_SECONDS),
        (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _USER_TIMEOUT_MILLISECONDS),
    ]
    for level, option, value in options:
        with contextlib.suppress(OSError):  # the peer may be gone already
            sock.setsockopt(level, option, value)


def peer_address(transport: asyncio.BaseTransport) -> str:
    """Return the remote address as text, ``@`` for a unix socket without a name."""
    name = transport.get_extra_info("peername")
    if isinstance(name, tuple):
        return join_host_port(str(name[0]), int(name[1]))
    if isinstance(name, bytes):
        return f"@{name[1:].decode(errors='replace')}"
    return str(name) if name else "@"


def describe(error: OSError) -> str:
    """Return a system error as Go prints it: the system's text in lower case."""
    if isinstance(error, ssl.SSLError):
        text = (error.reason or str(error)).replace("_", " ").lower()
    elif isinstance(error, socket.gaierror) or not error.errno:
        text = error.strerror or str(error)
    else:
        text = os.strerror(error.errno)  # asyncio puts a text of its own into errors of connecting
    text = text or type(error).__name__
    return text[:1].lower() + text[1:]
