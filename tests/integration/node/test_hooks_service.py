"""HookService: what upstream's hook program would call, with its requests and the answers it expects."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar, cast

import pytest
from google.protobuf.message import Message

from praefect.domain.errors import PraefectError
from praefect.node.hooks.payload import PAYLOAD_VARIABLE, RequestedHooks, UserDetails
from praefect.node.pktline import PacketScanner
from praefect.node.services.hook import HookService
from praefect.node.voting import (
    Phase,
    Transaction,
    TransactionAbortedError,
    TransactionStoppedError,
    vote_hash,
)
from praefect.proto.hook_pb2 import (
    PackObjectsHookWithSidechannelRequest,
    PostReceiveHookRequest,
    PostReceiveHookResponse,
    PreReceiveHookRequest,
    PreReceiveHookResponse,
    ProcReceiveHookRequest,
    ReferenceTransactionHookRequest,
    ReferenceTransactionHookResponse,
    UpdateHookRequest,
    UpdateHookResponse,
)
from praefect.transport.grpc.metadata import Metadata
from praefect.transport.grpc.status import StatusCode, code_of
from tests.support.hook_node import PUSHER, commit, make_work_tree, run_git
from tests.support.operation_node import CallStub, OperationNode, a_call, operation_node, stream_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from pathlib import Path

    from praefect.transport.grpc.server_call import ServerCall

MessageT = TypeVar("MessageT", bound=Message)
ZERO, ONE = "0" * 40, "1" * 40
CHANGES = f"{ZERO} {ONE} refs/heads/main\n".encode()
PRIMARY = Transaction(id=5, node="gitaly-1", primary=True)


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[OperationNode]:
    async with operation_node(tmp_path) as node:
        yield node


@pytest.fixture
def service(node: OperationNode) -> HookService:
    return HookService(node.context, node.hooks.handlers)


def environment(
    node: OperationNode, *, transaction: Transaction | None = None, user: UserDetails | None = PUSHER
) -> list[str]:
    payload = node.hooks.setups.payload(
        node.hooks.repository, RequestedHooks(15), transaction=transaction, metadata=Metadata(), user=user
    )
    return [f"{PAYLOAD_VARIABLE}={payload.encode()}", "PATH=/usr/bin:/bin"]


async def answers(generator: AsyncGenerator[Message, None], call: ServerCall, kind: type[MessageT]) -> list[MessageT]:
    assert [message async for message in generator] == []
    return [kind.FromString(data) for data in cast("CallStub", call).sent]


async def pre_receive(
    node: OperationNode, service: HookService, variables: list[str], *, changes: bytes = CHANGES
) -> list[PreReceiveHookResponse]:
    requests = [
        PreReceiveHookRequest(
            repository=node.hooks.repository.message(), environment_variables=variables, git_push_options=["a", "b"]
        ),
        PreReceiveHookRequest(stdin=changes[:10]),
        PreReceiveHookRequest(stdin=changes[10:]),
    ]
    call = a_call()
    return await answers(service.pre_receive_hook(stream_of(requests), call), call, PreReceiveHookResponse)


async def test_pre_receive_passes(node: OperationNode, service: HookService) -> None:
    node.hooks.install_hook("pre-receive", 'echo "$GIT_PUSH_OPTION_1"; cat >&2')
    *output, last = await pre_receive(node, service, environment(node))
    assert b"".join(each.stdout for each in output) == b"b\n"
    assert b"".join(each.stderr for each in output) == CHANGES
    assert last.exit_status.value == 0
    assert last.stdout + last.stderr == b""
    assert node.hooks.door.last("/allowed").values["push_options"] == ["a", "b"]


async def test_refusal_is_an_answer_and_not_an_error(node: OperationNode, service: HookService) -> None:
    node.hooks.door.refuse("no")
    [last] = await pre_receive(node, service, environment(node, transaction=PRIMARY))
    assert (last.stderr, last.exit_status.value) == (b"GitLab: no", 1)
    assert node.hooks.voters.stops == 1


async def test_custom_hook_gives_its_exit_code(node: OperationNode, service: HookService) -> None:
    node.hooks.install_hook("pre-receive", "exit 42")
    [last] = await pre_receive(node, service, environment(node))
    assert (last.stderr, last.exit_status.value) == (b"", 42)


@pytest.mark.parametrize(
    ("user", "text"),
    [
        (None, "payload has no receive hooks info"),
        (UserDetails(protocol="ssh"), "user ID not set"),
        (UserDetails(userid="user-1"), "protocol not set"),
    ],
)
async def test_what_is_missing_is_told(
    node: OperationNode, service: HookService, user: UserDetails | None, text: str
) -> None:
    [last] = await pre_receive(node, service, environment(node, user=user))
    assert (last.stderr.decode(), last.exit_status.value) == (text, 1)


async def test_missing_payload_and_changes_are_told(node: OperationNode, service: HookService) -> None:
    [last] = await pre_receive(node, service, [])
    assert last.stderr == b"extracting hooks payload: no hooks payload found in environment"
    [last] = await pre_receive(node, service, environment(node), changes=b"")
    assert last.stderr == b"hook got no reference updates"


async def test_refused_vote_is_told(node: OperationNode, service: HookService) -> None:
    node.hooks.voters.failures[0] = TransactionAbortedError()
    [last] = await pre_receive(node, service, environment(node, transaction=PRIMARY))
    assert last.stderr == b"synchronizing pre-receive hook: vote failed: transaction was aborted"
    assert last.exit_status.value == 1


async def test_rate_limit_is_an_error(node: OperationNode, service: HookService) -> None:
    node.hooks.door.answer("/allowed", {}, 429)
    with pytest.raises(PraefectError) as caught:
        await pre_receive(node, service, environment(node))
    assert code_of(caught.value) is StatusCode.RESOURCE_EXHAUSTED


async def test_post_receive_prints_messages(node: OperationNode, service: HookService) -> None:
    messages = [{"type": "basic", "message": "hello"}]
    node.hooks.door.answer("/post_receive", {"reference_counter_decreased": True, "messages": messages})
    repository = node.hooks.repository.message()
    requests = [
        PostReceiveHookRequest(repository=repository, environment_variables=environment(node)),
        PostReceiveHookRequest(stdin=CHANGES),
    ]
    call = a_call()
    first, last = await answers(service.post_receive_hook(stream_of(requests), call), call, PostReceiveHookResponse)
    assert first.stdout == b"\nhello\n\n"
    assert last.exit_status.value == 0


async def update(node: OperationNode, service: HookService, **fields: object) -> list[UpdateHookResponse]:
    request = UpdateHookRequest(
        repository=node.hooks.repository.message(),
        environment_variables=environment(node, transaction=PRIMARY),
        ref=b"refs/heads/main",
        old_value=ZERO,
        new_value=ONE,
    )
    for name, value in fields.items():
        setattr(request, name, value)
    call = a_call()
    return await answers(service.update_hook(request, call), call, UpdateHookResponse)


async def test_update_hook(node: OperationNode, service: HookService) -> None:
    node.hooks.install_hook("update", 'echo "$1 $2 $3"; exit 7')
    output, last = await update(node, service)
    assert output.stdout == f"refs/heads/main {ZERO} {ONE}\n".encode()
    assert last.exit_status.value == 7
    assert node.hooks.voters.stops == 1


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"ref": b""}, "hook got no reference"),
        ({"old_value": "x"}, "hook got invalid old value: "),
        ({"new_value": ""}, "hook got invalid new value: "),
    ],
)
async def test_update_hook_with_something_missing(
    node: OperationNode, service: HookService, fields: dict[str, object], text: str
) -> None:
    with pytest.raises(PraefectError) as caught:
        await update(node, service, **fields)
    assert code_of(caught.value) is StatusCode.INTERNAL
    assert str(caught.value).startswith(text)


async def reference_transaction(
    node: OperationNode,
    service: HookService,
    state: ReferenceTransactionHookRequest.State,
    changes: bytes = CHANGES,
) -> list[ReferenceTransactionHookResponse]:
    requests = [
        ReferenceTransactionHookRequest(
            repository=node.hooks.repository.message(),
            environment_variables=environment(node, transaction=PRIMARY),
            state=state,
        ),
        ReferenceTransactionHookRequest(stdin=changes),
    ]
    call = a_call()
    generator = service.reference_transaction_hook(stream_of(requests), call)
    return await answers(generator, call, ReferenceTransactionHookResponse)


@pytest.mark.parametrize(
    ("state", "changes", "votes"),
    [
        (ReferenceTransactionHookRequest.PREPARED, CHANGES, [(Phase.PREPARED, vote_hash(CHANGES))]),
        (ReferenceTransactionHookRequest.COMMITTED, CHANGES, [(Phase.COMMITTED, vote_hash(CHANGES))]),
        (ReferenceTransactionHookRequest.ABORTED, CHANGES, []),
        (ReferenceTransactionHookRequest.PREPARING, CHANGES, []),
        (ReferenceTransactionHookRequest.PREPARED, b"", []),
        (ReferenceTransactionHookRequest.PREPARED, f"{ZERO} {ZERO} refs/heads/x\n".encode(), []),
        (
            ReferenceTransactionHookRequest.PREPARED,
            f"{ZERO} {ZERO} refs/heads/x\n{ZERO} {ONE} refs/heads/y\n".encode(),
            [(Phase.PREPARED, vote_hash(f"{ZERO} {ZERO} refs/heads/x\n{ZERO} {ONE} refs/heads/y\n".encode()))],
        ),
        (
            ReferenceTransactionHookRequest.PREPARED,
            CHANGES + f"{ZERO} {ONE} HEAD\n".encode(),
            [(Phase.PREPARED, vote_hash(CHANGES))],
        ),
        (
            ReferenceTransactionHookRequest.PREPARED,
            f"{ZERO} ref:refs/heads/trunk HEAD\n".encode(),
            [(Phase.PREPARED, vote_hash(f"{ZERO} ref:refs/heads/trunk HEAD\n".encode()))],
        ),
    ],
)
async def test_reference_transaction_votes(
    node: OperationNode,
    service: HookService,
    state: ReferenceTransactionHookRequest.State,
    changes: bytes,
    votes: list[tuple[Phase, bytes]],
) -> None:
    [last] = await reference_transaction(node, service, state, changes)
    assert last.exit_status.value == 0
    assert node.hooks.voters.votes == votes


@pytest.mark.parametrize(
    ("failure", "code", "text"),
    [
        (TransactionAbortedError(), StatusCode.ABORTED, "transaction was aborted"),
        (TransactionStoppedError(), StatusCode.FAILED_PRECONDITION, "transaction was stopped"),
    ],
)
async def test_refused_reference_transaction(
    node: OperationNode, service: HookService, failure: PraefectError, code: StatusCode, text: str
) -> None:
    node.hooks.voters.failures[0] = failure
    with pytest.raises(PraefectError) as caught:
        await reference_transaction(node, service, ReferenceTransactionHookRequest.PREPARED)
    assert code_of(caught.value) is code
    assert str(caught.value) == f"reference-transaction hook: error voting on transaction: {text}"


async def test_repository_is_needed(service: HookService) -> None:
    call = a_call()
    with pytest.raises(PraefectError, match="repository not set"):
        await answers(service.update_hook(UpdateHookRequest(), call), call, UpdateHookResponse)
    generator = service.pre_receive_hook(stream_of([PreReceiveHookRequest()]), call)
    with pytest.raises(PraefectError, match="repository not set"):
        await answers(generator, call, PreReceiveHookResponse)


async def test_proc_receive_is_refused(service: HookService) -> None:
    call = a_call()
    generator = service.proc_receive_hook(stream_of([ProcReceiveHookRequest()]), call)
    with pytest.raises(PraefectError, match="creating handler: ") as caught:
        await answers(generator, call, PreReceiveHookResponse)
    assert code_of(caught.value) is StatusCode.INTERNAL


def pack_objects(node: OperationNode, *arguments: str) -> PackObjectsHookWithSidechannelRequest:
    return PackObjectsHookWithSidechannelRequest(repository=node.hooks.repository.message(), args=arguments)


@pytest.mark.parametrize(
    ("arguments", "socket", "text"),
    [
        (["foo"], "/x", "invalid pack-objects command: [foo]: missing pack-objects"),
        (["pack-objects", "x"], "/x", "invalid pack-objects command: [pack-objects x]: non-flag argument"),
        (["pack-objects", "--stdout"], "/x", 'invalid side channel address: "/x"'),
    ],
)
async def test_pack_objects_that_are_refused(
    node: OperationNode, service: HookService, arguments: list[str], socket: str, text: str
) -> None:
    call = a_call()
    call.metadata.append("gitaly-sidechannel-socket", socket)
    with pytest.raises(PraefectError) as caught:
        await service.pack_objects_hook_with_sidechannel(pack_objects(node, *arguments), call)
    assert (code_of(caught.value), str(caught.value)) == (StatusCode.INVALID_ARGUMENT, text)


async def test_objects_are_packed_over_the_hooks_socket(
    node: OperationNode, service: HookService, tmp_path: Path
) -> None:
    work_tree = await make_work_tree(tmp_path / "work")
    head = await commit(work_tree, "b", "2\n")
    await run_git("push", "--quiet", str(node.path), "main", cwd=work_tree)
    received: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def hook(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"{head}\n--not\n\n".encode())
        writer.write_eof()
        received.set_result(await reader.read())
        writer.close()

    async with await asyncio.start_unix_server(hook, tmp_path / "sidechannel"):
        call = a_call()
        call.metadata.append("gitaly-sidechannel-socket", str(tmp_path / "sidechannel"))
        request = pack_objects(node, "--shallow-file", "", "pack-objects", "--revs", "--stdout", "--progress")
        await service.pack_objects_hook_with_sidechannel(request, call)
        packets = [packet for packet in PacketScanner().feed(await received) if isinstance(packet, bytes)]
    pack = b"".join(packet[1:] for packet in packets if packet[0] == 1)
    assert pack.startswith(b"PACK")
    assert int.from_bytes(pack[8:12], "big") == 6
    assert b"Total" in b"".join(packet[1:] for packet in packets if packet[0] == 2)
