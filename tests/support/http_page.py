"""Pages of a small HTTP server, as text."""

from __future__ import annotations

import asyncio


async def fetch(address: str, path: str) -> str:
    """Return the body of a page that answers 200."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    assert head.startswith("HTTP/1.1 200"), head
    return body
