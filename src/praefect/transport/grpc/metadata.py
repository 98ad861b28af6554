"""Metadata of a call: the header fields and trailers that belong to the application.

Kept in wire form, so that a proxy forwards them without decoding; values are decoded when somebody asks. Keys ending in
``-bin`` carry bytes, base64 on the wire; all others text. Text is decoded as UTF-8 with ``surrogateescape``, so that
any value survives being read and sent on.

Source: gRPC over HTTP/2, "Requests" (Custom-Metadata).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, overload

from praefect.domain.errors import InternalError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from praefect.transport.http2.interface import HeaderList

Value = str | bytes

RESERVED = frozenset(
    {
        "content-type",
        "user-agent",
        "te",
        "grpc-timeout",
        "grpc-encoding",
        "grpc-accept-encoding",
        "grpc-message-type",
        "grpc-status",
        "grpc-message",
        "grpc-status-details-bin",
    }
)
"""Names the transport itself writes and reads; never part of the metadata."""

_KEY = re.compile(r"[0-9a-z_.-]+")


class MalformedMetadataError(InternalError):
    """A ``-bin`` value is not base64."""


def _encode_value(key: str, value: Value) -> bytes:
    if key.endswith("-bin"):
        raw = value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")
        return base64.b64encode(raw).rstrip(b"=")
    if isinstance(value, bytes):
        message = f"metadata key {key!r} takes text, not bytes"
        raise TypeError(message)
    encoded = value.encode("utf-8", "surrogateescape")
    if b"\n" in encoded or b"\r" in encoded or b"\0" in encoded:
        message = f"metadata value of {key!r} contains a control character"
        raise ValueError(message)
    return encoded


def _check_key(key: str) -> str:
    lowered = key.lower()
    if not _KEY.fullmatch(lowered) or lowered in RESERVED:
        message = f"illegal metadata key {key!r}"
        raise ValueError(message)
    return lowered


def decode_binary(value: bytes) -> bytes:
    """Decode one base64 value, padded or not.

    Raises:
        MalformedMetadataError: it is not base64.
    """
    try:
        return base64.b64decode(value + b"=" * (-len(value) % 4), validate=True)
    except binascii.Error as exc:
        text = value.decode("ascii", "replace")
        raise MalformedMetadataError(f"malformed binary metadata {text!r}: {exc}") from exc


class Metadata:
    """An ordered list of (key, value) pairs; keys are lowercase and may occur more than once."""

    __slots__ = ("_fields",)

    def __init__(self, pairs: Iterable[tuple[str, Value]] = ()) -> None:
        self._fields: HeaderList = []
        for key, value in pairs:
            self.append(key, value)

    @classmethod
    def from_headers(cls, headers: HeaderList) -> Metadata:
        """Take what is metadata out of received header fields or trailers."""
        metadata = cls()
        metadata._fields = [field for field in headers if field[0] not in RESERVED]
        return metadata

    def to_headers(self) -> HeaderList:
        """Return the header fields to send."""
        return list(self._fields)

    def copy(self) -> Metadata:
        """Return an independent copy."""
        metadata = Metadata()
        metadata._fields = list(self._fields)
        return metadata

    def first(self, key: str) -> str | None:
        """Return the first value of a text key."""
        for name, value in self._fields:
            if name == key:
                return value.decode("utf-8", "surrogateescape")
        return None

    def last(self, key: str) -> str | None:
        """Return the last value of a text key."""
        for name, value in reversed(self._fields):
            if name == key:
                return value.decode("utf-8", "surrogateescape")
        return None

    def single(self, key: str) -> str | None:
        """Return the value of a text key that occurs exactly once, else ``None``."""
        values = [value for name, value in self._fields if name == key]
        return values[0].decode("utf-8", "surrogateescape") if len(values) == 1 else None

    def singles(self, keys: Collection[str]) -> dict[str, str]:
        """Return the values of those text keys that occur exactly once, in one pass."""
        found: dict[str, bytes | None] = {}
        for name, value in self._fields:
            if name in keys:
                found[name] = None if name in found else value
        return {name: value.decode("utf-8", "surrogateescape") for name, value in found.items() if value is not None}

    def binary(self, key: str) -> bytes | None:
        """Return the first value of a ``-bin`` key.

        Raises:
            MalformedMetadataError: it is not base64.
        """
        for name, value in self._fields:
            if name == key:
                return decode_binary(value.partition(b",")[0].strip())
        return None

    @overload
    def get(self, key: str) -> Value | None: ...
    @overload
    def get(self, key: str, default: str) -> Value: ...
    def get(self, key: str, default: str | None = None) -> Value | None:
        """Return the first value, bytes if the key ends in ``-bin``, else text."""
        value: Value | None = self.binary(key) if key.endswith("-bin") else self.first(key)
        return default if value is None else value

    def get_all(self, key: str) -> list[Value]:
        """Return all values in order; several binary values may share a field, separated by commas."""
        if not key.endswith("-bin"):
            return [value.decode("utf-8", "surrogateescape") for name, value in self._fields if name == key]
        return [
            decode_binary(part.strip()) for name, value in self._fields if name == key for part in value.split(b",")
        ]

    def append(self, key: str, value: Value) -> None:
        """Add a value behind those the key has.

        Raises:
            ValueError: the key is reserved or illegal, or the text contains a line break or NUL.
            TypeError: bytes for a key that does not end in ``-bin``.
        """
        lowered = _check_key(key)
        self._fields.append((lowered, _encode_value(lowered, value)))

    def set(self, key: str, value: Value) -> None:
        """Replace all values of the key by one; raises as ``append``."""
        self.remove(key)
        self.append(key, value)

    def remove(self, key: str) -> None:
        """Drop all values of the key."""
        lowered = key.lower()
        self._fields = [field for field in self._fields if field[0] != lowered]

    def extend(self, other: Metadata | Iterable[tuple[str, Value]]) -> None:
        """Add all pairs of another list behind the present ones; raises as ``append``."""
        if isinstance(other, Metadata):
            self._fields.extend(other._fields)
            return
        for key, value in other:
            self.append(key, value)

    def __iter__(self) -> Iterator[tuple[str, Value]]:
        for key, value in self._fields:
            if key.endswith("-bin"):
                for part in value.split(b","):
                    yield key, decode_binary(part.strip())
            else:
                yield key, value.decode("utf-8", "surrogateescape")

    def __contains__(self, key: object) -> bool:
        return any(name == key for name, _ in self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Metadata) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        # Values may be secrets (authorization, gitaly-servers), so only the names are shown.
        return f"Metadata({[name for name, _ in self._fields]!r})"


MetadataLike = Metadata | Sequence[tuple[str, Value]]
"""What callers may pass as metadata."""


def as_metadata(value: MetadataLike) -> Metadata:
    """Return a copy that the callee may change."""
    return value.copy() if isinstance(value, Metadata) else Metadata(value)
