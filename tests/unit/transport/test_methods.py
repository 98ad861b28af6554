"""The registry says of each method what the reference says, and finds what a request names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message

from praefect.proto import (
    internal_pb2,
    lint_pb2,
    objectpool_pb2,
    operations_pb2,
    ref_pb2,
    repository_pb2,
    shared_pb2,
    transaction_pb2,
)
from praefect.transport import methods
from praefect.transport.methods import (
    METHODS,
    AmbiguousFieldError,
    Change,
    FieldNotFoundError,
    MethodInfo,
    Operation,
    Scope,
    find_additional_repository,
    find_storage,
    find_target_repository,
    storage_holder,
)

TABLE = json.loads((Path(__file__).parents[1] / "proto" / "api.json").read_text())

# The reference's list of repository-scoped mutators; ! marks those outside of transactions, + those that create.
MUTATORS = """
CleanupService: ApplyBfgObjectMapStream RewriteHistory
CommitService: CommitLanguages
ConflictsService: ResolveConflicts
HookService: ProcReceiveHook
ObjectPoolService: !+CreateObjectPool !DeleteObjectPool DisconnectGitAlternates FetchIntoObjectPool
    LinkRepositoryToObjectPool
OperationService: UserApplyPatch UserCherryPick UserCommitFiles UserCreateBranch UserCreateTag UserDeleteBranch
    UserDeleteTag UserFFBranch UserMergeBranch UserMergeToRef UserRebaseConfirmable UserRebaseToRef UserRevert
    UserSquash UserUpdateBranch UserUpdateSubmodule
RefService: DeleteRefs UpdateReferences
RepositoryService: +CreateFork +CreateRepository +CreateRepositoryFromBundle +CreateRepositoryFromSnapshot
    +CreateRepositoryFromURL +ReplicateRepository +RestoreRepository FetchBundle FetchRemote FetchSourceBranch
    MigrateReferenceBackend RemoveRepository RestoreCustomHooks SetCustomHooks WriteRef
SmartHTTPService: PostReceivePack
SSHService: SSHReceivePack
"""
STORAGE_SCOPED = """
BackupService: ReadLatestBackupID WriteBackupID
InternalGitaly: ListPoolMetadata ListPoolUpstreams ScanPoolMetadata !StorePoolMetadata WalkRepos
PartitionService: ListPartitions
RaftService: GetClusterInfo GetPartitions !JoinCluster !SendMessage !SendSnapshot
RemoteService: FindRemoteRepository
"""


def _listed(text: str) -> dict[str, str]:
    """Return the marks of each listed method by its full name."""
    listed, service = {}, ""
    for word in text.split():
        if word.endswith(":"):
            service = word[:-1]
        else:
            name = word.lstrip("!+")
            listed[f"/gitaly.{service}/{name}"] = word[: len(word) - len(name)]
    return listed


def _select(operation: Operation, scope: Scope) -> set[str]:
    return {
        name
        for name, method in METHODS.items()
        if method.operation is operation and method.scope is scope and not method.intercepted
    }


def test_all_methods_of_the_table_are_there_and_no_others() -> None:
    wanted = {
        f"/gitaly.{service['name']}/{method['name']}" for service in TABLE["services"] for method in service["methods"]
    }
    assert set(METHODS) == wanted
    assert len(METHODS) == 168


@pytest.mark.parametrize("service", TABLE["services"], ids=lambda service: service["name"])
def test_methods_are_described_as_in_the_table(service: dict[str, Any]) -> None:
    for wanted in service["methods"]:
        method = METHODS[f"/gitaly.{service['name']}/{wanted['name']}"]
        target = wanted.get("target_repository_path") or wanted["target_repository_field"]
        additional = wanted.get("additional_repository_path") or wanted["additional_repository_field"]
        assert method.service == f"gitaly.{service['name']}"
        assert method.name == wanted["name"]
        assert method.intercepted == wanted["intercepted"]
        assert method.deprecated == wanted["deprecated"]
        assert method.operation == (wanted["operation"] or "unknown")
        assert method.scope == (wanted["scope"] or "repository")
        assert method.client_streaming == wanted["client_streaming"]
        assert method.server_streaming == wanted["server_streaming"]
        assert method.request_type.DESCRIPTOR.full_name == wanted["request"]
        assert method.response_type.DESCRIPTOR.full_name == wanted["response"]
        if not method.intercepted:
            assert method.target_repository_field == (tuple(target.split(".")) if target else None)
            assert method.additional_repository_field == (tuple(additional.split(".")) if additional else None)
            assert method.storage_field == (
                tuple(wanted["storage_field"].split(".")) if wanted["storage_field"] else None
            )


def test_request_types_are_the_generated_classes() -> None:
    assert METHODS["/gitaly.RefService/ListRefs"].request_type is ref_pb2.ListRefsRequest
    assert METHODS["/gitaly.RefService/ListRefs"].response_type is ref_pb2.ListRefsResponse


def test_mutators_are_those_of_the_reference() -> None:
    assert _select(Operation.MUTATOR, Scope.REPOSITORY) == set(_listed(MUTATORS))


def test_transactions_are_for_the_mutators_the_reference_says() -> None:
    taking_part = {name for name, method in METHODS.items() if method.transactional}
    assert taking_part == {name for name, marks in _listed(MUTATORS).items() if "!" not in marks}


def test_creations_are_those_of_the_reference() -> None:
    creating = {name for name, method in METHODS.items() if method.change is Change.CREATE}
    assert creating == {name for name, marks in _listed(MUTATORS).items() if "+" in marks}


def test_every_other_mutator_updates_but_the_removal() -> None:
    deleting = {name for name, method in METHODS.items() if method.change is Change.DELETE}
    assert deleting == {"/gitaly.RepositoryService/RemoveRepository"}
    for method in METHODS.values():
        assert (method.change is not None) == (method.operation is Operation.MUTATOR)


def test_maintenance_is_two_methods() -> None:
    assert {name for name, method in METHODS.items() if method.operation is Operation.MAINTENANCE} == {
        "/gitaly.RepositoryService/OptimizeRepository",
        "/gitaly.RepositoryService/PruneUnreachableObjects",
    }


def test_storage_scoped_methods_are_those_of_the_reference() -> None:
    listed = _listed(STORAGE_SCOPED)
    assert _select(Operation.MUTATOR, Scope.STORAGE) == {name for name, marks in listed.items() if marks}
    assert _select(Operation.ACCESSOR, Scope.STORAGE) == {name for name, marks in listed.items() if not marks}
    assert _select(Operation.ACCESSOR, Scope.PARTITION) == {"/gitaly.PartitionService/BackupPartition"}


def test_intercepted_services_are_three() -> None:
    assert {method.service for method in METHODS.values() if method.intercepted} == {
        "gitaly.PraefectInfoService",
        "gitaly.RefTransaction",
        "gitaly.ServerService",
    }
    assert {method.operation for method in METHODS.values() if method.intercepted} == {Operation.UNKNOWN}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("/gitaly.CommitService/FindCommit", "unary"),
        ("/gitaly.CommitService/ListCommits", "server_stream"),
        ("/gitaly.OperationService/UserCommitFiles", "client_stream"),
        ("/gitaly.SmartHTTPService/PostReceivePack", "bidi_stream"),
    ],
)
def test_kinds_have_the_names_of_logs_and_metrics(name: str, kind: str) -> None:
    assert METHODS[name].kind == kind


def test_every_scoped_method_says_where_its_request_names_what_it_works_on() -> None:
    for method in METHODS.values():
        if method.intercepted:
            continue
        assert len(method.target_repository_fields) == (method.scope is Scope.REPOSITORY)
        if method.service != "gitaly.RaftService":  # whose messages name replicas instead
            assert len(method.storage_fields) == (method.scope is not Scope.REPOSITORY)
        assert len(method.additional_repository_fields) <= 1


def _repeated_parts(message: Any, seen: frozenset[str] = frozenset()) -> Iterator[Any]:
    for field in message.fields:
        part = field.message_type
        if part is not None and part.full_name not in seen:
            if field.is_repeated:
                yield part
            yield from _repeated_parts(part, seen | {part.full_name})


def test_nothing_is_named_within_a_list() -> None:
    """The registry looks below single messages only; this is why that is enough."""
    extensions = (lint_pb2.target_repository, lint_pb2.additional_repository, lint_pb2.storage)
    for method in METHODS.values():
        for part in _repeated_parts(method.request_type.DESCRIPTOR):
            for extension in extensions:
                assert list(methods._paths(part, extension)) == [], method.full_name


TOP = METHODS["/gitaly.RefService/RefExists"]
NESTED = METHODS["/gitaly.OperationService/UserCommitFiles"]
POOL = METHODS["/gitaly.ObjectPoolService/FetchIntoObjectPool"]
LINK = METHODS["/gitaly.ObjectPoolService/LinkRepositoryToObjectPool"]
WALK = METHODS["/gitaly.InternalGitaly/WalkRepos"]


def _repository(path: str) -> shared_pb2.Repository:
    return shared_pb2.Repository(storage_name="default", relative_path=path)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (TOP, ref_pb2.RefExistsRequest(repository=_repository("a.git"))),
        (
            NESTED,
            operations_pb2.UserCommitFilesRequest(
                header=operations_pb2.UserCommitFilesRequestHeader(
                    repository=_repository("a.git"), start_repository=_repository("other.git")
                )
            ),
        ),
        (
            POOL,
            objectpool_pb2.FetchIntoObjectPoolRequest(
                object_pool=shared_pb2.ObjectPool(repository=_repository("a.git")), origin=_repository("origin.git")
            ),
        ),
        (
            METHODS["/gitaly.RepositoryService/CreateFork"],
            repository_pb2.CreateForkRequest(
                repository=_repository("a.git"), source_repository=_repository("source.git")
            ),
        ),
        (
            METHODS["/gitaly.RefTransaction/VoteTransaction"],
            transaction_pb2.VoteTransactionRequest(repository=_repository("a.git")),
        ),
    ],
)
def test_target_is_found_and_is_part_of_the_message(method: MethodInfo, message: Message) -> None:
    found = find_target_repository(method, message)
    assert found.relative_path == "a.git"
    found.storage_name = "gitaly-1"
    again = method.request_type.FromString(message.SerializeToString())
    assert find_target_repository(method, again).storage_name == "gitaly-1"


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (TOP, ref_pb2.RefExistsRequest(ref=b"refs/heads/main")),
        (NESTED, operations_pb2.UserCommitFilesRequest()),
        (NESTED, operations_pb2.UserCommitFilesRequest(header=operations_pb2.UserCommitFilesRequestHeader())),
        (NESTED, operations_pb2.UserCommitFilesRequest(action=operations_pb2.UserCommitFilesAction())),
        (POOL, objectpool_pb2.FetchIntoObjectPoolRequest(origin=_repository("origin.git"))),
        (POOL, objectpool_pb2.FetchIntoObjectPoolRequest(object_pool=shared_pb2.ObjectPool())),
        (WALK, internal_pb2.WalkReposRequest(storage_name="default")),
    ],
)
def test_absent_target_is_not_found_and_looking_changes_nothing(method: MethodInfo, message: Message) -> None:
    before = message.SerializeToString()
    with pytest.raises(FieldNotFoundError, match=r"^repository field not found$"):
        find_target_repository(method, message)
    assert message.SerializeToString() == before


def test_empty_target_is_found() -> None:
    message = ref_pb2.RefExistsRequest(repository=shared_pb2.Repository())
    assert find_target_repository(TOP, message) == shared_pb2.Repository()


@pytest.mark.parametrize(
    ("method", "message", "path"),
    [
        (POOL, objectpool_pb2.FetchIntoObjectPoolRequest(origin=_repository("origin.git")), "origin.git"),
        (
            LINK,
            objectpool_pb2.LinkRepositoryToObjectPoolRequest(
                repository=_repository("a.git"), object_pool=shared_pb2.ObjectPool(repository=_repository("pool.git"))
            ),
            "pool.git",
        ),
    ],
)
def test_additional_repository_is_found(method: MethodInfo, message: Message, path: str) -> None:
    found = find_additional_repository(method, message)
    assert found is not None
    assert found.relative_path == path


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (POOL, objectpool_pb2.FetchIntoObjectPoolRequest()),
        (LINK, objectpool_pb2.LinkRepositoryToObjectPoolRequest(object_pool=shared_pb2.ObjectPool())),
        (TOP, ref_pb2.RefExistsRequest(repository=_repository("a.git"))),
        (
            METHODS["/gitaly.RepositoryService/ReplicateRepository"],
            repository_pb2.ReplicateRepositoryRequest(source=_repository("source.git")),
        ),
    ],
)
def test_no_additional_repository_is_none(method: MethodInfo, message: Message) -> None:
    assert find_additional_repository(method, message) is None


def test_storage_is_found_and_can_be_set() -> None:
    message = internal_pb2.WalkReposRequest(storage_name="default")
    assert find_storage(WALK, message) == "default"
    holder, name = storage_holder(WALK, message)
    setattr(holder, name, "gitaly-1")
    assert message.storage_name == "gitaly-1"


@pytest.mark.parametrize("message", [internal_pb2.WalkReposRequest(), internal_pb2.WalkReposRequest(storage_name="")])
def test_empty_storage_is_not_found(message: Message) -> None:
    with pytest.raises(FieldNotFoundError, match=r"^target storage field not found$"):
        find_storage(WALK, message)


def test_several_matches_are_ambiguous() -> None:
    """No real method allows it, so two fields are declared targets here."""
    method = METHODS["/gitaly.RepositoryService/CreateFork"]
    fields = {name: getattr(method, name) for name in MethodInfo.__dataclass_fields__}
    paths = (("repository",), ("source_repository",))
    both = MethodInfo(**{**fields, "target_repository_fields": paths, "additional_repository_fields": paths})
    message = repository_pb2.CreateForkRequest(repository=_repository("a.git"))
    assert find_target_repository(both, message).relative_path == "a.git"
    message.source_repository.relative_path = "b.git"
    for find in (find_target_repository, find_additional_repository):
        with pytest.raises(AmbiguousFieldError, match=r"^field is ambiguous$"):
            find(both, message)
    storages = (("revision",), ("repository", "relative_path"))
    several = MethodInfo(**{**fields, "storage_fields": storages})
    fork = repository_pb2.CreateForkRequest(repository=_repository("a.git"), revision=b"main")
    with pytest.raises(AmbiguousFieldError):
        find_storage(several, fork)


@pytest.mark.parametrize("change", ["missing", "unknown"])
def test_registry_is_not_built_with_an_undecided_method(change: str) -> None:
    table = methods._transactional_table()
    if change == "missing":
        del table["/gitaly.RepositoryService/WriteRef"]
        named = "/gitaly.RepositoryService/WriteRef"
    else:
        named = "/gitaly.RepositoryService/Vanished"
        table[named] = True
    with pytest.raises(ValueError, match=f"disagree about {named}$"):
        methods.build_registry(methods._FILES, table)
