"""ServerService: who this node is, how its disks are."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from praefect.domain.errors import InternalError
from praefect.node.storage.metadata import read_filesystem_id
from praefect.proto.server_pb2 import (
    DiskStatisticsRequest,
    DiskStatisticsResponse,
    ReadinessCheckRequest,
    ReadinessCheckResponse,
    ServerInfoRequest,
    ServerInfoResponse,
    ServerSignatureRequest,
    ServerSignatureResponse,
)

if TYPE_CHECKING:
    from praefect.node.storage.roots import StorageRoot, Storages
    from praefect.transport.grpc.server_call import ServerCall

_MOUNTS = Path("/proc/self/mountinfo")


class ServerService:
    """RPCs about the node itself.

    Args:
        storages: what is served.
        version: of this program.
        git_version: of the git it runs.
        signing_key: file of the key that signs commits, if any.
    """

    def __init__(self, storages: Storages, *, version: str, git_version: str, signing_key: str = "") -> None:
        self._storages = storages
        self._version = version
        self._git_version = git_version
        self._signing_key = signing_key

    async def server_info(self, request: ServerInfoRequest, call: ServerCall) -> ServerInfoResponse:
        """Return versions and the state of each storage; a bad storage is no error."""
        del request, call
        statuses = await asyncio.to_thread(lambda: [_status(root) for root in self._storages])
        return ServerInfoResponse(
            server_version=self._version, git_version=self._git_version, storage_statuses=statuses
        )

    async def disk_statistics(self, request: DiskStatisticsRequest, call: ServerCall) -> DiskStatisticsResponse:
        """Return the bytes available and used on the disk of each storage; zeros where that is unknown."""
        del request, call
        statuses = await asyncio.to_thread(lambda: [_disk(root) for root in self._storages])
        return DiskStatisticsResponse(storage_statuses=statuses)

    async def readiness_check(self, request: ReadinessCheckRequest, call: ServerCall) -> ReadinessCheckResponse:
        """Say that the node is ready: it answers."""
        del request, call
        return ReadinessCheckResponse(ok_response=ReadinessCheckResponse.Ok())

    async def server_signature(self, request: ServerSignatureRequest, call: ServerCall) -> ServerSignatureResponse:
        """Return the public part of the key that signs commits, nothing if there is none."""
        del request, call
        if not self._signing_key:
            return ServerSignatureResponse()
        public = Path(f"{self._signing_key}.pub")
        try:
            return ServerSignatureResponse(public_key=await asyncio.to_thread(public.read_bytes))
        except OSError as exc:
            raise InternalError(f"reading signing key: {exc.strerror}") from exc


def _status(root: StorageRoot) -> ServerInfoResponse.StorageStatus:
    status = ServerInfoResponse.StorageStatus(storage_name=root.name, fs_type="unknown", replication_factor=1)
    try:
        mode = root.path.stat().st_mode
    except OSError:
        return status
    status.readable = bool(mode & stat.S_IRUSR and mode & stat.S_IXUSR)
    status.writeable = bool(mode & stat.S_IWUSR)
    status.fs_type = file_system_type(root.resolved)
    status.filesystem_id = read_filesystem_id(root)
    return status


def _disk(root: StorageRoot) -> DiskStatisticsResponse.StorageStatus:
    status = DiskStatisticsResponse.StorageStatus(storage_name=root.name)
    try:
        found = os.statvfs(root.path)
    except OSError:
        return status
    # statvfs counts in fragments, which is what statfs calls a block.
    status.available = found.f_bavail * found.f_frsize
    status.used = (found.f_blocks - found.f_bfree) * found.f_frsize
    return status


def file_system_type(path: Path) -> str:
    """Return the type of the file system a directory is on, ``unknown`` if the kernel does not say. Blocks."""
    try:
        lines = _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return "unknown"
    best = ("", "unknown")
    for line in lines:
        before, separator, after = line.partition(" - ")
        fields = before.split()
        if separator and len(fields) > 4 and path.is_relative_to(fields[4]) and len(fields[4]) >= len(best[0]):
            best = (fields[4], after.split()[0])
    return best[1]
