"""Schedules: the same for the same seed, and nothing struck twice at a time."""

from __future__ import annotations

from itertools import combinations

from tests.fault.faults.schedule import Kind, Plan, draw

PLAN = Plan(kinds=list(Kind), nodes=["gitaly-1", "gitaly-2", "gitaly-3"], praefects=["praefect", "praefect-2"])


def test_seed_replays_to_the_same_schedule() -> None:
    assert [draw(seed, PLAN) for seed in range(50)] == [draw(seed, PLAN) for seed in range(50)]
    assert len({draw(seed, PLAN) for seed in range(50)}) == 50


def test_every_kind_is_drawn() -> None:
    assert {fault.kind for seed in range(200) for fault in draw(seed, PLAN)} == set(Kind)


def test_nothing_is_struck_twice_at_a_time() -> None:
    for seed in range(300):
        for one, other in combinations(draw(seed, PLAN), 2):
            if one.subject == other.subject:
                assert one.began_seconds + one.lasts_seconds < other.began_seconds, seed


def test_only_wires_belong_to_a_praefect() -> None:
    for fault in (fault for seed in range(200) for fault in draw(seed, PLAN)):
        assert bool(fault.praefect) == fault.kind.concerns_a_wire
