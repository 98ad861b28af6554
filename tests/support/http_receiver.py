"""A small HTTP server that takes whatever it is sent and answers that it is fine."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.support.eventually import eventually


@dataclass(frozen=True, slots=True)
class Received:
    """One request; the body is as it was before it was compressed."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class HttpReceiver:
    """What came so far."""

    address: str = ""
    requests: list[Received] = field(default_factory=list)

    async def wait_for(self, count: int) -> None:
        """Return when there are so many requests."""

        async def are_there() -> bool:
            return len(self.requests) >= count

        await eventually(are_there)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one request per connection."""
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:] if line)}
        if headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(await reader.readline(), 16):
                body += await reader.readexactly(size)
                await reader.readline()
            await reader.readline()
        else:
            body = await reader.readexactly(int(headers.get("content-length", "0")))
        if headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        self.requests.append(Received(lines[0].split(" ")[1], headers, body))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
        writer.close()
        await writer.wait_closed()


@asynccontextmanager
async def http_receiver() -> AsyncIterator[HttpReceiver]:
    """Receive on a port of the loopback interface until left."""
    receiver = HttpReceiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        receiver.address = f"{host}:{port}"
        yield receiver
