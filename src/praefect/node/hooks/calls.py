"""One hook call as the handlers take it, and how it is read from a hook's environment."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from praefect.domain.errors import InternalError
from praefect.node.hooks.payload import HooksPayload, decode_payload
from praefect.transport.grpc.status import wrap

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from praefect.node.storage.repository import LocalRepository
    from praefect.node.storage.roots import Storages

_MAX_PUSH_OPTIONS = 1 << 16


class HookOutput(Protocol):
    """Where a hook's output goes; both wait while the receiver is slow."""

    async def stdout(self, data: bytes) -> None:
        """Write to standard output."""

    async def stderr(self, data: bytes) -> None:
        """Write to standard error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HookCall:
    """Who called a hook, on which repository.

    Attributes:
        repository: with the quarantine, if there is one at this point.
        environment: of the hook process; empty if there is none.
        push_options: what the client gave with ``git push -o``.
    """

    repository: LocalRepository
    payload: HooksPayload
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    push_options: Sequence[str] = ()

    @property
    def remote_ip(self) -> str:
        """Where the user's request came from, as far as known."""
        return self.payload.user.remote_ip if self.payload.user else ""


def hook_call(storages: Storages, environment: Mapping[str, str]) -> HookCall:
    """Return the call that a hook process with this environment makes.

    Raises:
        PayloadError: the environment has no readable payload.
        PraefectError: the payload's repository is none of this node's.
    """
    try:
        payload = decode_payload(environment)
    except InternalError as error:
        raise wrap("extracting hooks payload", error) from error
    repository = _with_git_quarantine(storages.open(payload.repository), environment)
    return HookCall(
        repository=repository, payload=payload, environment=environment, push_options=_push_options(environment)
    )


def parse_environment(variables: Sequence[str]) -> dict[str, str]:
    """Return ``KEY=value`` strings as a mapping; the first of a name counts, as for git."""
    environment: dict[str, str] = {}
    for variable in variables:
        name, separator, value = variable.partition("=")
        if separator:
            environment.setdefault(name, value)
    return environment


def _push_options(environment: Mapping[str, str]) -> list[str]:
    count = environment.get("GIT_PUSH_OPTION_COUNT", "")
    if not (count.isascii() and count.isdigit()) or int(count) > _MAX_PUSH_OPTIONS:
        return []
    return [environment.get(f"GIT_PUSH_OPTION_{index}", "") for index in range(int(count))]


def _with_git_quarantine(repository: LocalRepository, environment: Mapping[str, str]) -> LocalRepository:
    """Take over the directories of the quarantine that git itself made, relative to the repository."""
    objects = environment.get("GIT_OBJECT_DIRECTORY", "")
    if not objects:
        return repository
    alternates = environment.get("GIT_ALTERNATE_OBJECT_DIRECTORIES", "")
    return replace(
        repository,
        object_directory=_relative(repository.path, objects),
        alternate_object_directories=tuple(
            _relative(repository.path, _unquoted(each)) for each in alternates.split(":") if each
        ),
    )


def _relative(repository: Path, directory: str) -> str:
    # git may have spelt the repository's path with symlinks resolved, or not.
    absolute = Path(os.path.realpath(repository / directory))
    return os.path.relpath(absolute, os.path.realpath(repository))


def _unquoted(directory: str) -> str:
    return directory[1:-1] if len(directory) > 1 and directory[0] == directory[-1] == '"' else directory
