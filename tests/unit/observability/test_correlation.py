"""Correlation ids: their form and their scope."""

from __future__ import annotations

import re
import secrets
import time

import pytest

from praefect.observability.correlation import correlation_id, correlation_scope, new_correlation_id


def test_new_ids_are_ulids() -> None:
    assert re.fullmatch("[0-7][0-9A-HJKMNP-TV-Z]{25}", new_correlation_id())


def test_new_ids_differ() -> None:
    assert len({new_correlation_id() for _ in range(1000)}) == 1000


def test_time_is_the_first_ten_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1469918176385 * 1_000_000)
    assert new_correlation_id().startswith("01ARYZ6S41")  # the example of the ULID specification


def test_all_bits_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: (2**48 - 1) * 1_000_000)
    monkeypatch.setattr(secrets, "randbits", lambda _: 2**80 - 1)
    assert new_correlation_id() == "7" + "Z" * 25


def test_scope_sets_and_restores() -> None:
    assert correlation_id.get() == ""
    with correlation_scope("outer"):
        with correlation_scope("inner"):
            assert correlation_id.get() == "inner"
        assert correlation_id.get() == "outer"
    assert correlation_id.get() == ""


def test_scope_without_an_id_makes_one() -> None:
    with correlation_scope("") as made:
        assert len(made) == 26
        assert correlation_id.get() == made
