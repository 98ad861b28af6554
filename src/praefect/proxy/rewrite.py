"""Rewrite: what nodes get to see of a call, first message and metadata.

Source: the Praefect reference on rewriting the first message and on metadata given to nodes.
"""

from __future__ import annotations

import base64
import json

from google.protobuf.message import Message

from praefect.domain.repository import ReplicaPath, Storage, VirtualStorage
from praefect.transactions.transaction import Transaction
from praefect.transport.grpc.metadata import Metadata
from praefect.transport.grpc.server_call import CORRELATION_KEY
from praefect.transport.methods import MethodInfo, find_additional_repository, find_target_repository, storage_holder

PARTITIONING_HINT = "gitaly-partitioning-hint"
REFERENCE_TRANSACTION = "gitaly-reference-transaction"

FEATURE_FLAGS = {
    "bundle_generation": False,
    "bundle_uri": False,
    "burdenmonitor_track_commands": False,
    "fetch_remote_proactive_auth": False,
    "git_master": False,
    "gpg_signing": True,
    "leftover_migration": False,
    "limit_unauthenticated": True,
    "log_git_traces": False,
    "mailmap_options": True,
    "new_repo_reftable_backend": False,
    "praefect_serialized_write": False,
    "receive_pack_trace2_hook": False,
    "ref_iterator": True,
    "reftable_migration": False,
    "snapshot_dry_run_stats": False,
    "snapshot_filter": False,
}
"""Every flag this release knows and its default; all nodes of a call must see the same value."""

_FLAG_FIELDS = [
    (f"gitaly-feature-{name.replace('_', '-')}", b"true" if enabled else b"false")
    for name, enabled in FEATURE_FLAGS.items()
]

# The client's token is for this proxy only, and only this proxy says which transaction a call belongs to.
_NOT_FORWARDED = frozenset({"authorization", REFERENCE_TRANSACTION})


def forwarded_metadata(incoming: Metadata, virtual_storage: VirtualStorage, correlation_id: str) -> Metadata:
    """Return the metadata for the nodes of a repository-scoped call."""
    received = incoming.to_headers()
    names = {name for name, _ in received}
    fields = [field for field in received if field[0] not in _NOT_FORWARDED]
    # In wire form and in one pass: this runs for every call.
    if CORRELATION_KEY not in names:
        fields.append((CORRELATION_KEY, correlation_id.encode()))
    fields.append(("virtual_storage", virtual_storage.encode()))
    fields.extend(field for field in _FLAG_FIELDS if field[0] not in names)
    return Metadata.from_headers(fields)


def transaction_metadata(metadata: Metadata, transaction: Transaction, storage: Storage, *, primary: bool) -> Metadata:
    """Return a copy that tells one node of its transaction."""
    value = json.dumps({"id": transaction.id, "node": storage, "primary": primary}, separators=(",", ":"))
    copied = metadata.copy()
    copied.set(REFERENCE_TRANSACTION, base64.b64encode(value.encode()).decode())
    return copied


def rewrite_repository(
    method: MethodInfo,
    message: Message,
    storage: Storage,
    replica_path: ReplicaPath,
    additional_replica_path: ReplicaPath | None,
) -> bytes:
    """Return the encoded message with target and additional repository named as one node knows them.

    The decoded message is changed in place; unknown fields are kept.
    """
    target = find_target_repository(method, message)
    target.storage_name, target.relative_path = storage, replica_path
    additional = find_additional_repository(method, message)
    if additional is not None:
        additional.storage_name, additional.relative_path = storage, additional_replica_path or ""
    return message.SerializeToString()


def rewrite_storage(method: MethodInfo, message: Message, storage: Storage) -> bytes:
    """Return the encoded message with the storage field naming one node's storage."""
    holder, name = storage_holder(method, message)
    setattr(holder, name, storage)
    return message.SerializeToString()
