"""What the clients of one seed share: the cluster, its projects, the supply of commits, and the record."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from praefect.app.cluster import Cluster
from praefect.proto import shared_pb2
from tests.fault.model.history import History, Reference
from tests.fault.traffic.rpc import repository
from tests.fault.traffic.supply import Supply, make_supply
from tests.support.cluster import ClusterClient, relative_path
from tests.support.git_client import git

REFERENCES = ("refs/heads/a", "refs/heads/b", "refs/heads/c")


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A project that references are written in."""

    name: str
    number: int
    supply: Supply
    url: str

    @property
    def path(self) -> str:
        """The repository's relative path."""
        return relative_path(self.number)

    @property
    def gl_repository(self) -> str:
        """The project's name for hooks."""
        return f"project-{self.number}"

    @property
    def message(self) -> shared_pb2.Repository:
        """The repository as calls name it."""
        return repository(self.path, self.gl_repository)


@dataclass(slots=True, kw_only=True)
class World:
    """Everything a client needs."""

    cluster: Cluster
    seed: int
    directory: Path
    projects: list[Project] = field(default_factory=list)
    lifetimes: list[str] = field(default_factory=list)
    history: History = field(default_factory=History)

    def now(self) -> float:
        """Return the time that the history is written in."""
        return asyncio.get_running_loop().time()

    def note(self, text: str) -> None:
        """Record what happened to the cluster."""
        self.history.notes.append((self.now(), text))

    def initial(self) -> dict[Reference, str]:
        """Return the value of each reference before the traffic."""
        return {Reference(project.path, name): project.supply.root for project in self.projects for name in REFERENCES}


async def furnish(world: World, projects: int = 2) -> None:
    """Create the projects and give them their commits and references."""
    client = ClusterClient(world.cluster)
    for number in range(1, projects + 1):
        name = f"project-{number}"
        made = await client.create_project(name, readme=False)
        supply = await make_supply(world.directory / f"{name}.git")
        project = Project(name=name, number=made["id"], supply=supply, url=world.cluster.clone_url(name))
        roots = [f"{supply.root}:{reference}" for reference in REFERENCES]
        (await git(supply.directory, "push", "-q", project.url, f"{supply.tip}:refs/heads/main", *roots)).ok()
        world.projects.append(project)
