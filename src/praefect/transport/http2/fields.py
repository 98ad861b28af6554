"""What may stand in a header block, for the engine whose library leaves it to us.

Source: RFC 9113 sections 8.2 and 8.3. As lenient as the other engine: control characters other than NUL, CR and LF and
blanks around a value pass.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from praefect.transport.http2.interface import RequestHead

if TYPE_CHECKING:
    from collections.abc import Iterable

    from praefect.transport.http2.interface import HeaderList

    RawFields = Iterable[tuple[bytes, bytes]]

_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_FORBIDDEN = frozenset((b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"))
_REQUEST_FIELDS = frozenset((b":method", b":scheme", b":authority", b":path"))
_MALFORMED_VALUE = re.compile(rb"[\x00\r\n]")


class MalformedFieldsError(ValueError):
    """The block breaks a rule; the message names the field and never its value."""


def encode(headers: HeaderList) -> list[tuple[bytes, bytes]]:
    """Turn fields into bytes.

    Raises:
        MalformedFieldsError: one of them may not be sent.
    """
    fields = [(name.lower().encode(), value) for name, value in headers]
    for name, value in fields:
        _check(name, value)
    return fields


def decode(fields: RawFields) -> HeaderList:
    """Turn a block without pseudo-header fields into fields.

    Raises:
        MalformedFieldsError: the block is malformed.
    """
    return _decode(fields, frozenset())[1]


def decode_request(fields: RawFields) -> RequestHead:
    """Turn a request's block into its head; what is missing is empty.

    Raises:
        MalformedFieldsError: the block is malformed.
    """
    pseudo, headers = _decode(fields, _REQUEST_FIELDS)
    return RequestHead(
        method=pseudo.get(b":method", ""),
        scheme=pseudo.get(b":scheme", ""),
        authority=pseudo.get(b":authority", ""),
        path=pseudo.get(b":path", ""),
        headers=headers,
    )


def decode_response(fields: RawFields) -> tuple[int, HeaderList]:
    """Turn a response's block into its status and fields.

    Raises:
        MalformedFieldsError: the block is malformed.
    """
    pseudo, headers = _decode(fields, frozenset((b":status",)))
    status = pseudo.get(b":status", "")
    if not (len(status) == 3 and status.isascii() and status.isdecimal()):
        raise MalformedFieldsError(":status")
    return int(status), headers


def _decode(fields: RawFields, allowed: frozenset[bytes]) -> tuple[dict[bytes, str], HeaderList]:
    pseudo: dict[bytes, str] = {}
    headers: HeaderList = []
    for name, value in fields:
        if name[:1] == b":":
            if headers or name in pseudo or name not in allowed:
                raise MalformedFieldsError(name.decode("ascii", "backslashreplace"))
            try:
                pseudo[name] = value.decode()
            except UnicodeDecodeError as exc:
                raise MalformedFieldsError(name.decode("ascii", "backslashreplace")) from exc
        else:
            _check(name, value)
            headers.append((name.decode("ascii"), value))
    return pseudo, headers


def _check(name: bytes, value: bytes) -> None:
    if (
        not _NAME.fullmatch(name)
        or _MALFORMED_VALUE.search(value)
        or name in _FORBIDDEN
        or (name == b"te" and value != b"trailers")
    ):
        message = f"malformed field {name.decode('ascii', 'backslashreplace')!r}"
        raise MalformedFieldsError(message)
