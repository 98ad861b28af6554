"""Whether what clients saw of one reference is what a single register with compare-and-swap could have shown them.

The search is Wing and Gong's: an order of the writes that respects real time, in which each finds the value it
compared with; writes in doubt may take part at any time after they began, or not at all. Reads are not part of the
order: replicas become current one after the other, so that reads see concurrent writes in any order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.fault.model.history import Answer, Read, Write

MOST_STEPS = 200_000


@dataclass(frozen=True, slots=True)
class Order:
    """An order of writes that explains the answers."""

    writes: tuple[Write, ...]
    initial: str

    def values(self) -> list[str]:
        """Return the values the register had, the initial one first."""
        return [self.initial, *(write.new for write in self.writes)]


class SearchTooLongError(AssertionError):
    """The history is too entangled to be decided."""


def orders(writes: Sequence[Write], initial: str, final: str) -> Iterator[Order]:
    """Yield the orders that begin with ``initial`` and end with ``final``; refused writes are in none of them."""
    effective = [write for write in writes if write.answer is not Answer.REFUSED]
    visited: set[tuple[frozenset[int], str]] = set()
    steps = 0

    def search(done: tuple[int, ...], state: str) -> Iterator[Order]:
        nonlocal steps
        steps += 1
        if steps > MOST_STEPS:
            raise SearchTooLongError(f"no verdict on {len(effective)} writes")
        taken = frozenset(done)
        if (taken, state) in visited:
            return
        visited.add((taken, state))
        left = [number for number in range(len(effective)) if number not in taken]
        deadline = min((_end(effective[number]) for number in left), default=math.inf)
        for number in left:
            write = effective[number]
            if write.began <= deadline and write.old == state:
                yield from search((*done, number), write.new)
        if state == final and all(effective[number].answer is Answer.IN_DOUBT for number in left):
            yield Order(tuple(effective[number] for number in done), initial)

    yield from search((), initial)


def stale(read: Read, order: Order, acknowledged_by: float) -> bool:
    """Tell whether a read misses a write that was acknowledged before ``acknowledged_by`` in this order."""
    values = order.values()
    oldest = 0
    for position, write in enumerate(order.writes, start=1):
        if write.answer is Answer.ACKNOWLEDGED and write.ended < acknowledged_by:
            oldest = position
    return not any(
        values[position] == read.value and (position == 0 or order.writes[position - 1].began < read.ended)
        for position in range(oldest, len(values))
    )


def possibly_undone(read: Read, order: Order, writes: Sequence[Write]) -> bool:
    """Tell whether a read may have seen a write in doubt that was settled as not having happened."""
    settled = {id(write) for write in order.writes}
    return any(
        write.answer is Answer.IN_DOUBT
        and id(write) not in settled
        and write.new == read.value
        and write.began < read.ended
        for write in writes
    )


def _end(write: Write) -> float:
    return write.ended if write.answer is Answer.ACKNOWLEDGED else math.inf
