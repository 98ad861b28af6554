"""The gateway's composition root."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from aiohttp import web

from praefect.app.reserved_sockets import ReservedSockets
from praefect.config.gateway import GatewayConfig
from praefect.domain.errors import InternalError
from praefect.gateway.access import Access
from praefect.gateway.api import ProjectApi
from praefect.gateway.internal_api import InternalApi
from praefect.gateway.lifecycle import DeletionCleaner, ProjectLifecycle
from praefect.gateway.projects import open_projects
from praefect.gateway.requests import HttpLog, refuse_unreadable
from praefect.gateway.smart_http import SmartHttp
from praefect.gateway.status import StatusPage, StorageState, probe_storage
from praefect.gateway.storages import open_storages
from praefect.observability.correlation import correlation_scope, new_correlation_id
from praefect.observability.log import get_logger
from praefect.runtime.completions import Completions
from praefect.runtime.service_manager import ServiceManager
from praefect.runtime.signals import stop_on_signals
from praefect.runtime.ticker import IntervalTicker
from praefect.transport import addresses
from praefect.transport.dial import ClientTls
from praefect.transport.peer import ListenerKind

GRACE_SECONDS = 30.0
CLEAN_INTERVAL = timedelta(minutes=1)

_log = get_logger("gateway")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class GatewayStartError(InternalError):
    """The gateway cannot start; the message is one line for the operator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenAddress:
    """Where to serve HTTP."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> ListenAddress:
        """Read ``host:port``."""
        host, separator, port = text.rpartition(":")
        if not separator or not port.isdecimal():
            raise GatewayStartError(f'listen_addr "{text}" is not host:port')
        return cls(host=host.strip("[]"), port=int(port))

    def to_bind(self) -> addresses.ListenAddress:
        """Return it as sockets are opened by."""
        return addresses.ListenAddress(kind=ListenerKind.TCP, host=self.host, port=self.port)


@web.middleware
async def correlate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give each request a correlation id, the client's if it sent one."""
    given = request.headers.get("X-Request-ID", "")
    current = given if given.isascii() and given.isprintable() and 0 < len(given) <= 128 else new_correlation_id()
    with correlation_scope(current):
        return await handler(request)


@asynccontextmanager
async def run_gateway(config: GatewayConfig, directory: Path) -> AsyncIterator[str]:
    """Serve until left; yields the address that clients use.

    Where it listens, and with which certificate, is made sure of before anything is opened: who cannot serve must not
    touch the creations of the one that does.

    Args:
        config: what to serve.
        directory: of the configuration file; relative paths in it are relative to this.
    """
    address = ListenAddress.parse(config.listen_addr).to_bind()
    scheme = "https" if config.tls.certificate_path else "http"
    external_url = config.external_url or f"{scheme}://{config.listen_addr}"
    access = Access(config.users, config.protections)
    tls = _server_tls(config)
    sockets = ReservedSockets()
    with sockets.reserve([address]):
        async with (
            open_projects(directory / config.database_path) as projects,
            open_storages(config.storages, tls=client_tls(config)) as storages,
            Completions() as completions,
        ):
            await projects.abandon_creations()
            lifecycle = ProjectLifecycle(projects, storages, completions)
            application = web.Application(middlewares=[correlate, refuse_unreadable])
            parts = (
                StatusPage(projects=projects, storages=storages, external_url=external_url),
                InternalApi(secret=config.secret, access=access, projects=projects),
                ProjectApi(
                    access=access, projects=projects, storages=storages, lifecycle=lifecycle, external_url=external_url
                ),
                SmartHttp(access=access, projects=projects, storages=storages),
            )
            for part in parts:
                application.add_routes(part.routes())
            cleaner = DeletionCleaner(projects, lifecycle)
            async with _listen(application, sockets.take(address), tls), asyncio.TaskGroup() as loops:
                _log.info("listening at address", address=config.listen_addr)
                clean = loops.create_task(
                    cleaner.run(IntervalTicker(CLEAN_INTERVAL, immediately=True)), name="clean deleted projects"
                )
                try:
                    yield external_url
                finally:
                    clean.cancel()


@asynccontextmanager
async def _listen(application: web.Application, sock: socket.socket, tls: ssl.SSLContext | None) -> AsyncIterator[None]:
    """Serve until left; a client that goes away cancels what is done for it."""
    runner = web.AppRunner(
        application, access_log=None, logger=HttpLog(), shutdown_timeout=GRACE_SECONDS, handler_cancellation=True
    )
    with sock:
        await runner.setup()
        try:
            await web.SockSite(runner, sock, ssl_context=tls).start()
            yield
        finally:
            await runner.cleanup()


async def serve(config: GatewayConfig, directory: Path) -> None:
    """Serve until a signal says stop."""
    with stop_on_signals() as stop:
        manager = ServiceManager(os.environ.get("NOTIFY_SOCKET", ""))
        async with run_gateway(config, directory):
            manager.ready()
            await stop.wait()
            manager.stopping()
            _log.info("stopping")


async def check(config: GatewayConfig) -> list[StorageState]:
    """Ask every storage whether it can be reached."""
    async with open_storages(config.storages, tls=client_tls(config)) as storages:
        return [await probe_storage(storage) for storage in storages]


def client_tls(config: GatewayConfig) -> ClientTls | None:
    """Return how storages are verified: by the system's authorities and those of ``ca_file``."""
    return ClientTls(ca_file=config.ca_file) if config.ca_file else None


def _server_tls(config: GatewayConfig) -> ssl.SSLContext | None:
    tls = config.tls
    if not tls.certificate_path:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(tls.certificate_path, tls.key_path)
    except (OSError, ssl.SSLError) as exc:
        raise GatewayStartError(f"load certificate {tls.certificate_path}: {exc}") from exc
    return context
