"""The endpoint over real sockets."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Iterable
from datetime import timedelta

import pytest

from praefect.observability.metrics import Counter, Family, Gauge, Query, Registry
from praefect.observability.metrics_server import CONTENT_TYPE, serve_metrics

SOON = timedelta(seconds=5)


async def _read_all(reader: asyncio.StreamReader) -> bytes:
    """Read to the end; a connection that was reset gave nothing."""
    try:
        return await reader.read()
    except ConnectionError:
        return b""


class Server:
    """The endpoint under test and a client for it."""

    def __init__(self, address: str) -> None:
        self.host, _, port = address.rpartition(":")
        self.port = int(port)

    async def send(self, request: bytes, *, end: bool = False) -> bytes:
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            writer.write(request)
            if end:
                writer.write_eof()
            return await _read_all(reader)
        finally:
            writer.close()

    async def get(self, path: str, *fields: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
        head = "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *fields, "\r\n"])
        answer, _, body = (await self.send(head.encode())).partition(b"\r\n\r\n")
        status, *lines = answer.decode().split("\r\n")
        return int(status.split()[1]), dict(line.split(": ", 1) for line in lines), body


async def _none() -> Iterable[Family]:
    return []


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    database = Registry(Gauge("queue_depth", "Depth."))
    database.register_query(Query(ask=_none, component="c", failure="f"))
    async with (
        asyncio.TaskGroup() as tasks,
        serve_metrics(
            "127.0.0.1:0", Registry(Counter("reads", "R.")), tasks=tasks, database=database, query_timeout=SOON
        ) as address,
    ):
        yield Server(address)


async def test_pages_have_their_metrics_and_type(server: Server) -> None:
    status, fields, body = await server.get("/metrics")
    assert status == 200
    assert fields["Content-Type"] == CONTENT_TYPE
    assert fields["Content-Length"] == str(len(body))
    assert b"\nreads 0\n" in body
    assert b"queue_depth" not in body
    status, fields, body = await server.get("/db_metrics?x=1")
    assert status == 200
    assert fields["Content-Type"] == CONTENT_TYPE
    assert body.endswith(b"\nqueue_depth 0\n")
    assert b"reads" not in body
    assert b"promhttp" not in body


async def test_endpoint_counts_its_scrapes(server: Server) -> None:
    await server.get("/metrics")
    _, _, body = await server.get("/metrics")
    assert b'promhttp_metric_handler_requests_total{code="200"} 1\n' in body
    assert b'promhttp_metric_handler_requests_total{code="503"} 0\n' in body
    assert b"promhttp_metric_handler_requests_in_flight 1\n" in body


@pytest.mark.parametrize("path", ["/", "/metrics/", "/debug/pprof/", "/x"])
async def test_other_paths_are_not_found(server: Server, path: str) -> None:
    status, fields, _ = await server.get(path)
    assert status == 404
    assert fields["Content-Type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize(
    ("accepted", "zipped"),
    [("gzip", True), ("deflate, GZIP;q=0.5", True), ("*", True), ("gzip;q=0", False), ("br", False), ("", False)],
)
async def test_answer_is_compressed_if_the_client_accepts_it(server: Server, accepted: str, *, zipped: bool) -> None:
    _, fields, body = await server.get("/metrics", f"Accept-Encoding: {accepted}")
    assert (fields.get("Content-Encoding") == "gzip") == zipped
    assert b"\nreads 0\n" in (gzip.decompress(body) if zipped else body)


async def test_head_has_no_body(server: Server) -> None:
    status, fields, body = await server.get("/metrics", method="HEAD")
    assert status == 200
    assert int(fields["Content-Length"]) > 0
    assert body == b""


async def test_only_reading_is_allowed(server: Server) -> None:
    status, _, _ = await server.get("/metrics", method="POST")
    assert status == 405


@pytest.mark.parametrize("garbage", [b"\r\n\r\n", b"hello\r\n\r\n", b"GET /metrics\r\n\r\n", b"\x16\x03\x01\r\n\r\n"])
async def test_garbage_is_refused(server: Server, garbage: bytes) -> None:
    assert (await server.send(garbage)).startswith(b"HTTP/1.1 400 ")


async def test_endless_head_is_cut_off(server: Server) -> None:
    assert await server.send(b"GET / HTTP/1.1\r\nA: " + b"a" * 200_000) == b""
    assert (await server.get("/metrics"))[0] == 200


async def test_half_a_request_is_dropped(server: Server) -> None:
    assert await server.send(b"GET /metrics", end=True) == b""
    assert (await server.get("/metrics"))[0] == 200


async def test_idle_connections_are_bounded_and_end_with_the_server() -> None:
    async with asyncio.TaskGroup() as tasks:
        async with serve_metrics("127.0.0.1:0", Registry(), tasks=tasks, query_timeout=SOON) as address:
            server = Server(address)
            connections = [await asyncio.open_connection(server.host, server.port) for _ in range(65)]
            refused, _ = connections[-1]
            assert await _read_all(refused) == b""
        for reader, writer in connections:
            assert await _read_all(reader) == b""
            writer.close()


async def test_errors_within_the_block_are_passed_on_as_they_are() -> None:
    async def fail(tasks: asyncio.TaskGroup) -> None:
        async with serve_metrics("127.0.0.1:0", Registry(), tasks=tasks, query_timeout=SOON):
            raise KeyError

    async with asyncio.TaskGroup() as tasks:
        with pytest.raises(KeyError):
            await fail(tasks)


async def test_port_in_use_is_an_error_before_anything_is_served(server: Server) -> None:
    async with asyncio.TaskGroup() as tasks:
        with pytest.raises(OSError, match="address already in use"):
            async with serve_metrics(f"127.0.0.1:{server.port}", Registry(), tasks=tasks, query_timeout=SOON):
                pass


@pytest.mark.parametrize("address", ["", "9652", "host:", "host:x", "host:99999", ":-1"])
async def test_bad_addresses_are_refused(address: str) -> None:
    async with asyncio.TaskGroup() as tasks:
        with pytest.raises(ValueError, match="is no address"):
            async with serve_metrics(address, Registry(), tasks=tasks, query_timeout=SOON):
                pass
