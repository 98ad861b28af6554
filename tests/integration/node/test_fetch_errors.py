"""What fetches answer when something is wrong: the exact codes and texts that clients act on."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from praefect.node.pktline import FLUSH, encode
from praefect.proto.shared_pb2 import Repository
from praefect.proto.smarthttp_pb2 import (
    InfoRefsRequest,
    InfoRefsResponse,
    PostUploadPackWithSidechannelRequest,
    PostUploadPackWithSidechannelResponse,
)
from praefect.proto.ssh_pb2 import (
    SSHUploadArchiveRequest,
    SSHUploadArchiveResponse,
    SSHUploadPackWithSidechannelRequest,
    SSHUploadPackWithSidechannelResponse,
)
from praefect.transport.grpc.status import StatusCode, StatusError
from tests.support.hook_node import make_work_tree, run_git
from tests.support.processes import processes_of, wait_for_no_process
from tests.support.serving_node import ServingNode, collect, serving_node

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from praefect.transport.grpc.channel import Channel
    from praefect.transport.sidechannel import ClientSidechannel

HTTP_METHOD = "/gitaly.SmartHTTPService/PostUploadPackWithSidechannel"
SSH_METHOD = "/gitaly.SSHService/SSHUploadPackWithSidechannel"


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[ServingNode]:
    async with serving_node(tmp_path) as node:
        work_tree = await make_work_tree(tmp_path / "work")
        await run_git("push", "--quiet", str(node.path), "main", cwd=work_tree)
        yield node


async def call_http(
    channel: Channel, node: ServingNode, metadata: list[tuple[str, str]], repository: Repository | None = None
) -> PostUploadPackWithSidechannelResponse:
    request = PostUploadPackWithSidechannelRequest(repository=repository or node.front_end.repository)
    return await channel.unary(HTTP_METHOD, request, PostUploadPackWithSidechannelResponse, metadata=list(metadata))


async def call_ssh(
    channel: Channel, node: ServingNode, metadata: list[tuple[str, str]], repository: Repository | None = None
) -> SSHUploadPackWithSidechannelResponse:
    request = SSHUploadPackWithSidechannelRequest(repository=repository or node.front_end.repository)
    return await channel.unary(SSH_METHOD, request, SSHUploadPackWithSidechannelResponse, metadata=list(metadata))


@pytest.mark.parametrize(
    ("call", "prefix"), [(call_http, "open sidechannel"), (call_ssh, "opennig sidechannel")], ids=["http", "ssh"]
)
async def test_calls_without_a_sidechannel(node: ServingNode, call: object, prefix: str) -> None:
    assert call in (call_http, call_ssh)
    run = call_http if call is call_http else call_ssh
    for channel, metadata, text in [
        (node.channel, [], "sidechannel: sidechannel-id not found in incoming metadata"),
        (
            node.plain,
            [("gitaly-sidechannel-id", "0")],
            "sidechannel: fail to extract mux session: non-multiplexed connection",
        ),
    ]:
        with pytest.raises(StatusError) as caught:
            await run(channel, node, metadata)
        assert (caught.value.code, caught.value.message) == (StatusCode.INTERNAL, f"{prefix}: {text}")


async def test_sidechannel_that_nobody_waits_for(node: ServingNode) -> None:
    text = "sidechannel: sidechannel: receive confirmation: EOF".removeprefix("sidechannel: ")
    with pytest.raises(StatusError) as http:
        await call_http(node.channel, node, [("gitaly-sidechannel-id", "77")])
    assert (http.value.code, http.value.message) == (StatusCode.UNAVAILABLE, f"open sidechannel: {text}")
    with pytest.raises(StatusError) as ssh:
        await call_ssh(node.channel, node, [("gitaly-sidechannel-id", "77")])
    assert (ssh.value.code, ssh.value.message) == (StatusCode.INTERNAL, f"opennig sidechannel: {text}")


async def test_http_checks_the_repository_before_the_sidechannel(node: ServingNode) -> None:
    missing = Repository(storage_name="default", relative_path="gone.git")
    with pytest.raises(StatusError) as caught:
        await call_http(node.channel, node, [], missing)
    assert (caught.value.code, caught.value.message) == (StatusCode.NOT_FOUND, "repository not found")


async def test_ssh_opens_the_sidechannel_before_it_checks(node: ServingNode) -> None:
    missing = Repository(storage_name="default", relative_path="gone.git")
    async with node.front_end.sidechannels.register() as waiter:
        with pytest.raises(StatusError) as caught:
            await call_ssh(node.channel, node, [waiter.metadata], missing)
        assert (caught.value.code, caught.value.message) == (
            StatusCode.NOT_FOUND,
            "running upload-pack: repository not found",
        )
        assert await (await waiter.accept()).read() == b""


async def test_empty_request_body(node: ServingNode) -> None:
    async with node.front_end.sidechannels.register() as waiter, asyncio.TaskGroup() as group:

        async def send_nothing() -> None:
            async with await waiter.accept() as sidechannel:
                await sidechannel.close_write()
                while await sidechannel.read():
                    pass

        group.create_task(send_nothing())
        with pytest.raises(StatusError) as caught:
            await call_http(node.channel, node, [waiter.metadata])
    assert (caught.value.code, caught.value.message) == (
        StatusCode.FAILED_PRECONDITION,
        "running upload-pack: waiting for upload-pack: exit status 128",
    )


@pytest.mark.parametrize("ends_properly", [True, False])
async def test_ssh_client_that_hangs_up(node: ServingNode, ends_properly: bool) -> None:
    async with node.front_end.sidechannels.register() as waiter, asyncio.TaskGroup() as group:

        async def hang_up() -> bytes:
            sidechannel = await waiter.accept()
            received = await sidechannel.read()
            if ends_properly:
                await sidechannel.close_write()
                while data := await sidechannel.read():
                    received += data
            await sidechannel.close()
            return received

        task = group.create_task(hang_up())
        with pytest.raises(StatusError) as caught:
            await call_ssh(node.channel, node, [waiter.metadata])
    assert (caught.value.code, caught.value.message) == (
        StatusCode.CANCELLED,
        "running upload-pack: user canceled the request",
    )
    if ends_properly:
        assert b"\x02fatal: the remote end hung up unexpectedly\n" in task.result()


async def test_statistics_come_with_the_answer(node: ServingNode) -> None:
    head = (await run_git("rev-parse", "main", cwd=node.path)).stdout.strip()
    body = encode(f"want {head} ofs-delta\n".encode()) + FLUSH + encode(b"done\n")
    async with node.front_end.sidechannels.register() as waiter, asyncio.TaskGroup() as group:

        async def exchange() -> bytes:
            async with await waiter.accept() as sidechannel:
                await sidechannel.write(body)
                await sidechannel.close_write()
                received = b""
                while data := await sidechannel.read():
                    received += data
                return received

        task = group.create_task(exchange())
        response = await call_http(node.channel, node, [waiter.metadata])
    statistics = response.packfile_negotiation_statistics
    assert (statistics.payload_size, statistics.packets, statistics.wants) == (len(body), 3, 1)
    assert list(statistics.caps) == ["ofs-delta"]
    assert task.result().startswith(b"0008NAK\nPACK")


async def test_negotiation_that_never_ends(tmp_path: Path) -> None:
    async with serving_node(tmp_path, negotiation=timedelta(milliseconds=200)) as node:
        async with node.front_end.sidechannels.register() as waiter:
            with pytest.raises(StatusError) as caught:
                await call_ssh(node.channel, node, [waiter.metadata])
            assert caught.value.code is StatusCode.DEADLINE_EXCEEDED
            assert caught.value.message.startswith("running upload-pack: waiting for negotiation: ")
        async with node.channel.bidi("/gitaly.SSHService/SSHUploadArchive", SSHUploadArchiveResponse) as call:
            await call.send(SSHUploadArchiveRequest(repository=node.front_end.repository))
            answers: list[SSHUploadArchiveResponse] = []
            with pytest.raises(StatusError) as archive:
                await collect(call, answers)
            assert archive.value.code is StatusCode.DEADLINE_EXCEEDED
        assert processes_of(node.path) == []


async def test_references_come_with_the_service_line(node: ServingNode) -> None:
    request = InfoRefsRequest(repository=node.front_end.repository)
    for method, service in [("InfoRefsUploadPack", b"upload-pack"), ("InfoRefsReceivePack", b"receive-pack")]:
        answers = node.plain.server_stream(f"/gitaly.SmartHTTPService/{method}", request, InfoRefsResponse)
        messages = [answer.data async for answer in answers]
        assert messages[:2] == [encode(b"# service=git-" + service + b"\n"), FLUSH]
        assert b"refs/heads/main" in b"".join(messages[2:])


@pytest.mark.parametrize(
    ("request_message", "code", "text"),
    [
        (InfoRefsRequest(), StatusCode.INVALID_ARGUMENT, "repository not set"),
        (
            InfoRefsRequest(repository=Repository(storage_name="default", relative_path="../x")),
            StatusCode.INVALID_ARGUMENT,
            "relative path escapes root directory",
        ),
        (
            InfoRefsRequest(
                repository=Repository(storage_name="default", relative_path="project.git"), git_config_options=["foo"]
            ),
            StatusCode.INTERNAL,
            'cannot convert invalid config key: "foo"',
        ),
    ],
)
async def test_references_that_cannot_be_told(
    node: ServingNode, request_message: InfoRefsRequest, code: StatusCode, text: str
) -> None:
    answers = node.plain.server_stream("/gitaly.SmartHTTPService/InfoRefsUploadPack", request_message, InfoRefsResponse)
    with pytest.raises(StatusError) as caught:
        await anext(answers)
    assert (caught.value.code, caught.value.message) == (code, text)


async def test_caller_that_goes_away_ends_git(node: ServingNode) -> None:
    async with node.front_end.sidechannels.register() as waiter:
        async with asyncio.TaskGroup() as group:
            call = group.create_task(call_ssh(node.channel, node, [waiter.metadata]))
            sidechannel: ClientSidechannel = await waiter.accept()
            assert await sidechannel.read()  # git has spoken, and waits for the client
            assert processes_of(node.path)
            call.cancel()
        await wait_for_no_process(node.path)


async def test_archive_without_a_request(node: ServingNode) -> None:
    async with node.plain.bidi("/gitaly.SSHService/SSHUploadArchive", SSHUploadArchiveResponse) as call:
        await call.send(SSHUploadArchiveRequest(repository=node.front_end.repository))
        await call.half_close()
        answers: list[SSHUploadArchiveResponse] = []
        with pytest.raises(StatusError) as caught:
            await collect(call, answers)
    assert [answer.exit_status.value for answer in answers if answer.HasField("exit_status")] == [128]
    assert caught.value.code is StatusCode.INTERNAL
    assert caught.value.message.startswith(
        'send: cmd wait: exit status 128, stderr: "fatal: sent error to the client: '
    )


async def test_archive_with_input_in_the_first_message(node: ServingNode) -> None:
    async with node.plain.bidi("/gitaly.SSHService/SSHUploadArchive", SSHUploadArchiveResponse) as call:
        await call.send(SSHUploadArchiveRequest(repository=node.front_end.repository, stdin=b"x"))
        with pytest.raises(StatusError) as caught:
            await call.receive()
    assert caught.value.message == "non-empty stdin in first request"
