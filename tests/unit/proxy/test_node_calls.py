"""What the failures of calls say about the nodes."""

from __future__ import annotations

import pytest

from praefect.domain.repository import Storage, VirtualStorage
from praefect.proxy.node_calls import NodeCalls, passed_on
from praefect.transport.grpc.channel import Channel
from praefect.transport.grpc.client_call import CANCELLED, EXPIRED
from praefect.transport.grpc.metadata import Metadata
from praefect.transport.grpc.relay import DestinationOutcome
from praefect.transport.grpc.status import OK, Status, StatusCode
from praefect.transport.http2.interface import ErrorCode, StreamClosedError

VS, G1 = VirtualStorage("default"), Storage("gitaly-1")
REFUSED = Status(StatusCode.UNAVAILABLE, "connection refused")


class Nodes:
    def __init__(self) -> None:
        self.unreachable: list[Storage] = []

    def channel(self, virtual_storage: VirtualStorage, storage: Storage) -> Channel | None:
        return None

    def report_unreachable(self, virtual_storage: VirtualStorage, storage: Storage) -> None:
        self.unreachable.append(storage)


@pytest.mark.parametrize(("status", "is_evidence"), [(REFUSED, True), (EXPIRED, False), (CANCELLED, False)])
def test_only_a_refused_connection_is_evidence(status: Status, is_evidence: bool) -> None:
    """That the client has no time left says nothing about the node."""
    nodes = Nodes()
    NodeCalls(nodes).note_refusal(VS, G1, status)
    assert nodes.unreachable == [G1] * is_evidence


@pytest.mark.parametrize(
    ("error", "is_evidence"),
    [
        (StreamClosedError("EOF", remote=True), True),
        (StreamClosedError("reset", code=ErrorCode.CANCEL, remote=True), False),
        (StreamClosedError("given up by this side", remote=False), False),
        (StreamClosedError("going away", remote=True, unprocessed=True), False),
        (None, False),
    ],
    ids=["connection lost", "stream reset by the node", "reset by this side", "draining", "answered"],
)
def test_only_a_connection_lost_without_a_word_is_evidence(error: StreamClosedError | None, is_evidence: bool) -> None:
    nodes = Nodes()
    NodeCalls(nodes).note_end(VS, G1, DestinationOutcome(status=REFUSED, trailers=Metadata(), error=error))
    assert nodes.unreachable == [G1] * is_evidence


def test_error_without_a_code_is_one_of_this_side() -> None:
    assert passed_on(Status(StatusCode.UNKNOWN, "what?")) == Status(StatusCode.INTERNAL, "what?")
    assert passed_on(REFUSED) == REFUSED
    assert passed_on(OK) == OK
