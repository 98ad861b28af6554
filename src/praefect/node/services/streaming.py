"""Conventions of streams: how much goes into one message, and how git's output becomes messages."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterable
    from pathlib import Path

    from praefect.node.git.command import Command
    from praefect.node.git.runner import Git
    from praefect.node.storage.repository import LocalRepository

CHUNK_BYTES = 128 * 1024
BATCH_BYTES = 1024 * 1024


class Sized(Protocol):
    """A protobuf message."""

    def ByteSize(self) -> int:  # noqa: N802 - protobuf's name
        """Return how many bytes it takes on the wire."""


MessageT = TypeVar("MessageT", bound=Sized)
ItemT = TypeVar("ItemT")


async def batches_by_size(items: AsyncGenerator[MessageT, None]) -> AsyncGenerator[list[MessageT], None]:
    """Collect messages until the next one would make the batch larger than a stream's message should be."""
    batch: list[MessageT] = []
    size = 0
    async with aclosing(items):
        async for item in items:
            item_size = item.ByteSize() + 6  # tag and length of the field it will be in
            if batch and size + item_size > BATCH_BYTES:
                yield batch
                batch, size = [], 0
            batch.append(item)
            size += item_size
    if batch:
        yield batch


def batches_by_count(items: Iterable[ItemT], count: int) -> Iterable[list[ItemT]]:
    """Cut into lists of ``count``."""
    batch: list[ItemT] = []
    for item in items:
        batch.append(item)
        if len(batch) == count:
            yield batch
            batch = []
    if batch:
        yield batch


async def output_chunks(
    git: Git, repository: LocalRepository | Path | None, command: Command
) -> AsyncGenerator[bytes, None]:
    """Yield the output of a command as it comes.

    Raises:
        GitCommandError: the command did not end well; everything it wrote was yielded before.
    """
    async with git.start(repository, command) as process:
        while data := await process.read(CHUNK_BYTES):
            yield data
        await process.check()


async def output_lines(
    git: Git, repository: LocalRepository, command: Command, *, separator: bytes = b"\n"
) -> AsyncGenerator[bytes, None]:
    """Yield the lines of a command's output, without their end, as they come.

    Raises:
        GitCommandError: the command did not end well; every line was yielded before.
    """
    rest = b""
    async with git.start(repository, command) as process:
        while data := await process.read(CHUNK_BYTES):
            *lines, rest = (rest + data).split(separator)
            for line in lines:
                yield line
        if rest:
            yield rest
        await process.check()


def byte_chunks(data: bytes) -> Iterable[bytes]:
    """Cut bytes that are in memory into what fits into a message."""
    view = memoryview(data)
    for start in range(0, len(view), CHUNK_BYTES):
        yield bytes(view[start : start + CHUNK_BYTES])


async def joined_bytes(chunks: AsyncIterator[bytes], limit: int) -> bytes:
    """Put a stream together, at most ``limit`` bytes of it."""
    parts: list[bytes] = []
    size = 0
    async for chunk in chunks:
        parts.append(chunk)
        size += len(chunk)
        if size >= limit:
            break
    return b"".join(parts)[:limit]
