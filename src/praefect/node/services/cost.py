"""What a call cost, as a trailer of its answer: a weight of its method and the mebibytes that went through it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from praefect.transport.methods import METHODS, Operation

if TYPE_CHECKING:
    from collections.abc import Callable

    from praefect.transport.grpc.server_call import ServerCall

COST_KEY = "x-gitaly-cost"
_MEBIBYTE = 1024 * 1024
_WEIGHTS = {Operation.ACCESSOR: 1, Operation.MUTATOR: 5, Operation.MAINTENANCE: 3}
_EXCEPTIONS = {
    "/gitaly.SmartHTTPService/PostUploadPackWithSidechannel": 10,
    "/gitaly.SSHService/SSHUploadPackWithSidechannel": 10,
    "/gitaly.SmartHTTPService/PostReceivePack": 10,
    "/gitaly.SSHService/SSHReceivePack": 10,
    "/gitaly.DiffService/CommitDiff": 8,
    "/gitaly.DiffService/RawDiff": 8,
    "/gitaly.DiffService/RawPatch": 8,
    "/gitaly.BlobService/GetBlobs": 6,
    "/gitaly.BlobService/ListBlobs": 6,
    "/gitaly.CommitService/ListCommits": 6,
    "/gitaly.ServerService/ServerInfo": 0,
}


def weight_of(method: str) -> int:
    """Return what a method costs however little it does."""
    exception = _EXCEPTIONS.get(method)
    if exception is not None:
        return exception
    known = METHODS.get(method)
    return _WEIGHTS.get(known.operation, 1) if known is not None else 1


def report_cost(call: ServerCall) -> Callable[[], None]:
    """Have the trailer added to a call at its end; an observer for ``Server``."""
    return partial(_add_cost, call)


def _add_cost(call: ServerCall) -> None:
    known = METHODS.get(call.method)
    payload = call.received_bytes
    if known is not None and known.server_streaming:
        payload += call.sent_bytes  # a single answer is not counted
    cost = weight_of(call.method) + -(-payload // _MEBIBYTE)
    call.trailing_metadata.append(COST_KEY, str(cost))
