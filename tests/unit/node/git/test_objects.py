from __future__ import annotations

from praefect.node.git.objects import (
    MAX_MESSAGE_BYTES,
    commit_message,
    parse_commit,
    parse_person,
    parse_tag,
    parse_trailers,
    tag_message,
)
from praefect.proto.shared_pb2 import SignatureType

SIGNATURE = b"-----BEGIN PGP SIGNATURE-----\n\nabc\n-----END PGP SIGNATURE-----"
UNSIGNED = (
    b"tree " + b"1" * 40 + b"\nparent " + b"2" * 40 + b"\nparent " + b"3" * 40 + b"\n"
    b"author A <a@x> 10 +0100\ncommitter B <b@x> 20 -0200\nencoding latin1\n"
)
BODY = b"subject\r\n\nbody\n"
SIGNED = UNSIGNED + b"gpgsig " + SIGNATURE.replace(b"\n", b"\n ") + b"\n\n" + BODY


def test_commit() -> None:
    commit = commit_message("4" * 40, SIGNED)
    assert commit.id == "4" * 40
    assert commit.tree_id == "1" * 40
    assert list(commit.parent_ids) == ["2" * 40, "3" * 40]
    assert (commit.subject, commit.body, commit.body_size) == (b"subject", BODY, len(BODY))
    assert (commit.author.name, commit.author.email, commit.author.date.seconds) == (b"A", b"a@x", 10)
    assert commit.committer.timezone == b"-0200"
    assert commit.encoding == "latin1"
    assert commit.signature_type == SignatureType.PGP


def test_signed_payload_is_the_commit_without_its_signature() -> None:
    raw = parse_commit(SIGNED)
    assert raw.signature == SIGNATURE
    assert raw.signed_payload == UNSIGNED + b"\n" + BODY


def test_long_message_is_cut_but_its_size_is_kept() -> None:
    commit = commit_message("4" * 40, UNSIGNED + b"\n" + b"x" * (MAX_MESSAGE_BYTES + 1))
    assert (len(commit.body), commit.body_size) == (MAX_MESSAGE_BYTES, MAX_MESSAGE_BYTES + 1)


def test_broken_dates_are_clamped() -> None:
    assert parse_person(b"A <a@x>").date.seconds == 0
    assert parse_person(b"A <a@x> soon +0000").date.seconds == 0
    assert parse_person(b"A <a@x> 99999999999999999999999 +0000").date.seconds == (1 << 63) - 1
    assert parse_person(b"nobody at all").email == b""
    assert parse_person(b"A <a@x> 1 +1").timezone == b""


def test_trailers() -> None:
    body = b"subject\n\ntext: not a trailer\n\nSigned-off-by: A <a@x>\nRefs: 1\n 2\n"
    assert [(each.key, each.value) for each in parse_trailers(body)] == [
        (b"Signed-off-by", b"A <a@x>"),
        (b"Refs", b"1 2"),
    ]
    assert parse_trailers(b"Only-subject: x\n") == []
    many = b"s\n\n" + b"".join(b"K: %d\n" % number for number in range(100))
    assert len(parse_trailers(many)) == 64


def test_tag() -> None:
    data = b"object " + b"1" * 40 + b"\ntype commit\ntag v1\ntagger A <a@x> 10 +0000\n\nmessage\n" + SIGNATURE + b"\n"
    raw = parse_tag(data)
    assert (raw.target, raw.type, raw.name) == (b"1" * 40, b"commit", b"v1")
    assert raw.signature == SIGNATURE + b"\n"
    tag = tag_message("5" * 40, b"v1", data)
    assert tag.signature_type == SignatureType.PGP
    assert tag.tagger.name == b"A"
    assert parse_tag(b"object x\n\n" + SIGNATURE).signature == b""
