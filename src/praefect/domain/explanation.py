"""Why a repository can be read or written now, or cannot, in words for its operator. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from praefect.domain.comparison import Disagreement, advise
from praefect.domain.doubts import Doubt
from praefect.domain.replication import Change, ReplicationEvent
from praefect.domain.repository import UNKNOWN_GENERATION, ReplicaMetadata, RepositoryMetadata


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryFacts:
    """What the records say of one repository.

    Attributes:
        doubts: ``None`` where they are not kept.
        jobs: what is queued for it.
        disagreement: its replicas differ and none has a majority.
    """

    metadata: RepositoryMetadata
    doubts: Sequence[Doubt] | None
    jobs: Sequence[ReplicationEvent]
    disagreement: Disagreement | None = None

    @property
    def current(self) -> Sequence[ReplicaMetadata]:
        """The replicas at the generation."""
        return [replica for replica in self.metadata.replicas if replica.generation == self.metadata.generation]

    @property
    def is_unsettled(self) -> bool:
        """Whether an interrupted write stands before every other."""
        return any(doubt.is_lapsed for doubt in self.doubts or ())


def explain(facts: RepositoryFacts) -> Iterator[str]:
    """Write, line by line, what can be done with the repository, why not, and what helps."""
    metadata = facts.metadata
    yield f"Repository: {metadata.relative_path} of virtual storage {metadata.virtual_storage}"
    yield f"  ID {metadata.repository_id}, on disks {metadata.replica_path}, generation {metadata.generation}"
    readers = _readers(facts)
    obstacle = _obstacle_to_reads(facts)
    yield f"Readable: yes, from {', '.join(readers)}" if obstacle is None else f"Readable: no, {obstacle}"
    obstacle = _obstacle_to_writes(facts)
    yield f"Writable: yes, through {_writer(facts)}" if obstacle is None else f"Writable: no, {obstacle}"
    yield "Replicas:"
    for replica in metadata.replicas:
        yield f"  {replica.storage}: {_describe(facts, replica)}"
    yield from _doubts(facts)
    advice = list(_advice(facts))
    if advice:
        yield "What helps:"
        yield from (f"  {line}" for line in advice)


def _readers(facts: RepositoryFacts) -> list[str]:
    return [replica.storage for replica in facts.current if replica.healthy]


def _writer(facts: RepositoryFacts) -> str:
    """Return the primary, or who would be elected with the next write."""
    valid = [replica.storage for replica in facts.metadata.replicas if replica.valid_primary]
    primary = facts.metadata.primary
    return f"its primary {primary}" if primary in valid else f"{' or '.join(valid)}, elected with the next write"


def _obstacle_to_reads(facts: RepositoryFacts) -> str | None:
    if facts.is_unsettled:
        return "an interrupted write has not been settled"
    if not facts.current:
        return "no replica holds the newest generation"
    if not _readers(facts):
        names = ", ".join(replica.storage for replica in facts.current)
        return f"no Praefect reaches {names}, where the newest generation is"
    return None


def _obstacle_to_writes(facts: RepositoryFacts) -> str | None:
    obstacle = _obstacle_to_reads(facts)
    if obstacle is not None:
        return obstacle
    if facts.disagreement is not None:
        storages, since = ", ".join(facts.disagreement.storages), facts.disagreement.found_at
        return f"its replicas on {storages} differ since {since:%Y-%m-%d %H:%M:%S %Z} or longer, none with a majority"
    if not any(replica.valid_primary for replica in facts.metadata.replicas):
        return "none of the replicas at the newest generation may be primary: they are not assigned or about to go"
    return None


def _describe(facts: RepositoryFacts, replica: ReplicaMetadata) -> str:
    parts = []
    if replica.generation == UNKNOWN_GENERATION:
        parts.append("no replica")
    elif replica.generation < facts.metadata.generation:
        behind = facts.metadata.generation - replica.generation
        parts.append(f"behind by {behind} change{'' if behind == 1 else 's'} or less")
    else:
        parts.append("up to date")
    if replica.storage == facts.metadata.primary:
        parts.append("primary")
    if not replica.healthy:
        parts.append("no Praefect reaches it")
    if not replica.assigned:
        parts.append("not assigned")
    jobs = [event for event in facts.jobs if event.job.target_node_storage == replica.storage]
    parts.extend(_job(event) for event in jobs)
    if replica.assigned and replica.generation < facts.metadata.generation and not jobs:
        parts.append("no repair is queued")
    return ", ".join(parts)


def _job(event: ReplicationEvent) -> str:
    what = "its removal" if event.job.change in (Change.DELETE, Change.DELETE_REPLICA) else "a repair"
    source = f" from {event.job.source_node_storage}" if event.job.source_node_storage else ""
    return f"{what}{source} is {event.state.value.replace('_', ' ')}, {event.attempt} attempts left"


def _doubts(facts: RepositoryFacts) -> Iterator[str]:
    if facts.doubts is None:
        yield "Doubts: not kept, the database does not allow it"
        return
    if not facts.doubts:
        yield "Doubts: none"
        return
    yield "Doubts:"
    for doubt in facts.doubts:
        yield f"  {describe_doubt(doubt)}"


def describe_doubt(doubt: Doubt) -> str:
    """Write one doubt."""
    since = "" if doubt.opened_at is None else f" since {doubt.opened_at:%Y-%m-%d %H:%M:%S %Z}"
    state = "interrupted, to be settled" if doubt.is_lapsed else "being written"
    return f"{doubt.full_method.rpartition('/')[2]}{since}: {state}"


def _advice(facts: RepositoryFacts) -> Iterator[str]:
    metadata = facts.metadata
    named = f"-virtual-storage {metadata.virtual_storage} -relative-path {metadata.relative_path}"
    if facts.is_unsettled:
        yield "praefect doubts -settle, once one of the nodes with the newest generation is reachable"
    if facts.disagreement is not None:
        yield f"compare the replicas and choose one: {advise(facts.disagreement)}"
    behind = [replica for replica in metadata.replicas if replica.assigned and replica not in facts.current]
    if not _readers(facts):
        yield f"return {' or '.join(replica.storage for replica in facts.current) or 'the lost nodes'} to service"
        survivors = [replica.storage for replica in behind if replica.healthy and replica.generation >= 0]
        if survivors:
            yield (
                f"or give its newest changes up: praefect accept-dataloss {named} -authoritative-storage {survivors[0]}"
            )
    elif behind:
        yield "nothing to do for replicas that are behind: the reconciler queues repairs for those that are reachable"
    if facts.doubts is None:
        yield "praefect check names the GRANT without which interrupted writes cannot be remembered"
