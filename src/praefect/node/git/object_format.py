"""The hash a repository names its objects with, read from its configuration file without starting git."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING

from praefect.domain.errors import InvalidArgumentError

if TYPE_CHECKING:
    from pathlib import Path

_SECTION = re.compile(rb"^\s*\[\s*([A-Za-z0-9.-]+)\s*\]\s*$")
_OBJECT_FORMAT = re.compile(rb"^\s*objectformat\s*=\s*\"?([A-Za-z0-9]+)\"?\s*(?:[#;].*)?$", re.IGNORECASE)
_LOWER_HEX = re.compile(rb"[0-9a-f]*")


class ObjectFormat(StrEnum):
    """A hash function of object ids."""

    SHA1 = "sha1"
    SHA256 = "sha256"

    @property
    def hex_length(self) -> int:
        """How many hexadecimal digits an object id has."""
        return 40 if self is ObjectFormat.SHA1 else 64

    @property
    def zero_id(self) -> bytes:
        """The id that stands for no object."""
        return b"0" * self.hex_length

    def check_id(self, oid: str | bytes) -> bytes:
        """Return ``oid`` as bytes if it is a full object id.

        Raises:
            InvalidObjectIdError: it is not.
        """
        value = oid.encode("utf-8", "surrogateescape") if isinstance(oid, str) else oid
        if len(value) != self.hex_length or not _LOWER_HEX.fullmatch(value):
            raise InvalidObjectIdError(value, self.hex_length)
        return value

    def is_zero(self, oid: bytes) -> bool:
        """Tell whether ``oid`` stands for no object."""
        return oid == self.zero_id


class InvalidObjectIdError(InvalidArgumentError):
    """A value is not a full object id."""

    def __init__(self, value: bytes, length: int) -> None:
        text = value.decode("utf-8", "replace")
        super().__init__(f'invalid object ID: "{text}", expected length {length}, got {len(value)}')


def object_format_of(repository: Path) -> ObjectFormat:
    """Return the object format of a repository; sha1 where nothing says otherwise."""
    try:
        content = (repository / "config").read_bytes()
    except OSError:
        return ObjectFormat.SHA1
    section = b""
    for line in content.splitlines():
        match = _SECTION.match(line)
        if match is not None:
            section = match[1].lower()
        elif section == b"extensions":
            value = _OBJECT_FORMAT.match(line)
            if value is not None and value[1].lower() == b"sha256":
                return ObjectFormat.SHA256
    return ObjectFormat.SHA1
