"""An engine: a codec under the driver."""

from __future__ import annotations

from typing import TYPE_CHECKING

from praefect.transport.http2.driver import DriverConnection

if TYPE_CHECKING:
    from collections.abc import Callable

    from praefect.transport.http2.codec import CodecFactory
    from praefect.transport.http2.interface import Limits, Stream

_READ_BYTES = 1 << 16


class DriverEngine:
    """See ``interface.Engine``.

    Attributes:
        buffer: what the sockets of all its connections are read into; emptied before anybody else can fill it.
    """

    __slots__ = ("buffer", "make_codec")

    def __init__(self, make_codec: CodecFactory) -> None:
        self.make_codec = make_codec
        self.buffer = memoryview(bytearray(_READ_BYTES))

    def server(
        self,
        on_stream: Callable[[Stream], None],
        *,
        limits: Limits,
        context: object,
        on_lost: Callable[[], None] | None = None,
    ) -> DriverConnection:
        """See ``interface.Engine``."""
        return DriverConnection(self, on_stream, limits=limits, context=context, on_lost=on_lost)

    def client(self, *, limits: Limits, context: object, on_lost: Callable[[], None] | None = None) -> DriverConnection:
        """See ``interface.Engine``."""
        return DriverConnection(self, None, limits=limits, context=context, on_lost=on_lost)
