"""The client that creates, forks and removes repositories, one call after the other on each path."""

from __future__ import annotations

import asyncio
import base64
import json
import random

from google.protobuf.message import Message

from praefect.app.cluster import VIRTUAL_STORAGE
from praefect.proto import repository_pb2
from tests.fault.model.history import Answer, Lifetime
from tests.fault.traffic.rpc import PraefectClient, repository
from tests.fault.traffic.world import World

_SERVICE = "/gitaly.RepositoryService/"


class LifetimeClient:
    """Makes and removes repositories."""

    def __init__(self, world: World, praefect: PraefectClient, name: str) -> None:
        self._world = world
        self._praefect = praefect
        self._name = name
        self._chance = random.Random(f"lifetimes {name} of {world.seed}")
        self._made: list[str] = []

    async def act(self, until: float) -> None:
        """Go on until a time."""
        number = 0
        while self._world.now() < until:
            if self._made and self._chance.random() < 0.35:
                path = self._made.pop(self._chance.randrange(len(self._made)))
                await self._call("RemoveRepository", path)
            else:
                number += 1
                path = f"life/{self._name}/{number}.git"
                self._world.lifetimes.append(path)
                method = "CreateFork" if self._chance.random() < 0.3 else "CreateRepository"
                if await self._call(method, path) is Answer.ACKNOWLEDGED:
                    self._made.append(path)
            await asyncio.sleep(self._chance.uniform(0, 0.8))

    async def _call(self, method: str, path: str) -> Answer:
        target = repository(path)
        request: Message
        metadata = []
        if method == "CreateFork":
            source = self._chance.choice(self._world.projects).message
            request = repository_pb2.CreateForkRequest(repository=target, source_repository=source)
            servers = {VIRTUAL_STORAGE: {"address": self._praefect.address, "token": self._praefect.token}}
            metadata.append(("gitaly-servers", base64.b64encode(json.dumps(servers).encode()).decode()))
        elif method == "CreateRepository":
            request = repository_pb2.CreateRepositoryRequest(repository=target, default_branch=b"main")
        else:
            request = repository_pb2.RemoveRepositoryRequest(repository=target)
        began = self._world.now()
        outcome = await self._praefect.call(_SERVICE + method, [request], metadata=metadata)
        self._world.history.lifetimes.append(
            Lifetime(
                path=path,
                method=method,
                answer=outcome.answer,
                began=began,
                ended=self._world.now(),
                praefect=self._praefect.praefect,
                detail=outcome.detail,
            )
        )
        return outcome.answer
