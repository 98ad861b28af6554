"""What the services for git clients share: the commands they run and the ends they join them to."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from praefect.domain.errors import AbortedError, InternalError, PraefectError
from praefect.node.git.command import Command, parse_config_options
from praefect.node.git.environment import protocol_environment
from praefect.node.git.errors import describe_exit
from praefect.node.voting import (
    ZERO_VOTE,
    Phase,
    TransactionAbortedError,
    TransactionStoppedError,
)
from praefect.proto.packfile_pb2 import PackfileNegotiationStatistics
from praefect.transport.grpc.status import wrap
from praefect.transport.sidechannel import SIDECHANNEL_KEY, parse_sidechannel_id

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    from praefect.node.context import NodeContext
    from praefect.node.git.command import HookSetup
    from praefect.node.pktline import NegotiationStatistics
    from praefect.node.storage.repository import LocalRepository
    from praefect.node.voting import Voter
    from praefect.transport.grpc.server_call import ServerCall
    from praefect.transport.sidechannel import Sidechannel

HANG_UP = b"fatal: the remote end hung up unexpectedly\n"


class ProcessFailedError(InternalError):
    """A git command that served a client did not end well; its own words went to the client."""

    def __init__(self, returncode: int) -> None:
        super().__init__(describe_exit(returncode))


def pack_command(
    name: str,
    repository: LocalRepository,
    *,
    config_options: Sequence[str] = (),
    git_protocol: str = "",
    flags: Sequence[str] = (),
    hooks: HookSetup | None = None,
) -> Command:
    """Return upload-pack or receive-pack on ``repository`` with a request's options.

    Raises:
        InvalidConfigOptionError: one of ``config_options`` is not ``key=value``.
    """
    return Command(
        name=name,
        flags=flags,
        arguments=[str(repository.path)],
        config=parse_config_options(config_options),
        environment=protocol_environment(git_protocol),
        hooks=hooks,
    )


@asynccontextmanager
async def open_sidechannel(call: ServerCall) -> AsyncIterator[Sidechannel]:
    """Open the sidechannel that a call announces; on leaving, what was written is delivered and the channel ended.

    Raises:
        InternalError: the call announces none, or came on a connection without.
        UnavailableError: the client did not take it.
    """
    announced = call.metadata.last(SIDECHANNEL_KEY)
    if announced is None:
        raise InternalError("sidechannel: sidechannel-id not found in incoming metadata")
    try:
        sidechannel = await call.peer.open_sidechannel(parse_sidechannel_id(announced))
    except PraefectError as error:
        raise wrap("sidechannel", error) from error
    try:
        yield sidechannel
        await sidechannel.close()
    except Exception:
        await sidechannel.close()
        raise
    except BaseException:
        sidechannel.abort()
        raise


async def sidechannel_chunks(sidechannel: Sidechannel) -> AsyncGenerator[bytes, None]:
    """Yield what the client sends until it has sent everything."""
    while data := await sidechannel.read():
        yield data


@asynccontextmanager
async def clearing_after_a_kill(context: NodeContext, repository: LocalRepository) -> AsyncIterator[None]:
    """Remove what git leaves in a repository if the block is cut off and with it a push.

    Git does not clear its quarantine when a signal ends it. What may be a running push's stays until that ends.
    """
    try:
        yield
    except BaseException:
        await context.leftovers.clear(repository)
        raise


async def cast_final_vote(voter: Voter) -> None:
    """Say that the push is over; after this vote every node knows that the others came to the same end.

    Raises:
        AbortedError: they did not.
        PraefectError: the vote could not be cast.
    """
    try:
        await voter.vote(ZERO_VOTE, Phase.COMMITTED)
    except TransactionStoppedError:
        return  # the primary refused the push, and the client reads so in the report
    except TransactionAbortedError as error:
        message = f"final transactional vote: {error}"
        raise AbortedError(message) from error
    except PraefectError as error:
        raise wrap("final transactional vote", error) from error


def statistics_message(statistics: NegotiationStatistics) -> PackfileNegotiationStatistics:
    """Return the wire form of what a client negotiated."""
    return PackfileNegotiationStatistics(
        payload_size=statistics.payload_bytes,
        packets=statistics.packets,
        caps=statistics.capabilities,
        wants=statistics.wants,
        haves=statistics.haves,
        shallows=statistics.shallows,
        deepen=statistics.deepen,
        filter=statistics.filter,
    )
