"""The sockets to listen on, made sure of before anything else starts: what cannot serve says so and leaves no trace."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from praefect.transport.listen import ListenAddress
from praefect.transport.listening_sockets import accept_from, bind_socket, open_socket

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable, Iterator


class ReservedSockets:
    """Bound sockets by their addresses; nobody can connect to one before it is taken."""

    def __init__(self) -> None:
        self._bound: dict[str, socket.socket] = {}

    @contextmanager
    def reserve(self, addresses: Iterable[ListenAddress]) -> Iterator[None]:
        """Bind all; those that nobody has taken are closed at the end.

        Raises:
            ListenError: nobody can listen at one of them.
        """
        try:
            for address in addresses:
                sock = bind_socket(address)
                if sock is not None:
                    self._bound[str(address)] = sock
            yield
        finally:
            for sock in self._bound.values():
                sock.close()
            self._bound.clear()

    def take(self, address: ListenAddress) -> socket.socket:
        """Listen and hand the socket over, which is opened now if it was not reserved; whoever gets it closes it.

        Raises:
            ListenError: it cannot be opened.
        """
        sock = self._bound.pop(str(address), None)
        if sock is None:
            return open_socket(address)
        accept_from(sock, address)
        return sock
