"""What every service of the node works with; built once by ``app/node``."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from praefect.node.git.command import NO_HOOKS, HookSetup

if TYPE_CHECKING:
    from pathlib import Path

    from praefect.node.git.catfile import CatFilePool
    from praefect.node.git.runner import Git
    from praefect.node.housekeeping.guard import MaintenanceGuard
    from praefect.node.housekeeping.leftovers import LeftoverClearing
    from praefect.node.remote import RemoteStorages
    from praefect.node.storage.repository import LocalRepository
    from praefect.node.storage.roots import Storages
    from praefect.node.storage.temporary import TemporaryDirectories
    from praefect.node.voting import Transaction, Voter, Voters
    from praefect.transport.grpc.metadata import Metadata
    from praefect.transport.grpc.server_call import ServerCall


class HookWiring(Protocol):
    """Gives git commands that change references by themselves the hooks that vote."""

    def for_references(
        self, repository: LocalRepository, transaction: Transaction | None, metadata: Metadata
    ) -> HookSetup:
        """Return the hooks of a command that needs the reference-transaction hook only."""


class NoHookWiring:
    """Runs git without hooks; for a node that is part of no transaction."""

    def for_references(
        self, repository: LocalRepository, transaction: Transaction | None, metadata: Metadata
    ) -> HookSetup:
        """Return the absence of hooks."""
        del repository, transaction, metadata
        return NO_HOOKS


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeContext:
    """The parts of the running node.

    Attributes:
        objects: pooled readers of objects.
        hooks: what makes git's own reference changes vote.
        remotes: other storages, as a call's metadata names them.
        maintenance: which repositories are being tidied.
        leftovers: clears what killed processes leave in repositories.
        runtime_directory: private to this process; sockets go there.
    """

    storages: Storages
    temporary: TemporaryDirectories
    git: Git
    objects: CatFilePool
    voters: Voters
    remotes: RemoteStorages
    maintenance: MaintenanceGuard
    leftovers: LeftoverClearing
    runtime_directory: Path
    hooks: HookWiring = field(default_factory=NoHookWiring)

    def voter(self, call: ServerCall) -> Voter:
        """Return who casts the votes of a call.

        Raises:
            InternalError: the call's transaction cannot be decoded.
        """
        return self.voters.for_call(call.metadata, call.peer.backchannel_id)

    def with_hooks(self, hooks: HookWiring) -> NodeContext:
        """Return the same node with hooks that work."""
        return replace(self, hooks=hooks)

    def reference_hooks(self, repository: LocalRepository, call: ServerCall) -> HookSetup:
        """Return the hooks of a git command that changes references on behalf of a call: none if nothing is voted."""
        transaction = self.voter(call).transaction
        if transaction is None:
            return NO_HOOKS
        return self.hooks.for_references(repository, transaction, call.metadata)
