from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from praefect.config.duration import InvalidDurationError, format_duration, parse_duration

TEXTS = [
    ("0s", 0),
    ("1ns", 1),
    ("-1ns", -1),
    ("1.5µs", 1500),
    ("12.345678ms", 12345678),
    ("1s", 10**9),
    ("1m0s", 60 * 10**9),
    ("1h0m0.5s", 3600 * 10**9 + 5 * 10**8),
    ("168h0m0s", 168 * 3600 * 10**9),
    ("-2562047h47m16.854775808s", -(2**63)),
]


@pytest.mark.parametrize(("text", "nanoseconds"), TEXTS)
def test_canonical_text_is_read_and_written(text: str, nanoseconds: int) -> None:
    duration = parse_duration(text)
    assert duration.nanoseconds == nanoseconds
    assert format_duration(duration) == text


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("0", 0),
        ("+0", 0),
        ("-0", 0),
        ("1h30m", 5400 * 10**9),
        (".5s", 5 * 10**8),
        ("1.s", 10**9),
        ("1us", 1000),
        ("+1s", 10**9),
    ],
)
def test_other_spellings_are_read(text: str, nanoseconds: int) -> None:
    assert parse_duration(text).nanoseconds == nanoseconds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", 'time: invalid duration ""'),
        ("x", 'time: invalid duration "x"'),
        ("-", 'time: invalid duration "-"'),
        (".s", 'time: invalid duration ".s"'),
        ("5", 'time: missing unit in duration "5"'),
        ("1h5", 'time: missing unit in duration "1h5"'),
        ("1d", 'time: unknown unit "d" in duration "1d"'),
        ("9223372036854775808ns", 'time: invalid duration "9223372036854775808ns"'),
    ],
)
def test_other_texts_are_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidDurationError) as caught:
        parse_duration(text)
    assert str(caught.value) == message


def test_a_span_below_a_microsecond_keeps_its_sign() -> None:
    assert parse_duration("-1ns") < timedelta(0) < parse_duration("1ns")


@given(st.integers(min_value=-(2**63), max_value=2**63 - 1))
def test_what_is_written_is_read_back(nanoseconds: int) -> None:
    sign = "-" if nanoseconds < 0 else ""
    duration = parse_duration(f"{sign}{abs(nanoseconds)}ns")
    assert parse_duration(format_duration(duration)).nanoseconds == nanoseconds


@given(st.timedeltas(min_value=timedelta(days=-1000), max_value=timedelta(days=1000)))
def test_plain_timedeltas_are_written(duration: timedelta) -> None:
    assert parse_duration(format_duration(duration)) == duration
