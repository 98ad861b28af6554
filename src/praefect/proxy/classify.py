"""Classify: what a call is and which repository it is about. Pure after the first message has been peeked at.

Source: the Praefect reference on the director pipeline; the order of the checks is part of the interface.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from google.protobuf.message import DecodeError, Message

from praefect.domain.errors import InternalError, InvalidArgumentError
from praefect.domain.repository import RelativePath, VirtualStorage
from praefect.proto import shared_pb2
from praefect.proxy.rewrite import PARTITIONING_HINT
from praefect.transport.grpc.metadata import Metadata
from praefect.transport.methods import (
    METHODS,
    AmbiguousFieldError,
    FieldNotFoundError,
    MethodInfo,
    find_additional_repository,
    find_storage,
    find_target_repository,
)

CREATE_FORK = "/gitaly.RepositoryService/CreateFork"
FORCED_PRIMARY = frozenset(
    {"/gitaly.RepositoryService/RepositorySize", "/gitaly.RepositoryService/GetObjectDirectorySize"}
)
ROUTE_POLICY = "gitaly-route-repository-accessor-policy"


class UnknownMethodError(InternalError):
    """The method is neither Praefect's own nor one of Gitaly's; INTERNAL, as upstream answers."""

    def __init__(self, method: str) -> None:
        super().__init__(f"full method name not found: {method}")
        self.method = method


class UnknownStorageNameError(InvalidArgumentError):
    """A call about a repository names a virtual storage that is not configured."""

    def __init__(self, storage_name: str) -> None:
        super().__init__("storage name not found")
        self.storage_name = storage_name


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryCall:
    """A call about one repository."""

    method: MethodInfo
    message: Message
    virtual_storage: VirtualStorage
    relative_path: RelativePath
    additional_relative_path: RelativePath | None  # named by the message; its storage is the target's


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageCall:
    """A call about a storage as a whole."""

    method: MethodInfo
    message: Message
    virtual_storage: VirtualStorage


def find_method(full_name: str) -> MethodInfo:
    """Return what is known of a method.

    Raises:
        UnknownMethodError: nothing is.
    """
    method = METHODS.get(full_name)
    if method is None or method.intercepted:
        raise UnknownMethodError(full_name)
    return method


def decode(method: MethodInfo, raw: bytes | None) -> Message:
    """Decode the first message of a call, ``None`` for a client that sent none."""
    if raw is None:
        raise InternalError("EOF")
    message = method.request_type()
    try:
        message.ParseFromString(raw)
    except DecodeError as exc:
        raise InternalError("proto: cannot parse invalid wire-format data") from exc
    return message


def classify_repository(
    method: MethodInfo, message: Message, is_configured: Callable[[VirtualStorage], bool]
) -> RepositoryCall:
    """Find the target repository and check it in upstream's order."""
    try:
        target = find_target_repository(method, message)
    except FieldNotFoundError as exc:
        raise InvalidArgumentError("repository not set") from exc
    except AmbiguousFieldError as exc:
        raise InternalError(f"repo scoped: {exc}") from exc
    _check_target(target, is_configured)
    additional = find_additional_repository(method, message)
    if additional is not None and additional.storage_name != target.storage_name:
        raise InvalidArgumentError(
            "resolving additional repository on different storage than target repository is not supported"
        )
    return RepositoryCall(
        method=method,
        message=message,
        virtual_storage=VirtualStorage(target.storage_name),
        relative_path=RelativePath(target.relative_path),
        additional_relative_path=None if additional is None else RelativePath(additional.relative_path),
    )


def _check_target(target: shared_pb2.Repository, is_configured: Callable[[VirtualStorage], bool]) -> None:
    if not target.storage_name and not target.relative_path:
        raise InvalidArgumentError("repository not set")
    if not target.storage_name:
        raise InvalidArgumentError("storage name not set")
    if not target.relative_path:
        raise InvalidArgumentError("repository path not set")
    if not is_configured(VirtualStorage(target.storage_name)):
        raise UnknownStorageNameError(target.storage_name)


def classify_storage(method: MethodInfo, message: Message) -> StorageCall:
    """Find the storage a storage-scoped call names."""
    try:
        storage = find_storage(method, message)
    except (FieldNotFoundError, AmbiguousFieldError) as exc:
        raise InvalidArgumentError("storage scoped: target storage field not found") from exc
    return StorageCall(method=method, message=message, virtual_storage=VirtualStorage(storage))


def wants_primary(method: MethodInfo, metadata: Metadata) -> bool:
    """Return whether a read must go to the primary."""
    return method.full_name in FORCED_PRIMARY or metadata.first(ROUTE_POLICY) == "primary-only"


def partitioning_hint(call: RepositoryCall, metadata: Metadata) -> RelativePath | None:
    """Return the repository a write shall share nodes with, for calls whose message names no second one.

    Raises:
        InternalError: the caller gives several hints.
    """
    if call.additional_relative_path is not None:
        return None
    hints = metadata.get_all(PARTITIONING_HINT)
    if len(hints) > 1:
        raise InternalError("mutator call: extract partitioning hint: multiple partitioning hints")
    hint = str(hints[0]) if hints else ""
    if not hint and call.method.full_name == CREATE_FORK:
        hint = call.message.source_repository.relative_path  # type: ignore[attr-defined]  # CreateForkRequest
    return RelativePath(hint) if hint else None
