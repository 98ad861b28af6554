import pytest

from praefect.cli.numbers import (
    ValueSyntaxError,
    parse_bool,
    parse_decimal,
    parse_duration_value,
    parse_int,
    parse_uint,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("16", 16),
        ("0x10", 16),
        ("0X1f", 31),
        ("010", 8),
        ("0o17", 15),
        ("0b101", 5),
        ("1_000", 1000),
        ("0x_ff", 255),
        ("0_7", 7),
        ("-3", -3),
        ("+3", 3),
        ("-0x10", -16),
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
    ],
)
def test_integers_are_go_literals(text: str, value: int) -> None:
    assert parse_int(text) == value


@pytest.mark.parametrize("text", ["abc", "", "-", "1.5", "08", "1__0", "_1", "1_", "0x", " 1", "١", "1e3", "--1"])
def test_other_texts_are_no_integers(text: str) -> None:
    with pytest.raises(ValueSyntaxError) as caught:
        parse_int(text)
    assert str(caught.value) == f'strconv.ParseInt: parsing "{text}": invalid syntax'


@pytest.mark.parametrize("text", ["99999999999999999999", "9223372036854775808", "-9223372036854775809"])
def test_integers_beyond_64_bits(text: str) -> None:
    with pytest.raises(ValueSyntaxError) as caught:
        parse_int(text)
    assert str(caught.value) == f'strconv.ParseInt: parsing "{text}": value out of range'


def test_unsigned_integers_have_no_sign() -> None:
    assert parse_uint("18446744073709551615") == 2**64 - 1
    for text in ("-1", "+1"):
        with pytest.raises(ValueSyntaxError) as caught:
            parse_uint(text)
        assert str(caught.value) == f'strconv.ParseUint: parsing "{text}": invalid syntax'
    with pytest.raises(ValueSyntaxError, match="value out of range"):
        parse_uint("18446744073709551616")


def test_decimals_know_no_bases() -> None:
    assert parse_decimal("010") == 10
    assert parse_decimal("-1") == -1
    for text in ("x", "0x10", "1_0", ""):
        with pytest.raises(ValueSyntaxError) as caught:
            parse_decimal(text)
        assert str(caught.value) == f'strconv.Atoi: parsing "{text}": invalid syntax'


def test_bools() -> None:
    assert [parse_bool(text) for text in ("1", "t", "T", "TRUE", "true", "True")] == [True] * 6
    assert [parse_bool(text) for text in ("0", "f", "F", "FALSE", "false", "False")] == [False] * 6
    with pytest.raises(ValueSyntaxError, match=r"^parse error$"):
        parse_bool("maybe")


def test_durations() -> None:
    assert parse_duration_value("1m30s").total_seconds() == 90
    with pytest.raises(ValueSyntaxError, match=r'^time: missing unit in duration "5"$'):
        parse_duration_value("5")
