"""Everything git needs to call hooks of this process, opened together."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from typing import TYPE_CHECKING, Self

from praefect.node.hooks.directory import HooksDirectory
from praefect.node.hooks.setup import HOOK_SETS, HookSetups, NodeAddress
from praefect.node.hooks.socket_server import HookSocketServer

if TYPE_CHECKING:
    from types import TracebackType

    from praefect.node.hooks.handlers import HookHandlers
    from praefect.node.storage.roots import Storages


class HookRuntime:
    """The hook programs of this process and the socket they call; an async context manager.

    Attributes:
        setups: gives commands their hooks; the programs work while the context is open.
    """

    def __init__(self, *, address: NodeAddress, storages: Storages, handlers: HookHandlers) -> None:
        secret = secrets.token_hex(16)
        socket_path = address.internal_socket.with_name("hooks")
        self._directory = HooksDirectory(address.runtime_directory, socket_path=socket_path, secret=secret)
        self._server = HookSocketServer(socket_path, secret, storages=storages, handlers=handlers)
        self._stack = contextlib.AsyncExitStack()
        self.setups = HookSetups(self._directory, address, handlers)

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            await asyncio.to_thread(self._directory.create, HOOK_SETS)
            await stack.enter_async_context(self._server)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, traceback)
