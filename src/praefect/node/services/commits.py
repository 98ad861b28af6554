"""Reading commits for answers."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from praefect.node.git.objects import commit_message

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from praefect.node.git.catfile import CatFilePool
    from praefect.node.storage.repository import LocalRepository
    from praefect.proto.shared_pb2 import GitCommit


async def read_commits(
    objects: CatFilePool, repository: LocalRepository, revisions: Sequence[bytes], *, trailers: bool = False
) -> AsyncGenerator[tuple[int, GitCommit | None], None]:
    """Yield the index of each revision with its commit, ``None`` where the object is none or missing."""
    if not revisions:
        return
    async with objects.reader(repository, mailmap=True) as reader, aclosing(reader.read_all(revisions)) as found:
        index = 0
        async for each in found:
            is_commit = each is not None and each.type == "commit"
            yield index, commit_message(each.oid, each.data, trailers=trailers) if each and is_commit else None
            index += 1


async def find_commit(
    objects: CatFilePool, repository: LocalRepository, revision: bytes, *, trailers: bool = False
) -> GitCommit | None:
    """Return the commit that ``revision`` leads to, ``None`` if it leads to none."""
    async with objects.reader(repository, mailmap=True) as reader:
        found = await reader.read(revision + b"^{commit}")
    return commit_message(found.oid, found.data, trailers=trailers) if found is not None else None
