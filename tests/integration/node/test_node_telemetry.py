"""A node tells of its calls what praefect tells of its own: errors to Sentry, spans to OpenTelemetry."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from praefect.config.node import NodeConfig
from praefect.config.node_sections import NodeLoggingConfig
from praefect.proto import repository_pb2
from praefect.transport.grpc.status import StatusCode, StatusError
from tests.support.http_receiver import http_receiver
from tests.support.running_node import running_node

EXISTS = "/gitaly.RepositoryService/RepositoryExists"
TRACE = "0af7651916cd43dd8448eb211c80319c"


async def test_refused_call_is_reported_and_traced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sentry_sdk")
    pytest.importorskip("opentelemetry.sdk")
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    async with http_receiver() as sentry, http_receiver() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{collector.address}")
        logging = NodeLoggingConfig(sentry_dsn=f"http://public@{sentry.address}/7", sentry_environment="staging")
        async with running_node(tmp_path / "disk", config=NodeConfig(logging=logging)) as node:
            with pytest.raises(StatusError) as refused:
                await node.channel.unary(
                    EXISTS,
                    repository_pb2.RepositoryExistsRequest(),
                    repository_pb2.RepositoryExistsResponse,
                    metadata=[("traceparent", f"00-{TRACE}-b7ad6b7169203331-01")],
                )
            assert refused.value.code is StatusCode.INVALID_ARGUMENT
        await sentry.wait_for(1)
        await collector.wait_for(1)

    event = json.loads(sentry.requests[0].body.split(b"\n")[2])
    assert event["transaction"] == "RepositoryService::RepositoryExists"
    assert event["message"] == refused.value.message
    assert event["environment"] == "staging"
    [resource] = ExportTraceServiceRequest.FromString(collector.requests[0].body).resource_spans
    [scope] = resource.scope_spans
    [span] = scope.spans
    assert (span.name, span.trace_id.hex()) == ("gitaly.RepositoryService/RepositoryExists", TRACE)
