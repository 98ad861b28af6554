"""Reading objects through long-lived ``git cat-file --batch-command`` processes, pooled per repository.

A process belongs to one caller at a time and goes back only when all its output was read. Object ids never change
their meaning; names are looked up anew by the live process.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from asyncio.subprocess import PIPE
from collections import defaultdict
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from praefect.domain.errors import InternalError
from praefect.node.git.command import Command
from praefect.node.git.errors import ObjectNotFoundError, StdinClosedError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    from praefect.node.git.process import GitProcess
    from praefect.node.git.runner import Git
    from praefect.node.storage.repository import LocalRepository

_Key = tuple[str, str, str, tuple[str, ...], int, bool]

_BATCH = 64  # requests in flight; their answers must fit in what we read meanwhile, so this only bounds latency
_CHUNK_BYTES = 128 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectInfo:
    """What git says about an object before its content. ``size`` is in bytes."""

    oid: str
    type: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GitObject:
    """A whole object."""

    info: ObjectInfo
    data: bytes

    @property
    def oid(self) -> str:
        """Its id."""
        return self.info.oid

    @property
    def type(self) -> str:
        """Its type: commit, tree, blob or tag."""
        return self.info.type


class ObjectReader:
    """Reads objects of one repository. For one caller at a time."""

    def __init__(self, process: GitProcess, *, nul: bool) -> None:
        self._process = process
        self._terminator = b"\0" if nul else b"\n"
        self._pending = 0

    @property
    def is_clean(self) -> bool:
        """Whether everything asked for was read, so that the process can serve another caller."""
        return self._pending == 0 and self._process.returncode is None

    async def info(self, revision: bytes) -> ObjectInfo | None:
        """Return what ``revision`` names, ``None`` if it names nothing."""
        if not self._can_ask(revision):
            return None
        self._ask(b"info", [revision])
        return await self._read_header(body=False)

    async def infos(self, revisions: Sequence[bytes]) -> list[ObjectInfo | None]:
        """Return what each of ``revisions`` names, in order."""
        found: list[ObjectInfo | None] = []
        for start in range(0, len(revisions), _BATCH):
            batch = revisions[start : start + _BATCH]
            asked = [revision for revision in batch if self._can_ask(revision)]
            self._ask(b"info", asked)
            found += [await self._read_header(body=False) if self._can_ask(revision) else None for revision in batch]
        return found

    async def read(self, revision: bytes) -> GitObject | None:
        """Return the object ``revision`` names, whole, ``None`` if it names nothing. Not for blobs of any size."""
        async with aclosing(self.read_all([revision])) as objects:
            return await anext(objects, None)

    async def read_all(self, revisions: Sequence[bytes]) -> AsyncGenerator[GitObject | None, None]:
        """Yield the object each of ``revisions`` names, whole, in order.

        The iterator must be run to its end, or the process is not used again.
        """
        for start in range(0, len(revisions), _BATCH):
            batch = revisions[start : start + _BATCH]
            self._ask(b"contents", [revision for revision in batch if self._can_ask(revision)])
            for revision in batch:
                if not self._can_ask(revision):
                    yield None
                    continue
                info = await self._read_header(body=True)
                if info is None:
                    yield None
                    continue
                data = await self._process.read_exactly(info.size)
                await self._end_of_body()
                yield GitObject(info=info, data=data)

    @asynccontextmanager
    async def open(self, revision: bytes) -> AsyncIterator[ObjectStream]:
        """Open the object ``revision`` names for reading piece by piece; what is not read is skipped at the end.

        Raises:
            ObjectNotFoundError: it names nothing.
        """
        if not self._can_ask(revision):
            raise ObjectNotFoundError
        self._ask(b"contents", [revision])
        info = await self._read_header(body=True)
        if info is None:
            raise ObjectNotFoundError
        stream = ObjectStream(self._process, info)
        yield stream
        await stream.skip()
        await self._end_of_body()

    def _can_ask(self, revision: bytes) -> bool:
        return bool(revision) and self._terminator not in revision and b"\n" not in revision

    def _ask(self, command: bytes, revisions: Sequence[bytes]) -> None:
        if not revisions:
            return
        self._pending += len(revisions)
        lines = [command + b" " + revision + self._terminator for revision in revisions]
        try:
            self._process.write_nowait(b"".join(lines) + b"flush" + self._terminator)
        except StdinClosedError as exc:
            raise InternalError(f"cat-file ended: {self._process.stderr.decode('utf-8', 'replace')}") from exc

    async def _read_header(self, *, body: bool) -> ObjectInfo | None:
        line = await self._process.read_until(self._terminator)
        fields = line.rsplit(b" ", 2)
        if len(fields) == 3 and fields[2].isdigit() and fields[1] in _TYPES:
            if not body:
                self._pending -= 1
            return ObjectInfo(oid=fields[0].decode(), type=fields[1].decode(), size=int(fields[2]))
        if line.endswith((b" missing", b" ambiguous")) or fields[-1:] == [b"submodule"] or b" submodule" in line:
            self._pending -= 1
            return None
        raise InternalError(f"cat-file: unexpected answer {line[:100]!r}")

    async def _end_of_body(self) -> None:
        await self._process.read_exactly(1)
        self._pending -= 1


_TYPES = frozenset([b"commit", b"tree", b"blob", b"tag"])


class ObjectStream:
    """The content of one object as it comes."""

    def __init__(self, process: GitProcess, info: ObjectInfo) -> None:
        self.info = info
        self._process = process
        self._left = info.size

    async def read(self, size: int = _CHUNK_BYTES) -> bytes:
        """Return the next bytes, at most ``size``, ``b""`` at the end."""
        if not self._left:
            return b""
        data = await self._process.read(min(size, self._left))
        if not data:
            raise InternalError("cat-file ended in the middle of an object")
        self._left -= len(data)
        return data

    async def chunks(self, limit: int = -1) -> AsyncIterator[bytes]:
        """Yield the content, at most ``limit`` bytes of it if that is not negative."""
        wanted = self._left if limit < 0 else min(limit, self._left)
        while wanted:
            data = await self.read(min(_CHUNK_BYTES, wanted))
            wanted -= len(data)
            yield data

    async def skip(self) -> None:
        """Read the rest and forget it."""
        while self._left:
            await self.read()


@dataclass(slots=True, kw_only=True)
class _Idle:
    reader: ObjectReader
    stack: contextlib.AsyncExitStack
    since: float


class CatFilePool:
    """Keeps cat-file processes of recently used repositories; an async context manager that ends them all.

    Args:
        capacity: how many idle processes are kept per kind.
        idle_seconds: how long one is kept unused.
    """

    def __init__(self, git: Git, *, capacity: int = 100, idle_seconds: float = 10.0) -> None:
        self._git = git
        self._capacity = capacity or 100
        self._idle_seconds = idle_seconds
        self._idle: defaultdict[_Key, list[_Idle]] = defaultdict(list)
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closed = True
        await self._close([entry for entries in self._idle.values() for entry in entries])
        self._idle.clear()

    @asynccontextmanager
    async def reader(self, repository: LocalRepository, *, mailmap: bool = False) -> AsyncIterator[ObjectReader]:
        """Lend a reader of ``repository``; it goes back to the pool only if everything asked for was read."""
        key = _key(repository, mailmap=mailmap)
        entry = self._take(key) or await self._start(repository, mailmap=mailmap)
        try:
            yield entry.reader
        finally:
            if entry.reader.is_clean and not self._closed:
                entry.since = time.monotonic()
                self._idle[key].append(entry)
                await self._trim()
            else:
                await entry.stack.aclose()

    async def forget(self, repository: LocalRepository) -> None:
        """End the idle processes of a repository that is about to be removed or replaced."""
        gone = [key for key in self._idle if key[:2] == (repository.storage_name, repository.relative_path)]
        await self._close([entry for key in gone for entry in self._idle.pop(key)])

    async def expire(self) -> None:
        """End the processes nobody has used for a while; called from time to time."""
        await self._trim()

    def _take(self, key: _Key) -> _Idle | None:
        entries = self._idle.get(key)
        while entries:
            entry = entries.pop()
            if not entries:
                del self._idle[key]
            if entry.reader.is_clean:
                return entry
        return None

    async def _start(self, repository: LocalRepository, *, mailmap: bool) -> _Idle:
        nul = self._git.features.nul_output
        flags = ["--use-mailmap"] if mailmap else []
        flags += ["-Z"] if nul else []
        command = Command(name="cat-file", flags=[*flags, "--batch-command", "--buffer"])
        stack = contextlib.AsyncExitStack()
        process = await stack.enter_async_context(self._git.start(repository, command, stdin=PIPE))
        return _Idle(reader=ObjectReader(process, nul=nul), stack=stack, since=time.monotonic())

    async def _trim(self) -> None:
        oldest = time.monotonic() - self._idle_seconds
        expired = []
        for key, entries in list(self._idle.items()):
            expired += [entry for entry in entries if entry.since < oldest]
            entries[:] = [entry for entry in entries if entry.since >= oldest]
            if not entries:
                del self._idle[key]
        expired += self._surplus()
        await self._close(expired)

    def _surplus(self) -> list[_Idle]:
        kept = [(key, entry) for key, entries in self._idle.items() for entry in entries]
        kept.sort(key=lambda item: item[1].since)
        surplus = kept[: max(0, len(kept) - self._capacity)]
        for key, entry in surplus:
            self._idle[key].remove(entry)
        return [entry for _, entry in surplus]

    async def _close(self, entries: Sequence[_Idle]) -> None:
        async with asyncio.TaskGroup() as group:
            for entry in entries:
                group.create_task(entry.stack.aclose(), name="cat-file-close")


def _key(repository: LocalRepository, *, mailmap: bool) -> _Key:
    try:
        inode = repository.path.stat().st_ino
    except OSError:
        inode = 0
    return (
        repository.storage_name,
        repository.relative_path,
        repository.object_directory,
        repository.alternate_object_directories,
        inode,
        mailmap,
    )
