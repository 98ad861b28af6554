"""What a caller says of itself in the metadata of a call; log lines and metrics show it.

Source: the Praefect reference on the access log.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from praefect.transport.grpc.token import HEADER

if TYPE_CHECKING:
    from praefect.transport.grpc.metadata import Metadata

_KEYS = frozenset(
    {"x-gitlab-client-name", "client_name", "call_site", "deadline_type", "remote_ip", "user_id", "username"}
)
_TOKEN_VERSION = re.compile(r"bearer (v\d+)\.[^.]+\..+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Caller:
    """What is known of a caller; texts are empty where it says nothing, or contradicts itself.

    Attributes:
        client_name: the program that calls.
        call_site: where in it.
        auth_version: of the token it sends.
        deadline_type: how it came by its deadline.
        remote_ip: of the person it calls for.
        user_id: see there.
        username: see there.
    """

    client_name: str
    call_site: str
    auth_version: str
    deadline_type: str
    remote_ip: str
    user_id: str
    username: str


def describe_caller(metadata: Metadata) -> Caller:
    """Return what the metadata of a call say of its caller."""
    said = metadata.singles(_KEYS).get
    version = _TOKEN_VERSION.fullmatch(metadata.first(HEADER) or "")
    return Caller(
        said("x-gitlab-client-name") or said("client_name", ""),
        said("call_site", ""),
        version[1] if version else "",
        said("deadline_type", ""),
        said("remote_ip", ""),
        said("user_id", ""),
        said("username", ""),
    )
