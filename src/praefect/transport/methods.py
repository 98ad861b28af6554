"""The method registry: what each RPC of the Gitaly protocol does and where its request names what it works on.

Built once, from the options in the protos. A method that is not in ``METHODS`` does not exist; the methods of
intercepted services are in it too, marked. Whether a write takes part in transactions is no option of the protos, so
the table of those that do stands here, and building the registry fails if it and the protos disagree.

Source: the Praefect reference on the method registry and on locating repositories and storages.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from google.protobuf.message_factory import GetMessageClass

from praefect.domain.errors import InternalError, InvalidArgumentError
from praefect.domain.replication import Change
from praefect.proto import (
    analysis_pb2,
    backup_pb2,
    blob_pb2,
    cleanup_pb2,
    cluster_pb2,
    commit_pb2,
    conflicts_pb2,
    diff_pb2,
    hook_pb2,
    internal_pb2,
    lint_pb2,
    objectpool_pb2,
    operations_pb2,
    partition_pb2,
    praefect_pb2,
    ref_pb2,
    remote_pb2,
    repository_pb2,
    server_pb2,
    shared_pb2,
    smarthttp_pb2,
    ssh_pb2,
    transaction_pb2,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from google.protobuf.descriptor import Descriptor, FileDescriptor, MethodDescriptor, ServiceDescriptor
    from google.protobuf.message import Message

__all__ = [
    "METHODS",
    "AmbiguousFieldError",
    "Change",
    "FieldNotFoundError",
    "MethodInfo",
    "Operation",
    "Scope",
    "find_additional_repository",
    "find_storage",
    "find_target_repository",
    "storage_holder",
]

_FILES: tuple[FileDescriptor, ...] = tuple(
    module.DESCRIPTOR
    for module in (
        analysis_pb2,
        backup_pb2,
        blob_pb2,
        cleanup_pb2,
        cluster_pb2,
        commit_pb2,
        conflicts_pb2,
        diff_pb2,
        hook_pb2,
        internal_pb2,
        objectpool_pb2,
        operations_pb2,
        partition_pb2,
        praefect_pb2,
        ref_pb2,
        remote_pb2,
        repository_pb2,
        server_pb2,
        smarthttp_pb2,
        ssh_pb2,
        transaction_pb2,
    )
)

_options: Any = lint_pb2  # protoc's .pyi declares extensions as plain field descriptors

Path = tuple[str, ...]
"""The names of the fields that lead from a request to a value."""


class Operation(enum.StrEnum):
    """What a method does; ``UNKNOWN`` for intercepted services, which declare nothing."""

    UNKNOWN = "unknown"
    MUTATOR = "mutator"
    ACCESSOR = "accessor"
    MAINTENANCE = "maintenance"


class Scope(enum.StrEnum):
    """What a method works on; ``REPOSITORY``, the default, also for intercepted services."""

    REPOSITORY = "repository"
    STORAGE = "storage"
    PARTITION = "partition"


_TRANSACTIONAL = {
    "CleanupService": ("ApplyBfgObjectMapStream", "RewriteHistory"),
    "CommitService": ("CommitLanguages",),
    "ConflictsService": ("ResolveConflicts",),
    "HookService": ("ProcReceiveHook",),
    "ObjectPoolService": ("DisconnectGitAlternates", "FetchIntoObjectPool", "LinkRepositoryToObjectPool"),
    "OperationService": (
        "UserApplyPatch",
        "UserCherryPick",
        "UserCommitFiles",
        "UserCreateBranch",
        "UserCreateTag",
        "UserDeleteBranch",
        "UserDeleteTag",
        "UserFFBranch",
        "UserMergeBranch",
        "UserMergeToRef",
        "UserRebaseConfirmable",
        "UserRebaseToRef",
        "UserRevert",
        "UserSquash",
        "UserUpdateBranch",
        "UserUpdateSubmodule",
    ),
    "RefService": ("DeleteRefs", "UpdateReferences"),
    "RepositoryService": (
        "CreateFork",
        "CreateRepository",
        "CreateRepositoryFromBundle",
        "CreateRepositoryFromSnapshot",
        "CreateRepositoryFromURL",
        "FetchBundle",
        "FetchRemote",
        "FetchSourceBranch",
        "MigrateReferenceBackend",
        "RemoveRepository",
        "ReplicateRepository",
        "RestoreCustomHooks",
        "RestoreRepository",
        "SetCustomHooks",
        "WriteRef",
    ),
    "SmartHTTPService": ("PostReceivePack",),
    "SSHService": ("SSHReceivePack",),
}
_NOT_TRANSACTIONAL = {"ObjectPoolService": ("CreateObjectPool", "DeleteObjectPool")}

_CREATIONS = frozenset(
    {
        "CreateFork",
        "CreateObjectPool",
        "CreateRepository",
        "CreateRepositoryFromBundle",
        "CreateRepositoryFromSnapshot",
        "CreateRepositoryFromURL",
        "ReplicateRepository",
        "RestoreRepository",
    }
)


class FieldNotFoundError(InvalidArgumentError):
    """The request does not name what the method works on."""


class AmbiguousFieldError(InternalError):
    """The request names several things where the method works on one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodInfo:
    """What is known of one RPC.

    Attributes:
        full_name: as in the path of a request, ``/gitaly.RefService/ListRefs``.
        service: with its package, ``gitaly.RefService``.
        intercepted: Praefect answers the service itself and never forwards it.
        transactional: nodes vote on what it changes; only writes to one repository.
        change: what a write means to the records of replicas; ``None`` for what is no write.
        target_repository_fields: paths at which the request may name the repository it works on, each ending at a
            ``Repository``; all known methods have at most one.
        additional_repository_fields: the same for a second repository.
        storage_fields: paths of the string that names the storage of a storage-scoped method.
    """

    full_name: str
    service: str
    name: str
    operation: Operation
    scope: Scope
    intercepted: bool
    deprecated: bool
    client_streaming: bool
    server_streaming: bool
    request_type: type[Message]
    response_type: type[Message]
    transactional: bool
    change: Change | None
    target_repository_fields: tuple[Path, ...]
    additional_repository_fields: tuple[Path, ...]
    storage_fields: tuple[Path, ...]
    partition_fields: tuple[Path, ...]

    @property
    def kind(self) -> str:
        """Its type as logs and metrics name it."""
        if self.client_streaming:
            return "bidi_stream" if self.server_streaming else "client_stream"
        return "server_stream" if self.server_streaming else "unary"

    @property
    def target_repository_field(self) -> Path | None:
        """Where the request names the repository it works on."""
        return self.target_repository_fields[0] if self.target_repository_fields else None

    @property
    def additional_repository_field(self) -> Path | None:
        """Where the request names a second repository."""
        return self.additional_repository_fields[0] if self.additional_repository_fields else None

    @property
    def storage_field(self) -> Path | None:
        """Where the request names a storage."""
        return self.storage_fields[0] if self.storage_fields else None


def find_target_repository(method: MethodInfo, message: Message) -> shared_pb2.Repository:
    """Return the repository a request works on: the part of ``message`` itself, so that changes reach it.

    A repository that is present but empty is found; one of an object pool without repository is not.

    Raises:
        FieldNotFoundError: the request names none.
        AmbiguousFieldError: it names several.
    """
    repository = _find_repository(method.target_repository_fields, message)
    if repository is None:
        raise FieldNotFoundError("repository field not found")
    return repository


def find_additional_repository(method: MethodInfo, message: Message) -> shared_pb2.Repository | None:
    """Return the second repository of a request, the part of ``message`` itself, or ``None``.

    Raises:
        AmbiguousFieldError: it names several.
    """
    return _find_repository(method.additional_repository_fields, message)


def find_storage(method: MethodInfo, message: Message) -> str:
    """Return the storage a storage-scoped request names; never empty.

    Raises:
        FieldNotFoundError: the request names none.
        AmbiguousFieldError: it names several.
    """
    holder, name = storage_holder(method, message)
    return str(getattr(holder, name))


def storage_holder(method: MethodInfo, message: Message) -> tuple[Message, str]:
    """Return the part of ``message`` that names the storage, and the name of its field there.

    Raises:
        FieldNotFoundError: the request names none.
        AmbiguousFieldError: it names several.
    """
    found = None
    for *parents, name in method.storage_fields:
        holder = _follow(message, parents)
        if holder is not None and getattr(holder, name):
            if found is not None:
                raise AmbiguousFieldError("field is ambiguous")
            found = holder, name
    if found is None:
        raise FieldNotFoundError("target storage field not found")
    return found


def _find_repository(paths: tuple[Path, ...], message: Message) -> shared_pb2.Repository | None:
    found: shared_pb2.Repository | None = None
    for path in paths:
        repository = _follow(message, path)
        if repository is not None:
            if found is not None:
                raise AmbiguousFieldError("field is ambiguous")
            found = repository
    return found


def _follow(message: Message, path: Iterable[str]) -> Any:
    for name in path:
        if not message.HasField(name):
            return None
        message = getattr(message, name)
    return message


def _paths(message: Descriptor, option: object, seen: tuple[Descriptor, ...] = ()) -> Iterator[Path]:
    """Yield the paths to all fields that carry an option, below single messages and in the order of the fields."""
    for field in message.fields:
        if _option(field, option):
            yield (
                (field.name, "repository") if field.message_type is shared_pb2.ObjectPool.DESCRIPTOR else (field.name,)
            )
        elif field.message_type is not None and not field.is_repeated and field.message_type not in seen:
            for path in _paths(field.message_type, option, (*seen, message)):
                yield field.name, *path


def _option(descriptor: Any, extension: object) -> Any:
    return descriptor.GetOptions().Extensions[extension]


def _describe(service: ServiceDescriptor, method: MethodDescriptor, transactional: Mapping[str, bool]) -> MethodInfo:
    declared = _option(method, _options.op_type)
    operation = Operation[lint_pb2.OperationMsg.Operation.Name(declared.op)]
    scope = Scope[lint_pb2.OperationMsg.Scope.Name(declared.scope_level)]
    full_name = f"/{service.full_name}/{method.name}"
    change = None
    if operation is Operation.MUTATOR:
        change = Change.CREATE if method.name in _CREATIONS else Change.UPDATE
        if full_name == "/gitaly.RepositoryService/RemoveRepository":
            change = Change.DELETE
    request = method.input_type
    return MethodInfo(
        full_name=full_name,
        service=service.full_name,
        name=method.name,
        operation=operation,
        scope=scope,
        intercepted=_option(service, _options.intercepted),
        deprecated=method.GetOptions().deprecated,
        client_streaming=method.client_streaming,
        server_streaming=method.server_streaming,
        request_type=GetMessageClass(request),
        response_type=GetMessageClass(method.output_type),
        transactional=transactional.get(full_name, False),
        change=change,
        target_repository_fields=tuple(_paths(request, _options.target_repository)),
        additional_repository_fields=tuple(_paths(request, _options.additional_repository)),
        storage_fields=tuple(_paths(request, _options.storage)),
        partition_fields=tuple(_paths(request, _options.partition_id)),
    )


def build_registry(files: Iterable[FileDescriptor], transactional: Mapping[str, bool]) -> Mapping[str, MethodInfo]:
    """Describe all methods of all services by full name.

    Raises:
        ValueError: ``transactional`` does not decide about each write to one repository, or about something else.
    """
    methods = {}
    for file in files:
        for service in file.services_by_name.values():
            for method in service.methods:
                info = _describe(service, method, transactional)
                methods[info.full_name] = info
    writes = {
        name
        for name, info in methods.items()
        if info.operation is Operation.MUTATOR and info.scope is Scope.REPOSITORY and not info.intercepted
    }
    if undecided := writes ^ set(transactional):
        msg = f"the table of transactional methods and the protos disagree about {', '.join(sorted(undecided))}"
        raise ValueError(msg)
    return MappingProxyType(methods)


def _transactional_table() -> dict[str, bool]:
    return {
        f"/gitaly.{service}/{name}": takes_part
        for table, takes_part in ((_TRANSACTIONAL, True), (_NOT_TRANSACTIONAL, False))
        for service, names in table.items()
        for name in names
    }


METHODS = build_registry(_FILES, _transactional_table())
"""Every method of the protocol, by full name."""
