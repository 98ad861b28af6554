"""Changing references, hooks and whole repositories: texts, details, votes and what is on disk afterwards."""

from __future__ import annotations

import io
import os
import tarfile
from typing import TYPE_CHECKING

import pytest

from praefect.node.services.ref.service import RefService
from praefect.node.services.repository.service import RepositoryService
from praefect.node.voting import Phase, TransactionAbortedError, vote_hash
from praefect.proto import ref_pb2
from praefect.proto import repository_pb2 as pb
from praefect.proto.errors_pb2 import ReferenceNotFoundError
from praefect.transport.grpc.status import StatusCode, StatusError
from tests.support.storage_node import collect, failure, make_commit, repository, run_git, stream_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.storage_node import StorageNode

ZERO = "0" * 40


@pytest.fixture
def service(node: StorageNode) -> RepositoryService:
    return RepositoryService(node.context)


@pytest.fixture
def refs(node: StorageNode) -> RefService:
    return RefService(node.context)


@pytest.fixture
async def path(node: StorageNode, service: RepositoryService) -> Path:
    await service.create_repository(pb.CreateRepositoryRequest(repository=repository()), node.call())
    return node.path / "project.git"


@pytest.fixture
async def commit(path: Path) -> str:
    return await make_commit(path, {"a": b"1\n"})


async def value_of(path: Path, name: str) -> str:
    return (await run_git(path, "rev-parse", "--verify", "-q", name, check=False)).decode().strip()


async def write(service: RepositoryService, node: StorageNode, **fields: object) -> None:
    request = pb.WriteRefRequest(repository=repository(), **fields)  # type: ignore[arg-type]
    await service.write_ref(request, node.call(transaction=True))


async def test_write_ref_votes_over_the_line_git_shows(
    service: RepositoryService, node: StorageNode, path: Path, commit: str
) -> None:
    await write(service, node, ref=b"refs/heads/main", revision=commit.encode())
    assert await value_of(path, "refs/heads/main") == commit
    vote = vote_hash(f"{ZERO} {commit} refs/heads/main\n".encode()).hex()
    assert node.votes == [("PREPARED", vote), ("COMMITTED", vote)]
    node.votes.clear()
    await write(service, node, ref=b"refs/heads/main", revision=ZERO.encode(), old_revision=b"main")
    assert await value_of(path, "refs/heads/main") == ""
    vote = vote_hash(f"{commit} {ZERO} refs/heads/main\n".encode()).hex()
    assert node.votes == [("PREPARED", vote), ("COMMITTED", vote)]


async def test_deletion_without_old_value_is_not_voted_on(
    service: RepositoryService, node: StorageNode, path: Path, commit: str
) -> None:
    await run_git(path, "update-ref", "refs/heads/main", commit)
    await run_git(path, "pack-refs", "--all")
    await write(service, node, ref=b"refs/heads/main", revision=ZERO.encode())
    assert node.votes == []
    assert await value_of(path, "refs/heads/main") == ""


async def test_head_change_votes_over_its_target(service: RepositoryService, node: StorageNode, path: Path) -> None:
    await write(service, node, ref=b"HEAD", revision=b"refs/heads/trunk")
    assert (path / "HEAD").read_text() == "ref: refs/heads/trunk\n"
    vote = "72cfa48f211e8a456e7f157792172f011f7b02cd"
    assert node.votes == [("PREPARED", vote), ("COMMITTED", vote)]
    with failure(StatusCode.INTERNAL, 'setting default branch: "..bad" is a malformed refname'):
        await write(service, node, ref=b"HEAD", revision=b"..bad")


async def test_refused_vote_changes_nothing(
    service: RepositoryService, node: StorageNode, path: Path, commit: str
) -> None:
    node.voters.record.refuse = lambda phase: TransactionAbortedError() if phase is Phase.PREPARED else None
    with failure(StatusCode.INTERNAL, "error when running update-ref command: exit status 128"):
        await write(service, node, ref=b"refs/heads/main", revision=commit.encode())
    assert await value_of(path, "refs/heads/main") == ""
    with failure(StatusCode.INTERNAL, "setting default branch: commit: exit status 128"):
        await write(service, node, ref=b"HEAD", revision=b"refs/heads/trunk")
    assert (path / "HEAD").read_text() == "ref: refs/heads/main\n"
    assert [file.name for file in path.rglob("*.lock")] == []


async def test_refused_commit_of_a_reference_is_no_error(
    service: RepositoryService, node: StorageNode, path: Path, commit: str
) -> None:
    node.voters.record.refuse = lambda phase: TransactionAbortedError() if phase is Phase.COMMITTED else None
    await write(service, node, ref=b"refs/heads/main", revision=commit.encode())
    assert await value_of(path, "refs/heads/main") == commit


async def test_write_ref_errors(service: RepositoryService, node: StorageNode, path: Path, commit: str) -> None:
    oid = commit.encode()
    with failure(StatusCode.INVALID_ARGUMENT, "ref has to be a full reference"):
        await write(service, node, ref=b"main", revision=oid)
    with failure(StatusCode.INVALID_ARGUMENT, "invalid ref: revision can't start with '-'"):
        await write(service, node, ref=b"-x", revision=oid)
    with failure(StatusCode.INVALID_ARGUMENT, "invalid revision: empty revision"):
        await write(service, node, ref=b"refs/heads/x")
    with failure(StatusCode.NOT_FOUND, "resolving new revision: reference not found"):
        await write(service, node, ref=b"refs/heads/x", revision=b"nope")
    with pytest.raises(StatusError, match=r"^resolving old revision: reference not found$") as error:
        await write(service, node, ref=b"refs/heads/x", revision=oid, old_revision=b"gone")
    detail = ReferenceNotFoundError()
    assert error.value.details[0].Unpack(detail)
    assert detail.reference_name == b"gone"
    prefix = "error when running update-ref command: "
    with failure(StatusCode.INTERNAL, f"{prefix}invalid reference format"):
        await write(service, node, ref=b"refs/heads/a..b", revision=oid)
    with failure(StatusCode.INTERNAL, f"{prefix}reference does not point to expected object"):
        await write(service, node, ref=b"refs/heads/x", revision=oid, old_revision=oid)
    await write(service, node, ref=b"refs/heads/x", revision=oid)
    with failure(StatusCode.INTERNAL, f"{prefix}file directory conflict"):
        await write(service, node, ref=b"refs/heads/x/y", revision=oid)
    (path / "refs/heads/z.lock").touch()
    with failure(StatusCode.ABORTED, "reference is locked already"):
        await write(service, node, ref=b"refs/heads/z", revision=oid)


def update(reference: bytes, new: str, old: str = "") -> ref_pb2.UpdateReferencesRequest.Update:
    return ref_pb2.UpdateReferencesRequest.Update(
        reference=reference, new_object_id=new.encode(), old_object_id=old.encode()
    )


async def update_references(
    refs: RefService, node: StorageNode, *updates: ref_pb2.UpdateReferencesRequest.Update
) -> None:
    requests = [ref_pb2.UpdateReferencesRequest(repository=repository(), updates=updates[:1])]
    requests += [ref_pb2.UpdateReferencesRequest(updates=[each]) for each in updates[1:]]
    await refs.update_references(stream_of(requests), node.call(transaction=True))


async def test_update_references_is_one_transaction(
    refs: RefService, node: StorageNode, path: Path, commit: str
) -> None:
    await update_references(refs, node, update(b"refs/heads/a", commit), update(b"refs/heads/b", commit, ZERO))
    assert await value_of(path, "refs/heads/b") == commit
    lines = f"{ZERO} {commit} refs/heads/a\n{ZERO} {commit} refs/heads/b\n"
    vote = vote_hash(lines.encode()).hex()
    assert node.votes == [("PREPARED", vote), ("COMMITTED", vote)]
    with failure(StatusCode.INTERNAL, "committing update: reference already exists"):
        await update_references(refs, node, update(b"refs/heads/c", commit), update(b"refs/heads/b", commit, ZERO))
    assert await value_of(path, "refs/heads/c") == ""


async def test_update_references_errors(refs: RefService, node: StorageNode, path: Path, commit: str) -> None:
    with failure(StatusCode.INVALID_ARGUMENT, "no updates specified"):
        await update_references(refs, node)
    with failure(StatusCode.INVALID_ARGUMENT, "validating reference: reference is not fully qualified"):
        await update_references(refs, node, update(b"main", commit))
    with failure(StatusCode.NOT_FOUND, "target object missing"):
        await update_references(refs, node, update(b"refs/heads/a", "1" * 40))
    tree = (await run_git(path, "rev-parse", f"{commit}^{{tree}}")).decode().strip()
    with failure(StatusCode.INTERNAL, "committing update: target object not a commit"):
        await update_references(refs, node, update(b"refs/heads/a", tree))
    twice = "committing update: reference has been updated multiple times within a transaction"
    with failure(StatusCode.INTERNAL, twice):
        await update_references(refs, node, update(b"refs/heads/a", commit), update(b"refs/heads/a", commit))
    await run_git(path, "update-ref", "refs/heads/a", commit)
    with pytest.raises(StatusError) as error:
        await update_references(refs, node, update(b"refs/heads/a", commit, "1" * 40))
    assert error.value.code is StatusCode.ABORTED
    detail = ref_pb2.UpdateReferencesError()
    assert error.value.details[0].Unpack(detail)
    mismatch = detail.reference_state_mismatch
    assert (mismatch.reference_name, mismatch.expected_object_id, mismatch.actual_object_id) == (
        b"refs/heads/a",
        b"1" * 40,
        commit.encode(),
    )


async def test_delete_refs_votes_over_the_names(refs: RefService, node: StorageNode, path: Path, commit: str) -> None:
    await run_git(path, "update-ref", "refs/heads/a", commit)
    request = ref_pb2.DeleteRefsRequest(repository=repository(), refs=[b"refs/heads/a", b"refs/tags/v1"])
    await refs.delete_refs(request, node.call(transaction=True))
    vote = "c8e0f3c9a17b524e816ec5531d5ae1657a65352a"
    assert node.votes == [("PREPARING", vote), ("PREPARED", vote), ("COMMITTED", vote)]
    assert await value_of(path, "refs/heads/a") == ""


async def test_delete_refs_keeps_prefixes(refs: RefService, node: StorageNode, path: Path, commit: str) -> None:
    for name in ("refs/heads/a", "refs/tmp/b", "refs/keep-around/c"):
        await run_git(path, "update-ref", name, commit)
    request = ref_pb2.DeleteRefsRequest(repository=repository(), except_with_prefix=[b"refs/heads/", b"refs/keep"])
    await refs.delete_refs(request, node.call())
    names = (await run_git(path, "for-each-ref", "--format=%(refname)")).decode().split()
    assert names == ["refs/heads/a", "refs/keep-around/c"]


async def test_delete_refs_errors(refs: RefService, node: StorageNode, path: Path, commit: str) -> None:
    cases = [
        ({}, StatusCode.INVALID_ARGUMENT, "empty ExceptWithPrefix and Refs"),
        (
            {"refs": [b"refs/a"], "except_with_prefix": [b"x"]},
            StatusCode.INVALID_ARGUMENT,
            "ExceptWithPrefix and Refs are mutually exclusive",
        ),
        ({"refs": [b""]}, StatusCode.INVALID_ARGUMENT, "empty ref"),
        ({"refs": [b"refs/heads/a b"]}, StatusCode.INVALID_ARGUMENT, "invalid references"),
        ({"refs": [b"refs/heads/a..b"]}, StatusCode.INTERNAL, "unable to prepare: invalid reference format"),
    ]
    for fields, code, text in cases:
        request = ref_pb2.DeleteRefsRequest(repository=repository(), **fields)
        with failure(code, text):
            await refs.delete_refs(request, node.call())
    await run_git(path, "update-ref", "refs/heads/l", commit)
    (path / "refs/heads/l.lock").touch()
    with pytest.raises(StatusError, match=r"^cannot lock references$") as error:
        await refs.delete_refs(ref_pb2.DeleteRefsRequest(repository=repository(), refs=[b"refs/heads/l"]), node.call())
    detail = ref_pb2.DeleteRefsError()
    assert error.value.details[0].Unpack(detail)
    assert list(detail.references_locked.refs) == [b"refs/heads/l"]


def hooks_archive(files: dict[str, tuple[int, bytes]], *, directory_mode: int = 0o700) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        directory = tarfile.TarInfo("custom_hooks")
        directory.type, directory.mode = tarfile.DIRTYPE, directory_mode
        archive.addfile(directory)
        for name, (mode, content) in files.items():
            info = tarfile.TarInfo(f"custom_hooks/{name}")
            info.mode, info.size = mode, len(content)
            if name.endswith("/"):
                info.type = tarfile.DIRTYPE
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


async def set_hooks(service: RepositoryService, node: StorageNode, archive: bytes, size: int = 700) -> None:
    requests = [pb.SetCustomHooksRequest(repository=repository())]
    requests += [pb.SetCustomHooksRequest(data=archive[i : i + size]) for i in range(0, len(archive), size)]
    await service.set_custom_hooks(stream_of(requests), node.call(transaction=True))


async def test_custom_hooks_are_replaced(service: RepositoryService, node: StorageNode, path: Path) -> None:
    script = b"#!/bin/sh\nexit 0\n"
    files = {"pre-receive": (0o500, script), "update.d/": (0o755, b""), "update.d/10-check": (0o755, b"x")}
    await set_hooks(service, node, hooks_archive(files))
    assert (path / "custom_hooks/pre-receive").read_bytes() == script
    if os.geteuid() == 0:  # an unprivileged process applies its umask, as tar does
        vote = "d9c19f3962ee4fca5cf1732240cfec65c600def7"
        assert node.votes == [
            ("PREPARING", "c29e69f2b2db1f68f63b9779ad5bc5a726357ba2"),
            ("PREPARED", vote),
            ("COMMITTED", vote),
        ]
    answers = await collect(service.get_custom_hooks(pb.GetCustomHooksRequest(repository=repository()), node.call()))
    with tarfile.open(fileobj=io.BytesIO(b"".join(answer.data for answer in answers))) as archive:
        members = {member.name: member.mode for member in archive.getmembers()}
    assert members == {
        "custom_hooks": 0o777,
        "custom_hooks/pre-receive": 0o777,
        "custom_hooks/update.d": 0o777,
        "custom_hooks/update.d/10-check": 0o777,
    }
    await set_hooks(service, node, hooks_archive({"post-receive": (0o755, b"y")}))
    assert [entry.name for entry in (path / "custom_hooks").iterdir()] == ["post-receive"]
    assert [entry.name[:6] for entry in (node.path / "+gitaly/tmp").iterdir()] == [".owner"]


async def test_empty_archive_empties_the_hooks(service: RepositoryService, node: StorageNode, path: Path) -> None:
    nothing = await collect(service.get_custom_hooks(pb.GetCustomHooksRequest(repository=repository()), node.call()))
    assert nothing == []
    await set_hooks(service, node, b"")
    assert node.votes[-1] == ("COMMITTED", "4172dbaf3efe9a1b4b368dcff67228468597525d")
    assert list((path / "custom_hooks").iterdir()) == []


async def test_refused_hooks_leave_the_old_ones(service: RepositoryService, node: StorageNode, path: Path) -> None:
    await set_hooks(service, node, hooks_archive({"update": (0o755, b"old")}))
    for phase, name in ((Phase.PREPARING, "preparing"), (Phase.PREPARED, "prepared")):
        node.voters.record.refuse = lambda cast, phase=phase: (  # type: ignore[misc]
            TransactionAbortedError() if cast is phase else None
        )
        text = f"setting custom hooks: casting {name} vote: vote failed: transaction was aborted"
        with failure(StatusCode.INTERNAL, text):
            await set_hooks(service, node, hooks_archive({"update": (0o755, b"new")}))
    assert (path / "custom_hooks/update").read_bytes() == b"old"
    assert not (path / "custom_hooks.lock").exists()


@pytest.mark.parametrize(
    "archive",
    [b"no archive at all" * 100, hooks_archive({"a": (0o644, b"x" * 2000)})[:1500]],
    ids=["garbage", "cut off"],
)
async def test_bad_hooks_archive(service: RepositoryService, node: StorageNode, path: Path, archive: bytes) -> None:
    text = "setting custom hooks: extracting hooks: waiting for tar command completion: exit status 2"
    with failure(StatusCode.INTERNAL, text):
        await set_hooks(service, node, archive)
    assert not (path / "custom_hooks").exists()


async def test_hooks_archive_cannot_leave_its_directory(
    service: RepositoryService, node: StorageNode, path: Path
) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        link = tarfile.TarInfo("custom_hooks/link")
        link.type, link.linkname = tarfile.SYMTYPE, "../../.."
        archive.addfile(link)
        escape = tarfile.TarInfo("custom_hooks/../../escaped")
        archive.addfile(escape)
    with pytest.raises(StatusError, match="extracting hooks"):
        await set_hooks(service, node, buffer.getvalue())
    assert list(node.path.rglob("escaped")) == []


async def test_archive_of_a_commit(service: RepositoryService, node: StorageNode, path: Path) -> None:
    commit = await make_commit(path, {"a": b"1", "d/b": b"2", "d/c": b"3"})
    for form, mode in (
        (pb.GetArchiveRequest.TAR, "r:"),
        (pb.GetArchiveRequest.TAR_GZ, "r:gz"),
        (pb.GetArchiveRequest.TAR_BZ2, "r:bz2"),
    ):
        request = pb.GetArchiveRequest(
            repository=repository(), commit_id=commit, format=form, prefix="p", path=b"d", exclude=[b"d/c"]
        )
        answers = await collect(service.get_archive(request, node.call()))
        with tarfile.open(fileobj=io.BytesIO(b"".join(each.data for each in answers)), mode=mode) as archive:  # type: ignore[call-overload]
            assert [member.name for member in archive.getmembers()] == ["p", "p/d", "p/d/b"]
    elided = pb.GetArchiveRequest(
        repository=repository(), commit_id=commit, format=pb.GetArchiveRequest.TAR, path=b"d", elide_path=True
    )
    answers = await collect(service.get_archive(elided, node.call()))
    with tarfile.open(fileobj=io.BytesIO(b"".join(each.data for each in answers))) as archive:
        assert archive.getnames() == ["b", "c"]


async def test_archive_errors(service: RepositoryService, node: StorageNode, path: Path, commit: str) -> None:
    cases = [
        ({"commit_id": commit, "path": b"../x"}, StatusCode.INVALID_ARGUMENT, "relative path escapes root directory"),
        ({"commit_id": commit, "format": 9}, StatusCode.INVALID_ARGUMENT, "invalid format"),
        ({}, StatusCode.INVALID_ARGUMENT, "invalid commitId: empty revision"),
        ({"commit_id": "1" * 40}, StatusCode.INTERNAL, "object not found"),
        ({"commit_id": commit, "path": b"nope"}, StatusCode.FAILED_PRECONDITION, "path doesn't exist"),
        ({"commit_id": commit, "exclude": [b"no"]}, StatusCode.FAILED_PRECONDITION, "exclude[0] doesn't exist"),
    ]
    for fields, code, text in cases:
        request = pb.GetArchiveRequest(repository=repository(), **fields)  # type: ignore[arg-type]
        with failure(code, text):
            await collect(service.get_archive(request, node.call()))


async def test_bundle_round_trip(service: RepositoryService, node: StorageNode, path: Path, commit: str) -> None:
    await run_git(path, "update-ref", "refs/heads/main", commit)
    answers = await collect(service.create_bundle(pb.CreateBundleRequest(repository=repository()), node.call()))
    bundle = b"".join(answer.data for answer in answers)
    requests = [pb.CreateRepositoryFromBundleRequest(repository=repository("copy.git"), data=bundle[:100])]
    requests.append(pb.CreateRepositoryFromBundleRequest(data=bundle[100:]))
    await service.create_repository_from_bundle(stream_of(requests), node.call())
    copy = node.path / "copy.git"
    assert await value_of(copy, "refs/heads/main") == commit
    assert b"remote" not in (copy / "config").read_bytes()
    await service.create_repository(pb.CreateRepositoryRequest(repository=repository("third.git")), node.call())
    fetch = [pb.FetchBundleRequest(repository=repository("third.git"), data=bundle, update_head=True)]
    await service.fetch_bundle(stream_of(fetch), node.call())
    assert await value_of(node.path / "third.git", "refs/heads/main") == commit
    broken = [pb.CreateRepositoryFromBundleRequest(repository=repository("bad.git"), data=b"nonsense")]
    text = "creating repository: cloning bundle: waiting for git-clone: exit status 128"
    with failure(StatusCode.INTERNAL, text):
        await service.create_repository_from_bundle(stream_of(broken), node.call())
    assert not (node.path / "bad.git").exists()


async def test_bundle_of_references(service: RepositoryService, node: StorageNode, path: Path, commit: str) -> None:
    await run_git(path, "update-ref", "refs/heads/main", commit)
    request = pb.CreateBundleFromRefListRequest(repository=repository(), patterns=[b"refs/heads/main"])
    answers = await collect(service.create_bundle_from_ref_list(stream_of([request]), node.call()))
    assert b"refs/heads/main" in b"".join(answer.data for answer in answers)
    request = pb.CreateBundleFromRefListRequest(repository=repository(), patterns=[b"^refs/heads/main"])
    with failure(StatusCode.FAILED_PRECONDITION, "create bundle: refusing to create empty bundle"):
        await collect(service.create_bundle_from_ref_list(stream_of([request]), node.call()))


async def test_snapshot_is_a_repository(service: RepositoryService, node: StorageNode, path: Path, commit: str) -> None:
    await run_git(path, "update-ref", "refs/heads/main", commit)
    await run_git(path, "repack", "-a", "-d")
    second = await make_commit(path, {"b": b"2"}, parent=commit)
    await run_git(path, "update-ref", "refs/heads/next", second)
    answers = await collect(service.get_snapshot(pb.GetSnapshotRequest(repository=repository()), node.call()))
    target = node.path.parent / "unpacked"
    with tarfile.open(fileobj=io.BytesIO(b"".join(answer.data for answer in answers))) as archive:
        archive.extractall(target, filter="data")
    assert (target / "config").read_bytes() == b"[core]\n\trepositoryformatversion = 0\n"
    assert await value_of(target, "refs/heads/next") == second
    await run_git(target, "-c", "safe.directory=*", "--git-dir=.", "fsck", "--strict")


async def test_fetch_remote(service: RepositoryService, node: StorageNode, path: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    await run_git(tmp_path, "init", "--bare", "-q", str(source))
    commit = await make_commit(source, {"a": b"1"})
    for name in ("refs/heads/main", "refs/heads/gone", "refs/tags/v1"):
        await run_git(source, "update-ref", name, commit)
    request = pb.FetchRemoteRequest(
        repository=repository(), remote_params=pb.Remote(url=f"file://{source}"), check_tags_changed=True
    )
    answer = await service.fetch_remote(request, node.call(transaction=True))
    assert (answer.repo_changed, answer.tags_changed) == (True, True)
    names = ("refs/heads/gone", "refs/heads/main", "refs/tags/v1")
    lines = "".join(f"{ZERO} {commit} {name}\n" for name in names)
    vote = vote_hash(lines.encode()).hex()
    assert node.votes == [("PREPARED", vote), ("COMMITTED", vote)]
    node.votes.clear()
    await run_git(source, "update-ref", "-d", "refs/heads/gone")
    answer = await service.fetch_remote(request, node.call(transaction=True))
    assert (answer.repo_changed, answer.tags_changed) == (True, False)
    assert node.votes == []
    assert await value_of(path, "refs/heads/gone") == ""
    answer = await service.fetch_remote(request, node.call())
    assert not answer.repo_changed
    assert await run_git(path, "fsck", "--strict") == b""
    assert [entry.name[:6] for entry in (node.path / "+gitaly/tmp").iterdir()] == [".owner"]


async def test_fetch_remote_without_force_leaves_diverged(
    service: RepositoryService, node: StorageNode, path: Path, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    await run_git(tmp_path, "init", "--bare", "-q", str(source))
    theirs = await make_commit(source, {"a": b"1"})
    ours = await make_commit(path, {"b": b"2"})
    await run_git(source, "update-ref", "refs/heads/main", theirs)
    await run_git(source, "update-ref", "refs/heads/new", theirs)
    await run_git(path, "update-ref", "refs/heads/main", ours)
    params = pb.Remote(url=f"file://{source}", mirror_refmaps=["refs/heads/*:refs/heads/*"])
    request = pb.FetchRemoteRequest(repository=repository(), remote_params=params)
    await service.fetch_remote(request, node.call())
    assert await value_of(path, "refs/heads/main") == ours
    assert await value_of(path, "refs/heads/new") == theirs
    request.force = True
    await service.fetch_remote(request, node.call())
    assert await value_of(path, "refs/heads/main") == theirs


async def test_fetch_remote_errors(service: RepositoryService, node: StorageNode, path: Path) -> None:
    with failure(StatusCode.INVALID_ARGUMENT, "missing remote params"):
        await service.fetch_remote(pb.FetchRemoteRequest(repository=repository()), node.call())
    with failure(StatusCode.INVALID_ARGUMENT, "blank or empty remote URL"):
        await service.fetch_remote(
            pb.FetchRemoteRequest(repository=repository(), remote_params=pb.Remote()), node.call()
        )
    request = pb.FetchRemoteRequest(
        repository=repository(), remote_params=pb.Remote(url=f"file://{node.path}/none.git")
    )
    with pytest.raises(Exception, match=r"^fetch remote: .*: exit status 128$"):
        await service.fetch_remote(request, node.call())


async def test_create_repository_from_url(service: RepositoryService, node: StorageNode, path: Path) -> None:
    commit = await make_commit(path, {"a": b"1"})
    await run_git(path, "update-ref", "refs/heads/main", commit)
    request = pb.CreateRepositoryFromURLRequest(repository=repository("clone.git"), url=f"file://{path}")
    await service.create_repository_from_url(request, node.call())
    assert await value_of(node.path / "clone.git", "refs/heads/main") == commit
    assert b"origin" not in (node.path / "clone.git/config").read_bytes()
    with failure(StatusCode.INVALID_ARGUMENT, "empty Url"):
        await service.create_repository_from_url(
            pb.CreateRepositoryFromURLRequest(repository=repository("x.git")), node.call()
        )


async def test_maintenance_keeps_everything(
    service: RepositoryService, node: StorageNode, path: Path, commit: str
) -> None:
    await run_git(path, "update-ref", "refs/heads/main", commit)
    parent = commit
    for number in range(20):
        parent = await make_commit(path, {"a": str(number).encode()}, parent=parent)
        await run_git(path, "update-ref", f"refs/heads/b{number}", parent)
    before = await run_git(path, "for-each-ref")
    await run_git(path, "config", "remote.origin.url", "https://user:secret@example.org/")
    for strategy in (pb.OptimizeRepositoryRequest.STRATEGY_HEURISTICAL, pb.OptimizeRepositoryRequest.STRATEGY_EAGER):
        request = pb.OptimizeRepositoryRequest(repository=repository(), strategy=strategy)
        await service.optimize_repository(request, node.call())
        assert await run_git(path, "for-each-ref") == before
        assert await run_git(path, "fsck", "--strict") == b""
    assert b"secret" not in (path / "config").read_bytes()
    assert b"origin" not in (path / "config").read_bytes()
    assert list((path / "objects/pack").glob("*.pack"))
    assert (path / "packed-refs").exists()
    info = await service.repository_info(pb.RepositoryInfoRequest(repository=repository()), node.call())
    assert info.objects.packfile_count == 1
    assert info.objects.loose_objects_count == 0
    assert info.commit_graph.commit_graph_chain_length == 1
    assert info.commit_graph.has_bloom_filters
    assert info.references.packed_size > 0
    await service.prune_unreachable_objects(pb.PruneUnreachableObjectsRequest(repository=repository()), node.call())
    assert await run_git(path, "for-each-ref") == before


async def test_maintenance_errors(service: RepositoryService, node: StorageNode, path: Path) -> None:
    request = pb.OptimizeRepositoryRequest(repository=repository(), strategy=9)  # type: ignore[arg-type]
    with failure(StatusCode.INVALID_ARGUMENT, "unsupported optimization strategy 9"):
        await service.optimize_repository(request, node.call())
    request = pb.OptimizeRepositoryRequest(
        repository=repository(), strategy=pb.OptimizeRepositoryRequest.STRATEGY_OFFLOADING
    )
    with failure(StatusCode.UNIMPLEMENTED, "offloading feature not enabled"):
        await service.optimize_repository(request, node.call())
    held = node.context.storages.open(repository())
    with (
        node.context.maintenance.hold(held),
        failure(StatusCode.ALREADY_EXISTS, "housekeeping already executing for repository"),
    ):
        await service.optimize_repository(pb.OptimizeRepositoryRequest(repository=repository()), node.call())


async def test_sizes_and_fsck(service: RepositoryService, node: StorageNode, path: Path) -> None:
    commit = await make_commit(path, {"big": os.urandom(100_000)})
    await run_git(path, "update-ref", "refs/heads/main", commit)
    size = await service.repository_size(pb.RepositorySizeRequest(repository=repository()), node.call())
    assert size.size >= 97
    request = pb.ObjectsSizeRequest(repository=repository(), revisions=[b"--all"])
    objects = await service.objects_size(stream_of([request]), node.call())
    assert objects.size >= 100_000
    with failure(StatusCode.NOT_FOUND, "revision not found"):
        await service.objects_size(
            stream_of([pb.ObjectsSizeRequest(repository=repository(), revisions=[b"nope"])]), node.call()
        )
    answer = await service.fsck(pb.FsckRequest(repository=repository()), node.call())
    assert answer.error == b""
    (path / "refs/heads/broken").write_text("1" * 40 + "\n")
    answer = await service.fsck(pb.FsckRequest(repository=repository()), node.call())
    assert b"refs/heads/broken" in answer.error
