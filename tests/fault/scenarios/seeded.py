"""One seed: a fresh cluster, clients at work, faults by schedule, everything healed, the record checked."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from praefect.app.cluster import ClusterOptions, run_cluster
from praefect.app.layout import Layout, Ports, write_private
from tests.fault.checks.disks import commits_by_subject, replica
from tests.fault.checks.hooks import check_hooks
from tests.fault.checks.processes import check_footprints, footprints
from tests.fault.checks.records import Records
from tests.fault.checks.references import Outage, Violation, check_references
from tests.fault.checks.replicas import (
    CONVERGENCE_SECONDS,
    check_lifetimes,
    check_soundness,
    unrecorded,
    wait_for_convergence,
)
from tests.fault.faults.disk import may_mount, small_disk
from tests.fault.faults.inject import Injector, Wires
from tests.fault.faults.ports import claimed_ports
from tests.fault.faults.schedule import Fault, Kind, Plan, draw
from tests.fault.faults.skewed import command
from tests.fault.model.history import ABSENT, Answer, History, Reference
from tests.fault.traffic.clients import COMMITTER, PUSHER, READER, SWAPPER, Habit, ReferenceClient, act
from tests.fault.traffic.hooks import HookClient, set_hooks
from tests.fault.traffic.lifetimes import LifetimeClient
from tests.fault.traffic.rpc import CALL_SECONDS, IMPATIENT_SECONDS, PraefectClient
from tests.fault.traffic.world import REFERENCES, World, furnish

PRAEFECTS = 2
NODES = 3
OUTAGE_MARGIN_SECONDS = 5.0
UNSAFE_BUT_FAST = {"fsync": "off", "full_page_writes": "off"}
DEFAULT_KINDS = tuple(Kind)
_SKEWED = {"praefect": command("praefect.cli.main"), "praefect-node": command("praefect.cli.node")}
_PROGRAM_OF = {Kind.NODE_SKEWED: "praefect-node", Kind.PRAEFECT_SKEWED: "praefect"}
FAILURES = Path(tempfile.gettempdir()) / "praefect-fault"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What may be chosen besides the seed; a seed replays to the same schedule under the same settings."""

    kinds: Sequence[Kind] = DEFAULT_KINDS
    traffic_seconds: float = 8.0
    programs: Mapping[str, Sequence[str]]
    keep: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of a seed."""

    seed: int
    faults: Sequence[Fault]
    violations: Sequence[Violation]
    history: History
    seconds: float
    healed_seconds: float
    artifacts: Path | None
    skipped: Sequence[Kind] = ()

    def summary(self) -> str:
        """Return one line."""
        writes = [write.answer for write in self.history.writes]
        doubts, refused = writes.count(Answer.IN_DOUBT), writes.count(Answer.REFUSED)
        verdict = "ok" if not self.violations else f"{len(self.violations)} VIOLATIONS"
        return (
            f"seed {self.seed}: {verdict}; {self.history.acknowledged()} acknowledged, {doubts} in doubt, "
            f"{refused} refused, {len(self.history.reads)} reads, {len(self.history.failed_reads)} failed reads; "
            f"converged {self.healed_seconds:.1f} s after healing; {self.seconds:.0f} s; "
            + ", ".join(fault.describe() for fault in self.faults)
            + "".join(f", skipped: {kind}" for kind in self.skipped)
        )

    def report(self) -> str:
        """Return the line, and what went wrong below it."""
        broken = "".join(f"\n  {violation}" for violation in self.violations)
        where = f"\n  history and logs: {self.artifacts}" if self.artifacts else ""
        return f"{self.summary()}{broken}{where}"


def settings_from_environment() -> Settings:
    """Read which kinds of faults to draw from, how long the traffic lasts, and which executables to start.

    ``FAULT_KINDS`` lists kinds (``+kind`` adds one to the default), ``FAULT_SECONDS`` is the length of the traffic,
    ``FAULT_PRAEFECT`` and ``FAULT_NODE`` are command lines instead of our own programs.
    """
    named = [name.strip() for name in os.environ.get("FAULT_KINDS", "").split(",") if name.strip()]
    added = [Kind(name[1:]) for name in named if name.startswith("+")]
    chosen = [Kind(name) for name in named if not name.startswith("+")]
    programs = {
        program: tuple(shlex.split(os.environ[variable]))
        for program, variable in (("praefect", "FAULT_PRAEFECT"), ("praefect-node", "FAULT_NODE"))
        if os.environ.get(variable)
    }
    return Settings(
        kinds=(*(chosen or DEFAULT_KINDS), *added),
        traffic_seconds=float(os.environ.get("FAULT_SECONDS", "8")),
        programs=programs,
        keep=bool(os.environ.get("FAULT_KEEP")),
    )


async def run_seed(seed: int, settings: Settings) -> Result:
    """Run one seed and check it."""
    began = time.monotonic()
    directory = Path(tempfile.mkdtemp(prefix=f"fault-{seed}-"))
    layout = Layout(directory / "c", NODES, PRAEFECTS)
    faults = _draw(seed, settings, layout)
    struck = {fault.kind for fault in faults}
    possible = {kind for kind in struck if _is_possible(kind, settings)}
    faults = tuple(fault for fault in faults if fault.kind in possible)
    try:
        async with AsyncExitStack() as stack:
            ports = iter(stack.enter_context(claimed_ports()))
            _write_ports(layout, ports)
            wires = Wires(stack, ports)
            disks = {
                fault.target: await stack.enter_async_context(small_disk(layout.node_storage(fault.target)))
                for fault in {fault.target: fault for fault in faults if fault.kind is Kind.NODE_DISK_FULL}.values()
            }
            clocks = any(kind.concerns_a_clock for kind in possible)
            options = ClusterOptions(
                directory=layout.directory,
                nodes=NODES,
                praefects=PRAEFECTS,
                reconciliation_interval="1s",
                postgres_settings=UNSAFE_BUT_FAST,
                programs={**(_SKEWED if clocks else {}), **settings.programs},
                detour=wires.detour,
            )
            cluster = await stack.enter_async_context(run_cluster(options))
            world = World(cluster=cluster, seed=seed, directory=directory)
            injector = Injector(cluster, wires, disks, world.note)
            violations, healed = await _play(world, injector, faults, settings)
            artifacts = _keep(world, directory) if violations or settings.keep else None
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return Result(
        seed=seed,
        faults=faults,
        violations=violations,
        history=world.history,
        seconds=time.monotonic() - began,
        healed_seconds=healed,
        artifacts=artifacts,
        skipped=sorted(struck - possible),
    )


def _write_ports(layout: Layout, ports: Iterator[int]) -> None:
    """Let the cluster use claimed ports, as if it had used them before."""
    layout.create()
    chosen = Ports(
        praefect=next(ports),
        metrics=next(ports),
        gateway=next(ports),
        nodes=tuple(next(ports) for _ in layout.node_names),
        more_praefects=tuple(next(ports) for _ in layout.praefect_names[1:]),
    )
    write_private(layout.directory / "ports.json", json.dumps(asdict(chosen)))


def _draw(seed: int, settings: Settings, layout: Layout) -> tuple[Fault, ...]:
    plan = Plan(
        kinds=settings.kinds,
        nodes=layout.node_names,
        praefects=layout.praefect_names,
        traffic_seconds=settings.traffic_seconds,
    )
    return draw(seed, plan)


def _is_possible(kind: Kind, settings: Settings) -> bool:
    """Whether there is the right to mount a small disk, and a clock of ours to set."""
    if kind is Kind.NODE_DISK_FULL:
        return may_mount()
    return kind not in {Kind.NODE_SKEWED, Kind.PRAEFECT_SKEWED} or _PROGRAM_OF[kind] not in settings.programs


async def _play(
    world: World, injector: Injector, faults: tuple[Fault, ...], settings: Settings
) -> tuple[list[Violation], float]:
    cluster = world.cluster
    await furnish(world)
    async with PraefectClient(cluster, cluster.layout.praefect_names[0]) as rpc:
        answer = await set_hooks(world, rpc, world.projects[-1], version=1)
        assert answer is Answer.ACKNOWLEDGED, world.history.hook_changes
    world.note("the projects are there")
    before = footprints(cluster)
    began = world.now()
    await _traffic(world, injector, faults, began + settings.traffic_seconds)
    await injector.heal()
    world.note("everything is healed")
    healed = world.now()
    # The jobs that a killed praefect had taken are found stale by the others, after a minute and a half at most.
    is_slow = any(fault.kind is Kind.PRAEFECT_KILLED for fault in faults)
    violations, records = await wait_for_convergence(cluster, 110.0 if is_slow else CONVERGENCE_SECONDS)
    converged = world.now() - healed
    await _resolve_marks(world, records)
    violations += await _check_history(world, _outages(faults, began))
    violations += check_lifetimes(world.history, world.lifetimes, records)
    violations += check_hooks(cluster, world.history, records)
    violations += await check_soundness(cluster, records)
    violations += await check_footprints(cluster, before)
    if orphans := unrecorded(cluster, records):
        world.note(f"directories without a record: {orphans}")
    return violations, converged


async def _traffic(world: World, injector: Injector, faults: tuple[Fault, ...], until: float) -> None:
    habits: list[tuple[str, Habit]] = [
        *((f"swapper-{number}", SWAPPER) for number in range(2)),
        ("committer", COMMITTER),
        ("pusher", PUSHER),
        ("reader", READER),
    ]
    began = world.now()
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        group.create_task(injector.run(faults, began), name="faults")
        for praefect in world.cluster.layout.praefect_names:
            for number, (name, habit) in enumerate(habits):
                if habit is PUSHER and praefect != "praefect":
                    continue  # git goes through the gateway, which knows the first praefect only
                patience = IMPATIENT_SECONDS if number % 2 else CALL_SECONDS
                rpc = await stack.enter_async_context(
                    PraefectClient(world.cluster, praefect, patience_seconds=patience)
                )
                client = ReferenceClient(world, rpc, f"{praefect}-{name}")
                group.create_task(act(client, habit, until), name=client.name)
            rpc = await stack.enter_async_context(PraefectClient(world.cluster, praefect))
            lifetimes = LifetimeClient(world, rpc, praefect)
            group.create_task(lifetimes.act(until), name=f"lifetimes {praefect}")
        hooks = HookClient(world, rpc, world.projects[-1])
        group.create_task(hooks.act(until), name="hooks")


def _outages(faults: Sequence[Fault], began: float) -> list[Outage]:
    """Return when reads count as possibly stale: while PostgreSQL could not tell a praefect what changed."""
    return [
        Outage(
            fault.praefect,
            began + fault.began_seconds,
            began + fault.began_seconds + fault.lasts_seconds + OUTAGE_MARGIN_SECONDS,
        )
        for fault in faults
        if fault.kind.part == "postgres"
    ]


async def _resolve_marks(world: World, records: Records) -> None:
    """Find the commits that the cluster made, and name in reads of contents the commits that hold them."""
    oids: dict[tuple[str, str], str] = {}
    for project in world.projects:
        record = records.repositories.get(project.path)
        for name in world.cluster.layout.node_names if record else ():
            directory = replica(world.cluster, name, record.replica_path) if record else Path()
            if directory.is_dir():
                for subject, oid in (await commits_by_subject(directory)).items():
                    oids[project.path, subject] = oid
        for oid, content in project.supply.contents.items():
            oids[project.path, content] = oid
    history = world.history
    history.writes = [
        replace(write, new=write.new or oids.get((write.reference.repository, write.mark), "")) if write.mark else write
        for write in history.writes
    ]
    history.reads = [
        replace(read, value=oids.get((read.reference.repository, read.value.removeprefix("content:")), read.value))
        if read.value.startswith("content:")
        else read
        for read in history.reads
    ]


async def _check_history(world: World, outages: Sequence[Outage]) -> list[Violation]:
    final: dict[Reference, str] = {}
    found = []
    for praefect in world.cluster.layout.praefect_names:
        async with PraefectClient(world.cluster, praefect) as rpc:
            client = ReferenceClient(world, rpc, f"{praefect}-final")
            for project in world.projects:
                values = await client.read_references(project)
                if values is None:
                    found.append(Violation("everything works once healed", world.history.failed_reads[-1][3]))
                    continue
                for name in REFERENCES:
                    final[Reference(project.path, name)] = values.get(name, ABSENT)
    return found + check_references(world.history, world.initial(), final, outages)


def _keep(world: World, directory: Path) -> Path:
    """Keep the record and the logs of a seed."""
    FAILURES.mkdir(exist_ok=True)
    kept = Path(tempfile.mkdtemp(prefix=f"seed-{world.seed}-", dir=FAILURES))
    world.history.save(kept / "history.json")
    shutil.copytree(directory / "c" / "logs", kept / "logs")
    return kept
