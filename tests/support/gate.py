"""A gate between clients and a server on a unix socket: cuts connections, refuses new ones, or keeps all bytes back."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Self, cast


class Gate:
    """Passes bytes between clients and a node.

    Args:
        path: the socket clients dial.
        target: the socket the node listens on.
    """

    def __init__(self, *, path: Path, target: Path) -> None:
        self.path = path
        self.target = target
        self._server: asyncio.Server | None = None
        self._ends: set[_End] = set()
        self._silent = False
        self._tasks = AsyncExitStack()
        self._group: asyncio.TaskGroup | None = None

    async def __aenter__(self) -> Self:
        self._group = await self._tasks.enter_async_context(asyncio.TaskGroup())
        await self.restore()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.cut()
        await self._tasks.aclose()

    def silence(self) -> None:
        """Keep every byte back from now on, in both directions; connections are accepted."""
        self._silent = True
        for end in self._ends:
            end.hold()

    def speak(self) -> None:
        """Let bytes pass again, those kept back first."""
        self._silent = False
        for end in self._ends:
            end.release()

    def cut(self) -> None:
        """Break every connection and refuse new ones, as when the node's process dies."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for end in tuple(self._ends):
            end.abort()

    def disconnect(self) -> None:
        """Break every connection; new ones are accepted."""
        for end in tuple(self._ends):
            end.abort()

    async def restore(self) -> None:
        """Accept connections."""
        if self._server is None:
            loop = asyncio.get_running_loop()
            self._server = await loop.create_unix_server(self._accept, path=str(self.path))

    def _accept(self) -> _End:
        return _End(self, outward=True)

    def dial(self, client: _End) -> None:
        assert self._group is not None
        self._group.create_task(self._dial(client), name="gate dial")

    async def _dial(self, client: _End) -> None:
        try:
            _, node = await asyncio.get_running_loop().create_unix_connection(
                lambda: _End(self, outward=False), path=str(self.target)
            )
        except OSError:
            client.abort()
            return
        client.join(node)

    def add(self, end: _End) -> None:
        self._ends.add(end)
        if self._silent:
            end.hold()

    def remove(self, end: _End) -> None:
        self._ends.discard(end)


class _End(asyncio.Protocol):
    """One of the two connections of a pair."""

    def __init__(self, gate: Gate, *, outward: bool) -> None:
        self._gate = gate
        self._outward = outward
        self._transport: asyncio.Transport | None = None
        self._other: _End | None = None
        self._early: list[bytes] = []
        self._lost = False
        self._held = False
        self._full = False

    def join(self, other: _End) -> None:
        self._other, other._other = other, self
        if self._lost:
            other.abort()
        for end in (self, other):
            early, end._early = end._early, []
            for data in early:
                end.data_received(data)

    def hold(self) -> None:
        self._held = True
        self._apply()

    def release(self) -> None:
        self._held = False
        self._apply()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _apply(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        with suppress(RuntimeError):
            (self._transport.pause_reading if self._held or self._full else self._transport.resume_reading)()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._gate.add(self)
        if self._outward:
            self._gate.dial(self)

    def data_received(self, data: bytes) -> None:
        if self._other is None:
            self._early.append(data)
        elif self._other._transport is not None:
            self._other._transport.write(data)

    def eof_received(self) -> bool:
        if self._other is not None and self._other._transport is not None and not self._other._transport.is_closing():
            self._other._transport.write_eof()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self._gate.remove(self)
        if self._other is not None:
            self._other.abort()

    def pause_writing(self) -> None:
        if self._other is not None:
            self._other._full = True
            self._other._apply()

    def resume_writing(self) -> None:
        if self._other is not None:
            self._other._full = False
            self._other._apply()
