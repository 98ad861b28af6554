"""ListRefs and FindRefsByOID."""

from __future__ import annotations

from typing import TYPE_CHECKING

from praefect.domain.errors import InvalidArgumentError
from praefect.node.git.command import Command
from praefect.node.git.errors import GitCommandError
from praefect.node.git.object_format import object_format_of
from praefect.node.git.references import (
    Listing,
    Page,
    PageTokenError,
    Reference,
    collect_references,
    decode_page_token,
    encode_page_token,
    list_references,
)
from praefect.node.services.ref.part import RefPart, page_of
from praefect.node.services.streaming import batches_by_count
from praefect.proto.ref_pb2 import (
    FindRefsByOIDRequest,
    FindRefsByOIDResponse,
    ListRefsRequest,
    ListRefsResponse,
)
from praefect.proto.shared_pb2 import PaginationCursor, SortDirection

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from praefect.node.storage.repository import LocalRepository
    from praefect.transport.grpc.server_call import ServerCall

_SORT_KEYS = {
    ListRefsRequest.SortBy.REFNAME: "refname",
    ListRefsRequest.SortBy.CREATORDATE: "creatordate",
    ListRefsRequest.SortBy.AUTHORDATE: "authordate",
    ListRefsRequest.SortBy.COMMITTERDATE: "committerdate",
}
_LINES_PER_MESSAGE = 20
_DEFAULT_PATTERNS = ("refs/tags/", "refs/heads/")


class ListingPart(RefPart):
    """RPCs that list references of any kind."""

    async def list_refs(self, request: ListRefsRequest, call: ServerCall) -> AsyncGenerator[ListRefsResponse, None]:
        """Yield references by pattern."""
        del call
        repository = self._storages.open(request.repository)
        if not request.patterns:
            raise InvalidArgumentError("patterns must have at least one entry")
        listing = self._listing(request, repository)
        page = _page(request)
        try:
            references = [each async for each in list_references(self._git, repository, listing, page)]
        except PageTokenError as exc:
            raise InvalidArgumentError(f"invalid page token: {exc}") from exc
        has_more = 0 <= page.limit < len(references)
        references = references[: page.limit] if has_more else references
        groups = list(batches_by_count(references, _LINES_PER_MESSAGE))
        if request.head:
            head = await self._head(repository)
            groups = [[*head, *(groups[0] if groups else [])], *groups[1:]] if head else groups
        for index, group in enumerate(groups):
            response = ListRefsResponse(references=[_reference(each, request) for each in group])
            if has_more and index == len(groups) - 1:
                name = group[-1].name.decode("utf-8", "surrogateescape")
                cursor = PaginationCursor(next_cursor=encode_page_token("ref_name", name))
                response.pagination_cursor.CopyFrom(cursor)
            yield response

    async def find_refs_by_oid(self, request: FindRefsByOIDRequest, call: ServerCall) -> FindRefsByOIDResponse:
        """Return the names of references that point at an object."""
        del call
        repository = self._storages.open(request.repository)
        if not request.oid:
            raise InvalidArgumentError("empty Oid")
        patterns = [pattern.encode() for pattern in request.ref_patterns or _DEFAULT_PATTERNS]
        flags = [f"--points-at={request.oid}"]
        if request.limit:
            flags.append(f"--count={request.limit}")
        listing = Listing(patterns=patterns, sort=request.sort_field or "refname", flags=flags)
        try:
            references = await collect_references(self._git, repository, listing)
        except GitCommandError as exc:
            raise InvalidArgumentError(f"for-each-ref pipeline command: {exc.status}") from exc
        return FindRefsByOIDResponse(refs=[each.name.decode("utf-8", "replace") for each in references])

    def _listing(self, request: ListRefsRequest, repository: LocalRepository) -> Listing:
        key = _SORT_KEYS.get(request.sort_by.key)
        if key is None:
            raise InvalidArgumentError(f"unsupported sort key: {request.sort_by.key}")
        sort = f"-{key}" if request.sort_by.direction == SortDirection.DESCENDING else key
        object_format = object_format_of(repository.path)
        flags = [f"--points-at={object_format.check_id(oid).decode()}" for oid in request.pointing_at_oids]
        if request.ignore_case:
            flags.append("--ignore-case")
        for pattern in request.exclude_patterns:
            if not pattern.startswith(b"refs/"):
                raise InvalidArgumentError('exclude pattern must start with "refs/"')
        return Listing(
            patterns=list(request.patterns),
            sort=sort,
            exclude=list(request.exclude_patterns),
            flags=flags,
            peel=request.peel_tags,
        )

    async def _head(self, repository: LocalRepository) -> list[Reference]:
        command = Command(name="rev-parse", flags=["--verify", "--quiet"], arguments=[b"HEAD"])
        completed = await self._git.run(repository, command)
        if completed.returncode != 0:
            return []
        return [Reference(name=b"HEAD", target=completed.stdout.decode().strip())]


def _page(request: ListRefsRequest) -> Page:
    page = page_of(request.pagination_params, present=request.HasField("pagination_params"))
    if not page.token:
        return page
    token = decode_page_token(request.pagination_params.page_token, "ref_name")
    return Page(token=token.encode("utf-8", "surrogateescape"), limit=page.limit)


def _reference(reference: Reference, request: ListRefsRequest) -> ListRefsResponse.Reference:
    message = ListRefsResponse.Reference(name=reference.name, target=reference.target)
    if request.peel_tags:
        message.peeled_target = reference.peeled
    return message
