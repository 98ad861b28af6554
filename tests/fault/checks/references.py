"""The guarantees about references: linearizable, nothing acknowledged lost, nothing refused seen, no stale read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.fault.model.history import Answer, History, Read, Reference, Write
from tests.fault.model.register import Order, orders, possibly_undone, stale

NOTIFICATION_SECONDS = 1.0
"""How much later another praefect than the one that wrote may learn of a replica that fell behind."""
MOST_ORDERS = 50


@dataclass(frozen=True, slots=True)
class Violation:
    """A guarantee that did not hold."""

    guarantee: str
    detail: str

    def __str__(self) -> str:
        """Return a line for people."""
        return f"{self.guarantee}: {self.detail}"


@dataclass(frozen=True, slots=True)
class Outage:
    """A time in which a praefect's reads count as possibly stale."""

    praefect: str
    began: float
    ended: float

    def covers(self, read: Read) -> bool:
        """Whether the read happened, at least in part, during it."""
        return self.praefect in {"", read.praefect} and read.began < self.ended and read.ended > self.began


def check_references(
    history: History,
    initial: Mapping[Reference, str],
    final: Mapping[Reference, str],
    outages: Sequence[Outage] = (),
) -> list[Violation]:
    """Return what is wrong with each reference's history."""
    found: list[Violation] = []
    for reference, value in final.items():
        writes = [write for write in history.writes if write.reference == reference and _known(write)]
        reads = [read for read in history.reads if read.reference == reference]
        found += _check_one(reference, (initial[reference], value), writes, reads, outages)
    return found


def _known(write: Write) -> bool:
    """Whether the write could have had an effect: one in doubt whose commit is on no disk had none."""
    return not (write.mark and not write.new)


def _check_one(
    reference: Reference,
    ends: tuple[str, str],
    writes: Sequence[Write],
    reads: Sequence[Read],
    outages: Sequence[Outage],
) -> list[Violation]:
    name = f"{reference.repository} {reference.name}"
    initial, final = ends
    refused = {write.new: write for write in writes if write.answer is Answer.REFUSED and write.new}
    found = [
        Violation("no refused write ever becomes visible", f"{name}: {refused[value]}, seen by {seen}")
        for value, seen in [*((read.value, str(read)) for read in reads), (final, "the end")]
        if value in refused
    ]
    unmet: list[Violation] | None = None
    for number, order in enumerate(orders(writes, initial, final)):
        here = _check_reads(name, order, writes, reads, outages)
        if not here:
            return found
        unmet = here if unmet is None else min(unmet, here, key=len)
        if number > MOST_ORDERS:
            break
    if unmet is None:
        told = "\n  ".join(_line(write) for write in sorted(writes, key=lambda write: write.began))
        guarantee = "writes are linearizable and no acknowledged write is lost"
        return [*found, Violation(guarantee, f"{name} from {initial[:8]!r} to {final[:8]!r}:\n  {told}")]
    return found + unmet


def _check_reads(
    name: str, order: Order, writes: Sequence[Write], reads: Sequence[Read], outages: Sequence[Outage]
) -> list[Violation]:
    written = {order.initial, *(write.new for write in writes if write.answer is not Answer.REFUSED)}
    refused = {write.new for write in writes if write.answer is Answer.REFUSED}
    found = []
    for read in reads:
        if read.value not in written | refused:
            found.append(Violation("a read returns what was written", f"{name}: {read}"))
        elif read.value in written and _is_stale(read, order, writes, outages):
            missed = [write for write in order.writes if write.ended < read.began][-3:]
            told = "; ".join(_line(write) for write in missed)
            found.append(
                Violation("a read sees every write acknowledged before it began", f"{name}: {read}; missed: {told}")
            )
    return found


def _is_stale(read: Read, order: Order, writes: Sequence[Write], outages: Sequence[Outage]) -> bool:
    if any(outage.covers(read) for outage in outages) or not stale(read, order, read.began):
        return False
    if possibly_undone(read, order, writes):
        return False
    others = any(
        write.praefect != read.praefect and read.began - NOTIFICATION_SECONDS < write.ended < read.began
        for write in order.writes
    )
    return stale(read, order, read.began - NOTIFICATION_SECONDS) if others else True


def _line(write: Write) -> str:
    old, new = write.old[:8] or "absent", write.new[:8] or "absent"
    when = f"{write.began:.3f}–{write.ended:.3f}"
    return f"{when} {write.praefect} {write.method} {old} → {new} {write.answer} {write.detail}"
