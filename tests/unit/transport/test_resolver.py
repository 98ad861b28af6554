"""Questions to one name server and its answers."""

import socket
import struct

import pytest
from hypothesis import given, strategies

from praefect.transport.resolver import decode_answer, encode_question

A, AAAA, CNAME = 1, 28, 5
QUESTION = b"\x06gitaly\x07example\x03com\x00" + struct.pack(">HH", A, 1)


def answer(*records: tuple[int, bytes], number: int = 7, flags: int = 0x8180) -> bytes:
    head = struct.pack(">HHHHHH", number, flags, 1, len(records), 0, 0)
    body = b"".join(b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 60, len(data)) + data for kind, data in records)
    return head + QUESTION + body


def test_question_asks_for_recursion() -> None:
    assert encode_question(7, "gitaly.example.com", A) == struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0) + QUESTION
    assert encode_question(7, "gitaly.example.com.", A) == encode_question(7, "gitaly.example.com", A)


def test_addresses_behind_an_alias_are_found() -> None:
    message = answer((CNAME, b"\x05other\xc0\x13"), (A, bytes([192, 0, 2, 1])), (A, bytes([192, 0, 2, 2])))
    assert decode_answer(message, 7, A) == [(socket.AF_INET, "192.0.2.1"), (socket.AF_INET, "192.0.2.2")]


def test_addresses_of_ipv6() -> None:
    address = socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    assert decode_answer(answer((AAAA, address)), 7, AAAA) == [(socket.AF_INET6, "2001:db8::1")]


def test_name_without_addresses_of_a_kind_has_none() -> None:
    assert decode_answer(answer(), 7, AAAA) == []


def test_name_that_does_not_exist() -> None:
    with pytest.raises(socket.gaierror):
        decode_answer(answer(flags=0x8183), 7, A)


def test_failing_name_server() -> None:
    with pytest.raises(OSError, match="server misbehaving"):
        decode_answer(answer(flags=0x8182), 7, A)


@pytest.mark.parametrize(
    "message", [answer(number=8), answer(flags=0x0100), answer((A, bytes(4)))[:-2], b"", b"x" * 11]
)
def test_message_that_is_no_answer_is_passed_over(message: bytes) -> None:
    assert decode_answer(message, 7, A) is None


@pytest.mark.parametrize("host", ["a" * 64, "a..b"])
def test_name_that_is_none_does_not_exist(host: str) -> None:
    with pytest.raises(socket.gaierror):
        encode_question(7, host, A)


@given(message=strategies.binary(max_size=80))
def test_garbage_is_passed_over(message: bytes) -> None:
    wire = struct.pack(">HH", 7, 0x8180) + message
    assert decode_answer(wire, 7, A) is None or isinstance(decode_answer(wire, 7, A), list)
