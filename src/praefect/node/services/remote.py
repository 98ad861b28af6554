"""RemoteService: remotes outside the cluster."""

from __future__ import annotations

import fnmatch
import re
from typing import TYPE_CHECKING

from praefect.domain.errors import InternalError, InvalidArgumentError, NotFoundError, PraefectError
from praefect.node.default_branch import find_default_branch
from praefect.node.git.command import NO_HOOKS, Command
from praefect.node.git.names import HEADS_PREFIX, TAGS_PREFIX
from praefect.node.git.references import Listing, collect_references
from praefect.node.git.remote_access import Remote, remote_access
from praefect.node.quoting import quote
from praefect.node.services.streaming import batches_by_count
from praefect.proto.remote_pb2 import (
    FindRemoteRepositoryRequest,
    FindRemoteRepositoryResponse,
    FindRemoteRootRefRequest,
    FindRemoteRootRefResponse,
    UpdateRemoteMirrorRequest,
    UpdateRemoteMirrorResponse,
)
from praefect.transport.grpc.status import wrap

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from praefect.node.context import NodeContext
    from praefect.node.git.remote_access import Access
    from praefect.node.storage.repository import LocalRepository
    from praefect.transport.grpc.server_call import ServerCall

_HEAD_BRANCH = re.compile(rb"^\s*HEAD branch: (.*)$", re.MULTILINE)
_MAX_DIVERGENT = 100
_REFSPECS_PER_PUSH = 10


class RemoteService:
    """RPCs about remotes."""

    def __init__(self, context: NodeContext) -> None:
        self._context = context
        self._git = context.git
        self._storages = context.storages

    async def find_remote_repository(
        self, request: FindRemoteRepositoryRequest, call: ServerCall
    ) -> FindRemoteRepositoryResponse:
        """Tell whether a URL answers as a repository."""
        del call
        if not request.remote:
            raise InvalidArgumentError("empty remote can't be checked.")
        async with remote_access(Remote(url=request.remote)) as access:
            if access.url.startswith("-"):
                return FindRemoteRepositoryResponse(exists=False)
            command = Command(
                name="ls-remote",
                flags=["--quiet"],
                arguments=[access.url, "HEAD"],
                secret_config=access.config,
            )
            completed = await self._git.run(None, command)
        return FindRemoteRepositoryResponse(exists=completed.returncode == 0 and bool(completed.stdout.strip()))

    async def find_remote_root_ref(
        self, request: FindRemoteRootRefRequest, call: ServerCall
    ) -> FindRemoteRootRefResponse:
        """Return the default branch of a remote."""
        del call
        repository = self._storages.open(request.repository)
        if not request.remote_url:
            raise InvalidArgumentError("missing remote URL")
        remote = Remote(
            url=request.remote_url,
            authorization=request.http_authorization_header,
            resolved_address=request.resolved_address,
        )
        async with remote_access(remote) as access:
            command = Command(
                name="remote",
                action="show",
                arguments=["inmemory"],
                secret_config=[("remote.inmemory.url", access.url), *access.config],
                hooks=NO_HOOKS,
            )
            output = (await self._git.run(repository, command)).stdout
        match = _HEAD_BRANCH.search(output)
        if match is None:
            raise NotFoundError("couldn't query the remote HEAD")
        if match[1] == b"(unknown)":
            raise NotFoundError("no remote HEAD found")
        return FindRemoteRootRefResponse(ref=match[1].decode("utf-8", "replace"))

    async def update_remote_mirror(
        self, requests: AsyncIterator[UpdateRemoteMirrorRequest], call: ServerCall
    ) -> UpdateRemoteMirrorResponse:
        """Push what differs to a remote, delete there what is gone here."""
        del call
        first = await anext(requests, None)
        if first is None:
            raise InternalError("receive first request: EOF")
        repository = self._storages.open(first.repository)
        if not first.HasField("remote"):
            raise InvalidArgumentError("missing Remote")
        if not first.remote.url:
            raise InvalidArgumentError("remote is missing URL")
        globs = list(first.only_branches_matching)
        async for request in requests:
            globs += request.only_branches_matching
        remote = Remote(
            url=first.remote.url,
            authorization=first.remote.http_authorization_header,
            resolved_address=first.remote.resolved_address,
            ssh_key=first.ssh_key,
            known_hosts=first.known_hosts,
        )
        async with remote_access(remote, self._context.runtime_directory) as access:
            mirror = _Mirror(self._context, repository, access, keep_divergent=first.keep_divergent_refs)
            try:
                divergent = await mirror.update(globs)
            except PraefectError as exc:
                raise wrap("update remote mirror", exc) from exc
        return UpdateRemoteMirrorResponse(divergent_refs=divergent[:_MAX_DIVERGENT])


class _Mirror:
    """One update of one mirror."""

    def __init__(
        self, context: NodeContext, repository: LocalRepository, access: Access, *, keep_divergent: bool
    ) -> None:
        self._git = context.git
        self._repository = repository
        self._access = access
        self._keep_divergent = keep_divergent

    async def update(self, globs: Sequence[bytes]) -> list[bytes]:
        """Push and return the references that both sides changed."""
        listing = Listing(patterns=[HEADS_PREFIX, TAGS_PREFIX])
        references = await collect_references(self._git, self._repository, listing)
        local = {each.name: each.target.encode() for each in references if _is_wanted(each.name, globs)}
        default = await find_default_branch(self._git, self._repository)
        remote = {name: oid for name, oid in (await self._remote_references()).items() if _is_wanted(name, globs)}
        divergent = []
        pushed = []
        for name, oid in local.items():
            theirs = remote.get(name)
            if theirs == oid:
                continue
            if theirs is not None and not await self._is_ancestor(theirs, oid):
                divergent.append(name)
                if self._keep_divergent:
                    continue
            pushed.append(name)
        deleted = []
        if default in local and not (self._keep_divergent and divergent):
            for name, oid in remote.items():
                if name not in local and await self._is_ancestor(oid, default):
                    deleted.append(name)
        pushed.sort(key=lambda name: (name != default, name))
        specs = [*(name + b":" + name for name in pushed), *(b":" + name for name in deleted)]
        for group in batches_by_count(specs, _REFSPECS_PER_PUSH):
            await self._push(group)
        return divergent

    async def _remote_references(self) -> dict[bytes, bytes]:
        command = Command(
            name="ls-remote",
            flags=["--refs", "--quiet"],
            arguments=["inmemory"],
            secret_config=[("remote.inmemory.url", self._access.url), *self._access.config],
            environment=self._access.environment,
        )
        lines = (await self._git.output(self._repository, command)).splitlines()
        pairs = [line.split(b"\t", 1) for line in lines]
        return {name: oid for oid, name in pairs if name.startswith((HEADS_PREFIX, TAGS_PREFIX))}

    async def _is_ancestor(self, ancestor: bytes, descendant: bytes) -> bool:
        command = Command(name="merge-base", flags=["--is-ancestor"], arguments=[ancestor, descendant])
        return (await self._git.run(self._repository, command)).returncode == 0

    async def _push(self, specs: Sequence[bytes]) -> None:
        command = Command(
            name="push",
            flags=["--quiet"] if self._keep_divergent else ["--quiet", "--force"],
            arguments=["inmemory", *specs],
            secret_config=[("remote.inmemory.url", self._access.url), *self._access.config],
            environment=self._access.environment,
            hooks=NO_HOOKS,
        )
        completed = await self._git.run(self._repository, command)
        if completed.returncode != 0:
            raise InternalError(f"push: exit status {completed.returncode}, stderr: {quote(completed.stderr)}")


def _is_wanted(name: bytes, globs: Sequence[bytes]) -> bool:
    if not globs or not name.startswith(HEADS_PREFIX):
        return True
    branch = name.removeprefix(HEADS_PREFIX)
    return any(fnmatch.fnmatchcase(branch, glob) for glob in globs)
