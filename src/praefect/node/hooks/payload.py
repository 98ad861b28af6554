"""What git's environment says about the call on whose behalf it runs: ``GITALY_HOOKS_PAYLOAD``.

The form is upstream's, so that upstream's hook program can serve here and ours there. Source: wire.md 10.2.
"""

from __future__ import annotations

import base64
import binascii
import enum
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from google.protobuf import json_format

from praefect.domain.errors import InternalError
from praefect.node.git.object_format import ObjectFormat
from praefect.node.voting import Transaction
from praefect.proto.shared_pb2 import Repository

if TYPE_CHECKING:
    from collections.abc import Mapping

PAYLOAD_VARIABLE = "GITALY_HOOKS_PAYLOAD"


class RequestedHooks(enum.IntFlag):
    """Which hooks a git command shall have; the numbers are the payload's."""

    REFERENCE_TRANSACTION = 1
    UPDATE = 2
    PRE_RECEIVE = 4
    POST_RECEIVE = 8
    PACK_OBJECTS = 16
    PROC_RECEIVE = 32


ALL_HOOKS = RequestedHooks(31)
"""What a payload without the key asks for."""

RECEIVE_HOOKS = RequestedHooks.UPDATE | RequestedHooks.PRE_RECEIVE | RequestedHooks.POST_RECEIVE


class PayloadError(InternalError):
    """The environment holds no payload, or none that can be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UserDetails:
    """Who changes references.

    Attributes:
        userid: GitLab's id: ``user-<n>``, ``key-<n>`` or ``username-<name>``.
        protocol: ``ssh``, ``http`` or ``web``.
    """

    userid: str = ""
    username: str = ""
    protocol: str = ""
    remote_ip: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HooksPayload:
    """Everything a hook needs to know that git does not tell it.

    Attributes:
        user: ``None`` for commands that no user asked for.
        feature_flags: by name, as the call gave them.
        client_context: opaque bytes for the internal API.
        internal_socket, internal_socket_token, runtime_dir: how upstream's hook program reaches this node.
    """

    repository: Repository
    requested: RequestedHooks
    object_format: ObjectFormat = ObjectFormat.SHA1
    transaction: Transaction | None = None
    user: UserDetails | None = None
    feature_flags: Mapping[str, bool] = field(default_factory=dict)
    client_context: bytes = b""
    runtime_dir: str = ""
    internal_socket: str = ""
    internal_socket_token: str = field(default="", repr=False)

    def encode(self) -> str:
        """Return the variable's value."""
        user = self.user
        fields: dict[str, object] = {
            "requested_hooks": int(self.requested),
            "feature_flags_with_value": [
                {"flag": {"name": name, "on_by_default": False}, "enabled": enabled}
                for name, enabled in self.feature_flags.items()
            ],
            "object_format": self.object_format.value,
            "runtime_dir": self.runtime_dir,
            "internal_socket": self.internal_socket,
            "internal_socket_token": self.internal_socket_token,
            "transaction": self.transaction.to_json() if self.transaction else None,
            "user_details": {
                "username": user.username,
                "userid": user.userid,
                "protocol": user.protocol,
                "remote_ip": user.remote_ip,
            }
            if user
            else None,
            "gitaly_client_context": base64.b64encode(self.client_context).decode("ascii"),
            "LogFields": {},
            "repository": json_format.MessageToJson(self.repository, indent=None, ensure_ascii=False),
        }
        for optional in ("feature_flags_with_value", "gitaly_client_context"):
            if not fields[optional]:
                del fields[optional]
        return base64.b64encode(json.dumps(fields, separators=(",", ":")).encode()).decode("ascii")


def decode_payload(environment: Mapping[str, str]) -> HooksPayload:
    """Read the payload of a hook's environment.

    Raises:
        PayloadError: there is none, or it cannot be read.
    """
    value = environment.get(PAYLOAD_VARIABLE)
    if not value:
        message = "no hooks payload found in environment"
        raise PayloadError(message)
    try:
        fields = json.loads(base64.b64decode(value, validate=True))
        if not isinstance(fields, dict):
            message = "hooks payload is not an object"
            raise PayloadError(message)
        return _parse(fields)
    except (binascii.Error, ValueError, TypeError, json_format.ParseError) as error:
        raise PayloadError(str(error)) from error


def _parse(fields: Mapping[str, object]) -> HooksPayload:
    repository = Repository()
    json_format.Parse(_string(fields, "repository") or "{}", repository, ignore_unknown_fields=True)
    requested = fields.get("requested_hooks") or 0
    transaction = fields.get("transaction")
    user = fields.get("user_details")
    return HooksPayload(
        repository=repository,
        requested=RequestedHooks(requested) if isinstance(requested, int) and requested else ALL_HOOKS,
        object_format=ObjectFormat(_string(fields, "object_format") or ObjectFormat.SHA1),
        transaction=Transaction.from_json(transaction) if transaction else None,
        user=_parse_user(user) if isinstance(user, dict) else None,
        feature_flags=_parse_flags(fields.get("feature_flags_with_value")),
        client_context=base64.b64decode(_string(fields, "gitaly_client_context")),
        runtime_dir=_string(fields, "runtime_dir"),
        internal_socket=_string(fields, "internal_socket"),
        internal_socket_token=_string(fields, "internal_socket_token"),
    )


def _parse_user(fields: Mapping[str, object]) -> UserDetails:
    return UserDetails(
        userid=_string(fields, "userid"),
        username=_string(fields, "username"),
        protocol=_string(fields, "protocol"),
        remote_ip=_string(fields, "remote_ip"),
    )


def _parse_flags(values: object) -> dict[str, bool]:
    flags = {}
    for value in values if isinstance(values, list) else ():
        flag = value.get("flag") if isinstance(value, dict) else None
        if isinstance(flag, dict):
            flags[_string(flag, "name")] = value.get("enabled") is True
    return flags


def _string(fields: Mapping[str, object], key: str) -> str:
    value = fields.get(key)
    return value if isinstance(value, str) else ""
