"""Gives git commands their hooks: the directory with the programs and the payload in the environment."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from praefect.node.git.command import NO_HOOKS, HookSetup
from praefect.node.git.object_format import object_format_of
from praefect.node.hooks.calls import HookCall
from praefect.node.hooks.payload import (
    PAYLOAD_VARIABLE,
    RECEIVE_HOOKS,
    HooksPayload,
    RequestedHooks,
    UserDetails,
)
from praefect.node.hooks.pipes import HookPipes

if TYPE_CHECKING:
    from pathlib import Path

    from praefect.node.hooks.directory import HooksDirectory
    from praefect.node.hooks.handlers import HookHandlers
    from praefect.node.storage.repository import LocalRepository
    from praefect.node.voting import Transaction
    from praefect.transport.grpc.metadata import Metadata

HOOK_SETS = (
    RequestedHooks.REFERENCE_TRANSACTION,
    RECEIVE_HOOKS,
    RECEIVE_HOOKS | RequestedHooks.REFERENCE_TRANSACTION,
)
"""Every set of hooks that ``HookSetups`` asks for."""

_FLAG_PREFIX = "gitaly-feature-"
CLIENT_CONTEXT_KEY = "gitaly-client-context-bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeAddress:
    """How hook programs reach this process over gRPC.

    Attributes:
        runtime_directory: of this process alone.
    """

    runtime_directory: Path
    internal_socket: Path
    internal_socket_token: str = field(default="", repr=False)


class HookSetups:
    """Makes the hooks of commands that change references."""

    def __init__(self, directory: HooksDirectory, address: NodeAddress, handlers: HookHandlers) -> None:
        self._directory = directory
        self._address = address
        self._handlers = handlers

    def payload(
        self,
        repository: LocalRepository,
        requested: RequestedHooks,
        *,
        transaction: Transaction | None,
        metadata: Metadata,
        user: UserDetails | None = None,
    ) -> HooksPayload:
        """Return what hooks of a call with this metadata need to know."""
        return HooksPayload(
            repository=repository.message(),
            requested=requested,
            object_format=object_format_of(repository.path),
            transaction=transaction,
            user=user,
            feature_flags=feature_flags(metadata),
            client_context=metadata.binary(CLIENT_CONTEXT_KEY) or b"",
            runtime_dir=str(self._address.runtime_directory),
            internal_socket=str(self._address.internal_socket),
            internal_socket_token=self._address.internal_socket_token,
        )

    def for_references(
        self, repository: LocalRepository, transaction: Transaction | None, metadata: Metadata
    ) -> HookSetup:
        """Return the hooks of a command that changes references by itself: the one that votes, if anybody does."""
        if transaction is None:
            return NO_HOOKS
        requested = RequestedHooks.REFERENCE_TRANSACTION
        return self._setup(repository, self.payload(repository, requested, transaction=transaction, metadata=metadata))

    def for_push(
        self, repository: LocalRepository, user: UserDetails, transaction: Transaction | None, metadata: Metadata
    ) -> HookSetup:
        """Return the hooks of receive-pack. Without a transaction none is started for what only votes."""
        requested = RECEIVE_HOOKS
        if transaction is not None:
            requested |= RequestedHooks.REFERENCE_TRANSACTION
        return self._setup(
            repository, self.payload(repository, requested, transaction=transaction, metadata=metadata, user=user)
        )

    def _setup(self, repository: LocalRepository, payload: HooksPayload) -> HookSetup:
        return HookSetup(
            directory=self._directory.path_of(payload.requested),
            environment={PAYLOAD_VARIABLE: payload.encode()},
            connect=functools.partial(HookPipes, HookCall(repository=repository, payload=payload), self._handlers),
        )


def feature_flags(metadata: Metadata) -> dict[str, bool]:
    """Return the feature flags a call was made with; the first value of each counts."""
    flags: dict[str, bool] = {}
    for key, value in metadata:
        if key.startswith(_FLAG_PREFIX):
            flags.setdefault(key.removeprefix(_FLAG_PREFIX).replace("-", "_"), value == "true")
    return flags
