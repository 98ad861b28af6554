"""The ``grpc-timeout`` header: at most eight digits and a unit. No I/O.

Source: gRPC over HTTP/2, "Requests" (Timeout).
"""

from __future__ import annotations

import math
import re

from praefect.domain.errors import InternalError

_UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_VALUE = re.compile(rb"([0-9]{1,8})([HMSmun])")
_MAX_VALUE = 99_999_999
# From fine to coarse: the first unit whose value fits in eight digits is the most exact one.
_SCALES = ((1e9, b"n"), (1e6, b"u"), (1e3, b"m"), (1.0, b"S"), (1 / 60, b"M"), (1 / 3600, b"H"))


class MalformedTimeoutError(InternalError):
    """The header is not digits and a unit."""


def parse_timeout(value: bytes) -> float:
    """Return the seconds a ``grpc-timeout`` value stands for.

    Raises:
        MalformedTimeoutError: the value has another form.
    """
    match = _VALUE.fullmatch(value)
    if match is None:
        raise MalformedTimeoutError(f"malformed grpc-timeout: {value.decode('ascii', 'replace')!r}")
    return int(match[1]) * _UNITS[match[2]]


def format_timeout(seconds: float) -> bytes:
    """Return the header value of a remaining time, rounded up; what has passed gives the smallest possible value."""
    if seconds <= 0:
        return b"1n"
    for scale, unit in _SCALES:
        count = math.ceil(seconds * scale)
        if count <= _MAX_VALUE:
            return b"%d%s" % (count, unit)
    return b"%dH" % _MAX_VALUE
