"""The storage node's composition root: builds the parts, starts them in order, stops them in reverse."""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib import metadata
from pathlib import Path

from praefect.app.node_runtime import runtime_directory
from praefect.app.node_server import NodeServices, build_server
from praefect.app.reserved_sockets import ReservedSockets
from praefect.app.telemetry import open_telemetry
from praefect.config.node import GitlabConfig, NodeConfig
from praefect.domain.errors import InternalError
from praefect.node.context import NodeContext
from praefect.node.git.catfile import CatFilePool
from praefect.node.git.environment import base_environment
from praefect.node.git.relay import first_error
from praefect.node.git.runner import Git, detect_git
from praefect.node.hooks.custom_hooks import CustomHooks
from praefect.node.hooks.gitlab_api import GitlabApi, InternalApiSettings
from praefect.node.hooks.handlers import HookHandlers
from praefect.node.hooks.internal_api import InternalApi, Unconfigured
from praefect.node.hooks.reference_update import ReferenceUpdater
from praefect.node.hooks.runtime import HookRuntime
from praefect.node.hooks.setup import NodeAddress
from praefect.node.housekeeping.guard import MaintenanceGuard
from praefect.node.housekeeping.leftovers import LeftoverClearing
from praefect.node.housekeeping.scheduler import ChangeCounter, DailyMaintenance, DailySchedule
from praefect.node.recovery import CatFileExpiry, Recovery, prepare_storage
from praefect.node.remote import RemoteStorages
from praefect.node.remote_dial import RemoteDial
from praefect.node.storage.roots import StorageRoot, Storages
from praefect.node.storage.temporary import TemporaryDirectories
from praefect.node.voting import Dialect, Voters
from praefect.observability.log import get_logger
from praefect.observability.metrics import Collector, Registry
from praefect.observability.metrics_server import serve_metrics
from praefect.observability.process_metrics import BuildInfo, ProcessCollector, RuntimeCollector
from praefect.runtime.service_manager import ServiceManager
from praefect.runtime.signals import Stop, stop_on_signals
from praefect.runtime.ticker import IntervalTicker
from praefect.transport.addresses import InvalidAddressError
from praefect.transport.backchannel import BackchannelRegistry
from praefect.transport.grpc.server import Server
from praefect.transport.http2 import engine
from praefect.transport.listen import ListenAddress, ListenerKind, ListenOptions, ServerTls, check_certificate, listen

RECOVERY_INTERVAL = timedelta(hours=1)
CATFILE_INTERVAL = timedelta(seconds=10)
_INTERNAL_GRACE_SECONDS = 1.0

_log = get_logger("gitaly")


class NodeStartError(InternalError):
    """The node cannot start; the message is one line for the operator."""


@dataclass(slots=True)
class Loops:
    """The tasks of the node's loops; one that fails ends the process, so that it is seen."""

    group: asyncio.TaskGroup
    tasks: list[asyncio.Task[None]]


def version() -> str:
    """Return the version of this program."""
    return metadata.version("praefect")


def run(config: NodeConfig) -> None:
    """Run the node until a signal says stop.

    Raises:
        PraefectError: it could not start, or did not stop in time.
    """
    if sys.version_info < (3, 12):
        # One wait per process in the event loop, and not a thread each; newer Pythons do so by themselves.
        asyncio.set_child_watcher(asyncio.PidfdChildWatcher())
    with first_error():
        asyncio.run(serve(config))


async def serve(config: NodeConfig) -> None:
    """Run the node until a signal says stop; to be called in the main thread."""
    _log.info("Starting Gitaly", version=version())
    for line in config.warnings:
        _log.warning(line)
    with stop_on_signals() as stop:
        manager = ServiceManager(os.environ.get("NOTIFY_SOCKET", ""))
        async with run_node(config, stop):
            manager.ready()
            await stop.wait()
            manager.stopping()


@asynccontextmanager
async def run_node(config: NodeConfig, stop: Stop) -> AsyncIterator[list[ListenAddress]]:
    """Serve until left; yields the addresses that were bound, the internal one apart.

    Where it listens, and with which certificate, is made sure of before anything is started.
    """
    sockets = ReservedSockets()
    async with AsyncExitStack() as stack:
        for address in listen_addresses(config):
            check_certificate(address, _tls(config))
        stack.enter_context(sockets.reserve([*listen_addresses(config), *metrics_addresses(config)]))
        directory = stack.enter_context(runtime_directory(config.runtime_dir))
        backchannels = BackchannelRegistry()
        context = await _context(stack, config, directory, backchannels)
        node_address = NodeAddress(
            runtime_directory=directory,
            internal_socket=directory / "sock.d" / "intern",
            internal_socket_token=config.auth.token,
        )
        handlers = await _handlers(stack, config, context)
        hooks = await stack.enter_async_context(
            HookRuntime(address=node_address, storages=context.storages, handlers=handlers)
        )
        context = context.with_hooks(hooks.setups)
        loops = await stack.enter_async_context(_loops())
        changes = ChangeCounter(context)
        telemetry = open_telemetry(
            "praefect-node", version(), dsn=config.logging.sentry_dsn, environment=config.logging.sentry_environment
        )
        services = NodeServices(
            context=context,
            setups=hooks.setups,
            handlers=handlers,
            updater=ReferenceUpdater(context.git, handlers, hooks.setups),
            changes=changes,
            version=version(),
            telemetry=await stack.enter_async_context(telemetry),
        )
        # Hooks need the internal listener; on the way out the others go first.
        await _listen_internally(stack, config, services, backchannels, node_address.internal_socket)
        server = await stack.enter_async_context(build_server(config, services, internal=False))
        stack.push_async_callback(_drain, server, config, stop)
        bound = await _listen(stack, config, server, backchannels, sockets)
        if config.prometheus_listen_addr:
            await _start_metrics(stack, config, services.collectors, loops.group, sockets)
        _start_loops(loops, config, context, changes)
        yield bound


async def _context(
    stack: AsyncExitStack, config: NodeConfig, directory: Path, backchannels: BackchannelRegistry
) -> NodeContext:
    storages = _storages(config)
    temporary = TemporaryDirectories()
    stack.callback(temporary.close)
    for root in storages:
        try:
            await asyncio.to_thread(prepare_storage, root, temporary)
        except OSError as exc:
            raise NodeStartError(f'storage "{root.name}": cannot use "{root.path}": {exc.strerror}') from exc
    git = await _git(config)
    objects = await stack.enter_async_context(CatFilePool(git, capacity=config.git.catfile_cache_size))
    return NodeContext(
        storages=storages,
        temporary=temporary,
        git=git,
        objects=objects,
        voters=Voters(backchannels.channel, Dialect(config.votes.dialect.value)),
        remotes=await stack.enter_async_context(RemoteStorages(RemoteDial())),
        maintenance=MaintenanceGuard(),
        leftovers=LeftoverClearing(temporary, objects),
        runtime_directory=directory,
    )


def _storages(config: NodeConfig) -> Storages:
    return Storages(StorageRoot(name=each.name, path=Path(each.path).absolute()) for each in config.storages)


async def _git(config: NodeConfig) -> Git:
    environment = base_environment(os.environ)
    found = await detect_git(config.git.executable, environment)
    pairs = [(each.key, each.value) for each in config.git.config]
    return Git(binary=config.git.executable, version=found, environment=environment, config=pairs)


async def _handlers(stack: AsyncExitStack, config: NodeConfig, context: NodeContext) -> HookHandlers:
    directory = Path(config.hooks.custom_hooks_dir) if config.hooks.custom_hooks_dir else None
    return HookHandlers(
        api=await internal_api(stack, config.gitlab),
        custom_hooks=CustomHooks(context.git, directory),
        voters=context.voters,
    )


async def internal_api(stack: AsyncExitStack, gitlab: GitlabConfig) -> InternalApi:
    """Return the front door's internal API, opened on ``stack``; without an address, one that refuses."""
    if not gitlab.url:
        return Unconfigured()
    settings = InternalApiSettings(
        url=gitlab.url,
        relative_url_root=gitlab.relative_url_root,
        secret=_secret(gitlab),
        user=gitlab.http_settings.user,
        password=gitlab.http_settings.password,
        ca_file=_path(gitlab.http_settings.ca_file),
        ca_path=_path(gitlab.http_settings.ca_path),
        read_timeout_seconds=gitlab.http_settings.read_timeout,
    )
    return await stack.enter_async_context(GitlabApi(settings))


def _path(text: str) -> Path | None:
    return Path(text) if text else None


def _secret(gitlab: GitlabConfig) -> str:
    if gitlab.secret or not gitlab.secret_file:
        return gitlab.secret
    try:
        return Path(gitlab.secret_file).read_text(encoding="utf-8").strip()
    except OSError as exc:
        raise NodeStartError(f'gitlab.secret_file: cannot read "{gitlab.secret_file}": {exc.strerror}') from exc


async def _listen_internally(
    stack: AsyncExitStack,
    config: NodeConfig,
    services: NodeServices,
    backchannels: BackchannelRegistry,
    internal_socket: Path,
) -> None:
    server = await stack.enter_async_context(build_server(config, services, internal=True))
    stack.push_async_callback(server.drain, _INTERNAL_GRACE_SECONDS)
    address = ListenAddress(kind=ListenerKind.UNIX, path=str(internal_socket))
    options = ListenOptions(engine=engine(config.http2.engine.value))
    await stack.enter_async_context(listen(address, server, backchannels=backchannels, options=options))


async def _listen(
    stack: AsyncExitStack,
    config: NodeConfig,
    server: Server,
    backchannels: BackchannelRegistry,
    sockets: ReservedSockets,
) -> list[ListenAddress]:
    options = ListenOptions(engine=engine(config.http2.engine.value))
    bound = []
    for address in listen_addresses(config):
        listener = await stack.enter_async_context(
            listen(
                address,
                server,
                backchannels=backchannels,
                tls=_tls(config),
                sock=sockets.take(address),
                options=options,
            )
        )
        bound.append(listener.address)
        _log.info("listening at address", address=listener.address.text, schema=address.kind.value)
    return bound


async def _drain(server: Server, config: NodeConfig, stop: Stop) -> None:
    _log.warning("starting grace period")
    async with stop.grace(config.graceful_restart_timeout):
        await server.drain(config.graceful_restart_timeout.total_seconds())


def listen_addresses(config: NodeConfig) -> Sequence[ListenAddress]:
    """Return where the configuration says to listen."""
    wanted = (
        (config.socket_path, ListenerKind.UNIX),
        (config.listen_addr, ListenerKind.TCP),
        (config.tls_listen_addr, ListenerKind.TLS),
    )
    return [ListenAddress.parse(text, kind) for text, kind in wanted if text]


def metrics_addresses(config: NodeConfig) -> Sequence[ListenAddress]:
    """Return where metrics are scraped, if anywhere.

    Raises:
        NodeStartError: the value cannot be understood.
    """
    text = config.prometheus_listen_addr
    try:
        return [ListenAddress.parse(text)] if text else []
    except InvalidAddressError as exc:
        raise NodeStartError(f'prometheus_listen_addr: cannot listen on "{text}": {exc}') from exc


def _tls(config: NodeConfig) -> ServerTls | None:
    if not config.tls_listen_addr:
        return None
    minimum = ssl.TLSVersion.TLSv1_3 if config.tls.min_version.value.endswith("1.3") else ssl.TLSVersion.TLSv1_2
    return ServerTls(
        certificate_path=config.tls.certificate_path,
        key_path=config.tls.key_path,
        key=config.tls.key,
        minimum_version=minimum,
    )


@asynccontextmanager
async def _loops() -> AsyncIterator[Loops]:
    async with asyncio.TaskGroup() as group:
        loops = Loops(group, [])
        try:
            yield loops
        finally:
            for task in loops.tasks:
                task.cancel()


def _start_loops(loops: Loops, config: NodeConfig, context: NodeContext, changes: ChangeCounter) -> None:
    recovery = Recovery(context.storages, context.temporary)
    ticker = IntervalTicker(RECOVERY_INTERVAL, immediately=True)
    start = loops.group.create_task
    loops.tasks.append(start(recovery.run(ticker), name="recovery"))
    expiry = CatFileExpiry(context.objects)
    loops.tasks.append(start(expiry.run(IntervalTicker(CATFILE_INTERVAL)), name="cat-file expiry"))
    loops.tasks.append(start(changes.run(), name="housekeeping"))
    loops.tasks.append(start(context.leftovers.run(), name="leftovers"))
    daily = config.daily_maintenance
    if daily.disabled or daily.duration <= timedelta(0):
        return
    schedule = DailySchedule(
        hour=daily.start_hour,
        minute=daily.start_minute,
        duration=daily.duration,
        storages=daily.storages or [each.name for each in config.storages],
    )
    maintenance = DailyMaintenance(context, schedule, lambda: datetime.now().astimezone())
    loops.tasks.append(start(maintenance.run(), name="daily maintenance"))


async def _start_metrics(
    stack: AsyncExitStack,
    config: NodeConfig,
    collectors: Sequence[Collector],
    tasks: asyncio.TaskGroup,
    sockets: ReservedSockets,
) -> None:
    build = BuildInfo(module_path="gitaly", version=version())
    registry = Registry(*collectors, ProcessCollector(), RuntimeCollector(), build)
    _log.info("Starting prometheus listener", address=config.prometheus_listen_addr)
    for address in metrics_addresses(config):
        page = serve_metrics(
            sockets.take(address), registry, tasks=tasks, query_timeout=config.prometheus.scrape_timeout
        )
        await stack.enter_async_context(page)
