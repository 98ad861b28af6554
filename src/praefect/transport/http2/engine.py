"""An engine: a codec under the driver."""

from __future__ import annotations

from typing import TYPE_CHECKING

from praefect.transport.http2.driver import DriverConnection

if TYPE_CHECKING:
    from collections.abc import Callable

    from praefect.transport.http2.codec import CodecFactory
    from praefect.transport.http2.interface import Limits, Stream


class DriverEngine:
    """See ``interface.Engine``."""

    def __init__(self, make_codec: CodecFactory) -> None:
        self._make_codec = make_codec

    def server(
        self,
        on_stream: Callable[[Stream], None],
        *,
        limits: Limits,
        context: object,
        on_lost: Callable[[], None] | None = None,
    ) -> DriverConnection:
        """See ``interface.Engine``."""
        return DriverConnection(self._make_codec, on_stream, limits=limits, context=context, on_lost=on_lost)

    def client(self, *, limits: Limits, context: object, on_lost: Callable[[], None] | None = None) -> DriverConnection:
        """See ``interface.Engine``."""
        return DriverConnection(self._make_codec, None, limits=limits, context=context, on_lost=on_lost)
