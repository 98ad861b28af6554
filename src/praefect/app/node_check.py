"""What an operator wants to know before a node starts: git, storages, sockets, the front door."""

from __future__ import annotations

import os
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from praefect.app.node import internal_api
from praefect.domain.errors import PraefectError
from praefect.node.git.environment import base_environment
from praefect.node.git.runner import detect_git

if TYPE_CHECKING:
    from praefect.config.node import NodeConfig, StorageConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """One check; ``problem`` is empty if all is well."""

    name: str
    problem: str = ""


async def run_checks(config: NodeConfig) -> list[CheckResult]:
    """Run all checks, whatever each says."""
    results = [await _check_git(config)]
    results += [_check_storage(storage) for storage in config.storages]
    results.append(await _check_internal_api(config))
    return results


async def _check_git(config: NodeConfig) -> CheckResult:
    try:
        await detect_git(config.git.executable, base_environment(os.environ))
    except PraefectError as exc:
        return CheckResult(name="git", problem=str(exc))
    return CheckResult(name="git")


def _check_storage(storage: StorageConfig) -> CheckResult:
    name = f'storage "{storage.name}" ({storage.path})'
    try:
        with tempfile.TemporaryFile(dir=Path(storage.path)) as file:
            file.write(b"x")
            file.flush()
            os.fsync(file.fileno())
    except OSError as exc:
        return CheckResult(name=name, problem=f"cannot be written: {exc.strerror}")
    return CheckResult(name=name)


async def _check_internal_api(config: NodeConfig) -> CheckResult:
    name = f"internal API ({config.gitlab.url or 'not configured'})"
    try:
        async with AsyncExitStack() as stack:
            api = await internal_api(stack, config.gitlab)
            await api.check()
    except PraefectError as exc:
        cause = _root_cause(exc)
        return CheckResult(name=name, problem=str(exc) if cause is exc else f"{exc}: {cause}")
    return CheckResult(name=name)


def _root_cause(exc: BaseException) -> BaseException:
    """Return what an error comes from: users of git do not learn it, operators must."""
    while exc.__cause__ is not None:
        exc = exc.__cause__
    return exc
