"""Reload without a dropped call: a new process gets the listening sockets, this one brings its calls to their end.

SIGHUP, where ``GITALY_UPGRADES_ENABLED`` is true, starts the program again with the same arguments: another version may
have been installed, the configuration and the certificates may have changed. The new process inherits the sockets, so
connections that nobody has accepted yet wait for it and none is refused. Once it says that it serves, the old process
accepts no more and drains; if it does not, the old one goes on as before. The file named by ``GITALY_PID_FILE`` always
holds the number of the process in charge, by which upstream's wrapper follows.

Source: the Praefect behaviour reference, section 9.3.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator, MutableMapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Self

from praefect.app.reserved_sockets import ReservedSockets
from praefect.domain.errors import InternalError
from praefect.observability.log import get_logger
from praefect.runtime.service_manager import ServiceManager
from praefect.runtime.signals import Stop
from praefect.transport.listen import ListenAddress, ListenError

CAUSE = "graceful upgrade"
READY_SECONDS = 60.0

_INHERITED = "PRAEFECT_INHERITED_SOCKETS"
_SERVES = b"1"
_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})

_log = get_logger()


class UpgradeError(InternalError):
    """The new process did not come to serve."""


class BootstrapError(InternalError):
    """A socket to listen on cannot be had."""


class Handover:
    """The listening sockets of this process: those its predecessor gave it, those it opened, and who gets them next.

    Attributes:
        enabled: whether SIGHUP starts a successor.
        replaced: whether a successor serves clients now.
    """

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        """Take what the environment tells; what is meant for this process alone is removed from it."""
        self.replaced = False
        self.enabled = environment.get("GITALY_UPGRADES_ENABLED", "") in _TRUE
        self._pid_file = environment.get("GITALY_PID_FILE", "")
        self._manager = ServiceManager(environment.get("NOTIFY_SOCKET", ""))
        inherited = json.loads(environment.pop(_INHERITED, "{}"))
        self._predecessor = _socket(inherited["ready"]) if inherited else None
        self._inherited = {name: _socket(number) for name, number in inherited.get("sockets", {}).items()}
        self._reserved = ReservedSockets()
        self._open: dict[str, socket.socket] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._drop_unused()
        if self._predecessor is not None:
            self._predecessor.close()

    @contextmanager
    def reserved(self, addresses: Iterable[ListenAddress]) -> Iterator[None]:
        """Make sure of all addresses that were not inherited, within the block; then this process is in charge.

        Raises:
            BootstrapError: nobody can listen at one of them.
        """
        with ExitStack() as stack:
            new = [address for address in addresses if str(address) not in self._inherited]
            try:
                stack.enter_context(self._reserved.reserve(new))
            except ListenError as exc:
                raise _bootstrap_error(exc) from exc
            if self._predecessor is None:
                self._write_pid()
            yield

    def listening_socket(self, address: ListenAddress) -> socket.socket:
        """Return the socket of an address: the inherited one, else a new one; whoever gets it closes it.

        Raises:
            BootstrapError: it cannot be opened.
        """
        name = str(address)
        sock = self._inherited.pop(name, None)
        if sock is None:
            try:
                sock = self._reserved.take(address)
            except ListenError as exc:
                raise _bootstrap_error(exc) from exc
        self._open[name] = sock
        return sock

    def ready(self) -> None:
        """Tell that this process serves clients: the predecessor, which may go now, and the service manager."""
        self._drop_unused()
        if self._predecessor is None:
            self._manager.ready()
            return
        # The file first: whoever sees the predecessor end looks there.
        self._write_pid()
        with suppress(OSError), self._predecessor:
            self._predecessor.sendall(_SERVES)
        self._predecessor = None

    def stopping(self) -> None:
        """Tell the service manager, and the log, that this process ends."""
        self._manager.stopping()
        _log.info("[graceful upgrade] stopping old Gitaly" if self.replaced else "[shutdown] stopping Gitaly")

    def stopped(self) -> None:
        """Tell the log that all calls have come to their end."""
        _log.info("[graceful upgrade] stopped old Gitaly" if self.replaced else "[shutdown] stopped Gitaly gracefully")

    async def run(self, stop: Stop) -> None:
        """Start a successor at each hang-up, until one serves; then ask this process to stop."""
        while True:
            await stop.hangup.wait()
            stop.hangup.clear()
            self._manager.reloading()
            try:
                pid = await self._start_successor()
            except (UpgradeError, OSError) as exc:
                _log.error("Upgrade failed", error=str(exc))
                self._manager.ready()
                continue
            self.replaced = True
            self._manager.replaced(pid)
            _log.info("Upgrade succeeded")
            stop.request(CAUSE)
            return

    async def _start_successor(self) -> int:
        """Return the process id of a new process, once it serves."""
        with ExitStack() as stack:
            ours, theirs = (stack.enter_context(end) for end in socket.socketpair())
            ours.setblocking(False)
            numbers = {name: sock.fileno() for name, sock in self._open.items()}
            inherited = json.dumps({"ready": theirs.fileno(), "sockets": numbers})
            # asyncio would end a process of its own when this one ends.
            process = subprocess.Popen(  # noqa: ASYNC220 - starts within milliseconds
                [sys.executable, *sys.orig_argv[1:]],
                env={**os.environ, _INHERITED: inherited},
                pass_fds=(theirs.fileno(), *numbers.values()),
            )
            theirs.close()
            try:
                await _wait_until_ready(ours, process.pid)
            except BaseException:
                process.kill()
                await asyncio.to_thread(process.wait)
                raise
            # It is no child of this process any more, in the eyes of this process.
            process.returncode = 0
            return process.pid

    def _drop_unused(self) -> None:
        """Close what was inherited and is not configured any more."""
        for sock in self._inherited.values():
            sock.close()
        self._inherited.clear()

    def _write_pid(self) -> None:
        """Replace the file in one step, so that nobody reads half a number."""
        if not self._pid_file:
            return
        path = Path(self._pid_file)
        temporary = path.with_name(f"{path.name}.new")
        temporary.write_text(str(os.getpid()))
        temporary.replace(path)


def _bootstrap_error(error: ListenError) -> BootstrapError:
    return BootstrapError(f"unable to start the bootstrap: can't create new listener: {error}")


def _socket(number: int) -> socket.socket:
    sock = socket.socket(fileno=number)
    sock.set_inheritable(False)
    sock.setblocking(False)
    return sock


async def _wait_until_ready(ours: socket.socket, pid: int) -> None:
    try:
        async with asyncio.timeout(READY_SECONDS):
            said = await asyncio.get_running_loop().sock_recv(ours, 1)
    except TimeoutError:
        raise UpgradeError(f"process {pid} did not serve within {READY_SECONDS:.0f} s") from None
    if said != _SERVES:
        raise UpgradeError(f"process {pid} ended before it served")
