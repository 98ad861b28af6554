"""Pushes that go wrong: bad requests, clients that die, a full disk. Nothing is left behind."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from asyncio.subprocess import PIPE
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import pytest

from praefect.node.pktline import FLUSH, encode
from praefect.proto.shared_pb2 import Repository
from praefect.proto.smarthttp_pb2 import PostReceivePackRequest, PostReceivePackResponse
from praefect.proto.ssh_pb2 import SSHReceivePackRequest, SSHReceivePackResponse
from praefect.transport.grpc.status import StatusCode, StatusError
from tests.support.git_over_rpc import serve_http
from tests.support.hook_node import CLIENT_ENVIRONMENT, count_objects, make_work_tree, run_git
from tests.support.processes import wait_for_a_process, wait_for_no_process
from tests.support.serving_node import ServingNode, collect, serving_node

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

HTTP_METHOD = "/gitaly.SmartHTTPService/PostReceivePack"
SSH_METHOD = "/gitaly.SSHService/SSHReceivePack"
ZERO = "0" * 40


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[ServingNode]:
    async with serving_node(tmp_path) as node:
        yield node


@pytest.fixture
async def work_tree(tmp_path: Path) -> Path:
    return await make_work_tree(tmp_path / "work")


def first_http(node: ServingNode) -> PostReceivePackRequest:
    return PostReceivePackRequest(repository=node.front_end.repository, gl_id="user-7", gl_username="jane")


def first_ssh(node: ServingNode) -> SSHReceivePackRequest:
    return SSHReceivePackRequest(repository=node.front_end.repository, gl_id="user-7", gl_username="jane")


async def push_body(work_tree: Path) -> bytes:
    """Return what a client sends for a push of main into an empty repository."""
    head = (await run_git("rev-parse", "main", cwd=work_tree)).stdout.strip()

    def pack() -> bytes:
        return subprocess.run(
            ["git", "pack-objects", "--stdout", "--revs"],
            cwd=work_tree,
            input=b"main\n",
            capture_output=True,
            check=True,
            env={"PATH": os.environ["PATH"], **CLIENT_ENVIRONMENT},
        ).stdout

    command = f"{ZERO} {head} refs/heads/main\0report-status agent=test\n".encode()
    return encode(command) + FLUSH + await asyncio.to_thread(pack)


@pytest.mark.parametrize(
    ("fields", "code", "text"),
    [
        ({"gl_id": "", "repository": Repository()}, StatusCode.INVALID_ARGUMENT, "empty GlId"),
        ({"data": b"x"}, StatusCode.INVALID_ARGUMENT, "non-empty Data"),
        ({"repository": Repository()}, StatusCode.INVALID_ARGUMENT, "repository not set"),
        (
            {"repository": Repository(storage_name="default", relative_path="gone")},
            StatusCode.NOT_FOUND,
            "repository not found",
        ),
    ],
)
async def test_bad_first_messages(node: ServingNode, fields: dict[str, object], code: StatusCode, text: str) -> None:
    request = first_http(node)
    for name, value in fields.items():
        if isinstance(value, Repository):
            getattr(request, name).CopyFrom(value)
        else:
            setattr(request, name, value)
    async with node.plain.bidi(HTTP_METHOD, PostReceivePackResponse) as call:
        await call.send(request)
        with pytest.raises(StatusError) as caught:
            await call.receive()
    assert (caught.value.code, caught.value.message) == (code, text)


async def test_bad_first_messages_over_ssh(node: ServingNode) -> None:
    for request, text in [
        (SSHReceivePackRequest(stdin=b"x"), "empty GlId"),
        (SSHReceivePackRequest(gl_id="user-7", stdin=b"x"), "non-empty data in first request"),
        (SSHReceivePackRequest(gl_id="user-7"), "repository not set"),
    ]:
        async with node.plain.bidi(SSH_METHOD, SSHReceivePackResponse) as call:
            await call.send(request)
            with pytest.raises(StatusError) as caught:
                await call.receive()
        assert (caught.value.code, caught.value.message) == (StatusCode.INVALID_ARGUMENT, text)


async def test_probe_of_a_flush_alone(node: ServingNode) -> None:
    async with node.plain.bidi(HTTP_METHOD, PostReceivePackResponse) as call:
        await call.send(first_http(node))
        await call.send(PostReceivePackRequest(data=FLUSH))
        await call.half_close()
        assert await call.receive() is None


async def test_no_data_at_all(node: ServingNode) -> None:
    async with node.plain.bidi(HTTP_METHOD, PostReceivePackResponse) as call:
        await call.send(first_http(node))
        await call.half_close()
        with pytest.raises(StatusError) as caught:
            await call.receive()
    assert (caught.value.code, caught.value.message) == (
        StatusCode.FAILED_PRECONDITION,
        "waiting for receive-pack: exit status 128",
    )


async def test_ssh_client_that_hangs_up(node: ServingNode) -> None:
    async with node.plain.bidi(SSH_METHOD, SSHReceivePackResponse) as call:
        await call.send(first_ssh(node))
        await call.half_close()
        answers: list[SSHReceivePackResponse] = []
        with pytest.raises(StatusError) as caught:
            await collect(call, answers)
    assert [answer.exit_status.value for answer in answers if answer.HasField("exit_status")] == [128]
    assert b"".join(answer.stderr for answer in answers) == b"fatal: the remote end hung up unexpectedly\n"
    assert (caught.value.code, caught.value.message) == (StatusCode.CANCELLED, "user canceled the push")


async def test_whole_push_by_hand(node: ServingNode, work_tree: Path) -> None:
    body = await push_body(work_tree)
    async with node.plain.bidi(HTTP_METHOD, PostReceivePackResponse) as call:
        await call.send(first_http(node))
        for start in range(0, len(body), 50):
            await call.send(PostReceivePackRequest(data=body[start : start + 50]))
        await call.half_close()
        report = b"".join([answer.data async for answer in call.messages()])
    assert report == b"000eunpack ok\n0017ok refs/heads/main\n0000"


@pytest.mark.parametrize("keep", [4, 200, -30], ids=["flush", "command", "half a pack"])
async def test_client_that_dies_half_way_leaves_nothing(node: ServingNode, work_tree: Path, keep: int) -> None:
    body = (await push_body(work_tree))[:keep]
    async with node.plain.bidi(HTTP_METHOD, PostReceivePackResponse) as call:
        await call.send(first_http(node))
        await call.send(PostReceivePackRequest(data=body))
        await wait_for_a_process(node.path)
        # Leaving without the end of the request resets the stream.
    await wait_for_no_process(node.path)
    await node.idle()
    assert await node.hooks.references() == []
    assert count_objects(node.path) == 0
    assert not list(node.path.glob("objects/tmp_objdir*"))
    assert not list(node.path.rglob("*.lock"))


async def test_client_that_dies_while_the_front_door_thinks(node: ServingNode, work_tree: Path) -> None:
    asked, never = asyncio.Event(), asyncio.Event()

    async def think() -> None:
        asked.set()
        await never.wait()

    node.hooks.door.before["/allowed"] = think
    async with node.plain.bidi(HTTP_METHOD, PostReceivePackResponse) as call:
        await call.send(first_http(node))
        await call.send(PostReceivePackRequest(data=await push_body(work_tree)))
        await call.half_close()
        async with asyncio.timeout(10):
            await asked.wait()
        assert list(node.path.glob("objects/tmp_objdir*"))
    await wait_for_no_process(node.path)
    await node.idle()
    assert count_objects(node.path) == 0
    assert not list(node.path.glob("objects/tmp_objdir*"))
    never.set()


@asynccontextmanager
async def another_git(path: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a git that works in a repository until left."""
    process = await asyncio.create_subprocess_exec(
        "git", f"--git-dir={path}", "cat-file", "--batch-check", stdin=PIPE, stdout=PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(b"absent\n")
        await process.stdin.drain()
        assert await process.stdout.readline() == b"absent missing\n"
        yield process
    finally:
        process.stdin.close()
        await process.wait()


async def cut_off_a_push(node: ServingNode, body: bytes) -> None:
    """Push, and hang up when the objects are in quarantine and the front door thinks about them."""
    asked, never = asyncio.Event(), asyncio.Event()

    async def think() -> None:
        asked.set()
        await never.wait()

    node.hooks.door.before["/allowed"] = think
    async with node.plain.bidi(HTTP_METHOD, PostReceivePackResponse) as call:
        await call.send(first_http(node))
        await call.send(PostReceivePackRequest(data=body))
        await call.half_close()
        async with asyncio.timeout(10):
            await asked.wait()
    await node.idle()
    never.set()


async def test_push_cut_off_in_a_busy_repository_leaves_nothing_for_long(node: ServingNode, work_tree: Path) -> None:
    async with asyncio.TaskGroup() as group:
        again = group.create_task(node.leftovers.run(), name="leftovers")
        async with another_git(node.path):
            await cut_off_a_push(node, await push_body(work_tree))
            assert list(node.path.glob("objects/tmp_objdir*"))
        async with asyncio.timeout(30):
            while list(node.path.glob("objects/tmp_objdir*")):  # noqa: ASYNC110 - the kernel's events are not worth it
                await asyncio.sleep(0.05)
        again.cancel()


async def test_what_was_cut_off_goes_while_later_ones_are_at_work(node: ServingNode, work_tree: Path) -> None:
    async with AsyncExitStack() as later:
        async with another_git(node.path):
            await cut_off_a_push(node, await push_body(work_tree))
            await later.enter_async_context(another_git(node.path))
            later_one = node.path / "objects/tmp_objdir-incoming-later"
            later_one.mkdir()
            await node.leftovers.run_once()
            assert len(list(node.path.glob("objects/tmp_objdir*"))) == 2
        await node.leftovers.run_once()
        assert list(node.path.glob("objects/tmp_objdir*")) == [later_one]
        assert node.leftovers.pending == 0


async def test_push_cut_off_spares_the_quarantine_of_another(node: ServingNode, work_tree: Path) -> None:
    body = await push_body(work_tree)
    thinking, go_on = asyncio.Event(), asyncio.Event()

    async def think() -> None:
        thinking.set()
        await go_on.wait()

    node.hooks.door.before["/allowed"] = think
    async with node.plain.bidi(HTTP_METHOD, PostReceivePackResponse) as call:
        await call.send(first_http(node))
        await call.send(PostReceivePackRequest(data=body))
        await call.half_close()
        async with asyncio.timeout(10):
            await thinking.wait()
        [living] = node.path.glob("objects/tmp_objdir*")
        await hang_up_while_it_unpacks(node, body)
        await node.leftovers.run_once()
        assert living.exists()
        go_on.set()
        report = b"".join([answer.data async for answer in call.messages()])
    assert report == b"000eunpack ok\n0017ok refs/heads/main\n0000"
    await wait_for_no_process(node.path)
    await node.leftovers.run_once()
    assert not list(node.path.glob("objects/tmp_objdir*"))
    assert node.leftovers.pending == 0


async def hang_up_while_it_unpacks(node: ServingNode, body: bytes) -> None:
    """Push a part and hang up; return when the node is done with it."""
    async with node.plain.bidi(HTTP_METHOD, PostReceivePackResponse) as call:
        await call.send(first_http(node))
        await call.send(PostReceivePackRequest(data=body[:-30]))
        async with asyncio.timeout(10):
            while len(list(node.path.glob("objects/tmp_objdir*"))) < 2:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.05)
    async with asyncio.timeout(10):
        while node.leftovers.pending == 0:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.05)


async def test_front_door_sees_the_objects_while_it_thinks(node: ServingNode, work_tree: Path) -> None:
    seen: list[str] = []

    async def look() -> None:
        environment = node.hooks.door.last("/allowed").values["env"]
        assert isinstance(environment, str)
        [quarantine] = node.path.glob("objects/tmp_objdir*")
        assert quarantine.name in environment
        found = await run_git(
            "cat-file",
            "--batch-check",
            "--batch-all-objects",
            cwd=node.path,
            environment={"GIT_OBJECT_DIRECTORY": str(quarantine)},
        )
        seen.extend(found.stdout.splitlines())

    node.hooks.door.before["/allowed"] = look
    async with serve_http(node.front_end) as url:
        await run_git("push", url, "main", cwd=work_tree)
    assert len(seen) == 3


async def test_broken_objects_are_refused(node: ServingNode, work_tree: Path) -> None:
    body = bytearray(await push_body(work_tree))
    body[-40] ^= 0xFF
    async with node.plain.bidi(HTTP_METHOD, PostReceivePackResponse) as call:
        await call.send(first_http(node))
        await call.send(PostReceivePackRequest(data=bytes(body)))
        await call.half_close()
        report = b"".join([answer.data async for answer in call.messages()])
    assert b"ng refs/heads/main unpacker error" in report
    assert count_objects(node.path) == 0
    assert node.hooks.door.requests == []


@contextmanager
def small_disk(path: Path) -> Iterator[None]:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(path)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("no right to mount a small disk")
    try:
        yield
    finally:
        subprocess.run(["umount", str(path)], check=True)


@pytest.mark.root
async def test_full_disk_fails_the_push_and_says_so(node: ServingNode, work_tree: Path) -> None:
    async with serve_http(node.front_end) as url:
        await run_git("push", url, "main", cwd=work_tree)
        kept = node.path.parent / "kept.git"
        node.path.rename(kept)
        node.path.mkdir()
        with small_disk(node.path):
            await asyncio.to_thread(shutil.copytree, kept, node.path, dirs_exist_ok=True)
            (work_tree / "big").write_bytes(os.urandom(4 << 20))
            await run_git("add", "big", cwd=work_tree)
            await run_git("commit", "--quiet", "-m", "big", cwd=work_tree)
            pushed = await run_git("push", url, "main", cwd=work_tree, check=False)
            assert pushed.returncode != 0
            assert "No space left on device" in pushed.stderr
            assert not list(node.path.glob("objects/tmp_objdir*"))
            await run_git("fsck", "--strict", cwd=node.path)
            await run_git("clone", "--quiet", url, "clone", cwd=work_tree.parent)
