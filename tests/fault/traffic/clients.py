"""The clients: each does one thing over and over, by its own seeded source of chance, and writes all of it down."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from praefect.proto import commit_pb2, operations_pb2, ref_pb2, repository_pb2, shared_pb2
from tests.fault.model.history import ABSENT, Answer, Read, Reference, Write
from tests.fault.traffic.rpc import Outcome, PraefectClient, parse
from tests.fault.traffic.supply import FILE
from tests.fault.traffic.world import REFERENCES, Project, World
from tests.support.git_client import git_environment

ZERO = "0" * 40
PUSH_SECONDS = 15.0


class ReferenceClient:
    """Reads and writes references through one praefect."""

    def __init__(self, world: World, praefect: PraefectClient, name: str) -> None:
        self.world = world
        self.praefect = praefect
        self.name = name
        self.chance = random.Random(f"client {name} of {world.seed}")
        self.done = 0

    # --- reads ---

    async def read_references(self, project: Project) -> dict[str, str] | None:
        """Read all references of a project; ``None`` if that failed."""
        began = self.world.now()
        request = ref_pb2.ListRefsRequest(repository=project.message, patterns=[b"refs/heads/"])
        outcome = await self.praefect.call("/gitaly.RefService/ListRefs", [request])
        if not self._read_well("ListRefs", began, outcome):
            return None
        responses = [parse(ref_pb2.ListRefsResponse, data) for data in outcome.responses]
        found = {ref.name.decode(): ref.target for response in responses for ref in response.references}
        for name in REFERENCES:
            self._note_read(project, name, found.get(name, ABSENT), began, "ListRefs")
        return found

    async def read_contents(self, project: Project, name: str) -> None:
        """Read the file that a reference's commit holds."""
        began = self.world.now()
        request = commit_pb2.TreeEntryRequest(repository=project.message, revision=name.encode(), path=FILE.encode())
        outcome = await self.praefect.call("/gitaly.CommitService/TreeEntry", [request])
        if outcome.detail.startswith(("NOT_FOUND", "INVALID_ARGUMENT")):
            self._note_read(project, name, ABSENT, began, "TreeEntry")
        elif self._read_well("TreeEntry", began, outcome):
            data = b"".join(parse(commit_pb2.TreeEntryResponse, one).data for one in outcome.responses)
            self._note_read(project, name, f"content:{data.decode()}" if data else ABSENT, began, "TreeEntry")

    def _read_well(self, method: str, began: float, outcome: Outcome) -> bool:
        if outcome.answer is Answer.ACKNOWLEDGED:
            return True
        self.world.history.failed_reads.append(
            (began, self.world.now(), self.praefect.praefect, f"{method}: {outcome.detail}")
        )
        return False

    def _note_read(self, project: Project, name: str, value: str, began: float, method: str) -> None:
        self.world.history.reads.append(
            Read(
                reference=Reference(project.path, name),
                value=value,
                began=began,
                ended=self.world.now(),
                praefect=self.praefect.praefect,
                method=method,
            )
        )

    # --- writes ---

    async def write(self, project: Project, changes: dict[str, tuple[str, str]]) -> None:
        """Compare and swap: one reference with WriteRef, several with UpdateReferences or all of them."""
        if len(changes) == 1 and self.chance.random() < 0.6 and ABSENT not in next(iter(changes.values()))[1:]:
            name, (old, new) = next(iter(changes.items()))
            request: Message = repository_pb2.WriteRefRequest(
                repository=project.message,
                ref=name.encode(),
                revision=new.encode(),
                old_revision=(old or ZERO).encode(),
            )
            method = "/gitaly.RepositoryService/WriteRef"
        else:
            updates = [
                ref_pb2.UpdateReferencesRequest.Update(
                    reference=name.encode(),
                    old_object_id=(old or ZERO).encode(),
                    new_object_id=(new or ZERO).encode(),
                )
                for name, (old, new) in changes.items()
            ]
            request = ref_pb2.UpdateReferencesRequest(repository=project.message, updates=updates)
            method = "/gitaly.RefService/UpdateReferences"
        began = self.world.now()
        outcome = await self.praefect.call(method, [request])
        for name, (old, new) in changes.items():
            self._note_write(project, name, (old, new), began, method, outcome)

    async def commit(self, project: Project, name: str, old: str) -> None:
        """Let the cluster make a commit on a branch that has ``old``."""
        self.done += 1
        mark = f"op-{self.name}-{self.done}"
        header = operations_pb2.UserCommitFilesRequestHeader(
            repository=project.message,
            user=shared_pb2.User(
                gl_id="user-1", name=b"root", email=b"root@localhost", gl_username="root", timezone="UTC"
            ),
            branch_name=name.removeprefix("refs/heads/").encode(),
            commit_message=mark.encode(),
            expected_old_oid=old,
            timestamp=Timestamp(seconds=1700100000 + self.done),
        )
        action = operations_pb2.UserCommitFilesActionHeader(
            action=operations_pb2.UserCommitFilesActionHeader.UPDATE, file_path=FILE.encode()
        )
        kind = operations_pb2.UserCommitFilesRequest
        requests = [
            kind(header=header),
            kind(action=operations_pb2.UserCommitFilesAction(header=action)),
            kind(action=operations_pb2.UserCommitFilesAction(content=mark.encode())),
        ]
        began = self.world.now()
        method = "/gitaly.OperationService/UserCommitFiles"
        outcome = await self.praefect.call(
            method, requests, metadata=[("user_id", "user-1"), ("username", "root"), ("client_name", "faults")]
        )
        new = ""
        if outcome.answer is Answer.ACKNOWLEDGED:
            response = parse(operations_pb2.UserCommitFilesResponse, outcome.responses[0])
            new = response.branch_update.commit_id
            if response.index_error or response.pre_receive_error:
                outcome = Outcome(
                    answer=Answer.REFUSED,
                    detail=response.index_error or response.pre_receive_error,
                )
        self._note_write(project, name, (old, new), began, method, outcome, mark=mark)

    async def push(self, project: Project, changes: dict[str, tuple[str, str]], *, atomic: bool) -> None:
        """Push with git, insisting on the old values."""
        leases = [f"--force-with-lease={name}:{old}" for name, (old, _) in changes.items()]
        specs = [f"{new}:{name}" for name, (_, new) in changes.items()]
        options = ["--atomic"] if atomic else []
        began = self.world.now()
        code, output, errors = await _git_push(project, [*options, *leases, project.url, *specs])
        for name, change in changes.items():
            answer = _conclude_push(code, output, name)
            detail = "" if answer is Answer.ACKNOWLEDGED else _last_lines(f"{errors}\n{output}")
            self._note_write(project, name, change, began, "git push", Outcome(answer=answer, detail=detail))

    def _note_write(
        self,
        project: Project,
        name: str,
        change: tuple[str, str],
        began: float,
        method: str,
        outcome: Outcome,
        mark: str = "",
    ) -> None:
        self.world.history.writes.append(
            Write(
                reference=Reference(project.path, name),
                old=change[0],
                new=change[1],
                answer=outcome.answer,
                began=began,
                ended=self.world.now(),
                praefect=self.praefect.praefect if method != "git push" else "praefect",
                method=method.rpartition("/")[2],
                detail=outcome.detail,
                mark=mark,
            )
        )


async def _git_push(project: Project, arguments: Sequence[str]) -> tuple[int, str, str]:
    """Push, and end git with all its helpers if it takes too long."""
    process = await asyncio.create_subprocess_exec(
        *("timeout", "--kill-after=2", str(PUSH_SECONDS), "git", "push", "--porcelain", *arguments),
        cwd=project.supply.directory,
        env=git_environment(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    return process.returncode or 0, output.decode("utf-8", "replace"), errors.decode("utf-8", "replace")


def _conclude_push(code: int, output: str, name: str) -> Answer:
    """Judge one reference of a push by git's porcelain lines: flag, tab, from:to, tab, summary."""
    for line in output.splitlines():
        flag, _, rest = line.partition("\t")
        if rest.partition("\t")[0].endswith(f":{name}"):
            if flag == "!":
                refused = "[rejected]" in line or "[remote rejected]" in line
                return Answer.REFUSED if refused else Answer.IN_DOUBT
            # git prints its lines before it knows whether the connection ended well.
            return Answer.ACKNOWLEDGED if code == 0 else Answer.IN_DOUBT
    return Answer.IN_DOUBT


def _last_lines(text: str) -> str:
    return " | ".join(text.strip().splitlines()[-4:])[:400]


@dataclass(frozen=True, slots=True, kw_only=True)
class Habit:
    """What a client does in one turn, and how long it rests at most."""

    turn: Callable[[ReferenceClient], Awaitable[None]]
    rest_seconds: float


async def _swap(client: ReferenceClient) -> None:
    project = client.chance.choice(client.world.projects)
    names = client.chance.sample(REFERENCES, 1 if client.chance.random() < 0.8 else 2)
    delete = client.chance.random() < 0.06
    found = await client.read_references(project)
    if found is None or len(project.supply.known) < 2:
        return
    new = [ABSENT if delete and found.get(name) else project.supply.known.popleft() for name in names]
    await client.write(
        project, {name: (found.get(name, ABSENT), value) for name, value in zip(names, new, strict=True)}
    )


async def _commit(client: ReferenceClient) -> None:
    project, name = client.chance.choice(client.world.projects), client.chance.choice(REFERENCES)
    found = await client.read_references(project)
    if found and found.get(name):
        await client.commit(project, name, found[name])


async def _push(client: ReferenceClient) -> None:
    project = client.chance.choice(client.world.projects)
    names = client.chance.sample(REFERENCES, 1 if client.chance.random() < 0.7 else 2)
    atomic = client.chance.random() < 0.5
    found = await client.read_references(project)
    if found is not None and len(project.supply.unknown) > 1:
        changes = {name: (found.get(name, ABSENT), project.supply.unknown.popleft()) for name in names}
        await client.push(project, changes, atomic=atomic)


async def _read(client: ReferenceClient) -> None:
    project = client.chance.choice(client.world.projects)
    if client.chance.random() < 0.6:
        await client.read_references(project)
    else:
        await client.read_contents(project, client.chance.choice(REFERENCES))


SWAPPER = Habit(turn=_swap, rest_seconds=0.25)
COMMITTER = Habit(turn=_commit, rest_seconds=0.3)
PUSHER = Habit(turn=_push, rest_seconds=0.4)
READER = Habit(turn=_read, rest_seconds=0.12)


async def act(client: ReferenceClient, habit: Habit, until: float) -> None:
    """Repeat a habit until a time."""
    while client.world.now() < until:
        await habit.turn(client)
        await asyncio.sleep(client.chance.uniform(0, habit.rest_seconds))
