"""Which faults happen when: a pure function of the seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from tests.fault.faults.wire import Way


class Kind(StrEnum):
    """A fault; what it strikes is in the name."""

    NODE_KILLED = "node-killed"
    NODE_STOPPED = "node-stopped"
    NODE_RESTARTED = "node-restarted"
    NODE_CUT = "node-cut"
    NODE_STALLED = "node-stalled"
    NODE_DELAYED = "node-delayed"
    NODE_DISK_FULL = "node-disk-full"
    NODE_SKEWED = "node-skewed"
    POSTGRES_KILLED = "postgres-killed"
    POSTGRES_STOPPED = "postgres-stopped"
    POSTGRES_RESTARTED = "postgres-restarted"
    POSTGRES_CUT = "postgres-cut"
    POSTGRES_STALLED = "postgres-stalled"
    POSTGRES_DELAYED = "postgres-delayed"
    PRAEFECT_KILLED = "praefect-killed"
    PRAEFECT_STOPPED = "praefect-stopped"
    PRAEFECT_RESTARTED = "praefect-restarted"
    PRAEFECT_SKEWED = "praefect-skewed"

    @property
    def part(self) -> str:
        """What is struck: ``node``, ``postgres`` or ``praefect``."""
        return self.partition("-")[0]

    @property
    def concerns_a_wire(self) -> bool:
        """Whether a connection is struck, and not a process."""
        return self.partition("-")[2] in {"cut", "stalled", "delayed"}

    @property
    def concerns_a_clock(self) -> bool:
        """Whether a process's time of day is set."""
        return self in {Kind.NODE_SKEWED, Kind.PRAEFECT_SKEWED}


SKEWS_SECONDS = (-3600.0, -45.0, -20.0, 20.0, 45.0, 3600.0)
"""Tokens are good for 30 s before and after."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault of a schedule; seconds count from the beginning of the traffic.

    Attributes:
        target: the name of the process, or of the far end of the wire.
        praefect: whose wire it is; empty for faults of processes.
        reset: whether the wire's connections are reset when it heals; otherwise late bytes arrive.
        skew_seconds: by how much a clock is set forward.
    """

    kind: Kind
    target: str
    began_seconds: float
    lasts_seconds: float
    praefect: str = ""
    way: Way = Way.BOTH
    delay_seconds: float = 0.0
    reset: bool = False
    skew_seconds: float = 0.0

    @property
    def subject(self) -> tuple[str, str]:
        """What must not be struck twice at a time."""
        return (self.praefect, self.target)

    def describe(self) -> str:
        """Return a line for people."""
        of = f" of {self.praefect}" if self.praefect else ""
        how = f" ({self.way})" if self.kind.concerns_a_wire else ""
        how = f" by {self.skew_seconds:+.0f} s" if self.kind.concerns_a_clock else how
        return f"{self.kind} {self.target}{of}{how} at {self.began_seconds:.2f} s for {self.lasts_seconds:.2f} s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a schedule is drawn from."""

    kinds: Sequence[Kind]
    nodes: Sequence[str]
    praefects: Sequence[str]
    traffic_seconds: float = 8.0
    most: int = 3


def draw(seed: int, plan: Plan) -> tuple[Fault, ...]:
    """Return the faults of a seed, by the time they begin."""
    chance = random.Random(f"faults of {seed}")
    faults: list[Fault] = []
    for _ in range(chance.randint(1, plan.most)):
        fault = _draw_one(chance, plan)
        if not any(_collide(fault, other) for other in faults):
            faults.append(fault)
    return tuple(sorted(faults, key=lambda fault: fault.began_seconds))


def _draw_one(chance: random.Random, plan: Plan) -> Fault:
    kind = chance.choice(list(plan.kinds))
    targets = {"node": list(plan.nodes), "postgres": ["postgres"], "praefect": list(plan.praefects)}[kind.part]
    began = chance.uniform(0.5, plan.traffic_seconds * 0.6)
    target, praefect = chance.choice(targets), chance.choice(list(plan.praefects))
    way, reset = chance.choice(list(Way)), chance.random() < 0.5
    lasts, delay = chance.uniform(0.3, plan.traffic_seconds * 0.5), chance.uniform(0.05, 0.6)
    skew = chance.choice(SKEWS_SECONDS)
    return Fault(
        kind=kind,
        target=target,
        began_seconds=began,
        lasts_seconds=lasts,
        praefect=praefect if kind.concerns_a_wire else "",
        way=Way.BOTH if kind in {Kind.NODE_CUT, Kind.POSTGRES_CUT} else way,
        delay_seconds=delay,
        reset=reset,
        skew_seconds=skew if kind.concerns_a_clock else 0.0,
    )


def _collide(one: Fault, other: Fault) -> bool:
    """Whether two faults strike the same thing at the same time."""
    apart = one.began_seconds + one.lasts_seconds + 3.0 < other.began_seconds
    apart = apart or other.began_seconds + other.lasts_seconds + 3.0 < one.began_seconds
    return one.subject == other.subject and not apart
