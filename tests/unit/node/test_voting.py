from __future__ import annotations

import base64
import json

import pytest

from praefect.domain.errors import InternalError
from praefect.node.custom_hooks import go_file_mode
from praefect.node.voting import (
    BackchannelVoter,
    Dialect,
    NoBackchannelError,
    Phase,
    SilentVoter,
    Transaction,
    Voters,
    is_primary,
    transaction_from_metadata,
    vote_hash,
)
from praefect.transport.grpc.metadata import Metadata

KEY = "gitaly-reference-transaction"
A, B, Z = "a" * 40, "b" * 40, "0" * 40


@pytest.mark.parametrize(
    ("text", "vote"),
    [
        (f"{Z} {A} refs/heads/main\n", "36cbea41ff3c6139c5296e9d32ab29ff583324b7"),
        (f"{A} {B} refs/heads/main\n", "eab1f3512e2dd4940aa8721d82a362cf3fbf16c8"),
        ("refs/heads/a\nrefs/tags/v1\n", "c8e0f3c9a17b524e816ec5531d5ae1657a65352a"),
        ("synchronize pre-receive hook", "7475a0d87cbbee23b9a7e8ccde58a494db01611f"),
        ("migrate objects", "4f04104349b49f2772c34ffacc27d46a2804014e"),
        ("", "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
    ],
)
def test_votes_are_hashes(text: str, vote: str) -> None:
    assert vote_hash(text.encode()).hex() == vote


def metadata(value: object) -> Metadata:
    return Metadata([(KEY, base64.b64encode(json.dumps(value).encode()).decode())])


def test_transaction_is_read_from_metadata() -> None:
    transaction = transaction_from_metadata(metadata({"id": 42, "node": "gitaly-1", "primary": True}), 7)
    assert transaction == Transaction(id=42, node="gitaly-1", primary=True, backchannel_id=7)
    assert transaction is not None
    assert Transaction.from_json(transaction.to_json()) == transaction
    assert transaction_from_metadata(Metadata(), 7) is None


def test_the_peer_decides_the_backchannel_and_not_the_caller() -> None:
    transaction = transaction_from_metadata(metadata({"id": 1, "node": "n", "backchannel_id": 9}), 3)
    assert transaction is not None
    assert transaction.backchannel_id == 3


def test_undecodable_transaction_is_an_error() -> None:
    with pytest.raises(InternalError, match=r"^from serialized: illegal base64 data at input byte 2$"):
        transaction_from_metadata(Metadata([(KEY, "ab!c")]), 0)
    with pytest.raises(InternalError, match=r"^from serialized: "):
        transaction_from_metadata(metadata([1]), 0)


async def test_no_transaction_is_a_silent_voter() -> None:
    voter = Voters(lambda _: None).for_call(Metadata(), 0)
    assert isinstance(voter, SilentVoter)
    await voter.vote(bytes(20), Phase.PREPARED)
    await voter.stop()
    assert is_primary(voter.transaction)


async def test_transaction_without_backchannel_fails_the_vote() -> None:
    voter = Voters(lambda _: None).for_call(metadata({"id": 1, "node": "n", "primary": False}), 0)
    assert isinstance(voter, BackchannelVoter)
    assert not is_primary(voter.transaction)
    with pytest.raises(NoBackchannelError, match=r"^get backchannel: no backchannel for peer 0$"):
        await voter.vote(bytes(20), Phase.PREPARED)


async def test_older_dialects_do_not_vote_preparing() -> None:
    for dialect in (Dialect.R18_9, Dialect.R19_0):
        voter = Voters(lambda _: None, dialect).for_call(metadata({"id": 1, "node": "n"}), 0)
        await voter.vote(bytes(20), Phase.PREPARING)  # would fail if it were cast


def test_idle_votes_by_dialect() -> None:
    assert Dialect.DEV.idle_phase is Phase.SYNCHRONIZED
    assert Dialect.R18_9.idle_phase is Phase.COMMITTED


def test_file_modes_are_those_of_go() -> None:
    assert go_file_mode(0o040755) == 0x80000000 | 0o755
    assert go_file_mode(0o100644) == 0o644
    assert go_file_mode(0o120777) == 0x08000000 | 0o777
    assert go_file_mode(0o102755) == 0x00400000 | 0o755
    assert go_file_mode(0o041777) == 0x80100000 | 0o777
