"""A running git process: streamed in and out with back-pressure, ended with its whole group, always reaped."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, cast

from praefect.node.git.errors import GitCommandError, StdinClosedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

_STDERR_CAP_BYTES = 10_000
_READ_LIMIT_BYTES = 256 * 1024
_TERMINATION_GRACE_SECONDS = 5.0
_STDERR_GRACE_SECONDS = 1.0


class GitProcess(asyncio.SubprocessProtocol):
    """One process. Its standard output is read with ``read`` and friends, its input written with ``write``.

    Args:
        stream_stderr: standard error is read with ``read_stderr``, beside the capped copy in ``stderr``.
    """

    def __init__(self, *, stream_stderr: bool = False) -> None:
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._transport: asyncio.SubprocessTransport | None = None
        self._stdout = asyncio.StreamReader(limit=_READ_LIMIT_BYTES)
        self._stderr = bytearray()
        self._stderr_stream = asyncio.StreamReader(limit=_READ_LIMIT_BYTES) if stream_stderr else None
        self._stderr_closed = asyncio.Event()
        self._exited = asyncio.Event()
        self._stdin_lost = False
        self._writable = asyncio.Event()
        self._writable.set()

    # asyncio.SubprocessProtocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.SubprocessProtocol``."""
        self._transport = cast("asyncio.SubprocessTransport", transport)
        stdout = self._transport.get_pipe_transport(1)
        if stdout is None:
            self._stdout.feed_eof()
        else:
            self._stdout.set_transport(cast("asyncio.Transport", stdout))
        stderr = self._transport.get_pipe_transport(2)
        if stderr is None:
            self._stderr_closed.set()
        elif self._stderr_stream is not None:
            self._stderr_stream.set_transport(cast("asyncio.Transport", stderr))

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """See ``asyncio.SubprocessProtocol``."""
        if fd == 1:
            self._stdout.feed_data(data)
            return
        if self._stderr_stream is not None:
            self._stderr_stream.feed_data(data)
        if len(self._stderr) < _STDERR_CAP_BYTES:
            self._stderr += data[: _STDERR_CAP_BYTES - len(self._stderr)]

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002
        """See ``asyncio.SubprocessProtocol``."""
        if fd == 0:
            self._stdin_lost = True
            self._writable.set()
        elif fd == 1:
            self._stdout.feed_eof()
        else:
            self._stderr_closed.set()
            if self._stderr_stream is not None:
                self._stderr_stream.feed_eof()

    def process_exited(self) -> None:
        """See ``asyncio.SubprocessProtocol``."""
        self._exited.set()

    def pause_writing(self) -> None:
        """See ``asyncio.BaseProtocol``."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """See ``asyncio.BaseProtocol``."""
        self._writable.set()

    # for callers

    @property
    def pid(self) -> int:
        """The process's number, which is its group's too."""
        return self._subprocess.get_pid()

    @property
    def returncode(self) -> int | None:
        """How it ended, ``None`` while it runs."""
        return self._subprocess.get_returncode()

    @property
    def stderr(self) -> bytes:
        """What it has written to standard error so far, capped."""
        return bytes(self._stderr)

    @property
    def stdout(self) -> asyncio.StreamReader:
        """Its standard output."""
        return self._stdout

    @property
    def _subprocess(self) -> asyncio.SubprocessTransport:
        assert self._transport is not None  # noqa: S101 - set before anyone gets the object
        return self._transport

    async def read(self, size: int = 128 * 1024) -> bytes:
        """Return up to ``size`` bytes of its output, ``b""`` at the end."""
        return await self._stdout.read(size)

    async def read_stderr(self, size: int = 32 * 1024) -> bytes:
        """Return up to ``size`` bytes of its standard error, ``b""`` at the end and if that is not streamed."""
        return b"" if self._stderr_stream is None else await self._stderr_stream.read(size)

    async def read_all(self) -> bytes:
        """Return the rest of its output."""
        return await self._stdout.read(-1)

    async def read_line(self) -> bytes:
        """Return the next line of its output without LF, ``b""`` also at the end."""
        return await self.read_until(b"\n")

    async def read_until(self, separator: bytes) -> bytes:
        """Return its output up to ``separator``, without it; the rest if it does not come.

        A piece longer than the reader's buffer is put together here, so there is no limit.
        """
        pieces = []
        while True:
            try:
                pieces.append(await self._stdout.readuntil(separator))
            except asyncio.IncompleteReadError as exc:
                pieces.append(exc.partial)
                return b"".join(pieces)
            except asyncio.LimitOverrunError as exc:
                pieces.append(await self._stdout.readexactly(exc.consumed))
            else:
                return b"".join(pieces).removesuffix(separator)

    async def read_exactly(self, size: int) -> bytes:
        """Return ``size`` bytes of its output.

        Raises:
            GitCommandError: the output ended before.
        """
        try:
            return await self._stdout.readexactly(size)
        except asyncio.IncompleteReadError as exc:
            raise GitCommandError(await self.wait(), self.stderr) from exc

    def write_nowait(self, data: bytes) -> None:
        """Queue ``data`` for its input, without waiting. For small commands of a dialogue only."""
        if self._stdin_lost:
            raise StdinClosedError
        cast("asyncio.WriteTransport", self._subprocess.get_pipe_transport(0)).write(data)

    async def write(self, data: bytes) -> None:
        """Write ``data`` to its input and wait until the pipe takes more.

        Raises:
            StdinClosedError: it no longer reads.
        """
        self.write_nowait(data)
        await self._writable.wait()
        if self._stdin_lost:
            raise StdinClosedError

    def close_stdin(self) -> None:
        """Let it see the end of its input; what was written goes first."""
        pipe = self._subprocess.get_pipe_transport(0)
        if pipe is not None:
            pipe.close()

    async def wait(self) -> int:
        """Wait until it has ended and return how; its standard error is complete then."""
        await self._exited.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STDERR_GRACE_SECONDS):  # a grandchild may hold it open
                await self._stderr_closed.wait()
        returncode = self.returncode
        assert returncode is not None  # noqa: S101 - it has exited
        return returncode

    async def check(self) -> None:
        """Wait until it has ended well.

        Raises:
            GitCommandError: it ended otherwise.
        """
        returncode = await self.wait()
        if returncode != 0:
            raise GitCommandError(returncode, self.stderr)

    def terminate(self) -> None:
        """Ask the whole group to end, so that git removes its lock files."""
        self._signal(signal.SIGTERM)

    async def stop(self) -> None:
        """End the group: SIGTERM, after a grace period SIGKILL; return when the process is reaped."""
        if self.returncode is None:
            self._signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(_TERMINATION_GRACE_SECONDS):
                    await self._exited.wait()
            except TimeoutError:
                self._signal(signal.SIGKILL)
                await self._exited.wait()
        self._subprocess.close()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


@asynccontextmanager
async def run_process(
    argv: Sequence[bytes],
    *,
    environment: Mapping[str, str],
    directory: str | None = None,
    stdin: int = DEVNULL,
    stream_stderr: bool = False,
    descriptors: Sequence[int] = (),
) -> AsyncIterator[GitProcess]:
    """Start a process in a group of its own; on leaving, whatever of it still runs is ended and reaped.

    It inherits ``descriptors``, under their numbers.
    """
    loop = asyncio.get_running_loop()
    transport, process = await loop.subprocess_exec(
        functools.partial(GitProcess, stream_stderr=stream_stderr),
        *argv,
        stdin=stdin,
        stdout=PIPE,
        stderr=PIPE,
        env=environment,
        cwd=directory,
        start_new_session=True,
        close_fds=True,
        pass_fds=descriptors,
    )
    try:
        yield process
    finally:
        try:
            await process.stop()
        finally:
            transport.close()
