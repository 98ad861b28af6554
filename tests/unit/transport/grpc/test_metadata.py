import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from praefect.transport.grpc.metadata import RESERVED, MalformedMetadataError, Metadata, as_metadata, decode_binary

keys = st.from_regex(r"x-[a-z0-9_.-]{0,12}", fullmatch=True).filter(lambda key: not key.endswith("-bin"))
texts = st.text(st.characters(exclude_characters="\0\r\n", exclude_categories=["Cs"]), max_size=40)
pairs = st.one_of(
    st.tuples(keys, texts),
    st.tuples(keys.map(lambda key: f"{key}-bin"), st.binary(max_size=40)),
)


@given(st.lists(pairs, max_size=8))
def test_pairs_survive_the_wire_in_order(items: list[tuple[str, str | bytes]]) -> None:
    sent = Metadata(items)
    received = Metadata.from_headers(sent.to_headers())
    assert list(received) == items
    assert received == sent


@given(st.binary(max_size=60))
def test_any_bytes_of_a_text_value_survive_being_read_and_sent_on(value: bytes) -> None:
    value = value.translate(None, b"\0\r\n")
    received = Metadata.from_headers([("username", value)])
    text = received.first("username")
    assert text is not None
    assert Metadata([("username", text)]).to_headers() == [("username", value)]


def test_first_last_and_single_value_of_a_repeated_key() -> None:
    metadata = Metadata([("gitaly-sidechannel-id", "1"), ("other", "x"), ("gitaly-sidechannel-id", "2")])
    assert metadata.first("gitaly-sidechannel-id") == "1"
    assert metadata.last("gitaly-sidechannel-id") == "2"
    assert metadata.single("gitaly-sidechannel-id") is None
    assert metadata.single("other") == "x"
    assert metadata.get_all("gitaly-sidechannel-id") == ["1", "2"]
    assert metadata.first("absent") is None
    assert metadata.last("absent") is None
    assert metadata.get("absent", "default") == "default"
    assert "other" in metadata
    assert "absent" not in metadata


def test_binary_values_are_decoded_padded_or_not() -> None:
    raw = bytes(range(250))
    padded = base64.b64encode(raw)
    assert padded.endswith(b"=")
    metadata = Metadata.from_headers([("a-bin", padded), ("b-bin", padded.rstrip(b"="))])
    assert metadata.binary("a-bin") == metadata.get("b-bin") == raw
    assert metadata.binary("c-bin") is None


def test_binary_values_may_share_a_field() -> None:
    metadata = Metadata.from_headers([("a-bin", b"AQ==, Ag")])
    assert metadata.get_all("a-bin") == [b"\x01", b"\x02"]
    assert list(metadata) == [("a-bin", b"\x01"), ("a-bin", b"\x02")]


def test_a_binary_value_that_is_no_base64_is_named() -> None:
    with pytest.raises(MalformedMetadataError, match=r"malformed binary metadata '\*\*'"):
        Metadata.from_headers([("a-bin", b"**")]).binary("a-bin")


def test_binary_values_are_sent_without_padding() -> None:
    assert Metadata([("a-bin", b"\x01")]).to_headers() == [("a-bin", b"AQ")]
    assert decode_binary(b"AQ") == b"\x01"


def test_what_the_transport_owns_is_not_metadata() -> None:
    received = Metadata.from_headers([(name, b"x") for name in RESERVED] + [("mine", b"y")])
    assert list(received) == [("mine", "y")]


@pytest.mark.parametrize("key", ["grpc-timeout", "te", "with space", "ümlaut", "", ":path"])
def test_illegal_keys_are_refused(key: str) -> None:
    with pytest.raises(ValueError, match="illegal metadata key"):
        Metadata([(key, "x")])


def test_values_that_would_break_the_header_are_refused() -> None:
    with pytest.raises(ValueError, match="control character"):
        Metadata([("x", "a\r\nb: c")])
    with pytest.raises(TypeError, match="takes text"):
        Metadata([("x", b"bytes")])


def test_set_and_remove_replace_all_values() -> None:
    metadata = Metadata([("a", "1"), ("b", "2"), ("a", "3")])
    metadata.set("A", "4")
    assert list(metadata) == [("b", "2"), ("a", "4")]
    metadata.remove("b")
    assert list(metadata) == [("a", "4")]


def test_copies_are_independent() -> None:
    original = Metadata([("a", "1")])
    copy = as_metadata(original)
    copy.append("b", "2")
    copy.extend([("c", "3")])
    copy.extend(Metadata([("d", "4")]))
    assert list(original) == [("a", "1")]
    assert len(copy) == 4


def test_values_are_not_in_the_repr() -> None:
    assert "hunter2" not in repr(Metadata([("authorization", "hunter2")]))
