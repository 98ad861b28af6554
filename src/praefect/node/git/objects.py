"""From the bytes of commits and tags to their messages on the wire."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from praefect.proto.shared_pb2 import CommitAuthor, CommitTrailer, GitCommit, SignatureType, Tag

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_MESSAGE_BYTES = 10 * 1024
_MAX_TRAILERS = 64
_MAX_TRAILER_KEY_BYTES = 128
_MAX_TRAILER_VALUE_BYTES = 512
_MAX_SECONDS = (1 << 63) - 1
_DATE = re.compile(rb"^\s*(-?\d+)(?:\s+(\S*))?")
_SIGNATURE_HEADERS = (b"gpgsig", b"gpgsig-sha256")
_ARMOUR = re.compile(rb"^-----BEGIN (PGP SIGNATURE|PGP MESSAGE|SIGNED MESSAGE|SSH SIGNATURE)-----", re.MULTILINE)
_TRAILER = re.compile(rb"^([A-Za-z0-9-]+)\s*:\s*(.*)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class RawCommit:
    """A commit taken apart."""

    tree: bytes
    parents: Sequence[bytes]
    author: bytes
    committer: bytes
    encoding: bytes
    signature: bytes
    body: bytes
    signed_payload: bytes = field(repr=False)


def parse_commit(data: bytes) -> RawCommit:
    """Take a commit object apart; what cannot be read is empty."""
    head, _, body = data.partition(b"\n\n")
    fields: dict[bytes, list[bytes]] = {}
    payload_lines = []
    current = b""
    for line in head.split(b"\n"):
        if line.startswith(b" "):
            if current:
                fields[current][-1] += b"\n" + line[1:]
        else:
            current, _, value = line.partition(b" ")
            fields.setdefault(current, []).append(value)
        if current not in _SIGNATURE_HEADERS:
            payload_lines.append(line)
    return RawCommit(
        tree=_first(fields, b"tree"),
        parents=fields.get(b"parent", []),
        author=_first(fields, b"author"),
        committer=_first(fields, b"committer"),
        encoding=_first(fields, b"encoding"),
        signature=_first(fields, b"gpgsig") or _first(fields, b"gpgsig-sha256"),
        body=body,
        signed_payload=b"\n".join(payload_lines) + b"\n\n" + body,
    )


def _first(fields: dict[bytes, list[bytes]], name: bytes) -> bytes:
    values = fields.get(name)
    return values[0] if values else b""


def commit_message(oid: str, data: bytes, *, trailers: bool = False) -> GitCommit:
    """Return the wire form of a commit object."""
    raw = parse_commit(data)
    commit = GitCommit(
        id=oid,
        subject=subject_of(raw.body),
        body=raw.body[:MAX_MESSAGE_BYTES],
        body_size=len(raw.body),
        author=parse_person(raw.author),
        committer=parse_person(raw.committer),
        parent_ids=[parent.decode("ascii", "replace") for parent in raw.parents],
        tree_id=raw.tree.decode("ascii", "replace"),
        encoding=raw.encoding.decode("utf-8", "replace"),
        signature_type=signature_type(raw.signature),
    )
    if trailers:
        commit.trailers.extend(parse_trailers(raw.body))
    return commit


def subject_of(body: bytes) -> bytes:
    """Return the first line of a message without its line end."""
    return body.partition(b"\n")[0].rstrip(b"\r")


def parse_person(line: bytes) -> CommitAuthor:
    """Read ``Name <e-mail> seconds zone``."""
    name, _, rest = line.partition(b"<")
    email, _, date = rest.partition(b">")
    author = CommitAuthor(name=name[:-1] if name.endswith(b" ") else name, email=email)
    match = _DATE.match(date)
    if match is None:
        author.date.seconds = 0
        return author
    seconds = int(match[1])
    author.date.seconds = seconds if abs(seconds) <= _MAX_SECONDS else _MAX_SECONDS
    zone = match[2] or b""
    if len(zone) == 5:
        author.timezone = zone
    return author


def signature_type(signature: bytes) -> SignatureType:
    """Tell by its armour line what kind a signature is."""
    match = _ARMOUR.search(signature)
    if match is None:
        return SignatureType.NONE
    if match[1] == b"SIGNED MESSAGE":
        return SignatureType.X509
    return SignatureType.SSH if match[1] == b"SSH SIGNATURE" else SignatureType.PGP


def parse_trailers(body: bytes) -> list[CommitTrailer]:
    """Return the trailers of a message's last paragraph, if it consists of them."""
    paragraphs = re.split(rb"\n\s*\n", body.strip())
    if len(paragraphs) < 2:
        return []
    found: list[tuple[bytes, bytes]] = []
    for line in paragraphs[-1].split(b"\n"):
        match = _TRAILER.match(line)
        if match is not None:
            found.append((match[1], match[2].strip()))
        elif line[:1].isspace() and found:
            found[-1] = (found[-1][0], found[-1][1] + b" " + line.strip())
    trailers = [
        CommitTrailer(key=key, value=value)
        for key, value in found
        if len(key) <= _MAX_TRAILER_KEY_BYTES and len(value) <= _MAX_TRAILER_VALUE_BYTES
    ]
    return trailers[:_MAX_TRAILERS]


@dataclass(frozen=True, slots=True, kw_only=True)
class RawTag:
    """A tag object taken apart."""

    target: bytes
    type: bytes
    name: bytes
    tagger: bytes
    message: bytes
    signature: bytes


def parse_tag(data: bytes) -> RawTag:
    """Take a tag object apart; what cannot be read is empty."""
    head, _, message = data.partition(b"\n\n")
    fields: dict[bytes, bytes] = {}
    for line in head.split(b"\n"):
        key, _, value = line.partition(b" ")
        fields.setdefault(key, value)
    armour = _ARMOUR.search(message)
    signature = message[armour.start() :] if armour is not None and armour.start() > 0 else b""
    return RawTag(
        target=fields.get(b"object", b""),
        type=fields.get(b"type", b""),
        name=fields.get(b"tag", b""),
        tagger=fields.get(b"tagger", b""),
        message=message,
        signature=signature,
    )


def tag_message(oid: str, name: bytes, data: bytes) -> Tag:
    """Return the wire form of an annotated tag, without its target; ``name`` is the short name."""
    raw = parse_tag(data)
    message = raw.message.rstrip(b"\n") if not raw.signature else raw.message
    tag = Tag(
        name=name,
        id=oid,
        message=message[:MAX_MESSAGE_BYTES],
        message_size=len(message),
        signature_type=signature_type(raw.signature),
    )
    if raw.tagger:
        tag.tagger.CopyFrom(parse_person(raw.tagger))
    return tag
