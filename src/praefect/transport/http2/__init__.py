"""HTTP/2 connections and streams behind one interface, with two engines."""

from praefect.transport.http2.engine import DriverEngine
from praefect.transport.http2.interface import (
    Connection,
    ConnectionProtocol,
    ConnectionUnavailableError,
    Engine,
    ErrorCode,
    HeaderList,
    Limits,
    RequestHead,
    ResponseHead,
    SpliceEnd,
    SpliceResult,
    Stream,
    StreamClosedError,
)

__all__ = [
    "Connection",
    "ConnectionProtocol",
    "ConnectionUnavailableError",
    "Engine",
    "ErrorCode",
    "HeaderList",
    "Limits",
    "RequestHead",
    "ResponseHead",
    "SpliceEnd",
    "SpliceResult",
    "Stream",
    "StreamClosedError",
    "engine",
]


def engine(name: str = "httpunk") -> Engine:
    """Return an engine by name; only the one chosen is imported.

    Raises:
        ValueError: there is no such engine.
    """
    if name == "httpunk":
        from praefect.transport.http2.engine_httpunk import HttpunkCodec

        return DriverEngine(HttpunkCodec)
    if name == "h2":
        from praefect.transport.http2.engine_h2 import H2Codec

        return DriverEngine(H2Codec)
    msg = f'unknown HTTP/2 engine "{name}"'
    raise ValueError(msg)
