"""yamux: many byte streams over one connection, opened by either side.

Words: a *session* is the connection's state, a *stream* one of its byte streams, the *window* how much a stream's
receiver is willing to hold, *credit* what it returns of it. ``session`` is without I/O, ``connection`` puts it on an
asyncio transport, and ``transport`` makes each stream one.
"""

from praefect.transport.yamux.connection import Traffic, YamuxConnection
from praefect.transport.yamux.errors import SessionUnavailableError
from praefect.transport.yamux.settings import CLIENT_SETTINGS, DIALLER_SETTINGS, LISTENER_SETTINGS, Settings
from praefect.transport.yamux.transport import StreamTransport

__all__ = [
    "CLIENT_SETTINGS",
    "DIALLER_SETTINGS",
    "LISTENER_SETTINGS",
    "SessionUnavailableError",
    "Settings",
    "StreamTransport",
    "Traffic",
    "YamuxConnection",
]
