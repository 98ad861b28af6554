"""Custom hooks: programs that refuse some commits by their ids, and the client that replaces them all the time."""

from __future__ import annotations

import asyncio
import io
import random
import tarfile

from praefect.proto import repository_pb2
from tests.fault.model.history import Answer, HookChange
from tests.fault.traffic.rpc import PraefectClient
from tests.fault.traffic.world import Project, World

REFUSED_BY_PRE_RECEIVE = "01"
REFUSED_BY_UPDATE = "23"
FAILED_BY_POST_RECEIVE = "45"
"""Last digits of new object ids; a failing post-receive hook refuses nothing."""
VERSION = "# version "


def _hooks(version: int) -> dict[str, str]:
    begin = f"#!/bin/sh\n{VERSION}{version}\n"
    read = "while read -r old new name; do case $new in *[{digits}]) exit 1;; esac; done\nexit 0\n"
    return {
        "pre-receive": begin + read.format(digits=REFUSED_BY_PRE_RECEIVE),
        "update": f"{begin}case $3 in *[{REFUSED_BY_UPDATE}]) exit 1;; esac\nexit 0\n",
        "post-receive": begin + read.format(digits=FAILED_BY_POST_RECEIVE),
    }


def archive(version: int) -> bytes:
    """Return the hooks as the RPC takes them."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, text in _hooks(version).items():
            member = tarfile.TarInfo(f"custom_hooks/{name}")
            member.mode, member.size = 0o755, len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


async def set_hooks(world: World, praefect: PraefectClient, project: Project, version: int) -> Answer:
    """Set a version of the hooks, and write the answer down."""
    began = world.now()
    request = repository_pb2.SetCustomHooksRequest(repository=project.message, data=archive(version))
    outcome = await praefect.call("/gitaly.RepositoryService/SetCustomHooks", [request])
    world.history.hook_changes.append(
        HookChange(
            repository=project.path,
            version=version,
            answer=outcome.answer,
            began=began,
            ended=world.now(),
            praefect=praefect.praefect,
            detail=outcome.detail,
        )
    )
    return outcome.answer


class HookClient:
    """Sets one version after the other."""

    def __init__(self, world: World, praefect: PraefectClient, project: Project) -> None:
        self._world = world
        self._praefect = praefect
        self._project = project
        self._chance = random.Random(f"hooks of {world.seed}")

    async def act(self, until: float) -> None:
        """Go on until a time; version 1 is there already."""
        version = 1
        while self._world.now() < until:
            version += 1
            await set_hooks(self._world, self._praefect, self._project, version)
            await asyncio.sleep(self._chance.uniform(0.1, 1.0))
