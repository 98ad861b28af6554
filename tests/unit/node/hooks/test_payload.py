"""The payload of hooks: upstream's form, there and back."""

from __future__ import annotations

import base64
import json

import pytest

from praefect.node.git.object_format import ObjectFormat
from praefect.node.hooks.payload import (
    ALL_HOOKS,
    PAYLOAD_VARIABLE,
    HooksPayload,
    PayloadError,
    RequestedHooks,
    UserDetails,
    decode_payload,
)
from praefect.node.voting import Transaction
from praefect.proto.shared_pb2 import Repository

PAYLOAD = HooksPayload(
    repository=Repository(storage_name="default", relative_path="a.git", gl_repository="project-1"),
    requested=RequestedHooks.PRE_RECEIVE | RequestedHooks.UPDATE,
    object_format=ObjectFormat.SHA256,
    transaction=Transaction(id=42, node="gitaly-1", primary=True, backchannel_id=3),
    user=UserDetails(userid="user-1", username="jane", protocol="ssh", remote_ip="192.0.2.1"),
    feature_flags={"gpg_signing": False},
    client_context=b"\x00\xff",
    runtime_dir="/run/gitaly-7",
    internal_socket="/run/gitaly-7/sock.d/intern",
    internal_socket_token="a secret",
)


def fields_of(payload: HooksPayload) -> dict[str, object]:
    fields = json.loads(base64.b64decode(payload.encode()))
    assert isinstance(fields, dict)
    return fields


def test_keys_are_upstreams_and_in_its_order() -> None:
    fields = fields_of(PAYLOAD)
    assert list(fields) == [
        "requested_hooks",
        "feature_flags_with_value",
        "object_format",
        "runtime_dir",
        "internal_socket",
        "internal_socket_token",
        "transaction",
        "user_details",
        "gitaly_client_context",
        "LogFields",
        "repository",
    ]
    assert fields["requested_hooks"] == 6
    assert fields["transaction"] == {"backchannel_id": 3, "id": 42, "node": "gitaly-1", "primary": True}
    assert fields["user_details"] == {
        "username": "jane",
        "userid": "user-1",
        "protocol": "ssh",
        "remote_ip": "192.0.2.1",
    }
    assert json.loads(str(fields["repository"])) == {
        "storageName": "default",
        "relativePath": "a.git",
        "glRepository": "project-1",
    }


def test_empty_values_are_left_out_or_null() -> None:
    fields = fields_of(HooksPayload(repository=Repository(), requested=RequestedHooks.REFERENCE_TRANSACTION))
    assert "feature_flags_with_value" not in fields
    assert "gitaly_client_context" not in fields
    assert fields["transaction"] is None
    assert fields["user_details"] is None


def test_there_and_back() -> None:
    assert decode_payload({PAYLOAD_VARIABLE: PAYLOAD.encode()}) == PAYLOAD


def test_payload_without_mask_asks_for_everything() -> None:
    encoded = base64.b64encode(b'{"requested_hooks":0,"repository":"{}"}').decode()
    assert decode_payload({PAYLOAD_VARIABLE: encoded}).requested == ALL_HOOKS


@pytest.mark.parametrize("value", ["!", "bm8=", base64.b64encode(b"[]").decode()])
def test_unreadable_payloads(value: str) -> None:
    with pytest.raises(PayloadError):
        decode_payload({PAYLOAD_VARIABLE: value})


def test_missing_payload() -> None:
    with pytest.raises(PayloadError, match="no hooks payload found in environment"):
        decode_payload({})


def test_secrets_are_not_shown() -> None:
    assert "a secret" not in repr(PAYLOAD)
