"""HTTP/1.1 as bytes, for requests that no proper client sends."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

LIMIT_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RawAnswer:
    """What came back before the server closed; ``status`` is 0 if it closed without an answer."""

    status: int
    head: str
    body: bytes


async def exchange(
    url: str,
    method: bytes,
    target: bytes,
    *,
    headers: Sequence[tuple[bytes, bytes]] = (),
    body: bytes = b"",
) -> RawAnswer:
    """Send one request as it is, only with its length and the wish to close after it, and read the whole answer."""
    lines = [method + b" " + target + b" HTTP/1.1", b"Host: gateway", b"Connection: close"]
    lines += [name + b": " + value for name, value in headers]
    if not any(name.lower() in (b"content-length", b"transfer-encoding") for name, _ in headers):
        lines.append(b"Content-Length: %d" % len(body))
    return await send(url, b"\r\n".join(lines) + b"\r\n\r\n" + body)


async def send(url: str, request: bytes, *, eof: bool = False) -> RawAnswer:
    """Send bytes, with ``eof`` the end after them, and read until the server closes."""
    host, _, port = url.removeprefix("http://").partition(":")
    async with asyncio.timeout(LIMIT_SECONDS):
        reader, writer = await asyncio.open_connection(host, int(port))
        received = b""
        try:
            try:
                writer.write(request)
                await writer.drain()
                if eof:
                    writer.write_eof()
            except ConnectionError:
                pass  # the server has heard enough; its answer can still be read
            try:
                while data := await reader.read(1 << 16):
                    received += data
            except ConnectionError:
                pass
        finally:
            writer.transport.abort()
    head, _, rest = received.partition(b"\r\n\r\n")
    words = head.split(b" ", 2)
    status = int(words[1]) if words[0].startswith(b"HTTP/") and len(words) > 1 else 0
    return RawAnswer(status=status, head=head.decode("latin-1"), body=rest)
