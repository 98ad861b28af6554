"""Votes: a change becomes visible only when the proxy has heard the same hash from enough nodes.

A call that is part of a transaction carries ``gitaly-reference-transaction``. Each *vote* goes over the backchannel of
the connection the call came on and waits for the proxy's word. Without the metadata votes do nothing.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Protocol

from praefect.domain.errors import InternalError, PraefectError
from praefect.proto.transaction_pb2 import (
    StopTransactionRequest,
    StopTransactionResponse,
    VoteTransactionRequest,
    VoteTransactionResponse,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from praefect.transport.grpc.channel import Channel
    from praefect.transport.grpc.metadata import Metadata

TRANSACTION_KEY = "gitaly-reference-transaction"
VOTE_TIMEOUT_SECONDS = 300.0
ZERO_VOTE = bytes(20)


class Phase(IntEnum):
    """Where in the change a vote stands; the numbers are the wire's."""

    UNKNOWN = 0
    PREPARED = 1
    COMMITTED = 2
    SYNCHRONIZED = 3
    PREPARING = 4


class Dialect(StrEnum):
    """Which line's votes this node casts; all nodes of a cluster must agree."""

    DEV = "dev"
    R19_0 = "19.0"
    R18_9 = "r18.9"

    @property
    def votes_preparing(self) -> bool:
        """Whether there is a vote before locks are taken."""
        return self is Dialect.DEV

    @property
    def is_new(self) -> bool:
        """Whether it is a line after 18.9."""
        return self is not Dialect.R18_9

    @property
    def idle_phase(self) -> Phase:
        """The phase of votes that say that there was nothing to do."""
        return Phase.SYNCHRONIZED if self is Dialect.DEV else Phase.COMMITTED


class VoteRefusedError(PraefectError):
    """The proxy answered a vote with no."""


class TransactionAbortedError(VoteRefusedError):
    """The other nodes want something else."""

    def __init__(self) -> None:
        super().__init__("transaction was aborted")


class TransactionStoppedError(VoteRefusedError):
    """The primary gave up."""

    def __init__(self) -> None:
        super().__init__("transaction was stopped")


class NoBackchannelError(VoteRefusedError):
    """The call came on a connection over which nothing can be asked."""

    def __init__(self, peer: int) -> None:
        super().__init__(f"get backchannel: no backchannel for peer {peer}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """What the proxy says about the transaction a call belongs to.

    Attributes:
        node: the name under which this node votes.
        backchannel_id: this node's number of the connection the call came on; 0 is none.
    """

    id: int
    node: str
    primary: bool
    backchannel_id: int = 0

    def to_json(self) -> dict[str, object]:
        """Return the form that travels in hook payloads."""
        fields: dict[str, object] = {"id": self.id, "node": self.node, "primary": self.primary}
        return {"backchannel_id": self.backchannel_id, **fields} if self.backchannel_id else fields

    @classmethod
    def from_json(cls, value: object) -> Transaction:
        """Read the form of ``to_json``.

        Raises:
            InternalError: it is not that form.
        """
        if not isinstance(value, dict):
            raise InternalError("from serialized: transaction is not an object")
        try:
            return cls(
                id=int(value.get("id", 0)),
                node=str(value.get("node", "")),
                primary=bool(value.get("primary", False)),
                backchannel_id=int(value.get("backchannel_id", 0)),
            )
        except (TypeError, ValueError) as exc:
            raise InternalError("from serialized: malformed transaction") from exc


def transaction_from_metadata(metadata: Metadata, backchannel_id: int) -> Transaction | None:
    """Return the transaction a call's metadata names; ``None`` if it is not part of one.

    Raises:
        InternalError: the value cannot be decoded.
    """
    value = metadata.get(TRANSACTION_KEY)
    if value is None:
        return None
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else value
    try:
        decoded = json.loads(base64.b64decode(text, validate=True))
    except binascii.Error as exc:
        raise InternalError(f"from serialized: illegal base64 data at input byte {_bad_byte(text)}") from exc
    except ValueError as exc:
        raise InternalError("from serialized: malformed transaction") from exc
    transaction = Transaction.from_json(decoded)
    return Transaction(
        id=transaction.id, node=transaction.node, primary=transaction.primary, backchannel_id=backchannel_id
    )


def _bad_byte(text: str) -> int:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
    return next((index for index, char in enumerate(text) if char not in alphabet), len(text))


def vote_hash(*parts: bytes) -> bytes:
    """Return the vote over the concatenation of ``parts``."""
    digest = hashlib.sha1(usedforsecurity=False)
    for part in parts:
        digest.update(part)
    return digest.digest()


class Voter(Protocol):
    """Casts this node's votes in one call."""

    @property
    def dialect(self) -> Dialect:
        """Whose votes are cast."""

    @property
    def transaction(self) -> Transaction | None:
        """The transaction voted in; ``None`` if votes do nothing."""

    async def vote(self, vote: bytes, phase: Phase) -> None:
        """Cast a vote and wait for the proxy's answer. PREPARING does nothing in dialects that do not have it.

        Raises:
            TransactionAbortedError: undo; or, after the change is made, fail.
            TransactionStoppedError: the same.
            PraefectError: the vote could not be cast; the same.
        """

    async def stop(self) -> None:
        """End the transaction for every node."""


def is_primary(transaction: Transaction | None) -> bool:
    """Tell whether access checks and custom hooks run on this node."""
    return transaction is None or transaction.primary


class SilentVoter:
    """The voter of a call without a transaction."""

    def __init__(self, dialect: Dialect = Dialect.DEV) -> None:
        self.dialect = dialect
        self.transaction: Transaction | None = None

    async def vote(self, vote: bytes, phase: Phase) -> None:
        """Do nothing."""

    async def stop(self) -> None:
        """Do nothing."""


class BackchannelVoter:
    """Votes over the backchannel of the connection the call came on."""

    def __init__(
        self, transaction: Transaction, backchannel: Callable[[int], Channel | None], dialect: Dialect
    ) -> None:
        self.dialect = dialect
        self.transaction: Transaction | None = transaction
        self._transaction = transaction
        self._backchannel = backchannel

    async def vote(self, vote: bytes, phase: Phase) -> None:
        """Cast a vote; see ``Voter``."""
        if phase is Phase.PREPARING and not self.dialect.votes_preparing:
            return
        request = VoteTransactionRequest(
            transaction_id=self._transaction.id,
            node=self._transaction.node,
            reference_updates_hash=vote,
            phase=f"{phase.name}_PHASE",
        )
        response = await self._channel().unary(
            "/gitaly.RefTransaction/VoteTransaction", request, VoteTransactionResponse, timeout=VOTE_TIMEOUT_SECONDS
        )
        if response.state == VoteTransactionResponse.ABORT:
            raise TransactionAbortedError
        if response.state == VoteTransactionResponse.STOP:
            raise TransactionStoppedError

    async def stop(self) -> None:
        """End the transaction for every node."""
        request = StopTransactionRequest(transaction_id=self._transaction.id)
        await self._channel().unary(
            "/gitaly.RefTransaction/StopTransaction", request, StopTransactionResponse, timeout=VOTE_TIMEOUT_SECONDS
        )

    def _channel(self) -> Channel:
        channel = self._backchannel(self._transaction.backchannel_id)
        if channel is None:
            raise NoBackchannelError(self._transaction.backchannel_id)
        return channel


class Voters:
    """Makes the voter of a call.

    Args:
        backchannel: the channel to the peer of that number, ``None`` if it is gone or the connection is a plain one.
    """

    def __init__(self, backchannel: Callable[[int], Channel | None], dialect: Dialect = Dialect.DEV) -> None:
        self.dialect = dialect
        self._backchannel = backchannel

    def for_transaction(self, transaction: Transaction | None) -> Voter:
        """Return the voter of a known transaction, silent for none."""
        if transaction is None:
            return SilentVoter(self.dialect)
        return BackchannelVoter(transaction, self._backchannel, self.dialect)

    def for_call(self, metadata: Metadata, backchannel_id: int) -> Voter:
        """Return the voter of a call by its metadata and the number of its connection.

        Raises:
            InternalError: the metadata cannot be decoded.
        """
        return self.for_transaction(transaction_from_metadata(metadata, backchannel_id))
