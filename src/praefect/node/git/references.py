"""Listing references with ``for-each-ref``."""

from __future__ import annotations

import base64
import json
import re
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from praefect.domain.errors import InvalidArgumentError
from praefect.node.git.command import Command

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from praefect.node.git.runner import Git
    from praefect.node.storage.repository import LocalRepository

UNLIMITED = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """One reference. ``peeled`` is what an annotated tag leads to, empty otherwise or if it was not asked for."""

    name: bytes
    target: str
    peeled: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Which references are wanted, and in what order.

    Attributes:
        patterns: as of for-each-ref.
        sort: as of for-each-ref, ``-`` in front reverses.
        exclude: patterns of what is left out.
        flags: further options of for-each-ref.
        peel: whether ``Reference.peeled`` is wanted.
    """

    patterns: Sequence[bytes]
    sort: str = "refname"
    exclude: Sequence[bytes] = ()
    flags: Sequence[str] = field(default=())
    peel: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Where a listing begins and how long it is; a negative limit is none."""

    token: bytes = b""
    limit: int = UNLIMITED


class PageTokenError(InvalidArgumentError):
    """The reference after which the page should begin is not in the listing."""


async def list_references(
    git: Git,
    repository: LocalRepository,
    listing: Listing,
    page: Page = Page(),
) -> AsyncGenerator[Reference, None]:
    """Yield references, at most one more than the page's limit, so that the caller sees whether there are more.

    Raises:
        PageTokenError: the page's token is not in the listing; nothing was yielded.
        GitCommandError: git failed.
    """
    if page.limit == 0:
        return
    excluded = () if git.features.exclude_refs else [ref_pattern(pattern) for pattern in listing.exclude]
    waiting = bool(page.token)
    count = 0
    async with git.start(repository, _command(git, listing)) as process:
        while line := await process.read_line():
            reference = _parse(line)
            if any(pattern.match(reference.name) for pattern in excluded):
                continue
            if waiting:
                waiting = reference.name != page.token
                continue
            yield reference
            count += 1
            if 0 <= page.limit < count:
                return
        await process.check()
    if waiting:
        raise PageTokenError("could not find page token")


async def collect_references(
    git: Git,
    repository: LocalRepository,
    listing: Listing,
    page: Page = Page(),
) -> list[Reference]:
    """Return references as ``list_references`` yields them, not more than the page's limit."""
    async with aclosing(list_references(git, repository, listing, page)) as references:
        found = [reference async for reference in references]
    return found if page.limit < 0 else found[: page.limit]


def _command(git: Git, listing: Listing) -> Command:
    form = "%(objectname) %(*objectname) %(refname)" if listing.peel else "%(objectname)  %(refname)"
    flags = [f"--format={form}", f"--sort={listing.sort}", *listing.flags]
    if git.features.exclude_refs:
        flags += [f"--exclude={pattern.decode('utf-8', 'surrogateescape')}" for pattern in listing.exclude]
    return Command(name="for-each-ref", flags=flags, arguments=list(listing.patterns))


def _parse(line: bytes) -> Reference:
    target, peeled, name = line.split(b" ", 2)
    return Reference(name=name, target=target.decode(), peeled=peeled.decode())


def ref_pattern(pattern: bytes) -> re.Pattern[bytes]:
    """Return the expression that matches as for-each-ref does: exactly, up to a slash, or as a glob.

    Source: git-for-each-ref(1), "<pattern>".
    """
    prefix = re.escape(pattern.removesuffix(b"/"))
    boundary = b"/" if pattern.endswith(b"/") else b"(?:/|$)"
    glob = b"".join(_glob_piece(piece) for piece in re.findall(rb"\*\*|\*|\?|\[[^\]]+\]|[^*?\[]+|\[", pattern))
    return re.compile(b"(?:" + prefix + boundary + b"|" + glob + b"$)", re.DOTALL)


def _glob_piece(piece: bytes) -> bytes:
    if piece == b"**":
        return b".*"
    if piece == b"*":
        return b"[^/]*"
    if piece == b"?":
        return b"[^/]"
    if piece.startswith(b"[") and len(piece) > 1:
        return b"[^" + piece[2:] if piece[1:2] in (b"!", b"^") else piece
    return re.escape(piece)


def decode_page_token(token: str, key: str) -> str:
    """Return the value in a page token: base64 of a JSON object, or the value itself."""
    try:
        decoded = json.loads(base64.b64decode(token, validate=True))
    except ValueError:
        return token
    value = decoded.get(key) if isinstance(decoded, dict) else None
    return value if isinstance(value, str) else token


def encode_page_token(key: str, value: str) -> str:
    """Return the page token that ``decode_page_token`` reads."""
    return base64.b64encode(json.dumps({key: value}, separators=(",", ":")).encode()).decode("ascii")
