"""The commands that call a running Praefect."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.postgres import Rows
from tests.support.praefect_cli import (
    KNOWN_STORAGES,
    KNOWN_VIRTUAL_STORAGES,
    NO_REPOSITORIES,
    Installation,
    Result,
    run_praefect,
    write_config,
)
from tests.support.tls_certificates import make_authority

NO_SERVER = "rpc error: code = Unavailable desc = connection error: desc = "


async def record(connection: Rows, path: str = "a/b.git", generations: tuple[int | None, ...] = (3, 1, None)) -> int:
    """Record a repository at generation 3 whose replicas are at those generations; return its id."""
    ((repository_id,),) = await connection.run(
        'INSERT INTO repositories (virtual_storage, relative_path, generation, replica_path, "primary") '
        "VALUES ('default', %s, 3, %s, 'gitaly-1') RETURNING repository_id",
        path,
        f"@cluster/{path}",
    )
    for number, generation in enumerate(generations, start=1):
        if generation is not None:
            await connection.run(
                "INSERT INTO storage_repositories (virtual_storage, relative_path, storage, generation, repository_id) "
                "VALUES ('default', %s, %s, %s, %s)",
                path,
                f"gitaly-{number}",
                generation,
                repository_id,
            )
    assert isinstance(repository_id, int)
    return repository_id


def replica(storage: str, generation: str, *, valid: bool) -> str:
    return (
        f'- Storage: "{storage}"\n  Assigned: true\n  Generation: {generation}\n  Healthy: true\n'
        f"  Valid Primary: {str(valid).lower()}\n  Verified At: unverified\n"
    )


# --- metadata ---


async def test_metadata_of_a_repository(praefect: Installation, connection: Rows) -> None:
    repository_id = await record(connection)
    expected = (
        f'Repository ID: {repository_id}\nVirtual Storage: "default"\nRelative Path: "a/b.git"\n'
        'Replica Path: "@cluster/a/b.git"\nPrimary: "gitaly-1"\nGeneration: 3\nReplicas:\n'
        + replica("gitaly-1", "3, fully up to date", valid=True)
        + replica("gitaly-2", "1, behind by 2 changes", valid=False)
        + replica("gitaly-3", "replica not yet created", valid=False)
    )
    assert (await praefect("metadata", "-repository-id", str(repository_id))).ok() == expected
    by_path = await praefect("metadata", "-virtual-storage", "default", "-relative-path", "a/b.git")
    assert by_path.ok() == expected


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["-repository-id", "99"], ""),
        (["-repository-id", "-3"], ""),
        (["-virtual-storage", "x", "-relative-path", "y"], KNOWN_VIRTUAL_STORAGES),
        (["-virtual-storage", "default", "-relative-path", "y"], NO_REPOSITORIES),
    ],
)
async def test_metadata_of_nothing(praefect: Installation, words: list[str], hint: str) -> None:
    expected = f"get metadata: rpc error: code = NotFound desc = repository not found\n{hint}"
    assert await praefect("metadata", *words) == Result(1, "", expected)


# --- dataloss and accept-dataloss ---


async def test_dataloss_reports_and_accepting_it_repairs(praefect: Installation, connection: Rows) -> None:
    assert (await praefect("dataloss")).ok() == "Virtual storage: default\n  All repositories are available!\n"
    everything = "Virtual storage: default\n  All repositories are fully available on all assigned storages!\n"
    assert (await praefect("dataloss", "-partially-unavailable")).ok() == everything

    await record(connection, generations=(1, 2, None))
    assert (await praefect("dataloss")).ok() == (
        "Virtual storage: default\n"
        "  Repositories:\n"
        "    a/b.git (unavailable):\n"
        "      Primary: gitaly-1\n"
        "      In-Sync Storages:\n"
        "      Outdated Storages:\n"
        "        gitaly-1 is behind by 2 changes or less, assigned host\n"
        "        gitaly-2 is behind by 1 change or less, assigned host\n"
        "        gitaly-3 is behind by 4 changes or less, assigned host\n"
    )
    words = ["-virtual-storage", "default", "-relative-path", "a/b.git", "-authoritative-storage", "gitaly-2"]
    assert await praefect("accept-dataloss", *words) == Result(0, "", "")
    assert (await praefect("dataloss")).ok() == "Virtual storage: default\n  All repositories are available!\n"
    partially = (await praefect("dataloss", "-partially-unavailable", "-virtual-storage", "default")).ok()
    assert "    a/b.git:\n" in partially
    assert "      In-Sync Storages:\n        gitaly-2, assigned host\n      Outdated" in partially


async def test_dataloss_of_an_unknown_virtual_storage(praefect: Installation) -> None:
    result = await praefect("dataloss", "-virtual-storage", "x")
    expected = 'getting response: rpc error: code = Internal desc = unknown virtual storage: "x"\n'
    assert result == Result(1, "Virtual storage: x\n", f"{expected}{KNOWN_VIRTUAL_STORAGES}")


@pytest.mark.parametrize(
    ("virtual_storage", "storage", "reason", "hint"),
    [
        ("v", "gitaly-1", 'unknown virtual storage: "v"', KNOWN_VIRTUAL_STORAGES),
        ("default", "s", 'unknown authoritative storage: "s"', KNOWN_STORAGES),
        ("default", "gitaly-1", "repository does not exist on virtual storage", NO_REPOSITORIES),
    ],
)
async def test_accepting_the_loss_of_nothing(
    praefect: Installation, virtual_storage: str, storage: str, reason: str, hint: str
) -> None:
    words = ["-virtual-storage", virtual_storage, "-relative-path", "x", "-authoritative-storage", storage]
    expected = f"set authoritative storage: rpc error: code = InvalidArgument desc = {reason}\n{hint}"
    assert await praefect("accept-dataloss", *words) == Result(1, "", expected)


# --- set-replication-factor ---


async def test_replication_factor(praefect: Installation, connection: Rows) -> None:
    await record(connection)
    words = ["set-replication-factor", "-virtual-storage", "default", "-relative-path", "a/b.git"]
    result = await praefect(*words, "-replication-factor", "1")
    assert result.ok() == "current assignments: gitaly-1\n"
    result = await praefect(*words, "-replication-factor", "0x3")
    assert result.ok() == "current assignments: gitaly-1, gitaly-2, gitaly-3\n"


@pytest.mark.parametrize(
    ("virtual_storage", "factor", "reason", "hint"),
    [
        ("v", "1", 'virtual storage "v" not found', KNOWN_VIRTUAL_STORAGES),
        ("default", "0", "attempted to set replication factor 0 but minimum is 1", NO_REPOSITORIES),
        (
            "default",
            "4",
            "attempted to set replication factor 4 but virtual storage only contains 3 storages",
            NO_REPOSITORIES,
        ),
        ("default", "1", 'repository "default"/"path" not found', NO_REPOSITORIES),
    ],
)
async def test_replication_factor_that_cannot_be(
    praefect: Installation, virtual_storage: str, factor: str, reason: str, hint: str
) -> None:
    words = ["-virtual-storage", virtual_storage, "-relative-path", "path", "-replication-factor", factor]
    expected = f"rpc error: code = InvalidArgument desc = set replication factor: {reason}\n{hint}"
    assert await praefect("set-replication-factor", *words) == Result(1, "", expected)


# --- verify ---


async def test_verify_counts_replicas_that_were_verified(praefect: Installation, connection: Rows) -> None:
    repository_id = await record(connection, generations=(3, 3, 3))

    async def verify_them() -> None:
        # far in the future, so that the running verifier leaves them alone
        await connection.run("UPDATE storage_repositories SET verified_at = now() + '1 year'")

    for words, marked, hint in (
        (["-repository-id", str(repository_id)], 3, ""),
        (["-virtual-storage", "default"], 3, ""),
        (["-virtual-storage", "default", "-storage", "gitaly-1"], 1, ""),
        (["-virtual-storage", "default", "-storage", "x"], 0, KNOWN_STORAGES),
        (["-virtual-storage", "x"], 0, KNOWN_VIRTUAL_STORAGES),
        (["-repository-id", "-3"], 0, ""),
    ):
        await verify_them()
        assert await praefect("verify", *words) == Result(0, f"{marked} replicas marked unverified\n", hint)


# --- reaching it ---


async def test_nobody_listens(tmp_path: Path) -> None:
    path = write_config(tmp_path / "config.toml", database=None, nodes={"s": ("tcp://s:1", "")})
    socket = f"{tmp_path}/praefect.socket"
    missing = f'{NO_SERVER}"transport: Error while dialing: dial unix {socket}: connect: no such file or directory"\n'
    verify = await run_praefect("-config", str(path), "verify", "-virtual-storage", "default")
    assert verify == Result(1, "", f"verify replicas: {missing}")
    assert await run_praefect("-config", str(path), "dataloss") == Result(1, "", f"error checking: {missing}")
    path.write_text(path.read_text().replace(f'socket_path = "{socket}"', 'listen_addr = "127.0.0.1:1"'))
    refused = f'{NO_SERVER}"transport: Error while dialing: dial tcp 127.0.0.1:1: connect: connection refused"\n'
    verify = await run_praefect("-config", str(path), "verify", "-virtual-storage", "default")
    assert verify == Result(1, "", f"verify replicas: {refused}")


@pytest.mark.parametrize(
    ("words", "prefix"),
    [
        (["dataloss"], "error dialing: "),
        (["metadata", "-repository-id", "1"], "dial: "),
        (["verify", "-repository-id", "1"], "dial: "),
        (
            ["accept-dataloss", *("-virtual-storage", "v", "-relative-path", "r", "-authoritative-storage", "s")],
            "error dialing: ",
        ),
        (
            ["set-replication-factor", *("-virtual-storage", "v", "-relative-path", "r", "-replication-factor", "1")],
            "error dialing: ",
        ),
    ],
)
async def test_an_address_with_a_scheme_of_its_own(tmp_path: Path, words: list[str], prefix: str) -> None:
    path = write_config(tmp_path / "config.toml", database=None, nodes={"s": ("tcp://s:1", "")})
    listener = 'listen_addr = "tcp://127.0.0.1:2305"'
    path.write_text(path.read_text().replace(f'socket_path = "{tmp_path}/praefect.socket"', listener))
    reason = 'remote addresses should not have a path: "//127.0.0.1:2305"'
    expected = f"{prefix}failed to extract host for 'tcp' connection: {reason}\n"
    assert await run_praefect("-config", str(path), *words) == Result(1, "", expected)


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("wrong", "code = PermissionDenied desc = permission denied: wrong hmac signature"),
        ("", "code = Unauthenticated desc = authentication required"),
    ],
)
async def test_the_wrong_token(praefect: Installation, token: str, reason: str) -> None:
    other = praefect.path.with_name("other.toml")
    other.write_text(praefect.path.read_text().replace("external-secret", token))
    result = await run_praefect("-config", str(other), "verify", "-virtual-storage", "default")
    assert result == Result(1, "", f"verify replicas: rpc error: {reason}\n")
    result = await run_praefect("-config", str(other), "dataloss")
    assert result == Result(1, "Virtual storage: default\n", f"getting response: rpc error: {reason}\n")


async def test_a_certificate_nobody_vouches_for(praefect: Installation, tmp_path: Path) -> None:
    from praefect.transport.addresses import ListenAddress
    from praefect.transport.backchannel import BackchannelRegistry
    from praefect.transport.grpc.server import Server
    from praefect.transport.listen import ServerTls, listen
    from praefect.transport.peer import ListenerKind

    authority = make_authority(tmp_path)
    pair = authority.issue("127.0.0.1")
    tls = ServerTls(certificate_path=str(pair.certificate_path), key_path=str(pair.key_path))
    address = ListenAddress(kind=ListenerKind.TLS, host="127.0.0.1")
    server = Server()
    async with server, listen(address, server, backchannels=BackchannelRegistry(), tls=tls) as listener:
        path = tmp_path / "tls.toml"
        text = praefect.path.read_text()
        socket = f'socket_path = "{praefect.path.parent}/praefect.socket"'
        path.write_text(text.replace(socket, f'tls_listen_addr = "{listener.address.text}"'))
        result = await run_praefect("-config", str(path), "verify", "-virtual-storage", "default")
        assert result.stderr.startswith(
            f'verify replicas: {NO_SERVER}"transport: authentication handshake failed: '
            "tls: failed to verify certificate: x509: certificate signed by unknown authority"
        )
        environment = {**os.environ, "SSL_CERT_FILE": str(authority.certificate_path)}
        words = ["-config", str(path), "verify", "-virtual-storage", "default"]
        result = await run_praefect(*words, environment=environment)
        assert "code = Unimplemented" in result.stderr
