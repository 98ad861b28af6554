"""What surrounds every call of the node: listeners with and without TLS, full disks."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from praefect.app.node import run_node
from praefect.config.node import AuthConfig, NodeConfig, StorageConfig, TlsConfig
from praefect.proto import repository_pb2 as pb
from praefect.proto import server_pb2
from praefect.proto.shared_pb2 import Repository
from praefect.runtime.signals import Stop
from praefect.transport.dial import ClientTls, open_channel
from praefect.transport.grpc.status import StatusCode, StatusError
from tests.support.running_node import TOKEN, running_node
from tests.support.tls_certificates import make_authority

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SERVICE = "/gitaly.RepositoryService/"


async def test_all_listeners_offer_the_same(tmp_path: Path) -> None:
    authority = make_authority(tmp_path)
    pair = authority.issue("localhost")
    storage = tmp_path / "storage"
    storage.mkdir()
    config = NodeConfig(
        listen_addr="127.0.0.1:0",
        tls_listen_addr="localhost:0",
        socket_path=str(tmp_path / "node.sock"),
        tls=TlsConfig(certificate_path=str(pair.certificate_path), key_path=str(pair.key_path)),
        auth=AuthConfig(token=TOKEN),
        storages=(StorageConfig(name="default", path=str(storage)),),
    )
    async with run_node(config, Stop()) as addresses:
        assert len(addresses) == 3
        for address in addresses:
            for multiplex in (False, True):
                target = address.dial_address.replace("tls://127.0.0.1", "tls://localhost")
                async with open_channel(
                    target, token=TOKEN, multiplex=multiplex, tls=ClientTls(ca_file=str(authority.certificate_path))
                ) as channel:
                    info = await channel.unary(
                        "/gitaly.ServerService/ServerInfo",
                        server_pb2.ServerInfoRequest(),
                        server_pb2.ServerInfoResponse,
                    )
                    assert info.git_version


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("needs the right to mount")
    path = tmp_path / "small"
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(path)], check=False)
    if mounted.returncode != 0:
        pytest.skip("needs the right to mount")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def fill(file: Path) -> None:
    with contextlib.suppress(OSError), file.open("wb", buffering=0) as opened:
        while True:
            opened.write(bytes(4096))


async def test_what_a_node_repeats_while_it_lives(tmp_path: Path) -> None:
    async with running_node(tmp_path / "storage"):
        names = {task.get_name() for task in asyncio.all_tasks()}
    assert {"recovery", "cat-file expiry", "housekeeping", "leftovers"} <= names
    assert not {"recovery", "leftovers"} & {task.get_name() for task in asyncio.all_tasks()}


@pytest.mark.root
async def test_full_disk_is_named_and_what_is_there_stays_readable(small_disk: Path) -> None:
    async with running_node(small_disk / "storage") as node:
        kept = Repository(storage_name="default", relative_path="kept.git")
        request = pb.CreateRepositoryRequest(repository=kept)
        await node.channel.unary(f"{SERVICE}CreateRepository", request, pb.CreateRepositoryResponse)
        filler = small_disk / "filler"
        fill(filler)
        request = pb.CreateRepositoryRequest(repository=Repository(storage_name="default", relative_path="new.git"))
        with pytest.raises(StatusError) as error:
            await node.channel.unary(f"{SERVICE}CreateRepository", request, pb.CreateRepositoryResponse)
        assert error.value.code is StatusCode.INTERNAL
        assert "no space left on device" in error.value.message.lower()
        exists = await node.channel.unary(
            f"{SERVICE}RepositoryExists", pb.RepositoryExistsRequest(repository=kept), pb.RepositoryExistsResponse
        )
        assert exists.exists
        checksum = await node.channel.unary(
            f"{SERVICE}CalculateChecksum", pb.CalculateChecksumRequest(repository=kept), pb.CalculateChecksumResponse
        )
        assert checksum.checksum == "0" * 40
        filler.unlink()
        await node.channel.unary(f"{SERVICE}CreateRepository", request, pb.CreateRepositoryResponse)
    assert list((small_disk / "storage/+gitaly/tmp").iterdir()) == []
