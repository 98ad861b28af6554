"""Existence: RepositoryExists, CreateRepository, RemoveRepository, ObjectFormat."""

from __future__ import annotations

from typing import TYPE_CHECKING

from praefect.domain.errors import InvalidArgumentError, PraefectError
from praefect.node.creation import Blueprint, create_repository
from praefect.node.git.object_format import ObjectFormat, object_format_of
from praefect.node.removal import remove_repository
from praefect.node.services.repository.part import RepositoryPart
from praefect.node.storage.repository import is_valid
from praefect.proto.repository_pb2 import (
    CreateRepositoryRequest,
    CreateRepositoryResponse,
    ObjectFormatRequest,
    ObjectFormatResponse,
    RemoveRepositoryRequest,
    RemoveRepositoryResponse,
    RepositoryExistsRequest,
    RepositoryExistsResponse,
)
from praefect.proto.shared_pb2 import OBJECT_FORMAT_SHA1, OBJECT_FORMAT_SHA256, OBJECT_FORMAT_UNSPECIFIED
from praefect.transport.grpc.status import wrap

if TYPE_CHECKING:
    from praefect.transport.grpc.server_call import ServerCall

_FORMATS = {
    OBJECT_FORMAT_UNSPECIFIED: ObjectFormat.SHA1,
    OBJECT_FORMAT_SHA1: ObjectFormat.SHA1,
    OBJECT_FORMAT_SHA256: ObjectFormat.SHA256,
}


class LifecyclePart(RepositoryPart):
    """RPCs about whether a repository is there."""

    async def repository_exists(self, request: RepositoryExistsRequest, call: ServerCall) -> RepositoryExistsResponse:
        """Tell whether the repository is there and valid."""
        del call
        repository = self._storages.locate(request.repository)
        repository.root.require_directory()
        return RepositoryExistsResponse(exists=is_valid(repository.path))

    async def create_repository(self, request: CreateRepositoryRequest, call: ServerCall) -> CreateRepositoryResponse:
        """Create an empty repository."""
        self._storages.locate(request.repository)
        object_format = _FORMATS.get(request.object_format)
        if object_format is None:
            raise InvalidArgumentError(f'unknown object format: "{request.object_format}"')
        blueprint = Blueprint(default_branch=request.default_branch, object_format=object_format)
        try:
            await create_repository(self._context, request.repository, self._context.voter(call), blueprint=blueprint)
        except PraefectError as exc:
            raise wrap("creating repository", exc) from exc
        return CreateRepositoryResponse()

    async def remove_repository(self, request: RemoveRepositoryRequest, call: ServerCall) -> RemoveRepositoryResponse:
        """Remove the repository."""
        repository = self._storages.open(request.repository)
        await remove_repository(self._context, repository, self._context.voter(call))
        return RemoveRepositoryResponse()

    async def object_format(self, request: ObjectFormatRequest, call: ServerCall) -> ObjectFormatResponse:
        """Return the hash the repository names its objects with."""
        del call
        repository = self._storages.open(request.repository)
        sha1 = object_format_of(repository.path) is ObjectFormat.SHA1
        return ObjectFormatResponse(format=OBJECT_FORMAT_SHA1 if sha1 else OBJECT_FORMAT_SHA256)
