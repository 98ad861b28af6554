"""TLS on both sides: who is trusted, versions, ALPN, and the multiplexing magic inside."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import grpc
import pytest
from google.protobuf.wrappers_pb2 import BytesValue

from praefect.transport.backchannel import BackchannelRegistry
from praefect.transport.dial import ClientTls, open_channel
from praefect.transport.grpc.server import Server
from praefect.transport.grpc.status import StatusCode, StatusError
from praefect.transport.listen import ListenAddress, Listener, ListenError, ListenOptions, ServerTls, listen
from tests.support.grpc_echo import ECHO, UNARY, Echo, value
from tests.support.tls_certificates import Authority, Pair, make_authority

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from praefect.transport.grpc.channel import Channel
    from praefect.transport.grpc.server_call import ServerCall


class Asking(Echo):
    """Asks back over a multiplexed connection."""

    async def unary(self, request: BytesValue, call: ServerCall) -> BytesValue:
        assert call.peer.tls
        if not call.peer.multiplexed:
            return request
        return await call.peer.backchannel().unary(UNARY, value(b"vote"), BytesValue, timeout=10)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return make_authority(tmp_path)


@pytest.fixture
def localhost(authority: Authority) -> Pair:
    return authority.issue("localhost")


def server_tls(pair: Pair, minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2) -> ServerTls:
    return ServerTls(certificate_path=str(pair.certificate_path), key_path=str(pair.key_path), minimum_version=minimum)


@asynccontextmanager
async def serving(tls: ServerTls | None, options: ListenOptions | None = None) -> AsyncIterator[Listener]:
    address = ListenAddress.parse("tls://127.0.0.1:0")
    async with Server() as server:
        server.add_service(ECHO, Asking())
        async with listen(address, server, backchannels=BackchannelRegistry(), tls=tls, options=options) as listener:
            yield listener


def target(listener: Listener, host: str = "localhost") -> str:
    return f"tls://{host}:{listener.address.port}"


async def echo(channel: Channel) -> bytes:
    return (await channel.unary(UNARY, value(b"x"), BytesValue, timeout=10)).value


async def failure(channel: Channel) -> str:
    with pytest.raises(StatusError) as caught:
        await echo(channel)
    assert caught.value.code == StatusCode.UNAVAILABLE
    return str(caught.value)


class TestTrust:
    async def test_plain_and_multiplexed(self, authority: Authority, localhost: Pair) -> None:
        trust = ClientTls(ca_file=str(authority.certificate_path))
        async with serving(server_tls(localhost)) as listener, Server() as votes:
            votes.add_service(ECHO, Echo())
            async with open_channel(target(listener), token=None, tls=trust) as channel:
                assert await echo(channel) == b"x"
            async with open_channel(
                target(listener), token=None, tls=trust, multiplex=True, backchannel_server=votes
            ) as channel:
                assert await echo(channel) == b"vote"

    async def test_name_with_several_addresses(self, authority: Authority, localhost: Pair) -> None:
        trust = ClientTls(ca_file=str(authority.certificate_path))
        async with serving(server_tls(localhost)) as listener:
            address = f"dns+tls:localhost:{listener.address.port}"
            async with open_channel(address, token=None, tls=trust) as channel:
                assert channel.options.authority == "localhost"
                assert channel.options.scheme == "https"
                assert await echo(channel) == b"x"

    async def test_unknown_authority(self, localhost: Pair) -> None:
        async with serving(server_tls(localhost)) as listener, open_channel(target(listener), token=None) as channel:
            text = await failure(channel)
        reason = "tls: failed to verify certificate: x509: certificate signed by unknown authority"
        assert f'"transport: authentication handshake failed: {reason}"' in text

    async def test_system_pool_is_replaced_by_the_environment(
        self, authority: Authority, localhost: Pair, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate_path))
        async with serving(server_tls(localhost)) as listener, open_channel(target(listener), token=None) as channel:
            assert await echo(channel) == b"x"

    async def test_wrong_name(self, authority: Authority) -> None:
        trust = ClientTls(ca_file=str(authority.certificate_path))
        async with serving(server_tls(authority.issue("gitaly.example"))) as listener:
            async with open_channel(target(listener), token=None, tls=trust) as channel:
                assert "Hostname mismatch" in await failure(channel)
            named = ClientTls(ca_file=str(authority.certificate_path), server_name="gitaly.example")
            async with open_channel(target(listener), token=None, tls=named) as channel:
                assert await echo(channel) == b"x"

    async def test_address_in_the_certificate(self, authority: Authority) -> None:
        trust = ClientTls(ca_file=str(authority.certificate_path))
        async with (
            serving(server_tls(authority.issue("127.0.0.1"))) as listener,
            open_channel(target(listener, "127.0.0.1"), token=None, tls=trust) as channel,
        ):
            assert await echo(channel) == b"x"

    async def test_authority_that_cannot_be_read(self, tmp_path: Path, localhost: Pair) -> None:
        trust = ClientTls(ca_file=str(tmp_path / "missing"))
        async with (
            serving(server_tls(localhost)) as listener,
            open_channel(target(listener), token=None, tls=trust) as channel,
        ):
            assert "no such file or directory" in await failure(channel)


class TestHandshake:
    async def test_stock_client_gets_h2_selected(self, authority: Authority, localhost: Pair) -> None:
        async with serving(server_tls(localhost)) as listener:
            credentials = grpc.ssl_channel_credentials(authority.certificate_path.read_bytes())
            async with grpc.aio.secure_channel(f"localhost:{listener.address.port}", credentials) as channel:
                call: grpc.aio.UnaryUnaryMultiCallable[BytesValue, BytesValue] = channel.unary_unary(
                    UNARY, BytesValue.SerializeToString, BytesValue.FromString
                )
                assert (await call(value(b"x"), timeout=10)).value == b"x"

    async def test_client_without_alpn_is_served(self, authority: Authority, localhost: Pair) -> None:
        async with serving(server_tls(localhost)) as listener:
            context = ssl.create_default_context(cafile=str(authority.certificate_path))
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", listener.address.port, ssl=context, server_hostname="localhost"
            )
            assert writer.get_extra_info("ssl_object").selected_alpn_protocol() is None
            writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
            assert (await reader.readexactly(9))[3] == 4  # SETTINGS
            writer.close()

    @pytest.mark.parametrize("minimum", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    async def test_minimum_version(self, authority: Authority, localhost: Pair, minimum: ssl.TLSVersion) -> None:
        async with serving(server_tls(localhost, minimum)) as listener:
            context = ssl.create_default_context(cafile=str(authority.certificate_path))
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            connecting = asyncio.open_connection(
                "127.0.0.1", listener.address.port, ssl=context, server_hostname="localhost"
            )
            if minimum is ssl.TLSVersion.TLSv1_3:
                with pytest.raises(OSError):  # noqa: PT011 - asyncio may break the connection before it sent the alert
                    await connecting
            else:
                _, writer = await connecting
                assert writer.get_extra_info("ssl_object").version() == "TLSv1.2"
                writer.close()

    async def test_client_that_never_shakes_hands_is_dropped(self, authority: Authority, localhost: Pair) -> None:
        async with serving(server_tls(localhost), ListenOptions(handshake_seconds=0.1)) as listener:
            reader, writer = await asyncio.open_connection("127.0.0.1", listener.address.port)
            async with asyncio.timeout(10):
                assert await reader.read() == b""
            writer.close()
            trust = ClientTls(ca_file=str(authority.certificate_path))
            async with open_channel(target(listener), token=None, tls=trust) as channel:
                assert await echo(channel) == b"x"

    async def test_plain_client_of_a_tls_listener_is_refused_and_others_served(
        self, authority: Authority, localhost: Pair
    ) -> None:
        trust = ClientTls(ca_file=str(authority.certificate_path))
        async with serving(server_tls(localhost)) as listener:
            async with open_channel(f"tcp://localhost:{listener.address.port}", token=None) as channel:
                await failure(channel)
            async with open_channel(target(listener), token=None, tls=trust) as channel:
                assert await echo(channel) == b"x"


class TestCertificates:
    async def test_inline_key(self, authority: Authority, localhost: Pair) -> None:
        tls = ServerTls(certificate_path=str(localhost.certificate_path), key=localhost.key_path.read_text())
        assert "PRIVATE" not in repr(tls)
        trust = ClientTls(ca_file=str(authority.certificate_path))
        async with serving(tls) as listener, open_channel(target(listener), token=None, tls=trust) as channel:
            assert await echo(channel) == b"x"

    async def test_listener_needs_a_certificate(self) -> None:
        with pytest.raises(ListenError, match=r"listen tcp 127\.0\.0\.1:0: no certificate is configured"):
            async with serving(None):
                pass

    async def test_certificate_that_cannot_be_read(self, tmp_path: Path, localhost: Pair) -> None:
        missing = ServerTls(certificate_path=str(tmp_path / "missing"), key_path=str(localhost.key_path))
        with pytest.raises(ListenError, match=r'load certificate ".*missing": no such file or directory'):
            async with serving(missing):
                pass

    async def test_key_of_another_certificate(self, authority: Authority, localhost: Pair) -> None:
        other = authority.issue("other.example")
        mixed = ServerTls(certificate_path=str(localhost.certificate_path), key_path=str(other.key_path))
        with pytest.raises(ListenError, match=r'load certificate ".*localhost\.crt": .*key values mismatch'):
            async with serving(mixed):
                pass
