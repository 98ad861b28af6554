"""CalculateChecksum: what replicas are compared by."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from praefect.node.git.command import Command
from praefect.node.services.repository.part import RepositoryPart
from praefect.proto.repository_pb2 import CalculateChecksumRequest, CalculateChecksumResponse
from praefect.transport.grpc.status import StatusCode, StatusError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from praefect.node.git.runner import Git
    from praefect.node.storage.repository import LocalRepository
    from praefect.transport.grpc.server_call import ServerCall

# Not anchored, as in every other implementation: a reference that merely contains HEAD counts too.
_COUNTED = re.compile(rb"HEAD|(refs/(heads|tags|keep-around|merge-requests|environments|notes)/)")
EMPTY_CHECKSUM = "0" * 40


def references_checksum(lines: Iterable[bytes]) -> int:
    """Return the XOR of the hashes of the lines that count."""
    checksum = 0
    for line in lines:
        if line and _COUNTED.search(line):
            checksum ^= int.from_bytes(hashlib.sha1(line, usedforsecurity=False).digest(), "big")
    return checksum


def format_checksum(checksum: int) -> str:
    """Return the wire form: hexadecimal bytes without leading zero bytes."""
    return checksum.to_bytes(20, "big").lstrip(b"\0").hex()


async def calculate_checksum(git: Git, repository: LocalRepository) -> str:
    """Return the checksum of a repository's references.

    Raises:
        StatusError: DATA_LOSS, if git takes the directory for no repository.
    """
    completed = await git.run(repository, Command(name="show-ref", flags=["--head"]))
    lines = [line for line in completed.stdout.split(b"\n") if line and _COUNTED.search(line)]
    if completed.returncode in (0, 1) and lines:
        return format_checksum(references_checksum(lines))
    bare = await git.run(repository, Command(name="rev-parse", flags=["--is-bare-repository"]))
    if completed.returncode not in (0, 1) or bare.stdout.strip() != b"true":
        raise StatusError(StatusCode.DATA_LOSS, f"not a git repository '{repository.path}'")
    return EMPTY_CHECKSUM


class ChecksumPart(RepositoryPart):
    """The RPC that replicas are compared by."""

    async def calculate_checksum(
        self, request: CalculateChecksumRequest, call: ServerCall
    ) -> CalculateChecksumResponse:
        """Return the checksum of the repository's references."""
        del call
        repository = self._storages.open(request.repository)
        return CalculateChecksumResponse(checksum=await calculate_checksum(self._git, repository))
