"""Values look as a Go program prints them."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from praefect.observability.values import format_duration, format_float, format_time, format_value, plain, quote


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (1.0, "1"),
        (-2.0, "-2"),
        (0.005, "0.005"),
        (0.1, "0.1"),
        (2.5, "2.5"),
        (0.0001, "0.0001"),
        (0.00001, "1e-05"),
        (1.5e-7, "1.5e-07"),
        (999999.0, "999999"),
        (65536.0, "65536"),
        (262144.0, "262144"),
        (1048576.0, "1.048576e+06"),
        (1e6, "1e+06"),
        (123456.75, "123456.75"),
        (1234567.25, "1.23456725e+06"),
        (1.7e9, "1.7e+09"),
        (1e21, "1e+21"),
        (5e-324, "5e-324"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (math.inf, "+Inf"),
        (-math.inf, "-Inf"),
        (math.nan, "NaN"),
    ],
)
def test_floats_have_the_shortest_form(value: float, text: str) -> None:
    assert format_float(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_lose_nothing(value: float) -> None:
    assert float(format_float(value)) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (timedelta(), "0s"),
        (timedelta(hours=168), "168h0m0s"),
        (timedelta(minutes=1, seconds=30), "1m30s"),
        (timedelta(hours=1), "1h0m0s"),
        (timedelta(seconds=1.5), "1.5s"),
        (timedelta(seconds=10), "10s"),
        (timedelta(milliseconds=10), "10ms"),
        (timedelta(microseconds=1500), "1.5ms"),
        (timedelta(microseconds=7), "7µs"),
        (timedelta(minutes=2, microseconds=5), "2m0.000005s"),
        (-timedelta(seconds=90), "-1m30s"),
    ],
)
def test_durations_are_in_go_notation(value: timedelta, text: str) -> None:
    assert format_duration(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1771902245.123, "2026-02-24T03:04:05.123Z"),
        (1771902245.9999, "2026-02-24T03:04:05.999Z"),
        (1771902245.0004, "2026-02-24T03:04:05.000Z"),
    ],
)
def test_times_have_three_digits(seconds: float, text: str) -> None:
    assert format_time(seconds) == text


def test_quoting_escapes_what_does_not_print() -> None:
    assert quote('say "hi"\\\n\t\x00\x7fü\u200b\U000e0001') == '"say \\"hi\\"\\\\\\n\\t\\x00\\x7fü\\u200b\\U000e0001"'


class Colour(enum.StrEnum):
    RED = "red"


class Number(enum.IntEnum):
    ONE = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    name: str
    after: timedelta


@pytest.mark.parametrize(
    ("value", "reduced"),
    [
        (None, None),
        (True, True),
        (3, 3),
        ("text", "text"),
        (b"by\xfftes", "by\ufffdtes"),
        (Colour.RED, "red"),
        (Number.ONE, 1),
        (ValueError("wrong"), "wrong"),
        (PurePosixPath("/a/b"), "/a/b"),
        (timedelta(seconds=1), "1s"),
        (datetime(2026, 2, 24, 3, 4, 5, tzinfo=UTC), "2026-02-24T03:04:05Z"),
        ((1, Colour.RED), [1, "red"]),
        ({"b", "a"}, ["a", "b"]),
        ({Colour.RED: {1: timedelta()}}, {"red": {"1": "0s"}}),
        (Record(name="x", after=timedelta(minutes=1)), {"name": "x", "after": "1m0s"}),
    ],
)
def test_values_reduce_to_json(value: object, reduced: object) -> None:
    assert plain(value) == reduced
    assert type(plain(value)) is type(reduced)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "<nil>"),
        (True, "true"),
        (False, "false"),
        (17, "17"),
        (1.92, "1.92"),
        ([0.001, 0.005, 0.025], "[0.001 0.005 0.025]"),
        ({"b": 1, "a": ["x", "y"]}, "map[a:[x y] b:1]"),
        ([], "[]"),
    ],
)
def test_nested_values_are_in_gos_notation(value: object, text: str) -> None:
    assert format_value(value) == text
