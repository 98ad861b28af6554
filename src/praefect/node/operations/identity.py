"""Who makes a commit and when, as git takes it."""

from __future__ import annotations

import time
import zoneinfo
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from praefect.domain.errors import InvalidArgumentError

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

    from praefect.proto.shared_pb2 import User

_DROPPED = b"\n<>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A second and the time zone it is written in.

    Attributes:
        seconds: since the epoch.
        zone: ``+hhmm`` or ``-hhmm``.
    """

    seconds: int
    zone: str = "+0000"

    def __str__(self) -> str:
        return f"{self.seconds} {self.zone}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A name and an e-mail address; what git could not store was dropped."""

    name: bytes
    email: bytes

    @classmethod
    def of(cls, name: bytes, email: bytes) -> Identity:
        """Return the identity of a request."""
        return cls(name=name.translate(None, _DROPPED), email=email.translate(None, _DROPPED))

    @classmethod
    def of_user(cls, user: User) -> Identity:
        """Return the identity of a user."""
        return cls.of(user.name, user.email)

    @property
    def is_complete(self) -> bool:
        """Whether git would take it."""
        return bool(self.name.strip() and self.email.strip())


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """An identity at a moment."""

    identity: Identity
    moment: Moment

    def __bytes__(self) -> bytes:
        return b"%b <%b> %b" % (self.identity.name, self.identity.email, str(self.moment).encode())


def moment_of(timestamp: Timestamp | None, timezone: str) -> Moment:
    """Return the time of a request in a user's time zone; without a timestamp it is now.

    Nodes that replicate a call must make the same commit, so a request's timestamp always wins over the clock.

    Raises:
        InvalidArgumentError: there is no such time zone.
    """
    seconds = int(time.time()) if timestamp is None else timestamp.seconds
    return Moment(seconds=seconds, zone=_offset(seconds, timezone))


def _offset(seconds: int, timezone: str) -> str:
    if timezone in {"", "UTC"}:
        return "+0000"
    try:
        zone = zoneinfo.ZoneInfo(timezone)
        offset = datetime.fromtimestamp(seconds, zone).utcoffset() or timedelta()
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidArgumentError(f"unknown time zone {timezone}") from error
    minutes = abs(int(offset.total_seconds())) // 60
    sign = "-" if offset < timedelta() else "+"
    return f"{sign}{minutes // 60:02}{minutes % 60:02}"
