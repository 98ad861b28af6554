"""A front door for tests: serves the internal API on a real socket, records requests, answers as told."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from pathlib import Path

SECRET = "front door secret"


@dataclass(slots=True, kw_only=True)
class ApiRequest:
    """A request as it arrived."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def values(self) -> dict[str, object]:
        values = json.loads(self.body)
        assert isinstance(values, dict)
        return values


def _json(values: Mapping[str, object], status: int = 200) -> Callable[[], web.Response]:
    return lambda: web.json_response(values, status=status)


@dataclass(slots=True)
class FrontDoor:
    """What the front door was asked and what it answers; allows everything unless told otherwise."""

    url: str = ""
    requests: list[ApiRequest] = field(default_factory=list)
    answers: dict[str, Callable[[], web.Response]] = field(default_factory=dict)
    before: dict[str, Callable[[], Awaitable[None]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.answer("/allowed", {"status": True})
        self.answer("/pre_receive", {"reference_counter_increased": True})
        self.answer("/post_receive", {"reference_counter_decreased": True, "messages": []})
        self.answer(
            "/check", {"gitlab_version": "18.9.0", "gitlab_revision": "abc", "api_version": "v4", "redis": True}
        )

    def answer(self, path: str, values: Mapping[str, object], status: int = 200) -> None:
        self.answers[path] = _json(values, status)

    def refuse(self, message: str) -> None:
        self.answer("/allowed", {"status": False, "message": message}, 401)

    def paths(self) -> list[str]:
        return [request.path for request in self.requests]

    def last(self, path: str) -> ApiRequest:
        return [request for request in self.requests if request.path == path][-1]

    async def handle(self, request: web.Request) -> web.Response:
        path = request.path.partition("/api/v4/internal")[2]
        self.requests.append(ApiRequest(path=path, headers=dict(request.headers), body=await request.read()))
        if path in self.before:
            await self.before[path]()
        answer = self.answers.get(path)
        return answer() if answer else web.Response(status=404, text="no such page")


@asynccontextmanager
async def serve_front_door(
    *, socket_path: Path | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[FrontDoor]:
    """Serve on a random port of the loopback address, or on a unix socket."""
    door = FrontDoor()
    app = web.Application(client_max_size=64 << 20)
    app.router.add_route("*", "/{tail:.*}", door.handle)
    runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site: web.BaseSite
        if socket_path is not None:
            site = web.UnixSite(runner, socket_path)
            await site.start()
            door.url = "http+unix://" + str(socket_path).replace("/", "%2F")
        else:
            site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
            await site.start()
            port = runner.addresses[0][1]
            door.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
        yield door
    finally:
        await runner.cleanup()
