"""When a repository is repacked and how: pure decisions over its inventory."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from praefect.node.inventory import Inventory

FULL_REPACK_INTERVAL_SECONDS = 5 * 24 * 3600
LOOSE_OBJECT_LIMIT = 1024
_MEBIBYTE = 1024 * 1024


class Strategy(enum.Enum):
    """How much is done."""

    HEURISTICAL = "heuristical"  # what is worth its cost now
    EAGER = "eager"  # everything


class Repack(enum.Enum):
    """How objects are repacked."""

    NONE = "none"
    FULL = "full"
    GEOMETRIC = "geometric"
    LOOSE = "loose"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one run does."""

    repack: Repack
    bitmap: bool
    prune: bool
    pack_refs: bool
    commit_graph: bool
    replace_commit_graph: bool


def make_plan(inventory: Inventory, strategy: Strategy, *, is_pool: bool, now: float) -> Plan:
    """Decide what to do. ``now`` is in seconds since the epoch."""
    eager = strategy is Strategy.EAGER
    repack = Repack.FULL if eager else choose_repack(inventory, now)
    prune = not is_pool and (eager or inventory.stale_loose_objects > LOOSE_OBJECT_LIMIT)
    graph = inventory.commit_graph
    incomplete = not graph.bloom_filters or not graph.generation_data
    return Plan(
        repack=repack,
        bitmap=not inventory.alternates,
        prune=prune,
        pack_refs=eager or wants_packed_references(inventory),
        commit_graph=eager or repack is not Repack.NONE or prune or incomplete,
        replace_commit_graph=repack is Repack.FULL or incomplete,
    )


def choose_repack(inventory: Inventory, now: float) -> Repack:
    """Decide how to repack when not everything has to be done."""
    if not inventory.packs and not inventory.loose_objects:
        return Repack.NONE
    last_full = inventory.full_repack_time / 1e9
    if inventory.alternates and inventory.alternates_time > inventory.full_repack_time:
        return Repack.FULL
    if len(inventory.packs) > 1 and now - last_full >= FULL_REPACK_INTERVAL_SECONDS:
        return Repack.FULL
    if inventory.packs and _wants_geometric(inventory):
        return Repack.GEOMETRIC
    if inventory.loose_objects > LOOSE_OBJECT_LIMIT:
        return Repack.LOOSE
    return Repack.NONE


def _wants_geometric(inventory: Inventory) -> bool:
    if inventory.midx is None:
        return True
    untracked = sum(1 for pack in inventory.packs if pack.name not in inventory.midx.names)
    mebibytes = sum(pack.size for pack in inventory.packs) / _MEBIBYTE
    return untracked > max(2.0, math.log(mebibytes, 1.8) if mebibytes > 1 else 0.0)


def wants_packed_references(inventory: Inventory) -> bool:
    """Tell whether there are so many loose references that packing them pays."""
    size = inventory.packed_references_size / 100
    return inventory.loose_references >= max(16.0, math.log(size, 1.15) if size > 1 else 0.0)
