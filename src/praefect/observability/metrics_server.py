"""The HTTP endpoint that Prometheus scrapes: ``/metrics``, and ``/db_metrics`` for what costs queries.

Small on purpose: a request without body, an answer, the connection is closed. A web framework would double the time the
program takes to start.

Source: the Praefect reference on endpoints; RFC 9112.
"""

from __future__ import annotations

import asyncio
import gzip
import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from praefect.observability.metrics import Counter, Gauge, Registry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from datetime import timedelta

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"

_HEAD_BYTES = 16384
_HEAD_SECONDS = 10.0
_CONNECTIONS = 64
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    status: int
    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    gzipped: bool = False

    def encode(self, *, with_body: bool) -> bytes:
        head = [
            f"HTTP/1.1 {self.status} {_REASONS[self.status]}",
            f"Content-Type: {self.content_type}",
            f"Content-Length: {len(self.body)}",
            "Connection: close",
        ]
        if self.gzipped:
            head.append("Content-Encoding: gzip")
        return "\r\n".join([*head, "\r\n"]).encode() + (self.body if with_body else b"")


class _BadRequestError(Exception):
    """What was received is no HTTP request."""


class _Endpoint:
    """Answers requests; each connection is a task of the group."""

    def __init__(self, pages: Mapping[str, Callable[[], Awaitable[bytes]]], tasks: asyncio.TaskGroup) -> None:
        self._pages = pages
        self._tasks = tasks
        self._connections: set[asyncio.Task[None]] = set()
        self.in_flight = Gauge("promhttp_metric_handler_requests_in_flight", "Scrapes being served.")
        self.requests = Counter("promhttp_metric_handler_requests_total", "Scrapes by status code.", ["code"])
        self.requests.create(["200", "500", "503"])

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= _CONNECTIONS:
            writer.transport.abort()
            return
        task = self._tasks.create_task(self._serve(reader, writer), name="serve metrics")
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    def cancel(self) -> None:
        for task in self._connections:
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_HEAD_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
            writer.write(await self._answer(head))
            async with asyncio.timeout(_HEAD_SECONDS):
                await writer.drain()
            writer.close()
        except (OSError, EOFError, asyncio.LimitOverrunError, TimeoutError):
            writer.transport.abort()
        finally:
            if not writer.is_closing():
                writer.transport.abort()

    async def _answer(self, head: bytes) -> bytes:
        try:
            method, path, fields = _parse(head)
        except _BadRequestError:
            return _Answer(status=400, body=b"400 Bad Request").encode(with_body=True)
        if method not in {"GET", "HEAD"}:
            return _Answer(status=405, body=b"405 Method Not Allowed").encode(with_body=True)
        page = self._pages.get(path)
        if page is None:
            return _Answer(status=404, body=b"404 page not found\n").encode(with_body=method == "GET")
        self.in_flight.inc()
        try:
            body = await page()
        finally:
            self.in_flight.dec()
        self.requests.labels("200").inc()
        gzipped = _accepts_gzip(fields.get("accept-encoding", ""))
        answer = _Answer(
            status=200,
            body=gzip.compress(body, compresslevel=1, mtime=0) if gzipped else body,
            content_type=CONTENT_TYPE,
            gzipped=gzipped,
        )
        return answer.encode(with_body=method == "GET")


class _Connection(asyncio.StreamReaderProtocol):
    def __init__(self, endpoint: _Endpoint) -> None:
        self._reader = asyncio.StreamReader(limit=_HEAD_BYTES)
        super().__init__(self._reader)
        self._endpoint = endpoint

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a listening socket makes no other
        loop = asyncio.get_running_loop()
        self._endpoint.accept(self._reader, asyncio.StreamWriter(transport, self, self._reader, loop))


@asynccontextmanager
async def serve_metrics(
    address: str | socket.socket,
    metrics: Registry,
    *,
    tasks: asyncio.TaskGroup,
    query_timeout: timedelta,
    database: Registry | None = None,
) -> AsyncIterator[str]:
    """Serve pages within the block; yields the address that was bound, with the port if ``address`` says 0.

    Args:
        tasks: owns a task per connection; those left at the end of the block are cancelled.
        address: ``host:port``, ``:port`` for all interfaces, ``[::1]:port``; or a bound socket, closed afterwards.
        metrics: the page ``/metrics``; the endpoint's own metrics are put on it.
        database: the page ``/db_metrics``.
        query_timeout: for each query of a page.

    Raises:
        OSError: the address cannot be bound.
        ValueError: it is none.
    """
    pages = {"/metrics": lambda: metrics.scrape(query_timeout)}
    if database is not None:
        pages["/db_metrics"] = lambda: database.scrape(query_timeout)
    endpoint = _Endpoint(pages, tasks)
    loop = asyncio.get_running_loop()
    if isinstance(address, str):
        host, port = _split(address)
        server = await loop.create_server(lambda: _Connection(endpoint), host, port)
    else:
        server = await loop.create_server(lambda: _Connection(endpoint), sock=address)
    try:
        metrics.register(endpoint.in_flight, endpoint.requests)
        bound = server.sockets[0].getsockname()
        yield f"[{bound[0]}]:{bound[1]}" if ":" in bound[0] else f"{bound[0]}:{bound[1]}"
    finally:
        server.close()
        endpoint.cancel()


def _split(address: str) -> tuple[str | None, int]:
    host, separator, port = address.rpartition(":")
    if not separator or not port.isascii() or not port.isdigit() or int(port) > 65535:
        msg = f"{address!r} is no address of the form host:port"
        raise ValueError(msg)
    return host.removeprefix("[").removesuffix("]") or None, int(port)


def _parse(head: bytes) -> tuple[str, str, dict[str, str]]:
    request, *lines = head.decode("latin-1").split("\r\n")
    words = request.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise _BadRequestError
    fields = {}
    for line in lines:
        name, separator, value = line.partition(":")
        if separator:
            fields[name.lower()] = value.strip()
    return words[0], words[1].partition("?")[0], fields


def _accepts_gzip(accepted: str) -> bool:
    for offer in accepted.split(","):
        coding, _, weight = offer.partition(";")
        if coding.strip().lower() in {"gzip", "*"} and weight.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00"}:
            return True
    return False
