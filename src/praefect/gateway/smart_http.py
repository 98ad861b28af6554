"""Smart HTTP for git clients: reference advertisement, upload-pack over a sidechannel, receive-pack.

A push is over for git only when its RPC has ended OK: until then the response's body is not ended but, on failure, the
connection is broken. Of a POST that fails git shows nothing but the number of the HTTP status; so what its user has to
know is said in git's own protocol, as long as nothing else was. Source: git's gitprotocol-http and gitprotocol-pack
manual pages and the node reference on the HTTP front end.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import AsyncIterator, Callable
from functools import partial
from http import HTTPStatus
from typing import Final, Self

from aiohttp import StreamReader, web

from praefect.domain.errors import InternalError, PraefectError
from praefect.gateway.access import Access, User
from praefect.gateway.projects import Project, ProjectNotFoundError, ProjectStore
from praefect.gateway.storages import (
    Storage,
    Storages,
    UnknownStorageError,
    call_metadata,
    failure_fields,
    repository_of,
)
from praefect.observability.log import get_logger
from praefect.proto import smarthttp_pb2
from praefect.transport.grpc.status import StatusCode, StatusError, code_of
from praefect.transport.sidechannel import SidechannelClient

CHUNK_BYTES = 64 << 10
UPLOAD_PACK, RECEIVE_PACK = "git-upload-pack", "git-receive-pack"
PACKET_HEAD_BYTES: Final = 4
MAX_REASON_BYTES: Final = 4000
MAX_DISCARDED_BYTES: Final = 64 << 20
DISCARD_SECONDS: Final = 30.0
NO_CACHE = {"Cache-Control": "no-cache, max-age=0, must-revalidate"}

_HTTP_STATUS = {
    StatusCode.NOT_FOUND: HTTPStatus.NOT_FOUND,
    StatusCode.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    StatusCode.RESOURCE_EXHAUSTED: HTTPStatus.TOO_MANY_REQUESTS,
    StatusCode.DEADLINE_EXCEEDED: HTTPStatus.GATEWAY_TIMEOUT,
}

_PACKET_HEAD: Final = re.compile(rb"(?!0003)[0-9a-fA-F]{4}")

_log = get_logger("gateway.smart_http")


class SidechannelMissingError(InternalError):
    """The server said OK to a fetch without having sent anything."""

    def __init__(self) -> None:
        super().__init__("the server did not open the sidechannel")


class SmartHttp:
    """The handlers under ``/<project>.git``."""

    def __init__(self, *, access: Access, projects: ProjectStore, storages: Storages) -> None:
        self._access = access
        self._projects = projects
        self._storages = storages

    def routes(self) -> list[web.RouteDef]:
        """Return the routes to serve."""
        return [
            web.get(r"/{project:.+?}.git/info/refs", self.info_refs),
            web.post(r"/{project:.+?}.git/git-upload-pack", self.upload_pack),
            web.post(r"/{project:.+?}.git/git-receive-pack", self.receive_pack),
        ]

    async def info_refs(self, request: web.Request) -> web.StreamResponse:
        """Advertise references and capabilities."""
        service = request.query.get("service", "")
        if service not in (UPLOAD_PACK, RECEIVE_PACK):
            # The dumb protocol, which would need the repository's files, is not served.
            raise web.HTTPForbidden(text="only smart HTTP is served; use git 1.6.6 or newer\n")
        user, project, storage = await self._enter(request, writes=service == RECEIVE_PACK)
        git_protocol = _git_protocol(request)
        method = "InfoRefsUploadPack" if service == UPLOAD_PACK else "InfoRefsReceivePack"
        response = _response(f"application/x-{service}-advertisement")
        async with _Answer(request, response, storage) as answer:
            async for message in storage.channel.server_stream(
                f"/gitaly.SmartHTTPService/{method}",
                smarthttp_pb2.InfoRefsRequest(repository=repository_of(project), git_protocol=git_protocol),
                smarthttp_pb2.InfoRefsResponse,
                metadata=call_metadata(user, request.remote),
            ):
                await answer.write(message.data)
        return response

    async def upload_pack(self, request: web.Request) -> web.StreamResponse:
        """Serve a clone or fetch; its bytes travel beside the call."""
        user, project, storage = await self._enter(request, writes=False)
        git_protocol = _git_protocol(request)
        response = _response(f"application/x-{UPLOAD_PACK}-result")
        async with _Answer(request, response, storage) as answer, storage.sidechannels.register() as waiter:
            metadata = [*call_metadata(user, request.remote), waiter.metadata]
            first = await _first_packet(request)
            answer.refusal = _fetch_refusal
            async with asyncio.TaskGroup() as pumps:
                body = _chunks(first, request.content)
                pump = pumps.create_task(_pump(waiter, body, answer), name="upload-pack sidechannel")
                try:
                    await storage.channel.unary(
                        "/gitaly.SmartHTTPService/PostUploadPackWithSidechannel",
                        smarthttp_pb2.PostUploadPackWithSidechannelRequest(
                            repository=repository_of(project), git_protocol=git_protocol
                        ),
                        smarthttp_pb2.PostUploadPackWithSidechannelResponse,
                        metadata=metadata,
                    )
                except BaseException:
                    pump.cancel()
                    raise
                if not waiter.arrived:
                    pump.cancel()
                    raise SidechannelMissingError
        return response

    async def receive_pack(self, request: web.Request) -> web.StreamResponse:
        """Serve a push."""
        user, project, storage = await self._enter(request, writes=True)
        start = smarthttp_pb2.PostReceivePackRequest(
            repository=repository_of(project),
            gl_id=user.gl_id,
            gl_repository=project.gl_repository,
            gl_username=user.username,
            git_protocol=_git_protocol(request),
        )
        response = _response(f"application/x-{RECEIVE_PACK}-result")
        async with _Answer(request, response, storage) as answer:
            first = await _first_packet(request)
            answer.refusal = partial(_push_refusal, is_multiplexed=b"side-band-64k" in first)
            call = storage.channel.bidi(
                "/gitaly.SmartHTTPService/PostReceivePack",
                smarthttp_pb2.PostReceivePackResponse,
                metadata=call_metadata(user, request.remote),
            )
            async with call as stream, asyncio.TaskGroup() as pumps:
                sender = pumps.create_task(
                    stream.send_all(_receive_pack_requests(start, _chunks(first, request.content))),
                    name="receive-pack request",
                )
                try:
                    async for message in stream.messages():
                        await answer.write(message.data)
                finally:
                    sender.cancel()
        return response

    async def _enter(self, request: web.Request, *, writes: bool) -> tuple[User, Project, Storage]:
        """Authenticate the client, find the project and its storage."""
        user = self._authenticate(request)
        if writes and user.read_only:
            raise web.HTTPForbidden(text="You are not allowed to push code to this project.\n")
        try:
            project = await self._projects.get_by_path(request.match_info["project"])
        except ProjectNotFoundError as exc:
            raise web.HTTPNotFound(
                text="The project you were looking for could not be found or you don't have permission to view it.\n"
            ) from exc
        try:
            storage = self._storages.get(project.storage)
        except UnknownStorageError as exc:
            _log.error("project is on an unknown storage", project=project.path, error=str(exc))
            raise _http_error(HTTPStatus.INTERNAL_SERVER_ERROR, f"{code_of(exc).value}:{exc}\n") from exc
        return user, project, storage

    def _authenticate(self, request: web.Request) -> User:
        scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "basic":
            try:
                username, _, token = base64.b64decode(encoded, validate=True).decode().partition(":")
            except ValueError:  # not ASCII, not base64, or not UTF-8 below it
                username, token = "", ""
            user = self._access.authenticate(username, token)
            if user is not None:
                return user
        raise web.HTTPUnauthorized(
            text="HTTP Basic: Access denied. The token is wrong or was not given.\n",
            headers={"WWW-Authenticate": 'Basic realm="praefect-gateway"'},
        )


class _Answer:
    """A streamed response: an error before its first byte is told, a later one breaks the connection.

    Attributes:
        refusal: gives the body that tells git of an error; until it is set errors become HTTP statuses.
    """

    def __init__(self, request: web.Request, response: web.StreamResponse, storage: Storage) -> None:
        self._request = request
        self._response = response
        self._storage = storage
        self.refusal: Callable[[str], bytes] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def write(self, data: bytes) -> None:
        """Send bytes of the body, the response's head first."""
        if not self._response.prepared:
            await self._response.prepare(self._request)
        if data:
            await self._response.write(data)

    async def __aexit__(self, exc_type: object, exc: BaseException | None, traceback: object) -> bool:
        if exc is None:
            await self.write(b"")
            await self._response.write_eof()
            return False
        error = _first_error(exc)
        if error is not None:
            _log.warning("git request failed", path=self._request.path, **failure_fields(self._storage, error))
        if self._response.prepared and self._request.transport is not None:
            self._request.transport.abort()  # no normal end, whatever it was
        if error is None and not _is_clients_doing(exc):
            return False
        if self._response.prepared:
            return True
        if error is None:
            raise web.HTTPBadRequest(text="the body ended early, or cannot be decoded\n") from exc
        code = code_of(error)
        if self.refusal is not None and await _discard_rest(self._request):
            await self.write(self.refusal(f"{code.value}:{error}"))
            await self._response.write_eof()
            return True
        status = _HTTP_STATUS.get(code, HTTPStatus.INTERNAL_SERVER_ERROR)
        raise _http_error(status, f"{code.value}:{error}\n") from exc


def _fetch_refusal(reason: str) -> bytes:
    """Return what makes git say ``fatal: remote error: <reason>``."""
    return _packet(b"ERR " + _one_line(reason))


def _push_refusal(reason: str, *, is_multiplexed: bool) -> bytes:
    """Return what makes git say ``error: remote unpack failed: <reason>``.

    Of the single references nothing is said, so git calls their fate unknown, as it is after an error half-way.
    """
    report = _packet(b"unpack " + _one_line(reason) + b"\n") + b"0000"
    return _packet(b"\x01" + report) + b"0000" if is_multiplexed else report


def _packet(payload: bytes) -> bytes:
    return b"%04x" % (PACKET_HEAD_BYTES + len(payload)) + payload


def _one_line(reason: str) -> bytes:
    return " ".join(reason.split()).encode()[:MAX_REASON_BYTES]


async def _discard_rest(request: web.Request) -> bool:
    """Read what git still sends, without which it would not look at the answer; return whether that was possible."""
    size = 0
    try:
        async with asyncio.timeout(DISCARD_SECONDS):
            while data := await request.content.readany():
                size += len(data)
                if size > MAX_DISCARDED_BYTES:
                    return False
    except (TimeoutError, ConnectionError, web.RequestPayloadError):
        return False
    return True


def _first_error(exc: BaseException) -> PraefectError | None:
    """Return the error that decides, out of what a task group collected."""
    if isinstance(exc, PraefectError):
        return exc
    if isinstance(exc, BaseExceptionGroup):
        errors = [error for error in map(_first_error, exc.exceptions) if error is not None]
        statuses = [error for error in errors if isinstance(error, StatusError)]
        return (statuses or errors or [None])[0]
    return None


def _is_clients_doing(exc: BaseException) -> bool:
    """Return whether the client went away, or sent what is not HTTP."""
    if isinstance(exc, BaseExceptionGroup):
        return all(map(_is_clients_doing, exc.exceptions))
    return isinstance(exc, ConnectionError | web.RequestPayloadError)


def _http_error(status: HTTPStatus, text: str) -> web.HTTPException:
    # git shows the lines of a plain-text error to its user.
    class _Error(web.HTTPError):
        status_code = status.value

    return _Error(text=text, content_type="text/plain")


def _response(content_type: str) -> web.StreamResponse:
    response = web.StreamResponse(headers={**NO_CACHE, "Content-Type": content_type})
    response.enable_chunked_encoding()
    return response


def _git_protocol(request: web.Request) -> str:
    text = request.headers.get("Git-Protocol", "")
    if not (text.isascii() and text.isprintable()):
        raise web.HTTPBadRequest(text="the header Git-Protocol holds more than printable ASCII\n")
    return text


async def _first_packet(request: web.Request) -> bytes:
    """Return the beginning of a body, which is that of git's.

    Raises:
        web.HTTPBadRequest: it is not.
    """
    head = await _read(request.content, PACKET_HEAD_BYTES)
    if not _PACKET_HEAD.fullmatch(head):
        raise web.HTTPBadRequest(text="the body is not what git sends\n")
    return head + await _read(request.content, max(0, int(head, 16) - PACKET_HEAD_BYTES))


async def _read(content: StreamReader, size: int) -> bytes:
    """Read so many bytes, or fewer if it ends before."""
    found = bytearray()
    while len(found) < size and (data := await content.read(size - len(found))):
        found += data
    return bytes(found)


async def _chunks(first: bytes, rest: StreamReader) -> AsyncIterator[bytes]:
    yield first
    async for chunk in rest.iter_chunked(CHUNK_BYTES):
        yield chunk


async def _pump(waiter: SidechannelClient, body: AsyncIterator[bytes], answer: _Answer) -> None:
    """Copy the request's body to the sidechannel and what comes back to the client."""
    channel = await waiter.accept()
    async with channel:
        async for chunk in body:
            await channel.write(chunk)
        await channel.close_write()
        while data := await channel.read():
            await answer.write(data)


async def _receive_pack_requests(
    start: smarthttp_pb2.PostReceivePackRequest, body: AsyncIterator[bytes]
) -> AsyncIterator[smarthttp_pb2.PostReceivePackRequest]:
    yield start
    async for chunk in body:
        yield smarthttp_pb2.PostReceivePackRequest(data=chunk)
