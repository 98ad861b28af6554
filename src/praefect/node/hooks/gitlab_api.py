"""The client of the internal API. Every request is a connection of its own, carries a fresh JWT and is never repeated.

Source: wire.md 10.4.
"""

from __future__ import annotations

import base64
import hmac
import json
import ssl
import time
import urllib.parse
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Self

import aiohttp

from praefect.node.hooks.internal_api import (
    AllowedRequest,
    ApiInfo,
    InternalApiError,
    NotAllowedError,
    PostReceiveAnswer,
    PostReceiveRequest,
    RateLimitedError,
)
from praefect.node.hooks.messages import Message, MessageKind
from praefect.observability.correlation import correlation_id

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

_UNIX_SCHEME = "http+unix://"
_TOKEN_LIFETIME_SECONDS = 60
_TOKEN_HEADER = {"alg": "HS256", "typ": "JWT"}
_MAX_ANSWER_BYTES = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class InternalApiSettings:
    """Where the front door is and how to speak to it.

    Attributes:
        url: ``http://``, ``https://`` or ``http+unix://`` followed by the percent-encoded path of a socket.
        relative_url_root: what stands before ``/api`` when the URL is a socket.
        secret: the shared secret; surrounding white space does not count.
        user, password: HTTP Basic, used only if both are set.
        ca_file, ca_path: further certificate authorities, beside the system's.
        client_certificate: certificate chain and key that this node presents, if it has its own.
        read_timeout_seconds: for a whole request.
    """

    url: str
    secret: str = field(repr=False)
    relative_url_root: str = ""
    user: str = ""
    password: str = field(default="", repr=False)
    ca_file: Path | None = None
    ca_path: Path | None = None
    client_certificate: tuple[Path, Path] | None = None
    read_timeout_seconds: int = 300
    user_agent: str = "gitaly/19.1.0"


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    content_type: str
    body: bytes

    @property
    def is_accepted(self) -> bool:
        return self.status in {HTTPStatus.OK, HTTPStatus.MULTIPLE_CHOICES}


class GitlabApi:
    """Speaks to the front door over HTTP; an async context manager."""

    def __init__(self, settings: InternalApiSettings) -> None:
        self._settings = settings
        self._secret = settings.secret.strip()
        self._base, self._socket_path = _parse_url(settings.url, settings.relative_url_root)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector: aiohttp.BaseConnector
        if self._socket_path:
            connector = aiohttp.UnixConnector(self._socket_path, force_close=True, limit=0)
        elif self._base.startswith("https://"):
            connector = aiohttp.TCPConnector(ssl=_tls_context(self._settings), force_close=True, limit=0)
        else:
            connector = aiohttp.TCPConnector(force_close=True, limit=0)
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=self._settings.read_timeout_seconds or 300),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def check(self) -> ApiInfo:
        """See ``InternalApi``."""
        try:
            answer = await self._request("GET", "/check")
            _require_accepted(answer)
            values = _object(answer)
        except NotAllowedError as error:
            raise InternalApiError(error.text) from error
        return ApiInfo(
            version=str(values.get("gitlab_version") or ""),
            revision=str(values.get("gitlab_revision") or ""),
            api_version=str(values.get("api_version") or ""),
            is_redis_reachable=values.get("redis") is True,
        )

    async def allowed(self, request: AllowedRequest) -> None:
        """See ``InternalApi``."""
        answer = await self._post("/allowed", _allowed_body(request), request.remote_ip)
        if answer.is_accepted and answer.content_type != "application/json":
            message = f"/allowed endpoint respond with unsupported content type: {answer.content_type}"
            raise NotAllowedError(message)
        _require_accepted(answer)
        values = _object(answer)
        if values.get("status") is not True:
            raise NotAllowedError(str(values.get("message") or ""))

    async def pre_receive(self, gl_repository: str, *, remote_ip: str = "") -> bool:
        """See ``InternalApi``."""
        answer = await self._post("/pre_receive", {"gl_repository": gl_repository}, remote_ip)
        _require_accepted(answer)
        return _object(answer).get("reference_counter_increased") is True

    async def post_receive(self, request: PostReceiveRequest) -> PostReceiveAnswer:
        """See ``InternalApi``."""
        body = {
            "gl_repository": request.gl_repository,
            "identifier": request.gl_id,
            "changes": _text(request.changes),
            "push_options": list(request.push_options) or None,
            "gitaly_client_context_bin": _base64(request.client_context) or None,
        }
        answer = await self._post("/post_receive", body, request.remote_ip)
        _require_accepted(answer)
        values = _object(answer)
        return PostReceiveAnswer(
            is_counter_decreased=values.get("reference_counter_decreased") is True,
            messages=_messages(values.get("messages")),
        )

    async def _post(self, path: str, body: Mapping[str, object], remote_ip: str) -> _Answer:
        return await self._request("POST", path, body=_go_json(body).encode(), remote_ip=remote_ip)

    async def _request(self, method: str, path: str, *, body: bytes | None = None, remote_ip: str = "") -> _Answer:
        if self._session is None:
            message = "Internal API unreachable"
            raise NotAllowedError(message)
        try:
            async with self._session.request(
                method,
                f"{self._base}/api/v4/internal{path}",
                data=body,
                headers=self._headers(remote_ip),
                allow_redirects=False,
            ) as response:
                answer = _Answer(response.status, response.content_type, await _read(response))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            message = "Internal API unreachable"
            raise NotAllowedError(message) from error
        if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
            raise RateLimitedError
        return answer

    def _headers(self, remote_ip: str) -> dict[str, str]:
        headers = {
            "Gitlab-Shell-Api-Request": make_token(self._secret, int(time.time())),
            "Content-Type": "application/json",
            "Accept-Encoding": "gzip",
            "User-Agent": self._settings.user_agent,
            "Connection": "close",
        }
        if request_id := correlation_id.get():
            headers["X-Request-ID"] = request_id
        if remote_ip:
            headers["X-Forwarded-For"] = remote_ip
        if self._settings.user and self._settings.password:
            credentials = f"{self._settings.user}:{self._settings.password}"
            headers["Authorization"] = f"Basic {_base64(credentials.encode())}"
        return headers


def make_token(secret: str, now: int) -> str:
    """Return the JWT of one request, valid from ``now`` (Unix seconds) for a minute."""
    claims = {"iss": "gitlab-shell", "exp": now + _TOKEN_LIFETIME_SECONDS, "iat": now}
    signed = ".".join(_base64url(_go_json(part).encode()) for part in (_TOKEN_HEADER, claims))
    signature = hmac.digest(secret.encode(), signed.encode(), "sha256")
    return f"{signed}.{_base64url(signature)}"


async def _read(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > _MAX_ANSWER_BYTES:
            raise NotAllowedError("answer of the internal API is too long")
    return bytes(body)


def _parse_url(url: str, relative_url_root: str) -> tuple[str, str]:
    """Return the base URL and, for a URL that names a socket, its path."""
    root = relative_url_root.strip("/")
    if url.startswith(_UNIX_SCHEME):
        path = urllib.parse.unquote(url.removeprefix(_UNIX_SCHEME))
        return "http://unix" + (f"/{root}" if root else ""), path
    if not url.startswith(("http://", "https://")):
        message = f"unsupported URL scheme of gitlab.url: {url!r}"
        raise InternalApiError(message)
    return url.rstrip("/"), ""


def _tls_context(settings: InternalApiSettings) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.ca_file or settings.ca_path:
        context.load_verify_locations(
            cafile=str(settings.ca_file) if settings.ca_file else None,
            capath=str(settings.ca_path) if settings.ca_path else None,
        )
    if settings.client_certificate:
        certificate, key = settings.client_certificate
        context.load_cert_chain(certificate, key)
    return context


def _allowed_body(request: AllowedRequest) -> dict[str, object]:
    environment = {
        "GIT_ALTERNATE_OBJECT_DIRECTORIES_RELATIVE": list(request.alternate_object_directories) or None,
        "GIT_OBJECT_DIRECTORY_RELATIVE": request.object_directory,
    }
    body: dict[str, object] = {
        "action": "git-receive-pack",
        "gl_repository": request.gl_repository,
        "project": request.repository_path.replace("'", ""),
        "relative_path": request.relative_path,
        "changes": _text(request.changes),
        "protocol": request.protocol,
        "env": _go_json(environment),
        **_who(request.gl_id),
        "push_options": list(request.push_options),
        "gitaly_client_context_bin": _base64(request.client_context),
    }
    return {key: value for key, value in body.items() if value}


def _who(gl_id: str) -> dict[str, object]:
    kind, _, name = gl_id.partition("-")
    if kind == "username" and name:
        return {"username": name}
    if kind in {"key", "user"} and name.isascii() and name.isdigit():
        return {f"{kind}_id": name}
    message = f'gl_id="{gl_id}" is invalid'
    raise NotAllowedError(message)


def _require_accepted(answer: _Answer) -> None:
    if answer.is_accepted:
        return
    if answer.status < HTTPStatus.BAD_REQUEST:
        message = f"gitlab api is not accessible: {answer.status}"
        raise NotAllowedError(message)
    try:
        values = json.loads(answer.body)
    except ValueError:
        values = None
    if isinstance(values, dict) and isinstance(values.get("message"), str):
        raise NotAllowedError(values["message"])
    message = f"Internal API error ({answer.status})"
    raise NotAllowedError(message)


def _object(answer: _Answer) -> Mapping[str, object]:
    try:
        values = json.loads(answer.body)
    except ValueError as error:
        message = f"decoding response of the internal API: {error}"
        raise NotAllowedError(message) from error
    if not isinstance(values, dict):
        message = "decoding response of the internal API: not an object"
        raise NotAllowedError(message)
    return values


def _messages(values: object) -> list[Message]:
    messages = []
    for value in values if isinstance(values, list) else ():
        kind = value.get("type") if isinstance(value, dict) else None
        if kind not in set(MessageKind):
            message = f'Invalid message type: "{kind}"'
            raise NotAllowedError(message)
        messages.append(Message(kind=MessageKind(kind), text=str(value.get("message") or "")))
    return messages


def _go_json(values: Mapping[str, object]) -> str:
    """Serialise as the servers are used to: no spaces, and with what HTML could misread escaped."""
    text = json.dumps(values, separators=(",", ":"), ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


def _base64url(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode("ascii").rstrip("=")
