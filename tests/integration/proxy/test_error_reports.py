"""Error reports to a Sentry server: which failures are told, and what of them; received by a real HTTP server."""

from __future__ import annotations

import json
import sys
from typing import Any, NoReturn

import pytest

from praefect.config.praefect_sections import DatabaseConfig, SentryConfig
from praefect.observability.log import capture
from praefect.proto import praefect_pb2, ref_pb2
from praefect.transport.grpc.status import StatusCode
from tests.support.http_receiver import HttpReceiver, http_receiver
from tests.support.scripted_cluster import G1, G2, G3, running_cluster
from tests.support.scripted_node import failing

FIND = "/gitaly.RefService/FindLocalBranches"
METADATA = "/gitaly.PraefectInfoService/GetRepositoryMetadata"


def events(receiver: HttpReceiver) -> list[dict[str, Any]]:
    """Return the events in the envelopes that came."""
    found = []
    for request in receiver.requests:
        assert request.path == "/api/7/envelope/"
        lines = request.body.split(b"\n")
        found += [
            json.loads(payload)
            for header, payload in zip(lines[1::2], lines[2::2], strict=False)
            if json.loads(header)["type"] == "event"
        ]
    return found


async def test_failures_made_here_are_reported_and_no_others(
    database: DatabaseConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sentry_sdk")
    async with http_receiver() as receiver:
        sentry = SentryConfig(sentry_dsn=f"http://public@{receiver.address}/7", sentry_environment="staging")
        with capture() as lines:
            async with running_cluster(database, sentry=sentry) as cluster:
                # Not told: what is not there, and what a node has answered.
                missing = await cluster.repository()
                await cluster.rows.run("DELETE FROM repositories")
                read = ref_pb2.FindLocalBranchesRequest(repository=missing.message)
                assert (await cluster.status(FIND, read)).code is StatusCode.NOT_FOUND
                present = await cluster.repository("b.git")
                for node in cluster.nodes.values():
                    node.on("FindLocalBranches", failing(StatusCode.INTERNAL, "disk on fire"))
                read = ref_pb2.FindLocalBranchesRequest(repository=present.message)
                assert (await cluster.status(FIND, read)).code is StatusCode.INTERNAL
                assert {G1, G2, G3} == set(cluster.nodes)

                # Told: an error raised on purpose, and one that nobody foresaw.
                request = praefect_pb2.GetRepositoryMetadataRequest()
                await cluster.status(METADATA, request, metadata=[("client_name", "gitlab-web")])

                def crash(*_arguments: object) -> NoReturn:
                    raise LookupError("cache: nothing there")

                monkeypatch.setattr(type(cluster.parts.datastore.repositories), "get_metadata", crash)
                request = praefect_pb2.GetRepositoryMetadataRequest(repository_id=present.id)
                status = await cluster.status(METADATA, request)
                assert status.message == "panic: cache: nothing there"
        await receiver.wait_for(2)
    assert [line["level"] for line in lines if line["msg"] == "Using sentry logging"] == ["debug"]
    assert "public" not in repr(cluster.config)

    expected, crashed = events(receiver)
    assert expected["message"] == "unknown query type: <nil>"
    assert (expected["release"], expected["environment"]) == ("vtest", "staging")
    transaction = "PraefectInfoService::GetRepositoryMetadata"
    assert expected["transaction"] == transaction
    assert expected["fingerprint"] == ["grpc", transaction, "Internal"]
    tags = expected["tags"]
    assert (tags["grpc.code"], tags["grpc.method"], tags["system"]) == ("Internal", "GetRepositoryMetadata", "grpc")
    assert tags["grpc.meta.client_name"] == "gitlab-web"
    assert tags["grpc.time_ms"].isdigit()
    assert tags["correlation_id"]
    [exception] = expected["exception"]["values"]
    assert "stacktrace" not in exception
    assert exception["value"] == "unknown query type: <nil>"

    assert crashed["tags"]["grpcMethod"] == METADATA
    assert crashed["tags"]["panic"] == "1"
    [exception] = crashed["exception"]["values"]
    assert (exception["type"], exception["value"]) == ("LookupError", "cache: nothing there")
    frames = exception["stacktrace"]["frames"]
    assert frames[-1]["function"] == "crash"
    assert not [frame for frame in frames if frame.get("vars")]


async def test_server_that_is_away_costs_nothing_but_the_report(database: DatabaseConfig) -> None:
    pytest.importorskip("sentry_sdk")
    sentry = SentryConfig(sentry_dsn="http://public@127.0.0.1:9/7")
    async with running_cluster(database, sentry=sentry) as cluster:
        request = praefect_pb2.GetRepositoryMetadataRequest()
        for _ in range(3):
            assert (await cluster.status(METADATA, request)).message == "unknown query type: <nil>"


@pytest.mark.parametrize(
    ("dsn", "installed", "error"),
    [
        ("no-dsn", True, "Unsupported scheme"),
        ("http://public@localhost/7", False, "the library sentry-sdk is not installed: pip install praefect[sentry]"),
    ],
)
async def test_reports_that_cannot_be_had_are_warned_of_once(
    database: DatabaseConfig, monkeypatch: pytest.MonkeyPatch, dsn: str, *, installed: bool, error: str
) -> None:
    if installed:
        pytest.importorskip("sentry_sdk")
    else:
        monkeypatch.setitem(sys.modules, "sentry_sdk", None)
    with capture() as lines:
        async with running_cluster(database, sentry=SentryConfig(sentry_dsn=dsn)) as cluster:
            await cluster.status(METADATA, praefect_pb2.GetRepositoryMetadataRequest())
    [line] = [line for line in lines if line["msg"] == "unable to initialize sentry client"]
    assert line["level"] == "warning"
    assert str(line["error"]).startswith(error)


async def test_without_a_dsn_nothing_is_loaded(database: DatabaseConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentry_sdk", None)
    with capture() as lines:
        async with running_cluster(database) as cluster:
            assert cluster.parts.telemetry.served == ()
            assert cluster.parts.telemetry.made == ()
    assert not [line for line in lines if "sentry" in str(line["msg"])]
