"""Identities and times of commits: the same on every node, whatever its own zone."""

from __future__ import annotations

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from praefect.domain.errors import InvalidArgumentError
from praefect.node.operations.identity import Identity, Moment, Signature, moment_of
from praefect.node.operations.replaying import parse_signature

WINTER = Timestamp(seconds=1767225600)
SUMMER = Timestamp(seconds=1782864000)


@pytest.mark.parametrize(
    ("timestamp", "zone", "offset"),
    [
        (WINTER, "", "+0000"),
        (WINTER, "UTC", "+0000"),
        (WINTER, "Europe/Berlin", "+0100"),
        (SUMMER, "Europe/Berlin", "+0200"),
        (WINTER, "Asia/Kolkata", "+0530"),
        (WINTER, "America/St_Johns", "-0330"),
    ],
)
def test_offsets_follow_the_zone_and_the_season(timestamp: Timestamp, zone: str, offset: str) -> None:
    assert moment_of(timestamp, zone) == Moment(seconds=timestamp.seconds, zone=offset)


@pytest.mark.parametrize("zone", ["Mars/X", "../../etc/passwd", "/etc/passwd", "a\0b"])
def test_unknown_zones(zone: str) -> None:
    with pytest.raises(InvalidArgumentError, match="unknown time zone"):
        moment_of(WINTER, zone)


def test_what_git_cannot_store_is_dropped() -> None:
    identity = Identity.of(b"Ja<ne>\nDoe", b"<j@x.org>")
    assert (identity.name, identity.email) == (b"JaneDoe", b"j@x.org")
    assert not Identity.of(b"<>", b"x").is_complete
    assert not Identity.of(b"x", b" ").is_complete


def test_signatures_are_read_back() -> None:
    signature = Signature(identity=Identity.of(b"Jane D", b"j@x.org"), moment=Moment(seconds=12, zone="-0330"))
    assert bytes(signature) == b"Jane D <j@x.org> 12 -0330"
    assert parse_signature(bytes(signature)) == signature
    assert parse_signature(b"broken").moment == Moment(seconds=0)
