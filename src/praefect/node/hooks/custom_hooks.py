"""Programs that administrators installed as hooks. Source: wire.md 10.3."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import os
import shutil
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path
from typing import TYPE_CHECKING

from praefect.domain.errors import PraefectError
from praefect.node.git.environment import KEPT_VARIABLES
from praefect.node.git.errors import StdinClosedError, describe_exit
from praefect.node.git.process import run_process
from praefect.observability.correlation import correlation_id

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from praefect.node.git.process import GitProcess
    from praefect.node.git.runner import Git
    from praefect.node.hooks.calls import HookCall, HookOutput

_CHUNK_BYTES = 32 * 1024


class Hook(enum.StrEnum):
    """The hooks that can be custom."""

    PRE_RECEIVE = "pre-receive"
    UPDATE = "update"
    POST_RECEIVE = "post-receive"


class CustomHookFailedError(PraefectError):
    """A custom hook ended with something other than success; its output was passed on already.

    Attributes:
        returncode: as a shell gives it, from 1 to 255.
    """

    def __init__(self, path: Path, returncode: int) -> None:
        super().__init__(f'executing custom hooks: error executing "{path}": {describe_exit(returncode)}')
        self.returncode = returncode if 0 < returncode < 256 else 1


class CustomHooks:
    """Finds and runs the custom hooks of a repository and of the node.

    Args:
        git: whose environment and directory the hooks get.
        directory: the node's own hooks, in ``<name>.d``; ``None`` if there are none.
    """

    def __init__(self, git: Git, directory: Path | None = None) -> None:
        self._git = git
        self._directory = directory

    async def exist(self, hook: Hook, repository: Path) -> bool:
        """Tell whether there is any to run; also true if running them will say why that cannot be known."""
        try:
            return bool(await asyncio.to_thread(self._find, hook, repository))
        except OSError:
            return True

    async def run(
        self,
        hook: Hook,
        call: HookCall,
        output: HookOutput,
        *,
        arguments: Sequence[bytes] = (),
        stdin: bytes | None = None,
    ) -> None:
        """Run every hook program in order, each with the whole ``stdin``, up to the first that fails.

        Raises:
            CustomHookFailedError: one failed.
        """
        programs = await asyncio.to_thread(self._find, hook, call.repository.path)
        for program in programs:
            argv = [os.fsencode(program), *arguments]
            environment = self._environment(hook, call)
            await self._run_one(program, argv, environment, call, output, stdin)

    async def _run_one(
        self,
        program: Path,
        argv: Sequence[bytes],
        environment: dict[str, str],
        call: HookCall,
        output: HookOutput,
        stdin: bytes | None,
    ) -> None:
        try:
            async with run_process(
                argv,
                environment=environment,
                directory=str(call.repository.path),
                stdin=DEVNULL if stdin is None else PIPE,
                stream_stderr=True,
            ) as process:
                returncode = await _exchange(process, stdin, output)
        except OSError as error:  # not a program after all: no #!, wrong architecture
            message = f'executing custom hooks: error executing "{program}": {error.strerror}'
            raise PraefectError(message) from error
        if returncode != 0:
            raise CustomHookFailedError(program, returncode)

    def _find(self, hook: Hook, repository: Path) -> list[Path]:
        custom = repository / "custom_hooks"
        found = [path for path in [custom / hook.value] if _is_program(path)]
        found += _programs_of(custom / f"{hook.value}.d")
        if self._directory is not None:
            found += _programs_of(self._directory / f"{hook.value}.d")
        return found

    def _environment(self, hook: Hook, call: HookCall) -> dict[str, str]:
        environment = self._git.environment
        environment |= {name: call.environment[name] for name in KEPT_VARIABLES if name in call.environment}
        user = call.payload.user
        environment |= {
            "CORRELATION_ID": correlation_id.get() or "",
            "GIT_DIR": str(call.repository.path),
            "GL_REPOSITORY": call.repository.gl_repository,
            "GL_PROJECT_PATH": call.repository.gl_project_path,
            "GL_ID": user.userid if user else "",
            "GL_USERNAME": user.username if user else "",
            "GL_PROTOCOL": user.protocol if user else "",
            "PATH": self._path(environment.get("PATH", os.defpath)),
        }
        if hook is not Hook.UPDATE and call.push_options:
            environment["GIT_PUSH_OPTION_COUNT"] = str(len(call.push_options))
            environment |= {f"GIT_PUSH_OPTION_{index}": option for index, option in enumerate(call.push_options)}
        if hook is Hook.PRE_RECEIVE:
            environment |= _object_directories(call)
        return environment

    def _path(self, inherited: str) -> str:
        executable = shutil.which(self._git.binary)
        return f"{Path(executable).parent}:{inherited}" if executable else inherited


def _object_directories(call: HookCall) -> dict[str, str]:
    """Return the quarantine's variables, spelt as git did if git made it."""
    names = ("GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES")
    if "GIT_OBJECT_DIRECTORY" in call.environment:
        return {name: call.environment[name] for name in names if name in call.environment}
    return call.repository.object_environment()


def _programs_of(directory: Path) -> list[Path]:
    try:
        names = sorted(os.listdir(directory), key=os.fsencode)  # noqa: PTH208 - sorted by the bytes of the name
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [path for path in (directory / name for name in names) if _is_program(path)]


def _is_program(path: Path) -> bool:
    return not path.name.endswith("~") and path.is_file() and os.access(path, os.X_OK)


async def _exchange(process: GitProcess, stdin: bytes | None, output: HookOutput) -> int:
    async with asyncio.TaskGroup() as group:
        if stdin is not None:
            group.create_task(_feed(process, stdin), name="custom-hook-stdin")
        group.create_task(_pump(process.read, output.stdout), name="custom-hook-stdout")
        group.create_task(_pump(process.read_stderr, output.stderr), name="custom-hook-stderr")
    return await process.wait()


async def _feed(process: GitProcess, data: bytes) -> None:
    with contextlib.suppress(StdinClosedError):  # a hook need not read its input
        await process.write(data)
    process.close_stdin()


async def _pump(read: Callable[[int], Awaitable[bytes]], write: Callable[[bytes], Awaitable[None]]) -> None:
    while data := await read(_CHUNK_BYTES):
        await write(data)
