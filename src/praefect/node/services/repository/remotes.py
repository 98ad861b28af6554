"""Repositories and references from outside: CreateRepositoryFromURL, FetchRemote."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from praefect.domain.errors import DeadlineExceededError, InternalError, InvalidArgumentError, PraefectError
from praefect.node.creation import Blueprint, create_repository
from praefect.node.git.command import NO_HOOKS, Command
from praefect.node.git.names import TAGS_PREFIX
from praefect.node.git.remote_access import Remote, remote_access
from praefect.node.mirror_fetch import MirrorFetch, fetch_mirror
from praefect.node.quoting import quote
from praefect.node.services.repository.part import RepositoryPart
from praefect.proto.errors_pb2 import RemoteNotFoundError
from praefect.proto.repository_pb2 import (
    CreateRepositoryFromURLError,
    CreateRepositoryFromURLRequest,
    CreateRepositoryFromURLResponse,
    FetchRemoteRequest,
    FetchRemoteResponse,
)
from praefect.transport.grpc.status import StatusCode, StatusError, wrap

if TYPE_CHECKING:
    from praefect.node.mirror_fetch import Change
    from praefect.node.storage.repository import LocalRepository
    from praefect.transport.grpc.server_call import ServerCall

_REFMAPS = {
    "all_refs": "+refs/*:refs/*",
    "heads": "+refs/heads/*:refs/heads/*",
    "tags": "+refs/tags/*:refs/tags/*",
}


class RemotesPart(RepositoryPart):
    """RPCs that bring things in from outside."""

    async def create_repository_from_url(
        self, request: CreateRepositoryFromURLRequest, call: ServerCall
    ) -> CreateRepositoryFromURLResponse:
        """Create a repository as a clone of a URL."""
        self._storages.locate(request.repository)
        if not request.url:
            raise InvalidArgumentError("empty Url")

        async def seed(built: LocalRepository) -> None:
            await self._clone_url(request, built)

        try:
            await create_repository(
                self._context,
                request.repository,
                self._context.voter(call),
                seed=seed,
                blueprint=Blueprint(initialise=False),
            )
        except PraefectError as exc:
            raise wrap("creating repository", exc) from exc
        return CreateRepositoryFromURLResponse()

    async def _clone_url(self, request: CreateRepositoryFromURLRequest, built: LocalRepository) -> None:
        remote = Remote(
            url=request.url,
            authorization=request.http_authorization_header,
            resolved_address=request.resolved_address,
        )
        async with remote_access(remote, self._context.runtime_directory) as access:
            command = Command(
                name="clone",
                flags=["--quiet", "--mirror" if request.mirror else "--bare"],
                arguments=[access.url, str(built.path)],
                secret_config=access.config,
                environment=access.environment,
                hooks=NO_HOOKS,
            )
            completed = await self._git.run(None, command)
        if completed.returncode != 0:
            if b"fatal: repository '" in completed.stderr and b"not found" in completed.stderr:
                detail = CreateRepositoryFromURLError(remote_not_found=RemoteNotFoundError())
                raise StatusError(StatusCode.NOT_FOUND, "remote not found", [detail])
            stderr = completed.stderr.replace(request.url.encode(), access.url.encode())
            raise InternalError(f"cloning repository: exit status {completed.returncode}, stderr: {quote(stderr)}")
        await self._git.output(built, Command(name="remote", action="remove", arguments=["origin"], hooks=NO_HOOKS))

    async def fetch_remote(self, request: FetchRemoteRequest, call: ServerCall) -> FetchRemoteResponse:
        """Make references what they are on a remote."""
        repository = self._storages.open(request.repository)
        if not request.HasField("remote_params"):
            raise InvalidArgumentError("missing remote params")
        if not request.remote_params.url:
            raise InvalidArgumentError("blank or empty remote URL")
        try:
            async with asyncio.timeout(request.timeout or None):
                changes = await self._fetch(repository, request, call)
        except TimeoutError as exc:
            raise DeadlineExceededError("fetch remote: context deadline exceeded") from exc
        tags_changed = not request.check_tags_changed or _has_tag(changes)
        return FetchRemoteResponse(tags_changed=tags_changed, repo_changed=bool(changes))

    async def _fetch(self, repository: LocalRepository, request: FetchRemoteRequest, call: ServerCall) -> list[Change]:
        params = request.remote_params
        remote = Remote(
            url=params.url,
            authorization=params.http_authorization_header,
            resolved_address=params.resolved_address,
            ssh_key=request.ssh_key,
            known_hosts=request.known_hosts,
        )
        refmaps = list(params.mirror_refmaps) or ["all_refs"]
        async with remote_access(remote, self._context.runtime_directory) as access:
            fetch = MirrorFetch(
                url=access.url,
                refspecs=[_REFMAPS.get(refmap, refmap) for refmap in refmaps],
                force=request.force,
                prune=not request.no_prune,
                tags=not request.no_tags,
                secret_config=access.config,
                environment=access.environment,
            )
            return await fetch_mirror(self._context, repository, fetch, self._context.voter(call))


def _has_tag(changes: list[Change]) -> bool:
    return any(change.reference.startswith(TAGS_PREFIX) for change in changes)
