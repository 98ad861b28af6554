"""Tags: FindAllTags, FindTag, GetTagSignatures, GetTagMessages."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from praefect.domain.errors import InternalError, InvalidArgumentError
from praefect.domain.references import is_reference_name
from praefect.node.git.names import TAGS_PREFIX, check_pseudo_revision, tag_reference
from praefect.node.git.objects import commit_message, parse_tag, tag_message
from praefect.node.git.references import Listing, PageTokenError, Reference, collect_references
from praefect.node.git.revisions import rev_list
from praefect.node.services.ref.part import RefPart, page_of
from praefect.node.services.streaming import batches_by_size, byte_chunks
from praefect.proto.errors_pb2 import ReferenceNotFoundError
from praefect.proto.ref_pb2 import (
    FindAllTagsRequest,
    FindAllTagsResponse,
    FindTagError,
    FindTagRequest,
    FindTagResponse,
    GetTagMessagesRequest,
    GetTagMessagesResponse,
    GetTagSignaturesRequest,
    GetTagSignaturesResponse,
)
from praefect.proto.shared_pb2 import SortDirection, Tag
from praefect.transport.grpc.status import StatusCode, StatusError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from praefect.node.git.catfile import ObjectReader
    from praefect.node.storage.repository import LocalRepository
    from praefect.transport.grpc.server_call import ServerCall

_SORT_KEYS = {
    FindAllTagsRequest.SortBy.REFNAME: "refname",
    FindAllTagsRequest.SortBy.CREATORDATE: "creatordate",
    FindAllTagsRequest.SortBy.VERSION_REFNAME: "version:refname",
}


class TagPart(RefPart):
    """RPCs about tags."""

    async def find_all_tags(
        self, request: FindAllTagsRequest, call: ServerCall
    ) -> AsyncGenerator[FindAllTagsResponse, None]:
        """Yield tags with the commits they lead to."""
        del call
        repository = self._storages.open(request.repository)
        sort = _SORT_KEYS.get(request.sort_by.key)
        if sort is None:
            raise InvalidArgumentError(f"unsupported sorting key: {request.sort_by.key}")
        if request.sort_by.direction == SortDirection.DESCENDING:
            sort = f"-{sort}"
        page = page_of(request.pagination_params, present=request.HasField("pagination_params"))
        listing = Listing(patterns=[TAGS_PREFIX], sort=sort, peel=True)
        try:
            references = await collect_references(self._git, repository, listing, page)
        except PageTokenError as exc:
            raise InvalidArgumentError(str(exc)) from exc
        async with aclosing(batches_by_size(self._tags(repository, references))) as batches:
            async for batch in batches:
                yield FindAllTagsResponse(tags=batch)

    async def find_tag(self, request: FindTagRequest, call: ServerCall) -> FindTagResponse:
        """Return one tag by its short name."""
        del call
        repository = self._storages.open(request.repository)
        if not request.tag_name:
            raise InvalidArgumentError("tag name is empty")
        name = tag_reference(request.tag_name)
        references: list[Reference] = []
        if is_reference_name(name):
            found = await collect_references(self._git, repository, Listing(patterns=[name], peel=True))
            references = [reference for reference in found if reference.name == name]
        if not references:
            detail = FindTagError(tag_not_found=ReferenceNotFoundError(reference_name=name))
            raise StatusError(StatusCode.NOT_FOUND, "tag does not exist", [detail])
        async with aclosing(self._tags(repository, references)) as tags:
            return FindTagResponse(tag=await anext(tags))

    async def _tags(self, repository: LocalRepository, references: Sequence[Reference]) -> AsyncGenerator[Tag, None]:
        if not references:
            return
        async with self._context.objects.reader(repository, mailmap=True) as reader:
            for reference in references:
                yield await _tag(reader, reference)

    async def get_tag_signatures(
        self, request: GetTagSignaturesRequest, call: ServerCall
    ) -> AsyncGenerator[GetTagSignaturesResponse, None]:
        """Yield signature and signed content of tags."""
        del call
        repository = self._storages.open(request.repository)
        if not request.tag_revisions:
            raise InvalidArgumentError("missing revisions")
        revisions = [check_pseudo_revision(revision.encode()) for revision in request.tag_revisions]
        flags = ["--objects", "--no-object-names", "--filter=object:type=tag", "--filter-provided-objects"]
        ids = (await rev_list(self._git, repository, flags, revisions)).split()
        async with aclosing(batches_by_size(self._signatures(repository, ids))) as batches:
            async for batch in batches:
                yield GetTagSignaturesResponse(signatures=batch)

    async def _signatures(
        self, repository: LocalRepository, ids: Sequence[bytes]
    ) -> AsyncGenerator[GetTagSignaturesResponse.TagSignature, None]:
        async with self._context.objects.reader(repository) as reader, aclosing(reader.read_all(ids)) as objects:
            async for found in objects:
                if found is None:
                    raise InternalError("object not found")
                signature = parse_tag(found.data).signature
                content = found.data.removesuffix(signature) if signature else found.data
                yield GetTagSignaturesResponse.TagSignature(tag_id=found.oid, signature=signature, content=content)

    async def get_tag_messages(
        self, request: GetTagMessagesRequest, call: ServerCall
    ) -> AsyncGenerator[GetTagMessagesResponse, None]:
        """Yield the full messages of tags."""
        del call
        repository = self._storages.open(request.repository)
        async with self._context.objects.reader(repository) as reader:
            for tag_id in request.tag_ids:
                found = await reader.read(tag_id.encode())
                if found is None or found.type != "tag":
                    raise InternalError("getting tag: object not found")
                yield GetTagMessagesResponse(tag_id=tag_id)
                for chunk in byte_chunks(parse_tag(found.data).message):
                    yield GetTagMessagesResponse(message=chunk)


async def _tag(reader: ObjectReader, reference: Reference) -> Tag:
    name = reference.name.removeprefix(TAGS_PREFIX)
    found = await reader.read(reference.target.encode())
    if found is None:
        raise InternalError("object not found")
    if found.type == "commit":
        return Tag(name=name, id=found.oid, target_commit=commit_message(found.oid, found.data))
    if found.type != "tag":
        return Tag(name=name, id=found.oid)
    tag = tag_message(found.oid, name, found.data)
    target = await reader.info(reference.peeled.encode())
    if target is not None and target.type == "commit":
        commit = await reader.read(target.oid.encode())
        if commit is not None:
            tag.target_commit.CopyFrom(commit_message(commit.oid, commit.data))
    return tag
