"""Spans of calls: from the client's over praefect's to the nodes', exported as OpenTelemetry says."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from praefect.config.praefect_sections import DatabaseConfig
from praefect.observability.log import capture
from praefect.proto import praefect_pb2, ref_pb2, repository_pb2
from tests.support.http_receiver import HttpReceiver, http_receiver
from tests.support.scripted_cluster import running_cluster

FIND = "/gitaly.RefService/FindLocalBranches"
WRITE = "/gitaly.RepositoryService/WriteRef"
METADATA = "/gitaly.PraefectInfoService/GetRepositoryMetadata"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SERVER, CLIENT = 2, 3


def spans(receiver: HttpReceiver) -> list[Any]:
    """Return the spans that came."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    found: list[Any] = []
    for request in receiver.requests:
        assert request.path == "/v1/traces"
        for resource in ExportTraceServiceRequest.FromString(request.body).resource_spans:
            names = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
            assert (names["service.name"], names["service.version"]) == ("praefect", "test")
            found += [span for scope in resource.scope_spans for span in scope.spans]
    return found


def attributes(span: Any) -> dict[str, object]:
    return {pair.key: pair.value.string_value or pair.value.int_value for pair in span.attributes}


async def test_client_s_trace_reaches_the_nodes(database: DatabaseConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("opentelemetry.sdk")
    async with http_receiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{receiver.address}")
        async with running_cluster(database) as cluster:
            repository = await cluster.repository()
            metadata = [("traceparent", f"00-{TRACE}-{PARENT}-01")]
            read = ref_pb2.FindLocalBranchesRequest(repository=repository.message)
            await cluster.call(FIND, read, metadata=metadata)
            write = repository_pb2.WriteRefRequest(repository=repository.message)
            await cluster.call(WRITE, write)
            await cluster.status(METADATA, praefect_pb2.GetRepositoryMetadataRequest())
            told = [
                call.raw.metadata.first("traceparent") or ""
                for node in cluster.nodes.values()
                for call in node.called("FindLocalBranches")
            ]
            written = [
                call.raw.metadata.first("traceparent") or ""
                for node in cluster.nodes.values()
                for call in node.called("WriteRef")
            ]
        await receiver.wait_for(1)

    by_name: dict[tuple[str, int], list[Any]] = {}
    for span in spans(receiver):
        by_name.setdefault((span.name, span.kind), []).append(span)
    # Health checks and the loops' own calls are not traced.
    assert {name for name, _ in by_name} == {
        "gitaly.RefService/FindLocalBranches",
        "gitaly.RepositoryService/WriteRef",
        "gitaly.PraefectInfoService/GetRepositoryMetadata",
    }

    [served] = by_name["gitaly.RefService/FindLocalBranches", SERVER]
    [made] = by_name["gitaly.RefService/FindLocalBranches", CLIENT]
    assert (served.trace_id.hex(), served.parent_span_id.hex()) == (TRACE, PARENT)
    assert (made.trace_id.hex(), made.parent_span_id) == (TRACE, served.span_id)
    assert [context.rpartition("-")[0] for context in told] == [f"00-{TRACE}-{made.span_id.hex()}"]
    assert attributes(served) == {
        "rpc.system": "grpc",
        "rpc.service": "gitaly.RefService",
        "rpc.method": "FindLocalBranches",
        "rpc.grpc.status_code": 0,
    }
    assert served.start_time_unix_nano <= made.start_time_unix_nano <= made.end_time_unix_nano

    [served] = by_name["gitaly.RepositoryService/WriteRef", SERVER]
    made_to_nodes = by_name["gitaly.RepositoryService/WriteRef", CLIENT]
    assert {span.parent_span_id for span in made_to_nodes} == {served.span_id}
    assert {context.rpartition("-")[0] for context in written} == {
        f"00-{served.trace_id.hex()}-{span.span_id.hex()}" for span in made_to_nodes
    }
    [failed] = by_name["gitaly.PraefectInfoService/GetRepositoryMetadata", SERVER]
    assert attributes(failed)["rpc.grpc.status_code"] == 13
    assert failed.status.code == 2


@pytest.mark.parametrize(
    "switch", [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "")]
)
async def test_tracing_that_is_off_loads_nothing_and_passes_the_client_s_trace_on(
    database: DatabaseConfig, monkeypatch: pytest.MonkeyPatch, switch: tuple[str, str]
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv(*switch)
    parent = f"00-{TRACE}-{PARENT}-01"
    with capture() as lines:
        async with running_cluster(database) as cluster:
            repository = await cluster.repository()
            read = ref_pb2.FindLocalBranchesRequest(repository=repository.message)
            await cluster.call(FIND, read, metadata=[("traceparent", parent)])
            told = [
                call.raw.metadata.first("traceparent") or ""
                for node in cluster.nodes.values()
                for call in node.called("FindLocalBranches")
            ]
            assert cluster.parts.telemetry.served == ()
    assert told == [parent]
    assert not [line for line in lines if "tracing" in str(line["msg"])]


async def test_tracing_that_cannot_be_had_is_warned_of(
    database: DatabaseConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    for name in [name for name in sys.modules if name.startswith("opentelemetry.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:9/v1/traces")
    with capture() as lines:
        async with running_cluster(database):
            pass
    [line] = [line for line in lines if line["msg"] == "unable to initialize tracing"]
    assert (line["level"], line["error"]) == (
        "warning",
        "the libraries of OpenTelemetry are not installed: pip install praefect[otel]",
    )
