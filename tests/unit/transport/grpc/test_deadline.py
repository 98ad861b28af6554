import pytest
from hypothesis import given
from hypothesis import strategies as st

from praefect.transport.grpc.deadline import MalformedTimeoutError, format_timeout, parse_timeout


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"1H", 3600),
        (b"2M", 120),
        (b"3S", 3),
        (b"250m", 0.25),
        (b"1000000u", 1),
        (b"99999999n", 0.099999999),
        (b"0S", 0),
        (b"00000001S", 1),
    ],
)
def test_units_are_understood(value: bytes, seconds: float) -> None:
    assert parse_timeout(value) == pytest.approx(seconds)


@pytest.mark.parametrize("value", [b"", b"S", b"1", b"1s", b"123456789S", b"-1S", b"1.5S", b" 1S", b"1S ", b"1S\n"])
def test_other_forms_are_refused(value: bytes) -> None:
    with pytest.raises(MalformedTimeoutError, match="malformed grpc-timeout"):
        parse_timeout(value)


@given(st.floats(min_value=1e-9, max_value=1e11))
def test_what_is_formatted_is_at_least_as_long_and_nearly_as_exact(seconds: float) -> None:
    value = format_timeout(seconds)
    assert len(value) <= 9
    parsed = parse_timeout(value)
    assert parsed >= seconds * (1 - 1e-12)
    assert parsed <= seconds * 1.00001 + 2e-9


@pytest.mark.parametrize("seconds", [0, -1, -1e9])
def test_a_time_that_has_passed_becomes_the_smallest_one(seconds: float) -> None:
    assert format_timeout(seconds) == b"1n"


def test_a_time_beyond_all_units_is_cut() -> None:
    assert format_timeout(1e15) == b"99999999H"
