"""Clusters of upstream's programs and ours; upstream's executables are named by environment variables.

``PRAEFECT_UPSTREAM_PRAEFECT`` and ``PRAEFECT_UPSTREAM_GITALY`` name the programs, ``PRAEFECT_UPSTREAM_GIT`` the git
that all nodes of such a cluster run, ours included; without it upstream's run the one packed into them and ours the one
in PATH. ``docs/compatibility.md`` says which versions were tried.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest
from google.protobuf.message import Message

from praefect.app.cluster import VIRTUAL_STORAGE, Cluster, ClusterOptions, run_cluster
from praefect.app.layout import DATABASE, ROLE
from praefect.config.praefect_sections import DatabaseConfig
from praefect.datastore.pool import connect
from praefect.proto import shared_pb2
from praefect.transport.dial import open_channel
from tests.fault.checks.disks import fsck, replica
from tests.fault.checks.disks import references as references_of
from tests.fault.checks.records import Record, read_records
from tests.support.cluster import ClusterClient, relative_path
from tests.support.eventually import eventually
from tests.support.postgres import UNSAFE_BUT_FAST, Rows
from tests.support.praefect_cli import Result

PRAEFECT = "PRAEFECT_UPSTREAM_PRAEFECT"
GITALY = "PRAEFECT_UPSTREAM_GITALY"
NODES = ("gitaly-1", "gitaly-2", "gitaly-3")
CALL_SECONDS = 20.0
USER = shared_pb2.User(gl_id="user-1", name=b"root", email=b"root@localhost", gl_username="root", timezone="UTC")
_LAUNCHER = Path(__file__).with_name("upstream_launcher.py")

needs_praefect = pytest.mark.skipif(not os.environ.get(PRAEFECT), reason=f"{PRAEFECT} names no executable")
needs_gitaly = pytest.mark.skipif(not os.environ.get(GITALY), reason=f"{GITALY} names no executable")

MessageT = TypeVar("MessageT", bound=Message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """Which parts of a cluster are upstream's."""

    nodes: Sequence[str] = ()
    praefects: Sequence[str] = ()

    def programs(self) -> dict[str, tuple[str, ...]]:
        """Return the command lines that start the parts."""
        launcher = (sys.executable, str(_LAUNCHER))
        return {
            "praefect": (*launcher, "praefect", ",".join(self.praefects)),
            "praefect-node": (*launcher, "node", ",".join(self.nodes)),
        }


class MixedCluster:
    """A running cluster of upstream's parts and ours, and the questions that tests ask of it."""

    def __init__(self, cluster: Cluster, programs: dict[str, tuple[str, ...]]) -> None:
        self.cluster = cluster
        self.client = ClusterClient(cluster)
        self._programs = programs

    def become(self, mixture: Mixture) -> None:
        """Let the parts that are started from now on be those of another mixture."""
        self._programs.update(mixture.programs())

    # --- calls ---

    async def call(
        self,
        method: str,
        request: Message | Iterable[Message],
        kind: type[MessageT],
        *,
        praefect: str = "praefect",
        forwarded: bool = False,
    ) -> MessageT:
        """Make a call with one answer; ``forwarded`` tells a node how to reach the cluster itself."""
        address, token = self.cluster.address_of_praefect(praefect), self.cluster.secrets.external_token
        metadata = [("user_id", "user-1"), ("username", "root"), ("client_name", "mixtures")]
        if forwarded:
            servers = json.dumps({VIRTUAL_STORAGE: {"address": address, "token": token}})
            metadata.append(("gitaly-servers", base64.b64encode(servers.encode()).decode()))
        async with open_channel(address, token=token) as channel:
            if isinstance(request, Message):
                return await channel.unary(method, request, kind, metadata=metadata, timeout=CALL_SECONDS)
            return await channel.client_stream(method, request, kind, metadata=metadata, timeout=CALL_SECONDS)

    async def run(self, program: str, *words: str, config: Path | None = None) -> Result:
        """Run a command of upstream's praefect or of ours (``upstream`` or ``ours``)."""
        ours = (sys.executable, "-m", "praefect.cli.main")
        command = (os.environ[PRAEFECT],) if program == "upstream" else ours
        process = await asyncio.create_subprocess_exec(
            *(*command, "-config", str(config or self.cluster.layout.praefect_config), *words),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        stdout, stderr = await process.communicate()
        assert process.returncode is not None
        return Result(process.returncode, stdout.decode(), stderr.decode())

    # --- records and disks ---

    @asynccontextmanager
    async def rows(self) -> AsyncIterator[Rows]:
        """Open a connection to the database."""
        assert self.cluster.postgres is not None
        database = DatabaseConfig(
            host=self.cluster.postgres.host,
            port=self.cluster.postgres.port,
            user=ROLE,
            password=self.cluster.secrets.sql_password,
            dbname=DATABASE,
            sslmode="disable",
        )
        async with await connect(database) as connection:
            yield Rows(connection)

    async def jobs_so_far(self) -> int:
        """Return how many replication jobs were ever queued."""
        async with self.rows() as rows:
            found = await rows.run(
                "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM replication_queue_id_seq"
            )
        return int(str(found[0][0]))

    async def record(self, path: str) -> Record | None:
        """Return what is recorded of a repository."""
        return (await read_records(self.cluster)).repositories.get(path)

    async def outdated(self, path: str) -> str:
        """Say how records and disks of a repository differ between the nodes; nothing if all are equal."""
        record = await self.record(path)
        if record is None:
            return f"{path} is not recorded"
        if set(record.replicas.values()) != {record.generation} or len(record.replicas) != len(NODES):
            return f"{path} is at {record.generation}, replicas at {dict(record.replicas)}"
        found = {}
        for name in NODES:
            found[name] = await references_of(replica(self.cluster, name, record.replica_path))
        if any(one is None or one != found[NODES[0]] for one in found.values()):
            return f"{path} differs on disk: {found}"
        return ""

    async def wait_until_equal(self, path: str, *, within_seconds: float = 60.0) -> None:
        """Wait until all replicas are current."""
        found: list[str] = []

        async def equal() -> bool:
            found[:] = [await self.outdated(path)]
            return not found[0]

        try:
            await eventually(equal, within_seconds=within_seconds)
        except AssertionError:
            raise AssertionError(found[0]) from None

    def replicas(self, record: Record) -> list[Path]:
        """Return the directories of a repository on the nodes."""
        return [replica(self.cluster, name, record.replica_path) for name in NODES]

    async def primary(self, path: str) -> str:
        """Return the stored primary of a repository."""
        async with self.rows() as rows:
            found = await rows.run('SELECT "primary" FROM repositories WHERE relative_path = %s', path)
        return str(found[0][0])

    async def fsck(self, path: str) -> dict[str, str]:
        """Return what git finds wrong with a repository, by node."""
        record = await self.record(path)
        assert record is not None
        found = {name: await fsck(replica(self.cluster, name, record.replica_path)) for name in NODES}
        return {name: fault for name, fault in found.items() if fault}


@asynccontextmanager
async def run_mixture(
    directory: Path, mixture: Mixture, *, praefects: int = 1, reconciliation: str = "1s"
) -> AsyncIterator[MixedCluster]:
    """Run a cluster of upstream's parts and ours."""
    programs = mixture.programs()
    options = ClusterOptions(
        directory=directory,
        praefects=praefects,
        reconciliation_interval=reconciliation,
        postgres_settings=UNSAFE_BUT_FAST,
        programs=programs,
    )
    async with run_cluster(options) as cluster:
        yield MixedCluster(cluster, programs)


def repository(path: str) -> shared_pb2.Repository:
    """Name a repository as a client does."""
    return shared_pb2.Repository(
        storage_name=VIRTUAL_STORAGE, relative_path=path, gl_repository="project-1", gl_project_path="mixed"
    )


__all__ = [
    "NODES",
    "USER",
    "MixedCluster",
    "Mixture",
    "needs_gitaly",
    "needs_praefect",
    "relative_path",
    "repository",
    "run_mixture",
]
