"""A client's calls to one praefect, and what the client may conclude from how a call ended."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Self, TypeVar

from google.protobuf.message import Message

from praefect.app.cluster import VIRTUAL_STORAGE, Cluster
from praefect.proto import shared_pb2
from praefect.transport.dial import open_channel
from praefect.transport.grpc.channel import Channel
from praefect.transport.grpc.status import StatusCode, StatusError
from tests.fault.model.history import Answer

CALL_SECONDS = 8.0
IMPATIENT_SECONDS = 2.5
"""After which every other client gives a call up, in the middle of most faults."""
_IN_DOUBT = {StatusCode.CANCELLED, StatusCode.DEADLINE_EXCEEDED, StatusCode.UNKNOWN, StatusCode.INTERNAL}

MessageT = TypeVar("MessageT", bound=Message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a call ended."""

    answer: Answer
    detail: str = ""
    code: StatusCode = StatusCode.OK
    responses: tuple[bytes, ...] = ()


class PraefectClient:
    """Calls one praefect over a connection of its own."""

    def __init__(self, cluster: Cluster, praefect: str, *, patience_seconds: float = CALL_SECONDS) -> None:
        self.praefect = praefect
        self._patience_seconds = patience_seconds
        self.address = cluster.address_of_praefect(praefect)
        self.token = cluster.secrets.external_token
        self._channel: Channel | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._channel = await self._stack.enter_async_context(open_channel(self.address, token=self.token))
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._stack.aclose()

    async def call(
        self, method: str, requests: Iterable[Message], *, metadata: Sequence[tuple[str, str]] = ()
    ) -> Outcome:
        """Make a call and judge its end as a careful client would."""
        assert self._channel is not None
        self._channel.retry_now()
        call = self._channel.call(
            method, metadata=list(metadata), deadline=asyncio.get_running_loop().time() + self._patience_seconds
        )
        responses: list[bytes] = []
        opened = False
        try:
            async with call:
                opened = True
                messages = [request.SerializeToString() for request in requests]
                for number, message in enumerate(messages, start=1):
                    if not await call.send(message, last=number == len(messages)):
                        break
                while (response := await call.receive()) is not None:
                    responses.append(response)
        except StatusError as exc:
            answer = _conclude(exc, opened=opened, broken=call.error is not None)
            return Outcome(answer=answer, detail=f"{exc.code.name}: {exc.message}", code=exc.code)
        return Outcome(answer=Answer.ACKNOWLEDGED, responses=tuple(responses))


def _conclude(error: StatusError, *, opened: bool, broken: bool) -> Answer:
    """Return what is known of a write after an error: refused means certainly without effect."""
    if not opened and error.code is StatusCode.UNAVAILABLE:
        return Answer.REFUSED
    if broken or error.code in _IN_DOUBT:
        return Answer.IN_DOUBT
    if error.code is StatusCode.ABORTED and "outcome unknown" in error.message:
        return Answer.IN_DOUBT
    return Answer.REFUSED


def parse(kind: type[MessageT], data: bytes) -> MessageT:
    """Decode a message."""
    message = kind()
    message.ParseFromString(data)
    return message


def repository(path: str, gl_repository: str = "") -> shared_pb2.Repository:
    """Name a repository."""
    return shared_pb2.Repository(
        storage_name=VIRTUAL_STORAGE, relative_path=path, gl_repository=gl_repository, gl_project_path=path
    )
