from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from praefect.node.housekeeping.config_cleaning import without_empty_sections
from praefect.node.housekeeping.plan import Repack, Strategy, choose_repack, make_plan, wants_packed_references
from praefect.node.inventory import CommitGraph, Inventory, MultiPackIndex, Pack

NOW = 100 * 24 * 3600.0
DAY_NS = 24 * 3600 * 10**9


def pack(name: str = "pack-1", size: int = 1000) -> Pack:
    return Pack(name=name, size=size, cruft=False, keep=False, reverse_index=False, bitmap=False)


def midx(*names: str) -> MultiPackIndex:
    return MultiPackIndex(
        version=1,
        packs=len(names),
        large_offsets=False,
        reverse_index=False,
        bitmapped_packs=False,
        names=frozenset(names),
    )


TIDY = Inventory(
    loose_references=0,
    packed_references_size=0,
    loose_objects=0,
    loose_size=0,
    stale_loose_objects=0,
    stale_loose_size=0,
    garbage=0,
    packs=(pack(),),
    bitmap=None,
    midx=midx("pack-1"),
    midx_bitmap=None,
    commit_graph=CommitGraph(exists=True, chain_length=1, bloom_filters=True, generation_data=True),
    alternates=(),
    alternates_time=0,
    full_repack_time=99 * DAY_NS,
)


def test_tidy_repository_is_left_alone() -> None:
    plan = make_plan(TIDY, Strategy.HEURISTICAL, is_pool=False, now=NOW)
    assert (plan.repack, plan.prune, plan.pack_refs, plan.commit_graph) == (Repack.NONE, False, False, False)


def test_eager_does_everything() -> None:
    plan = make_plan(TIDY, Strategy.EAGER, is_pool=False, now=NOW)
    assert (plan.repack, plan.prune, plan.pack_refs, plan.commit_graph) == (Repack.FULL, True, True, True)
    assert not make_plan(TIDY, Strategy.EAGER, is_pool=True, now=NOW).prune


def test_full_repack_comes_every_five_days_if_there_are_packs_to_join() -> None:
    old = replace(TIDY, full_repack_time=94 * DAY_NS)
    assert choose_repack(old, NOW) is Repack.NONE
    assert choose_repack(replace(old, packs=(pack(), pack("pack-2"))), NOW) is Repack.FULL


def test_new_alternates_are_taken_into_account_at_once() -> None:
    linked = replace(TIDY, alternates=(Path("/pool/objects"),), alternates_time=99 * DAY_NS + 1)
    assert choose_repack(linked, NOW) is Repack.FULL
    assert not make_plan(linked, Strategy.HEURISTICAL, is_pool=False, now=NOW).bitmap


def test_many_new_packs_are_joined_geometrically() -> None:
    packs = tuple(pack(f"pack-{number}") for number in range(4))
    assert choose_repack(replace(TIDY, packs=packs), NOW) is Repack.GEOMETRIC
    assert choose_repack(replace(TIDY, packs=packs[:3]), NOW) is Repack.NONE
    assert choose_repack(replace(TIDY, midx=None), NOW) is Repack.GEOMETRIC


def test_loose_objects_are_packed_when_there_are_many() -> None:
    assert choose_repack(replace(TIDY, loose_objects=1024), NOW) is Repack.NONE
    assert choose_repack(replace(TIDY, loose_objects=1025), NOW) is Repack.LOOSE
    assert choose_repack(replace(TIDY, packs=(), loose_objects=0), NOW) is Repack.NONE


def test_references_are_packed_when_it_pays() -> None:
    assert not wants_packed_references(replace(TIDY, loose_references=15))
    assert wants_packed_references(replace(TIDY, loose_references=16))
    assert not wants_packed_references(replace(TIDY, loose_references=40, packed_references_size=100_000))
    assert wants_packed_references(replace(TIDY, loose_references=60, packed_references_size=100_000))


def test_empty_sections_go() -> None:
    content = b'[core]\n\tbare = true\n[remote "x"]\n[http "y"]\n\n[a] b = c\n'
    assert without_empty_sections(content) == b"[core]\n\tbare = true\n[a] b = c\n"
