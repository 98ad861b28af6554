"""Starts git: builds the command line and the environment, limits how many start at once."""

from __future__ import annotations

import asyncio
import contextlib
from asyncio.subprocess import DEVNULL, PIPE
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from praefect.domain.errors import PraefectError
from praefect.node.git.command import (
    EMPTY_TREE_SHA1,
    EMPTY_TREE_SHA256,
    MULTI_PACK_REUSE,
    Command,
    ConfigPair,
    config_of,
)
from praefect.node.git.environment import config_environment
from praefect.node.git.errors import GitCommandError, StdinClosedError
from praefect.node.git.object_format import ObjectFormat, object_format_of
from praefect.node.git.process import GitProcess, run_process
from praefect.node.git.version import MINIMUM_VERSION, Features, GitVersion
from praefect.node.storage.repository import LocalRepository
from praefect.observability.correlation import correlation_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

    from praefect.node.git.command import HookConnection

_FORMATLESS = frozenset(["init", "clone", "ls-remote"])


class GitUnusableError(PraefectError):
    """There is no git, or none that this program can work with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """What a finished command left."""

    returncode: int
    stdout: bytes
    stderr: bytes

    def check(self) -> bytes:
        """Return the output.

        Raises:
            GitCommandError: git did not end well.
        """
        if self.returncode != 0:
            raise GitCommandError(self.returncode, self.stderr)
        return self.stdout


class Git:
    """The git executable with this node's settings.

    Args:
        binary: what to start.
        version: what it said it is.
        environment: what every process gets (``base_environment``).
        config: the operator's pairs, which win over all others.
        max_starting: how many processes may be in the act of starting.
    """

    def __init__(
        self,
        *,
        binary: str,
        version: GitVersion,
        environment: Mapping[str, str],
        config: Sequence[ConfigPair] = (),
        max_starting: int = 16,
    ) -> None:
        self.version = version
        self.features = Features.of(version)
        self._binary = binary
        self._environment = dict(environment)
        self._config = tuple(config)
        self._starting = asyncio.Semaphore(max_starting)

    @property
    def binary(self) -> str:
        """The executable."""
        return self._binary

    @property
    def environment(self) -> dict[str, str]:
        """What every process gets; a copy."""
        return dict(self._environment)

    def command_line(self, repository: LocalRepository | Path | None, command: Command) -> list[bytes]:
        """Return the full argument list.

        Raises:
            MissingHooksError: the command may write references and does not say which hooks run.
            UnsafeArgumentError: an argument must not reach git.
        """
        command.require_hooks()
        argv = [self._binary]
        path = _path_of(repository)
        if command.worktree is not None:
            argv += ["-C", str(command.worktree)]
        elif path is not None:
            argv.append(f"--git-dir={path}")
        pairs = config_of(command, empty_tree=_empty_tree(path, command))
        if not self.features.multi_pack_reuse:
            pairs.remove(MULTI_PACK_REUSE)  # older git takes only a boolean there
        pairs += self._config
        for key, value in pairs:
            argv += ["-c", f"{key}={value}"]
        return [*(word.encode("utf-8", "surrogateescape") for word in argv), *command.argv()]

    def command_environment(self, repository: LocalRepository | Path | None, command: Command) -> dict[str, str]:
        """Return the environment of a command."""
        environment = dict(self._environment)
        correlation = correlation_id.get()
        if correlation:
            environment["CORRELATION_ID"] = correlation
        if isinstance(repository, LocalRepository):
            environment.update(repository.object_environment())
        environment.update(config_environment(command.secret_config))
        if command.hooks is not None:
            environment.update(command.hooks.environment)
        environment.update(command.environment)
        return environment

    @asynccontextmanager
    async def start(
        self,
        repository: LocalRepository | Path | None,
        command: Command,
        *,
        stdin: int = DEVNULL,
        stream_stderr: bool = False,
    ) -> AsyncIterator[GitProcess]:
        """Start a command; on leaving, whatever of it still runs is ended and reaped.

        ``stdin`` is ``subprocess.PIPE``, a file descriptor, or by default nothing; ``stream_stderr`` makes
        ``read_stderr`` work.
        """
        argv = self.command_line(repository, command)
        environment = self.command_environment(repository, command)
        async with contextlib.AsyncExitStack() as stack:
            connection = await _connect(stack, command)
            if connection is not None:
                environment.update(connection.environment)
            async with self._starting:
                started = run_process(
                    argv,
                    environment=environment,
                    stdin=stdin,
                    stream_stderr=stream_stderr,
                    descriptors=connection.descriptors if connection else (),
                )
                process = await stack.enter_async_context(started)
            if connection is not None:
                connection.started()
            yield process

    async def run(
        self, repository: LocalRepository | Path | None, command: Command, *, stdin: bytes | None = None
    ) -> Completed:
        """Run a command to its end and return what it left; for small outputs."""
        async with self.start(repository, command, stdin=DEVNULL if stdin is None else PIPE) as process:
            if stdin is not None:
                stdout = await self._exchange(process, stdin)
            else:
                stdout = await process.read_all()
            return Completed(returncode=await process.wait(), stdout=stdout, stderr=process.stderr)

    async def output(
        self, repository: LocalRepository | Path | None, command: Command, *, stdin: bytes | None = None
    ) -> bytes:
        """Run a command to its end and return its output; for small outputs.

        Raises:
            GitCommandError: it did not end well.
        """
        return (await self.run(repository, command, stdin=stdin)).check()

    async def _exchange(self, process: GitProcess, stdin: bytes) -> bytes:
        async def feed() -> None:
            with contextlib.suppress(StdinClosedError):
                await process.write(stdin)
            process.close_stdin()

        async with asyncio.TaskGroup() as group:
            group.create_task(feed(), name="git-stdin")
            return await process.read_all()


async def _connect(stack: contextlib.AsyncExitStack, command: Command) -> HookConnection | None:
    if command.hooks is None or command.hooks.connect is None:
        return None
    return await stack.enter_async_context(command.hooks.connect())


def _path_of(repository: LocalRepository | Path | None) -> Path | None:
    return repository.path if isinstance(repository, LocalRepository) else repository


def _empty_tree(path: Path | None, command: Command) -> str:
    if path is None or command.name in _FORMATLESS or object_format_of(path) is ObjectFormat.SHA1:
        return EMPTY_TREE_SHA1
    return EMPTY_TREE_SHA256


async def detect_git(binary: str, environment: Mapping[str, str]) -> GitVersion:
    """Ask an executable which git it is.

    Raises:
        GitUnusableError: it cannot be started, is no git, or an old one.
    """
    argv = [binary.encode("utf-8", "surrogateescape"), b"--version"]
    try:
        async with run_process(argv, environment=environment) as process:
            output = (await process.read_all()).decode("utf-8", "replace").strip()
            returncode = await process.wait()
    except OSError as exc:
        raise GitUnusableError(f'git: cannot start "{binary}": {exc.strerror}') from exc
    version = GitVersion.parse(output) if returncode == 0 else None
    if version is None:
        raise GitUnusableError(f'git: "{binary}" does not tell its version')
    if version < MINIMUM_VERSION:
        raise GitUnusableError(f'git: "{binary}" is version {version}, need {MINIMUM_VERSION} or newer')
    return version
