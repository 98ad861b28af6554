"""A whole cluster of child processes: PostgreSQL, nodes, praefect, gateway; what the demo and the scenario run."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from praefect.app.layout import (
    DATABASE,
    ROLE,
    VIRTUAL_STORAGE,
    DatabaseAddress,
    DemoDirectoryError,
    Endpoint,
    Layout,
    Ports,
    PraefectSettings,
    Routes,
    Secrets,
    program,
    write_private,
)
from praefect.app.processes import Child, ProcessCrashedError, tail
from praefect.datastore.embedded import EmbeddedPostgres
from praefect.domain.errors import InternalError, PraefectError
from praefect.proto import health_pb2
from praefect.transport.dial import open_channel

START_SECONDS = 30.0
POLL_SECONDS = 0.02


class ClusterStartError(InternalError):
    """A part did not become ready in time."""


Detour = Callable[[str, str, Endpoint], Awaitable[Endpoint]]
"""Says where a praefect (its name first) is to look for a part, given where that part really is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterOptions:
    """What to start, and where."""

    directory: Path
    nodes: int = 3
    praefects: int = 1
    reconciliation_interval: str = "10s"
    postgres_settings: Mapping[str, str] = field(default_factory=dict)
    programs: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Command lines to start instead of our own programs, by their names."""
    detour: Detour | None = None
    progress: Callable[[str], None] = lambda _text: None
    """Told what is being started."""
    ready: Callable[[str], None] = lambda _text: None
    """Told what runs."""


class Cluster:
    """A running cluster; made by ``run_cluster``."""

    def __init__(
        self, layout: Layout, made: Secrets, ports: Ports, programs: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        self.layout = layout
        self.secrets = made
        self.ports = ports
        self._programs = programs or {}
        self.postgres: EmbeddedPostgres | None = None
        self._children: dict[str, Child] = {}

    @property
    def url(self) -> str:
        """The address of the front door."""
        return f"http://127.0.0.1:{self.ports.gateway}"

    @property
    def praefect_address(self) -> str:
        """Where the first praefect listens."""
        return self.address_of_praefect(self.layout.praefect_names[0])

    def address_of_praefect(self, name: str) -> str:
        """Return where a praefect listens."""
        return f"tcp://127.0.0.1:{self.layout.praefect_port(name, self.ports)}"

    def node_address(self, name: str) -> str:
        """Return where a node listens."""
        return f"tcp://127.0.0.1:{self.ports.nodes[self.layout.node_names.index(name)]}"

    def clone_url(self, project: str) -> str:
        """Return the address of a project, with credentials."""
        return f"http://root:{self.secrets.access_token}@127.0.0.1:{self.ports.gateway}/{project}.git"

    def child(self, name: str) -> Child:
        """Return a part by name."""
        return self._children[name]

    async def start_node(self, name: str) -> None:
        """Start a node, or start it again, and wait until it serves."""
        command = (*self._program("praefect-node"), "serve", str(self.layout.node_config(name)))
        await self._start(name, command)
        await self._wait_grpc(name, self.node_address(name))

    async def start_praefect(self, name: str = "praefect") -> None:
        """Start a praefect and wait until it serves."""
        await self._start(name, (*self._program("praefect"), "-config", str(self.layout.praefect_config_of(name))))
        await self._wait_grpc(name, self.address_of_praefect(name))

    async def start_gateway(self) -> None:
        """Start the gateway and wait until it serves."""
        await self._start("praefect-gateway", (*program("praefect-gateway"), "serve", str(self.layout.gateway_config)))
        await self._wait_http("praefect-gateway")

    async def start_again(self, child: Child) -> None:
        """Start a part that has ended, without waiting until it serves."""
        await child.start()
        self._write_processes()

    async def migrate(self) -> None:
        """Bring the database's schema up to date."""
        command = (*self._program("praefect"), "-config", str(self.layout.praefect_config), "sql-migrate")
        child = Child(name="praefect sql-migrate", arguments=command, log=self.layout.log("sql-migrate"))
        await child.start()
        code = await child.wait()
        if code != 0:
            raise ProcessCrashedError(child.name, code, child.log)

    async def stop(self) -> None:
        """Stop all parts: the front door first, the nodes last."""
        order = ["praefect-gateway", *self.layout.praefect_names, *self.layout.node_names]
        for name in order:
            if name in self._children:
                await self._children[name].stop()
        self.layout.processes.unlink(missing_ok=True)

    def children(self) -> list[Child]:
        """Return all parts."""
        return list(self._children.values())

    def _program(self, name: str) -> Sequence[str]:
        return self._programs.get(name) or program(name)

    async def _start(self, name: str, command: tuple[str, ...]) -> None:
        child = Child(name=name, arguments=command, log=self.layout.log(name))
        await child.start()
        self._children[name] = child
        self._write_processes()

    def _write_processes(self) -> None:
        """Write down what runs, for the start after one that was killed."""
        running = {one.name: one.pid for one in self._children.values() if one.running}
        write_private(self.layout.processes, json.dumps(running))

    async def _wait_grpc(self, name: str, address: str) -> None:
        async def serves() -> bool:
            async with open_channel(address, token=None) as channel:
                try:
                    response = await channel.unary(
                        "/grpc.health.v1.Health/Check",
                        health_pb2.HealthCheckRequest(),
                        health_pb2.HealthCheckResponse,
                        timeout=1.0,
                    )
                except PraefectError:
                    return False
                return response.status == health_pb2.HealthCheckResponse.SERVING

        await self._wait(name, serves)

    async def _wait_http(self, name: str) -> None:
        async with aiohttp.ClientSession(trust_env=False) as session:

            async def serves() -> bool:
                try:
                    async with session.get(f"{self.url}/-/health") as response:
                        return response.status == 200
                except aiohttp.ClientError:
                    return False

            await self._wait(name, serves)

    async def _wait(self, name: str, serves: Callable[[], object]) -> None:
        child = self._children[name]
        try:
            async with asyncio.timeout(START_SECONDS):
                while not await serves():  # type: ignore[misc]  # an async function
                    if not child.running:
                        raise ProcessCrashedError(name, await child.wait(), child.log)
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError as exc:
            raise ClusterStartError(
                f"{name} was not ready after {START_SECONDS:.0f} s; the end of {child.log}:\n{tail(child.log)}"
            ) from exc


@asynccontextmanager
async def run_cluster(options: ClusterOptions) -> AsyncIterator[Cluster]:
    """Start everything and stop it when left."""
    layout = Layout(options.directory, options.nodes, options.praefects)
    layout.create()
    with _locked(layout):
        _end_leftovers(layout)
        async with AsyncExitStack() as stack:
            stack.callback(layout.remove_short_runtime)
            made, ports = layout.secrets(), layout.ports()
            cluster = Cluster(layout, made, ports, options.programs)
            options.progress("PostgreSQL")
            postgres = await stack.enter_async_context(
                EmbeddedPostgres(layout.postgres, log=layout.log("postgres"), settings=options.postgres_settings)
            )
            cluster.postgres = postgres
            options.ready("PostgreSQL runs")
            await postgres.provision(role=ROLE, password=made.sql_password, database=DATABASE)
            database = DatabaseAddress(
                host=postgres.host, port=postgres.port, user=ROLE, password=made.sql_password, dbname=DATABASE
            )
            settings = PraefectSettings(
                routes=await _routes(options, cluster, database),
                reconciliation_interval=options.reconciliation_interval,
            )
            layout.write_configs(made, ports, database, settings)
            stack.push_async_callback(cluster.stop)
            options.progress("migrations")
            await cluster.migrate()
            options.ready("the database is migrated")
            options.progress("nodes and gateway")
            try:
                async with asyncio.TaskGroup() as starts:
                    starts.create_task(_tell(cluster.start_gateway(), "the gateway", options), name="start gateway")
                    for name in layout.node_names:
                        starts.create_task(_tell(cluster.start_node(name), name, options), name=f"start {name}")
            except ExceptionGroup as exc:
                raise exc.exceptions[0] from None
            # Last, so that its first health round finds every node.
            options.progress("praefect")
            for name in layout.praefect_names:
                await _tell(cluster.start_praefect(name), name, options)
            yield cluster


async def _tell(start: Awaitable[None], name: str, options: ClusterOptions) -> None:
    await start
    options.ready(f"{name} serves")


async def _routes(options: ClusterOptions, cluster: Cluster, database: DatabaseAddress) -> Routes:
    if options.detour is None:
        return {}
    layout = cluster.layout
    parts = {"postgres": Endpoint(database.host, database.port)}
    parts |= {
        name: Endpoint("127.0.0.1", port) for name, port in zip(layout.node_names, cluster.ports.nodes, strict=True)
    }
    return {
        (praefect, part): await options.detour(praefect, part, endpoint)
        for praefect in layout.praefect_names
        for part, endpoint in parts.items()
    }


@contextmanager
def _locked(layout: Layout) -> Iterator[None]:
    """Hold the data directory, so that it has one cluster at most."""
    descriptor = os.open(layout.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as exc:
        raise DemoDirectoryError(f"{layout.directory} is in use by another demo") from exc
    finally:
        os.close(descriptor)


def _end_leftovers(layout: Layout) -> None:
    """End the parts that a killed demo left running, recognised by their command line."""
    try:
        pids = [int(pid) for pid in json.loads(layout.processes.read_text()).values()]
    except (OSError, ValueError, TypeError, AttributeError):
        return
    for pid in pids:
        try:
            command_line = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if os.fsencode(layout.directory) in command_line:
            os.killpg(pid, signal.SIGKILL)
    layout.processes.unlink(missing_ok=True)


__all__ = ["VIRTUAL_STORAGE", "Cluster", "ClusterOptions", "ClusterStartError", "Detour", "run_cluster"]
