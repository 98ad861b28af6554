"""How a sidechannel is opened and refused, with the texts of section 5.2 of the wire reference."""

from __future__ import annotations

import asyncio

import pytest

from praefect.transport.sidechannel import (
    SidechannelBrokenError,
    SidechannelRefusedError,
    SidechannelUnavailableError,
    client,
    open_sidechannel,
    parse_sidechannel_id,
    server,
)
from praefect.transport.yamux import LISTENER_SETTINGS, YamuxConnection
from praefect.transport.yamux.frame import pack
from tests.support.memory_wire import MemoryTransport, attach, settle
from tests.support.sidechannel_wire import join

DATA, UPDATE = 0, 1
SYN, ACK, FIN, RST = 1, 2, 4, 8


def server_alone() -> tuple[YamuxConnection, MemoryTransport]:
    """A server whose client is the test."""
    session = YamuxConnection(client=False, settings=LISTENER_SETTINGS, accept=asyncio.Protocol)
    return session, attach(session)


async def refusal(*answers: bytes, acknowledge: bool = True) -> tuple[Exception, MemoryTransport]:
    """Let a server open sidechannel 7 and answer it; returns its error."""
    session, wire = server_alone()
    async with asyncio.TaskGroup() as tasks:
        opening = tasks.create_task(_expect_error(session))
        await settle()
        if acknowledge:
            session.data_received(pack(UPDATE, ACK, 2, 0))
        for answer in answers:
            session.data_received(answer)
    await settle()
    return opening.result(), wire


async def _expect_error(session: YamuxConnection) -> Exception:
    try:
        await open_sidechannel(session, 7)
    except (SidechannelUnavailableError, SidechannelRefusedError) as exc:
        return exc
    raise AssertionError("was opened")


class TestServer:
    async def test_what_is_sent_first(self) -> None:
        error, wire = await refusal(pack(UPDATE, RST, 2, 0))
        assert bytes(wire.written[:12]) == pack(UPDATE, SYN, 2, 0x00FC0000)
        assert bytes(wire.written[12:43]) == pack(DATA, 0, 2, 19) + b"sidechannel" + (7).to_bytes(8, "big")
        assert str(error) == "receive confirmation: connection reset"
        assert isinstance(error, SidechannelUnavailableError)

    async def test_client_closes_without_confirming(self) -> None:
        error, wire = await refusal(pack(UPDATE, FIN, 2, 0))
        assert str(error) == "receive confirmation: EOF"
        assert isinstance(error, SidechannelUnavailableError)
        assert bytes(wire.written[43:]) == pack(UPDATE, FIN, 2, 0)

    async def test_client_closes_within_its_confirmation(self) -> None:
        error, _ = await refusal(pack(DATA, FIN, 2, 1) + b"o")
        assert str(error) == "receive confirmation: unexpected EOF"

    async def test_wrong_confirmation(self) -> None:
        error, wire = await refusal(pack(DATA, 0, 2, 2) + b"no")
        assert str(error) == 'expected ok, got "no"'
        assert isinstance(error, SidechannelRefusedError)
        assert bytes(wire.written[43:]) == pack(UPDATE, FIN, 2, 0)

    async def test_no_confirmation_in_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(server, "HANDSHAKE_SECONDS", 0.0)
        session, _ = server_alone()
        error = await _expect_error(session)
        assert str(error) == "receive confirmation: i/o deadline reached"

    async def test_open_that_the_client_never_took_is_reset_to_free_its_slot(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(server, "HANDSHAKE_SECONDS", 0.0)
        session, wire = server_alone()
        await _expect_error(session)
        await settle()
        assert bytes(wire.written).endswith(pack(UPDATE, RST, 2, 0))
        transport, _ = await session.open_stream(asyncio.Protocol)
        assert transport.stream_id == 4

    async def test_session_is_over(self) -> None:
        session, _ = server_alone()
        session.close()
        error = await _expect_error(session)
        assert str(error) == "open stream: session shutdown"

    async def test_cancelled_opening_leaves_no_stream(self) -> None:
        session, _ = server_alone()
        async with asyncio.TaskGroup() as tasks:
            opening = tasks.create_task(open_sidechannel(session, 7))
            await settle()
            opening.cancel()
        assert session.open_streams == 0

    @pytest.mark.parametrize(
        ("text", "number"),
        [("0", 0), ("42", 42), ("-1", -1), ("+7", 7), ("", 0), ("x", 0), ("1_0", 0), (" 1", 0), ("9" * 30, 0)],
    )
    def test_announced_id(self, text: str, number: int) -> None:
        assert parse_sidechannel_id(text) == number


class TestClient:
    async def test_ids_count_from_zero_and_work_once(self) -> None:
        wire = join()
        first, _, _ = await wire.open()
        second, _, _ = await wire.open()
        assert [first.id, second.id] == [0, 1]
        assert first.metadata == ("gitaly-sidechannel-id", "0")
        with pytest.raises(SidechannelUnavailableError, match="receive confirmation: EOF"):
            await wire.peer.open_sidechannel(first.id)

    async def test_unknown_id_is_closed_without_confirmation(self) -> None:
        wire = join()
        with pytest.raises(SidechannelUnavailableError, match="receive confirmation: EOF"):
            await wire.peer.open_sidechannel(99)
        await settle()
        assert wire.client_session.open_streams == wire.server_session.open_streams == 0

    async def test_withdrawn_id_is_unknown(self) -> None:
        wire = join()
        async with wire.registry.register() as waiter:
            assert not waiter.arrived
        assert len(wire.registry) == 0
        with pytest.raises(SidechannelUnavailableError):
            await wire.peer.open_sidechannel(waiter.id)
        with pytest.raises(asyncio.CancelledError):
            await waiter.accept()

    async def test_leaving_cuts_off_what_is_open(self) -> None:
        wire = join()
        waiter, ours, theirs = await wire.open()
        async with waiter:
            pass
        with pytest.raises(SidechannelBrokenError, match="connection reset"):
            await theirs.read()
        with pytest.raises(SidechannelBrokenError, match="stream closed"):
            await ours.read()

    async def test_cancelled_accept_can_be_repeated(self) -> None:
        wire = join()
        waiter = wire.registry.register()
        async with asyncio.TaskGroup() as tasks:
            accepting = tasks.create_task(waiter.accept())
            await settle()
            accepting.cancel()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(wire.peer.open_sidechannel(waiter.id))
            await waiter.accept()

    async def test_header_may_come_in_any_pieces_and_with_data_behind(self) -> None:
        wire = join()
        waiter = wire.registry.register()
        transport, _ = await wire.server_session.open_stream(asyncio.Protocol)
        for byte in b"sidechannel" + bytes(7):
            transport.write(bytes([byte]))
            await settle(5)
        assert not waiter.arrived
        transport.write(b"\0early response")
        sidechannel = await waiter.accept()
        assert await sidechannel.read() == b"early response"

    async def test_stream_without_header_is_closed_in_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(client, "HANDSHAKE_SECONDS", 0.0)
        wire = join()
        transport, _ = await wire.server_session.open_stream(asyncio.Protocol)
        transport.write(b"sidechannel\0\0")
        await settle()
        assert transport.is_closing()

    async def test_other_streams_go_elsewhere(self) -> None:
        wire = join()
        transport, _ = await wire.server_session.open_stream(asyncio.Protocol)
        transport.write(b"PRI * HTTP/2.0")
        await settle()
        assert len(wire.other_streams) == 1
