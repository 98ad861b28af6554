"""Commits by name: FindCommit, ListCommitsByOid, ListCommitsByRefName, LastCommitForPath and others."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from praefect.domain.errors import InternalError, InvalidArgumentError
from praefect.node.git.command import Command
from praefect.node.git.names import InvalidRevisionError, check_revision
from praefect.node.git.object_format import object_format_of
from praefect.node.git.objects import parse_commit, parse_person
from praefect.node.services.commit.part import CommitPart, pathspec_environment
from praefect.node.services.commits import find_commit, read_commits
from praefect.node.services.streaming import batches_by_size, byte_chunks
from praefect.proto.commit_pb2 import (
    CheckObjectsExistRequest,
    CheckObjectsExistResponse,
    FilterShasWithSignaturesRequest,
    FilterShasWithSignaturesResponse,
    FindCommitRequest,
    FindCommitResponse,
    GetCommitMessagesRequest,
    GetCommitMessagesResponse,
    GetCommitSignaturesRequest,
    GetCommitSignaturesResponse,
    LastCommitForPathRequest,
    LastCommitForPathResponse,
    ListCommitsByOidRequest,
    ListCommitsByOidResponse,
    ListCommitsByRefNameRequest,
    ListCommitsByRefNameResponse,
)
from praefect.transport.grpc.status import wrap

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from praefect.transport.grpc.server_call import ServerCall

_Existence = CheckObjectsExistResponse.RevisionExistence


class FindingPart(CommitPart):
    """RPCs that look commits up."""

    async def find_commit(self, request: FindCommitRequest, call: ServerCall) -> FindCommitResponse:
        """Return the commit a revision leads to, nothing if it leads to none."""
        del call
        repository = self._storages.open(request.repository)
        check_revision(request.revision)
        commit = await find_commit(self._context.objects, repository, request.revision, trailers=request.trailers)
        return FindCommitResponse(commit=commit)

    async def list_commits_by_oid(
        self, request: ListCommitsByOidRequest, call: ServerCall
    ) -> AsyncGenerator[ListCommitsByOidResponse, None]:
        """Yield the commits of the ids that are known."""
        del call
        repository = self._storages.open(request.repository)
        oids = [oid.encode() for oid in request.oid]
        async with aclosing(self._commit_batches(repository, oids)) as batches:
            async for batch in batches:
                yield ListCommitsByOidResponse(commits=batch)

    async def list_commits_by_ref_name(
        self, request: ListCommitsByRefNameRequest, call: ServerCall
    ) -> AsyncGenerator[ListCommitsByRefNameResponse, None]:
        """Yield the commits of the references that are known."""
        del call
        repository = self._storages.open(request.repository)
        names = list(request.ref_names)

        async def found() -> AsyncGenerator[ListCommitsByRefNameResponse.CommitForRef, None]:
            revisions = [name + b"^{commit}" for name in names]
            async with aclosing(read_commits(self._context.objects, repository, revisions)) as commits:
                async for index, commit in commits:
                    if commit is not None:
                        yield ListCommitsByRefNameResponse.CommitForRef(commit=commit, ref_name=names[index])

        async with aclosing(batches_by_size(found())) as batches:
            async for batch in batches:
                yield ListCommitsByRefNameResponse(commit_refs=batch)

    async def last_commit_for_path(
        self, request: LastCommitForPathRequest, call: ServerCall
    ) -> LastCommitForPathResponse:
        """Return the newest commit that touches a path, nothing if there is none."""
        del call
        repository = self._storages.open(request.repository)
        check_revision(request.revision)
        path = request.path.rstrip(b"/")
        if path.startswith(b"/") or b".." in path.split(b"/"):
            raise InvalidArgumentError("path escapes repository root")
        environment = pathspec_environment(request.global_options)
        if request.literal_pathspec:
            environment = {"GIT_LITERAL_PATHSPECS": "1"}
        command = Command(
            name="log",
            flags=["--format=%H", "--max-count=1"],
            arguments=[request.revision],
            paths=[path] if path else None,
            environment=environment,
        )
        oid = (await self._git.run(repository, command)).stdout.strip()
        commit = await find_commit(self._context.objects, repository, oid) if oid else None
        return LastCommitForPathResponse(commit=commit)

    async def check_objects_exist(
        self, requests: AsyncIterator[CheckObjectsExistRequest], call: ServerCall
    ) -> AsyncGenerator[CheckObjectsExistResponse, None]:
        """Yield for each revision whether it names an object."""
        del call
        first = await anext(requests, None)
        if first is None:
            raise InternalError("receiving initial request: EOF")
        repository = self._storages.open(first.repository)
        async with self._context.objects.reader(repository) as reader:
            request: CheckObjectsExistRequest | None = first
            while request is not None:
                names = list(request.revisions)
                for name in names:
                    _check_existence_revision(name)
                found = await reader.infos(names)
                answers = [
                    _Existence(name=name, exists=info is not None) for name, info in zip(names, found, strict=True)
                ]
                if answers:
                    yield CheckObjectsExistResponse(revisions=answers)
                request = await anext(requests, None)

    async def get_commit_messages(
        self, request: GetCommitMessagesRequest, call: ServerCall
    ) -> AsyncGenerator[GetCommitMessagesResponse, None]:
        """Yield the full messages of commits."""
        del call
        repository = self._storages.open(request.repository)
        async with self._context.objects.reader(repository, mailmap=True) as reader:
            for oid in request.commit_ids:
                found = await reader.read(oid.encode() + b"^{commit}")
                if found is None:
                    raise InternalError("failed to get commit: object not found")
                yield GetCommitMessagesResponse(commit_id=oid)
                for chunk in byte_chunks(parse_commit(found.data).body):
                    yield GetCommitMessagesResponse(message=chunk)

    async def get_commit_signatures(
        self, request: GetCommitSignaturesRequest, call: ServerCall
    ) -> AsyncGenerator[GetCommitSignaturesResponse, None]:
        """Yield signature and signed content of the commits that are signed."""
        del call
        repository = self._storages.open(request.repository)
        if not request.commit_ids:
            raise InvalidArgumentError("empty CommitIds")
        object_format = object_format_of(repository.path)
        oids = [object_format.check_id(oid) for oid in request.commit_ids]
        # The signature covers the commit as it is, so no mailmap is applied.
        async with self._context.objects.reader(repository) as reader, aclosing(reader.read_all(oids)) as objects:
            async for found in objects:
                if found is None or found.type != "commit":
                    continue
                raw = parse_commit(found.data)
                if not raw.signature:
                    continue
                yield GetCommitSignaturesResponse(
                    commit_id=found.oid,
                    signature=raw.signature,
                    signer=GetCommitSignaturesResponse.SIGNER_USER,
                    author=parse_person(raw.author),
                    committer=parse_person(raw.committer),
                )
                for chunk in byte_chunks(raw.signed_payload):
                    yield GetCommitSignaturesResponse(signed_text=chunk)

    async def filter_shas_with_signatures(
        self, requests: AsyncIterator[FilterShasWithSignaturesRequest], call: ServerCall
    ) -> AsyncGenerator[FilterShasWithSignaturesResponse, None]:
        """Answer each request with those of its commits that are signed."""
        del call
        first = await anext(requests, None)
        if first is None:
            raise InternalError("receiving initial request: EOF")
        repository = self._storages.open(first.repository)
        async with self._context.objects.reader(repository) as reader:
            request: FilterShasWithSignaturesRequest | None = first
            while request is not None:
                shas = list(request.shas)
                signed = []
                async with aclosing(reader.read_all(shas)) as objects:
                    index = 0
                    async for found in objects:
                        if found is not None and found.type == "commit" and parse_commit(found.data).signature:
                            signed.append(shas[index])
                        index += 1
                yield FilterShasWithSignaturesResponse(shas=signed)
                request = await anext(requests, None)


def _check_existence_revision(name: bytes) -> None:
    try:
        check_revision(name, allow_path=True)
    except InvalidRevisionError as exc:
        raise wrap("invalid revision", exc) from exc
