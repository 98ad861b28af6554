"""What clients send, judged before anything is done with it; what cannot be understood is answered with a 4xx."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from praefect.domain.errors import InvalidArgumentError
from praefect.observability.log import get_logger

MAX_API_BODY_BYTES: Final = 1 << 20
MAX_HOOK_BODY_BYTES: Final = 32 << 20
"""Hooks send a line for each reference of a push, and a push of a mirror has many."""

_CODINGS: Final = frozenset({"", "identity", "gzip", "deflate"})
_CHARSETS: Final = frozenset({None, "utf-8", "utf8", "us-ascii", "ascii"})
_FORMS: Final = frozenset({"application/x-www-form-urlencoded", "multipart/form-data"})
_ENCODING_ERRORS: Final = (ValueError, LookupError, RuntimeError, HttpProcessingError, web.RequestPayloadError)
"""What aiohttp raises for bodies that are not what their headers say."""
_CLIENTS_FAULTS: Final = (HttpProcessingError, web.RequestPayloadError)

_log = get_logger("gateway.http")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def refuse_unreadable(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse bodies in a coding that nobody here can read, and speak JSON to clients of the APIs also in errors."""
    try:
        if (coding := request.headers.get("Content-Encoding", "").lower()) not in _CODINGS:
            raise web.HTTPUnsupportedMediaType(text=f"Content-Encoding {coding[:80]!a} is not understood\n")
        return await handler(request)
    except web.HTTPError as exc:
        if request.path.startswith("/api/") and exc.content_type != "application/json":
            exc.text = json.dumps({"message": (exc.text or exc.reason).strip()})
            exc.content_type = "application/json"
        raise


class HttpLog(logging.LoggerAdapter[logging.Logger]):
    """Takes what the HTTP server logs: a client that does not speak HTTP is a line, not an error with its stack."""

    def __init__(self) -> None:
        super().__init__(logging.getLogger("aiohttp.server"))

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Write a line."""
        fault = kwargs.get("exc_info")
        if isinstance(fault, _CLIENTS_FAULTS):
            _log.info("request is not valid HTTP", error=ascii(str(fault)[:200]))
            return
        super().log(level, msg, *args, **kwargs)

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Add nothing."""
        return msg, kwargs


async def read_json(request: web.Request, *, limit_bytes: int) -> dict[str, Any]:
    """Return the JSON object that is the body.

    Raises:
        web.HTTPError: it is none, or too long.
    """
    _check_charset(request)
    try:
        body = json.loads(await request.clone(client_max_size=limit_bytes).read())
    except web.RequestPayloadError as exc:
        raise bad_request(f"the body cannot be read: {_describe(exc)}") from exc
    except RecursionError as exc:
        raise bad_request("the body is nested too deeply") from exc
    except ValueError as exc:  # no JSON, no UTF-8, or a number with thousands of digits
        raise bad_request("the body is not JSON") from exc
    if not isinstance(body, dict):
        raise bad_request("the body is not a JSON object")
    return body


async def read_form(request: web.Request) -> dict[str, Any]:
    """Return the fields of the query and of the body, a form or a JSON object.

    Raises:
        web.HTTPError: the body is neither, or too long.
    """
    if request.content_type == "application/json":
        return await read_json(request, limit_bytes=MAX_API_BODY_BYTES)
    if request.can_read_body and request.content_type not in _FORMS:
        raise web.HTTPUnsupportedMediaType(text="the body is neither JSON nor a form")
    _check_charset(request)
    try:
        fields = await request.clone(client_max_size=MAX_API_BODY_BYTES).post()
    except _ENCODING_ERRORS as exc:
        raise bad_request(f"the form cannot be read: {_describe(exc)}") from exc
    return {**request.query, **{name: value for name, value in fields.items() if isinstance(value, str)}}


def text_field(fields: Mapping[str, Any], name: str) -> str:
    """Return the text of a field, which is empty if it is not given.

    Raises:
        InvalidArgumentError: it is something else, or holds half a surrogate pair.
    """
    value = fields.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidArgumentError(f"{name} must be a string")
    if not _is_unicode(value):
        raise InvalidArgumentError(f"{name} is not valid Unicode")
    return value


def bad_request(message: str) -> web.HTTPBadRequest:
    """Return the error that says what is wrong with a request, as the APIs do."""
    return web.HTTPBadRequest(text=json.dumps({"message": message}), content_type="application/json")


def _check_charset(request: web.Request) -> None:
    charset = request.charset
    if charset is not None and charset.lower() not in _CHARSETS:
        raise web.HTTPUnsupportedMediaType(text=f"charset {charset[:80]!a} is not understood; use UTF-8")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _describe(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
